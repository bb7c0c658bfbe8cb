//! Models of sequences of tokens: one training step of each family against finite differences, what all families promise of
//! sequences, and toy problems that they learn.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::device::without_kernels;
use waxwork_core::onnx::Part;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::sample::{Range, Segment};
use waxwork_core::{
    Batch, Condition, ConditionSpec, DType, Device, GenerativeModel, ImageShape, ParamSet, Precision,
    SampleRequest, SampleSpec, Tensor, TrainingState,
};
use waxwork_models::ModelConfig;

use crate::gradients;
use crate::steps::{self, Trained, check_other_devices, check_threads};

const LENGTH: usize = 5;
/// Token 0 is the end.
const VOCABULARY: usize = 4;
const CLASSES: usize = VOCABULARY - 1;

const VAE: &str = r#"
family="vae"
latent_dim=2
network={kind="recurrent",embedding=3,hidden=4,word_dropout=0.3,dropout=0.2}
likelihood={kind="tokens"}
"#;
const CVAE: &str = r#"
family="cvae"
latent_dim=2
network={kind="recurrent",embedding=3,hidden=4}
likelihood={kind="tokens"}
prior="label"
free_bits=0.01
"#;
const GRU: &str = r#"
family="cvae"
latent_dim=2
network={kind="recurrent",embedding=3,hidden=4,cell="gru"}
likelihood={kind="tokens"}
"#;
const IWAE: &str = r#"
family="vae"
latent_dim=2
network={kind="recurrent",embedding=3,hidden=4}
likelihood={kind="tokens"}
importance_samples=3
"#;
const GAN: &str = r#"
family="gan"
latent_dim=2
generator={kind="text",channels=4,blocks=2}
discriminator={kind="text",channels=5,blocks=2}
loss="wasserstein"
penalty={kind="gradient",weight=10}
pack=2
"#;
const CGAN: &str = r#"
family="cgan"
latent_dim=2
generator={kind="text",channels=4,blocks=2}
discriminator={kind="text",channels=5,blocks=2}
loss="wasserstein"
penalty={kind="gradient",weight=10}
"#;
const PROJECTED: &str = r#"
family="cgan"
latent_dim=2
conditioning={kind="projection"}
generator={kind="text",channels=4,blocks=1}
discriminator={kind="text",channels=5,blocks=1}
loss="hinge"
"#;
const SEQGAN: &str = r#"
family="gan"
latent_dim=5
generator={kind="autoregressive",embedding=3,hidden=4}
discriminator={kind="windows",embedding=3,widths=[1,3],filters=[4,5],dropout=0.3}
policy={likelihood_steps=0,discriminator_steps=0,rollouts=3,likelihood_weight=0.5}
"#;
const CONDITIONAL_SEQGAN: &str = r#"
family="cgan"
latent_dim=5
generator={kind="autoregressive",embedding=4,hidden=4,dropout=0.1,tied=true}
discriminator={kind="windows",embedding=3,widths=[1,3],filters=[4,5],dropout=0.3}
policy={likelihood_steps=0,discriminator_steps=0,rollouts=3,likelihood_weight=0.5}
"#;
const FLAT: &str = r#"
family="gan"
latent_dim=2
generator={kind="mlp",hidden=[6]}
discriminator={kind="mlp",hidden=[6]}
loss="wasserstein"
penalty={kind="gradient",weight=10}
"#;
const ALL: [&str; 10] = [VAE, CVAE, GRU, IWAE, GAN, CGAN, PROJECTED, SEQGAN, CONDITIONAL_SEQGAN, FLAT];

fn tokens(length: usize, vocabulary: usize) -> SampleSpec {
    let segment = Segment { width: vocabulary, range: Range::OneHot };
    SampleSpec::new(vec![length, vocabulary], vec![segment]).unwrap()
}

