//! Two-dimensional transposed convolution: the adjoint of a convolution, which makes images larger.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor, WithDType};

use super::buffer::{by_dtype, elements, slice, tensor};
use super::conv::{add_bias, check_stride, dims4};
use super::convolution::{Geometry, channel_sums, image_to_map, map_to_image, weight_gradient};
use super::linear::{Gradients, check_bias};
use super::real::Real;
use crate::{Error, Result};

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
        return Err(Error::Config { key: "output_padding".into(), reason });
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
    if !x.device().is_cpu() {
        #[expect(
            clippy::disallowed_methods,
            reason = "on other devices candle's convolution is the fast one"
        )]
        let y = x.conv_transpose2d(weight, padding, output_padding, stride, 1)?;
        return add_bias(&y, bias);
    }
    let op = ConvTranspose2d(Geometry {
        samples,
        image: [outputs, image_height, image_width],
        map: [channels, height, width],
        kernel: [kernel_height, kernel_width],
        stride,
        padding,
    });
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    Ok(match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op)?,
        None => x.apply_op2(&weight, op)?,
    })
}

struct ConvTranspose2d(Geometry);

impl ConvTranspose2d {
    fn forward(
        &self,
        (s1, l1): (&CpuStorage, &Layout),
        (s2, l2): (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(s1.dtype(), T => {
            let bias = bias.map(|(s, l)| slice(s, l)).transpose()?;
            T::to_cpu_storage_owned(map_to_image::<T>(&self.0, slice(s1, l1)?, slice(s2, l2)?, bias))
        });
        let [channels, height, width] = self.0.image;
        Ok((out, Shape::from((self.0.samples, channels, height, width))))
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        grad: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let g = &self.0;
        let (x_shape, weight_shape) = (x.shape(), weight.shape());
        let (for_x, for_weight) = (x.track_op(), weight.track_op());
        elements!(T; x, weight, grad);
        Ok(Gradients {
            x: for_x.then(|| tensor(image_to_map(g, grad, weight, None), x_shape)).transpose()?,
            weight: for_weight.then(|| tensor(weight_gradient(g, grad, x), weight_shape)).transpose()?,
            bias: bias.then(|| tensor(channel_sums(grad, g.samples, g.image[0]), g.image[0])).transpose()?,
        })
    }
}

impl CustomOp2 for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "waxwork-conv-transpose2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = by_dtype!(x.dtype(), T => self.backward::<T>(x, weight, false, grad))?;
        Ok((gradients.x, gradients.weight))
    }
}

impl CustomOp3 for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "waxwork-conv-transpose2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), Some((s3, l3)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = by_dtype!(x.dtype(), T => self.backward::<T>(x, weight, bias.track_op(), grad))?;
        Ok((gradients.x, gradients.weight, gradients.bias))
    }
}
