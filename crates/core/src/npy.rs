//! Tensors as NumPy arrays, in `.npy` files.
//!
//! ```text
//! 93 "NUMPY" version 0                      version 1, 2 or 3
//! length, u16 (version 1) or u32            little-endian
//! {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//! numbers
//! ```
//!
//! Arrays of Python objects are pickles, which can run code when they are read. They are refused.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::store::{self, GrowingFile, checked_len};
use crate::{Error, Result, values};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Values that an [`NpyWriter`] converts to bytes at once: few enough to stay in a CPU cache.
const AT_ONCE: usize = 1 << 14;
/// NumPy's name for f32.
const FLOATS: &str = "<f4";

/// Reads an array of any numeric type that a tensor can hold. Booleans become the f32 values 0 and 1, so that
/// they cannot be mistaken for 8-bit values.
///
/// # Errors
/// [`Error::File`], or [`Error::Damaged`] if the array is incomplete or of another type.
pub fn load(path: &Path) -> Result<Tensor> {
    decode(&store::read(path)?, path)
}

/// Writes a tensor as f32, atomically.
pub fn save(path: &Path, tensor: &Tensor) -> Result<()> {
    let mut array = NpyWriter::create(path, tensor.dims())?;
    array.append(tensor)?;
    array.finish()
}

/// Writes labels `(N)` as u32, atomically.
///
/// # Errors
/// [`Error::File`] names the path and the operation.
pub fn save_labels(path: &Path, labels: &[u32]) -> Result<()> {
    let mut bytes = head("<u4", &[labels.len()]);
    bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
    store::write(path, &bytes)
}

/// A writer of f32 arrays (format 1.0) part by part. The file appears only when it is complete.
#[derive(Debug)]
pub struct NpyWriter {
    file: GrowingFile,
    /// Values that are still to come.
    left: usize,
    bytes: Vec<u8>,
}

impl NpyWriter {
    /// Starts an array of this shape; `path` is its final place.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path, dims: &[usize]) -> Result<Self> {
        let mut file = GrowingFile::create(path)?;
        file.append(&head(FLOATS, dims))?;
        Ok(Self { file, left: dims.iter().product(), bytes: vec![0; 4 * AT_ONCE] })
    }

    /// Appends all values of `part`, of any shape and type.
    ///
    /// # Errors
    /// If there are more than the array has, or they cannot be written.
    pub fn append(&mut self, part: &Tensor) -> Result<()> {
        let part = part.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        self.left = self.left.checked_sub(part.elem_count()).ok_or_else(wrong_length)?;
        values::read(&part, |values: &[f32]| {
            values.chunks(AT_ONCE).try_for_each(|values| {
                let bytes = &mut self.bytes[..4 * values.len()];
                for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                    *bytes = value.to_le_bytes();
                }
                self.file.append(bytes)
            })
        })?
    }

    /// Syncs the file and renames it to its final place.
    ///
    /// # Errors
    /// If values are missing, or the file cannot be synced or renamed; `path` is then unchanged.
    pub fn finish(self) -> Result<()> {
        if self.left > 0 { Err(wrong_length()) } else { self.file.finish() }
    }
}

fn wrong_length() -> Error {
    Error::ArrayLength
}

/// The bytes of a file (format 1.0) with the tensor's numbers as f32.
pub fn encode(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let mut bytes = head(FLOATS, tensor.dims());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

/// Everything before the numbers, for the type `kind` in NumPy's notation.
fn head(kind: &str, dims: &[usize]) -> Vec<u8> {
    let sides = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}{comma}), }}");
    // Magic, version and length take ten bytes; the numbers must begin at a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header += &" ".repeat(length - 1 - header.len());
    let mut bytes = Vec::with_capacity(10 + length);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(length as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.push(b'\n');
    bytes
}

/// Decodes the bytes of a file. `origin` is the path to name in an error.
///
/// # Errors
/// As [`load`].
pub fn decode(bytes: &[u8], origin: &Path) -> Result<Tensor> {
    let damaged = |reason: String| Error::Damaged { path: origin.to_owned(), reason };
    let (header, numbers) = split(bytes).ok_or_else(|| damaged("it is not a complete NumPy array".into()))?;
    let unknown = || damaged(format!("its header says {header:?}"));
    let kind = value(header, "descr").and_then(|text| text.strip_prefix('\'')?.split_once('\''));
    let kind = kind.ok_or_else(unknown)?.0;
    let boolean = kind.trim_start_matches(['<', '=', '|']) == "b1";
    let dtype = if boolean { DType::U8 } else { dtype(kind).map_err(damaged)? };
    let order = value(header, "fortran_order").ok_or_else(unknown)?;
    if !order.starts_with("False") {
        return Err(damaged("it is in Fortran order; save `numpy.ascontiguousarray(array)` instead".into()));
    }
    let shape = value(header, "shape").and_then(|text| text.strip_prefix('(')?.split_once(')'));
    let sides = shape.ok_or_else(unknown)?.0.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape: Vec<usize> = sides.map(str::parse).collect::<Result<_, _>>().map_err(|_| unknown())?;
    let needed = checked_len(&shape).and_then(|len| len.checked_mul(dtype.size_in_bytes()));
    if needed != Some(numbers.len()) {
        return Err(damaged(format!(
            "its {} bytes do not match the type {kind} and the shape {shape:?}",
            numbers.len()
        )));
    }
    if boolean && numbers.iter().any(|&byte| byte > 1) {
        return Err(damaged("its booleans are not all 0 or 1".into()));
    }
    let array = Tensor::from_raw_buffer(numbers, dtype, &shape, &Device::Cpu)?;
    Ok(if boolean { array.to_dtype(DType::F32)? } else { array })
}

