//! Activations, losses, resampling and pooling.

use candle_core::Tensor;

use super::super::activation::Activation;
use super::super::pool::{Pool, Windows};
use super::{Backward, Gradients, attach, from_the_start, want};
use crate::Result;

/// f(x), differentiable.
pub(in super::super) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if activation.is_identity() {
        return Ok(x.clone());
    }
    attach(value(&x.detach(), activation)?, &[x], Activate(activation))
}

/// f(x) without a graph.
pub(super) fn value(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        // Candle's ReLU would make 0 of NaN on a GPU, and hide that a run has diverged.
        Activation::Relu => x.maximum(&x.affine(0.0, 0.0)?),
        Activation::LeakyRelu(slope) if slope <= 1.0 => x.maximum(&x.affine(f64::from(slope), 0.0)?),
        Activation::LeakyRelu(slope) => x.minimum(&x.affine(f64::from(slope), 0.0)?),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Silu => x.silu(),
    }
}

/// The gradient of the input from the output `y` and its gradient; not for [`Activation::Silu`], whose output does not
/// tell the input. At 0 a ReLU has the slope 0 and a leaky one its slope, as in the kernels.
pub(super) fn gradient(activation: Activation, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Identity | Activation::Silu => Ok(grad.clone()),
        // The sign of the output is the slope, and takes one launch where a comparison with a number takes three.
        Activation::Relu => grad.mul(&y.sign()?),
        Activation::LeakyRelu(slope) => {
            let slope = f64::from(slope);
            grad.mul(&y.sign()?.relu()?.affine(1.0 - slope, slope)?)
        }
        Activation::Tanh => grad.mul(&y.sqr()?.affine(-1.0, 1.0)?),
        Activation::Sigmoid => grad.mul(&y.mul(&y.affine(-1.0, 1.0)?)?),
    }
}

struct Activate(Activation);

impl Backward for Activate {
    const NAME: &'static str = "waxwork-composed-activation";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
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

fn sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    candle_nn::ops::sigmoid(x)
}

/// exp(x), on candle's tape.
#[expect(clippy::disallowed_methods, reason = "other devices have no kernels of ours")]
pub(in super::super) fn exp(x: &Tensor) -> candle_core::Result<Tensor> {
    x.exp()
}

/// log(x), on candle's tape.
#[expect(clippy::disallowed_methods, reason = "other devices have no kernels of ours")]
pub(in super::super) fn log(x: &Tensor) -> candle_core::Result<Tensor> {
    x.log()
}

/// log(1 + exp(x)) without a graph.
fn soft(x: &Tensor) -> candle_core::Result<Tensor> {
    x.relu()? + log(&(exp(&x.abs()?.neg()?)? + 1.0)?)?
}

/// log(1 + exp(x)), differentiable.
pub(in super::super) fn softplus(x: &Tensor) -> Result<Tensor> {
    attach(soft(&x.detach())?, &[x], Softplus)
}

struct Softplus;

impl Backward for Softplus {
    const NAME: &'static str = "waxwork-composed-softplus";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        Ok(vec![Some(grad.mul(&sigmoid(&arguments[0])?)?)])
    }
}

/// Cross-entropy of logits, summed over each sample, differentiable in both.
pub(in super::super) fn bce_with_logits_sum(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (x, t) = (logits.detach(), targets.detach());
    let elements = (soft(&x)? - x.mul(&t)?)?;
    attach(elements.reshape((x.dim(0)?, ()))?.sum(1)?, &[logits, targets], Bce)
}

struct Bce;

impl Backward for Bce {
    const NAME: &'static str = "waxwork-composed-bce";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
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

/// KL(N(μ, σ²) ‖ N(0, 1)) per element, on candle's tape: of these operations the gradient is right.
pub(in super::super) fn gaussian_kl(mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    Ok(((mean.sqr()? + exp(log_var)?)? - log_var)?.affine(0.5, -0.5)?)
}

/// μ + exp(½ log σ²) · ε, on candle's tape.
pub(in super::super) fn reparameterize(mean: &Tensor, log_var: &Tensor, noise: &Tensor) -> Result<Tensor> {
    Ok((mean + exp(&log_var.affine(0.5, 0.0)?)?.mul(noise)?)?)
}

/// The mean of every 2×2 pixels. Its gradient is a doubling, which candle's tape adds up rightly.
pub(in super::super) fn avg_pool2(x: &Tensor) -> Result<Tensor> {
    Ok(means(x, 2, 2)?)
}

/// The mean of each window, on candle's tape. On Metal candle reads from the start of the storage, wherever x begins.
fn means(x: &Tensor, size: usize, stride: usize) -> candle_core::Result<Tensor> {
    from_the_start(x)?.avg_pool2d_with_stride(size, stride)
}

/// Every pixel four times. Candle's own gradient of it overwrites that of an input that has another use.
pub(in super::super) fn upsample2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    #[expect(clippy::disallowed_methods, reason = "its gradient is not used")]
    let y = x.detach().upsample_nearest2d(2 * height, 2 * width)?;
    attach(y, &[x], Upsample)
}

