//! Time, memory and disk space of a training run, estimated from a few measured steps.

use std::time::{Duration, Instant};

use waxwork_core::step::Counters;
use waxwork_core::{Tensor, store};
use waxwork_data::manifest::Storage;
use waxwork_data::{Loader, LoaderConfig, Manifest};
use waxwork_trainer::{Stop, memory, train};

use crate::validation::Validation;
use crate::{Result, TrainingRun};

/// The time for which steps are measured, and the fewest steps: enough for work that a recipe does only every
/// few steps.
const MEASURED_FOR: Duration = Duration::from_secs(3);
const MEASURED_STEPS: u64 = 6;

/// The estimated cost of a run.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// Number of values in every group of parameters, and in the buffers as `statistics`.
    pub parameters: Vec<(String, usize)>,
    /// Number of steps that were measured.
    pub measured_steps: u64,
    /// The parts of the run's time.
    pub parts: Vec<ForecastPart>,
    /// Peak memory in bytes, if the system reports it.
    pub memory: Option<u64>,
    /// The most disk space in bytes.
    pub disk: u64,
}

/// Something that happens several times in a run.
#[derive(Clone, Copy, Debug)]
pub struct ForecastPart {
    /// Its name, in the plural.
    pub what: &'static str,
    /// Number of times.
    pub count: u64,
    /// Duration of one.
    pub each: Duration,
}

impl Forecast {
    /// The total time of the run, in seconds.
    pub fn seconds(&self) -> f64 {
        self.parts.iter().map(|part| part.count as f64 * part.each.as_secs_f64()).sum()
    }
}

impl TrainingRun {
    /// Measures a few steps, a preview, a validation and a checkpoint. Writes nothing, but changes the
    /// weights, so it consumes the run. None if `stop` came first.
    ///
    /// # Errors
    /// As a step of training.
    pub fn forecast(mut self, stop: &Stop) -> Result<Option<Forecast>> {
        let config = self.recipe.train.clone();
        let length = config.length(self.data.train.len())?;
        let disk = train::space_needed(self.model.as_ref(), &self.state, &config, &self.data.train)?;
        let parameters = self.parameters();
        let Some((measured_steps, steps)) = self.measure_steps(length.steps, stop)? else { return Ok(None) };
        let preview = timed(|| Ok(self.preview()?))?;
        let validation = self.measure_validation()?;
        let checkpoint = timed(|| {
            let (params, state) = (self.model.params().tensors(), self.state.tensors());
            Ok((store::encode(&params)?, store::encode(&state)?))
        })?;
        let part = |what, every, otherwise, each| {
            let count = times_due(length.steps, every, otherwise);
            ForecastPart { what, count, each }
        };
        let parts = vec![
            ForecastPart { what: "steps", count: length.steps, each: steps.div_f64(measured_steps as f64) },
            part("sample grids", config.sample_every, length.steps, preview),
            part("validations", config.validate_every, length.steps_per_epoch, validation),
            part("checkpoints", config.checkpoint_every, length.steps, checkpoint),
        ];
        let memory = memory::peak().map(|peak| peak + self.bytes_to_draw());
        Ok(Some(Forecast { parameters, measured_steps, parts, memory, disk }))
    }

    /// Number of values in every group of parameters, and in the buffers.
    fn parameters(&self) -> Vec<(String, usize)> {
        let tensors = self.model.params().tensors();
        let mut parts = Vec::new();
        let mut rest: usize = tensors.values().map(Tensor::elem_count).sum();
        for group in self.model.groups() {
            let count =
                group.params.iter().filter_map(|name| tensors.get(name)).map(Tensor::elem_count).sum();
            rest -= count;
            parts.push((group.name.clone(), count));
        }
        if rest > 0 {
            parts.push(("statistics".to_owned(), rest));
        }
        parts
    }

    /// The number of steps and their time, after a first step that fills caches.
    fn measure_steps(&mut self, most: u64, stop: &Stop) -> Result<Option<(u64, Duration)>> {
        self.pass_guesses(most)?;
        let config = &self.recipe.train;
        let batches = LoaderConfig { flip: config.flip, ..LoaderConfig::new(config.batch_size, config.seed) };
        let mut loader = Loader::new(&self.data.train, &batches, self.device())?;
        let mut began = Instant::now();
        let mut done = 0;
        while done < most && (done <= MEASURED_STEPS || began.elapsed() < MEASURED_FOR) {
            if stop.reason().is_some() {
                return Ok(None);
            }
            let Some(batch) = loader.next() else { break };
            let mut more = || loader.next().and_then(std::result::Result::ok);
            self.state.step_with(self.model.as_ref(), &batch?, &mut more)?;
            done += 1;
            if done == 1 && most > 1 {
                began = Instant::now();
            }
        }
        Ok(Some((done.saturating_sub(1).max(1), began.elapsed())))
    }

    /// Skips the steps that train only the guesses of a model that completes images, because they take less
    /// time than the others.
    fn pass_guesses(&mut self, most: u64) -> Result<()> {
        let guesses = self.recipe.model.completion().map_or(0, |completion| completion.guess_steps);
        if (1..most).contains(&guesses) {
            let mut tensors = self.state.tensors();
            for tensor in tensors.values_mut() {
                *tensor = tensor.copy().map_err(waxwork_core::Error::from)?;
            }
            let counters = Counters { step: guesses, ..self.state.counters() };
            self.state.restore(&tensors, &counters)?;
        }
        Ok(())
    }

    /// Time of one measurement on the validation split. Zero if the model has none, or if a judge makes it:
    /// the judge may have to be trained first, and then measures quickly.
    fn measure_validation(&self) -> Result<Duration> {
        let shown = self.shown.as_ref();
        let (config, together) = (&self.recipe.train, self.state.collective());
        let validation = Validation::of(shown, &self.data, config, self.device(), together);
        let Some(validation) = validation.filter(|validation| !validation.is_judged()) else {
            return Ok(Duration::ZERO);
        };
        let all = validation.samples().len();
        let first = validation.first_batch();
        let one = timed(|| Ok(first.measure()?))?;
        Ok(one.mul_f64(all as f64 / first.samples().len() as f64))
    }

    /// Bytes of the samples that an embedded data set has not drawn yet and will keep.
    fn bytes_to_draw(&self) -> u64 {
        let info = &self.data.info;
        let drawn = Manifest::find(&info.name).is_ok_and(|manifest| manifest.storage == Storage::Embedded);
        if drawn { (self.data.train.len() * info.kind.bytes()) as u64 } else { 0 }
    }
}

/// Number of times of something that is due at every multiple of `every` (or of `otherwise` if `every` is 0)
/// and at the end.
fn times_due(steps: u64, every: u64, otherwise: u64) -> u64 {
    steps.div_ceil(if every == 0 { otherwise } else { every })
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_counts_and_is_not_counted_twice() {
        assert_eq!((times_due(1000, 500, 7), times_due(1001, 500, 7)), (2, 3));
        assert_eq!((times_due(1000, 0, 1000), times_due(10, 0, 3)), (1, 4));
    }
}
