//! Utility: train on generated rows, test on real ones (Esteban, Hyland & Rätsch 2017).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::table::adaboost::AdaBoost;
use crate::table::bins::{Binned, Binner};
use crate::table::boosting::{Boosting, BoostingConfig};
use crate::table::cart::{DecisionTree, balanced};
use crate::table::features::{Design, Encoder, Scaling};
use crate::table::forest::{Forest, ForestConfig};
use crate::table::frame::{Column, NULL};
use crate::table::linear::{Linear, LinearConfig};
use crate::table::mlp::{Mlp, MlpConfig};
use crate::table::quality::mean;
use crate::table::scores::{Scores, r2, score};
use crate::table::trees::Growth;
use crate::table::{Error, Frame, Result};

/// A classifier or regressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learner {
    /// CART of depth 15, with balanced classes. One of SDGym's four.
    DecisionTree,
    /// 50 stumps by SAMME. One of SDGym's four.
    AdaBoost,
    /// Logistic or softmax regression, C = 1, with balanced classes; ridge regression. One of SDGym's four.
    Linear,
    /// One hidden layer of 50 units, 50 epochs of Adam. One of SDGym's four.
    Mlp,
    /// 100 bagged trees.
    Forest,
    /// 200 rounds of boosted trees.
    Boosting,
}

/// The classifiers whose mean F1 is SDGym's score.
pub const SDGYM: [Learner; 4] = [Learner::DecisionTree, Learner::AdaBoost, Learner::Linear, Learner::Mlp];
const CLASSIFIERS: [Learner; 6] = [
    Learner::DecisionTree,
    Learner::AdaBoost,
    Learner::Linear,
    Learner::Mlp,
    Learner::Forest,
    Learner::Boosting,
];
const REGRESSORS: [Learner; 3] = [Learner::Linear, Learner::Forest, Learner::Boosting];

/// Maximum number of classes of a target: each costs one tree per round.
pub const MOST_CLASSES: usize = 100;

/// The scores of a learner on the real test rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The learner.
    pub learner: Learner,
    /// Scores for a categorical target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// 1 − Σ(y − ŷ)²/Σ(y − ȳ)² for a target of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
}

/// The utility of rows for training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Efficacy {
    /// The target.
    pub target: String,
    /// The positive class of F1 and AUC, if there are two classes.
    pub positive: Option<String>,
    /// Mean F1 over SDGym's four classifiers: of the positive class for two classes, macro F1 for more.
    pub sdgym_f1: Option<f64>,
    /// Macro F1 of boosted trees.
    pub boosting_macro_f1: Option<f64>,
    /// R² of boosted trees.
    pub boosting_r2: Option<f64>,
    /// The scores of all learners.
    pub learners: Vec<Reached>,
    /// Number of training rows.
    pub training_rows: usize,
    /// Number of test rows.
    pub test_rows: usize,
    /// Number of classes in the real table.
    pub classes: usize,
    /// Number of classes among the training rows. With a single one, every classifier always predicts it.
    pub training_classes: usize,
    /// Number of training rows left out, because their target is null or a class that no real row has.
    pub dropped_rows: usize,
}

/// Trains on `train` and tests on `test`. `real` gives the scales of numbers, as in SDGym, and the classes.
/// `positive` is the class of F1 if there are two; by default the rarer one in `real`.
///
/// # Errors
/// [`Error::NoSuchColumn`], [`Error::NoSuchValue`], [`Error::NoFeatures`], [`Error::SingleClass`] if the real
/// rows have one class, [`Error::TooMany`] if they have more than [`MOST_CLASSES`], [`Error::TooFewRows`] if
/// no row is left to train or test on.
pub fn efficacy(
    real: &Frame,
    train: &Frame,
    test: &Frame,
    target: &str,
    positive: Option<&str>,
    seed: u64,
) -> Result<Efficacy> {
    let position = real.position(target)?;
    if real.columns.len() < 2 {
        return Err(Error::NoFeatures { column: target.into() });
    }
    match &real.columns[position] {
        Column::Number(_) => regression(real, train, test, position, seed),
        Column::Category { codes, names } => {
            let classes = Classes::new(codes, names, target, positive)?;
            classification(real, train, test, position, &classes, seed)
        }
    }
}

