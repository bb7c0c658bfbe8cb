//! Modes of a column of numbers: a one-dimensional variational Gaussian mixture with a Dirichlet process
//! prior, fitted to distinct values with counts.
//!
//! The model is Blei & Jordan's (2006) truncated stick-breaking process with a normal–Wishart prior on the
//! components. Updates and bound are those of Bishop (2006), section 10.2, in scikit-learn's parametrisation,
//! which normalises a component's precision by its degrees of freedom. From the same start, scikit-learn's
//! `BayesianGaussianMixture` computes the same numbers.

mod special;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::exponential::exp;
use special::{digamma, log_beta, log_gamma};

/// Distinct values that one thread sums. The order of summation does not depend on the number of threads.
const CHUNK: usize = 1024;
/// Maximum number of components of a mixture.
pub const COMPONENTS: usize = 10;
/// Responsibilities with a logarithm below this are zero: e⁻⁶⁰ is 10⁻²⁶.
const NEGLIGIBLE: f64 = -60.0;

/// A mode of the numbers of a column.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// Share of the column's numbers, 0 to 1.
    pub weight: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation; 0 for a point, a single value that many rows have.
    pub sd: f64,
}

impl Mode {
    /// Whether all its numbers are equal.
    pub fn is_point(&self) -> bool {
        self.sd == 0.0
    }
}

/// Settings of a fit. The default is scikit-learn's, with the weight concentration of CTGAN's paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Concentration of the prior on the stick-breaking weights: the lower, the fewer components are used.
    pub concentration: f64,
    /// Maximum number of iterations.
    pub iterations: usize,
    /// The fit has converged if the bound changes by less than this.
    pub tolerance: f64,
    /// Added to variances.
    pub regularisation: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { concentration: 0.001, iterations: 100, tolerance: 1e-3, regularisation: 1e-6 }
    }
}

/// A fitted mixture, one entry per component.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Expected weights; they add up to 1.
    pub weights: Vec<f64>,
    /// Effective number of rows of each component: sums of responsibilities.
    pub rows: Vec<f64>,
    /// Means.
    pub means: Vec<f64>,
    /// Variances.
    pub variances: Vec<f64>,
    /// The bound after the last iteration, up to a constant.
    pub bound: f64,
    /// Number of iterations.
    pub iterations: usize,
    /// Whether the fit converged.
    pub converged: bool,
}

/// Returns the modes of ascending, distinct `values` that occur `counts` times, sorted by mean. The modes are
/// points, and the mixture components whose weight and share of rows are above 0.005.
///
/// A value in at least a tenth of the rows is a point, because no density would reproduce it exactly. The
/// mixture is fitted to the other values.
pub fn fit(values: &[f64], counts: &[u64]) -> Vec<Mode> {
    const LEAST_WEIGHT: f64 = 0.005;
    let total: u64 = counts.iter().sum();
    let is_point = |count: u64| count * COMPONENTS as u64 >= total;
    let all = || values.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0);
    let mut modes: Vec<Mode> = all()
        .filter(|(_, count)| is_point(*count))
        .map(|(mean, count)| Mode { weight: count as f64 / total as f64, mean, sd: 0.0 })
        .collect();
    let (values, counts): (Vec<f64>, Vec<u64>) = all().filter(|(_, count)| !is_point(*count)).unzip();
    // Ten points of a tenth each leave no rows for a mixture.
    let components = COMPONENTS.saturating_sub(modes.len()).max(1).min(values.len());
    if components > 0 {
        let rest = counts.iter().sum::<u64>() as f64 / total as f64;
        let (_, variance) = moments(&values, &counts);
        // scikit-learn's constant would dominate the variance of numbers far below 1.
        let regularisation = 1e-6 * variance.clamp(1e-200, 1.0);
        let settings = Settings { regularisation, ..Settings::default() };
        let mixture = variational(&values, &counts, &start(&counts, components), components, settings);
        // In a short table, the prior alone gives a component without rows more than the minimum weight.
        let least = LEAST_WEIGHT * mixture.rows.iter().sum::<f64>();
        let is_used = |k: &usize| mixture.weights[*k] > LEAST_WEIGHT && mixture.rows[*k] > least;
        let kept: Vec<usize> = (0..components).filter(is_used).collect();
        let sum: f64 = kept.iter().map(|k| mixture.weights[*k]).sum();
        modes.extend(kept.iter().map(|k| Mode {
            weight: rest * mixture.weights[*k] / sum,
            mean: mixture.means[*k],
            sd: mixture.variances[*k].sqrt(),
        }));
    }
    modes.sort_by(|a, b| a.mean.total_cmp(&b.mean).then(a.sd.total_cmp(&b.sd)));
    modes
}

