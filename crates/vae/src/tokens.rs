//! Encoder and decoder of sequences of tokens (Bowman et al. 2016).
//!
//! Both read token numbers, `(N, L)` u32, and leave out padding. The decoder is p(x | z) = Π p(xₜ | x₁ …
//! xₜ₋₁, z). Its likelihood depends on the tokens that the decoder gets as input, so network and observation
//! model are one type.

use candle_core::{Device, Tensor};

use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::rng::{Draws, Stream};
use waxwork_core::{Batch, Drawing, Mode, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::{CellKind, Embedding, Linear, Recurrent, WeightInit};
use waxwork_nn::rows::repeat_rows;
use waxwork_nn::tokens::{self, Packing};

/// The layers of a network of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Features of a token.
    pub(crate) embedding: usize,
    /// Width of the hidden states.
    pub(crate) hidden: usize,
    /// The kind of the recurrent layer.
    pub(crate) cell: CellKind,
}

/// The network from tokens to features: a recurrent layer, whose hidden state at the last counted token is the
/// output.
#[derive(Clone, Debug)]
pub(crate) struct TokenEncoder {
    embedding: Embedding,
    recurrent: Recurrent,
    /// The maximum length of a sequence, and the size of the vocabulary.
    dims: (usize, usize),
}

impl TokenEncoder {
    /// The weights `embedding` and `recurrent` of `scope`, for sequences like `sample`.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        sample: &SampleSpec,
        Sizes { embedding, hidden, cell }: Sizes,
        init: WeightInit,
    ) -> Result<Self> {
        let dims = tokens::needs_tokens(sample, crate::networks::KEY)?;
        Ok(Self {
            embedding: Embedding::new(scope.enter("embedding"), dims.1, embedding, init)?,
            recurrent: Recurrent::new(scope.enter("recurrent"), cell, embedding, hidden, init)?,
            dims,
        })
    }

    /// Tokens `(N, L)` → features `(N, hidden)`.
    pub(crate) fn forward(&self, inputs: &Tensor) -> Result<Tensor> {
        let packing = Packing::of(inputs)?;
        let features = self.embedding.forward(&packing.pack(&inputs.flatten_all()?)?)?;
        let start = (inputs.dim(0)?, self.recurrent.state());
        let start = Tensor::zeros(start, features.dtype(), features.device())?;
        packing.last(&self.recurrent.forward(&features, &start, packing.lengths())?)
    }

    /// [`TokenEncoder::forward`] as nodes of a graph, of one-hot rows `(batch, L, V)`.
    pub(crate) fn export(&self, mut scope: GraphScope<'_>, rows: &Value) -> Result<Value> {
        let (length, _) = self.dims;
        let features = self.embedding.export(scope.enter("embedding"), rows)?;
        let states = self.recurrent.export(scope.enter("recurrent"), &features, length)?;
        let counted = tokens::export_counted(&mut scope, rows, self.dims)?;
        // The mask of a token less that of the next one is 1 at the last counted token and 0 elsewhere.
        let steps = (0..length * length).map(|place| match (place / length, place % length) {
            (from, to) if from == to => 1f32,
            (from, to) if from == to + 1 => -1.0,
            _ => 0.0,
        });
        let steps = Tensor::from_iter(steps, &Device::Cpu)?.reshape((length, length))?;
        let steps = scope.tensor("steps", &steps)?;
        let last = scope.node("MatMul", &[&counted, &steps], &[]);
        let last = scope.reshape(&last, &[1, length]);
        let state = scope.node("MatMul", &[&last, &states], &[]);
        Ok(scope.flatten(&state))
    }
}

/// The values that training and evaluation score, and the decoder's input.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// The values to score, `(N, ..)`; for sequences the token numbers, `(N, L)` u32.
    pub(crate) values: Tensor,
    /// The decoder's input: before each token to predict, the token that precedes it, `(N, L)` u32. None for
    /// decoders of other data.
    pub(crate) given: Option<Tensor>,
    /// 1 for each value that counts, 0 for the others, `(N, ..)`. None if all values count, and for
    /// sequences.
    pub(crate) counted: Option<Tensor>,
    /// Factors for the decoder's embedded tokens, `(N, L · embedding)`, and hidden states, `(N, L · hidden)`:
    /// 0 for those that dropout removes, 1 / (1 − share) for the others. None without dropout.
    factors: Option<[Tensor; 2]>,
}

