//! Checks the sizes that a parquet file declares against the bytes in it, before the parquet crate trusts
//! them.
//!
//! The crate allocates memory for the declared number of a group's children, for the declared size of a page,
//! and for the declared number of values in a dictionary. Footer and headers are structs in Thrift's compact
//! protocol, with fields numbered as in parquet.thrift (<https://github.com/apache/parquet-format>). The
//! crate interprets every field by its number, whatever its type. So a field with another type or an unknown
//! number is refused here: the crate and this check would read it differently.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom};

/// The end of a file whose footer is not encrypted.
const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes that a column's pages may always take after decompression.
const SMALL: u64 = 16 << 20;
/// Beyond that, the largest ratio of decompressed bytes to file size. Images are already compressed.
const TIMES: u64 = 100;
/// Bytes that a dictionary value takes in memory.
const VALUE: u64 = 32;
/// The deepest nesting of groups.
const DEPTH: usize = 32;
/// Maximum number of elements of a schema.
const ELEMENTS: u64 = 10_000;
/// Maximum number of bytes of a column name.
const NAME: u64 = 1000;

/// Checks that the schema has as many elements as its groups declare children. The parquet crate reports any
/// other fault of a footer.
pub(crate) fn footer(file: &mut (impl Read + Seek)) -> Result<()> {
    let end = file.seek(SeekFrom::End(0))?.saturating_sub(8);
    file.seek(SeekFrom::Start(end))?;
    let mut tail = Vec::new();
    file.take(8).read_to_end(&mut tail)?;
    let Some((length, MAGIC)) =
        tail.split_first_chunk::<4>().and_then(|(n, magic)| Some((n, magic.first_chunk()?)))
    else {
        return Ok(());
    };
    let length = u64::from(u32::from_le_bytes(*length)).min(end);
    file.seek(SeekFrom::Start(end - length))?;
    let mut footer = Compact::new(BufReader::new(file.take(length)));
    // The version and the schema come first. The crate ignores a second schema later on, so stop after the
    // first.
    footer.fields(|footer, id, kind| match (id, kind) {
        (1, kind::I32) => footer.i32().map(|_| true),
        (2, kind::LIST) => footer.schema().map(|()| false),
        _ => Err(refused("a footer that does not begin with a schema".into())),
    })
}

/// Checks the memory for the pages of columns, each given by its first byte and its length.
pub(crate) fn pages(file: &mut (impl Read + Seek), columns: &[(u64, u64)]) -> Result<()> {
    let size = file.seek(SeekFrom::End(0))?;
    let bytes = columns.iter().fold(0u64, |bytes, (_, length)| bytes.saturating_add(*length));
    memory(0, bytes, size)?;
    let mut all = 0u64;
    for (start, length) in columns {
        all = all.saturating_add(column(file, size, *start, *length)?);
    }
    memory(all, bytes, size)
}

/// Returns the memory for the pages of a column in a row group, from their headers.
fn column(file: &mut (impl Read + Seek), size: u64, start: u64, length: u64) -> Result<u64> {
    let end = start.checked_add(length).filter(|end| *end <= size);
    let end = end.ok_or_else(|| refused("a column that reaches beyond the file".into()))?;
    let (mut at, mut memory) = (start, 0);
    while at < end {
        file.seek(SeekFrom::Start(at))?;
        let mut header = Compact::new(BufReader::new((&mut *file).take(end - at)));
        let page = header.page()?;
        let left = end - at - header.read;
        if page.compressed > left {
            return Err(refused(format!("a page of {} bytes where {left} are left", page.compressed)));
        }
        at += header.read + page.compressed;
        memory += page.uncompressed + VALUE * page.values;
    }
    Ok(memory)
}

/// Checks the memory for all pages to read, and their bytes, against a file of `size` bytes.
fn memory(memory: u64, bytes: u64, size: u64) -> Result<()> {
    if bytes > size {
        return Err(refused("overlapping columns".into()));
    }
    if memory > SMALL.saturating_add(size.saturating_mul(TIMES)) {
        return Err(refused(format!("pages that make {memory} bytes of {size}")));
    }
    Ok(())
}

fn refused(reason: String) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

/// The relevant fields of a page header.
#[derive(Default)]
struct Page {
    uncompressed: u64,
    compressed: u64,
    /// Values in a dictionary.
    values: u64,
}

