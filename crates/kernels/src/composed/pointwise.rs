//! Activations, scaled sums, maxout, losses, exp and log.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::composed::backward::{ArgumentGradients, Backward, attach, want};
use crate::error::Result;

/// f(x). Differentiable.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if activation.is_identity() {
        return Ok(x.clone());
    }
    attach(value(&x.detach(), activation)?, &[x], ActivateBackward(activation))
}

/// The directional derivative of a piecewise linear activation with the output `y`, which is off the tape.
pub(crate) fn activate_tangent(y: &Tensor, tangent: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(gradient(activation, y, tangent)?)
}

/// x + scale · y.
pub(crate) fn add_scaled(x: &Tensor, y: &Tensor, scale: f64) -> Result<Tensor> {
    Ok(if scale == 1.0 { (x + y)? } else { (x + y.affine(scale, 0.0)?)? })
}

/// f(x) without a graph.
pub(crate) fn value(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        // On a GPU, candle's ReLU turns NaN into 0, which would hide that a run has diverged.
        Activation::Relu => x.maximum(&x.affine(0.0, 0.0)?),
        Activation::LeakyRelu(slope) if slope <= 1.0 => x.maximum(&x.affine(f64::from(slope), 0.0)?),
        Activation::LeakyRelu(slope) => x.minimum(&x.affine(f64::from(slope), 0.0)?),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x.silu(),
    }
}

/// Returns the gradient of the input, given the output `y` and its gradient. Not for [`Activation::Silu`],
/// whose output does not determine its input. At 0, a ReLU has slope 0 and a leaky ReLU its negative slope,
/// as in the kernels.
pub(crate) fn gradient(activation: Activation, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Identity | Activation::Silu => Ok(grad.clone()),
        // The sign of the output is the slope. It takes one launch; a comparison with a number would take
        // three.
        Activation::Relu => grad.mul(&y.sign()?),
        Activation::LeakyRelu(slope) => {
            let slope = f64::from(slope);
            grad.mul(&y.sign()?.relu()?.affine(1.0 - slope, slope)?)
        }
        Activation::Tanh => grad.mul(&y.sqr()?.affine(-1.0, 1.0)?),
        Activation::Sigmoid => grad.mul(&y.mul(&y.affine(-1.0, 1.0)?)?),
    }
}

struct ActivateBackward(Activation);

impl Backward for ActivateBackward {
    const NAME: &'static str = "waxwork-composed-activation";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let gradient = match self.0 {
            // d/dx x·σ(x) = σ + y·(1 − σ).
            Activation::Silu => {
                let s = sigmoid(&arguments[0])?;
                grad.mul(&(&s + y.mul(&s.affine(-1.0, 1.0)?)?)?)?
            }
            activation => gradient(activation, y, grad)?,
        };
        Ok(vec![Some(gradient)])
    }
}

pub(super) fn sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// exp(x), with candle's gradient.
#[expect(clippy::disallowed_methods, reason = "the kernels of this crate do not run on other devices")]
pub(crate) fn exp(x: &Tensor) -> candle_core::Result<Tensor> {
    x.exp()
}

/// log(x), with candle's gradient.
#[expect(clippy::disallowed_methods, reason = "the kernels of this crate do not run on other devices")]
pub(crate) fn log(x: &Tensor) -> candle_core::Result<Tensor> {
    x.log()
}

/// log(1 + exp(x)) without a graph.
fn soft(x: &Tensor) -> candle_core::Result<Tensor> {
    x.relu()? + log(&(exp(&x.abs()?.neg()?)? + 1.0)?)?
}

/// log(1 + exp(x)). Differentiable.
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    attach(soft(&x.detach())?, &[x], SoftplusBackward)
}

struct SoftplusBackward;

impl Backward for SoftplusBackward {
    const NAME: &'static str = "waxwork-composed-softplus";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        Ok(vec![Some(grad.mul(&sigmoid(&arguments[0])?)?)])
    }
}

