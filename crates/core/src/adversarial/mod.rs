//! What the adversarial families share: networks, losses, penalties and augmentation. Their training steps are their own.
//!
//! Inside, images are in [−1, 1], the range of the generator's tanh; [`to_signed`] and [`to_unit`] are the way in and out.

mod augment;
mod config;
mod discriminator;
mod generator;
mod loss;
mod penalty;
mod players;

use candle_core::Tensor;

use crate::Result;

pub use augment::{Augmentation, augment};
pub use config::{Conditioning, DiscriminatorNetwork, DiscriminatorNorm, GanConfig, GeneratorNetwork};
pub use discriminator::{Discriminator, Judgement};
pub use generator::Generator;
pub use loss::AdversarialLoss;
pub use penalty::Penalty;
pub use players::Players;

/// The group of the generator's weights.
pub const GENERATOR: &str = "generator";
/// The group of the discriminator's weights.
pub const DISCRIMINATOR: &str = "discriminator";

/// [0, 1] → [−1, 1].
pub fn to_signed(images: &Tensor) -> Result<Tensor> {
    Ok(images.affine(2.0, -1.0)?)
}

/// [−1, 1] → [0, 1].
pub fn to_unit(images: &Tensor) -> Result<Tensor> {
    Ok(images.affine(0.5, 0.5)?)
}
