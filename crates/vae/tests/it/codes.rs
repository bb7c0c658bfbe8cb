//! VAEs of codes: the weights that each part of training changes, gradients against finite differences, and
//! encoding and decoding.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;

use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Bound, Condition, ConditionSpec, DType, Device, Drawing, Encode, GenerativeModel, ImageShape,
    ParamSet, Reconstruct, SampleRequest, Tensor, Trainable, TrainingState,
};
use waxwork_kernels::Activation;
use waxwork_vae::{
    BoundConfig, CodeVae, CompletionConfig, GivenPart, LatentConfig, Network, PriorConfig, UpperConfig, Vae,
    VaeConfig, build,
};

use crate::gradients::{Descended, descent};

const IMAGE: ImageShape = ImageShape::new(1, 8, 8);
/// The first half of these steps trains the encoder and the decoder.
const STEPS: u64 = 10;
const PRIOR: PriorConfig = PriorConfig::Autoregressive {
    embedding: 3,
    hidden: 4,
    cell: waxwork_nn::layers::CellKind::Lstm,
    share: 0.5,
};

fn fsq() -> VaeConfig {
    VaeConfig {
        latent_dim: 2,
        latent: LatentConfig::Fsq { levels: vec![3, 4] },
        network: Network::Conv { channels: vec![2, 3], hidden: 4, batch_norm: false },
        activation: Activation::Silu,
        prior: PRIOR,
        ..VaeConfig::default()
    }
}

fn vq() -> VaeConfig {
    VaeConfig { latent: LatentConfig::Vq { codebook: 6, decay: 0.9, commitment: 0.25 }, ..fsq() }
}

fn model(config: &VaeConfig, classes: usize) -> CodeVae {
    let params = ParamSet::fresh_with(9, &Device::Cpu, DType::F64);
    CodeVae::new("vae", config.clone(), IMAGE, ConditionSpec::classes(classes), params).unwrap()
}

fn batch(n: usize, classes: usize) -> Batch {
    let indices: Vec<u64> = (0..n as u64).collect();
    let images = Stream::new(1, "test images", 0).uniform(&indices, (1, 8, 8), &Device::Cpu).unwrap();
    let labels: Vec<u32> = (0..n).map(|i| (i % classes.max(1)) as u32).collect();
    let condition = if classes == 0 { Condition::None } else { Condition::classes(&labels).unwrap() };
    Batch { condition, ..Batch::unlabelled(images.to_dtype(DType::F64).unwrap(), indices) }
}

/// Runs step number `step` of [`STEPS`], and returns its scalars.
fn one_step(model: &CodeVae, batch: &Batch, step: u64) -> BTreeMap<String, f64> {
    let mut state = TrainingState::new(model, descent(1.0), 4, STEPS).unwrap();
    let mut counters = state.counters();
    counters.step = step;
    let moments = state.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap()));
    state.restore(&moments.collect(), &counters).unwrap();
    state.step(model, batch).unwrap().scalars.into_iter().collect()
}

fn copied(model: &CodeVae) -> BTreeMap<String, Vec<f64>> {
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    model.params().tensors().into_iter().map(|(name, tensor)| (name, flat(tensor))).collect()
}

