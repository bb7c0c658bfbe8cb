//! Behaviour that all model families share, and some that only a few have: training, resuming, sampling by
//! label, paths through latent space, nearest neighbours, evaluation.

use std::path::Path;

use crate::util::{deterministic_files, metric, small_of, tensor, text, trained, waxwork};

const RECIPES: [&str; 4] = ["vae-digits", "gan-digits", "cvae-digits", "cgan-digits"];
const LITTLE: [&str; 4] = ["--set", "train.checkpoint_every=2", "--set", "train.sample_every=2"];

#[test]
fn every_family_gives_the_same_bytes_for_any_thread_count_and_after_a_resume() {
    for recipe in RECIPES.into_iter().chain(["cvae-digits-holes"]) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        waxwork(&small_of(recipe, &path("whole"), &LITTLE)).good();
        waxwork(
            &[&small_of(recipe, &path("threads"), &LITTLE)[..], &["--threads".into(), "1".into()]].concat(),
        )
        .good();
        let broken = path("broken");
        waxwork(&small_of(recipe, &broken, &LITTLE)).good();
        std::fs::remove_file(broken.join("model.safetensors")).unwrap();
        std::fs::remove_dir_all(broken.join("checkpoints/step-000004")).unwrap();
        let info = std::fs::read_to_string(broken.join("run.json")).unwrap();
        std::fs::write(broken.join("run.json"), info.replace("\"finished\"", "\"running\"")).unwrap();
        waxwork(&["train", "--resume", text(&broken), "-q"]).good();
        let whole = deterministic_files(&path("whole"));
        assert_eq!(whole, deterministic_files(&path("threads")), "{recipe}");
        assert_eq!(whole, deterministic_files(&broken), "{recipe}");
    }
}

#[test]
fn labels_are_used_in_turn_and_invalid_labels_are_refused() {
    for recipe in ["cvae-digits", "cgan-digits"] {
        let (folder, run) = trained(recipe);
        let images = |labels: &str| {
            let out = folder.path().join("images.safetensors");
            waxwork(&["sample", text(&run), "-n", "20", "--labels", labels, "--out", text(&out)]).good();
            (tensor(&out, "images").flatten_all().unwrap().to_vec1::<f32>().unwrap(), tensor(&out, "labels"))
        };
        let (all, labels) = images("0..9");
        assert_eq!(labels.to_vec1::<u32>().unwrap()[8..12], [8, 9, 0, 1]);
        let (sevens, _) = images("7");
        // The same latent gives the same image with the same label, and another image with another label.
        assert_eq!(all[7 * 784..8 * 784], sevens[7 * 784..8 * 784]);
        assert_ne!(all[..784], sevens[..784]);
        waxwork(&["sample", text(&run), "--labels", "3..12"])
            .refused(&["no class `10`", "the classes are 0, 1, 2"]);
        waxwork(&["sample", text(&run), "--labels", "9..3"]).refused(&["9..3"]);
        let far = folder.path().join("between.png");
        waxwork(&["interpolate", text(&run), "-n", "2", "--labels", "3,8", "--out", text(&far)]).good();
        waxwork(&["interpolate", text(&run), "--labels", "1,2,3"]).refused(&["two"]);
        waxwork(&["traverse", text(&run), "--dims", "0,1", "--label", "5"]).good();
        waxwork(&["traverse", text(&run), "--dims", "1000"]).refused(&["no latent dimension 1000"]);
    }
}

#[test]
fn an_unconditional_model_refuses_labels() {
    let (_folder, run) = trained("gan-digits");
    waxwork(&["sample", text(&run), "--labels", "7"]).refused(&["unconditional"]);
    waxwork(&["interpolate", text(&run), "--labels", "7"]).refused(&["unconditional"]);
    waxwork(&["traverse", text(&run), "--label", "7"]).refused(&["unconditional"]);
    waxwork(&["reconstruct", text(&run)]).refused(&["no encoder"]);
    waxwork(&["interpolate", text(&run)]).good();
    assert!(run.join("interpolation.png").is_file());
}

