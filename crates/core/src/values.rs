//! Checks of a model's values: every tensor that is loaded or written holds finite numbers and no negative
//! variance.

use candle_core::{DType, Storage, Tensor, WithDType};

use crate::{Error, Result, store};

/// Checks one tensor of any type and on any device. Whole numbers pass.
///
/// A tensor whose name says that it is a variance (a batch norm's `running_var`, an optimiser's second moment
/// `second/…`) must not be negative either, because its square root would make all later values NaN.
///
/// # Errors
/// [`Error::Value`] with the name and the index of the first invalid value.
pub fn check(name: &str, tensor: &Tensor) -> Result<()> {
    if !tensor.dtype().is_float() {
        return Ok(());
    }
    let variance = name.ends_with("running_var") || name.starts_with("second/");
    let wrong = |value: f64| {
        if !value.is_finite() {
            Some("every value must be finite")
        } else if variance && value < 0.0 {
            Some("a variance cannot be negative")
        } else {
            None
        }
    };
    let first = |(at, x): (usize, f64)| Some((at, x, wrong(x)?));
    let host = store::to_host(tensor)?;
    let found = if host.dtype() == DType::F64 {
        read(&host, |values: &[f64]| values.iter().copied().enumerate().find_map(first))?
    } else {
        let host = host.to_dtype(DType::F32)?;
        read(&host, |values: &[f32]| values.iter().copied().map(f64::from).enumerate().find_map(first))?
    };
    match found {
        None => Ok(()),
        Some((at, value, reason)) => {
            Err(Error::Value { name: name.to_owned(), index: index(at, tensor.dims()), value, reason })
        }
    }
}

/// Calls `f` with all values of a tensor, in their order. Copies them only if the tensor is not contiguous,
/// or on a device other than the CPU.
///
/// # Errors
/// If the tensor has another type than `T`.
pub fn read<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let host = store::to_host(tensor)?.contiguous()?;
    let (storage, layout) = host.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(candle_core::Error::Msg("a tensor was not copied to the CPU".into()).into());
    };
    Ok(f(&storage.as_slice::<T>()?[layout.start_offset()..][..host.elem_count()]))
}

/// Applies [`check`] to rows of a larger tensor that come after `before` others. The index in an error is
/// that in the whole tensor.
///
/// # Errors
/// As [`check`].
pub fn check_rows(name: &str, rows: &Tensor, before: usize) -> Result<()> {
    check(name, rows).map_err(|error| match error {
        Error::Value { name, mut index, value, reason } => {
            if let Some(row) = index.first_mut() {
                *row += before;
            }
            Error::Value { name, index, value, reason }
        }
        other => other,
    })
}

/// Applies [`check`] to every tensor, in the given order.
///
/// # Errors
/// As [`check`], for the first invalid tensor.
pub fn check_all<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> Result<()> {
    tensors.into_iter().try_for_each(|(name, tensor)| check(name, tensor))
}

/// The index of the value number `flat` of a tensor of this shape, one number per dimension.
pub fn index(flat: usize, dims: &[usize]) -> Vec<usize> {
    let mut rest = flat;
    let mut index: Vec<usize> = dims
        .iter()
        .rev()
        .map(|&side| {
            let at = rest % side.max(1);
            rest /= side.max(1);
            at
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_first_wrong_value_is_named_with_its_index() {
        let mut values = vec![0.5f32; 12];
        (values[7], values[9]) = (f32::NAN, f32::INFINITY);
        let tensor = Tensor::from_vec(values, (2, 3, 2), &Device::Cpu).unwrap();
        for tensor in [&tensor, &tensor.to_dtype(DType::F64).unwrap(), &tensor.to_dtype(DType::BF16).unwrap()]
        {
            let error = check("decoder.weight", tensor).unwrap_err();
            assert_eq!(error.to_string(), "`decoder.weight` is NaN at [1, 0, 1]: every value must be finite");
        }
        let infinite = check("bias", &Tensor::new(f64::NEG_INFINITY, &Device::Cpu).unwrap()).unwrap_err();
        assert_eq!(infinite.to_string(), "`bias` is -inf at []: every value must be finite");
    }

    #[test]
    fn values_are_read_in_the_order_of_the_tensor() {
        let tensor = Tensor::arange(0u32, 6, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let all = |tensor: &Tensor| read(tensor, <[u32]>::to_vec).unwrap();
        assert_eq!(all(&tensor), [0, 1, 2, 3, 4, 5]);
        assert_eq!(all(&tensor.t().unwrap()), [0, 3, 1, 4, 2, 5]);
        assert_eq!(all(&tensor.narrow(0, 1, 1).unwrap()), [3, 4, 5]);
        assert!(all(&tensor.narrow(0, 1, 0).unwrap()).is_empty());
        assert!(read(&tensor, <[f32]>::len).is_err());
    }

    #[test]
    fn only_variances_must_not_be_negative() {
        let tensor = Tensor::new(&[0f32, 1.0, -0.25], &Device::Cpu).unwrap();
        for name in ["generator.norm.running_var", "second/encoder.weight"] {
            let error = check(name, &tensor).unwrap_err().to_string();
            assert_eq!(error, format!("`{name}` is -0.25 at [2]: a variance cannot be negative"));
        }
        for name in ["generator.norm.running_mean", "first/encoder.weight", "weight"] {
            check(name, &tensor).unwrap();
        }
        check("counter", &Tensor::new(&[-1i64], &Device::Cpu).unwrap()).unwrap();
    }
}
