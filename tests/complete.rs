//! `waxwork complete`, and the behaviour of other commands with a run that completes images.

use image::{GrayImage, Luma};
use waxwork_core::Tensor;

use crate::util::{metric, small_of, text, trained, waxwork};

const RECIPE: &str = "cvae-digits-holes";
const PIXELS: usize = 28 * 28;

fn values(npy: &std::path::Path) -> Vec<f32> {
    Tensor::read_npy(npy).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn given_pixels_stay_as_they_are_and_the_others_are_drawn() {
    let (folder, run) = trained(RECIPE);
    let path = |name: &str| folder.path().join(name);
    let picture = GrayImage::from_fn(28, 28, |x, y| Luma([(x * 5 + y * 3) as u8]));
    picture.save(path("picture.png")).unwrap();
    // The upper half is missing.
    let mask = GrayImage::from_fn(28, 28, |_, y| Luma([if y < 14 { 200 } else { 20 }]));
    mask.save(path("mask.png")).unwrap();
    let (picture_path, mask_path) = (path("picture.png"), path("mask.png"));
    let complete = |out: &str, more: &[&str]| {
        let out = path(out);
        let fixed = ["complete", text(&run), text(&picture_path), "--out", text(&out)];
        waxwork(&[&fixed[..], more].concat()).good();
        out
    };
    let masked = ["--mask", text(&mask_path), "-n", "3"];
    let made = complete("made.npy", &masked);
    assert_eq!(Tensor::read_npy(&made).unwrap().dims(), [3, 1, 28, 28]);
    let made = values(&made);
    for draw in made.chunks(PIXELS) {
        for (place, (value, byte)) in draw.iter().zip(picture.as_raw()).enumerate() {
            if place >= PIXELS / 2 {
                assert_eq!(*value, f32::from(*byte) / 255.0, "{place}");
            }
        }
    }
    let missing = |draw: usize| &made[draw * PIXELS..draw * PIXELS + PIXELS / 2];
    assert_ne!(missing(0), missing(1));
    assert!(missing(2).iter().all(|value| (0.0..=1.0).contains(value)));
    // The same with one thread, and from an array in place of a picture.
    let alone = complete("alone.npy", &[&masked[..], &["--threads", "1"]].concat());
    assert_eq!(values(&alone), made);
    let array = path("array.npy");
    let pixels: Vec<f32> = picture.as_raw().iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let pixels = Tensor::from_vec(pixels, (1, 1, 28, 28), &waxwork_core::Device::Cpu).unwrap();
    pixels.write_npy(&array).unwrap();
    let out = path("of-array.npy");
    let of_array = ["complete", text(&run), text(&array), "--out", text(&out)];
    waxwork(&[&of_array[..], &masked].concat()).good();
    assert_eq!(values(&out), made);

    let left = values(&complete("left.npy", &["--given", "left", "-n", "2", "--seed", "4"]));
    for (place, value) in left.iter().enumerate().filter(|(place, _)| place % 28 < 14) {
        assert_eq!(*value, f32::from(picture.as_raw()[place % PIXELS]) / 255.0, "{place}");
    }
    let many = complete("many", &["-n", "4"]);
    assert_eq!(std::fs::read_dir(&many).unwrap().count(), 4);
    // The part, the completions and the original; with a mask, the picture may contain anything in the white
    // area.
    let grid = complete("grid.png", &["-n", "4"]);
    assert_eq!(image::image_dimensions(&grid).unwrap(), (6 * 30 + 2, 32));
    let grid = complete("masked.png", &masked);
    assert_eq!(image::image_dimensions(&grid).unwrap(), (4 * 30 + 2, 32));
    let said = waxwork(&["complete", text(&run), "--count", "5"]).good();
    assert!(said.stdout.starts_with("5 images, each completed 8 times, in "), "{}", said.stdout);
    assert_eq!(image::image_dimensions(run.join("completions.png")).unwrap(), (302, 5 * 30 + 2));
}

#[test]
fn other_commands_know_a_run_that_completes_images() {
    let (folder, run) = trained(RECIPE);
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    for file in ["report.html", "README.md", "samples/step-000004.png"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let read = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    assert!(read("README.md").contains("`waxwork complete run`"), "{}", read("README.md"));
    assert!(read("report.html").contains("Completions"));

    let arguments = ["-n", "60", "--importance-samples", "5", "--json"];
    let measured = waxwork(&[&["evaluate", text(&run)], &arguments[..]].concat()).good();
    assert!(measured.stderr.contains("they are not compared with them"), "{}", measured.stderr);
    let report = measured.stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for name in ["neg_elbo", "neg_log_likelihood"] {
        let found = metric(&report, name);
        let words = "bernoulli on grey values, missing pixels given all but a box";
        assert_eq!(found["protocol"]["observation"], words, "{name}");
        // At most three quarters of each side are missing, so at most 441 pixels, with about ln 2 nats each.
        let value = found["value"].as_f64().unwrap();
        assert!(value > 0.0 && value < 441.0, "{name}: {value}");
    }
    assert!(metric(&report, "judge_frechet").is_null());
    waxwork(&["compare", text(&run)]).good();
    waxwork(&["export", text(&run), "--part", "prior"]).good();
    waxwork(&["encode", text(&run), "--out", &path("z.npy")]).good();
    waxwork(&["reconstruct", text(&run), "-n", "5"]).good();

    for command in [
        &["sample", text(&run)][..],
        &["interpolate", text(&run)],
        &["traverse", text(&run)],
        &["rate", text(&run)],
        &["decode", text(&run), &path("z.npy"), "--out", &path("x.npy")],
    ] {
        waxwork(command).refused(&["completes images", "waxwork complete"]);
    }
    waxwork(&["export", text(&run), "--format", "web"]).refused(&["completes images"]);
    waxwork(&["fit-prior", text(&run)]).refused(&["no prior to fit"]);
    waxwork(&["sample", text(&run), "--labels", "3"]).refused(&["no labels"]);
}

#[test]
fn what_cannot_be_completed_is_refused() {
    let (folder, run) = trained(RECIPE);
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let picture = |name: &str, side: u32, value: u8| {
        GrayImage::from_pixel(side, side, Luma([value])).save(path(name)).unwrap();
        path(name)
    };
    let (good, small) = (picture("good.png", 28, 90), picture("small.png", 10, 255));
    let black = picture("black.png", 28, 127);
    let out = path("out.png");
    let refused = |more: &[&str], words: &[&str]| {
        waxwork(&[&["complete", text(&run), "--out", &out], more].concat()).refused(words);
        assert!(!std::path::Path::new(&out).exists(), "{more:?}");
    };
    refused(&[&small], &["small.png", "10×10", "28×28"]);
    refused(&[&good, "--mask", &small], &["small.png", "10×10", "28×28"]);
    refused(&[&good, "--mask", &black], &["black.png", "no white pixel"]);
    refused(&[&good, "--mask", &black, "--given", "left"], &["--given", "--mask"]);
    refused(&[&good, "--given", "middle"], &["middle"]);
    refused(&[&good, "--count", "3"], &["--count", "IMAGE"]);
    refused(&[&path("absent.png")], &["absent.png"]);
    refused(&[&good, "-n", "0"], &["at least 1"]);
    std::fs::write(path("cut.png"), &std::fs::read(&good).unwrap()[..60]).unwrap();
    refused(&[&path("cut.png")], &["cut.png"]);
    waxwork(&["complete", text(&run), &good, "--out", "x.gif"]).refused(&[".gif", ".png"]);

    let (_other, plain) = trained("cvae-digits");
    waxwork(&["complete", text(&plain)]).refused(&["does not complete images", "model.completion"]);
    let train = |settings: &[&str], words: &[&str]| {
        let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        waxwork(&small_of(RECIPE, &folder.path().join("no"), &set)).refused(words);
    };
    train(&["model.completion.given=right"], &["given", "right"]);
    train(&["model.completion.guess_steps=3"], &["model.completion.guess_steps", "mlp"]);
    train(&["model.family=vae"], &["model.completion", "cvae"]);
    train(&["model.prior=label"], &["model.prior"]);
}

/// Two steps train the guesses, and the next two train the model.
#[test]
fn guesses_are_trained_before_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings = [
        "--set",
        "model.network={kind=\"mlp\",hidden=[32]}",
        "--set",
        "model.completion={given=\"left\",guess_steps=2}",
    ];
    waxwork(&small_of(RECIPE, &run, &settings)).good();
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line.get("guess").is_some() || line.get("loss").is_some())
        .collect();
    let guessing: Vec<bool> = steps.iter().map(|line| line.get("guess").is_some()).collect();
    assert_eq!(guessing, [true, true, false, false], "{log}");
    let mask = folder.path().join("mask.png");
    GrayImage::from_fn(28, 28, |x, _| Luma([if x < 5 { 255 } else { 0 }])).save(&mask).unwrap();
    let call = waxwork(&["complete", text(&run), "--mask", text(&mask), "--count", "2"]).good();
    assert!(call.stderr.contains("trained only to complete images in which the left half is given"));
    let call = waxwork(&["complete", text(&run), "--count", "2"]).good();
    assert!(!call.stderr.contains("trained only"), "{}", call.stderr);

    let report = waxwork(&["evaluate", text(&run), "-n", "30", "--json"]).good().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let guessed = metric(&report, "guess_cross_entropy")["value"].as_f64().unwrap();
    assert!(guessed > 0.0 && guessed < 392.0, "{guessed}");

    let warned = waxwork(&small_of(
        RECIPE,
        &folder.path().join("short"),
        &[&settings[..], &["--set", "model.completion.guess_steps=9"]].concat(),
    ))
    .good();
    assert!(warned.stderr.contains("only the guesses are trained"), "{}", warned.stderr);
}
