//! Texts through the commands: files and the embedded grammar as data, and any program's texts measured.

use std::path::Path;

use waxwork_core::npy;

use crate::util::{
    check_repeats, deterministic_files, metric, resume, run_json, small_of, text, trained, unfinish, waxwork,
};

/// A file of these texts.
fn file(path: &Path, lines: &[&str]) {
    std::fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// The metrics of texts of another program beside those of a data set.
fn measured(path: &Path, more: &[&str]) -> serde_json::Value {
    let report = waxwork(&[&["evaluate", "--samples", text(path), "--json", "-q"], more].concat()).good();
    serde_json::from_str(&report.stdout).unwrap()
}

#[test]
fn data_is_printed_as_lines_and_written_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let shown = waxwork(&["data", "show", "phrases", "-n", "20", "-q"]).good().stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 20);
    assert!(
        lines[0].starts_with("weather\tit ") && lines.iter().any(|line| line.starts_with("sum\t")),
        "{shown}"
    );
    for name in ["some.txt", "some.jsonl", "some.npy", "some.safetensors"] {
        waxwork(&["data", "show", "phrases", "-n", "20", "-q", "--out", text(&path(name))]).good();
    }
    let written = std::fs::read_to_string(path("some.txt")).unwrap();
    let told: Vec<&str> = lines.iter().map(|line| line.split_once('\t').unwrap().1).collect();
    assert_eq!(written.lines().collect::<Vec<_>>(), told);
    let first = std::fs::read_to_string(path("some.jsonl")).unwrap();
    assert_eq!(first.lines().next().unwrap(), format!(r#"{{"text":"{}","label":"weather"}}"#, told[0]));
    let numbers = npy::load(&path("some.npy")).unwrap();
    assert_eq!(numbers.dims(), [20, 16]);
    waxwork(&["data", "show", "phrases", "--out", text(&path("some.png"))])
        .refused(&["some.png", ".txt, .jsonl"]);
    waxwork(&["data", "show", "digits"]).refused(&["--out PATH"]);
    let info = waxwork(&["data", "info", "phrases"]).good().stdout;
    assert!(info.contains("texts of up to 16 of 130 tokens"), "{info}");
}

#[test]
fn files_are_described_and_faults_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines: Vec<String> =
        (0..30).map(|i| format!("{}\tgood film {}", ["good", "bad"][i % 2], i % 5)).collect();
    file(&path("films.tsv"), &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let said = waxwork(&["data", "describe", text(&path("films.tsv"))]).good().stdout;
    for words in ["27 for training, 3 for testing", "bad 1", "3 to 3 words", "8 tokens", "good film"] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let characters = ["--set", "data.text.tokens=\"characters\"", "--json"];
    let json =
        waxwork(&[&["data", "describe", text(&path("films.tsv"))], &characters[..]].concat()).good().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["token"], &json["tokens"]), (&"character".into(), &serde_json::json!([11, 11, 11])));

    let show = |name: &str, more: &[&str]| {
        let dir = path(name);
        waxwork(&[&["data", "show", "text", "--data-dir", text(&dir), "-q"], more].concat())
    };
    assert_eq!(show("films.tsv", &["-n", "1"]).good().stdout.lines().count(), 1);
    std::fs::write(path("latin.txt"), b"one\ncaf\xe9\n").unwrap();
    show("latin.txt", &[]).refused(&["latin.txt", "not UTF-8 at byte 7"]);
    file(&path("empty.txt"), &[]);
    show("empty.txt", &[]).refused(&["empty.txt", "has no texts"]);
    show("films.tsv", &["--set", "data.text.length=3"]).refused(&[
        "films.tsv",
        "line 1",
        "3 words",
        "data.text.length",
    ]);
    show("films.csv", &[]).refused(&["films.csv", ".jsonl"]);
    std::fs::write(path("bad.jsonl"), "{\"text\": 3}\n").unwrap();
    show("bad.jsonl", &[]).refused(&["bad.jsonl", "line 1"]);
    waxwork(&["data", "show", "text"]).refused(&["data.dir"]);
}

