//! Scores of predictions: accuracy, F1, ROC AUC, log loss and R².

use serde::{Deserialize, Serialize};

use crate::table::{Error, Result};

/// The scores of a classifier on test rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of rows whose most probable class is the true one.
    pub accuracy: f64,
    /// F1 of the positive class, if it is named and there are two classes.
    pub f1: Option<f64>,
    /// Mean F1 of the classes that occur in the truth or the prediction.
    pub macro_f1: f64,
    /// Area under the ROC curve, ties counting half; for more than two classes, the mean of each against the
    /// rest.
    pub auc: Option<f64>,
    /// Mean −log p of the true class in nats; p is at least 2.2·10⁻¹⁶.
    pub log_loss: f64,
}

/// Scores class probabilities, row-major (rows × classes), against labels below `classes`.
///
/// # Errors
/// [`Error::Length`] if their lengths do not match, [`Error::TooFewRows`] without rows.
pub fn score(probabilities: &[f64], labels: &[u32], classes: usize, positive: Option<u32>) -> Result<Scores> {
    if labels.is_empty() {
        return Err(Error::TooFewRows { whose: "test", needed: 1, found: 0 });
    }
    if probabilities.len() != labels.len() * classes {
        let (found, expected) = (probabilities.len(), labels.len() * classes);
        return Err(Error::Length { what: "class probabilities", found, expected });
    }
    let predicted = most_probable(probabilities, classes);
    let rows = labels.len() as f64;
    let hits = predicted.iter().zip(labels).filter(|(guess, label)| guess == label).count();
    let loss = labels.iter().enumerate().map(|(row, &label)| {
        -libm::log(probabilities[row * classes + label as usize].clamp(f64::EPSILON, 1.0))
    });
    let of = |class: u32| {
        let scores: Vec<f64> = probabilities.iter().skip(class as usize).step_by(classes).copied().collect();
        let truth: Vec<bool> = labels.iter().map(|&label| label == class).collect();
        roc_auc(&scores, &truth)
    };
    let auc = if classes == 2 {
        of(positive.unwrap_or(1))
    } else {
        crate::table::quality::mean((0..classes as u32).filter_map(of))
    };
    Ok(Scores {
        accuracy: hits as f64 / rows,
        f1: positive.filter(|_| classes == 2).map(|positive| f1(&predicted, labels, positive)),
        macro_f1: macro_f1(&predicted, labels, classes),
        auc,
        log_loss: loss.sum::<f64>() / rows,
    })
}

/// Returns the first most probable class of each row.
pub fn most_probable(probabilities: &[f64], classes: usize) -> Vec<u32> {
    let best = |row: &[f64]| {
        let better = |best: usize, class: usize| if row[class] > row[best] { class } else { best };
        (1..row.len()).fold(0, better) as u32
    };
    probabilities.chunks_exact(classes.max(1)).map(best).collect()
}

/// Returns 2·TP/(2·TP + FP + FN) of one class; 0 if the class is neither true nor predicted anywhere.
pub fn f1(predicted: &[u32], labels: &[u32], class: u32) -> f64 {
    let (mut hits, mut wrong) = (0usize, 0usize);
    for (&guess, &label) in predicted.iter().zip(labels) {
        hits += usize::from(guess == class && label == class);
        wrong += usize::from((guess == class) != (label == class));
    }
    if hits == 0 { 0.0 } else { 2.0 * hits as f64 / (2 * hits + wrong) as f64 }
}

/// Returns the mean [`f1`] of the classes that are true or predicted somewhere.
pub fn macro_f1(predicted: &[u32], labels: &[u32], classes: usize) -> f64 {
    let mut present = vec![false; classes];
    predicted.iter().chain(labels).for_each(|&class| present[class as usize] = true);
    let present = (0..classes as u32).filter(|&class| present[class as usize]);
    crate::table::quality::mean(present.map(|class| f1(predicted, labels, class))).unwrap_or(0.0)
}

/// Returns P(score of a true row > score of a false row), ties counting half (Mann & Whitney 1947); None with
/// a single class.
pub fn roc_auc(scores: &[f64], truth: &[bool]) -> Option<f64> {
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(truth.iter().copied()).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives = truth.iter().filter(|&&positive| positive).count() as f64;
    let negatives = truth.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut below, mut wins) = (0.0, 0.0);
    for tie in order.chunk_by(|a, b| a.0 == b.0) {
        let ours = tie.iter().filter(|(_, positive)| *positive).count() as f64;
        let theirs = tie.len() as f64 - ours;
        wins += ours * (below + theirs / 2.0);
        below += theirs;
    }
    Some(wins / (positives * negatives))
}

/// Returns 1 − Σ(y − ŷ)²/Σ(y − ȳ)²; None if y is constant, or so large that the squares overflow.
pub fn r2(predicted: &[f64], truth: &[f64]) -> Option<f64> {
    let mean = crate::table::quality::mean(truth.iter().copied())?;
    let total: f64 = truth.iter().map(|y| (y - mean) * (y - mean)).sum();
    let residual: f64 = truth.iter().zip(predicted).map(|(y, guess)| (y - guess) * (y - guess)).sum();
    let r2 = 1.0 - residual / total;
    (total > 0.0 && total.is_finite() && r2.is_finite()).then_some(r2)
}

#[cfg(test)]
mod tests {
    use super::*;

    // from sklearn.metrics import *
    // y = [0, 0, 1, 1, 1, 0]; p = [.1, .6, .6, .9, .3, .2]; c = [int(v > .5) for v in p]
    // accuracy_score(y, c), f1_score(y, c), f1_score(y, c, average='macro'), roc_auc_score(y, p), log_loss(y, p)
    #[test]
    fn scores_are_those_of_scikit_learn() {
        let p = [0.1, 0.6, 0.6, 0.9, 0.3, 0.2];
        let probabilities: Vec<f64> = p.iter().flat_map(|p| [1.0 - p, *p]).collect();
        let scores = score(&probabilities, &[0, 0, 1, 1, 1, 0], 2, Some(1)).unwrap();
        let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        close(scores.accuracy, 0.6666666666666666);
        close(scores.f1.unwrap(), 0.6666666666666666);
        close(scores.macro_f1, 0.6666666666666666);
        close(scores.auc.unwrap(), 0.8333333333333334);
        close(scores.log_loss, 0.5108256237659906);
    }

    #[test]
    fn undefined_scores_are_none_or_zero() {
        assert_eq!(roc_auc(&[0.1, 0.2], &[true, true]), None);
        assert_eq!(r2(&[1.0, 2.0], &[3.0, 3.0]), None);
        assert_eq!(r2(&[0.0, 0.0], &[1e300, -1e300]), None);
        assert_eq!(r2(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), Some(1.0));
        assert_eq!(f1(&[0, 0], &[1, 1], 1), 0.0);
        assert!(matches!(score(&[0.5], &[0], 2, None), Err(Error::Length { .. })));
    }
}
