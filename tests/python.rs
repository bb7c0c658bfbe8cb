//! Exchange of files with PyTorch and onnxruntime, in both directions. Runs if `WAXWORK_PYTHON` names an
//! interpreter that has them.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use waxwork_core::rng::Stream;
use waxwork_core::{DType, Device, Tensor};

use crate::util::{Call, finished, run_json, small_of, text, waxwork};

/// Number of latents that both programs decode.
const COUNT: usize = 20;

/// A small run, its latents in latents.npy, and our images of them for the labels 0 to 9 in turn.
struct Trained {
    folder: TempDir,
    run: PathBuf,
    conditional: bool,
    images: Tensor,
}

impl Trained {
    fn new(recipe: &str, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
        waxwork(&small_of(recipe, &run, &settings)).good();
        let info = run_json(&run);
        let numbers: Vec<u64> = (0..COUNT as u64).collect();
        let length = info["model"]["latent_dim"].as_u64().unwrap() as usize;
        let latents = Stream::new(1, "test", 0).normal(&numbers, length, &Device::Cpu).unwrap();
        latents.write_npy(folder.path().join("latents.npy")).unwrap();
        let conditional = info["model"]["classes"] != 0;
        let mut trained = Self { folder, run, conditional, images: latents };
        trained.images = trained.decoded(&trained.run);
        trained
    }

    /// Decodes the latents with `run`.
    fn decoded(&self, run: &Path) -> Tensor {
        let out = self.folder.path().join("ours.npy");
        let latents = self.folder.path().join("latents.npy");
        let labels = if self.conditional { vec!["--labels", "0..9"] } else { vec![] };
        waxwork(&[&["decode", text(run), text(&latents), "--out", text(&out)], &labels[..]].concat()).good();
        Tensor::read_npy(&out).unwrap()
    }

    /// Runs a script in the folder. The script has `latents` and `labels`, as NumPy arrays.
    fn python(&self, python: &Path, script: &str) -> Call {
        let start = format!(
            "import numpy as np\nlatents = np.load('latents.npy')\nlabels = np.arange({COUNT}, dtype=np.int64) % 10\n"
        );
        let mut command = std::process::Command::new(python);
        let output = command.arg("-c").arg(start + script).current_dir(self.folder.path()).output();
        finished(&output.unwrap())
    }

    /// The array that a script wrote.
    fn array(&self, name: &str) -> Tensor {
        Tensor::read_npy(self.folder.path().join(name)).unwrap().to_dtype(DType::F32).unwrap()
    }
}

/// The interpreter, if there is one with these modules; otherwise prints that there is none.
pub(crate) fn python(test: &str, modules: &[&str]) -> Option<PathBuf> {
    let Some(python) = std::env::var_os("WAXWORK_PYTHON").map(PathBuf::from) else {
        println!("skipped: {test} needs Python with {}; set WAXWORK_PYTHON", modules.join(", "));
        return None;
    };
    let mut command = std::process::Command::new(&python);
    let output = command.arg("-c").arg(format!("import {}", modules.join(", "))).output();
    let call = finished(&output.expect("WAXWORK_PYTHON names an interpreter"));
    if call.code != Some(0) {
        println!("skipped: {test} needs {}: {}", modules.join(", "), call.stderr);
        return None;
    }
    Some(python)
}

#[track_caller]
fn close(ours: &Tensor, theirs: &Tensor, what: &str) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let difference = (ours - theirs).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    let difference = difference.to_scalar::<f32>().unwrap();
    assert!(difference < 1e-5, "{what}: {difference}");
}

/// The code of python/README.md: the start that all examples share, and the blocks below the heading
/// that names `recipe`.
fn readme(recipe: &str) -> (String, Vec<String>) {
    let readme = include_str!("../python/README.md");
    let blocks = |section: &str| -> Vec<String> {
        let blocks = section.split("```python\n").skip(1);
        blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
    };
    let mut sections = readme.split("\n## ");
    let start = blocks(sections.next().unwrap()).concat().replace("runs/RUN", "run");
    let section = sections.find(|section| section.lines().next().unwrap().contains(&format!("`{recipe}`")));
    (start, blocks(section.unwrap()))
}

