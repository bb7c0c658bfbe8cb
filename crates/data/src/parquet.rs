//! Pictures in parquet files, as the Hub keeps every data set: a column of encoded pictures and, where there is one, a column of labels.

mod bounds;

use std::fmt::Display;
use std::fs::File;
use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::parquet::basic::{ConvertedType, Type as PhysicalType};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::{ColumnDescriptor, Type};
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
    file: File,
    reader: SerializedFileReader<File>,
    rows: usize,
}

/// What some rows hold, of the columns that were asked for.
struct Chunk {
    pictures: Vec<Option<ByteArray>>,
    labels: Vec<Option<i64>>,
}

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        bounds::footer(&mut &file).map_err(unbelievable(path))?;
        let same = file.try_clone().map_err(Error::io("open", path))?;
        let reader = guarded(path, || SerializedFileReader::new(same))?;
        let mut groups = reader.metadata().row_groups().iter();
        let rows =
            groups.try_fold(0u64, |rows, group| rows.checked_add(u64::try_from(group.num_rows()).ok()?));
        // A row has a picture.
        let rows = rows.filter(|rows| *rows <= size).and_then(|rows| usize::try_from(rows).ok());
        let rows = rows.ok_or_else(|| damaged(path, format!("more rows than the file has bytes, {size}")))?;
        Ok(Self { path: path.to_owned(), file, reader, rows })
    }

    /// Rows in the file, of which [`Table::pictures`] gives neither more nor fewer.
    pub(crate) fn rows(&self) -> usize {
        self.rows
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

    /// The leaf column below `root` that `fits`. One that holds more than a value a row does not.
    fn leaf(&self, root: &str, what: &str, fits: impl Fn(&ColumnDescriptor) -> bool) -> Result<usize> {
        let leaves = self.reader.metadata().file_metadata().schema_descr().columns();
        let below = |leaf: &ColumnDescriptor| leaf.path().parts().first().is_some_and(|first| first == root);
        let found = leaves.iter().position(|leaf| below(leaf) && leaf.max_rep_level() == 0 && fits(leaf));
        found.ok_or_else(|| Error::format(&self.path, format!("{what} in the column `{root}`"), "none"))
    }

    fn picture_leaf(&self, columns: &Columns) -> Result<usize> {
        // Text, such as the picture's name, is annotated.
        self.leaf(&columns.image, "bytes", |leaf| {
            leaf.physical_type() == PhysicalType::BYTE_ARRAY && leaf.converted_type() == ConvertedType::NONE
        })
    }

    fn label_leaf(&self, label: &str) -> Result<usize> {
        self.leaf(label, "the number of a class", |leaf| {
            matches!(leaf.physical_type(), PhysicalType::INT32 | PhysicalType::INT64)
        })
    }

    /// Calls `take` with every chunk of rows and the number of its first row, until it says that it has enough.
    fn chunks(
        &self,
        picture: Option<usize>,
        label: Option<usize>,
        mut take: impl FnMut(usize, &Chunk) -> Result<bool>,
    ) -> Result<()> {
        self.check_pages(&[picture, label])?;
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let mut first = 0;
        for group in 0..self.reader.num_row_groups() {
            let group = guarded(&self.path, || self.reader.get_row_group(group))?;
            let column = |leaf: usize| -> Result<(ColumnReader, i16)> {
                let reader = guarded(&self.path, || group.get_column_reader(leaf))?;
                Ok((reader, schema.column(leaf).max_def_level()))
            };
            let mut pictures = picture.map(column).transpose()?;
            let mut labels = label.map(column).transpose()?;
            loop {
                let chunk = guarded(&self.path, || {
                    let pictures = pictures.as_mut().map(|(reader, defined)| bytes(reader, *defined));
                    let labels = labels.as_mut().map(|(reader, defined)| numbers(reader, *defined));
                    Ok(Chunk {
                        pictures: pictures.transpose()?.unwrap_or_default(),
                        labels: labels.transpose()?.unwrap_or_default(),
                    })
                })?;
                let rows = chunk.pictures.len().max(chunk.labels.len());
                let complete = picture.is_none_or(|_| chunk.pictures.len() == rows)
                    && label.is_none_or(|_| chunk.labels.len() == rows);
                if !complete || first + rows > self.rows {
                    return Err(damaged(&self.path, "columns of other lengths than its groups of rows"));
                }
                if rows == 0 {
                    break;
                }
                if !take(first, &chunk)? {
                    return Ok(());
                }
                first += rows;
            }
        }
        if first < self.rows { Err(damaged(&self.path, "fewer rows than it says")) } else { Ok(()) }
    }

    /// Holds what the pages of these leaves say of their sizes against the file's.
    fn check_pages(&self, leaves: &[Option<usize>]) -> Result<()> {
        let groups = self.reader.metadata().row_groups().iter();
        let columns = guarded(&self.path, || {
            Ok(groups
                .flat_map(|group| leaves.iter().flatten().map(|leaf| group.column(*leaf).byte_range()))
                .collect::<Vec<_>>())
        })?;
        bounds::pages(&mut &self.file, &columns).map_err(unbelievable(&self.path))
    }

    /// The label of every row; empty where there is no such column.
    pub(crate) fn labels(&self, columns: &Columns) -> Result<Vec<u32>> {
        let Some(label) = columns.label.as_deref() else { return Ok(Vec::new()) };
        let mut labels = Vec::new();
        self.chunks(None, Some(self.label_leaf(label)?), |first, chunk| {
            for (i, number) in chunk.labels.iter().enumerate() {
                labels.push(self.label(*number, first + i)?);
            }
            Ok(true)
        })?;
        Ok(labels)
    }

    /// The first picture, as it is.
    pub(crate) fn first(&self, columns: &Columns) -> Result<Option<DynamicImage>> {
        let mut first = None;
        self.chunks(Some(self.picture_leaf(columns)?), None, |_, chunk| {
            first = Some(self.picture(chunk.pictures[0].as_ref(), 0, None)?);
            Ok(false)
        })?;
        Ok(first)
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
        let label = columns.label.as_deref().map(|label| self.label_leaf(label)).transpose()?;
        self.chunks(Some(self.picture_leaf(columns)?), label, |first, chunk| {
            let image = |(i, picture): (usize, &Option<ByteArray>)| -> Result<(Vec<u8>, Option<u32>)> {
                let index = first + i;
                let label = label.map(|_| self.label(chunk.labels[i], index)).transpose()?;
                if let Some(label) = label.filter(|label| *label as usize >= classes) {
                    return Err(Error::Label { path: self.path.clone(), index, label, classes });
                }
                let picture = self.picture(picture.as_ref(), index, folder.is_none().then_some(shape))?;
                Ok((folder::fit(&self.path, picture, shape)?, label))
            };
            let numbered = chunk.pictures.par_iter().enumerate().filter(|(i, _)| chosen(first + i));
            let images: Vec<(Vec<u8>, Option<u32>)> = numbered.map(image).collect::<Result<_>>()?;
            images.iter().try_for_each(|(pixels, label)| take(pixels, *label))?;
            Ok(true)
        })
    }

    /// The picture of a row, which has to be of the size of `exactly`, if that is given.
    fn picture(
        &self,
        bytes: Option<&ByteArray>,
        index: usize,
        exactly: Option<ImageShape>,
    ) -> Result<DynamicImage> {
        let none = || {
            Error::format(&self.path, "the bytes of a picture in every row", format!("none in row {index}"))
        };
        let bytes = bytes.ok_or_else(none)?.data();
        let unreadable = |error: &dyn Display| {
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

    fn label(&self, number: Option<i64>, index: usize) -> Result<u32> {
        number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
            let found = number.map_or_else(|| "none".into(), |number| number.to_string());
            let expected = "the number of a class in every row";
            Error::format(&self.path, expected, format!("{found} in row {index}"))
        })
    }
}

