//! Reads one parquet file. Checks its sizes against its bytes, and catches panics of the parquet crate.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::SchemaDescriptor;

use super::bounds;

/// Usual number of rows per read.
pub(crate) const CHUNK: usize = 1024;

/// A parquet file with a valid footer.
pub(crate) struct ParquetFile {
    path: PathBuf,
    file: File,
    reader: SerializedFileReader<File>,
    size: u64,
    rows: u64,
}

/// The reason why a parquet file cannot be read. Image and table readers convert it to their own errors.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: PathBuf,
    pub(crate) cause: Cause,
}

#[derive(Debug)]
pub(crate) enum Cause {
    /// The system refused an operation.
    Io(&'static str, io::Error),
    /// The file violates the format.
    Damaged(String),
}

impl ParquetFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let refused =
            |operation| move |error| Fault { path: path.into(), cause: Cause::Io(operation, error) };
        let file = File::open(path).map_err(refused("open"))?;
        let size = file.metadata().map_err(refused("read"))?.len();
        bounds::footer(&mut &file).map_err(|error| Fault::of_sizes(path, error))?;
        let same = file.try_clone().map_err(refused("open"))?;
        let reader = guarded(path, || SerializedFileReader::new(same))?;
        let mut groups = reader.metadata().row_groups().iter();
        let rows =
            groups.try_fold(0u64, |rows, group| rows.checked_add(u64::try_from(group.num_rows()).ok()?));
        let rows = rows.ok_or_else(|| Fault::damaged(path, "an impossible number of rows"))?;
        Ok(Self { path: path.into(), file, reader, size, rows })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size of the file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of rows that the file declares. Do not trust it: allocate memory for rows actually
    /// read.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the columns.
    pub(crate) fn schema(&self) -> &SchemaDescriptor {
        self.reader.metadata().file_metadata().schema_descr()
    }

    /// Returns the text that a writer stored under `key` next to the schema.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let notes = self.reader.metadata().file_metadata().key_value_metadata()?;
        notes.iter().filter(|note| note.key == key).find_map(|note| note.value.as_deref())
    }

    /// Calls `take` with the cells of a column, chunk by chunk, and the number of the first row of each
    /// chunk. The chunks have exactly [`ParquetFile::rows`] rows in total.
    pub(crate) fn chunks<T, E: From<Fault>>(
        &self,
        leaf: usize,
        read: fn(&mut ColumnReader, i16) -> Result<Vec<T>, ParquetError>,
        mut take: impl FnMut(u64, Vec<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_pages(leaf)?;
        let defined = self.schema().column(leaf).max_def_level();
        let mut first = 0;
        for group in 0..self.reader.num_row_groups() {
            let group = guarded(&self.path, || self.reader.get_row_group(group))?;
            let mut reader = guarded(&self.path, || group.get_column_reader(leaf))?;
            loop {
                let cells = guarded(&self.path, || read(&mut reader, defined))?;
                let rows = cells.len() as u64;
                if first + rows > self.rows {
                    return Err(Fault::damaged(
                        &self.path,
                        "columns whose lengths differ from its row groups",
                    )
                    .into());
                }
                if rows == 0 {
                    break;
                }
                take(first, cells)?;
                first += rows;
            }
        }
        if first < self.rows {
            return Err(Fault::damaged(&self.path, "fewer rows than it says").into());
        }
        Ok(())
    }

    /// Checks the sizes that a column's pages declare against the size of the file.
    fn check_pages(&self, leaf: usize) -> Result<(), Fault> {
        let groups = self.reader.metadata().row_groups().iter();
        let columns = guarded(&self.path, || {
            Ok(groups.map(|group| group.column(leaf).byte_range()).collect::<Vec<_>>())
        })?;
        bounds::pages(&mut &self.file, &columns).map_err(|error| Fault::of_sizes(&self.path, error))
    }
}

impl Fault {
    fn damaged(path: &Path, reason: impl Display) -> Self {
        Self { path: path.into(), cause: Cause::Damaged(reason.to_string()) }
    }

    /// Returns the fault of a file whose sizes are wrong or could not be checked.
    fn of_sizes(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::damaged(path, error),
            _ => Self { path: path.into(), cause: Cause::Io("read", error) },
        }
    }
}

/// Returns the cells of the next rows of a column, at most `most` of them. A row has a value only if its
/// level is `defined`, the highest.
pub(crate) fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    defined: i16,
    most: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (rows, ..) = reader.read_records(most, Some(&mut levels), None, &mut values)?;
    if defined == 0 {
        levels = vec![0; rows];
    }
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level == defined { values.next() } else { None }).collect())
}

/// Runs code that reads a parquet file. The parquet crate asserts much that a damaged file violates; a panic
/// there becomes an error.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Fault> {
    let result = catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no reason given");
        Fault::damaged(path, format!("data that the reader does not support ({text})"))
    });
    result?.map_err(|error| Fault::damaged(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_reader_is_an_error_with_its_words() {
        let path = Path::new("x.parquet");
        assert_eq!(guarded(path, || Ok(7)).unwrap(), 7);
        let given: Vec<Option<u8>> = vec![None];
        let reason = crate::Error::from(guarded(path, || Ok(given[0].expect("a group"))).unwrap_err());
        let reason = reason.to_string();
        assert!(reason.contains("a group") && reason.contains("x.parquet"), "{reason}");
    }
}
