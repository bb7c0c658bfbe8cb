//! Checks that a JPEG file is complete. Decoders fill the missing part of an image with one colour, and
//! report success.
//!
//! JPEG has no checksum. This check can find out whether every block of every scan is there, in codes that
//! the file's own tables define, and whether the file ends with the end-of-image marker. To do so, it reads
//! the entropy-coded data as a decoder does, but without computing pixels.

use super::bits::{Bits, Table};

/// Tables per class; the standard allows four.
const TABLES: usize = 4;
/// Coefficients per block.
const COEFFICIENTS: usize = 64;

mod marker {
    pub(super) const SOF0: u8 = 0xc0;
    pub(super) const SOF2: u8 = 0xc2;
    pub(super) const DHT: u8 = 0xc4;
    pub(super) const RST0: u8 = 0xd0;
    pub(super) const RST7: u8 = 0xd7;
    pub(super) const SOI: u8 = 0xd8;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const DRI: u8 = 0xdd;
    pub(super) const TEM: u8 = 0x01;
}

/// One colour component of the image.
struct Component {
    id: u8,
    /// Blocks per minimum coded unit (MCU) of an interleaved scan, across and down.
    sampling: (usize, usize),
    /// Blocks that the image covers, across and down.
    covered: (usize, usize),
    /// Blocks across, including those that pad the last MCU.
    stride: usize,
    /// For a progressive image: the coefficients of every block that are not zero.
    nonzero: Vec<u64>,
    /// The lowest bit of each coefficient that a scan has given so far.
    precision: [Option<u8>; COEFFICIENTS],
}

/// The header of a frame.
struct Frame {
    progressive: bool,
    /// MCUs of an interleaved scan, across and down.
    units: (usize, usize),
    components: Vec<Component>,
}

/// The header of a scan.
struct Scan {
    /// The components, each with its tables for the DC coefficient and for the AC coefficients.
    components: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    band: (usize, usize),
    /// The bit at which an earlier scan of the band ended, 0 for a first scan, and the bit at which this one
    /// ends.
    bits: (u8, u8),
}

/// Checks every block of a file. `Err` says what is missing or wrong, in words that follow the file's name.
///
/// Accepts kinds of JPEG that are not decoded anyway (lossless, arithmetic coding, twelve bits). Skips bytes
/// after the end, between segments and before a marker, as all decoders do, because cameras and editors leave
/// such bytes.
///
/// Takes 8 bytes of memory per block of a progressive image, an eighth of the decoded size.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut reader = Reader { bytes, at: 2 };
    let mut frame: Option<Frame> = None;
    let (mut dc, mut ac) = ([const { None }; TABLES], [const { None }; TABLES]);
    let mut restart_interval = 0;
    loop {
        match reader.marker()? {
            marker::EOI => break,
            marker::SOI | marker::TEM | marker::RST0..=marker::RST7 => {}
            marker::DHT => tables(reader.segment()?, &mut dc, &mut ac)?,
            marker::DRI => {
                let segment = reader.segment()?;
                restart_interval = word(segment, 0).ok_or_else(|| damaged("restart interval"))?;
            }
            kind @ marker::SOF0..=marker::SOF2 => {
                let header = Frame::parse(reader.segment()?, kind == marker::SOF2)?;
                match header {
                    Some(header) if frame.is_none() => frame = Some(header),
                    Some(_) => return Err("it has two frames".into()),
                    None => return Ok(()),
                }
            }
            // Other kinds of frames. 0xc8 and 0xcc are not frames.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Ok(()),
            marker::SOS => {
                let header = reader.segment()?;
                let frame = frame.as_mut().ok_or("its first scan comes before its frame")?;
                let scan = Scan::parse(header, frame)?;
                let mut bits = Bits::new(bytes, reader.at);
                let tables = Tables { dc: &dc, ac: &ac };
                Decoder { bits: &mut bits, tables, scan: &scan, run: 0 }.all(frame, restart_interval)?;
                reader.at = bits.at();
            }
            // Other segments do not concern pixels, or only their values.
            _ => {
                reader.segment()?;
            }
        }
    }
    frame.ok_or("it holds no image")?.complete()
}

