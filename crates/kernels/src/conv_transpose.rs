//! Two-dimensional transposed convolution: the adjoint of a convolution, which enlarges images.

use candle_core::{Shape, Tensor};

use crate::activation::Activation;
use crate::buffer::{elements, tensor};
use crate::composed;
use crate::convolution::{image_to_map, map_to_image, weight_gradient};
use crate::device::runs_on_cpu_kernels;
use crate::error::Result;
use crate::geometry::Geometry;
use crate::parametric_op::{self, ParametricGradients, ParametricOp};
use crate::real::Real;
use crate::shapes::check_bias;
use crate::sums::channel_sums;

/// Transposed convolution. Differentiable in x, weight and bias.
///
/// x (N, C, H, W), weight (C, O, kh, kw) as in PyTorch, bias (O) → (N, O, H', W'), with
/// H' = (H − 1) · `stride[0]` − 2·`padding[0]` + kh + `output_padding[0]`, and W' likewise from index 1.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) if a stride is 0 or an output padding is not less than its
/// stride, [`Error::Input`](crate::Error::Input) if the shapes do not fit or the padding leaves no result.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 2],
    padding: [usize; 2],
    output_padding: [usize; 2],
) -> Result<Tensor> {
    let geometry = Geometry::of_transposed_convolution(x, weight, stride, padding, output_padding)?;
    check_bias(bias, geometry.image[0])?;
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