/// Returns the start of a fit: the component of every value, by quantiles. A value with more rows than an
/// average component gets a component of its own.
pub fn start(counts: &[u64], components: usize) -> Vec<usize> {
    let mut alone = vec![false; counts.len()];
    let (mut rows, mut left) = (counts.iter().sum::<u64>(), components);
    while left > 1 {
        let heavy = |i: &usize| !alone[*i] && u128::from(counts[*i]) * left as u128 >= u128::from(rows);
        let Some(heaviest) = (0..counts.len()).filter(heavy).max_by_key(|i| counts[*i]) else { break };
        alone[heaviest] = true;
        rows -= counts[heaviest];
        left -= 1;
    }
    let (mut next, mut before) = (left, 0u64);
    let component = |(i, count): (usize, &u64)| {
        if alone[i] {
            next += 1;
            return next - 1;
        }
        // The middle of the value's rows, among all rows that share the quantiles.
        let middle = u128::from(before) * 2 + u128::from(*count);
        before += count;
        (middle * left as u128 / (u128::from(rows) * 2).max(1)) as usize
    };
    counts.iter().enumerate().map(component).collect()
}

/// Fits a mixture to values with counts, starting from the component of each value.
///
/// # Panics
/// If the slices differ in length, or a component is not below `components`.
pub fn variational(
    values: &[f64],
    counts: &[u64],
    start: &[usize],
    components: usize,
    settings: Settings,
) -> Mixture {
    assert!(
        values.len() == counts.len() && values.len() == start.len(),
        "values, counts and start differ in length"
    );
    let (mean, variance) = moments(values, counts);
    let rows = counts.iter().sum::<u64>() as f64;
    // scikit-learn's prior uses the unbiased variance.
    let prior = Prior { mean, variance: variance * rows / (rows - 1.0).max(1.0), settings };
    let mut sums = vec![Sums::default(); components];
    for ((value, count), component) in values.iter().zip(counts).zip(start) {
        sums[*component].add(value - mean, *count as f64);
    }
    let mut state: Vec<Component> = prior.maximise(&sums, &vec![mean; components]);
    let (mut bound, mut iterations, mut converged) = (f64::NEG_INFINITY, 0, false);
    while iterations < settings.iterations && !converged {
        iterations += 1;
        let (sums, entropy) = expect(values, counts, &state);
        let means: Vec<f64> = state.iter().map(|component| component.mean).collect();
        state = prior.maximise(&sums, &means);
        let next = entropy + state.iter().map(Component::bound).sum::<f64>();
        converged = (next - bound).abs() < settings.tolerance;
        bound = next;
    }
    let mut stick = 1.0;
    let mut weights: Vec<f64> = Vec::with_capacity(components);
    for component in &state {
        let (a, b) = component.concentration;
        weights.push(stick * a / (a + b));
        stick *= b / (a + b);
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    Mixture {
        weights,
        rows: state.iter().map(|component| component.freedom - 1.0).collect(),
        means: state.iter().map(|component| component.mean).collect(),
        variances: state.iter().map(|component| component.variance).collect(),
        bound,
        iterations,
        converged,
    }
}

/// Returns the mean and the variance (divided by n).
fn moments(values: &[f64], counts: &[u64]) -> (f64, f64) {
    let rows = counts.iter().sum::<u64>() as f64;
    let mean = values.iter().zip(counts).map(|(value, count)| value * *count as f64).sum::<f64>() / rows;
    let square = |(value, count): (&f64, &u64)| (value - mean) * (value - mean) * *count as f64;
    (mean, values.iter().zip(counts).map(square).sum::<f64>() / rows)
}

/// Sums over the rows of a component: their number, and powers of their differences from a centre.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    rows: f64,
    first: f64,
    second: f64,
}

impl Sums {
    fn add(&mut self, difference: f64, rows: f64) {
        self.rows += rows;
        self.first += rows * difference;
        self.second += rows * difference * difference;
    }
}

struct Prior {
    mean: f64,
    variance: f64,
    settings: Settings,
}

/// The posterior of one component.
#[derive(Clone, Copy, Debug)]
struct Component {
    /// Parameters of its stick's Beta distribution.
    concentration: (f64, f64),
    mean: f64,
    mean_precision: f64,
    freedom: f64,
    variance: f64,
}

impl Prior {
    /// Computes the posteriors from sums of differences from `centres`.
    fn maximise(&self, sums: &[Sums], centres: &[f64]) -> Vec<Component> {
        let mut behind = 0.0;
        let mut all: Vec<Component> = sums
            .iter()
            .zip(centres)
            .rev()
            .map(|(sums, centre)| {
                let rows = sums.rows + 10.0 * f64::EPSILON;
                let shift = sums.first / rows;
                let spread = (sums.second / rows - shift * shift).max(0.0) + self.settings.regularisation;
                let mean_precision = 1.0 + rows;
                let freedom = 1.0 + rows;
                let off = centre + shift - self.mean;
                let variance = self.variance + rows * spread + rows / mean_precision * off * off;
                let concentration = (1.0 + rows, self.settings.concentration + behind);
                behind += rows;
                Component {
                    concentration,
                    mean: (self.mean + rows * (centre + shift)) / mean_precision,
                    mean_precision,
                    freedom,
                    variance: variance / freedom,
                }
            })
            .collect();
        all.reverse();
        all
    }
}

