//! Batch normalisation followed by an activation.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::composed::backward::{ArgumentGradients, Backward, along_channels, attach, channel_sums, want};
use crate::composed::pointwise;
use crate::error::Result;

/// Normalises by the statistics of the batch. Returns y, and the mean and the biased variance
/// (C) without a graph.
pub(crate) fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    let plain = x.detach();
    let count = (x.elem_count() / x.dim(1)?) as f64;
    let mean = channel_sums(&plain)?.affine(1.0 / count, 0.0)?;
    let centred = plain.broadcast_sub(&along_channels(&mean, x.rank())?)?;
    let var = channel_sums(&centred.sqr()?)?.affine(1.0 / count, 0.0)?;
    let y = normalise([x, gamma, beta], &mean, &var, eps, activation, Some(count))?;
    Ok((y, mean, var))
}

/// Normalises by given statistics, which are constants.
pub(crate) fn batch_norm_with(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    [mean, var]: [&Tensor; 2],
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    normalise([x, gamma, beta], &mean.detach(), &var.detach(), eps, activation, None)
}

fn normalise(
    [x, gamma, beta]: [&Tensor; 3],
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
    activation: Activation,
    count: Option<f64>,
) -> Result<Tensor> {
    let (fused, after) = activation.split();
    let along = |vector: &Tensor| along_channels(vector, x.rank());
    let inverse = var.affine(1.0, eps)?.sqrt()?.recip()?;
    let centred = x.detach().broadcast_sub(&along(mean)?)?;
    let y = centred.broadcast_mul(&along(&gamma.detach().mul(&inverse)?)?)?;
    let y = pointwise::value(&y.broadcast_add(&along(&beta.detach())?)?, fused)?;
    let backward = BatchNormBackward { mean: mean.clone(), inverse, count, activation: fused };
    pointwise::activate(&attach(y, &[x, gamma, beta], backward)?, after)
}

struct BatchNormBackward {
    mean: Tensor,
    /// 1 / √(var + eps).
    inverse: Tensor,
    /// Number of elements per channel if the statistics are those of the batch, `None` if they are constants.
    count: Option<f64>,
    activation: Activation,
}

impl Backward for BatchNormBackward {
    const NAME: &'static str = "waxwork-composed-batch-norm";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let [x, gamma] = [&arguments[0], &arguments[1]];
        let along = |vector: &Tensor| along_channels(vector, x.rank());
        let grad = pointwise::gradient(self.activation, y, grad)?;
        let centred = x.broadcast_sub(&along(&self.mean)?)?;
        let sum = channel_sums(&grad)?;
        let sum_hat = channel_sums(&grad.mul(&centred)?)?.mul(&self.inverse)?;
        let for_x = want(wanted[0], || {
            let inner = match self.count {
                None => grad.clone(),
                Some(count) => {
                    let shift = sum.affine(1.0 / count, 0.0)?;
                    let slope = sum_hat.mul(&self.inverse)?.affine(1.0 / count, 0.0)?;
                    grad.broadcast_sub(&along(&shift)?)?.sub(&centred.broadcast_mul(&along(&slope)?)?)?
                }
            };
            inner.broadcast_mul(&along(&gamma.mul(&self.inverse)?)?)
        })?;
        Ok(vec![for_x, wanted[1].then_some(sum_hat), wanted[2].then_some(sum)])
    }
}
