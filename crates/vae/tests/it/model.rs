//! The VAE's objective, bounds and samples, against closed forms and finite differences.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;

use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Bound, DType, Density, Device, Drawing, GenerativeModel, ImageShape, ParamSet, SampleRequest,
    SampleSpec, Tensor, Trainable, TrainingState,
};
use waxwork_vae::{Binarisation, LikelihoodConfig};
use waxwork_vae::{BoundConfig, DISCRIMINATOR, Network, PriorConfig, UpperConfig, Vae, VaeConfig};

use crate::gradients::{Descended, descent};

const IMAGE: ImageShape = ImageShape::new(1, 4, 4);

fn small() -> VaeConfig {
    VaeConfig { latent_dim: 2, network: Network::Mlp { hidden: vec![5] }, ..VaeConfig::default() }
}

fn convolutional() -> VaeConfig {
    let network = Network::Conv { channels: vec![2, 3], hidden: 4, batch_norm: true };
    VaeConfig { network, activation: waxwork_kernels::Activation::Silu, ..small() }
}

fn batch(n: usize, image: ImageShape) -> Batch {
    let indices: Vec<u64> = (0..n as u64).collect();
    let shape = (image.channels, image.height, image.width);
    let images = Stream::new(1, "test images", 0).uniform(&indices, shape, &Device::Cpu).unwrap();
    Batch::unlabelled(images.to_dtype(DType::F64).unwrap(), indices)
}

fn build(config: &VaeConfig, image: ImageShape) -> Vae {
    Vae::new(config.clone(), image, ParamSet::fresh_with(9, &Device::Cpu, DType::F64)).unwrap()
}

fn loss_after(vae: &Vae, batch: &Batch, steps_before: u64) -> f64 {
    reported(vae, batch, steps_before, "loss")
}

/// The loss `name` of a step that does not change the weights.
fn reported(vae: &Vae, batch: &Batch, steps_before: u64, name: &str) -> f64 {
    let mut state = TrainingState::new(vae, descent(1.0), 4, 10).unwrap();
    let mut counters = state.counters();
    counters.step = steps_before;
    let moments = state.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap()));
    state.restore(&moments.collect(), &counters).unwrap();
    let before = vae.params().deep_copy().unwrap().tensors();
    let report = state.step(vae, batch).unwrap();
    vae.params().assign(&before).unwrap();
    report.scalars.iter().find(|(own, _)| own == name).unwrap().1
}

/// Images that the weights were not drawn for: the KL term of one dimension is (exp(7) + μ² − 8) / 2 at most.
#[test]
fn a_log_variance_that_is_far_out_is_bounded() {
    for bias in [-1000.0, -25.0, 40.0, 1000.0] {
        let (vae, batch) =
            (build(&convolutional(), ImageShape::new(1, 8, 8)), batch(3, ImageShape::new(1, 8, 8)));
        vae.params()
            .get("encoder.log_var.bias")
            .unwrap()
            .set(&Tensor::full(bias, 2, &Device::Cpu).unwrap())
            .unwrap();
        let mut state = TrainingState::new(&vae, descent(1.0), 4, 10).unwrap();
        let scalars: BTreeMap<String, f64> = state.step(&vae, &batch).unwrap().scalars.into_iter().collect();
        let (kl, norm) = (scalars["kl"], scalars["grad_norm/encoder"]);
        assert!(kl < 1200.0 && norm > 0.0 && norm < 5000.0, "{bias}: {kl} {norm}");
    }
}

/// The gradient that a training step applies, through the tape, the kernels and the door, against central differences
/// of the loss that it reports.
fn check_gradients(config: &VaeConfig, image: ImageShape) {
    let (vae, batch) = (build(config, image), batch(3, image));
    let mut state = TrainingState::new(&vae, descent(1.0), 4, 10).unwrap();
    let descended = Descended::by(vae.params(), || state.step(&vae, &batch).unwrap());
    for group in vae.groups() {
        let minimised = if group.name == DISCRIMINATOR { "discriminator" } else { "loss" };
        for name in &group.params {
            descended.check(name, || reported(&vae, &batch, 0, minimised));
        }
    }
}

