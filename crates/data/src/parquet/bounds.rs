//! What a parquet file says of its own sizes, held against the bytes that are there before the parquet crate believes it.
//!
//! The crate takes memory for as many children as a group is said to have, for a page as large as its header says, and for as many
//! values as a dictionary is said to hold. Footer and headers are structs in Thrift's compact protocol, their fields numbered as in
//! parquet.thrift (<https://github.com/apache/parquet-format>); all but the few that count are passed over.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom};

/// The end of a file whose footer is not encrypted.
const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes that any page may take up once it is decompressed.
const SMALL: u64 = 16 << 20;
/// How many times as much as is in the file a larger page may take up. Pictures are compressed already.
const TIMES: u64 = 100;
/// Structs within structs. Parquet's are five deep.
const DEPTH: usize = 32;

/// Checks that the schema has a place for every child that its groups are said to have. What else is wrong with a footer is the
/// parquet crate's to say.
pub(super) fn footer(file: &mut (impl Read + Seek)) -> Result<()> {
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
    footer.fields(|footer, id, kind| match id {
        2 => footer.schema(kind),
        _ => footer.skip(kind, 0),
    })
}

/// Checks the headers of the pages in `length` bytes from `start` on: a column in a group of rows.
pub(super) fn pages(file: &mut (impl Read + Seek), start: u64, length: u64) -> Result<()> {
    let size = file.seek(SeekFrom::End(0))?;
    let end = start.checked_add(length).filter(|end| *end <= size);
    let end = end.ok_or_else(|| refused("a column that reaches beyond the file".into()))?;
    let mut at = start;
    while at < end {
        file.seek(SeekFrom::Start(at))?;
        let mut header = Compact::new(BufReader::new((&mut *file).take(end - at)));
        let page = header.page()?;
        at += header.read + page.check(end - at - header.read)?;
    }
    Ok(())
}

fn refused(reason: String) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

/// What counts of a page's header.
#[derive(Default)]
struct Page {
    uncompressed: i32,
    compressed: i32,
    /// Values in a dictionary.
    values: i32,
    /// How a data page is encoded.
    encoding: i32,
}

impl Page {
    /// The bytes that it has in the file, of `left`.
    fn check(&self, left: u64) -> Result<u64> {
        let size =
            |size: i32| u64::try_from(size).map_err(|_| refused(format!("a page of {size} bytes or values")));
        let (uncompressed, compressed) = (size(self.uncompressed)?, size(self.compressed)?);
        if compressed > left {
            return Err(refused(format!("a page of {compressed} bytes where {left} are left")));
        }
        if uncompressed > SMALL && uncompressed / TIMES > compressed {
            return Err(refused(format!("a page that makes {uncompressed} bytes of {compressed}")));
        }
        if size(self.values)? > uncompressed {
            return Err(refused(format!("a dictionary of {} values in {uncompressed} bytes", self.values)));
        }
        // How many lengths follow is said only within the page, and believed.
        if let 6 | 7 = self.encoding {
            return Err(refused("a page in a delta encoding of byte arrays, which is not read".into()));
        }
        Ok(compressed)
    }
}

/// A reader of Thrift's compact protocol.
struct Compact<R> {
    reader: R,
    /// Bytes that were read.
    read: u64,
}

/// The types of the protocol.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

impl<R: BufRead> Compact<R> {
    fn new(reader: R) -> Self {
        Self { reader, read: 0 }
    }

    /// SchemaElements, of which each but the root is one group's child.
    fn schema(&mut self, kind: u8) -> Result<()> {
        let (count, element) = match kind {
            kind::LIST => self.list()?,
            _ => (0, 0),
        };
        if element != kind::STRUCT {
            return Err(refused("a footer without a schema".into()));
        }
        // The children that are still to come of each group around an element.
        let mut open: Vec<u64> = Vec::new();
        for index in 0..count {
            let mut children = 0;
            self.fields(|this, id, kind| match id {
                5 => this.i32(kind).map(|number| children = u64::try_from(number).unwrap_or(0)),
                _ => this.skip(kind, 0),
            })?;
            while open.pop_if(|left| *left == 0).is_some() {}
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            open.push(children);
            if open.iter().sum::<u64>() > count - index - 1 || open.len() > DEPTH {
                return Err(refused("a schema of more or deeper groups than it has elements for".into()));
            }
        }
        Ok(())
    }

    /// A PageHeader.
    fn page(&mut self) -> Result<Page> {
        let mut page = Page::default();
        self.fields(|this, id, kind| {
            match id {
                2 => page.uncompressed = this.i32(kind)?,
                3 => page.compressed = this.i32(kind)?,
                5 => this.part(kind, 2, &mut page.encoding)?,
                7 => this.part(kind, 1, &mut page.values)?,
                8 => this.part(kind, 4, &mut page.encoding)?,
                _ => this.skip(kind, 0)?,
            }
            Ok(())
        })?;
        Ok(page)
    }

