//! Reads the event file of a run back with Python's tensorboard, if `WAXWORK_PYTHON` names an
//! interpreter that has it.

use std::path::Path;

use crate::python::python;
use crate::util::{finished, small, small_of, waxwork};

/// Prints what tensorboard finds in a run folder, as JSON.
const SCRIPT: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "histograms": 0}, purge_orphaned_data=True)
events.Reload()
tags = events.Tags()
content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
hparams = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[e.step, e.width, e.height, e.encoded_image_string[1:4].decode()] for e in events.Images(tag)] for tag in tags["images"]},
    "histograms": {tag: [[e.step, e.histogram_value.num, sum(e.histogram_value.bucket)] for e in events.Histograms(tag)] for tag in tags["histograms"]},
    "texts": {tag: [[e.step, tensor_util.make_ndarray(e.tensor_proto)[0].decode()] for e in events.Tensors(tag)] for tag in tags["tensors"] if tag.endswith("text")},
    "hparams": {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()},
}))
"#;

fn read_back(python: &Path, run: &Path) -> serde_json::Value {
    let output = std::process::Command::new(python).args(["-c", SCRIPT]).arg(run).output();
    serde_json::from_str(&finished(&output.unwrap()).good().stdout).unwrap()
}

#[test]
fn tensorboard_shows_the_values_of_metrics_jsonl_also_after_a_resume() {
    let Some(python) = python("the event file", &["tensorboard"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings = ["train.checkpoint_every=2", "train.sample_every=2", "train.histogram_every=2"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    waxwork(&small(&run, &settings)).good();
    let whole = read_back(&python, &run);
    let steps = |found: &serde_json::Value, kind: &str, tag: &str| -> Vec<u64> {
        let events = found[kind][tag].as_array().unwrap_or_else(|| panic!("no {tag}: {}", found[kind]));
        events.iter().map(|event| event[0].as_u64().unwrap()).collect()
    };
    assert_eq!(steps(&whole, "images", "samples"), [2, 4]);
    assert_eq!(whole["images"]["samples"][0][3], "PNG");
    assert_eq!(steps(&whole, "histograms", "decoder/output.bias"), [2, 4]);
    assert_eq!(whole["histograms"]["decoder/output.bias"][0][2], 1568.0);
    assert_eq!(whole["hparams"]["model.latent_dim"], 10.0);
    assert_eq!(whole["hparams"]["data.name"], "digits");
    assert!(whole["hparams"].get("description").is_none());
    assert_eq!(steps(&whole, "scalars", "timing/images_per_second"), [1, 2, 3, 4]);
    let logged: Vec<serde_json::Value> = std::fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for name in ["loss", "kl", "validation/neg_elbo"] {
        let lines = logged.iter().filter(|line| line.get(name).is_some());
        let expected: Vec<(u64, f64)> =
            lines.map(|line| (line["step"].as_u64().unwrap(), line[name].as_f64().unwrap())).collect();
        let found = whole["scalars"][name].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (event, (step, value)) in found.iter().zip(expected) {
            assert_eq!(event[0], step);
            assert!((event[1].as_f64().unwrap() - value).abs() < 1e-5 * value.abs(), "{name}");
        }
    }

    // As after a kill between step 3 and the last checkpoint: no event may appear twice.
    std::fs::remove_file(run.join("model.safetensors")).unwrap();
    std::fs::remove_dir_all(run.join("checkpoints/step-000004")).unwrap();
    let info = std::fs::read_to_string(run.join("run.json")).unwrap();
    std::fs::write(run.join("run.json"), info.replace("\"finished\"", "\"interrupted\"")).unwrap();
    waxwork(&["train", "--resume", run.to_str().unwrap(), "-q"]).good();
    let resumed = read_back(&python, &run);
    for kind in ["images", "histograms", "hparams"] {
        assert_eq!(resumed[kind], whole[kind], "{kind}");
    }
    for (tag, events) in resumed["scalars"].as_object().unwrap() {
        assert_eq!(steps(&resumed, "scalars", tag), steps(&whole, "scalars", tag), "{tag}");
        assert!(tag.starts_with("timing/") || *events == whole["scalars"][tag], "{tag}");
    }
}

#[test]
fn tensorboard_shows_texts() {
    let Some(python) = python("texts in the event file", &["tensorboard"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small_of("gan-phrases", &run, &["--set", "train.sample_every=2"])).good();
    let found = read_back(&python, &run);
    let texts = found["texts"]["samples/text"].as_array().unwrap();
    assert_eq!((&texts[0][0], &texts[1][0]), (&2.into(), &4.into()));
    let written = std::fs::read_to_string(run.join("samples/step-000004.txt")).unwrap();
    let indented: String = written.lines().map(|line| format!("    {line}\n")).collect();
    assert_eq!(texts[1][1], indented);
}
