//! The classifier two-sample test (Lopez-Paz & Oquab 2017): can a classifier tell generated rows from real
//! ones?

use serde::{Deserialize, Serialize};

use crate::table::bins::Binner;
use crate::table::boosting::{Boosting, BoostingConfig};
use crate::table::features::{Encoder, Scaling};
use crate::table::linear::{Linear, LinearConfig};
use crate::table::nearest::sample;
use crate::table::{Error, Frame, Result, scores};
use waxwork_core::rng::Stream;

/// The classifier of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// Logistic regression on robustly scaled numbers and one-hot categories: SDMetrics' `LogisticDetection`.
    /// It cannot use relations between columns.
    Logistic,
    /// Gradient boosted trees, which use relations between columns.
    Boosting,
}

/// The result of a two-sample test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct C2st {
    /// The classifier.
    pub judge: Judge,
    /// 1 − mean over folds of (2·max(AUC, ½) − 1), in [0, 1]: SDMetrics' score. 1 means indistinguishable.
    pub score: f64,
    /// Mean AUC of the folds; ½ means indistinguishable.
    pub auc: f64,
    /// Mean accuracy of the folds; ½ means indistinguishable, because both sides have the same number of
    /// rows.
    pub accuracy: f64,
    /// The AUC of each fold.
    pub folds: Vec<f64>,
    /// Number of rows of each side.
    pub rows: usize,
}

/// Cross-validates `judge`: trains on all folds but one and judges that one, for each fold. Both sides get
/// the number of rows of the smaller one, at most `rows`. Folds are stratified and drawn by `seed`.
///
/// # Errors
/// [`Error::TooFewRows`] below two rows of each side per fold, [`Error::Setting`] below two folds.
pub fn c2st(
    real: &Frame,
    synthetic: &Frame,
    judge: Judge,
    folds: usize,
    rows: usize,
    seed: u64,
) -> Result<C2st> {
    if folds < 2 {
        return Err(Error::Setting { key: "folds", value: folds as f64, reason: "at least two are needed" });
    }
    let rows = real.rows().min(synthetic.rows()).min(rows);
    if rows < 2 * folds {
        let whose = if real.rows() <= synthetic.rows() { "real" } else { "synthetic" };
        return Err(Error::TooFewRows { whose, needed: 2 * folds, found: rows });
    }
    let (real, synthetic) =
        (sample(real, rows, seed, "table/c2st/real"), sample(synthetic, rows, seed, "table/c2st/synthetic"));
    let both = real.followed_by(&synthetic);
    let fold_of = assign(rows, folds, seed);
    let (mut aucs, mut accuracies) = (Vec::with_capacity(folds), Vec::with_capacity(folds));
    for fold in 0..folds {
        let pick = |inside: bool| -> Vec<u32> {
            (0..2 * rows as u32).filter(|&row| (fold_of[row as usize] == fold) == inside).collect()
        };
        let (train, test) = (pick(false), pick(true));
        let labels =
            |of: &[u32]| -> Vec<u32> { of.iter().map(|&row| u32::from((row as usize) < rows)).collect() };
        let (train_rows, test_rows) = (both.pick(&train), both.pick(&test));
        let probabilities = judge.probabilities(&train_rows, &labels(&train), &test_rows);
        let result = scores::score(&probabilities, &labels(&test), 2, Some(1))?;
        aucs.push(result.auc.unwrap_or(0.5));
        accuracies.push(result.accuracy);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let tells: Vec<f64> = aucs.iter().map(|auc| 2.0 * auc.max(0.5) - 1.0).collect();
    Ok(C2st {
        judge,
        score: 1.0 - mean(&tells),
        auc: mean(&aucs),
        accuracy: mean(&accuracies),
        folds: aucs,
        rows,
    })
}

/// Returns the fold of each row; both sides have the same number of rows.
fn assign(rows: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut fold_of = vec![0; 2 * rows];
    for side in 0..2 {
        let order = Stream::new(seed, "table/c2st/folds", side).permutation(rows);
        for (place, row) in order.into_iter().enumerate() {
            fold_of[side as usize * rows + row as usize] = place % folds;
        }
    }
    fold_of
}

impl Judge {
    fn probabilities(self, train: &Frame, labels: &[u32], test: &Frame) -> Vec<f64> {
        match self {
            Self::Logistic => {
                let encoder = Encoder::fit(train, Scaling::Robust);
                let weights = vec![1.0; labels.len()];
                let config = LinearConfig::default();
                let model = Linear::classify(&encoder.apply(train), labels, 2, &weights, &config);
                model.predict(&encoder.apply(test))
            }
            Self::Boosting => {
                let binner = Binner::fit(train);
                let config = BoostingConfig { rounds: 100, ..BoostingConfig::default() };
                let model = Boosting::classify(&binner.apply(train), labels, 2, &config);
                model.predict(&binner.apply(test))
            }
        }
    }
}
