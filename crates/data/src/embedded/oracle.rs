//! `oracle`: sequences of an LSTM with random weights, the synthetic task of SeqGAN (Yu et al. 2017). The
//! probability of every sequence is known exactly.
//!
//! The weights of the embedded oracle are standard normal draws of our own generator. A file can hold other
//! weights, such as those of the paper's authors.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rayon::prelude::*;
use waxwork_core::hash::sha256;
use waxwork_core::rng::{Draws, Stream};
use waxwork_core::{DType, Device, Kind, store};

use super::Part;
use crate::exponential::exp;
use crate::identity;
use crate::text::{Unit, Vocabulary, at_rest};
use crate::{Error, Result, Source};

/// The data set's name.
pub const ORACLE: &str = "oracle";
/// Number of tokens of every sequence.
pub const ORACLE_LENGTH: usize = 20;
/// Number of different tokens. The end is not one of them, because no sequence is shorter than the others.
pub const ORACLE_TOKENS: usize = 5000;
/// Number of sequences of each part.
pub const ORACLE_SEQUENCES: usize = 10_000;
/// Width of the embedded oracle's token features and hidden states.
const WIDTH: usize = 32;
/// Logits that are this far below the largest one, or further, have the same share, e⁻⁷⁰⁰.
const LEAST: f32 = -700.0;
/// Increase this whenever the sequences of the same weights change.
const VERSION: u32 = 1;

/// An LSTM that draws sequences: p(x) = Π p(xₜ | x₁ … xₜ₋₁). As in SeqGAN, its first input is its own token 0,
/// which is token 1 of the data set, where token 0 is the end.
#[derive(Clone, PartialEq)]
pub struct Oracle {
    sizes: Sizes,
    /// A name that distinguishes its weights from others.
    name: String,
    /// Features of each token, `(tokens, inputs)`.
    embedding: Vec<f32>,
    /// From a token's features to the gates, `(inputs, 4 · hidden)`.
    from_input: Vec<f32>,
    /// From the hidden state to the gates, `(hidden, 4 · hidden)`.
    from_hidden: Vec<f32>,
    /// Of the gates, `(4 · hidden)`.
    bias: Vec<f32>,
    /// From the hidden state to the logits, `(hidden, tokens)`.
    output: Vec<f32>,
    output_bias: Vec<f32>,
}

/// The widths of an oracle's layers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sizes {
    tokens: usize,
    inputs: usize,
    hidden: usize,
}

/// The distribution of the next token.
struct Shares {
    logits: Vec<f32>,
    /// exp(logit − the largest logit).
    powers: Vec<f64>,
    /// The largest logit.
    top: f32,
    /// The sum of the powers.
    total: f64,
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oracle({})", self.name)
    }
}

impl Sizes {
    /// Rows and columns of each weight in PyTorch's layout: embedding, input and recurrent weight, their bias,
    /// output weight and bias. A bias has one column.
    fn shapes(self) -> [[usize; 2]; 6] {
        let Self { tokens, inputs, hidden } = self;
        let gates = 4 * hidden;
        [[tokens, inputs], [gates, inputs], [gates, hidden], [gates, 1], [tokens, hidden], [tokens, 1]]
    }
}

impl Oracle {
    /// The oracle whose weights are standard normal draws. Its entropy is 5.951 nats per token.
    pub fn embedded() -> Arc<Self> {
        static EMBEDDED: LazyLock<Arc<Oracle>> = LazyLock::new(|| {
            let sizes = Sizes { tokens: ORACLE_TOKENS, inputs: WIDTH, hidden: WIDTH };
            let stream = Stream::new(0, "data/oracle/weights", 0);
            let mut number = 0;
            let weights = sizes.shapes().map(|[rows, columns]| {
                let mut draws = stream.at(number);
                number += 1;
                (0..rows * columns).map(|_| draws.normal()).collect()
            });
            Arc::new(Oracle::new("standard normal weights".to_owned(), sizes, weights))
        });
        Arc::clone(&EMBEDDED)
    }

