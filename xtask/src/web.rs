//! `cargo xtask web`: builds the sampler for browsers, and checks pages that use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::nested;
use crate::process;
use crate::waxwork::{self, Hub, Profile};
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Build the sampler for browsers, a WebAssembly module

Usage: cargo xtask web [--test]

The command writes the module to target/web/waxwork.wasm, and next to every program `waxwork` that
has been built in target, where `waxwork export RUN --format web` finds it. It needs Rust's standard
library for browsers: `rustup target add wasm32-unknown-unknown`.

Options:
  --test   Also check format and lints, train small models, export their pages, and compare the
           images of the pages with those of the command. It needs Node.js; if Chromium is
           installed, it also opens the pages. The pages stay in target/web/test.

Examples:
  cargo xtask web
  cargo xtask web --test";

/// The folder of the module's crate.
const FOLDER: &str = "crates/web";

/// The target of browsers.
const TARGET: &str = "wasm32-unknown-unknown";

/// The variable that names the browser, as for the tests of other pages.
const CHROMIUM: &str = "WAXWORK_CHROMIUM";

/// The file name of the module, next to a program.
pub(crate) const MODULE: &str = "waxwork.wasm";

/// The seed of the images that are compared.
const SEED: &str = "7";

/// The models of the test: name, recipe, settings and number of classes. They have labels, colours, a prior that
/// is fitted after training, and one that samples with the encoder.
const MODELS: [(&str, &str, &[&str], u32); 4] = [
    ("cgan", "cgan-digits", &[], 10),
    ("vae", "vae-shapes", &[], 0),
    ("cvae", "cvae-digits", &["model.prior={mixture={components=3}}"], 10),
    (
        "vamp",
        "vae-digits",
        &["model.network={kind=\"mlp\",hidden=[32]}", "model.prior={vamp={components=3}}"],
        0,
    ),
];

/// Settings that make training short.
const SMALL: [&str; 4] =
    ["train.steps=30", "train.validate_every=30", "data.limit=500", "train.sample_every=30"];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    match args {
        [] => _ = module(&workspace)?,
        [arg] if arg == "--test" => test(&workspace)?,
        _ => bail!("unknown arguments `{}`; `cargo xtask web` takes only `--test`", args.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The step in `cargo xtask ci`. The rest of the test takes minutes; a job of its own runs it.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    if !has_target(workspace) {
        eprintln!("skipped: the standard library for browsers is missing (`rustup target add {TARGET}`)");
        return Ok(());
    }
    nested::check_lock(workspace, FOLDER)?;
    lints(workspace)
}

/// Checks format and lints, which compiles everything but optimises nothing.
fn lints(workspace: &Workspace) -> Result<()> {
    process::run(cargo(workspace).args(["fmt", "--check"]))?;
    process::run(cargo(workspace).args(["clippy", "--release", "--locked", "--", "-D", "warnings"]))
}

/// Builds the module, puts it beside the programs, and returns its path.
pub(crate) fn module(workspace: &Workspace) -> Result<PathBuf> {
    ensure!(
        has_target(workspace),
        "the standard library for browsers is missing: `rustup target add {TARGET}`"
    );
    nested::check_lock(workspace, FOLDER)?;
    process::run(cargo(workspace).args(["build", "--release", "--locked"]))?;
    let built = workspace.target.join(TARGET).join("release/waxwork_web.wasm");
    let folder = workspace.target.join("web");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let module = folder.join(MODULE);
    let programs = [Profile::Dev, Profile::Release].map(|profile| waxwork::program(workspace, profile));
    let beside =
        programs.iter().filter(|program| program.exists()).map(|program| program.with_file_name(MODULE));
    for place in beside.chain([module.clone()]) {
        fs::copy(&built, &place)
            .with_context(|| format!("failed to copy {} to {}", built.display(), place.display()))?;
    }
    let size = fs::metadata(&module).with_context(|| format!("failed to read {}", module.display()))?.len();
    println!("{} ({:.1} MB)", module.display(), size as f64 / 1e6);
    Ok(module)
}

/// Whether Rust's standard library for browsers is installed.
pub(crate) fn has_target(workspace: &Workspace) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&workspace.root);
    process::output(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).exists())
}

