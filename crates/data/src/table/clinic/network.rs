//! The network of `clinic`: its parameters, sampling, and the exact log density.

use super::{COLUMNS, FLOOR, SEVERITY};
use crate::table::encode::draw_place;
use waxwork_core::rng::Draws;

/// Trials of the binomial that ages follow.
pub(super) const AGES: usize = 110;
/// Maximum number of days of a draw; the probability of more is below 10⁻²⁰.
const DAYS: usize = 400;
/// Age bands: up to 29, 49, 69, and older.
pub(super) const AGE_BANDS: usize = 4;
/// Days bands: up to 2, 7, and longer.
pub(super) const DAY_BANDS: usize = 3;
/// Number of failures of the negative binomial that days follow.
pub(super) const FAILURES: f64 = 2.0;

/// One row. Each category is its position in the list of texts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the columns")]
pub struct Record {
    pub age: f64,
    pub sex: usize,
    pub region: usize,
    pub smoker: usize,
    pub insurance: usize,
    pub diagnosis: usize,
    pub severity: usize,
    pub ward: usize,
    pub temperature: f64,
    pub creatinine: Option<f64>,
    pub days: f64,
    pub cost: f64,
    pub readmitted: usize,
}

impl Record {
    pub(super) fn age_band(&self) -> usize {
        [30.0, 50.0, 70.0].iter().filter(|from| self.age >= **from).count()
    }

    pub(super) fn day_band(&self) -> usize {
        [3.0, 8.0].iter().filter(|from| self.days >= **from).count()
    }

    pub(super) fn of_smoker(&self) -> usize {
        self.age_band() * 2 + self.sex
    }

    pub(super) fn of_diagnosis(&self) -> usize {
        self.age_band() * 2 + self.smoker
    }

    pub(super) fn of_readmitted(&self) -> usize {
        (self.severity * DAY_BANDS + self.day_band()) * AGE_BANDS + self.age_band()
    }
}

/// Parameters of the network: for every state of a column's parents, a row of probabilities or of density
/// parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub(super) sex: Vec<f64>,
    pub(super) region: Vec<f64>,
    pub(super) insurance: Vec<Vec<f64>>,
    /// Success probability of each trial of the binomial.
    pub(super) age: Vec<f64>,
    pub(super) smoker: Vec<Vec<f64>>,
    pub(super) diagnosis: Vec<Vec<f64>>,
    pub(super) severity: Vec<Vec<f64>>,
    pub(super) ward: Vec<Vec<f64>>,
    /// Mean and standard deviation.
    pub(super) temperature: Vec<[f64; 2]>,
    pub(super) missing: Vec<f64>,
    /// Mean and standard deviation of the logarithm.
    pub(super) creatinine: Vec<[f64; 2]>,
    /// Mean.
    pub(super) days: Vec<f64>,
    /// Mean of the logarithm at zero days, its increase per day, and its standard deviation.
    pub(super) cost: Vec<[f64; 3]>,
    pub(super) readmitted: Vec<Vec<f64>>,
}

