//! Computing without the interpreter's lock: threads, progress, interrupts and forks.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rayon::ThreadPool;
use waxwork_trainer::Stop;

use crate::errors::{Class, Fault};
use crate::warnings::{self, Inbox};

/// The longest time until an interrupt is seen.
const POLL: Duration = Duration::from_millis(50);
/// The shortest time between two reports of progress.
const BETWEEN: Duration = Duration::from_millis(50);

/// What unwinds a computation that was interrupted.
struct Cancelled;

/// Progress on the way to Python.
struct News {
    what: String,
    done: u64,
    total: u64,
    values: Vec<(String, f64)>,
}

/// The computation's side: it reports progress, and learns that it should stop.
pub(crate) struct Watch {
    news: Sender<News>,
    stop: Stop,
    last: Mutex<Option<(String, Instant)>>,
    stops_itself: AtomicBool,
}

impl Watch {
    /// Reports that `done` of `total` parts of `what` are done; a total of 0 means unknown. After an
    /// interrupt, does not return but unwinds the computation, unless it stops by itself.
    pub(crate) fn progress(&self, what: &str, done: u64, total: u64) {
        self.report(what, done, total, &[]);
        if self.stop.reason().is_some() && !self.stops_itself.load(Ordering::Relaxed) {
            resume_unwind(Box::new(Cancelled));
        }
    }

    /// As [`Watch::progress`] for a computation that stops by itself. `values` are numbers to show.
    pub(crate) fn report(&self, what: &str, done: u64, total: u64, values: &[(String, f64)]) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let new = last.as_ref().is_none_or(|(shown, at)| shown != what || at.elapsed() >= BETWEEN);
        if new || done == total || !values.is_empty() {
            *last = Some((what.to_owned(), Instant::now()));
            // Nobody listens any more only if the call has ended.
            _ = self.news.send(News { what: what.to_owned(), done, total, values: values.to_vec() });
        }
    }

    /// The request to stop, for a computation that stops by itself from now on.
    pub(crate) fn stop(&self) -> Stop {
        self.stops_itself.store(true, Ordering::Relaxed);
        self.stop.clone()
    }
}

/// Runs `work` without the interpreter's lock, on `threads` threads that no other call uses; the default is
/// one per available processor. Meanwhile, this function passes progress on as `progress(stage, done, total,
/// values)`, issues the warnings of `work`, and handles signals.
///
/// # Errors
/// The fault of `work`, including a panic; or, after `work` has stopped, what a signal handler, a warning or
/// `progress` raised.
pub(crate) fn compute<T: Send>(
    py: Python<'_>,
    threads: Option<usize>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> Result<T, Fault> + Send,
) -> PyResult<T> {
    let _busy = Busy::enter()?;
    warnings::start();
    let workers = Workers::take(count(threads)?)?;
    let (news, receiver) = channel();
    let watch = Watch { news, stop: Stop::default(), last: Mutex::default(), stops_itself: false.into() };
    let stop = watch.stop.clone();
    let progress = progress.map(|progress| progress.clone().unbind());
    let (pool, inbox) = (&workers.pool, &workers.inbox);
    let ended = py.detach(move || {
        thread::scope(|scope| {
            let worker = thread::Builder::new().name("waxwork".into());
            let worker = worker.spawn_scoped(scope, move || pool.install(|| work(&watch)));
            let worker = worker.map_err(|error| Fault::new(Class::Other, format!("no thread: {error}")))?;
            let raised = attend(&receiver, progress.as_ref(), inbox, &stop);
            Ok::<_, Fault>((worker.join(), raised))
        })
    });
    let warnings = workers.inbox.take();
    workers.give_back();
    let (done, raised) = ended?;
    let done = done.unwrap_or_else(|panic| Err(unwound(panic.as_ref())));
    if let Some(error) = raised {
        // What failed on the way to the stop, such as the checkpoint, must not be lost.
        if let Err(fault) = done
            && !fault.is_stop()
        {
            error.set_cause(py, Some(fault.into()));
        }
        return Err(error);
    }
    warnings::issue(py, warnings)?;
    Ok(done?)
}

