//! IDX files, raw and gzipped.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use waxwork_data::idx;
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        seed("idx", "labels", &[0, 0, 8, 1, 0, 0, 0, 2, 7, 3]);
        seed("idx", "images", &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6]);
        // python3 -c "import gzip; print(list(gzip.compress(b'\0\0\x08\x01\0\0\0\2\7\3', mtime=0)))"
        let gzipped = [
            31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 99, 96, 224, 96, 100, 96, 96, 96, 98, 103, 6, 0, 100, 107, 212, 67, 10, 0,
            0, 0,
        ];
        seed("idx", "gzipped", &gzipped);
    },
    |bytes: &[u8]| {
        if let Ok(images) = idx::from_bytes(Path::new("images"), bytes, &[2, 3]) {
            assert_eq!(images.bytes.len(), 6 * images.dims[0]);
        }
        if let Ok(labels) = idx::from_bytes(Path::new("labels"), bytes, &[]) {
            assert_eq!(labels.bytes.len(), labels.dims[0]);
        }
    }
);
