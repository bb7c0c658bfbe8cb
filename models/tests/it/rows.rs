//! Models of table rows: one training step of each family against finite differences, and what all families promise of rows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::sample::{Range, Segment, Silence};
use waxwork_core::{
    Batch, ColumnSpec, Condition, ConditionSpec, DType, Device, GenerativeModel, ParamSet, SampleRequest,
    SampleSpec, Tensor, TrainingState,
};
use waxwork_models::ModelConfig;

use crate::gradients::{self, descent};

const ROWS: usize = 6;
const FAMILIES: [(&str, &[&str]); 7] = [
    (
        "family=\"vae\"\nlatent_dim=2\nnetwork={kind=\"mlp\",hidden=[4]}\nlikelihood={kind=\"rows\"}\nactivation=\"tanh\"",
        &["loss"],
    ),
    (
        "family=\"cvae\"\nlatent_dim=2\nnetwork={kind=\"mlp\",hidden=[4]}\nlikelihood={kind=\"rows\"}\nactivation=\"tanh\"",
        &["loss"],
    ),
    (
        "family=\"gan\"\nlatent_dim=2\ngenerator={kind=\"ctgan\",hidden=[4,3]}\ndiscriminator={kind=\"mlp\",hidden=[5,4],dropout=0.3}\nloss=\"wasserstein\"\npenalty={kind=\"gradient\",weight=10}\npack=3",
        &["discriminator", "generator"],
    ),
    (
        "family=\"cgan\"\nlatent_dim=2\ngenerator={kind=\"ctgan\",hidden=[4,3]}\ndiscriminator={kind=\"mlp\",hidden=[5,4],dropout=0.3}\nloss=\"wasserstein\"\npenalty={kind=\"gradient\",weight=10}\npack=2",
        &["discriminator", "generator"],
    ),
    (
        "family=\"gan\"\nlatent_dim=2\ngenerator={kind=\"mlp\",hidden=[4,3],batch_norm=true}\ndiscriminator={kind=\"mlp\",hidden=[5,4],maxout=3,dropout=0.3}\npack=3",
        &["discriminator", "generator"],
    ),
    (
        "family=\"vae\"\nlatent_dim=2\nnetwork={kind=\"mlp\",hidden=[4]}\nlikelihood={kind=\"rows\",mode_means=true}\nactivation=\"tanh\"\nimportance_samples=2",
        &["loss"],
    ),
    (
        "family=\"cvae\"\nlatent_dim=2\nnetwork={kind=\"mlp\",hidden=[4]}\nlikelihood={kind=\"rows\",mode_means=true}\nactivation=\"tanh\"",
        &["loss"],
    ),
];

/// A number, the choice of its mode, of which the last means none, and two categories.
fn sample() -> SampleSpec {
    let part = |width, range| Segment { width, range };
    let parts =
        [part(1, Range::Signed), part(3, Range::OneHot), part(2, Range::OneHot), part(3, Range::OneHot)];
    let silences = vec![Silence { value: 0, places: vec![3] }];
    SampleSpec::new(vec![9], parts.to_vec()).unwrap().silenced(silences).unwrap()
}

fn condition() -> ConditionSpec {
    let column = |start, counts: &[u64]| ColumnSpec { start, counts: counts.to_vec() };
    ConditionSpec::Columns { columns: vec![column(4, &[3, 1]), column(6, &[1, 1, 2])] }
}

fn model(config: &str, dtype: DType) -> Box<dyn GenerativeModel> {
    let config: ModelConfig = toml::from_str(config).unwrap();
    config.build(sample(), condition(), ParamSet::fresh_with(3, &Device::Cpu, dtype)).unwrap()
}

fn batch() -> Batch {
    let (mut rows, mut asked) = (Vec::new(), Vec::new());
    for i in 0..ROWS {
        let one = |width: usize, at: usize| (0..width).map(move |j| f64::from(u8::from(j == at % width)));
        rows.push(if i % 3 == 2 { 0.0 } else { 0.6 * (i as f64 + 1.0).sin() });
        rows.extend(one(3, i).chain(one(2, i)).chain(one(3, i / 2)));
        asked.extend(one(2, i).map(|x| if i % 2 == 0 { x } else { 0.0 }));
        asked.extend(one(3, i / 2).map(|x| if i % 3 != 1 { x } else { 0.0 }));
    }
    let inputs = Tensor::from_vec(rows, (ROWS, 9), &Device::Cpu).unwrap();
    let asked = Tensor::from_vec(asked, (ROWS, 5), &Device::Cpu).unwrap();
    Batch { condition: Condition::Columns(asked), ..Batch::unlabelled(inputs, (0..ROWS as u64).collect()) }
}

/// The penalty, its packs and the thinned discriminator, the Gumbel softmax, the columns asked for, and likelihoods with silent
/// numbers: every gradient against central differences of the loss that the step itself reports.
#[test]
fn gradients_agree_with_finite_differences() {
    for (config, losses) in FAMILIES {
        for loss in losses {
            let model = model(config, DType::F64);
            let compared = gradients::check(model.as_ref(), &batch(), loss, config);
            assert!(compared > 20, "{config}: {compared}");
        }
    }
}

/// A sample is a row whose choices are choices, the same however many are made with it.
#[test]
fn a_row_is_a_function_of_the_seed_and_its_number() {
    for (config, _) in FAMILIES {
        let model = model(config, DType::F32);
        let all = model.sample(&SampleRequest::new(7, 150)).unwrap().to_vec2::<f32>().unwrap();
        let some = SampleRequest { first: 120, ..SampleRequest::new(7, 5) };
        assert_eq!(model.sample(&some).unwrap().to_vec2::<f32>().unwrap(), all[120..125], "{config}");
        for row in &all {
            assert!(row[0].abs() <= 1.0 && row[1..].iter().all(|value| (0.0..=1.0).contains(value)));
            for choice in [&row[1..4], &row[4..6], &row[6..9]] {
                assert!((choice.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{config}");
            }
        }
        let text = serde_json::to_string(model.info()).unwrap();
        assert_eq!(&serde_json::from_str::<waxwork_core::ModelInfo>(&text).unwrap(), model.info());
    }
}

/// What cannot be is refused in words.
#[test]
fn packs_must_fit_the_batch_and_rows_their_networks() {
    let odd = FAMILIES[2].0.replace("pack=3", "pack=4");
    let model = self::model(&odd, DType::F64);
    let error =
        TrainingState::new(model.as_ref(), descent(1.0), 4, 1).unwrap().step(model.as_ref(), &batch());
    assert!(error.unwrap_err().to_string().contains("a batch of 6 samples cannot be judged in packs of 4"));
    let refused = |config: &str| {
        let config: ModelConfig = toml::from_str(config).unwrap();
        let built = config.build(sample(), condition(), ParamSet::fresh(0, &Device::Cpu));
        built.err().unwrap().to_string()
    };
    let maxout = |pieces: usize, rest: &str| {
        format!("{}\n{rest}", FAMILIES[4].0.replace("maxout=3", &format!("maxout={pieces}")))
    };
    assert!(refused(&maxout(1, "")).contains("model.discriminator.maxout"), "{}", refused(&maxout(1, "")));
    let penalty = maxout(3, "penalty={kind=\"r1\",weight=1}");
    assert!(refused(&penalty).contains("model.penalty"), "{}", refused(&penalty));
    assert!(refused("family=\"gan\"").contains("needs images"), "{}", refused("family=\"gan\""));
    assert!(refused("family=\"vae\"").contains("kind `rows`"), "{}", refused("family=\"vae\""));
}
