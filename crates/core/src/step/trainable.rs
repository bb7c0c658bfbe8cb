//! What can be trained, and on what.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::params::{ParamGroup, ParamSet};
use crate::step::StepContext;
use crate::{Error, Result};

/// What a training step or an evaluation gets to see.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Samples `(N, ..)` as networks see them; images are `(N, C, H, W)` f32 in [0, 1].
    pub inputs: Tensor,
    /// How much of each sample counts, `(N)` u32 on the CPU, along its first dimension, where samples differ in length.
    pub lengths: Option<Tensor>,
    /// What each sample is, as far as the data says; on the CPU, whatever the device, since models look at it there.
    pub condition: Condition,
    /// The position of each sample in its data set, for what must be fixed per sample (binarisation, augmentation).
    pub indices: Vec<u64>,
}

impl Batch {
    /// Samples of one length, of which nothing is said.
    pub fn unlabelled(inputs: Tensor, indices: Vec<u64>) -> Self {
        Self { inputs, lengths: None, condition: Condition::None, indices }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Part `number` of so many equally large ones, by rows.
    ///
    /// # Errors
    /// [`Error::Config`] if the samples cannot be shared out equally.
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

/// A stage of training, such as pre-training: a number that a model gives meaning to. Checkpoints hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Which stage; a run begins in 0.
    pub number: u32,
    /// The first step in it.
    pub since: u64,
}

/// Something with parameters that a training loop can improve: a GAN, a VAE, a classifier.
pub trait Trainable: Send + Sync {
    /// Every tensor that a checkpoint holds, buffers too, by stable name.
    fn params(&self) -> &ParamSet;

    /// What one optimiser updates together.
    fn groups(&self) -> &[ParamGroup];

    /// The size of a batch must be a multiple of this.
    fn batch_multiple(&self) -> usize {
        1
    }

    /// The most updates that a step does. What comes after an update may depend on it, and what comes after the last does not: there a
    /// micro-batch need not wait for the others, and frees what it holds.
    fn updates(&self) -> usize {
        1
    }

    /// Trains on one batch, written as the paper writes it; every update goes through [`StepContext::update`]. A step that needs more
    /// batches takes them from [`StepContext::next_batch`].
    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()>;
}
