//! The environment of this process for run.json: build, machine, command line.

use std::ffi::OsString;
use std::sync::OnceLock;
use std::time::SystemTime;

use waxwork_core::{Device, device};
use waxwork_trainer::Environment;

/// The command line. If an interpreter runs this library, the process has another one.
static COMMAND_LINE: OnceLock<Vec<OsString>> = OnceLock::new();

/// Stores the command line for run.json.
pub(crate) fn keep_command_line(arguments: Vec<OsString>) -> &'static [OsString] {
    COMMAND_LINE.get_or_init(|| arguments)
}

/// The environment on which a run's result could depend, besides recipe and data.
pub fn environment(device: &Device, threads: usize) -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: revision().map(str::to_owned),
        toolchain: TOOLCHAIN.into(),
        target: env!("WAXWORK_TARGET").into(),
        profile: env!("WAXWORK_PROFILE").into(),
        machine: machine(),
        cpu_class: device::cpu_class().into(),
        device: device::name(device),
        threads,
        processes: None,
    }
}

/// The compiler of this build.
pub(crate) const TOOLCHAIN: &str = env!("WAXWORK_TOOLCHAIN");

/// The git revision of this build; None if it was not built in a repository.
pub(crate) fn revision() -> Option<&'static str> {
    option_env!("WAXWORK_REVISION")
}

/// Operating system and processor.
pub(crate) fn machine() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The command line, with the program's name without its folder.
pub(crate) fn command_line() -> Vec<String> {
    let arguments = COMMAND_LINE.get().map(Vec::as_slice).unwrap_or_default();
    let arguments = arguments.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("waxwork".to_owned()).chain(arguments).collect()
}

/// Seconds since 1970; zero before.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
}
