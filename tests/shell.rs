//! Behaviour that all commands share: exit codes, messages, progress, colours, and closed pipes.

use std::process::{Command, Stdio};

use crate::util::{command, finished, small, waxwork};

/// A finished run, and what its training printed to standard error.
fn run_in(folder: &std::path::Path, more: &[&str]) -> (String, String) {
    let run = folder.join("run");
    // Train it without `-q`.
    let arguments: Vec<String> = small(&run, more).into_iter().filter(|argument| argument != "-q").collect();
    (run.to_str().unwrap().to_owned(), waxwork(&arguments).good().stderr)
}

/// Parses standard error as one JSON object per line.
fn objects(stderr: &str) -> Vec<serde_json::Value> {
    stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn exit_codes_are_those_in_the_help() {
    let folder = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| waxwork(arguments).code;
    assert_eq!(code(&["recipes", "list"]), Some(0));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["sample", folder.path().to_str().unwrap()]), Some(1));
    assert_eq!(code(&["recipes", "show", "no-such-recipe"]), Some(1));
    for wrong in [
        &["trian"] as &[&str],
        &[],
        &["sample"],
        &["sample", "run", "-n", "0"],
        &["sample", "run", "-n", "many"],
        &["train", "--no-such-option"],
        &["evaluate"],
        &["evaluate", "--samples", "x.npy"],
        &["--log-format", "xml", "doctor"],
        &["-q", "-v", "doctor"],
    ] {
        assert_eq!(code(wrong), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_full_disk_is_a_failure_and_a_closed_pipe_is_not() {
    for arguments in [&["recipes"] as &[&str], &["--help"], &["completions", "zsh"], &["data", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let call = finished(&command(arguments).stdout(writer).output().unwrap());
        assert_eq!((call.code, call.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
        let call = finished(&command(&["recipes", "list"]).stdout(full).output().unwrap());
        call.refused(&["standard output"]);
    }
    #[cfg(target_os = "linux")]
    {
        let redirected = |arguments: &str, to: &str| {
            let script = format!("exec \"$0\" {arguments} {to}");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_waxwork")]);
            finished(&shell.output().unwrap())
        };
        for arguments in ["recipes list", "data info digits", "doctor"] {
            redirected(arguments, ">&-").refused(&["cannot write to standard output: it is closed"]);
            assert_eq!(redirected(arguments, ">/dev/null").code, Some(0), "{arguments}");
        }
    }
    // A closed standard error must not stop training either.
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = folder.path().join("run");
    let arguments: Vec<String> =
        small(&run, &["-v"]).into_iter().filter(|argument| argument != "-q").collect();
    assert!(command(&arguments).stderr(writer).status().unwrap().success());
    assert!(run.join("model.safetensors").is_file());
}

#[test]
fn commands_with_a_list_subcommand_list_by_default() {
    for of in ["recipes", "data"] {
        assert_eq!(waxwork(&[of]).good().stdout, waxwork(&[of, "list"]).good().stdout);
    }
    let empty = tempfile::tempdir().unwrap();
    let call = finished(&command(&["runs"]).current_dir(empty.path()).output().unwrap()).good();
    assert!(call.stdout.contains("no runs in `runs`"), "{}", call.stdout);
}

#[test]
fn options_and_rust_log_control_the_messages() {
    let folder = tempfile::tempdir().unwrap();
    let (run, said) = run_in(folder.path(), &[]);
    assert!(said.contains("step 4/4, ") && said.contains("images/s"), "{said}");
    assert!(!said.contains("INFO"), "{said}");
    let again = |options: &[&str], log: Option<&str>| {
        let mut command = command(&[&["sample", &run, "-n", "4"], options].concat());
        if let Some(log) = log {
            command.env("RUST_LOG", log);
        }
        finished(&command.output().unwrap()).good().stderr
    };
    assert_eq!(again(&[], None), "");
    assert!(again(&["-v"], None).contains("run opened"));
    assert!(again(&[], Some("info")).contains("run opened"));
    assert_eq!(again(&["-v"], Some("off")), "", "RUST_LOG has the last word");
    assert_eq!(again(&["-v"], Some("waxwork_trainer=info")), "");
    assert!(again(&[], Some("a=b=c")).contains("RUST_LOG is not valid"));

    // Warnings remain, also in JSON.
    std::fs::remove_file(format!("{run}/model.safetensors")).unwrap();
    assert!(again(&["-q"], None).contains("this run is not finished"));
    let warned = objects(&again(&["--log-format", "json"], None));
    assert_eq!(warned.len(), 1);
    assert_eq!(warned[0]["level"], "WARN");
    assert!(warned[0]["message"].as_str().unwrap().contains("not finished"), "{warned:?}");
}

#[test]
fn json_logs_have_progress_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (run, said) = run_in(folder.path(), &["--log-format", "json"]);
    let said = objects(&said);
    let last = said.iter().rfind(|object| object["task"] == "step").unwrap();
    assert_eq!((&last["done"], &last["total"], &last["seconds_left"]), (&4.into(), &4.into(), &0.0.into()));
    assert_eq!((&last["level"], &last["target"]), (&"INFO".into(), &"waxwork::progress".into()));
    assert!(last["timestamp"].as_str().unwrap().starts_with("20"), "{last}");
    assert!(last["detail"].as_str().unwrap().contains("images/s"), "{last}");

    let call = waxwork(&["sample", &run, "--labels", "1", "--log-format", "json"]);
    assert_eq!(call.code, Some(1));
    let said = objects(&call.stderr);
    assert_eq!((said.len(), &said[0]["level"], &said[0]["exit_code"]), (1, &"ERROR".into(), &1.into()));
    let quiet = waxwork(&["sample", &run, "-n", "4", "--log-format", "json", "-q"]).good();
    assert_eq!(quiet.stderr, "");
}

/// The output of a command on a terminal, which `script` emulates.
#[cfg(target_os = "linux")]
fn on_a_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let line = [&[env!("CARGO_BIN_EXE_waxwork")], arguments].concat().join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    script.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("RUST_LOG");
    match script.envs(variables.iter().copied()).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            println!("skipped: a test of terminals needs `script`: {error}");
            None
        }
    }
}

/// Whether there is an escape sequence that changes colour or weight. Such sequences end in m.
#[cfg(target_os = "linux")]
fn has_colours(text: &str) -> bool {
    text.split("\x1b[").skip(1).any(|rest| {
        let end = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        end.starts_with('m')
    })
}

#[cfg(target_os = "linux")]
#[test]
fn only_a_terminal_gets_colours_and_bars_and_no_color_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let (run, said) = run_in(folder.path(), &["-v"]);
    assert!(!said.contains('\x1b'), "{said}");
    for wrong in [&["sample", "/no/such/run"] as &[&str], &["trian"], &["sample", &run, "-v", "-n", "4"]] {
        let call = waxwork(wrong);
        assert!(!call.stderr.contains('\x1b') && !call.stdout.contains('\x1b'), "{}", call.stderr);
        let Some(shown) = on_a_terminal(wrong, &[]) else { return };
        assert!(has_colours(&shown), "{wrong:?}: {shown:?}");
        let Some(plain) = on_a_terminal(wrong, &[("NO_COLOR", "1")]) else { return };
        assert!(!has_colours(&plain), "{wrong:?}: {plain:?}");
    }
    let Some(shown) = on_a_terminal(&["sample", &run, "-n", "600"], &[]) else { return };
    assert!(shown.contains("sampling") && shown.contains("/600"), "{shown:?}");
    let Some(quiet) = on_a_terminal(&["sample", &run, "-n", "600", "-q"], &[]) else { return };
    assert!(!quiet.contains("sampling"), "{quiet:?}");
}
