//! p(x | z): a decoder with its observation model.

use candle_core::Tensor;

use waxwork_core::model::check_input;
use waxwork_core::onnx::{Graph, Value};
use waxwork_core::{Batch, Drawing, Error, Mode, ParamSet, Result, SampleSpec, StepContext};
use waxwork_nn::rows::beside;

use crate::DECODER;
use crate::config::{Network, VaeConfig};
use crate::likelihood::Likelihood;
use crate::networks::Decoder;
use crate::tokens::{DropoutShares, Sizes, Targets, TokenDecoder};

/// The most rows, or for tokens the most logits, of one decoder pass in importance sampling.
const PASS: (usize, usize) = (2000, 1 << 27);

/// The most clips of one decoder pass in importance sampling: each is as large as many images.
const CLIPS: usize = 200;

/// A decoder with its observation model. Encoder and decoder see samples as [`Targets`].
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one of them")]
pub(crate) enum Observation {
    /// Values that are independent of each other, given the decoder's output.
    Values { decoder: Decoder, likelihood: Likelihood, sample: SampleSpec },
    /// Tokens, each of which depends on those before it.
    Tokens(TokenDecoder),
}

impl Observation {
    /// Makes the decoder of `config` for samples like `sample` and conditions of `width` values, with its
    /// tensors from `params`.
    pub(crate) fn new(
        params: &mut ParamSet,
        config: &VaeConfig,
        sample: &SampleSpec,
        width: usize,
    ) -> Result<Self> {
        let mut root = params.root();
        if let Network::Recurrent { embedding, hidden, cell, word_dropout, dropout, tied } = config.network {
            let (sizes, given) = (Sizes { embedding, hidden, cell }, config.latent_dim + width);
            let (scope, shares) =
                (root.enter(DECODER), DropoutShares { words: word_dropout, features: dropout });
            let decoder = TokenDecoder::new(scope, sample, sizes, tied, shares, given, config.init)?;
            return Ok(Self::Tokens(decoder));
        }
        let decoder = Decoder::new(root.enter(DECODER), config, sample, width)?;
        let likelihood = Likelihood::new(root.enter(DECODER), config.likelihood, sample)?;
        Ok(Self::Values { decoder, likelihood, sample: sample.clone() })
    }

    /// What a training step scores: samples as they are, binarised samples, or tokens with word dropout on
    /// the decoder's input.
    pub(crate) fn training_targets(&self, batch: &Batch, ctx: &StepContext<'_>) -> Result<Targets> {
        let rows = ctx.rows(batch.len());
        match self {
            Self::Values { likelihood, .. } => {
                let values = likelihood.training_targets(batch, &ctx.stream("binarisation"), &rows)?;
                Ok(Targets::independent(values))
            }
            Self::Tokens(decoder) => {
                decoder.training_targets(decoder.read(batch)?, &|name| ctx.stream(name), &rows)
            }
        }
    }

    /// What evaluation scores. Binarised values are drawn once per sample.
    ///
    /// # Errors
    /// If the samples have another shape.
    pub(crate) fn evaluation_targets(&self, batch: &Batch) -> Result<Targets> {
        match self {
            Self::Values { likelihood, .. } => {
                let targets = self.read(&likelihood.evaluation_targets(batch)?)?;
                Ok(Targets::independent(targets))
            }
            Self::Tokens(decoder) => decoder.targets(decoder.read(batch)?),
        }
    }

