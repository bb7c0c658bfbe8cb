//! `waxwork pull`, `push` and `--data hf:` against a local server that implements the Hub's API.

use std::path::Path;

use crate::python::python;
use crate::server::{Server, Trouble};
use crate::util::{Call, command, finished, small, text};

/// Runs the binary against the server, with a cache below `folder`.
fn waxwork(server: &Server, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Call {
    let mut command = command(arguments);
    command.env("HF_ENDPOINT", &server.address).env("HF_HOME", folder.join("hf"));
    command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HUGGINGFACE_HUB_CACHE"] {
        command.env_remove(name);
    }
    finished(&command.envs(variables.iter().copied()).output().unwrap())
}

#[test]
fn a_pushed_run_can_be_pulled_with_its_card() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let server = Server::start();
    server.state().token = Some("secret".into());
    let token = [("HF_TOKEN", "secret")];
    let call = |arguments: &[&str], variables: &[(&str, &str)]| {
        waxwork(&server, folder.path(), arguments, variables)
    };
    let run = path("run");
    crate::util::waxwork(&small(&run, &[])).good();
    crate::util::waxwork(&["evaluate", text(&run), "-n", "100", "--samples", "0"]).good();
    let card = std::fs::read_to_string(run.join("README.md")).unwrap();
    std::fs::write(
        run.join("README.md"),
        card.replace("---\nlibrary_name", "---\nlicense: mit\nlibrary_name") + "\nMy words.\n",
    )
    .unwrap();

    call(&["push", text(&run), "me/run", "--private"], &[]).refused(&["me/run", "401", "HF_TOKEN"]);
    let pushed = call(&["push", text(&run), "me/run", "--private"], &token).good();
    assert!(
        pushed.stdout.contains("/me/run") && pushed.stdout.contains("waxwork pull me/run"),
        "{}",
        pushed.stdout
    );
    // The token may also be in the file that `hf auth login` writes.
    std::fs::create_dir_all(path("hf")).unwrap();
    std::fs::write(path("hf/token"), "secret\n").unwrap();
    call(&["push", text(&run), "me/run"], &[]).good();
    let files = server.state().repositories["models/me/run"].clone();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "README.md",
        "metrics.json",
        "metrics.jsonl",
        "model.safetensors",
        "recipe.toml",
        "run.json",
        "samples/step-000004.png",
    ];
    assert_eq!(names, expected);
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    for line in [
        "license: mit\n",
        "library_name: waxwork\n",
        "model-index:\n- name: \"run\"\n  results:\n  - task:\n      type: unconditional-image-generation\n",
        "      name: \"Digits\"\n      type: \"digits\"\n      split: test\n    metrics:\n",
        "    - type: \"neg_elbo\"\n      value: ",
        "![samples](samples/step-000004.png)",
        "My words.\n",
        "waxwork pull me/run",
    ] {
        assert!(card.contains(line), "{line}\nis not in\n{card}");
    }

    if let Some(python) = python("what the Hub reads of a model card", &["yaml", "huggingface_hub"]) {
        let evaluated: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.join("metrics.json")).unwrap()).unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let measured = evaluated["metrics"].as_array().unwrap().iter();
        let expected: Vec<_> = measured
            .map(|metric| (metric["name"].clone(), number(&metric["value"]), metric["protocol"].clone()))
            .collect();
        std::fs::write(path("card.md"), &card).unwrap();
        let script = "import json, sys, huggingface_hub
card = huggingface_hub.ModelCard.load(sys.argv[1])
for result in card.data.eval_results:
    assert result.task_type == 'unconditional-image-generation', result
    assert (result.dataset_type, result.dataset_name, result.dataset_split) == ('digits', 'Digits', 'test'), result