#[test]
fn the_code_of_the_readme_gives_our_images_in_pytorch() {
    let Some(python) = python("the modules of python/README.md", &["numpy", "torch", "safetensors"]) else {
        return;
    };
    for recipe in ["vae-digits", "cvae-digits", "gan-digits", "cgan-digits"] {
        let trained = Trained::new(recipe, &[]);
        let (start, blocks) = readme(recipe);
        let mut script = start + "latents, labels = torch.from_numpy(latents), torch.from_numpy(labels)\n";
        script += "torch.set_grad_enabled(False)\n";
        script += &blocks[0];
        script += "np.save('images.npy', images.numpy())\n";
        if let Some(encoder) = blocks.get(1) {
            script += encoder;
            script += "np.save('mean.npy', mean.numpy())\n";
        }
        trained.python(&python, &script).good();
        close(&trained.images, &trained.array("images.npy"), recipe);
        if blocks.len() > 1 {
            let (images, mean) =
                (trained.folder.path().join("images.npy"), trained.folder.path().join("ours.npy"));
            let run = text(&trained.run);
            waxwork(&["encode", run, "--images", text(&images), "--out", text(&mean)]).good();
            close(&trained.array("ours.npy"), &trained.array("mean.npy"), "the encoder");
        }
    }
}

#[test]
fn an_imported_state_dict_gives_the_images_of_pytorch() {
    let Some(python) = python("waxwork import", &["numpy", "torch", "safetensors"]) else { return };
    let trained = Trained::new("gan-digits", &[]);
    let (start, blocks) = readme("gan-digits");
    // The generator gets random values from PyTorch; the discriminator stays the same.
    let fresh = blocks[0].replace("generator.load_state_dict(part(\"generator\"))", "torch.manual_seed(3)");
    let script = start
        + "latents = torch.from_numpy(latents)\ntorch.set_grad_enabled(False)\n"
        + &fresh
        + "from safetensors.torch import save_file
np.save('images.npy', images.numpy())
state = {k: v for k, v in weights.items() if k.startswith('discriminator.')}
state |= {'generator.' + k: v for k, v in generator.state_dict().items()}
assert 'generator.norm.num_batches_tracked' in state
save_file(state, 'state.safetensors')
del state['generator.project.bias']
state['generator.stray'] = torch.zeros(3)
save_file(state, 'wrong.safetensors')
";
    trained.python(&python, &script).good();
    let path = |name: &str| trained.folder.path().join(name);
    let imported = path("imported");
    let import = |file: &str| {
        waxwork(&["import", text(&path(file)), "--recipe", "gan-digits", "--out", text(&imported)])
    };
    import("wrong.safetensors").refused(&["wrong.safetensors", "generator.project.bias", "generator.stray"]);
    assert!(!imported.exists());
    import("state.safetensors").good();
    close(&trained.decoded(&imported), &trained.array("images.npy"), "the imported run");
    import("state.safetensors").refused(&["already exists"]);
    waxwork(&["evaluate", text(&imported), "--samples", "50"]).good();
    waxwork(&["train", "--resume", text(&imported)]).good();
}

