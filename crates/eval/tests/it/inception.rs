//! Inception-v3 against torch-fidelity's network, with the same weights and images on both sides.
//!
//! The numbers come from this script (torch-fidelity 0.4):
//! ```python
//! import numpy as np, torch
//! from torch_fidelity import feature_extractor_inceptionv3 as f
//!
//! def hashed(n, first):
//!     x = (np.arange(n, dtype=np.uint64) + first).astype(np.uint32)
//!     for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
//!         x ^= x >> np.uint32(shift)
//!         x *= np.uint32(factor)
//!     x ^= x >> np.uint32(16)
//!     return (x >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)   # [0, 1)
//!
//! f.load_state_dict_from_url = lambda *a, **k: None
//! f.FeatureExtractorInceptionV3.load_state_dict = lambda self, s: None
//! net = f.FeatureExtractorInceptionV3("i", ["2048", "logits_unbiased"])
//! first, state = 0, net.state_dict()
//! for name in sorted(state):
//!     t = state[name]
//!     if name.endswith("num_batches_tracked") or name == "fc.bias": continue
//!     u = hashed(t.numel(), first); first += t.numel()
//!     if name.endswith("running_var") or name.endswith("bn.weight"): v = np.float32(0.5) + u
//!     elif t.dim() == 1: v = np.float32(0.2) * (u - np.float32(0.5))
//!     else: v = (u - np.float32(0.5)) * np.float32((24 / t[0].numel()) ** 0.5)
//!     t.copy_(torch.from_numpy(v.reshape(t.shape)))
//! images = torch.from_numpy((hashed(2 * 3 * 32 * 32, 12345) * 256).astype(np.uint8).reshape(2, 3, 32, 32))
//! features, logits = net(images)
//! torch.set_printoptions(precision=8, linewidth=120)
//! print(features[:, ::293], features.sum(1), features.double().pow(2).sum(1).sqrt()); print(logits[:, ::167])
//! ```
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::{Device, Tensor, store};
use waxwork_eval::{Extractor, Inception};

