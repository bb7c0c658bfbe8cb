//! Training as a device does it, on a machine that has none: the same steps with our kernels, and with everything composed
//! of candle's operations and nothing read that nobody logs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::device::without_kernels;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::step::{Counters, StepReport};
use waxwork_core::{
    Batch, Condition, DType, Device, Error, GenerativeModel, ImageShape, SampleRequest, Tensor,
};
use waxwork_core::{ParamSet, Precision, TrainingState, store};
use waxwork_models::ModelConfig;

const STEPS: u64 = 24;
const BATCH: usize = 8;
const SIDE: usize = 8;

/// How far what a step reports may be apart between the two ways, beside the larger of both values and 0.1. They begin a
/// few units of the last place (2⁻²⁴) apart, and every step makes more of that: 1e-5 was seen.
const TOLERANCE: f64 = 1e-4;

/// A model small enough to be trained in a blink, and its optimiser.
struct Case {
    channels: usize,
    model: &'static str,
    optimizer: &'static str,
}

/// Every family, and between them every operation of a training step: linear layers and convolutions both ways, batch norm
/// plain and conditional, spectral norm, penalties, augmentation, resampling, all activations, clipping, moving average.
const CASES: [Case; 9] = [
    Case {
        channels: 1,
        model: r#"
family="vae"
latent_dim=3
activation="silu"
network={kind="conv",channels=[4,6],hidden=12,batch_norm=true}
"#,
        optimizer: "lr=0.004\nclip_norm=5.0\nema=0.9",
    },
    Case {
        channels: 3,
        model: r#"
family="cvae"
latent_dim=3
activation={leaky-relu=0.1}
network={kind="mlp",hidden=[16]}
prior="label"
likelihood={kind="gaussian",scale=0.3,learned=true}
"#,
        optimizer: "lr=0.004\nweight_decay=0.01",
    },
    Case {
        channels: 1,
        model: r#"
family="vae"
latent_dim=3
activation="tanh"
network={kind="mlp",hidden=[16]}
likelihood={kind="continuous-bernoulli"}
importance_samples=3
"#,
        optimizer: "lr=0.004\nwarmup_steps=4",
    },
    Case {
        channels: 1,
        model: r#"
family="vae"
latent_dim=3
network={kind="mlp",hidden=[16]}
total_correlation=4
"#,
        optimizer: "lr=0.002",
    },
    Case {
        channels: 1,
        model: r#"
family="vae"
latent_dim=3
network={kind="mlp",hidden=[16]}
total_correlation=4
discriminator=[8]
"#,
        optimizer: "lr=0.002",
    },
    Case {
        channels: 1,
        model: r#"
family="gan"
latent_dim=4
generator={kind="dcgan",channels=[6,4]}
discriminator={kind="dcgan",channels=[4,6],norm="batch"}
augment=["colour","translation","cutout"]
"#,
        optimizer: "lr=0.001\nema=0.9",
    },
    Case {
        channels: 3,
        model: r#"
family="gan"
latent_dim=4
generator={kind="mlp",hidden=[16]}
discriminator={kind="mlp",hidden=[16]}
loss="wasserstein"
penalty={kind="gradient",weight=10}
n_critic=2
"#,
        optimizer: "lr=0.001",
    },
    Case {
        channels: 3,
        model: r#"
family="cgan"
latent_dim=4
conditioning={kind="projection"}
generator={kind="residual",channels=4,blocks=2}
discriminator={kind="residual",channels=4,blocks=3,norm="spectral"}
loss="hinge"
penalty={kind="r1",weight=0.5,every=2}
"#,
        optimizer: "lr=0.001\nclip_norm=1.0",
    },
    Case {
        channels: 1,
        model: r#"
family="cgan"
latent_dim=4
conditioning={kind="auxiliary-classifier",weight=0.5}
generator={kind="dcgan",channels=[6,4]}
discriminator={kind="dcgan",channels=[4,6],norm="spectral"}
loss="least-squares"
"#,
        optimizer: "lr=0.001\nema=0.9",
    },
];

/// A model in training.
struct Training {
    model: Box<dyn GenerativeModel>,
    state: TrainingState,
}

impl Case {
    fn start(&self, seed: u64, precision: Precision) -> Training {
        self.train(ParamSet::fresh(seed, &Device::Cpu), seed, precision)
    }

