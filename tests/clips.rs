//! Clips through the commands: embedded motions and folders of strips, frames and animations in; animations,
//! video, strips and exact measures of motion out.

use std::path::Path;

use waxwork_core::npy;

use crate::util::{check_repeats, command, metric, run_json, small_of, text, trained, waxwork};

/// Writes training clips of a data set as a folder of strips, one subfolder per class.
fn strips(data: &str, count: &str, to: &Path) {
    waxwork(&["data", "show", data, "-n", count, "-q", "--out", text(to)]).good();
}

/// The number of frames of an animated PNG, from its `acTL` chunk.
fn frames(png: &[u8]) -> u32 {
    let at = png.windows(4).position(|name| name == b"acTL").expect("an animated PNG");
    u32::from_be_bytes(png[at + 4..at + 8].try_into().unwrap())
}

#[test]
fn motions_are_trained_with_moving_samples_and_repeat_exactly() {
    let (_folder, run) = trained("cgan-motions");
    check_repeats(&run, |again| small_of("cgan-motions", again, &["--threads", "1"]));
    assert_eq!(frames(&std::fs::read(run.join("samples/step-000004.png")).unwrap()), 16);
    let info = run_json(&run);
    assert_eq!((&info["data_kind"]["kind"], &info["data_kind"]["frames"]), (&"clip".into(), &16.into()));
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    let (moving, still) = (page.matches("class=\"moving\"").count(), page.matches("class=\"still\"").count());
    assert!(moving > 10 && moving == still, "{moving} moving images, {still} still ones");
    assert!(page.contains("prefers-reduced-motion: reduce") && page.contains("Pause clips"));
}

#[test]
fn clips_are_written_in_every_format_and_read_again() {
    let (folder, run) = trained("cvae-motions");
    let path = |name: &str| folder.path().join(name);
    let sample = |name: &str, more: &[&str]| {
        let out = path(name);
        waxwork(&[&["sample", text(&run), "--out", text(&out), "-n", "20"], more].concat()).good();
        std::fs::read(&out).unwrap_or_default()
    };
    assert_eq!(frames(&sample("some.png", &[])), 16);
    assert!(sample("some.gif", &[]).starts_with(b"GIF89a"));
    let video = sample("some.y4m", &[]);
    // Two rows of ten clips of 32 pixels with gaps of two.
    assert!(video.starts_with(b"YUV4MPEG2 W342 H70 F8:1 Ip A1:1 C444\nFRAME\n"));
    let header = video.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert_eq!(video.len(), header + 16 * (6 + 3 * 342 * 70));
    let streamed = command(&["sample", text(&run), "-n", "20", "--out", "-", "-q"]).output().unwrap();
    assert!(streamed.status.success() && streamed.stdout == video, "the same video on standard output");
    sample("some.npy", &[]);
    let clips = npy::load(&path("some.npy")).unwrap();
    assert_eq!(clips.dims(), [20, 16, 3, 32, 32]);
    assert_eq!(npy::load(&path("some.labels.npy")).unwrap().dims(), [20]);
    sample("strips", &[]);
    assert!(path("strips/clockwise/000006.png").is_file());
    for command in ["interpolate", "traverse", "reconstruct"] {
        let out = path(&format!("{command}.png"));
        let few: &[&str] = if command == "traverse" { &["--dims", "0,1"] } else { &["-n", "2"] };
        waxwork(&[&[command, text(&run), "--out", text(&out)], few].concat()).good();
        assert_eq!(frames(&std::fs::read(&out).unwrap()), 16, "{command}");
    }
    // Strips are read as the clips that they were written from, up to eight bits.
    for (from, codes) in [("strips", "a.npy"), ("some.npy", "b.npy")] {
        let (from, codes) = (path(from), path(codes));
        waxwork(&["encode", text(&run), "--images", text(&from), "--out", text(&codes)]).good();
        assert_eq!(npy::load(&codes).unwrap().dims(), [20, 32]);
    }
    waxwork(&["rate", text(&run), "-n", "2", "--out", text(&path("rate.html"))]).good();
    waxwork(&["sample", text(&run), "--out", text(&path("x.mp4"))]).refused(&[".mp4", ".y4m"]);
    waxwork(&["export", text(&run), "--out", text(&path("decoder.onnx"))]).good();
}

