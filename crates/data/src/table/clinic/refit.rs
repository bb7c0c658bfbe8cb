//! Fits the network of `clinic` to rows by maximum likelihood, each of its parts in closed form.

use super::network::{AGE_BANDS, AGES, DAY_BANDS, Network, Record};
use super::{DIAGNOSIS, INSURANCE, REGION, SEVERITY, WARD};

/// Minimum standard deviation, so that equal values do not give an infinite density.
const LEAST_SD: f64 = 1e-3;
/// Minimum distance of binomial probabilities from 0 and 1, and of mean days from 0.
const MARGIN: f64 = 1e-6;

impl Network {
    /// Returns the most likely network of this structure. For a state without rows, all categories are
    /// equally likely, and numbers follow all rows together.
    pub fn fit(rows: &[Record]) -> Self {
        let table = |states: usize, places: usize, of: fn(&Record) -> (usize, usize)| {
            let mut counts = vec![vec![0.0; places]; states];
            for row in rows {
                let (state, place) = of(row);
                counts[state][place] += 1.0;
            }
            for counts in &mut counts {
                let sum: f64 = counts.iter().sum();
                counts
                    .iter_mut()
                    .for_each(|count| *count = if sum > 0.0 { *count / sum } else { 1.0 / places as f64 });
            }
            counts
        };
        let by = |states: usize, of: fn(&Record) -> usize, value: fn(&Record) -> Option<f64>| {
            grouped(rows, states, of, value)
        };
        let age = by(INSURANCE.len(), |row| row.insurance, |row| Some(row.age));
        let days = by(SEVERITY.len(), |row| row.severity, |row| Some(row.days));
        let log = |value: f64| (value > 0.0).then(|| libm::log(value));
        let temperature = by(DIAGNOSIS.len(), |row| row.diagnosis, |row| Some(row.temperature));
        let creatinine = by(
            SEVERITY.len(),
            |row| row.severity,
            |row| row.creatinine.filter(|value| *value > 0.0).map(libm::log),
        );
        let missing = table(SEVERITY.len(), 2, |row| (row.severity, usize::from(row.creatinine.is_none())));
        let cost = (0..WARD.len()).map(|ward| {
            let own =
                rows.iter().filter(|row| row.ward == ward).filter_map(|row| Some((row.days, log(row.cost)?)));
            line(&own.collect::<Vec<_>>())
        });
        Self {
            sex: table(1, 2, |row| (0, row.sex)).remove(0),
            region: table(1, REGION.len(), |row| (0, row.region)).remove(0),
            insurance: table(REGION.len(), INSURANCE.len(), |row| (row.region, row.insurance)),
            age: age.iter().map(|[mean, _]| (mean / AGES as f64).clamp(MARGIN, 1.0 - MARGIN)).collect(),
            smoker: table(AGE_BANDS * 2, 2, |row| (row.of_smoker(), row.smoker)),
            diagnosis: table(AGE_BANDS * 2, DIAGNOSIS.len(), |row| (row.of_diagnosis(), row.diagnosis)),
            severity: table(DIAGNOSIS.len(), SEVERITY.len(), |row| (row.diagnosis, row.severity)),
            ward: table(DIAGNOSIS.len(), WARD.len(), |row| (row.diagnosis, row.ward)),
            temperature,
            missing: missing.iter().map(|row| row[1]).collect(),
            creatinine,
            days: days.iter().map(|[mean, _]| mean.max(MARGIN)).collect(),
            cost: cost.collect(),
            readmitted: table(SEVERITY.len() * DAY_BANDS * AGE_BANDS, 2, |row| {
                (row.of_readmitted(), row.readmitted)
            }),
        }
    }
}

/// Returns the mean and standard deviation of a value in every state; those of all rows for a state with
/// fewer than two.
fn grouped(
    rows: &[Record],
    states: usize,
    of: fn(&Record) -> usize,
    value: fn(&Record) -> Option<f64>,
) -> Vec<[f64; 2]> {
    let all: Vec<f64> = rows.iter().filter_map(value).collect();
    let state = |state: usize| {
        let own: Vec<f64> = rows.iter().filter(|row| of(row) == state).filter_map(value).collect();
        if own.len() < 2 { mean_and_sd(&all) } else { mean_and_sd(&own) }
    };
    (0..states).map(state).collect()
}

fn mean_and_sd(values: &[f64]) -> [f64; 2] {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
    [mean, variance.sqrt().max(LEAST_SD)]
}

/// Returns intercept, slope and residual standard deviation of a least-squares fit.
fn line(points: &[(f64, f64)]) -> [f64; 3] {
    let n = points.len().max(1) as f64;
    let x = points.iter().map(|(x, _)| x).sum::<f64>() / n;
    let y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let xx: f64 = points.iter().map(|point| (point.0 - x) * (point.0 - x)).sum();
    let xy: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    let rest = |(px, py): &(f64, f64)| {
        let off = py - y - slope * (px - x);
        off * off
    };
    let variance = points.iter().map(rest).sum::<f64>() / n;
    [y - slope * x, slope, variance.sqrt().max(LEAST_SD)]
}
