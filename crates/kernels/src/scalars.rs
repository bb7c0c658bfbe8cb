//! Reads scalar tensors to the host.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// A scalar tensor as f64. Waits for its device.
///
/// # Errors
/// If it has more values than one.
pub fn scalar(x: &Tensor) -> Result<f64> {
    // Not every device has f64.
    Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

/// Scalar tensors as f64, all in one go: waits for their device once.
pub fn scalars(tensors: &[Tensor]) -> Result<Vec<f64>> {
    if tensors.is_empty() {
        return Ok(vec![]);
    }
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.reshape(1)).collect::<Result<_, _>>()?;
    let all = Tensor::cat(&flat, 0)?.to_device(&Device::Cpu)?;
    Ok(all.to_dtype(DType::F64)?.to_vec1()?)
}
