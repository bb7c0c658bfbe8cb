//! Pictures in parquet files, as the Hub keeps every data set: a group with the encoded bytes and an integer a row.

use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row};
use image::ImageReader;
use rayon::prelude::*;
use waxwork_core::model::ImageShape;

use crate::folder::channel_first;
use crate::{Error, Result};

/// Pictures that are decoded at once.
const CHUNK: usize = 1024;

/// Hands every picture of a file, as bytes channel first, and its label to `take`, in order; returns how many there are.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if it is no parquet file, a row has no picture or label, or a picture is not of
/// `shape`; [`Error::Label`] if a label is not below `classes`; and what `take` gives.
pub fn pictures(
    path: &Path,
    shape: ImageShape,
    classes: usize,
    mut take: impl FnMut(&[u8], u32) -> Result<()>,
) -> Result<usize> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let damaged = |error: ::parquet::errors::ParquetError| {
        Error::format(path, "a parquet file of images", error.to_string())
    };
    let panicked = |reason: String| Error::format(path, "a parquet file of images", reason);
    let reader = guarded(|| SerializedFileReader::new(file)).map_err(panicked)?.map_err(damaged)?;
    let mut rows = guarded(|| reader.get_row_iter(None)).map_err(panicked)?.map_err(damaged)?;
    let mut taken = 0;
    loop {
        let chunk = guarded(|| rows.by_ref().take(CHUNK).collect::<Result<Vec<Row>, _>>());
        let chunk = chunk.map_err(panicked)?.map_err(damaged)?;
        if chunk.is_empty() {
            return Ok(taken);
        }
        let images: Vec<(Vec<u8>, u32)> = chunk
            .par_iter()
            .enumerate()
            .map(|(i, row)| read_row(path, taken + i, row, shape, classes))
            .collect::<Result<_>>()?;
        for (pixels, label) in &images {
            take(pixels, *label)?;
        }
        taken += images.len();
    }
}

/// Runs what reads a parquet file. The parquet crate asserts much that a damaged file breaks; such a panic, too, is only an error.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("what the reader could not cope with ({})", text.unwrap_or("no reason given"))
    })
}

/// The picture and the label of a row: a group with the encoded bytes, and an integer called `label`.
fn read_row(
    path: &Path,
    index: usize,
    row: &Row,
    shape: ImageShape,
    classes: usize,
) -> Result<(Vec<u8>, u32)> {
    let mut picture = None;
    let mut label = None;
    for (name, field) in row.get_column_iter() {
        match field {
            Field::Group(group) => {
                let bytes = group.get_column_iter().find_map(|(_, field)| match field {
                    Field::Bytes(bytes) => Some(bytes.data()),
                    _ => None,
                });
                picture = picture.or(bytes);
            }
            Field::Long(value) if name == "label" => label = u32::try_from(*value).ok(),
            Field::Int(value) if name == "label" => label = u32::try_from(*value).ok(),
            _ => (),
        }
    }
    let (Some(picture), Some(label)) = (picture, label) else {
        let columns: Vec<&str> = row.get_column_iter().map(|(name, _)| name.as_str()).collect();
        let found = format!("row {index} of {columns:?} without one");
        return Err(Error::format(path, "the bytes of a picture and a label in every row", found));
    };
    if label as usize >= classes {
        return Err(Error::Label { path: path.to_path_buf(), index, label, classes });
    }
    Ok((decode(path, index, picture, shape)?, label))
}

fn decode(path: &Path, index: usize, bytes: &[u8], shape: ImageShape) -> Result<Vec<u8>> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::format(path, "a png or jpeg in every row", format!("in row {index}: {error}"))
    };
    // Asked first: a picture of another size is not worth the memory that it would take.
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let size = reader.map_err(|error| unreadable(&error))?.into_dimensions();
    let (width, height) = size.map_err(|error| unreadable(&error))?;
    if (height as usize, width as usize) != (shape.height, shape.width) {
        let found = format!("{height}×{width} in row {index}");
        return Err(Error::format(path, format!("pictures of {}×{}", shape.height, shape.width), found));
    }
    let picture = image::load_from_memory(bytes).map_err(|error| unreadable(&error))?;
    Ok(channel_first(&picture, shape.channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_reader_is_an_error_with_its_words() {
        assert_eq!(guarded(|| 7), Ok(7));
        let given: Vec<Option<u8>> = vec![None];
        let reason = guarded(|| given[0].expect("a group")).unwrap_err();
        assert!(reason.contains("a group"), "{reason}");
    }
}