impl Targets {
    /// Targets of a decoder that does not see any of them.
    pub(crate) fn independent(values: Tensor) -> Self {
        Self { values, given: None, counted: None, factors: None }
    }

    /// Repeats every row `k` times in succession.
    pub(crate) fn repeat(&self, k: usize) -> Result<Self> {
        let given = self.given.as_ref().map(|given| repeat_rows(given, k)).transpose()?;
        let counted = self.counted.as_ref().map(|counted| repeat_rows(counted, k)).transpose()?;
        let factors = match &self.factors {
            Some([inputs, states]) => Some([repeat_rows(inputs, k)?, repeat_rows(states, k)?]),
            None => None,
        };
        Ok(Self { values: repeat_rows(&self.values, k)?, given, counted, factors })
    }
}

/// Shares of what the decoder does not get in training, each in [0, 1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutShares {
    /// Of its input tokens.
    pub(crate) words: f64,
    /// Of its embedded tokens and hidden states.
    pub(crate) features: f64,
}

/// p(x | z) of sequences. The initial state of the recurrent layer depends on the latent. At every step it also
/// gets the latent, and a label if there is one, concatenated with the token's embedding.
#[derive(Clone, Debug)]
pub(crate) struct TokenDecoder {
    /// One row per token, and one for the missing token: at the start, and where word dropout removes a
    /// token.
    embedding: Embedding,
    start: Linear,
    recurrent: Recurrent,
    output: Linear,
    dims: (usize, usize),
    dropout: DropoutShares,
}

