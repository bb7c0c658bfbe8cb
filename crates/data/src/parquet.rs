//! Images, recordings and texts in parquet files, the format in which the Hub keeps every data set: a column
//! of encoded images or recordings, or of texts, and, in most, a column of labels.

mod bounds;
mod columns;
pub(crate) mod file;

use std::path::{Path, PathBuf};

use ::parquet::basic::{ConvertedType, Type as PhysicalType};
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::schema::types::ColumnDescriptor;
use rayon::prelude::*;
use waxwork_core::ImageShape;

use crate::picture::{self, Header};
use crate::sound::wav::{self, Recording};
use crate::{Error, Result};
pub(crate) use columns::{Columns, Content, Labels};
use file::{CHUNK, Cause, Fault, ParquetFile, cells};

/// Encoded samples per read: each may be a recording of many megabytes.
const SAMPLES: usize = 64;

/// Passes every image of a file, as bytes channel first, and its label to `take`, in order. Returns the
/// number of images.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if it is not a parquet file, a row has no label, or an image does not
/// have `shape`; [`Error::Row`] if a row has no image that can be decoded; [`Error::Label`] if a label is not
/// below `classes`; and the errors of `take`.
pub fn pictures(
    path: &Path,
    shape: ImageShape,
    classes: usize,
    mut take: impl FnMut(&[u8], u32) -> Result<()>,
) -> Result<usize> {
    let table = Table::open(path)?;
    let (columns, _) = table.columns(None)?;
    let missing = |what: &str, found: String| Error::format(path, what, found);
    if columns.content != Content::Images {
        return Err(missing("a column of images", columns.content.to_string()));
    }
    let numbers =
        table.numbers(&columns)?.ok_or_else(|| missing("a column of numbers of classes", "none".into()))?;
    let mut taken = 0;
    table.pictures(
        &columns,
        |_| true,
        |row, picture| {
            let number = numbers.get(row).copied().flatten();
            let label = number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
                let found = number.map_or_else(|| "none".into(), |number| number.to_string());
                missing("the number of a class in every row", format!("{found} in row {row}"))
            })?;
            if label as usize >= classes {
                return Err(Error::Label { path: path.to_path_buf(), index: row, label, classes });
            }
            let image = table.image(row, picture, shape, true)?;
            Ok((image, label))
        },
        |(pixels, label)| {
            taken += 1;
            take(&pixels, label)
        },
    )?;
    Ok(taken)
}

/// One parquet file of images, recordings or texts.
pub(crate) struct Table {
    file: ParquetFile,
    rows: usize,
}

/// A summary of the headers of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Whether any image is in colour.
    pub(crate) colour: bool,
    /// Columns and rows of the images with the smallest and the largest shorter side; None without images.
    pub(crate) sizes: Option<[(u32, u32); 2]>,
    /// Whether all images have the same size.
    pub(crate) uniform: bool,
    /// The file with the smallest image.
    pub(crate) smallest_in: PathBuf,
}