/// NumPy computes the means of rows from the weights: numbers in their most likely mode, and probabilities of choices.
#[test]
fn onnxruntime_gives_the_means_of_rows() {
    let Some(python) = python("the decoder of rows", &["numpy", "onnxruntime", "safetensors"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (run, graph) = (folder.path().join("run"), folder.path().join("rows.onnx"));
    waxwork(&small_of("vae-clinic", &run, &["--set", "train.calibrate=false"])).good();
    waxwork(&["export", text(&run), "--out", text(&graph)]).good();
    let script = "import json
import numpy as np, onnxruntime
from safetensors.numpy import load_file

weights = load_file('run/model.safetensors')
linear = lambda name, x: x @ weights[f'decoder.{name}.weight'].T + weights[f'decoder.{name}.bias']
latents = np.random.default_rng(0).standard_normal((50, 24)).astype(np.float32)
hidden = latents
for layer in (0, 1):
    hidden = np.maximum(linear(f'hidden.{layer}', hidden), 0)
outputs, added = linear('output', hidden), linear('mode_means', hidden)
expected, start, mode, number = np.zeros_like(outputs), 0, 0, None
for segment in json.load(open('run/run.json'))['model']['sample']['segments']:
    values = outputs[:, start:start + segment['width']]
    if segment['range'] == 'signed':
        number = start
    else:
        powers = np.exp(values - values.max(1, keepdims=True))
        expected[:, start:start + segment['width']] = powers / powers.sum(1, keepdims=True)
        if number is not None:
            chosen = added[np.arange(50), mode + values.argmax(1)]
            expected[:, number] = np.tanh(outputs[:, number] + chosen)
            mode += segment['width']
        number = None
    start += segment['width']
assert mode == added.shape[1] > 10
found, = onnxruntime.InferenceSession('rows.onnx').run(None, {'latents': latents})
assert abs(found - expected).max() < 1e-5, abs(found - expected).max()
";
    let output =
        std::process::Command::new(&python).arg("-c").arg(script).current_dir(folder.path()).output();
    finished(&output.unwrap()).good();
}

#[test]
fn onnxruntime_gives_our_images_for_every_network() {
    let Some(python) = python("waxwork export", &["numpy", "onnx", "onnxruntime", "safetensors"]) else {
        return;
    };
    let mlp = "model.generator={kind=\"mlp\",hidden=[16,16]}";
    let normed_mlp = "model.generator={kind=\"mlp\",hidden=[16,16],batch_norm=true}";
    let residual = "model.generator={kind=\"residual\",channels=8,blocks=2}";
    let projection = "model.conditioning={kind=\"projection\"}";
    let plain = "model.network={kind=\"mlp\",hidden=[32,16]}";
    let normed = "model.network={kind=\"conv\",channels=[4,8],hidden=16,batch_norm=true}";
    let gaussian = "model.likelihood={kind=\"gaussian\",scale=0.1,learned=true}";
    let cases: [(&str, &[&str]); 14] = [
        ("gan-digits", &[mlp]),
        ("gan-digits", &[normed_mlp]),
        ("gan-digits", &[]),
        ("gan-digits", &[residual]),
        ("cgan-digits", &[]),
        ("cgan-digits", &[projection]),
        ("cgan-digits", &[residual, projection]),
        ("vae-digits", &[plain]),
        ("vae-digits", &[plain, "model.gated=true"]),
        ("vae-digits", &[normed, "model.activation=relu", gaussian]),
        ("cvae-digits", &["model.prior=label"]),
        ("gan-motions", &[]),
        ("cgan-motions", &[]),
        ("cvae-motions", &[]),
    ];
    for (recipe, settings) in cases {
        let what = format!("{recipe} {settings:?}");
        let trained = Trained::new(recipe, settings);
        let run = text(&trained.run);
        let made =
            waxwork(&["export", run, "--out", text(&trained.folder.path().join("images.onnx"))]).good();
        let mut script = "import onnx, onnxruntime\n".to_owned();
        script += "def run(part, **inputs):
    onnx.checker.check_model(part + '.onnx', full_check=True)
    session = onnxruntime.InferenceSession(part + '.onnx')
    names = [value.name for value in session.get_inputs()]
    inputs = {'labels': labels[:len(next(iter(inputs.values())))], 'samples': inputs.get('images'), **inputs}
    return session.run(None, {name: inputs[name] for name in names})
images, = run('images', latents=latents)
np.save('images.npy', images)
# The frames of a clip differ, so that frames in another order would not be close to ours.
assert images.ndim == 4 or abs(images[:, 1:] - images[:, :-1]).max(axis=(2, 3, 4)).min() > 1e-4
alone, = run('images', latents=latents[:1])
assert abs(alone[0] - images[0]).max() < 1e-5
inputs = [value.name for value in onnxruntime.InferenceSession('images.onnx').get_inputs()]
for wrong in (10, 99, -1, -11, 2**40) if 'labels' in inputs else ():
    session = onnxruntime.InferenceSession('images.onnx')
    try:
        session.run(None, {'latents': latents[:2], 'labels': np.array([0, wrong])})
    except Exception as error:
        assert 'labels_from_0_to_9' in str(error), error
    else:
        raise AssertionError(f'label {wrong} was taken')
";
        if recipe.starts_with("gan") || recipe.starts_with("cgan") {
            assert!(made.stdout.contains("the generator to"), "{}", made.stdout);
            waxwork(&["export", run, "--part", "encoder"]).refused(&["encoder", "generator"]);
        } else {
            assert!(made.stdout.contains("the decoder to"), "{}", made.stdout);
            waxwork(&[
                "export",
                run,
                "--part",
                "encoder",
                "--out",
                text(&trained.folder.path().join("encoder.onnx")),
            ])
            .good();
            script += "mean, log_var = run('encoder', images=images)\nnp.save('mean.npy', mean)\n";
            script += "assert log_var.shape == mean.shape == latents.shape\n";
        }
        if recipe == "cvae-digits" {
            waxwork(&[
                "export",
                run,
                "--part",
                "prior",
                "--out",
                text(&trained.folder.path().join("prior.onnx")),
            ])
            .good();
            script += "from safetensors.numpy import load_file
moved, = run('prior', noise=latents)
mean, log_var = [load_file('run/model.safetensors')['decoder.prior.' + name][labels] for name in ('mean', 'log_var')]
assert abs(moved - (mean + np.exp(log_var / 2) * latents)).max() < 1e-5 < abs(moved - latents).max()
";
        }
        trained.python(&python, &script).good();
        close(&trained.images, &trained.array("images.npy"), &what);
        if recipe == "vae-digits" {
            let (images, mean) =
                (trained.folder.path().join("images.npy"), trained.folder.path().join("ours.npy"));
            waxwork(&["encode", run, "--images", text(&images), "--out", text(&mean)]).good();
            close(&trained.array("ours.npy"), &trained.array("mean.npy"), &what);
        }
    }
}

/// The loop that a program needs around one step of the decoder reproduces our texts, token by token.
#[test]
fn onnxruntime_writes_our_texts_step_by_step() {
    let Some(python) = python("waxwork export of texts", &["numpy", "onnx", "onnxruntime"]) else { return };
    let gru = "model.network.cell=gru";
    let cases: [(&str, &[&str]); 3] = [("vae-phrases", &[]), ("cvae-phrases", &[]), ("vae-phrases", &[gru])];
    for (recipe, settings) in cases {
        let trained = Trained::new(recipe, settings);
        let run = text(&trained.run);
        for part in ["decoder", "encoder"] {
            let out = trained.folder.path().join(format!("{part}.onnx"));
            waxwork(&["export", run, "--part", part, "--out", text(&out)]).good();
        }
        let script = "import onnx, onnxruntime
for part in ('decoder', 'encoder'):
    onnx.checker.check_model(part + '.onnx', full_check=True)
session = onnxruntime.InferenceSession('decoder.onnx')
shapes = {value.name: value.shape for value in session.get_inputs()}
def step(tokens, state):
    inputs = {'latents': latents, 'labels': labels, 'tokens': tokens, 'state': state}
    return session.run(['logits', 'next_state', 'start'], {name: inputs[name] for name in shapes})
ours = np.load('ours.npy').astype(np.int64)
count, vocabulary = len(latents), 130
tokens = np.full(count, vocabulary, np.int64)
state = step(tokens, np.zeros((count, shapes['state'][1]), np.float32))[2]
ended = np.zeros(count, bool)
for place in range(ours.shape[1]):
    logits, state, _ = step(tokens, state)
    tokens = logits.argmax(axis=1)
    assert logits.shape == (count, vocabulary)
    ended |= tokens == 0
    assert (np.where(ended, 0, tokens) == ours[:, place]).all(), place
";
        trained.python(&python, script).good();
    }
}

/// Our waveforms are rounded to 16 bits.
#[test]
fn onnxruntime_gives_our_waveforms() {
    let Some(python) = python("waxwork export", &["numpy", "onnx", "onnxruntime"]) else { return };
    let trained = Trained::new("cgan-drums-wave", &[]);
    let graph = trained.folder.path().join("generator.onnx");
    waxwork(&["export", text(&trained.run), "--out", text(&graph)]).good();
    let script = "import onnx, onnxruntime
onnx.checker.check_model('generator.onnx', full_check=True)
session = onnxruntime.InferenceSession('generator.onnx')
found, = session.run(None, {'latents': latents, 'labels': labels})
ours = np.load('ours.npy')
assert found.shape == (20, 1, 1, 4096) and abs(found).max() <= 1, found.shape
assert abs(found[:, 0, 0] - ours).max() < 4e-5 < abs(ours).max(), abs(found[:, 0, 0] - ours).max()
";
    trained.python(&python, script).good();
}

#[test]
fn onnxruntime_draws_from_a_fitted_prior() {
    let needed = ["numpy", "onnx", "onnxruntime", "safetensors"];
    let Some(python) = python("waxwork export --part prior", &needed) else { return };
    for recipe in ["vae-digits", "cvae-digits"] {
        let trained = Trained::new(recipe, &["model.latent_dim=2"]);
        let path = |name: &str| trained.folder.path().join(name);
        let fitted = path("fitted");
        waxwork(&["fit-prior", text(&trained.run), "--components", "3", "--out", text(&fitted)]).good();
        waxwork(&["export", text(&fitted), "--part", "prior", "--out", text(&path("prior.onnx"))]).good();
        let script = "
import onnx, onnxruntime
from safetensors.numpy import load_file
onnx.checker.check_model('prior.onnx', full_check=True)
session = onnxruntime.InferenceSession('prior.onnx')
noise = np.random.default_rng(0).standard_normal((1000, 2), np.float32)
asked = np.arange(1000, dtype=np.int64) % 10
inputs = {'noise': noise, 'labels': asked}
drawn, = session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})
state = load_file('fitted/model.safetensors')
weight, mean, log_scale, lower = (
    state['decoder.prior.' + name].astype(np.float64) for name in ('weight', 'mean', 'log_scale', 'lower'))
expected, chosen = [], set()
for n, label in zip(noise.astype(np.float64), asked if len(weight) > 1 else np.zeros(1000, int)):
    u = n[0] * 1024 - np.floor(n[0] * 1024)
    k = min(int(np.searchsorted(np.cumsum(weight[label]), u, side='right')), 2)
    chosen.add((label, k))
    factor = np.tril(lower[label, k], -1) + np.diag(np.exp(log_scale[label, k]))
    expected.append(mean[label, k] + factor @ n)
assert len(chosen) > 2 * len(weight), chosen
off = abs(drawn - np.array(expected)).max(axis=1)
# A draw at the border between two components may fall on either side.
assert np.sort(off)[-2] < 1e-4, np.sort(off)[-5:]
";
        trained.python(&python, script).good();
    }
}