    fn train(&self, params: ParamSet, seed: u64, precision: Precision) -> Training {
        let config: ModelConfig = toml::from_str(self.model).unwrap();
        let optimizer: OptimizerConfig = toml::from_str(self.optimizer).unwrap();
        let image = ImageShape::new(self.channels, SIDE, SIDE);
        let params = params.with_precision(precision).unwrap();
        let model = config.build(image, 3, params).unwrap();
        let state = TrainingState::new(model.as_ref(), optimizer, seed, STEPS).unwrap();
        Training { model, state }
    }

    /// A bright square on a dark ground for each image, at a place that its number says.
    fn batch(&self, step: u64) -> Batch {
        let indices: Vec<u64> = (0..BATCH as u64).map(|i| step * BATCH as u64 + i).collect();
        let noise = Stream::new(0, "ground", 0).uniform(&indices, self.channels * SIDE * SIDE, &Device::Cpu);
        let noise = noise.unwrap().affine(0.2, 0.0).unwrap();
        let mut values = noise.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (image, index) in values.chunks_exact_mut(self.channels * SIDE * SIDE).zip(&indices) {
            let (top, left) = (index % 4, index / 4 % 4);
            for (place, value) in image.iter_mut().enumerate() {
                let (row, column) = ((place / SIDE % SIDE) as u64, (place % SIDE) as u64);
                if (top..top + 4).contains(&row) && (left..left + 4).contains(&column) {
                    *value = 0.9;
                }
            }
        }
        let images = Tensor::from_vec(values, (BATCH, self.channels, SIDE, SIDE), &Device::Cpu).unwrap();
        let labels: Vec<u32> = indices.iter().map(|index| (index % 3) as u32).collect();
        Batch { condition: Condition::classes(&labels).unwrap(), ..Batch::unlabelled(images, indices) }
    }

    /// What every step reports, of those that are read.
    fn steps(
        &self,
        training: &mut Training,
        steps: std::ops::Range<u64>,
        read: impl Fn(u64) -> bool,
    ) -> Vec<StepReport> {
        let Training { model, state } = training;
        let report = |step| {
            let batch = self.batch(step);
            if read(step) {
                state.step(model.as_ref(), &batch)
            } else {
                state.step_unread(model.as_ref(), &batch)
            }
        };
        let reports: Vec<StepReport> = steps.map(report).map(Result::unwrap).collect();
        state.settle().unwrap();
        reports.into_iter().filter(|report| !report.scalars.is_empty()).collect()
    }
}

impl Training {
    /// Every tensor that a checkpoint holds, by name.
    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = self.state.tensors();
        tensors.extend(
            self.model
                .params()
                .tensors()
                .into_iter()
                .map(|(name, tensor)| (format!("params/{name}"), tensor)),
        );
        tensors
    }

    fn bits(&self) -> Vec<u8> {
        store::encode(&self.tensors()).unwrap()
    }

    /// Another one that goes on where this one is, by way of what a checkpoint's files hold.
    fn resumed(&self, case: &Case, precision: Precision) -> Training {
        let counters = serde_json::to_string(&self.state.counters()).unwrap();
        self.resumed_at(case, precision, &serde_json::from_str(&counters).unwrap())
    }

    fn resumed_at(&self, case: &Case, precision: Precision, counters: &Counters) -> Training {
        let stored = |tensors: &BTreeMap<String, Tensor>| {
            store::decode(&store::encode(tensors).unwrap(), Path::new("checkpoint"), &Device::Cpu).unwrap()
        };
        let params = ParamSet::stored(stored(&self.model.params().tensors()), &Device::Cpu).unwrap();
        let mut resumed = case.train(params, 0, precision);
        resumed.state.restore(&stored(&self.state.tensors()), counters).unwrap();
        resumed
    }
}

/// The largest difference of what the same steps reported, beside the larger of both values and 0.1.
fn difference(ours: &[StepReport], others: &[StepReport]) -> f64 {
    assert_eq!(ours.len(), others.len());
    let mut most = 0.0;
    for (ours, others) in ours.iter().zip(others) {
        let names =
            |report: &StepReport| report.scalars.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(ours), names(others), "step {}", ours.step);
        for ((name, a), (_, b)) in ours.scalars.iter().zip(&others.scalars) {
            assert!(a.is_finite() && b.is_finite(), "`{name}` of step {}: {a}, {b}", ours.step);
            most = f64::max(most, (a - b).abs() / a.abs().max(b.abs()).max(0.1));
        }
    }
    most
}

fn always(_: u64) -> bool {
    true
}

