//! Two-dimensional convolution.

use candle_core::{Shape, Tensor};

use crate::activate::activate;
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

/// Convolution (cross-correlation) followed by an activation. Differentiable in x, weight and bias.
///
/// x (N, C, H, W), weight (O, C, kh, kw), bias (O) → (N, O, H', W'), with
/// H' = ⌊(H + 2·`padding[0]` − kh) / `stride[0]`⌋ + 1 and W' = ⌊(W + 2·`padding[1]` − kw) / `stride[1]`⌋ + 1.
///
/// A one-dimensional convolution is the case of H = kh = 1 and `padding[0]` = 0.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) if a stride is 0, [`Error::Input`](crate::Error::Input) if the
/// shapes do not fit or the kernel is larger than the padded image.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 2],
    padding: [usize; 2],
    activation: Activation,
) -> Result<Tensor> {
    activation.check()?;
    let geometry = Geometry::of_convolution(x, 0, weight, stride, padding)?;
    check_bias(bias, geometry.map[0])?;
    if !runs_on_cpu_kernels(x.device()) {
        return composed::conv2d(x, weight, bias, geometry, activation);
    }
    let (fused, after) = activation.split();
    activate(&parametric_op::apply(Conv2dOp(geometry, fused), x, weight, bias)?, after)
}

struct Conv2dOp(Geometry, Activation);

impl ParametricOp for Conv2dOp {
    const NAME: &'static str = "waxwork-conv2d";

    fn shape(&self) -> Shape {
        let [channels, height, width] = self.0.map;
        Shape::from((self.0.samples, channels, height, width))
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        image_to_map(&self.0, x, weight, bias, self.1)
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ParametricGradients> {
        let g = &self.0;
        let (x_shape, weight_shape) = (x.shape(), weight.shape());
        let (for_x, for_weight) = (x.track_op(), weight.track_op());
        elements!(T; x, weight, y, grad);
        let grad = &*self.1.through(y, grad);
        Ok(ParametricGradients {
            x: for_x.then(|| tensor(map_to_image(g, grad, weight, None), x_shape)).transpose()?,
            weight: for_weight.then(|| tensor(weight_gradient(g, x, grad), weight_shape)).transpose()?,
            bias: bias.then(|| tensor(channel_sums(grad, g.samples, g.map[0]), g.map[0])).transpose()?,
        })
    }
}