/// The classes of the real table.
struct Classes {
    /// The class of each code in the dictionary.
    of: Vec<Option<u32>>,
    count: usize,
    positive: Option<u32>,
    name: Option<String>,
}

impl Classes {
    fn new(codes: &[u32], names: &[String], target: &str, positive: Option<&str>) -> Result<Self> {
        let mut counts = vec![0usize; names.len()];
        codes.iter().filter(|&&code| code != NULL).for_each(|&code| counts[code as usize] += 1);
        let present: Vec<usize> = (0..names.len()).filter(|&code| counts[code] > 0).collect();
        if present.len() < 2 {
            return Err(Error::SingleClass { whose: "real", column: target.into() });
        }
        if present.len() > MOST_CLASSES {
            return Err(Error::TooMany {
                what: "classes of the target",
                found: present.len(),
                most: MOST_CLASSES,
            });
        }
        let mut of = vec![None; names.len()];
        for (class, &code) in (0..).zip(&present) {
            of[code] = Some(class);
        }
        let code = match positive {
            Some(value) => Some(
                present
                    .iter()
                    .copied()
                    .find(|&code| names[code] == value)
                    .ok_or_else(|| Error::NoSuchValue { column: target.into(), value: value.into() })?,
            ),
            None => present.iter().copied().min_by_key(|&code| counts[code]),
        };
        let code = code.filter(|_| present.len() == 2);
        Ok(Self {
            positive: code.and_then(|code| of[code]),
            name: code.map(|code| names[code].clone()),
            count: present.len(),
            of,
        })
    }

    /// Returns the rows with a known class, and their classes.
    fn label(&self, column: &Column) -> (Vec<u32>, Vec<u32>) {
        let Column::Category { codes, .. } = column else { return (Vec::new(), Vec::new()) };
        let class = |(row, code): (u32, &u32)| {
            self.of.get(*code as usize).copied().flatten().map(|class| (row, class))
        };
        (0..).zip(codes).filter_map(class).unzip()
    }
}

/// Rows encoded for trees and for linear models.
struct Encoded {
    binned: Binned,
    design: Design,
}

/// Encodes training and test rows.
fn encode(real: &Frame, train: &Frame, test: &Frame) -> [Encoded; 2] {
    let (binner, encoder) = (Binner::fit(train), Encoder::fit(real, Scaling::SdGym));
    [train, test].map(|frame| Encoded { binned: binner.apply(frame), design: encoder.apply(frame) })
}

fn classification(
    real: &Frame,
    train: &Frame,
    test: &Frame,
    target: usize,
    classes: &Classes,
    seed: u64,
) -> Result<Efficacy> {
    let (train_rows, labels) = classes.label(&train.columns[target]);
    let (test_rows, truth) = classes.label(&test.columns[target]);
    enough(&train_rows, &test_rows)?;
    let mut seen = vec![false; classes.count];
    labels.iter().for_each(|&label| seen[label as usize] = true);
    let training_classes = seen.iter().filter(|&&seen| seen).count();
    let features = |frame: &Frame, rows: &[u32]| frame.without(target).pick(rows);
    let [train_data, test_data] =
        encode(&real.without(target), &features(train, &train_rows), &features(test, &test_rows));
    let one = |&learner: &Learner| {
        let probabilities = if training_classes == 1 {
            let only = |_| (0..classes.count as u32).map(|class| f64::from(u8::from(class == labels[0])));
            truth.iter().flat_map(only).collect()
        } else {
            learner.classify(&train_data, &labels, classes.count, &test_data, seed)
        };
        let scores = score(&probabilities, &truth, classes.count, classes.positive)?;
        Ok(Reached { learner, scores: Some(scores), r2: None })
    };
    let learners: Vec<Reached> = CLASSIFIERS.par_iter().map(one).collect::<Result<_>>()?;
    let reached = |learner| learners.iter().find(|reached| reached.learner == learner);
    let f1 = |learner| {
        reached(learner).and_then(|reached| reached.scores).map(|scores| scores.f1.unwrap_or(scores.macro_f1))
    };
    let boosted = reached(Learner::Boosting).and_then(|reached| reached.scores);
    Ok(Efficacy {
        target: real.names[target].clone(),
        positive: classes.name.clone(),
        sdgym_f1: mean(SDGYM.into_iter().filter_map(f1)),
        boosting_macro_f1: boosted.map(|scores| scores.macro_f1),
        boosting_r2: None,
        learners,
        training_rows: train_rows.len(),
        test_rows: test_rows.len(),
        classes: classes.count,
        training_classes,
        dropped_rows: train.rows() - train_rows.len(),
    })
}