#[test]
fn losses_and_samples_are_those_of_the_kernels() {
    for case in &CASES {
        let run = |seed| {
            let mut training = case.start(seed, Precision::F32);
            (case.steps(&mut training, 0..STEPS, always), training.model)
        };
        let ((kernels, model), (composed, _)) = (run(0), without_kernels(|| run(0)));
        assert_ne!(kernels, composed, "the switch did nothing: {}", case.model);
        let apart = difference(&kernels, &composed);
        assert!(apart < TOLERANCE, "{apart:e} apart: {}", case.model);
        // A tolerance that another seed would meet would say nothing.
        assert!(difference(&kernels, &run(1).0) > 100.0 * TOLERANCE, "{}", case.model);

        // Of the same weights: a bias before a batch norm has no gradient but rounding, of which Adam makes whole steps.
        let sample = || model.sample(&SampleRequest::new(1, 5)).unwrap();
        let (images, others) = (sample(), without_kernels(sample));
        let pixels = (images - others).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(pixels < 1e-5, "pixels {pixels:e} apart: {}", case.model);
    }
}

#[test]
fn reading_the_losses_does_not_change_the_steps() {
    without_kernels(|| {
        for case in &CASES {
            let (mut read, mut unread) = (case.start(0, Precision::F32), case.start(0, Precision::F32));
            let all = case.steps(&mut read, 0..STEPS, always);
            let some = case.steps(&mut unread, 0..STEPS, |step| step % 7 == 6);
            assert_eq!(some.len() as u64, STEPS / 7);
            for report in &some {
                assert_eq!(*report, all[report.step as usize], "{}", case.model);
            }
            assert_eq!(read.state.counters(), unread.state.counters());
            assert!(read.bits() == unread.bits(), "other bits: {}", case.model);
        }
    });
}

#[test]
fn a_resumed_run_is_an_unbroken_one() {
    for case in &CASES {
        let half = STEPS / 2 + 1;
        let (mut whole, mut first) = without_kernels(|| {
            let start = || case.start(0, Precision::F32);
            (start(), start())
        });
        let (expected, rest) = without_kernels(|| {
            let expected = case.steps(&mut whole, 0..STEPS, always);
            case.steps(&mut first, 0..half, |_| false);
            let mut second = first.resumed(case, Precision::F32);
            let rest = case.steps(&mut second, half..STEPS, always);
            assert!(whole.bits() == second.bits(), "other bits: {}", case.model);
            (expected, rest)
        });
        assert_eq!(rest, expected[half as usize..], "{}", case.model);

        // What a device wrote, the CPU goes on with, and the other way round.
        let on_cpu = case.steps(&mut first.resumed(case, Precision::F32), half..STEPS, always);
        assert!(difference(&on_cpu, &rest) < TOLERANCE, "{}", case.model);
        let mut by_kernels = case.start(0, Precision::F32);
        case.steps(&mut by_kernels, 0..half, always);
        let back = without_kernels(|| {
            case.steps(&mut by_kernels.resumed(case, Precision::F32), half..STEPS, always)
        });
        assert!(difference(&back, &rest) < TOLERANCE, "{}", case.model);
    }
}

/// Nothing waits to see whether a loss is finite, so steps after a broken one are made; the error is that of the first
/// broken one, whether a later step is read or a checkpoint is due.
#[test]
fn finds_values_that_are_not_finite_when_the_device_is_read() {
    for case in &CASES {
        let broken = |step| {
            let mut batch = case.batch(step);
            if step == 2 {
                batch.inputs = batch.inputs.affine(f64::NAN, 0.0).unwrap();
            }
            batch
        };
        let check = |found: waxwork_core::Result<()>| {
            let error = found.unwrap_err();
            assert!(
                matches!(error, Error::NonFinite { step: 2, value, .. } if value.is_nan()),
                "{error}: {}",
                case.model
            );
        };
        without_kernels(|| {
            for read in [false, true] {
                let Training { model, mut state } = case.start(0, Precision::F32);
                for step in 0..5 {
                    let report = state.step_unread(model.as_ref(), &broken(step)).unwrap();
                    assert!(report.scalars.is_empty());
                }
                if read {
                    check(state.step(model.as_ref(), &broken(5)).map(drop));
                } else {
                    check(state.settle());
                }
            }
        });
        // The kernels know at once, and change nothing.
        let Training { model, mut state } = case.start(0, Precision::F32);
        (0..2).for_each(|step| _ = state.step(model.as_ref(), &broken(step)).unwrap());
        let before = store::encode(&model.params().tensors()).unwrap();
        check(state.step(model.as_ref(), &broken(2)).map(drop));
        assert!(store::encode(&model.params().tensors()).unwrap() == before, "{}", case.model);
    }
}