#[test]
fn gradients_of_every_objective_agree_with_finite_differences() {
    check_gradients(&small(), IMAGE);
    check_gradients(&convolutional(), IMAGE);
    check_gradients(&convolutional(), ImageShape::new(3, 8, 8));
    check_gradients(&VaeConfig { beta: 2.5, free_bits: 0.05, ..small() }, IMAGE);
    check_gradients(&VaeConfig { importance_samples: 3, ..small() }, IMAGE);
    check_gradients(&VaeConfig { total_correlation: 6.0, beta: 0.7, ..small() }, IMAGE);
    let discriminator = vec![4, 3];
    check_gradients(&VaeConfig { total_correlation: 6.0, discriminator, ..small() }, IMAGE);
    check_gradients(&VaeConfig { total_correlation: 0.0, free_bits: 0.05, ..small() }, IMAGE);
    check_gradients(&VaeConfig { draws: 3, beta: 0.5, ..small() }, IMAGE);
    let several = VaeConfig { draws: 2, importance_samples: 3, ..small() };
    check_gradients(&several, IMAGE);
    check_gradients(&VaeConfig { bound: BoundConfig::Ciwae { elbo: 0.3 }, ..several }, IMAGE);
    check_gradients(&VaeConfig { gated: true, ..small() }, IMAGE);
    let vamp = PriorConfig::Vamp { components: 3 };
    check_gradients(&VaeConfig { prior: vamp, ..small() }, IMAGE);
    check_gradients(&VaeConfig { prior: vamp, importance_samples: 3, ..small() }, IMAGE);
    let maf = PriorConfig::Maf { layers: 2, hidden: 3 };
    check_gradients(&VaeConfig { prior: maf, ..small() }, IMAGE);
    check_gradients(&VaeConfig { prior: maf, importance_samples: 3, ..small() }, IMAGE);
    check_gradients(&VaeConfig { prior: maf, kl_warmup_steps: 10, ..small() }, IMAGE);
    let two = VaeConfig { upper: Some(UpperConfig { latent_dim: 3, hidden: vec![4, 3] }), ..small() };
    for config in [
        two.clone(),
        VaeConfig { gated: true, ..two.clone() },
        VaeConfig { draws: 2, beta: 0.5, ..two.clone() },
        VaeConfig { importance_samples: 3, ..two.clone() },
        VaeConfig { kl_warmup_steps: 10, ..two },
    ] {
        check_gradients(&config, IMAGE);
    }
    // The first step of a warm-up ignores the prior, whose weights still have a gradient.
    check_gradients(&VaeConfig { prior: vamp, kl_warmup_steps: 10, ..small() }, IMAGE);
    check_gradients(&VaeConfig { likelihood: LikelihoodConfig::ContinuousBernoulli, ..small() }, IMAGE);
    let gaussian = LikelihoodConfig::Gaussian { scale: 0.3, learned: true };
    check_gradients(&VaeConfig { likelihood: gaussian, ..small() }, IMAGE);
    let binary = LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic };
    check_gradients(&VaeConfig { likelihood: binary, ..small() }, IMAGE);
}

/// The loss with several draws is the mean over them of the bound of one draw each, for the same posterior.
#[test]
fn several_draws_average_the_bound() {
    let (n, k) = (3, 4);
    let batch = batch(n, IMAGE);
    let vae = build(&VaeConfig { draws: k, ..small() }, IMAGE);
    let loss = loss_after(&vae, &batch, 0);
    let posterior = vae.encoder().unwrap().encode(&batch.inputs, &batch.condition).unwrap();
    // The stream of the step, whose seed `loss_after` sets.
    let rows: Vec<u64> = (0..n as u64).collect();
    let noise = Stream::new(4, "latent", 0).normal(&rows, (k, 2), &Device::Cpu).unwrap();
    let noise = noise.to_dtype(DType::F64).unwrap();
    let scale = waxwork_kernels::exp(&(&posterior.log_var * 0.5).unwrap()).unwrap();
    let mut bounds = Vec::new();
    for draw in 0..k {
        let noise = noise.narrow(1, draw, 1).unwrap().squeeze(1).unwrap();
        let z = (&posterior.mean + (noise * &scale).unwrap()).unwrap();
        let mean = vae.generate(&z, &batch.condition, &Drawing::none()).unwrap();
        let (mean, x) = (mean.flatten_all().unwrap(), batch.inputs.flatten_all().unwrap());
        let pixels = mean.to_vec1::<f64>().unwrap().into_iter().zip(x.to_vec1::<f64>().unwrap());
        bounds.push(-pixels.map(|(p, x)| x * p.ln() + (1.0 - x) * (1.0 - p).ln()).sum::<f64>() / n as f64);
    }
    let of_dimension =
        (posterior.mean.sqr().unwrap() + waxwork_kernels::exp(&posterior.log_var).unwrap()).unwrap();
    let of_dimension = (of_dimension - &posterior.log_var).unwrap().affine(0.5, -0.5).unwrap();
    let kl = of_dimension.sum_all().unwrap().to_scalar::<f64>().unwrap() / n as f64;
    let expected = kl + bounds.iter().sum::<f64>() / k as f64;
    assert!((loss - expected).abs() < 1e-5, "{loss} against {expected}");
    let (least, most) = bounds.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
    assert!(most - least > 1e-3, "the draws differ: {bounds:?}");
}

