//! What the binary prints and returns when something goes wrong.

use std::error::Error;
use std::path::Path;

use waxwork_data::Error as DataError;
use waxwork_data::manifest::{FOLDER, FSDD, HUB};
use waxwork_distributed::Error as DistributedError;
use waxwork_models::Error as ModelError;
use waxwork_trainer::{Error as TrainerError, RunFolder};

/// A message of one line, its causes, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong, why, and what to do.
    pub message: String,
    /// The errors that led to this one, the nearest first; shown with `-v`.
    pub causes: Vec<String>,
    /// The exit code.
    pub code: u8,
    /// Whether every process of the run finds the same failure, so that one report is enough.
    pub(crate) shared: bool,
}

/// The code of a failure without a more specific one.
pub(crate) const FAILED: u8 = 1;
/// The code of an invalid command line, the same as clap's.
const USAGE: u8 = 2;
/// The code for compared bytes that differ.
const DIFFERENT: u8 = 3;
/// The code of a run that a signal stopped, by the convention of shells: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with_code(message, FAILED)
    }

    /// A failure of arguments that contradict each other.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with_code(message, USAGE)
    }

    pub(crate) fn different(message: impl Into<String>) -> Self {
        Self::with_code(message, DIFFERENT)
    }

    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::with_code(message, INTERRUPTED)
    }

    fn with_code(message: impl Into<String>, code: u8) -> Self {
        Self { message: message.into(), causes: Vec::new(), code, shared: false }
    }

    /// A failure that every process of a run finds.
    pub(crate) fn shared(message: impl Into<String>) -> Self {
        Self { shared: true, ..Self::new(message) }
    }

    /// A failure without a message, for a process that only ends.
    pub(crate) fn silent(code: u8) -> Self {
        Self::with_code("", code)
    }

    /// The same failure, prefixed with the file that it concerns.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.message = format!("`{}`: {}", path.display(), self.message);
        self
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let text = error.to_string();
        // Messages of some libraries have several lines and a backtrace. The first line is the
        // message, the rest a cause.
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut message = lines.next().unwrap_or("unknown error").to_owned();
        if let Some(advice) = advice(&error) {
            message += &format!("; {advice}");
        }
        let rest: Vec<&str> = lines.collect();
        let mut causes = if rest.is_empty() { Vec::new() } else { vec![rest.join("\n")] };
        let sources = std::iter::successors(error.source(), |&error| error.source());
        causes.extend(sources.map(|source| source.to_string().trim().to_owned()));
        Self { message, causes, code: FAILED, shared: is_shared(&error) }
    }
}

