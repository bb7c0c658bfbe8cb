//! Where training time goes: a stopwatch that always runs for exactly one phase, so the phases sum to the
//! total.

use std::time::{Duration, Instant};

use candle_core::Device;

use crate::Result;

/// A phase of the training loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a batch, and copying it to the device.
    Data,
    /// The model's own step without its updates: draws, forward passes, losses.
    Forward,
    /// Computing gradients, and freeing the graph that they came from.
    Backward,
    /// Norms, clipping, Adam, moving average, batch statistics.
    Optimiser,
    /// Everything else: logs, validation, previews, checkpoints.
    Other,
}

impl Phase {
    /// All of them, in the order of a step.
    pub const ALL: [Self; 5] = [Self::Data, Self::Forward, Self::Backward, Self::Optimiser, Self::Other];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Optimiser => "optimiser",
            Self::Other => "other",
        }
    }
}

/// The time spent in each [`Phase`] so far.
#[derive(Clone, Debug)]
pub struct Profile {
    device: Device,
    spent: [Duration; Phase::ALL.len()],
    phase: Phase,
    since: Instant,
    steps: u64,
}

impl Profile {
    /// Starts the stopwatch in [`Phase::Other`].
    pub fn start(device: &Device) -> Self {
        let (spent, since) = ([Duration::ZERO; Phase::ALL.len()], Instant::now());
        Self { device: device.clone(), spent, phase: Phase::Other, since, steps: 0 }
    }

    /// Enters a phase, and adds the time since the last call to the phase that ends. Waits for the device
    /// first, so that a GPU's work counts for the phase that launched it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn enter(&mut self, phase: Phase) -> Result<()> {
        self.device.synchronize()?;
        let now = Instant::now();
        self.spent[self.phase as usize] += now - self.since;
        (self.phase, self.since) = (phase, now);
        Ok(())
    }

    /// The time of each phase, in the order of [`Phase::ALL`], up to the last change of phase.
    pub fn spent(&self) -> [(Phase, Duration); Phase::ALL.len()] {
        Phase::ALL.map(|phase| (phase, self.spent[phase as usize]))
    }

    /// Training steps completed since the start.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn count_step(&mut self) {
        self.steps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_sum_to_the_time_from_start_to_the_last_change() {
        let mut profile = Profile::start(&Device::Cpu);
        let start = profile.since;
        for phase in [Phase::Data, Phase::Forward, Phase::Backward, Phase::Forward, Phase::Other] {
            profile.enter(phase).unwrap();
        }
        let sum: Duration = profile.spent().iter().map(|(_, time)| *time).sum();
        assert_eq!(sum, profile.since - start);
        assert_eq!(profile.spent()[3], (Phase::Optimiser, Duration::ZERO));
    }
}