/// The tensors after one step of gradient descent.
fn after_a_step(config: &VaeConfig) -> BTreeMap<String, Vec<f64>> {
    let (vae, batch) = (build(config, IMAGE), batch(3, IMAGE));
    let mut state = TrainingState::new(&vae, descent(1.0), 4, 10).unwrap();
    state.step(&vae, &batch).unwrap();
    let tensors = vae.params().tensors().into_iter();
    tensors.map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

/// In PIWAE, the decoder has the gradients of the bound with all draws, and the encoder those of the mean of bounds with
/// fewer draws.
#[test]
fn partial_bounds_give_encoder_and_decoder_gradients_of_their_own() {
    let upper = Some(UpperConfig { latent_dim: 2, hidden: vec![3] });
    for config in [small(), convolutional(), VaeConfig { upper, ..small() }] {
        let after = |draws, importance_samples, bound| {
            after_a_step(&VaeConfig { draws, importance_samples, bound, ..config.clone() })
        };
        let partial = after(2, 3, BoundConfig::Piwae);
        let (whole, mean) = (after(1, 6, BoundConfig::Mean), after(2, 3, BoundConfig::Mean));
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0f64, f64::max);
        for (name, values) in &partial {
            let (own, other) = if name.starts_with("encoder.") { (&mean, &whole) } else { (&whole, &mean) };
            assert!(apart(values, &own[name]) < 1e-9, "{name}");
            if name == "encoder.mean.weight" || name == "decoder.hidden.0.weight" {
                assert!(apart(values, &other[name]) > 1e-7, "{name}");
            }
        }
        let loss = |bound| {
            let config = VaeConfig { draws: 2, importance_samples: 3, bound, ..config.clone() };
            loss_after(&build(&config, IMAGE), &batch(3, IMAGE), 0)
        };
        let (of_all, of_fewer) = (loss(BoundConfig::Piwae), loss(BoundConfig::Mean));
        assert!(of_all < of_fewer, "{of_all} {of_fewer}");
    }
}

/// Every weight zero: q(z|x) is the prior and every pixel's probability is one half.
fn zeroed(config: &VaeConfig) -> Vae {
    let vae = build(config, IMAGE);
    let zeros = vae.params().tensors().into_iter().map(|(name, tensor)| (name, tensor.zeros_like().unwrap()));
    vae.params().assign(&zeros.collect()).unwrap();
    vae
}

#[test]
fn a_model_that_ignores_its_latent_has_the_closed_form_likelihood() {
    let vae = zeroed(&small());
    let batch = batch(4, IMAGE);
    let expected = -16.0 * 2f64.ln();
    let stream = Stream::new(0, "x", 0);
    let elbo = vae.elbo(&batch, &stream).unwrap();
    for k in [1, 7] {
        for value in vae.log_likelihood(&batch, k, &stream).unwrap().to_vec1::<f64>().unwrap() {
            assert!((value - expected).abs() < 1e-9, "{value} against {expected}");
        }
    }
    assert!(elbo.kl.to_vec1::<f64>().unwrap().iter().all(|kl| kl.abs() < 1e-12));
    assert!(
        elbo.reconstruction.to_vec1::<f64>().unwrap().iter().all(|value| (value - expected).abs() < 1e-9)
    );
}