#[test]
fn texts_of_any_program_are_measured_by_the_grammar() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let real = path("real.jsonl");
    waxwork(&["data", "show", "phrases", "-n", "500", "--set", "data.seed=7", "-q", "--out", text(&real)])
        .good();
    let report = measured(&real, &["--data", "phrases"]);
    for (name, exact) in [("validity", 1.0), ("label_exact", 1.0)] {
        assert_eq!(metric(&report, name)["value"], exact, "{name}");
    }
    let nll = metric(&report, "nll_true");
    let entropy = nll["floor"].as_f64().unwrap();
    let [low, high] = [0, 1].map(|end| nll["interval"][end].as_f64().unwrap());
    assert!((8.92..8.93).contains(&entropy) && low < entropy + 0.2 && high > entropy - 0.2, "{nll}");
    assert!(metric(&report, "judge_agreement")["value"].as_f64().unwrap() > 0.97, "{report}");
    for name in ["bleu_4", "self_bleu_4", "ngram_js_2", "copies", "distinct", "coverage", "novelty"] {
        let found = metric(&report, name);
        let [value, floor] = ["value", "floor"].map(|key| found[key].as_f64().unwrap());
        assert!((value - floor).abs() < 0.1, "{name}: {value} beside {floor}");
    }
    // A model that says one thing looks right and is no good.
    let one = path("one.txt");
    file(&one, &["it is cold"; 500]);
    let report = measured(&one, &["--data", "phrases"]);
    assert_eq!(metric(&report, "validity")["value"], 1.0);
    assert_eq!(metric(&report, "self_bleu_2")["value"], 1.0);
    assert_eq!(metric(&report, "distinct")["value"], 0.002);
    assert!(metric(&report, "ngram_js_1")["value"].as_f64().unwrap() > 0.5);
    assert!(metric(&report, "label_exact").is_null());
    file(&one, &["it is zebra"; 50]);
    waxwork(&["evaluate", "--samples", text(&one), "--data", "phrases"])
        .refused(&["one.txt", "line 1", "zebra"]);
    waxwork(&["evaluate", "--samples", text(folder.path()), "--data", "phrases"]).refused(&["is a folder"]);
}

#[test]
fn sentences_are_trained_shown_and_repeated_to_the_bit() {
    for recipe in ["cvae-phrases", "gan-phrases"] {
        let (_folder, run) = trained(recipe);
        let lines = std::fs::read_to_string(run.join("samples/step-000004.txt")).unwrap();
        assert_eq!(lines.lines().count(), 50);
        check_repeats(&run, |again| small_of(recipe, again, &["--threads", "1"]));
        let info = run_json(&run);
        assert_eq!(info["data_kind"], serde_json::json!({"kind": "text", "vocabulary": 130, "length": 16}));
        assert_eq!(info["data_view"]["vocabulary"].as_array().unwrap().len(), 129);
        let page = std::fs::read_to_string(run.join("report.html")).unwrap();
        assert!(
            page.contains("<section id=\"texts\">") && page.contains("<small>invalid</small>"),
            "{recipe}"
        );
        assert!(!page.contains("Left out"), "{recipe}");
        let card = std::fs::read_to_string(run.join("README.md")).unwrap();
        assert!(card.contains(&format!("    {}\n", lines.lines().next().unwrap())), "{card}");
    }
}

/// A small run of SeqGAN through its three stages.
fn small_seqgan(run: &Path, more: &[&str]) -> Vec<String> {
    let set = "model.policy={likelihood_steps=1,discriminator_steps=1,rollouts=2}";
    let own = ["--set", set, "--set", "model.n_critic=1", "--set", "train.validate_every=2"];
    small_of("gan-seqgan", run, &[&own[..], more].concat())
}

