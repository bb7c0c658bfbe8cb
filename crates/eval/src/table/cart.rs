//! The CART decision tree (Breiman et al. 1984) and its class weights.

use crate::table::bins::Binned;
use crate::table::trees::{Grower, Growth, Tree};

/// A decision tree (CART) that predicts class probabilities.
#[derive(Clone, Debug)]
pub struct DecisionTree {
    tree: Tree,
    classes: usize,
}

impl DecisionTree {
    /// Fits a tree to labels below `classes`, with a weight per row.
    pub fn fit(data: &Binned, labels: &[u32], classes: usize, weights: &[f64], growth: &Growth) -> Self {
        let rows = (0..data.rows as u32).collect();
        let (targets, outputs) = class_targets(labels, classes, weights);
        let grower = Grower { data, weights, targets: &targets, outputs, growth };
        Self { tree: grower.grow(rows, None).tree, classes }
    }

    /// Returns class probabilities, (rows, classes).
    pub fn probabilities(&self, data: &Binned) -> Vec<f64> {
        let mut probabilities = Vec::with_capacity(data.rows * self.classes);
        (0..data.rows).for_each(|row| add_classes(self.tree.predict(data, row), &mut probabilities));
        probabilities
    }
}

/// Appends the class probabilities of a leaf. A leaf with two classes stores only the second.
pub(crate) fn add_classes(values: &[f64], probabilities: &mut Vec<f64>) {
    if let [one] = values {
        probabilities.push(1.0 - one);
    }
    probabilities.extend_from_slice(values);
}

/// Returns weighted indicators of the classes, (rows, outputs): one output for two classes, else one per
/// class.
pub(crate) fn class_targets(labels: &[u32], classes: usize, weights: &[f64]) -> (Vec<f64>, usize) {
    if classes == 2 {
        return (labels.iter().zip(weights).map(|(&label, w)| f64::from(label) * w).collect(), 1);
    }
    let mut targets = vec![0.0; labels.len() * classes];
    for (row, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
        targets[row * classes + label as usize] = weight;
    }
    (targets, classes)
}

/// Returns rows/(classes · rows of the class) for each row, where only classes that occur count:
/// scikit-learn's `balanced`.
pub fn balanced(labels: &[u32], classes: usize) -> Vec<f64> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    let present = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&label: &u32| labels.len() as f64 / (present * counts[label as usize]) as f64;
    labels.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::bins::{BinnedColumn, Split};

    fn growth() -> Growth {
        Growth { max_depth: 15, max_leaves: None, min_rows: 1, min_weight: 0.0, lambda: 0.0, features: None }
    }

    fn data(columns: Vec<(Vec<u8>, Split)>) -> Binned {
        let rows = columns[0].0.len();
        let columns =
            columns.into_iter().map(|(bins, split)| BinnedColumn { bins, count: 256, split }).collect();
        Binned { columns, rows }
    }

    #[test]
    fn a_tree_learns_nested_rules_exactly() {
        let number: Vec<u8> = (0..200).map(|i| (i * 7 % 50) as u8).collect();
        let category: Vec<u8> = (0..200).map(|i| (i * 3 % 4) as u8).collect();
        let labels: Vec<u32> =
            number.iter().zip(&category).map(|(&x, &c)| u32::from(x > 30 && c == 2)).collect();
        let data = data(vec![(number, Split::UpTo), (category, Split::Only)]);
        let tree = DecisionTree::fit(&data, &labels, 2, &vec![1.0; 200], &growth());
        let guesses = crate::table::scores::most_probable(&tree.probabilities(&data), 2);
        assert_eq!(guesses, labels);
        assert_eq!(tree.tree.leaves(), 3);
    }

    #[test]
    fn more_classes_and_the_gini_gain_by_hand() {
        // Two bins: 3 rows of class 0, against 1 of class 1 and 2 of class 2.
        let data = data(vec![(vec![0, 0, 0, 1, 1, 1], Split::UpTo)]);
        let labels = [0, 0, 0, 1, 2, 2];
        let tree = DecisionTree::fit(&data, &labels, 3, &[1.0; 6], &growth());
        let p = tree.probabilities(&data);
        assert_eq!(&p[..3], [1.0, 0.0, 0.0]);
        assert!((p[9 + 1] - 1.0 / 3.0).abs() < 1e-15 && (p[9 + 2] - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn limits_hold() {
        let bins: Vec<u8> = (0..=255).collect();
        let labels: Vec<u32> = (0..256).map(|i| i * 37 % 2).collect();
        let data = data(vec![(bins, Split::UpTo)]);
        for most in [2, 5, 31] {
            let growth = Growth { max_depth: usize::MAX, max_leaves: Some(most), ..growth() };
            assert_eq!(DecisionTree::fit(&data, &labels, 2, &[1.0; 256], &growth).tree.leaves(), most);
        }
        let growth = Growth { min_rows: 100, ..growth() };
        assert!(DecisionTree::fit(&data, &labels, 2, &[1.0; 256], &growth).tree.leaves() <= 2);
    }

    #[test]
    fn a_cut_lies_in_the_middle_of_empty_bins() {
        let tree = {
            let data = data(vec![(vec![10, 10, 20, 20], Split::UpTo)]);
            DecisionTree::fit(&data, &[0, 0, 1, 1], 2, &[1.0; 4], &growth())
        };
        let p = tree.probabilities(&data(vec![(vec![15, 16], Split::UpTo)]));
        assert_eq!(p, [1.0, 0.0, 0.0, 1.0]);
    }
}