#[test]
fn free_bits_and_warm_up_price_the_kl_as_their_papers_say() {
    let reconstruction = 16.0 * 2f64.ln();
    let batch = batch(4, IMAGE);
    // No KL is spent, but each of two dimensions is charged its free bits.
    let free = zeroed(&VaeConfig { free_bits: 0.25, beta: 3.0, ..small() });
    assert!((loss_after(&free, &batch, 0) - (reconstruction + 3.0 * 2.0 * 0.25)).abs() < 1e-6);

    let warm = build(&VaeConfig { kl_warmup_steps: 4, ..small() }, IMAGE);
    let cold = build(&VaeConfig { beta: 0.0, ..small() }, IMAGE);
    assert!((loss_after(&warm, &batch, 0) - loss_after(&cold, &batch, 0)).abs() < 1e-9);
    let full = build(&small(), IMAGE);
    assert!((loss_after(&warm, &batch, 4) - loss_after(&full, &batch, 4)).abs() < 1e-9);
    assert!(loss_after(&warm, &batch, 2) < loss_after(&full, &batch, 2));
}

#[test]
fn more_importance_samples_tighten_the_bound() {
    let vae = build(&convolutional(), IMAGE);
    let batch = batch(64, IMAGE);
    let bound = |k| {
        let values = vae.log_likelihood(&batch, k, &Stream::new(2, "y", 0)).unwrap();
        values.mean_all().unwrap().to_scalar::<f64>().unwrap()
    };
    assert!(bound(1) < bound(10) && bound(10) < bound(200));
}

#[test]
fn bounds_of_an_image_do_not_depend_on_its_batch() {
    let vae = build(&convolutional(), IMAGE);
    let all = batch(6, IMAGE);
    let some = Batch::unlabelled(all.inputs.narrow(0, 4, 2).unwrap(), all.indices[4..].to_vec());
    let stream = Stream::new(3, "z", 0);
    let of = |batch: &Batch| vae.log_likelihood(batch, 5, &stream).unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(of(&all)[4..], of(&some));
}

