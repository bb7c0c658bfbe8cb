//! Embeddings and likelihoods of tokens.

use candle_core::{D, Tensor};

use crate::activation::Activation;
use crate::composed::backward::{ArgumentGradients, Backward, attach};
use crate::composed::pointwise::{exp, log};
use crate::composed::products::linear;
use crate::error::Result;

/// As the kernel of this name, for a vector of numbers.
pub(crate) fn embedding(table: &Tensor, numbers: &Tensor) -> Result<Tensor> {
    let numbers = numbers.contiguous()?;
    let rows = table.detach().contiguous()?.index_select(&numbers, 0)?;
    attach(rows, &[table], EmbeddingBackward { numbers })
}

struct EmbeddingBackward {
    numbers: Tensor,
}

impl Backward for EmbeddingBackward {
    const NAME: &'static str = "waxwork-composed-embedding";

    fn backward(
        &self,
        arguments: &[Tensor],
        _: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let zeros = Tensor::zeros(arguments[0].shape(), grad.dtype(), grad.device())?;
        Ok(vec![Some(zeros.index_add(&self.numbers, grad, 0)?)])
    }
}

/// As the kernel of this name.
pub(crate) fn largest(x: &Tensor) -> candle_core::Result<Tensor> {
    x.contiguous()?.argmax(D::Minus1)
}

/// As the kernel of this name. Candle's tape differentiates the softmax.
pub(crate) fn linear_log_likelihood(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    let logits = linear(x, weight, Some(bias), Activation::Identity)?;
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let log_sum = log(&exp(&shifted)?.sum(1)?)?;
    let chosen = shifted.gather(&targets.contiguous()?.unsqueeze(1)?, 1)?.squeeze(1)?;
    Ok((chosen - log_sum)?)
}