fn regression(real: &Frame, train: &Frame, test: &Frame, target: usize, seed: u64) -> Result<Efficacy> {
    let known = |frame: &Frame| -> (Vec<u32>, Vec<f64>) {
        let Column::Number(values) = &frame.columns[target] else { return (Vec::new(), Vec::new()) };
        (0..).zip(values).filter(|(_, value)| !value.is_nan()).map(|(row, value)| (row, *value)).unzip()
    };
    let ((train_rows, numbers), (test_rows, truth)) = (known(train), known(test));
    enough(&train_rows, &test_rows)?;
    let features = |frame: &Frame, rows: &[u32]| frame.without(target).pick(rows);
    let [train_data, test_data] =
        encode(&real.without(target), &features(train, &train_rows), &features(test, &test_rows));
    let one = |&learner: &Learner| {
        let predicted = learner.regress(&train_data, &numbers, &test_data, seed);
        Reached { learner, scores: None, r2: r2(&predicted, &truth) }
    };
    let learners: Vec<Reached> = REGRESSORS.par_iter().map(one).collect();
    let boosted = learners.iter().find(|reached| reached.learner == Learner::Boosting);
    Ok(Efficacy {
        target: real.names[target].clone(),
        positive: None,
        sdgym_f1: None,
        boosting_macro_f1: None,
        boosting_r2: boosted.and_then(|reached| reached.r2),
        training_rows: train_rows.len(),
        test_rows: test_rows.len(),
        classes: 0,
        training_classes: 0,
        dropped_rows: train.rows() - train_rows.len(),
        learners,
    })
}

fn enough(train: &[u32], test: &[u32]) -> Result<()> {
    for (whose, rows) in [("training", train), ("test", test)] {
        if rows.is_empty() {
            return Err(Error::TooFewRows { whose, needed: 1, found: 0 });
        }
    }
    Ok(())
}

impl Learner {
    fn classify(
        self,
        train: &Encoded,
        labels: &[u32],
        classes: usize,
        test: &Encoded,
        seed: u64,
    ) -> Vec<f64> {
        match self {
            Self::DecisionTree => {
                let growth = Growth {
                    max_depth: 15,
                    max_leaves: None,
                    min_rows: 1,
                    min_weight: 0.0,
                    lambda: 0.0,
                    features: None,
                };
                let weights = balanced(labels, classes);
                DecisionTree::fit(&train.binned, labels, classes, &weights, &growth)
                    .probabilities(&test.binned)
            }
            Self::AdaBoost => AdaBoost::fit(&train.binned, labels, classes, 50).probabilities(&test.binned),
            Self::Linear => {
                let (weights, config) = (balanced(labels, classes), LinearConfig::default());
                Linear::classify(&train.design, labels, classes, &weights, &config).predict(&test.design)
            }
            Self::Mlp => {
                let config = MlpConfig::default();
                Mlp::fit(&train.design, labels, classes, &config, seed).probabilities(&test.design)
            }
            Self::Forest => {
                let config = ForestConfig::default();
                Forest::classify(&train.binned, labels, classes, &config, seed).predict(&test.binned)
            }
            Self::Boosting => {
                let config = BoostingConfig::default();
                Boosting::classify(&train.binned, labels, classes, &config).predict(&test.binned)
            }
        }
    }

    fn regress(self, train: &Encoded, numbers: &[f64], test: &Encoded, seed: u64) -> Vec<f64> {
        match self {
            Self::Forest => {
                let config = ForestConfig::default();
                Forest::regress(&train.binned, numbers, &config, seed).predict(&test.binned)
            }
            Self::Boosting => {
                let config = BoostingConfig::default();
                Boosting::regress(&train.binned, numbers, &config).predict(&test.binned)
            }
            _ => Linear::regress(&train.design, numbers, &LinearConfig::default()).predict(&test.design),
        }
    }
}