assert (card.data.license, card.data.tags, card.data.model_name) == ('mit', ['vae'], 'run'), card.data
print(json.dumps([[r.metric_type, r.metric_value, r.metric_args] for r in card.data.eval_results]))";
        let mut reader = std::process::Command::new(python);
        let read = finished(&reader.args(["-c", script]).arg(path("card.md")).output().unwrap()).good();
        let read: Vec<serde_json::Value> = serde_json::from_str(&read.stdout).unwrap();
        let read: Vec<_> = read.iter().map(|one| (one[0].clone(), number(&one[1]), one[2].clone())).collect();
        assert_eq!(read, expected);
    }

    let back = path("back");
    call(&["pull", "me/run", "--out", text(&back)], &[]).good();
    let sample = |run: &Path| {
        let out = path("images.npy");
        crate::util::waxwork(&["sample", text(run), "-n", "3", "--out", text(&out)]).good();
        std::fs::read(out).unwrap()
    };
    assert_eq!(sample(&run), sample(&back));
    assert_eq!(std::fs::read_to_string(back.join("README.md")).unwrap(), card);
    call(&["pull", "me/run", "--out", text(&back)], &[]).refused(&["already exists"]);

    // Without a network, the cache serves what was fetched before; the error names what was not.
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:1")];
    call(&["pull", "me/run", "--out", text(&path("again"))], &offline).good();
    call(&["pull", "me/other", "--out", text(&path("other"))], &offline)
        .refused(&["HF_HUB_OFFLINE", "me/other"]);

    server.put("models/me/weights", "model.safetensors", "x");
    call(&["pull", "me/weights"], &[]).refused(&["recipe.toml", "waxwork import"]);
    call(&["pull", "me/nothing"], &[]).refused(&["me/nothing", "no such repository"]);
    call(&["pull", "run"], &[]).refused(&["OWNER/NAME"]);
}

#[test]
fn a_pull_that_fails_leaves_no_run_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let run = folder.path().join("run");
    crate::util::waxwork(&small(&run, &[])).good();
    waxwork(&server, folder.path(), &["push", text(&run), "me/run"], &[]).good();
    let out = folder.path().join("out");
    let pull = |variables: &[(&str, &str)]| {
        let arguments = ["pull", "me/run", "--out", text(&out)];
        waxwork(&server, folder.path(), &arguments, variables)
    };
    for (trouble, words) in [
        (Trouble::Hangs, ["did not answer in time", "HF_HUB_DOWNLOAD_TIMEOUT"]),
        (Trouble::Refuses("429 Too Many Requests"), ["429", "try again in 7 s"]),
        (Trouble::Corrupts, ["do not match", "discarded"]),
        (Trouble::BreaksAfter(0), ["bytes", "try again"]),
    ] {
        server.state().trouble = Some(trouble);
        let call = pull(&[]);
        if trouble == Trouble::BreaksAfter(0) {
            assert_eq!(call.code, Some(1), "{}", call.stderr);
        } else {
            call.refused(&words);
        }
        assert!(!out.exists());
    }
    // The connection breaks repeatedly, but each attempt makes progress.
    server.state().trouble = Some(Trouble::BreaksAfter(100_000));
    pull(&[]).good();

    // The weights do not belong to the run, although they match the Hub's hash.
    server.state().trouble = None;
    server.put("models/me/run", "model.safetensors", vec![0; 3000]);
    std::fs::remove_dir_all(&out).unwrap();
    pull(&[]).refused(&["model.safetensors", "SHA-256"]);
    assert!(!out.exists() && !folder.path().join("out.pulling").exists());
}

#[test]
fn without_a_network_the_error_names_the_option_for_local_files() {
    let folder = tempfile::tempdir().unwrap();
    for recipe in ["vae-mnist", "gan-cifar10"] {
        let mut offline = command(&["train", recipe]);
        // No server listens on this port.
        offline.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HOME", folder.path().join("hf"));
        offline.env("WAXWORK_DATA_DIR", folder.path().join("data")).current_dir(folder.path());
        let call = finished(&offline.output().unwrap());
        // One line of our own, and none of a library.
        let said: Vec<&str> = call.stderr.lines().filter(|line| !line.starts_with("loading data")).collect();
        assert_eq!(said.len(), 1, "{}", call.stderr);
        call.refused(&[recipe.rsplit('-').next().unwrap(), "--data-dir DIR"]);
    }
}
