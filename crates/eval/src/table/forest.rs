//! Bagged trees: Breiman's random forest (2001).

use rayon::prelude::*;

use crate::table::bins::{Binned, BinnedColumn, Split};
use crate::table::cart::{add_classes, class_targets};
use crate::table::trees::{Grower, Growth, Tree};
use waxwork_core::rng::Stream;

/// Settings of a forest. The defaults are scikit-learn's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForestConfig {
    /// Number of trees.
    pub trees: usize,
    /// Maximum number of splits from the root to a leaf.
    pub max_depth: usize,
    /// Minimum number of rows per leaf.
    pub min_rows: usize,
}

impl Default for ForestConfig {
    fn default() -> Self {
        Self { trees: 100, max_depth: 64, min_rows: 1 }
    }
}

/// A random forest.
#[derive(Clone, Debug)]
pub struct Forest {
    trees: Vec<Tree>,
    /// Number of classes; None for numbers.
    classes: Option<usize>,
}

impl Forest {
    /// Fits a classifier: each tree on a bootstrap sample, with √features of the one-hot encoding at each
    /// node.
    pub fn classify(data: &Binned, labels: &[u32], classes: usize, config: &ForestConfig, seed: u64) -> Self {
        let features: usize = data.columns.iter().map(one_hot_features).sum();
        let some = ((features as f64).sqrt() as usize).max(1);
        let targets = |counts: &[f64]| class_targets(labels, classes, counts);
        Self { trees: bag(data, config, Some(some), seed, targets), classes: Some(classes) }
    }

    /// Fits a regression of numbers, (rows,): each tree on a bootstrap sample, with all features at each
    /// node.
    pub fn regress(data: &Binned, numbers: &[f64], config: &ForestConfig, seed: u64) -> Self {
        let targets = |counts: &[f64]| (numbers.iter().zip(counts).map(|(y, count)| y * count).collect(), 1);
        Self { trees: bag(data, config, None, seed, targets), classes: None }
    }

    /// Returns the mean of the trees' class probabilities, (rows, classes), or numbers, (rows,).
    pub fn predict(&self, data: &Binned) -> Vec<f64> {
        let row = |row: usize| {
            let mut sum: Vec<f64> = Vec::new();
            for tree in &self.trees {
                let values = tree.predict(data, row);
                if sum.is_empty() {
                    sum = values.to_vec();
                } else {
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
            sum.iter_mut().for_each(|sum| *sum /= self.trees.len() as f64);
            match self.classes {
                None => sum,
                Some(classes) => {
                    let mut probabilities = Vec::with_capacity(classes);
                    add_classes(&sum, &mut probabilities);
                    probabilities
                }
            }
        };
        (0..data.rows).into_par_iter().map(row).collect::<Vec<_>>().concat()
    }
}

/// Returns the number of features of a one-hot encoding: one for numbers, one for each category that occurs.
fn one_hot_features(column: &BinnedColumn) -> usize {
    if column.split == Split::UpTo {
        return 1;
    }
    let mut seen = [false; 256];
    column.bins.iter().for_each(|&bin| seen[bin as usize] = true);
    seen.iter().filter(|&&seen| seen).count()
}

fn bag(
    data: &Binned,
    config: &ForestConfig,
    features: Option<usize>,
    seed: u64,
    targets: impl Fn(&[f64]) -> (Vec<f64>, usize) + Sync,
) -> Vec<Tree> {
    let growth = Growth {
        max_depth: config.max_depth,
        max_leaves: None,
        min_rows: config.min_rows,
        min_weight: 0.0,
        lambda: 0.0,
        features,
    };
    let tree = |index: usize| {
        let mut draws = Stream::new(seed, "table/forest/bootstrap", 0).at(index as u64);
        let mut counts = vec![0.0; data.rows];
        (0..data.rows).for_each(|_| counts[draws.below(data.rows as u32) as usize] += 1.0);
        let rows = (0..data.rows as u32).filter(|&row| counts[row as usize] > 0.0).collect();
        let (targets, outputs) = targets(&counts);
        let grower = Grower { data, weights: &counts, targets: &targets, outputs, growth: &growth };
        let draws = features.map(|_| Stream::new(seed, "table/forest/features", 0).at(index as u64));
        grower.grow(rows, draws).tree
    };
    (0..config.trees.max(1)).into_par_iter().map(tree).collect()
}
