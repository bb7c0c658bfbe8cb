//! Gradient boosted trees (Friedman 2001; Chen & Guestrin 2016), grown leaf-wise on histograms.

use rayon::prelude::*;

use crate::table::bins::Binned;
use crate::table::trees::{Grower, Growth, Tree};

/// Settings of boosted trees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoostingConfig {
    /// Number of rounds. Each adds one tree, or one per class for more than two classes.
    pub rounds: usize,
    /// Factor on a tree's values.
    pub learning_rate: f64,
    /// Maximum number of leaves per tree.
    pub leaves: usize,
    /// Minimum number of rows per leaf.
    pub min_rows: usize,
    /// λ: the L2 penalty on a leaf's value.
    pub lambda: f64,
}

impl Default for BoostingConfig {
    fn default() -> Self {
        Self { rounds: 200, learning_rate: 0.1, leaves: 31, min_rows: 20, lambda: 1.0 }
    }
}

/// The loss to boost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Squares,
    Logistic,
    Softmax(usize),
}

/// Gradient boosted trees.
#[derive(Clone, Debug)]
pub struct Boosting {
    loss: Loss,
    start: Vec<f64>,
    /// Round by round, one tree per output.
    trees: Vec<Tree>,
    learning_rate: f64,
}

impl Boosting {
    /// Fits a classifier of labels below `classes`: logistic loss for two classes, softmax for more.
    pub fn classify(data: &Binned, labels: &[u32], classes: usize, config: &BoostingConfig) -> Self {
        let share = |class: u32| {
            let count = labels.iter().filter(|&&label| label == class).count() as f64;
            (count / labels.len() as f64).clamp(1e-6, 1.0 - 1e-6)
        };
        let targets: Vec<f64> = labels.iter().map(|&label| f64::from(label)).collect();
        if classes == 2 {
            let p = share(1);
            return Self::fit(data, &targets, Loss::Logistic, vec![libm::log(p / (1.0 - p))], config);
        }
        let start = (0..classes as u32).map(|class| libm::log(share(class))).collect();
        Self::fit(data, &targets, Loss::Softmax(classes), start, config)
    }

    /// Fits a regression of numbers, (rows,), by least squares.
    pub fn regress(data: &Binned, numbers: &[f64], config: &BoostingConfig) -> Self {
        let mean = crate::table::quality::mean(numbers.iter().copied()).unwrap_or(0.0);
        Self::fit(data, numbers, Loss::Squares, vec![mean], config)
    }

    fn fit(data: &Binned, targets: &[f64], loss: Loss, start: Vec<f64>, config: &BoostingConfig) -> Self {
        let growth = Growth {
            max_depth: usize::MAX,
            max_leaves: Some(config.leaves),
            min_rows: config.min_rows,
            min_weight: 1e-3,
            lambda: config.lambda,
            features: None,
        };
        let outputs = start.len();
        let mut scores: Vec<Vec<f64>> = start.iter().map(|&start| vec![start; data.rows]).collect();
        let mut trees = Vec::with_capacity(config.rounds * outputs);
        for _ in 0..config.rounds {
            let slopes = loss.slopes(targets, &scores);
            for (scores, slopes) in scores.iter_mut().zip(&slopes) {
                let (gradients, hessians): (&[f64], &[f64]) = (&slopes.0, &slopes.1);
                let grower =
                    Grower { data, weights: hessians, targets: gradients, outputs: 1, growth: &growth };
                let grown = grower.grow((0..data.rows as u32).collect(), None);
                for (values, rows) in grown.leaves() {
                    let step = config.learning_rate * values[0];
                    rows.iter().for_each(|&row| scores[row as usize] += step);
                }
                trees.push(grown.tree);
            }
        }
        Self { loss, start, trees, learning_rate: config.learning_rate }
    }

    /// Returns the share of each of `columns` columns in the gain of all splits; zeros if there is no split.
    pub fn importances(&self, columns: usize) -> Vec<f64> {
        let mut shares = vec![0.0; columns];
        self.trees.iter().flat_map(Tree::gains).for_each(|(column, gain)| shares[column] += gain);
        let sum: f64 = shares.iter().sum();
        if sum > 0.0 {
            shares.iter_mut().for_each(|share| *share /= sum);
        }
        shares
    }

    /// Returns class probabilities, (rows, classes), or numbers, (rows,).
    pub fn predict(&self, data: &Binned) -> Vec<f64> {
        let row = |row: usize| {
            let mut scores = self.start.clone();
            for (index, tree) in self.trees.iter().enumerate() {
                scores[index % self.start.len()] += self.learning_rate * tree.predict(data, row)[0];
            }
            match self.loss {
                Loss::Squares => scores,
                Loss::Logistic => {
                    let p = sigmoid(scores[0]);
                    vec![1.0 - p, p]
                }
                Loss::Softmax(_) => {
                    softmax(&mut scores);
                    scores
                }
            }
        };
        (0..data.rows).into_par_iter().map(row).collect::<Vec<_>>().concat()
    }
}

