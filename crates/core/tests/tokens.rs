//! The contract holds for samples that are no images: sequences of tokens that differ in length, outputs that are drawn, latents of
//! two parts, and a condition on two columns. A toy, for this test alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::latent::{LatentPart, Noise};
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::params::Init;
use waxwork_core::sample::{Range, Segment};
use waxwork_core::{
    Batch, ColumnSpec, Condition, ConditionSpec, DType, Device, Drawing, GenerativeModel, LatentLayout, Loss,
    ModelInfo, ParamGroup, ParamSet, Result, SampleRequest, SampleSpec, StepContext, Tensor, Trainable,
    TrainingState,
};

/// Tokens that there are; 0 ends a sequence.
const VOCABULARY: usize = 4;
/// Tokens of a sequence at most.
const LENGTH: usize = 3;
/// Two columns: which token a sequence is made of (1, 2 or 3), and whether it is short or long.
const COLUMNS: [usize; 2] = [3, 2];

/// log p(token at position | condition) from a table: what a network would compute.
struct Tokens {
    info: ModelInfo,
    params: ParamSet,
    groups: Vec<ParamGroup>,
    /// `(Σ columns, LENGTH · VOCABULARY)`.
    table: Tensor,
}

impl Tokens {
    fn new(mut params: ParamSet) -> Result<Self> {
        let shape = (COLUMNS.iter().sum::<usize>(), LENGTH * VOCABULARY);
        let table = params.root().weight("table", shape, Init::Constant(0.0))?;
        let params = params.finish()?;
        let part = |name: &str, len, noise| LatentPart { name: name.to_owned(), len, noise };
        let info = ModelInfo {
            family: "tokens".into(),
            sample: SampleSpec::new(
                vec![LENGTH, VOCABULARY],
                vec![Segment { width: VOCABULARY, range: Range::OneHot }],
            )?,
            latent: LatentLayout::new(vec![
                part("z", 1, Noise::Normal),
                part("first", VOCABULARY, Noise::Gumbel),
            ])?,
            condition: ConditionSpec::Columns {
                columns: COLUMNS.map(|width| ColumnSpec { start: 0, counts: vec![1; width] }).to_vec(),
            },
        };
        Ok(Self { info, groups: vec![params.group("all", "")], params, table })
    }

    /// Logits `(N, LENGTH, VOCABULARY)`.
    fn logits(&self, condition: &Condition) -> Result<Tensor> {
        let given = self.info.encode_condition(condition, &self.params)?.unwrap();
        let logits = waxwork_kernels::matmul(&given, &self.table)?;
        Ok(logits.reshape((given.dim(0)?, LENGTH, VOCABULARY))?)
    }
}

impl Trainable for Tokens {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    /// Cross-entropy of the positions that count: a sequence's own tokens and its end.
    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let logits = self.logits(&batch.condition)?;
        let log_sum = waxwork_kernels::log(&waxwork_kernels::exp(&logits)?.sum_keepdim(2)?)?;
        let log_probabilities = logits.broadcast_sub(&log_sum)?;
        let lengths = batch.lengths.as_ref().unwrap().to_vec1::<u32>()?;
        let counts: Vec<f32> = lengths
            .iter()
            .flat_map(|&n| (0..LENGTH as u32).map(move |i| if i <= n { 1.0 } else { 0.0 }))
            .collect();
        let counts = Tensor::from_vec(counts, (batch.len(), LENGTH, 1), &Device::Cpu)?;
        let loss = (log_probabilities * &batch.inputs)?.broadcast_mul(&counts)?.sum_all()?;
        ctx.update(&["all"], Loss::new("loss", loss.affine(-1.0 / batch.len() as f64, 0.0)?))
    }
}

impl GenerativeModel for Tokens {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The likeliest token after Gumbel noise at a temperature: the first token by the latent's own noise, the others by the draws of
    /// outputs.
    fn generate(&self, latents: &Tensor, condition: &Condition, drawing: &Drawing<'_>) -> Result<Tensor> {
        let (logits, n) = (self.logits(condition)?, latents.dim(0)?);
        let first = latents.narrow(1, 1, VOCABULARY)?.reshape((n, 1, VOCABULARY))?;
        let others = drawing.stream.gumbel(drawing.numbers, (LENGTH - 1, VOCABULARY), &Device::Cpu)?;
        let noise = Tensor::cat(&[&first, &others], 1)?.affine(drawing.temperature, 0.0)?;
        let chosen = (logits + noise)?.argmax(2)?.flatten_all()?.to_vec1::<u32>()?;
        let mut one_hot = vec![0f32; chosen.len() * VOCABULARY];
        for (row, token) in one_hot.chunks_exact_mut(VOCABULARY).zip(&chosen) {
            row[*token as usize] = 1.0;
        }
        Ok(Tensor::from_vec(one_hot, (n, LENGTH, VOCABULARY), &Device::Cpu)?)
    }
}