#[test]
fn onnxruntime_gives_our_codes_and_their_images() {
    let Some(python) = python("waxwork export", &["numpy", "onnx", "onnxruntime"]) else { return };
    let vq = ["--set", "model.latent={kind=\"vq\",codebook=12}", "--set", "model.latent_dim=4"];
    for (recipe, settings) in [("vae-digits-fsq", &vq[..0]), ("cvae-digits-fsq", &vq[..])] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (run, images, codes) = (path("run"), path("images.npy"), path("codes.npy"));
        waxwork(&small_of(recipe, &run, settings)).good();
        let labels = if recipe.starts_with('c') { vec!["--labels", "0..9"] } else { vec![] };
        let sample = ["sample", text(&run), "-n", "20", "--out", text(&images)];
        waxwork(&[&sample[..], &labels[..]].concat()).good();
        waxwork(&["encode", text(&run), "--images", text(&images), "--out", text(&codes)]).good();
        let ours = path("ours.npy");
        let decode = ["decode", text(&run), text(&codes), "--out", text(&ours)];
        waxwork(&[&decode[..], &labels[..]].concat()).good();
        for part in ["decoder", "encoder"] {
            let out = path(&format!("{part}.onnx"));
            waxwork(&["export", text(&run), "--part", part, "--out", text(&out)]).good();
        }
        let script = "
import numpy as np, onnx, onnxruntime
labels = np.arange(20, dtype=np.int64) % 10
def result(part, inputs):
    onnx.checker.check_model(part + '.onnx', full_check=True)
    session = onnxruntime.InferenceSession(part + '.onnx')
    return session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})[0]
