//! A stand-in for compilers that are not installed. It does only what build scripts need to succeed during a
//! type check.
//!
//! It is this program under the name `nvcc`, `cc` or `ar`. It answers the questions that build scripts
//! ask a compiler, and writes an empty file for each requested output.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// NVIDIA's compiler, the C compiler and its archiver.
const NAMES: [&str; 3] = ["nvcc", "cc", "ar"];

/// The version that it reports as nvcc: that of the packages of `cuda-check --build`. Build scripts
/// read the fourth line.
const VERSION: &str = "a stand-in that compiles nothing\n\n\nCuda compilation tools, release 13.0, V13.0.0\n";

/// Installs the stand-in into a folder under one of its names, and returns its path.
pub(crate) fn install(folder: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let to = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    fs::copy(env::current_exe()?, &to).with_context(|| format!("failed to write {}", to.display()))?;
    Ok(to)
}

/// Type-checks every package with a feature, in a separate target folder, because the output of a stand-in
/// must never be linked.
pub(crate) fn check(workspace: &Workspace, feature: &str, folder: &Path) -> Command {
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["check", "--workspace", "--lib", "--bins", "--examples", "--no-default-features"]);
    cargo.args(["--features", feature, "--target-dir"]).arg(folder);
    cargo
}

/// Acts as a compiler if this program was started under the name of a compiler.
pub(crate) fn instead(arguments: impl Fn() -> Result<Vec<String>>) -> Option<Result<ExitCode>> {
    let called = PathBuf::from(env::args_os().next()?);
    let called = called.file_stem()?;
    NAMES.iter().any(|name| called == *name).then(|| {
        let arguments = arguments()?;
        match arguments.first().map(String::as_str) {
            Some("--version") => print!("{VERSION}"),
            Some("--list-gpu-code") => println!("sm_90"),
            // What a preprocessor prints when a build script asks which compiler this is.
            Some("-E") => println!("#pragma message \"clang\""),
            // Only Microsoft's compiler accepts this option.
            Some("-?") => return Ok(ExitCode::FAILURE),
            _ => outputs(&arguments).iter().try_for_each(|path| {
                fs::write(path, "").with_context(|| format!("failed to write {}", path.display()))
            })?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The files that a call would write: the argument of `-o`, an archive, or one file in `--output-directory`
/// per source.
fn outputs(arguments: &[String]) -> Vec<PathBuf> {
    let after = |flag: &str| {
        let place = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(place + 1)
    };
    if let Some(file) = after("-o") {
        return vec![file.into()];
    }
    let Some(folder) = after("--output-directory") else {
        return arguments.iter().filter(|argument| argument.ends_with(".a")).map(PathBuf::from).collect();
    };
    let sources =
        arguments.iter().map(Path::new).filter(|path| path.extension().is_some_and(|end| end == "cu"));
    let name = |path: &Path| Some(Path::new(folder).join(path.with_extension("ptx").file_name()?));
    sources.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_where_compilers_would_write_them() {
        let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(outputs(&arguments("-c -o /o/a.o -O3 src/a.cu")), [Path::new("/o/a.o")]);
        assert_eq!(outputs(&arguments("--ptx --output-directory /o -O3 src/a.cu")), [Path::new("/o/a.ptx")]);
        assert_eq!(outputs(&arguments("cq /o/lib.a a.o b.o")), [Path::new("/o/lib.a")]);
        assert_eq!(outputs(&arguments("--help")), [] as [&Path; 0]);
    }

    #[test]
    fn the_version_is_where_build_scripts_look() {
        assert_eq!(VERSION.lines().nth(3).unwrap().split(", ").nth(1), Some("release 13.0"));
    }
}
