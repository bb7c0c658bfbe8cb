//! Sizes of a convolution, and whether they fit together.

use candle_core::Tensor;

use crate::count::count;
use crate::error::{Error, Result};
use crate::shapes::dims4;

/// Sizes of a convolution from an image to a map. A transposed convolution has the sizes of its adjoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) samples: usize,
    /// Channels, height and width of the image.
    pub(crate) image: [usize; 3],
    /// Channels, height and width of the map.
    pub(crate) map: [usize; 3],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    /// Along the height and along the width; not greater than the side of the padded image.
    pub(crate) stride: [usize; 2],
    /// Along the height and along the width, on either side.
    pub(crate) padding: [usize; 2],
}

impl Geometry {
    /// The convolution of x (N, C, H, W) by a weight (O, C + more, kh, kw), of which `more` channels
    /// belong to another input.
    pub(crate) fn of_convolution(
        x: &Tensor,
        more: usize,
        weight: &Tensor,
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Self> {
        let (samples, channels, height, width) = dims4("input of a convolution", x)?;
        let (outputs, inputs, kernel_height, kernel_width) = dims4("weight of a convolution", weight)?;
        check_stride(stride)?;
        let kernel = [kernel_height, kernel_width];
        let side = |i: usize, image: usize| map_side(image, kernel[i], stride[i], padding[i]);
        let sides =
            side(0, height).zip(side(1, width)).filter(|_| channels.checked_add(more) == Some(inputs));
        let Some((map_height, map_width)) = sides else {
            return Err(Error::Input {
                what: "input of a convolution",
                expected: format!(
                    "(N, {}, H, W) at least as large as the kernel {:?} with padding {padding:?}",
                    inputs.saturating_sub(more),
                    weight.shape()
                ),
                found: x.shape().clone(),
            });
        };
        let image = [channels, height, width];
        Ok(Self { samples, image, map: [outputs, map_height, map_width], kernel, stride, padding }.clamped())
    }

    /// The convolution whose adjoint is the transposed convolution of x (N, C, H, W) by a
    /// weight (C, O, kh, kw).
    pub(crate) fn of_transposed_convolution(
        x: &Tensor,
        weight: &Tensor,
        stride: [usize; 2],
        padding: [usize; 2],
        output_padding: [usize; 2],
    ) -> Result<Self> {
        let (samples, channels, height, width) = dims4("input of a transposed convolution", x)?;
        let (inputs, outputs, kernel_height, kernel_width) =
            dims4("weight of a transposed convolution", weight)?;
        check_stride(stride)?;
        if (0..2).any(|i| output_padding[i] >= stride[i]) {
            let reason = format!("is {output_padding:?}, but must be less than the stride, {stride:?}");
            return Err(Error::Argument { name: "output_padding", reason });
        }
        let kernel = [kernel_height, kernel_width];
        let side =
            |i: usize, map: usize| image_side(map, kernel[i], stride[i], padding[i], output_padding[i]);
        let sides = side(0, height).zip(side(1, width)).filter(|_| inputs == channels);
        let Some((image_height, image_width)) = sides else {
            return Err(Error::Input {
                what: "input of a transposed convolution",
                expected: format!(
                    "(N, {inputs}, H, W) with a result left, for the weight {:?} and padding {padding:?}",
                    weight.shape()
                ),
                found: x.shape().clone(),
            });
        };
        let (image, map) = ([outputs, image_height, image_width], [channels, height, width]);
        Ok(Self { samples, image, map, kernel, stride, padding }.clamped())
    }

    /// Limits the stride to the side of the padded image. A larger stride leaves one position too, but would
    /// need a huge number of phases.
    fn clamped(self) -> Self {
        let stride = [0, 1].map(|i| self.stride[i].min(self.image[i + 1] + 2 * self.padding[i]));
        Self { stride, ..self }
    }

    /// Counts the multiply-adds of one of the three products: every element of the map meets every
    /// weight of its channel.
    pub(crate) fn count(&self) {
        count(&[self.samples, self.map_len(), self.patch()]);
    }

    /// Elements of one kernel over all channels of the image, which is the number of rows of the patch
    /// matrix.
    pub(crate) fn patch(&self) -> usize {
        self.image[0] * self.taps()
    }

    /// Elements of one kernel of one channel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(crate) fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    pub(crate) fn map_len(&self) -> usize {
        self.map.iter().product()
    }

    /// Positions of the map, which is the number of columns of the patch matrix per sample.
    pub(crate) fn positions(&self) -> usize {
        self.map[1] * self.map[2]
    }

    /// Number of samples whose patches form one product: enough columns to make the cost of an incomplete
    /// last panel negligible. A power of two, so that common batch sizes are divided evenly.
    pub(crate) fn group(&self) -> usize {
        128usize.div_ceil(self.positions().max(1)).next_power_of_two().min(self.samples.max(1))
    }
}

/// The side of the map, if the kernel is not empty and fits.
fn map_side(image: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    let padded = padding.checked_mul(2)?.checked_add(image)?;
    Some(padded.checked_sub(kernel)? / stride + 1).filter(|_| kernel > 0)
}

/// The side of the result of a transposed convolution, if it is not empty.
fn image_side(
    map: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    output_padding: usize,
) -> Option<usize> {
    let spread = map.checked_sub(1)?.checked_mul(stride)?;
    let full = spread.checked_add(kernel)?.checked_add(output_padding)?;
    full.checked_sub(padding.checked_mul(2)?).filter(|&side| side > 0 && kernel > 0)
}

fn check_stride(stride: [usize; 2]) -> Result<()> {
    if stride.contains(&0) {
        let reason = format!("is {stride:?}, but must be at least 1 along both axes");
        return Err(Error::Argument { name: "stride", reason });
    }
    Ok(())
}
