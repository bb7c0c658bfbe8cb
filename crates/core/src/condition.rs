//! Conditions, what a sample is asked to be: nothing, a class, a mixture of classes, values of columns, or a
//! given part.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::params::ParamSet;
use crate::rng::{Draws, Stream};
use crate::{Error, Result};

/// The kind of condition that a model takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConditionSpec {
    /// Nothing: the model is unconditional.
    #[default]
    None,
    /// One of `count` classes, or a mixture of them.
    Classes {
        /// Number of classes.
        count: usize,
    },
    /// Values of categorical columns; any column can be left open.
    Columns {
        /// The columns, in order.
        columns: Vec<ColumnSpec>,
    },
    /// Some of the sample's own values.
    Part {
        /// Number of values in a sample.
        len: usize,
    },
}

/// A column that can be a condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Where its one-hot segment begins along the last dimension of a sample.
    pub start: usize,
    /// How many training samples have each of its values.
    pub counts: Vec<u64>,
}

impl ColumnSpec {
    /// Draws a value by its frequency in the training samples.
    fn draw(&self, draws: &mut Draws) -> usize {
        let all: u64 = self.counts.iter().sum();
        let mut left = u64::from(draws.below(u32::try_from(all).unwrap_or(u32::MAX).max(1)));
        let value = self.counts.iter().position(|count| {
            let here = left < *count;
            left = left.saturating_sub(*count);
            here
        });
        value.unwrap_or(0)
    }
}

impl ConditionSpec {
    /// One of `count` classes, or [`ConditionSpec::None`] if `count` is 0.
    pub const fn classes(count: usize) -> Self {
        if count == 0 { Self::None } else { Self::Classes { count } }
    }

    /// True if the model is unconditional.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// True if values of columns can be asked for.
    pub const fn is_columns(&self) -> bool {
        matches!(self, Self::Columns { .. })
    }

    /// True if the condition is a part of the sample, which the model completes.
    pub const fn is_part(&self) -> bool {
        matches!(self, Self::Part { .. })
    }

    /// The number of classes; 0 if the condition is not a class.
    pub const fn class_count(&self) -> usize {
        match self {
            Self::Classes { count } => *count,
            _ => 0,
        }
    }

    /// Number of values in an encoded condition: one per class; one per value of every column; for a given
    /// part, the values of a sample followed by their mask.
    pub fn width(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Classes { count } => *count,
            Self::Columns { columns } => columns.iter().map(|column| column.counts.len()).sum(),
            Self::Part { len } => 2 * len,
        }
    }

    /// The condition of the samples with these numbers when the request has none: class `number mod count`;
    /// one column drawn uniformly, with a value drawn by its frequency in training (Xu et al. 2019, section
    /// 4.3).
    ///
    /// # Errors
    /// [`Error::NothingGiven`] if the condition is a part of the sample, which only the caller can choose;
    /// or if the tensors cannot be created.
    pub fn unspecified(&self, seed: u64, numbers: &[u64]) -> Result<Condition> {
        Ok(match self {
            Self::None => Condition::None,
            Self::Classes { count } => {
                let classes: Vec<u32> =
                    numbers.iter().map(|number| (number % *count as u64) as u32).collect();
                Condition::classes(&classes)?
            }
            Self::Columns { columns } => {
                let (width, stream) = (self.width(), Stream::new(seed, "sample/condition", 0));
                let mut values = vec![0f32; numbers.len() * width];
                for (row, number) in values.chunks_exact_mut(width.max(1)).zip(numbers) {
                    let mut draws = stream.at(*number);
                    let chosen = draws.below(columns.len() as u32) as usize;
                    let before: usize = columns[..chosen].iter().map(|column| column.counts.len()).sum();
                    row[before + columns[chosen].draw(&mut draws)] = 1.0;
                }
                Condition::Columns(Tensor::from_vec(values, (numbers.len(), width), &Device::Cpu)?)
            }
            Self::Part { .. } => return Err(Error::NothingGiven),
        })
    }

    /// Encodes a condition for the networks: `(N, width)`, with the dtype and on the device of `params`.
    /// Returns None if the model is unconditional. `family` is the model's, for messages.
    ///
    /// # Errors
    /// [`Error::MissingLabels`] if the model is conditional and the condition is [`Condition::None`], or
    /// [`Error::NothingGiven`] if the model completes samples;
    /// [`Error::UnknownClass`] if a class is out of range, [`Error::Input`] if shapes do not fit,
    /// [`Error::Condition`] for another kind of condition.
    pub fn encode(&self, condition: &Condition, family: &str, params: &ParamSet) -> Result<Option<Tensor>> {
        let other =
            || Error::Condition { family: family.to_owned(), given: condition.name(), takes: self.name() };
        let encoded = match (self, condition) {
            // An unconditional model ignores the labels of its data.
            (Self::None, _) => return Ok(None),
            (Self::Part { .. }, Condition::None) => return Err(Error::NothingGiven),
            (_, Condition::None) => {
                return Err(Error::MissingLabels { what: format!("the {family} model") });
            }
            (Self::Classes { count }, Condition::Class(classes)) => {
                return Ok(Some(one_hot(classes, *count, params)?));
            }
            (Self::Classes { count }, Condition::Mixture(mixture)) => {
                checked("the mixtures of labels", mixture, *count)?
            }
            (Self::Columns { .. }, Condition::Columns(columns)) => {
                checked("the columns asked for", columns, self.width())?
            }
            (Self::Part { len }, Condition::Part { values, mask }) => {
                let values = checked("the values given", values, *len)?;
                let mask = checked("the mask of the values given", mask, *len)?;
                Tensor::cat(&[&(&values * &mask)?, &mask], 1)?
            }
            _ => return Err(other()),
        };
        Ok(Some(encoded.to_device(params.device())?.to_dtype(params.dtype())?))
    }

    /// The name in messages.
    const fn name(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Classes { .. } => "classes",
            Self::Columns { .. } => "values of columns",
            Self::Part { .. } => "a part of the sample",
        }
    }
}

