//! Two-dimensional transposed convolution: the adjoint of a convolution, which makes images larger.

use candle_core::{Shape, Tensor};

use crate::activation::Activation;
use crate::buffer::{elements, tensor};
use crate::composed;
use crate::convolution::{image_to_map, map_to_image, weight_gradient};
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, check_stride};
use crate::parametric_op::{self, ParametricGradients, ParametricOp};
use crate::real::Real;
use crate::shapes::{check_bias, dims4};
use crate::sums::channel_sums;

/// x (N, C, H, W), weight (C, O, kh, kw) as in PyTorch, bias (O) → (N, O, H', W') with
/// H' = (H − 1) · stride − 2·padding + kh + output_padding, W' alike; output_padding is less than stride.
/// Differentiable in x, weight and bias.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
) -> Result<Tensor> {
    let (samples, channels, height, width) = dims4("input of a transposed convolution", x)?;
    let (inputs, outputs, kernel_height, kernel_width) = dims4("weight of a transposed convolution", weight)?;
    check_stride(stride)?;
    if output_padding >= stride {
        let reason = format!("is {output_padding}, but must be less than the stride, {stride}");
        return Err(Error::Argument { name: "output_padding", reason });
    }
    let side = |length: usize, kernel: usize| {
        let full = length.checked_sub(1)? * stride + kernel + output_padding;
        full.checked_sub(2 * padding).filter(|side| *side > 0 && kernel > 0)
    };
    let sides = side(height, kernel_height).zip(side(width, kernel_width)).filter(|_| inputs == channels);
    let Some((image_height, image_width)) = sides else {
        return Err(Error::Input {
            what: "input of a transposed convolution",
            expected: format!(
                "(N, {inputs}, H, W) with a result left, for the weight {:?} and padding {padding}",
                weight.shape()
            ),
            found: x.shape().clone(),
        });
    };
    check_bias(bias, outputs)?;
    let geometry = Geometry {
        samples,
        image: [outputs, image_height, image_width],
        map: [channels, height, width],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
    };
    if !runs_on_cpu_kernels(x.device()) {
        return composed::conv_transpose2d(x, weight, bias, geometry);
    }
    parametric_op::apply(ConvTranspose2dOp(geometry), x, weight, bias)
}

struct ConvTranspose2dOp(Geometry);

impl ParametricOp for ConvTranspose2dOp {
    const NAME: &'static str = "waxwork-conv-transpose2d";

    fn shape(&self) -> Shape {
        let [channels, height, width] = self.0.image;
        Shape::from((self.0.samples, channels, height, width))
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        map_to_image(&self.0, x, weight, bias)
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ParametricGradients> {
        let g = &self.0;
        let (x_shape, weight_shape) = (x.shape(), weight.shape());
        let (for_x, for_weight) = (x.track_op(), weight.track_op());
        elements!(T; x, weight, grad);
        Ok(ParametricGradients {
            x: for_x
                .then(|| tensor(image_to_map(g, grad, weight, None, Activation::Identity), x_shape))
                .transpose()?,
            weight: for_weight.then(|| tensor(weight_gradient(g, grad, x), weight_shape)).transpose()?,
            bias: bias.then(|| tensor(channel_sums(grad, g.samples, g.image[0]), g.image[0])).transpose()?,
        })
    }
}
