//! Where the pixels of one split come from: the [`Source`] trait, images in memory, and a cache over a slow source.

use std::sync::OnceLock;

use waxwork_core::model::ImageShape;

use crate::{Error, Result};

/// Images that can be read by index in any order, from any thread.
pub trait Source: Send + Sync {
    /// Shape of every image.
    fn shape(&self) -> ImageShape;

    /// Number of images.
    fn len(&self) -> usize;

    /// True if there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes image `index` to `out`: `shape().len()` bytes, channel first, 0 is black and 255 is full intensity.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], or what reading from disk may give.
    ///
    /// # Panics
    /// May panic if `out` has another length.
    fn write_image(&self, index: usize, out: &mut [u8]) -> Result<()>;

    /// The class of image `index`; None if the source has no labels or no such image.
    fn label(&self, index: usize) -> Option<u32>;

    /// What image `index` was drawn from, the same factors in the same order for every image; nothing if that is unknown.
    fn factors(&self, _index: usize) -> Vec<Factor> {
        Vec::new()
    }
}

/// Something that makes an image look as it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    /// E.g. `rotation`.
    pub name: &'static str,
    /// Its value.
    pub value: f32,
    /// If it is one of several kinds, 0, 1, 2 …, how many there are; a quantity has none.
    pub kinds: Option<u32>,
}

impl Factor {
    /// How much of something.
    pub fn quantity(name: &'static str, value: f32) -> Self {
        Self { name, value, kinds: None }
    }

    /// Which of `kinds`.
    pub fn kind(name: &'static str, which: u32, kinds: u32) -> Self {
        Self { name, value: which as f32, kinds: Some(kinds) }
    }
}

/// Images in memory, one after the other.
#[derive(Debug)]
pub struct InMemory {
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Option<Vec<u32>>,
}

impl InMemory {
    /// `pixels` holds `n · shape.len()` bytes, channel first; `labels`, if given, holds n classes.
    ///
    /// # Errors
    /// [`Error::Config`] if the lengths do not fit each other.
    pub fn new(shape: ImageShape, pixels: Vec<u8>, labels: Option<Vec<u32>>) -> Result<Self> {
        if shape.is_empty() || !pixels.len().is_multiple_of(shape.len()) {
            let reason = format!("{} bytes are not a whole number of {shape} images", pixels.len());
            return Err(Error::Config { key: "pixels", reason });
        }
        let count = pixels.len() / shape.len();
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != count) {
            let reason = format!("{} labels for {count} images", labels.len());
            return Err(Error::Config { key: "labels", reason });
        }
        Ok(Self { shape, pixels, labels })
    }

    /// The same images, label `k` turned into `labels[k]`, or without labels. A label without an entry stays as it is.
    #[must_use]
    pub fn relabelled(mut self, labels: Option<&[u32]>) -> Self {
        let new = |label: &u32, labels: &[u32]| labels.get(*label as usize).copied().unwrap_or(*label);
        self.labels =
            self.labels.zip(labels).map(|(own, labels)| own.iter().map(|label| new(label, labels)).collect());
        self
    }
}

impl Source for InMemory {
    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn len(&self) -> usize {
        self.pixels.len() / self.shape.len()
    }

    fn write_image(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let size = self.shape.len();
        let out_of_range = Error::OutOfRange { index, len: self.len() };
        let start = index.checked_mul(size).ok_or(Error::OutOfRange { index, len: self.len() })?;
        out.copy_from_slice(self.pixels.get(start..start + size).ok_or(out_of_range)?);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.as_ref()?.get(index).copied()
    }
}

/// Keeps every image of a slow source in memory from its first use on.
#[derive(Debug)]
pub struct Cached<S> {
    inner: S,
    images: Vec<OnceLock<Box<[u8]>>>,
}

impl<S: Source> Cached<S> {
    /// An empty cache over `inner`; it grows to `inner.len() · inner.shape().len()` bytes as images are used.
    pub fn new(inner: S) -> Self {
        let mut images = Vec::new();
        images.resize_with(inner.len(), OnceLock::new);
        Self { inner, images }
    }
}

impl<S: Source> Source for Cached<S> {
    fn shape(&self) -> ImageShape {
        self.inner.shape()
    }

    fn len(&self) -> usize {
        self.images.len()
    }

    fn write_image(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let slot = self.images.get(index).ok_or(Error::OutOfRange { index, len: self.images.len() })?;
        if let Some(image) = slot.get() {
            out.copy_from_slice(image);
            return Ok(());
        }
        self.inner.write_image(index, out)?;
        // Another thread may have been faster; its image has the same bytes.
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