    /// Reads the weights from a safetensors file with PyTorch's names, shapes and order of gates:
    /// `embedding.weight`, the four tensors `lstm.*_l0`, `output.weight` and `output.bias`. The number of
    /// tokens is [`ORACLE_TOKENS`]; other widths are those of the file.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor is missing, has another shape or a value that is not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let tensors = store::decode(&bytes, path, &Device::Cpu);
        let tensors =
            tensors.map_err(|error| Error::format(path, "a safetensors file", error.to_string()))?;
        let width = |name: &str| {
            tensors.get(name).and_then(|tensor| tensor.dims().last().copied()).unwrap_or_default()
        };
        let (inputs, hidden) = (width("embedding.weight"), width("lstm.weight_hh_l0"));
        let sizes = Sizes { tokens: ORACLE_TOKENS, inputs, hidden };
        let read = |name: &str, [rows, columns]: [usize; 2]| -> Result<Vec<f32>> {
            let shape = if columns == 1 && name.contains("bias") { vec![rows] } else { vec![rows, columns] };
            let expected = format!("`{name}` of shape {shape:?}");
            let Some(tensor) = tensors.get(name) else {
                return Err(Error::format(path, expected, "no such tensor"));
            };
            if tensor.dims() != shape || tensor.elem_count() == 0 {
                return Err(Error::format(path, expected, format!("{:?}", tensor.dims())));
            }
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            if values.iter().any(|value| !value.is_finite()) {
                let found = format!("a value of `{name}` that is not");
                return Err(Error::format(path, "finite weights", found));
            }
            Ok(values)
        };
        let [embedding, input, recurrent, bias, output, output_bias] = sizes.shapes();
        // First read the two tensors that determine the widths of the others.
        let (embedding, recurrent) =
            (read("embedding.weight", embedding)?, read("lstm.weight_hh_l0", recurrent)?);
        let biases = [read("lstm.bias_ih_l0", bias)?, read("lstm.bias_hh_l0", bias)?];
        let weights = [
            embedding,
            read("lstm.weight_ih_l0", input)?,
            recurrent,
            biases[0].iter().zip(&biases[1]).map(|(one, other)| one + other).collect(),
            read("output.weight", output)?,
            read("output.bias", output_bias)?,
        ];
        Ok(Self::new(format!("weights {}", sha256(&bytes)), sizes, weights))
    }

    /// The oracle with the given weights, whose shapes are [`Sizes::shapes`].
    fn new(name: String, sizes: Sizes, weights: [Vec<f32>; 6]) -> Self {
        let [embedding, input, recurrent, bias, output, output_bias] = weights;
        Self {
            name,
            embedding,
            from_input: transposed(&input, sizes.inputs),
            from_hidden: transposed(&recurrent, sizes.hidden),
            bias,
            output: transposed(&output, sizes.hidden),
            output_bias,
            sizes,
        }
    }

    /// A name that distinguishes its weights from those of other oracles.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tokens of its sequences: the words `0` to `4999`, numbered from 1.
    pub fn vocabulary() -> Vocabulary {
        let words = (0..ORACLE_TOKENS).map(|word| word.to_string()).collect();
        // A vocabulary accepts distinct words of one unit; the tests check these.
        Vocabulary::new(Unit::Words, words).unwrap_or_else(|_| Vocabulary::bytes())
    }

    /// The identity of the data set that it generates for a seed.
    pub(crate) fn identity(&self, seed: u64) -> String {
        identity::of_generator(&format!("{ORACLE} of {}", self.name), VERSION, seed)
    }

    /// Draws a sequence of [`ORACLE_LENGTH`] tokens.
    pub fn draw(&self, draws: &mut Draws) -> Vec<u16> {
        let mut sequence = Vec::with_capacity(ORACLE_LENGTH);
        self.run(ORACLE_LENGTH, |shares| {
            let token = shares.token(draws.uniform());
            sequence.push(token as u16 + 1);
            token
        });
        sequence
    }

    /// log p of a sequence in nats; None if the sequence does not have [`ORACLE_LENGTH`] tokens, because the
    /// oracle never draws such a sequence.
    pub fn log_probability(&self, sequence: &[u16]) -> Option<f64> {
        (sequence.len() == ORACLE_LENGTH).then(|| self.log_probability_of(sequence)).flatten()
    }

    /// [`Oracle::log_probability`] of many sequences, in their order.
    pub fn log_probabilities(&self, sequences: &[Vec<u16>]) -> Vec<Option<f64>> {
        sequences.par_iter().map(|sequence| self.log_probability(sequence)).collect()
    }

    /// log p of the first tokens of a sequence, for any number of them.
    fn log_probability_of(&self, sequence: &[u16]) -> Option<f64> {
        let own = |token: &u16| usize::from(*token).checked_sub(1).filter(|token| *token < self.sizes.tokens);
        let tokens = sequence.iter().map(own).collect::<Option<Vec<usize>>>()?;
        let (mut rest, mut sum) = (tokens.iter(), 0.0);
        self.run(tokens.len(), |shares| {
            let token = rest.next().copied().unwrap_or(0);
            sum += shares.log_probability(token);
            token
        });
        Some(sum)
    }

    /// Runs the LSTM for `length` steps. `next` receives the distribution of a token and returns the token,
    /// which becomes the next input. All sums have a fixed order, so the bits are the same everywhere.
    fn run(&self, length: usize, mut next: impl FnMut(&Shares) -> usize) {
        let Sizes { tokens, inputs, hidden } = self.sizes;
        let (mut state, mut cells) = (vec![0f32; hidden], vec![0f32; hidden]);
        let mut gates = vec![0f32; 4 * hidden];
        let mut shares =
            Shares { logits: vec![0.0; tokens], powers: vec![0.0; tokens], top: 0.0, total: 0.0 };
        let mut token = 0;
        for _ in 0..length {
            gates.copy_from_slice(&self.bias);
            add_product(&mut gates, &self.embedding[token * inputs..][..inputs], &self.from_input);
            add_product(&mut gates, &state, &self.from_hidden);
            for (place, (state, cell)) in state.iter_mut().zip(&mut cells).enumerate() {
                let gate = |which: usize| gates[which * hidden + place];
                *cell = sigmoid(gate(1)) * *cell + sigmoid(gate(0)) * libm::tanhf(gate(2));
                *state = sigmoid(gate(3)) * libm::tanhf(*cell);
            }
            shares.logits.copy_from_slice(&self.output_bias);
            add_product(&mut shares.logits, &state, &self.output);
            shares.normalise();
            token = next(&shares);
        }
    }
}

