//! What the libraries log as a warning becomes a warning of Python, in the call that it belongs to.

use std::cell::OnceCell;
use std::ffi::CString;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, Once, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// The frames between the caller's line and the call into this library.
const FRAMES: i32 = 2;

/// Warnings of a call that it has not issued yet.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<Vec<String>>);

impl Inbox {
    /// Removes all warnings, and returns them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }
}

thread_local! {
    /// Where this thread's warnings go.
    static INBOX: OnceCell<Arc<Inbox>> = const { OnceCell::new() };
}

/// From now on, warnings of this thread go to `inbox`. Call it once on each thread that computes.
pub(crate) fn send_to(inbox: &Arc<Inbox>) {
    INBOX.with(|own| _ = own.set(Arc::clone(inbox)));
}

/// Adds a warning to the call that this thread computes for.
pub(crate) fn add(message: String) {
    INBOX.with(|inbox| match inbox.get() {
        Some(inbox) => inbox.add(message),
        // This thread belongs to no call. The libraries start no such thread that warns, but a warning must
        // not be lost.
        None => eprintln!("warning: {message}"),
    });
}

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

/// Issues warnings.
///
/// # Errors
/// If a filter turns one into an exception.
pub(crate) fn issue(py: Python<'_>, warnings: Vec<String>) -> PyResult<()> {
    static CATEGORY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    for message in warnings {
        let category = CATEGORY.import(py, "waxwork.exceptions", "WaxworkWarning")?;
        let message = CString::new(message.replace('\0', " "))?;
        PyErr::warn(py, category, &message, FRAMES)?;
    }
    Ok(())
}
