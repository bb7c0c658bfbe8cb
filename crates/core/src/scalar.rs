//! Scalars of a training step, read at once on the CPU and later on a device, and the check that they are finite.

use candle_core::Tensor;

use crate::device::runs_on_cpu_kernels;
use crate::{Error, Result, kernels};

/// A scalar of a step: at once where our kernels compute, and on a device as a tensor, because to read it is to wait.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// Its value.
    Known(f64),
    /// Where its value will be.
    Unread(Tensor),
}

impl Scalar {
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        if runs_on_cpu_kernels(tensor.device()) {
            return Ok(Self::Known(kernels::scalar(tensor)?));
        }
        Ok(Self::Unread(tensor.detach()))
    }
}

/// A value that has to be finite, still on its device.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) step: u64,
    pub(crate) term: String,
    pub(crate) value: Tensor,
}

/// Checks a value that is known already.
pub(crate) fn check_known(step: u64, term: &str, value: &Scalar) -> Result<()> {
    match value {
        Scalar::Known(value) => check_finite(step, || term.to_owned(), *value),
        Scalar::Unread(_) => Ok(()),
    }
}

/// [`Error::NonFinite`] if the value is not.
pub(crate) fn check_finite(step: u64, term: impl FnOnce() -> String, value: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step, term: term(), value }) }
}