#[test]
fn the_first_steps_train_the_networks_and_the_last_ones_the_prior() {
    for config in [fsq(), vq()] {
        for (step, trained, kept) in [
            (0, &["encoder.", "decoder."][..], &["prior."][..]),
            (4, &["encoder.", "decoder."][..], &["prior."][..]),
            (5, &["prior."][..], &["encoder.", "decoder.", "codes.count", "codes.sum"][..]),
        ] {
            let model = model(&config, 3);
            let before = copied(&model);
            let scalars = one_step(&model, &batch(6, 3), step);
            let after = copied(&model);
            for (name, values) in &before {
                if trained.iter().any(|start| name.starts_with(start)) {
                    assert_ne!(values, &after[name], "{name} at {step}");
                } else if kept.iter().any(|start| name.starts_with(start)) {
                    assert_eq!(values, &after[name], "{name} at {step}");
                }
            }
            assert_ne!(before["codes.shares"], after["codes.shares"]);
            assert!((0.0..=1.0).contains(&scalars["codes/use"]), "{scalars:?}");
            assert!(scalars["codes/perplexity"] >= 1.0 - 1e-9, "{scalars:?}");
            assert_eq!(scalars.contains_key("bits"), step == 5, "{scalars:?}");
            let vq = matches!(config.latent, LatentConfig::Vq { .. });
            assert_eq!(scalars.contains_key("commitment"), vq && step < 5, "{scalars:?}");
            if vq && step < 5 {
                assert_ne!(before["codes.sum"], after["codes.sum"]);
            }
        }
    }
}

/// While the codes do not change, the loss is smooth in the decoder and in the prior.
#[test]
fn gradients_of_decoder_and_prior_agree_with_finite_differences() {
    for (config, classes) in [(fsq(), 0), (vq(), 3)] {
        for (step, part, loss_name) in [(0, "decoder.", "loss"), (5, "prior.", "prior_loss")] {
            let (model, batch) = (model(&config, classes), batch(3, classes));
            let descended = Descended::by(model.params(), || one_step(&model, &batch, step));
            let names: Vec<&String> = descended.before.keys().filter(|name| name.starts_with(part)).collect();
            assert!(!names.is_empty());
            for name in names {
                descended.check(name, || one_step(&model, &batch, step)[loss_name]);
            }
        }
    }
}

#[test]
fn the_bits_are_those_of_the_codes_and_the_bound_needs_no_draws() {
    let (model, batch) = (model(&fsq(), 3), batch(5, 3));
    let [one, other] = [0, 1].map(|seed| model.elbo(&batch, &Stream::new(seed, "elbo", 0)).unwrap());
    let of = |tensor: &Tensor| tensor.to_vec1::<f64>().unwrap();
    assert_eq!(of(&one.kl), of(&other.kl));
    assert_eq!(of(&one.reconstruction), of(&other.reconstruction));
    let kl = of(&one.kl).iter().sum::<f64>() / 5.0;
    let scalars = one_step(&model, &batch, 5);
    assert!((scalars["prior_loss"] - kl).abs() < 1e-9, "{scalars:?} against {kl}");
    assert!((scalars["bits"] - kl / std::f64::consts::LN_2).abs() < 1e-9, "{scalars:?} against {kl}");
    // Four codes of twelve.
    assert!((scalars["bits"] - 4.0 * 12f64.log2()).abs() < 6.0, "{scalars:?}");
}

#[test]
fn codes_are_numbers_and_lead_back_to_the_reconstruction() {
    for config in [fsq(), vq()] {
        let (model, batch) = (model(&config, 3), batch(5, 3));
        let latent = &model.info().latent;
        assert_eq!((latent.len(), latent.code_count()), (4, config.latent.codes()));
        let codes = model.encode(&batch.inputs, &batch.condition).unwrap().mean;
        let count = config.latent.codes().unwrap() as f64;
        for code in codes.flatten_all().unwrap().to_vec1::<f64>().unwrap() {
            assert!(code.fract() == 0.0 && (0.0..count).contains(&code), "{code}");
        }
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let back = model.generate(&codes, &batch.condition, &Drawing::none()).unwrap();
        let rebuilt = model.reconstruct(&batch.inputs, &batch.condition).unwrap();
        assert_eq!(values(&back), values(&rebuilt));
        for wrong in [-1.0, 0.5, count, f64::NAN] {
            let latents = Tensor::new(&[[0.0, 0.0, wrong, 0.0]], &Device::Cpu).unwrap();
            let one = Condition::classes(&[0]).unwrap();
            let error = model.generate(&latents, &one, &Drawing::none()).unwrap_err().to_string();
            assert!(error.contains("[0, 2]") && error.contains("whole number"), "{error}");
        }
    }
}

