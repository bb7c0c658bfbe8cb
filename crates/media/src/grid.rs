//! Grids of images, and their PNG encoding.

use candle_core::Tensor;

use crate::{Error, Result};

/// An 8-bit image with rows from the top and interleaved channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// `height · width · channels` values.
    pub pixels: Vec<u8>,
}

/// Pixels between two images of a grid.
const GAP: usize = 2;
/// Grey value of the gaps.
const GAP_VALUE: u8 = 64;

/// Lays out a batch of images `(N, C, H, W)` in [0, 1] in reading order, with `columns` images per row.
///
/// # Errors
/// If the tensor is not a batch of grey or RGB images, or is empty.
pub fn grid(images: &Tensor, columns: usize) -> Result<Picture> {
    let wrong = || Error::Shape {
        what: "a grid of images",
        expected: "(N, 1 or 3, H, W) with N > 0",
        found: images.shape().clone(),
    };
    let (n, channels, height, width) = images.dims4().map_err(|_| wrong())?;
    if n == 0 || columns == 0 || !(channels == 1 || channels == 3) {
        return Err(wrong());
    }
    let columns = columns.min(n);
    let rows = n.div_ceil(columns);
    let (full_width, full_height) = (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP);
    let mut pixels = vec![GAP_VALUE; full_width * full_height * channels];
    let values = to_u8(images)?;
    for (i, image) in values.chunks_exact(channels * height * width).enumerate() {
        let (left, top) = (GAP + (i % columns) * (width + GAP), GAP + (i / columns) * (height + GAP));
        for (p, &value) in image.iter().enumerate() {
            let (c, y, x) = (p / (height * width), p / width % height, p % width);
            pixels[((top + y) * full_width + left + x) * channels + c] = value;
        }
    }
    Ok(Picture { width: full_width, height: full_height, channels, pixels })
}

/// Alternates rows of `columns` samples `(N, ..)` from `above` and the matching rows from `below`. If a short
/// last row follows a full one, it is padded with zeros, so that the pairs stay aligned.
///
/// # Errors
/// If the tensors have other shapes.
pub fn interleaved(above: &Tensor, below: &Tensor, columns: usize) -> Result<Tensor> {
    let n = above.dims().first().copied().unwrap_or_default();
    if above.dims() != below.dims() || n == 0 || columns == 0 {
        let found = below.shape().clone();
        return Err(Error::Shape {
            what: "the second of two batches",
            expected: "the shape of the first",
            found,
        });
    }
    let mut rows = Vec::new();
    for first in (0..n).step_by(columns) {
        let count = columns.min(n - first);
        let filled = if first == 0 { 0 } else { columns - count };
        for part in [above, below] {
            rows.push(part.narrow(0, first, count)?.pad_with_zeros(0, 0, filled)?);
        }
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// One image `(C, H, W)` in [0, 1], without a frame.
///
/// # Errors
/// If it is not a `(C, H, W)` with one or three channels.
pub fn single(image: &Tensor) -> Result<Picture> {
    let wrong =
        || Error::Shape { what: "an image", expected: "(1 or 3, H, W)", found: image.shape().clone() };
    let (channels, height, width) = image.dims3().map_err(|_| wrong())?;
    if !(channels == 1 || channels == 3) {
        return Err(wrong());
    }
    Ok(Picture { width, height, channels, pixels: to_u8(&image.permute((1, 2, 0))?)? })
}

/// Values in [0, 1] to the nearest of 0..=255; finite values outside are clamped.
///
/// # Errors
/// [`Error::NotFinite`] if a value is NaN or infinite.
pub fn to_u8(images: &Tensor) -> Result<Vec<u8>> {
    let values = images.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { place, value: values[place] });
    }
    Ok(values.into_iter().map(|value| (value * 255.0).round().clamp(0.0, 255.0) as u8).collect())
}

impl Picture {
    /// The pixels as red, green and blue.
    pub(crate) fn rgb(&self) -> Vec<u8> {
        match self.channels {
            1 => self.pixels.iter().flat_map(|value| [*value; 3]).collect(),
            _ => self.pixels.clone(),
        }
    }

    /// Encodes the image as a PNG file.
    ///
    /// # Errors
    /// If the size does not fit a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(if self.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn images_stand_upright_in_reading_order() {
        let images = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((2, 1, 2, 3)).unwrap();
        let picture = grid(&(images / 255.0).unwrap(), 2).unwrap();
        assert_eq!((picture.width, picture.height, picture.channels), (12, 6, 1));
        let row = |y: usize| &picture.pixels[y * 12..(y + 1) * 12];
        assert_eq!(row(2)[2..5], [0, 1, 2]);
        assert_eq!(row(3)[2..5], [3, 4, 5]);
        assert_eq!(row(2)[7..10], [6, 7, 8]);
        assert_eq!(row(0), [GAP_VALUE; 12]);
        let decoder = png::Decoder::new(std::io::Cursor::new(picture.png().unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; picture.pixels.len()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, picture.pixels);
    }

    #[test]
    fn rejects_invalid_batches_of_images() {
        let two = Tensor::zeros((2, 2, 4, 4), DType::F32, &Device::Cpu).unwrap();
        assert!(grid(&two, 4).is_err());
        assert!(grid(&two.narrow(0, 0, 0).unwrap(), 4).is_err());
        let nan = Tensor::new(&[[[[0.5f32, f32::NAN]]]], &Device::Cpu).unwrap();
        let error = grid(&nan, 4).unwrap_err().to_string();
        assert_eq!(error, "value 1 of the images is NaN, which cannot be drawn");
    }
}