impl Survey {
    fn add(&mut self, header: Header, path: &Path) {
        let size = (header.width, header.height);
        let side = |(width, height): (u32, u32)| (width.min(height), width.max(height));
        self.colour |= header.colour;
        let Some([least, greatest]) = &mut self.sizes else {
            (self.sizes, self.uniform, self.smallest_in) = (Some([size; 2]), true, path.to_path_buf());
            return;
        };
        self.uniform &= *least == size;
        if side(size) < side(*least) {
            (*least, self.smallest_in) = (size, path.to_path_buf());
        }
        if side(size) > side(*greatest) {
            *greatest = size;
        }
    }
}

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = ParquetFile::open(path)?;
        // Every row has an image, a recording or a text, and nearly all are longer than a byte.
        let rows = usize::try_from(file.rows()).ok().filter(|_| file.rows() <= file.size());
        let found = || format!("more rows than the file has bytes, {}", file.size());
        let rows = rows.ok_or_else(|| Error::format(path, EXPECTED, found()))?;
        Ok(Self { file, rows })
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the number of rows in the file. [`Table::pictures`] gives exactly that many.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn sample_leaf(&self, columns: &Columns) -> Result<usize> {
        self.leaf(&columns.samples, "bytes", is_bytes)
    }

    /// Returns the number in every row of the label column; None if there is no label column or it does not
    /// hold numbers.
    pub(crate) fn numbers(&self, columns: &Columns) -> Result<Option<Vec<Option<i64>>>> {
        let Labels::Numbers { column, .. } = &columns.labels else { return Ok(None) };
        let mut all = Vec::new();
        self.file.chunks(self.leaf(column, "the number of a class", is_number)?, numbers, |_, cells| {
            all.extend(cells);
            Ok::<_, Error>(())
        })?;
        Ok(Some(all))
    }

    /// Returns the text in every row of the label column; None if there is no label column or it does not
    /// hold texts.
    pub(crate) fn words(&self, columns: &Columns) -> Result<Option<Vec<Option<String>>>> {
        let Labels::Words { column } = &columns.labels else { return Ok(None) };
        let mut all = Vec::new();
        self.file.chunks(self.leaf(column, "the name of a class", is_text)?, bytes, |_, cells| {
            let text = |cell: ByteArray| String::from_utf8_lossy(cell.data()).into_owned();
            all.extend(cells.into_iter().map(|cell| cell.map(text)));
            Ok::<_, Error>(())
        })?;
        Ok(Some(all))
    }

    /// Passes the number and the text of every row to `take`, in the order of rows; None for a row without a
    /// text.
    pub(crate) fn texts(
        &self,
        columns: &Columns,
        mut take: impl FnMut(usize, Option<&str>) -> Result<()>,
    ) -> Result<()> {
        self.file.chunks(self.leaf(&columns.samples, "texts", is_text)?, bytes, |first, cells| {
            for (row, cell) in (first as usize..).zip(&cells) {
                let text = cell.as_ref().map(|cell| std::str::from_utf8(cell.data())).transpose();
                let text = text.map_err(|error| {
                    Error::format(self.path(), "texts in UTF-8", format!("{error} in row {row}"))
                })?;
                take(row, text)?;
            }
            Ok(())
        })
    }

    /// Adds to `survey` the image headers of the rows that `chosen` selects by row number. A row without a
    /// readable header is an error, or is ignored if `skip` is true.
    pub(crate) fn survey(
        &self,
        columns: &Columns,
        chosen: impl Fn(usize) -> bool + Sync,
        skip: bool,
        survey: &mut Survey,
    ) -> Result<()> {
        let header = |row: usize, bytes: Option<&[u8]>| match self.picture(row, bytes, picture::header) {
            Err(Error::Row { .. }) if skip => Ok(None),
            other => other.map(Some),
        };
        self.pictures(columns, chosen, header, |header| {
            header.into_iter().for_each(|header| survey.add(header, self.path()));
            Ok(())
        })
    }

    /// Calls `make`, on all threads, with the bytes of every row that `chosen` selects by row number. Passes
    /// the results to `take` in the order of rows.
    pub(crate) fn pictures<T: Send>(
        &self,
        columns: &Columns,
        chosen: impl Fn(usize) -> bool + Sync,
        make: impl Fn(usize, Option<&[u8]>) -> Result<T> + Sync,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        self.file.chunks(self.sample_leaf(columns)?, bytes, |first, cells| {
            let numbered = cells.par_iter().enumerate().map(|(i, cell)| (first as usize + i, cell));
            let made: Vec<Result<T>> = numbered
                .filter(|(row, _)| chosen(*row))
                .map(|(row, cell)| make(row, cell.as_ref().map(ByteArray::data)))
                .collect();
            // The error is that of the first row that fails, whichever thread was the fastest.
            made.into_iter().try_for_each(|made| take(made?))
        })
    }

    /// Decodes the image of a row. If `exactly`, it must have `shape`; otherwise it is scaled and cropped to
    /// it.
    pub(crate) fn image(
        &self,
        row: usize,
        bytes: Option<&[u8]>,
        shape: ImageShape,
        exactly: bool,
    ) -> Result<Vec<u8>> {
        if exactly {
            // Check the header first, to spend no memory on an image of another size.
            let Header { width, height, .. } = self.picture(row, bytes, picture::header)?;
            if (height as usize, width as usize) != (shape.height, shape.width) {
                let expected = format!("images of {}×{}", shape.width, shape.height);
                return Err(Error::format(self.path(), expected, format!("{width}×{height} in row {row}")));
            }
        }
        picture::fit(self.path(), self.picture(row, bytes, picture::decode)?, shape)
    }

    /// Reads the recording of a row.
    ///
    /// # Errors
    /// [`Error::RecordingRow`] if there is none, or it is damaged or not a WAV file.
    pub(crate) fn recording(&self, row: usize, bytes: Option<&[u8]>) -> Result<Recording> {
        let read = match bytes {
            None => Err("there is none".to_owned()),
            Some(bytes) => match wav::other_format(bytes) {
                Some(format) => Err(format!("it is in the format {format}, but only WAV is read")),
                None => wav::parse(bytes),
            },
        };
        read.map_err(|reason| self.unreadable(row, reason))
    }

    /// The error for the recording of a row.
    pub(crate) fn unreadable(&self, row: usize, reason: String) -> Error {
        Error::RecordingRow { path: self.path().into(), row, reason }
    }

    /// Applies `read` to the image in a row.
    fn picture<T>(
        &self,
        row: usize,
        bytes: Option<&[u8]>,
        read: impl Fn(&[u8]) -> Result<T, picture::Unreadable>,
    ) -> Result<T> {
        let none = || picture::Unreadable("there is none".into());
        let read = bytes.ok_or_else(none).and_then(read);
        read.map_err(|why| Error::Row { path: self.path().into(), row, reason: why.0 })
    }
}

