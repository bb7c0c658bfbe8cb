//! `waxwork train --dry-run`: what would be trained, and what it would take, by a few steps that are measured.

use std::fmt::Write;
use std::time::{Duration, Instant};

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, SampleRequest, Tensor, device as devices, store};
use waxwork_data::manifest::Kind;
use waxwork_data::{Loader, Manifest};
use waxwork_eval::likelihood;
use waxwork_trainer::{Stop, memory, train};

use crate::commands::train::{PICTURES, Run, VALIDATION_IMAGES};
use crate::failure::Failure;
use crate::output;

/// How long steps are measured, and at least how many: enough for all that a recipe does only every few steps.
const MEASURED_FOR: Duration = Duration::from_secs(3);
const MEASURED_STEPS: u64 = 6;

impl Run {
    /// The recipe as TOML, and as comments below it what `seeds` runs of it would take. Writes nothing.
    pub(super) fn forecast(mut self, device: &Device, seeds: u64, stop: &Stop) -> Result<String, Failure> {
        let recipe = self.recipe.to_toml()?;
        let config = self.recipe.train.clone();
        let length = config.length(self.data.train.len())?;
        let disk = train::space_needed(self.model.as_ref(), &self.state, &config, &self.data.train)?;
        let parameters = self.parameters()?;

        let (count, steps) = self.measure_steps(device, length.steps, stop)?;
        let step = steps.div_f64(count as f64);
        let pictures = timed(|| Ok(self.shown.sample(&SampleRequest::new(config.seed, PICTURES))?))?;
        let validation = self.measure_validation(device)?;
        let checkpoint = timed(|| {
            let (params, state) = (self.model.params().tensors(), self.state.tensors());
            Ok((store::encode(&params)?, store::encode(&state)?))
        })?;
        let times = [
            (length.steps, step, "steps"),
            (due(length.steps, config.sample_every, length.steps), pictures, "sample grids"),
            (due(length.steps, config.validate_every, length.steps_per_epoch), validation, "validations"),
            (due(length.steps, config.checkpoint_every, length.steps), checkpoint, "checkpoints"),
        ];
        let whole: f64 = times.iter().map(|(count, time, _)| *count as f64 * time.as_secs_f64()).sum();
        let spent = times
            .iter()
            .filter(|(_, time, _)| !time.is_zero())
            .map(|(count, time, what)| format!("{count} {what} of {:.1} ms", 1000.0 * time.as_secs_f64()));
        let spent = spent.collect::<Vec<_>>().join(", ");
        let runs = if seeds > 1 { format!("{seeds} runs, each ") } else { String::new() };

        let mut text = format!(
            "{recipe}\n# Nothing was trained. Estimate from {count} steps measured on {}:\n",
            devices::name(device)
        );
        writeln!(text, "# parameters: {parameters}")?;
        writeln!(text, "# time: {runs}{} ({spent})", output::seconds(whole))?;
        match memory::peak() {
            Some(peak) => writeln!(text, "# memory: {}", output::bytes(peak + self.images_to_draw()))?,
            None => writeln!(text, "# memory: unknown on this system")?,
        }
        writeln!(text, "# disk: {runs}at most {}", output::bytes(disk))?;
        Ok(text)
    }

    /// Values in every group of parameters, and beside them.
    fn parameters(&self) -> Result<String, Failure> {
        let tensors = self.model.params().tensors();
        let mut parts = Vec::new();
        let mut rest: usize = tensors.values().map(Tensor::elem_count).sum();
        for group in self.model.groups() {
            let count =
                group.params.iter().filter_map(|name| tensors.get(name)).map(Tensor::elem_count).sum();
            rest -= count;
            parts.push(format!("{} {}", group.name, output::count(count)));
        }
        if rest > 0 {
            parts.push(format!("statistics {}", output::count(rest)));
        }
        Ok(parts.join(", "))
    }

    /// How many steps were done in which time, after a first one that fills caches.
    fn measure_steps(&mut self, device: &Device, most: u64, stop: &Stop) -> Result<(u64, Duration), Failure> {
        let config = &self.recipe.train;
        let new_loader = if config.flip { Loader::with_flips } else { Loader::new };
        let mut loader = new_loader(&self.data.train, config.batch_size, config.seed, device, 0)?;
        let _bar = output::bar(0, "measuring steps");
        let mut began = Instant::now();
        let mut done = 0;
        while done < most && (done <= MEASURED_STEPS || began.elapsed() < MEASURED_FOR) {
            if stop.reason().is_some() {
                return Err(Failure::interrupted("interrupted; nothing was written"));
            }
            let Some(batch) = loader.next() else { break };
            self.state.step(self.model.as_ref(), &batch?)?;
            done += 1;
            if done == 1 && most > 1 {
                began = Instant::now();
            }
        }
        Ok((done.saturating_sub(1).max(1), began.elapsed()))
    }

    /// How long one measurement on the validation split takes; zero if the model has none.
    fn measure_validation(&self, device: &Device) -> Result<Duration, Failure> {
        let images = self.data.validation.first(VALIDATION_IMAGES);
        let part = images.first(EVALUATION_BATCH);
        let (Some(latent), false) = (self.shown.latent(), part.is_empty()) else { return Ok(Duration::ZERO) };
        let batches = part.batches(EVALUATION_BATCH, device)?.map(|batch| batch.map_err(Failure::from));
        let one = timed(|| likelihood(latent, batches, 0, |_| {}))?;
        Ok(one.mul_f64(images.len() as f64 / part.len() as f64))
    }

    /// Bytes of images that an embedded data set has yet to draw, and will keep.
    fn images_to_draw(&self) -> u64 {
        let drawn =
            Manifest::find(&self.data.info.name).is_ok_and(|manifest| manifest.kind == Kind::Embedded);
        if drawn { (self.data.train.len() * self.data.info.shape.len()) as u64 } else { 0 }
    }
}

/// How often something happens that is due at every multiple of `every`, or of `otherwise` where `every` is 0, and at the
/// end.
fn due(steps: u64, every: u64, otherwise: u64) -> u64 {
    steps.div_ceil(if every == 0 { otherwise } else { every })
}

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<Duration, Failure> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_counts_and_is_not_counted_twice() {
        assert_eq!((due(1000, 500, 7), due(1001, 500, 7)), (2, 3));
        assert_eq!((due(1000, 0, 1000), due(10, 0, 3)), (1, 4));
    }
}
