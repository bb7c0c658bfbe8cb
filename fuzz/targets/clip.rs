//! Clips in one file: strips, GIFs and animated PNGs.
#![no_main]

use std::fs;
use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, RgbImage, RgbaImage};
use libfuzzer_sys::fuzz_target;
use waxwork_core::{ImageShape, Kind};
use waxwork_data::clips;
use waxwork_fuzz::{scratch, seed};

fn gif(frames: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for number in 0..frames {
        let image = RgbaImage::from_pixel(5, 6, image::Rgba([40 * number, 9, 200, 255]));
        encoder.encode_frame(Frame::new(image)).unwrap();
    }
    drop(encoder);
    bytes
}

fuzz_target!(
    init: {
        let strip = RgbImage::from_fn(12, 4, |x, y| image::Rgb([20 * x as u8, 36 * y as u8, 7]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(strip).write_to(&mut bytes, ImageFormat::Png).unwrap();
        seed("clip", "strip.png", &bytes.into_inner());
        seed("clip", "two.gif", &gif(2));
        seed("clip", "three.gif", &gif(3));
    },
    |bytes: &[u8]| {
        let path = scratch().join("clip");
        fs::write(&path, bytes).unwrap();
        for (frames, image) in [(3, ImageShape::new(3, 4, 4)), (2, ImageShape::new(1, 4, 4))] {
            let kind = Kind::Clip { frames, image };
            if let Ok(clip) = clips::clip(&path, &kind) {
                assert_eq!(clip.len(), kind.bytes());
            }
        }
    }
);
