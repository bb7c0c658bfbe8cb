//! Rows of batches.

use candle_core::{DType, Device, Tensor};

use waxwork_core::Result;
use waxwork_core::rng::Stream;

/// Repeats every row `k` times in succession: `(N, …)` → `(N · k, …)`.
///
/// # Errors
/// If a tensor cannot be made.
pub fn repeat_rows(x: &Tensor, k: usize) -> Result<Tensor> {
    if k == 1 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape.insert(1, k);
    Ok(x.unsqueeze(1)?.broadcast_as(shape)?.flatten(0, 1)?)
}

/// Flattens features `(N, …)` and concatenates labels, `(N, features + classes)`. Without labels, the features are
/// unchanged.
///
/// # Errors
/// If the numbers of rows differ.
pub fn beside(features: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
    Ok(match labels {
        Some(labels) => Tensor::cat(&[&features.flatten_from(1)?, labels], 1)?,
        None => features.clone(),
    })
}

/// Factors of dropout for `width` features of each of `rows`, `(rows, width)`: 0 with the probability `rate`, and
/// 1 / (1 − rate) otherwise (Srivastava et al. 2014).
///
/// # Errors
/// If a tensor cannot be made.
pub fn dropout(
    stream: &Stream,
    (rows, width): (&[u64], usize),
    rate: f64,
    (dtype, device): (DType, &Device),
) -> Result<Tensor> {
    let kept = stream.uniform(rows, width, device)?.ge(rate)?;
    Ok(kept.to_dtype(dtype)?.affine((1.0 - rate).recip(), 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_row_follow_each_other() {
        let x = Tensor::new(&[[1f32, 0.0], [0.0, 1.0], [2.0, 3.0]], &Device::Cpu).unwrap();
        let twice = repeat_rows(&x, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(twice, [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [2.0, 3.0]]);
        assert_eq!(repeat_rows(&x, 1).unwrap().dims(), [3, 2]);
        let halves = repeat_rows(&x.narrow(1, 1, 1).unwrap(), 3).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(halves.concat(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0]);
    }
}