    /// A struct in which one number counts.
    fn part(&mut self, kind: u8, wanted: i16, number: &mut i32) -> Result<()> {
        if kind != kind::STRUCT {
            return Err(refused("a page's header of another form".into()));
        }
        self.fields(|this, id, kind| {
            if id != wanted {
                return this.skip(kind, 0);
            }
            this.i32(kind).map(|found| *number = found)
        })
    }

    /// Gives `take` each field of a struct, which it has to read: by number and type.
    fn fields(&mut self, mut take: impl FnMut(&mut Self, i16, u8) -> Result<()>) -> Result<()> {
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
            take(self, id, kind)?;
        }
    }

    fn i32(&mut self, kind: u8) -> Result<i32> {
        if kind != kind::I32 {
            return Err(refused(format!("a field of type {kind} in the place of a number")));
        }
        i32::try_from(self.integer()?).map_err(|_| refused("a number beyond 32 bits".into()))
    }

    /// How many elements follow, and their type.
    fn list(&mut self) -> Result<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Ok((count, head & 15))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return Err(refused("structs within structs without end".into()));
        }
        match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.pass(1),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.pass(8),
            kind::UUID => self.pass(16),
            kind::BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            kind::LIST | kind::SET => {
                let (count, element) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(element, depth))
            }
            kind::MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 15, depth)
                })
            }
            kind::STRUCT => self.fields(|this, _, kind| this.skip(kind, depth + 1)),
            _ => Err(refused(format!("a field of the unknown type {kind}"))),
        }
    }

    /// In lists and maps a truth value takes a byte.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<()> {
        if let kind::TRUE | kind::FALSE = kind { self.pass(1) } else { self.skip(kind, depth + 1) }
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
        Err(refused("a number without end".into()))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    fn pass(&mut self, length: u64) -> Result<()> {
        let passed = io::copy(&mut (&mut self.reader).take(length), &mut io::sink())?;
        self.read += passed;
        if passed == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
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

    /// A struct of numbers in fields 1, 2, 3 …
    fn numbers(values: &[i32]) -> Vec<u8> {
        let fields = values.iter().flat_map(|value| [vec![0x15], number(*value)].concat());
        fields.chain([0]).collect()
    }

    /// A file that is nothing but a footer, whose schema has elements of so many children.
    fn schema(children: &[i32]) -> Cursor<Vec<u8>> {
        let element = |children: &i32| [&[0x48, 1, b'x', 0x15], &*number(*children), &[0]].concat();
        let elements: Vec<u8> = children.iter().flat_map(element).collect();
        let head = [0x15, 2, 0x19, 0xf0 | kind::STRUCT, children.len() as u8];
        let footer = [&head, &*elements, &[0]].concat();
        let length = (footer.len() as u32).to_le_bytes();
        Cursor::new([MAGIC, &*footer, &length, MAGIC].concat())
    }

    fn column(headers: &[Vec<u8>]) -> Result<()> {
        let bytes = headers.concat();
        let length = bytes.len() as u64;
        pages(&mut Cursor::new(bytes), 0, length)
    }

    /// A page of zeros with what follows the sizes in its header.
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
        // What is no parquet file at all, the parquet crate says.
        footer(&mut Cursor::new(b"no parquet")).unwrap();
        footer(&mut Cursor::new(b"")).unwrap();
    }

    #[test]
    fn pages_are_of_sizes_that_they_can_have() {
        let part = |field: u8, values: &[i32]| [vec![field << 4 | kind::STRUCT], numbers(values)].concat();
        let (data, dictionary) = (|encoding| part(2, &[9, encoding]), |values| part(4, &[values, 0]));
        column(&[page(100, 100, &dictionary(100)), page(1 << 24, 7, &data(8))]).unwrap();
        let refused = |page: Vec<u8>, why: &str| {
            let error = column(&[page]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(page(i32::MAX, 1000, &data(0)), "2147483647 bytes of 1000");
        refused(page(-1, 0, &data(0)), "a page of -1");
        refused(page(100, 100, &dictionary(101)), "101 values");
        refused(page(100, 100, &data(6)), "delta");
        refused(page(100, 100, &part(5, &[9, 0, 9, 7])), "delta");
        let short = page(100, 100, &data(0));
        refused(short[..short.len() - 1].to_vec(), "where 99 are left");
        assert!(pages(&mut Cursor::new(short), 0, 1000).unwrap_err().to_string().contains("beyond"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, start in 0u64..20, length in 0u64..200) {
            _ = pages(&mut Cursor::new(&bytes), start, length);
            let tail = (bytes.len() as u32).to_le_bytes();
            _ = footer(&mut Cursor::new([&*bytes, &tail, MAGIC].concat()));
        }
    }
}
