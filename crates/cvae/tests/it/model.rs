//! The conditional VAE's objective and bounds given the label, against closed forms and finite differences.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Condition, DType, Device, Drawing, GenerativeModel, ImageShape, ParamSet, SampleRequest, Tensor,
    Trainable, TrainingState,
};
use waxwork_cvae::{Cvae, CvaeConfig, Network, PriorConfig};

use crate::gradients::{Descended, descent};

const IMAGE: ImageShape = ImageShape::new(1, 4, 4);
const CLASSES: usize = 3;

fn config(network: Network, prior: PriorConfig) -> CvaeConfig {
    CvaeConfig { latent_dim: 2, network, prior, ..CvaeConfig::default() }
}

fn mlp() -> Network {
    Network::Mlp { hidden: vec![5] }
}

fn conv() -> Network {
    Network::Conv { channels: vec![2, 3], hidden: 4, batch_norm: true }
}

fn build(config: &CvaeConfig) -> Cvae {
    let model = Cvae::new(config.clone(), IMAGE, CLASSES, ParamSet::fresh_with(9, &Device::Cpu, DType::F64));
    let model = model.unwrap();
    // A learned prior starts as the standard one, where its gradient would hide a wrong sign: move it away.
    let moved = model.params().tensors().into_iter().map(|(name, tensor)| {
        let bias = Stream::new(7, &name, 0).normal(&[0], tensor.elem_count(), &Device::Cpu).unwrap();
        let bias = bias.to_dtype(DType::F64).unwrap().affine(0.3, 0.0).unwrap();
        let moved = tensor + bias.reshape(model.params().get(&name).unwrap().shape()).unwrap();
        let moved = if name.contains("running") { model.params().tensors()[&name].copy() } else { moved };
        (name, moved.unwrap())
    });
    model.params().assign(&moved.collect()).unwrap();
    model
}

fn batch(n: usize) -> Batch {
    let indices: Vec<u64> = (0..n as u64).collect();
    let images = Stream::new(1, "test images", 0).uniform(&indices, (1, 4, 4), &Device::Cpu).unwrap();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % CLASSES as u32).collect();
    let condition = Condition::classes(&labels).unwrap();
    Batch { condition, ..Batch::unlabelled(images.to_dtype(DType::F64).unwrap(), indices) }
}

/// Takes a step of gradient descent, and returns its loss.
fn step(model: &Cvae, lr: f64) -> f64 {
    let report = TrainingState::new(model, descent(lr), 4, 10).unwrap().step(model, &batch(4)).unwrap();
    report.scalars.iter().find(|(name, _)| name == "loss").unwrap().1
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (network, prior) in
        [(mlp(), PriorConfig::Standard), (mlp(), PriorConfig::Label), (conv(), PriorConfig::Label)]
    {
        for importance_samples in [1, 3] {
            let model = build(&CvaeConfig { importance_samples, ..config(network.clone(), prior) });
            let descended = Descended::by(model.params(), || step(&model, 1.0));
            for name in model.groups().iter().flat_map(|group| &group.params) {
                descended.check(name, || step(&model, 1e-30));
            }
        }
    }
}

/// All weights are zero but the learned prior's: the decoder outputs one half, and log p(x | y) is known.
#[test]
fn the_likelihood_given_the_label_has_its_closed_form() {
    let model = build(&config(mlp(), PriorConfig::Label));
    let set = |prior: f64| {
        let tensors = model.params().tensors().into_iter().map(|(name, tensor)| {
            let value = if name.contains("prior.mean") { prior } else { 0.0 };
            (name, tensor.affine(0.0, value).unwrap())
        });
        model.params().assign(&tensors.collect()).unwrap();
    };
    let batch = batch(5);
    let values = |tensor: Tensor| tensor.to_vec1::<f64>().unwrap();
    set(0.0);
    let (bound, density) = (model.bound().unwrap(), model.density().unwrap());
    let stream = Stream::new(0, "x", 0);
    for value in values(density.log_likelihood(&batch, 7, &stream).unwrap()) {
        assert!((value + 16.0 * 2f64.ln()).abs() < 1e-9, "{value}");
    }
    // q(z | x) = N(0, 1) in two dimensions, p(z | y) = N(0.5, 1): KL = 2 · 0.5² / 2.
    set(0.5);
    let elbo = bound.elbo(&batch, &stream).unwrap();
    assert!(values(elbo.kl).iter().all(|kl| (kl - 0.25).abs() < 1e-12));
    let mean = density.log_likelihood(&batch, 20_000, &stream).unwrap().mean_all().unwrap();
    assert!((mean.to_scalar::<f64>().unwrap() + 16.0 * 2f64.ln()).abs() < 0.02);
    assert!(bound.protocol().contains("given the label"));
}

#[test]
fn a_learned_prior_moves_only_the_samples_of_its_label() {
    let model = build(&config(mlp(), PriorConfig::Label));
    let of = |label: u32| {
        let request = SampleRequest::of_classes(0, &[label; 3]).unwrap();
        model.sample(&request).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let (first, second) = (of(0), of(1));
    let mut tensors = model.params().deep_copy().unwrap().tensors();
    let mean = tensors["decoder.prior.mean"].to_vec2::<f64>().unwrap();
    let moved = [vec![mean[0][0] + 1.0, mean[0][1]], mean[1].clone(), mean[2].clone()];
    tensors.insert(
        "decoder.prior.mean".into(),
        Tensor::new(&moved.concat()[..], &Device::Cpu).unwrap().reshape((3, 2)).unwrap(),
    );
    model.params().assign(&tensors).unwrap();
    assert_ne!(of(0), first);
    assert_eq!(of(1), second);
}

#[test]
fn labels_are_needed_and_must_be_classes() {
    let model = build(&config(mlp(), PriorConfig::Standard));
    let latents = Tensor::zeros((1, 2), DType::F64, &Device::Cpu).unwrap();
    let error = |condition: &Condition| {
        model.generate(&latents, condition, &Drawing::none()).unwrap_err().to_string()
    };
    assert!(error(&Condition::None).contains("needs labels"));
    assert!(error(&Condition::classes(&[3]).unwrap()).contains("no class 3"));
    let params = ParamSet::fresh(0, &Device::Cpu);
    assert!(Cvae::new(CvaeConfig::default(), IMAGE, 0, params).unwrap_err().to_string().contains("labels"));
}