codes = np.load('codes.npy')
images = result('decoder', {'codes': codes, 'labels': labels})
assert abs(images - np.load('ours.npy')).max() < 1e-4
found = result('encoder', {'images': np.load('images.npy'), 'labels': labels})
# A value on the border between two codes may be rounded to either side.
assert found.shape == codes.shape and (found == codes).mean() > 0.99, (found == codes).mean()
";
        let mut command = std::process::Command::new(&python);
        let output = command.arg("-c").arg(script).current_dir(folder.path()).output();
        finished(&output.unwrap()).good();
    }
}

#[test]
fn onnxruntime_draws_from_a_flow() {
    let needed = ["numpy", "onnx", "onnxruntime", "safetensors"];
    let Some(python) = python("waxwork export --part prior", &needed) else { return };
    for recipe in ["vae-digits", "cvae-digits"] {
        // Large steps: after a few small ones the latents are still standard normal, and no flow is better.
        let trained = Trained::new(recipe, &["model.latent_dim=4", "optimizer.lr=0.05", "optimizer.ema=0"]);
        let path = |name: &str| trained.folder.path().join(name);
        let fitted = path("fitted");
        waxwork(&["fit-prior", text(&trained.run), "--kind", "maf", "--out", text(&fitted)]).good();
        waxwork(&["export", text(&fitted), "--part", "prior", "--out", text(&path("prior.onnx"))]).good();
        let script = "
import onnx, onnxruntime
from safetensors.numpy import load_file
onnx.checker.check_model('prior.onnx', full_check=True)
session = onnxruntime.InferenceSession('prior.onnx')
noise = np.random.default_rng(0).standard_normal((200, 4), np.float32)
asked = np.arange(200, dtype=np.int64) % 10
inputs = {'noise': noise, 'labels': asked}
drawn, = session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})
state = {name: value.astype(np.float64) for name, value in load_file('fitted/model.safetensors').items()}
z = noise.astype(np.float64)
for number in range(5):
    get = lambda name: state[f'decoder.prior.{number}.{name}']
    weight = get('hidden.weight')
    width = weight.shape[1] - 4
    condition = np.eye(10)[asked][:, :width]
    order = list(range(4)) if number % 2 == 0 else [3, 2, 1, 0]
    # Unit k sees the first values of the order up to its degree; a value sees units of lower degrees.
    degree = np.arange(100) * 4 // 100 if width else 1 + np.arange(100) * 3 // 100
    out = np.zeros_like(z)
    for place, i in enumerate(order):
        units = np.zeros((len(z), 100))
        for k in range(100):
            seen = order[:degree[k]]
            units[:, k] = np.tanh(
                out[:, seen] @ weight[k, seen] + condition @ weight[k, 4:] + get('hidden.bias')[k])
        known = degree < place + 1
        shift = units[:, known] @ get('shift.weight')[i, known] + get('shift.bias')[i]
        log_scale = units[:, known] @ get('scale.weight')[i, known] + get('scale.bias')[i]
        assert (-6 < log_scale).all() and (log_scale < 4).all()
        out[:, i] = z[:, i] * np.exp(log_scale) + shift
    z = out
