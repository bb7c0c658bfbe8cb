//! A probabilistic grammar in which every sentence has one parse, so that sentence probabilities, the entropy
//! and the class of a sentence are exact.
//!
//! Every class has its own start symbol. The grammar of each class is LL(1): the next word determines the way
//! that a rule takes, so a parser needs neither search nor sums. No rule is recursive, so the entropy is a
//! finite sum.

use std::collections::BTreeMap;

use waxwork_core::rng::Draws;

use crate::text::{Unit, Vocabulary};

/// A rule. At most one of its ways may be empty; the next word decides between the others.
#[derive(Debug)]
struct Rule {
    ways: Vec<Way>,
    /// Sum of the weights.
    total: u32,
    /// The way that can start with each word.
    by_word: BTreeMap<u16, usize>,
    /// The way that may be empty.
    empty: Option<usize>,
}

/// One right-hand side of a rule.
#[derive(Debug)]
struct Way {
    weight: u32,
    symbols: Vec<Symbol>,
}

#[derive(Clone, Copy, Debug)]
enum Symbol {
    /// The number of a word.
    Word(u16),
    /// The position of a rule.
    Rule(usize),
}

/// Rules as they are written: a name that starts with a capital, and ways with their weights, whose symbols
/// are separated by spaces. A symbol that is not the name of a rule is a word.
pub(super) type Written = Vec<(String, Vec<(u32, String)>)>;

/// A grammar of several classes.
#[derive(Debug)]
pub struct Grammar {
    rules: Vec<Rule>,
    /// The rule that each class starts with.
    starts: Vec<usize>,
    vocabulary: Vocabulary,
}

/// The result of a sentence's only parse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parsed {
    /// Its class.
    pub class: u32,
    /// log p(sentence | class), in nats.
    pub log_given_class: f64,
    /// log p(sentence) if all classes are equally likely, in nats.
    pub log_probability: f64,
}

impl Grammar {
    /// Makes a grammar whose classes start with the rules `starts`. Words are numbered in byte order.
    pub(super) fn new(written: &Written, starts: &[&str]) -> Self {
        let place = |name: &str| written.iter().position(|(rule, _)| rule == name);
        let all =
            written.iter().flat_map(|(_, ways)| ways).flat_map(|(_, symbols)| symbols.split_whitespace());
        let mut words: Vec<String> = all.filter(|word| place(word).is_none()).map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        let number =
            |word: &str| words.binary_search_by(|other| other.as_str().cmp(word)).unwrap_or(0) as u16 + 1;
        let symbol = |name: &str| place(name).map_or_else(|| Symbol::Word(number(name)), Symbol::Rule);
        let mut rules: Vec<Rule> = written
            .iter()
            .map(|(_, ways)| {
                let way = |(weight, symbols): &(u32, String)| Way {
                    weight: *weight,
                    symbols: symbols.split_whitespace().map(symbol).collect(),
                };
                let ways: Vec<Way> = ways.iter().map(way).collect();
                let total = ways.iter().map(|way| way.weight).sum();
                Rule { ways, total, by_word: BTreeMap::new(), empty: None }
            })
            .collect();
        for rule in 0..rules.len() {
            for way in 0..rules[rule].ways.len() {
                let (first, nothing) = beginnings(&rules, &rules[rule].ways[way].symbols);
                rules[rule].by_word.extend(first.into_iter().map(|word| (word, way)));
                rules[rule].empty = rules[rule].empty.or(nothing.then_some(way));
            }
        }
        let starts = starts.iter().filter_map(|name| place(name)).collect();
        // A vocabulary accepts all sorted, distinct words of one unit; the tests check these.
        let vocabulary = Vocabulary::new(Unit::Words, words).unwrap_or_else(|_| Vocabulary::bytes());
        Self { rules, starts, vocabulary }
    }

