//! Checks of the shapes of arguments.

use candle_core::Tensor;

use crate::error::{Error, Result};

/// The sides of a matrix.
pub(crate) fn dims2(what: &'static str, tensor: &Tensor) -> Result<(usize, usize)> {
    tensor.dims2().map_err(|_| Error::Input {
        what,
        expected: "two dimensions".into(),
        found: tensor.shape().clone(),
    })
}

/// The sides of a tensor with four dimensions.
pub(crate) fn dims4(what: &'static str, tensor: &Tensor) -> Result<(usize, usize, usize, usize)> {
    tensor.dims4().map_err(|_| Error::Input {
        what,
        expected: "four dimensions".into(),
        found: tensor.shape().clone(),
    })
}

/// Checks that two tensors have the same shape and type.
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

/// Checks that a bias has one element per output.
pub(crate) fn check_bias(bias: Option<&Tensor>, outputs: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [outputs] => {
            Err(Error::Input { what: "bias", expected: format!("({outputs})"), found: bias.shape().clone() })
        }
        _ => Ok(()),
    }
}
