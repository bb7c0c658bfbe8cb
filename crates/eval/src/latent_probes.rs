//! How well latents expose the generating factors of images: what a linear map reads from all units, and
//! whether a single unit encodes a factor.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use waxwork_data::Factor;

use crate::report::{Metric, Protocol};
use crate::{Error, Features, Result};

/// Ridge penalty on the standardised units, relative to the number of images.
const RIDGE: f64 = 1e-6;
/// Bins of a unit and of a quantity without levels, of equal width from the smallest to the largest value.
const BINS: usize = 20;

/// The probe of one factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The factor's name.
    pub name: &'static str,
    /// Whether the factor is categorical.
    pub is_kind: bool,
    /// Score on images that the linear map was not fitted to: accuracy for a category, R² for a quantity; 1
    /// is best.
    pub score: f64,
}

/// Linear probes and the mutual information gap of codes with respect to generating factors.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentProbes {
    /// Number of images.
    pub images: usize,
    /// One probe per factor.
    pub probes: Vec<Probe>,
    /// Mutual information gap (Chen et al. 2018): the mutual information of a factor with the most
    /// informative unit, minus that with the second, divided by the factor's entropy; averaged over the
    /// factors. From 0 to 1.
    pub gap: f64,
}

impl LatentProbes {
    /// Measures `codes`, one row per image, against the factors of the same images.
    ///
    /// # Errors
    /// [`Error::Lengths`] if the numbers of codes and factors differ, [`Error::TooFew`] if there are fewer
    /// than four images.
    pub fn of(codes: &Features, factors: &[Vec<Factor>]) -> Result<Self> {
        let n = codes.rows();
        if factors.len() != n {
            return Err(Error::Lengths { codes: n, factors: factors.len() });
        }
        if n < 4 {
            return Err(Error::TooFew { whose: "real", needed: 4, found: n });
        }
        let (width, values, plain) = (codes.columns(), standardised(codes)?, codes.values()?);
        let (mut probes, mut gaps) = (Vec::new(), Vec::new());
        for (place, factor) in factors[0].iter().enumerate() {
            let truth: Vec<f64> = factors.iter().map(|factors| f64::from(factors[place].value)).collect();
            let kinds = factor.kinds.filter(|_| !factor.ordered);
            let score = match kinds {
                Some(kinds) => accuracy(&values, width, &truth, kinds as usize)?,
                None => determination(&values, width, &truth)?,
            };
            probes.push(Probe { name: factor.name, is_kind: kinds.is_some(), score });
            gaps.extend(gap(&plain, width, &truth, factor.kinds.map(|kinds| kinds as usize)));
        }
        Ok(Self { images: n, probes, gap: gaps.iter().sum::<f64>() / gaps.len().max(1) as f64 })
    }

    /// Returns its metrics under a protocol.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_real".into(), self.images.to_string());
        let mut probed = protocol.clone();
        probed.insert(
            "probe".into(),
            "linear, of posterior means, fitted to the first half of the images, tested on the other".into(),
        );
        let probe = |probe: &Probe| {
            let measure = if probe.is_kind { "accuracy" } else { "r2" };
            Metric::new(format!("probe_{measure}_{}", probe.name), probe.score, &probed).higher()
        };
        let mut metrics: Vec<Metric> = self.probes.iter().map(probe).collect();
        protocol.insert("bins".into(), format!("{BINS} of equal width"));
        metrics.push(Metric::new("mutual_information_gap", self.gap, &protocol).higher());
        metrics
    }
}

/// Returns every unit with mean 0 and variance 1, or 0 if it is constant; row by row.
fn standardised(codes: &Features) -> Result<Vec<f64>> {
    let (means, variances, mut values) = (codes.mean()?, codes.variances()?, codes.values()?);
    for row in values.chunks_exact_mut(codes.columns()) {
        for ((value, mean), variance) in row.iter_mut().zip(&means).zip(&variances) {
            *value = if *variance > 0.0 { (*value - mean) / variance.sqrt() } else { 0.0 };
        }
    }
    Ok(values)
}

/// Returns the number of rows that a map is fitted to: the first half. Where classes take turns, every second
/// row would cover only half of the classes.
fn fitted_rows(n: usize) -> usize {
    n.div_ceil(2)
}