impl Shares {
    /// Computes the fields that depend on the logits.
    fn normalise(&mut self) {
        self.top = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (power, logit) in self.powers.iter_mut().zip(&self.logits) {
            *power = exp(f64::from((logit - self.top).max(LEAST)));
        }
        self.total = self.powers.iter().sum();
    }

    fn log_probability(&self, token: usize) -> f64 {
        f64::from(self.logits[token]) - f64::from(self.top) - libm::log(self.total)
    }

    /// The first token at which the cumulative share exceeds `uniform`.
    fn token(&self, uniform: f32) -> usize {
        let mut left = f64::from(uniform) * self.total;
        let found = self.powers.iter().position(|power| {
            left -= power;
            left < 0.0
        });
        found.unwrap_or(self.powers.len() - 1)
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// Adds x · weight to `out`, where the weight has a row per element of x.
fn add_product(out: &mut [f32], x: &[f32], weight: &[f32]) {
    for (x, row) in x.iter().zip(weight.chunks_exact(out.len())) {
        for (out, weight) in out.iter_mut().zip(row) {
            *out += x * weight;
        }
    }
}

/// A matrix with `columns` columns, transposed.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    (0..matrix.len()).map(|place| matrix[(place % rows) * columns + place / rows]).collect()
}

/// The sequences of one part for one seed, in the order of the paper's task: 10,000 of each part.
#[derive(Debug)]
pub struct OracleSequences {
    oracle: Arc<Oracle>,
    stream: Stream,
}

impl OracleSequences {
    /// The sequences of `part` for `seed`.
    pub fn new(oracle: Arc<Oracle>, seed: u64, part: Part) -> Self {
        Self { oracle, stream: Stream::new(seed, &part.stream(ORACLE), 0) }
    }
}

impl Source for OracleSequences {
    fn kind(&self) -> Kind {
        Kind::Text { vocabulary: ORACLE_TOKENS + 1, length: ORACLE_LENGTH }
    }

