//! Exact texts that people see: help, tables and errors. A change of wording appears as a diff to review.
//!
//! A difference fails the test. To accept it, run the tests once with `INSTA_UPDATE=always` and look at
//! `git diff tests/snapshots`.

use std::fmt::Write;
use std::path::Path;

use crate::util::{Call, command, finished, small};

/// Compares `text` with the snapshot `name`. Filters replace everything that depends on the machine.
fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.remove_input_file();
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Compares a table. Decimal numbers and times differ between machines, and so do the widths of their
/// columns.
fn compare_table(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(?m)^(ms per|peak)(.*?) {2,}.*", "$1$2  [cost]");
    settings.add_filter(r"-?\d+\.\d+", "[number]");
    settings.add_filter(r"\d+ seconds?", "[time]");
    settings.add_filter(r"[0-9a-f]{16}", "[hash]");
    settings.add_filter(r"(judge_(?:frechet|kernel)) +\d+", "$1  [number]");
    settings.add_filter(r" {2,}", "  ");
    settings.bind(|| compare(name, text));
}

/// Runs the binary in `folder`, with the width of a terminal of a hundred columns.
fn call(folder: &Path, arguments: &[&str]) -> Call {
    let mut command = command(arguments);
    command.current_dir(folder).env_remove("COLUMNS").env_remove("CLICOLOR_FORCE").env("RUST_LOG", "off");
    finished(&command.output().unwrap())
}

/// The names of the subcommands in a help text.
fn subcommands(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

fn check_help(path: &[&str], found: &mut usize) {
    let here = Path::new(".");
    let help = |option: &'static str| call(here, &[path, &[option]].concat()).good().stdout;
    let (short, long) = (help("-h"), help("--help"));
    let widest = short.lines().chain(long.lines()).map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= 100, "{path:?}: {widest} columns");
    let name = [&["help"], path].concat().join("-");
    compare(&name, &format!("{short}\n{:-<100}\n\n{long}", ""));
    *found += 1;
    for subcommand in subcommands(&short) {
        check_help(&[path, &[&subcommand]].concat(), found);
    }
}

#[test]
fn help_of_every_command() {
    let mut found = 0;
    check_help(&[], &mut found);
    assert!(found > 30, "{found}");
}

#[test]
fn main_tables() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let stdout = |arguments: &[&str]| call(folder, arguments).good().stdout;
    compare("recipes-list", &stdout(&["recipes", "list"]));
    compare("data-list", &stdout(&["data", "list"]));
    let mut info = command(&["data", "info", "mnist"]);
    info.env("WAXWORK_DATA_DIR", "path/to/data");
    compare("data-info", &finished(&info.output().unwrap()).good().stdout);

    let train = |run: &str, more: &[&str]| {
        let arguments = small(Path::new(run), more);
        stdout(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    compare_table("train", &train("runs/a", &[]));
    train("runs/b", &["--set", "model.latent_dim=4"]);
    compare_table("runs-list", &stdout(&["runs", "list"]));
    let evaluate = ["evaluate", "runs/a", "-q", "-n", "20", "--samples", "20"];
    compare_table("evaluate", &stdout(&evaluate));
    compare_table("compare", &stdout(&["compare", "runs/a", "runs/b", "-q"]));
}

/// The standard error and the exit code of each of `commands`.
fn errors(folder: &Path, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for arguments in commands {
        let Call { code, stderr, .. } = call(folder, arguments);
        assert!(
            matches!(code, Some(1 | 2)) && !stderr.contains("panicked"),
            "{arguments:?}: {code:?} {stderr}"
        );
        writeln!(text, "$ waxwork {}\n{stderr}[exit code {}]\n", arguments.join(" "), code.unwrap()).unwrap();
    }
    text
}

#[test]
fn errors_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 9] = [
        &["trian"],
        &["sample"],
        &["sample", "RUN", "-n", "0"],
        &["sample", "RUN", "--data-dir", "data"],
        &["train", "--device", "gpu"],
        &["train", "--max-time", "2d"],
        &["train", "--resume", "RUN", "--dry-run"],
        &["evaluate"],
        &["evaluate", "--samples", "images.npy"],
    ];
    compare("errors-command-line", &errors(folder.path(), &commands));
}