/// Fits ridge regression on the first half of the rows to `targets` of those rows. Returns the predictions
/// for the other rows.
fn predicted(values: &[f64], width: usize, targets: &Mat<f64>) -> Result<Mat<f64>> {
    let n = values.len() / width;
    let half = fitted_rows(n);
    let rows = |first: usize, count: usize| {
        // A last column of ones gives the intercept.
        let entry = |row: usize, column: usize| {
            if column == width { 1.0 } else { values[(first + row) * width + column] }
        };
        Mat::from_fn(count, width + 1, entry)
    };
    let fitted = rows(0, half);
    let mut normal = fitted.transpose() * &fitted;
    (0..=width).for_each(|i| normal[(i, i)] += RIDGE * n as f64);
    let solver = normal.llt(Side::Lower).map_err(|_| Error::Probe)?;
    Ok(rows(half, n - half) * solver.solve(fitted.transpose() * targets))
}

/// Returns R² of a quantity on the other rows: the share of its variance that is explained.
fn determination(values: &[f64], width: usize, truth: &[f64]) -> Result<f64> {
    let (fitted, others) = truth.split_at(fitted_rows(truth.len()));
    let said = predicted(values, width, &Mat::from_fn(fitted.len(), 1, |row, _| fitted[row]))?;
    let mean = others.iter().sum::<f64>() / others.len() as f64;
    let total: f64 = others.iter().map(|value| (value - mean).powi(2)).sum();
    let left: f64 = others.iter().enumerate().map(|(row, value)| (value - said[(row, 0)]).powi(2)).sum();
    Ok(if total > 0.0 { 1.0 - left / total } else { 0.0 })
}

/// Returns the share of the other rows whose true kind has the largest prediction.
fn accuracy(values: &[f64], width: usize, truth: &[f64], kinds: usize) -> Result<f64> {
    let (fitted, others) = truth.split_at(fitted_rows(truth.len()));
    let is = |row: usize, kind: usize| f64::from(u8::from(fitted[row] as usize == kind));
    let said = predicted(values, width, &Mat::from_fn(fitted.len(), kinds, is))?;
    let named =
        |row: usize| (0..kinds).max_by(|&a, &b| said[(row, a)].total_cmp(&said[(row, b)])).unwrap_or(0);
    let right = others.iter().enumerate().filter(|(row, kind)| named(*row) == **kind as usize);
    Ok(right.count() as f64 / others.len() as f64)
}

/// Returns the gap of one factor; None if the factor is constant.
fn gap(values: &[f64], width: usize, truth: &[f64], kinds: Option<usize>) -> Option<f64> {
    let (truth, kinds) = match kinds {
        Some(kinds) => (truth.iter().map(|&kind| kind as usize).collect(), kinds),
        None => (binned(truth), BINS),
    };
    let entropy = entropy(&counts(&truth, kinds), truth.len());
    let mut informations: Vec<f64> = (0..width)
        .map(|unit| {
            let column: Vec<f64> = values.iter().skip(unit).step_by(width).copied().collect();
            information(&binned(&column), &truth, kinds)
        })
        .collect();
    informations.sort_by(|a, b| b.total_cmp(a));
    let second = informations.get(1).copied().unwrap_or(0.0);
    (entropy > 0.0).then(|| (informations[0] - second) / entropy)
}

/// Returns the bin of each value. A value on an edge belongs to the bin above, and the edges have the bits of
/// NumPy's `histogram`.
fn binned(values: &[f64]) -> Vec<usize> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = (largest - least) / BINS as f64;
    let edges: Vec<f64> = (1..BINS).map(|edge| edge as f64 * width + least).collect();
    values.iter().map(|value| edges.partition_point(|edge| edge <= value)).collect()
}

fn counts(places: &[usize], kinds: usize) -> Vec<usize> {
    let mut counts = vec![0; kinds];
    places.iter().for_each(|&place| counts[place.min(kinds - 1)] += 1);
    counts
}