/// [`crate::soft_bound`].
pub(crate) fn soft_bound(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let free = x.detach();
    let tail = beyond(&free, low, high)?.affine(1.0, 1.0)?.recip()?.affine(-1.0, 1.0)?;
    // The added product is zero, or NaN where x is infinite.
    let tail = (tail + free.affine(0.0, 0.0)?)?;
    let lower = free.lt(low)?.where_cond(&tail.affine(-1.0, low)?, &free)?;
    let value = free.gt(high)?.where_cond(&tail.affine(1.0, high)?, &lower)?;
    attach(value, &[x], SoftBoundBackward { low, high })
}

/// The distance of each value from the range; 0 inside.
fn beyond(x: &Tensor, low: f64, high: f64) -> candle_core::Result<Tensor> {
    let below = x.lt(low)?.where_cond(&x.affine(-1.0, low)?, &x.zeros_like()?)?;
    x.gt(high)?.where_cond(&x.affine(1.0, -high)?, &below)
}

struct SoftBoundBackward {
    low: f64,
    high: f64,
}

impl Backward for SoftBoundBackward {
    const NAME: &'static str = "waxwork-composed-soft-bound";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let root = beyond(&arguments[0], self.low, self.high)?.affine(1.0, 1.0)?;
        Ok(vec![Some(grad.div(&root.sqr()?)?)])
    }
}

/// Binary cross-entropy of logits, summed over each sample. Differentiable in both.
pub(crate) fn bce_with_logits_sum(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (x, t) = (logits.detach(), targets.detach());
    let elements = (soft(&x)? - x.mul(&t)?)?;
    attach(elements.reshape((x.dim(0)?, ()))?.sum(1)?, &[logits, targets], BceBackward)
}

struct BceBackward;

impl Backward for BceBackward {
    const NAME: &'static str = "waxwork-composed-bce";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let [logits, targets] = [&arguments[0], &arguments[1]];
        let mut shape = vec![1; logits.rank()];
        shape[0] = grad.elem_count();
        let grad = grad.reshape(shape)?;
        Ok(vec![
            want(wanted[0], || (sigmoid(logits)? - targets)?.broadcast_mul(&grad))?,
            want(wanted[1], || logits.neg()?.broadcast_mul(&grad))?,
        ])
    }
}

/// Σ (x − y)² over each sample, with candle's gradient.
pub(crate) fn squared_error_sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok((x - y)?.sqr()?.reshape((x.dim(0)?, ()))?.sum(1)?)
}

/// KL(N(μ, σ²) ‖ N(0, 1)) per element, with candle's gradient, which is correct for these operations.
pub(crate) fn gaussian_kl(mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    Ok(((mean.sqr()? + exp(log_var)?)? - log_var)?.affine(0.5, -0.5)?)
}

/// μ + exp(½ log σ²) · ε, with candle's gradient.
pub(crate) fn reparameterize(mean: &Tensor, log_var: &Tensor, noise: &Tensor) -> Result<Tensor> {
    Ok((mean + exp(&log_var.affine(0.5, 0.0)?)?.mul(noise)?)?)
}

/// [`crate::maxout`].
pub(crate) fn maxout(x: &Tensor, pieces: usize) -> Result<Tensor> {
    let parts = parted(&x.detach(), pieces)?;
    // The added sum is zero, or NaN where a value is not finite.
    let value = (parts.max(2)? + parts.affine(0.0, 0.0)?.sum(2)?)?;
    attach(value, &[x], MaxoutBackward { pieces })
}

/// `(N, features · pieces)` → `(N, features, pieces)`.
fn parted(x: &Tensor, pieces: usize) -> candle_core::Result<Tensor> {
    let (rows, width) = x.dims2()?;
    x.reshape((rows, width / pieces, pieces))
}

struct MaxoutBackward {
    pieces: usize,
}

impl Backward for MaxoutBackward {
    const NAME: &'static str = "waxwork-composed-maxout";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let x = &arguments[0];
        let largest = parted(x, self.pieces)?.argmax_keepdim(2)?;
        let numbers = Tensor::arange(0, self.pieces as u32, x.device())?.reshape((1, 1, self.pieces))?;
        let chosen = largest.broadcast_eq(&numbers)?.to_dtype(grad.dtype())?;
        Ok(vec![Some(chosen.broadcast_mul(&grad.unsqueeze(2)?)?.reshape(x.shape())?)])
    }
}
