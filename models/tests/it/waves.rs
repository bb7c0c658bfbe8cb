//! GANs of waveforms: one training step against finite differences, with phase shuffle, penalties and every
//! kind of conditioning on a label, and what all networks promise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::onnx::Part;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::sample::{Range, Segment};
use waxwork_core::{
    Batch, Condition, ConditionSpec, DType, Device, Error, GenerativeModel, ImageShape, ParamSet,
    SampleRequest, SampleSpec, TrainingState,
};
use waxwork_models::ModelConfig;

use crate::gradients;
use crate::steps::{self, Trained, check_other_devices, check_threads};

const LENGTH: usize = 64;
const CLASSES: usize = 3;

const GAN: &str = r#"
family="gan"
latent_dim=2
generator={kind="wave",channels=[3,2]}
discriminator={kind="wave",channels=[3,4]}
loss="wasserstein"
penalty={kind="gradient",weight=10}
pack=2
"#;
const CGAN: &str = r#"
family="cgan"
latent_dim=2
generator={kind="wave",channels=[3,2]}
discriminator={kind="wave",channels=[3,4],shuffle=3}
loss="wasserstein"
penalty={kind="gradient",weight=10}
"#;
const PROJECTED: &str = r#"
family="cgan"
latent_dim=2
conditioning={kind="projection"}
generator={kind="wave",channels=[3,2]}
discriminator={kind="wave",channels=[4],shuffle=0}
loss="hinge"
augment=["translation"]
"#;
const CLASSIFIED: &str = r#"
family="cgan"
latent_dim=2
conditioning={kind="auxiliary-classifier",weight=0.5}
generator={kind="wave",channels=[3,2]}
discriminator={kind="wave",channels=[3,4]}
penalty={kind="r1",weight=0.7}
"#;
const ALL: [&str; 4] = [GAN, CGAN, PROJECTED, CLASSIFIED];

fn waveforms(length: usize) -> SampleSpec {
    let segment = Segment { width: length, range: Range::Signed };
    SampleSpec::new(vec![1, 1, length], vec![segment]).unwrap()
}

fn build(config: &str, sample: SampleSpec, dtype: DType) -> Result<Box<dyn GenerativeModel>, Error> {
    let parsed: ModelConfig = toml::from_str(config).unwrap();
    let classes = if config.contains("family=\"c") { CLASSES } else { 0 };
    let params = ParamSet::fresh_with(3, &Device::Cpu, dtype);
    parsed.build(sample, ConditionSpec::classes(classes), params)
}

fn model(config: &str, dtype: DType) -> Box<dyn GenerativeModel> {
    build(config, waveforms(LENGTH), dtype).unwrap()
}

fn batch(dtype: DType) -> Batch {
    let rows = [0, 1, 2, 3];
    let drawn = Stream::new(2, "waves", 0).uniform(&rows, (1, 1, LENGTH), &Device::Cpu).unwrap();
    let inputs = drawn.affine(1.6, -0.8).unwrap().to_dtype(dtype).unwrap();
    let condition = Condition::classes(&[0, 2, 1, 2]).unwrap();
    Batch { condition, ..Batch::unlabelled(inputs, rows.to_vec()) }
}

/// Every gradient against central differences of the loss that the step reports. The phase shuffle of a step is the same
/// whenever it is repeated.
#[test]
fn gradients_agree_with_finite_differences() {
    for config in ALL {
        for player in ["discriminator", "generator"] {
            let model = model(config, DType::F64);
            let compared = gradients::check(model.as_ref(), &batch(DType::F64), player, config);
            assert!(compared > 10, "{config}: {compared}");
        }
    }
}

fn trained(config: &str) -> Trained {
    steps::trained(model(config, DType::F32).as_ref(), &batch(DType::F32))
}

#[test]
fn bits_do_not_depend_on_threads_and_samples_are_waveforms() {
    for config in ALL {
        let Trained { samples, .. } = check_threads(|| trained(config), config);
        assert!(samples.iter().all(|value| value.abs() <= 1.0), "{config}");
        assert!(samples.iter().any(|value| *value < 0.0), "{config}: samples are not moved to [0, 1]");
        let model = model(config, DType::F32);
        assert_eq!(model.sample(&SampleRequest::new(7, 20)).unwrap().dims(), [20, 1, 1, LENGTH]);
        assert!(!model.graph(Part::Generator).unwrap().encode().unwrap().is_empty());
    }
}

#[test]
fn other_devices_compute_the_same() {
    for config in ALL {
        check_other_devices(|| trained(config), config);
    }
}

/// Phase shuffle is drawn from the seed, and is nothing if it is off.
#[test]
fn phase_shuffle_is_a_function_of_the_seed() {
    let logits = |config: &str, seed: u64| {
        let model = model(config, DType::F64);
        let mut state = TrainingState::new(model.as_ref(), OptimizerConfig::default(), seed, 2).unwrap();
        let report = state.step(model.as_ref(), &batch(DType::F64)).unwrap();
        report.scalars.into_iter().find(|(name, _)| name == "logits/real").unwrap().1
    };
    let still = CLASSIFIED.replace("channels=[3,4]}", "channels=[3,4],shuffle=0}");
    assert_ne!(still, CLASSIFIED);
    // Without it, the logits of real samples at the first step depend on nothing that is drawn.
    assert_eq!(logits(&still, 5), logits(&still, 6));
    assert_ne!(logits(CLASSIFIED, 5), logits(CLASSIFIED, 6));
    assert_eq!(logits(CLASSIFIED, 5), logits(CLASSIFIED, 5));
}

#[test]
fn sizes_that_do_not_fit_are_refused_by_name_of_the_key() {
    let refused = |config: &str, sample: SampleSpec| match build(config, sample, DType::F32).err().unwrap() {
        Error::Config { key, reason } => (key, reason),
        other => panic!("{other}"),
    };
    let (key, reason) = refused(GAN, waveforms(60));
    assert_eq!(key, "model.generator.channels");
    assert!(reason.contains("multiple of 4^2, not 60"), "{reason}");
    let (_, reason) = refused(GAN, ImageShape::new(1, 64, 64).into());
    assert!(reason.contains("data.sound.view"), "{reason}");
    let (key, reason) = refused(&CGAN.replace("shuffle=3", "shuffle=16"), waveforms(LENGTH));
    assert_eq!(key, "model.discriminator.shuffle");
    assert!(reason.contains("16 positions cannot be moved by 16"), "{reason}");
    let batch_norm = CGAN.replace("shuffle=3", "norm=\"batch\"").replace("penalty", "#");
    let (key, _) = refused(&batch_norm, waveforms(LENGTH));
    assert_eq!(key, "model.discriminator.norm");
}
