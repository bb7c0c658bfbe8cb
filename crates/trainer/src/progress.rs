//! Progress: a bar on a terminal, plain lines elsewhere, or log events for programs.
//! The display always uses standard error, and never makes a command fail.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use waxwork_core::step::StepReport;

use crate::observer::{Event, Observer};

/// Shorter tasks print no line.
const FIRST_LINE_AFTER: Duration = Duration::from_secs(2);
/// Time between plain lines, and between events.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Interval at which a meter's clock checks whether a line is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time between two frames of a bar of unknown length.
const TICK: Duration = Duration::from_millis(100);

/// All bars of this process, so that lines can be written above them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
/// When the next line is due: one clock for standard error, whatever the number of meters.
static NEXT_LINE: Mutex<Option<Instant>> = Mutex::new(None);

/// The target of progress in the log.
const TARGET: &str = "waxwork::progress";

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    /// A bar, for a terminal.
    Bar,
    /// A line every five seconds, the first after two.
    Lines,
    /// A log event at the same times, at level info, with the target `waxwork::progress`.
    Events,
    /// Nothing.
    Nothing,
}

impl Display {
    /// A bar if standard error is a terminal, otherwise lines.
    pub fn fitting() -> Self {
        if std::io::stderr().is_terminal() { Self::Bar } else { Self::Lines }
    }
}

/// Writes to standard error with `write`, above any bars.
pub fn above_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Images, steps, files …
    Parts,
    /// Bytes, shown in MiB or another fitting unit.
    Bytes,
}

/// The progress of one task. It can be updated from any thread; dropping it clears it from the terminal.
#[derive(Debug)]
pub struct Meter {
    display: Display,
    what: &'static str,
    unit: Unit,
    /// Always counts, but is visible only if bars are shown.
    bar: ProgressBar,
    started: Instant,
    before: u64,
    /// Prints lines or events, if requested, while the count does not change.
    clock: Option<Thread>,
}

impl Meter {
    /// Starts the task `what` at zero of `length` parts; a length of 0 means unknown.
    pub fn new(display: Display, what: &'static str, unit: Unit, length: u64) -> Self {
        let mut meter = Self::begun(display, what, unit, length, 0);
        if matches!(display, Display::Lines | Display::Events) {
            let seen = Self { bar: meter.bar.clone(), clock: None, ..meter };
            let clock = thread::Builder::new().name("progress".into()).spawn(move || {
                while !seen.bar.is_finished() {
                    seen.tell(false, || seen.rate());
                    thread::park_timeout(LOOK_EVERY);
                }
            });
            // Without the thread, only fewer lines appear.
            meter.clock = clock.ok().map(|clock| clock.thread().clone());
        }
        meter
    }

    /// Starts at `done` parts that another process did. Prints only when parts are counted.
    fn begun(display: Display, what: &'static str, unit: Unit, length: u64, done: u64) -> Self {
        let bar = match display {
            Display::Bar => BARS.add(ProgressBar::new(length)),
            _ => ProgressBar::with_draw_target(Some(length), indicatif::ProgressDrawTarget::hidden()),
        };
        let meter = Self { display, what, unit, bar, started: Instant::now(), before: done, clock: None };
        meter.bar.set_position(done);
        meter.bar.reset_eta();
        if display == Display::Bar {
            meter.bar.set_prefix(what);
            meter.style(length);
        }
        is_due();
        meter
    }

    fn style(&self, length: u64) {
        let template = match (length, self.unit) {
            (0, _) => "{prefix} {spinner} {elapsed}",
            (_, Unit::Parts) => "{prefix} {wide_bar} {human_pos}/{human_len}, {eta} left",
            (_, Unit::Bytes) => {
                "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
            }
        };
        let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
        self.bar.set_style(style);
        if length == 0 {
            self.bar.enable_steady_tick(TICK);
        } else {
            self.bar.disable_steady_tick();
        }
    }

