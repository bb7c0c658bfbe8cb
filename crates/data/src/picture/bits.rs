//! The entropy-coded data of a JPEG file: its bits up to the next marker, and their Huffman codes.

/// Longest code that the lookup table covers; longer ones are decoded bit by bit.
const AHEAD: u32 = 9;
/// The longest code of the format.
const LONGEST: usize = 16;

/// The error for data that ends too early.
const SHORT: &str = "the data ends too early";
/// The error for a code that is in no table.
pub(super) const UNKNOWN: &str = "there is a code that its tables do not know";
/// The error for more coefficients than a block has.
pub(super) const TOO_MANY: &str = "there are more values than a block has";

/// A Huffman table.
pub(super) struct Table {
    /// By the next nine bits: the code's length times 256, plus its symbol; 0 for longer codes.
    short: [u16; 1 << AHEAD],
    /// By length: the first code above those of that length, padded with zeros to 16 bits.
    beyond: [u32; LONGEST + 1],
    /// By length: the number to add to a code to get the index of its symbol.
    offset: [i32; LONGEST + 1],
    symbols: Vec<u8>,
}

impl Table {
    /// Parses a table that begins with the number of codes of each length. Returns it with its size in bytes,
    /// or None if it is invalid.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let counts = bytes.get(..LONGEST)?;
        let count: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let symbols = bytes.get(LONGEST..LONGEST + count)?.to_vec();
        let mut table =
            Self { short: [0; 1 << AHEAD], beyond: [0; LONGEST + 1], offset: [0; LONGEST + 1], symbols };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=LONGEST {
            table.offset[length] = place as i32 - code as i32;
            for _ in 0..counts[length - 1] {
                if length <= AHEAD as usize {
                    let free = AHEAD as usize - length;
                    let first = (code as usize) << free;
                    let entry = (length as u16) << 8 | u16::from(table.symbols[place]);
                    table.short.get_mut(first..first + (1 << free))?.fill(entry);
                }
                code += 1;
                place += 1;
            }
            if code > 1 << length {
                return None;
            }
            table.beyond[length] = code << (LONGEST - length);
            code <<= 1;
        }
        Some((table, LONGEST + count))
    }

    /// Returns length and symbol of the code at the start of these 16 bits.
    #[inline]
    fn find(&self, ahead: u32) -> Option<(u32, u8)> {
        let entry = self.short[(ahead >> (LONGEST as u32 - AHEAD)) as usize];
        if entry != 0 {
            return Some((u32::from(entry >> 8), entry as u8));
        }
        let length = (AHEAD as usize + 1..=LONGEST).find(|&length| ahead < self.beyond[length])?;
        let code = (ahead >> (LONGEST - length)) as i32;
        let symbol = self.symbols.get(usize::try_from(code + self.offset[length]).ok()?)?;
        Some((length as u32, *symbol))
    }
}

/// Reads bits, the highest of a byte first, up to the next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not yet in `buffer`.
    at: usize,
    /// The next bits, from the highest down.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, buffer: 0, count: 0 }
    }

    /// Returns the position of the marker, or a position before it with only unneeded bytes in between.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Fills the buffer to at least 56 bits, or up to the marker.
    fn fill(&mut self) {
        if let Some(&bytes) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let ahead = u64::from_be_bytes(bytes);
            // If this is not 0, some byte is 0xff, and the slow path handles it.
            let inverse = !ahead;
            if inverse.wrapping_sub(0x0101_0101_0101_0101) & !inverse & 0x8080_8080_8080_8080 == 0 {
                let taken = (64 - self.count) / 8;
                // Bits beyond whole bytes are read twice, with the same value each time.
                self.buffer |= ahead >> self.count;
                self.at += taken as usize;
                self.count += 8 * taken;
                if self.count < 64 {
                    self.buffer &= !(u64::MAX >> self.count);
                }
                return;
            }
        }
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            let mut next = self.at + 1;
            if byte == 0xff {
                // 0xff and a zero are a data byte. 0xff and anything else is a marker. Fill bytes may come
                // before either.
                while self.bytes.get(next) == Some(&0xff) {
                    next += 1;
                }
                if self.bytes.get(next) != Some(&0) {
                    return;
                }
                next += 1;
            }
            self.at = next;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Returns the next symbol, and skips the number of bits that `value` gives for it, at most 16.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table, value: fn(u8) -> u32) -> Result<u8, &'static str> {
        if self.count < 32 {
            self.fill();
        }
        let Some((length, symbol)) = table.find((self.buffer >> 48) as u32) else {
            return Err(if self.count < LONGEST as u32 { SHORT } else { UNKNOWN });
        };
        let length = length + value(symbol);
        if length > self.count {
            return Err(SHORT);
        }
        self.buffer <<= length;
        self.count -= length;
        Ok(symbol)
    }

    /// Skips at most 64 bits.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), &'static str> {
        if count > 32 {
            self.take(32)?;
            return self.take(count - 32).map(drop);
        }
        self.take(count).map(drop)
    }

    /// Returns the next bits, at most 32, as a number.
    pub(super) fn take(&mut self, count: u32) -> Result<usize, &'static str> {
        if self.count < count {
            self.fill();
        }
        if self.count < count {
            return Err(SHORT);
        }
        if count == 0 {
            return Ok(0);
        }
        let bits = self.buffer >> (64 - count);
        self.buffer <<= count;
        self.count -= count;
        Ok(bits as usize)
    }

    /// Continues after the restart marker of this number. Skips the padding bits of the last byte.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), &'static str> {
        (self.buffer, self.count) = (0, 0);
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            if byte != 0xff {
                continue;
            }
            match self.bytes.get(self.at) {
                Some(0 | 0xff) => {}
                Some(marker) if *marker == 0xd0 + number => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err("a restart marker is missing"),
            }
        }
        Err(SHORT)
    }
}
