//! Rows of tables: training, sampling, conditional sampling and evaluation.

use std::fs;
use std::path::{Path, PathBuf};

use waxwork_core::{Device, Tensor, store};

use crate::tables::people;
use crate::util::{check_repeats, deterministic_files, metric, resume, run_json, small_of, text, waxwork};

const FAMILIES: [&str; 4] = ["vae-table", "cvae-table", "gan-table", "cgan-table"];

/// The arguments of a small model of `recipe` on the table in `file`.
fn small(recipe: &str, file: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let table = ["--data-dir", text(file), "--set", "data.table.label=label", "--set", "train.batch_size=40"];
    small_of(recipe, out, &[&table[..], more].concat())
}

fn trained(recipe: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (people(folder.path(), "people.csv", 400, 0), folder.path().join("run"));
    waxwork(&small(recipe, &file, &run, &[])).good();
    (folder, run)
}

/// The cells of one column.
fn column(csv: &str, name: &str) -> Vec<String> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let place = header.iter().position(|column| *column == name).unwrap();
    lines.map(|line| line[place].to_owned()).collect()
}

#[test]
fn every_family_trains_on_a_table_and_repeats_exactly() {
    for recipe in FAMILIES {
        let (folder, run) = trained(recipe);
        let file = folder.path().join("people.csv");
        assert!(run.join("table.json").is_file() && run.join("samples/step-000004.csv").is_file());
        check_repeats(&run, |again| small(recipe, &file, again, &["--threads", "1"]));
        // Sampling needs only the run.
        fs::remove_file(&file).unwrap();
        let out = |name: &str| folder.path().join(name);
        let sample = |name: &str, more: &[&str]| {
            waxwork(&[&["sample", text(&run), "--out", text(&out(name))], more].concat()).good();
            fs::read_to_string(out(name)).unwrap()
        };
        let (few, many) =
            (sample("few.csv", &["-n", "7"]), sample("many.csv", &["-n", "230", "--threads", "1"]));
        assert!(many.starts_with(&few), "{recipe}: {few}");
        assert_eq!((many.lines().count(), many.lines().next()), (231, Some("age,town,cost,label")));
        for town in column(&many, "town") {
            assert!(["york", "leeds", "hull"].contains(&town.as_str()), "{town}");
        }
        for age in column(&many, "age") {
            let value: f64 = age.parse().unwrap();
            assert!((20.0..80.0).contains(&value) && age.len() == 4, "one decimal: {age}");
        }
        waxwork(&["export", text(&run)]).good();
    }
}

/// Its weights are those of a run without calibration, except in the layer that makes rows; nothing else
/// differs but the quantile maps, so a run can be resumed from any checkpoint.
#[test]
fn calibration_changes_only_the_last_layer_of_the_final_weights() {
    let folder = tempfile::tempdir().unwrap();
    let file = people(folder.path(), "people.csv", 2000, 0);
    for recipe in FAMILIES {
        let (plain, run) = (folder.path().join(format!("{recipe}-plain")), folder.path().join(recipe));
        let many = ["--set", "data.limit=1200"];
        let uncalibrated = [&many[..], &["--set", "train.calibrate=false"]].concat();
        waxwork(&small(recipe, &file, &plain, &uncalibrated)).good();
        waxwork(&small(recipe, &file, &run, &many)).good();
        assert!(!fs::read_to_string(plain.join("recipe.toml")).unwrap().contains("calibrate"), "{recipe}");
        let (mut before, mut after) = (deterministic_files(&plain), deterministic_files(&run));
        for name in
            ["recipe.toml", "model.safetensors", "quantiles.json", "step-000004.csv", "step-000004.png"]
        {
            let [before, after] = [&mut before, &mut after].map(|files| files.remove(Path::new(name)));
            assert_ne!(before, after, "{recipe}: {name}");
        }
        assert_eq!(before, after, "{recipe}");

        let weights = |run: &Path| store::load(&run.join("model.safetensors"), &Device::Cpu).unwrap();
        let (before, after) = (weights(&plain), weights(&run));
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let differ = before.iter().filter(|(name, tensor)| values(tensor) != values(&after[*name]));
        let differ: Vec<&str> = differ.map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = match recipe {
            "cgan-table" => &["generator.output.bias", "generator.output.weight"],
            "gan-table" => &["generator.output.bias"],
            _ => &["decoder.output.bias"],
        };
        assert_eq!(differ, expected, "{recipe}");
    }
    let digits = folder.path().join("digits");
    waxwork(&small_of("vae-digits", &digits, &["--set", "train.calibrate=true"]))
        .refused(&["train.calibrate", "only models of table rows"]);
    assert!(!digits.exists());
}

