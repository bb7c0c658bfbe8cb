//! Linear models with an L2 penalty: logistic and softmax regression, and ridge regression.

use rayon::prelude::*;

use crate::table::boosting::{sigmoid, softmax};
use crate::table::features::Design;
use crate::table::lbfgs::minimise;

/// Rows whose terms one task sums, so that the sum does not depend on the number of threads.
const CHUNK: usize = 2048;

/// Settings of a linear model. The defaults are scikit-learn's, solved to convergence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearConfig {
    /// Factor on ½‖w‖², which is added to the *sum* of the rows' losses: 1/C in scikit-learn. The intercept
    /// has no penalty.
    pub penalty: f64,
    /// Maximum number of L-BFGS steps.
    pub steps: usize,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { penalty: 1.0, steps: 300 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Squares,
    Logistic,
    Softmax,
}

/// A fitted linear model.
#[derive(Clone, Debug)]
pub struct Linear {
    loss: Loss,
    /// (outputs, width + 1), with the intercept last.
    weights: Vec<f64>,
    outputs: usize,
}

impl Linear {
    /// Fits logistic regression for two classes, softmax regression for more. Each row counts by its weight.
    pub fn classify(
        data: &Design,
        labels: &[u32],
        classes: usize,
        weights: &[f64],
        config: &LinearConfig,
    ) -> Self {
        let targets: Vec<f64> = labels.iter().map(|&label| f64::from(label)).collect();
        let (loss, outputs) = if classes == 2 { (Loss::Logistic, 1) } else { (Loss::Softmax, classes) };
        Self::fit(data, &targets, weights, loss, outputs, config)
    }

    /// Fits ridge regression of numbers, (rows,).
    pub fn regress(data: &Design, numbers: &[f64], config: &LinearConfig) -> Self {
        // Standardised, so that the penalty does not depend on the unit.
        let n = numbers.len().max(1) as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        let variance = numbers.iter().map(|y| (y - mean) * (y - mean)).sum::<f64>() / n;
        let scale = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        let targets: Vec<f64> = numbers.iter().map(|y| (y - mean) / scale).collect();
        let weights = vec![1.0; numbers.len()];
        let mut fitted = Self::fit(data, &targets, &weights, Loss::Squares, 1, config);
        fitted.weights.iter_mut().for_each(|weight| *weight *= scale);
        if let Some(intercept) = fitted.weights.last_mut() {
            *intercept += mean;
        }
        fitted
    }

    fn fit(
        data: &Design,
        targets: &[f64],
        weights: &[f64],
        loss: Loss,
        outputs: usize,
        config: &LinearConfig,
    ) -> Self {
        let size = data.width + 1;
        let total: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let objective = |x: &[f64]| {
            let chunk = |start: usize| {
                let (mut value, mut gradient) = (0.0, vec![0.0; x.len()]);
                let mut scores = vec![0.0; outputs];
                for row in start..(start + CHUNK).min(data.rows) {
                    for (score, w) in scores.iter_mut().zip(x.chunks_exact(size)) {
                        *score = data.dot(row, w) + w[data.width];
                    }
                    value += weights[row] * loss.slope(&mut scores, targets[row]);
                    for (slope, sum) in scores.iter().zip(gradient.chunks_exact_mut(size)) {
                        data.add(row, weights[row] * slope, sum);
                        sum[data.width] += weights[row] * slope;
                    }
                }
                (value, gradient)
            };
            let parts: Vec<(f64, Vec<f64>)> =
                (0..data.rows).into_par_iter().step_by(CHUNK).map(chunk).collect();
            let (mut value, mut gradient) = (0.0, vec![0.0; x.len()]);
            for (part, slopes) in parts {
                value += part;
                gradient.iter_mut().zip(&slopes).for_each(|(sum, slope)| *sum += slope);
            }
            for (w, sum) in x.chunks_exact(size).zip(gradient.chunks_exact_mut(size)) {
                for (w, sum) in w[..data.width].iter().zip(sum) {
                    value += 0.5 * config.penalty * w * w;
                    *sum += config.penalty * w;
                }
            }
            gradient.iter_mut().for_each(|slope| *slope /= total);
            (value / total, gradient)
        };
        let mut x = vec![0.0; outputs * size];
        minimise(&mut x, config.steps, 1e-7, objective);
        Self { loss, weights: x, outputs }
    }

    /// Returns class probabilities, (rows, classes), or numbers, (rows,).
    pub fn predict(&self, data: &Design) -> Vec<f64> {
        let size = data.width + 1;
        let mut predicted = Vec::with_capacity(data.rows * self.outputs);
        for row in 0..data.rows {
            let score = |w: &[f64]| data.dot(row, w) + w[data.width];
            let mut scores: Vec<f64> = self.weights.chunks_exact(size).map(score).collect();
            match self.loss {
                Loss::Squares => predicted.push(scores[0]),
                Loss::Logistic => {
                    let p = sigmoid(scores[0]);
                    predicted.extend([1.0 - p, p]);
                }
                Loss::Softmax => {
                    softmax(&mut scores);
                    predicted.extend(scores);
                }
            }
        }
        predicted
    }
}

impl Loss {
    /// Returns the loss of one row. Replaces the scores by the loss's slopes.
    fn slope(self, scores: &mut [f64], target: f64) -> f64 {
        match self {
            Self::Squares => {
                let off = scores[0] - target;
                scores[0] = off;
                0.5 * off * off
            }
            Self::Logistic => {
                let logit = scores[0];
                scores[0] = sigmoid(logit) - target;
                // ln(1 + eˣ) − y·x
                logit.max(0.0) + libm::log1p(libm::exp(-logit.abs())) - target * logit
            }
            Self::Softmax => {
                softmax(scores);
                let label = target as usize;
                let loss = -libm::log(scores[label].max(f64::MIN_POSITIVE));
                scores[label] -= 1.0;
                loss
            }
        }
    }
}
