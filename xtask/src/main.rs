//! Waxwork's developer commands: `cargo xtask <command>`. This file only dispatches; each command has its own
//! file.

mod bench;
mod book;
mod build;
mod ci;
mod cuda_check;
mod datasets;
mod dist;
mod evaluate;
mod figures;
mod files;
mod fuzz;
mod gpu_test;
mod key;
mod lock;
mod metal_check;
mod mpi_test;
mod nearest;
mod nested;
mod noise;
mod outcome;
mod paper;
mod process;
mod python;
mod python_test;
mod repro;
mod stand_in;
mod test;
mod tidy;
mod train;
mod waxwork;
mod web;
mod wheel;
mod workspace;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

/// An entry in the list of commands.
struct Command {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<ExitCode>,
}

const COMMANDS: &[Command] = &[
    Command { name: "build", summary: "Build the program `waxwork`", help: build::HELP, run: build::run },
    Command {
        name: "train",
        summary: "Build, then train and evaluate models",
        help: train::HELP,
        run: train::run,
    },
    Command {
        name: "evaluate",
        summary: "Build, then evaluate runs",
        help: evaluate::HELP,
        run: evaluate::run,
    },
    Command {
        name: "datasets",
        summary: "Build, then list, fetch or verify data sets",
        help: datasets::HELP,
        run: datasets::run,
    },
    Command { name: "test", summary: "Run the whole test suite", help: test::HELP, run: test::run },
    Command {
        name: "tidy",
        summary: "Check the rules that the compiler does not check",
        help: tidy::HELP,
        run: tidy::run,
    },
    Command { name: "fuzz", summary: "Fuzz the file readers", help: fuzz::HELP, run: fuzz::run },
    Command {
        name: "repro",
        summary: "Check that training is reproducible, byte for byte",
        help: repro::HELP,
        run: repro::run,
    },
    Command {
        name: "paper",
        summary: "Train the rows of published tables and compare the numbers",
        help: paper::HELP,
        run: paper::run,
    },
    Command {
        name: "noise",
        summary: "Train on damaged data, with and without remedies",
        help: noise::HELP,
        run: noise::run,
    },
    Command {
        name: "bench",
        summary: "Benchmark training against PyTorch",
        help: bench::HELP,
        run: bench::run,
    },
    Command {
        name: "figures",
        summary: "Generate the figures of the documentation from runs",
        help: figures::HELP,
        run: figures::run,
    },
    Command { name: "book", summary: "Build the book with mdBook", help: book::HELP, run: book::run },
    Command {
        name: "cuda-check",
        summary: "Check that everything compiles for CUDA, without a GPU",
        help: cuda_check::HELP,
        run: cuda_check::run,
    },
    Command {
        name: "metal-check",
        summary: "Check that everything compiles for Metal, without a Mac",
        help: metal_check::HELP,
        run: metal_check::run,
    },
    Command {
        name: "gpu-test",
        summary: "Compare training on a GPU with training on the CPU",
        help: gpu_test::HELP,
        run: gpu_test::run,
    },
    Command {
        name: "mpi-test",
        summary: "Compare runs on several processes with runs on one",
        help: mpi_test::HELP,
        run: mpi_test::run,
    },
    Command {
        name: "python-test",
        summary: "Build the Python package and run its tests",
        help: python_test::HELP,
        run: python_test::run,
    },
    Command {
        name: "wheel",
        summary: "Package the Python package for distribution",
        help: wheel::HELP,
        run: wheel::run,
    },
    Command { name: "web", summary: "Build the sampler for browsers", help: web::HELP, run: web::run },
    Command {
        name: "dist",
        summary: "Package the program for distribution",
        help: dist::HELP,
        run: dist::run,
    },
    Command { name: "ci", summary: "Run what CI checks", help: ci::HELP, run: ci::run },
];

fn main() -> ExitCode {
    let done = stand_in::instead(arguments).unwrap_or_else(|| arguments().and_then(|args| dispatch(&args)));
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn arguments() -> Result<Vec<String>> {
    let text =
        |arg: std::ffi::OsString| arg.into_string().map_err(|arg| anyhow!("argument {arg:?} is not UTF-8"));
    env::args_os().skip(1).map(text).collect()
}

fn dispatch(args: &[String]) -> Result<ExitCode> {
    match args.split_first() {
        None => print(&overview()),
        Some((help, rest)) if is_help(help) => match rest.first() {
            Some(name) => print(find(name)?.help),
            None => print(&overview()),
        },
        Some((name, rest)) => {
            let command = find(name)?;
            // Arguments after `--` belong to the program that the command runs, including a `--help` there.
            let own = rest.iter().take_while(|arg| *arg != "--");
            if own.into_iter().any(|arg| arg == "--help" || arg == "-h") {
                return print(command.help);
            }
            (command.run)(rest)
        }
    }
}

fn is_help(arg: &str) -> bool {
    matches!(arg, "help" | "--help" | "-h")
}

fn print(text: &str) -> Result<ExitCode> {
    println!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<&'static Command> {
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return Ok(command);
    }
    match nearest::nearest(name, COMMANDS.iter().map(|command| command.name)) {
        Some(near) => bail!("unknown command `{name}`; did you mean `{near}`?"),
        None => bail!("unknown command `{name}`; `cargo xtask help` lists the commands"),
    }
}

fn overview() -> String {
    let line = |command: &Command| format!("  {:<10} {}\n", command.name, command.summary);
    let commands: String = COMMANDS.iter().map(line).collect();
    format!(
        "Waxwork's developer commands

Usage: cargo xtask <command> [arguments]

Commands:
{commands}  help       Print this text, or the help of a command: `help <command>`

Examples:
  cargo xtask train                    train every family on embedded digits; needs no data, no network
  cargo xtask train vae-mnist --data-dir path/to/data
  cargo xtask test                     run the tests that must pass before you propose a change
  cargo xtask ci                       run what CI checks

Run `cargo xtask <command> --help` for the details of a command."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_command() {
        let error = |name| find(name).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error("trian").contains("did you mean `train`"));
        assert!(error("xyzzyplugh").contains("cargo xtask help"));
    }

    #[test]
    fn every_help_text_shows_usage_and_an_example() {
        for Command { name, help, .. } in COMMANDS {
            assert!(help.contains(&format!("Usage: cargo xtask {name}")), "{name}");
            assert!(help.contains("Examples:"), "{name}");
            assert!(
                help.lines().all(|line| line.chars().count() <= 100),
                "{name}: a line is too long for a terminal"
            );
        }
    }

    #[test]
    fn overview_lists_every_command() {
        assert!(COMMANDS.iter().all(|command| overview().contains(command.summary)));
    }
}
