//! Batches in parts (micro-batches), commands that resume their own run, and sweeps of such commands.

use std::path::Path;

use crate::util::{deterministic_files, last_checkpoint, small_of, text, unfinish, waxwork};

/// The arguments of a small run with four parts per batch.
fn in_parts(recipe: &str, run: &Path, more: &[&str]) -> Vec<String> {
    let mut all = vec!["--set", "train.micro_batches=4", "--set", "train.checkpoint_every=2"];
    all.extend(more);
    small_of(recipe, run, &all)
}

#[test]
fn parts_give_the_same_bytes_for_any_number_of_threads_and_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    for recipe in ["vae-digits", "cgan-digits"] {
        let [one, three, broken] =
            ["one", "three", "broken"].map(|name| folder.path().join(name).join(recipe));
        waxwork(&in_parts(recipe, &one, &["--threads", "1"])).good();
        waxwork(&in_parts(recipe, &three, &["--threads", "3"])).good();
        assert_eq!(deterministic_files(&one), deterministic_files(&three), "{recipe}");
        let whole = in_parts(recipe, &broken, &["--continue"]);
        waxwork(&whole).good();
        // As after a kill that follows the third step.
        std::fs::remove_dir_all(last_checkpoint(&broken)).unwrap();
        unfinish(&broken);
        waxwork(&whole).good();
        assert_eq!(deterministic_files(&one), deterministic_files(&broken), "{recipe}");
    }
}

#[test]
fn invalid_numbers_of_parts_are_refused_before_a_run_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let with = |recipe: &str, settings: &[&str]| {
        let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        waxwork(&small_of(recipe, &run, &more))
    };
    with("vae-digits", &["train.micro_batches=3"]).refused(&["train.micro_batches", "power of two"]);
    with("vae-digits", &["train.micro_batches=32"]).refused(&["train.micro_batches", "16 samples", "32"]);
    with("gan-digits", &["train.micro_batches=8", "model.pack=4"]).refused(&["train.micro_batches"]);
    assert!(!run.exists());
}

#[test]
fn the_same_command_starts_and_resumes_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let command = small_of("vae-digits", &run, &["--continue"]);
    waxwork(&command).good();
    let files = deterministic_files(&run);
    let said = waxwork(&command).good().stdout;
    assert!(said.contains("already finished"), "{said}");
    assert_eq!(deterministic_files(&run), files);
    let other = small_of("vae-digits", &run, &["--continue", "--set", "optimizer.lr=0.5"]);
    waxwork(&other).refused(&["optimizer.lr", "different settings"]);
    waxwork(&["train", "vae-digits", "--continue"]).refused(&["required arguments"]);
}

#[test]
fn a_sweep_trains_every_job_once_and_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (file, runs) = (folder.path().join("rates.toml"), folder.path().join("runs"));
    let sweep = format!(
        "recipe = 'vae-digits'\nout = {:?}\nseeds = [3, 4]\n\
         set = {{ 'train.steps' = 2, 'train.batch_size' = 16, 'data.limit' = 200, 'data.validation' = 64 }}\n\
         [grid]\n'optimizer.lr' = [1e-3, 2e-3]\n",
        text(&runs)
    );
    std::fs::write(&file, sweep).unwrap();
    let list = waxwork(&["sweep", text(&file)]).good().stdout;
    assert_eq!(list.lines().count(), 4);
    assert!(!runs.exists(), "to print trains nothing");
    let first = list.lines().next().unwrap();
    let words = shlex::split(first).unwrap();
    waxwork(&words[1..]).good();
    let done = runs.join("lr-0.001_seed-3");
    let files = deterministic_files(&done);
    let before = std::fs::metadata(done.join("model.safetensors")).unwrap().modified().unwrap();

    let said = waxwork(&["sweep", text(&file), "--run", "-q"]).good().stdout;
    assert!(said.contains("all 4 jobs are finished"), "{said}");
    assert_eq!(deterministic_files(&done), files);
    let after = std::fs::metadata(done.join("model.safetensors")).unwrap().modified().unwrap();
    assert_eq!(before, after, "what is finished is not trained again");

    let script = waxwork(&["sweep", text(&file), "--slurm"]).good().stdout;
    assert_eq!(script, format!("sbatch {}\n", text(&runs.join("array.sh"))));
    let script = std::fs::read_to_string(runs.join("array.sh")).unwrap();
    let requeue = "scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\"";
    assert!(script.contains("#SBATCH --array=1-4\n") && script.contains(requeue), "{script}");
    assert!(script.contains("\nsrun -n 1 "), "SLURM signals steps only: {script}");
    let jobs = std::fs::read_to_string(runs.join("jobs.txt")).unwrap();
    assert_eq!(jobs, list);
    let parallel = waxwork(&["sweep", text(&file), "--parallel"]).good().stdout;
    assert!(parallel.starts_with("parallel --joblog ") && parallel.ends_with("jobs.txt\n"), "{parallel}");

    let table = waxwork(&["compare", text(&runs), "--json"]).good().stdout;
    let columns: serde_json::Value = serde_json::from_str(&table).unwrap();
    let runs = columns.as_array().unwrap().iter().map(|column| column["runs"].as_array().unwrap().len());
    assert_eq!(runs.collect::<Vec<_>>(), [2, 2], "{table}");
}

#[test]
fn a_launch_without_working_mpi_says_what_to_do() {
    let started = |more: &[(&str, &str)], arguments: &[&str]| {
        let mut command = crate::util::command(arguments);
        command.envs(more.iter().copied());
        crate::util::finished(&command.output().unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = ["train", "vae-digits", "--out", text(&run), "--steps", "1"];
    let of_four = [("PMI_RANK", "0"), ("PMI_SIZE", "4"), ("WAXWORK_MPI", "/nonexistent/libmpi.so")];
    started(&of_four, &train).refused(&["4 processes", "/nonexistent/libmpi.so", "WAXWORK_MPI"]);
    for shared in ["evaluate", "sample"] {
        started(&of_four, &[shared, text(&run)]).refused(&["4 processes", "/nonexistent/libmpi.so"]);
    }
    started(&[("PMI_RANK", "0"), ("PMI_SIZE", "3")], &train).refused(&["3 processes", "1, 2, 4, 8"]);
    started(&[("PMI_RANK", "0"), ("PMI_SIZE", "2")], &["recipes", "list"])
        .refused(&["waxwork train", "WAXWORK_MPI=none"]);
    started(&[("PMI_RANK", "x"), ("PMI_SIZE", "2")], &train).refused(&["PMI_RANK", "`x`"]);
    assert!(!run.exists());
    let farm = [("PMI_RANK", "0"), ("PMI_SIZE", "2"), ("WAXWORK_MPI", "none")];
    started(&farm, &["recipes", "list"]).good();
}
