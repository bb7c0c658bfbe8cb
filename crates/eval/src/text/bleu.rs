//! BLEU of sentences (Papineni et al. 2002) as NLTK's `sentence_bleu` computes it with smoothing method 1
//! (Chen & Cherry 2014) and uniform weights: the share of a text's n-grams that occur in a reference, for
//! orders 1 to n.
//!
//! Against many references, a high BLEU means that texts look right. Against each other (self-BLEU, Zhu et
//! al. 2018), it means that they are all alike.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

/// The longest n-grams.
pub const LONGEST: usize = 5;
/// The count that stands for no match of an order (method 1).
const EPSILON: f64 = 0.1;

/// The highest count of an n-gram in any reference, the reference that has it, and the highest count in the
/// others.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    first: u32,
    owner: usize,
    second: u32,
}

/// Reference texts, counted once for all comparisons.
#[derive(Debug)]
pub struct References {
    /// By order, starting from 1.
    most: Vec<HashMap<u128, Most>>,
    /// Number of references of each length.
    lengths: BTreeMap<usize, usize>,
}

impl References {
    /// Counts the n-grams of texts.
    pub fn new(texts: &[Vec<u16>]) -> Self {
        let most = (1..=LONGEST).into_par_iter().map(|order| {
            let mut most: HashMap<u128, Most> = HashMap::new();
            for (owner, text) in texts.iter().enumerate() {
                for (gram, count) in counts(text, order) {
                    let known = most.entry(gram).or_default();
                    if count > known.first {
                        *known = Most { first: count, owner, second: known.first };
                    } else {
                        known.second = known.second.max(count);
                    }
                }
            }
            most
        });
        let most = most.collect();
        let mut lengths = BTreeMap::new();
        texts.iter().for_each(|text| *lengths.entry(text.len()).or_default() += 1);
        Self { most, lengths }
    }

    /// BLEU-1 … BLEU-5 of a text. If the text is one of the references, `own` is its index, and that
    /// reference does not count.
    pub fn bleu(&self, text: &[u16], own: Option<usize>) -> [f64; LONGEST] {
        let brevity = self.brevity(text.len(), own.is_some());
        let (mut scores, mut logarithms) = ([0.0; LONGEST], 0.0);
        for (place, score) in scores.iter_mut().enumerate() {
            let (mut matches, mut all) = (0u32, 0u32);
            for (gram, count) in counts(text, place + 1) {
                let most = self.most[place].get(&gram).map_or(0, |most| match own {
                    Some(own) if own == most.owner => most.second,
                    _ => most.first,
                });
                matches += count.min(most);
                all += count;
            }
            if place == 0 && matches == 0 {
                return scores;
            }
            let matches = if matches == 0 { EPSILON } else { f64::from(matches) };
            logarithms += libm::log(matches / f64::from(all.max(1)));
            *score = brevity * libm::exp(logarithms / (place + 1) as f64);
        }
        scores
    }

    /// The brevity penalty against the reference of the nearest length, the shorter of two.
    fn brevity(&self, length: usize, is_own: bool) -> f64 {
        let others =
            self.lengths.iter().filter(|(other, count)| **count > usize::from(is_own && **other == length));
        let nearest = others.map(|(other, _)| *other).min_by_key(|other| (other.abs_diff(length), *other));
        match nearest {
            _ if length == 0 => 0.0,
            Some(nearest) if length <= nearest => libm::exp(1.0 - nearest as f64 / length as f64),
            _ => 1.0,
        }
    }
}

/// The mean BLEU-2 … BLEU-5 of texts against references.
pub fn bleu(texts: &[Vec<u16>], references: &References) -> [f64; LONGEST - 1] {
    mean(texts, |_, text| references.bleu(text, None))
}

/// The mean self-BLEU-2 … self-BLEU-5: of each text against all others.
pub fn self_bleu(texts: &[Vec<u16>]) -> [f64; LONGEST - 1] {
    let references = References::new(texts);
    mean(texts, |own, text| references.bleu(text, Some(own)))
}

