//! Calibration of a trained model: its samples then make each choice as often as the training samples do, and
//! the numbers of each mode have the distribution of the training samples ([`with_quantile_maps`]).
//!
//! A model of rows draws each choice from the softmax of logits that its last layer computes. An offset per
//! value, added to the bias of that layer, multiplies the odds of the values by constants. The offsets are
//! those under which the probabilities, averaged over many latents, equal the shares of the values in the
//! training data. Matrix scaling finds them (Sinkhorn 1967). Of all ways to give the choice these shares, this
//! one changes the distribution of latent and choice the least, as measured by the KL divergence (Csiszár
//! 1975). Choices are independent of each other given the latent, so each one is calibrated on its own.
//!
//! The average is over the conditions of samples for which nothing is asked, except those that name a value
//! of the same column. If the last layer sees the condition, its weights take the offsets back for a column
//! that is asked for, so the odds of the value that is asked for stay exactly as training left them.

mod numbers;

use std::collections::BTreeMap;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::sample::Range;
use waxwork_core::{
    Choices, Condition, ConditionSpec, Device, Error, GenerativeModel, ModelInfo, ParamSet, Result, Tensor,
};
use waxwork_data::Split;

use crate::Recipe;
use crate::rows::host;
use crate::training::mean_sample;

pub(crate) use numbers::with_quantile_maps;

/// Number of latents to use, if samples are not too wide. The error of a share falls with its root.
const MOST_LATENTS: usize = 50_000;
/// Number of latents to use, however wide samples are.
const LEAST_LATENTS: usize = 10_000;
/// Number of outputs to keep in memory, if that allows [`LEAST_LATENTS`]: 32 MiB.
const MOST_OUTPUTS: usize = 1 << 23;
/// The number of the first sample whose latent is used. It is beyond those that anyone asks for, so a
/// measurement does not see the latents that the model was calibrated on.
const FIRST: u64 = 1 << 40;
/// The largest factor of the odds of a value. A value that the model almost never makes would get odds from
/// differences between logits that training did not shape.
const MOST_FACTOR: f64 = 50.0;
/// Maximum number of rounds of the scaling.
const ROUNDS: usize = 100;
/// The scaling ends when no share is further than this from the wanted one, in nats.
const TOLERANCE: f64 = 1e-4;

/// The number of latents to use for samples of `width` values.
fn latents_for(width: usize) -> usize {
    (MOST_OUTPUTS / width).clamp(LEAST_LATENTS, MOST_LATENTS)
}

/// The choices of a model that can be calibrated.
///
/// # Errors
/// [`Error::Config`] for any other model.
pub(crate) fn choices_of(model: &dyn GenerativeModel) -> Result<&dyn Choices> {
    model.choices().ok_or_else(|| Error::Config {
        key: "train.calibrate".into(),
        reason: format!(
            "only models of table rows can be calibrated, not this {} model",
            model.info().family
        ),
    })
}

/// The model of `recipe` with the weights of `model`, calibrated to the shares of values in `data`.
pub(crate) fn calibrated(
    recipe: &Recipe,
    model: &dyn GenerativeModel,
    data: &Split,
    device: &Device,
) -> waxwork_trainer::Result<Box<dyn GenerativeModel>> {
    let choices = choices_of(model)?;
    let ModelInfo { sample, condition, .. } = model.info();
    tracing::info!("calibrating the shares of choices");
    let real = mean_sample(data)?;
    let drawn = Drawn::new(model, choices, recipe.train.seed)?;
    let columns = columns(condition);
    let mut offsets = Vec::with_capacity(real.len());
    for segment in sample.segments() {
        let start = offsets.len();
        if segment.range != Range::OneHot {
            offsets.resize(start + segment.width, 0.0);
            continue;
        }
        let wanted = smoothed(&real[start..start + segment.width], data.len());
        let asked = columns.iter().find(|column| column.start == start);
        offsets.extend(scaling(&drawn.logits((start, segment.width), asked), &wanted));
    }
    let mut tensors = model.params().tensors();
    shift(&mut tensors, choices, &columns, &offsets)?;
    let stored = ParamSet::stored(tensors, device)?;
    Ok(recipe.model.build_frozen(sample.clone(), condition.clone(), stored)?)
}

/// A column that can be asked for.
struct Column {
    /// Where its values begin in a sample.
    start: usize,
    /// Where they begin in a condition.
    asked: usize,
    /// Number of values.
    width: usize,
}

