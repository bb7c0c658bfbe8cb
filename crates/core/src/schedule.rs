//! Learning-rate schedules: a factor on the base rate as a function of the step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate changes over a run. `step` counts from 0, `total` is the length of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// 1 until the fraction `from` of the run, then linearly down to `to` at its end.
    Linear {
        /// Fraction of the run at which the decay starts, in [0, 1).
        #[serde(default)]
        from: f64,
        /// Factor at the end.
        #[serde(default)]
        to: f64,
    },
    /// Half a cosine from 1 down to `to` (Loshchilov & Hutter 2017, without restarts).
    Cosine {
        /// Factor at the end.
        #[serde(default)]
        to: f64,
    },
    /// Multiplied by `factor` at each of the `milestones`, which are steps.
    Steps {
        /// Steps at which the factor is applied.
        milestones: Vec<u64>,
        /// What each milestone multiplies by.
        factor: f64,
    },
}

impl Schedule {
    /// The factor on the base rate at `step` of `total`.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let progress = if total == 0 { 0.0 } else { (step as f64 / total as f64).min(1.0) };
        match self {
            Self::Constant => 1.0,
            Self::Linear { from, to } => {
                let decay = ((progress - from) / (1.0 - from)).clamp(0.0, 1.0);
                1.0 + (to - 1.0) * decay
            }
            Self::Cosine { to } => to + (1.0 - to) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress)),
            Self::Steps { milestones, factor } => {
                factor.powi(milestones.iter().filter(|&&milestone| step >= milestone).count() as i32)
            }
        }
    }

    /// Says what is wrong with the values, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Linear { from, .. } if !(0.0..1.0).contains(from) => Some("`from` must lie in [0, 1)"),
            Self::Linear { to, .. } | Self::Cosine { to } if !(0.0..=1.0).contains(to) => {
                Some("`to` must lie in [0, 1]")
            }
            Self::Steps { factor, .. } if !(*factor > 0.0 && factor.is_finite()) => {
                Some("`factor` must be positive")
            }
            _ => None,
        }
    }
}

/// The warm-up factor: it rises linearly from `1 / steps` to 1 over the first `steps` steps. It is always 1
/// if `steps` is 0.
pub fn warmup(step: u64, steps: u64) -> f64 {
    if step >= steps { 1.0 } else { (step + 1) as f64 / steps as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_match_their_formulas() {
        assert_eq!(Schedule::Constant.factor(7, 10), 1.0);
        let linear = Schedule::Linear { from: 0.5, to: 0.0 };
        assert_eq!([0, 5, 10].map(|s| linear.factor(s, 10)), [1.0, 1.0, 0.0]);
        assert!((linear.factor(75, 100) - 0.5).abs() < 1e-12);
        let cosine = Schedule::Cosine { to: 0.1 };
        assert!((cosine.factor(50, 100) - 0.55).abs() < 1e-12);
        assert!((cosine.factor(100, 100) - 0.1).abs() < 1e-12);
        let steps = Schedule::Steps { milestones: vec![10, 20], factor: 0.5 };
        assert_eq!([9, 10, 20].map(|s| steps.factor(s, 30)), [1.0, 0.5, 0.25]);
        assert_eq!([0, 3, 4, 9].map(|s| warmup(s, 4)), [0.25, 1.0, 1.0, 1.0]);
        assert_eq!(warmup(0, 0), 1.0);
    }
}