#[test]
fn samples_are_images_and_image_i_is_a_function_of_the_seed_and_i() {
    let vae = Vae::new(convolutional(), IMAGE, ParamSet::fresh(9, &Device::Cpu)).unwrap();
    let sample = |first, count| {
        let request = SampleRequest { first, ..SampleRequest::new(1, count) };
        vae.sample(&request).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let all = sample(0, 130);
    assert!(all.iter().all(|value| (0.0..=1.0).contains(value)));
    assert_eq!(all[16 * 120..], sample(120, 10));
    let labelled = SampleRequest::of_classes(0, &[1]).unwrap();
    assert!(vae.sample(&labelled).unwrap_err().to_string().contains("unconditional"));
}

#[test]
fn impossible_configurations_are_refused_by_key() {
    let refused = |config: VaeConfig, key: &str| {
        let error = Vae::new(config, IMAGE, ParamSet::fresh(0, &Device::Cpu)).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    };
    refused(VaeConfig { latent_dim: 0, ..small() }, "model.latent_dim");
    refused(VaeConfig { beta: f64::NAN, ..small() }, "model.beta");
    refused(VaeConfig { importance_samples: 5, beta: 2.0, ..small() }, "model.importance_samples");
    refused(VaeConfig { draws: 0, ..small() }, "model.draws");
    for (draws, importance_samples) in [(1, usize::MAX), (usize::MAX, 1), (1 << 10, 1 << 7)] {
        refused(VaeConfig { draws, importance_samples, ..small() }, "model.importance_samples");
    }
    let several = VaeConfig { draws: 2, importance_samples: 2, ..small() };
    refused(VaeConfig { free_bits: 0.1, ..several.clone() }, "model.importance_samples");
    refused(VaeConfig { bound: BoundConfig::Piwae, importance_samples: 5, ..small() }, "model.bound");
    refused(VaeConfig { bound: BoundConfig::Piwae, draws: 5, beta: 2.0, ..small() }, "model.bound");
    refused(VaeConfig { bound: BoundConfig::Ciwae { elbo: 0.5 }, draws: 5, ..small() }, "model.bound");
    refused(VaeConfig { bound: BoundConfig::Ciwae { elbo: 1.5 }, ..several.clone() }, "model.bound");
    refused(VaeConfig { prior: PriorConfig::Vamp { components: 0 }, ..small() }, "model.prior");
    refused(VaeConfig { prior: PriorConfig::Vamp { components: 5 }, ..convolutional() }, "model.prior");
    let vamp = PriorConfig::Vamp { components: 5 };
    refused(VaeConfig { prior: vamp, free_bits: 0.1, ..small() }, "model.free_bits");
    refused(VaeConfig { prior: vamp, bound: BoundConfig::Piwae, ..several }, "model.bound");
    let maf = PriorConfig::Maf { layers: 2, hidden: 3 };
    refused(VaeConfig { prior: maf, free_bits: 0.1, ..small() }, "model.free_bits");
    for (layers, hidden) in [(0, 3), (33, 3), (2, 0), (2, usize::MAX)] {
        refused(VaeConfig { prior: PriorConfig::Maf { layers, hidden }, ..small() }, "model.prior");
    }
    let two = |latent_dim, hidden: &[usize]| VaeConfig {
        upper: Some(UpperConfig { latent_dim, hidden: hidden.to_vec() }),
        ..small()
    };
    refused(two(0, &[3]), "model.upper");
    refused(two(3, &[0]), "model.upper");
    refused(two(usize::MAX, &[]), "model.upper");
    refused(VaeConfig { free_bits: 0.1, ..two(3, &[]) }, "model.free_bits");
    refused(VaeConfig { prior: maf, ..two(3, &[]) }, "model.prior");
    refused(VaeConfig { total_correlation: 6.0, ..two(3, &[]) }, "model.total_correlation");
    refused(VaeConfig { total_correlation: 6.0, prior: maf, ..small() }, "model.total_correlation");
    refused(VaeConfig { total_correlation: -1.0, ..small() }, "model.total_correlation");
    refused(VaeConfig { total_correlation: 6.0, prior: vamp, ..small() }, "model.total_correlation");
    refused(VaeConfig { total_correlation: 6.0, draws: 2, ..small() }, "model.total_correlation");
    refused(
        VaeConfig { total_correlation: 6.0, importance_samples: 2, ..small() },
        "model.importance_samples",
    );
    refused(VaeConfig { discriminator: vec![4], ..small() }, "model.discriminator");
    refused(
        VaeConfig { total_correlation: 6.0, discriminator: vec![4, 0], ..small() },
        "model.discriminator",
    );
    refused(VaeConfig { gated: true, ..convolutional() }, "model.gated");
    refused(VaeConfig { start_at_mean: true, ..convolutional() }, "model.start_at_mean");
    let deep = Network::Conv { channels: vec![2, 2, 2], hidden: 4, batch_norm: false };
    refused(VaeConfig { network: deep, ..small() }, "model.network.channels");
    let gaussian = LikelihoodConfig::Gaussian { scale: 0.0, learned: false };
    refused(VaeConfig { likelihood: gaussian, ..small() }, "model.likelihood.scale");
}

/// With a linear decoder and Gaussian noise, p(x) is Gaussian: N(½, A Aᵀ + σ²). The decoder's sigmoid is ½ + x / 4 where
/// x is small. The encoder is the exact posterior, made wider, so that the weights of the draws have work to do.
#[test]
fn importance_sampling_finds_the_likelihood_of_a_linear_gaussian_model() {
    let scale = 0.02;
    let config = VaeConfig {
        latent_dim: 2,
        network: Network::Mlp { hidden: vec![] },
        likelihood: LikelihoodConfig::Gaussian { scale, learned: false },
        ..VaeConfig::default()
    };
    let vae = build(&config, ImageShape::new(1, 2, 2));
    let signs = [[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]];
    // A has entries of ±0.01, so its columns have the length σ, and the posterior's variance is ½.
    let decoder: Vec<f64> = (0..8).map(|i| 0.04 * signs[i % 2][i / 2]).collect();
    let encoder: Vec<f64> = signs.concat().iter().map(|sign| 0.5 * 0.01 / (scale * scale) * sign).collect();
    let weights: BTreeMap<String, Tensor> = (vae.params().tensors().into_iter())
        .map(|(name, tensor)| {
            let values = match name.as_str() {
                "decoder.output.weight" => decoder.clone(),
                "encoder.mean.weight" => encoder.clone(),
                "encoder.log_var.bias" => vec![0.5f64.ln() + 0.3; 2],
                _ => vec![0.0; tensor.elem_count()],
            };
            let tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
            (name, tensor)
        })
        .collect();
    vae.params().assign(&weights).unwrap();

    let indices: Vec<u64> = (0..50).collect();
    let noise = Stream::new(3, "images", 0).normal(&indices, (1, 2, 2), &Device::Cpu).unwrap();
    let images = noise.to_dtype(DType::F64).unwrap().affine(0.03, 0.5).unwrap();
    let batch = Batch::unlabelled(images.clone(), indices);
    let found = vae.log_likelihood(&batch, 2000, &Stream::new(0, "draws", 0)).unwrap();
    let found = found.to_vec1::<f64>().unwrap();
    let exact: Vec<f64> = (images.flatten_from(1).unwrap().to_vec2::<f64>().unwrap().iter())
        .map(|image| {
            let d: Vec<f64> = image.iter().map(|x| x - 0.5).collect();
            let along = |sign: &[f64; 4]| (0..4).map(|i| 0.5 * sign[i] * d[i]).sum::<f64>().powi(2);
            let within = along(&signs[0]) + along(&signs[1]);
            let outside = d.iter().map(|d| d * d).sum::<f64>() - within;
            let (wide, narrow) = (2.0 * scale * scale, scale * scale);
            let logs = 4.0 * std::f64::consts::TAU.ln() + 2.0 * wide.ln() + 2.0 * narrow.ln();
            -0.5 * (logs + within / wide + outside / narrow)
        })
        .collect();
    let errors: Vec<f64> = found.iter().zip(&exact).map(|(found, exact)| found - exact).collect();
    assert!(errors.iter().all(|error| error.abs() < 0.1), "{errors:?}");
    assert!((errors.iter().sum::<f64>() / 50.0).abs() < 0.01, "{errors:?}");
    // The bound is loose by KL(q ‖ p(z | x)), here of two Gaussians whose log-variances differ by 0.3, twice.
    let bound = |draw: u64| {
        let elbo = vae.elbo(&batch, &Stream::new(0, "draws", draw)).unwrap();
        (elbo.reconstruction - elbo.kl).unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let elbo = (0..400).map(bound).sum::<f64>() / 400.0;
    let gap = exact.iter().sum::<f64>() / 50.0 - elbo;
    assert!((gap - (0.3f64.exp() - 1.3)).abs() < 0.03, "{gap}");
}

#[test]
fn points_are_drawn_around_the_mean_by_number_and_temperature() {
    let config =
        VaeConfig { likelihood: LikelihoodConfig::Gaussian { scale: 0.5, learned: false }, ..small() };
    let build = |config: VaeConfig| Vae::new(config, SampleSpec::real(3), ParamSet::fresh(9, &Device::Cpu));
    let vae = build(config).unwrap();
    let sample = |first, count, temperature| {
        let request = SampleRequest { first, temperature, ..SampleRequest::new(1, count) };
        vae.sample(&request).unwrap().to_vec2::<f32>().unwrap()
    };
    let (mean, drawn) = (sample(0, 2000, 0.0), sample(0, 2000, 1.0));
    assert_eq!(drawn[1500..], sample(1500, 500, 1.0), "point i is a function of the seed and i");
    let noise: Vec<f64> =
        drawn.iter().flatten().zip(mean.iter().flatten()).map(|(a, b)| f64::from(a - b)).collect();
    let variance = noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64;
    // Of 6,000 values; four standard errors of a variance of 0.25 are 0.018.
    assert!((variance - 0.25).abs() < 0.018, "{variance}");
    let half = sample(0, 1, 0.5);
    assert!((half[0][0] - mean[0][0] - 0.5 * (drawn[0][0] - mean[0][0])).abs() < 1e-6);

    for likelihood in [LikelihoodConfig::default(), LikelihoodConfig::ContinuousBernoulli] {
        let error = build(VaeConfig { likelihood, ..small() }).unwrap_err().to_string();
        assert!(error.contains("model.likelihood"), "{error}");
    }
    let error = build(convolutional()).unwrap_err().to_string();
    assert!(error.contains("model.network") && error.contains("needs images"), "{error}");
}