impl From<usize> for ConditionSpec {
    fn from(classes: usize) -> Self {
        Self::classes(classes)
    }
}

/// The condition of each sample in a batch or a request. Its tensors lie on the CPU, whatever the model's
/// device, because models read them there.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// A class, `(N)` u32.
    Class(Tensor),
    /// Shares of the classes, `(N, classes)` floats.
    Mixture(Tensor),
    /// Values of columns, `(N, width)`: one one-hot segment per column, with zeros where the column is open.
    Columns(Tensor),
    /// A given part of each sample.
    Part {
        /// Values `(N, len)`, or in the shape of the samples; values whose mask is 0 do not count.
        values: Tensor,
        /// 1 where a value is given, 0 elsewhere; in the shape of `values`.
        mask: Tensor,
    },
}

impl Condition {
    /// One class per sample.
    ///
    /// # Errors
    /// If the tensor cannot be created.
    pub fn classes(classes: &[u32]) -> Result<Self> {
        Ok(Self::Class(Tensor::new(classes, &Device::Cpu)?))
    }

    /// The class of each sample, `(N)` u32, if the condition is a class.
    pub const fn class(&self) -> Option<&Tensor> {
        match self {
            Self::Class(classes) => Some(classes),
            _ => None,
        }
    }

    /// Number of samples that it covers; None for [`Condition::None`].
    pub fn len(&self) -> Option<usize> {
        let tensor = match self {
            Self::None => return None,
            Self::Class(tensor) | Self::Mixture(tensor) | Self::Columns(tensor) => tensor,
            Self::Part { values, .. } => values,
        };
        Some(tensor.dims().first().copied().unwrap_or_default())
    }

    /// True for [`Condition::None`].
    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The condition of samples `start..start + count`.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        let rows = |tensor: &Tensor| tensor.narrow(0, start, count);
        Ok(match self {
            Self::None => Self::None,
            Self::Class(tensor) => Self::Class(rows(tensor)?),
            Self::Mixture(tensor) => Self::Mixture(rows(tensor)?),
            Self::Columns(tensor) => Self::Columns(rows(tensor)?),
            Self::Part { values, mask } => Self::Part { values: rows(values)?, mask: rows(mask)? },
        })
    }

    /// The name in messages.
    const fn name(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Class(_) => "classes",
            Self::Mixture(_) => "mixtures of classes",
            Self::Columns(_) => "values of columns",
            Self::Part { .. } => "a part of the sample",
        }
    }
}

fn one_hot(classes: &Tensor, count: usize, params: &ParamSet) -> Result<Tensor> {
    let numbers = classes.to_vec1::<u32>()?;
    let mut values = vec![0f32; numbers.len() * count];
    for (row, &label) in values.chunks_exact_mut(count).zip(&numbers) {
        let entry = row.get_mut(label as usize);
        *entry.ok_or(Error::UnknownClass { label, classes: count })? = 1.0;
    }
    Ok(Tensor::from_vec(values, (numbers.len(), count), params.device())?.to_dtype(params.dtype())?)
}

