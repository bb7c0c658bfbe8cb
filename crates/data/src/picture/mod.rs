//! Converts an image file to an image of one shape. Bounds the memory, and accepts only complete files.

pub(crate) mod animation;
mod bits;
mod container;
mod jpeg;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use waxwork_core::ImageShape;

use crate::{Error, Result};

/// Endings of files that are read as images. The first bytes of a file determine its format.
pub(crate) const ENDINGS: [&str; 10] =
    ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"];
/// Endings of images that are not supported.
pub(crate) const OTHER_ENDINGS: [&str; 34] = [
    "ai", "apng", "arw", "avif", "cr2", "cr3", "dds", "dib", "dng", "eps", "exr", "hdr", "heic", "heif",
    "ico", "j2k", "jp2", "jpf", "jpx", "jxl", "nef", "orf", "pbm", "pcx", "pgm", "pnm", "ppm", "psd", "qoi",
    "raf", "raw", "rw2", "svg", "tga",
];
/// Maximum number of bytes of a file, and of a decoded image.
pub(crate) const MOST_BYTES: u64 = 512 << 20;
/// The largest ratio between the sides of an image. A longer strip would take many times its own memory on
/// the way to a square.
const LONGEST_STRIP: u32 = 100;

/// The reason why an image cannot be used, in words that follow its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) String);

impl Unreadable {
    /// Converts a decoder's error. Some have several lines, of which the first is the cause.
    fn from(said: &dyn std::fmt::Display) -> Self {
        let said = said.to_string();
        let line = said.lines().map(str::trim).find(|line| !line.is_empty());
        Self(line.unwrap_or("unknown error").to_owned())
    }

    pub(crate) fn at(self, path: &Path) -> Error {
        Error::Picture { path: path.to_path_buf(), reason: self.0 }
    }

    /// As [`Unreadable::at`], for a file of a clip.
    pub(crate) fn in_clip(self, path: &Path) -> Error {
        Error::Clip { path: path.to_path_buf(), reason: self.0 }
    }
}

/// The header of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Columns and rows after rotation to upright.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// False for greyscale images.
    pub(crate) colour: bool,
}

impl Header {
    pub(crate) fn shorter_side(&self) -> usize {
        self.width.min(self.height) as usize
    }
}

/// Reads the image in a file: its middle, scaled to `shape`, channel first. The image itself takes at most
/// half a gibibyte, however large its header says that it is.
///
/// # Errors
/// [`Error::Io`]; [`Error::Picture`] if it is not a complete image, is too large, or has sides in a ratio
/// above 100; [`Error::TooSmall`].
pub fn picture(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    fit(path, decode(&read(path)?).map_err(|why| why.at(path))?, shape)
}

/// Reads the bytes of a file.
///
/// # Errors
/// [`Error::Io`], [`Error::Picture`] if it is too large.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, MOST_BYTES)
}

/// [`read`] for a file of at most `most` bytes.
pub(crate) fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let mut bytes = Vec::with_capacity(length.min(most) as usize);
    file.take(most + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > most {
        return Err(Unreadable(format!("it is larger than {} MiB", most >> 20)).at(path));
    }
    Ok(bytes)
}

/// Reads the header of an image, and nothing else of it.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Unreadable> {
    let (mut decoder, _) = opened(bytes, LONGEST_STRIP)?;
    let (mut width, mut height) = decoder.dimensions();
    let colour = decoder.color_type().has_color();
    if turned(decoder.orientation().map_err(|error| Unreadable::from(&error))?) {
        std::mem::swap(&mut width, &mut height);
    }
    Ok(Header { width, height, colour })
}

/// Decodes an image at its own size, rotated to upright. An animation gives its first frame. Takes at most
/// half a gibibyte.
pub(crate) fn decode(bytes: &[u8]) -> Result<DynamicImage, Unreadable> {
    decode_up_to(bytes, LONGEST_STRIP)
}

/// [`decode`] for an image whose longer side is at most `longest` times the shorter one.
fn decode_up_to(bytes: &[u8], longest: u32) -> Result<DynamicImage, Unreadable> {
    let (mut decoder, format) = opened(bytes, longest)?;
    match format {
        ImageFormat::Jpeg => jpeg::check(bytes),
        ImageFormat::Png => container::png(bytes),
        ImageFormat::Gif => container::gif(bytes),
        ImageFormat::WebP => container::webp(bytes),
        _ => Ok(()),
    }
    .map_err(Unreadable)?;
    // Photographs from phones are often stored rotated, with the orientation in the header.
    let orientation = decoder.orientation().map_err(|error| Unreadable::from(&error))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| Unreadable::from(&error))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Returns the decoder of an image, after checking that its size is within bounds, and that its longer side is
/// at most `longest` times the shorter one.
fn opened(bytes: &[u8], longest: u32) -> Result<(impl ImageDecoder + '_, ImageFormat), Unreadable> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| Unreadable::from(&error))?;
    let format = reader.format().ok_or_else(|| Unreadable("it is not an image of a known format".into()))?;
    let decoder = reader.into_decoder().map_err(|error| Unreadable::from(&error))?;
    // By default, limits apply to the decoder's own allocations, not to its output. This line limits the
    // output.
    Limits::default().reserve(decoder.total_bytes()).map_err(|error| Unreadable::from(&error))?;
    let (width, height) = decoder.dimensions();
    if width.max(height) / width.min(height).max(1) > longest {
        return Err(Unreadable(format!("{width}×{height} is a strip, not an image")));
    }
    Ok((decoder, format))
}

/// Whether the orientation swaps rows and columns.
fn turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Scales and crops the middle of an image to `shape`, channel first. `path` is the file that it came from.
pub(crate) fn fit(path: &Path, mut picture: DynamicImage, shape: ImageShape) -> Result<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    if (width as usize) < shape.width || (height as usize) < shape.height {
        let (path, largest) = (path.to_path_buf(), width.min(height) as usize);
        return Err(Error::TooSmall { path, width, height, size: shape.height, others: 0, largest });
    }
    if (width as usize, height as usize) != (shape.width, shape.height) {
        picture = picture.resize_to_fill(shape.width as u32, shape.height as u32, FilterType::CatmullRom);
    }
    Ok(channel_first(&picture, shape.channels))
}

/// Returns the pixels, rows from the top and columns from the left, one plane per channel: grey for one
/// channel; red, green and blue for three.
pub(crate) fn channel_first(picture: &DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return picture.to_luma8().into_raw();
    }
    let interleaved = picture.to_rgb8().into_raw();
    (0..channels).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests;