/// Shape of every convolution's weight, by block.
const SHAPES: &str = "
    Conv2d_1a_3x3: 32x3x3x3
    Conv2d_2a_3x3: 32x32x3x3
    Conv2d_2b_3x3: 64x32x3x3
    Conv2d_3b_1x1: 80x64x1x1
    Conv2d_4a_3x3: 192x80x3x3
    Mixed_5b: branch1x1 64x192x1x1, branch3x3dbl_1 64x192x1x1, branch3x3dbl_2 96x64x3x3, branch3x3dbl_3 96x96x3x3, branch5x5_1 48x192x1x1, branch5x5_2 64x48x5x5, branch_pool 32x192x1x1
    Mixed_5c: branch1x1 64x256x1x1, branch3x3dbl_1 64x256x1x1, branch3x3dbl_2 96x64x3x3, branch3x3dbl_3 96x96x3x3, branch5x5_1 48x256x1x1, branch5x5_2 64x48x5x5, branch_pool 64x256x1x1
    Mixed_5d: branch1x1 64x288x1x1, branch3x3dbl_1 64x288x1x1, branch3x3dbl_2 96x64x3x3, branch3x3dbl_3 96x96x3x3, branch5x5_1 48x288x1x1, branch5x5_2 64x48x5x5, branch_pool 64x288x1x1
    Mixed_6a: branch3x3 384x288x3x3, branch3x3dbl_1 64x288x1x1, branch3x3dbl_2 96x64x3x3, branch3x3dbl_3 96x96x3x3
    Mixed_6b: branch1x1 192x768x1x1, branch7x7_1 128x768x1x1, branch7x7_2 128x128x1x7, branch7x7_3 192x128x7x1, branch7x7dbl_1 128x768x1x1, branch7x7dbl_2 128x128x7x1, branch7x7dbl_3 128x128x1x7, branch7x7dbl_4 128x128x7x1, branch7x7dbl_5 192x128x1x7, branch_pool 192x768x1x1
    Mixed_6c: branch1x1 192x768x1x1, branch7x7_1 160x768x1x1, branch7x7_2 160x160x1x7, branch7x7_3 192x160x7x1, branch7x7dbl_1 160x768x1x1, branch7x7dbl_2 160x160x7x1, branch7x7dbl_3 160x160x1x7, branch7x7dbl_4 160x160x7x1, branch7x7dbl_5 192x160x1x7, branch_pool 192x768x1x1
    Mixed_6d: branch1x1 192x768x1x1, branch7x7_1 160x768x1x1, branch7x7_2 160x160x1x7, branch7x7_3 192x160x7x1, branch7x7dbl_1 160x768x1x1, branch7x7dbl_2 160x160x7x1, branch7x7dbl_3 160x160x1x7, branch7x7dbl_4 160x160x7x1, branch7x7dbl_5 192x160x1x7, branch_pool 192x768x1x1
    Mixed_6e: branch1x1 192x768x1x1, branch7x7_1 192x768x1x1, branch7x7_2 192x192x1x7, branch7x7_3 192x192x7x1, branch7x7dbl_1 192x768x1x1, branch7x7dbl_2 192x192x7x1, branch7x7dbl_3 192x192x1x7, branch7x7dbl_4 192x192x7x1, branch7x7dbl_5 192x192x1x7, branch_pool 192x768x1x1
    Mixed_7a: branch3x3_1 192x768x1x1, branch3x3_2 320x192x3x3, branch7x7x3_1 192x768x1x1, branch7x7x3_2 192x192x1x7, branch7x7x3_3 192x192x7x1, branch7x7x3_4 192x192x3x3
    Mixed_7b: branch1x1 320x1280x1x1, branch3x3_1 384x1280x1x1, branch3x3_2a 384x384x1x3, branch3x3_2b 384x384x3x1, branch3x3dbl_1 448x1280x1x1, branch3x3dbl_2 384x448x3x3, branch3x3dbl_3a 384x384x1x3, branch3x3dbl_3b 384x384x3x1, branch_pool 192x1280x1x1
    Mixed_7c: branch1x1 320x2048x1x1, branch3x3_1 384x2048x1x1, branch3x3_2a 384x384x1x3, branch3x3_2b 384x384x3x1, branch3x3dbl_1 448x2048x1x1, branch3x3dbl_2 384x448x3x3, branch3x3dbl_3a 384x384x1x3, branch3x3dbl_3b 384x384x3x1, branch_pool 192x2048x1x1";

/// Features 0, 293, 586 … of either image.
const FEATURES: [[f64; 7]; 2] = [
    [1.93891048e-01, 1.60421600e+01, 5.07573843e-01, 2.32035830e-03, 1.10117083e+01, 7.62544811e-01, 0.0],
    [1.76405817e-01, 1.53908339e+01, 6.02800012e-01, 0.0, 1.04045925e+01, 6.50611341e-01, 0.0],
];
const FEATURE_SUMS: [f64; 2] = [7147.13525391, 6908.01611328];
const FEATURE_NORMS: [f64; 2] = [275.56517586, 266.33654730];
/// Logits 0, 167, 334 … of either image.
const LOGITS: [[f64; 7]; 2] = [
    [-13.72049522, 1.83490086, -6.02512360, 7.25057030, 13.16455746, 7.05724001, 9.80581570],
    [-13.14197731, 1.46772003, -5.29782677, 6.89544821, 12.72378731, 6.91664028, 9.45775795],
];

/// `n` numbers in [0, 1), from place `first` on.
fn hashed(n: usize, first: usize) -> Vec<f32> {
    let hash = |i: usize| {
        let mut x = i as u32;
        for (shift, factor) in [(16, 0x85EB_CA6B), (13, 0xC2B2_AE35)] {
            x = (x ^ (x >> shift)).wrapping_mul(factor);
        }
        ((x ^ (x >> 16)) >> 8) as f32 / (1 << 24) as f32
    };
    (first..first + n).map(hash).collect()
}

