//! WAV files: PCM of 8, 16, 24 and 32 bits and floats of 32 and 64 bits, with any number of channels, which
//! are mixed down.
//!
//! The reader trusts no size in a file: missing data is an error.

/// Valid sample rates of a file, Hz.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Maximum number of channels of a file.
const MOST_CHANNELS: usize = 64;
/// Maximum number of samples of a recording, at its own rate and after resampling: 50 minutes at 44.1 kHz.
pub(crate) const MOST_SAMPLES: usize = 1 << 27;
const PCM: u16 = 1;
const FLOAT: u16 = 3;
/// The tag of an extensible header, which has the real format in the first two bytes of a later GUID.
const EXTENSIBLE: u16 = 0xfffe;

/// The sound in a file, mixed down to one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Sample rate, Hz.
    pub rate: u32,
    /// Samples, nominally in [−1, 1]; floats may be louder.
    pub samples: Vec<f64>,
}

/// The format of a file's values.
#[derive(Clone, Copy)]
struct Format {
    tag: u16,
    channels: usize,
    rate: u32,
    bits: u16,
}

/// Reads the bytes of a WAV file.
///
/// # Errors
/// What is wrong with it, in words that follow `cannot read FILE:`.
pub fn parse(bytes: &[u8]) -> Result<Recording, String> {
    if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        return Err(match bytes.get(..4) {
            Some(b"RF64" | b"BW64") => {
                "it is an RF64 file of more than 4 GB, which is not supported: split it".into()
            }
            _ => "it is not a WAV file: convert it, e.g. with `ffmpeg -i FILE out.wav`".into(),
        });
    }
    let mut format = None;
    let mut rest = &bytes[12..];
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let name = &head[..4];
        if size > after.len() {
            let (name, left) = (String::from_utf8_lossy(name), after.len());
            return Err(format!(
                "it is truncated, or gives a wrong size: part `{}` claims {size} bytes, but {left} follow",
                name.trim().escape_default()
            ));
        }
        let contents = &after[..size];
        match name {
            b"fmt " => format = Some(parse_format(contents)?),
            b"data" => {
                let format = format.ok_or("its samples come before their format")?;
                return decode(format, contents);
            }
            _ => {}
        }
        // A chunk of odd size is followed by a padding byte.
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    Err("it has no samples: there is no `data` part".into())
}

/// The name of the format of a recording that is not WAV, if its first bytes tell it.
#[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "files have names that tell their format"))]
pub(crate) fn other_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'f', b'L', b'a', b'C', ..] => Some("FLAC"),
        [b'O', b'g', b'g', b'S', ..] => Some("Ogg"),
        // A tag, or the first frame of layer III.
        [b'I', b'D', b'3', ..] | [0xff, 0xe2 | 0xe3 | 0xf2 | 0xf3 | 0xfa | 0xfb, ..] => Some("MP3"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("MP4"),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', ..] => Some("AIFF"),
        _ => None,
    }
}