/// The header's text, and the bytes after it.
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

/// The part of the header's dictionary that begins with the value of `key`.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// The type with this NumPy name, such as `<f4`.
fn dtype(kind: &str) -> Result<DType, String> {
    Ok(match kind.trim_start_matches(['<', '=', '|']) {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "u1" => DType::U8,
        "u4" => DType::U32,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        name if name.starts_with('O') => {
            return Err("it holds Python objects, which could run code and are never read".into());
        }
        _ => return Err(format!("the type {kind} is not supported; convert it to float32 or uint8")),
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
            assert_eq!(store::read(&path).unwrap(), encode(&read).unwrap());
        }
    }

    #[test]
    fn arrays_are_the_same_in_parts_and_too_few_and_too_many_values_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let tensor = Tensor::arange(0f32, 9.0 * 1240.0, &Device::Cpu).unwrap().reshape((9, 40, 31)).unwrap();
        let mut array = NpyWriter::create(&path, tensor.dims()).unwrap();
        for row in 0..9 {
            array.append(&tensor.get(row).unwrap()).unwrap();
        }
        assert!(array.append(&tensor).is_err());
        drop(array);
        let mut array = NpyWriter::create(&path, tensor.dims()).unwrap();
        array.append(&tensor.narrow(0, 0, 4).unwrap()).unwrap();
        assert!(array.finish().is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut array = NpyWriter::create(&path, tensor.dims()).unwrap();
        array.append(&tensor.narrow(0, 0, 4).unwrap()).unwrap();
        array.append(&tensor.narrow(0, 4, 5).unwrap()).unwrap();
        array.finish().unwrap();
        assert_eq!(store::read(&path).unwrap(), encode(&tensor).unwrap());
    }

    #[test]
    fn labels_come_back_as_whole_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.npy");
        save_labels(&path, &[7, 0, u32::MAX]).unwrap();
        let read = load(&path).unwrap();
        assert_eq!((read.dtype(), read.to_vec1::<u32>().unwrap()), (DType::U32, vec![7, 0, u32::MAX]));
    }

    /// Python: import numpy, io; f = io.BytesIO()
    ///         numpy.save(f, numpy.array([[1, 2], [3, 300]], 'i2')); print(f.getvalue())
    #[test]
    fn reads_arrays_of_numpy() {
        let header = format!("{:117}\n", "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 2), }");
        let bytes = file(&header, b"\x01\x00\x02\x00\x03\x00,\x01");
        let read = decode(&bytes, Path::new("x")).unwrap();
        assert_eq!(read.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 300.0]]);
    }

    #[test]
    fn says_why_an_array_is_not_read() {
        let array = |kind: &str, order: &str, shape: &str, numbers: &[u8]| {
            file(&format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"), numbers)
        };
        assert!(decode(&array("|u1", "False", "(2,)", &[1, 2]), Path::new("x")).is_ok());
        let truths = decode(&array("|b1", "False", "(2,)", &[0, 1]), Path::new("x")).unwrap();
        assert_eq!(truths.to_vec1::<f32>().unwrap(), [0.0, 1.0]);
        assert!(message(&array("|b1", "False", "(2,)", &[0, 2])).contains("booleans"));
        assert!(message(&array("|O", "False", "(2,)", &[1, 2])).contains("Python objects"));
        assert!(message(&array(">f4", "False", "(1,)", &[0; 4])).contains(">f4"));
        assert!(message(&array("<f4", "True", "(1,)", &[0; 4])).contains("ascontiguousarray"));
        assert!(message(&array("<f4", "False", "(2,)", &[0; 4])).contains("4 bytes"));
        assert!(message(&array("<f4", "False", "(-1,)", &[0; 4])).contains("-1"));
        assert!(message(b"no array").contains("complete"));
        // A hundred-byte file whose header claims enormous shapes, some of which overflow.
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
