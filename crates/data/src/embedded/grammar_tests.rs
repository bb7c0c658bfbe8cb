//! For tests of the grammar: it is LL(1), and probabilities, entropies and classes are what enumeration says.

use std::collections::BTreeSet;

use waxwork_core::rng::Stream;

use super::*;
use crate::embedded::{PHRASE_LENGTH, Part, Phrases};
use crate::{DataConfig, Manifest, Source, load};

/// All that symbols can stand for, with probabilities.
fn all(grammar: &Grammar, symbols: &[Symbol]) -> Vec<(Vec<u16>, f64)> {
    let Some((first, rest)) = symbols.split_first() else { return vec![(Vec::new(), 1.0)] };
    let firsts: Vec<(Vec<u16>, f64)> = match first {
        Symbol::Word(word) => vec![(vec![*word], 1.0)],
        Symbol::Rule(rule) => {
            let Rule { ways, total, .. } = &grammar.rules[*rule];
            let share = |way: &Way| f64::from(way.weight) / f64::from(*total);
            let of_way = |way: &Way| {
                let share = share(way);
                all(grammar, &way.symbols).into_iter().map(move |(words, p)| (words, share * p))
            };
            ways.iter().flat_map(of_way).collect()
        }
    };
    let rests = all(grammar, rest);
    let both = |(words, p): &(Vec<u16>, f64)| -> Vec<(Vec<u16>, f64)> {
        rests.iter().map(|(more, q)| ([words.as_slice(), more].concat(), p * q)).collect()
    };
    firsts.iter().flat_map(both).collect()
}

#[test]
fn every_class_is_one_distribution_and_its_sentences_are_of_no_other() {
    let grammar = Grammar::phrases();
    assert_eq!(grammar.classes(), 10);
    let (mut shortest, mut longest, mut total) = (usize::MAX, 0, 0);
    for class in 0..10 {
        let sentences = all(grammar, &[Symbol::Rule(grammar.starts[class])]);
        let (mut sum, mut entropy) = (0.0, 0.0);
        for (place, (words, p)) in sentences.iter().enumerate() {
            let log_given_class = grammar.parse_as(class, words).unwrap();
            assert!((log_given_class - p.ln()).abs() < 1e-9, "{}", grammar.vocabulary().decode(words));
            sum += p;
            entropy -= p * p.ln();
            shortest = shortest.min(words.len());
            longest = longest.max(words.len());
            // Of the largest classes every seventh sentence is put to the other nine.
            if sentences.len() < 50_000 || place % 7 == 0 {
                let others = (0..10).filter(|other| grammar.parse_as(*other, words).is_some());
                assert_eq!(others.collect::<Vec<_>>(), [class], "{}", grammar.vocabulary().decode(words));
            }
        }
        let different: BTreeSet<&Vec<u16>> = sentences.iter().map(|(words, _)| words).collect();
        assert_eq!(different.len(), sentences.len(), "class {class} is ambiguous");
        total += sentences.len();
        assert!((sum - 1.0).abs() < 1e-9, "class {class}: {sum}");
        assert!((entropy - grammar.entropy(class)).abs() < 1e-9, "class {class}");
    }
    assert!(shortest >= 3 && longest < PHRASE_LENGTH, "{shortest} to {longest}, {total} sentences");
}

#[test]
fn the_next_word_says_which_way_a_rule_goes() {
    let grammar = Grammar::phrases();
    for (place, rule) in grammar.rules.iter().enumerate() {
        assert!(rule.total > 0 && rule.ways.iter().all(|way| way.weight > 0), "rule {place}");
        let first: Vec<Vec<u16>> =
            rule.ways.iter().map(|way| beginnings(&grammar.rules, &way.symbols).0).collect();
        let all: BTreeSet<u16> = first.iter().flatten().copied().collect();
        let counted: usize = first.iter().map(|words| words.iter().collect::<BTreeSet<_>>().len()).sum();
        assert_eq!(all.len(), counted, "two ways of rule {place} begin alike");
        let nothing = rule.ways.iter().filter(|way| beginnings(&grammar.rules, &way.symbols).1).count();
        assert!(nothing <= 1, "rule {place}");
    }
    // What is no rule is a word: a misspelt name would be one.
    let vocabulary = grammar.vocabulary();
    let number_of = |word: &str| vocabulary.number(word);
    for token in 1..vocabulary.len() as u16 {
        let word = vocabulary.decode(&[token]);
        assert_eq!(number_of(&word), Some(token));
        assert!(!word.starts_with(char::is_uppercase), "{word}");
    }
}