fn bytes(reader: &mut ColumnReader, defined: i16) -> Result<Vec<Option<ByteArray>>, ParquetError> {
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => cells(reader, defined),
        _ => Err(ParquetError::General("pictures that are no bytes".into())),
    }
}

fn numbers(reader: &mut ColumnReader, defined: i16) -> Result<Vec<Option<i64>>, ParquetError> {
    match reader {
        ColumnReader::Int32ColumnReader(reader) => {
            Ok(cells(reader, defined)?.into_iter().map(|cell| cell.map(i64::from)).collect())
        }
        ColumnReader::Int64ColumnReader(reader) => cells(reader, defined),
        _ => Err(ParquetError::General("labels that are no whole numbers".into())),
    }
}

/// What the next rows hold in a column, at most a chunk of them: nothing in rows whose level is not `defined`, the highest.
fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    defined: i16,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (rows, ..) = reader.read_records(CHUNK, Some(&mut levels), None, &mut values)?;
    if defined == 0 {
        levels = vec![0; rows];
    }
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level == defined { values.next() } else { None }).collect())
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
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArrayType, Int32Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    const SHAPE: ImageShape = ImageShape::new(1, 2, 2);

    /// A file of pictures of grey 0, 1, 2 … with these labels and, where a column repeats, where rows begin.
    fn write(path: &Path, schema: &str, labels: &[i32], begin: Option<&[i16]>) {
        let pictures: Vec<ByteArray> = (0..labels.len() as u8)
            .map(|grey| {
                let mut png = Cursor::new(Vec::new());
                let picture = DynamicImage::from(image::GrayImage::from_pixel(2, 2, image::Luma([grey])));
                picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
                ByteArray::from(png.into_inner())
            })
            .collect();
        let pictures =
            &pictures[..begin.map_or(labels.len(), |begin| begin.iter().filter(|at| **at == 0).count())];
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer =
            SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for name in ["path", "bytes"] {
            let cells = if name == "path" {
                vec![ByteArray::from("x.png"); pictures.len()]
            } else {
                pictures.to_vec()
            };
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&cells, None, None).unwrap();
            column.close().unwrap();
        }
        let levels = begin.map(|begin| vec![1; begin.len()]);
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(labels, levels.as_deref(), begin).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn bytes_and_numbers_are_found_whatever_the_schema_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let schema = "message root { required group img { required binary path (UTF8); required binary bytes; } required int32 label; }";
        write(&path, schema, &[2, 0, 1], None);
        let mut found = Vec::new();
        let count = pictures(&path, SHAPE, 3, |pixels, label| {
            found.push((pixels.to_vec(), label));
            Ok(())
        });
        assert_eq!(count.unwrap(), 3);
        assert_eq!(found, [(vec![0; 4], 2), (vec![1; 4], 0), (vec![2; 4], 1)]);
    }

    #[test]
    fn a_column_of_several_values_a_row_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let schema = "message schema { required group img { required binary path (UTF8); required binary bytes; } repeated int32 label; }";
        write(&path, schema, &[2, 0, 1], Some(&[0, 1, 0]));
        let error = pictures(&path, SHAPE, 3, |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.contains("the number of a class in the column `label`"), "{error}");
    }

    #[test]
    fn a_panic_of_the_reader_is_an_error_with_its_words() {
        let path = Path::new("x.parquet");
        assert_eq!(guarded(path, || Ok(7)).unwrap(), 7);
        let given: Vec<Option<u8>> = vec![None];
        let reason = guarded(path, || Ok(given[0].expect("a group"))).unwrap_err().to_string();
        assert!(reason.contains("a group") && reason.contains("x.parquet"), "{reason}");
    }
}