/// Whether all processes of the run see this error: training diverges at the same step, or one of them
/// failed in its part of shared work.
fn is_shared(error: &(dyn Error + 'static)) -> bool {
    use waxwork_core::Error::Elsewhere;
    let error = match error.downcast_ref() {
        Some(ModelError::Trainer(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    matches!(
        error,
        Some(
            TrainerError::Diverged { .. } | TrainerError::Apart { .. } | TrainerError::Core(Elsewhere { .. })
        )
    )
}

/// Returns what to do on the command line about an error of a library, which does not know the options.
fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ModelError>() {
        return match error {
            ModelError::UnknownRecipe { .. } => Some("`waxwork recipes list` lists the recipes".into()),
            ModelError::Failed { path, .. } => Some(format!(
                "the same recipe would diverge again, so fork the run with other settings: `waxwork train --fork {} --set optimizer.lr=…`",
                path.display()
            )),
            ModelError::Changed { path, .. } => {
                let path = path.display();
                Some(format!("restore them, or fork the run: `waxwork train --fork {path}`"))
            }
            ModelError::PriorUnfit { .. } => Some("fit a mixture with `--kind gmm`".into()),
            ModelError::Core(error) => about_model(error),
            ModelError::Data(error) => about_data(error),
            ModelError::Trainer(error) => about_run(error),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<TrainerError>() {
        return about_run(error);
    }
    if let Some(error) = error.downcast_ref() {
        return about_model(error);
    }
    if let Some(error) = error.downcast_ref() {
        return about_processes(error);
    }
    if let Some(waxwork_eval::Error::Data(error)) = error.downcast_ref() {
        return about_data(error);
    }
    error.downcast_ref().and_then(about_data)
}

fn about_model(error: &waxwork_core::Error) -> Option<String> {
    match error {
        waxwork_core::Error::NothingGiven => Some("`waxwork complete RUN` completes images".into()),
        _ => None,
    }
}

fn about_run(error: &TrainerError) -> Option<String> {
    match error {
        TrainerError::RunExists(path) if RunFolder::open(path).is_ok() => Some(format!(
            "choose another folder, or resume the run with `waxwork train --resume {}`",
            path.display()
        )),
        TrainerError::RunExists(_) => Some("choose another folder".into()),
        TrainerError::NotARun { path, .. } if !path.exists() => {
            Some("`waxwork runs` lists the runs in `runs`".into())
        }
        TrainerError::Data(error) => about_data(error),
        _ => None,
    }
}

fn about_processes(error: &DistributedError) -> Option<String> {
    Some(match error {
        DistributedError::NoLibrary { .. } | DistributedError::Library { .. } => {
            "name the launcher's own library with WAXWORK_MPI=/path/to/libmpi.so, or set WAXWORK_MPI=none to train \
             independent runs"
                .into()
        }
        DistributedError::Mismatch { launcher: "srun", .. } => {
            "start it with `srun --mpi=pmix` (Open MPI) or `srun --mpi=pmi2` (MPICH), or set WAXWORK_MPI=none to train \
             independent runs"
                .into()
        }
        DistributedError::Mismatch { .. } => {
            "start it with that library's own launcher, or name the launcher's library with \
             WAXWORK_MPI=/path/to/libmpi.so"
                .into()
        }
        _ => return None,
    })
}

fn about_data(error: &DataError) -> Option<String> {
    Some(match error {
        DataError::Missing { dataset, .. } if dataset == FSDD => {
            "unpack its archive, and give the folder with `--data-dir DIR`".into()
        }
        DataError::Missing { dataset, .. } if cfg!(feature = "hub") => {
            format!(
                "give the folder of its files with `--data-dir DIR`, or download them with `waxwork data fetch {dataset}`"
            )
        }
        DataError::Missing { .. } => {
            "give the folder of its files with `--data-dir DIR`, or build with `--features hub` to download them".into()
        }
        DataError::NoManifest { name, .. } if name == FOLDER => {
            "`waxwork data show folder --data-dir DIR` shows the images in DIR".into()
        }
        DataError::NoManifest { name, .. } if name.starts_with(HUB) => {
            format!("`waxwork data show {name}` shows its images")
        }
        DataError::NoManifest { name, .. } if Path::new(name).is_dir() => {
            format!("to train on its images, pass `--data folder --data-dir {name}` to `waxwork train`")
        }
        DataError::NoFolder | DataError::NoRecordings | DataError::NoClips => "give it with `--data-dir DIR`".into(),
        DataError::NoTable => "give it with `--data-dir FILE`".into(),
        DataError::Picture { .. } | DataError::Row { .. } => {
            "remove it, or skip such images with `--set data.folder.skip_unreadable=true` (in `train` also \
             `--skip-unreadable`)"
                .into()
        }
        DataError::Clip { .. } => {
            "remove it, or skip such clips with `--set data.clips.skip_unreadable=true` (in `train` also \
             `--skip-unreadable`)"
                .into()
        }
        DataError::Recording { .. } | DataError::RecordingRow { .. } => {
            "remove it, or skip such recordings with `--set data.sound.skip_unreadable=true`".into()
        }
        DataError::TooSmall { largest, .. } | DataError::Sizes { largest, .. } if *largest >= 4 => {
            format!("pass, for example, `--set data.folder.size={largest}`")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_further_lines_are_causes() {
        let path = Path::new("no/such/file");
        let source = std::io::Error::other("disk on fire\n   0: a::trace");
        let failure = Failure::from(waxwork_core::store::failed("read", path)(source));
        assert_eq!(failure.message, "cannot read `no/such/file`: disk on fire");
        assert_eq!(failure.causes, ["0: a::trace", "disk on fire\n   0: a::trace"]);
        assert_eq!(Failure::new("no").causes, Vec::<String>::new());
    }

    #[test]
    fn a_run_that_cannot_be_resumed_can_be_forked() {
        let changed =
            ModelError::Changed { path: "runs/a".into(), differences: vec!["x".into(), "y".into()] };
        assert_eq!(
            Failure::from(changed).message,
            "`runs/a` was started with different settings: x, y; restore them, or fork the run: `waxwork train --fork runs/a`"
        );
        let failed = ModelError::Failed { path: "runs/a".into(), failure: "NaN at step 3".into() };
        let message = Failure::from(failed).message;
        assert!(
            message.starts_with("`runs/a` cannot be resumed: NaN at step 3; the same recipe"),
            "{message}"
        );
        assert!(message.contains("`waxwork train --fork runs/a --set "), "{message}");
    }

    #[test]
    fn advice_names_options_however_deep_the_error_is() {
        let data = || DataError::NoFolder;
        for failure in [
            Failure::from(data()),
            Failure::from(TrainerError::Data(data())),
            Failure::from(ModelError::Data(data())),
            Failure::from(ModelError::Trainer(TrainerError::Data(data()))),
            Failure::from(waxwork_eval::Error::Data(data())),
        ] {
            assert!(failure.message.ends_with("; give it with `--data-dir DIR`"), "{}", failure.message);
        }
        let clip = Failure::from(DataError::Clip { path: "a.gif".into(), reason: "it ends early".into() });
        assert!(
            clip.message
                .starts_with("cannot decode a.gif: it ends early; remove it, or skip such clips with")
                && clip.message.contains("data.clips.skip_unreadable=true"),
            "{}",
            clip.message
        );
        for failure in [
            Failure::from(waxwork_core::Error::NothingGiven),
            Failure::from(ModelError::Core(waxwork_core::Error::NothingGiven)),
        ] {
            assert!(
                failure.message.ends_with("; `waxwork complete RUN` completes images"),
                "{}",
                failure.message
            );
        }
        let exists = Failure::from(ModelError::Trainer(TrainerError::RunExists("runs/a".into())));
        assert_eq!(exists.message, "`runs/a` already exists; choose another folder");
    }
}