fn model(config: &str, dtype: DType) -> Box<dyn GenerativeModel> {
    let parsed: ModelConfig = toml::from_str(config).unwrap();
    let condition = if config.contains("family=\"c") { CLASSES } else { 0 };
    let params = ParamSet::fresh_with(3, &Device::Cpu, dtype);
    parsed.build(tokens(LENGTH, VOCABULARY), ConditionSpec::classes(condition), params).unwrap()
}

/// Sequences as a batch of one-hot rows, each of its first token's class.
fn batch(sequences: &[Vec<u32>], dtype: DType) -> Batch {
    let mut values = vec![0f32; sequences.len() * LENGTH * VOCABULARY];
    for (rows, sequence) in values.chunks_exact_mut(LENGTH * VOCABULARY).zip(sequences) {
        for (place, row) in rows.chunks_exact_mut(VOCABULARY).enumerate() {
            row[sequence.get(place).copied().unwrap_or(0) as usize] = 1.0;
        }
    }
    let shape = (sequences.len(), LENGTH, VOCABULARY);
    let inputs = Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
    let lengths: Vec<u32> = sequences.iter().map(|sequence| sequence.len() as u32).collect();
    let classes: Vec<u32> =
        sequences.iter().map(|sequence| sequence.first().map_or(0, |token| token - 1)).collect();
    Batch {
        lengths: Some(Tensor::new(lengths, &Device::Cpu).unwrap()),
        condition: Condition::classes(&classes).unwrap(),
        ..Batch::unlabelled(inputs, (0..sequences.len() as u64).collect())
    }
}

/// The same batch with token numbers, as a batch of the data has them.
fn numbered(sequences: &[Vec<u32>]) -> Batch {
    let mut numbers = vec![0u32; sequences.len() * LENGTH];
    for (numbers, sequence) in numbers.chunks_exact_mut(LENGTH).zip(sequences) {
        numbers[..sequence.len()].copy_from_slice(sequence);
    }
    let inputs = Tensor::from_vec(numbers, (sequences.len(), LENGTH), &Device::Cpu).unwrap();
    Batch { inputs, ..batch(sequences, DType::F32) }
}

/// Sequences of every kind of length: empty, short, and too long for an end.
fn mixed() -> Vec<Vec<u32>> {
    vec![vec![1, 2], vec![3], vec![2, 2, 1, 3, 1], vec![], vec![1, 3, 3, 2], vec![2, 1, 1]]
}

/// Backward through time, embeddings, word dropout, likelihoods of tokens, importance weights, free bits, the penalty through
/// convolutions along sequences, and every way of a label: every gradient against central differences of the loss that the step reports.
#[test]
fn gradients_agree_with_finite_differences() {
    for config in ALL {
        let losses: &[&str] =
            if config.contains("vae") { &["loss"] } else { &["discriminator", "generator"] };
        for loss in losses {
            let model = model(config, DType::F64);
            let batch = batch(&mixed(), DType::F64);
            let compared = gradients::check(model.as_ref(), &batch, loss, config);
            assert!(compared > 15, "{config}: {compared}");
        }
    }
}

fn trained(config: &str) -> Trained {
    steps::trained(model(config, DType::F32).as_ref(), &batch(&mixed(), DType::F32))
}

#[test]
fn bits_do_not_depend_on_threads() {
    for config in ALL {
        check_threads(|| trained(config), config);
    }
}

#[test]
fn other_devices_compute_the_same() {
    for config in ALL {
        check_other_devices(|| trained(config), config);
    }
}

/// Steps are the same to the bit, and so are codes, reconstructions and likelihoods.
#[test]
fn token_numbers_and_one_hot_rows_are_the_same_texts() {
    let (rows, numbers) = (batch(&mixed(), DType::F32), numbered(&mixed()));
    for config in ALL {
        let of = |batch: &Batch| steps::trained(model(config, DType::F32).as_ref(), batch);
        assert!(of(&rows) == of(&numbers), "{config}");
    }
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let model = model(CVAE, DType::F32);
    let of = |batch: &Batch| {
        let (inputs, condition) = (&batch.inputs, &batch.condition);
        let mean = model.encoder().unwrap().encode(inputs, condition).unwrap().mean;
        let made = model.reconstructor().unwrap().reconstruct(inputs, condition).unwrap();
        let stream = Stream::new(0, "iw", 0);
        let density = model.density().unwrap().log_likelihood(batch, 3, &stream).unwrap();
        [mean, made, density].map(flat)
    };
    assert_eq!(of(&rows), of(&numbers));
    let outside = Tensor::new(&[[1u32, VOCABULARY as u32, 0, 0, 0]], &Device::Cpu).unwrap();
    let class = Condition::classes(&[0]).unwrap();
    assert!(model.encoder().unwrap().encode(&outside, &class).is_err());
}