#[test]
fn all_families_train_on_clips_and_refuse_networks_for_images() {
    for recipe in ["vae-motions", "gan-motions"] {
        let (folder, run) = trained(recipe);
        waxwork(&["sample", text(&run), "-n", "2", "--out", text(&folder.path().join("two.gif"))]).good();
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = |recipe: &str, more: &[&str]| waxwork(&small_of(recipe, &run, more));
    train("gan-shapes", &["--data", "motions"]).refused(&["16×3×32×32", "`clip`"]);
    train("gan-motions", &["--data", "shapes"]).refused(&["model.generator", "needs clips"]);
    train("gan-motions", &["--set", "train.flip=true"]).refused(&["train.flip", "only images"]);
    train("gan-motions", &["--set", "model.generator.motion=32"])
        .refused(&["motion", "less than latent_dim"]);
    train("gan-motions", &["--set", "model.pack=2"]).refused(&["model.pack"]);
}

/// Real clips follow their class exactly, and clips that stand still do not. The judge learns from few clips, and
/// stops as soon as it knows one that it has not seen, so it is far from perfect.
#[test]
fn clips_of_any_program_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let real = path("real.npy");
    let show = ["data", "show", "motions", "-n", "200", "--set", "data.seed=7", "-q", "--out", text(&real)];
    waxwork(&show).good();
    // Another seed is another data set, so this judge is not cached as that of `motions` itself.
    let few = ["--set", "data.seed=3", "--set", "data.limit=2000", "--set", "data.validation=1"];
    let measured = |path: &Path| -> serde_json::Value {
        let evaluate = ["evaluate", "--samples", text(path), "--data", "motions", "--json", "-q"];
        let report = waxwork(&[&evaluate[..], &few].concat()).good();
        serde_json::from_str(&report.stdout).unwrap()
    };
    let value = |report: &serde_json::Value, name: &str, key: &str| {
        metric(report, name)[key].as_f64().unwrap_or_else(|| panic!("{name} has no {key}: {report}"))
    };
    let report = measured(&real);
    assert_eq!(value(&report, "motion_agreement", "value"), 1.0);
    assert_eq!(value(&report, "motion_lost", "value"), 0.0);
    for name in ["motion_rms", "motion_size_rms"] {
        assert!(value(&report, name, "value") < 0.3 && value(&report, name, "floor") < 0.3, "{name}");
    }
    let drift = ["value", "floor"].map(|key| value(&report, "content_drift", key));
    assert!((drift[0] - drift[1]).abs() < 0.3 * drift[1], "{drift:?}");
    assert_eq!(value(&report, "content_empty", "value"), 0.0);
    let judged = |report: &serde_json::Value| {
        ["judge_agreement", "judge_frechet"].map(|name| value(report, name, "value"))
    };
    let [agreement, frechet] = judged(&report);
    assert!(agreement > 0.3, "a judge that guesses is right in a tenth of the cases: {agreement}");
    for name in ["judge_frechet", "distance_to_training"] {
        assert!(value(&report, name, "floor").is_finite());
    }
    // Every frame is the first one.
    let clips = npy::load(&real).unwrap();
    let still = clips.narrow(1, 0, 1).unwrap().repeat((1, 16, 1, 1, 1)).unwrap();
    npy::save(&path("still.npy"), &still).unwrap();
    std::fs::copy(path("real.labels.npy"), path("still.labels.npy")).unwrap();
    let report = measured(&path("still.npy"));
    assert_eq!(value(&report, "content_drift", "value"), 0.0);
    assert_eq!(value(&report, "motion_agreement", "value"), 0.0);
    assert_eq!(value(&report, "motion_lost", "value"), 1.0);
    assert_eq!(value(&report, "motion_lost", "floor"), 0.0);
    assert!(metric(&report, "motion_rms").is_null(), "{report}");
    let [of_still, far] = judged(&report);
    assert!(of_still < agreement && far > frechet, "{of_still} {agreement}, {far} {frechet}");
    let wrong = clips.narrow(1, 0, 8).unwrap();
    npy::save(&path("short.npy"), &wrong).unwrap();
    waxwork(&["evaluate", "--samples", text(&path("short.npy")), "--data", "motions"])
        .refused(&["short.npy", "(N, 16, C, H, W)"]);
}

