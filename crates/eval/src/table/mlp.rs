//! A network with one hidden layer: a reimplementation of scikit-learn's `MLPClassifier((50,), max_iter=50)`.

use crate::table::boosting::{sigmoid, softmax};
use crate::table::features::Design;
use waxwork_core::rng::{Draws, Stream};

/// Settings of the network. The defaults are scikit-learn's, except for the epochs, which are SDGym's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlpConfig {
    /// Number of hidden units.
    pub hidden: usize,
    /// Maximum number of passes over the rows.
    pub epochs: usize,
    /// Rows per step.
    pub batch: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Factor on ½‖w‖², which is added to the *sum* of a step's losses.
    pub penalty: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: 50, epochs: 50, batch: 200, learning_rate: 1e-3, penalty: 1e-4 }
    }
}

/// Training ends after this number of epochs without a gain of [`LEAST_GAIN`] in the training loss.
const PATIENCE: usize = 10;
const LEAST_GAIN: f64 = 1e-4;

/// A fitted network: one hidden layer of ReLUs, then a sigmoid or a softmax.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// (width, hidden): row j is feature j, so that a one-hot feature is one row.
    first: Vec<f64>,
    hidden_bias: Vec<f64>,
    /// (outputs, hidden).
    second: Vec<f64>,
    bias: Vec<f64>,
}

impl Mlp {
    /// Trains on labels below `classes` with Adam (Kingma & Ba 2015).
    pub fn fit(data: &Design, labels: &[u32], classes: usize, config: &MlpConfig, seed: u64) -> Self {
        let outputs = if classes == 2 { 1 } else { classes };
        let mut network = Self::new(data.width, config.hidden, outputs, seed);
        let mut gradients = network.zeros();
        let mut adam = Adam::new(&network, config.learning_rate);
        let (mut best, mut waited) = (f64::INFINITY, 0);
        let batch = config.batch.clamp(1, data.rows.max(1));
        for epoch in 0..config.epochs {
            let order = Stream::new(seed, "table/mlp/shuffle", epoch as u64).permutation(data.rows);
            let mut loss = 0.0;
            for rows in order.chunks(batch) {
                gradients.clear();
                loss += rows.iter().map(|&row| network.learn(data, row, labels, &mut gradients)).sum::<f64>();
                adam.step(&mut network, &mut gradients, rows.len(), config.penalty);
            }
            loss /= data.rows as f64;
            waited = if loss > best - LEAST_GAIN { waited + 1 } else { 0 };
            best = best.min(loss);
            if waited > PATIENCE {
                break;
            }
        }
        network
    }

    /// Returns uniform Glorot weights (2010), of magnitude at most √(6/(in + out)).
    fn new(width: usize, hidden: usize, outputs: usize, seed: u64) -> Self {
        let layer = |from: usize, to: usize, index: u64| {
            let bound = (6.0 / (from + to) as f64).sqrt() as f32;
            let mut draws = Stream::new(seed, "table/mlp/weights", 0).at(index);
            let mut fill = |count: usize| uniform(&mut draws, count, bound);
            (fill(from * to), fill(to))
        };
        let (first, hidden_bias) = layer(width, hidden, 0);
        let (second, bias) = layer(hidden, outputs, 1);
        Self { first, hidden_bias, second, bias }
    }

    fn zeros(&self) -> Self {
        Self {
            first: vec![0.0; self.first.len()],
            hidden_bias: vec![0.0; self.hidden_bias.len()],
            second: vec![0.0; self.second.len()],
            bias: vec![0.0; self.bias.len()],
        }
    }

    fn clear(&mut self) {
        self.parts_mut().into_iter().for_each(|part| part.fill(0.0));
    }

    fn parts(&self) -> [&[f64]; 4] {
        [&self.first, &self.second, &self.hidden_bias, &self.bias]
    }

    /// Returns the two matrices, which are penalised, then the biases.
    fn parts_mut(&mut self) -> [&mut Vec<f64>; 4] {
        [&mut self.first, &mut self.second, &mut self.hidden_bias, &mut self.bias]
    }