#[test]
fn a_policy_is_trained_measured_and_repeated_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (run, again) = (path("run"), path("again"));
    waxwork(&small_seqgan(&run, &[])).good();
    waxwork(&small_seqgan(&again, &["--threads", "1"])).good();
    let before = deterministic_files(&run);
    assert_eq!(before, deterministic_files(&again));
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    for name in ["likelihood", "discriminator", "generator", "reward", "validation/nll"] {
        assert!(metrics.contains(&format!("\"{name}\"")), "{name} in {metrics}");
    }
    // The state after a kill in the stage that trains both players.
    let cut = path("cut");
    waxwork(&small_seqgan(&cut, &["--set", "train.checkpoint_every=3"])).good();
    std::fs::remove_dir_all(cut.join("checkpoints/step-000004")).unwrap();
    unfinish(&cut);
    resume(&cut).good();
    let model = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();
    assert_eq!(model(&cut), model(&run));

    let lines = path("a.txt");
    waxwork(&["sample", text(&run), "-n", "20", "--out", text(&lines)]).good();
    let lines = std::fs::read_to_string(lines).unwrap();
    assert_eq!(lines.lines().count(), 20);
    for line in lines.lines() {
        let tokens: Vec<u32> = line.split(' ').map(|token| token.parse().unwrap()).collect();
        assert!(tokens.len() == 20 && tokens.iter().all(|token| *token < 5000), "{line}");
    }
    waxwork(&["interpolate", text(&run), "-n", "2", "--out", text(&path("way.txt"))]).good();
    let way = std::fs::read_to_string(path("way.txt")).unwrap();
    assert!(way.lines().next() != way.lines().last(), "{way}");

    let asked = ["evaluate", text(&run), "--samples", "100", "-n", "100", "--temperatures", "0.5,1"];
    let report = waxwork(&[&asked[..], &["--json", "-q"][..]].concat()).good();
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let value = |name: &str| metric(&report, name)["value"].as_f64().unwrap();
    for name in ["nll_oracle", "nll_test"] {
        let floor = metric(&report, name)["floor"].as_f64().unwrap();
        assert!((floor - 5.95).abs() < 0.3 && value(name) > floor + 1.0, "{name} beside {floor}");
        assert_eq!(value(name), value(&format!("{name}_at_1")));
        assert_ne!(value(name), value(&format!("{name}_at_0.5")));
    }
    assert_eq!(value("validity"), 1.0);
    waxwork(&["report", text(&run)]).good();
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("aria-label=\"nll_oracle across"), "the curve of both likelihoods is drawn");
    waxwork(&["export", text(&run)]).refused(&["gan"]);
    waxwork(&["sample", text(&run), "--truncation", "1.0"]).refused(&["truncation", "temperature"]);
    let missing = ["--set", "data.oracle.weights=\"nowhere.safetensors\""];
    waxwork(&small_seqgan(&path("other"), &missing)).refused(&["nowhere.safetensors"]);
    waxwork(&small_of("gan-phrases", &path("other"), &missing)).refused(&["data.oracle", "`oracle`"]);
    waxwork(&small_seqgan(&path("other"), &["--data", "phrases", "--set", "model.latent_dim=16"]))
        .refused(&["model.discriminator.widths", "20 tokens"]);
}

/// Sequences that the oracle itself draws have the likelihood of its test sequences.
#[test]
fn sequences_of_any_program_are_measured_by_the_oracle() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.txt");
    waxwork(&["data", "show", "oracle", "-n", "1000", "--set", "data.seed=7", "-q", "--out", text(&own)])
        .good();
    let report = measured(&own, &["--data", "oracle"]);
    let nll = metric(&report, "nll_oracle");
    let [low, high] = [0, 1].map(|end| nll["interval"][end].as_f64().unwrap());
    let (floor, margin) = (nll["floor"].as_f64().unwrap(), high - low);
    assert!(low - margin < floor && floor < high + margin, "{nll}");
    assert!((floor - 5.951).abs() < 0.02, "{floor}");
    assert_eq!(metric(&report, "validity")["value"], 1.0);
}

