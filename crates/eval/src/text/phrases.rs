//! Sentences of the grammar of `phrases`, measured by their only parse.

use std::collections::HashSet;

use waxwork_data::embedded::{Artist, Grammar, Parsed, PhraseArtist};
use waxwork_data::text::tokens_of;
use waxwork_data::{Dataset, Split};

use crate::Result;
use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};

/// True if the texts of a data set are sentences of the grammar.
pub fn are_phrases(data: &Dataset) -> bool {
    data.info.name == PhraseArtist::NAME && data.info.kind == PhraseArtist::kind()
}

/// The mean −log p of sentences in nats, given their class if `conditional`. On enough sentences, no model
/// has a lower mean. None if the sentences are not in the grammar.
///
/// # Errors
/// If texts cannot be read.
pub fn true_nll(data: &Dataset, test: &Split, conditional: bool) -> Result<Option<f64>> {
    if !are_phrases(data) || test.is_empty() {
        return Ok(None);
    }
    let log = |sentence: &Vec<u16>| {
        let parsed = Grammar::phrases().parse(sentence)?;
        Some(if conditional { parsed.log_given_class } else { parsed.log_probability })
    };
    let sum: Option<f64> = tokens_of(test)?.iter().map(log).sum();
    Ok(sum.map(|sum| -sum / test.len() as f64))
}

/// What the grammar determines about some sentences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact {
    /// Share of the sentences that are in the grammar.
    pub validity: f64,
    /// Share of the sentences that are in the requested class.
    pub label_exact: Option<f64>,
    /// Mean −log p of those in the grammar, in nats; None if there are none.
    pub nll_true: Option<Estimate>,
    /// Total probability of the distinct sentences of the grammar among them.
    pub coverage: f64,
    /// Share of those in the grammar that are not training texts; None if there are none.
    pub novelty: Option<f64>,
}

/// Parses sentences; `asked` has the requested classes.
pub fn exact(sentences: &[Vec<u16>], asked: Option<&[u32]>, training: &HashSet<Vec<u16>>) -> Exact {
    let grammar = Grammar::phrases();
    let parsed: Vec<Option<Parsed>> = sentences.iter().map(|sentence| grammar.parse(sentence)).collect();
    let n = sentences.len().max(1) as f64;
    let valid: Vec<(&Vec<u16>, Parsed)> =
        sentences.iter().zip(&parsed).filter_map(|(sentence, parsed)| Some((sentence, (*parsed)?))).collect();
    let negative: Vec<f64> = valid.iter().map(|(_, parsed)| -parsed.log_probability).collect();
    let mut seen = HashSet::new();
    let new = valid.iter().filter(|(sentence, _)| !training.contains(*sentence)).count();
    let right = |asked: &[u32]| {
        parsed.iter().zip(asked).filter(|(parsed, asked)| parsed.is_some_and(|p| p.class == **asked)).count()
    };
    Exact {
        validity: valid.len() as f64 / n,
        label_exact: asked.map(|asked| right(asked) as f64 / n),
        nll_true: (!valid.is_empty()).then(|| Estimate::of(&negative)),
        coverage: valid
            .iter()
            .filter(|(sentence, _)| seen.insert(*sentence))
            .map(|(_, parsed)| libm::exp(parsed.log_probability))
            .sum(),
        novelty: (!valid.is_empty()).then(|| new as f64 / valid.len() as f64),
    }
}

/// The metrics of generated sentences. The floors are those of as many real sentences; that of `nll_true` is
/// the entropy of the grammar.
pub fn metrics(
    made: &[Vec<u16>],
    asked: Option<&[u32]>,
    real: &[Vec<u16>],
    training: &HashSet<Vec<u16>>,
    protocol: &Protocol,
) -> Vec<Metric> {
    let (made, real) = (exact(made, asked, training), exact(real, None, training));
    let mut protocol = protocol.clone();
    protocol.insert("truth".into(), format!("grammar {} of phrases, the only parse", PhraseArtist::VERSION));
    let mut metrics = vec![Metric::new("validity", made.validity, &protocol).floor(real.validity).higher()];
    metrics.extend(
        made.label_exact.map(|share| Metric::new("label_exact", share, &protocol).floor(1.0).higher()),
    );
    if let Some(nll) = made.nll_true {
        let mut protocol = protocol.clone();
        protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
        protocol
            .insert("mean".into(), "over valid sentences; the floor is the entropy of the grammar".into());
        let entropy = Grammar::phrases().total_entropy();
        metrics
            .push(Metric::new("nll_true", nll.mean, &protocol).nats().within(nll.interval()).floor(entropy));
    }
    metrics.push(Metric::new("coverage", made.coverage, &protocol).floor(real.coverage).higher());
    if let (Some(novelty), Some(floor)) = (made.novelty, real.novelty) {
        metrics.push(Metric::new("novelty", novelty, &protocol).floor(floor));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(texts: &[&str]) -> Vec<Vec<u16>> {
        texts.iter().map(|text| Grammar::phrases().vocabulary().encode(text).unwrap()).collect()
    }

    #[test]
    fn counts_correct_wrong_new_and_repeated_sentences() {
        let made = sentences(&[
            "it is cold",
            "it is cold",
            "three plus four is seven",
            "three plus four is eight",
            "the the the",
        ]);
        let training: HashSet<Vec<u16>> = sentences(&["it is cold"]).into_iter().collect();
        let found = exact(&made, Some(&[0, 1, 9, 9, 4]), &training);
        assert_eq!((found.validity, found.label_exact), (0.6, Some(0.4)));
        assert_eq!(found.novelty, Some(1.0 / 3.0));
        let grammar = Grammar::phrases();
        let [cold, seven] = [0, 2].map(|place| grammar.parse(&made[place]).unwrap().log_probability);
        assert!((found.coverage - cold.exp() - seven.exp()).abs() < 1e-12);
        assert!((found.nll_true.unwrap().mean + (2.0 * cold + seven) / 3.0).abs() < 1e-12);
        // it, is (4/10), warmth first (5/8), no degree (3/4), cold (3/7), nothing after (3/5), no day (2/5).
        let by_hand =
            0.1 * (4.0 / 10.0) * (5.0 / 8.0) * (3.0 / 4.0) * (3.0 / 7.0) * (3.0 / 5.0) * (2.0 / 5.0);
        assert!((cold - f64::ln(by_hand)).abs() < 1e-12, "{} {by_hand}", cold.exp());
        let nothing = exact(&made[4..], None, &training);
        assert_eq!(
            (nothing.validity, nothing.nll_true, nothing.novelty, nothing.coverage),
            (0.0, None, None, 0.0)
        );
    }
}