fn mean(texts: &[Vec<u16>], score: impl Fn(usize, &[u16]) -> [f64; LONGEST] + Sync) -> [f64; LONGEST - 1] {
    let all: Vec<[f64; LONGEST]> =
        texts.par_iter().enumerate().map(|(place, text)| score(place, text)).collect();
    let count = all.len().max(1) as f64;
    std::array::from_fn(|place| all.iter().map(|scores| scores[place + 1]).sum::<f64>() / count)
}

/// The n-grams of a text, each as a unique number, with their counts, sorted by that number.
fn counts(text: &[u16], order: usize) -> Vec<(u128, u32)> {
    let gram = |window: &[u16]| window.iter().fold(0u128, |all, token| all << 16 | u128::from(*token));
    let mut grams: Vec<u128> = text.windows(order).map(gram).collect();
    grams.sort_unstable();
    grams.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of texts as numbers.
    fn numbered(texts: &[&str], known: &mut Vec<String>) -> Vec<Vec<u16>> {
        let mut number = |word: &str| -> u16 {
            let place = known.iter().position(|other| other == word).unwrap_or_else(|| {
                known.push(word.to_owned());
                known.len() - 1
            });
            place as u16 + 1
        };
        texts.iter().map(|text| text.split(' ').map(&mut number).collect()).collect()
    }

    #[test]
    fn scores_are_those_of_nltk() {
        // NLTK 3.10.4:
        // from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
        // references = [l.split() for l in ["the cat sat on the mat", "there is a cat on the mat", "the dog slept",
        //                                   "a bird sang in the old tree"]]
        // made = [l.split() for l in ["the cat is on the mat", "the the the the", "a dog", "there is a cat on the mat", "zebra"]]
        // smooth = SmoothingFunction().method1
        // mean = lambda scores: sum(scores) / len(scores)
        // for n in range(2, 6):
        //     weights = [1 / n] * n
        //     bleu = mean([sentence_bleu(references, m, weights, smooth) for m in made])
        //     self_bleu = mean([sentence_bleu(made[:i] + made[i + 1:], m, weights, smooth) for i, m in enumerate(made)])
        //     print(n, repr(bleu), repr(self_bleu))
        let mut words = Vec::new();
        let references = numbered(
            &[
                "the cat sat on the mat",
                "there is a cat on the mat",
                "the dog slept",
                "a bird sang in the old tree",
            ],
            &mut words,
        );
        let made = numbered(
            &["the cat is on the mat", "the the the the", "a dog", "there is a cat on the mat", "zebra"],
            &mut words,
        );
        let (found, of_itself) = (bleu(&made, &References::new(&references)), self_bleu(&made));
        for (place, (expected, expected_self)) in [
            (0.4190995899313418, 0.28451815522417706),
            (0.3512211913729381, 0.20863491337551285),
            (0.2938634344880232, 0.1285771673132639),
            (0.2765826551263201, 0.10392292337771089),
        ]
        .into_iter()
        .enumerate()
        {
            assert!((found[place] - expected).abs() < 1e-12, "BLEU-{}: {}", place + 2, found[place]);
            assert!(
                (of_itself[place] - expected_self).abs() < 1e-12,
                "self-BLEU-{}: {}",
                place + 2,
                of_itself[place]
            );
        }
    }

    #[test]
    fn copies_are_one_and_nothing_is_zero() {
        let texts: Vec<Vec<u16>> = vec![vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 6]];
        assert_eq!(self_bleu(&texts), [1.0; 4]);
        assert_eq!(bleu(&texts, &References::new(&texts)), [1.0; 4]);
        assert_eq!(bleu(&[vec![], vec![9]], &References::new(&texts)), [0.0; 4]);
        // A single text has nothing to be compared with.
        assert_eq!(self_bleu(&texts[..1]), [0.0; 4]);
    }
}
