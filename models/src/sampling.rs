//! A model's samples, latent vectors and reconstructions, in batches.

use waxwork_core::collective::{Collective, OneProcess};
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::sharing::share;
use waxwork_core::{Condition, Device, Encode, Error, GenerativeModel, Reconstruct, SampleRequest};
use waxwork_core::{Tensor, values};

/// A request for samples. Sample `i` is a function of the seed, of `i` and of its label.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Number of samples.
    pub count: usize,
    /// Seed of the latents.
    pub seed: u64,
    /// One class per sample; empty for a model without classes.
    pub labels: &'a [u32],
    /// See [`SampleRequest::truncation`].
    pub truncation: Option<f32>,
    /// See [`SampleRequest::temperature`].
    pub temperature: f64,
    /// The processes that share the work. Each makes the same call.
    pub collective: &'a dyn Collective,
}

impl<'a> Draw<'a> {
    /// Samples of these labels, at the model's own temperature and without truncation, on this process alone.
    pub fn new(count: usize, seed: u64, labels: &'a [u32]) -> Self {
        Self { count, seed, labels, truncation: None, temperature: 1.0, collective: &OneProcess }
    }
}

/// `count` labels, those of `labels` in turn; empty if `labels` is empty.
pub fn in_turn(labels: &[u32], count: usize) -> Vec<u32> {
    labels.iter().copied().cycle().take(count).collect()
}

/// Generates samples as networks see them, and passes them to `hand_over` in batches, on the CPU and in
/// order. Of several processes, only the first one's `hand_over` is called.
///
/// # Errors
/// If the labels do not fit the model, or its latents cannot be truncated, and the errors of `hand_over`.
pub fn draw<E: From<waxwork_core::Error>>(
    model: &dyn GenerativeModel,
    draw: &Draw<'_>,
    mut hand_over: impl FnMut(Tensor) -> Result<(), E>,
) -> Result<(), E> {
    if draw.truncation.is_some() && model.exact().is_some() {
        let reason = "the latents of this model choose its tokens, also the rare ones: lower the temperature";
        return Err(Error::Config { key: "truncation".into(), reason: reason.into() }.into());
    }
    let work = |number: usize| -> waxwork_core::Result<Tensor> {
        let first = number * EVALUATION_BATCH;
        let count = EVALUATION_BATCH.min(draw.count - first);
        let condition = match draw.labels {
            [] => Condition::None,
            labels => Condition::classes(&labels[first..first + count])?,
        };
        let (truncation, temperature) = (draw.truncation, draw.temperature);
        let request = SampleRequest {
            first: first as u64,
            condition,
            truncation,
            temperature,
            ..SampleRequest::new(draw.seed, count)
        };
        on_cpu(&model.sample(&request)?)
    };
    let first = draw.collective.is_first();
    share(draw.collective, draw.count.div_ceil(EVALUATION_BATCH), work, |part| {
        if first { hand_over(part) } else { Ok(()) }
    })
}

/// The posterior means `(N, latent_dim)` of samples `(N, ..)` as networks see them, on the CPU. `labels` are
/// the samples' own, if any. `progress` is called with the number done.
///
/// # Errors
/// [`waxwork_core::Error::Empty`] for no samples; if labels are missing, or a latent is not finite.
pub fn encode(
    encoder: &dyn Encode,
    device: &Device,
    inputs: &Tensor,
    labels: Option<&[u32]>,
    progress: impl FnMut(usize),
) -> waxwork_core::Result<Tensor> {
    let means = in_batches(device, inputs, labels, progress, |part, condition| {
        Ok(encoder.encode(part, condition)?.mean)
    })?;
    values::check("latents", &means)?;
    Ok(means)
}

/// Reconstructs samples `(N, ..)`, in their shape and on the CPU; otherwise like [`encode`].
///
/// # Errors
/// As [`encode`].
pub fn reconstruct(
    reconstructor: &dyn Reconstruct,
    device: &Device,
    inputs: &Tensor,
    labels: Option<&[u32]>,
    progress: impl FnMut(usize),
) -> waxwork_core::Result<Tensor> {
    in_batches(device, inputs, labels, progress, |part, condition| reconstructor.reconstruct(part, condition))
}

fn in_batches(
    device: &Device,
    inputs: &Tensor,
    labels: Option<&[u32]>,
    mut progress: impl FnMut(usize),
    apply: impl Fn(&Tensor, &Condition) -> waxwork_core::Result<Tensor>,
) -> waxwork_core::Result<Tensor> {
    let all = inputs.dim(0)?;
    let mut parts = Vec::new();
    for first in (0..all).step_by(EVALUATION_BATCH) {
        let count = EVALUATION_BATCH.min(all - first);
        // Copy the part first, because candle copies a tensor's whole storage to a device.
        let part = inputs.narrow(0, first, count)?.force_contiguous()?;
        let condition = labels.map(|labels| Condition::classes(&labels[first..first + count]));
        let made = apply(&part.to_device(device)?, &condition.transpose()?.unwrap_or_default())?;
        parts.push(on_cpu(&made)?);
        progress(first + count);
    }
    if parts.is_empty() {
        return Err(Error::Empty { what: "an array", of: "sample" });
    }
    Ok(Tensor::cat(&parts, 0)?)
}

fn on_cpu(tensor: &Tensor) -> waxwork_core::Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use waxwork_core::ParamSet;

    use super::*;
    use crate::Recipe;

    #[test]
    fn batches_are_no_part_of_what_is_drawn() {
        let settings = ["model.latent_dim=4".to_owned()];
        let recipe = Recipe::named("cvae-digits", &settings).unwrap();
        let data = waxwork_data::load(&recipe.data).unwrap();
        let params = ParamSet::fresh(1, &Device::Cpu);
        let model = recipe.model.build(data.info.sample(), data.info.condition(), params).unwrap();
        let labels = in_turn(&[3, 8], 130);
        let mut parts = Vec::new();
        draw::<waxwork_core::Error>(model.as_ref(), &Draw::new(130, 5, &labels), |part| {
            parts.push(part);
            Ok(())
        })
        .unwrap();
        assert_eq!(parts.iter().map(|part| part.dim(0).unwrap()).collect::<Vec<_>>(), [100, 30]);
        let whole =
            SampleRequest { condition: Condition::classes(&labels).unwrap(), ..SampleRequest::new(5, 130) };
        let whole = model.sample(&whole).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&Tensor::cat(&parts, 0).unwrap()), values(&whole));

        let encoder = model.encoder().unwrap();
        let mut done = Vec::new();
        let means = encode(encoder, &Device::Cpu, &whole, Some(&labels), |count| done.push(count)).unwrap();
        assert_eq!((means.dims(), done), ([130, 4].as_slice(), vec![100, 130]));
        let last = whole.narrow(0, 100, 30).unwrap();
        let last = encode(encoder, &Device::Cpu, &last, Some(&labels[100..]), |_| {}).unwrap();
        assert_eq!(values(&last), values(&means.narrow(0, 100, 30).unwrap()));
        let nothing = whole.narrow(0, 0, 0).unwrap();
        assert!(encode(encoder, &Device::Cpu, &nothing, Some(&[]), |_| {}).is_err());
    }
}