    /// Samples `(N, ..)` as the encoder sees them.
    ///
    /// # Errors
    /// If they have another shape.
    pub(crate) fn read(&self, inputs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Values { sample, .. } => {
                let n = inputs.dims().first().copied().unwrap_or(0);
                let what = if sample.image().is_some() { "the images" } else { "the samples" };
                check_input(what, inputs, &sample.batch(n))?;
                Ok(inputs.clone())
            }
            Self::Tokens(decoder) => decoder.numbers(inputs),
        }
    }

    /// Maximum number of rows in one pass of importance sampling.
    pub(crate) fn rows_per_pass(&self) -> usize {
        let (rows, logits) = PASS;
        match self {
            Self::Values { sample, .. } if sample.clip().is_some() => CLIPS,
            Self::Values { .. } => rows,
            Self::Tokens(decoder) => (logits / decoder.logits().max(1)).clamp(1, rows),
        }
    }

    /// log p(x | z) per sample in nats, `(N)`, for latents `(N, latent_dim)` and conditions `(N, width)`.
    pub(crate) fn log_likelihood(
        &self,
        z: &Tensor,
        labels: Option<&Tensor>,
        targets: &Targets,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        match self {
            Self::Values { decoder, likelihood, .. } => {
                let output = decoder.forward(z, labels, mode)?;
                match &targets.counted {
                    Some(counted) => likelihood.log_likelihood_of(&output, &targets.values, counted),
                    None => likelihood.log_likelihood(&output, &targets.values),
                }
            }
            Self::Tokens(decoder) => decoder.log_likelihood(&beside(z, labels)?, targets, mode),
        }
    }

    /// Draws samples `(N, ..)` from p(x | z), as [`Likelihood::draw`] or [`TokenDecoder::draw`] does.
    pub(crate) fn draw(&self, z: &Tensor, labels: Option<&Tensor>, drawing: &Drawing<'_>) -> Result<Tensor> {
        match self {
            Self::Values { decoder, likelihood, .. } => {
                likelihood.draw(&decoder.forward(z, labels, Mode::Eval)?, drawing)
            }
            Self::Tokens(decoder) => decoder.draw(&beside(z, labels)?, drawing),
        }
    }

    /// The decoder's outputs, `(N, ..)`.
    ///
    /// # Errors
    /// [`Error::Config`] for a decoder of tokens, which needs the tokens before each one.
    pub(crate) fn outputs(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Values { decoder, likelihood, .. } => {
                likelihood.without_mode_means(&decoder.forward(z, labels, Mode::Eval)?)
            }
            Self::Tokens(_) => {
                let reason = "a decoder of tokens has no outputs of its own".to_owned();
                Err(Error::Config { key: "model.likelihood".to_owned(), reason })
            }
        }
    }

    /// Means and scales of p(x | z), if samples are rows of a table. If the means of numbers depend on their
    /// modes, these means follow, `(N, width + modes)`.
    pub(crate) fn scaled(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Option<(Tensor, Tensor)>> {
        let Self::Values { decoder, likelihood, .. } = self else { return Ok(None) };
        let output = decoder.forward(z, labels, Mode::Eval)?.detach();
        let Some(scales) = likelihood.scales(&output)? else { return Ok(None) };
        let means = likelihood.mean(&output)?;
        let means = match likelihood.means_of_modes(&output)? {
            Some(modes) => Tensor::cat(&[means, modes], 1)?,
            None => means,
        };
        Ok(Some((means, scales)))
    }

    /// One pass without randomness, as a graph. For values it is [`Observation::draw`]; for tokens, one step
    /// of it, from the previous token and the state to the logits of the next token.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub(crate) fn export(&self, graph: &mut Graph, latents: &Value, labels: Option<&Value>) -> Result<()> {
        match self {
            Self::Values { decoder, likelihood, sample } => {
                let output = decoder.export(graph.root().enter(DECODER), latents, labels)?;
                let samples = likelihood.export(graph.root(), output)?;
                graph.output(sample.name(), &samples, sample.dims());
            }
            Self::Tokens(decoder) => {
                let (width, vocabulary) = decoder.widths();
                let (tokens, state) = (graph.numbers("tokens"), graph.input("state", &[width]));
                let mut root = graph.root();
                let given = root.beside(latents, labels);
                let [logits, next, start] =
                    decoder.export_step(root.enter(DECODER), &given, &tokens, &state)?;
                graph.output("logits", &logits, &[vocabulary]);
                graph.output("next_state", &next, &[width]);
                graph.output("start", &start, &[width]);
            }
        }
        Ok(())
    }
}
