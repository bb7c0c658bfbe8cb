//! Runs the binary on disks and clocks that fail on request: `faulty.c`, compiled and loaded
//! before the C library.

#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::util::{Call, finished};

/// The compiled library, if there is a C compiler; otherwise prints that there is none.
fn library() -> Option<PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/faulty.c");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        // Tests run in separate processes, all of which may get here at the same time.
        let beside = folder.join(format!("faulty-{}.so", std::process::id()));
        let library = folder.join("faulty.so");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut cc = Command::new(compiler);
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&beside).arg(source).arg("-ldl");
        match cc.output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                println!("skipped: tests of failing system calls need a C compiler: {error}");
                return None;
            }
        }
        std::fs::rename(beside, &library).expect("the library can be moved to its place");
        Some(library)
    };
    LIBRARY.get_or_init(compile).clone()
}

/// Runs a command of the binary under a fault of `faulty.c`; None if this is not possible.
pub(crate) fn under(fault: &str, mut command: Command) -> Option<Call> {
    let output = command.env("LD_PRELOAD", library()?).env("FAULT", fault).output();
    Some(finished(&output.expect("the binary starts")))
}

/// The numbers of file changes and of syncs of a command.
pub(crate) fn counts(call: &Call) -> (u64, u64) {
    let line = call.stderr.lines().find_map(|line| line.strip_prefix("faults: ")).expect("counts");
    let number =
        |text: &str| text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    let (calls, syncs) = line.split_once(", ").expect("two counts");
    (number(calls), number(syncs))
}
