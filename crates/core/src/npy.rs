//! Tensors as NumPy arrays: the `.npy` files that any Python program reads and writes.
//!
//! ```text
//! 93 "NUMPY" version 0                      version 1, 2 or 3
//! length, u16 (version 1) or u32            little-endian
//! {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//! numbers
//! ```
//!
//! Arrays of Python objects are pickles, which run code when they are read; they are refused.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::store::{self, checked_len};
use crate::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an array of any numbers that a tensor can hold.
///
/// # Errors
/// [`Error::File`], or [`Error::Damaged`] if it is no whole array, or one of other things than such numbers.
pub fn load(path: &Path) -> Result<Tensor> {
    decode(&store::read(path)?, path)
}

/// Writes a tensor as f32, whole or not at all.
pub fn save(path: &Path, tensor: &Tensor) -> Result<()> {
    store::write(path, &encode(tensor)?)
}

/// The bytes of a file (format 1.0) with the tensor's numbers as f32.
pub fn encode(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let sides = tensor.dims().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let comma = if tensor.rank() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}{comma}), }}");
    // Magic, version and length take ten bytes; the numbers begin at a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header += &" ".repeat(length - 1 - header.len());
    let mut bytes = Vec::with_capacity(10 + length + 4 * values.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(length as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

/// The array in the bytes of a file. `origin` is the path to name in an error.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8], origin: &Path) -> Result<Tensor> {
    let damaged = |reason: String| Error::Damaged { path: origin.to_owned(), reason };
    let (header, numbers) = split(bytes).ok_or_else(|| damaged("it is not a whole NumPy array".into()))?;
    let unknown = || damaged(format!("its header says {header:?}"));
    let kind = value(header, "descr").and_then(|text| text.strip_prefix('\'')?.split_once('\''));
    let kind = kind.ok_or_else(unknown)?.0;
    let dtype = dtype(kind).map_err(damaged)?;
    let order = value(header, "fortran_order").ok_or_else(unknown)?;
    if !order.starts_with("False") {
        return Err(damaged("its columns come first; save it as `numpy.ascontiguousarray` of itself".into()));
    }
    let shape = value(header, "shape").and_then(|text| text.strip_prefix('(')?.split_once(')'));
    let sides = shape.ok_or_else(unknown)?.0.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape: Vec<usize> = sides.map(str::parse).collect::<Result<_, _>>().map_err(|_| unknown())?;
    let needed = checked_len(&shape).and_then(|len| len.checked_mul(dtype.size_in_bytes()));
    if needed != Some(numbers.len()) {
        return Err(damaged(format!("its {} bytes are not the {kind} of shape {shape:?}", numbers.len())));
    }
    Ok(Tensor::from_raw_buffer(numbers, dtype, &shape, &Device::Cpu)?)
}

/// The header's text, and what follows it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = match version {
        [1, 0] => {
            rest.split_first_chunk().map(|(length, rest)| (u16::from_le_bytes(*length).into(), rest))?
        }
        [2 | 3, 0] => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest))?,
        _ => return None,
    };
    let (header, numbers) = rest.split_at_checked(length as usize)?;
    Some((std::str::from_utf8(header).ok()?, numbers))
}

/// What the dictionary of a header has under `key`, and the rest of the header.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// The type of NumPy's name of it, such as `<f4`.
fn dtype(kind: &str) -> Result<DType, String> {
    Ok(match kind.trim_start_matches(['<', '=', '|']) {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "u1" | "b1" => DType::U8,
        "u4" => DType::U32,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        name if name.starts_with('O') => {
            return Err("it holds Python objects, which could run code and are never read".into());
        }
        _ => return Err(format!("numbers of type {kind} are not read; convert it to float32 or uint8")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, numbers: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), numbers].concat()
    }

    fn message(bytes: &[u8]) -> String {
        let error = decode(bytes, Path::new("some.npy")).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn arrays_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        for shape in [vec![], vec![7], vec![3, 1, 2, 2], vec![0, 4]] {
            let len: usize = shape.iter().product();
            let values: Vec<f32> = (0..len).map(|i| i as f32 / 3.0 - 1.0).collect();
            save(&path, &Tensor::from_vec(values.clone(), shape.clone(), &Device::Cpu).unwrap()).unwrap();
            let read = load(&path).unwrap();
            assert_eq!(read.dims(), shape);
            assert_eq!(read.flatten_all().unwrap().to_vec1::<f32>().unwrap(), values);
        }
    }

    /// python3 -c "import numpy, io; f = io.BytesIO(); numpy.save(f, numpy.array([[1, 2], [3, 300]], 'i2')); print(f.getvalue())"
    #[test]
    fn what_numpy_writes_is_read() {
        let header = format!("{:117}\n", "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 2), }");
        let bytes = file(&header, b"\x01\x00\x02\x00\x03\x00,\x01");
        let read = decode(&bytes, Path::new("x")).unwrap();
        assert_eq!(read.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 300.0]]);
    }

    #[test]
    fn what_is_not_read_says_why() {
        let array = |kind: &str, order: &str, shape: &str, numbers: &[u8]| {
            file(&format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"), numbers)
        };
        assert!(decode(&array("|u1", "False", "(2,)", &[1, 2]), Path::new("x")).is_ok());
        assert!(message(&array("|O", "False", "(2,)", &[1, 2])).contains("Python objects"));
        assert!(message(&array(">f4", "False", "(1,)", &[0; 4])).contains(">f4"));
        assert!(message(&array("<f4", "True", "(1,)", &[0; 4])).contains("ascontiguousarray"));
        assert!(message(&array("<f4", "False", "(2,)", &[0; 4])).contains("4 bytes"));
        assert!(message(&array("<f4", "False", "(-1,)", &[0; 4])).contains("-1"));
        assert!(message(b"no array").contains("whole"));
        // A file of a hundred bytes that says it is as large as the memory of all machines, in ways that overflow.
        for shape in ["(4000000000000000000,)", "(4294967296, 4294967296, 2)", "(0, 9000000000000000000, 9)"]
        {
            assert!(message(&array("<f4", "False", shape, &[0; 4])).contains("bytes"), "{shape}");
        }
    }

    proptest! {
        #[test]
        fn damaged_arrays_are_errors_and_never_panic(
            sides in proptest::collection::vec(0usize..4, 0..4), cut: prop::sample::Index, bit: prop::sample::Index,
        ) {
            let len = sides.iter().product::<usize>();
            let whole = encode(&Tensor::from_vec(vec![1f32; len], sides, &Device::Cpu).unwrap()).unwrap();
            prop_assert!(decode(&whole[..cut.index(whole.len())], Path::new("x")).is_err());
            let (mut flipped, bit) = (whole.clone(), bit.index(8 * whole.len()));
            flipped[bit / 8] ^= 1 << (bit % 8);
            _ = decode(&flipped, Path::new("x"));
        }

        #[test]
        fn any_header_is_read_or_refused(header in "[{}()':, a-z<|0-9]{0,60}", kind in "[<>|]?[a-zA-Z][0-9]",
            shape in "[(][0-9, ]{0,30}[)]") {
            _ = decode(&file(&header, &[0; 8]), Path::new("x"));
            let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
            _ = decode(&file(&header, &[0; 8]), Path::new("x"));
        }
    }
}