/// Layers multiply in bf16 (eight bits of significance) or f16 (eleven); everything that is kept stays f32. Losses begin
/// within the rounding of the operands of those of f32 (8e-3 was seen, and 3e-3), and with bf16 stay near them (0.12).
#[test]
fn half_precision_trains_parameters_of_f32() {
    for (precision, tolerance) in [(Precision::Bf16, 0.03), (Precision::F16, 0.01)] {
        for case in &CASES {
            without_kernels(|| {
                let mut full = case.start(0, Precision::F32);
                let mut half = case.start(0, precision);
                let expected = case.steps(&mut full, 0..STEPS, always);
                let found = case.steps(&mut half, 0..STEPS, always);
                for (name, tensor) in half.tensors() {
                    assert_eq!(tensor.dtype(), DType::F32, "{name}");
                }
                assert!(full.bits() != half.bits(), "{precision:?} was not used: {}", case.model);
                // What the first step computes before its first update, which under a scale may be left out.
                let first = |reports: &[StepReport]| {
                    let scalars =
                        reports[0].scalars.iter().take_while(|(name, _)| !name.contains("grad_norm"));
                    let scalars = scalars.filter(|(name, _)| name != "scale/loss").cloned().collect();
                    StepReport { step: 0, scalars }
                };
                let apart = difference(&[first(&expected)], &[first(&found)]);
                assert!(apart < tolerance, "{precision:?}, {apart:e} apart: {}", case.model);
                if precision == Precision::Bf16 {
                    let apart = difference(&expected, &found);
                    assert!(apart < 0.3, "{apart:e} apart: {}", case.model);
                }

                // Resumed in the same precision, to the bit; the scale of losses is in the checkpoint.
                let mut first = case.start(0, precision);
                case.steps(&mut first, 0..STEPS / 2, |_| false);
                let mut second = first.resumed(case, precision);
                case.steps(&mut second, STEPS / 2..STEPS, |_| false);
                assert_eq!(second.state.counters(), half.state.counters());
                assert!(second.bits() == half.bits(), "{precision:?}, other bits: {}", case.model);
            });
        }
    }
}

/// A scale of 2²⁴ is more than f16 holds: every update overflows and is left out, and the scale is halved until one fits.
#[test]
fn an_update_that_overflows_is_left_out_and_halves_the_scale() {
    for case in &CASES {
        without_kernels(|| {
            let training = case.start(0, Precision::F16);
            let raised = r#"{"step":0,"updates":{},"loss_scale":{"exponent":24,"updates":7}}"#;
            let raised = Counters {
                updates: training.state.counters().updates,
                ..serde_json::from_str(raised).unwrap()
            };
            let Training { model, mut state } = training.resumed_at(case, Precision::F16, &raised);

            let scale = |report: &StepReport| {
                let scales = report.scalars.iter().filter(|(name, _)| name == "scale/loss");
                scales.map(|(_, value)| *value).collect::<Vec<_>>()
            };
            let bits = |model: &dyn GenerativeModel, state: &TrainingState| {
                (store::encode(&model.params().tensors()).unwrap(), store::encode(&state.tensors()).unwrap())
            };
            let before = bits(model.as_ref(), &state);
            let report = state.step(model.as_ref(), &case.batch(0)).unwrap();
            let scales = scale(&report);
            assert_eq!(scales[0], f64::from(1 << 24));
            // A GAN's second update begins with half the scale.
            assert!(scales.iter().zip(&scales[1..]).all(|(a, b)| *b == a / 2.0), "{scales:?}");
            assert!(bits(model.as_ref(), &state) == before, "an overflow changed something: {}", case.model);
            assert_eq!(state.counters().updates, raised.updates);
            assert_eq!(state.counters().step, 1);

            // It ends at a scale that fits, and the model learns.
            let mut last = vec![];
            for step in 1..40 {
                last = scale(&state.step(model.as_ref(), &case.batch(step)).unwrap());
            }
            assert!(last.iter().all(|scale| (1.0..f64::from(1 << 24)).contains(scale)), "{last:?}");
            let counters = state.counters();
            assert!(counters.updates.values().all(|&updates| updates > 0), "{counters:?}");
            assert!(bits(model.as_ref(), &state).0 != before.0);
        });
    }
}
