//! Sounds through every command: WAV files and embedded drums in, waveforms, pages that play
//! them and metrics out.

use std::path::Path;

use waxwork_core::npy;

use crate::util::{check_repeats, metric, run_json, small_of, text, trained, waxwork};

/// A WAV file of 16 bits at 8 kHz.
fn wav(path: &Path, samples: &[i16]) {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let head = [36 + data.len() as u32, 16, 0x0001_0001, 8000, 16000, 0x0010_0002, data.len() as u32];
    let words = head.map(u32::to_le_bytes);
    let parts: [&[u8]; 12] = [
        b"RIFF", &words[0], b"WAVE", b"fmt ", &words[1], &words[2], &words[3], &words[4], &words[5], b"data",
        &words[6], &data,
    ];
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, parts.concat()).unwrap();
}

fn tone(step: f64, count: usize) -> Vec<i16> {
    (0..count).map(|j| ((j as f64 * step).sin() * 9000.0) as i16).collect()
}

#[test]
fn drums_are_trained_with_sound_samples_and_repeat_exactly() {
    let (_folder, run) = trained("cgan-drums");
    assert!(run.join("samples/step-000004.png").is_file() && run.join("samples/step-000004.wav").is_file());
    check_repeats(&run, |again| small_of("cgan-drums", again, &["--threads", "1"]));
    let info = run_json(&run);
    assert_eq!(info["data_kind"], serde_json::json!({"kind": "sound", "rate": 8000, "length": 4096}));
    assert_eq!(info["data_view"]["mean"].as_array().unwrap().len(), 64);
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.matches("<audio controls").count() > 10 && page.contains("data:audio/wav;base64,UklGR"));
    assert!(page.contains("media-src data:"));
}

#[test]
fn sounds_are_written_in_every_format_and_read_again() {
    let (folder, run) = trained("cvae-drums");
    let path = |name: &str| folder.path().join(name);
    let sample = |name: &str, more: &[&str]| {
        let out = path(name);
        waxwork(&[&["sample", text(&run), "--out", text(&out)], more].concat()).good();
        out
    };
    // One kick: a header of 44 bytes, then its samples.
    let kick = std::fs::read(sample("kick.wav", &["--labels", "kick"])).unwrap();
    assert_eq!(kick.len(), 44 + 2 * 4096);
    let other = std::fs::read(sample("again.wav", &["--labels", "kick", "--threads", "1"])).unwrap();
    assert_eq!(kick, other);
    let some = sample("some", &["-n", "20"]);
    assert_eq!(std::fs::read(some.join("kick/000000.wav")).unwrap().len(), kick.len());
    let waves = npy::load(&sample("some.npy", &["-n", "20"])).unwrap();
    assert_eq!(waves.dims(), [20, 4096]);
    let first = waves.get(0).unwrap().to_vec1::<f32>().unwrap()[2000];
    let bytes = std::fs::read(some.join("kick/000000.wav")).unwrap();
    assert_eq!(first, f32::from(i16::from_le_bytes([bytes[4044], bytes[4045]])) / 32768.0);
    sample("some.png", &["-n", "3"]);
    assert!(path("some.wav").is_file(), "beside the picture");
    for command in ["interpolate", "traverse", "reconstruct"] {
        let out = path(&format!("{command}.png"));
        let few: &[&str] = if command == "traverse" { &["--dims", "0,1"] } else { &["-n", "2"] };
        waxwork(&[&[command, text(&run), "--out", text(&out)], few].concat()).good();
        assert!(out.is_file() && out.with_extension("wav").is_file(), "{command}");
    }
    let codes = path("codes.npy");
    waxwork(&["encode", text(&run), "--images", text(&some), "--out", text(&codes)]).good();
    assert_eq!(npy::load(&codes).unwrap().dims(), [20, 16]);
    waxwork(&["rate", text(&run), "-n", "2", "--out", text(&path("rate.html"))]).good();
    assert!(std::fs::read_to_string(path("rate.html")).unwrap().contains("data:audio/wav"));
    waxwork(&["sample", text(&run), "--out", text(&path("x.mp3"))]).refused(&[".mp3", ".wav"]);
    waxwork(&["export", text(&run), "--format", "web"]).refused(&["a page shows images", "makes sounds"]);
}

