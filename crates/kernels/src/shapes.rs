//! Checks of the shapes that kernels are given.

use candle_core::Tensor;

use crate::error::{Error, Result};

pub(crate) fn dims2(what: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    tensor.dims2().map_err(|_| Error::Input {
        what,
        expected: "two dimensions".into(),
        found: tensor.shape().clone(),
    })
}

pub(crate) fn dims4(what: &'static str, tensor: &Tensor) -> Result<(usize, usize, usize, usize)> {
    tensor.dims4().map_err(|_| Error::Input {
        what,
        expected: "four dimensions".into(),
        found: tensor.shape().clone(),
    })
}

pub(crate) fn same_shape(what: &'static str, reference: &Tensor, other: &Tensor) -> Result<()> {
    if reference.dims() == other.dims() && reference.dtype() == other.dtype() {
        return Ok(());
    }
    Err(Error::Input {
        what,
        expected: format!("{:?} of {:?}", reference.shape(), reference.dtype()),
        found: other.shape().clone(),
    })
}

/// A bias has one element an output channel.
pub(crate) fn check_bias(bias: Option<&Tensor>, outputs: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [outputs] => {
            Err(Error::Input { what: "bias", expected: format!("({outputs})"), found: bias.shape().clone() })
        }
        _ => Ok(()),
    }
}