/// All numbers of the table are multiples of 3, and a network does not know it.
#[test]
fn the_numbers_of_sampled_rows_are_those_of_training_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let row = |i: u32| format!("{},{}\n", 3 + 3 * (i * 7919 % 80), ["no", "yes"][(i % 5 / 4) as usize]);
    fs::write(path("hours.csv"), format!("hours,label\n{}", (0..1000).map(row).collect::<String>())).unwrap();
    // The number of other numbers in 300 rows.
    let others = |run: &Path, more: &[&str]| {
        let out = path("rows.csv");
        waxwork(&[&["sample", text(run), "-n", "300", "--out", text(&out)], more].concat()).good();
        let hours = column(&fs::read_to_string(out).unwrap(), "hours");
        hours.iter().filter(|hours| !hours.parse::<u32>().unwrap().is_multiple_of(3)).count()
    };
    let mapped = |run: &Path| {
        let others = others(run, &[]);
        // Modes of a handful of rows have no map.
        assert!(others < 10, "{others} of 300 rows of {}", run.display());
    };
    let unmapped = |run: &Path, more: &[&str]| {
        let others = others(run, more);
        assert!(others > 100, "{others} of 300 rows of {}", run.display());
    };
    for recipe in ["vae-table", "cgan-table"] {
        let run = path(recipe);
        waxwork(&small(recipe, &path("hours.csv"), &run, &["--set", "data.limit=600"])).good();
        mapped(&run);
        // The weights of a checkpoint have no maps.
        unmapped(&run, &["--raw"]);
        let maps = run.join("quantiles.json");
        let whole = fs::read(&maps).unwrap();
        for damaged in [Some(&whole[1..]), None] {
            match damaged {
                Some(bytes) => fs::write(&maps, bytes).unwrap(),
                None => fs::remove_file(&maps).unwrap(),
            }
            waxwork(&["sample", text(&run), "--out", text(&path("x.csv"))]).refused(&["quantiles.json"]);
            resume(&run).good();
            assert!(fs::read(&maps).unwrap() == whole, "{recipe}");
        }
        if recipe == "vae-table" {
            let fitted = path("fitted");
            waxwork(&["fit-prior", text(&run), "--components", "2", "--out", text(&fitted)]).good();
            mapped(&fitted);
            assert!(fs::read(fitted.join("quantiles.json")).unwrap() != whole);
        }

        // A run of an older version.
        fs::remove_file(&maps).unwrap();
        let mut info = run_json(&run);
        assert!(info.as_object_mut().unwrap().remove("quantiles_sha256").is_some());
        fs::write(run.join("run.json"), info.to_string()).unwrap();
        unmapped(&run, &[]);
    }
}