impl Network {
    /// Returns the network that the table is drawn from.
    pub fn truth() -> Self {
        let yes = |p: f64| vec![1.0 - p, p];
        let logistic = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let smoker = |state: usize| {
            let (band, sex) = (state / 2, state % 2);
            yes([0.18, 0.28, 0.22, 0.10][band] + [0.0, 0.07][sex])
        };
        let readmitted = |state: usize| {
            let (severity, day_band, age_band) =
                (state / (DAY_BANDS * AGE_BANDS), state / AGE_BANDS % DAY_BANDS, state % AGE_BANDS);
            yes(logistic(-3.2 + 1.1 * severity as f64 + 0.6 * day_band as f64 + 0.4 * age_band as f64))
        };
        Self {
            sex: vec![0.52, 0.48],
            region: vec![0.30, 0.24, 0.20, 0.15, 0.09, 0.02],
            insurance: vec![
                vec![0.22, 0.30, 0.26, 0.22],
                vec![0.25, 0.18, 0.35, 0.22],
                vec![0.20, 0.34, 0.20, 0.26],
                vec![0.24, 0.26, 0.28, 0.22],
                vec![0.12, 0.28, 0.18, 0.42],
                vec![0.30, 0.05, 0.60, 0.05],
            ],
            age: vec![0.16, 0.42, 0.40, 0.70],
            smoker: (0..AGE_BANDS * 2).map(smoker).collect(),
            diagnosis: vec![
                vec![0.360, 0.200, 0.150, 0.140, 0.110, 0.020, 0.010, 0.005, 0.005],
                vec![0.250, 0.180, 0.300, 0.130, 0.100, 0.020, 0.012, 0.005, 0.003],
                vec![0.315, 0.150, 0.080, 0.150, 0.130, 0.110, 0.050, 0.012, 0.003],
                vec![0.212, 0.130, 0.190, 0.140, 0.110, 0.100, 0.095, 0.020, 0.003],
                vec![0.230, 0.110, 0.060, 0.130, 0.110, 0.180, 0.130, 0.046, 0.004],
                vec![0.140, 0.090, 0.120, 0.130, 0.090, 0.160, 0.200, 0.066, 0.004],
                vec![0.150, 0.190, 0.040, 0.130, 0.120, 0.130, 0.150, 0.085, 0.005],
                vec![0.095, 0.150, 0.080, 0.130, 0.100, 0.120, 0.210, 0.110, 0.005],
            ],
            severity: vec![
                vec![0.94, 0.05, 0.01],
                vec![0.40, 0.45, 0.15],
                vec![0.55, 0.35, 0.10],
                vec![0.35, 0.45, 0.20],
                vec![0.60, 0.32, 0.08],
                vec![0.45, 0.40, 0.15],
                vec![0.15, 0.45, 0.40],
                vec![0.05, 0.35, 0.60],
                vec![0.01, 0.09, 0.90],
            ],
            ward: vec![
                vec![0.980, 0.005, 0.005, 0.005, 0.005],
                vec![0.015, 0.970, 0.005, 0.005, 0.005],
                vec![0.015, 0.005, 0.970, 0.005, 0.005],
                vec![0.950, 0.020, 0.010, 0.005, 0.015],
                vec![0.030, 0.005, 0.955, 0.005, 0.005],
                vec![0.970, 0.010, 0.005, 0.010, 0.005],
                vec![0.010, 0.010, 0.005, 0.955, 0.020],
                vec![0.010, 0.010, 0.005, 0.015, 0.960],
                vec![0.005, 0.005, 0.005, 0.005, 0.980],
            ],
            temperature: vec![
                [36.7, 0.25],
                [36.9, 0.30],
                [37.0, 0.35],
                [38.7, 0.55],
                [39.1, 0.45],
                [36.8, 0.25],
                [36.8, 0.30],
                [37.2, 0.45],
                [39.6, 0.70],
            ],
            missing: vec![0.45, 0.15, 0.03],
            creatinine: vec![[-0.16, 0.18], [0.05, 0.25], [0.55, 0.40]],
            days: vec![1.5, 4.5, 11.0],
            cost: vec![
                [6.4, 0.11, 0.40],
                [8.1, 0.08, 0.35],
                [6.9, 0.10, 0.35],
                [7.8, 0.09, 0.45],
                [8.6, 0.10, 0.50],
            ],
            readmitted: (0..SEVERITY.len() * DAY_BANDS * AGE_BANDS).map(readmitted).collect(),
        }
    }

