//! Language models as judges of texts, on sentences whose true probabilities are known.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::cell::Cell;
use std::sync::Arc;

use waxwork_core::rng::Stream;
use waxwork_data::text::{at_rest, tokens_of};
use waxwork_data::{DataConfig, Dataset, InMemory, Split, load};
use waxwork_eval::text::{language_model, phrases};
use waxwork_eval::{Metric, Protocol};

fn named<'a>(metrics: &'a [Metric], name: &str) -> &'a Metric {
    metrics.iter().find(|metric| metric.name == name).unwrap()
}

/// The same sentences with their words in a random order.
fn shuffled(data: &Dataset, sentences: &Split) -> Split {
    let mut bytes = Vec::new();
    for (number, text) in tokens_of(sentences).unwrap().into_iter().enumerate() {
        let order = Stream::new(0, "shuffled", number as u64).permutation(text.len());
        let words: Vec<u16> = order.into_iter().map(|place| text[place as usize]).collect();
        bytes.extend(at_rest(&words, data.info.sample().dims()[0]));
    }
    Split::all(Arc::new(InMemory::new(data.info.kind.clone(), bytes, None).unwrap())).unwrap()
}

#[test]
fn real_sentences_score_near_their_entropy_and_shuffled_words_do_not() {
    let cache = tempfile::tempdir().unwrap();
    let data = load(&DataConfig { limit: Some(20_000), ..DataConfig::named("phrases") }).unwrap();
    // Other sentences of the same grammar, as a perfect model makes them.
    let others = load(&DataConfig { seed: 7, ..DataConfig::named("phrases") }).unwrap();
    let real = others.train.subset(1000);
    let trained = Cell::new(0);
    let measure = |texts: &Split| {
        let mut seen = |stage: &'static str, _: usize, _: usize| {
            if stage == "training a language model" {
                trained.set(trained.get() + 1);
            }
        };
        language_model::metrics(&data, texts, cache.path(), &Protocol::new(), &mut seen).unwrap()
    };
    let of_real = measure(&real);
    assert!(trained.replace(0) >= 100);
    let of_shuffled = measure(&shuffled(&data, &real));
    assert_eq!(trained.get(), 0, "the model is in the cache");

    // No model has a lower mean than the grammar itself.
    let forward = named(&of_real, "lm_score");
    let (score, floor) = (forward.value, forward.floor.unwrap());
    let tested = data.test.subset(10_000);
    let tokens: usize = tokens_of(&tested).unwrap().iter().map(|text| text.len() + 1).sum();
    let truth =
        phrases::true_nll(&data, &tested, false).unwrap().unwrap() * tested.len() as f64 / tokens as f64;
    assert!(truth - 0.01 < floor && floor < 1.2 * truth, "{floor} nats beside {truth}");
    assert!((score - floor).abs() < 0.1 * floor, "{score} beside {floor}");
    let [low, high] = forward.interval.unwrap();
    assert!(low < score && score < high && high - low < 0.2 * score, "{forward:?}");
    let wrong = named(&of_shuffled, "lm_score");
    assert!(wrong.value > 2.0 * score, "{} beside {score}", wrong.value);
    assert_eq!(wrong.floor, Some(floor), "the same model and the same real texts");

    // A model of other real sentences does as well as one of training sentences, a model of shuffled words
    // does not.
    let reverse = named(&of_real, "reverse_lm_score");
    let (score, floor) = (reverse.value, reverse.floor.unwrap());
    assert!((score - floor).abs() < 0.1 * floor, "{score} beside {floor}");
    let wrong = named(&of_shuffled, "reverse_lm_score").value;
    assert!(wrong > 1.2 * floor, "{wrong} beside {floor}");
}

#[test]
fn other_data_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let data = load(&DataConfig::named("ring")).unwrap();
    let error = language_model::metrics(&data, &data.test, cache.path(), &Protocol::new(), &mut |_, _, _| {});
    assert!(error.unwrap_err().to_string().contains("`ring`"));
}
