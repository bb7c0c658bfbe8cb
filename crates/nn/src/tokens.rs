//! Sequences of tokens: their numbers, their one-hot rows, where they end, and which of them count.
//!
//! Token 0 ends a sequence and fills the rest. A sequence without an end has the maximum length. A batch of the
//! data has token numbers; what models make are one-hot rows. Networks accept both.

use candle_core::{DType, Device, Tensor};

use waxwork_core::model::check_input;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::rng::Stream;
use waxwork_core::sample::Range;
use waxwork_core::{Error, Result, SampleSpec};
use waxwork_kernels as kernels;

use crate::rows::dropout;

/// The token that ends a sequence.
pub const END: u32 = 0;

/// The maximum length of a sequence and the size of the vocabulary, if samples are sequences of tokens.
pub fn dims(sample: &SampleSpec) -> Option<(usize, usize)> {
    match (sample.dims(), sample.segments()) {
        (&[length, vocabulary], [segment]) if segment.range == Range::OneHot => Some((length, vocabulary)),
        _ => None,
    }
}

/// [`dims`] for a network that supports no other samples. `key` is its configuration key.
///
/// # Errors
/// [`Error::Config`] that names `key` if samples are not sequences of tokens.
pub fn needs_tokens(sample: &SampleSpec, key: &str) -> Result<(usize, usize)> {
    dims(sample).ok_or_else(|| Error::Config {
        key: key.to_owned(),
        reason: format!("a network of this kind needs sequences of tokens, but a sample is {sample}"),
    })
}

/// The token numbers `(N, L)` u32 of sequences, which are token numbers or one-hot rows `(N, L, V)`.
///
/// # Errors
/// [`Error::Input`] if they have another shape.
pub fn numbers(sequences: &Tensor, (length, vocabulary): (usize, usize)) -> Result<Tensor> {
    let n = sequences.dims().first().copied().unwrap_or(0);
    if sequences.dtype() == DType::U32 {
        check_input("the sequences", sequences, &(n, length).into())?;
        return Ok(sequences.clone());
    }
    check_input("the sequences", sequences, &(n, length, vocabulary).into())?;
    Ok(kernels::largest(sequences)?)
}

/// The one-hot rows `(N, L, V)` of sequences, for what multiplies by them: those of token numbers `(N, L)`
/// u32, in `dtype`. All other values stay as they are.
///
/// # Errors
/// If a number is not below `vocabulary`; a GPU does not check this.
pub fn one_hot(sequences: &Tensor, vocabulary: usize, dtype: DType) -> Result<Tensor> {
    if sequences.dtype() != DType::U32 {
        return Ok(sequences.clone());
    }
    let ((n, length), device) = (sequences.dims2()?, sequences.device());
    let places = sequences.reshape((n * length, 1))?.contiguous()?;
    let rows = Tensor::zeros((n * length, vocabulary), dtype, device)?;
    rows.scatter_set(&places, &Tensor::ones((n * length, 1), dtype, device)?, 1)?;
    Ok(rows.reshape((n, length, vocabulary))?)
}

/// Tokens as numbers `(N, length)` u32. After the first end, or after the given tokens, all tokens are ends.
pub fn padded(sequences: &[Vec<u32>], length: usize, device: &Device) -> Result<Tensor> {
    let mut numbers = vec![END; sequences.len() * length];
    for (numbers, tokens) in numbers.chunks_exact_mut(length.max(1)).zip(sequences) {
        let tokens = tokens.iter().copied().take_while(|token| *token != END);
        numbers.iter_mut().zip(tokens).for_each(|(number, token)| *number = token);
    }
    Ok(Tensor::from_vec(numbers, (sequences.len(), length), device)?)
}

/// Which tokens of sequences `(N, L)` count, T in total: those before the end, and the end itself. What
/// follows is padding.
///
/// Packed values have one row per token that counts, and the rows of a sequence follow each other.
#[derive(Clone, Debug)]
pub struct Packing {
    /// Number of tokens of each sequence.
    lengths: Vec<usize>,
    /// L.
    length: usize,
    /// The place of each token among the tokens of all sequences with their padding, `(T)` u32.
    places: Tensor,
    /// The number of each token's sequence, `(T)` u32.
    sequences: Tensor,
}

