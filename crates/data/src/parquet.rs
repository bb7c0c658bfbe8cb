//! Pictures in parquet files, as the Hub keeps every data set: a column of encoded pictures and, where there is one, a column of labels.

mod bounds;

use std::fmt::Display;
use std::fs::File;
use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use image::{DynamicImage, ImageReader};
use rayon::prelude::*;
use serde_json::Value;
use waxwork_core::model::ImageShape;

use crate::folder::{self, FolderConfig};
use crate::{Error, Result};

/// Rows that are decoded before they are written.
const CHUNK: usize = 1024;
/// The key under which the Hub keeps the kinds of columns in a parquet file.
const FEATURES: &str = "huggingface";

/// The columns that count, and the names of the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    image: String,
    label: Option<String>,
    /// In the order of their numbers; empty if nobody named them.
    pub(crate) classes: Vec<String>,
}

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
    let table = Table::open(path)?;
    let mut taken = 0;
    table.pictures(
        &table.columns()?,
        shape,
        None,
        classes,
        |_| true,
        |pixels, label| {
            let missing = || Error::format(path, "a column of labels", "none");
            taken += 1;
            take(pixels, label.ok_or_else(missing)?)
        },
    )?;
    Ok(taken)
}

/// One parquet file.
pub(crate) struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
}

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        bounds::footer(&mut file).map_err(unbelievable(path))?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let mut groups = reader.metadata().row_groups().iter();
        let rows =
            groups.try_fold(0u64, |rows, group| rows.checked_add(u64::try_from(group.num_rows()).ok()?));
        // A row has a picture.
        if rows.is_none_or(|rows| rows > size) {
            return Err(damaged(path, format!("more rows than the file has bytes, {size}")));
        }
        Ok(Self { path: path.to_owned(), reader })
    }

    /// Rows in the file.
    pub(crate) fn rows(&self) -> Result<usize> {
        let rows = self.reader.metadata().file_metadata().num_rows();
        usize::try_from(rows).map_err(|_| Error::format(&self.path, "a number of rows", rows.to_string()))
    }

    /// Which columns hold pictures and labels: as the Hub's own description of the columns says or, without one, the first group
    /// with bytes in it and the integers called `label`.
    pub(crate) fn columns(&self) -> Result<Columns> {
        let metadata = self.reader.metadata().file_metadata();
        let described = metadata.key_value_metadata().into_iter().flatten();
        let described = described.filter(|pair| pair.key == FEATURES).find_map(|pair| pair.value.as_deref());
        let described: Value = described.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let features = &described["info"]["features"];
        let fields = metadata.schema().get_fields();
        let kind = |field: &Type| features[field.name()]["_type"].as_str().map(str::to_owned);
        let is_picture = |field: &Type| match kind(field) {
            Some(kind) => kind == "Image",
            None => field.is_group() && field.get_fields().iter().any(|part| part.name() == "bytes"),
        };
        let image = fields.iter().find(|field| is_picture(field)).ok_or_else(|| {
            let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
            Error::format(&self.path, "a column of pictures", format!("the columns {}", names.join(", ")))
        })?;
        let is_label = |field: &Type| match kind(field) {
            Some(kind) => kind == "ClassLabel",
            None => field.name() == "label",
        };
        let label = fields.iter().find(|field| is_label(field)).map(|field| field.name().to_owned());
        let names = label.as_ref().and_then(|label| features[label]["names"].as_array());
        let names = names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        Ok(Columns { image: image.name().to_owned(), label, classes: names.collect() })
    }

    /// All rows, with these columns alone, whose pages are found to be of a believable size before.
    fn rows_of(&self, columns: &[&str]) -> Result<RowIter<'_>> {
        let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        for column in self.reader.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns) {
            let path = column.column_path().parts();
            if path.first().is_some_and(|root| columns.contains(&root.as_str())) {
                let (start, length) = guarded(&self.path, || Ok(column.byte_range()))?;
                bounds::pages(&mut file, start, length).map_err(unbelievable(&self.path))?;
            }
        }
        let schema = self.reader.metadata().file_metadata().schema();
        let fields = schema.get_fields().iter().filter(|field| columns.contains(&field.name())).cloned();
        let projection = Type::group_type_builder("schema").with_fields(fields.collect());
        guarded(&self.path, || self.reader.get_row_iter(Some(projection.build()?)))
    }

    /// Calls `take` with every chunk of rows and the number of its first row.
    fn chunks(&self, columns: &[&str], mut take: impl FnMut(usize, &[Row]) -> Result<()>) -> Result<()> {
        let mut rows = self.rows_of(columns)?;
        let mut first = 0;
        loop {
            let chunk: Vec<Row> = guarded(&self.path, || rows.by_ref().take(CHUNK).collect())?;
            if chunk.is_empty() {
                return Ok(());
            }
            take(first, &chunk)?;
            first += chunk.len();
        }
    }

    /// The label of every row; empty where there is no such column.
    pub(crate) fn labels(&self, columns: &Columns) -> Result<Vec<u32>> {
        let Some(label) = columns.label.as_deref() else { return Ok(Vec::new()) };
        let mut labels = Vec::new();
        self.chunks(&[label], |first, rows| {
            for (i, row) in rows.iter().enumerate() {
                labels.push(self.label(label, row, first + i)?);
            }
            Ok(())
        })?;
        Ok(labels)
    }

    /// The first picture, as it is.
    pub(crate) fn first(&self, columns: &Columns) -> Result<Option<DynamicImage>> {
        let mut rows = self.rows_of(&[&columns.image])?;
        let row = guarded(&self.path, || rows.next().transpose())?;
        row.map(|row| self.picture(columns, &row, 0, None)).transpose()
    }

    /// Hands the rows that `chosen` picks by their number to `take`, as images of `shape`. With `folder` pictures are scaled and cut
    /// to it; without, they have to be of that shape.
    pub(crate) fn pictures(
        &self,
        columns: &Columns,
        shape: ImageShape,
        folder: Option<&FolderConfig>,
        classes: usize,
        chosen: impl Fn(usize) -> bool + Sync,
        mut take: impl FnMut(&[u8], Option<u32>) -> Result<()>,
    ) -> Result<()> {
        let names: Vec<&str> =
            std::iter::once(columns.image.as_str()).chain(columns.label.as_deref()).collect();
        self.chunks(&names, |first, rows| {
            let image = |(i, row): (usize, &Row)| -> Result<(Vec<u8>, Option<u32>)> {
                let index = first + i;
                let label = columns.label.as_deref().map(|name| self.label(name, row, index)).transpose()?;
                if let Some(label) = label.filter(|label| *label as usize >= classes) {
                    return Err(Error::Label { path: self.path.clone(), index, label, classes });
                }
                let picture = self.picture(columns, row, index, folder.is_none().then_some(shape))?;
                Ok((folder::fit(&self.path, picture, shape)?, label))
            };
            let numbered = rows.par_iter().enumerate().filter(|(i, _)| chosen(first + i));
            let images: Vec<(Vec<u8>, Option<u32>)> = numbered.map(image).collect::<Result<_>>()?;
            images.iter().try_for_each(|(pixels, label)| take(pixels, *label))
        })
    }

    /// The picture of a row, which has to be of the size of `exactly`, if that is given.
    fn picture(
        &self,
        columns: &Columns,
        row: &Row,
        index: usize,
        exactly: Option<ImageShape>,
    ) -> Result<DynamicImage> {
        let field = row.get_column_iter().find(|(name, _)| **name == columns.image);
        let bytes = field.and_then(|(_, field)| match field {
            Field::Group(group) => group.get_column_iter().find_map(|(_, field)| match field {
                Field::Bytes(bytes) => Some(bytes.data()),
                _ => None,
            }),
            Field::Bytes(bytes) => Some(bytes.data()),
            _ => None,
        });
        let none = || {
            Error::format(&self.path, "the bytes of a picture in every row", format!("none in row {index}"))
        };
        let bytes = bytes.ok_or_else(none)?;
        let unreadable = |error: &dyn std::fmt::Display| {
            Error::format(&self.path, "a png or jpeg in every row", format!("in row {index}: {error}"))
        };
        let reader =
            || ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| unreadable(&error));
        if let Some(shape) = exactly {
            // Asked first: a picture of another size is not worth the memory that it would take.
            let (width, height) = reader()?.into_dimensions().map_err(|error| unreadable(&error))?;
            if (height as usize, width as usize) != (shape.height, shape.width) {
                let expected = format!("pictures of {}×{}", shape.height, shape.width);
                let found = format!(
                    "{height}×{width} in row {index} (`--set data.folder.size=64` scales and cuts pictures)"
                );
                return Err(Error::format(&self.path, expected, found));
            }
        }
        folder::decoded(reader()?, unreadable)
    }

    fn label(&self, name: &str, row: &Row, index: usize) -> Result<u32> {
        let field = row.get_column_iter().find(|(found, _)| *found == name).map(|(_, field)| field);
        let number = match field {
            Some(Field::Long(value)) => u32::try_from(*value).ok(),
            Some(Field::Int(value)) => u32::try_from(*value).ok(),
            Some(Field::UByte(value)) => Some(u32::from(*value)),
            Some(Field::Byte(value)) => u32::try_from(*value).ok(),
            _ => None,
        };
        let found = || field.map_or_else(|| "none".into(), ToString::to_string);
        number.ok_or_else(|| {
            Error::format(
                &self.path,
                "the number of a class in every row",
                format!("{} in row {index}", found()),
            )
        })
    }
}

/// Runs what reads a parquet file. The parquet crate asserts much that a damaged file breaks; such a panic, too, is only an error.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        damaged(path, format!("what the reader could not cope with ({})", text.unwrap_or("no reason given")))
    });
    result?.map_err(|error| damaged(path, error))
}

/// The error for sizes that a file cannot have.
fn unbelievable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |error| match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => damaged(path, error),
        _ => Error::io("read", path)(error),
    }
}

fn damaged(path: &Path, reason: impl Display) -> Error {
    Error::format(path, "a parquet file of images", reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_reader_is_an_error_with_its_words() {
        let path = Path::new("x.parquet");
        assert_eq!(guarded(path, || Ok(7)).unwrap(), 7);
        let given: Vec<Option<u8>> = vec![None];
        let reason = guarded(path, || Ok(given[0].expect("a group"))).unwrap_err().to_string();
        assert!(reason.contains("a group") && reason.contains("x.parquet"), "{reason}");
    }
}