impl Loss {
    /// Returns negative gradients and Hessians of each output, (outputs, rows).
    fn slopes(self, targets: &[f64], scores: &[Vec<f64>]) -> Vec<(Vec<f64>, Vec<f64>)> {
        match self {
            Self::Squares => {
                let residuals = targets.iter().zip(&scores[0]).map(|(y, score)| y - score).collect();
                vec![(residuals, vec![1.0; targets.len()])]
            }
            Self::Logistic => {
                let slope = |(y, score): (&f64, &f64)| {
                    let p = sigmoid(*score);
                    (y - p, p * (1.0 - p))
                };
                vec![targets.par_iter().zip(&scores[0]).map(slope).unzip()]
            }
            Self::Softmax(classes) => {
                let probabilities = |row: usize| {
                    let mut p: Vec<f64> = scores.iter().map(|scores| scores[row]).collect();
                    softmax(&mut p);
                    p
                };
                let p: Vec<Vec<f64>> = (0..targets.len()).into_par_iter().map(probabilities).collect();
                let of = |class: usize| {
                    let slope = |(p, y): (&Vec<f64>, &f64)| {
                        let truth = f64::from(u8::from(*y as usize == class));
                        (truth - p[class], p[class] * (1.0 - p[class]))
                    };
                    p.iter().zip(targets).map(slope).unzip()
                };
                (0..classes).map(of).collect()
            }
        }
    }
}

/// Returns 1/(1 + e⁻ˣ) without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

/// Converts logits to probabilities, in place.
pub(crate) fn softmax(logits: &mut [f64]) {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|logit| *logit = libm::exp(*logit - most));
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|p| *p /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::bins::Binner;
    use crate::table::scores;
    use crate::table::{ColumnView, TableView, align};
    use waxwork_core::rng::Stream;

    fn wave(rows: usize, step: u64) -> (Binned, Vec<f64>) {
        let mut draws = Stream::new(1, "wave", step).at(0);
        let x: Vec<f64> = (0..rows).map(|_| f64::from(draws.between(-3.0, 3.0))).collect();
        let z: Vec<f64> = (0..rows).map(|_| f64::from(draws.between(-3.0, 3.0))).collect();
        let y = x.iter().zip(&z).map(|(x, z)| libm::sin(*x) * z).collect();
        let names = ["x".to_owned(), "z".to_owned()];
        let columns = [ColumnView::Number(&x), ColumnView::Number(&z)];
        let frame = &align(&[("real", TableView { names: &names, columns: &columns })]).unwrap()[0];
        (Binner::fit(frame).apply(frame), y)
    }

    #[test]
    fn boosting_regresses_a_product_that_no_line_can() {
        let (data, y) = wave(4000, 0);
        let model = Boosting::regress(&data, &y, &BoostingConfig::default());
        assert!(scores::r2(&model.predict(&data), &y).unwrap() > 0.99);
        let [x, z] = model.importances(2)[..] else { unreachable!("two columns") };
        assert!((x + z - 1.0).abs() < 1e-12 && x.min(z) > 0.1, "{x} {z}");
    }

    #[test]
    fn three_classes_by_softmax_and_two_by_logistic_loss() {
        let (data, y) = wave(4000, 0);
        for classes in [2, 3] {
            let cuts: &[f64] = if classes == 2 { &[0.0] } else { &[-0.5, 0.5] };
            let labels: Vec<u32> =
                y.iter().map(|y| cuts.iter().filter(|cut| *cut < y).count() as u32).collect();
            let config = BoostingConfig { rounds: 60, ..BoostingConfig::default() };
            let model = Boosting::classify(&data, &labels, classes, &config);
            let p = model.predict(&data);
            assert!(p.chunks_exact(classes).all(|p| (p.iter().sum::<f64>() - 1.0).abs() < 1e-12));
            let scores = scores::score(&p, &labels, classes, None).unwrap();
            assert!(scores.accuracy > 0.95 && scores.log_loss < 0.2, "{scores:?}");
        }
    }

    #[test]
    fn the_same_bits_for_any_number_of_threads() {
        let (data, y) = wave(40_000, 0);
        let config = BoostingConfig { rounds: 5, ..BoostingConfig::default() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Boosting::regress(&data, &y, &config).predict(&data))
        };
        let one: Vec<u64> = run(1).iter().map(|v| v.to_bits()).collect();
        for threads in [2, 4] {
            assert_eq!(run(threads).iter().map(|v| v.to_bits()).collect::<Vec<_>>(), one);
        }
    }
}
