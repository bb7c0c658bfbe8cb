//! Images of an image folder, in every format that Waxwork reads.
#![no_main]

use std::fs;
use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use libfuzzer_sys::fuzz_target;
use waxwork_core::ImageShape;
use waxwork_data::folder;
use waxwork_fuzz::{scratch, seed};

/// A progressive JPEG of 20 by 12 pixels, which the image crate cannot encode.
const PROGRESSIVE: &[u8] = include_bytes!("../../crates/data/tests/pictures/progressive.jpg");

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fuzz_target!(
    init: {
        let rgb = RgbImage::from_fn(9, 7, |x, y| image::Rgb([28 * x as u8, 36 * y as u8, 7]));
        seed("picture", "rgb.png", &encoded(rgb.clone(), ImageFormat::Png));
        for (name, format) in [
            ("rgb.jpg", ImageFormat::Jpeg),
            ("rgb.webp", ImageFormat::WebP),
            ("rgb.bmp", ImageFormat::Bmp),
            ("rgb.tiff", ImageFormat::Tiff),
            ("rgb.gif", ImageFormat::Gif),
        ] {
            seed("picture", name, &encoded(rgb.clone(), format));
        }
        seed("picture", "progressive.jpg", PROGRESSIVE);
        seed("picture", "grey.bmp", &encoded(GrayImage::new(6, 5), ImageFormat::Bmp));
        seed("picture", "grey.tiff", &encoded(GrayImage::new(6, 5), ImageFormat::Tiff));
        seed("picture", "rgba.webp", &encoded(RgbaImage::new(4, 6), ImageFormat::WebP));
        seed("picture", "rgba.png", &encoded(RgbaImage::new(4, 6), ImageFormat::Png));
        seed("picture", "grey.png", &encoded(GrayImage::new(5, 5), ImageFormat::Png));
        seed("picture", "grey.jpg", &encoded(GrayImage::new(17, 9), ImageFormat::Jpeg));
        let deep = DynamicImage::from(RgbImage::new(4, 4)).to_rgb16();
        seed("picture", "deep.png", &encoded(deep, ImageFormat::Png));
    },
    |bytes: &[u8]| {
        let path = scratch().join("picture");
        fs::write(&path, bytes).unwrap();
        for shape in [ImageShape::new(3, 4, 4), ImageShape::new(1, 8, 8)] {
            if let Ok(pixels) = folder::picture(&path, shape) {
                assert_eq!(pixels.len(), shape.len());
            }
        }
    }
);
