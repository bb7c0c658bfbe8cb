//! The frames of an animated file, or of a strip that shows them side by side. Bounds the memory before it is
//! taken.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageFormat, Limits};

use super::{LONGEST_STRIP, MOST_BYTES, Unreadable, container, decode, decode_up_to, opened, turned};

/// Maximum number of frames that are decoded of one file.
pub(crate) const MOST_FRAMES: usize = 4096;
/// Maximum number of bytes of a file of a clip, and of a decoded strip.
pub(crate) const MOST_STRIP: u64 = 128 << 20;
/// Maximum number of bytes of one decoded frame. A frame of 3840×2160 pixels with transparency takes half of it.
const MOST_FRAME: u64 = 64 << 20;

/// Receives the frames of a clip, one after the other.
pub(crate) type Each<'a> = dyn FnMut(DynamicImage) -> Result<(), Unreadable> + 'a;

/// Decodes the frames of a GIF, an animated PNG, or a strip: an image whose width is a multiple of its
/// height, with one square frame next to the other. Passes them to `each`, and returns their number. Reads at
/// most one frame beyond `most`, which shows that there are more.
///
/// Only one frame, or the strip, is in memory at once. Its size is checked before it is decoded. All frames of
/// an animation together have at most half a gibibyte, which bounds the time that a small file can take.
pub(crate) fn frames(bytes: &[u8], most: usize, each: &mut Each<'_>) -> Result<usize, Unreadable> {
    let most = most.min(MOST_FRAMES) + 1;
    let failed = |error: image::ImageError| Unreadable::from(&error);
    let (decoder, format) = opened(bytes, MOST_FRAMES as u32)?;
    let size = decoder.dimensions();
    drop(decoder);
    match format {
        ImageFormat::Gif => {
            container::gif(bytes).map_err(Unreadable)?;
            let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(failed)?;
            decoder.set_limits(Limits::default()).map_err(failed)?;
            shown(decoder.into_frames(), size, most, each)
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), Limits::default()).map_err(failed)?;
            if !decoder.is_apng().map_err(failed)? {
                return strip(bytes, most, each);
            }
            container::png(bytes).map_err(Unreadable)?;
            shown(decoder.apng().map_err(failed)?.into_frames(), size, most, each)
        }
        _ => strip(bytes, most, each),
    }
}

/// Decodes an image that is one frame of a clip.
pub(crate) fn frame(bytes: &[u8]) -> Result<DynamicImage, Unreadable> {
    let (decoder, _) = opened(bytes, LONGEST_STRIP)?;
    let ((width, height), declared) = (decoder.dimensions(), decoder.total_bytes());
    drop(decoder);
    if declared > MOST_FRAME {
        return Err(too_large(width, height, "a frame", MOST_FRAME));
    }
    decode(bytes)
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
            _ => frames(bytes, 1, &mut |_| Ok(())).is_ok_and(|found| found > 1),
        })
}

/// Whether an image is a single frame: not an animation and, by its size, not a strip. None if it cannot be
/// read.
pub(crate) fn is_still(bytes: &[u8]) -> Option<bool> {
    let (mut decoder, _) = opened(bytes, MOST_FRAMES as u32).ok()?;
    let (width, height) = upright(&mut decoder).ok()?;
    drop(decoder);
    Some(count(width, height).is_err() && !is_animated(bytes))
}

fn too_large(width: u32, height: u32, what: &str, most: u64) -> Unreadable {
    Unreadable(format!(
        "its {width}×{height} pixels take more than the {} MiB that {what} may take",
        most >> 20
    ))
}

/// Gives the frames of an animation of this size, at most `most`, to `each`.
fn shown(
    frames: Frames<'_>,
    (width, height): (u32, u32),
    most: usize,
    each: &mut Each<'_>,
) -> Result<usize, Unreadable> {
    let one = 4 * u64::from(width) * u64::from(height);
    if one > MOST_FRAME {
        return Err(too_large(width, height, "a frame", MOST_FRAME));
    }
    let fit = (MOST_BYTES / one.max(1)) as usize;
    let mut found = 0;
    for frame in frames.take(most) {
        if found >= fit {
            let reason =
                format!("its frames of {width}×{height} pixels take more than {} MiB", MOST_BYTES >> 20);
            return Err(Unreadable(reason));
        }
        let frame = frame.map_err(|error| Unreadable::from(&error))?;
        each(DynamicImage::ImageRgba8(frame.into_buffer()))?;
        found += 1;
    }
    match found {
        0 => Err(Unreadable("it is an animation without frames".to_owned())),
        1 => Err(Unreadable("it is an animation of one frame, not a clip".to_owned())),
        found => Ok(found),
    }
}

/// Columns and rows of an image after rotation to upright.
fn upright(decoder: &mut impl ImageDecoder) -> Result<(u32, u32), Unreadable> {
    let (width, height) = decoder.dimensions();
    let orientation = decoder.orientation().map_err(|error| Unreadable::from(&error))?;
    Ok(if turned(orientation) { (height, width) } else { (width, height) })
}

/// The number of square frames in a strip of this size.
fn count(width: u32, height: u32) -> Result<u32, Unreadable> {
    if height == 0 || !width.is_multiple_of(height) {
        return Err(Unreadable(format!(
            "a strip of square frames has a width that is a multiple of its height, not {width}×{height}"
        )));
    }
    match width / height {
        0 | 1 => Err(Unreadable(format!(
            "it is one image of {width}×{height}, not a strip: numbered frames belong in a folder per clip"
        ))),
        frames => Ok(frames),
    }
}