/// Texts of other lengths in a batch do not change a single bit of a text's bound.
#[test]
fn a_text_has_the_bound_that_it_has_alone() {
    for config in [CVAE, GRU, VAE] {
        let model = model(config, DType::F32);
        let of = |batch: &Batch| {
            let elbo = model.bound().unwrap().elbo(batch, &Stream::new(0, "elbo", 0)).unwrap();
            [elbo.reconstruction, elbo.kl].map(|terms| terms.to_vec1::<f32>().unwrap())
        };
        let [reconstruction, kl] = of(&numbered(&mixed()));
        for (place, text) in mixed().into_iter().enumerate() {
            let alone = Batch { lengths: None, indices: vec![place as u64], ..numbered(&[text]) };
            assert_eq!(of(&alone), [vec![reconstruction[place]], vec![kl[place]]], "{config} {place}");
        }
    }
}

/// Layers multiply in the precision of their parameters: losses of the first step are near those of f32, and not the same.
#[test]
fn products_in_half_precision_are_near_those_in_full() {
    for config in [VAE, GAN] {
        let losses = |precision: Precision| {
            without_kernels(|| {
                let parsed: ModelConfig = toml::from_str(config).unwrap();
                let params = ParamSet::fresh(3, &Device::Cpu).with_precision(precision).unwrap();
                let model = parsed.build(tokens(LENGTH, VOCABULARY), ConditionSpec::None, params).unwrap();
                let mut state = TrainingState::new(model.as_ref(), OptimizerConfig::default(), 5, 1).unwrap();
                let report = state.step(model.as_ref(), &batch(&mixed(), DType::F32)).unwrap();
                read(&model.sample(&SampleRequest::new(7, 5)).unwrap());
                report.scalars
            })
        };
        let full = losses(Precision::F32);
        let half = losses(Precision::Bf16);
        assert!(full != half, "{config}");
        for ((name, full), (_, half)) in full.iter().zip(&half).filter(|((name, _), _)| !name.contains('/')) {
            assert!((full - half).abs() < 0.02 * (1.0 + full.abs()), "{config} {name}: {full}, {half}");
        }
    }
}

/// The tokens of each sample up to its end; every row of a sample is one-hot, and nothing follows the end.
fn read(samples: &Tensor) -> Vec<Vec<u32>> {
    let samples = samples.to_dtype(DType::F32).unwrap().to_vec3::<f32>().unwrap();
    let read = |rows: Vec<Vec<f32>>| {
        let mut tokens = Vec::new();
        for row in rows {
            assert!(row.iter().all(|value| *value == 0.0 || *value == 1.0) && row.iter().sum::<f32>() == 1.0);
            tokens.push(row.iter().position(|value| *value == 1.0).unwrap() as u32);
        }
        let end = tokens.iter().position(|token| *token == 0).unwrap_or(tokens.len());
        assert!(tokens[end..].iter().all(|token| *token == 0), "{tokens:?}");
        tokens[..end].to_vec()
    };
    samples.into_iter().map(read).collect()
}

#[test]
fn a_sample_is_a_function_of_the_seed_and_its_number() {
    for config in ALL {
        let model = model(config, DType::F32);
        let all = read(&model.sample(&SampleRequest::new(7, 150)).unwrap());
        let some = SampleRequest { first: 120, ..SampleRequest::new(7, 6) };
        assert_eq!(read(&model.sample(&some).unwrap()), all[120..126], "{config}");
        let text = serde_json::to_string(model.info()).unwrap();
        assert_eq!(&serde_json::from_str::<waxwork_core::ModelInfo>(&text).unwrap(), model.info());
    }
}

