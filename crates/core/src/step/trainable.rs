//! What can be trained, and the batches that it is trained on.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::params::{ParamGroup, ParamSet};
use crate::step::StepContext;
use crate::{Error, Result};

/// The samples that a training step or an evaluation works on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Samples `(N, ..)` as networks see them; images are `(N, C, H, W)` f32 in [0, 1], and texts of the data
    /// are token numbers `(N, length)` u32. A network that multiplies one-hot rows makes them itself.
    pub inputs: Tensor,
    /// The used length of each sample, `(N)` u32 on the CPU, along its first dimension. None if all samples
    /// have the same length.
    pub lengths: Option<Tensor>,
    /// The condition of each sample, as far as the data has one. It lies on the CPU, whatever the device,
    /// because models read it there.
    pub condition: Condition,
    /// The position of each sample in its data set, from which random choices per sample are fixed
    /// (binarisation, augmentation).
    pub indices: Vec<u64>,
}

impl Batch {
    /// Samples of one length without labels.
    pub fn unlabelled(inputs: Tensor, indices: Vec<u64>) -> Self {
        Self { inputs, lengths: None, condition: Condition::None, indices }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Part `number` of `of` equal parts, by rows.
    ///
    /// # Errors
    /// [`Error::Config`] if the samples cannot be divided equally.
    pub(super) fn part(&self, number: usize, of: usize) -> Result<Self> {
        let n = self.len() / of.max(1);
        if n == 0 || n * of != self.len() {
            let reason = format!("a batch of {} samples cannot be cut into {of} equal parts", self.len());
            return Err(Error::Config { key: "train.micro_batches".into(), reason });
        }
        let start = number * n;
        let lengths = self.lengths.as_ref().map(|lengths| lengths.narrow(0, start, n)).transpose()?;
        Ok(Self {
            inputs: self.inputs.narrow(0, start, n)?.force_contiguous()?,
            lengths,
            condition: self.condition.narrow(start, n)?,
            indices: self.indices[start..start + n].to_vec(),
        })
    }

    /// True if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// A stage of training, such as pre-training: a number that the model interprets. Checkpoints store it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The number of the stage; a run begins in stage 0.
    pub number: u32,
    /// The stage's first step.
    pub since: u64,
}

/// Something with parameters that a training loop can improve: a GAN, a VAE, a classifier.
pub trait Trainable: Send + Sync {
    /// Every tensor that a checkpoint holds, buffers included, by stable name.
    fn params(&self) -> &ParamSet;

    /// The groups of parameters that are updated together.
    fn groups(&self) -> &[ParamGroup];

    /// The batch size must be a multiple of this.
    fn batch_multiple(&self) -> usize {
        1
    }

    /// The most updates that a step does. Work after an update may depend on it; work after the last one does
    /// not. So a micro-batch need not wait for the others there, and frees its memory.
    fn updates(&self) -> usize {
        1
    }

    /// Trains on one batch. Write it as the paper writes it; every update goes through
    /// [`StepContext::update`], and extra batches come from [`StepContext::next_batch`].
    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()>;
}
