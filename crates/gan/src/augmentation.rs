//! Augmentation of the images that the discriminator sees: always, or with a probability that keeps it from
//! memorising.

use candle_core::{DType, Tensor, Var};

use super::GanConfig;
use waxwork_core::collective::Reduction;
use waxwork_core::params::{Init, Scope};
use waxwork_core::rng::Stream;
use waxwork_core::{Result, StepContext};
use waxwork_nn::augment::{Augmentation, augment};

/// Number of images over which the probability rises from 0 to 1 if the discriminator is above the target all
/// the time. A fifth of the paper's number, because runs here are shorter by more than that factor.
const RAMP: f64 = 100_000.0;

/// The augmentations of a discriminator's images.
#[derive(Clone, Debug)]
pub(super) struct Augmenter {
    augmentations: Vec<Augmentation>,
    adaptive: Option<Adaptive>,
}

/// Adaptive augmentation (Karras et al. 2020).
#[derive(Clone, Debug)]
struct Adaptive {
    target: f64,
    /// The probability of each augmentation of each image, `()`.
    probability: Var,
}

impl Augmenter {
    /// Makes the augmentations of `config`. Their probability is part of the model's state, as
    /// `augment.probability`.
    pub(super) fn new(mut scope: Scope<'_>, config: &GanConfig) -> Result<Self> {
        let adaptive = match config.augment_target {
            None => None,
            Some(target) => {
                let probability = scope.buffer("probability", (), Init::Constant(0.0))?;
                Some(Adaptive { target, probability })
            }
        };
        Ok(Self { augmentations: config.augment.clone(), adaptive })
    }

    /// Images `(N, C, H, W)` in [−1, 1] → the same shape, augmented by the draws of `rows` of `stream`.
    pub(super) fn apply(&self, images: &Tensor, stream: &Stream, rows: &[u64]) -> Result<Tensor> {
        let probability = self.adaptive.as_ref().map(|adaptive| adaptive.probability.as_detached_tensor());
        augment(images, &self.augmentations, probability.as_ref(), stream, rows)
    }

    /// Adapts the probability to a batch's logits of training images `(N)`. It rises while the mean of their
    /// signs is above the target, as it is when the discriminator has memorised these images, and falls while
    /// it is below.
    pub(super) fn adapt(&self, on_real: &Tensor, ctx: &mut StepContext<'_>) -> Result<()> {
        let Some(Adaptive { target, probability }) = &self.adaptive else { return Ok(()) };
        let by = on_real.dim(0)? as f64 / RAMP;
        let sign = on_real.detach().to_dtype(DType::F32)?.sign()?.mean_all()?;
        let direction = sign.affine(1.0, -target)?.sign()?;
        let moved = (probability.as_detached_tensor().to_dtype(DType::F32)? + direction.affine(by, 0.0)?)?;
        let moved = moved.clamp(0.0, 1.0)?.to_dtype(probability.dtype())?;
        ctx.log("augment/sign", &sign)?;
        ctx.log("augment/probability", &moved)?;
        ctx.record(probability, moved, 1.0, Reduction::Mean);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdversarialLoss, DiscriminatorNetwork, Gan, GeneratorNetwork};
    use waxwork_core::optim::OptimizerConfig;
    use waxwork_core::{Batch, Device, Error, ImageShape, ParamSet, Trainable, TrainingState};

    fn adaptive() -> GanConfig {
        GanConfig {
            latent_dim: 2,
            generator: GeneratorNetwork::Mlp { hidden: vec![8], batch_norm: false },
            discriminator: DiscriminatorNetwork::Mlp {
                hidden: vec![8],
                maxout: None,
                norm: Default::default(),
                dropout: 0.0,
            },
            augment: vec![Augmentation::Translation],
            augment_target: Some(0.6),
            ..GanConfig::default()
        }
    }

    /// A discriminator memorises four images. The probability does not fall below 0; then it rises at every
    /// step whose mean sign is above the target.
    #[test]
    fn the_probability_follows_the_signs_of_logits_of_training_images() {
        let gan = Gan::new(adaptive(), ImageShape::new(1, 8, 8), ParamSet::fresh(1, &Device::Cpu)).unwrap();
        let images = Stream::new(1, "images", 0).uniform(&[0, 1, 2, 3], (1, 8, 8), &Device::Cpu).unwrap();
        let batch = Batch::unlabelled(images, vec![0, 1, 2, 3]);
        let optimizer = OptimizerConfig { lr: 1e-3, ..OptimizerConfig::default() };
        let mut state = TrainingState::new(&gan, optimizer, 100, 1).unwrap();
        let mut expected = 0f32;
        let mut signs = vec![];
        for _ in 0..100 {
            let report = state.step(&gan, &batch).unwrap();
            let scalar = |name: &str| report.scalars.iter().find(|(found, _)| found == name).unwrap().1;
            signs.push(scalar("augment/sign"));
            expected = (expected + (scalar("augment/sign") - 0.6).signum() as f32 * 4e-5).clamp(0.0, 1.0);
            assert_eq!(scalar("augment/probability") as f32, expected);
            let stored = gan.params().tensors()["augment.probability"].to_scalar::<f32>().unwrap();
            assert_eq!(stored, expected);
        }
        assert!(signs.iter().any(|sign| *sign < 0.6) && signs.last() == Some(&1.0), "{signs:?}");
        assert!(expected > 0.001, "{expected}");
    }

    #[test]
    fn a_target_needs_augmentations_and_a_loss_with_sides() {
        for (config, key) in [
            (GanConfig { augment: vec![], ..adaptive() }, "needs model.augment"),
            (GanConfig { augment_target: Some(1.0), ..adaptive() }, "must lie in (0, 1)"),
            (GanConfig { loss: AdversarialLoss::Wasserstein, ..adaptive() }, "only the losses"),
            (GanConfig { loss: AdversarialLoss::Relativistic, ..adaptive() }, "only the losses"),
        ] {
            match config.validate() {
                Err(Error::Config { key: found, reason }) if found == "model.augment_target" => {
                    assert!(reason.contains(key), "{reason}");
                }
                other => panic!("{key}: {other:?}"),
            }
        }
    }
}
