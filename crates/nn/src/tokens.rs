//! Sequences of tokens: their numbers, their one-hot rows, where they end, and which of them count.
//!
//! Token 0 ends a sequence and fills the rest. A sequence without an end has the maximum length. A batch of the
//! data has token numbers; what models make are one-hot rows. Networks accept both.

use candle_core::{DType, Device, Tensor};

use waxwork_core::model::check_input;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::sample::Range;
use waxwork_core::{Error, Result, SampleSpec};
use waxwork_kernels as kernels;

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

/// The one-hot rows `(N, L, V)` of sequences, for what multiplies by them: those of token numbers `(N, L)` u32, in
/// `dtype`. All other values stay as they are.
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

/// 1 for every token before the end and for the end itself, 0 for what follows: numbers `(N, L)` u32 →
/// `(N, L)` of `dtype`.
pub fn counted(tokens: &Tensor, dtype: DType) -> Result<Tensor> {
    let (n, length) = tokens.dims2()?;
    let rows = tokens.to_device(&Device::Cpu)?.to_vec2::<u32>()?;
    let mut values = vec![0f32; n * length];
    for (values, row) in values.chunks_exact_mut(length.max(1)).zip(&rows) {
        let whole = row.iter().position(|token| *token == END).map_or(length, |end| end + 1);
        values[..whole].fill(1.0);
    }
    let counted = Tensor::from_vec(values, (n, length), &Device::Cpu)?;
    Ok(counted.to_dtype(dtype)?.to_device(tokens.device())?)
}

/// Ones above the diagonal, `(L, L)`. A product with it sums over all earlier positions.
fn earlier(length: usize) -> Result<Tensor> {
    let places = 0..length * length;
    let values = places.map(|place| if place / length < place % length { 1f32 } else { 0.0 });
    Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape((length, length))?)
}

/// The row of each sequence's last counted token, if the sequences of a batch follow each other: `(N, L)` of
/// [`counted`] → `(N)` u32.
pub fn last(counted: &Tensor) -> Result<Tensor> {
    let (n, length) = counted.dims2()?;
    let before = counted.to_dtype(DType::F32)?.sum(1)?;
    let starts: Vec<f32> = (0..n).map(|row| (row * length) as f32 - 1.0).collect();
    Ok((before + Tensor::from_vec(starts, n, counted.device())?)?.to_dtype(DType::U32)?)
}

/// The most likely token at every position as one-hot rows. After the first end, all tokens are ends:
/// `(N, L, V)` → the same shape.
pub fn most_likely(outputs: &Tensor) -> Result<Tensor> {
    let (_, length, vocabulary) = outputs.dims3()?;
    let tokens = kernels::largest(outputs)?.to_device(&Device::Cpu)?.to_vec2::<u32>()?;
    one_hot(&padded(&tokens, length, outputs.device())?, vocabulary, outputs.dtype())
}

/// [`counted`] as nodes of a graph, of one-hot rows `(batch, L, V)`.
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
    use waxwork_core::ImageShape;
    use waxwork_core::sample::Segment;

    use super::*;

    #[test]
    fn the_end_counts_once_and_padding_not_at_all() {
        let tokens = Tensor::new(&[[3u32, 1, 0, 0], [0, 0, 0, 0], [2, 2, 1, 3], [1, 1, 1, 0]], &Device::Cpu);
        let tokens = tokens.unwrap();
        let counted = counted(&tokens, DType::F64).unwrap();
        let want = [[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0; 4], [1.0; 4]];
        assert_eq!(counted.to_vec2::<f64>().unwrap(), want);
        assert_eq!(last(&counted).unwrap().to_vec1::<u32>().unwrap(), [2, 4, 11, 15]);
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
