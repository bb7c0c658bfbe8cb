//! Coverage of a mixture with known modes by points: modes found, the share of points near a mode, and the
//! points' log density under the true mixture.

use waxwork_core::Device;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_data::Split;
use waxwork_data::embedded::PlaneMixture;

use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};
use crate::{Error, Result};

/// A point is of high quality within this number of standard deviations of a mode (Srivastava et al. 2017).
const NEAR: f64 = 3.0;

/// Coverage of a mixture by points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Covered {
    /// Modes with at least one point of high quality.
    pub modes: usize,
    /// Share of the points that are of high quality.
    pub high_quality: f64,
    /// KL divergence of the modes' shares among points of high quality from the uniform distribution, in
    /// nats.
    pub mode_kl: f64,
    /// Log density of a point under the mixture, in nats.
    pub log_density: Estimate,
    /// Number of points.
    pub points: usize,
}

/// Coverage by generated points and by real ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Number of modes.
    pub modes: usize,
    /// Coverage by generated points.
    pub generated: Covered,
    /// Coverage by the same number of real points, or by all if there are fewer.
    pub real: Covered,
}

/// Measures generated points in the plane, and the same number of real ones, against the mixture that the
/// real ones are drawn from.
///
/// # Errors
/// If points cannot be read, do not have two coordinates, or there are none.
pub fn coverage(truth: &PlaneMixture, generated: &Split, real: &Split) -> Result<Coverage> {
    let of = |split: &Split| covered(truth, &points(split)?);
    let real = of(&real.subset(generated.len()))?;
    Ok(Coverage { modes: truth.centres.len(), generated: of(generated)?, real })
}

/// Measures how points cover a mixture.
///
/// # Errors
/// [`Error::TooFew`] if there are none.
pub fn covered(truth: &PlaneMixture, points: &[[f64; 2]]) -> Result<Covered> {
    if points.is_empty() {
        return Err(Error::TooFew { whose: "real or generated", needed: 1, found: 0 });
    }
    let mut counts = vec![0usize; truth.centres.len()];
    for &point in points {
        let (mode, distance) = truth.nearest(point);
        if distance <= NEAR * truth.std {
            counts[mode] += 1;
        }
    }
    let near: usize = counts.iter().sum();
    let share = |count: usize| count as f64 / near.max(1) as f64;
    let kl = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| share(count) * libm::log(share(count) * counts.len() as f64));
    let densities: Vec<f64> = points.iter().map(|&point| truth.log_density(point)).collect();
    Ok(Covered {
        modes: counts.iter().filter(|&&count| count > 0).count(),
        high_quality: near as f64 / points.len() as f64,
        mode_kl: kl.sum(),
        log_density: Estimate::of(&densities),
        points: points.len(),
    })
}

fn points(split: &Split) -> Result<Vec<[f64; 2]>> {
    let mut points = Vec::with_capacity(split.len());
    for batch in split.batches(EVALUATION_BATCH, &Device::Cpu)? {
        let rows = batch?.inputs.to_vec2::<f32>().map_err(waxwork_core::Error::from)?;
        for row in rows {
            let &[x, y] = row.as_slice() else {
                return Err(Error::Dimensions { needed: 2, found: row.len() });
            };
            points.push([f64::from(x), f64::from(y)]);
        }
    }
    Ok(points)
}

impl Coverage {
    /// Returns its metrics under a protocol, each with that of real points as the floor.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), self.generated.points.to_string());
        protocol.insert("n_real".into(), self.real.points.to_string());
        protocol.insert("high quality".into(), format!("within {NEAR} standard deviations of a mode"));
        let mut modes = protocol.clone();
        modes.insert("modes".into(), format!("{}, found by a point of high quality", self.modes));
        let mut density = protocol.clone();
        density.insert("density".into(), "of generated points under the true mixture".into());
        let (generated, real) = (&self.generated, &self.real);
        let metric = |name: &str, value: f64, floor: f64, protocol: &Protocol| {
            Metric::new(name, value, protocol).floor(floor)
        };
        let log = generated.log_density;
        vec![
            metric("modes_covered", generated.modes as f64, real.modes as f64, &modes).higher(),
            metric("high_quality", generated.high_quality, real.high_quality, &protocol).higher(),
            metric("mode_kl", generated.mode_kl, real.mode_kl, &modes).nats().lower(),
            metric("true_log_density", log.mean, real.log_density.mean, &density)
                .nats()
                .within(log.interval()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collapsed_model_covers_one_mode_at_high_quality() {
        let truth = PlaneMixture::ring(0.05);
        let one = covered(&truth, &[[1.0, 0.0], [1.0, 0.1], [1.1, 0.0], [0.0, 0.0]]).unwrap();
        assert_eq!((one.modes, one.high_quality), (1, 0.75));
        // All the mass in one of eight modes: the KL divergence is ln 8.
        assert!((one.mode_kl - 8f64.ln()).abs() < 1e-12);
        let all = covered(&truth, &truth.centres).unwrap();
        assert_eq!((all.modes, all.high_quality), (8, 1.0));
        assert!(all.mode_kl.abs() < 1e-12);
        // At the centre of one of K distant modes: ln 1/K − ln 2πσ².
        let peak = -(8f64.ln()) - (std::f64::consts::TAU * 0.05 * 0.05).ln();
        assert!((all.log_density.mean - peak).abs() < 1e-9);
        assert!(covered(&truth, &[]).is_err());
    }
}
