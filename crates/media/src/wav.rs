//! Sounds as 16-bit WAV files.

use crate::{Error, Result};

/// Seconds of silence between two sounds of one file.
const PAUSE: f64 = 0.25;
/// Bytes before the samples.
const HEAD: u32 = 44;

/// A mono WAV file of these samples, which are little-endian i16.
///
/// # Errors
/// [`Error::Sound`] if there are more samples than a WAV file can hold, or an odd number of bytes.
pub fn file(rate: u32, samples: &[u8]) -> Result<Vec<u8>> {
    let size = u32::try_from(samples.len()).ok().filter(|size| size.is_multiple_of(2));
    let size = size.filter(|size| size.checked_add(HEAD).is_some());
    let size = size.ok_or(Error::Sound { bytes: samples.len() })?;
    let mut bytes = Vec::with_capacity(samples.len() + HEAD as usize);
    bytes.extend(b"RIFF");
    bytes.extend((size + HEAD - 8).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    // PCM, one channel.
    bytes.extend([1u16.to_le_bytes(), 1u16.to_le_bytes()].concat());
    bytes.extend([rate.to_le_bytes(), rate.saturating_mul(2).to_le_bytes()].concat());
    bytes.extend([2u16.to_le_bytes(), 16u16.to_le_bytes()].concat());
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    bytes.extend(samples);
    Ok(bytes)
}

/// Sounds of `each` bytes, one after the other, with a quarter of a second of silence between them.
pub fn one_after_another(rate: u32, sounds: &[u8], each: usize) -> Vec<u8> {
    let pause = vec![0; 2 * (f64::from(rate) * PAUSE) as usize];
    sounds.chunks(each.max(1)).collect::<Vec<_>>().join(pause.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_holds() {
        // import io, wave
        // f = io.BytesIO(); w = wave.open(f, "wb")
        // w.setnchannels(1); w.setsampwidth(2); w.setframerate(8000)
        // w.writeframes(b"\x01\x00\xff\xff"); w.close(); print(f.getvalue().hex())
        let expected = "524946462800000057415645666d74201000000001000100401f0000803e00000200100064617461040000000100ffff";
        let found: String =
            file(8000, &[1, 0, 255, 255]).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
        assert!(file(8000, &[1]).is_err());
    }

    #[test]
    fn there_is_a_pause_between_two_sounds() {
        let joined = one_after_another(8, &[1, 1, 2, 2], 2);
        assert_eq!(joined, [1, 1, 0, 0, 0, 0, 2, 2]);
    }
}
