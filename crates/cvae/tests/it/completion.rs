//! Completion of images: the likelihood of missing pixels and its gradient against closed forms and finite
//! differences, and the values of given pixels.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;

use waxwork_core::onnx::Part;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Condition, DType, Device, Drawing, Error, GenerativeModel, ImageShape, ParamSet, SampleRequest,
    SampleSpec, Tensor, Trainable, TrainingState,
};
use waxwork_cvae::{CompletionConfig, Cvae, CvaeConfig, GUESS, GivenPart, Network, PriorConfig};
use waxwork_vae::{Binarisation, BoundConfig, LikelihoodConfig, UpperConfig, Vae};

use crate::gradients::{Descended, descent};

const IMAGE: ImageShape = ImageShape::new(1, 4, 4);
const LN_2: f64 = std::f64::consts::LN_2;

fn config(given: GivenPart, guess_steps: u64) -> CvaeConfig {
    CvaeConfig {
        latent_dim: 2,
        network: Network::Mlp { hidden: vec![5] },
        completion: Some(CompletionConfig { given, guess_steps }),
        ..CvaeConfig::default()
    }
}

fn convolutional(given: GivenPart) -> CvaeConfig {
    let network = Network::Conv { channels: vec![2, 3], hidden: 4, batch_norm: true };
    CvaeConfig { network, ..config(given, 0) }
}

/// A model without classes, because a model that completes images does not need them.
fn build(config: &CvaeConfig) -> Cvae {
    Cvae::new(config.clone(), IMAGE, 0, ParamSet::fresh_with(9, &Device::Cpu, DType::F64)).unwrap()
}

/// The same with weights of zero: every output is one half, and prior and posterior are standard normal.
fn zeroed(config: &CvaeConfig) -> Cvae {
    let model = build(config);
    let zero = |(name, tensor): (String, Tensor)| {
        let zero = if name.contains("log_scale") { tensor.copy() } else { tensor.zeros_like() };
        (name, zero.unwrap())
    };
    model.params().assign(&model.params().tensors().into_iter().map(zero).collect()).unwrap();
    model
}

fn batch(n: usize) -> Batch {
    let indices: Vec<u64> = (0..n as u64).collect();
    let images = Stream::new(1, "test images", 0).uniform(&indices, (1, 4, 4), &Device::Cpu).unwrap();
    // Labels, which most data sets have, do not matter.
    let labels = Condition::classes(&vec![1; n]).unwrap();
    Batch { condition: labels, ..Batch::unlabelled(images.to_dtype(DType::F64).unwrap(), indices) }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Takes step `number` of gradient descent, and returns the values that it reports.
fn step(model: &Cvae, lr: f64, number: u64) -> BTreeMap<String, f64> {
    let mut state = TrainingState::new(model, descent(lr), 4, 10).unwrap();
    let mut counters = state.counters();
    counters.step = number;
    let moments = state.tensors().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap()));
    state.restore(&moments.collect(), &counters).unwrap();
    state.step(model, &batch(4)).unwrap().scalars.into_iter().collect()
}

#[test]
fn gradients_agree_with_finite_differences() {
    let gaussian = LikelihoodConfig::Gaussian { scale: 0.3, learned: true };
    let binary = LikelihoodConfig::Bernoulli { binarisation: Binarisation::Stochastic };
    let cases = [
        (config(GivenPart::LowerLeft, 0), 0),
        (config(GivenPart::AllButABox, 0), 0),
        (convolutional(GivenPart::Left), 0),
        (CvaeConfig { importance_samples: 3, ..config(GivenPart::Left, 0) }, 0),
        (CvaeConfig { draws: 3, ..config(GivenPart::Left, 0) }, 0),
        (CvaeConfig { likelihood: gaussian, ..config(GivenPart::AllButLowerRight, 0) }, 0),
        (CvaeConfig { likelihood: LikelihoodConfig::ContinuousBernoulli, ..config(GivenPart::Left, 0) }, 0),
        (CvaeConfig { likelihood: binary, ..config(GivenPart::LowerLeft, 0) }, 0),
        // The warm-up begins after the guesses are trained, so the prior has a gradient of zero at first.
        (CvaeConfig { kl_warmup_steps: 4, ..config(GivenPart::Left, 2) }, 2),
        (CvaeConfig { kl_warmup_steps: 4, ..config(GivenPart::Left, 2) }, 3),
        // The network for guesses itself.
        (config(GivenPart::LowerLeft, 2), 1),
    ];
    for (config, number) in cases {
        let guessing = number < config.completion.unwrap().guess_steps;
        let loss_name = if guessing { GUESS } else { "loss" };
        let model = build(&config);
        let descended = Descended::by(model.params(), || step(&model, 1.0, number));
        for group in model.groups() {
            for name in &group.params {
                if guessing != (group.name == GUESS) {
                    let (start, end) = (flat(&descended.before[name]), flat(&descended.after[name]));
                    assert_eq!(start, end, "{name} is not trained at step {number}");
                    continue;
                }
                descended.check(name, || step(&model, 1e-30, number)[loss_name]);
            }
        }
    }
}

