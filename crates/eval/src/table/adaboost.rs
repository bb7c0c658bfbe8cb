//! AdaBoost with decision stumps: SAMME (Zhu et al. 2009), with the defaults of scikit-learn's
//! `AdaBoostClassifier`.

use crate::table::bins::Binned;
use crate::table::boosting::softmax;
use crate::table::cart::DecisionTree;
use crate::table::scores::most_probable;
use crate::table::trees::Growth;

/// AdaBoost.
#[derive(Clone, Debug)]
pub struct AdaBoost {
    stumps: Vec<(DecisionTree, f64)>,
    classes: usize,
}

impl AdaBoost {
    /// Boosts `rounds` stumps (50 in scikit-learn). Each gets the weight ln((1 − e)/e) + ln(K − 1), where e
    /// is its weighted error. The rows that it misclassifies are then multiplied by the exponential of that
    /// weight.
    pub fn fit(data: &Binned, labels: &[u32], classes: usize, rounds: usize) -> Self {
        let growth = Growth {
            max_depth: 1,
            max_leaves: None,
            min_rows: 1,
            min_weight: 0.0,
            lambda: 0.0,
            features: None,
        };
        let mut weights = vec![1.0 / labels.len() as f64; labels.len()];
        let mut stumps = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let stump = DecisionTree::fit(data, labels, classes, &weights, &growth);
            let guesses = most_probable(&stump.probabilities(data), classes);
            let wrong = |row: &usize| guesses[*row] != labels[*row];
            let error: f64 = (0..labels.len()).filter(wrong).map(|row| weights[row]).sum();
            if error <= 0.0 {
                stumps.push((stump, 1.0));
                break;
            }
            if error >= 1.0 - 1.0 / classes as f64 {
                if stumps.is_empty() {
                    stumps.push((stump, 1.0));
                }
                break;
            }
            let say = libm::log((1.0 - error) / error) + libm::log(classes as f64 - 1.0);
            (0..labels.len()).filter(wrong).for_each(|row| weights[row] *= libm::exp(say));
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            stumps.push((stump, say));
        }
        Self { stumps, classes }
    }

    /// Returns class probabilities, (rows, classes): the softmax of d/(K − 1), where d is the weighted share
    /// of the stumps' votes and each vote for another class counts −1/(K − 1).
    pub fn probabilities(&self, data: &Binned) -> Vec<f64> {
        let classes = self.classes;
        let mut votes = vec![0.0; data.rows * classes];
        let total: f64 = self.stumps.iter().map(|(_, say)| say).sum();
        let others = (classes as f64 - 1.0).max(1.0);
        for (stump, say) in &self.stumps {
            let guesses = most_probable(&stump.probabilities(data), classes);
            for (votes, guess) in votes.chunks_exact_mut(classes).zip(guesses) {
                for (class, vote) in votes.iter_mut().enumerate() {
                    *vote += if class == guess as usize { say / total } else { -say / total / others };
                }
            }
        }
        for votes in votes.chunks_exact_mut(classes) {
            // For two classes scikit-learn takes the difference d of the votes and the softmax of (−d/2,
            // d/2).
            votes.iter_mut().for_each(|vote| *vote /= others);
            softmax(votes);
        }
        votes
    }
}