#[test]
fn raw_weights_and_truncation_change_the_samples() {
    let (folder, run) = trained("gan-digits");
    let images = |more: &[&str]| {
        let out = folder.path().join("images.safetensors");
        waxwork(&[&["sample", text(&run), "-n", "4", "--out", text(&out)], more].concat()).good();
        tensor(&out, "images").flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let plain = images(&[]);
    assert_ne!(plain, images(&["--raw"]));
    assert_ne!(plain, images(&["--truncation", "0.5"]));
    // No draw is larger than this, so nothing is redrawn.
    assert_eq!(plain, images(&["--truncation", "9"]));
    waxwork(&["sample", text(&run), "--truncation", "0"]).refused(&["truncation"]);
}

#[test]
fn neighbours_and_evaluation_need_no_encoder() {
    let (_folder, run) = trained("cgan-digits");
    let call = waxwork(&["sample", text(&run), "-n", "12", "--neighbours"]).good();
    assert!(call.stdout.contains("nearest of 200 training images"), "{}", call.stdout);
    assert!(run.join("neighbours.png").is_file());
    let call = waxwork(&["evaluate", text(&run), "--samples", "100"]).good();
    assert!(call.stdout.contains("judge_agreement"), "{}", call.stdout);
    let metrics = std::fs::read_to_string(run.join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let of = |name: &str| metric(&metrics, name);
    let frechet = of("judge_frechet");
    assert_eq!(frechet["protocol"]["n_generated"], "100");
    assert!(frechet["value"].as_f64().unwrap() > frechet["floor"].as_f64().unwrap());
    assert!(of("neg_elbo").is_null() && of("fid").is_null());
    waxwork(&["evaluate", text(&run), "--samples", "0"]).refused(&["--samples"]);
}

#[test]
fn metrics_are_compared_only_under_one_protocol() {
    let (_one, a) = trained("gan-digits");
    let (folder, b) = trained("cgan-digits");
    let call = waxwork(&["compare", text(&a)]).good();
    for word in ["tensor elements in the model", "has no evaluation", "waxwork evaluate"] {
        assert!(call.stdout.contains(word), "{}", call.stdout);
    }
    for run in [&a, &b] {
        waxwork(&["evaluate", text(run), "--samples", "100"]).good();
    }
    let call = waxwork(&["compare", text(&a), text(&b)]).good();
    for word in
        ["judge_frechet", "tensor elements", "ms per 100 samples", "MFLOP per sample", "peak training memory"]
    {
        assert!(call.stdout.contains(word), "{}", call.stdout);
    }
    // Another seed of the same recipe shares its column, as mean and spread.
    let seed = folder.path().join("other-seed");
    waxwork(&small_of("gan-digits", &seed, &["--seed", "9"])).good();
    waxwork(&["evaluate", text(&seed), "--samples", "100"]).good();
    let call = waxwork(&["compare", text(&a), text(&seed)]).good();
    assert!(call.stdout.contains("and 1 more seeds") && call.stdout.contains('±'), "{}", call.stdout);

    waxwork(&["evaluate", text(&b), "--samples", "50"]).good();
    let call = waxwork(&["compare", text(&a), text(&b)]).good();
    let row = |name: &str| call.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(row("judge_frechet").split_whitespace().skip(1).collect::<Vec<_>>(), ["not", "compared"]);
    let elements = row("tensor elements in the model");
    assert!(elements.split_whitespace().count() == 5 + 2, "{}", call.stdout);
    let why = format!("not compared, {} against {}: n_generated: 100 against 50 (judge_", text(&a), text(&b));
    assert!(call.stdout.contains(&why), "{}", call.stdout);
    // Text, JSON and page agree.
    let json = waxwork(&["compare", text(&a), text(&b), "--json"]).good().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for column in json.as_array().unwrap() {
        assert!(
            column["values"].get("judge_frechet").is_none()
                && column["costs"]["tensor elements in the model"].is_number()
        );
        assert!(column["not_compared"]["judge_frechet"][0].as_str().unwrap().contains("100 against 50"));
    }
    let page = folder.path().join("both.html");
    let said = waxwork(&["compare", text(&a), text(&b), "--html", text(&page)]).good().stdout;
    assert!(said.contains(&why), "{said}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("not compared:"));
}

#[test]
fn invalid_configurations_are_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let refused = |recipe: &str, setting: &str, words: &[&str]| {
        waxwork(&small_of(recipe, &run, &["--set", setting])).refused(words);
        assert!(!run.exists(), "{setting}");
    };
    refused("gan-digits", "model.penalty={kind=\"gradient\",weight=-1}", &["model.penalty"]);
    let batch_norm = "model.discriminator={kind=\"mlp\",hidden=[8],norm=\"batch\"}";
    refused("gan-digits", batch_norm, &["model.discriminator.norm"]);
    refused("gan-digits", "model.conditioning={kind=\"projection\"}", &["cgan"]);
    refused("gan-digits", "model.n_critic=0", &["model.n_critic"]);
    refused("gan-digits", "model.generator={kind=\"dcgan\",channels=[8,8,8]}", &["multiples of 8"]);
    refused("vae-digits", "model.prior=label", &["model.prior", "cvae"]);
    refused("cgan-digits", "train.batch_size=4000", &["train.batch_size"]);
}

#[test]
fn images_in_a_file_get_the_metrics_of_their_run() {
    let (folder, run) = trained("cgan-digits");
    waxwork(&["evaluate", text(&run), "--samples", "60"]).good();
    let file = folder.path().join("theirs.safetensors");
    waxwork(&["sample", text(&run), "-n", "60", "--labels", "0..9", "--out", text(&file)]).good();
    waxwork(&["evaluate", "--samples", text(&file), "--data", "digits"]).good();
    let report = |path: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (ours, theirs) =
        (report(&run.join("metrics.json")), report(&folder.path().join("theirs.metrics.json")));
    for name in ["judge_agreement", "judge_frechet", "judge_recall", "distance_to_training"] {
        assert_eq!(metric(&ours, name), metric(&theirs, name), "{name}");
        assert!(metric(&ours, name)["value"].is_number(), "{name}");
    }
    let compared = waxwork(&["compare", text(&run), text(&folder.path().join("theirs.metrics.json"))]).good();
    assert!(compared.stdout.contains("judge_frechet"), "{}", compared.stdout);

    // In a folder per class, the images and labels are the same, but their order is different.
    let pictures = folder.path().join("pictures");
    waxwork(&["sample", text(&run), "-n", "60", "--labels", "0..9", "--out", text(&pictures)]).good();
    waxwork(&["evaluate", "--samples", text(&pictures), "--data", "digits"]).good();
    let theirs = report(&pictures.join("metrics.json"));
    let frechet = |report| metric(report, "judge_frechet")["value"].as_f64().unwrap();
    assert!(
        (frechet(&ours) / frechet(&theirs) - 1.0).abs() < 1e-9,
        "{} {}",
        frechet(&ours),
        frechet(&theirs)
    );
    assert_eq!(metric(&ours, "judge_agreement"), metric(&theirs, "judge_agreement"));
    assert!(metric(&theirs, "distance_to_training")["floor"].as_f64().unwrap() > 0.0);

    waxwork(&["evaluate", "--samples", text(&file)]).refused(&["--data"]);
    waxwork(&["evaluate", "--samples", text(&file), "--data", "shapes"])
        .refused(&["theirs.safetensors", "32"]);
    waxwork(&["evaluate", "--samples", "no-such.npy", "--data", "digits"]).refused(&["no-such.npy"]);
    waxwork(&["evaluate"]).refused(&["--samples"]);
    waxwork(&["evaluate", text(&run), "--inception", "weights.pth"]).refused(&["to_safetensors.py"]);
}

#[test]
fn a_page_asks_which_image_is_real() {
    let (_folder, run) = trained("gan-digits");
    waxwork(&["rate", text(&run), "-n", "20"]).good();
    let page = std::fs::read_to_string(run.join("rate.html")).unwrap();
    let field = |name: &str| -> serde_json::Value {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("const {name} = "))).unwrap();
        serde_json::from_str(line.trim_end_matches(';')).unwrap()
    };
    let (questions, intervals) = (field("questions"), field("intervals"));
    assert_eq!((questions.as_array().unwrap().len(), intervals.as_array().unwrap().len()), (20, 21));
    let on_the_left = questions.as_array().unwrap().iter().filter(|question| question[2] == "left").count();
    assert!((3..=17).contains(&on_the_left), "{on_the_left}");
    assert!(questions[0][0].as_str().unwrap().starts_with("data:image/png;base64,iVBOR"));
    assert!(!page.contains("http") && !page.contains("{{"), "the page needs nothing else");
    waxwork(&["rate", text(&run), "-n", "0"]).refused(&["--count", "at least 1"]);
}

#[test]
fn several_seeds_give_several_runs_in_one_column_of_compare() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("runs");
    waxwork(&small_of("vae-digits", &out, &["--seeds", "2", "--seed", "5"])).good();
    let runs = [5, 6].map(|seed| folder.path().join(format!("runs-seed-{seed}")));
    let alone = folder.path().join("alone");
    waxwork(&small_of("vae-digits", &alone, &["--seed", "6"])).good();
    assert_eq!(deterministic_files(&runs[1]), deterministic_files(&alone));
    for run in &runs {
        let call = waxwork(&["evaluate", text(run), "--samples", "0"]).good();
        for name in [
            "active_units",
            "reconstruction_rms",
            "mutual_information ",
            "probe_r2_slant",
            "mutual_information_gap",
        ] {
            assert!(call.stdout.contains(name), "{}", call.stdout);
        }
    }
    let compared = waxwork(&["compare", text(&runs[0]), text(&runs[1])]).good();
    assert!(
        compared.stdout.contains("1 more seeds") && compared.stdout.contains(" ± "),
        "{}",
        compared.stdout
    );
}