/// With all weights 0 every token has probability 1/V, and the posterior is the prior.
#[test]
fn the_bound_counts_the_end_once_and_padding_not_at_all() {
    let model = model(VAE, DType::F64);
    let zeros =
        model.params().tensors().into_iter().map(|(name, x)| (name, x.zeros_like().unwrap())).collect();
    model.params().assign(&zeros).unwrap();
    let sequences = mixed();
    let labelled = batch(&sequences, DType::F64);
    let unlabelled = Batch { lengths: None, ..labelled.clone() };
    for batch in [labelled, unlabelled] {
        let bound = model.bound().unwrap();
        let elbo = bound.elbo(&batch, &Stream::new(0, "elbo", 0)).unwrap();
        let density = model.density().unwrap().log_likelihood(&batch, 3, &Stream::new(0, "iw", 0)).unwrap();
        let elbo = [elbo.reconstruction, elbo.kl, density].map(|x| x.to_vec1::<f64>().unwrap());
        for (i, sequence) in sequences.iter().enumerate() {
            let counted = (sequence.len() + 1).min(LENGTH) as f64;
            let want = -counted * (VOCABULARY as f64).ln();
            assert!((elbo[0][i] - want).abs() < 1e-12 && elbo[1][i].abs() < 1e-12, "{elbo:?}");
            assert!((elbo[2][i] - want).abs() < 1e-12, "{elbo:?}");
        }
        assert_eq!(bound.protocol(), "categorical tokens, the end counted once");
    }
}

/// What the lengths say changes nothing but the time that it takes.
#[test]
fn a_bound_is_the_same_with_and_without_lengths() {
    let model = model(CVAE, DType::F64);
    let known = batch(&mixed()[3..5], DType::F64);
    let of = |batch: &Batch| {
        let elbo = model.bound().unwrap().elbo(batch, &Stream::new(0, "elbo", 0)).unwrap();
        (elbo.reconstruction - elbo.kl).unwrap().to_vec1::<f64>().unwrap()
    };
    let unknown = Batch { lengths: None, ..known.clone() };
    for (known, unknown) in of(&known).into_iter().zip(of(&unknown)) {
        assert!((known - unknown).abs() < 1e-12, "{known} {unknown}");
    }
}

/// Sequence `i`: token i mod 3 + 1, once to four times.
fn repeated(i: u64) -> Vec<u32> {
    let mut draws = Stream::new(0, "toy", 0).at(i);
    vec![draws.below(3) + 1; draws.below(4) as usize + 1]
}

fn train(config: &str, optimizer: &str, steps: u64) -> Box<dyn GenerativeModel> {
    let model = model(config, DType::F32);
    let optimizer: OptimizerConfig = toml::from_str(optimizer).unwrap();
    let mut state = TrainingState::new(model.as_ref(), optimizer, 1, steps).unwrap();
    for step in 0..steps {
        let sequences: Vec<Vec<u32>> = (step * 32..step * 32 + 32).map(repeated).collect();
        state.step(model.as_ref(), &batch(&sequences, DType::F32)).unwrap();
    }
    model
}

fn share(sequences: &[Vec<u32>], valid: impl Fn(&[u32]) -> bool) -> f64 {
    sequences.iter().filter(|sequence| valid(sequence)).count() as f64 / sequences.len() as f64
}

/// One token, repeated one to four times.
fn is_valid(sequence: &[u32]) -> bool {
    (1..=4).contains(&sequence.len()) && sequence.iter().all(|token| *token == sequence[0])
}