#[test]
fn sentences_are_written_in_every_form_and_read_again() {
    let (folder, run) = trained("cvae-phrases");
    let path = |name: &str| folder.path().join(name);
    let sample = |name: &str, more: &[&str]| {
        let out = path(name);
        waxwork(&[&["sample", text(&run), "-n", "20", "--out", text(&out)], more].concat()).good();
        std::fs::read(out).unwrap()
    };
    let lines = String::from_utf8(sample("a.txt", &[])).unwrap();
    assert_eq!(lines.lines().count(), 20);
    assert_eq!(lines.as_bytes(), sample("b.txt", &["--threads", "1"]));
    let objects = String::from_utf8(sample("a.jsonl", &[])).unwrap();
    let objects: Vec<serde_json::Value> =
        objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<&str> = objects.iter().map(|object| object["text"].as_str().unwrap()).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), told);
    assert_eq!((&objects[0]["label"], &objects[19]["label"]), (&"weather".into(), &"sum".into()));
    let sums = String::from_utf8(sample("sums.jsonl", &["--labels", "sum"])).unwrap();
    assert_eq!(sums.matches("\"label\":\"sum\"").count(), 20);
    sample("a.npy", &[]);
    assert_eq!(npy::load(&path("a.npy")).unwrap().dims(), [20, 16]);
    sample("a.safetensors", &[]);
    waxwork(&["sample", text(&run)]).good();
    assert!(run.join("sample.txt").is_file());
    waxwork(&["sample", text(&run), "--neighbours"]).refused(&["waxwork evaluate"]);
    waxwork(&["sample", text(&run), "--out", "a.png"]).refused(&["a.png", ".jsonl"]);
    waxwork(&["rate", text(&run)]).refused(&["only images, clips and sounds"]);

    // The same texts in three forms have the same codes.
    let codes = |name: &str| {
        let out = path("codes.npy");
        waxwork(&["encode", text(&run), "--images", text(&path(name)), "--out", text(&out)]).good();
        npy::load(&out).unwrap().to_vec2::<f32>().unwrap()
    };
    let expected = codes("a.jsonl");
    assert_eq!((expected.len(), expected[0].len()), (20, 16));
    assert_eq!(codes("a.npy"), expected);
    assert_eq!(codes("a.safetensors"), expected);
    waxwork(&["encode", text(&run), "--images", text(&path("a.txt")), "--out", "x.npy"])
        .refused(&["has no labels", ".tsv"]);
    let labels = ["--labels", "sum"];
    waxwork(
        &[&["decode", text(&run), text(&path("codes.npy")), "--out", text(&path("back.txt"))], &labels[..]]
            .concat(),
    )
    .good();
    assert_eq!(std::fs::read_to_string(path("back.txt")).unwrap().lines().count(), 20);
    for (command, count) in [("interpolate", 20), ("traverse", 20), ("reconstruct", 6)] {
        let out = path(&format!("{command}.txt"));
        let few: &[&str] = if command == "traverse" { &["--dims", "0,1"] } else { &["-n", "2"] };
        waxwork(&[&[command, text(&run), "--out", text(&out)], few].concat()).good();
        assert_eq!(std::fs::read_to_string(out).unwrap().lines().count(), count, "{command}");
    }
    let pairs = path("pairs.jsonl");
    let from = path("a.jsonl");
    waxwork(&["reconstruct", text(&run), "-n", "3", "--images", text(&from), "--out", text(&pairs)]).good();
    let pairs = std::fs::read_to_string(pairs).unwrap();
    assert_eq!((pairs.lines().count(), pairs.matches("\"reconstruction\"").count()), (3, 3));

    let report = waxwork(&["evaluate", text(&run), "--samples", "200", "-n", "200", "--json", "-q"]).good();
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    for name in [
        "neg_elbo",
        "kl",
        "reconstruction_tokens",
        "judge_agreement",
        "bleu_2",
        "self_bleu_5",
        "ngram_js_4",
        "validity",
        "label_exact",
    ] {
        assert!(metric(&report, name)["value"].is_f64(), "{name}");
    }
    assert!(metric(&report, "reconstruction_rms").is_null());
    // No bound is below the truth.
    let bound = metric(&report, "neg_elbo");
    assert!(bound["value"].as_f64() > bound["floor"].as_f64(), "{bound}");
}