    fn len(&self) -> usize {
        ORACLE_SEQUENCES
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        if index >= self.len() {
            return Err(Error::OutOfRange { index, len: self.len() });
        }
        let sequence = self.oracle.draw(&mut self.stream.at(index as u64));
        for (byte, value) in out.iter_mut().zip(at_rest(&sequence, ORACLE_LENGTH)) {
            *byte = value;
        }
        Ok(())
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use waxwork_core::Tensor;

    use super::*;

    fn tiny() -> Oracle {
        let weights = [
            vec![0.5, -1.0, 1.5, 0.25, -0.75, 2.0],
            vec![0.3, -0.6, 0.9, 0.1, -0.4, 0.8, 0.7, -0.2],
            vec![0.5, -0.3, 1.1, 0.2],
            vec![0.1, -0.2, 0.3, 0.4],
            vec![2.0, -1.0, 0.5],
            vec![0.1, 0.2, -0.3],
        ];
        Oracle::new("tiny".to_owned(), Sizes { tokens: 3, inputs: 2, hidden: 1 }, weights)
    }

    // import math
    // E = [[0.5, -1.0], [1.5, 0.25], [-0.75, 2.0]]
    // ih = [[0.3, -0.6], [0.9, 0.1], [-0.4, 0.8], [0.7, -0.2]]
    // hh, b = [0.5, -0.3, 1.1, 0.2], [0.1, -0.2, 0.3, 0.4]
    // out, ob = [2.0, -1.0, 0.5], [0.1, 0.2, -0.3]
    // s = lambda x: 1 / (1 + math.exp(-x))
    // h = c = total = 0.0
    // before = 0
    // for t in [1, 2, 0, 2]:
    //     x = E[before]
    //     a = [b[g] + ih[g][0] * x[0] + ih[g][1] * x[1] + hh[g] * h for g in range(4)]
    //     c = s(a[1]) * c + s(a[0]) * math.tanh(a[2])
    //     h = s(a[3]) * math.tanh(c)
    //     l = [out[v] * h + ob[v] for v in range(3)]
    //     total += l[t] - math.log(sum(map(math.exp, l)))
    //     before = t
    // print(total)
    const BY_HAND: f64 = -4.697_814_609_073_235;

    #[test]
    fn the_likelihood_is_that_of_a_calculation_by_hand() {
        let found = tiny().log_probability_of(&[2, 3, 1, 3]).unwrap();
        assert!((found - BY_HAND).abs() < 1e-5, "{found}");
        assert_eq!(tiny().log_probability_of(&[2, 0, 1]), None, "the end is no token of the oracle");
        assert_eq!(tiny().log_probability_of(&[4]), None);
    }

    #[test]
    fn the_probabilities_of_all_sequences_add_up_to_one_and_are_those_of_draws() {
        let oracle = tiny();
        let all = || (0..27usize).map(|i| [i / 9, i / 3 % 3, i % 3].map(|token| token as u16 + 1));
        let p: Vec<f64> = all().map(|sequence| oracle.log_probability_of(&sequence).unwrap().exp()).collect();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let (stream, n) = (Stream::new(1, "test", 0), 20_000);
        let mut counts = [0f64; 27];
        for number in 0..n {
            let (mut draws, mut place) = (stream.at(number), 0);
            oracle.run(3, |shares| {
                let token = shares.token(draws.uniform());
                place = 3 * place + token;
                token
            });
            counts[place] += 1.0;
        }
        let expected = p.iter().map(|p| p * n as f64);
        let squares: f64 =
            counts.iter().zip(expected).map(|(found, want)| (found - want).powi(2) / want).sum();
        // χ² with 26 degrees of freedom has mean 26 and standard deviation 7.2.
        assert!(squares < 26.0 + 4.0 * 7.2, "{squares}");
    }

    /// An independent program with the same weights measured an entropy of 5.9515 ± 0.0013 nats per token and a
    /// −log p of its own draws of 5.9512 ± 0.0035, over 20,000 sequences.
    #[test]
    fn the_likelihood_of_own_draws_is_the_entropy() {
        let oracle = Oracle::embedded();
        let stream = Stream::new(5, "test", 0);
        let n = 400;
        let found: Vec<[f64; 2]> = (0..n)
            .into_par_iter()
            .map(|number| {
                let sequence = oracle.draw(&mut stream.at(number));
                let (mut rest, mut entropy) = (sequence.iter(), 0.0);
                oracle.run(ORACLE_LENGTH, |shares| {
                    let each = shares.powers.iter().zip(&shares.logits);
                    let surprise =
                        |(power, logit): (&f64, &f32)| power * (f64::from(*logit) - f64::from(shares.top));
                    entropy += libm::log(shares.total) - each.map(surprise).sum::<f64>() / shares.total;
                    usize::from(*rest.next().unwrap()) - 1
                });
                let nll = -oracle.log_probability(&sequence).unwrap();
                [nll, entropy].map(|nats| nats / ORACLE_LENGTH as f64)
            })
            .collect();
        let mean = |of: &dyn Fn(&[f64; 2]) -> f64| found.iter().map(of).sum::<f64>() / n as f64;
        let gap = mean(&|[nll, entropy]| nll - entropy);
        let error = (mean(&|[nll, entropy]| (nll - entropy - gap).powi(2)) / n as f64).sqrt();
        assert!(gap.abs() < 4.0 * error, "{gap} ± {error}");
        let [nll, entropy] = [0, 1].map(|place| mean(&|both: &[f64; 2]| both[place]));
        assert!((nll - 5.951).abs() < 0.1 && (entropy - 5.951).abs() < 0.04, "{nll} {entropy}");
    }

    #[test]
    fn weights_are_read_from_a_file_and_faults_are_named() {
        let oracle = Oracle::embedded();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oracle.safetensors");
        let tensor =
            |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        let gates = 4 * WIDTH;
        let mut tensors = BTreeMap::from([
            ("embedding.weight".to_owned(), tensor(&oracle.embedding, &[ORACLE_TOKENS, WIDTH])),
            ("lstm.weight_ih_l0".to_owned(), tensor(&transposed(&oracle.from_input, gates), &[gates, WIDTH])),
            (
                "lstm.weight_hh_l0".to_owned(),
                tensor(&transposed(&oracle.from_hidden, gates), &[gates, WIDTH]),
            ),
            ("lstm.bias_ih_l0".to_owned(), tensor(&oracle.bias, &[gates])),
            ("lstm.bias_hh_l0".to_owned(), tensor(&vec![0.0; gates], &[gates])),
            (
                "output.weight".to_owned(),
                tensor(&transposed(&oracle.output, ORACLE_TOKENS), &[ORACLE_TOKENS, WIDTH]),
            ),
            ("output.bias".to_owned(), tensor(&oracle.output_bias, &[ORACLE_TOKENS])),
        ]);
        store::save(&path, &tensors).unwrap();
        let read = Oracle::read(&path).unwrap();
        assert_eq!(Oracle { name: oracle.name.clone(), ..read.clone() }, *oracle);
        assert_ne!(read.identity(0), oracle.identity(0));
        assert_ne!(oracle.identity(1), oracle.identity(0));
        tensors.insert("output.bias".to_owned(), tensor(&[0.0; 7], &[7]));
        store::save(&path, &tensors).unwrap();
        let said = Oracle::read(&path).unwrap_err().to_string();
        assert!(said.contains("`output.bias` of shape [5000]") && said.contains("[7]"), "{said}");
        tensors.remove("output.bias");
        store::save(&path, &tensors).unwrap();
        assert!(Oracle::read(&path).unwrap_err().to_string().contains("no such tensor"));
        std::fs::write(&path, b"pickle").unwrap();
        assert!(Oracle::read(&path).unwrap_err().to_string().contains("a safetensors file"));
    }

    #[test]
    fn sequences_are_functions_of_seed_part_and_index() {
        let bytes = |seed, part, index| {
            let mut bytes = vec![0; 2 * ORACLE_LENGTH];
            OracleSequences::new(Oracle::embedded(), seed, part).write_sample(index, &mut bytes).unwrap();
            bytes
        };
        let first = bytes(0, Part::Train, 0);
        assert_eq!(first, bytes(0, Part::Train, 0));
        assert!(
            [bytes(1, Part::Train, 0), bytes(0, Part::Test, 0), bytes(0, Part::Train, 1)]
                .iter()
                .all(|other| *other != first)
        );
        let tokens = crate::text::tokens(&first, ORACLE_LENGTH);
        assert_eq!(tokens[0].len(), ORACLE_LENGTH, "no sequence has an end");
        assert_eq!(Oracle::vocabulary().len(), ORACLE_TOKENS + 1);
        assert_eq!(Oracle::vocabulary().encode("0 4999").unwrap(), [1, 5000]);
        let mut out = vec![0; 2 * ORACLE_LENGTH];
        let test = OracleSequences::new(Oracle::embedded(), 0, Part::Test);
        assert!(test.write_sample(ORACLE_SEQUENCES, &mut out).is_err());
    }
}