/// Cargo in the module's workspace, whose `.cargo/config.toml` names the target.
fn cargo(workspace: &Workspace) -> Command {
    let mut cargo = process::cargo(&workspace.root.join(FOLDER));
    cargo.env("CARGO_TARGET_DIR", &workspace.target);
    cargo
}

fn test(workspace: &Workspace) -> Result<()> {
    lints(workspace)?;
    let module = module(workspace)?;
    let program = waxwork::build(workspace, Profile::Dev, Hub::Off)?;
    let folder = workspace.target.join("web/test");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("failed to clear {}", folder.display()))?;
    }
    let node = process::succeeds(Command::new("node").arg("--version"));
    if !node {
        eprintln!("skipped the comparison of images: Node.js is not installed");
    }
    let named = std::env::var(CHROMIUM).ok();
    let browser = named
        .as_deref()
        .into_iter()
        .chain(["chromium", "chromium-browser", "google-chrome"])
        .find(|name| process::succeeds(Command::new(name).arg("--version")));
    if browser.is_none() {
        eprintln!("skipped the browser: Chromium is not on PATH, and {CHROMIUM} does not name it");
    }
    for (name, recipe, settings, classes) in MODELS {
        let run = folder.join(name);
        let settings = settings.iter().chain(&SMALL).flat_map(|setting| ["--set", setting]);
        process::run(Command::new(&program).args(["train", recipe, "--out"]).arg(&run).args(settings))?;
        let page = run.join("sampler.html");
        let mut export = Command::new(&program);
        export
            .arg("export")
            .arg(&run)
            .args(["--format", "web", "--wasm"])
            .arg(&module)
            .arg("--out")
            .arg(&page);
        process::run(&mut export)?;
        if node {
            compare(workspace, &program, &run, &page, classes)?;
        }
        if let Some(browser) = browser {
            open(browser, &folder, &page)?;
        }
    }
    Ok(())
}

/// Compares the images of a page with those of the command.
fn compare(workspace: &Workspace, program: &Path, run: &Path, page: &Path, classes: u32) -> Result<()> {
    let samples = run.join("samples.npy");
    let mut sample = Command::new(program);
    sample.arg("sample").arg(run).args(["-n", "16", "--seed", SEED, "--out"]).arg(&samples);
    if classes > 0 {
        let labels: Vec<String> = (0..classes).map(|label| label.to_string()).collect();
        sample.args(["--labels", &labels.join(",")]);
    }
    process::run(&mut sample)?;
    let mut check = Command::new("node");
    check.arg(workspace.root.join("xtask/web/check.js")).arg(page).arg(&samples);
    process::run(check.args([SEED, &classes.to_string()]))
}

/// Opens a page in a browser, and checks that it drew its images.
fn open(browser: &str, folder: &Path, page: &Path) -> Result<()> {
    let mut open = Command::new(browser);
    open.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]);
    open.args(["--disable-component-update", "--disable-sync", "--virtual-time-budget=20000", "--dump-dom"]);
    open.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    open.arg(format!("file://{}", page.display()));
    let shown = process::output(&mut open)?;
    ensure!(
        attribute(&shown, "data-ready").is_some(),
        "{}: the page did not draw its images",
        page.display()
    );
    println!("{}: opens and draws its images", page.display());
    Ok(())
}

/// The value of an attribute of a page's body.
fn attribute<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let body = page.split_once("<body")?.1.split('>').next()?;
    body.split_once(&format!("{name}=\""))?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_those_of_the_body() {
        let page = "<html data-ready=\"1\"><body data-drawn=\"3.5\" data-ready=\"80\"><p data-x=\"2\">";
        assert_eq!((attribute(page, "data-drawn"), attribute(page, "data-ready")), (Some("3.5"), Some("80")));
        assert_eq!((attribute(page, "data-x"), attribute("", "data-ready")), (None, None));
    }
}