#[test]
fn own_clips_are_trained_on_and_their_errors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, run) = (folder.path().join("clips"), folder.path().join("run"));
    strips("motions", "60", &dir);
    // One clip as an animated PNG, and one as numbered frames.
    let grow = dir.join("grow");
    waxwork(&["data", "show", "motions", "-n", "1", "-q", "--out", text(&grow.join("animated.png"))]).good();
    let train = |more: &[&str]| {
        let own = ["--data", "clips", "--data-dir", text(&dir), "--set", "data.validation=10"];
        let batch = ["--set", "train.batch_size=8"];
        waxwork(&small_of("cgan-motions", &run, &[&own[..], &batch[..], more].concat()))
    };
    let call = train(&["--set", "data.clips.size=32"]).good();
    assert!(!call.stderr.contains("error"), "{}", call.stderr);
    let page = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(page.contains("name = \"clips\"") && page.contains("size = 32"), "{page}");

    std::fs::remove_dir_all(&run).unwrap();
    train(&["--set", "data.clips.frames=12"]).refused(&["more than 12 frames", "data.clips.longer"]);
    train(&["--set", "data.clips.frames=20"]).refused(&["it has 16 frames, but a clip has 20"]);
    train(&["--set", "data.clips.frames=1"]).refused(&["data.clips.frames", "2 to 4096"]);
    train(&["--set", "data.clips.size=64"]).refused(&["32×32", "data.clips.size"]);
    let cut = ["--set", "data.clips.frames=12", "--set", "data.clips.longer=\"cut\""];
    train(&[&cut[..], &["--set", "data.clips.size=32"]].concat()).good();
    std::fs::remove_dir_all(&run).unwrap();

    // A single image is no clip, a width that is no multiple is no strip, and text is no image.
    let bad = dir.join("grow/bad.png");
    waxwork(&["data", "show", "digits", "-n", "1", "-q", "--out", text(&bad)]).good();
    train(&[]).refused(&["bad.png", "one image of 32×32"]);
    waxwork(&["data", "show", "digits", "-n", "2", "-q", "--out", text(&bad)]).good();
    train(&[]).refused(&["bad.png", "multiple of its height, not 62×32"]);
    std::fs::write(&bad, b"no image").unwrap();
    train(&[]).refused(&["bad.png", "data.clips.skip_unreadable"]);
    train(&["--skip-unreadable", "--set", "data.clips.size=32"]).good();
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe.contains("skip_unreadable = true"), "{recipe}");
    std::fs::remove_dir_all(&run).unwrap();
    std::fs::remove_file(&bad).unwrap();

    // Numbered frames: one folder per clip.
    let frames = dir.join("grow/clip");
    std::fs::create_dir_all(&frames).unwrap();
    let frame = folder.path().join("frame.png");
    waxwork(&["data", "show", "shapes", "-n", "1", "-q", "--out", text(&frame)]).good();
    for number in (1..=16).filter(|number| *number != 5) {
        std::fs::copy(&frame, frames.join(format!("{number:04}.png"))).unwrap();
    }
    train(&[]).refused(&["clip", "frame 5 is missing before `0006.png`"]);
    std::fs::copy(&frame, frames.join("0005.png")).unwrap();
    train(&["--set", "data.clips.size=32"]).good();
    waxwork(&["train", "gan-motions", "--data", "clips"]).refused(&["data.dir", "--data-dir"]);
    waxwork(&["train", "gan-motions", "--set", "data.clips.size=16"]).refused(&["data.clips", "motions"]);
    let show = |name: &str| {
        waxwork(&["data", "show", name, "--data-dir", text(&dir), "--set", "data.clips.size=16"])
    };
    for name in ["folder", "sound", "text", "table"] {
        show(name).refused(&["data.clips", &format!("not `{name}`")]);
    }
}

/// Folders of the shape of `sprites`, whose classes have hyphens in their names: the names reach the run,
/// `--labels` accepts them, and the folders of samples have them.
#[test]
fn classes_with_the_names_of_sprites_are_asked_for() {
    const CLASSES: [&str; 9] = [
        "slash-front",
        "slash-left",
        "slash-right",
        "spellcard-front",
        "spellcard-left",
        "spellcard-right",
        "walk-front",
        "walk-left",
        "walk-right",
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    strips("motions", "60", &path("motions"));
    let below = |dir: &Path| {
        let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    for (motion, class) in below(&path("motions")).iter().zip(CLASSES) {
        for (place, file) in below(motion).iter().enumerate() {
            let part = path("sprites").join(if place == 0 { "test" } else { "train" }).join(class);
            std::fs::create_dir_all(&part).unwrap();
            std::fs::rename(file, part.join(file.file_name().unwrap())).unwrap();
        }
    }
    let (dir, run) = (path("sprites"), path("run"));
    // The data set itself wants all its clips.
    waxwork(&["train", "cgan-sprites", "--data-dir", text(&dir)])
        .refused(&["45 training clips of 9 classes", "`sprites` has 9000"]);
    waxwork(&["train", "cgan-sprites64", "--data-dir", text(&dir)])
        .refused(&["45 training clips of 9 classes", "`sprites64` has 9000"]);
    let own = ["--data", "clips", "--data-dir", text(&dir), "--set", "data.validation=9"];
    waxwork(&small_of("cgan-sprites", &run, &[&own[..], &["--set", "train.batch_size=8"]].concat())).good();
    let info = run_json(&run);
    assert_eq!(info["data_classes"], serde_json::json!(CLASSES));
    let sample = |labels: &str, to: &Path| {
        waxwork(&["sample", text(&run), "-n", "4", "--labels", labels, "--out", text(to)])
    };
    sample("slash-front, Walk-Left", &path("made")).good();
    let made: Vec<(String, usize)> = below(&path("made"))
        .iter()
        .map(|class| (class.file_name().unwrap().to_string_lossy().into_owned(), below(class).len()))
        .collect();
    assert_eq!(made, [("slash-front".to_owned(), 2), ("walk-left".to_owned(), 2)]);
    sample("slash-frnt", &path("none")).refused(&["there is no class `slash-frnt`", "slash-front"]);
    // The folders that were written are read as the same classes.
    std::fs::rename(path("made/walk-left"), path("made/walk_left")).unwrap();
    let made = path("made");
    waxwork(&["evaluate", "--samples", text(&made), "--data", "clips", "--data-dir", text(&dir)])
        .refused(&["walk_left", "did you mean `walk-left`"]);
}
