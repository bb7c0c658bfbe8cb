//! A convolutional VAE against the same network in PyTorch: loss, gradients and running statistics.
//!
//! The numbers come from this script (torch 2.x, float64):
//! ```python
//! import torch, torch.nn as nn, torch.nn.functional as F
//! torch.set_default_dtype(torch.float64)
//!
//! def wave(n, phase):                       # the same numbers on both sides
//!     return 0.4 * torch.sin(0.7 * torch.arange(n) + phase)
//!
//! class Encoder(nn.Module):
//!     def __init__(self):
//!         super().__init__()
//!         self.conv0, self.conv1 = nn.Conv2d(1, 2, 4, 2, 1), nn.Conv2d(2, 3, 4, 2, 1, bias=False)
//!         self.norm1, self.hidden = nn.BatchNorm2d(3), nn.Linear(12, 4)
//!         self.mean, self.log_var = nn.Linear(4, 2), nn.Linear(4, 2)
//!     def forward(self, x):
//!         x = F.silu(self.norm1(self.conv1(F.silu(self.conv0(x)))))
//!         x = F.silu(self.hidden(x.flatten(1)))
//!         return self.mean(x), self.log_var(x)
//!
//! class Decoder(nn.Module):
//!     def __init__(self):
//!         super().__init__()
//!         self.hidden, self.output = nn.Linear(2, 4), nn.Linear(4, 12)
//!         self.conv0, self.norm0 = nn.ConvTranspose2d(3, 2, 4, 2, 1, bias=False), nn.BatchNorm2d(2)
//!         self.conv1 = nn.ConvTranspose2d(2, 1, 4, 2, 1)
//!     def forward(self, z):
//!         x = F.silu(self.output(F.silu(self.hidden(z)))).view(-1, 3, 2, 2)
//!         return self.conv1(F.silu(self.norm0(self.conv0(x))))
//!
//! names = {"encoder.conv0": "encoder.down.0.conv", "encoder.conv1": "encoder.down.1.conv",
//!          "encoder.norm1": "encoder.down.1.norm", "encoder.hidden": "encoder.hidden.0",
//!          "decoder.hidden": "decoder.hidden.0", "decoder.conv0": "decoder.up.0.conv",
//!          "decoder.norm0": "decoder.up.0.norm", "decoder.conv1": "decoder.up.1.conv"}
//! model = nn.ModuleDict({"encoder": Encoder(), "decoder": Decoder()})
//! def ours(name):
//!     module, kind = name.rsplit(".", 1)
//!     return f"{names.get(module, module)}.{kind}"
//! params = sorted(((ours(n), p) for n, p in model.named_parameters()))
//! for i, (name, p) in enumerate(params):
//!     p.data = wave(p.numel(), i).view(p.shape) + (1.0 if name.endswith("norm.weight") else 0.0)
//! x = 0.5 + 0.5 * torch.sin(torch.arange(3 * 64) * 1.3).view(3, 1, 8, 8)
//! # What our generator draws for seed 4, stream "latent", step 0.
//! noise = torch.tensor([[-1.0781889, 0.2931584], [1.2718502, 0.06513555], [-1.1545495, 1.0130216]])
//! mean, log_var = model["encoder"](x)
//! logits = model["decoder"](mean + (log_var / 2).exp() * noise)
//! reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
//! kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
//! loss = (reconstruction + kl).mean()
//! loss.backward()
//! print(f"loss {loss.item():.10f} reconstruction {reconstruction.mean().item():.10f} kl {kl.mean().item():.10f}")
//! for name, p in params:
//!     g = p.grad.flatten()
//!     print(f'        ("{name}", {g.norm().item():.8e}, {(g * wave(g.numel(), 9)).sum().item():.8e}),')
//! print("running", model["encoder"].norm1.running_mean.tolist(), model["encoder"].norm1.running_var.tolist())
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;

use waxwork_core::{Batch, DType, Device, ImageShape, ParamSet, Tensor, Trainable, TrainingState};
use waxwork_kernels::Activation;
use waxwork_vae::{Network, Vae, VaeConfig};

use crate::gradients::descent;