/// Sequence `i`: token `i mod 3 + 1`, once if `i` is even and twice if it is odd.
fn sequence(i: u64) -> (Vec<u32>, [usize; 2]) {
    let (token, count) = ((i % 3) as u32 + 1, (i % 2) as usize + 1);
    let mut tokens = vec![0; LENGTH];
    tokens[..count].fill(token);
    (tokens, [(i % 3) as usize, (i % 2) as usize])
}

fn asked(choices: &[[Option<usize>; 2]]) -> Condition {
    let mut values = vec![0f32; choices.len() * COLUMNS.iter().sum::<usize>()];
    for (row, [token, length]) in values.chunks_exact_mut(5).zip(choices) {
        token.iter().for_each(|&token| row[token] = 1.0);
        length.iter().for_each(|&length| row[COLUMNS[0] + length] = 1.0);
    }
    Condition::Columns(Tensor::from_vec(values, (choices.len(), 5), &Device::Cpu).unwrap())
}

fn batch(first: u64, n: u64) -> Batch {
    let rows: Vec<_> = (first..first + n).map(sequence).collect();
    let one_hot = rows.iter().flat_map(|(tokens, _)| {
        tokens.iter().flat_map(|&token| (0..VOCABULARY as u32).map(move |i| f32::from(u8::from(i == token))))
    });
    let inputs = Tensor::from_iter(one_hot, &Device::Cpu).unwrap();
    let lengths: Vec<u32> =
        rows.iter().map(|(tokens, _)| tokens.iter().filter(|&&token| token != 0).count() as u32).collect();
    let choices: Vec<[Option<usize>; 2]> = rows.iter().map(|(_, columns)| columns.map(Some)).collect();
    Batch {
        inputs: inputs.reshape((n as usize, LENGTH, VOCABULARY)).unwrap(),
        lengths: Some(Tensor::new(lengths, &Device::Cpu).unwrap()),
        condition: asked(&choices),
        indices: (first..first + n).collect(),
    }
}

fn trained() -> Tokens {
    let model = Tokens::new(ParamSet::fresh(0, &Device::Cpu)).unwrap();
    let config = OptimizerConfig { lr: 0.1, ..OptimizerConfig::default() };
    let mut state = TrainingState::new(&model, config, 0, 200).unwrap();
    (0..200).for_each(|step| _ = state.step(&model, &batch(step * 12, 12)).unwrap());
    model
}

/// The tokens of each sample, up to the one that ends it.
fn read(samples: &Tensor) -> Vec<Vec<u32>> {
    let tokens = samples.argmax(2).unwrap().to_vec2::<u32>().unwrap();
    tokens.into_iter().map(|row| row.into_iter().take_while(|&token| token != 0).collect()).collect()
}

#[test]
fn both_columns_are_obeyed_and_lengths_vary() {
    let model = trained();
    let condition = asked(&[[Some(0), Some(0)], [Some(2), Some(0)], [Some(2), Some(1)]]);
    let request = SampleRequest { condition, temperature: 0.0, ..SampleRequest::new(0, 3) };
    assert_eq!(read(&model.sample(&request).unwrap()), [vec![1], vec![3], vec![3, 3]]);
}

#[test]
fn an_open_column_is_left_to_the_draw_of_each_sample() {
    let model = trained();
    let request = |first, count, temperature| SampleRequest {
        first,
        temperature,
        condition: asked(&vec![[None, Some(1)]; count]),
        ..SampleRequest::new(5, count)
    };
    let all = model.sample(&request(0, 300, 1.0)).unwrap();
    let mut seen = read(&all);
    let some = read(&model.sample(&request(250, 50, 1.0)).unwrap());
    assert_eq!(seen[250..], some, "sample i is a function of the seed and of i");
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 3, "a draw: {seen:?}");
    let coldest = read(&model.sample(&request(0, 20, 0.0)).unwrap());
    assert!(coldest.iter().all(|tokens| *tokens == coldest[0]), "no draw: {coldest:?}");
    // Without a condition every column is open.
    assert_eq!(model.sample(&SampleRequest::new(5, 4)).unwrap().dims(), [4, LENGTH, VOCABULARY]);
}

#[test]
fn rejects_conditions_of_another_kind_or_width() {
    let model = trained();
    let error = |condition| {
        let request = SampleRequest { condition, ..SampleRequest::new(0, 1) };
        model.sample(&request).unwrap_err().to_string()
    };
    let classes = error(Condition::classes(&[1]).unwrap());
    assert_eq!(classes, "the tokens model takes values of columns, but was given classes");
    let narrow = Condition::Columns(Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap());
    assert!(error(narrow).contains("(1, 5) of floats"));
}