    /// Sets the number of parts done, and the total so far known.
    pub fn set(&self, done: u64, length: u64) {
        if self.bar.length() != Some(length) {
            self.bar.set_length(length);
            if self.display == Display::Bar {
                self.style(length);
            }
        }
        self.set_position(done);
    }

    /// Sets the number of parts done.
    pub fn set_position(&self, done: u64) {
        self.bar.set_position(done);
        self.tell(false, || self.rate());
    }

    /// Adds to the number of parts done.
    pub fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.tell(false, || self.rate());
    }

    /// Ends the task and clears its bar.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line or an event if one is due, or if `now` is true.
    fn tell(&self, now: bool, detail: impl Fn() -> String) {
        let wanted = matches!(self.display, Display::Lines | Display::Events);
        if !wanted || !(is_due() || now) {
            return;
        }
        let (done, total, detail) = (self.bar.position(), self.bar.length().unwrap_or(0), detail());
        let left = left(total.saturating_sub(done), self.per_second());
        if self.display == Display::Lines {
            if total == 0 {
                return self.line(&format!("{}, for {}", self.what, HumanDuration(self.started.elapsed())));
            }
            let left = left.filter(|left| !left.is_zero());
            let left = left.map_or_else(String::new, |left| format!(", {} left", HumanDuration(left)));
            let (done, total) = (self.amount(done as f64), self.amount(total as f64));
            return self.line(&format!("{} {done}/{total}, {detail}{left}", self.what));
        }
        let (task, seconds_left) = (self.what, left.map(|left| left.as_secs_f64()));
        tracing::info!(target: TARGET, task, done, total, seconds_left, detail, "progress");
    }

    /// Parts per second in this process.
    fn per_second(&self) -> f64 {
        let done = self.bar.position().saturating_sub(self.before);
        done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    fn rate(&self) -> String {
        format!("{}/s", self.amount(self.per_second()))
    }

    /// A number of parts as text for people.
    fn amount(&self, n: f64) -> String {
        match self.unit {
            Unit::Bytes => HumanBytes(n as u64).to_string(),
            Unit::Parts if n < 10.0 && n.fract() != 0.0 => format!("{n:.1}"),
            Unit::Parts => format!("{n:.0}"),
        }
    }

    /// Prints a message on its own line.
    fn line(&self, text: &str) {
        match self.display {
            // A closed standard error must not end the work.
            Display::Bar | Display::Lines => _ = above_bars(|| writeln!(std::io::stderr(), "{text}")),
            Display::Events => tracing::info!(target: TARGET, "{text}"),
            Display::Nothing => {}
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
        if let Some(clock) = &self.clock {
            clock.unpark();
        }
    }
}

/// The time that `parts` take at this rate; None if the rate is unknown.
fn left(parts: u64, per_second: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(parts as f64 / per_second).ok()
}

/// Whether a line is due now; if so, sets the time of the next.
fn is_due() -> bool {
    let now = Instant::now();
    let mut next = NEXT_LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let due = next.is_some_and(|next| now >= next);
    if due || next.is_none() {
        *next = Some(now + if due { LINE_EVERY } else { FIRST_LINE_AFTER });
    }
    due
}

/// Shows a run: steps, images per second, losses and the time left.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    /// Set at the start of the run, when its length is known.
    meter: Option<Meter>,
    batch_size: usize,
    /// The newest logged values, unsmoothed, so that the display agrees with the log.
    losses: BTreeMap<String, f64>,
}

impl Progress {
    /// Shows a run as `display` says.
    pub fn new(display: Display) -> Self {
        Self { display, meter: None, batch_size: 0, losses: BTreeMap::new() }
    }

    fn step(&mut self, report: &StepReport) {
        for (name, value) in report.scalars.iter().filter(|(name, _)| !name.contains('/')) {
            self.losses.insert(name.clone(), *value);
        }
        let Some(meter) = &self.meter else { return };
        let done = report.step + 1;
        meter.bar.set_position(done);
        if self.display == Display::Bar {
            meter.bar.set_message(self.summary(meter));
        }
        meter.tell(Some(done) == meter.bar.length(), || self.summary(meter));
    }

