//! What a person sees of a run: a bar on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use waxwork_core::step::StepReport;

use crate::observer::{Event, Observer};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Weight of the newest step in the losses shown; what is logged is not smoothed.
const SMOOTHING: f64 = 0.05;

/// Shows steps, images per second, losses and the time left, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
    done: u64,
    done_before: u64,
    total: u64,
    batch_size: usize,
    losses: BTreeMap<String, f64>,
}

impl Progress {
    /// A bar if standard error is a terminal, else lines.
    pub fn new() -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(0));
        let (done, done_before, total, batch_size) = (0, 0, 0, 0);
        Self {
            bar,
            started: now,
            last_line: now,
            done,
            done_before,
            total,
            batch_size,
            losses: BTreeMap::new(),
        }
    }

    fn step(&mut self, report: &StepReport) {
        self.done = report.step + 1;
        for (name, value) in report.scalars.iter().filter(|(name, _)| !name.contains('/')) {
            let smooth = self.losses.entry(name.clone()).or_insert(*value);
            *smooth += SMOOTHING * (value - *smooth);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.summary());
                bar.set_position(self.done);
            }
            None if self.last_line.elapsed() >= LINE_EVERY || self.done == self.total => {
                self.last_line = Instant::now();
                let left = HumanDuration(self.time_left());
                self.line(&format!("step {}/{}, {}, {left} left", self.done, self.total, self.summary()));
            }
            None => {}
        }
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = ((self.done - self.done_before) as usize * self.batch_size) as f64 / seconds;
        let losses = self.losses.iter().map(|(name, value)| format!("{name} {value:.4}"));
        format!("{rate:.0} images/s, {}", losses.collect::<Vec<_>>().join(", "))
    }

    fn time_left(&self) -> Duration {
        let done = (self.done - self.done_before).max(1) as f64;
        self.started.elapsed().mul_f64((self.total - self.done) as f64 / done)
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // A closed standard error must not end the run.
            None => _ = writeln!(std::io::stderr(), "{text}"),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Progress {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started { done, total, batch_size } => {
                (self.started, self.last_line) = (Instant::now(), Instant::now());
                (self.done, self.done_before, self.total, self.batch_size) = (done, done, total, batch_size);
                if let Some(bar) = &self.bar {
                    let template = "{wide_bar} {pos}/{len} steps, {eta} left\n{msg}";
                    bar.set_style(
                        ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()),
                    );
                    bar.set_length(total);
                    bar.set_position(done);
                    bar.reset_eta();
                }
            }
            Event::Step(report) => self.step(report),
            Event::Validated { step, metrics } => {
                let metrics: Vec<String> =
                    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                self.line(&format!("step {step}/{}: {}", self.total, metrics.join(", ")));
            }
            Event::Logged { .. } | Event::Drawn { .. } | Event::Checkpoint(_) => {}
            Event::Finished => {
                if let Some(bar) = &self.bar {
                    bar.finish();
                }
            }
        }
    }
}
