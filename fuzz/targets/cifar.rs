//! The binary files of CIFAR-10, here with images of 2×2.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use waxwork_core::ImageShape;
use waxwork_data::cifar;
use waxwork_fuzz::seed;

fuzz_target!(
    init: seed("cifar", "two", &[9; 26]),
    |bytes: &[u8]| {
        if let Ok((pixels, labels)) = cifar::records(Path::new("x"), bytes, ImageShape::new(3, 2, 2), 10) {
            assert_eq!(pixels.len(), 12 * labels.len());
        }
    }
);
