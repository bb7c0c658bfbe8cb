//! Records what the program is built from and by, for run.json and `waxwork doctor`: the git revision, where there is one,
//! the compiler, the target and the profile. Also where a program built for CUDA looks for its libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let on_linux = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if on_linux && std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        // Beside the program, or where NVIDIA's installer puts them.
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN:/usr/local/cuda/lib64");
    }
    for (name, cargo_calls_it) in [("WAXWORK_TARGET", "TARGET"), ("WAXWORK_PROFILE", "PROFILE")] {
        println!("cargo::rustc-env={name}={}", std::env::var(cargo_calls_it).unwrap_or_default());
    }
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo::rustc-env=WAXWORK_TOOLCHAIN={}", output(&compiler, &["--version"]).unwrap_or_default());
    // What was published has no history, but says which revision it was made from.
    if let Ok(published) = std::fs::read_to_string(".cargo_vcs_info.json") {
        let revision = published.split_once("\"sha1\": \"").and_then(|(_, rest)| rest.get(..12));
        revision.iter().for_each(|revision| println!("cargo::rustc-env=WAXWORK_REVISION={revision}"));
        return;
    }
    let Some(revision) = output("git", &["rev-parse", "--short=12", "HEAD"]) else { return };
    // Sources that no commit has: the revision alone does not say what was built.
    let sources = sources();
    let status = Command::new("git")
        .args(["status", "--porcelain", "--untracked-files=no", "--"])
        .args(&sources)
        .output();
    let dirty = if status.is_ok_and(|status| !status.stdout.is_empty()) { "-dirty" } else { "" };
    println!("cargo::rustc-env=WAXWORK_REVISION={revision}{dirty}");
    for path in &sources {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

/// What of the repository goes into the program.
fn sources() -> Vec<PathBuf> {
    let root = Path::new("../..");
    let entries = |folder: &str| std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
    let crates = entries("crates").map(|package| package.path().join("src"));
    let recipes = entries("models").map(|entry| entry.path());
    let recipes = recipes.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let others = ["Cargo.lock", "datasets", "models/src"].map(|path| root.join(path));
    crates.chain(recipes).chain(others).filter(|path| path.exists()).collect()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