/// Name of a parameter, Euclidean norm of its gradient, and its product with `wave(9)`.
pub(crate) type Gradient = (&'static str, f64, f64);

const LOSS: f64 = 45.1707387200;
const RECONSTRUCTION: f64 = 45.1046125685;
const KL: f64 = 0.0661261515;
const RUNNING_MEAN: [f64; 3] = [0.018860249079605717, -0.009372599767362978, -0.0016600654337011772];
const RUNNING_VAR: [f64; 3] = [0.9020398905946099, 0.9021482384857846, 0.9024521727048885];
const GRADIENTS: [Gradient; 20] = [
    ("decoder.hidden.0.bias", 2.27818087e-01, 1.16293136e-01),
    ("decoder.hidden.0.weight", 1.62154359e-01, 7.24876881e-04),
    ("decoder.output.bias", 1.41118594e+00, 2.11132705e-01),
    ("decoder.output.weight", 8.44266436e-01, -9.56815266e-02),
    ("decoder.up.0.conv.weight", 1.71322103e+00, 5.49407754e-01),
    ("decoder.up.0.norm.bias", 7.65179365e-01, -5.67232033e-02),
    ("decoder.up.0.norm.weight", 1.20615620e+00, -1.39397203e-01),
    ("decoder.up.1.conv.bias", 2.86083674e+00, 4.71601482e-01),
    ("decoder.up.1.conv.weight", 1.64389738e+00, 8.71138733e-01),
    ("encoder.down.0.conv.bias", 3.06966579e-02, 8.20380270e-04),
    ("encoder.down.0.conv.weight", 1.37084293e-01, -1.94482813e-02),
    ("encoder.down.1.conv.weight", 2.01405201e-01, -6.50841245e-03),
    ("encoder.down.1.norm.bias", 4.92475469e-02, -6.52574529e-03),
    ("encoder.down.1.norm.weight", 4.74197446e-02, -1.32120109e-02),
    ("encoder.hidden.0.bias", 8.59177341e-02, -2.58846276e-02),
    ("encoder.hidden.0.weight", 2.31450594e-01, 8.37210943e-02),
    ("encoder.log_var.bias", 1.73312032e-01, -2.52905208e-02),
    ("encoder.log_var.weight", 8.27420210e-02, 1.27832423e-02),
    ("encoder.mean.bias", 1.11693780e-01, 1.69105162e-02),
    ("encoder.mean.weight", 1.62084631e-01, -3.10009519e-02),
];

/// The numbers that the scripts give to weights.
pub(crate) fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| 0.4 * (0.7 * i as f64 + phase).sin()).collect()
}

#[test]
fn a_training_step_is_that_of_pytorch() {
    let config = VaeConfig {
        latent_dim: 2,
        network: Network::Conv { channels: vec![2, 3], hidden: 4, batch_norm: true },
        activation: Activation::Silu,
        ..VaeConfig::default()
    };
    let params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
    let vae = Vae::new(config, ImageShape::new(1, 8, 8), params).unwrap();
    let mut tensors = vae.params().tensors();
    let weights = vae.groups().iter().flat_map(|group| group.params.clone());
    let mut weights: Vec<String> = weights.collect();
    weights.sort();
    for (i, name) in weights.iter().enumerate() {
        let shape = tensors[name].shape().clone();
        let offset = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values = wave(shape.elem_count(), i as f64).into_iter().map(|value| value + offset).collect();
        tensors.insert(name.clone(), Tensor::from_vec::<_, f64>(values, shape, &Device::Cpu).unwrap());
    }
    vae.params().assign(&tensors.into_iter().map(|(name, t)| (name, t.copy().unwrap())).collect()).unwrap();

    let pixels: Vec<f64> = (0..3 * 64).map(|i| 0.5 + 0.5 * (f64::from(i) * 1.3).sin()).collect();
    let images = Tensor::from_vec(pixels, (3, 1, 8, 8), &Device::Cpu).unwrap();
    let batch = Batch::unlabelled(images, vec![0, 1, 2]);
    assert_eq!(weights, GRADIENTS.map(|(name, _, _)| name));
    let after = check_step(&vae, &batch, [LOSS, RECONSTRUCTION, KL], &GRADIENTS);
    for (name, expected) in [("running_mean", RUNNING_MEAN), ("running_var", RUNNING_VAR)] {
        let found = &after[&format!("encoder.down.1.norm.{name}")];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{name}: {found:?}");
    }
}

/// Takes a step of steepest descent, compares its loss, reconstruction term, KL divergence and gradients with
/// those that PyTorch printed, and returns the tensors after the step.
pub(crate) fn check_step(
    vae: &Vae,
    batch: &Batch,
    [loss, reconstruction, kl]: [f64; 3],
    gradients: &[Gradient],
) -> BTreeMap<String, Vec<f64>> {
    let before = copies(vae);
    let mut state = TrainingState::new(vae, descent(1.0), 4, 1).unwrap();
    let report = state.step(vae, batch).unwrap();

    let scalar = |name: &str| report.scalars.iter().find(|(found, _)| found == name).unwrap().1;
    assert!((scalar("loss") - loss).abs() < 1e-6, "{}", scalar("loss"));
    assert!((scalar("reconstruction") + reconstruction).abs() < 1e-6);
    assert!((scalar("kl") - kl).abs() < 1e-6);
    let after = copies(vae);
    for &(name, norm, product) in gradients {
        let gradient: Vec<f64> = before[name].iter().zip(&after[name]).map(|(a, b)| a - b).collect();
        let found_norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let found_product: f64 = gradient.iter().zip(wave(gradient.len(), 9.0)).map(|(g, w)| g * w).sum();
        assert!((found_norm - norm).abs() < 1e-6 * (1.0 + norm), "{name}: {found_norm} against {norm}");
        assert!((found_product - product).abs() < 1e-6 * (1.0 + norm), "{name}: {found_product}, {product}");
    }
    after
}

fn copies(vae: &Vae) -> BTreeMap<String, Vec<f64>> {
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    vae.params().tensors().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}
