//! Complete images of every format, truncated or with a few bytes changed at offsets that the input chooses.
//! What decodes must have the size of the image, and an image that is only truncated must not decode.
#![no_main]

use std::fs;
use std::io::Cursor;
use std::sync::LazyLock;

use image::{DynamicImage, ImageFormat, RgbImage};
use libfuzzer_sys::fuzz_target;
use waxwork_core::ImageShape;
use waxwork_data::folder;
use waxwork_fuzz::{scratch, seed};

const SHAPE: ImageShape = ImageShape::new(3, 24, 32);
/// Formats whose last byte is part of the pixels or of the end marker.
const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp];

static WHOLE: LazyLock<[Vec<u8>; 5]> = LazyLock::new(|| {
    let picture = RgbImage::from_fn(32, 24, |x, y| image::Rgb([(8 * x) as u8, (10 * y) as u8, (x * y) as u8]));
    FORMATS.map(|format| {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(picture.clone()).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    })
});

fuzz_target!(
    init: {
        for format in 0..5u8 {
            seed("cuts", &format!("cut-{format}"), &[format, 100, 0]);
            seed("cuts", &format!("change-{format}"), &[format, 0, 0, 40, 0, 0xff, 90, 0, 0xd9]);
        }
    },
    |input: &[u8]| {
        let &[format, low, high, ref changes @ ..] = input else { return };
        let whole = &WHOLE[usize::from(format) % 5];
        let place = |low: u8, high: u8| usize::from(u16::from_le_bytes([low, high])) % whole.len();
        let mut bytes = whole.clone();
        for change in changes.chunks_exact(3) {
            bytes[place(change[0], change[1])] = change[2];
        }
        let untouched = bytes == *whole;
        let cut = place(low, high);
        bytes.truncate(whole.len() - cut);
        let path = scratch().join("cut");
        fs::write(&path, &bytes).unwrap();
        match folder::picture(&path, SHAPE) {
            Ok(pixels) => assert!(pixels.len() == SHAPE.len() && !(untouched && cut > 0), "{cut} bytes are missing"),
            Err(error) => assert!(!untouched || cut > 0, "{error}"),
        }
    }
);