#[test]
fn drawn_sentences_have_the_entropy_and_the_class_that_they_should() {
    let grammar = Grammar::phrases();
    let source = Phrases::new(3, Part::Train);
    let (count, mut sum, mut squares) = (20_000, 0.0, 0.0);
    let mut bytes = vec![0; source.kind().bytes()];
    for index in 0..count {
        source.write_sample(index, &mut bytes).unwrap();
        let sentence = crate::text::tokens(&bytes, PHRASE_LENGTH).remove(0);
        let parsed = grammar.parse(&sentence).unwrap();
        assert_eq!(Some(parsed.class), source.label(index));
        sum -= parsed.log_probability;
        squares += parsed.log_probability * parsed.log_probability;
    }
    let n = count as f64;
    let (mean, entropy) = (sum / n, grammar.total_entropy());
    let error = ((squares / n - mean * mean) / n).sqrt();
    assert!((mean - entropy).abs() < 4.0 * error, "{mean} ± {error}, but {entropy}");
    let same = |a: usize| {
        let stream = Stream::new(1, "test", 0);
        grammar.draw(a, &mut stream.at(5)) == grammar.draw(a, &mut stream.at(5))
    };
    assert!(same(0) && same(9));
}

#[test]
fn only_sentences_have_a_parse() {
    let grammar = Grammar::phrases();
    let parsed = |text: &str| {
        let tokens = grammar.vocabulary().encode(text).unwrap();
        grammar.parse(&tokens).map(|parsed| parsed.class)
    };
    for (text, class) in [
        ("it is very cold and windy today", 0),
        ("there are two cats and three balls in the garden", 1),
        ("how many birds are in the kitchen ?", 2),
        ("the dog does not like the small horse", 3),
        ("the old woman in the house is bigger than the cat", 4),
        ("my ball is red and white", 5),
        ("the girl sits on the table in the kitchen", 6),
        ("it is half past nine at night", 7),
        ("please give the red ball to the old man", 8),
        ("three plus four minus two is five", 9),
    ] {
        assert_eq!(parsed(text), Some(class), "{text}");
        assert_eq!(parsed(&format!("{text} the")), None, "{text}");
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(
            parsed(&words[..words.len() - 1].join(" ")).filter(|found| *found == class && class != 0),
            None
        );
    }
    assert_eq!(parsed("three plus four is eight"), None);
    assert_eq!(parsed(""), None);
    assert_eq!(grammar.parse(&[9999]), None);
}

#[test]
fn the_manifest_says_what_the_generator_makes() {
    let manifest = Manifest::find("phrases").unwrap();
    assert_eq!(manifest.kind().unwrap(), Some(Phrases::new(0, Part::Test).kind()));
    let data = load(&DataConfig { limit: Some(100), ..DataConfig::named("phrases") }).unwrap();
    assert_eq!(data.info.view.vocabulary(), Some(Grammar::phrases().vocabulary()));
    let batch = data.train.batch(&[0, 1], &candle_core::Device::Cpu).unwrap();
    assert_eq!(batch.inputs.dims(), [2, PHRASE_LENGTH]);
    let lengths = batch.lengths.unwrap().to_vec1::<u32>().unwrap();
    let texts = crate::text::tokens_of(&data.train).unwrap();
    assert_eq!(lengths, [texts[0].len() as u32, texts[1].len() as u32]);
    let bytes = crate::text::from_tensor(&data.info.kind, &batch.inputs).unwrap();
    assert_eq!(crate::text::tokens(&bytes, PHRASE_LENGTH), texts[..2]);
}
