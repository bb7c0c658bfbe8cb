//! Penalties on the discriminator's gradient with respect to its input.

use candle_core::{Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Discriminator;
use waxwork_core::Mode;
use waxwork_core::{Loss, Result, StepContext};
use waxwork_nn::loss;
use waxwork_nn::signal::{Signal, Trace};

/// A penalty on the norm of the discriminator's gradient with respect to its input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Penalty {
    /// weight · E (‖∇D(x̂)‖ − 1)², x̂ uniform between a real and a generated image (Gulrajani et al. 2017).
    Gradient {
        /// Its weight; 10 in the paper.
        weight: f64,
    },
    /// ½ weight · E ‖∇D(x)‖² over real images (R1, Mescheder et al. 2018).
    R1 {
        /// Its weight γ.
        weight: f64,
        /// Apply the penalty every `every` steps, scaled up by the same factor (lazy regularisation, Karras et al. 2020).
        #[serde(default = "one")]
        every: u64,
    },
    /// R1 of real images and the same of generated ones, which together hold the game near its equilibrium (R2, Mescheder et al. 2018;
    /// R3GAN, Huang et al. 2024).
    R1R2 {
        /// Its weight γ.
        weight: f64,
        /// As for R1.
        #[serde(default = "one")]
        every: u64,
    },
}

fn one() -> u64 {
    1
}

impl Penalty {
    /// The reason why the values are invalid, if they are.
    pub(super) fn problem(self) -> Option<&'static str> {
        match self {
            Self::Gradient { weight } | Self::R1 { weight, .. } | Self::R1R2 { weight, .. }
                if !(weight > 0.0 && weight.is_finite()) =>
            {
                Some("the weight must be positive")
            }
            Self::R1 { every: 0, .. } | Self::R1R2 { every: 0, .. } => Some("`every` must be at least 1"),
            _ => None,
        }
    }

    /// Adds the penalty to the discriminator's adversarial loss `game` at the steps that have one, and names
    /// it for the log. `frozen` is the discriminator on untracked weights; `real` and `generated` are what
    /// the discriminator sees.
    pub fn add_to(
        self,
        game: Tensor,
        (discriminator, frozen): (&Discriminator, &Discriminator),
        real: &Tensor,
        generated: &Tensor,
        labels: Option<&Tensor>,
        ctx: &StepContext<'_>,
    ) -> Result<Loss> {
        let penalty = match self {
            Self::Gradient { weight } => {
                // One mixing weight per pack of samples, with as many dimensions as the samples have.
                let (n, pack) = (real.dim(0)?, discriminator.pack());
                let mut each = vec![1; real.rank()];
                let mix = ctx.stream("penalty").uniform(&ctx.rows(n / pack), &each[1..], real.device())?;
                each[0] = n;
                let mix = match pack {
                    1 => mix,
                    _ => mix.reshape((n / pack, 1))?.repeat((1, pack))?.reshape(each)?,
                };
                let step = (real - generated)?.broadcast_mul(&mix.to_dtype(real.dtype())?)?;
                let norm = gradient_norm(discriminator, frozen, &(generated + step)?, labels)?;
                norm.affine(1.0, -1.0)?.sqr()?.mean_all()?.affine(weight, 0.0)?
            }
            Self::R1 { weight, every } | Self::R1R2 { weight, every } if ctx.step().is_multiple_of(every) => {
                let zero_centred = |samples: &Tensor| -> Result<Tensor> {
                    let norm = gradient_norm(discriminator, frozen, samples, labels)?;
                    Ok(norm.sqr()?.mean_all()?.affine(0.5 * weight * every as f64, 0.0)?)
                };
                match self {
                    Self::R1R2 { .. } => (zero_centred(real)? + zero_centred(generated)?)?,
                    _ => zero_centred(real)?,
                }
            }
            Self::R1 { .. } | Self::R1R2 { .. } => return Ok(Loss::new("discriminator", game)),
        };
        Ok(Loss::new("discriminator", (game + &penalty)?).term("penalty", &penalty))
    }
}

/// ‖∇ₓD(x)‖ of each sample, or of each pack of samples, `(N)`. Its gradient in D's weights is exact: the
/// value is the derivative of D along the unit vector of its own gradient, with that vector held constant.
/// (∇‖g‖ = (g / ‖g‖) · ∇g.)
fn gradient_norm(
    discriminator: &Discriminator,
    frozen: &Discriminator,
    images: &Tensor,
    labels: Option<&Tensor>,
) -> Result<Tensor> {
    let images = Var::from_tensor(&images.detach())?;
    let trace = Trace::default();
    let traced = Signal::traced(images.as_tensor().clone(), &trace);
    let logits = per_sample(&frozen.propagate(&traced, labels, Mode::Frozen)?.tensor)?;
    let gradients = logits.sum_all()?.backward()?;
    drop(logits);
    let gradient = match gradients.get(&images) {
        Some(gradient) => gradient.detach(),
        None => images.as_detached_tensor().zeros_like()?,
    };
    let packed = match discriminator.pack() {
        1 => gradient,
        pack => gradient.reshape((gradient.dim(0)? / pack, ()))?,
    };
    let length = loss::sum_per_sample(&packed.sqr()?)?.sqrt()?.maximum(1e-12)?;
    let mut per_pack = vec![1; packed.rank()];
    per_pack[0] = length.elem_count();
    let direction = packed.broadcast_div(&length.reshape(per_pack)?)?.reshape(images.shape())?;
    let along = Signal::along(direction, &trace);
    let norm = per_sample(&discriminator.propagate(&along, labels, Mode::Frozen)?.tensor);
    debug_assert!(trace.is_used_up(), "both passes go through the same activations");
    norm
}

/// The mean of each sample's logits, `(N)`, if it has more than one. A clip of T frames has 2T of them: T
/// times its own, and those of its frames.
fn per_sample(logits: &Tensor) -> Result<Tensor> {
    Ok(if logits.rank() == 1 { logits.clone() } else { logits.mean(1)? })
}