struct Upsample;

impl Backward for Upsample {
    const NAME: &'static str = "waxwork-composed-upsample";

    fn backward(
        &self,
        _: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        Ok(vec![Some(means(grad, 2, 2)?.affine(4.0, 0.0)?)])
    }
}

/// Image i moved by `down[i]` rows and `right[i]` columns, as a product with matrices of zeros and ones on either side:
/// exact, differentiable, and two products instead of some operations an image.
pub(in super::super) fn translate(x: &Tensor, down: &[isize], right: &[isize]) -> Result<Tensor> {
    let (n, channels, height, width) = x.dims4()?;
    // Row (or column) `to` is read from `to − shift`.
    let moves = |shifts: &[isize], size: usize| -> candle_core::Result<Tensor> {
        // Bytes, for the way to the device.
        let mut ones = vec![0u8; n * size * size];
        for (matrix, &shift) in ones.chunks_exact_mut(size * size).zip(shifts) {
            for to in 0..size {
                if let Some(from) = to.checked_add_signed(-shift).filter(|&from| from < size) {
                    matrix[to * size + from] = 1;
                }
            }
        }
        Tensor::from_vec(ones, (n, size, size), x.device())?.to_dtype(x.dtype())
    };
    let rows = moves(down, height)?;
    let columns = moves(right, width)?.transpose(1, 2)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernels have no batched product, and it runs on devices alone"
    )]
    let product = |a: &Tensor, b: &Tensor| a.matmul(b);
    let lines = x.transpose(1, 2)?.contiguous()?.reshape((n, height, channels * width))?;
    let moved = product(&rows, &lines)?.reshape((n, height * channels, width))?;
    let moved = product(&moved, &columns.contiguous()?)?.reshape((n, height, channels, width))?;
    Ok(moved.transpose(1, 2)?.contiguous()?)
}

/// The maximum or the mean of each window, without a graph.
pub(in super::super) fn pool2d(x: &Tensor, pool: Pool, windows: Windows) -> candle_core::Result<Tensor> {
    let Windows { size, stride, padding } = windows;
    let maxima = |x: &Tensor, beside: f64| {
        from_the_start(&framed(x, padding, beside)?)?.max_pool2d_with_stride(size, stride)
    };
    let mean = |x: &Tensor| means(&framed(x, padding, 0.0)?, size, stride);
    match pool {
        // A maximum of candle's loses NaN, so where one was is found out apart.
        Pool::Max => {
            let nan = maxima(&x.ne(x)?.to_dtype(x.dtype())?, 0.0)?.gt(0.5)?;
            let y = maxima(x, f64::NEG_INFINITY)?;
            nan.where_cond(&y.affine(0.0, f64::NAN)?, &y)
        }
        Pool::Mean => mean(x)? / mean(&x.ones_like()?)?,
    }
}

/// (N, C, H, W) with so many pixels of `value` on each side.
fn framed(x: &Tensor, padding: usize, value: f64) -> candle_core::Result<Tensor> {
    if padding == 0 {
        return Ok(x.clone());
    }
    let (n, channels, height, width) = x.dims4()?;
    let beside = |shape: (usize, usize, usize, usize)| {
        Tensor::full(value as f32, shape, x.device())?.to_dtype(x.dtype())
    };
    let rows = beside((n, channels, padding, width))?;
    let tall = Tensor::cat(&[&rows, x, &rows], 2)?;
    let columns = beside((n, channels, height + 2 * padding, padding))?;
    Tensor::cat(&[&columns, &tall, &columns], 3)
}