/// Gives the square frames of a strip, at most `most`, to `each`.
fn strip(bytes: &[u8], most: usize, each: &mut Each<'_>) -> Result<usize, Unreadable> {
    let (mut decoder, _) = opened(bytes, MOST_FRAMES as u32)?;
    let ((width, height), declared) = (upright(&mut decoder)?, decoder.total_bytes());
    drop(decoder);
    let frames = count(width, height)?.min(most as u32);
    if declared > MOST_STRIP {
        return Err(too_large(width, height, "a strip", MOST_STRIP));
    }
    let picture = decode_up_to(bytes, MOST_FRAMES as u32)?;
    for at in 0..frames {
        each(picture.crop_imm(at * height, 0, height, height))?;
    }
    Ok(frames as usize)
}

#[cfg(test)]
mod tests {
    use image::codecs::gif::GifEncoder;
    use image::{Frame, GenericImageView, ImageEncoder, Rgba, RgbaImage};

    use super::*;

    /// The frames in a list.
    fn listed(bytes: &[u8], most: usize) -> Result<Vec<DynamicImage>, Unreadable> {
        let mut all = Vec::new();
        let count = frames(bytes, most, &mut |frame| {
            all.push(frame);
            Ok(())
        })?;
        assert_eq!(count, all.len());
        Ok(all)
    }

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
        let found = listed(&file, 10).unwrap();
        assert_eq!(first_pixels(&found), [10, 90, 200]);
        assert_eq!(found[0].dimensions(), (6, 5));
        // One more than asked for, which shows that there are more.
        assert_eq!(listed(&file, 1).unwrap().len(), 2);
        assert!(listed(&gif(&[10], (6, 5)), 10).unwrap_err().0.contains("animation of one frame"));
        let cut = listed(&file[..file.len() - 10], 10).unwrap_err().0;
        assert!(!cut.is_empty());
    }

    #[test]
    fn strips_are_cut_into_squares() {
        let found = listed(&png(12, 4), 10).unwrap();
        assert_eq!(first_pixels(&found), [0, 4, 8]);
        assert_eq!(found[1].dimensions(), (4, 4));
        assert!(listed(&png(13, 4), 10).unwrap_err().0.contains("multiple of its height, not 13×4"));
        assert!(listed(&png(4, 4), 10).unwrap_err().0.contains("one image of 4×4"));
        assert!(listed(&png(4, 8), 10).unwrap_err().0.contains("multiple"));
    }

    /// A file of a few bytes that declares a screen of gigabytes, and one whose frames add up to too much.
    #[test]
    fn bombs_are_refused_before_memory_is_taken() {
        let mut file = gif(&[10, 90], (6, 5));
        file[6..10].copy_from_slice(&[0xff; 4]);
        let reason = listed(&file, 10).unwrap_err().0;
        assert!(reason.to_lowercase().contains("limit") || reason.contains("memory"), "{reason}");
        // Sixteen frames of 32 MiB are as many as there may be.
        let many = || Frames::new(Box::new(std::iter::repeat_with(|| Ok(Frame::new(RgbaImage::new(1, 1))))));
        let mut seen = 0;
        let reason = shown(many(), (1 << 12, 1 << 11), MOST_FRAMES, &mut |_| {
            seen += 1;
            Ok(())
        });
        assert!(reason.unwrap_err().0.contains("512 MiB") && seen == 16, "{seen}");
        // A frame that is too large is not decoded at all.
        let reason = shown(many(), (1 << 13, 1 << 12), MOST_FRAMES, &mut |_| panic!("a frame was decoded"));
        let reason = reason.unwrap_err().0;
        assert!(reason.contains("8192×4096 pixels take more than the 64 MiB that a frame may"), "{reason}");
    }

    /// A PNG whose header declares 32768×8192 pixels of `channels` channels, and that has no pixels.
    fn declared(channels: u8) -> Vec<u8> {
        let mut bytes = png(2, 1);
        bytes[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x20, 0]);
        bytes[25] = if channels == 4 { 6 } else { 0 };
        let checksum = {
            let mut checksum = flate2::Crc::new();
            checksum.update(&bytes[12..29]);
            checksum.sum()
        };
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// What a header declares is refused before anything is decoded: as one frame, and as a strip.
    #[test]
    fn large_strips_and_frames_are_refused_by_their_header() {
        let reason = |result: Result<usize, Unreadable>| result.unwrap_err().0;
        let strip = |bytes: &[u8]| frames(bytes, 100, &mut |_| Ok(()));
        // 1 GiB with four channels is over the limit of any image, and 256 MiB over that of a strip.
        assert!(!reason(strip(&declared(4))).contains("MiB that a strip may take"));
        let found = reason(strip(&declared(1)));
        assert!(
            found.contains("32768×8192 pixels take more than the 128 MiB that a strip may take"),
            "{found}"
        );
        let found = frame(&declared(1)).unwrap_err().0;
        assert!(found.contains("64 MiB that a frame may take"), "{found}");
    }

    #[test]
    fn a_still_is_told_from_a_strip_and_an_animation() {
        assert_eq!(is_still(&png(4, 4)), Some(true));
        assert_eq!(is_still(&png(13, 4)), Some(true));
        assert_eq!(is_still(&png(8, 4)), Some(false));
        assert_eq!(is_still(&gif(&[10, 90], (5, 5))), Some(false));
        assert_eq!(is_still(b"no image"), None);
    }
}
