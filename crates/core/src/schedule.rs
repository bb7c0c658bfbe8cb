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
    /// Constant in each of `count` stages. Every stage is `ratio` times as long as the one before, and the
    /// factor falls geometrically from 1 to `to`. With 8 stages, ratio 3 and `to` 0.1, this is the schedule
    /// of Burda et al. 2016.
    Stages {
        /// Number of stages.
        count: u32,
        /// Length of a stage, divided by that of the stage before.
        ratio: f64,
        /// Factor in the last stage.
        to: f64,
    },
}

/// Maximum number of stages; with more, the first would be shorter than a step.
const MOST_STAGES: u32 = 64;

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
            Self::Stages { count, ratio, to } => {
                // The first `n` stages have the length 1 + ratio + … + ratio^(n − 1), in units of the first.
                let length = |n: u32| (0..n).fold(0.0_f64, |sum, _| sum * ratio + 1.0);
                let ends = |n: u32| total as f64 * length(n) / length(*count);
                let stage = (1..*count).filter(|&n| step as f64 >= ends(n)).count();
                libm::pow(*to, stage as f64 / f64::from(count.saturating_sub(1).max(1)))
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
            Self::Stages { count, .. } if !(1..=MOST_STAGES).contains(count) => {
                Some("`count` must lie in [1, 64]")
            }
            Self::Stages { ratio, .. } if !(1.0..=1000.0).contains(ratio) => {
                Some("`ratio` must lie in [1, 1000]")
            }
            Self::Stages { to, .. } if !(*to > 0.0 && *to <= 1.0) => Some("`to` must lie in (0, 1]"),
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
        // Three stages of 1, 3 and 9 passes over the data, of ten steps each.
        let stages = Schedule::Stages { count: 3, ratio: 3.0, to: 0.01 };
        let factors = [0, 9, 10, 39, 40, 129].map(|s| stages.factor(s, 130));
        for (factor, expected) in factors.into_iter().zip([1.0, 1.0, 0.1, 0.1, 0.01, 0.01]) {
            assert!((factor - expected).abs() < 1e-12, "{factors:?}");
        }
        assert_eq!(Schedule::Stages { count: 1, ratio: 3.0, to: 0.1 }.factor(5, 10), 1.0);
        assert_eq!([0, 3, 4, 9].map(|s| warmup(s, 4)), [0.25, 1.0, 1.0, 1.0]);
        assert_eq!(warmup(0, 0), 1.0);
    }

    /// Burda et al. 2016: stage i = 1, …, 8 has 3^(i − 1) passes at a rate of 0.001 · 10^(−(i − 1) / 7), 3,280 passes
    /// in all.
    #[test]
    fn stages_are_those_of_the_importance_weighted_autoencoder() {
        let schedule = Schedule::Stages { count: 8, ratio: 3.0, to: 0.1 };
        let (pass, mut first) = (2980, 0);
        for (stage, passes) in [1, 3, 9, 27, 81, 243, 729, 2187].into_iter().enumerate() {
            let last = first + pass * passes - 1;
            let expected = 10f64.powf(-(stage as f64) / 7.0);
            for step in [first, last] {
                let factor = schedule.factor(step, 3280 * pass);
                assert!((factor - expected).abs() < 1e-12, "step {step}: {factor} against {expected}");
            }
            first = last + 1;
        }
        assert_eq!(first, 3280 * pass);
    }

    #[test]
    fn stages_without_a_meaning_are_refused() {
        let stages = |count, ratio, to| Schedule::Stages { count, ratio, to }.problem();
        assert_eq!(stages(8, 3.0, 0.1), None);
        assert!(stages(0, 3.0, 0.1).is_some_and(|reason| reason.contains("count")));
        assert!(stages(8, 0.5, 0.1).is_some_and(|reason| reason.contains("ratio")));
        assert!(stages(8, f64::NAN, 0.1).is_some_and(|reason| reason.contains("ratio")));
        assert!(stages(8, 3.0, 0.0).is_some_and(|reason| reason.contains("to")));
    }
}