    fn summary(&self, meter: &Meter) -> String {
        let rate = meter.per_second() * self.batch_size as f64;
        let shown =
            |value: f64| if value.abs() < 1e7 { format!("{value:.4}") } else { format!("{value:.4e}") };
        let losses = self.losses.iter().map(|(name, value)| format!("{name} {}", shown(*value)));
        format!("{rate:.0} images/s, {}", losses.collect::<Vec<_>>().join(", "))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(Display::fitting())
    }
}

impl Observer for Progress {
    fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Started { done, total, batch_size } => {
                self.batch_size = batch_size;
                let meter = Meter::begun(self.display, "step", Unit::Parts, total, done);
                let template = "{wide_bar} {human_pos}/{human_len} steps, {eta} left\n{msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    meter.bar.set_style(style);
                }
                self.meter = Some(meter);
            }
            Event::Step(report) => self.step(report),
            Event::Validated { step, metrics } => {
                let Some(meter) = &self.meter else { return };
                let metrics: Vec<String> =
                    metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
                let total = meter.bar.length().unwrap_or(0);
                meter.line(&format!("step {step}/{total}: {}", metrics.join(", ")));
            }
            Event::Logged { .. } | Event::Drawn { .. } | Event::Checkpoint(_) => {}
            Event::Finished => {
                // The final state stays visible.
                if let Some(meter) = &self.meter {
                    meter.bar.finish();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_counts_from_any_thread_and_what_was_done_before_is_no_work() {
        let meter = Meter::begun(Display::Nothing, "work", Unit::Parts, 0, 60);
        assert_eq!(meter.per_second(), 0.0);
        meter.set(60, 400);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| meter.inc(1)));
            }
        });
        assert_eq!((meter.bar.position(), meter.bar.length()), (260, Some(400)));
        assert!(meter.per_second() > 0.0);
    }

    #[test]
    fn the_losses_shown_are_those_of_the_step() {
        let mut progress = Progress::new(Display::Nothing);
        progress.on(Event::Started { done: 0, total: 4, batch_size: 8 });
        let mut shown = |step, kl| {
            let scalars = vec![("kl".to_owned(), kl), ("grad_norm/encoder".to_owned(), 7.0)];
            progress.on(Event::Step(&StepReport { step, scalars }));
            let summary = progress.summary(progress.meter.as_ref().unwrap());
            summary.split_once("images/s, ").unwrap().1.to_owned()
        };
        assert_eq!(shown(0, 12.5), "kl 12.5000");
        // A spike is visible, and disappears with its step.
        assert_eq!(shown(1, 1.3e11), "kl 1.3000e11");
        assert_eq!(shown(2, 113.66), "kl 113.6600");
    }

    #[test]
    fn a_step_that_was_not_read_leaves_the_last_values() {
        let mut progress = Progress::new(Display::Nothing);
        progress.on(Event::Started { done: 0, total: 2, batch_size: 1 });
        progress.on(Event::Step(&StepReport { step: 0, scalars: vec![("loss".to_owned(), 2.0)] }));
        progress.on(Event::Step(&StepReport { step: 1, scalars: Vec::new() }));
        assert!(progress.summary(progress.meter.as_ref().unwrap()).ends_with("loss 2.0000"));
    }

    #[test]
    fn formats_amounts_with_their_units() {
        let told = |unit, n| Meter::begun(Display::Nothing, "work", unit, 0, 0).amount(n);
        assert_eq!(told(Unit::Parts, 12345.6), "12346");
        assert_eq!(told(Unit::Parts, 0.25), "0.2");
        assert_eq!(told(Unit::Parts, 3.0), "3");
        assert_eq!(told(Unit::Bytes, f64::from(3 << 20)), "3.00 MiB");
    }

    #[test]
    fn remaining_time_follows_from_the_rate() {
        assert_eq!(left(30, 10.0), Some(Duration::from_secs(3)));
        assert_eq!(left(0, 10.0), Some(Duration::ZERO));
        assert_eq!(left(30, 0.0), None);
        assert_eq!(left(0, 0.0), None);
    }
}