/// A reader of Thrift's compact protocol.
struct Compact<R> {
    reader: R,
    /// Bytes read so far.
    read: u64,
}

/// The supported types of the protocol.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const STRUCT: u8 = 12;
}

impl<R: BufRead> Compact<R> {
    fn new(reader: R) -> Self {
        Self { reader, read: 0 }
    }

    /// Reads a list of SchemaElements. Each of them except the root is a child of one group.
    fn schema(&mut self) -> Result<()> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if head & 15 != kind::STRUCT || count > ELEMENTS {
            return Err(refused(format!("a schema of {count} elements")));
        }
        // The number of children still missing in each open group.
        let mut open: Vec<u64> = Vec::new();
        for index in 0..count {
            let children = self.schema_element()?;
            while open.pop_if(|left| *left == 0).is_some() {}
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            open.push(children);
            if open.iter().sum::<u64>() > count - index - 1 || open.len() > DEPTH {
                let reason =
                    "a schema whose groups have more children than it has elements, or are nested too deeply";
                return Err(refused(reason.into()));
            }
        }
        Ok(())
    }

    /// Returns the number of children.
    fn schema_element(&mut self) -> Result<u64> {
        let mut children = 0;
        self.each_field(|this, id, kind| match (id, kind) {
            (5, kind::I32) => this.i32().map(|number| children = u64::try_from(number).unwrap_or(0)),
            (1..=9, kind::I32) if id != 4 => this.i32().map(drop),
            (4, kind::BINARY) => this.binary(NAME),
            (10, kind::STRUCT) => this.logical_type(),
            _ => Err(unknown("a schema", id, kind)),
        })?;
        Ok(children)
    }

    /// Reads a union of structs, most of them empty.
    fn logical_type(&mut self) -> Result<()> {
        self.each_field(|this, variant, kind| {
            if kind != kind::STRUCT {
                return Err(unknown("a logical type", variant, kind));
            }
            this.each_field(|this, id, kind| match (variant, id, kind) {
                // Decimal: scale and precision.
                (5, 1 | 2, kind::I32) => this.i32().map(drop),
                // Time and timestamp: whether in UTC, and the unit, a union of empty structs.
                (7 | 8, 1, kind::TRUE | kind::FALSE) => Ok(()),
                (7 | 8, 2, kind::STRUCT) => this.each_field(|this, id, kind| match kind {
                    kind::STRUCT => this.each_field(|_, id, kind| Err(unknown("a unit of time", id, kind))),
                    _ => Err(unknown("a unit of time", id, kind)),
                }),
                // Integer: bits, and whether signed.
                (10, 1, kind::BYTE) => this.byte().map(drop),
                (10, 2, kind::TRUE | kind::FALSE) => Ok(()),
                _ => Err(unknown("a logical type", id, kind)),
            })
        })
    }

    /// Reads a PageHeader.
    fn page(&mut self) -> Result<Page> {
        let mut page = Page::default();
        self.each_field(|this, id, kind| match (id, kind) {
            (2, kind::I32) => this.size().map(|size| page.uncompressed = size),
            (3, kind::I32) => this.size().map(|size| page.compressed = size),
            // The page type, and the checksum.
            (1 | 4, kind::I32) => this.i32().map(drop),
            (5, kind::STRUCT) => this.each_field(|this, id, kind| match (id, kind) {
                (2, kind::I32) => this.encoding(),
                (1..=4, kind::I32) => this.i32().map(drop),
                (5, kind::STRUCT) => this.statistics(),
                _ => Err(unknown("the header of a data page", id, kind)),
            }),
            (6, kind::STRUCT) => {
                this.each_field(|_, id, kind| Err(unknown("the header of an index", id, kind)))
            }
            (7, kind::STRUCT) => this.each_field(|this, id, kind| match (id, kind) {
                (1, kind::I32) => this.size().map(|size| page.values = size),
                (2, kind::I32) => this.encoding(),
                (3, kind::TRUE | kind::FALSE) => Ok(()),
                _ => Err(unknown("the header of a dictionary", id, kind)),
            }),
            (8, kind::STRUCT) => this.each_field(|this, id, kind| match (id, kind) {
                (4, kind::I32) => this.encoding(),
                (1..=6, kind::I32) => this.i32().map(drop),
                (7, kind::TRUE | kind::FALSE) => Ok(()),
                (8, kind::STRUCT) => this.statistics(),
                _ => Err(unknown("the header of a data page", id, kind)),
            }),
            _ => Err(unknown("the header of a page", id, kind)),
        })?;
        Ok(page)
    }

    /// Skips the fields that the crate ignores, by their types.
    fn statistics(&mut self) -> Result<()> {
        self.each_field(|this, id, kind| match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::I32 | kind::I64 => this.varint().map(drop),
            kind::BINARY => this.binary(u64::MAX),
            _ => Err(unknown("statistics", id, kind)),
        })
    }

    /// Accepts encodings that declare no sizes besides the header's: plain, dictionary, run-length, and
    /// deltas of numbers.
    fn encoding(&mut self) -> Result<()> {
        match self.i32()? {
            0 | 2 | 3 | 5 | 8 => Ok(()),
            other => Err(refused(format!(
                "a page in encoding {other} of parquet, which is not read: write it as PLAIN"
            ))),
        }
    }

    /// Calls `take` with number and type of each field of a struct. `take` has to read the field.
    fn each_field(&mut self, mut take: impl FnMut(&mut Self, i16, u8) -> Result<()>) -> Result<()> {
        self.fields(|this, id, kind| take(this, id, kind).map(|()| true))
    }

    /// As [`Self::each_field`], but stops when `take` returns false.
    fn fields(&mut self, mut take: impl FnMut(&mut Self, i16, u8) -> Result<bool>) -> Result<()> {
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let (delta, kind) = (head >> 4, head & 15);
            if kind == 0 {
                return Ok(());
            }
            let full =
                if delta == 0 { i16::try_from(self.integer()?).ok() } else { id.checked_add(delta.into()) };
            id = full.ok_or_else(|| refused("a field's number beyond 16 bits".into()))?;
            if !take(self, id, kind)? {
                return Ok(());
            }
        }
    }

    fn size(&mut self) -> Result<u64> {
        let size = self.i32()?;
        u64::try_from(size).map_err(|_| refused(format!("a page of {size} bytes or values")))
    }

    fn i32(&mut self) -> Result<i32> {
        i32::try_from(self.integer()?).map_err(|_| refused("a number beyond 32 bits".into()))
    }

    fn integer(&mut self) -> Result<i64> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(refused("an unterminated number".into()))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    /// Skips a byte string of at most `most` bytes.
    fn binary(&mut self, most: u64) -> Result<()> {
        let length = self.varint()?;
        if length > most {
            return Err(refused(format!("a name of {length} bytes")));
        }
        let passed = io::copy(&mut (&mut self.reader).take(length), &mut io::sink())?;
        self.read += passed;
        if passed == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

fn unknown(place: &str, id: i16, kind: u8) -> Error {
    refused(format!("{place} with a field {id} of type {kind}, which is not known"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn number(value: i32) -> Vec<u8> {
        let mut zigzag = ((value << 1) ^ (value >> 31)) as u32;
        let mut bytes = Vec::new();
        while zigzag > 127 {
            bytes.push(zigzag as u8 | 128);
            zigzag >>= 7;
        }
        bytes.push(zigzag as u8);
        bytes
    }

    /// Returns a struct of numbers in fields 1, 2, 3 …
    fn numbers(values: &[i32]) -> Vec<u8> {
        let fields = values.iter().flat_map(|value| [vec![0x15], number(*value)].concat());
        fields.chain([0]).collect()
    }

    /// Returns a file that is only a footer, whose schema has elements with these numbers of children.
    fn schema(children: &[i32]) -> Cursor<Vec<u8>> {
        let element = |children: &i32| [&[0x48, 1, b'x', 0x15], &*number(*children), &[0]].concat();
        let elements: Vec<u8> = children.iter().flat_map(element).collect();
        let head = [0x15, 2, 0x19, 0xf0 | kind::STRUCT, children.len() as u8];
        let footer = [&head, &*elements, &[0]].concat();
        let length = (footer.len() as u32).to_le_bytes();
        Cursor::new([MAGIC, &*footer, &length, MAGIC].concat())
    }

    fn column_of(headers: &[Vec<u8>]) -> Result<u64> {
        let bytes = headers.concat();
        let length = bytes.len() as u64;
        column(&mut Cursor::new(bytes), length, 0, length)
    }

    /// Returns a page of zeros; `rest` follows the sizes in its header.
    fn page(uncompressed: i32, compressed: i32, rest: &[u8]) -> Vec<u8> {
        let sizes = numbers(&[0, uncompressed, compressed]);
        let body = vec![0; usize::try_from(compressed).unwrap_or(0)];
        [&sizes[..sizes.len() - 1], rest, &[0], &*body].concat()
    }

    #[test]
    fn a_schema_holds_the_children_that_it_says() {
        for fine in [&[0][..], &[2, 0, 0], &[2, 1, 0, 0], &[1, 1, 1, 0]] {
            footer(&mut schema(fine)).unwrap();
        }
        for wrong in [&[i32::MAX, 0][..], &[1], &[2, 2, 0, 0], &[1, i32::MAX, 0], &[1; 100]] {
            assert!(footer(&mut schema(wrong)).unwrap_err().to_string().contains("schema"), "{wrong:?}");
        }
        // The parquet crate reports files that are not parquet at all.
        footer(&mut Cursor::new(b"no parquet")).unwrap();
        footer(&mut Cursor::new(b"")).unwrap();
    }

    #[test]
    fn rejects_impossible_page_sizes() {
        let part = |field: u8, values: &[i32]| [vec![field << 4 | kind::STRUCT], numbers(values)].concat();
        let (data, dictionary) = (|encoding| part(2, &[9, encoding]), |values| part(4, &[values, 0]));
        let found = column_of(&[page(100, 100, &dictionary(10)), page(1 << 24, 7, &data(8))]).unwrap();
        assert_eq!(found, 100 + 32 * 10 + (1 << 24));
        memory(found, 1000, 1000).unwrap();
        assert!(memory(1 << 25, 1000, 1000).unwrap_err().to_string().contains("33554432 bytes of 1000"));
        assert!(memory(1, 1001, 1000).unwrap_err().to_string().contains("overlapping columns"));
        let refused = |page: Vec<u8>, why: &str| {
            let error = column_of(&[page]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(page(-1, 0, &data(0)), "a page of -1");
        refused(page(100, 100, &data(6)), "encoding 6");
        refused(page(100, 100, &part(5, &[9, 0, 9, 9])), "encoding 9");
        let short = page(100, 100, &data(0));
        refused(short[..short.len() - 1].to_vec(), "where 99 are left");
        let size = short.len() as u64;
        let beyond = column(&mut Cursor::new(&short), size, 0, 1000).unwrap_err().to_string();
        assert!(beyond.contains("beyond"), "{beyond}");
        let twice = [(0, size); 2];
        assert!(
            pages(&mut Cursor::new(&short), &twice).unwrap_err().to_string().contains("overlapping columns")
        );
    }

    /// This reader would skip a field that declares another type, but the crate would read it.
    #[test]
    fn rejects_what_the_parquet_crate_reads_differently() {
        // A checksum of type BINARY that hides a size.
        let hidden = [0x18, 2, 0x15, 2];
        let error = column_of(&[page(1, 1, &hidden)]).unwrap_err().to_string();
        assert!(error.contains("field 4 of type 8"), "{error}");
        let footer_of = |bytes: &[u8]| {
            let length = (bytes.len() as u32).to_le_bytes();
            footer(&mut Cursor::new([MAGIC, bytes, &length, MAGIC].concat())).unwrap_err().to_string()
        };
        assert!(footer_of(&[0x18, 1, 0, 0]).contains("does not begin with a schema"));
        assert!(footer_of(&[0x15, 2, 0x19, 0x1c, 0x58, 1, 0, 0, 0]).contains("field 5 of type 8"));
        assert!(
            footer_of(&[0x15, 2, 0x19, 0x1c, 0xac, 0x5c, 0x11, 0, 0, 0, 0]).contains("field 1 of type 1")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, start in 0u64..20, length in 0u64..200) {
            _ = pages(&mut Cursor::new(&bytes), &[(start, length)]);
            let tail = (bytes.len() as u32).to_le_bytes();
            _ = footer(&mut Cursor::new([&*bytes, &tail, MAGIC].concat()));
        }
    }
}