#[test]
fn errors_of_recipes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.toml"), "[model\n").unwrap();
    let train = |setting: &'static str| ["train", "vae-digits", "-q", "--steps", "2", "--set", setting];
    let settings = [
        "train.batchsize=3",
        "train.batch_size=70000",
        "model.latent_dim=0",
        "model.likelihood=gausian",
        "optimizer.lr=-1",
        "optimizer.groups.decodr.lr=0.1",
    ]
    .map(train);
    let mut commands: Vec<&[&str]> = settings.iter().map(<[&str; 7]>::as_slice).collect();
    commands.extend([
        &["recipes", "show", "vae-digit"] as &[&str],
        &["recipes", "show", "broken.toml"],
        &["recipes", "show", "missing.toml"],
        &["train", "cvae-mnist", "-q", "--data", "no-such-data"],
    ]);
    compare("errors-recipes", &errors(folder.path(), &commands));
}

#[test]
fn errors_of_data() {
    let folder = tempfile::tempdir().unwrap();
    for (path, size) in [("sizes/a.png", 40), ("sizes/b.png", 50), ("sizes/c.png", 80), ("torn/a.png", 40)] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::new(size, size).save(path).unwrap();
    }
    std::fs::write(folder.path().join("torn/b.png"), "no image").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let show = |data: &'static str, dir: &'static str| {
        ["data", "show", data, "--data-dir", dir, "--out", "grid.png", "-q"].to_vec()
    };
    let shown =
        [show("mnist", "empty"), show("folder", "empty"), show("folder", "sizes"), show("folder", "torn")];
    let mut commands: Vec<&[&str]> = shown.iter().map(Vec::as_slice).collect();
    commands.extend([
        &["data", "info", "mnits"] as &[&str],
        &["data", "info", "sizes"],
        &["data", "info", "folder"],
        &["train", "gan-shapes", "-q", "--data", "folder"],
        &[
            "train",
            "cgan-mnist",
            "-q",
            "--data",
            "folder",
            "--data-dir",
            "sizes",
            "--set",
            "data.folder.size=32",
        ],
    ]);
    let mut settings = insta::Settings::clone_current();
    // This depends on whether the build can download.
    settings.add_filter(
        "(download them with `waxwork data fetch mnist`|build with `--features hub` to download them)",
        "[how to download them]",
    );
    settings.bind(|| compare("errors-data", &errors(folder.path(), &commands)));
}

#[test]
fn errors_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = small(Path::new("run"), &[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    call(folder, &arguments).good();
    std::fs::create_dir(folder.join("empty")).unwrap();
    std::fs::write(folder.join("junk.npy"), "no array").unwrap();
    let commands: [&[&str]; 14] = [
        &arguments,
        &["sample", "missing"],
        &["sample", "empty"],
        &["sample", "run", "--labels", "7", "-q"],
        &["sample", "run", "--out", "grid.gif", "-q"],
        &["sample", "run", "--truncation", "0", "-q"],
        &["traverse", "run", "--dims", "1000", "-q"],
        &["interpolate", "run", "--labels", "1,2", "-q"],
        &["encode", "run", "--images", "junk.npy", "--out", "latents.npy", "-q"],
        &["export", "run", "--part", "generator", "-q"],
        &["compare", "run", "missing", "-q"],
        &["train", "--resume", "run", "-q", "--set", "model.latent_dim=7"],
        &["evaluate", "--samples", "missing.npy", "--data", "digits"],
        &["evaluate", "--samples", "missing.npy", "--data", "digits", "-v"],
    ];
    let mut text = errors(folder, &commands);
    std::fs::write(folder.join("run/model.safetensors"), "damaged").unwrap();
    text += &errors(folder, &[&["sample", "run", "-q"]]);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{64}", "[SHA-256]");
    settings.bind(|| compare("errors-runs", &text));
}
