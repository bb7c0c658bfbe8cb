//! The Adam update and the norm of a gradient.

use candle_core::Tensor;

use crate::adam::AdamStep;
use crate::error::Result;

/// Updates param, m and v in place from grad, and ema if it is given.
pub(crate) fn adam_step(
    param: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    v: &Tensor,
    step: &AdamStep,
    ema: Option<(&Tensor, f64)>,
) -> Result<()> {
    let t = step.step as f64;
    let correction1 = 1.0 - libm::pow(step.beta1, t);
    let correction2 = 1.0 - libm::pow(step.beta2, t);
    let grad = grad.detach().affine(step.grad_scale, 0.0)?;
    let new_m = (m.detach().affine(step.beta1, 0.0)? + grad.affine(1.0 - step.beta1, 0.0)?)?;
    let new_v = (v.detach().affine(step.beta2, 0.0)? + grad.sqr()?.affine(1.0 - step.beta2, 0.0)?)?;
    let root = new_v.sqrt()?.affine(1.0 / correction2.sqrt(), step.eps)?;
    let shrunk = param.detach().affine(1.0 - step.lr * step.weight_decay, 0.0)?;
    let new = (shrunk + new_m.div(&root)?.affine(-step.lr / correction1, 0.0)?)?;
    if let Some((ema, decay)) = ema {
        store(ema, &(ema.detach().affine(decay, 0.0)? + new.affine(1.0 - decay, 0.0)?)?)?;
    }
    store(m, &new_m)?;
    store(v, &new_v)?;
    store(param, &new)
}

/// Overwrites the elements of a contiguous tensor.
fn store(to: &Tensor, from: &Tensor) -> Result<()> {
    if to.rank() == 0 {
        return Ok(to.reshape(1)?.slice_set(&from.reshape(1)?, 0, 0)?);
    }
    Ok(to.slice_set(from, 0, 0)?)
}

/// √Σ x² of a row (N): a scalar tensor of the same type, which is not read back from the device. The sum has
/// two stages, because a device computes each sum with one block of threads.
///
/// # Errors
/// If x is not one-dimensional.
pub fn row_norm(row: &Tensor) -> Result<Tensor> {
    const COLUMNS: usize = 1024;
    let squares = row.detach().sqr()?;
    let rows = row.elem_count() / COLUMNS;
    let rest = row.elem_count() - rows * COLUMNS;
    let mut sum = if rows == 0 {
        Tensor::zeros((), row.dtype(), row.device())?
    } else {
        squares.narrow(0, 0, rows * COLUMNS)?.reshape((rows, COLUMNS))?.sum(1)?.sum(0)?
    };
    if rest > 0 {
        sum = (sum + squares.narrow(0, rows * COLUMNS, rest)?.sum(0)?)?;
    }
    Ok(sum.sqrt()?)
}
