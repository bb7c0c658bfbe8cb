//! Two-dimensional convolution.

use candle_core::{Shape, Tensor};

use super::activation::{Activation, activate};
use super::buffer::{elements, tensor};
use super::composed;
use super::convolution::{Geometry, channel_sums, image_to_map, map_to_image, weight_gradient};
use super::real::Real;
use super::weighted::{self, Gradients, Weighted, check_bias};
use crate::device::runs_on_cpu_kernels;
use crate::{Error, Result};

/// f of a cross-correlation, as deep learning has it: x (N, C, H, W), weight (O, C, kh, kw), bias (O) → (N, O, H', W')
/// with H' = (H + 2·padding − kh) / stride + 1 rounded down, W' alike. Differentiable in x, weight and bias.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    activation: Activation,
) -> Result<Tensor> {
    activation.check()?;
    let geometry = geometry(x, 0, weight, stride, padding)?;
    check_bias(bias, geometry.map[0])?;
    if !runs_on_cpu_kernels(x.device()) {
        let sizes = composed::Sizes { stride, padding, image: [geometry.image[1], geometry.image[2]] };
        return composed::conv2d(x, weight, bias, sizes, activation);
    }
    let (fused, after) = activation.split();
    activate(&weighted::apply(Conv2d(geometry, fused), x, weight, bias)?, after)
}

/// Sizes of a convolution of x (N, C, H, W), with so many more channels beside its own, by a weight.
pub(super) fn geometry(
    x: &Tensor,
    beside: usize,
    weight: &Tensor,
    stride: usize,
    padding: usize,
) -> Result<Geometry> {
    let (samples, channels, height, width) = dims4("input of a convolution", x)?;
    let (outputs, inputs, kernel_height, kernel_width) = dims4("weight of a convolution", weight)?;
    check_stride(stride)?;
    let fits = inputs == channels + beside
        && kernel_height > 0
        && kernel_width > 0
        && height + 2 * padding >= kernel_height
        && width + 2 * padding >= kernel_width;
    if !fits {
        return Err(Error::Input {
            what: "input of a convolution",
            expected: format!(
                "(N, {}, H, W) at least as large as the kernel {:?} with padding {padding}",
                inputs.saturating_sub(beside),
                weight.shape()
            ),
            found: x.shape().clone(),
        });
    }
    let map_height = (height + 2 * padding - kernel_height) / stride + 1;
    let map_width = (width + 2 * padding - kernel_width) / stride + 1;
    Ok(Geometry {
        samples,
        image: [channels, height, width],
        map: [outputs, map_height, map_width],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
    })
}

pub(super) fn dims4(what: &'static str, tensor: &Tensor) -> Result<(usize, usize, usize, usize)> {
    tensor.dims4().map_err(|_| Error::Input {
        what,
        expected: "four dimensions".into(),
        found: tensor.shape().clone(),
    })
}

pub(super) fn check_stride(stride: usize) -> Result<()> {
    if stride == 0 {
        return Err(Error::Argument { name: "stride", reason: "must be at least 1".into() });
    }
    Ok(())
}

struct Conv2d(Geometry, Activation);

impl Weighted for Conv2d {
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
    ) -> candle_core::Result<Gradients> {
        let g = &self.0;
        let (x_shape, weight_shape) = (x.shape(), weight.shape());
        let (for_x, for_weight) = (x.track_op(), weight.track_op());
        elements!(T; x, weight, y, grad);
        let grad = &*self.1.through(y, grad);
        Ok(Gradients {
            x: for_x.then(|| tensor(map_to_image(g, grad, weight, None), x_shape)).transpose()?,
            weight: for_weight.then(|| tensor(weight_gradient(g, x, grad), weight_shape)).transpose()?,
            bias: bias.then(|| tensor(channel_sums(grad, g.samples, g.map[0]), g.map[0])).transpose()?,
        })
    }
}