impl TokenDecoder {
    /// Makes the decoder from the weights `embedding`, `start`, `recurrent` and `output` of `scope`, for
    /// sequences like `sample`. A latent and its condition have `given` values together. If it is `tied`, the
    /// layer `output` uses the rows of `embedding` as its weight, and has only a bias of its own.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        sample: &SampleSpec,
        Sizes { embedding: width, hidden, cell }: Sizes,
        tied: bool,
        dropout: DropoutShares,
        given: usize,
        init: WeightInit,
    ) -> Result<Self> {
        let dims = tokens::needs_tokens(sample, crate::networks::KEY)?;
        let (embedding, output) =
            Embedding::with_output(&mut scope, dims.1 + 1, [width, hidden], 0..dims.1, tied, init)?;
        Ok(Self {
            embedding,
            start: Linear::new(scope.enter("start"), given, cell.state(hidden), init)?,
            recurrent: Recurrent::new(scope.enter("recurrent"), cell, width + given, hidden, init)?,
            output,
            dims,
            dropout,
        })
    }

    /// Number of logits of a sequence of maximum length.
    pub(crate) fn logits(&self) -> usize {
        self.dims.0 * self.dims.1
    }

    /// The token numbers of a batch, up to the length of its longest sequence if the lengths are known.
    ///
    /// # Errors
    /// If the sequences have another shape.
    pub(crate) fn read(&self, batch: &Batch) -> Result<Tensor> {
        let all = self.numbers(&batch.inputs)?;
        let Some(lengths) = &batch.lengths else { return Ok(all) };
        let longest = lengths.to_vec1::<u32>()?.into_iter().max().unwrap_or(0) as usize;
        Ok(all.narrow(1, 0, (longest + 1).min(self.dims.0))?.contiguous()?)
    }

    /// The token numbers `(N, L)` u32 of samples, which are numbers or one-hot rows.
    ///
    /// # Errors
    /// If the sequences have another shape.
    pub(crate) fn numbers(&self, samples: &Tensor) -> Result<Tensor> {
        tokens::numbers(samples, self.dims)
    }

    /// Targets for evaluation: every token is predicted from all tokens before it.
    pub(crate) fn targets(&self, values: Tensor) -> Result<Targets> {
        let (n, length) = values.dims2()?;
        let none = self.no_token(n, values.device())?;
        let given = Tensor::cat(&[&none, &values.narrow(1, 0, length - 1)?], 1)?;
        Ok(Targets { values, given: Some(given), counted: None, factors: None })
    }

    /// Targets for training: dropout removes some of the decoder's input tokens, and some of its features, by
    /// the draws of `rows`. `stream` gives the streams of random numbers by name.
    pub(crate) fn training_targets(
        &self,
        values: Tensor,
        stream: &dyn Fn(&str) -> Stream,
        rows: &[u64],
    ) -> Result<Targets> {
        let mut targets = self.targets(values)?;
        let (length, device) = (targets.values.dim(1)?, targets.values.device().clone());
        let DropoutShares { words, features } = self.dropout;
        if let Some(given) = targets.given.as_ref().filter(|_| words > 0.0) {
            let dropped = stream("word-dropout").uniform(rows, length, &device)?.lt(words)?;
            let none = self.no_token(rows.len(), &device)?.broadcast_as(given.shape())?;
            targets.given = Some(dropped.where_cond(&none.contiguous()?, given)?);
        }
        let widths = [self.embedding.width(), self.recurrent.hidden()];
        targets.factors = tokens::dropout_factors(stream, (rows, length), widths, features, &device)?;
        Ok(targets)
    }

    /// The number of the missing token's row, `(n, 1)`.
    fn no_token(&self, n: usize, device: &Device) -> Result<Tensor> {
        Ok(Tensor::full(self.dims.1 as u32, (n, 1), device)?)
    }

    /// log p(x | z) in nats, `(N)`, for latents concatenated with conditions, `(N, given)`.
    pub(crate) fn log_likelihood(&self, z: &Tensor, targets: &Targets, mode: Mode<'_>) -> Result<Tensor> {
        let packing = Packing::of(&targets.values)?;
        let packed = |tokens: &Tensor| packing.pack(&tokens.flatten_all()?);
        let given = packed(targets.given.as_ref().unwrap_or(&targets.values))?;
        let factors = targets.factors.as_ref();
        let features = self.embedding.forward(&given)?;
        let features = packing.scaled(features, factors.map(|[embedded, _]| embedded))?;
        let inputs = Tensor::cat(&[&features, &packing.repeat(z)?], 1)?;
        let start = self.start.forward(z, Activation::Tanh, mode)?;
        let states = self.recurrent.forward(&inputs, &start, packing.lengths())?;
        let states = packing.scaled(states, factors.map(|[_, states]| states))?;
        packing.sums(&self.output.log_likelihood(&states, &packed(&targets.values)?, mode)?)
    }

    /// Width of the recurrent layer's state, and size of the vocabulary.
    pub(crate) fn widths(&self) -> (usize, usize) {
        (self.recurrent.state(), self.dims.1)
    }

    /// One step as nodes of a graph. `given` `(batch, given)` holds the latents followed by the conditions. `tokens`
    /// `(batch)` are the previous tokens, or the size of the vocabulary at the first step. Returns the logits
    /// `(batch, V)`, the next state `(batch, state)`, and the state before the first token, which depends only on
    /// `given`.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub(crate) fn export_step(
        &self,
        mut scope: GraphScope<'_>,
        given: &Value,
        tokens: &Value,
        state: &Value,
    ) -> Result<[Value; 3]> {
        let start = self.start.export(scope.enter("start"), given, Activation::Tanh)?;
        let features = self.embedding.export_numbers(scope.enter("embedding"), tokens)?;
        let inputs = scope.beside(&features, Some(given));
        let next = self.recurrent.export_step(scope.enter("recurrent"), &inputs, state)?;
        let hidden = scope.columns(&next, 0, self.recurrent.hidden());
        let logits = self.output.export(scope.enter("output"), &hidden, Activation::Identity)?;
        Ok([logits, next, start])
    }

    /// Draws sequences of p(x | z) as one-hot rows, token by token. At temperature 0, each step takes the
    /// most likely token given those before it. After an end, all tokens are ends.
    pub(crate) fn draw(&self, z: &Tensor, drawing: &Drawing<'_>) -> Result<Tensor> {
        let (n, (length, vocabulary)) = (z.dim(0)?, self.dims);
        let mut draws: Vec<Draws> = drawing.numbers.iter().map(|number| drawing.stream.at(*number)).collect();
        let mut sequences = vec![Vec::with_capacity(length); n];
        let mut state = self.start.forward(z, Activation::Tanh, Mode::Eval)?;
        let mut before = vec![vocabulary as u32; n];
        for _ in 0..length {
            let features = self.embedding.forward(&Tensor::from_slice(&before, n, z.device())?)?;
            state = self.recurrent.step(&Tensor::cat(&[&features, z], 1)?, &state)?;
            let hidden = state.narrow(1, 0, self.recurrent.hidden())?.contiguous()?;
            let logits = self.output.forward(&hidden, Activation::Identity, Mode::Eval)?;
            // Sequences that have ended also draw tokens, so that all take the same computation. These tokens
            // are not used.
            let uniforms: Vec<f32> = if drawing.temperature == 0.0 {
                vec![0.0; n]
            } else {
                draws.iter_mut().map(Draws::uniform).collect()
            };
            before = kernels::draw(&logits, drawing.temperature, &uniforms)?;
            for (sequence, token) in sequences.iter_mut().zip(&before) {
                sequence.push(*token);
            }
            if sequences.iter().all(|tokens: &Vec<u32>| tokens.contains(&tokens::END)) {
                break;
            }
        }
        tokens::one_hot(&tokens::padded(&sequences, length, z.device())?, vocabulary, z.dtype())
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::sample::{Range, Segment};
    use waxwork_core::{DType, ParamSet};

    use super::*;

    fn sample() -> SampleSpec {
        SampleSpec::new(vec![50, 4], vec![Segment { width: 4, range: Range::OneHot }]).unwrap()
    }

    fn decoder(words: f64, features: f64) -> TokenDecoder {
        let mut params = ParamSet::fresh(0, &Device::Cpu);
        let shares = DropoutShares { words, features };
        let sizes = Sizes { embedding: 3, hidden: 5, cell: CellKind::Lstm };
        TokenDecoder::new(params.root(), &sample(), sizes, false, shares, 2, WeightInit::Pytorch).unwrap()
    }

    /// A tied decoder is one whose output layer has the embedding as its weight, so the gradient of the embedding is
    /// the sum of both gradients.
    #[test]
    fn a_tied_decoder_learns_one_matrix_from_input_and_output() {
        let make = |tied: bool, params: &mut ParamSet| {
            let shares = DropoutShares { words: 0.0, features: 0.0 };
            let sizes = Sizes { embedding: 5, hidden: 5, cell: CellKind::Lstm };
            TokenDecoder::new(params.root(), &sample(), sizes, tied, shares, 2, WeightInit::Pytorch).unwrap()
        };
        let mut params = ParamSet::fresh_with(3, &Device::Cpu, DType::F64);
        let tied = make(true, &mut params);
        let mut weights = params.tensors();
        let embedding = weights["embedding.weight"].clone();
        assert!(!weights.contains_key("output.weight"));
        weights.insert("output.weight".into(), embedding.narrow(0, 0, 4).unwrap().contiguous().unwrap());
        let mut both = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
        let untied = make(false, &mut both);
        both.assign(&weights).unwrap();

        let values = Tensor::from_iter((0..6u32 * 50).map(|i| 1 + i % 3), &Device::Cpu).unwrap();
        let values = values.reshape((6, 50)).unwrap();
        let z = Tensor::new(&[[0.3f64, -0.5]], &Device::Cpu).unwrap().repeat((6, 1)).unwrap();
        let run = |decoder: &TokenDecoder| {
            let targets = decoder.targets(values.clone()).unwrap();
            decoder.log_likelihood(&z, &targets, Mode::Eval).unwrap().sum_all().unwrap()
        };
        let (one, two) = (run(&tied), run(&untied));
        assert_eq!(one.to_scalar::<f64>().unwrap(), two.to_scalar::<f64>().unwrap());
        let (one, two) = (one.backward().unwrap(), two.backward().unwrap());
        let gradient = |set: &ParamSet, store: &candle_core::backprop::GradStore, name: &str| {
            store.get(set.get(name).unwrap()).unwrap().to_vec2::<f64>().unwrap()
        };
        let found = gradient(&params, &one, "embedding.weight");
        let of_input = gradient(&both, &two, "embedding.weight");
        let of_output = gradient(&both, &two, "output.weight");
        let zeros = vec![0.0; 5];
        for (token, found) in found.iter().enumerate() {
            let of_output = of_output.get(token).unwrap_or(&zeros);
            for ((found, input), output) in found.iter().zip(&of_input[token]).zip(of_output) {
                assert!((found - input - output).abs() < 1e-9, "{token}: {found}, {input} + {output}");
            }
        }
    }

    /// The decoder gets the token before each token to predict, or none; the tokens to predict do not change.
    #[test]
    fn word_dropout_leaves_out_its_share_of_what_is_given() {
        let values = Tensor::from_iter((0..40u32 * 50).map(|i| 1 + i % 3), &Device::Cpu).unwrap();
        let values = values.reshape((40, 50)).unwrap();
        let rows: Vec<u64> = (0..40).collect();
        let stream = |name: &str| Stream::new(1, name, 0);
        let targets = decoder(0.3, 0.0).training_targets(values.clone(), &stream, &rows).unwrap();
        assert!(targets.factors.is_none());
        let read = |tensor: &Tensor| tensor.to_vec2::<u32>().unwrap();
        assert_eq!(read(&targets.values), read(&values));
        let (given, mut dropped) = (read(targets.given.as_ref().unwrap()), 0);
        for (given, values) in given.iter().zip(read(&values)) {
            assert_eq!(given[0], 4, "there is no token before the first");
            for (given, before) in given[1..].iter().zip(&values) {
                assert!(*given == 4 || given == before);
                dropped += usize::from(*given == 4);
            }
        }
        let share = dropped as f64 / (40.0 * 49.0);
        assert!((share - 0.3).abs() < 0.05, "{share}");
        // A row's draws do not depend on the length of the other rows of its batch.
        let short = values.narrow(0, 7, 2).unwrap().narrow(1, 0, 20).unwrap().contiguous().unwrap();
        let short = decoder(0.3, 0.0).training_targets(short, &stream, &rows[7..9]).unwrap();
        let short = read(short.given.as_ref().unwrap());
        assert!(short.iter().zip(&given[7..9]).all(|(short, long)| *short == long[..20]));
    }

    /// Every feature is removed with the given probability, and the mean does not change. With factors of 1
    /// the likelihood is that of evaluation.
    #[test]
    fn dropout_removes_its_share_of_features() {
        let decoder = decoder(0.0, 0.4);
        let values = Tensor::from_iter((0..30u32 * 50).map(|i| 1 + i % 3), &Device::Cpu).unwrap();
        let values = values.reshape((30, 50)).unwrap();
        let rows: Vec<u64> = (0..30).collect();
        let stream = |name: &str| Stream::new(1, name, 0);
        let targets = decoder.training_targets(values.clone(), &stream, &rows).unwrap();
        let factors = targets.factors.clone().unwrap();
        for (factors, width) in factors.iter().zip([3, 5]) {
            assert_eq!(factors.dims(), [30, 50 * width]);
            let factors = factors.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let dropped = factors.iter().filter(|factor| **factor == 0.0).count() as f64;
            assert!((dropped / factors.len() as f64 - 0.4).abs() < 0.03, "{dropped} of {}", factors.len());
            assert!(factors.iter().all(|factor| *factor == 0.0 || (*factor - 1.0 / 0.6).abs() < 1e-6));
        }
        let z = Tensor::new(&[[0.3f32, -0.5]], &Device::Cpu).unwrap().repeat((30, 1)).unwrap();
        let likelihood = |targets: &Targets| {
            decoder.log_likelihood(&z, targets, Mode::Eval).unwrap().to_vec1::<f32>().unwrap()
        };
        let evaluated = likelihood(&decoder.targets(values).unwrap());
        assert_ne!(likelihood(&targets), evaluated);
        let ones = factors.map(|factors| factors.ones_like().unwrap());
        let twice = targets.repeat(2).unwrap();
        assert_eq!(likelihood(&Targets { factors: Some(ones), ..targets }), evaluated);
        // Repeated rows keep their factors.
        let [inputs, _] = twice.factors.unwrap();
        let pairs = inputs.to_vec2::<f32>().unwrap();
        assert!(pairs.chunks(2).all(|pair| pair[0] == pair[1]));
    }
}