impl Packing {
    /// The packing of token numbers `(N, L)` u32.
    pub fn of(tokens: &Tensor) -> Result<Self> {
        let (_, length) = tokens.dims2()?;
        let (mut lengths, mut places, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
        for (number, tokens) in (0u32..).zip(tokens.to_device(&Device::Cpu)?.to_vec2::<u32>()?) {
            let own = tokens.iter().position(|token| *token == END).map_or(length, |end| end + 1);
            lengths.push(own);
            places.extend((number * length as u32..).take(own));
            sequences.extend(std::iter::repeat_n(number, own));
        }
        let (count, device) = (places.len(), tokens.device());
        Ok(Self {
            lengths,
            length,
            places: Tensor::from_vec(places, count, device)?,
            sequences: Tensor::from_vec(sequences, count, device)?,
        })
    }

    /// Number of tokens that count, of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Number of tokens that count.
    pub fn total(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Leaves out padding: `(N · L, ..)` → `(T, ..)`.
    pub fn pack(&self, values: &Tensor) -> Result<Tensor> {
        Ok(values.index_select(&self.places, 0)?)
    }

    /// Adds zeros for padding: `(T)` → `(N, L)`.
    pub fn unpack(&self, values: &Tensor) -> Result<Tensor> {
        let (n, length) = (self.lengths.len(), self.length);
        let zeros = Tensor::zeros(n * length, values.dtype(), values.device())?;
        Ok(zeros.index_add(&self.places, values, 0)?.reshape((n, length))?)
    }

    /// Multiplies features `(T, W)` by factors `(N, L · W)`, if there are any.
    ///
    /// # Errors
    /// If the shapes do not agree.
    pub fn scaled(&self, features: Tensor, factors: Option<&Tensor>) -> Result<Tensor> {
        let Some(factors) = factors else { return Ok(features) };
        let factors = self.pack(&factors.reshape(((), features.dim(1)?))?)?;
        Ok(features.mul(&factors.to_dtype(features.dtype())?)?)
    }

    /// Repeats the row of each sequence for all of its tokens: `(N, W)` → `(T, W)`.
    pub fn repeat(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(kernels::embedding(rows, &self.sequences)?)
    }

    /// The row of each sequence's last token: `(T, W)` → `(N, W)`.
    pub fn last(&self, rows: &Tensor) -> Result<Tensor> {
        let ends = self.lengths.iter().scan(0usize, |end, length| {
            *end += length;
            Some((*end as u32).saturating_sub(1))
        });
        Ok(kernels::embedding(rows, &Tensor::from_iter(ends, rows.device())?)?)
    }

    /// The sum over the tokens of each sequence: `(T)` → `(N)`.
    pub fn sums(&self, values: &Tensor) -> Result<Tensor> {
        let zeros = Tensor::zeros(self.lengths.len(), values.dtype(), values.device())?;
        Ok(zeros.index_add(&self.sequences, values, 0)?)
    }
}

/// Ones above the diagonal, `(L, L)`. A product with it sums over all earlier positions.
fn earlier(length: usize) -> Result<Tensor> {
    let places = 0..length * length;
    let values = places.map(|place| if place / length < place % length { 1f32 } else { 0.0 });
    Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape((length, length))?)
}

/// Factors of dropout for the embedded tokens `(N, L · widths[0])` and the hidden states `(N, L · widths[1])` of
/// sequences of `length` tokens (Zaremba et al. 2014), by the draws of `rows`; None if the rate is 0. `stream` gives
/// the streams of random numbers by name.
///
/// # Errors
/// If a tensor cannot be made.
pub fn dropout_factors(
    stream: &dyn Fn(&str) -> Stream,
    (rows, length): (&[u64], usize),
    widths: [usize; 2],
    rate: f64,
    device: &Device,
) -> Result<Option<[Tensor; 2]>> {
    if rate == 0.0 {
        return Ok(None);
    }
    let factors = |name, width| dropout(&stream(name), (rows, length * width), rate, (DType::F32, device));
    Ok(Some([factors("dropout/embedding", widths[0])?, factors("dropout/states", widths[1])?]))
}

/// The most likely token at every position as one-hot rows. After the first end, all tokens are ends:
/// `(N, L, V)` → the same shape.
pub fn most_likely(outputs: &Tensor) -> Result<Tensor> {
    let (_, length, vocabulary) = outputs.dims3()?;
    let tokens = kernels::largest(outputs)?.to_device(&Device::Cpu)?.to_vec2::<u32>()?;
    one_hot(&padded(&tokens, length, outputs.device())?, vocabulary, outputs.dtype())
}

/// 1 for every token that counts and 0 for padding, as nodes of a graph: one-hot rows `(batch, L, V)` →
/// `(batch, L)`.
///
/// # Errors
/// If a constant cannot be stored.
pub fn export_counted(
    scope: &mut GraphScope<'_>,
    rows: &Value,
    (length, vocabulary): (usize, usize),
) -> Result<Value> {
    let is_end = (0..vocabulary).map(|token| if token == END as usize { 1f32 } else { 0.0 });
    let is_end = scope.tensor("is_end", &Tensor::from_iter(is_end, &Device::Cpu)?)?;
    let earlier = scope.tensor("earlier", &earlier(length)?)?;
    let ends = scope.node("MatMul", &[rows, &is_end], &[]);
    let before = scope.node("MatMul", &[&ends, &earlier], &[]);
    let zero = scope.tensor("none", &Tensor::new(0f32, &Device::Cpu)?)?;
    let one = scope.tensor("one", &Tensor::new(1f32, &Device::Cpu)?)?;
    let ended = scope.node("Clip", &[&before, &zero, &one], &[]);
    Ok(scope.node("Sub", &[&one, &ended], &[]))
}

/// [`most_likely`] as nodes of a graph.
///
/// # Errors
/// If a constant cannot be stored.
pub fn export_most_likely(mut scope: GraphScope<'_>, outputs: &Value, dims: (usize, usize)) -> Result<Value> {
    let (length, vocabulary) = dims;
    let chosen = scope.node("Hardmax", &[outputs], &[("axis", Attribute::Int(2))]);
    let counted = export_counted(&mut scope, &chosen, dims)?;
    let counted = scope.reshape(&counted, &[length, 1]);
    let end = (0..vocabulary).map(|token| if token == END as usize { 1f32 } else { 0.0 });
    let end = scope.tensor("end", &Tensor::from_iter(end, &Device::Cpu)?)?;
    // end + counted · (chosen − end)
    let difference = scope.node("Sub", &[&chosen, &end], &[]);
    let kept = scope.node("Mul", &[&difference, &counted], &[]);
    Ok(scope.node("Add", &[&kept, &end], &[]))
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use waxwork_core::ImageShape;
    use waxwork_core::sample::Segment;

    use super::*;

    fn tensor(values: &[u32], shape: (usize, usize)) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_end_counts_once_and_padding_not_at_all() {
        let tokens = tensor(&[3, 1, 0, 0, 0, 0, 0, 0, 2, 2, 1, 3, 1, 1, 1, 0], (4, 4));
        let packing = Packing::of(&tokens).unwrap();
        assert_eq!((packing.lengths(), packing.total()), ([3, 1, 4, 4].as_slice(), 12));
        let packed = packing.pack(&tokens.flatten_all().unwrap()).unwrap();
        assert_eq!(packed.to_vec1::<u32>().unwrap(), [3, 1, 0, 0, 2, 2, 1, 3, 1, 1, 1, 0]);
        let numbers: Vec<f64> = (1..=12u8).map(f64::from).collect();
        let numbers = Tensor::new(numbers, &Device::Cpu).unwrap();
        let sums = packing.sums(&numbers).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(sums, [6.0, 4.0, 26.0, 42.0]);
        let unpacked = packing.unpack(&numbers).unwrap().to_vec2::<f64>().unwrap();
        let want =
            [[1.0, 2.0, 3.0, 0.0], [4.0, 0.0, 0.0, 0.0], [5.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 12.0]];
        assert_eq!(unpacked, want);
        let rows = numbers.unsqueeze(1).unwrap();
        assert_eq!(packing.last(&rows).unwrap().to_vec2::<f64>().unwrap(), [[3.0], [4.0], [8.0], [12.0]]);
        let repeated = packing.repeat(&rows.narrow(0, 0, 4).unwrap()).unwrap().flatten_all().unwrap();
        let want = [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 4.0, 4.0, 4.0, 4.0];
        assert_eq!(repeated.to_vec1::<f64>().unwrap(), want);
    }

    /// Sums, repetitions and padding are on the tape, and give each value the gradient of what it became.
    #[test]
    fn gradients_pass_through_packings() {
        let packing = Packing::of(&tensor(&[3, 0, 0, 1, 1, 2], (2, 3))).unwrap();
        let latents = Var::new(&[[1f64, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let repeated = packing.repeat(&latents).unwrap();
        let each = repeated.sum(1).unwrap();
        let weights = Tensor::new(&[10f64, 1.0], &Device::Cpu).unwrap();
        let places = Tensor::new(&[[1f64, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
        let sums = (packing.sums(&each).unwrap() * weights).unwrap().sum_all().unwrap();
        let unpacked = (packing.unpack(&each).unwrap() * places).unwrap().sum_all().unwrap();
        let last = packing.last(&repeated).unwrap().sum_all().unwrap();
        let loss = ((sums + unpacked).unwrap() + last).unwrap();
        let mut gradients = kernels::backward(&loss).unwrap();
        let gradient = gradients.take(&latents).unwrap().unwrap().to_vec2::<f64>().unwrap();
        // Per token of a sequence its weight, its place, and once the last one.
        let [one, other] = [20.0 + 1.0 + 2.0 + 1.0, 3.0 + 4.0 + 5.0 + 6.0 + 1.0];
        assert_eq!(gradient, [[one; 2], [other; 2]]);
    }

    /// Networks see the same sequences, whether they are numbers or rows.
    #[test]
    fn numbers_and_one_hot_rows_are_the_same_sequences() {
        let tokens = padded(&[vec![2, 1], vec![0, 2], vec![1, 1, 1]], 3, &Device::Cpu).unwrap();
        assert_eq!(tokens.to_vec2::<u32>().unwrap(), [[2, 1, 0], [0, 0, 0], [1, 1, 1]]);
        let rows = one_hot(&tokens, 3, DType::F64).unwrap();
        let first = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
        assert_eq!(rows.to_vec3::<f64>().unwrap()[0], first);
        for sequences in [&tokens, &rows] {
            let read = numbers(sequences, (3, 3)).unwrap();
            assert_eq!(read.to_vec2::<u32>().unwrap(), tokens.to_vec2::<u32>().unwrap());
            let again = one_hot(sequences, 3, DType::F64).unwrap();
            assert_eq!(again.to_vec3::<f64>().unwrap(), rows.to_vec3::<f64>().unwrap());
            let error = numbers(sequences, (4, 3)).unwrap_err().to_string();
            assert!(error.contains("the sequences"), "{error}");
        }
        assert!(one_hot(&tokens, 2, DType::F32).is_err());
    }

    #[test]
    fn only_ends_follow_the_first_end() {
        let outputs = Tensor::new(&[[[0.1f32, 0.5, 0.4], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9]]], &Device::Cpu);
        let rows = most_likely(&outputs.unwrap()).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(rows, [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]);
    }

    #[test]
    fn distinguishes_tokens_from_other_samples() {
        let part = |width, range| Segment { width, range };
        let tokens = SampleSpec::new(vec![7, 4], vec![part(4, Range::OneHot)]).unwrap();
        assert_eq!(needs_tokens(&tokens, "k").unwrap(), (7, 4));
        let row = SampleSpec::new(vec![4], vec![part(4, Range::OneHot)]).unwrap();
        for other in [row, ImageShape::new(1, 3, 3).into(), SampleSpec::real(4)] {
            assert!(needs_tokens(&other, "k").unwrap_err().to_string().contains("sequences of tokens"));
        }
    }
}