/// Every one of the twelve sequences has probability 1/12, so no bound is below log 12 but by chance.
#[test]
fn a_recurrent_vae_learns_sequences_of_one_repeated_token() {
    let config = VAE.replace("embedding=3,hidden=4,word_dropout=0.3,dropout=0.2", "embedding=8,hidden=24");
    let model = train(&config, "lr=0.01", 400);
    let samples = read(&model.sample(&SampleRequest::new(1, 400)).unwrap());
    let valid = share(&samples, is_valid);
    assert!(valid > 0.97, "{valid}: {:?}", &samples[..20]);
    for token in 1..=3 {
        for length in 1..=4 {
            let found = share(&samples, |sequence| sequence == vec![token; length]);
            assert!((found - 1.0 / 12.0).abs() < 0.05, "{token} × {length}: {found}");
        }
    }
    let sequences: Vec<Vec<u32>> = (1_000_000..1_000_200).map(repeated).collect();
    let batch = batch(&sequences, DType::F32);
    let density = model.density().unwrap().log_likelihood(&batch, 50, &Stream::new(0, "iw", 0)).unwrap();
    let density = -density.mean_all().unwrap().to_scalar::<f32>().unwrap();
    let elbo = model.bound().unwrap().elbo(&batch, &Stream::new(0, "elbo", 0)).unwrap();
    let bound = -(elbo.reconstruction - elbo.kl).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    let entropy = 12f32.ln();
    assert!(entropy - 0.05 < density && density < bound + 0.02 && bound < entropy + 0.2, "{density} {bound}");
    let coldest = SampleRequest { temperature: 0.0, ..SampleRequest::new(1, 20) };
    assert!(share(&read(&model.sample(&coldest).unwrap()), is_valid) == 1.0);
    let again = model.reconstructor().unwrap().reconstruct(&batch.inputs, &Condition::None).unwrap();
    assert!(share(&read(&again), is_valid) > 0.97);
}

/// More hidden units, and all three stages.
fn large_seqgan(config: &str) -> String {
    let config = config.replace("embedding=3,hidden=4", "embedding=8,hidden=24");
    let config = config.replace("embedding=4,hidden=4", "embedding=24,hidden=24");
    config.replace("likelihood_steps=0,discriminator_steps=0", "likelihood_steps=400,discriminator_steps=20")
}

/// Maximum likelihood lowers the exact −log p of other sequences to their entropy, and the adversarial game
/// keeps it near.
#[test]
fn a_policy_learns_sequences_of_one_repeated_token() {
    let model = train(&large_seqgan(SEQGAN), "lr=0.01\nbetas=[0.9,0.999]", 440);
    let samples = read(&model.sample(&SampleRequest::new(1, 400)).unwrap());
    let valid = share(&samples, is_valid);
    assert!(valid > 0.9, "{valid}: {:?}", &samples[..20]);
    let sequences: Vec<Vec<u32>> = (1_000_000..1_000_200).map(repeated).collect();
    let logs = model.exact().unwrap().log_probability(&batch(&sequences, DType::F32), 1.0).unwrap();
    let nll = -logs.mean_all().unwrap().to_scalar::<f32>().unwrap();
    let entropy = 12f32.ln();
    assert!(entropy - 0.1 < nll && nll < entropy + 0.4, "{nll} beside {entropy}");
    let coldest = SampleRequest { temperature: 0.0, ..SampleRequest::new(1, 20) };
    let coldest = read(&model.sample(&coldest).unwrap());
    assert!(coldest.iter().all(|text| *text == coldest[0]), "{coldest:?}");
}

#[test]
fn labels_are_obeyed() {
    let cvae = CVAE.replace("embedding=3,hidden=4", "embedding=8,hidden=24");
    let cgan = CGAN.replace("channels=4", "channels=16").replace("channels=5", "channels=16");
    let (critic, seqgan) = ("lr=0.002\nbetas=[0.5,0.9]", large_seqgan(CONDITIONAL_SEQGAN));
    for (config, optimizer, steps, least) in [
        (cvae, "lr=0.01", 900, 0.97),
        (cgan, critic, 400, 0.9),
        (seqgan, "lr=0.01\nbetas=[0.9,0.999]", 440, 0.9),
    ] {
        let model = train(&config, optimizer, steps);
        for class in 0..CLASSES as u32 {
            let samples = read(&model.sample(&SampleRequest::of_classes(1, &[class; 100]).unwrap()).unwrap());
            let right = share(&samples, |sequence| is_valid(sequence) && sequence[0] == class + 1);
            assert!(right >= least, "{config}\n{class}: {right}, {:?}", &samples[..10]);
        }
    }
}