#[test]
fn a_sample_is_a_function_of_its_seed_number_and_label() {
    let model = model(&fsq(), 3);
    let of = |first: u64, labels: &[u32]| {
        let condition = Condition::classes(labels).unwrap();
        let request = SampleRequest { first, condition, ..SampleRequest::new(5, labels.len()) };
        model.sample(&request).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let all = of(0, &[0, 1, 2, 0]);
    let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
    assert!(all[2 * 64..].iter().zip(&of(2, &[2, 0])).all(near));
    assert_ne!(all[..64], of(0, &[1])[..]);
    let truncated = SampleRequest { truncation: Some(1.0), ..SampleRequest::new(5, 1) };
    assert!(model.sample(&truncated).unwrap_err().to_string().contains("truncation"));
}

#[test]
fn what_codes_cannot_have_is_refused() {
    let refused = |config: VaeConfig, key: &str| {
        let params = ParamSet::fresh(0, &Device::Cpu);
        let Err(error) = build("vae", config, IMAGE, ConditionSpec::None, params) else {
            panic!("{key} was not refused")
        };
        assert!(error.to_string().starts_with(&format!("invalid `{key}`: ")), "{error}");
    };
    let levels =
        |levels: &[usize]| VaeConfig { latent: LatentConfig::Fsq { levels: levels.to_vec() }, ..fsq() };
    refused(levels(&[3, 4, 5]), "model.latent.levels");
    refused(levels(&[2, 4]), "model.latent.levels");
    refused(levels(&[300, 300]), "model.latent.levels");
    refused(levels(&[usize::MAX, 3]), "model.latent.levels");
    let of_vq = |codebook, decay, commitment| VaeConfig {
        latent: LatentConfig::Vq { codebook, decay, commitment },
        ..fsq()
    };
    refused(of_vq(1, 0.9, 0.25), "model.latent.codebook");
    refused(of_vq(8, 1.0, 0.25), "model.latent.decay");
    refused(of_vq(8, f64::NAN, 0.25), "model.latent.decay");
    refused(of_vq(8, 0.9, -1.0), "model.latent.commitment");
    refused(VaeConfig { prior: PriorConfig::Standard, ..fsq() }, "model.prior");
    refused(VaeConfig { latent: LatentConfig::Gaussian, ..fsq() }, "model.prior");
    let share = |share| {
        let cell = waxwork_nn::layers::CellKind::Gru;
        VaeConfig { prior: PriorConfig::Autoregressive { embedding: 3, hidden: 4, cell, share }, ..fsq() }
    };
    refused(share(0.0), "model.prior");
    refused(share(1.0), "model.prior");
    refused(VaeConfig { network: Network::Mlp { hidden: vec![5] }, ..fsq() }, "model.network");
    refused(VaeConfig { beta: 2.0, ..fsq() }, "model.beta");
    refused(VaeConfig { draws: 2, ..fsq() }, "model.draws");
    refused(VaeConfig { importance_samples: 2, ..fsq() }, "model.importance_samples");
    refused(VaeConfig { bound: BoundConfig::Ciwae { elbo: 0.5 }, ..fsq() }, "model.bound");
    refused(VaeConfig { total_correlation: 6.0, ..fsq() }, "model.total_correlation");
    refused(VaeConfig { discriminator: vec![4], ..fsq() }, "model.discriminator");
    let upper = Some(UpperConfig { latent_dim: 3, hidden: vec![] });
    refused(VaeConfig { upper, ..fsq() }, "model.upper");
    let completion = Some(CompletionConfig { given: GivenPart::Left, guess_steps: 0 });
    refused(VaeConfig { completion, ..fsq() }, "model.completion");
    refused(VaeConfig { prior: PriorConfig::maf(), ..fsq() }, "model.prior");
    let error = Vae::new(fsq(), IMAGE, ParamSet::fresh(0, &Device::Cpu)).unwrap_err().to_string();
    assert!(error.contains("CodeVae"), "{error}");
}
