//! `waxwork recipes`, `waxwork completions` and `waxwork train --dry-run`: the configuration of
//! runs, and their cost.

use std::path::Path;
use std::process::Command;

use crate::util::{command, finished, small, text, waxwork};

#[test]
fn a_shown_recipe_is_complete_and_can_be_trained_and_so_can_a_run() {
    let list = waxwork(&["recipes", "list", "--json"]).good().stdout;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert!(
        list.as_array().unwrap().iter().any(|row| row["tags"][0] == "quickstart" && row["data"] == "digits")
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let shown = waxwork(&["recipes", "show", "vae-digits", "--set", "train.batch_size=8"]).good().stdout;
    assert!(shown.contains("batch_size = 8") && shown.contains("free_bits"), "{shown}");
    std::fs::write(&file, &shown).unwrap();
    let (run, again) = (folder.path().join("run"), folder.path().join("again"));
    waxwork(&["train", text(&file), "--out", text(&run), "--steps", "1", "-q"]).good();
    waxwork(&["train", text(&run), "--out", text(&again), "-q"]).good();
    let recipe = |run: &Path| std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert_eq!(recipe(&run), recipe(&again));

    let of_file = waxwork(&["recipes", "diff", text(&file), text(&run)]).good().stdout;
    let rows: Vec<Vec<&str>> =
        of_file.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["train.steps", "3000", "1"]], "{of_file}");
    assert_eq!(waxwork(&["recipes", "diff", text(&run), text(&again)]).good().stdout, "no differences\n");
    let json = waxwork(&["recipes", "diff", "vae-digits", "gan-digits", "--json"]).good().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["model.family"], serde_json::json!(["\"vae\"", "\"gan\""]));
    assert_eq!(json["model.beta"], serde_json::json!(["1.0", null]));
    waxwork(&["recipes", "diff", "vae-digit", "gan-digits"]).refused(&["did you mean `vae-digits`"]);
    waxwork(&["recipes", "diff", text(folder.path()), "gan-digits"]).refused(&["not a run folder"]);

    std::fs::write(&file, "description = \"x\"\nmodel = 3").unwrap();
    waxwork(&["train", text(&file)]).refused(&["mine.toml"]);
}

#[test]
fn the_schema_is_printed() {
    let schema = waxwork(&["recipes", "schema"]).good().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["properties"]["train"]["$ref"], "#/$defs/TrainConfig");
    assert_eq!(schema["$defs"]["TrainConfig"]["properties"]["batch_size"]["description"], "Images per step.");
}

#[test]
fn a_dry_run_estimates_the_cost_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let arguments = small(&run, &["--dry-run", "--set", "train.sample_every=3"]);
    let call = finished(&command(&arguments).current_dir(folder.path()).output().unwrap()).good();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    let line = |key: &str| {
        let line = call.stdout.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")));
        line.unwrap_or_else(|| panic!("no {key} in {}", call.stdout))
    };
    assert!(
        line("time").contains("4 steps of") && line("time").contains("2 sample grids of"),
        "{}",
        call.stdout
    );
    assert!(line("memory").contains("iB") || cfg!(not(target_os = "linux")), "{}", call.stdout);
    assert!(line("disk").contains("iB"), "{}", call.stdout);
    // The output is still a valid recipe, and a run of it has the printed number of parameters.
    let file = folder.path().join("printed.toml");
    std::fs::write(&file, &call.stdout).unwrap();
    waxwork(&["train", text(&file), "--out", text(&run), "-q"]).good();
    let tensors =
        waxwork_core::store::load(&run.join("model.safetensors"), &waxwork_core::Device::Cpu).unwrap();
    let count: usize = tensors.values().map(waxwork_core::Tensor::elem_count).sum();
    let told = line("parameters").split(", ").map(|part| part.rsplit_once(' ').unwrap().1.replace(',', ""));
    assert_eq!(told.map(|number| number.parse::<usize>().unwrap()).sum::<usize>(), count, "{}", call.stdout);
    waxwork(&["train", "--resume", text(&run), "--dry-run"]).refused(&["--dry-run"]);
    waxwork(&["train", "vae-digits", "--dry-run", "--set", "model.latent_dim=0"]).refused(&["latent_dim"]);
}

/// The candidates that a shell offers for the last of `words`.
fn offered(shell: &str, words: &[&str]) -> Vec<String> {
    let mut asked = command(&[&["--", "waxwork"], words].concat());
    asked.env("COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    let words = finished(&asked.output().unwrap()).good().stdout;
    words.lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_keys_recipes_and_data_sets() {
    assert_eq!(offered("bash", &["train", "--set", "train.batch"]), ["train.batch_size="]);
    assert_eq!(offered("bash", &["recipes", "show", "--set", "optimizer.ep"]), ["optimizer.eps="]);
    assert_eq!(offered("zsh", &["train", "--set", "train.flip="]), ["train.flip=false", "train.flip=true"]);
    let kinds = offered("zsh", &["train", "--set", "model.network.kind="]);
    let all = ["mlp", "conv", "tower", "recurrent", "clip"];
    assert_eq!(kinds, all.map(|kind| format!("model.network.kind={kind}")));
    assert_eq!(offered("bash", &["train", "--data", "fash"]), ["fashion-mnist"]);
    assert_eq!(
        offered("bash", &["recipes", "diff", "vae-digits", "cvae-mn"]),
        ["cvae-mnist", "cvae-mnist-fsq"]
    );
    assert!(offered("zsh", &["recipes", "show", "vae-d"])[0].starts_with("vae-digits:convolutional VAE"));
    assert_eq!(offered("bash", &["train", "--set", "train.nothing"]), [] as [&str; 0]);
}

#[test]
fn the_bash_script_completes() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(waxwork(&["completions", shell]).good().stdout.contains("waxwork"));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_waxwork"));
    // The words into which bash splits a typed line, and the word that it completes. Bash also
    // splits at = and :.
    let script = "eval \"$(waxwork completions bash)\"
        COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_WORDS=(\"${@:3}\") COMP_CWORD=$(($# - 3))
        _waxwork waxwork \"$2\" \"\" 2>&1
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let path = std::env::join_paths(
        std::iter::once(program.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();
    for (line, completed, words, expected) in [
        (
            "waxwork train --set train.ba",
            "train.ba",
            "waxwork train --set train.ba",
            &["train.batch_size="] as &[&str],
        ),
        ("waxwork train --set train.flip=", "", "waxwork train --set train.flip =", &["false", "true"]),
        ("waxwork train --set train.flip=t", "t", "waxwork train --set train.flip = t", &["true"]),
        ("waxwork train --data=fash", "fash", "waxwork train --data = fash", &["fashion-mnist"]),
        (
            "waxwork  train --set a.b=c vae-di",
            "vae-di",
            "waxwork train --set a.b = c vae-di",
            &["vae-digits", "vae-digits-fsq"],
        ),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash", line, completed]).args(words.split(' ')).env("PATH", &path);
        let Ok(output) = bash.output() else {
            println!("skipped: a test of completion in bash needs bash");
            return;
        };
        let call = finished(&output).good();
        // Outside a completion, bash prints an error because it has no `compopt`.
        let lines: Vec<&str> = call.stdout.lines().filter(|line| !line.contains("compopt")).collect();
        assert_eq!(lines, expected, "{line}: {}", call.stderr);
    }
}
