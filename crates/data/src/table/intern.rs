//! The distinct texts of a column, each stored once: an arena of strings, and codes of one, two or four
//! bytes.

use std::hash::{BuildHasher, RandomState};

/// Texts in one block of memory, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Strings {
    /// Returns the number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns text `index`, or None beyond the last.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.text.get(start..end)
    }

    /// Iterates over all texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// Adds a text at the end.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// Returns the bytes of memory.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut all = Self::default();
        texts.into_iter().for_each(|text| all.push(text.as_ref()));
        all
    }
}

/// Numbers of dictionary entries, one per row, in the smallest integers that fit the greatest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Below 256.
    U8(Vec<u8>),
    /// Below 65,536.
    U16(Vec<u16>),
    /// All others.
    U32(Vec<u32>),
}

impl Default for Codes {
    fn default() -> Self {
        Self::U8(Vec::new())
    }
}

impl Codes {
    /// Makes empty codes, wide enough for codes below `count`, so that they never need widening.
    pub fn for_count(count: usize, rows: usize) -> Self {
        match count {
            0..=0x100 => Self::U8(Vec::with_capacity(rows)),
            0x101..=0x1_0000 => Self::U16(Vec::with_capacity(rows)),
            _ => Self::U32(Vec::with_capacity(rows)),
        }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
            Self::U32(codes) => codes.len(),
        }
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the code of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(&self, row: usize) -> u32 {
        match self {
            Self::U8(codes) => codes[row].into(),
            Self::U16(codes) => codes[row].into(),
            Self::U32(codes) => codes[row],
        }
    }

    /// Iterates over all codes in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Adds a row, and widens all codes if the new one needs it.
    pub fn push(&mut self, code: u32) {
        match self {
            Self::U8(codes) if code <= u8::MAX.into() => codes.push(code as u8),
            Self::U16(codes) if code <= u16::MAX.into() => codes.push(code as u16),
            Self::U32(codes) => codes.push(code),
            Self::U8(codes) if code <= u16::MAX.into() => {
                *self = Self::U16(codes.iter().map(|code| u16::from(*code)).collect());
                self.push(code);
            }
            _ => {
                *self = Self::U32(self.iter().collect());
                self.push(code);
            }
        }
    }

    /// Replaces every code by its entry in `new`, in the smallest integers that fit codes below `count`.
    pub fn renumbered(&self, new: &[u32], count: usize) -> Self {
        let mut codes = Self::for_count(count, self.len());
        self.iter().for_each(|code| codes.push(new[code as usize]));
        codes
    }

    /// Returns the codes of some rows.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn gathered(&self, rows: &[usize]) -> Self {
        match self {
            Self::U8(codes) => Self::U8(rows.iter().map(|row| codes[*row]).collect()),
            Self::U16(codes) => Self::U16(rows.iter().map(|row| codes[*row]).collect()),
            Self::U32(codes) => Self::U32(rows.iter().map(|row| codes[*row]).collect()),
        }
    }

    /// Returns the number of rows with each code below `count`.
    pub fn counts(&self, count: usize) -> Vec<u64> {
        let mut counts = vec![0; count];
        self.iter().for_each(|code| counts[code as usize] += 1);
        counts
    }

    /// Returns the bytes of memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::U8(codes) => codes.capacity(),
            Self::U16(codes) => codes.capacity() * 2,
            Self::U32(codes) => codes.capacity() * 4,
        }
    }
}

/// Assigns equal texts equal numbers, in the order of first occurrence.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    pub(crate) texts: Strings,
    /// Open addressing: the number of a text plus one, or zero for a free slot. The length is a power of two.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Interner {
    /// Returns the number of `text`, and whether it is new.
    pub(crate) fn intern(&mut self, text: &str) -> (u32, bool) {
        if self.texts.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let slot = self.slot(text);
        if self.slots[slot] > 0 {
            return (self.slots[slot] - 1, false);
        }
        let code = self.texts.len() as u32;
        self.texts.push(text);
        self.slots[slot] = code + 1;
        (code, true)
    }

    /// Returns the slot of `text`, or the free slot where it belongs.
    fn slot(&self, text: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(text) as usize & mask;
        while self.slots[slot] > 0 && self.texts.get(self.slots[slot] as usize - 1) != Some(text) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![0; (self.slots.len() * 2).max(16)];
        for code in 0..self.texts.len() {
            let slot = self.slot(self.texts.get(code).unwrap_or_default());
            self.slots[slot] = code as u32 + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_texts_have_equal_codes(texts in prop::collection::vec("[a-c]{0,3}", 0..200)) {
            let mut interner = Interner::default();
            let codes: Vec<u32> = texts.iter().map(|text| interner.intern(text).0).collect();
            for (code, text) in codes.iter().zip(&texts) {
                prop_assert_eq!(interner.texts.get(*code as usize), Some(text.as_str()));
            }
            let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
            prop_assert_eq!(distinct.len(), interner.texts.len());
        }

        #[test]
        fn codes_widen_and_keep_their_values(codes in prop::collection::vec(prop_oneof![0..300u32, 0..100_000u32], 0..100)) {
            let mut packed = Codes::default();
            codes.iter().for_each(|code| packed.push(*code));
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), codes);
        }
    }

    #[test]
    fn codes_take_one_byte_up_to_256_entries_and_two_up_to_65536() {
        for (count, width) in [(256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let mut codes = Codes::for_count(count, 10);
            (0..10).for_each(|_| codes.push(count as u32 - 1));
            assert_eq!(codes.bytes(), 10 * width, "{count}");
        }
    }
}
