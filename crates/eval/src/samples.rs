//! A judge's metrics of samples: accuracy, class coverage and confidence.

use serde::{Deserialize, Serialize};

use crate::judge::named;
use crate::report::{Metric, Protocol};
use crate::{Error, Features, Result};

/// Metrics of samples, from a judge's class probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Number of samples.
    pub images: usize,
    /// Share of samples that the judge assigns to the requested label; None for unconditional models.
    pub agreement: Option<f64>,
    /// Entropy of the predicted classes over all samples, in nats; the logarithm of the number of classes if
    /// all are equally frequent.
    pub class_entropy: f64,
    /// exp E KL(p(y | x) ‖ p(y)), from 1 to the number of classes. This is the Inception Score's formula
    /// (Salimans et al. 2016) with this judge instead of Inception, so the two scores are not comparable.
    pub score: f64,
}

impl Judged {
    /// Returns its metrics, under the protocol of extractor and data.
    pub fn metrics(&self, extractor: &str, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), self.images.to_string());
        let named = |name: &str, value: f64| Metric::new(format!("{extractor}_{name}"), value, &protocol);
        let agreement = self.agreement.map(|share| named("agreement", share).higher());
        let of_all =
            [named("class_entropy", self.class_entropy).nats().higher(), named("score", self.score).higher()];
        agreement.into_iter().chain(of_all).collect()
    }
}

/// Returns the spread of features within a class: the root mean square distance between two samples with the
/// same predicted class, averaged over the classes with at least two samples. A lower value than that of real
/// images means that the model shows too little variety within classes.
pub fn diversity(features: &Features, probabilities: &[Vec<f64>]) -> Result<f64> {
    let (width, values, names) = (features.columns(), features.values()?, named(probabilities));
    let classes = probabilities.first().map_or(0, Vec::len) as u32;
    let spread = |class: u32| -> Option<f64> {
        let rows: Vec<&[f64]> = values
            .chunks_exact(width)
            .zip(&names)
            .filter(|(_, name)| **name == class)
            .map(|(row, _)| row)
            .collect();
        let n = rows.len() as f64;
        if rows.len() < 2 {
            return None;
        }
        // Twice the unbiased variance is the mean squared distance of two samples.
        let variance = |column: usize| {
            let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n;
            rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / (n - 1.0)
        };
        Some((2.0 * (0..width).map(variance).sum::<f64>()).sqrt())
    };
    let spreads: Vec<f64> = (0..classes).filter_map(spread).collect();
    if spreads.is_empty() {
        return Err(Error::TooFew { whose: "generated", needed: 2, found: probabilities.len() });
    }
    Ok(spreads.iter().sum::<f64>() / spreads.len() as f64)
}

/// Judges samples by their probabilities `(N, classes)` and the requested labels.
pub fn judged(probabilities: &[Vec<f64>], asked: Option<&[u32]>) -> Judged {
    let (n, classes) = (probabilities.len(), probabilities.first().map_or(0, Vec::len));
    let names = named(probabilities);
    let mut counts = vec![0usize; classes];
    names.iter().for_each(|&name| counts[name as usize] += 1);
    let mut mean = vec![0.0; classes];
    for row in probabilities {
        row.iter().zip(&mut mean).for_each(|(p, mean)| *mean += p / n as f64);
    }
    let divergence = |row: &Vec<f64>| -> f64 { row.iter().zip(&mean).map(|(&p, &q)| term(p, q)).sum() };
    let score = probabilities.iter().map(divergence).sum::<f64>() / n.max(1) as f64;
    Judged {
        images: n,
        agreement: asked.map(|asked| {
            names.iter().zip(asked).filter(|(name, asked)| name == asked).count() as f64 / n.max(1) as f64
        }),
        class_entropy: counts.iter().map(|&count| term(count as f64 / n as f64, 1.0)).sum::<f64>().abs(),
        score: libm::exp(score),
    }
}

/// Returns p log(p / q), or 0 if p is 0.
fn term(p: f64, q: f64) -> f64 {
    if p > 0.0 { p * libm::log(p / q) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diversity_is_the_distance_of_two_of_a_class() {
        use waxwork_core::{Device, Tensor};
        // Two classes: points at 0 and 3, points at 10 and 14; distances 3 and 4.
        let features = Tensor::new(&[[0.0f64], [3.0], [10.0], [14.0]], &Device::Cpu).unwrap();
        let features = Features::new("generated", &features).unwrap();
        let probabilities = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]].map(|row| row.to_vec());
        assert!((diversity(&features, &probabilities).unwrap() - 3.5).abs() < 1e-12);
        let alone = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        assert!(diversity(&features, &alone.map(|row| row.to_vec())).is_err());
    }

    #[test]
    fn sure_and_even_is_best_and_collapse_is_worst() {
        let sure = |class: usize| (0..4).map(|i| f64::from(u8::from(i == class))).collect::<Vec<_>>();
        let even: Vec<Vec<f64>> = (0..100).map(|i| sure(i % 4)).collect();
        let asked: Vec<u32> = (0..100).map(|i| i % 4).collect();
        let best = judged(&even, Some(&asked));
        assert_eq!(best.agreement, Some(1.0));
        assert!((best.class_entropy - 4f64.ln()).abs() < 1e-12 && (best.score - 4.0).abs() < 1e-9);

        let collapsed = judged(&vec![sure(2); 100], Some(&asked));
        assert_eq!((collapsed.agreement, collapsed.class_entropy), (Some(0.25), 0.0));
        assert!((collapsed.score - 1.0).abs() < 1e-12);

        let unsure = judged(&vec![vec![0.25; 4]; 100], None);
        assert!((unsure.score - 1.0).abs() < 1e-12 && unsure.agreement.is_none());
    }
}