assert abs(z - noise).max() > 0.05, abs(z - noise).max()
assert abs(drawn - z).max() < 1e-3, abs(drawn - z).max()
";
        trained.python(&python, script).good();
    }
}

/// Checks what the script for an experiment tracker sends about a finished run.
fn tail(package: &str, start: &str, end: &str) {
    let file = format!("{package}_tail.py");
    let Some(python) = python(&format!("python/{file}"), &["numpy", package]) else { return };
    let trained = Trained::new("vae-digits", &[]);
    let script = format!(
        "
import json, os, runpy, sys
{start}
expected = []
for line in open('run/metrics.jsonl'):
    values = {{name: value for name, value in json.loads(line).items() if value is not None}}
    expected.append((values.pop('step'), values))
# A resumed run can repeat lines, and its last line can be incomplete.
with open('run/metrics.jsonl', 'a') as out:
    out.write(json.dumps({{'step': expected[0][0], **expected[0][1]}}) + '\\n{{\"step\": 99, \"lo')
sys.argv = ['{file}', 'run']
runpy.run_path(FOLDER + '/{file}')
{end}
assert len(expected) >= 4
"
    );
    let folder = format!("{:?}", concat!(env!("CARGO_MANIFEST_DIR"), "/../../python"));
    trained.python(&python, &script.replace("FOLDER", &folder)).good();
}

#[test]
fn wandb_gets_the_metrics_of_a_run() {
    let start = "os.environ.update(WANDB_MODE='offline', WANDB_SILENT='true')
import wandb
sent, log = [], wandb.log
def spy(values, step):
    sent.append((step, values))
    log(values, step=step)
init = wandb.init
def begin(**settings):
    begun = init(**settings)
    global log
    log, wandb.log = wandb.log, spy
    return begun
wandb.init = begin";
    tail("wandb", start, "assert sent == expected, sent");
}

#[test]
fn mlflow_gets_the_metrics_of_a_run() {
    let start = "os.environ['MLFLOW_TRACKING_URI'] = 'sqlite:///tracked.db'
import mlflow";
    let end = "client = mlflow.MlflowClient()
found, = mlflow.search_runs(experiment_names=['waxwork'], output_format='list')
assert found.info.run_name == 'run' and found.info.status == 'FINISHED', found
for name in {name for _, values in expected for name in values}:
    history = [(value.step, value.value) for value in client.get_metric_history(found.info.run_id, name)]
    assert sorted(history) == [(step, values[name]) for step, values in expected if name in values], name";
    tail("mlflow", start, end);
}