fn weights() -> BTreeMap<String, Tensor> {
    let mut shapes = BTreeMap::from([("fc.weight".to_owned(), vec![1008, 2048])]);
    for line in SHAPES.trim().lines() {
        let (block, layers) = line.trim().split_once(": ").unwrap();
        for layer in layers.split(", ") {
            let (name, shape) = layer.rsplit_once(' ').unwrap_or(("", layer));
            let name = if name.is_empty() { block.to_owned() } else { format!("{block}.{name}") };
            let shape: Vec<usize> = shape.split('x').map(|size| size.parse().unwrap()).collect();
            for part in ["weight", "bias", "running_mean", "running_var"] {
                shapes.insert(format!("{name}.bn.{part}"), vec![shape[0]]);
            }
            shapes.insert(format!("{name}.conv.weight"), shape);
        }
    }
    let mut first = 0;
    let mut tensor = |(name, shape): (String, Vec<usize>)| {
        let size: usize = shape.iter().product();
        let uniform = hashed(size, first);
        first += size;
        let (factor, offset) = match shape.as_slice() {
            [_] if name.ends_with("running_var") || name.ends_with("bn.weight") => (1.0, 0.5),
            [_] => (0.2, -0.1),
            _ => {
                let scale = (24.0 / (size / shape[0]) as f64).sqrt() as f32;
                (scale, -0.5 * scale)
            }
        };
        let values: Vec<f32> = uniform.iter().map(|u| u * factor + offset).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    shapes.into_iter().map(&mut tensor).collect()
}

fn saved(folder: &Path, weights: &BTreeMap<String, Tensor>) -> std::path::PathBuf {
    let path = folder.join("inception.safetensors");
    store::save(&path, weights).unwrap();
    path
}

fn close(ours: f64, theirs: f64, scale: f64) {
    assert!((ours - theirs).abs() <= 1e-3 * theirs.abs().max(scale), "{ours} against {theirs}");
}

#[test]
fn features_and_logits_are_those_of_torch_fidelity() {
    let folder = tempfile::tempdir().unwrap();
    let network = Inception::open(&saved(folder.path(), &weights())).unwrap();
    let bytes: Vec<f32> =
        hashed(2 * 3 * 32 * 32, 12345).iter().map(|u| (u * 256.0).floor() / 255.0).collect();
    let images = Tensor::from_vec(bytes, (2, 3, 32, 32), &Device::Cpu).unwrap();
    let features = network.features(&images).unwrap();
    let logits = network.logits(&features).unwrap().to_vec2::<f32>().unwrap();
    for (image, row) in features.to_vec2::<f32>().unwrap().iter().enumerate() {
        let values = || row.iter().map(|&value| f64::from(value));
        close(values().sum(), FEATURE_SUMS[image], 0.0);
        close(values().map(|value| value * value).sum::<f64>().sqrt(), FEATURE_NORMS[image], 0.0);
        for (ours, theirs) in row.iter().step_by(293).zip(FEATURES[image]) {
            close(f64::from(*ours), theirs, 1.0);
        }
        for (ours, theirs) in logits[image].iter().step_by(167).zip(LOGITS[image]) {
            close(f64::from(*ours), theirs, 1.0);
        }
    }

    // An image does not depend on its batch.
    let alone = network.features(&images.narrow(0, 1, 1).unwrap()).unwrap();
    assert_eq!(alone.to_vec2::<f32>().unwrap()[0], features.to_vec2::<f32>().unwrap()[1]);
}

#[test]
fn rejects_other_weights() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = weights();
    let message = |path: &Path| Inception::open(path).unwrap_err().to_string();
    let lost = tensors.remove("Mixed_6b.branch7x7_2.bn.bias").unwrap();
    assert!(
        message(&saved(folder.path(), &tensors)).contains("lacks the tensor `Mixed_6b.branch7x7_2.bn.bias`")
    );
    tensors.insert("Mixed_6b.branch7x7_2.bn.bias".into(), lost);
    let torchvision = tensors["fc.weight"].narrow(0, 0, 1000).unwrap();
    tensors.insert("fc.weight".into(), torchvision);
    assert!(message(&saved(folder.path(), &tensors)).contains("not the Inception-v3 of published"));
    assert!(message(&folder.path().join("weights.pth")).contains("to_safetensors.py"));
}
