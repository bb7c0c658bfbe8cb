//! Checks that a PNG, GIF or WebP file is complete: that all its blocks are there up to the final one.
//!
//! A decoder stops at the last pixel and never sees the end of a file. BMP and TIFF have no end marker, and
//! their decoders read every byte of every row.

use flate2::Crc;

fn cut(bytes: &[u8]) -> String {
    format!("it is cut off: its {} bytes end before the image does", bytes.len())
}

/// Checks the chunks up to `IEND`, and the checksum of those that a decoder needs.
pub(super) fn png(bytes: &[u8]) -> Result<(), String> {
    let mut at = 8;
    loop {
        let head: &[u8; 8] = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(|| cut(bytes))?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = &head[4..];
        let end = at.checked_add(12).and_then(|end| end.checked_add(length)).ok_or_else(|| cut(bytes))?;
        let contents = bytes.get(at + 4..end - 4).ok_or_else(|| cut(bytes))?;
        let sum: &[u8; 4] = bytes.get(end - 4..).and_then(<[u8]>::first_chunk).ok_or_else(|| cut(bytes))?;
        // The case of the first letter says whether a decoder may skip the chunk.
        if kind[0].is_ascii_uppercase() {
            let mut crc = Crc::new();
            crc.update(contents);
            if crc.sum() != u32::from_be_bytes(*sum) {
                let kind = String::from_utf8_lossy(kind);
                return Err(format!("the checksum of its {} chunk is wrong", kind.escape_default()));
            }
        }
        if kind == b"IEND" {
            return Ok(());
        }
        at = end;
    }
}

/// Checks the blocks up to the trailer.
pub(super) fn gif(bytes: &[u8]) -> Result<(), String> {
    let byte = |at: usize| bytes.get(at).copied().ok_or_else(|| cut(bytes));
    let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + colours(byte(10)?);
    loop {
        let kind = byte(at)?;
        at += 1;
        at += match kind {
            // An image: its position, size and colours, then the minimum code size.
            0x2c => 10 + colours(byte(at + 8)?),
            // An extension: its type.
            0x21 => 1,
            // The trailer.
            0x3b => return Ok(()),
            // Some programs pad between blocks.
            0 => continue,
            _ => return Err(format!("it has a block of the unknown kind {kind:#04x}")),
        };
        loop {
            let length = usize::from(byte(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
}

/// Checks that the file is as long as its header says.
pub(super) fn webp(bytes: &[u8]) -> Result<(), String> {
    let length: &[u8; 4] = bytes.get(4..).and_then(<[u8]>::first_chunk).ok_or_else(|| cut(bytes))?;
    let promised = u64::from(u32::from_le_bytes(*length)) + 8;
    if promised > bytes.len() as u64 { Err(cut(bytes)) } else { Ok(()) }
}
