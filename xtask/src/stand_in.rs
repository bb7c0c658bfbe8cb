//! A stand-in for NVIDIA's compiler: enough of nvcc for build scripts to go through where only types are checked.
//!
//! It is this very program under the name `nvcc`. It tells a version and one GPU, and writes an empty file for each that
//! it is asked to make.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

/// What it is called.
const NAME: &str = "nvcc";

/// The version that it claims: the one that the packages of `cuda-check --build` have. Readers look at the fourth line.
const VERSION: &str = "a stand-in that compiles nothing\n\n\nCuda compilation tools, release 13.0, V13.0.0\n";

/// Puts it into a folder.
pub(crate) fn install(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let to = folder.join(format!("{NAME}{}", env::consts::EXE_SUFFIX));
    fs::copy(env::current_exe()?, &to).with_context(|| format!("failed to write {}", to.display()))?;
    Ok(())
}

/// Does nvcc's work if this program was called by that name.
pub(crate) fn instead(arguments: impl Fn() -> Result<Vec<String>>) -> Option<Result<ExitCode>> {
    let called = PathBuf::from(env::args_os().next()?);
    (called.file_stem()? == NAME).then(|| {
        let arguments = arguments()?;
        match arguments.first().map(String::as_str) {
            Some("--version") => print!("{VERSION}"),
            Some("--list-gpu-code") => println!("sm_90"),
            _ => outputs(&arguments).iter().try_for_each(|path| {
                fs::write(path, "").with_context(|| format!("failed to write {}", path.display()))
            })?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The files that a call of nvcc would write: what `-o` names, or one beside `--output-directory` for each source.
fn outputs(arguments: &[String]) -> Vec<PathBuf> {
    let after = |flag: &str| {
        let place = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(place + 1)
    };
    if let Some(file) = after("-o") {
        return vec![file.into()];
    }
    let Some(folder) = after("--output-directory") else { return vec![] };
    let sources =
        arguments.iter().map(Path::new).filter(|path| path.extension().is_some_and(|end| end == "cu"));
    let name = |path: &Path| Some(Path::new(folder).join(path.with_extension("ptx").file_name()?));
    sources.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_where_nvcc_would_write_them() {
        let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(outputs(&arguments("-c -o /o/a.o -O3 src/a.cu")), [Path::new("/o/a.o")]);
        assert_eq!(outputs(&arguments("--ptx --output-directory /o -O3 src/a.cu")), [Path::new("/o/a.ptx")]);
        assert_eq!(outputs(&arguments("--help")), [] as [&Path; 0]);
    }

    #[test]
    fn the_version_is_where_build_scripts_look() {
        assert_eq!(VERSION.lines().nth(3).unwrap().split(", ").nth(1), Some("release 13.0"));
    }
}
