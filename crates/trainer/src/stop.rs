//! Stopping early: on a signal, or at a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A request to stop, which the loop checks after every step. Clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Why a run stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Stop::request`], usually from a signal handler.
    Requested,
    /// The time limit.
    Deadline,
}

impl Stop {
    /// Stops on request, or once `limit` from now has passed.
    pub fn new(limit: Option<Duration>) -> Self {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { requested: Arc::default(), deadline }
    }

    /// The same request, with a time limit from now on if one is given.
    #[must_use]
    pub fn within(self, limit: Option<Duration>) -> Self {
        Self { requested: self.requested, ..Self::new(limit) }
    }

    /// Asks the loop to write a checkpoint and return. Safe to call from a signal handler's thread.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Whether to stop now, and why.
    pub fn reason(&self) -> Option<Reason> {
        if self.requested.load(Ordering::Relaxed) {
            return Some(Reason::Requested);
        }
        self.deadline.filter(|deadline| Instant::now() >= *deadline).map(|_| Reason::Deadline)
    }
}
