//! The frames of an animated file, or of a strip that shows them side by side. Bounds the memory before it is
//! taken.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::{AnimationDecoder, DynamicImage, Frames, GenericImageView, ImageDecoder, ImageFormat, Limits};

use super::{MOST_BYTES, Unreadable, container, decode_up_to, opened};

/// Maximum number of frames that are decoded of one file.
pub(crate) const MOST_FRAMES: usize = 4096;

/// Decodes the frames of a GIF, an animated PNG, or a strip: an image whose width is a multiple of its height,
/// with one square frame next to the other. Reads at most one frame beyond `most`, which shows that there are
/// more. The frames take at most half a gibibyte.
pub(crate) fn frames(bytes: &[u8], most: usize) -> Result<Vec<DynamicImage>, Unreadable> {
    let most = most.saturating_add(1).min(MOST_FRAMES);
    let failed = |error: image::ImageError| Unreadable::from(&error);
    let (decoder, format) = opened(bytes, MOST_FRAMES as u32)?;
    let size = decoder.dimensions();
    drop(decoder);
    match format {
        ImageFormat::Gif => {
            container::gif(bytes).map_err(Unreadable)?;
            let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(failed)?;
            decoder.set_limits(Limits::default()).map_err(failed)?;
            taken(decoder.into_frames(), size, most)
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), Limits::default()).map_err(failed)?;
            if !decoder.is_apng().map_err(failed)? {
                return strip(&decode_up_to(bytes, MOST_FRAMES as u32)?, most);
            }
            container::png(bytes).map_err(Unreadable)?;
            taken(decoder.apng().map_err(failed)?.into_frames(), size, most)
        }
        _ => strip(&decode_up_to(bytes, MOST_FRAMES as u32)?, most),
    }
}

/// True if the bytes are an animation with more than one frame.
pub(crate) fn is_animated(bytes: &[u8]) -> bool {
    let guessed = image::guess_format(bytes);
    matches!(guessed, Ok(ImageFormat::Gif | ImageFormat::Png))
        && opened(bytes, MOST_FRAMES as u32).is_ok_and(|(_, format)| match format {
            ImageFormat::Png => {
                let decoder = PngDecoder::with_limits(Cursor::new(bytes), Limits::default());
                decoder.is_ok_and(|decoder| decoder.is_apng().unwrap_or(false))
            }
            _ => frames(bytes, 1).is_ok_and(|frames| frames.len() > 1),
        })
}

/// The first `most` frames of an animation of this size.
fn taken(
    frames: Frames<'_>,
    (width, height): (u32, u32),
    most: usize,
) -> Result<Vec<DynamicImage>, Unreadable> {
    let each = 4 * u64::from(width) * u64::from(height);
    let fit = (MOST_BYTES / each.max(1)) as usize;
    let mut found = Vec::new();
    for frame in frames.take(most) {
        if found.len() >= fit {
            let reason =
                format!("its frames of {width}×{height} pixels take more than {} MiB", MOST_BYTES >> 20);
            return Err(Unreadable(reason));
        }
        let frame = frame.map_err(|error| Unreadable::from(&error))?;
        found.push(DynamicImage::ImageRgba8(frame.into_buffer()));
    }
    match found.len() {
        1 => Err(Unreadable("it is an animation of one frame, not a clip".to_owned())),
        _ => Ok(found),
    }
}

/// The square frames of a strip.
fn strip(picture: &DynamicImage, most: usize) -> Result<Vec<DynamicImage>, Unreadable> {
    let (width, height) = picture.dimensions();
    if !width.is_multiple_of(height.max(1)) {
        return Err(Unreadable(format!(
            "a strip of square frames has a width that is a multiple of its height, not {width}×{height}"
        )));
    }
    match width / height.max(1) {
        0 | 1 => Err(Unreadable(format!(
            "it is one image of {width}×{height}, not a strip: numbered frames belong in a folder per clip, in the folder of its class"
        ))),
        frames => {
            let frame = |at: u32| picture.crop_imm(at * height, 0, height, height);
            Ok((0..frames.min(most as u32)).map(frame).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Frame, ImageEncoder, Rgba, RgbaImage};

    use super::*;

    /// A GIF of frames of one grey each.
    fn gif(greys: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        for &grey in greys {
            let image = RgbaImage::from_pixel(width, height, Rgba([grey, grey, grey, 255]));
            encoder.encode_frame(Frame::new(image)).unwrap();
        }
        drop(encoder);
        bytes
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let pixels: Vec<u8> = (0..width * height).map(|place| (place % width) as u8).collect();
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(&pixels, width, height, image::ExtendedColorType::L8).unwrap();
        bytes
    }

    fn first_pixels(frames: &[DynamicImage]) -> Vec<u8> {
        frames.iter().map(|frame| frame.to_luma8().as_raw()[0]).collect()
    }

    #[test]
    fn animations_give_their_frames_in_order() {
        let file = gif(&[10, 90, 200], (6, 5));
        let found = frames(&file, 10).unwrap();
        assert_eq!(first_pixels(&found), [10, 90, 200]);
        assert_eq!(found[0].dimensions(), (6, 5));
        // One more than asked for, which shows that there are more.
        assert_eq!(frames(&file, 1).unwrap().len(), 2);
        assert!(frames(&gif(&[10], (6, 5)), 10).unwrap_err().0.contains("animation of one frame"));
        let cut = frames(&file[..file.len() - 10], 10).unwrap_err().0;
        assert!(!cut.is_empty());
    }

    #[test]
    fn strips_are_cut_into_squares() {
        let found = frames(&png(12, 4), 10).unwrap();
        assert_eq!(first_pixels(&found), [0, 4, 8]);
        assert_eq!(found[1].dimensions(), (4, 4));
        assert!(frames(&png(13, 4), 10).unwrap_err().0.contains("multiple of its height, not 13×4"));
        assert!(frames(&png(4, 4), 10).unwrap_err().0.contains("one image of 4×4"));
        assert!(frames(&png(4, 8), 10).unwrap_err().0.contains("multiple"));
    }

    /// A file of a few bytes that declares a screen of gigabytes, and one whose frames add up to too much.
    #[test]
    fn bombs_are_refused_before_memory_is_taken() {
        let mut file = gif(&[10, 90], (6, 5));
        file[6..10].copy_from_slice(&[0xff; 4]);
        let reason = frames(&file, 10).unwrap_err().0;
        assert!(reason.to_lowercase().contains("limit") || reason.contains("memory"), "{reason}");
        let many = Frames::new(Box::new(std::iter::repeat_with(|| Ok(Frame::new(RgbaImage::new(1, 1))))));
        let reason = taken(many, (1 << 14, 1 << 12), MOST_FRAMES).unwrap_err().0;
        assert!(reason.contains("512 MiB"), "{reason}");
    }
}