fn columns(condition: &ConditionSpec) -> Vec<Column> {
    let ConditionSpec::Columns { columns } = condition else { return Vec::new() };
    let mut asked = 0;
    let each = columns.iter().map(|column| {
        let width = column.counts.len();
        asked += width;
        Column { start: column.start, asked: asked - width, width }
    });
    each.collect()
}

/// A model's outputs for many latents, and the conditions that they were made for, row by row.
struct Drawn {
    outputs: Vec<f32>,
    conditions: Vec<f32>,
    /// Number of values in a row of each.
    widths: (usize, usize),
}

impl Drawn {
    fn new(model: &dyn GenerativeModel, choices: &dyn Choices, seed: u64) -> Result<Self> {
        let (info, params) = (model.info(), model.params());
        let widths = (info.sample.len(), info.condition.width());
        let count = latents_for(widths.0);
        let numbers: Vec<u64> = (FIRST..FIRST + count as u64).collect();
        let (mut outputs, mut conditions) = (Vec::with_capacity(count * widths.0), Vec::new());
        for numbers in numbers.chunks(EVALUATION_BATCH) {
            let condition = info.condition.unspecified(seed, numbers)?;
            let noise = info.latent.draw(seed, numbers, None, params.device())?;
            let latents = model.latents(&noise.to_dtype(params.dtype())?, &condition)?;
            outputs.extend(host(&choices.outputs(&latents, &condition)?)?);
            if let Condition::Columns(values) = &condition {
                conditions.extend(host(values)?);
            }
        }
        Ok(Self { outputs, conditions, widths })
    }

    /// The logits of the choice that begins at `start`, row by row, without the rows that are asked for one of
    /// its values.
    fn logits(&self, (start, width): (usize, usize), asked: Option<&Column>) -> Vec<f32> {
        let is_free = |row: usize| {
            asked.is_none_or(|column| {
                let values = &self.conditions[row * self.widths.1 + column.asked..][..column.width];
                values.iter().all(|value| *value == 0.0)
            })
        };
        let rows = self.outputs.chunks_exact(self.widths.0).enumerate();
        let free = rows.filter(|(row, _)| is_free(*row));
        free.flat_map(|(_, outputs)| outputs[start..start + width].iter().copied()).collect()
    }
}

/// The shares of values among `count` samples, with half a sample more of each value, so that none is zero.
fn smoothed(shares: &[f64], count: usize) -> Vec<f64> {
    let all = count as f64 + 0.5 * shares.len() as f64;
    shares.iter().map(|share| (share * count as f64 + 0.5) / all).collect()
}

/// The offset of the logit of each value, in nats, under which the mean softmax of `logits`, `(N, values)`, is
/// `wanted`. Zeros without logits.
fn scaling(logits: &[f32], wanted: &[f64]) -> Vec<f64> {
    let rows = logits.len() / wanted.len();
    if rows == 0 {
        return vec![0.0; wanted.len()];
    }
    let mut odds = logits.to_vec();
    for row in odds.chunks_exact_mut(wanted.len()) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|odds| *odds = libm::expf(*odds - most));
    }
    let mut factors = vec![1f64; wanted.len()];
    for _ in 0..ROUNDS {
        let mut shares = vec![0f64; wanted.len()];
        for row in odds.chunks_exact(wanted.len()) {
            let sum: f64 = row.iter().zip(&factors).map(|(odds, factor)| f64::from(*odds) * factor).sum();
            let of_row = 1.0 / (sum * rows as f64);
            for (share, odds) in shares.iter_mut().zip(row) {
                *share += f64::from(*odds) * of_row;
            }
        }
        // The quotient is infinite for a value whose odds are zero everywhere.
        let next = |(share, wanted): (&f64, &f64)| (wanted / share).min(MOST_FACTOR);
        let mut next: Vec<f64> = shares.iter().zip(wanted).map(next).collect();
        // Less than 1 if a factor is limited: the other values then share the rest.
        let sum: f64 = next.iter().zip(&shares).map(|(factor, share)| factor * share).sum();
        next.iter_mut().for_each(|factor| *factor /= sum);
        let step = |(next, factor): (&f64, &f64)| libm::log(next / factor).abs();
        let furthest = next.iter().zip(&factors).map(step).fold(0.0, f64::max);
        factors = next;
        if furthest < TOLERANCE {
            break;
        }
    }
    factors.into_iter().map(libm::log).collect()
}