    /// Draws one row.
    pub(super) fn draw(&self, draws: &mut Draws) -> Record {
        let mut row = Record {
            age: 0.0,
            sex: draw_place(draws, &self.sex),
            region: draw_place(draws, &self.region),
            smoker: 0,
            insurance: 0,
            diagnosis: 0,
            severity: 0,
            ward: 0,
            temperature: 0.0,
            creatinine: None,
            days: 0.0,
            cost: 0.0,
            readmitted: 0,
        };
        row.insurance = draw_place(draws, &self.insurance[row.region]);
        let p = self.age[row.insurance];
        let zero = libm::exp(log_binomial(0.0, p));
        row.age = draw_count(draws, AGES, zero, |age| (AGES as f64 + 1.0 - age) / age * p / (1.0 - p));
        row.smoker = draw_place(draws, &self.smoker[row.of_smoker()]);
        row.diagnosis = draw_place(draws, &self.diagnosis[row.of_diagnosis()]);
        row.severity = draw_place(draws, &self.severity[row.diagnosis]);
        row.ward = draw_place(draws, &self.ward[row.diagnosis]);
        let cents = |value: f64| libm::rint(value * 100.0) / 100.0;
        let mut normal = || f64::from(draws.normal());
        let [mean, sd] = self.temperature[row.diagnosis];
        row.temperature = cents(mean + sd * normal());
        let [mean, sd] = self.creatinine[row.severity];
        let creatinine = cents(libm::exp(mean + sd * normal()));
        let noise = normal();
        let missing = self.missing[row.severity];
        row.creatinine = (draw_place(draws, &[missing, 1.0 - missing]) == 1).then_some(creatinine.max(0.01));
        let mean_days = self.days[row.severity];
        let p = mean_days / (mean_days + FAILURES);
        let zero = libm::exp(log_negative_binomial(0.0, mean_days));
        row.days = draw_count(draws, DAYS, zero, |days| (days + FAILURES - 1.0) / days * p);
        let [mean, slope, sd] = self.cost[row.ward];
        row.cost = cents(libm::exp(mean + slope * row.days + sd * noise));
        row.readmitted = draw_place(draws, &self.readmitted[row.of_readmitted()]);
        row
    }

    /// Returns the log probability of each column, or its log density per unit, given the columns that it
    /// depends on, in the order of columns; −∞ if impossible.
    pub fn terms(&self, row: &Record) -> [f64; 13] {
        let pick = |probabilities: &[f64], place: usize| libm::log(probabilities[place]);
        let [mean, sd] = self.temperature[row.diagnosis];
        let temperature = log_normal_density(row.temperature, mean, sd);
        let missing = self.missing[row.severity];
        let creatinine = row.creatinine.map_or(libm::log(missing), |creatinine| {
            let [mean, sd] = self.creatinine[row.severity];
            libm::log(1.0 - missing) + log_of_log_normal(creatinine, mean, sd)
        });
        let [mean, slope, sd] = self.cost[row.ward];
        [
            log_binomial(row.age, self.age[row.insurance]),
            pick(&self.sex, row.sex),
            pick(&self.region, row.region),
            pick(&self.smoker[row.of_smoker()], row.smoker),
            pick(&self.insurance[row.region], row.insurance),
            pick(&self.diagnosis[row.of_diagnosis()], row.diagnosis),
            pick(&self.severity[row.diagnosis], row.severity),
            pick(&self.ward[row.diagnosis], row.ward),
            temperature,
            creatinine,
            log_negative_binomial(row.days, self.days[row.severity]),
            log_of_log_normal(row.cost, mean + slope * row.days, sd),
            pick(&self.readmitted[row.of_readmitted()], row.readmitted),
        ]
    }

    /// Returns the log density of a row, in nats, with the units °C, mg/dl and the currency; −∞ if the row is
    /// impossible.
    pub fn log_density(&self, row: &Record) -> f64 {
        self.terms(row).iter().sum()
    }

    /// As [`log_density`](Self::log_density), but no column counts less than [`FLOOR`], so that a single
    /// impossible value does not dominate the mean over rows.
    pub fn score(&self, row: &Record) -> f64 {
        self.terms(row).iter().map(|term| term.max(FLOOR)).sum()
    }

