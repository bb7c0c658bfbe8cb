//! What a VAE computes for given samples: codes, reconstructions, the evidence lower bound, and log p(x) by
//! importance sampling. For given latents: the outputs of the decoder.

use candle_core::Tensor;
use waxwork_core::model::{Decoded, Elbo, Posterior};
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Bound, Choices, Complete, Condition, Density, Drawing, Encode, Error, GenerativeModel, Mode,
    Reconstruct, Result,
};
use waxwork_nn::loss;
use waxwork_nn::rows::repeat_rows;

use crate::completion::parts_of_data;
use crate::posterior::{Recognition, columns};
use crate::tokens::Targets;
use crate::{Generation, Vae, objective};

/// The bias of the last layer of a decoder of rows.
const BIAS: &str = "decoder.output.bias";

impl Generation {
    /// The columns of latents `(N, ..)` that the decoder sees: those of the first group.
    fn first_group(&self, latents: &Tensor) -> Result<Tensor> {
        if latents.dim(1)? == self.first {
            return Ok(latents.clone());
        }
        Ok(columns(latents, self.first)?.0)
    }

    /// The part of a condition, as the prior sees it, that the encoder and the decoder see.
    fn seen<'a>(&self, condition: Option<&'a Tensor>) -> Option<&'a Tensor> {
        condition.filter(|_| self.completion.is_none())
    }

    /// log p(x | z) per sample in nats, `(N)`, of latents of all groups and a condition as the prior sees it.
    pub(crate) fn log_likelihood(
        &self,
        z: &Tensor,
        labels: Option<&Tensor>,
        targets: &Targets,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        self.observation.log_likelihood(&self.first_group(z)?, self.seen(labels), targets, mode)
    }

    /// Draws samples `(N, ..)` from p(x | z), for latents of all groups.
    pub(crate) fn draw(&self, z: &Tensor, labels: Option<&Tensor>, drawing: &Drawing<'_>) -> Result<Tensor> {
        self.observation.draw(&self.first_group(z)?, self.seen(labels), drawing)
    }

    /// The decoder's outputs `(N, ..)`, for latents of all groups.
    fn outputs(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        self.observation.outputs(&self.first_group(z)?, self.seen(labels))
    }

    /// log p(x, z) − log q(z | x) of every draw: targets `(N, …)`, noise `(N, K, latent_dim)` → `(N, K)` in
    /// nats.
    pub(crate) fn log_weights(
        &self,
        q: &Recognition<'_>,
        targets: &Targets,
        labels: Option<&Tensor>,
        noise: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, k, _) = noise.dims3()?;
        let q = q.repeat(k)?;
        let labels = labels.map(|labels| repeat_rows(labels, k)).transpose()?;
        let z = q.draw(&noise.flatten_to(1)?)?;
        let labels = labels.as_ref();
        let log_prior = self.prior.log_density(&z, labels)?;
        let log_joint = (self.log_likelihood(&z, labels, &targets.repeat(k)?, mode)? + log_prior)?;
        Ok((log_joint - q.log_density(&z)?)?.reshape((n, k))?)
    }
}

impl Vae {
    /// The targets of a batch that evaluation scores, and its condition as the prior sees it.
    fn evaluated(&self, batch: &Batch) -> Result<(Targets, Option<Tensor>)> {
        let mut targets = self.generation.observation.evaluation_targets(batch)?;
        let part = self.part(batch, &mut targets, (&parts_of_data(), &batch.indices))?;
        let condition = self.condition_of(batch, part.as_ref(), Mode::Eval)?;
        Ok((targets, condition.map(|condition| condition.detach())))
    }

    /// q(z | x) for the values that [`Observation::read`](crate::observation::Observation::read) returns.
    fn posterior(&self, values: &Tensor, labels: Option<&Tensor>) -> Result<Recognition<'_>> {
        Ok(self.recognise(values, labels, Mode::Eval)?.detach())
    }

    /// q(z | x), for a condition as the prior sees it.
    pub(crate) fn recognise(
        &self,
        values: &Tensor,
        labels: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<Recognition<'_>> {
        let first = self.encoder.forward(values, self.generation.seen(labels), mode)?;
        Ok(Recognition::new(first, self.upper.as_ref()))
    }
}

impl Encode for Vae {
    fn encode(&self, inputs: &Tensor, condition: &Condition) -> Result<Posterior> {
        let labels = self.labels(condition)?;
        self.posterior(&self.generation.observation.read(inputs)?, labels.as_ref())?.codes()
    }
}

