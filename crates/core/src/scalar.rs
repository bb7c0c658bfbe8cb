//! Scalars of a training step, and the check that they are finite. The CPU reads them immediately, a device
//! later.

use candle_core::Tensor;

use crate::device::runs_on_cpu_kernels;
use crate::{Error, Result, kernels};

/// A scalar of a step. On the CPU its value is known immediately; on a device it stays a tensor, because
/// reading it would wait for the device.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// Its value.
    Known(f64),
    /// The tensor that will hold its value.
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

/// A value on a device that must prove finite.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) step: u64,
    pub(crate) term: String,
    pub(crate) value: Tensor,
}

/// Checks a value if it is already known.
pub(crate) fn check_known(step: u64, term: &str, value: &Scalar) -> Result<()> {
    match value {
        Scalar::Known(value) => check_finite(step, || term.to_owned(), *value),
        Scalar::Unread(_) => Ok(()),
    }
}

/// Returns [`Error::NonFinite`] if the value is NaN or infinite.
pub(crate) fn check_finite(step: u64, term: impl FnOnce() -> String, value: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::NonFinite { step, term: term(), value }) }
}
