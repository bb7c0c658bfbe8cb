//! Training as another device does it (operations composed of candle's, nothing read before it is logged), on CPU tensors:
//! the same losses as with our kernels, half precision, loss scaling, and what happens to numbers that are not finite.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;

use waxwork_core::device::without_kernels;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, DType, Device, Error, GenerativeModel, ImageShape, ParamSet, Precision, Tensor, TrainingState,
};
use waxwork_models::Recipe;

const CHANNELS: usize = 3;
const SIZE: usize = 16;
const IMAGES: u64 = 8;
const CLASSES: usize = 10;

/// Every family, and between them every layer, loss, penalty, augmentation and kind of conditioning, small.
fn recipes() -> Vec<Recipe> {
    let recipe = |name: &str, settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        Recipe::named(name, &settings).unwrap()
    };
    let dcgan = [
        "model.generator.channels=[8, 6]",
        "model.discriminator.channels=[6, 8]",
        "model.augment=[\"colour\", \"translation\", \"cutout\"]",
    ];
    let residual = [
        "model.generator={ kind = \"residual\", channels = 8, blocks = 2 }",
        "model.discriminator={ kind = \"residual\", channels = 8, blocks = 3, norm = \"spectral\" }",
        "model.loss=hinge",
        "model.penalty={ kind = \"r1\", weight = 1.0 }",
        "optimizer.clip_norm=0.5",
    ];
    vec![
        recipe(
            "vae-digits",
            &["model.network={ kind = \"conv\", channels = [6, 8], hidden = 16, batch_norm = true }"],
        ),
        recipe("vae-mlp-mnist", &["model.likelihood={ kind = \"gaussian\", scale = 0.3, learned = true }"]),
        recipe(
            "cvae-digits",
            &[
                "model.network.channels=[6, 8]",
                "model.prior=label",
                "model.likelihood.kind=continuous-bernoulli",
            ],
        ),
        recipe("gan-digits", &dcgan),
        recipe("cgan-digits", &dcgan[..2]),
        recipe("cgan-cifar10", &residual),
    ]
}

fn batch(step: u64) -> Batch {
    let rows: Vec<u64> = (0..IMAGES).collect();
    let shape = (CHANNELS, SIZE, SIZE);
    let images = Stream::new(step, "images", 0).uniform(&rows, shape, &Device::Cpu).unwrap();
    let labels: Vec<u32> = rows.iter().map(|row| ((row + step) % CLASSES as u64) as u32).collect();
    Batch { images, labels: Some(Tensor::new(labels, &Device::Cpu).unwrap()), indices: rows }
}

/// A model and its training state; call on the device that is meant.
fn start(recipe: &Recipe, precision: Precision) -> (Box<dyn GenerativeModel>, TrainingState) {
    let params = ParamSet::fresh(1, &Device::Cpu).multiplying_in(precision).unwrap();
    let shape = ImageShape::new(CHANNELS, SIZE, SIZE);
    let model = recipe.model.build(shape, CLASSES, params).unwrap();
    let state = TrainingState::new(model.as_ref(), recipe.optimizer.clone(), 1, 20).unwrap();
    (model, state)
}

/// What each of some steps logs.
fn logs(recipe: &Recipe, precision: Precision, steps: u64) -> Vec<BTreeMap<String, f64>> {
    let (model, mut state) = start(recipe, precision);
    let step = |i| state.step(model.as_ref(), &batch(i)).unwrap().scalars.into_iter().collect();
    (0..steps).map(step).collect()
}

