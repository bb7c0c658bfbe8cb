//! The IDX reader: raw and gzipped files, every kind of damage, and headers that lie.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use waxwork_data::Error;
use waxwork_data::idx::{from_bytes, read, read_at_most};

fn file(dims: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn message(bytes: &[u8], item: &[usize]) -> String {
    let error = from_bytes(Path::new("some/file"), bytes, item).unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("some/file"), "{text}");
    text
}

#[test]
fn raw_and_gzipped_files_read_the_same_under_any_name() {
    let raw = file(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("raw.gz"), dir.path().join("packed"));
    fs::write(&a, &raw).unwrap();
    fs::write(&b, gzip(&raw)).unwrap();
    let images = read(&a, &[2, 3]).unwrap();
    assert_eq!(images.dims, [2, 2, 3]);
    assert_eq!(images.bytes, (1..=12).collect::<Vec<u8>>());
    assert_eq!(images, read(&b, &[2, 3]).unwrap());
    // python3 -c "import hashlib; print(hashlib.sha256(b'\0\0\x08\x01\0\0\0\x02\7\3').hexdigest())"
    let labels = from_bytes(Path::new("l"), &file(&[2], &[7, 3]), &[]).unwrap();
    assert_eq!(labels.sha256, LABELS_SHA256);
}
const LABELS_SHA256: &str = "6174a6c654c87759472d10d1f90d3efb371aea588b47170672f6ff26dbdf37e9";

#[test]
fn damage_is_named() {
    let good = file(&[2, 2, 2], &[0; 8]);
    assert!(message(&[], &[2, 2]).contains("empty"));
    assert!(message(&good[..3], &[2, 2]).contains("header"));
    assert!(message(&good[..10], &[2, 2]).contains("header"));
    assert!(message(&good[..20], &[2, 2]).contains("expected 8 bytes after the header, found 4"));
    assert!(message(&[good.clone(), vec![0]].concat(), &[2, 2]).contains("found more"));
    assert!(message(&good, &[]).contains("00000801"));
    assert!(message(&good, &[2, 3]).contains("[2, 3]"));
    let packed = gzip(&good);
    assert!(message(&packed[..packed.len() - 12], &[2, 2]).contains("gzip"));
    assert!(message(&[0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[2, 2]).contains("gzip"));
    assert!(message(&gzip(&[good, vec![0]].concat()), &[2, 2]).contains("found more"));
    let missing = read(Path::new("no/such/file"), &[]).unwrap_err();
    assert!(matches!(missing, Error::Io { operation: "open", .. }), "{missing}");
}

#[test]
fn detects_a_flipped_byte_in_a_gzip_file() {
    let body: Vec<u8> = (0..2000u32).map(|i| (i * i % 251) as u8).collect();
    let mut packed = gzip(&file(&[2000], &body));
    let middle = packed.len() / 2;
    packed[middle] ^= 0x10;
    message(&packed, &[]);
}

#[test]
fn false_headers_cost_no_memory() {
    // 4 billion images of 28×28 in a file of twenty bytes, then sizes whose product overflows.
    assert!(message(&file(&[u32::MAX, 28, 28], &[1, 2, 3, 4]), &[28, 28]).contains("found 4"));
    let huge = u32::MAX as usize;
    message(&file(&[u32::MAX, u32::MAX, u32::MAX], &[]), &[huge, huge]);
    // A gzip bomb: the header promises four bytes, sixty-four megabytes follow; reading stops after one.
    let bomb = gzip(&file(&[4], &vec![0; 64 << 20]));
    assert!(message(&bomb, &[]).contains("found more"));
    // An honest one: it is all there, but not what was asked for.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("labels.gz");
    fs::write(&path, gzip(&file(&[64 << 20], &vec![0; 64 << 20]))).unwrap();
    let error = read_at_most(&path, &[], 60_000).unwrap_err().to_string();
    assert!(error.contains("at most 60000 items, found 67108864"), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_bytes(Path::new("x"), &bytes, &[28, 28]);
        let _ = from_bytes(Path::new("x"), &bytes, &[]);
    }

    #[test]
    fn random_bytes_behind_a_true_start_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), gz: bool,
    ) {
        let bytes = [if gz { vec![0x1f, 0x8b, 8, 0] } else { vec![0, 0, 8, 3] }, bytes].concat();
        if let Ok(images) = from_bytes(Path::new("x"), &bytes, &[1, 1]) {
            prop_assert_eq!(images.bytes.len(), images.dims[0]);
        }
    }

    #[test]
    fn reads_what_was_written(body in proptest::collection::vec(any::<u8>(), 0..300), gz: bool) {
        let raw = file(&[body.len() as u32], &body);
        let read = from_bytes(Path::new("x"), &if gz { gzip(&raw) } else { raw }, &[]).unwrap();
        prop_assert_eq!(read.bytes, body);
    }
}