/// Text columns, such as file names, are annotated as text; image columns are not annotated.
fn is_bytes(leaf: &ColumnDescriptor) -> bool {
    leaf.physical_type() == PhysicalType::BYTE_ARRAY && leaf.converted_type() == ConvertedType::NONE
}

fn is_text(leaf: &ColumnDescriptor) -> bool {
    leaf.physical_type() == PhysicalType::BYTE_ARRAY && leaf.converted_type() == ConvertedType::UTF8
}

fn is_number(leaf: &ColumnDescriptor) -> bool {
    matches!(leaf.physical_type(), PhysicalType::INT32 | PhysicalType::INT64)
}

fn bytes(reader: &mut ColumnReader, defined: i16) -> Result<Vec<Option<ByteArray>>, ParquetError> {
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => cells(reader, defined, SAMPLES),
        _ => Err(ParquetError::General("images or names that are not bytes".into())),
    }
}

fn numbers(reader: &mut ColumnReader, defined: i16) -> Result<Vec<Option<i64>>, ParquetError> {
    match reader {
        ColumnReader::Int32ColumnReader(reader) => {
            Ok(cells(reader, defined, CHUNK)?.into_iter().map(|cell| cell.map(i64::from)).collect())
        }
        ColumnReader::Int64ColumnReader(reader) => cells(reader, defined, CHUNK),
        _ => Err(ParquetError::General("labels that are not whole numbers".into())),
    }
}

/// What errors expect of a file.
const EXPECTED: &str = "a parquet file of images, recordings or texts";

impl From<Fault> for Error {
    fn from(Fault { path, cause }: Fault) -> Self {
        match cause {
            Cause::Io(operation, source) => Self::Io { operation, path, source },
            Cause::Damaged(found) => Self::Format { path, expected: EXPECTED.into(), found },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArrayType, Int32Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use image::DynamicImage;
    use std::io::Cursor;

    use super::*;

    const SHAPE: ImageShape = ImageShape::new(1, 2, 2);

    /// Writes a file of images of grey 0, 1, 2 … with these labels and, for a repeated column, its repetition
    /// levels.
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
    fn rejects_a_column_with_several_values_per_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        let schema = "message schema { required group img { required binary path (UTF8); required binary bytes; } repeated int32 label; }";
        write(&path, schema, &[2, 0, 1], Some(&[0, 1, 0]));
        let error = pictures(&path, SHAPE, 3, |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.contains("a column of numbers of classes"), "{error}");
    }
}
