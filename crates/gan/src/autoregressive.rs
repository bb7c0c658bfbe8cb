//! The generator that samples sequences token by token, p(x) = Π p(xₜ | x₁ … xₜ₋₁), or p(x | condition).

use candle_core::Tensor;

use waxwork_core::params::Scope;
use waxwork_core::rng::Stream;
use waxwork_core::{Batch, DType, Device, Error, Mode, ParamSet, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::{CellKind, Embedding, Linear, Recurrent, WeightInit};
use waxwork_nn::rows::{beside, repeat_rows};
use waxwork_nn::tokens::{self, END, Packing, needs_tokens};

/// A language model: a recurrent layer over the embeddings of the tokens before each token. A condition is
/// concatenated with every embedding.
#[derive(Clone, Debug)]
pub(crate) struct Autoregressive {
    /// One row per token. The end is never followed by a token, so its row serves as the input before the
    /// first token.
    embedding: Embedding,
    recurrent: Recurrent,
    output: Linear,
    /// The maximum length of a sequence, and the size of the vocabulary.
    dims: (usize, usize),
    /// Share of the features that training by maximum likelihood removes, in [0, 1).
    dropout: f64,
    /// The token that the first logit stands for: 1 if sequences cannot end early, because the end then has
    /// no logit.
    first: u32,
}

/// The layers of an [`Autoregressive`] network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Features of a token.
    pub(crate) embedding: usize,
    /// Width of the hidden states.
    pub(crate) hidden: usize,
    /// The kind of the recurrent layer.
    pub(crate) cell: CellKind,
    /// Whether sequences may end before the maximum length.
    pub(crate) ends: bool,
    /// Share of the features that training by maximum likelihood removes, in [0, 1).
    pub(crate) dropout: f64,
    /// Whether the output layer uses the embedding as its weight.
    pub(crate) tied: bool,
}

/// Sequences of the maximum length, padded with ends after their first end, with the states from which they
/// were sampled.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Their tokens, one sequence after the other.
    pub(crate) tokens: Vec<u32>,
    /// The state `(N, state)` from which the token at each place was drawn.
    pub(crate) states: Vec<Tensor>,
}

