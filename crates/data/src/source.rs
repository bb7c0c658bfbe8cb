//! Sources of the samples of one split: the [`Source`] trait, samples in memory, and a cache for a slow
//! source.

use std::sync::OnceLock;

use waxwork_core::Kind;

use crate::{Error, Result};

/// Samples that can be read by index in any order, from any thread.
pub trait Source: Send + Sync {
    /// Returns the kind of every sample.
    fn kind(&self) -> Kind;

    /// Returns the number of samples.
    fn len(&self) -> usize;

    /// True if there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes sample `index` to `out`, which has [`Kind::bytes`] bytes. An image is channel first, where 0 is
    /// black and 255 is full intensity. A point is its coordinates as f32, little-endian.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], or an error of reading from disk.
    ///
    /// # Panics
    /// May panic if `out` has another length.
    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()>;

    /// Returns the class of sample `index`; None if the source has no labels or no such sample.
    fn label(&self, index: usize) -> Option<u32>;

    /// Returns the number of values of each column that a model can be conditioned on; empty if samples have
    /// no such columns.
    fn column_widths(&self) -> &[usize] {
        &[]
    }

    /// Returns the value, counted from 0, of a column of [`Source::column_widths`] in sample `index`; None if
    /// there is no such sample or column.
    fn column_value(&self, _index: usize, _column: usize) -> Option<u32> {
        None
    }

    /// Returns the factors that sample `index` was drawn from, the same factors in the same order for every
    /// sample; empty if unknown.
    fn factors(&self, _index: usize) -> Vec<Factor> {
        Vec::new()
    }
}

/// One of the generating factors of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    /// E.g. `rotation`.
    pub name: &'static str,
    /// Its value.
    pub value: f32,
    /// The number of values, if the value is one of 0, 1, 2 …; None for any number.
    pub kinds: Option<u32>,
    /// Whether the values are ordered, as for a quantity.
    pub ordered: bool,
}

impl Factor {
    /// A factor that is a quantity.
    pub fn quantity(name: &'static str, value: f32) -> Self {
        Self { name, value, kinds: None, ordered: true }
    }

    /// A factor that is one of `kinds`.
    pub fn kind(name: &'static str, which: u32, kinds: u32) -> Self {
        Self { name, value: which as f32, kinds: Some(kinds), ordered: false }
    }

    /// A quantity that has one of `levels` values, at equal distances. `which` counts from 0.
    pub fn level(name: &'static str, which: u32, levels: u32) -> Self {
        Self { name, value: which as f32, kinds: Some(levels), ordered: true }
    }
}

/// Samples in memory, one after the other.
#[derive(Debug)]
pub struct InMemory {
    kind: Kind,
    bytes: Vec<u8>,
    labels: Option<Vec<u32>>,
}

impl InMemory {
    /// Makes a source: `bytes` holds `n` samples as [`Source::write_sample`] writes them; `labels`, if given,
    /// holds n classes.
    ///
    /// # Errors
    /// [`Error::Config`] if the lengths do not fit each other.
    pub fn new(kind: impl Into<Kind>, bytes: Vec<u8>, labels: Option<Vec<u32>>) -> Result<Self> {
        let kind = kind.into();
        if kind.bytes() == 0 || !bytes.len().is_multiple_of(kind.bytes()) {
            let reason = format!("{} bytes are not a whole number of {kind}", bytes.len());
            return Err(Error::Config { key: "pixels", reason });
        }
        let count = bytes.len() / kind.bytes();
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != count) {
            let reason = format!("{} labels for {count} {}", labels.len(), kind.plural());
            return Err(Error::Config { key: "labels", reason });
        }
        Ok(Self { kind, bytes, labels })
    }

    /// Splits into the samples whose flag is false and those whose flag is true, keeping their order.
    pub(crate) fn parted(&self, flags: &[bool]) -> [Self; 2] {
        [false, true].map(|part| {
            let of = |index: &usize| flags.get(*index).copied().unwrap_or_default() == part;
            let chosen: Vec<usize> = (0..self.len()).filter(of).collect();
            let size = self.kind.bytes();
            let mut bytes = Vec::with_capacity(chosen.len() * size);
            for index in &chosen {
                bytes.extend_from_slice(&self.bytes[index * size..(index + 1) * size]);
            }
            let labels = self.labels.as_ref();
            let labels = labels.map(|labels| chosen.iter().map(|&index| labels[index]).collect());
            Self { kind: self.kind.clone(), bytes, labels }
        })
    }

    /// Replaces each label `k` by `labels[k]`, or removes all labels. A label without an entry does not
    /// change.
    #[must_use]
    pub fn relabelled(mut self, labels: Option<&[u32]>) -> Self {
        let new = |label: &u32, labels: &[u32]| labels.get(*label as usize).copied().unwrap_or(*label);
        self.labels =
            self.labels.zip(labels).map(|(own, labels)| own.iter().map(|label| new(label, labels)).collect());
        self
    }
}

impl Source for InMemory {
    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let size = self.kind.bytes();
        let out_of_range = Error::OutOfRange { index, len: self.len() };
        let start = index.checked_mul(size).ok_or(Error::OutOfRange { index, len: self.len() })?;
        out.copy_from_slice(self.bytes.get(start..start + size).ok_or(out_of_range)?);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.as_ref()?.get(index).copied()
    }
}

/// A cache that keeps every sample of a slow source in memory from its first use.
#[derive(Debug)]
pub struct Cached<S> {
    inner: S,
    samples: Vec<OnceLock<Box<[u8]>>>,
}

impl<S: Source> Cached<S> {
    /// Makes an empty cache over `inner`. It grows up to `inner.len() · inner.kind().bytes()` bytes as
    /// samples are used.
    pub fn new(inner: S) -> Self {
        let mut samples = Vec::new();
        samples.resize_with(inner.len(), OnceLock::new);
        Self { inner, samples }
    }
}

impl<S: Source> Source for Cached<S> {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let slot = self.samples.get(index).ok_or(Error::OutOfRange { index, len: self.samples.len() })?;
        if let Some(sample) = slot.get() {
            out.copy_from_slice(sample);
            return Ok(());
        }
        self.inner.write_sample(index, out)?;
        // Another thread may have been faster. Its sample has the same bytes.
        slot.get_or_init(|| Box::from(&*out));
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.inner.label(index)
    }

    fn factors(&self, index: usize) -> Vec<Factor> {
        self.inner.factors(index)
    }
}