/// A float tensor as `(N, width)`.
fn checked(what: &'static str, tensor: &Tensor, width: usize) -> Result<Tensor> {
    let n = tensor.dims().first().copied().unwrap_or_default();
    if !tensor.dtype().is_float() || tensor.elem_count() != n * width {
        let (expected, found) = (format!("({n}, {width}) of floats"), tensor.shape().clone());
        return Err(Error::Input { what, expected, found });
    }
    Ok(tensor.reshape((n, width))?)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn encoded(spec: &ConditionSpec, condition: &Condition) -> Result<Vec<Vec<f32>>> {
        let params = ParamSet::fresh(0, &Device::Cpu);
        let encoded = spec.encode(condition, "toy", &params)?;
        Ok(encoded.map_or_else(Vec::new, |encoded| encoded.to_vec2().unwrap()))
    }

    #[test]
    fn every_kind_of_condition_is_a_row_per_sample() {
        let floats = |row: [f32; 3]| Tensor::new(&[row], &Device::Cpu).unwrap();
        let classes = ConditionSpec::classes(3);
        let asked = Condition::classes(&[2, 0]).unwrap();
        assert_eq!(encoded(&classes, &asked).unwrap(), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
        let mixture = Condition::Mixture(floats([0.25, 0.0, 0.75]));
        assert_eq!(encoded(&classes, &mixture).unwrap(), [[0.25, 0.0, 0.75]]);
        let column = |counts: &[u64]| ColumnSpec { start: 0, counts: counts.to_vec() };
        let columns = ConditionSpec::Columns { columns: vec![column(&[1]), column(&[1, 1])] };
        let asked = Condition::Columns(floats([0.0, 1.0, 0.0]));
        assert_eq!(encoded(&columns, &asked).unwrap(), [[0.0, 1.0, 0.0]]);
        let (values, mask) = (floats([5.0, 6.0, 7.0]), floats([1.0, 0.0, 1.0]));
        let part = encoded(&ConditionSpec::Part { len: 3 }, &Condition::Part { values, mask }).unwrap();
        assert_eq!(part, [[5.0, 0.0, 7.0, 1.0, 0.0, 1.0]]);
        assert!(encoded(&ConditionSpec::None, &Condition::classes(&[7]).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn an_unspecified_condition_follows_the_spec() {
        let classes = ConditionSpec::classes(3).unspecified(0, &[4, 5, 6]).unwrap();
        assert_eq!(classes.class().unwrap().to_vec1::<u32>().unwrap(), [1, 2, 0]);
        let column = |counts: &[u64]| ColumnSpec { start: 0, counts: counts.to_vec() };
        let columns = ConditionSpec::Columns { columns: vec![column(&[3, 1]), column(&[0, 2, 2])] };
        let numbers: Vec<u64> = (0..4000).collect();
        let drawn = encoded(&columns, &columns.unspecified(7, &numbers).unwrap()).unwrap();
        assert!(drawn.iter().all(|row| row.iter().sum::<f32>() == 1.0));
        let share = |place: usize| drawn.iter().map(|row| row[place]).sum::<f32>() / 4000.0;
        for (place, want) in [0.375, 0.125, 0.0, 0.25, 0.25].into_iter().enumerate() {
            // The standard error is below 0.008.
            assert!((share(place) - want).abs() < 0.03, "{place}: {}", share(place));
        }
        assert_eq!(encoded(&columns, &columns.unspecified(7, &[3]).unwrap()).unwrap(), drawn[3..4]);
        let part = ConditionSpec::Part { len: 2 };
        assert!(matches!(part.unspecified(0, &[0]), Err(Error::NothingGiven)));
        assert!(matches!(encoded(&part, &Condition::None), Err(Error::NothingGiven)));
    }

    #[test]
    fn rejects_mismatched_inputs() {
        let classes = ConditionSpec::classes(3);
        let error = |condition: &Condition| encoded(&classes, condition).unwrap_err().to_string();
        assert_eq!(error(&Condition::classes(&[3]).unwrap()), "there is no class 3: labels are 0 to 2");
        assert_eq!(error(&Condition::None), "the toy model needs labels, but none were given");
        let two = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(error(&Condition::Mixture(two.clone())).contains("(1, 3)"));
        assert_eq!(
            error(&Condition::Columns(two)),
            "the toy model takes classes, but was given values of columns"
        );
    }
}