/// With weights of zero every missing pixel costs ln 2, and a given one nothing.
#[test]
fn only_missing_pixels_count() {
    let stream = Stream::new(0, "x", 0);
    for (given, missing) in
        [(GivenPart::LowerLeft, 12.0), (GivenPart::Left, 8.0), (GivenPart::AllButLowerRight, 4.0)]
    {
        let model = zeroed(&config(given, 0));
        let bound = model.bound().unwrap();
        let elbo = bound.elbo(&batch(3), &stream).unwrap();
        assert!(flat(&elbo.reconstruction).iter().all(|value| (value + missing * LN_2).abs() < 1e-9));
        assert!(flat(&elbo.kl).iter().all(|kl| kl.abs() < 1e-12));
        let density = model.density().unwrap().log_likelihood(&batch(3), 7, &stream).unwrap();
        assert!(flat(&density).iter().all(|value| (value + missing * LN_2).abs() < 1e-9));
        let words = format!("bernoulli on grey values, missing pixels given {}", given.name());
        assert_eq!(bound.protocol(), words);
        // q(z | x) = N(0, 1) in two dimensions, p(z | given) = N(0.5, 1): KL = 2 · 0.5² / 2.
        let bias = model.params().get("decoder.prior.mean.bias").unwrap();
        bias.set(&Tensor::new(&[0.5f64, 0.5], &Device::Cpu).unwrap()).unwrap();
        let kl = bound.elbo(&batch(3), &stream).unwrap().kl;
        assert!(flat(&kl).iter().all(|kl| (kl - 0.25).abs() < 1e-12));
    }
    let guesses = |steps: u64| {
        let model = zeroed(&config(GivenPart::Left, steps));
        model.completer().unwrap().guesses(&batch(3).inputs, &[0, 1, 2]).unwrap()
    };
    assert!(flat(&guesses(5).unwrap()).iter().all(|value| (value - 8.0 * LN_2).abs() < 1e-9));
    assert!(guesses(0).is_none());
    // Other likelihoods, and a part that the batch specifies: all but the first two pixels.
    let mask: Vec<f64> = (0..16).map(|place| if place < 2 { 0.0 } else { 1.0 }).collect();
    let mask = Tensor::from_vec(mask, (1, 1, 4, 4), &Device::Cpu).unwrap();
    let one = batch(1);
    let pixels = flat(&one.inputs);
    let own = Batch { condition: Condition::Part { values: one.inputs.clone(), mask }, ..one };
    let scale: f64 = 0.3;
    let normal =
        |x: f64| -0.5 * ((x - 0.5) / scale).powi(2) - scale.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln();
    for (likelihood, expected) in [
        (LikelihoodConfig::default(), -2.0 * LN_2),
        (LikelihoodConfig::ContinuousBernoulli, 0.0),
        (LikelihoodConfig::Gaussian { scale, learned: true }, normal(pixels[0]) + normal(pixels[1])),
    ] {
        let model = zeroed(&CvaeConfig { likelihood, ..config(GivenPart::LowerLeft, 0) });
        let found = flat(&model.bound().unwrap().elbo(&own, &stream).unwrap().reconstruction)[0];
        assert!((found - expected).abs() < 1e-6, "{likelihood:?}: {found} against {expected}");
    }
}

#[test]
fn guesses_are_scored_on_the_values_that_the_likelihood_is_scored_on() {
    let (images, numbers) = (batch(3).inputs, [0u64, 1, 2]);
    let uniform = Stream::new(0, "binarisation", 0).uniform(&numbers, (1, 4, 4), &Device::Cpu).unwrap();
    let drawn = uniform.to_dtype(DType::F64).unwrap().lt(&images).unwrap().to_dtype(DType::F64).unwrap();
    let guesses = |binarisation: Binarisation, images: &Tensor| {
        let likelihood = LikelihoodConfig::Bernoulli { binarisation };
        let model = build(&CvaeConfig { likelihood, ..config(GivenPart::Left, 5) });
        flat(&model.completer().unwrap().guesses(images, &numbers).unwrap().unwrap())
    };
    let on_binary = guesses(Binarisation::None, &drawn);
    assert_eq!(guesses(Binarisation::Stochastic, &images), on_binary);
    assert_ne!(guesses(Binarisation::None, &images), on_binary);
}

