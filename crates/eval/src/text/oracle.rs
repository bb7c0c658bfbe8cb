//! Sequences of the data set `oracle`, measured by the LSTM that the real ones are drawn from (Yu et al. 2017).

use waxwork_data::embedded::{ORACLE_LENGTH, Oracle};

use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};

/// Mean −log p per token under the oracle. It measures how likely sequences are, but not their diversity: read it
/// together with [`super::exact::NLL_TEST`].
pub const NLL_ORACLE: &str = "nll_oracle";

/// −log p per token in nats of each sequence that the oracle can draw.
fn surprises(oracle: &Oracle, sequences: &[Vec<u16>]) -> Vec<f64> {
    let logs = oracle.log_probabilities(sequences).into_iter().flatten();
    logs.map(|log| -log / ORACLE_LENGTH as f64).collect()
}

/// Mean −log p per token in nats of the sequences that the oracle can draw; None if there are none.
pub fn nll(oracle: &Oracle, sequences: &[Vec<u16>]) -> Option<Estimate> {
    let surprises = surprises(oracle, sequences);
    (!surprises.is_empty()).then(|| Estimate::of(&surprises))
}

/// The metrics of generated sequences. `floor` is the [`nll`] of real sequences, which is the entropy of the oracle
/// within its error.
pub fn metrics(
    oracle: &Oracle,
    made: &[Vec<u16>],
    floor: Option<Estimate>,
    protocol: &Protocol,
) -> Vec<Metric> {
    let surprises = surprises(oracle, made);
    let mut protocol = protocol.clone();
    protocol.insert("truth".into(), format!("the oracle of {}", oracle.name()));
    let validity = surprises.len() as f64 / made.len().max(1) as f64;
    let mut metrics = vec![Metric::new("validity", validity, &protocol).floor(1.0).higher()];
    if !surprises.is_empty() {
        let estimate = Estimate::of(&surprises);
        protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
        protocol.insert("mean".into(), format!("per token, over the texts of {ORACLE_LENGTH} tokens"));
        let metric = Metric::new(NLL_ORACLE, estimate.mean, &protocol).nats().within(estimate.interval());
        metrics.push(match floor {
            Some(floor) => metric.floor(floor.mean),
            None => metric,
        });
    }
    metrics
}

#[cfg(test)]
mod tests {
    use waxwork_core::rng::Stream;

    use super::*;

    #[test]
    fn own_draws_cost_less_than_uniform_tokens_and_short_texts_are_not_valid() {
        let oracle = Oracle::embedded();
        let stream = Stream::new(3, "test", 0);
        let own: Vec<Vec<u16>> = (0..100).map(|number| oracle.draw(&mut stream.at(number))).collect();
        let uniform: Vec<Vec<u16>> = (200..300)
            .map(|number| {
                let mut draws = stream.at(number);
                (0..ORACLE_LENGTH).map(|_| draws.below(5000) as u16 + 1).collect()
            })
            .collect();
        let real = nll(&oracle, &own).unwrap();
        assert!((real.mean - 5.95).abs() < 5.0 * real.standard_error, "{real}");
        assert!(nll(&oracle, &uniform).unwrap().mean > 10.0);
        let mixed = [own, vec![vec![1, 2, 3]; 100]].concat();
        let found = metrics(&oracle, &mixed, Some(real), &Protocol::new());
        assert_eq!((found[0].name.as_str(), found[0].value), ("validity", 0.5));
        assert_eq!((found[1].value, found[1].floor), (real.mean, Some(real.mean)));
        assert_eq!(metrics(&oracle, &[vec![]], None, &Protocol::new()).len(), 1);
    }
}
