//! What a judge makes of samples: whether they show what was asked for, all classes, and each clearly.

use serde::{Deserialize, Serialize};

use crate::judge::named;

/// Numbers about samples, from a judge's probabilities of the classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// How many samples.
    pub images: usize,
    /// Share of samples that the judge names as the label that was asked for; None where none was.
    pub agreement: Option<f64>,
    /// Entropy of the named classes over all samples, in nats; the logarithm of their number if all are as frequent.
    pub class_entropy: f64,
    /// exp E KL(p(y | x) ‖ p(y)), from 1 to the number of classes: the Inception Score's formula (Salimans et al. 2016)
    /// with this judge for Inception, so not comparable with it.
    pub judge_score: f64,
}

/// Judges samples by their probabilities `(N, classes)`, and the labels that were asked for.
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
        judge_score: libm::exp(score),
    }
}

/// p log(p / q), 0 where p is.
fn term(p: f64, q: f64) -> f64 {
    if p > 0.0 { p * libm::log(p / q) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_and_even_is_best_and_collapse_is_worst() {
        let sure = |class: usize| (0..4).map(|i| f64::from(u8::from(i == class))).collect::<Vec<_>>();
        let even: Vec<Vec<f64>> = (0..100).map(|i| sure(i % 4)).collect();
        let asked: Vec<u32> = (0..100).map(|i| i % 4).collect();
        let best = judged(&even, Some(&asked));
        assert_eq!(best.agreement, Some(1.0));
        assert!((best.class_entropy - 4f64.ln()).abs() < 1e-12 && (best.judge_score - 4.0).abs() < 1e-9);

        let collapsed = judged(&vec![sure(2); 100], Some(&asked));
        assert_eq!((collapsed.agreement, collapsed.class_entropy), (Some(0.25), 0.0));
        assert!((collapsed.judge_score - 1.0).abs() < 1e-12);

        let unsure = judged(&vec![vec![0.25; 4]; 100], None);
        assert!((unsure.judge_score - 1.0).abs() < 1e-12 && unsure.agreement.is_none());
    }
}