fn damaged(what: &str) -> String {
    format!("its {what} is damaged")
}

/// Returns two bytes of a segment as a number.
fn word(segment: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?])))
}

/// Moves from marker to marker.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Returns the next marker, after any fill bytes and other bytes.
    fn marker(&mut self) -> Result<u8, String> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(place) = rest.iter().position(|&byte| byte == 0xff) else { return Err(self.ended()) };
            self.at += place + 1;
            match rest.get(place + 1) {
                None => return Err(self.ended()),
                // Fill, or an escaped data byte.
                Some(0xff | 0) => {}
                Some(&marker) => {
                    self.at += 1;
                    return Ok(marker);
                }
            }
        }
    }

    /// Returns the contents of the segment that begins here.
    fn segment(&mut self) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = word(rest, 0).ok_or_else(|| self.ended())?;
        let contents = rest.get(2..length.max(2)).ok_or_else(|| self.ended())?;
        self.at += length.max(2);
        Ok(contents)
    }

    fn ended(&self) -> String {
        format!("it is cut off: its {} bytes end before the image does", self.bytes.len())
    }
}

/// Reads the Huffman tables of a segment.
fn tables(
    mut segment: &[u8],
    dc: &mut [Option<Table>; TABLES],
    ac: &mut [Option<Table>; TABLES],
) -> Result<(), String> {
    while let Some((&which, rest)) = segment.split_first() {
        let (table, length) = Table::parse(rest).ok_or_else(|| damaged("Huffman table"))?;
        let class = if which >> 4 == 0 { &mut *dc } else { &mut *ac };
        let place = class.get_mut(usize::from(which & 15)).ok_or_else(|| damaged("Huffman table"))?;
        *place = Some(table);
        segment = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

impl Frame {
    /// Parses a frame header; None if its samples do not have eight bits.
    fn parse(segment: &[u8], progressive: bool) -> Result<Option<Self>, String> {
        let header = || damaged("frame header");
        let (&[precision, ..], Some(height), Some(width)) = (segment, word(segment, 1), word(segment, 3))
        else {
            return Err(header());
        };
        let count = usize::from(*segment.get(5).ok_or_else(header)?);
        let described = segment.get(6..6 + 3 * count).ok_or_else(header)?;
        if precision != 8 {
            return Ok(None);
        }
        let sampling: Vec<(u8, usize, usize)> = described
            .chunks_exact(3)
            .map(|c| (c[0], usize::from(c[1] >> 4), usize::from(c[1] & 15)))
            .collect();
        let most = |factor: fn(&(u8, usize, usize)) -> usize| sampling.iter().map(factor).max().unwrap_or(0);
        let (h_most, v_most) = (most(|c| c.1), most(|c| c.2));
        let possible = |factor: usize| (1..=4).contains(&factor);
        if width == 0 || height == 0 || !sampling.iter().all(|&(_, h, v)| possible(h) && possible(v)) {
            return Err(header());
        }
        let units = (width.div_ceil(8 * h_most), height.div_ceil(8 * v_most));
        let component = |&(id, h, v): &(u8, usize, usize)| {
            let (stride, rows) = (units.0 * h, units.1 * v);
            Component {
                id,
                sampling: (h, v),
                covered: ((width * h).div_ceil(8 * h_most), (height * v).div_ceil(8 * v_most)),
                stride,
                nonzero: if progressive { vec![0; stride * rows] } else { Vec::new() },
                precision: [None; COEFFICIENTS],
            }
        };
        let components = sampling.iter().map(component).collect();
        Ok(Some(Self { progressive, units, components }))
    }

    /// Reports the part of the image that no scan has given.
    fn complete(&self) -> Result<(), String> {
        let whole = |component: &Component| component.precision.iter().all(|bit| *bit == Some(0));
        match self.components.iter().position(|component| !whole(component)) {
            None => Ok(()),
            Some(index) => Err(format!(
                "it is not complete: scans of colour {} of {} are missing",
                index + 1,
                self.components.len()
            )),
        }
    }
}

impl Scan {
    fn parse(segment: &[u8], frame: &Frame) -> Result<Self, String> {
        let header = || damaged("scan header");
        let (&count, rest) = segment.split_first().ok_or_else(header)?;
        let described = rest.get(..2 * usize::from(count)).ok_or_else(header)?;
        let mut components = Vec::new();
        for pair in described.chunks_exact(2) {
            let index = frame.components.iter().position(|c| c.id == pair[0]).ok_or_else(header)?;
            components.push((index, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
        }
        let &[first, last, approximation] = rest.get(described.len()..).ok_or_else(header)? else {
            return Err(header());
        };
        let (band, bits) = if frame.progressive {
            ((usize::from(first), usize::from(last)), (approximation >> 4, approximation & 15))
        } else {
            ((0, COEFFICIENTS - 1), (0, 0))
        };
        // A progressive scan of several components holds only DC coefficients, and DC and AC coefficients
        // never share a progressive scan.
        let fits = band.0 <= band.1
            && band.1 < COEFFICIENTS
            && !(frame.progressive && band.1 > 0 && (band.0 == 0 || components.len() > 1));
        if components.is_empty() || !fits {
            return Err(header());
        }
        Ok(Self { components, band, bits })
    }
}

/// The tables at the start of a scan.
#[derive(Clone, Copy)]
struct Tables<'a> {
    dc: &'a [Option<Table>; TABLES],
    ac: &'a [Option<Table>; TABLES],
}

impl<'a> Tables<'a> {
    fn of(class: &'a [Option<Table>; TABLES], index: usize) -> Result<&'a Table, String> {
        class.get(index).and_then(Option::as_ref).ok_or_else(|| "it lacks a Huffman table".to_owned())
    }
}

/// Reads the data of one scan.
struct Decoder<'a, 'b> {
    bits: &'a mut Bits<'b>,
    tables: Tables<'a>,
    scan: &'a Scan,
    /// Remaining blocks of a run without further coefficients.
    run: usize,
}

impl Decoder<'_, '_> {
    fn all(&mut self, frame: &mut Frame, restart_interval: usize) -> Result<(), String> {
        let alone = self.scan.components.len() == 1;
        let units = if alone { frame.components[self.scan.components[0].0].covered } else { frame.units };
        let total = units.0 * units.1;
        let mut until_restart = restart_interval;
        let mut restarts = 0u8;
        for unit in 0..total {
            if restart_interval > 0 && until_restart == 0 {
                self.bits.restart(restarts).map_err(|why| format!("{why}, in {}", place(unit, total)))?;
                (restarts, until_restart, self.run) = ((restarts + 1) % 8, restart_interval, 0);
            }
            until_restart = until_restart.wrapping_sub(1);
            let (row, column) = (unit / units.0, unit % units.0);
            self.unit(frame, alone, row, column)
                .map_err(|why| format!("{why}, in {}", place(unit, total)))?;
        }
        for &(index, ..) in &self.scan.components {
            let (first, last) = self.scan.band;
            frame.components[index].precision[first..=last].fill(Some(self.scan.bits.1));
        }
        Ok(())
    }

    fn unit(
        &mut self,
        frame: &mut Frame,
        alone: bool,
        row: usize,
        column: usize,
    ) -> Result<(), &'static str> {
        for &(index, dc, ac) in &self.scan.components {
            let component = &mut frame.components[index];
            let (across, down) = if alone { (1, 1) } else { component.sampling };
            for block in 0..across * down {
                let place =
                    (row * down + block / across) * component.stride + column * across + block % across;
                if frame.progressive {
                    let nonzero = component.nonzero.get_mut(place).ok_or("a block is out of place")?;
                    self.progressive(nonzero, dc, ac)?;
                } else {
                    self.sequential(dc, ac)?;
                }
            }
        }
        Ok(())
    }

    /// Reads all coefficients of a block.
    fn sequential(&mut self, dc: usize, ac: usize) -> Result<(), &'static str> {
        const LACKS: &str = "a Huffman table is missing";
        let dc = Tables::of(self.tables.dc, dc).map_err(|_| LACKS)?;
        let ac = Tables::of(self.tables.ac, ac).map_err(|_| LACKS)?;
        self.first_coefficient(dc)?;
        let mut k = 1;
        while k < COEFFICIENTS {
            let symbol = self.bits.symbol(ac, value_of)?;
            let (zeros, length) = (usize::from(symbol >> 4), symbol & 15);
            if length == 0 {
                if zeros != 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += zeros;
            if k >= COEFFICIENTS {
                return Err(super::bits::TOO_MANY);
            }
            k += 1;
        }
        Ok(())
    }

    fn first_coefficient(&mut self, table: &Table) -> Result<(), &'static str> {
        let length = self.bits.symbol(table, |symbol| u32::from(symbol.min(16)))?;
        if length > 16 { Err(super::bits::UNKNOWN) } else { Ok(()) }
    }

    /// Reads the part of a block in a progressive scan.
    fn progressive(&mut self, nonzero: &mut u64, dc: usize, ac: usize) -> Result<(), &'static str> {
        const LACKS: &str = "a Huffman table is missing";
        let refines = self.scan.bits.0 > 0;
        if self.scan.band.0 == 0 {
            if refines {
                return self.bits.skip(1);
            }
            return self.first_coefficient(Tables::of(self.tables.dc, dc).map_err(|_| LACKS)?);
        }
        let table = Tables::of(self.tables.ac, ac).map_err(|_| LACKS)?;
        if refines { self.refine(nonzero, table) } else { self.first_bits(nonzero, table) }
    }

    /// Reads the first bits of a band.
    fn first_bits(&mut self, nonzero: &mut u64, table: &Table) -> Result<(), &'static str> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let (mut k, last) = self.scan.band;
        while k <= last {
            let symbol = self.bits.symbol(table, value_of)?;
            let (zeros, length) = (usize::from(symbol >> 4), symbol & 15);
            if length > 0 {
                k += zeros;
                if k > last {
                    return Err(super::bits::TOO_MANY);
                }
                *nonzero |= 1 << k;
                k += 1;
            } else if zeros == 15 {
                k += 16;
            } else {
                // This block ends, and so do the next ones in the run.
                self.run = (1 << zeros) - 1 + self.bits.take(zeros as u32)?;
                break;
            }
        }
        Ok(())
    }

    /// Reads one more bit of a band: one bit for each nonzero coefficient, and between them the coefficients
    /// that become nonzero.
    fn refine(&mut self, nonzero: &mut u64, table: &Table) -> Result<(), &'static str> {
        let (mut k, last) = self.scan.band;
        if self.run == 0 {
            while k <= last {
                // A coefficient that becomes nonzero comes with its sign.
                let symbol = self.bits.symbol(table, |symbol| u32::from(symbol & 15 > 0))?;
                let (mut zeros, length) = (usize::from(symbol >> 4), symbol & 15);
                if length == 0 && zeros < 15 {
                    self.run = (1 << zeros) + self.bits.take(zeros as u32)?;
                    break;
                }
                while k <= last {
                    if *nonzero >> k & 1 == 1 {
                        self.bits.skip(1)?;
                    } else if zeros == 0 {
                        break;
                    } else {
                        zeros -= 1;
                    }
                    k += 1;
                }
                if length > 0 {
                    if k > last {
                        return Err(super::bits::TOO_MANY);
                    }
                    *nonzero |= 1 << k;
                }
                k += 1;
            }
        }
        if self.run > 0 {
            self.run -= 1;
            if k <= last {
                let rest = (*nonzero >> k) & (u64::MAX >> (COEFFICIENTS - 1 - (last - k)));
                return self.bits.skip(rest.count_ones());
            }
        }
        Ok(())
    }
}

/// Returns the number of value bits that follow a symbol.
fn value_of(symbol: u8) -> u32 {
    u32::from(symbol & 15)
}

/// Describes how far into the image a scan is.
fn place(unit: usize, total: usize) -> String {
    format!("block {} of {total}", unit + 1)
}