#[test]
fn waveforms_are_made_without_a_spectrogram() {
    let (folder, run) = trained("cgan-drums-wave");
    let path = |name: &str| folder.path().join(name);
    check_repeats(&run, |again| small_of("cgan-drums-wave", again, &["--threads", "1"]));
    let info = run_json(&run);
    assert_eq!(info["data_view"], serde_json::json!({"view": "waveform"}));
    // The file has the network's own samples, rounded to 16 bits.
    waxwork(&["sample", text(&run), "--labels", "snare", "--out", text(&path("snare.wav"))]).good();
    assert_eq!(std::fs::read(path("snare.wav")).unwrap().len(), 44 + 2 * 4096);
    waxwork(&["export", text(&run), "--out", text(&path("generator.onnx"))]).good();
    // The judge sees log-mels of the waveforms, and no round trip is lost, so there is no floor of one.
    let made = path("made");
    waxwork(&["sample", text(&run), "-n", "40", "--out", text(&made)]).good();
    let few = ["--set", "data.limit=1000", "--set", "data.validation=200"];
    let seen = ["--set", "data.sound.view=waveform"];
    let call = ["evaluate", "--samples", text(&made), "--data", "drums", "--json"];
    let call = waxwork(&[&call[..], &few, &seen].concat()).good();
    let report: serde_json::Value = serde_json::from_str(&call.stdout).unwrap();
    for name in ["judge_agreement", "judge_frechet", "ndb"] {
        assert!(metric(&report, name)["value"].is_f64(), "{name}");
    }
    assert!(metric(&report, "round_trip_convergence").is_null());

    let train = |recipe: &str, more: &[&str]| waxwork(&small_of(recipe, &path("other"), more));
    train("cgan-drums-wave", &["--set", "data.sound.view=log-mel"]).refused(&[
        "model.generator",
        "data.sound.view",
        "1×64×32",
    ]);
    train("cgan-drums-wave", &["--set", "model.generator.channels=[4,4,4,4,4,4,4]"])
        .refused(&["model.generator.channels", "multiple of 4^7, not 4096"]);
    train("cgan-drums-wave", &["--set", "model.discriminator.shuffle=64"])
        .refused(&["model.discriminator.shuffle", "64 positions"]);
}

#[test]
fn own_recordings_are_trained_on_and_their_errors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, run) = (folder.path().join("recordings"), folder.path().join("run"));
    for i in 0..24 {
        wav(&dir.join(format!("low_{i}.wav")), &tone(0.1 + 0.001 * f64::from(i), 900));
        wav(&dir.join(format!("high_{i}.wav")), &tone(0.8 + 0.001 * f64::from(i), 1100));
    }
    let train = |more: &[&str]| {
        let own = ["--set", "data.name=sound", "--data-dir", text(&dir), "--set", "data.sound.length=1024"];
        let label = ["--set", "data.sound.label=\"{label}_*\"", "--set", "data.validation=4"];
        waxwork(&small_of("cgan-drums", &run, &[&own[..], &label[..], more].concat()))
    };
    train(&["--set", "data.sound.length=1000"]).refused(&["data.sound.length", "multiple of the hop of 128"]);
    wav(&dir.join("low_99.wav"), &[0; 50]);
    train(&[]).refused(&["low_99.wav", "nothing but silence"]);
    let call = train(&["--set", "data.sound.skip_unreadable=true"]).good();
    assert!(call.stderr.contains("1 sample cannot be read and was left out"), "{}", call.stderr);
    waxwork(&["sample", text(&run), "--labels", "high", "--out", text(&folder.path().join("high.wav"))])
        .good();
}

#[test]
fn sounds_from_any_program_are_measured() {
    let (folder, run) = trained("gan-drums");
    let made = folder.path().join("made");
    waxwork(&["sample", text(&run), "-n", "30", "--out", text(&made)]).good();
    let few = ["--set", "data.limit=1000", "--set", "data.validation=200"];
    let call = ["evaluate", "--samples", text(&made), "--data", "drums", "--json"];
    let call = waxwork(&[&call[..], &few].concat()).good();
    let report: serde_json::Value = serde_json::from_str(&call.stdout).unwrap();
    for name in ["judge_class_entropy", "judge_frechet", "drum_onset_distance", "ndb", "distance_to_training"]
    {
        assert!(metric(&report, name)["value"].is_f64(), "{name}");
    }
    assert!(!call.stdout.contains("fad"));
}