    /// The words with their numbers.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.starts.len()
    }

    /// The class of a sentence and its probability; None if the sentence is not in the grammar.
    pub fn parse(&self, sentence: &[u16]) -> Option<Parsed> {
        let logarithm = libm::log(self.classes() as f64);
        (0..self.classes()).find_map(|class| {
            let log_given_class = self.parse_as(class, sentence)?;
            let log_probability = log_given_class - logarithm;
            Some(Parsed { class: class as u32, log_given_class, log_probability })
        })
    }

    /// log p(sentence | class) in nats; None if the class has no such sentence.
    pub fn parse_as(&self, class: usize, sentence: &[u16]) -> Option<f64> {
        let mut rest = sentence;
        let mut probability = 0.0;
        let mut open = vec![Symbol::Rule(*self.starts.get(class)?)];
        while let Some(symbol) = open.pop() {
            match symbol {
                Symbol::Word(word) => {
                    let (first, after) = rest.split_first()?;
                    if *first != word {
                        return None;
                    }
                    rest = after;
                }
                Symbol::Rule(rule) => {
                    let rule = &self.rules[rule];
                    let known = rest.first().and_then(|word| rule.by_word.get(word)).copied();
                    let way = &rule.ways[known.or(rule.empty)?];
                    probability += libm::log(f64::from(way.weight) / f64::from(rule.total));
                    open.extend(way.symbols.iter().rev());
                }
            }
        }
        rest.is_empty().then_some(probability)
    }

    /// The entropy of the sentences of a class, in nats: for every rule, the entropy of its choice plus the
    /// weighted entropies of what follows.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn entropy(&self, class: usize) -> f64 {
        self.rule_entropy(self.starts[class], &mut BTreeMap::new())
    }

    /// The entropy of sentences of all classes, which are equally likely, in nats.
    pub fn total_entropy(&self) -> f64 {
        let classes = self.classes() as f64;
        libm::log(classes) + (0..self.classes()).map(|class| self.entropy(class)).sum::<f64>() / classes
    }

    fn rule_entropy(&self, rule: usize, known: &mut BTreeMap<usize, f64>) -> f64 {
        if let Some(entropy) = known.get(&rule) {
            return *entropy;
        }
        let Rule { ways, total, .. } = &self.rules[rule];
        let mut entropy = 0.0;
        for way in ways {
            let share = f64::from(way.weight) / f64::from(*total);
            let mut inner = -libm::log(share);
            for symbol in &way.symbols {
                if let Symbol::Rule(rule) = symbol {
                    inner += self.rule_entropy(*rule, known);
                }
            }
            entropy += share * inner;
        }
        known.insert(rule, entropy);
        entropy
    }

    /// Draws a sentence of a class.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn draw(&self, class: usize, draws: &mut Draws) -> Vec<u16> {
        let (mut sentence, mut open) = (Vec::new(), vec![Symbol::Rule(self.starts[class])]);
        while let Some(symbol) = open.pop() {
            match symbol {
                Symbol::Word(word) => sentence.push(word),
                Symbol::Rule(rule) => {
                    let Rule { ways, total, .. } = &self.rules[rule];
                    let mut left = draws.below(*total);
                    let way = ways.iter().find(|way| match left.checked_sub(way.weight) {
                        Some(less) => {
                            left = less;
                            false
                        }
                        None => true,
                    });
                    open.extend(way.into_iter().flat_map(|way| way.symbols.iter().rev()));
                }
            }
        }
        sentence
    }
}

/// The words that can start a sequence of symbols, and whether the sequence may be empty.
fn beginnings(rules: &[Rule], symbols: &[Symbol]) -> (Vec<u16>, bool) {
    let mut words = Vec::new();
    for symbol in symbols {
        match symbol {
            Symbol::Word(word) => {
                words.push(*word);
                return (words, false);
            }
            Symbol::Rule(rule) => {
                let mut nothing = false;
                for way in &rules[*rule].ways {
                    let (first, empty) = beginnings(rules, &way.symbols);
                    words.extend(first);
                    nothing |= empty;
                }
                if !nothing {
                    return (words, false);
                }
            }
        }
    }
    (words, true)
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
