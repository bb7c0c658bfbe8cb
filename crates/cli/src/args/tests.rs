//! Tests that the command line is consistent, its help has two levels, and every command in
//! the documents parses.

use clap::{CommandFactory, Parser};

use super::Arguments;

/// Maximum width of help in columns, as on a wide terminal.
const WIDTH: usize = 100;

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

/// The commands in a text: in documents those of its `sh` blocks, in a help text the lines of its examples.
fn shown(text: &str, in_blocks: bool) -> Vec<String> {
    let mut inside = !in_blocks;
    let mut commands = Vec::new();
    // A backslash at the end of a line joins it with the next line.
    for line in text.replace("\\\n", " ").lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        }
        let line = line.split(" #").next().unwrap_or_default();
        let parts = line.split("&&").flat_map(|part| part.split(" | ")).map(str::trim);
        // Redirections and variables set for a command belong to the shell.
        let plain = parts.map(|part| part.split(['>', '<']).next().unwrap_or_default().trim());
        let plain = plain.map(|part| part.split_at(part.find("waxwork ").unwrap_or(0)));
        let ours = plain.filter(|(before, part)| {
            part.starts_with("waxwork ") && before.split_whitespace().all(|word| word.contains('='))
        });
        if inside {
            commands.extend(ours.map(|(_, part)| part.trim_end_matches(" 2").to_owned()));
        }
    }
    commands
}

#[test]
fn every_command_in_documents_and_help_is_understood() {
    fn examples(command: &clap::Command, into: &mut Vec<String>) {
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        // An example may have an explanation, three spaces to its right.
        let lines = help.lines().filter_map(|line| line.strip_prefix("  waxwork "));
        into.extend(lines.flat_map(|line| {
            shown(&format!("waxwork {}", line.split("   ").next().unwrap_or_default()), false)
        }));
        command.get_subcommands().for_each(|command| examples(command, into));
    }
    let mut commands = Vec::new();
    examples(&Arguments::command(), &mut commands);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for folder in ["", "docs", "docs/book", "python"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                commands.extend(shown(&std::fs::read_to_string(path).unwrap(), true));
            }
        }
    }
    assert!(commands.len() > 100, "{}", commands.len());
    for command in commands {
        let words = shlex::split(&command).unwrap();
        if let Err(error) = Arguments::try_parse_from(words) {
            let is_help = error.kind() == clap::error::ErrorKind::DisplayHelp;
            assert!(is_help, "`{command}`: {error}");
        }
    }
}

/// Every command with its subcommands, and the names that lead to it.
fn all(command: &clap::Command, path: &str, into: &mut Vec<(String, clap::Command)>) {
    let path = format!("{path}{}", command.get_name());
    into.push((path.clone(), command.clone()));
    command.get_subcommands().for_each(|command| all(command, &format!("{path} "), into));
}

#[test]
fn help_has_two_levels() {
    let mut commands = Vec::new();
    all(&Arguments::command(), "", &mut commands);
    assert!(commands.len() > 30, "{}", commands.len());
    for (path, command) in commands {
        let about = command.get_about().unwrap().to_string();
        assert!(about.len() <= 80 && !about.contains('\n') && !about.ends_with('.'), "{path}: {about}");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && !help.ends_with('.'), "{path}: {}: {help}", argument.get_id());
        }
        // `runs`, `recipes` and `data` have examples in their subcommands.
        if command.get_subcommands().next().is_none() {
            let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("Examples:\n  waxwork "), "{path}: {examples}");
            assert!(command.get_after_help().is_none(), "{path}: -h has one line per option");
        }
        let widest = command.term_width(WIDTH).render_long_help().to_string();
        let widest = widest.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
        assert!(widest.chars().count() <= WIDTH, "{path}: {widest}");
    }
}