/// What they send, without the programs that get it.
#[test]
fn scripts_for_trackers_send_every_line_once() {
    let Some(python) = python("python/wandb_tail.py and mlflow_tail.py", &["tomllib"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("run.json", r#"{"status": "finished"}"#);
    write("recipe.toml", "description = \"a run\"\n");
    // Step 2 was logged and validated. A resumed run can repeat lines, and be in the middle of one.
    let lines = [
        r#"{"step":1,"loss":2.0}"#,
        r#"{"step":2,"loss":1.0}"#,
        r#"{"step":2,"validation/gap":1.5,"validation/other":null}"#,
        r#"{"step":2,"loss":1.0}"#,
        r#"{"step":3,"lo"#,
    ];
    write("metrics.jsonl", &lines.join("\n"));
    let script = "
import contextlib, runpy, sys, types
sent = []
def log(values, step):
    sent.append((step, values))
def nothing(*_, **__):
    return contextlib.nullcontext()
sys.modules['wandb'] = types.SimpleNamespace(init=nothing, log=log, finish=nothing)
sys.modules['mlflow'] = types.SimpleNamespace(
    set_experiment=nothing, start_run=nothing, log_artifact=nothing, log_metrics=log)
sys.argv = ['tail.py', '.']
for package in ('wandb', 'mlflow'):
    sent.clear()
    runpy.run_path(FOLDER + f'/{package}_tail.py')
    assert sent == [(1, {'loss': 2.0}), (2, {'loss': 1.0}), (2, {'validation/gap': 1.5})], (package, sent)
";
    let scripts = format!("{:?}", concat!(env!("CARGO_MANIFEST_DIR"), "/../../python"));
    let mut command = std::process::Command::new(&python);
    let output =
        command.arg("-c").arg(script.replace("FOLDER", &scripts)).current_dir(folder.path()).output();
    finished(&output.unwrap()).good();
}

#[test]
fn the_server_answers_with_the_models_images_and_refuses_other_requests() {
    let Some(python) = python("python/serve.py", &["numpy", "onnxruntime", "PIL"]) else { return };
    let trained = Trained::new("cgan-digits", &[]);
    let path = |name: &str| trained.folder.path().join(name);
    waxwork(&["export", text(&trained.run), "--out", text(&path("generator.onnx"))]).good();
    let script = "
import io, sys, threading, urllib.error, urllib.request
from PIL import Image
sys.argv = ['serve.py', 'generator.onnx']
sys.path.insert(0, FOLDER)
import serve
server = serve.ThreadingHTTPServer(('127.0.0.1', 0), serve.Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
def get(path):
    return urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}{path}').read()
body = get('/sample?label=7&seed=3&n=5')
assert body == get('/sample?label=7&seed=3&n=5') != get('/sample?label=8&seed=3&n=5')
pixels = np.asarray(Image.open(io.BytesIO(body)))
assert pixels.shape == (28, 5 * 28) and pixels.dtype == np.uint8
np.save('served.npy', pixels.reshape(28, 5, 1, 28).transpose(1, 2, 0, 3).astype(np.float32) / 255)
np.save('latents.npy', np.random.default_rng(3).standard_normal((5, serve.latent_dim), np.float32))
for path, code in [('/', 404), ('/sample?label=10', 400), ('/sample?n=0', 400), ('/sample?n=65', 400), ('/sample?seed=x', 400)]:
    try:
        get(path)
        assert False, path
    except urllib.error.HTTPError as error:
        assert error.code == code, (path, error.code)
";
    let folder = format!("{:?}", concat!(env!("CARGO_MANIFEST_DIR"), "/../../python"));
    trained.python(&python, &script.replace("FOLDER", &folder)).good();
    let (latents, ours) = (path("latents.npy"), path("ours.npy"));
    waxwork(&["decode", text(&trained.run), text(&latents), "--labels", "7", "--out", text(&ours)]).good();
    let (ours, served) = (Tensor::read_npy(&ours).unwrap(), trained.array("served.npy"));
    assert_eq!(ours.dims(), served.dims());
    // The PNG has eight bits per channel.
    let difference = (ours - served).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 0.51 / 255.0);
}
