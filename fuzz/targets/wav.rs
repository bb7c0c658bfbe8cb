//! WAV files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_data::sound::wav;
use waxwork_fuzz::seed;

/// A file with one data chunk.
fn file(tag: u8, channels: u8, bits: u8, data: &[u8]) -> Vec<u8> {
    let head = [tag, 0, channels, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, channels * bits / 8, 0, bits, 0];
    let size = (data.len() as u32).to_le_bytes();
    [b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", &head[..], b"LIST\x02\0\0\0ab", b"data", &size, data].concat()
}

fuzz_target!(
    init: {
        seed("wav", "bytes", &file(1, 1, 8, &[128, 200, 3]));
        seed("wav", "words", &file(1, 2, 16, &[0, 1, 2, 3, 4, 5, 6, 7]));
        seed("wav", "threes", &file(1, 1, 24, &[0, 1, 2, 3, 4, 5]));
        seed("wav", "floats", &file(3, 1, 32, &0.5f32.to_le_bytes()));
    },
    |bytes: &[u8]| {
        if let Ok(recording) = wav::parse(bytes) {
            assert!(!recording.samples.is_empty() && recording.samples.len() <= bytes.len());
            assert!(recording.samples.iter().all(|sample| sample.is_finite()));
            assert!((1_000..=768_000).contains(&recording.rate));
        }
    }
);
