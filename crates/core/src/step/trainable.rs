//! What can be trained, and on what.

use candle_core::Tensor;

use crate::Result;
use crate::params::{ParamGroup, ParamSet};
use crate::step::StepContext;

/// What a training step or an evaluation gets to see.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `(N, C, H, W)` f32 in [0, 1].
    pub images: Tensor,
    /// `(N)` u32 class labels, where the data has them; on the CPU, whatever the device, since models look at them there.
    pub labels: Option<Tensor>,
    /// The position of each image in its data set, for what must be fixed per image (binarisation, augmentation).
    pub indices: Vec<u64>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True if there are no images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// Something with parameters that a training loop can improve: a GAN, a VAE, a classifier.
pub trait Trainable: Send + Sync {
    /// Every tensor that a checkpoint holds, buffers too, by stable name.
    fn params(&self) -> &ParamSet;

    /// What one optimiser updates together.
    fn groups(&self) -> &[ParamGroup];

    /// Trains on one batch, written as the paper writes it; every update goes through [`StepContext::update`].
    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()>;
}
