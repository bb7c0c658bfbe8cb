//! Sizes of a convolution.

use candle_core::Tensor;

use crate::count::count;
use crate::error::{Error, Result};
use crate::shapes::dims4;

/// Sizes of a convolution, seen from the image to the map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) samples: usize,
    /// Channels, height and width of the image.
    pub(crate) image: [usize; 3],
    /// Channels, height and width of the map.
    pub(crate) map: [usize; 3],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Geometry {
    /// Every entry of the map meets every weight of its output channel: in each of the three products.
    pub(crate) fn count(&self) {
        count(&[self.samples, self.map_len(), self.patch()]);
    }

    /// Elements of one kernel over all image channels: the rows of the patch matrix.
    pub(crate) fn patch(&self) -> usize {
        self.image[0] * self.taps()
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(crate) fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    pub(crate) fn map_len(&self) -> usize {
        self.map.iter().product()
    }

    /// Positions of the map: the columns of the patch matrix of one sample.
    pub(crate) fn positions(&self) -> usize {
        self.map[1] * self.map[2]
    }

    /// Samples whose patches go into one product: enough columns that a last panel which is not full hardly counts. A
    /// power of two, so that the usual batches are shared out evenly.
    pub(crate) fn group(&self) -> usize {
        128usize.div_ceil(self.positions().max(1)).next_power_of_two().min(self.samples.max(1))
    }
}

/// Sizes of a convolution of x (N, C, H, W), with so many more channels beside its own, by a weight.
pub(crate) fn geometry(
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

pub(crate) fn check_stride(stride: usize) -> Result<()> {
    if stride == 0 {
        return Err(Error::Argument { name: "stride", reason: "must be at least 1".into() });
    }
    Ok(())
}
