//! Batches for training (shuffled, endless, prefetched by a thread) and for evaluation (in order, once).

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use candle_core::Device;
use waxwork_core::rng::Stream;
use waxwork_core::{Batch, ImageShape, Kind};

use crate::asking::Sampler;
use crate::dataset::{HostBatch, Split};
use crate::{Error, Result};

/// Batches that are prepared ahead of the training step.
const PREFETCHED: usize = 2;

/// Endless shuffled batches, starting at a given one.
///
/// The order of epoch `e` is a pure function of (seed, e), and batch `b` is number `b mod batches_per_epoch`
/// of epoch `b / batches_per_epoch`, so a resumed run sees the same batches as an uninterrupted one. The
/// loader drops the last partial batch of an epoch. A split [by column](Split::by_column) has no epochs:
/// every batch is drawn independently. A thread prepares batches ahead and ends when the loader is dropped.
/// After an error, the iterator returns None.
#[derive(Debug)]
pub struct Loader {
    // An Option only so that drop can close the channel before it joins the thread.
    batches: Option<Receiver<Result<HostBatch>>>,
    thread: Option<JoinHandle<()>>,
    device: Device,
    batches_per_epoch: u64,
}

/// The batches that a [`Loader`] gives.
#[derive(Clone, Copy, Debug)]
pub struct LoaderConfig {
    /// Samples per batch.
    pub batch_size: usize,
    /// Seed of the order.
    pub seed: u64,
    /// The first batch, counted from 0 over all epochs.
    pub first_batch: u64,
    /// Mirrors about half of the images left to right. The choice is a pure function of (seed, epoch, index
    /// of the image).
    pub flip: bool,
    /// The part of every batch to read, and the number of equal parts: (0, 1) is the whole batch. The batch
    /// size must be a multiple of that number.
    pub part: (usize, usize),
}

impl LoaderConfig {
    /// Batches from the first, without flips.
    pub fn new(batch_size: usize, seed: u64) -> Self {
        Self { batch_size, seed, first_batch: 0, flip: false, part: (0, 1) }
    }

    /// Checks that a split can give such batches, and returns the shape of the images to mirror, if any.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] if the split has no full batch, [`Error::Config`] if the batch size is zero
    /// or the samples to mirror are not images.
    pub fn check(&self, split: &Split) -> Result<Option<ImageShape>> {
        check_batch_size(self.batch_size)?;
        let parts = self.part.1;
        if !self.batch_size.is_multiple_of(parts) {
            let reason =
                format!("{} samples cannot be shared out equally to {parts} processes", self.batch_size);
            return Err(Error::Config { key: "train.batch_size", reason });
        }
        if split.len() < self.batch_size {
            return Err(Error::BatchTooLarge { batch_size: self.batch_size, samples: split.len() });
        }
        match (self.flip, split.kind()) {
            (false, _) => Ok(None),
            (true, Kind::Image(shape)) => Ok(Some(*shape)),
            (true, kind) => {
                let reason = format!("only images can be mirrored, but these are {kind}");
                Err(Error::Config { key: "train.flip", reason })
            }
        }
    }
}

impl Loader {
    /// Starts to prepare batches of `split`.
    ///
    /// # Errors
    /// As [`LoaderConfig::check`].
    pub fn new(split: &Split, config: &LoaderConfig, device: &Device) -> Result<Self> {
        let LoaderConfig { batch_size, seed, first_batch, part: (part, parts), .. } = *config;
        let flipped = config.check(split)?;
        let batches_per_epoch = (split.len() / batch_size) as u64;
        let rows = batch_size / parts * part..batch_size / parts * (part + 1);
        let (sender, receiver) = sync_channel(PREFETCHED);
        let (split, target) = (split.clone(), device.clone());
        let sampler = split.is_by_column().then(|| Sampler::new(&split)).flatten();
        let work = move || {
            let mut order = Vec::new();
            let mut ordered_epoch = None;
            for number in first_batch.. {
                let batch = if let Some(sampler) = &sampler {
                    let (positions, asked) = sampler.batch(&split, seed, number, rows.clone());
                    split.host_batch(&positions, &target).map(|batch| batch.asking(asked))
                } else {
                    let epoch = number / batches_per_epoch;
                    if ordered_epoch != Some(epoch) {
                        order = epoch_order(seed, epoch, split.len());
                        ordered_epoch = Some(epoch);
                    }
                    let start = (number % batches_per_epoch) as usize * batch_size;
                    let order = &order[start..start + batch_size];
                    let mut batch = split.host_batch(&order[rows.clone()], &target);
                    if let (Some(shape), Ok(batch)) = (flipped, &mut batch) {
                        let coins = Stream::new(seed, "data/flip", epoch);
                        batch.mirror(shape, |index| coins.at(index).below(2) == 1);
                    }
                    batch
                };
                let failed = batch.is_err();
                // Sending fails after the loader was dropped.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("waxwork-loader".to_owned())
            .spawn(work)
            .map_err(|error| Error::Loader(format!("could not be started: {error}")))?;
        Ok(Self { batches: Some(receiver), thread: Some(thread), device: device.clone(), batches_per_epoch })
    }

    /// Returns the number of full batches in one pass over the split.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.batches.as_ref()?.recv() {
            Ok(Ok(batch)) => Some(batch.into_batch(&self.device)),
            Ok(Err(error)) => {
                self.batches = None;
                Some(Err(error))
            }
            Err(_) => {
                self.batches = None;
                Some(Err(Error::Loader("ended early".to_owned())))
            }
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was either reported by `next`, or nobody waits for its batch any more.
            let _ = thread.join();
        }
    }
}

/// Returns the positions in a split of `count` samples in the order of `epoch`.
fn epoch_order(seed: u64, epoch: u64, count: usize) -> Vec<usize> {
    let order = Stream::new(seed, "data/shuffle", epoch).permutation(count);
    order.into_iter().map(|position| position as usize).collect()
}

/// All samples of a split, once and in order. The last batch may be smaller.
#[derive(Debug)]
pub struct Batches {
    split: Split,
    batch_size: usize,
    device: Device,
    next: usize,
}

impl Batches {
    pub(crate) fn new(split: Split, batch_size: usize, device: Device) -> Result<Self> {
        check_batch_size(batch_size)?;
        Ok(Self { split, batch_size, device, next: 0 })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.next.saturating_add(self.batch_size).min(self.split.len());
        let positions: Vec<usize> = (self.next..end).collect();
        self.next = end;
        (!positions.is_empty()).then(|| self.split.batch(&positions, &self.device))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.split.len() - self.next).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}

fn check_batch_size(batch_size: usize) -> Result<()> {
    if batch_size == 0 {
        return Err(Error::Config { key: "batch_size", reason: "must be at least 1".to_owned() });
    }
    Ok(())
}
