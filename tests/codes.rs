//! VAEs whose latents are maps of codes: training in two parts, encoding and decoding, and unsupported
//! commands.

use std::path::Path;

use waxwork_core::npy;

use crate::util::{deterministic_files, metric, resume, small_of, text, trained, unfinish, waxwork};

const VQ: [&str; 4] = ["--set", "model.latent={kind=\"vq\",codebook=12}", "--set", "model.latent_dim=4"];
const NOTHING_MORE: [&str; 0] = [];
const OFTEN: [&str; 6] =
    ["--set", "train.checkpoint_every=1", "--set", "train.keep=9", "--set", "train.sample_every=2"];

/// The lines of training steps in a run's log.
fn steps(run: &Path) -> Vec<serde_json::Value> {
    let lines = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["validation/neg_elbo"].is_null()).collect()
}

/// Steps 1 and 2 train the networks, steps 3 and 4 the prior.
#[test]
fn runs_of_codes_have_the_same_bytes_for_any_threads_and_after_an_interruption_in_either_part() {
    for (recipe, settings) in [
        ("vae-digits-fsq", &NOTHING_MORE[..]),
        ("cvae-digits-fsq", &NOTHING_MORE[..]),
        ("cvae-digits-fsq", &VQ[..]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let half = ["--set", "model.prior={autoregressive={embedding=4,hidden=8,share=0.5}}"];
        let settings = [&OFTEN[..], &half[..], settings].concat();
        waxwork(&small_of(recipe, &path("whole"), &settings)).good();
        let whole = deterministic_files(&path("whole"));
        let threads = [&settings[..], &["--threads", "1"]].concat();
        waxwork(&small_of(recipe, &path("threads"), &threads)).good();
        assert_eq!(whole, deterministic_files(&path("threads")), "{recipe}");
        for done in 1..=3 {
            let broken = path("broken");
            waxwork(&small_of(recipe, &broken, &settings)).good();
            unfinish(&broken);
            for step in done + 1..=4 {
                std::fs::remove_dir_all(broken.join(format!("checkpoints/step-{step:06}"))).unwrap();
            }
            resume(&broken).good();
            assert_eq!(whole, deterministic_files(&broken), "{recipe} from step {done}");
            std::fs::remove_dir_all(&broken).unwrap();
        }
        let steps = steps(&path("whole"));
        assert_eq!(steps.len(), 4);
        for (number, line) in steps.iter().enumerate() {
            assert!(line["codes/use"].is_number() && line["codes/perplexity"].is_number(), "{line}");
            assert_eq!(line["reconstruction"].is_number(), number < 2, "{line}");
            assert_eq!(line["bits"].is_number(), number >= 2, "{line}");
        }
    }
}

#[test]
fn codes_are_written_read_measured_and_drawn() {
    let (folder, run) = trained("cvae-digits-fsq");
    let path = |name: &str| folder.path().join(name);
    let told = waxwork(&["encode", text(&run), "--out", text(&path("codes.npy"))]).good().stdout;
    assert!(told.contains("maps of 49 codes, each from 0 to 124"), "{told}");
    let codes = npy::load(&path("codes.npy")).unwrap();
    assert_eq!(codes.dim(1).unwrap(), 49);
    let values = codes.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values.iter().all(|code| code.fract() == 0.0 && (0.0..125.0).contains(code)));
    let five = codes.narrow(0, 0, 5).unwrap();
    npy::save(&path("five.npy"), &five).unwrap();
    let decode = |codes: &str| {
        waxwork(&[
            "decode",
            text(&run),
            text(&path(codes)),
            "--labels",
            "7",
            "--out",
            text(&path("back.npy")),
        ])
    };
    decode("five.npy").good();
    assert_eq!(npy::load(&path("back.npy")).unwrap().dims(), [5, 1, 28, 28]);
    npy::save(&path("wrong.npy"), &five.affine(1.0, 0.5).unwrap()).unwrap();
    decode("wrong.npy").refused(&["latents", "[0, 0]", "whole number"]);
    npy::save(&path("large.npy"), &five.affine(0.0, 125.0).unwrap()).unwrap();
    decode("large.npy").refused(&["125", "less than the number of codes"]);

    waxwork(&["sample", text(&run), "--labels", "0..9", "-n", "20"]).good();
    waxwork(&["reconstruct", text(&run)]).good();
    waxwork(&["evaluate", text(&run), "--samples", "100"]).good();
    let report = std::fs::read_to_string(run.join("metrics.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let value = |name: &str| metric(&report, name)["value"].as_f64().unwrap();
    assert!(value("code_use") > 0.0 && value("code_use") <= 1.0);
    assert!((1.0..=125.0).contains(&value("code_perplexity")));
    assert!(metric(&report, "active_units").is_null());
    assert!((value("code_bits") * std::f64::consts::LN_2 - value("kl")).abs() < 1e-6);
    waxwork(&["report", text(&run)]).good();
    for file in ["README.md", "report.html"] {
        let page = std::fs::read_to_string(run.join(file)).unwrap();
        assert!(page.contains("maps of 49 codes, each one of 125"), "{file}");
    }
    for part in ["decoder", "encoder"] {
        waxwork(&["export", text(&run), "--part", part]).good();
        assert!(run.join(part).with_extension("onnx").is_file());
    }
}

#[test]
fn what_codes_do_not_have_is_refused_in_one_line() {
    let (folder, run) = trained("vae-digits-fsq");
    let path = |name: &str| folder.path().join(name);
    waxwork(&["interpolate", text(&run)]).refused(&["are codes", "no path"]);
    waxwork(&["traverse", text(&run)]).refused(&["are codes", "no path"]);
    waxwork(&["fit-prior", text(&run)]).refused(&["discrete vae models have no prior to fit"]);
    waxwork(&["sample", text(&run), "--truncation", "0.5"]).refused(&["truncation", "codes"]);
    waxwork(&["export", text(&run), "--part", "prior"]).refused(&["no prior", "decoder, encoder"]);
    waxwork(&["export", text(&run), "--format", "web"]).refused(&["latents of this run are codes"]);
    let settings = [
        ("model.latent={kind=\"fsq\",levels=[8,5]}", ["model.latent.levels", "3 values"]),
        ("model.latent={kind=\"fsq\",levels=[8,5,1]}", ["model.latent.levels", "at least 3 levels"]),
        ("model.latent={kind=\"vq\",codebook=1}", ["model.latent.codebook", "from 2"]),
        ("model.latent={kind=\"vq\",size=9}", ["model.latent", "size"]),
        ("model.latent={kind=\"gaussian\",levels=[8]}", ["model.latent.levels", "no such key"]),
        ("model.prior=\"standard\"", ["model.prior", "autoregressive"]),
        ("model.beta=2.0", ["model.beta", "leave it out"]),
        ("model.network={kind=\"mlp\",hidden=[9]}", ["model.network", "kind conv"]),
        (
            "model.network={kind=\"conv\",channels=[2,3,4],hidden=9}",
            ["model.network.channels", "multiples of 8"],
        ),
    ];
    for (number, (setting, words)) in settings.iter().enumerate() {
        let out = path(&format!("no-{number}"));
        waxwork(&small_of("vae-digits-fsq", &out, &["--set", setting])).refused(words);
    }
}
