//! Arguments that several commands share. Each dereferences to its value.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use clap_complete::ArgValueCompleter;

use super::values::DeviceName;
use crate::completion;

/// The run that a command reads.
#[derive(Debug, Args)]
pub(crate) struct RunArg {
    /// Run folder
    #[arg(value_name = "RUN", value_hint = ValueHint::DirPath)]
    run: PathBuf,
}

impl Deref for RunArg {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.run
    }
}

/// The device to compute on.
#[derive(Debug, Args)]
pub(crate) struct DeviceArg {
    /// Compute on cpu, cuda, cuda:N or metal
    ///
    /// `cuda` is the first CUDA GPU and `cuda:1` the second. GPUs need a build with the feature `cuda` or `metal`;
    /// `waxwork doctor` shows what this build supports. If the device is not available, the command fails; it never
    /// falls back to the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,
}

impl Deref for DeviceArg {
    type Target = str;

    fn deref(&self) -> &str {
        &self.device.0
    }
}

/// The folder of a data set's files.
#[derive(Debug, Args)]
pub(crate) struct DataDirArg {
    /// Read the data set's files from DIR
    ///
    /// By default, Waxwork uses `data.dir` of the recipe (for a run, the folder of its training data). If there
    /// is none, it uses the folder that `WAXWORK_DATA_DIR` names, or else `waxwork` in the user's cache folder.
    /// Embedded data sets need no files.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
}

impl Deref for DataDirArg {
    type Target = Option<PathBuf>;

    fn deref(&self) -> &Option<PathBuf> {
        &self.data_dir
    }
}

/// The folder of a data set's files, for commands that read neither a recipe nor a run.
#[derive(Debug, Args)]
pub(crate) struct FilesDirArg {
    /// Read the data set's files from DIR
    ///
    /// By default, Waxwork uses the folder that `WAXWORK_DATA_DIR` names, or else `waxwork` in the user's cache
    /// folder. Embedded data sets need no files.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
}

impl Deref for FilesDirArg {
    type Target = Option<PathBuf>;

    fn deref(&self) -> &Option<PathBuf> {
        &self.data_dir
    }
}

/// Changes to a recipe.
#[derive(Debug, Args)]
pub(crate) struct SetArg {
    /// Set a key of the recipe, such as train.batch_size=64; repeatable
    ///
    /// The value is TOML; quotes around a string may be left out. Unknown keys are errors. `waxwork recipes show
    /// RECIPE` prints all keys with their values, and shells can complete them (see `waxwork completions`).
    #[arg(long, value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::settings))]
    set: Vec<String>,
}

impl Deref for SetArg {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.set
    }
}
