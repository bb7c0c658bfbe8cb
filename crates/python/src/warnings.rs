//! What the libraries log as a warning becomes a warning of Python.

use std::ffi::CString;
use std::fmt::{Debug, Write};
use std::sync::{Mutex, Once, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Warnings that no call has issued yet.
static PENDING: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// The frames between the caller's line and the call into this library.
const FRAMES: i32 = 2;

/// Keeps the messages of warnings.
struct Warnings;

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("waxwork") {
            let mut message = Message::default();
            event.record(&mut message);
            add(message.0);
        }
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string cannot fail.
            _ = write!(self.0, "{value:?}");
        }
    }
}

/// Starts to keep warnings, unless this process logs in another way already.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(LevelFilter::WARN).with(Warnings);
        _ = tracing::subscriber::set_global_default(subscriber);
    });
}

/// Adds a warning.
pub(crate) fn add(message: String) {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner).push(message);
}

/// Drops all warnings that are pending.
pub(crate) fn forget() {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Issues all warnings that are pending.
///
/// # Errors
/// If a filter turns one into an exception.
pub(crate) fn issue(py: Python<'_>) -> PyResult<()> {
    static CATEGORY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let pending = std::mem::take(&mut *PENDING.lock().unwrap_or_else(PoisonError::into_inner));
    for message in pending {
        let category = CATEGORY.import(py, "waxwork.exceptions", "WaxworkWarning")?;
        let message = CString::new(message.replace('\0', " "))?;
        PyErr::warn(py, category, &message, FRAMES)?;
    }
    Ok(())
}
