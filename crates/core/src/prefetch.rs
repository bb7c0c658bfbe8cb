//! Noise for the next step, drawn on another thread while a device computes this one.
//!
//! A draw is a function of its coordinates alone, so drawing it ahead does not change it. Draws that nobody
//! asks for are dropped.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use candle_core::{Device, Shape, Tensor};

use crate::Result;
use crate::rng::Stream;

/// The noise that one step asked for and the next may ask for: a stream's name, the first row, the number of
/// samples and the shape of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Noise {
    name: String,
    first: u64,
    samples: usize,
    shape: Vec<usize>,
}

impl Noise {
    fn draw(&self, seed: u64, step: u64) -> Result<Tensor> {
        let rows: Vec<u64> = (self.first..self.first + self.samples as u64).collect();
        Stream::new(seed, &self.name, step).normal_here(&rows, Shape::from(self.shape.clone()))
    }
}

/// Draws noise ahead.
#[derive(Debug)]
pub(crate) struct Prefetch {
    seed: u64,
    /// Noise that is being drawn, by the step that will need it.
    ahead: HashMap<(u64, Noise), Receiver<Result<Tensor>>>,
    /// Noise that this step asked for.
    asked: Vec<Noise>,
    // An `Option` only so that `drop` can close the channel before it joins the thread.
    work: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    noise: Noise,
    step: u64,
    done: Sender<Result<Tensor>>,
}

impl Prefetch {
    /// Starts a thread that waits for work.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let (work, jobs) = channel::<Job>();
        let draw = move || {
            for Job { noise, step, done } in jobs {
                // The receiver is gone if the run has ended or asks for other noise.
                let _ = done.send(noise.draw(seed, step));
            }
        };
        let thread = std::thread::Builder::new().name("waxwork-noise".to_owned()).spawn(draw);
        let thread = thread.map_err(crate::Error::Thread)?;
        Ok(Self { seed, ahead: HashMap::new(), asked: vec![], work: Some(work), thread: Some(thread) })
    }

    /// Standard normal values as [`Stream::normal`] draws them, for the rows `first..first + samples`.
    pub(crate) fn normal(
        &mut self,
        name: &str,
        (first, samples): (u64, usize),
        shape: &Shape,
        step: u64,
        device: &Device,
    ) -> Result<Tensor> {
        let noise = Noise { name: name.to_owned(), first, samples, shape: shape.dims().to_vec() };
        self.asked.push(noise.clone());
        let ahead = self.ahead.remove(&(step, noise.clone())).and_then(|ready| ready.recv().ok());
        let drawn = ahead.unwrap_or_else(|| noise.draw(self.seed, step))?;
        Ok(drawn.to_device(device)?)
    }

    /// Starts to draw, for the next step, the noise that `step` asked for.
    pub(crate) fn draw_ahead(&mut self, step: u64) {
        self.ahead.clear();
        for noise in self.asked.drain(..) {
            let (done, ready) = channel();
            let job = Job { noise: noise.clone(), step: step + 1, done };
            // Without the thread, noise is drawn when a step asks for it.
            if self.work.as_ref().is_some_and(|work| work.send(job).is_ok()) {
                self.ahead.insert((step + 1, noise), ready);
            }
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread affects no result.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetched_draws_equal_direct_draws() {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut prefetch = Prefetch::new(7).unwrap();
        let shape = Shape::from((1, 5));
        for step in 3..6 {
            // The steps ask for the second stream every other time, and with different shapes.
            let drawn = prefetch.normal("latent", (0, 4), &shape, step, &Device::Cpu).unwrap();
            let plain =
                Stream::new(7, "latent", step).normal(&[0, 1, 2, 3], shape.clone(), &Device::Cpu).unwrap();
            assert_eq!(values(&drawn), values(&plain));
            if step % 2 == 1 {
                let samples = step as usize;
                let drawn =
                    prefetch.normal("other", (0, samples), &Shape::from(2), step, &Device::Cpu).unwrap();
                assert_eq!(drawn.dims(), [samples, 2]);
            }
            prefetch.draw_ahead(step);
        }
        // As after a resume: nothing is ready for this step.
        let drawn = prefetch.normal("latent", (0, 4), &shape, 100, &Device::Cpu).unwrap();
        let plain = Stream::new(7, "latent", 100).normal(&[0, 1, 2, 3], shape, &Device::Cpu).unwrap();
        assert_eq!(values(&drawn), values(&plain));
    }
}