impl Component {
    /// Returns the component's term of the bound, up to a constant.
    fn bound(&self) -> f64 {
        let half_log_det = -0.5 * libm::log(self.variance) - 0.5 * libm::log(self.freedom);
        let wishart = -(self.freedom * half_log_det
            + self.freedom * 0.5 * std::f64::consts::LN_2
            + log_gamma(0.5 * self.freedom));
        let (a, b) = self.concentration;
        -wishart + log_beta(a, b) - 0.5 * libm::log(self.mean_precision)
    }

    /// Returns the expected log density at the mean, without the weight.
    fn height(&self) -> f64 {
        let log_precision = -libm::log(self.variance) - libm::log(self.freedom);
        let log_lambda = std::f64::consts::LN_2 + digamma(0.5 * self.freedom);
        0.5 * (log_precision + log_lambda - 1.0 / self.mean_precision - libm::log(std::f64::consts::TAU))
    }
}

/// Returns sums weighted by responsibilities, as differences from the components' means, and the entropy of
/// the responsibilities.
fn expect(values: &[f64], counts: &[u64], state: &[Component]) -> (Vec<Sums>, f64) {
    let mut stick = 0.0;
    let heights: Vec<f64> = state
        .iter()
        .map(|component| {
            let (a, b) = component.concentration;
            let sum = digamma(a + b);
            let weight = digamma(a) - sum + stick;
            stick += digamma(b) - sum;
            weight + component.height()
        })
        .collect();
    let halves: Vec<f64> = state.iter().map(|component| -0.5 / component.variance).collect();
    let part = |(values, counts): (&[f64], &[u64])| {
        let mut sums = vec![Sums::default(); state.len()];
        let mut entropy = 0.0;
        let (mut logs, mut shares, mut differences) = (heights.clone(), heights.clone(), heights.clone());
        for (value, count) in values.iter().zip(counts) {
            for k in 0..state.len() {
                differences[k] = value - state[k].mean;
                logs[k] = heights[k] + halves[k] * differences[k] * differences[k];
            }
            let rows = *count as f64;
            shares.copy_from_slice(&logs);
            let norm = normalise(&mut shares);
            for k in (0..state.len()).filter(|k| shares[*k] > 0.0) {
                entropy -= rows * shares[k] * (logs[k] - norm);
                sums[k].add(differences[k], rows * shares[k]);
            }
        }
        (sums, entropy)
    };
    let chunks = || values.par_chunks(CHUNK).zip(counts.par_chunks(CHUNK));
    let parts: Vec<(Vec<Sums>, f64)> = chunks().map(part).collect();
    let mut all = vec![Sums::default(); state.len()];
    let mut entropy = 0.0;
    for (sums, part) in parts {
        entropy += part;
        for (all, sums) in all.iter_mut().zip(sums) {
            all.rows += sums.rows;
            all.first += sums.first;
            all.second += sums.second;
        }
    }
    (all, entropy)
}

/// Converts logarithms to shares that add up to 1. Returns the logarithm of their previous sum.
fn normalise(logs: &mut [f64]) -> f64 {
    let greatest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for log in logs.iter_mut() {
        let below = (*log - greatest).max(NEGLIGIBLE);
        *log = if below > NEGLIGIBLE { exp(below) } else { 0.0 };
    }
    logs.iter().for_each(|share| sum += share);
    logs.iter_mut().for_each(|share| *share /= sum);
    greatest + libm::log(sum)
}

/// Writes the probability of every mode, given that a number is `value`, to `shares`. A point's own value
/// belongs to the point alone.
///
/// # Panics
/// If the slices differ in length.
pub fn responsibilities(modes: &[Mode], value: f64, shares: &mut [f64]) {
    assert_eq!(modes.len(), shares.len());
    if let Some(point) = modes.iter().position(|mode| mode.is_point() && mode.mean == value) {
        shares.fill(0.0);
        shares[point] = 1.0;
        return;
    }
    for (mode, share) in modes.iter().zip(shares.iter_mut()) {
        let z = (value - mode.mean) / mode.sd;
        *share = match mode.is_point() {
            true => f64::NEG_INFINITY,
            false => libm::log(mode.weight / mode.sd) - 0.5 * z * z,
        };
    }
    if modes.iter().all(Mode::is_point) {
        // A number that was not in the training data belongs to the nearest point.
        let off = |mode: &Mode| (mode.mean - value).abs();
        let nearest = (0..modes.len()).min_by(|a, b| off(&modes[*a]).total_cmp(&off(&modes[*b])));
        shares.fill(0.0);
        nearest.into_iter().for_each(|nearest| shares[nearest] = 1.0);
        return;
    }
    normalise(shares);
}

#[cfg(test)]
mod tests;