#[test]
fn rows_are_requested_by_value_or_like_those_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, run) = (people(folder.path(), "people.csv", 400, 0), folder.path().join("run"));
    let train =
        ["train", "cgan-table", "--data-dir", text(&file), "--out", text(&run), "-q", "--steps", "150"];
    let quickly =
        ["--set", "train.batch_size=40", "--set", "optimizer.lr=3e-3", "--set", "optimizer.ema=0.9"];
    waxwork(&[&train[..], &quickly].concat()).good();
    let out = folder.path().join("rows.csv");
    let sample = |more: &[&str]| waxwork(&[&["sample", text(&run), "--out", text(&out)], more].concat());
    let said = sample(&["-n", "200", "--where", "town=hull"]).good().stdout;
    let towns = column(&fs::read_to_string(&out).unwrap(), "town");
    let share = towns.iter().filter(|town| *town == "hull").count() as f64 / 200.0;
    assert!(share > 0.8, "{said}");
    assert!(said.contains(&format!("{:.1} % of them have town=hull", 100.0 * share)), "{said}");
    let said = sample(&["-n", "200", "--where", "town=york", "--where", "label=no"]).good().stdout;
    assert!(said.contains("have town=york and label=no"), "{said}");

    let like = folder.path().join("like.csv");
    fs::write(&like, "town,height\nleeds,3\nhull,4\n").unwrap();
    sample(&["-n", "200", "--like", text(&like), "--columns", "town"]).good();
    let towns = column(&fs::read_to_string(&out).unwrap(), "town");
    let obey = towns.iter().enumerate().filter(|(i, town)| **town == ["leeds", "hull"][i % 2]).count();
    assert!(obey > 160, "{obey} of 200");

    sample(&["--where", "town=hul"]).refused(&["`town`", "`hul`", "did you mean `hull`"]);
    sample(&["--where", "age=3"]).refused(&["`age`", "number", "only categories"]);
    sample(&["--where", "twon=hull"]).refused(&["twon", "did you mean `town`"]);
    sample(&["--where", "town"]).refused(&["COLUMN=VALUE"]);
    sample(&["--labels", "3"]).refused(&["--where"]);
    fs::write(&like, "town\nparis\n").unwrap();
    sample(&["--like", text(&like), "--columns", "town"]).refused(&["paris", "town"]);
    let picture = folder.path().join("rows.gif");
    waxwork(&["sample", text(&run), "--out", text(&picture)]).refused(&[".csv or .parquet"]);
    let plain = folder.path().join("plain");
    waxwork(&small("gan-table", &file, &plain, &[])).good();
    waxwork(&["sample", text(&plain), "--where", "town=hull"])
        .refused(&["gan models cannot be used with --where"]);
}

#[test]
fn generated_rows_are_measured_and_shown() {
    for recipe in ["vae-table", "cgan-table"] {
        let (folder, run) = trained(recipe);
        let report = waxwork(&["evaluate", text(&run), "--samples", "300", "--json"]).good().stdout;
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        for name in ["quality", "sdgym_f1", "c2st_boosting_auc", "nearer_to_training"] {
            assert!(metric(&report, name)["value"].is_number(), "{recipe}: {name}");
        }
        let asked = metric(&report, "condition_agreement_min")["value"].as_f64();
        assert_eq!(asked.is_some_and(|share| (0.0..=1.0).contains(&share)), recipe == "cgan-table");
        assert_eq!(metric(&report, "neg_elbo")["value"].is_number(), recipe == "vae-table");
        assert!(fs::read_to_string(run.join("README.md")).unwrap().contains("rows of"));
        waxwork(&["report", text(&run)]).good();
        for command in ["interpolate", "traverse"] {
            let out = folder.path().join(format!("{command}.png"));
            waxwork(&[command, text(&run), "--out", text(&out)]).good();
            assert!(out.is_file(), "{command}");
        }
    }
}

#[test]
fn a_table_needs_only_its_file_and_clinic_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = people(folder.path(), "people.csv", 90, 0);
    let run = folder.path().join("run");
    let train = ["train", "cgan-table", "--data-dir", text(&file), "--steps", "2", "--out", text(&run)];
    // Batches of 500 shrink to the size that 66 training rows in packs of ten allow.
    let said = waxwork(&train).good().stderr;
    assert!(said.contains("the table has 66 training rows: batches of 60 instead of 500"), "{said}");
    let forecast = waxwork(&[&train[..], &["--dry-run"]].concat()).good().stdout;
    assert!(forecast.contains("# columns: a row is ") && forecast.contains("town 3"), "{forecast}");
    let clinic = folder.path().join("clinic");
    waxwork(&["train", "vae-clinic", "--steps", "2", "--out", text(&clinic), "-q"]).good();
    let out = folder.path().join("rows.csv");
    waxwork(&["sample", text(&clinic), "-n", "20", "--out", text(&out)]).good();
    assert!(fs::read_to_string(&out).unwrap().starts_with("age,sex,region,smoker"));
    waxwork(&["train", "vae-table", "--steps", "2"]).refused(&["data.dir", "--data-dir"]);
    waxwork(&["train", "vae-digits", "--data", "table", "--data-dir", text(&file), "--steps", "2"])
        .refused(&["needs images"]);
    waxwork(&["train", "vae-table", "--data-dir", text(&folder.path().join("no.csv"))]).refused(&["no.csv"]);
}