fn parse_format(contents: &[u8]) -> Result<Format, String> {
    let at = |place: usize| contents.get(place..place + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let short = "its part `fmt` is too short";
    let (tag, channels, bits) = (at(0).ok_or(short)?, at(2).ok_or(short)?, at(14).ok_or(short)?);
    let rate = u32::from(at(4).ok_or(short)?) | u32::from(at(6).ok_or(short)?) << 16;
    let tag = if tag == EXTENSIBLE { at(24).ok_or(short)? } else { tag };
    if !matches!((tag, bits), (PCM, 8 | 16 | 24 | 32) | (FLOAT, 32 | 64)) {
        return Err(format!(
            "its samples are of format {tag} with {bits} bits: only PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 bits are read"
        ));
    }
    let channels = usize::from(channels);
    if !(1..=MOST_CHANNELS).contains(&channels) {
        return Err(format!("it has {channels} channels; there may be 1 to {MOST_CHANNELS}"));
    }
    if !RATES.contains(&rate) {
        return Err(format!("its rate is {rate} Hz; it may be {} to {}", RATES.start(), RATES.end()));
    }
    Ok(Format { tag, channels, rate, bits })
}

fn decode(format: Format, contents: &[u8]) -> Result<Recording, String> {
    let Format { tag, channels, rate, bits } = format;
    let width = usize::from(bits / 8);
    let frame = width * channels;
    if contents.is_empty() {
        return Err("it has no samples".into());
    }
    if !contents.len().is_multiple_of(frame) {
        return Err(format!(
            "it is truncated: {} bytes are not a whole number of samples of {frame}",
            contents.len()
        ));
    }
    let frames = contents.len() / frame;
    if frames > MOST_SAMPLES {
        return Err(too_long(frames));
    }
    let value = |bytes: &[u8]| -> f64 {
        match (tag, bytes) {
            (PCM, &[a]) => (f64::from(a) - 128.0) / 128.0,
            (PCM, &[a, b]) => f64::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (PCM, &[a, b, c]) => f64::from(i32::from_le_bytes([0, a, b, c])) / 2_147_483_648.0,
            (PCM, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])) / 2_147_483_648.0,
            (_, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            (_, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => f64::NAN,
        }
    };
    let mixed = |frame: &[u8]| frame.chunks_exact(width).map(value).sum::<f64>() / channels as f64;
    let samples: Vec<f64> = contents.chunks_exact(frame).map(mixed).collect();
    if let Some(place) = samples.iter().position(|sample| !sample.is_finite()) {
        return Err(format!("sample {place} is not a finite number"));
    }
    Ok(Recording { rate, samples })
}

/// What is wrong with a recording of this many samples.
pub(crate) fn too_long(samples: usize) -> String {
    format!("it has {samples} samples, but at most {MOST_SAMPLES} are read: split it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF____WAVEfmt ".to_vec();
        bytes.extend(16u32.to_le_bytes());
        bytes.extend([tag.to_le_bytes(), channels.to_le_bytes()].concat());
        bytes.extend(rate.to_le_bytes());
        let frame = channels * bits / 8;
        bytes.extend((rate * u32::from(frame)).to_le_bytes());
        bytes.extend([frame.to_le_bytes(), bits.to_le_bytes()].concat());
        bytes.extend(b"LIST\x03\0\0\0abc\0data");
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_format_has_the_same_values() {
        let eighth = [
            file(PCM, 1, 8000, 8, &[128, 160]),
            file(PCM, 1, 8000, 16, &[0, 0, 0, 0x20]),
            file(PCM, 1, 8000, 24, &[0, 0, 0, 0, 0, 0x20]),
            file(PCM, 1, 8000, 32, &[0, 0, 0, 0, 0, 0, 0, 0x20]),
            file(FLOAT, 1, 8000, 32, &[0f32.to_le_bytes(), 0.25f32.to_le_bytes()].concat()),
            file(FLOAT, 1, 8000, 64, &[0f64.to_le_bytes(), 0.25f64.to_le_bytes()].concat()),
            // Two channels: −0.5 and 0.5, then 0.25 and 0.25.
            file(PCM, 2, 8000, 16, &[0, 0xc0, 0, 0x40, 0, 0x20, 0, 0x20]),
        ];
        for (number, bytes) in eighth.iter().enumerate() {
            let found = parse(bytes).unwrap();
            assert_eq!(found, Recording { rate: 8000, samples: vec![0.0, 0.25] }, "{number}");
        }
    }

    #[test]
    fn reports_every_fault() {
        let good = file(PCM, 1, 8000, 16, &[0; 8]);
        let said = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(said(b"ID3\x04 no sound at all").contains("not a WAV file"));
        assert!(said(&good[..good.len() - 1]).contains("claims 8 bytes, but 7 follow"));
        assert!(said(&good[..40]).contains("no samples"), "{}", said(&good[..40]));
        assert!(said(&file(PCM, 1, 8000, 16, &[])).contains("it has no samples"));
        assert!(said(&file(PCM, 1, 8000, 16, &[0; 3])).contains("not a whole number"));
        assert!(said(&file(PCM, 0, 8000, 16, &[0; 2])).contains("0 channels"));
        assert!(said(&file(PCM, 1, 0, 16, &[0; 2])).contains("0 Hz"));
        let long = vec![128; MOST_SAMPLES + 1];
        assert!(said(&file(PCM, 1, 8000, 8, &long)).contains("134217729 samples, but at most 134217728"));
        assert!(said(&file(2, 1, 8000, 4, &[0; 2])).contains("format 2 with 4 bits"));
        assert!(said(&file(FLOAT, 1, 8000, 32, &f32::NAN.to_le_bytes())).contains("sample 0"));
        let mut lying = good.clone();
        let place = lying.len() - 12;
        lying[place..place + 4].copy_from_slice(&[0xff; 4]);
        assert!(said(&lying).contains("4294967295"), "{}", said(&lying));
    }
}
