//! Batches for training (shuffled, endless, prefetched by a thread) and for evaluation (in order, once).

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use candle_core::Device;
use waxwork_core::Batch;
use waxwork_core::rng::Stream;

use crate::dataset::{HostBatch, Split};
use crate::{Error, Result};

/// Batches that wait, ready, for the training step.
const PREFETCHED: usize = 2;

/// Shuffled batches without end, from a given step on.
///
/// The order of epoch `e` is a pure function of (seed, e), and step `s` is batch `s mod batches_per_epoch` of epoch
/// `s / batches_per_epoch`; a resumed run sees what an unbroken one would have seen. The last partial batch of an epoch
/// is left out. A thread prepares batches ahead and ends when the loader is dropped. After an error comes None.
#[derive(Debug)]
pub struct Loader {
    // An Option only so that drop can hang up before it waits for the thread.
    batches: Option<Receiver<Result<HostBatch>>>,
    thread: Option<JoinHandle<()>>,
    device: Device,
    batches_per_epoch: u64,
}

impl Loader {
    /// Starts at global step `start_step`, counted from 0.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] if the split has no whole batch, [`Error::Config`] if `batch_size` is zero.
    pub fn new(
        split: &Split,
        batch_size: usize,
        seed: u64,
        device: &Device,
        start_step: u64,
    ) -> Result<Self> {
        Self::start(split, batch_size, seed, device, start_step, false)
    }

    /// [`Loader::new`], with every other image mirrored left to right: which ones is a pure function of (seed, epoch,
    /// index of the image).
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn with_flips(
        split: &Split,
        batch_size: usize,
        seed: u64,
        device: &Device,
        start_step: u64,
    ) -> Result<Self> {
        Self::start(split, batch_size, seed, device, start_step, true)
    }

    fn start(
        split: &Split,
        batch_size: usize,
        seed: u64,
        device: &Device,
        start_step: u64,
        flips: bool,
    ) -> Result<Self> {
        check_batch_size(batch_size)?;
        let batches_per_epoch = (split.len() / batch_size) as u64;
        if batches_per_epoch == 0 {
            return Err(Error::BatchTooLarge { batch_size, images: split.len() });
        }
        let (sender, receiver) = sync_channel(PREFETCHED);
        let (split, target) = (split.clone(), device.clone());
        let work = move || {
            let mut order = Vec::new();
            let mut ordered_epoch = None;
            for step in start_step.. {
                let epoch = step / batches_per_epoch;
                if ordered_epoch != Some(epoch) {
                    order = epoch_order(seed, epoch, split.len());
                    ordered_epoch = Some(epoch);
                }
                let start = (step % batches_per_epoch) as usize * batch_size;
                let mut batch = split.host_batch(&order[start..start + batch_size], &target);
                if let (true, Ok(batch)) = (flips, &mut batch) {
                    let coins = Stream::new(seed, "data/flip", epoch);
                    batch.mirror(|index| coins.at(index).below(2) == 1);
                }
                let failed = batch.is_err();
                // Sending fails when the loader was dropped.
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

    /// Whole batches in one pass over the split.
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
            // A panic in the thread has been reported by `next`, or nobody waits for its batch any more.
            let _ = thread.join();
        }
    }
}

/// Positions in a split of `count` images in the order of `epoch`.
fn epoch_order(seed: u64, epoch: u64, count: usize) -> Vec<usize> {
    let order = Stream::new(seed, "data/shuffle", epoch).permutation(count);
    order.into_iter().map(|position| position as usize).collect()
}

/// All images of a split in order, once; the last batch may be smaller.
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