/// Adds offsets to the bias. If the condition has weights of its own, subtracts there the offsets of a column
/// that is asked for.
fn shift(
    tensors: &mut BTreeMap<String, Tensor>,
    choices: &dyn Choices,
    columns: &[Column],
    offsets: &[f64],
) -> Result<()> {
    let plus = |value: &mut f32, offset: f64| *value = (f64::from(*value) + offset) as f32;
    change(tensors, choices.bias(), offsets.len(), |bias, _| {
        bias.iter_mut().zip(offsets).for_each(|(value, offset)| plus(value, *offset));
    })?;
    let Some(weight) = choices.condition_weight() else { return Ok(()) };
    let asked: usize = columns.iter().map(|column| column.width).sum();
    change(tensors, weight, offsets.len(), |weight, inputs| {
        for column in columns {
            let begin = inputs - asked + column.asked;
            for place in column.start..column.start + column.width {
                let of_column = &mut weight[place * inputs + begin..][..column.width];
                of_column.iter_mut().for_each(|value| plus(value, -offsets[place]));
            }
        }
    })
}

/// Changes the values of a tensor of `rows` rows; `with` receives them and the number of values in a row.
fn change(
    tensors: &mut BTreeMap<String, Tensor>,
    name: &str,
    rows: usize,
    with: impl FnOnce(&mut [f32], usize),
) -> Result<()> {
    let missing = || Error::MissingTensor { name: name.to_owned(), expected: rows.into() };
    let tensor = tensors.get_mut(name).ok_or_else(missing)?;
    let mut values = host(tensor)?;
    let width = values.len() / rows;
    with(&mut values, width);
    *tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use waxwork_core::SampleRequest;
    use waxwork_data::Dataset;

    use super::*;

    /// The mean softmax of logits plus offsets.
    fn shares(logits: &[f32], offsets: &[f64]) -> Vec<f64> {
        let mut shares = vec![0f64; offsets.len()];
        for row in logits.chunks_exact(offsets.len()) {
            let odds = row.iter().zip(offsets).map(|(logit, offset)| (f64::from(*logit) + offset).exp());
            let odds: Vec<f64> = odds.collect();
            let sum: f64 = odds.iter().sum();
            shares.iter_mut().zip(odds).for_each(|(share, odds)| *share += odds / sum);
        }
        let rows = (logits.len() / offsets.len()) as f64;
        shares.into_iter().map(|share| share / rows).collect()
    }

    /// The ratio of wanted and present shares solves it in one round.
    #[test]
    fn logits_that_ignore_the_latent_have_an_exact_solution() {
        let (present, wanted) = ([0.5f64, 0.3, 0.2], [0.25f64, 0.7, 0.05]);
        let logits = present.map(|share| share.ln() as f32).repeat(40);
        let offsets = scaling(&logits, &wanted);
        for ((offset, present), wanted) in offsets.iter().zip(present).zip(wanted) {
            assert!((offset - (wanted / present).ln()).abs() < 1e-5, "{offsets:?}");
        }
    }

    #[test]
    fn logits_that_depend_on_the_latent_reach_the_shares() {
        let row = |i: i32| [0.0, 4.0 * (i as f32).sin(), (0.7 * i as f32).cos() - 1.0];
        let logits: Vec<f32> = (0..500).flat_map(row).collect();
        let wanted = [0.1, 0.6, 0.3];
        let furthest = |offsets: &[f64]| {
            let found = shares(&logits, offsets);
            found.iter().zip(wanted).map(|(share, wanted)| (share - wanted).abs()).fold(0.0, f64::max)
        };
        assert!(furthest(&[0.0; 3]) > 0.1);
        assert!(furthest(&scaling(&logits, &wanted)) < 1e-3);
    }

    #[test]
    fn a_value_that_the_model_cannot_make_stays_limited_and_the_others_share_the_rest() {
        let logits = [0.0f32, 1.0, -200.0].repeat(10);
        let offsets = scaling(&logits, &[0.3, 0.5, 0.2]);
        assert!(offsets[2] - offsets[0].min(offsets[1]) < 5.0, "{offsets:?}");
        let found = shares(&logits, &offsets);
        assert!((found[0] - 0.375).abs() < 1e-3 && (found[1] - 0.625).abs() < 1e-3, "{found:?}");
        // A value that no training sample has.
        let wanted = smoothed(&[1.0, 0.0], 10_000);
        assert!((wanted.iter().sum::<f64>() - 1.0).abs() < 1e-12 && wanted[1] > 0.0);
        let offsets = scaling(&[0.0f32, 0.0].repeat(10), &wanted);
        assert!(offsets.iter().all(|offset| offset.is_finite()) && offsets[1] < -9.0, "{offsets:?}");
        assert_eq!(scaling(&[], &wanted), [0.0, 0.0]);
    }

    /// An untrained model of rows of `clinic`, the same one calibrated, and the data.
    pub(super) fn models(name: &str) -> ([Box<dyn GenerativeModel>; 2], Dataset) {
        let network = if name.contains("vae") { "model.network" } else { "model.generator" };
        let network = format!("{network}.hidden=[16]");
        let settings = [network, "model.latent_dim=8".to_owned(), "data.limit=2000".to_owned()];
        let recipe = Recipe::named(name, &settings).unwrap();
        let data = waxwork_data::load(&recipe.data).unwrap();
        let (sample, condition) = (data.info.sample(), data.info.condition());
        let model = recipe.model.build(sample, condition, ParamSet::fresh(5, &Device::Cpu)).unwrap();
        let after = calibrated(&recipe, model.as_ref(), &data.train, &Device::Cpu).unwrap();
        ([model, after], data)
    }

    /// The largest total variation distance between the shares of a choice in samples and in the data. Samples
    /// that are asked for one of its values do not count.
    fn distance(model: &dyn GenerativeModel, real: &[f64]) -> f64 {
        let info = model.info();
        let request = SampleRequest::new(9, 6000);
        let rows = model.sample(&request).unwrap().to_vec2::<f32>().unwrap();
        let asked = match info.condition.unspecified(9, &(0..6000).collect::<Vec<u64>>()).unwrap() {
            Condition::Columns(asked) => asked.to_vec2::<f32>().unwrap(),
            _ => vec![Vec::new(); rows.len()],
        };
        let columns = columns(&info.condition);
        let (mut start, mut furthest) = (0, 0f64);
        for segment in info.sample.segments() {
            let (place, width) = (start, segment.width);
            start += width;
            if segment.range != Range::OneHot {
                continue;
            }
            let (mut counts, mut all) = (vec![0f64; width], 0.0);
            for (row, asked) in rows.iter().zip(&asked) {
                let own = columns.iter().find(|column| column.start == place);
                if own.is_some_and(|own| asked[own.asked..][..own.width].contains(&1.0)) {
                    continue;
                }
                let values = &row[place..][..width];
                let most = (0..width).fold(0, |most, i| if values[i] > values[most] { i } else { most });
                counts[most] += 1.0;
                all += 1.0;
            }
            let apart = counts.iter().zip(&real[place..]).map(|(count, real)| (count / all - real).abs());
            furthest = furthest.max(0.5 * apart.sum::<f64>());
        }
        furthest
    }

    #[test]
    fn samples_of_every_family_make_each_choice_as_often_as_the_data() {
        for name in ["vae-clinic", "cvae-clinic", "gan-clinic", "cgan-clinic"] {
            let ([before, after], data) = models(name);
            let real = mean_sample(&data.train).unwrap();
            let (before, after) = (distance(before.as_ref(), &real), distance(after.as_ref(), &real));
            assert!(before > 0.2, "{name}: {before}");
            // Sampling noise of about ten values in 5,000 samples.
            assert!(after < 0.035, "{name}: {after}");
        }
    }

    #[test]
    fn a_value_that_is_asked_for_keeps_its_odds_where_the_last_layer_sees_the_condition() {
        let ([before, after], _) = models("cgan-clinic");
        let info = before.info();
        let numbers: Vec<u64> = (0..60).collect();
        let condition = info.condition.unspecified(1, &numbers).unwrap();
        let latents = info.latent.draw(1, &numbers, None, &Device::Cpu).unwrap();
        let outputs = |model: &dyn GenerativeModel| {
            let outputs = model.choices().unwrap().outputs(&latents, &condition);
            outputs.unwrap().to_vec2::<f32>().unwrap()
        };
        let (before, after) = (outputs(before.as_ref()), outputs(after.as_ref()));
        let Condition::Columns(asked) = &condition else { panic!("a condition on columns") };
        let asked = asked.to_vec2::<f32>().unwrap();
        for column in columns(&info.condition) {
            for ((before, after), asked) in before.iter().zip(&after).zip(&asked) {
                let place = column.start..column.start + column.width;
                let apart = before[place.clone()].iter().zip(&after[place]).map(|(a, b)| (a - b).abs());
                let furthest = apart.fold(0.0, f32::max);
                let is_asked = asked[column.asked..][..column.width].contains(&1.0);
                assert!(if is_asked { furthest < 1e-4 } else { furthest > 1e-3 }, "{furthest}");
            }
        }
    }
}