#[test]
fn a_convolutional_gan_learns_sequences_of_one_repeated_token() {
    let config = GAN.replace("channels=4", "channels=16").replace("channels=5", "channels=16");
    let config = config.replace("latent_dim=2", "latent_dim=8").replace("pack=2", "n_critic=3");
    let model = train(&config, "lr=0.002\nbetas=[0.5,0.9]", 2400);
    let samples = read(&model.sample(&SampleRequest::new(1, 400)).unwrap());
    let valid = share(&samples, is_valid);
    assert!(valid > 0.9, "{valid}: {:?}", &samples[..20]);
    for token in 1..=3 {
        let found = share(&samples, |sequence| sequence.first() == Some(&token));
        assert!((found - 1.0 / 3.0).abs() < 0.2, "{token}: {found}, valid {valid}");
    }
}

/// What cannot be is refused in words.
#[test]
fn networks_of_text_need_text() {
    let refused = |config: &str, sample: SampleSpec| {
        let config: ModelConfig = toml::from_str(config).unwrap();
        let built = config.build(sample, ConditionSpec::None, ParamSet::fresh(0, &Device::Cpu));
        built.err().unwrap().to_string()
    };
    let image = || SampleSpec::from(ImageShape::new(1, 8, 8));
    let text = || tokens(LENGTH, VOCABULARY);
    assert!(refused(VAE, image()).contains("sequences of tokens"));
    assert!(refused(GAN, image()).contains("sequences of tokens"));
    assert!(refused(SEQGAN, image()).contains("sequences of tokens"));
    let conditional = format!("conditioning={{kind=\"projection\"}}\n{CONDITIONAL_SEQGAN}");
    let parsed: ModelConfig = toml::from_str(&conditional).unwrap();
    let built = parsed.build(text(), ConditionSpec::classes(3), ParamSet::fresh(0, &Device::Cpu));
    assert!(built.err().unwrap().to_string().contains("model.conditioning"));
    let halves = VAE.replace("likelihood={kind=\"tokens\"}", "");
    assert!(refused(&halves, text()).contains("belong together"));
    let values = "family=\"vae\"\nnetwork={kind=\"mlp\",hidden=[4]}";
    assert!(refused(values, text()).contains("which only the kind `tokens` describes"));
    assert!(refused("family=\"gan\"", text()).contains("needs images"));
    let unknown = toml::from_str::<ModelConfig>(&GRU.replace("gru", "rnn")).unwrap_err().to_string();
    assert!(unknown.contains("lstm") && unknown.contains("gru"), "{unknown}");
    let whole = VAE.replace("word_dropout=0.3", "word_dropout=1.0");
    assert!(refused(&whole, text()).contains("[0, 1)"));
    let model = model(VAE, DType::F32);
    let rows = Tensor::zeros((2, LENGTH, VOCABULARY + 1), DType::F32, &Device::Cpu).unwrap();
    let error = model.encoder().unwrap().encode(&rows, &Condition::None).unwrap_err().to_string();
    assert!(
        error.contains("the sequences have shape") || error.contains("the sequences has shape"),
        "{error}"
    );
    assert!(self::model(GRU, DType::F32).graph(Part::Encoder).is_ok());
    for config in [VAE, CVAE, GRU] {
        assert!(self::model(config, DType::F32).graph(Part::Decoder).is_ok(), "{config}");
    }
    assert!(self::model(SEQGAN, DType::F32).graph(Part::Generator).is_err());
    assert!(model.graph(Part::Encoder).is_ok());
}
