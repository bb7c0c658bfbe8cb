//! Running other programs. Each command line is printed before it runs.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that runs xtask, in the folder `root`.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs a command to the end. Returns an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = show(command).status().with_context(|| failed_to_start(command))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command to the end and returns its exit status. The command has already printed its own error.
pub(crate) fn forward(command: &mut Command) -> Result<ExitCode> {
    let status = show(command).status().with_context(|| failed_to_start(command))?;
    // A process that a signal killed has no exit code.
    let code = status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1));
    Ok(ExitCode::from(code))
}

/// Returns a command's standard output, or an error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| failed_to_start(command))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("the output of `{}` is not UTF-8", line(command)))
}

/// Replaces this process by the command if the system supports it, so that signals reach only the command.
pub(crate) fn hand_over(command: &mut Command) -> Result<ExitCode> {
    #[cfg(unix)]
    {
        let error = std::os::unix::process::CommandExt::exec(show(command));
        Err(error).with_context(|| failed_to_start(command))
    }
    #[cfg(not(unix))]
    forward(command)
}

/// Returns everything that a command prints, whether it succeeds or not.
pub(crate) fn everything_printed(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| failed_to_start(command))?;
    Ok([output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

/// Whether a command starts and succeeds. Its output is discarded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn show(command: &mut Command) -> &mut Command {
    eprintln!("$ {}", line(command));
    command
}

fn failed_to_start(command: &Command) -> String {
    format!("failed to start `{}`", line(command))
}

/// The command as typed in a shell, without the program's folder.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(command.get_program()).to_string_lossy();
    let args = command.get_args().map(|arg| quoted(&arg.to_string_lossy()));
    std::iter::once(name.into_owned()).chain(args).collect::<Vec<_>>().join(" ")
}

fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,+@%".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/some/where/cargo");
        command.args(["build", "--set", "a=[1, 2]", ""]);
        assert_eq!(line(&command), "cargo build --set 'a=[1, 2]' ''");
    }

    #[test]
    fn names_a_missing_program() {
        let error = run(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-anywhere"), "{error}");
    }
}