/// Returns the entropy in nats.
fn entropy(counts: &[usize], n: usize) -> f64 {
    let term = |&count: &usize| {
        let share = count as f64 / n as f64;
        if count > 0 { -share * libm::log(share) } else { 0.0 }
    };
    counts.iter().map(term).sum()
}

/// Returns I(a; b) = H(a) + H(b) − H(a, b), in nats.
fn information(a: &[usize], b: &[usize], kinds: usize) -> f64 {
    let joint: Vec<usize> = a.iter().zip(b).map(|(a, b)| a * kinds + b).collect();
    let of = |places: &[usize], kinds: usize| entropy(&counts(places, kinds), a.len());
    of(a, BINS) + of(b, kinds) - of(&joint, BINS * kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxwork_core::rng::Stream;
    use waxwork_core::{Device, Tensor};

    fn exposure(code: impl Fn(f32, u32, f32) -> Vec<f32>) -> LatentProbes {
        let mut draws = Stream::new(3, "exposure", 0).at(0);
        let (mut codes, mut factors) = (Vec::new(), Vec::new());
        for _ in 0..4000 {
            let (size, kind, noise) = (draws.between(-1.0, 1.0), draws.below(4), draws.normal());
            codes.push(code(size, kind, noise));
            factors.push(vec![Factor::quantity("size", size), Factor::kind("kind", kind, 4)]);
        }
        let width = codes[0].len();
        let codes = Tensor::from_vec(codes.concat(), (4000, width), &Device::Cpu).unwrap();
        LatentProbes::of(&Features::new("codes", &codes).unwrap(), &factors).unwrap()
    }

    fn one_hot(kind: u32) -> Vec<f32> {
        (0..4).map(|other| f32::from(u8::from(other == kind))).collect()
    }

    #[test]
    fn finds_the_factor_of_each_unit() {
        let found = exposure(|size, kind, noise| vec![3.0 * size + 7.0, kind as f32, noise]);
        assert!(found.probes[0].score > 0.9999, "{found:?}");
        // One unit per factor. Other mutual information is due to chance, with 20 · 20 bins and 4,000 images.
        assert!(found.gap > 0.95, "{found:?}");

        // After a rotation by an eighth of a turn, both factors are still linear, but neither has a unit of
        // its own.
        let turned = exposure(|size, kind, _| {
            let kind = kind as f32 / 1.5 - 1.0;
            vec![size + kind, size - kind]
        });
        assert!(turned.probes[0].score > 0.9999 && turned.gap < 0.05, "{turned:?}");

        let spread = exposure(|size, kind, _| [one_hot(kind), vec![size]].concat());
        assert!((spread.probes[1].score - 1.0).abs() < 1e-12, "{spread:?}");
    }

    #[test]
    fn finds_kinds_that_repeat_in_order() {
        let kinds: Vec<u32> = (0..40).map(|row| row % 4).collect();
        let codes =
            Tensor::from_vec(kinds.iter().flat_map(|&kind| one_hot(kind)).collect(), (40, 4), &Device::Cpu);
        let factors: Vec<_> = kinds.iter().map(|&kind| vec![Factor::kind("kind", kind, 4)]).collect();
        let found = LatentProbes::of(&Features::new("codes", &codes.unwrap()).unwrap(), &factors).unwrap();
        assert!((found.probes[0].score - 1.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn noise_and_constants_contain_no_factor() {
        let noise = exposure(|_, _, noise| vec![noise, 0.0]);
        assert!(noise.probes[0].score.abs() < 0.01 && noise.probes[1].score < 0.32, "{noise:?}");
        assert!(noise.gap < 0.05, "{noise:?}");
        let constant = exposure(|_, _, _| vec![1.0]);
        assert!(constant.probes[0].score.abs() < 0.01 && constant.gap == 0.0, "{constant:?}");
    }

    #[test]
    fn information_is_entropy_for_the_same_and_nothing_for_the_independent() {
        let a: Vec<usize> = (0..400).map(|i| i % 4).collect();
        assert!((information(&a, &a, 4) - 4f64.ln()).abs() < 1e-12);
        let b: Vec<usize> = (0..400).map(|i| i / 4 % 5).collect();
        assert!(information(&a, &b, 5).abs() < 1e-12);
    }
}
