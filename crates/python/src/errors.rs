//! Errors as Python exceptions: every kind of error has a class in `waxwork.exceptions`, and keeps its words.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::{PyErr, PyResult, import_exception};

import_exception!(waxwork.exceptions, DataError);
import_exception!(waxwork.exceptions, FileError);
import_exception!(waxwork.exceptions, ForkError);
import_exception!(waxwork.exceptions, InternalError);
import_exception!(waxwork.exceptions, ModelError);
import_exception!(waxwork.exceptions, RecipeError);
import_exception!(waxwork.exceptions, RunError);
import_exception!(waxwork.exceptions, TrainingError);
import_exception!(waxwork.exceptions, WaxworkError);

/// A kind of error, which is a class of exceptions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    /// Arrays, labels, tables and data sets.
    Data,
    /// Reading and writing files.
    File,
    /// A process that was forked at the wrong moment.
    Fork,
    /// A panic: a bug in Waxwork.
    Internal,
    /// What a model cannot do.
    Model,
    /// Recipes and their settings.
    Recipe,
    /// Run folders.
    Run,
    /// Training that failed.
    Training,
    /// Everything else.
    Other,
}

/// Why a call failed: one line, and the class of its exception.
#[derive(Debug)]
pub(crate) struct Fault {
    class: Class,
    message: String,
    stop: bool,
}

impl Fault {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), stop: false }
    }

    /// A computation that stopped because it was asked to.
    pub(crate) fn stopped(message: impl Into<String>) -> Self {
        Self { stop: true, ..Self::new(Class::Training, message) }
    }

    /// True for [`Fault::stopped`].
    pub(crate) fn is_stop(&self) -> bool {
        self.stop
    }

    /// A panic, of which this is the payload. The panic hook has written its place to standard error.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let lines: Vec<&str> = text.unwrap_or("unknown panic").lines().map(str::trim).collect();
        let (what, issues) = (lines.join(" "), concat!(env!("CARGO_PKG_REPOSITORY"), "/issues"));
        Self::new(Class::Internal, format!("internal error: {what}; please report it at {issues}"))
    }

    pub(crate) fn data(message: impl Into<String>) -> Self {
        Self::new(Class::Data, message)
    }

    /// The first line of an error; some libraries add a backtrace to it.
    fn of(class: Class, error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        Self::new(class, text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown error"))
    }
}

/// Runs `work` on this thread. A panic becomes an exception of this package.
pub(crate) fn guard<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // What `work` changes is dropped with it, or is behind a lock.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Fault::panicked(panic.as_ref()).into()))
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        let message = fault.message;
        match fault.class {
            Class::Data => DataError::new_err(message),
            Class::File => FileError::new_err(message),
            Class::Fork => ForkError::new_err(message),
            Class::Internal => InternalError::new_err(message),
            Class::Model => ModelError::new_err(message),
            Class::Recipe => RecipeError::new_err(message),
            Class::Run => RunError::new_err(message),
            Class::Training => TrainingError::new_err(message),
            Class::Other => WaxworkError::new_err(message),
        }
    }
}

impl From<waxwork_core::Error> for Fault {
    fn from(error: waxwork_core::Error) -> Self {
        Self::of(of_core(&error), &error)
    }
}

impl From<waxwork_data::Error> for Fault {
    fn from(error: waxwork_data::Error) -> Self {
        Self::of(of_data(&error), &error)
    }
}

impl From<waxwork_data::table::Error> for Fault {
    fn from(error: waxwork_data::table::Error) -> Self {
        Self::of(Class::Data, &error)
    }
}

impl From<waxwork_eval::Error> for Fault {
    fn from(error: waxwork_eval::Error) -> Self {
        Self::of(of_eval(&error), &error)
    }
}

impl From<waxwork_trainer::Error> for Fault {
    fn from(error: waxwork_trainer::Error) -> Self {
        Self::of(of_trainer(&error), &error)
    }
}

impl From<waxwork_models::Error> for Fault {
    fn from(error: waxwork_models::Error) -> Self {
        use waxwork_models::Error as E;
        let class = match &error {
            E::UnknownRecipe { .. } | E::Recipe { .. } | E::Setting { .. } | E::Sweep { .. } => Class::Recipe,
            E::NoWeights { .. }
            | E::Weights { .. }
            | E::Values { .. }
            | E::Misfit { .. }
            | E::Changed { .. } => Class::Run,
            E::Failed { .. } => Class::Training,
            E::NoEncoder { .. }
            | E::NoPrior { .. }
            | E::PriorUnfit { .. }
            | E::NoCompletion { .. }
            | E::NothingToExport { .. }
            | E::NothingToMeasure { .. }
            | E::NoTemperature { .. }
            | E::NotImported { .. } => Class::Model,
            E::Class { .. } | E::NotAskable { .. } | E::Table(_) | E::Rows(_) => Class::Data,
            E::Core(error) => of_core(error),
            E::Data(error) => of_data(error),
            E::Eval(error) => of_eval(error),
            E::Trainer(error) => of_trainer(error),
            _ => Class::Other,
        };
        Self::of(class, &error)
    }
}

impl From<waxwork_cli::Failure> for Fault {
    fn from(failure: waxwork_cli::Failure) -> Self {
        Self::new(Class::Other, failure.message)
    }
}

fn of_core(error: &waxwork_core::Error) -> Class {
    use waxwork_core::Error as E;
    match error {
        E::Config { .. } | E::Precision { .. } | E::BatchTooSmall | E::UnknownGroup { .. } => Class::Recipe,
        E::File { .. } => Class::File,
        E::Damaged { .. } | E::MissingTensor { .. } | E::TensorShape { .. } | E::UnexpectedTensors { .. } => {
            Class::Run
        }
        E::MissingLabels { .. }
        | E::NothingGiven
        | E::UnexpectedLabels { .. }
        | E::UnknownClass { .. }
        | E::LabelCount { .. }
        | E::NoClasses { .. }
        | E::Condition { .. }
        | E::Input { .. }
        | E::Value { .. }
        | E::Empty { .. } => Class::Data,
        E::NoPart { .. } | E::NoGraph { .. } | E::NoPath { .. } => Class::Model,
        E::NonFinite { .. } => Class::Training,
        _ => Class::Other,
    }
}

fn of_data(error: &waxwork_data::Error) -> Class {
    match error {
        waxwork_data::Error::Io { .. } => Class::File,
        _ => Class::Data,
    }
}

fn of_eval(error: &waxwork_eval::Error) -> Class {
    use waxwork_eval::Error as E;
    match error {
        E::Core(error) => of_core(error),
        E::Data(error) => of_data(error),
        E::Array(_)
        | E::NoLabels { .. }
        | E::NoTexts { .. }
        | E::TooFew { .. }
        | E::NotFinite { .. }
        | E::Widths { .. } => Class::Data,
        _ => Class::Other,
    }
}

fn of_trainer(error: &waxwork_trainer::Error) -> Class {
    use waxwork_trainer::Error as E;
    match error {
        E::Core(error) => of_core(error),
        E::Data(error) => of_data(error),
        E::Diverged { .. } | E::Apart { .. } | E::NoMoreBatches { .. } => Class::Training,
        E::RunExists(_) | E::NotARun { .. } | E::Locked(_) | E::NoCheckpoint { .. } | E::Damaged { .. } => {
            Class::Run
        }
        E::DiskSpace { .. } => Class::File,
        E::Config { .. } => Class::Recipe,
        _ => Class::Other,
    }
}