    /// Returns the mean of [`score`](Self::score) over rows, and its standard error.
    pub fn mean_score(&self, rows: &[Record]) -> (f64, f64) {
        let n = rows.len() as f64;
        let scores: Vec<f64> = rows.iter().map(|row| self.score(row)).collect();
        let mean = scores.iter().sum::<f64>() / n;
        let square = scores.iter().map(|score| (score - mean) * (score - mean)).sum::<f64>();
        (mean, (square / (n - 1.0).max(1.0) / n).sqrt())
    }

    /// Returns the names of the columns in the order of [`terms`](Self::terms).
    pub fn columns() -> [&'static str; 13] {
        COLUMNS
    }

    /// Checks the number of states of each list of parameters; a test compares it with the texts.
    #[cfg(test)]
    pub(super) fn check(&self) {
        use super::{DIAGNOSIS, INSURANCE, REGION, WARD};
        let sizes = |rows: &[Vec<f64>], states: usize, places: usize| {
            assert_eq!(rows.len(), states);
            for row in rows {
                assert!(row.len() == places && (row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{row:?}");
            }
        };
        sizes(std::slice::from_ref(&self.sex), 1, 2);
        sizes(std::slice::from_ref(&self.region), 1, REGION.len());
        sizes(&self.insurance, REGION.len(), INSURANCE.len());
        sizes(&self.smoker, AGE_BANDS * 2, 2);
        sizes(&self.diagnosis, AGE_BANDS * 2, DIAGNOSIS.len());
        sizes(&self.severity, DIAGNOSIS.len(), SEVERITY.len());
        sizes(&self.ward, DIAGNOSIS.len(), WARD.len());
        sizes(&self.readmitted, SEVERITY.len() * DAY_BANDS * AGE_BANDS, 2);
    }
}

/// Draws a count up to `most`. `zero` is the probability of zero, and `ratio` gives the probability of each
/// count relative to the previous one.
fn draw_count(draws: &mut Draws, most: usize, zero: f64, ratio: impl Fn(f64) -> f64) -> f64 {
    let mut left = (f64::from(draws.bits()) + 0.5) / 4_294_967_296.0;
    let mut probability = zero;
    for count in 0..most {
        left -= probability;
        if left < 0.0 {
            return count as f64;
        }
        probability *= ratio(count as f64 + 1.0);
    }
    most as f64
}

/// Returns the log probability of this number of successes in 110 trials.
pub(super) fn log_binomial(successes: f64, p: f64) -> f64 {
    let trials = AGES as f64;
    if !(0.0..=trials).contains(&successes) || libm::rint(successes) != successes {
        return f64::NEG_INFINITY;
    }
    let ways =
        libm::lgamma(trials + 1.0) - libm::lgamma(successes + 1.0) - libm::lgamma(trials - successes + 1.0);
    ways + successes * libm::log(p) + (trials - successes) * libm::log(1.0 - p)
}

/// Returns the log probability of this number of successes before the second failure, for this mean.
pub(super) fn log_negative_binomial(count: f64, mean: f64) -> f64 {
    if count < 0.0 || libm::rint(count) != count {
        return f64::NEG_INFINITY;
    }
    let p = mean / (mean + FAILURES);
    let ways = libm::lgamma(count + FAILURES) - libm::lgamma(FAILURES) - libm::lgamma(count + 1.0);
    ways + FAILURES * libm::log(1.0 - p) + count * libm::log(p)
}

fn log_normal_density(x: f64, mean: f64, sd: f64) -> f64 {
    let z = (x - mean) / sd;
    -0.5 * z * z - libm::log(sd) - 0.5 * libm::log(std::f64::consts::TAU)
}

/// Returns the log of the log-normal density: the density of ln x times dln x / dx.
fn log_of_log_normal(x: f64, mean: f64, sd: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let log = libm::log(x);
    log_normal_density(log, mean, sd) - log
}
