//! The IDX format of MNIST: a big-endian header and bytes, raw or gzipped, detected by content and not by
//! name.
//!
//! ```text
//! 00 00 08 n   type (08: u8) and number of dimensions n (1: labels, 3: images)
//! d₁ … dₙ      sizes, u32 each
//! bytes        d₁ · … · dₙ of them
//! ```
//!
//! The reader does not trust a header beyond the bytes in the file: memory grows with the bytes actually
//! read, and decompression stops one byte after the size in the header. A small gzip file can expand to a
//! very large one, so a caller that knows the largest possible number of items should pass it.

use std::fs::File;
use std::io::{BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::{Error, Result};
use waxwork_core::hash::hex;

/// The contents of an IDX file of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idx {
    /// Sizes; `[n]` for labels, `[n, rows, columns]` for images.
    pub dims: Vec<usize>,
    /// The bytes, as many as the product of `dims`, last dimension fastest.
    pub bytes: Vec<u8>,
    /// SHA-256, in hex, of the whole uncompressed file.
    pub sha256: String,
}

impl Idx {
    /// Returns the size in bytes of the whole uncompressed file.
    pub fn file_size(&self) -> usize {
        4 + 4 * self.dims.len() + self.bytes.len()
    }
}

/// Reads a file that has the dimensions of `item` after one for the number of items: `[28, 28]` for images,
/// `[]` for labels.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or decompressed; [`Error::Format`] if it is empty, is truncated,
/// has another magic number or other item sizes, or continues after its end.
pub fn read(path: &Path, item: &[usize]) -> Result<Idx> {
    read_at_most(path, item, usize::MAX)
}

/// As [`read`], but a file with more than `most` items is an error.
///
/// # Errors
/// As [`read`].
pub fn read_at_most(path: &Path, item: &[usize], most: usize) -> Result<Idx> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    parse(path, BufReader::new(file), item, most)
}

/// As [`read`], but from memory; `path` only appears in errors.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(path: &Path, bytes: &[u8], item: &[usize]) -> Result<Idx> {
    parse(path, Cursor::new(bytes), item, usize::MAX)
}

fn parse(path: &Path, mut reader: impl Read, item: &[usize], most: usize) -> Result<Idx> {
    let mut start = Vec::new();
    (&mut reader).take(2).read_to_end(&mut start).map_err(Error::io("read", path))?;
    if start.is_empty() {
        return Err(Error::format(path, "an IDX file", "an empty file"));
    }
    let gzipped = start == [0x1f, 0x8b];
    let whole = Cursor::new(start).chain(reader);
    if gzipped {
        parse_raw(path, MultiGzDecoder::new(whole), item, most)
    } else {
        parse_raw(path, whole, item, most)
    }
}

fn parse_raw(path: &Path, mut reader: impl Read, item: &[usize], most: usize) -> Result<Idx> {
    let dims_wanted = item.len() + 1;
    let mut header = vec![0; 4 + 4 * dims_wanted];
    reader.read_exact(&mut header[..4]).map_err(|error| read_error(path, "a whole IDX header", error))?;
    let magic = [0, 0, 8, dims_wanted as u8];
    if header[..4] != magic {
        let hex = |m: &[u8]| format!("magic number {:02x}{:02x}{:02x}{:02x}", m[0], m[1], m[2], m[3]);
        return Err(Error::format(path, hex(&magic), hex(&header[..4])));
    }
    reader.read_exact(&mut header[4..]).map_err(|error| read_error(path, "a whole IDX header", error))?;
    let dims: Vec<usize> =
        header[4..].chunks_exact(4).map(|d| u32::from_be_bytes([d[0], d[1], d[2], d[3]]) as usize).collect();
    if dims[1..] != *item {
        return Err(Error::format(path, format!("items of size {item:?}"), format!("{:?}", &dims[1..])));
    }
    if dims[0] > most {
        return Err(Error::format(path, format!("at most {most} items"), dims[0].to_string()));
    }
    let promised = dims.iter().try_fold(1u64, |product, &d| product.checked_mul(d as u64));
    let Some(promised) = promised.filter(|&p| p < u64::MAX) else {
        return Err(Error::format(path, "sizes whose product fits 64 bits", format!("{dims:?}")));
    };

    let mut bytes = Vec::new();
    reader
        .take(promised + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| read_error(path, "a whole gzip stream", error))?;
    let found = bytes.len() as u64;
    if found != promised {
        let found = if found > promised { "more".to_owned() } else { found.to_string() };
        return Err(Error::format(path, format!("{promised} bytes after the header"), found));
    }
    bytes.shrink_to_fit();
    let sha256 = hex(&Sha256::new().chain_update(&header).chain_update(&bytes).finalize());
    Ok(Idx { dims, bytes, sha256 })
}

fn read_error(path: &Path, wanted: &str, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::format(path, wanted, "the end of the file"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            Error::format(path, "an intact gzip stream", error.to_string())
        }
        _ => Error::io("read", path)(error),
    }
}