    fn hidden(&self, data: &Design, row: usize) -> Vec<f64> {
        let mut sums = self.hidden_bias.clone();
        let mut add = |feature: usize, x: f64| {
            let weights = &self.first[feature * sums.len()..(feature + 1) * sums.len()];
            sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += x * w);
        };
        visit(data, row, &mut add);
        sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
        sums
    }

    fn logits(&self, hidden: &[f64]) -> Vec<f64> {
        let rows = self.second.chunks_exact(hidden.len()).zip(&self.bias);
        rows.map(|(w, bias)| bias + w.iter().zip(hidden).map(|(w, h)| w * h).sum::<f64>()).collect()
    }

    /// Adds the gradient of one row and returns its loss.
    fn learn(&self, data: &Design, row: u32, labels: &[u32], gradients: &mut Self) -> f64 {
        let (row, label) = (row as usize, labels[row as usize] as usize);
        let hidden = self.hidden(data, row);
        let mut slopes = self.logits(&hidden);
        let loss;
        if let [logit] = &mut slopes[..] {
            let y = label as f64;
            loss = logit.max(0.0) + libm::log1p(libm::exp(-logit.abs())) - y * *logit;
            *logit = sigmoid(*logit) - y;
        } else {
            softmax(&mut slopes);
            loss = -libm::log(slopes[label].max(f64::MIN_POSITIVE));
            slopes[label] -= 1.0;
        }
        let size = hidden.len();
        let mut back = vec![0.0; size];
        for (output, &slope) in slopes.iter().enumerate() {
            let span = output * size..(output + 1) * size;
            let (weights, sums) = (&self.second[span.clone()], &mut gradients.second[span]);
            for (((sum, back), w), h) in sums.iter_mut().zip(&mut back).zip(weights).zip(&hidden) {
                *sum += slope * h;
                *back += if *h > 0.0 { slope * w } else { 0.0 };
            }
            gradients.bias[output] += slope;
        }
        gradients.hidden_bias.iter_mut().zip(&back).for_each(|(sum, slope)| *sum += slope);
        let mut add = |feature: usize, x: f64| {
            let sums = &mut gradients.first[feature * size..(feature + 1) * size];
            sums.iter_mut().zip(&back).for_each(|(sum, slope)| *sum += x * slope);
        };
        visit(data, row, &mut add);
        loss
    }

    /// Returns class probabilities, (rows, classes).
    pub fn probabilities(&self, data: &Design) -> Vec<f64> {
        let mut probabilities = Vec::new();
        for row in 0..data.rows {
            let mut logits = self.logits(&self.hidden(data, row));
            if let [logit] = logits[..] {
                let p = sigmoid(logit);
                probabilities.extend([1.0 - p, p]);
            } else {
                softmax(&mut logits);
                probabilities.extend(logits);
            }
        }
        probabilities
    }
}

fn uniform(draws: &mut Draws, count: usize, bound: f32) -> Vec<f64> {
    (0..count).map(|_| f64::from(draws.between(-bound, bound))).collect()
}

/// Calls `add` with the index and value of every nonzero feature of a row.
fn visit(data: &Design, row: usize, add: &mut impl FnMut(usize, f64)) {
    let dense = &data.dense[row * data.numbers..(row + 1) * data.numbers];
    dense.iter().enumerate().for_each(|(feature, &x)| add(feature, x));
    let places = &data.places[row * data.categories..(row + 1) * data.categories];
    places.iter().for_each(|&place| add(place as usize, 1.0));
}

struct Adam {
    first: Mlp,
    second: Mlp,
    rate: f64,
    decay: [f64; 2],
}

impl Adam {
    fn new(network: &Mlp, rate: f64) -> Self {
        Self { first: network.zeros(), second: network.zeros(), rate, decay: [1.0; 2] }
    }

    /// Makes one step with the summed gradients of `rows` rows.
    fn step(&mut self, network: &mut Mlp, gradients: &mut Mlp, rows: usize, penalty: f64) {
        const BETAS: [f64; 2] = [0.9, 0.999];
        self.decay[0] *= BETAS[0];
        self.decay[1] *= BETAS[1];
        let rate = self.rate * (1.0 - self.decay[1]).sqrt() / (1.0 - self.decay[0]);
        let (inverse, matrices) = (1.0 / rows as f64, 2);
        let gradients = gradients.parts();
        let moments = self.first.parts_mut().into_iter().zip(self.second.parts_mut());
        for (index, ((weights, slopes), (m, v))) in
            network.parts_mut().into_iter().zip(gradients).zip(moments).enumerate()
        {
            let penalty = if index < matrices { penalty } else { 0.0 };
            for (((w, slope), m), v) in weights.iter_mut().zip(slopes).zip(m).zip(v) {
                let slope = (slope + penalty * *w) * inverse;
                *m = BETAS[0] * *m + (1.0 - BETAS[0]) * slope;
                *v = BETAS[1] * *v + (1.0 - BETAS[1]) * slope * slope;
                *w -= rate * *m / (v.sqrt() + 1e-8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_finite_differences() {
        let design = Design {
            rows: 3,
            width: 5,
            numbers: 2,
            dense: vec![0.3, -1.2, 0.7, 0.1, -0.4, 2.0],
            categories: 1,
            places: vec![2, 4, 3],
        };
        for (classes, labels) in [(2, [1, 0, 1]), (3, [2, 0, 1])] {
            let outputs = if classes == 2 { 1 } else { classes };
            let mut network = Mlp::new(5, 4, outputs, 3);
            let mut gradients = network.zeros();
            let mut scratch = network.zeros();
            let loss = |network: &Mlp, sums: &mut Mlp| -> f64 {
                (0..3).map(|row| network.learn(&design, row, &labels, sums)).sum()
            };
            loss(&network, &mut gradients);
            let exact: Vec<Vec<f64>> = gradients.parts().iter().map(|part| part.to_vec()).collect();
            for (part, exact) in exact.iter().enumerate() {
                for (at, &slope) in exact.iter().enumerate() {
                    let mut nudged = |by: f64| {
                        network.parts_mut()[part][at] += by;
                        let loss = loss(&network, &mut scratch);
                        network.parts_mut()[part][at] -= by;
                        loss
                    };
                    let slope_by_difference = (nudged(1e-6) - nudged(-1e-6)) / 2e-6;
                    assert!((slope - slope_by_difference).abs() < 1e-7, "{slope} {slope_by_difference}");
                }
            }
        }
    }
}