/// Why a computation was unwound: an interrupt, or a panic.
fn unwound(payload: &(dyn Any + Send)) -> Fault {
    if payload.is::<Cancelled>() { Fault::stopped("interrupted") } else { Fault::panicked(payload) }
}

/// Passes on news until the computation ends. Returns the first error that Python raises, which stops the
/// computation.
fn attend(
    receiver: &Receiver<News>,
    progress: Option<&Py<PyAny>>,
    inbox: &Inbox,
    stop: &Stop,
) -> Option<PyErr> {
    let mut raised = None;
    loop {
        let news = receiver.recv_timeout(POLL);
        if matches!(news, Err(RecvTimeoutError::Disconnected)) {
            return raised;
        }
        let heard = Python::attach(|py| {
            py.check_signals()?;
            warnings::issue(py, inbox.take())?;
            match (news, progress) {
                (Ok(News { what, done, total, values }), Some(progress)) if raised.is_none() => {
                    let values: BTreeMap<String, f64> = values.into_iter().collect();
                    progress.call1(py, (what, done, total, values)).map(drop)
                }
                _ => Ok(()),
            }
        });
        if let (Err(error), None) = (heard, &raised) {
            stop.request();
            raised = Some(error);
        }
    }
}

/// The process that [`IDLE`] belongs to; 0 before the first call.
static HOME: AtomicU32 = AtomicU32::new(0);
/// Number of calls in progress.
static BUSY: AtomicUsize = AtomicUsize::new(0);
/// The threads of the last call that ended, which wait for the next call. Only one pool is kept: calls rarely
/// change their number of threads, and each further pool would use memory for the lifetime of the process.
static IDLE: Mutex<Option<Workers>> = Mutex::new(None);

/// A call in progress.
struct Busy;

impl Busy {
    /// Starts a call. A forked process has no threads but the one that forked, so it gets pools of its own.
    ///
    /// # Errors
    /// If another thread was computing when this process was forked: what that thread held is lost.
    fn enter() -> Result<Self, Fault> {
        let (here, home) = (process::id(), HOME.load(Ordering::SeqCst));
        if home != here && home != 0 && BUSY.load(Ordering::SeqCst) > 0 {
            let reason = "this process was forked while waxwork was computing in another thread, so it cannot \
                          compute; start it with the method `spawn`, or fork before";
            return Err(Fault::new(Class::Fork, reason));
        }
        BUSY.fetch_add(1, Ordering::SeqCst);
        if home != here {
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            // To drop a pool would wake its threads, which this process does not have.
            std::mem::forget(std::mem::take(&mut *idle));
            HOME.store(here, Ordering::SeqCst);
        }
        Ok(Self)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The number of threads that are asked for, by default one per available processor.
pub(crate) fn count(threads: Option<usize>) -> Result<usize, Fault> {
    match threads {
        Some(0) => Err(Fault::new(Class::Recipe, "threads must be at least 1")),
        Some(threads) => Ok(threads),
        None => Ok(thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// The threads of one call, and the inbox of their warnings.
struct Workers {
    pool: ThreadPool,
    inbox: Arc<Inbox>,
}

impl Workers {
    /// Takes the idle pool if it has `count` threads, or starts a new one. Two simultaneous calls must not
    /// share a pool, because one would wait for the other. An idle pool with another number of threads ends
    /// here.
    fn take(count: usize) -> Result<Self, Fault> {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(idle) = idle.filter(|idle| idle.pool.current_num_threads() == count) {
            return Ok(idle);
        }
        let inbox = Arc::new(Inbox::default());
        let own = Arc::clone(&inbox);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count);
        let pool = pool.start_handler(move |_| warnings::send_to(&own)).build();
        let pool = pool.map_err(|error| Fault::new(Class::Other, format!("{count} threads: {error}")))?;
        Ok(Self { pool, inbox })
    }

    /// Keeps the threads for the next call, in place of the idle pool.
    fn give_back(self) {
        let ended = IDLE.lock().unwrap_or_else(PoisonError::into_inner).replace(self);
        drop(ended);
    }
}
