//! A VAE of sequences of tokens against the same network in PyTorch: loss and gradients. Sequences differ in length, and one has no
//! end; PyTorch sees each alone, without padding.
//!
//! The numbers come from this script (torch 2.x, float64):
//! ```python
//! import torch, torch.nn as nn, torch.nn.functional as F
//! torch.set_default_dtype(torch.float64)
//!
//! def wave(n, phase):                       # the same numbers on both sides
//!     return 0.4 * torch.sin(0.7 * torch.arange(n) + phase)
//!
//! V, L, E, H, Z = 4, 5, 3, 4, 2
//! encoder, decoder = nn.Module(), nn.Module()
//! encoder.tokens = nn.Module()
//! encoder.tokens.embedding, encoder.tokens.recurrent = nn.Embedding(V, E), nn.LSTM(E, H, batch_first=True)
//! encoder.mean, encoder.log_var = nn.Linear(H, Z), nn.Linear(H, Z)
//! decoder.embedding, decoder.start = nn.Embedding(V + 1, E), nn.Linear(Z, 2 * H)
//! decoder.recurrent, decoder.output = nn.LSTM(E + Z, H, batch_first=True), nn.Linear(H, V)
//! model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
//! params = sorted(model.named_parameters())
//! for i, (name, p) in enumerate(params):
//!     p.data = wave(p.numel(), i).view(p.shape)
//! sequences = [[3, 1], [2, 2, 1, 3, 1], []]
//! # What our generator draws for seed 4, stream "latent", step 0.
//! noise = torch.tensor([[-1.0781889, 0.2931584], [1.2718502, 0.06513555], [-1.1545495, 1.0130216]])
//! reconstruction = kl = 0.0
//! for tokens, noise in zip(sequences, noise):
//!     x = torch.tensor([(tokens + [0])[:L]])                     # the end counts, unless there is no room for it
//!     states, _ = encoder.tokens.recurrent(encoder.tokens.embedding(x))
//!     mean, log_var = encoder.mean(states[:, -1]), encoder.log_var(states[:, -1])
//!     z = mean + (log_var / 2).exp() * noise
//!     given = torch.cat([torch.tensor([[V]]), x[:, :-1]], 1)     # no token before the first
//!     inputs = torch.cat([decoder.embedding(given), z.unsqueeze(1).expand(-1, x.shape[1], -1)], 2)
//!     h, c = torch.tanh(decoder.start(z)).unsqueeze(0).split(H, 2)
//!     states, _ = decoder.recurrent(inputs, (h.contiguous(), c.contiguous()))
//!     reconstruction += F.cross_entropy(decoder.output(states[0]), x[0], reduction="sum") / 3
//!     kl += 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum() / 3
//! loss = reconstruction + kl
//! loss.backward()
//! print(f"loss {loss.item():.10f} reconstruction {reconstruction.item():.10f} kl {kl.item():.10f}")
//! for name, p in params:
//!     g = p.grad.flatten()
//!     print(f'    ("{name}", {g.norm().item():.8e}, {(g * wave(g.numel(), 9)).sum().item():.8e}),')
//! ```

use std::collections::BTreeMap;

use waxwork_core::sample::{Range, Segment};
use waxwork_core::{Batch, DType, Device, ParamSet, SampleSpec, Tensor, Trainable};
use waxwork_nn::layers::CellKind;
use waxwork_vae::{LikelihoodConfig, Network, Vae, VaeConfig};

use crate::pytorch::{Gradient, check_step, wave};

const LOSS: f64 = 4.2916595811;
const RECONSTRUCTION: f64 = 4.1751819540;
const KL: f64 = 0.1164776271;
const GRADIENTS: [Gradient; 18] = [
    ("decoder.embedding.weight", 2.65730690e-02, -4.57238781e-03),
    ("decoder.output.bias", 2.78835029e-01, 5.59120465e-02),
    ("decoder.output.weight", 2.05692215e-01, 7.71241712e-02),
    ("decoder.recurrent.bias_hh_l0", 1.20389326e-01, 6.74092506e-02),
    ("decoder.recurrent.bias_ih_l0", 1.20389326e-01, 6.74092506e-02),
    ("decoder.recurrent.weight_hh_l0", 7.40822752e-02, -1.99257410e-02),
    ("decoder.recurrent.weight_ih_l0", 1.37195080e-01, 1.94414235e-02),
    ("decoder.start.bias", 3.78016293e-02, 7.64930354e-03),
    ("decoder.start.weight", 1.06121215e-01, 3.59187004e-02),
    ("encoder.log_var.bias", 2.86456012e-02, 5.62452361e-03),
    ("encoder.log_var.weight", 4.80913782e-03, 4.53948355e-05),
    ("encoder.mean.bias", 5.15524812e-01, -4.32753595e-02),
    ("encoder.mean.weight", 1.15695740e-01, 1.30854670e-02),
    ("encoder.tokens.embedding.weight", 4.95881197e-03, 1.22880807e-03),
    ("encoder.tokens.recurrent.bias_hh_l0", 3.05764749e-02, 8.74516729e-03),
    ("encoder.tokens.recurrent.bias_ih_l0", 3.05764749e-02, 8.74516729e-03),
    ("encoder.tokens.recurrent.weight_hh_l0", 4.93726279e-03, -8.19050701e-04),
    ("encoder.tokens.recurrent.weight_ih_l0", 9.02937551e-03, -1.00144091e-03),
];

#[test]
fn a_training_step_is_that_of_pytorch() {
    let config = VaeConfig {
        latent_dim: 2,
        network: Network::Recurrent {
            embedding: 3,
            hidden: 4,
            cell: CellKind::Lstm,
            word_dropout: 0.0,
            dropout: 0.0,
            tied: false,
        },
        likelihood: LikelihoodConfig::Tokens,
        ..VaeConfig::default()
    };
    let (length, vocabulary) = (5, 4);
    let segments = vec![Segment { width: vocabulary, range: Range::OneHot }];
    let sample = SampleSpec::new(vec![length, vocabulary], segments).unwrap();
    let params = ParamSet::fresh_with(0, &Device::Cpu, DType::F64);
    let vae = Vae::new(config, sample, params).unwrap();
    let mut tensors = BTreeMap::new();
    for (i, (name, tensor)) in vae.params().tensors().into_iter().enumerate() {
        let values = wave(tensor.elem_count(), i as f64);
        tensors.insert(name, Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap());
    }
    vae.params().assign(&tensors).unwrap();

    let sequences: [&[usize]; 3] = [&[3, 1], &[2, 2, 1, 3, 1], &[]];
    let mut rows = vec![0f64; 3 * length * vocabulary];
    for (rows, tokens) in rows.chunks_exact_mut(length * vocabulary).zip(sequences) {
        for (place, row) in rows.chunks_exact_mut(vocabulary).enumerate() {
            row[tokens.get(place).copied().unwrap_or(0)] = 1.0;
        }
    }
    let rows = Tensor::from_vec(rows, (3, length, vocabulary), &Device::Cpu).unwrap();
    let batch = Batch::unlabelled(rows, vec![0, 1, 2]);
    let after = check_step(&vae, &batch, [LOSS, RECONSTRUCTION, KL], &GRADIENTS);
    assert_eq!(after.keys().map(String::as_str).collect::<Vec<_>>(), GRADIENTS.map(|(name, _, _)| name));
}
