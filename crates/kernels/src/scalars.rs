//! Reads scalar tensors to the host.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// The value of a scalar tensor. Waits for its device.
///
/// # Errors
/// If the tensor is not a scalar.
pub fn scalar(x: &Tensor) -> Result<f64> {
    // Not every device has f64.
    Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

/// The values of scalar tensors of the same type on the same device. Waits for the device once.
///
/// # Errors
/// If a tensor has more than one value, or types or devices differ.
pub fn scalars(tensors: &[Tensor]) -> Result<Vec<f64>> {
    if tensors.is_empty() {
        return Ok(vec![]);
    }
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.reshape(1)).collect::<Result<_, _>>()?;
    let all = Tensor::cat(&flat, 0)?.to_device(&Device::Cpu)?;
    Ok(all.to_dtype(DType::F64)?.to_vec1()?)
}