fn bits(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<u32>> {
    let bits = |tensor: &Tensor| -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

#[track_caller]
fn assert_near(
    family: &str,
    expected: &[BTreeMap<String, f64>],
    found: &[BTreeMap<String, f64>],
    bound: f64,
) {
    assert_eq!(expected.len(), found.len());
    for (step, (expected, found)) in expected.iter().zip(found).enumerate() {
        for (name, value) in expected {
            let difference = (value - found[name]).abs() / value.abs().max(1.0);
            assert!(difference <= bound, "{family}, step {step}, {name}: {} instead of {value}", found[name]);
        }
    }
}

#[test]
fn losses_and_norms_are_those_of_the_kernels() {
    for recipe in recipes() {
        let kernels = logs(&recipe, Precision::F32, 4);
        let composed = without_kernels(|| logs(&recipe, Precision::F32, 4));
        assert_eq!(kernels[0].keys().collect::<Vec<_>>(), composed[0].keys().collect::<Vec<_>>());
        // Rounding alone at the first step, and what Adam makes of it after that: where a gradient is nearly zero, its
        // sign decides.
        assert_near(&recipe.description, &kernels[..1], &composed[..1], 1e-4);
        assert_near(&recipe.description, &kernels[1..], &composed[1..], 0.02);
    }
}

#[test]
fn steps_that_are_not_read_train_the_same() {
    for recipe in recipes().into_iter().take(4) {
        without_kernels(|| {
            let (read, mut reading) = start(&recipe, Precision::F32);
            let (unread, mut silent) = start(&recipe, Precision::F32);
            for i in 0..3 {
                assert!(!reading.step(read.as_ref(), &batch(i)).unwrap().scalars.is_empty());
                assert!(silent.step_unread(unread.as_ref(), &batch(i)).unwrap().scalars.is_empty());
            }
            silent.settle().unwrap();
            assert_eq!(bits(&read.params().tensors()), bits(&unread.params().tensors()));
            assert_eq!(bits(&reading.tensors()), bits(&silent.tensors()));
        });
    }
}

#[test]
fn two_and_two_steps_are_four() {
    let recipes = recipes();
    for (recipe, precision) in [(&recipes[3], Precision::F32), (&recipes[0], Precision::F16)] {
        without_kernels(|| {
            let (whole, mut straight) = start(recipe, precision);
            (0..4).for_each(|i| _ = straight.step_unread(whole.as_ref(), &batch(i)).unwrap());
            let (first, mut before) = start(recipe, precision);
            (0..2).for_each(|i| _ = before.step_unread(first.as_ref(), &batch(i)).unwrap());
            let (second, mut after) = start(recipe, precision);
            second.params().assign(&first.params().tensors()).unwrap();
            after.restore(&before.tensors(), &before.counters()).unwrap();
            (2..4).for_each(|i| _ = after.step_unread(second.as_ref(), &batch(i)).unwrap());
            assert_eq!(bits(&whole.params().tensors()), bits(&second.params().tensors()));
            assert_eq!(bits(&straight.tensors()), bits(&after.tensors()));
            assert_eq!(straight.counters(), after.counters());
        });
    }
}

#[test]
fn what_is_not_finite_is_found_when_it_is_read_and_named_with_its_step() {
    let recipe = &recipes()[0];
    let broken = |mut batch: Batch| {
        batch.images = batch.images.affine(f64::NAN, 0.0).unwrap();
        batch
    };
    without_kernels(|| {
        let (model, mut state) = start(recipe, Precision::F32);
        state.step_unread(model.as_ref(), &batch(0)).unwrap();
        state.step_unread(model.as_ref(), &broken(batch(1))).unwrap();
        state.step_unread(model.as_ref(), &batch(2)).unwrap();
        let error = state.settle().unwrap_err();
        assert!(
            matches!(&error, Error::NonFinite { step: 1, term, .. } if term == "`reconstruction`"),
            "{error}"
        );
    });
    // With our kernels at once, and nothing has changed.
    let (model, mut state) = start(recipe, Precision::F32);
    let before = bits(&model.params().tensors());
    let error = state.step_unread(model.as_ref(), &broken(batch(0))).unwrap_err();
    assert!(matches!(&error, Error::NonFinite { step: 0, .. }), "{error}");
    assert_eq!(bits(&model.params().tensors()), before);
}

#[test]
fn half_precision_trains_parameters_of_full_precision() {
    for recipe in recipes() {
        let full = without_kernels(|| logs(&recipe, Precision::F32, 1));
        for (precision, bound) in [(Precision::Bf16, 0.1), (Precision::F16, 0.02)] {
            without_kernels(|| {
                let half = logs(&recipe, precision, 3);
                let losses = |log: &BTreeMap<String, f64>| -> BTreeMap<String, f64> {
                    log.clone().into_iter().filter(|(name, _)| !name.contains('/')).collect()
                };
                let first = losses(&full[0]);
                assert_ne!(first, losses(&half[0]), "{}: {precision:?} was not used", recipe.description);
                assert_near(&recipe.description, &[first], &[losses(&half[0])], bound);
                // A gradient may overflow in f16 while the factor on the loss is found.
                let finite =
                    |log: &BTreeMap<String, f64>| losses(log).values().all(|value| value.is_finite());
                assert!(half.iter().all(finite));
                let (model, _) = start(&recipe, precision);
                assert!(model.params().tensors().values().all(|tensor| tensor.dtype() == DType::F32));
            });
        }
    }
}

#[test]
fn an_update_that_overflows_is_left_out_and_halves_the_factor() {
    let recipe = &recipes()[0];
    let factor = |scalars: &[(String, f64)]| scalars.iter().find(|(name, _)| name == "scale/loss").unwrap().1;
    without_kernels(|| {
        let (model, mut state) = start(recipe, Precision::F16);
        // Until the factor is one that gradients bear.
        (0..8).for_each(|i| _ = state.step(model.as_ref(), &batch(i)).unwrap());
        let first = factor(&state.step(model.as_ref(), &batch(8)).unwrap().scalars);
        let (before, moments) = (bits(&model.params().tensors()), bits(&state.tensors()));
        let mut far = batch(1);
        far.images = far.images.affine(1e6, 0.0).unwrap();
        state.step(model.as_ref(), &far).unwrap();
        assert_eq!(bits(&model.params().tensors()), before, "statistics too must stay");
        assert_eq!(bits(&state.tensors()), moments);
        let next = state.step(model.as_ref(), &batch(2)).unwrap();
        assert_eq!(factor(&next.scalars), 0.5 * first);
        assert_ne!(bits(&model.params().tensors()), before);
        // What no factor helps is no overflow.
        let lost = (0..30).find_map(|_| state.step(model.as_ref(), &far).err());
        assert!(matches!(lost, Some(Error::NonFinite { .. })));
    });
}

#[test]
fn the_cpu_refuses_half_precision() {
    let error = ParamSet::fresh(0, &Device::Cpu).multiplying_in(Precision::Bf16).unwrap_err().to_string();
    assert!(error.contains("train.dtype") && error.contains("--device cuda"), "{error}");
}