#[test]
fn completions_keep_what_is_given_and_depend_on_it() {
    for config in
        [config(GivenPart::Left, 0), config(GivenPart::Left, 3), convolutional(GivenPart::AllButABox)]
    {
        let model = build(&config);
        let images = batch(3).inputs;
        let given = |images: &Tensor| model.completer().unwrap().given(images, &[4, 5, 6]).unwrap();
        let made = |condition: Condition, seed: u64| {
            let request = SampleRequest { condition, ..SampleRequest::new(seed, 3) };
            flat(&model.sample(&request).unwrap())
        };
        let condition = given(&images);
        let Condition::Part { mask, .. } = &condition else { unreachable!("a part") };
        let mask = flat(mask);
        assert!(mask.contains(&0.0) && mask.contains(&1.0));
        let (first, second) = (made(condition.clone(), 1), made(condition.clone(), 2));
        for (i, known) in mask.iter().enumerate() {
            if *known == 1.0 {
                assert_eq!(first[i].to_bits(), flat(&images)[i].to_bits());
            } else {
                assert!(first[i] > 0.0 && first[i] < 1.0, "{i}");
            }
        }
        assert_ne!(first, second);
        // With another given part, the same draws give other completions; the values of missing pixels do not
        // matter.
        let inverted = made(given(&images.affine(-1.0, 1.0).unwrap()), 1);
        let missing: Vec<usize> = (0..mask.len()).filter(|place| mask[*place] == 0.0).collect();
        assert!(missing.iter().any(|place| inverted[*place] != first[*place]));
        let Condition::Part { values, mask: of_mask } = condition else { unreachable!("a part") };
        let rest = of_mask.affine(-0.7, 0.7).unwrap();
        let noisy = Condition::Part { values: (values + rest).unwrap(), mask: of_mask };
        assert_eq!(made(noisy, 1), first);

        let again = flat(&model.reconstructor().unwrap().reconstruct(&images, &Condition::None).unwrap());
        let kept = again.iter().zip(flat(&images)).filter(|(made, image)| **made == *image).count();
        assert!((1..again.len()).contains(&kept));
        for part in [Part::Decoder, Part::Encoder, Part::Prior] {
            assert!(!model.graph(part).unwrap().encode().unwrap().is_empty());
        }
    }
}

#[test]
fn a_model_that_completes_images_makes_none_of_nothing() {
    let model = build(&config(GivenPart::Left, 0));
    assert!(model.info().condition.is_part());
    let nothing = model.sample(&SampleRequest::new(0, 2)).unwrap_err();
    assert!(matches!(nothing, Error::NothingGiven), "{nothing}");
    let latents = Tensor::zeros((1, 2), DType::F64, &Device::Cpu).unwrap();
    let labels = Condition::classes(&[1]).unwrap();
    let error = model.generate(&latents, &labels, &Drawing::none()).unwrap_err().to_string();
    assert!(error.contains("takes a part of the sample"), "{error}");
    let small = Tensor::zeros((1, 1, 4, 3), DType::F64, &Device::Cpu).unwrap();
    let error = model.completer().unwrap().given(&small, &[0]).unwrap_err().to_string();
    assert!(error.contains("[1, 1, 4, 4]"), "{error}");
    let labelled = CvaeConfig { completion: None, ..config(GivenPart::Left, 0) };
    assert!(build_with_classes(&labelled).completer().is_none());
}

fn build_with_classes(config: &CvaeConfig) -> Cvae {
    Cvae::new(config.clone(), IMAGE, 3, ParamSet::fresh(0, &Device::Cpu)).unwrap()
}

#[test]
fn impossible_configurations_are_refused_by_key() {
    let refused = |config: CvaeConfig, key: &str| {
        let model = Cvae::new(config, IMAGE, 0, ParamSet::fresh(0, &Device::Cpu));
        let error = model.unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    };
    let label = PriorConfig::Label;
    refused(CvaeConfig { prior: label, ..config(GivenPart::Left, 0) }, "model.prior");
    refused(CvaeConfig { prior: PriorConfig::maf(), ..config(GivenPart::Left, 0) }, "model.prior");
    let upper = Some(UpperConfig { latent_dim: 2, hidden: vec![] });
    refused(CvaeConfig { upper, ..config(GivenPart::Left, 0) }, "model.upper");
    let bound = BoundConfig::Piwae;
    refused(CvaeConfig { bound, draws: 2, ..config(GivenPart::Left, 0) }, "model.bound");
    refused(config(GivenPart::AllButABox, 3), "model.completion.guess_steps");
    let completion = Some(CompletionConfig { given: GivenPart::Left, guess_steps: 3 });
    refused(CvaeConfig { completion, ..convolutional(GivenPart::Left) }, "model.completion.guess_steps");
    let params = || ParamSet::fresh(0, &Device::Cpu);
    let error = Vae::new(config(GivenPart::Left, 0), IMAGE, params()).unwrap_err().to_string();
    assert!(error.contains("model.completion") && error.contains("cvae"), "{error}");
    let likelihood = LikelihoodConfig::Gaussian { scale: 0.3, learned: false };
    let points = CvaeConfig { likelihood, ..config(GivenPart::Left, 0) };
    let error = Cvae::new(points, SampleSpec::real(2), 0, params()).unwrap_err().to_string();
    assert!(error.contains("only images can be completed"), "{error}");
}
