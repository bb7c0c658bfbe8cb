//! `cargo xtask dist`: packs the program into an archive for distribution, with its documents, man pages and
//! completions.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use crate::process;
use crate::waxwork::{self, Profile};
use crate::web;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the program `waxwork`, optimised and stripped, and package it

Usage: cargo xtask dist [--features LIST] [--no-default-features]

The archive is for people who do not have Rust. The command writes
target/dist/waxwork-VERSION-TARGET.tar.gz with the program, completions for five shells, man pages,
the schema of recipes, the README, the changelog and the licences. It adds the sampler for browsers
if Rust's standard library for them is installed (`cargo xtask web --help`). It also writes a
.sha256 file for `sha256sum -c`. The same program always gives the same archive: names are sorted,
and all times are that of the commit.

Examples:
  cargo xtask dist
  cargo xtask dist --no-default-features";

/// Files that are copied unchanged.
const TEXTS: [&str; 4] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Completion scripts, under the names that the shells look for.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "waxwork.bash"),
    ("elvish", "waxwork.elv"),
    ("fish", "waxwork.fish"),
    ("powershell", "_waxwork.ps1"),
    ("zsh", "_waxwork"),
];

/// The time of all files if there is no commit: the start of 1980, which all archive programs accept.
const SOME_TIME: u64 = 315_532_800;

/// A file in an archive.
#[derive(Clone)]
struct File {
    path: String,
    contents: Vec<u8>,
    executable: bool,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["rustc", "--release", "--package", "waxwork-cli", "--bin", "waxwork"]);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.as_slice().first()) {
            ("--no-default-features", _) => _ = cargo.arg(arg),
            ("--features", Some(list)) => {
                cargo.args([arg, list]);
                args.next();
            }
            _ => bail!(
                "unknown argument `{arg}`, or its value is missing; `cargo xtask dist --help` lists the options"
            ),
        }
    }
    // Set this only for the last step, so that other builds can reuse the steps before it.
    process::run(cargo.args(["--", "-C", "strip=symbols"]))?;

    let program = waxwork::program(&workspace, Profile::Release);
    let folder = workspace.target.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let name = format!("waxwork-{}-{}", version(&program)?, target(&workspace.root)?);
    let archive = pack(&name, files(&workspace, &program, &folder)?, time_of_commit(&workspace.root))?;
    let path = folder.join(format!("{name}.tar.gz"));
    write(&path, &archive)?;
    let hash: String = Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
    write(&folder.join(format!("{name}.tar.gz.sha256")), format!("{hash}  {name}.tar.gz\n").as_bytes())?;
    println!("{hash}  {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// All files of the archive.
fn files(workspace: &Workspace, program: &Path, folder: &Path) -> Result<Vec<File>> {
    let asked = |args: &[&str]| process::output(Command::new(program).args(args));
    let text = |path: String, contents: String| File { path, contents: contents.into(), executable: false };
    let mut files = vec![File {
        path: format!("waxwork{}", std::env::consts::EXE_SUFFIX),
        contents: read(program)?,
        executable: true,
    }];
    for (shell, name) in COMPLETIONS {
        files.push(text(format!("completions/{name}"), asked(&["completions", shell])?));
    }
    files.push(text("recipe.schema.json".into(), asked(&["recipes", "schema"])?));
    if web::has_target(workspace) {
        let contents = read(&web::module(workspace)?)?;
        files.push(File { path: web::MODULE.into(), contents, executable: false });
    } else {
        eprintln!("the archive has no sampler for browsers: their standard library is not installed");
    }
    for name in TEXTS {
        files.push(File {
            path: name.into(),
            contents: read(&workspace.root.join(name))?,
            executable: false,
        });
    }
    // Remove the man pages of an older program, which would be packed too.
    let pages = folder.join("man");
    if pages.exists() {
        fs::remove_dir_all(&pages).with_context(|| format!("failed to remove {}", pages.display()))?;
    }
    process::run(Command::new(program).arg("man").arg(&pages))?;
    for entry in fs::read_dir(&pages).with_context(|| format!("failed to list {}", pages.display()))? {
        let page = entry?.path();
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        files.push(File { path: format!("man/man1/{name}"), contents: read(&page)?, executable: false });
    }
    Ok(files)
}

/// A .tar.gz with `files` in the folder `name`. Its bytes depend only on the arguments.
fn pack(name: &str, mut files: Vec<File>, time: u64) -> Result<Vec<u8>> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(gzip);
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_mtime(time);
        header.set_size(file.contents.len() as u64);
        let path = format!("{name}/{}", file.path);
        let appended = archive.append_data(&mut header, &path, file.contents.as_slice());
        appended.with_context(|| format!("failed to pack {path}"))?;
    }
    Ok(archive.into_inner()?.finish()?)
}

fn version(program: &Path) -> Result<String> {
    let text = process::output(Command::new(program).arg("--version"))?;
    Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
}

/// The target that rustc compiles for.
fn target(root: &Path) -> Result<String> {
    let text = process::output(Command::new("rustc").arg("-vV").current_dir(root))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("the output of `rustc -vV` has no `host` line")
}

fn time_of_commit(root: &Path) -> u64 {
    let mut git = Command::new("git");
    let time = process::output(git.args(["log", "-1", "--format=%ct"]).current_dir(root)).ok();
    time.and_then(|time| time.trim().parse().ok()).unwrap_or(SOME_TIME)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<()> {
    let written = fs::File::create(path).and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn archives_are_reproducible_and_complete() {
        let file = |path: &str, executable| File {
            path: path.into(),
            contents: format!("contents of {path}").into_bytes(),
            executable,
        };
        let files = vec![file("waxwork", true), file("man/man1/waxwork.1", false)];
        let archive = pack("waxwork-1", files.clone(), 1_000_000_000).unwrap();
        assert_eq!(archive, pack("waxwork-1", files.into_iter().rev().collect(), 1_000_000_000).unwrap());
        let mut found = Vec::new();
        for entry in tar::Archive::new(GzDecoder::new(archive.as_slice())).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut contents = String::new();
            entry.read_to_string(&mut contents).unwrap();
            let header = entry.header();
            let (mode, time) = (header.mode().unwrap(), header.mtime().unwrap());
            found.push((entry.path().unwrap().display().to_string(), mode, time, contents));
        }
        let expected = |path: &str, mode| {
            (format!("waxwork-1/{path}"), mode, 1_000_000_000, format!("contents of {path}"))
        };
        assert_eq!(found, [expected("man/man1/waxwork.1", 0o644), expected("waxwork", 0o755)]);
    }
}