#[test]
fn language_models_judge_texts_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let [real, same, wrong] = ["real.txt", "same.txt", "wrong.txt"].map(|name| folder.path().join(name));
    let lines = |form: fn(usize) -> String| (0..40).map(form).collect::<Vec<String>>();
    let write = |path: &Path, lines: Vec<String>| {
        file(path, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    };
    write(&real, lines(|i| format!("good film {}", i % 5)));
    write(&same, lines(|i| format!("good film {}", i % 5)));
    write(&wrong, lines(|i| format!("{} {} good", i % 5, i % 3)));
    let of = |path: &Path| {
        let report = measured(path, &["--data", "text", "--data-dir", text(&real), "--language-model"]);
        ["lm_score", "reverse_lm_score"].map(|name| {
            let found = metric(&report, name);
            assert_eq!(found["unit"], "nats", "{name}");
            ["value", "floor"].map(|key| found[key].as_f64().unwrap())
        })
    };
    // Without a model each of the eight tokens would cost ln 8, 2.08 nats.
    for [value, floor] in of(&same) {
        assert!(value < 1.0 && floor < 1.0, "{value} beside {floor}");
    }
    for [value, floor] in of(&wrong) {
        assert!(value > 2.0 * floor, "{value} beside {floor}");
    }
}

/// Of texts from an unknown distribution, quality is BLEU.
#[test]
fn texts_of_files_are_compared_by_bleu_at_several_temperatures() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines: Vec<String> = (0..300).map(|i| format!("film {} of {} is good", i % 5, i % 7)).collect();
    file(&path("films.txt"), &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let (films, run) = (path("films.txt"), path("run"));
    waxwork(&small_of("vae-phrases", &run, &["--data", "text", "--data-dir", text(&films)])).good();
    let asked = ["evaluate", text(&run), "--data-dir", text(&films), "--temperatures", "1,0.5"];
    let report = waxwork(&[&asked[..], &["--samples", "50", "--json", "-q"]].concat()).good();
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    for key in ["value", "floor"] {
        let [cold, warm, alone] = ["bleu_4_at_0.5", "bleu_4_at_1", "bleu_4"]
            .map(|name| metric(&report, name)[key].as_f64().unwrap());
        assert_eq!(warm, alone, "{key}");
        assert_eq!(cold == warm, key == "floor", "{key}: {cold} {warm}");
    }
}

#[test]
fn texts_are_compared_at_several_temperatures() {
    let (_folder, run) = trained("vae-phrases");
    let few = ["--samples", "200", "-n", "100", "--json", "-q"];
    let asked = ["evaluate", text(&run), "--temperatures", "1,0,1"];
    let report = waxwork(&[&asked[..], &few[..]].concat()).good();
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    for temperature in ["0", "1"] {
        for name in ["validity", "coverage", "self_bleu_4"] {
            let found = metric(&report, &format!("{name}_at_{temperature}"));
            assert_eq!(found["protocol"]["temperature"], temperature, "{name}");
            assert!(found["floor"].is_f64(), "{name}");
        }
    }
    // Temperature 1 is the model's own distribution, and 0 its most likely texts.
    let value = |name: &str| metric(&report, name)["value"].as_f64().unwrap();
    assert_eq!(value("self_bleu_4_at_1"), value("self_bleu_4"));
    assert_eq!(value("validity_at_1"), value("validity"));
    assert_ne!(value("self_bleu_4_at_0"), value("self_bleu_4_at_1"));
    waxwork(&["report", text(&run)]).good();
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("<h3>Temperatures</h3>") && page.contains("aria-label=\"validity across"));

    waxwork(&[&asked[..], &["--samples", "0"][..]].concat()).refused(&["--temperatures needs samples"]);
    waxwork(&["evaluate", text(&run), "--language-model", "--samples", "0"])
        .refused(&["--language-model needs samples"]);
    let (_folder, run) = trained("gan-phrases");
    waxwork(&["evaluate", text(&run), "--temperatures", "1"]).refused(&["gan", "draws texts"]);
    let (_folder, run) = trained("vae-ring");
    waxwork(&["evaluate", text(&run), "--language-model"]).refused(&["`ring`"]);
}
