//! Metrics of texts: BLEU and self-BLEU, n-grams, copies and repetitions, with floors from real texts, and on
//! `phrases` and `oracle` the exact measures of the grammar and of the LSTM that draw the real texts.

pub mod bleu;
pub mod exact;
pub mod language_model;
pub mod ngrams;
pub mod oracle;
pub mod phrases;
pub mod temperatures;

use std::collections::HashSet;

use waxwork_data::text::tokens_of;
use waxwork_data::{Dataset, Split};

use crate::judging::Stages;
use crate::report::{Metric, Protocol};
use crate::{Error, Result};

use bleu::References;

/// Maximum number of texts of each side that are compared.
const MOST: usize = 10_000;
/// The longest n-grams whose frequencies are compared.
const LONGEST: usize = 4;

/// All metrics of generated texts that need neither a judge nor a language model. The floors come from as many training texts, or from
/// test texts for metrics that compare with training texts.
///
/// # Errors
/// If texts cannot be read, or there are fewer than two.
pub fn metrics(
    data: &Dataset,
    generated: &Split,
    conditional: bool,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Vec<Metric>> {
    stages("comparing n-grams", 0, 0);
    for (whose, found) in [("generated", generated.len()), ("real", data.test.len().min(data.train.len()))] {
        if found < 2 {
            return Err(Error::TooFew { whose, needed: 2, found });
        }
    }
    let all = tokens_of(generated)?;
    let some = generated.subset(MOST);
    let made = tokens_of(&some)?;
    let training = tokens_of(&data.train)?;
    let trained = tokens_of(&data.train.subset(made.len()))?;
    let tested = tokens_of(&data.test.subset(MOST))?;
    let mut own = protocol.clone();
    own.insert("n_generated".into(), made.len().to_string());
    own.insert("n_real".into(), tested.len().to_string());
    own.insert("n_floor".into(), format!("{} training texts", trained.len()));

    let mut metrics = Vec::new();
    let references = References::new(&tested);
    let mut named = own.clone();
    named.insert("bleu".into(), "of sentences, method 1 smoothing, uniform weights; mean".into());
    named.insert("references".into(), format!("all {} test texts", tested.len()));
    let (found, floor) = (bleu::bleu(&made, &references), bleu::bleu(&trained, &references));
    for (place, (value, floor)) in found.iter().zip(floor).enumerate() {
        metrics.push(Metric::new(format!("bleu_{}", place + 2), *value, &named).floor(floor));
    }
    named.insert("references".into(), "all other texts of its own".into());
    let (found, floor) = (bleu::self_bleu(&made), bleu::self_bleu(&trained));
    for (place, (value, floor)) in found.iter().zip(floor).enumerate() {
        metrics.push(Metric::new(format!("self_bleu_{}", place + 2), *value, &named).floor(floor));
    }
    let mut named = own.clone();
    named.insert("divergence".into(), "Jensen-Shannon, in bits; a text's end is a token".into());
    for order in 1..=LONGEST {
        let [value, floor] = [&made, &trained].map(|texts| ngrams::divergence(texts, &tested, order));
        metrics.push(Metric::new(format!("ngram_js_{order}"), value, &named).floor(floor).lower());
    }

    stages("searching the training texts", 0, 0);
    let training: HashSet<Vec<u16>> = training.into_iter().collect();
    let copies = |texts: &[Vec<u16>]| share(texts, |text| training.contains(text));
    let mut named = own.clone();
    named.insert("n_training".into(), data.train.len().to_string());
    let floor = copies(&tested);
    metrics.push(Metric::new("copies", copies(&made), &named).floor(floor));
    let [value, floor] = [&made, &trained].map(|texts| distinct(texts));
    metrics.push(Metric::new("distinct", value, &own).floor(floor).higher());

    if let Some(truth) = &data.info.oracle {
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), made.len().to_string());
        protocol.insert("n_real".into(), tested.len().to_string());
        metrics.extend(oracle::metrics(truth, &made, oracle::nll(truth, &tested), &protocol));
    }
    if phrases::are_phrases(data) {
        let asked = generated.labels().filter(|_| conditional);
        let real = tokens_of(&data.test.subset(all.len()))?;
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), all.len().to_string());
        protocol.insert("n_real".into(), real.len().to_string());
        metrics.extend(phrases::metrics(&all, asked.as_deref(), &real, &training, &protocol));
    }
    Ok(metrics)
}

/// The share of distinct texts among all texts.
fn distinct(texts: &[Vec<u16>]) -> f64 {
    let different: HashSet<&Vec<u16>> = texts.iter().collect();
    different.len() as f64 / texts.len().max(1) as f64
}

fn share(texts: &[Vec<u16>], is: impl Fn(&Vec<u16>) -> bool) -> f64 {
    texts.iter().filter(|text| is(text)).count() as f64 / texts.len().max(1) as f64
}