impl Autoregressive {
    /// The weights `embedding`, `recurrent` and `output` of `scope`, for sequences like `sample` and conditions of
    /// `given` values.
    ///
    /// # Errors
    /// [`Error::Config`] if samples are not sequences of tokens; if the set is stored and lacks a tensor or has
    /// one of another shape.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        sample: &SampleSpec,
        sizes: Sizes,
        given: usize,
        init: WeightInit,
    ) -> Result<Self> {
        let Sizes { embedding: width, hidden, cell, ends, dropout, tied } = sizes;
        let dims = needs_tokens(sample, "model.generator")?;
        let first = u32::from(!ends);
        let logits = first as usize..dims.1;
        let (embedding, output) =
            Embedding::with_output(&mut scope, dims.1, [width, hidden], logits, tied, init)?;
        Ok(Self {
            embedding,
            recurrent: Recurrent::new(scope.enter("recurrent"), cell, width + given, hidden, init)?,
            output,
            dims,
            dropout,
            first,
        })
    }

    /// The maximum length of a sequence.
    pub(crate) fn length(&self) -> usize {
        self.dims.0
    }

    /// The size of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.dims.1
    }

    /// The token numbers `(N, L)` u32 of a batch.
    ///
    /// # Errors
    /// If the sequences have another shape; [`Error::Config`] if a sequence ends early although sequences must
    /// not.
    pub(crate) fn read(&self, batch: &Batch) -> Result<Tensor> {
        let (tokens, length) = (tokens::numbers(&batch.inputs, self.dims)?, self.length());
        if self.first > 0 && flat(&tokens)?.contains(&END) {
            let key = "model.generator.ends".to_owned();
            let reason = format!(
                "must be true, because the data has a text that ends before the maximum length {length}"
            );
            return Err(Error::Config { key, reason });
        }
        Ok(tokens)
    }

    /// Factors of dropout for sequences of the maximum length, by the draws of `rows`; None without dropout.
    pub(crate) fn dropout(
        &self,
        stream: &dyn Fn(&str) -> Stream,
        rows: &[u64],
        device: &Device,
    ) -> Result<Option<[Tensor; 2]>> {
        let widths = [self.embedding.width(), self.recurrent.hidden()];
        tokens::dropout_factors(stream, (rows, self.length()), widths, self.dropout, device)
    }

    /// log p of each token given those before it, in nats, at `temperature`: tokens `(N, L)` u32, conditions
    /// `(N, given)` and factors of dropout → `(N, L)`, 0 after the end of a sequence.
    pub(crate) fn log_likelihood(
        &self,
        sequences: &Tensor,
        given: Option<&Tensor>,
        factors: Option<&[Tensor; 2]>,
        temperature: f64,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, length) = sequences.dims2()?;
        let start = Tensor::full(END, (n, 1), sequences.device())?;
        let before = Tensor::cat(&[&start, &sequences.narrow(1, 0, length - 1)?], 1)?;
        let packing = Packing::of(sequences)?;
        let given = given.map(|given| packing.repeat(given)).transpose()?;
        let embedded = self.embedding.forward(&packing.pack(&before.flatten_all()?)?)?;
        let embedded = packing.scaled(embedded, factors.map(|[embedded, _]| embedded))?;
        let features = beside(&embedded, given.as_ref())?;
        let start = Tensor::zeros((n, self.recurrent.state()), features.dtype(), features.device())?;
        let states = self.recurrent.forward(&features, &start, packing.lengths())?;
        let states = packing.scaled(states, factors.map(|[_, states]| states))?;
        let tokens = packing.pack(&sequences.flatten_all()?)?;
        let targets: Vec<u32> = flat(&tokens)?.iter().map(|token| token.saturating_sub(self.first)).collect();
        let targets = Tensor::from_vec(targets, packing.total(), sequences.device())?;
        let each = self.output.log_likelihood_at(temperature, &states, &targets, mode)?;
        packing.unpack(&each)
    }

    /// Samples sequences without a gradient, in the type and on the device of `params`, for conditions
    /// `(N, given)`. `uniforms` holds a number in [0, 1) for each token of each sequence, one sequence after the
    /// other.
    pub(crate) fn write(
        &self,
        temperature: f64,
        uniforms: &[f32],
        given: Option<&Tensor>,
        params: &ParamSet,
    ) -> Result<Written> {
        let count = uniforms.len() / self.length();
        let state = Tensor::zeros((count, self.recurrent.state()), params.dtype(), params.device())?;
        let mut states = Vec::with_capacity(self.length());
        let mut written = vec![END; count * self.length()];
        self.go_on(state, vec![END; count], given, (temperature, uniforms), |place, tokens, state| {
            states.push(state.clone());
            for (sequence, token) in written.chunks_exact_mut(self.length()).zip(tokens) {
                sequence[place] = *token;
            }
        })?;
        close(&mut written, self.length());
        Ok(Written { tokens: written, states })
    }

    /// Samples `each` continuations of every sequence after the token at `place`, and returns their tokens
    /// from the beginning, with the continuations of a sequence in succession. Each continuation has its condition in `given`
    /// `(N · each, given)`, and a number in [0, 1) for each sampled token in `uniforms`.
    pub(crate) fn continued(
        &self,
        written: &Written,
        place: usize,
        each: usize,
        given: Option<&Tensor>,
        uniforms: &[f32],
    ) -> Result<Vec<u32>> {
        let length = self.length();
        let mut sequences: Vec<u32> =
            written.tokens.chunks_exact(length).flat_map(|sequence| sequence.repeat(each)).collect();
        let state = repeat_rows(&written.states[place], each)?;
        let before = sequences.chunks_exact(length).map(|sequence| sequence[place]).collect();
        self.go_on(state, before, given, (1.0, uniforms), |step, tokens, _| {
            for (sequence, token) in sequences.chunks_exact_mut(length).zip(tokens) {
                sequence[place + 1 + step] = *token;
            }
        })?;
        close(&mut sequences, length);
        Ok(sequences)
    }

    /// For each sequence, draws as many tokens after `before` as it has uniform numbers. `take` receives the
    /// number of the step, its tokens, and the state from which they were drawn.
    fn go_on(
        &self,
        mut state: Tensor,
        mut before: Vec<u32>,
        given: Option<&Tensor>,
        (temperature, uniforms): (f64, &[f32]),
        mut take: impl FnMut(usize, &[u32], &Tensor),
    ) -> Result<()> {
        let count = before.len();
        let steps = uniforms.len() / count.max(1);
        for step in 0..steps {
            let embedded = self.embedding.forward(&Tensor::from_slice(&before, count, state.device())?)?;
            let features = beside(&embedded, given)?;
            state = self.recurrent.step(&features, &state)?;
            let hidden = state.narrow(1, 0, self.recurrent.hidden())?.contiguous()?;
            let logits = self.output.forward(&hidden, Activation::Identity, Mode::Eval)?;
            let own: Vec<f32> = uniforms.iter().skip(step).step_by(steps).copied().collect();
            before = kernels::draw(&logits, temperature, &own)?;
            before.iter_mut().for_each(|token| *token += self.first);
            take(step, &before, &state);
        }
        Ok(())
    }
}

/// Replaces everything after the first end of each sequence with ends.
fn close(tokens: &mut [u32], length: usize) {
    for sequence in tokens.chunks_exact_mut(length) {
        if let Some(end) = sequence.iter().position(|token| *token == END) {
            sequence[end..].fill(END);
        }
    }
}

/// The numbers of a tensor, in the host's memory.
fn flat(numbers: &Tensor) -> Result<Vec<u32>> {
    Ok(numbers.to_device(&Device::Cpu)?.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?)
}