impl Reconstruct for Vae {
    /// The mean of p(x | z) at the mean of q(z | x). A model that completes images reconstructs only the values
    /// that are not given.
    fn reconstruct(&self, inputs: &Tensor, condition: &Condition) -> Result<Tensor> {
        let codes = self.encode(inputs, condition)?.mean;
        match (&self.generation.completion, condition) {
            (Some(_), Condition::Part { .. }) | (None, _) => {
                self.generate(&codes, condition, &Drawing::none())
            }
            (Some(completion), _) => {
                let numbers: Vec<u64> = (0..inputs.dim(0)? as u64).collect();
                self.generate(&codes, &completion.given(inputs, &numbers)?, &Drawing::none())
            }
        }
    }
}

impl Complete for Vae {
    fn given(&self, inputs: &Tensor, numbers: &[u64]) -> Result<Condition> {
        self.generation.completion.as_ref().ok_or(Error::NothingGiven)?.given(inputs, numbers)
    }

    /// They are scored as the likelihood is: on binarised values, if the model has those.
    fn guesses(&self, inputs: &Tensor, numbers: &[u64]) -> Result<Option<Tensor>> {
        let Some(completion) = &self.generation.completion else { return Ok(None) };
        let batch = Batch::unlabelled(inputs.clone(), numbers.to_vec());
        let images = self.generation.observation.evaluation_targets(&batch)?.values;
        let given = completion.part_of(&images, &parts_of_data(), numbers)?;
        Ok(completion.cross_entropy(&given, &images, Mode::Eval)?.map(|each| each.detach()))
    }
}

impl Bound for Vae {
    fn elbo(&self, batch: &Batch, stream: &Stream) -> Result<Elbo> {
        let (targets, labels) = self.evaluated(batch)?;
        let q = self.posterior(&targets.values, labels.as_ref())?;
        let noise = stream.normal(&batch.indices, self.config.latents(), self.params.device())?;
        let z = q.draw(&noise.to_dtype(self.params.dtype())?)?;
        let log_likelihood = self.generation.log_likelihood(&z, labels.as_ref(), &targets, Mode::Eval)?;
        Ok(Elbo {
            reconstruction: log_likelihood.detach(),
            kl: objective::kl(&q, &*self.generation.prior, &z, labels.as_ref())?.sum(1)?.detach(),
        })
    }

    fn protocol(&self) -> String {
        let given = match &self.generation.completion {
            Some(completion) => format!(", missing pixels given {}", completion.config.given.name()),
            None if self.info.condition.is_none() => String::new(),
            None => ", given the label".to_owned(),
        };
        self.config.likelihood.protocol() + &given
    }
}

impl Density for Vae {
    fn log_likelihood(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Tensor> {
        if samples == 0 || batch.is_empty() {
            let of = if samples == 0 { "draw" } else { "sample" };
            return Err(Error::Empty { what: "importance sampling", of });
        }
        let (targets, labels) = self.evaluated(batch)?;
        let q = self.posterior(&targets.values, labels.as_ref())?;
        let noise = stream.normal(&batch.indices, (samples, self.config.latents()), self.params.device())?;
        let noise = noise.to_dtype(self.params.dtype())?;
        let chunk = (self.generation.observation.rows_per_pass() / batch.len()).max(1);
        let mut weights = Vec::with_capacity(samples.div_ceil(chunk));
        for first in (0..samples).step_by(chunk) {
            let noise = noise.narrow(1, first, chunk.min(samples - first))?.contiguous()?;
            let part = self.generation.log_weights(&q, &targets, labels.as_ref(), &noise, Mode::Eval)?;
            weights.push(part.detach());
        }
        loss::log_mean_exp(&Tensor::cat(&weights, 1)?)
    }

    fn decoded(&self, batch: &Batch, samples: usize, stream: &Stream) -> Result<Option<Decoded>> {
        let labels = self.labels(&batch.condition)?;
        let values = self.generation.observation.read(&batch.inputs)?;
        let q = self.posterior(&values, labels.as_ref())?.repeat(samples)?;
        let labels = labels.map(|labels| repeat_rows(&labels, samples)).transpose()?;
        let noise = stream.normal(&batch.indices, (samples, self.config.latents()), self.params.device())?;
        let z = q.draw(&noise.to_dtype(self.params.dtype())?.flatten_to(1)?)?;
        let Some((outputs, scales)) =
            self.generation.observation.scaled(&self.generation.first_group(&z)?, labels.as_ref())?
        else {
            return Ok(None);
        };
        let log_weights = (self.generation.prior.log_density(&z, labels.as_ref())? - q.log_density(&z)?)?;
        Ok(Some(Decoded {
            outputs: outputs.detach(),
            scales: scales.detach(),
            log_weights: log_weights.reshape((batch.len(), samples))?.detach(),
        }))
    }
}

impl Choices for Vae {
    fn outputs(&self, latents: &Tensor, condition: &Condition) -> Result<Tensor> {
        let labels = self.labels(condition)?;
        Ok(self.generation.outputs(latents, labels.as_ref())?.detach())
    }

    fn bias(&self) -> &'static str {
        BIAS
    }
}
