//! A data set as models see it: three splits over sources of u8 images, and the batches that are made of them.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use waxwork_core::Batch;
use waxwork_core::device::runs_on_cpu_kernels;
use waxwork_core::model::ImageShape;

use crate::identity;
use crate::loader::Batches;
use crate::notes::Note;
use crate::selection;
use crate::source::{Factor, Source};
use crate::{Error, Result};

/// Images that one thread writes before it is worth waking another.
const IMAGES_PER_TASK: usize = 16;

/// What a data set is, in a form that a run folder keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// Name by which it is asked for, e.g. `mnist`.
    pub name: String,
    /// Shape of every image.
    pub shape: ImageShape,
    /// Names of the classes; label `k` is `classes[k]`. Empty if there are no labels.
    pub classes: Vec<String>,
    /// SHA-256 in hex of what the data is: its decoded pixels and labels, or the generator's version and seed. It does
    /// not depend on how the files were compressed or where they came from.
    pub identity: String,
    /// Files of an image folder that could not be read and were left out.
    #[serde(default)]
    pub skipped: usize,
}

impl DatasetInfo {
    /// What a data set of one's own is. Its identity is the SHA-256 of the class names, and of every image and label of both parts:
    /// all are read once.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use waxwork_core::model::ImageShape;
    /// use waxwork_data::{Dataset, DatasetInfo, InMemory};
    ///
    /// # fn main() -> Result<(), waxwork_data::Error> {
    /// let shape = ImageShape::new(1, 8, 8);
    /// let images = |count: usize| InMemory::new(shape, vec![0; count * shape.len()], Some(vec![0; count]));
    /// let (train, test) = (images(24)?, images(6)?);
    /// let info = DatasetInfo::of("mine", &["black".to_owned()], &train, &test)?;
    /// let data = Dataset::new(info, Arc::new(train), Arc::new(test), None, None)?;
    /// assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (22, 2, 6));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] if the parts have other shapes, or a label has no class; what the sources give.
    pub fn of(name: &str, classes: &[String], train: &dyn Source, test: &dyn Source) -> Result<Self> {
        let shape = train.shape();
        if test.shape() != shape {
            let reason = format!("training images are {shape}, test images {}", test.shape());
            return Err(Error::Config { key: "data", reason });
        }
        for (part, source) in [("training", train), ("test", test)] {
            let label = |index| source.label(index).filter(|&label| label as usize >= classes.len());
            if let Some((index, label)) = (0..source.len()).find_map(|index| Some((index, label(index)?))) {
                let classes = classes.len();
                let reason =
                    format!("{part} image {index} has label {label}, but there are {classes} classes");
                return Err(Error::Config { key: "data", reason });
            }
        }
        let identity = identity::of_content(classes, train, test)?;
        Ok(Self { name: name.to_owned(), shape, classes: classes.to_vec(), identity, skipped: 0 })
    }
}

/// Train, validation and test images of one kind.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the data is.
    pub info: DatasetInfo,
    /// What models are trained on.
    pub train: Split,
    /// A fixed part of the original training set, on which "best" is chosen.
    pub validation: Split,
    /// What final numbers are measured on.
    pub test: Split,
    /// What was taken for what when it was read, and what was left out.
    pub notes: Vec<Note>,
}

impl Dataset {
    /// Cuts the fixed validation part out of `train` and keeps at most `limit` of the remaining images.
    ///
    /// The choice depends on nothing but the labels and the number of images, and keeps the proportions of the classes:
    /// `validation` images (default: a twelfth, so 5,000 of 60,000), and of the rest a prefix of one fixed order, so that
    /// a smaller limit selects a part of what a larger one does.
    ///
    /// # Errors
    /// [`Error::Config`] if nothing is left to train on.
    pub fn new(
        info: DatasetInfo,
        train: Arc<dyn Source>,
        test: Arc<dyn Source>,
        validation: Option<usize>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let count = train.len();
        let held_out = validation.unwrap_or(count / 12);
        if held_out >= count {
            let reason = format!("{held_out} of {count} training images would leave none to train on");
            return Err(Error::Config { key: "data.validation", reason });
        }
        if limit == Some(0) {
            let reason = "must be at least 1; omit it to use all images".to_owned();
            return Err(Error::Config { key: "data.limit", reason });
        }
        let order = selection::fixed_order(count, |index| train.label(index));
        let (validation, rest) = order.split_at(held_out);
        let rest = &rest[..limit.map_or(rest.len(), |limit| limit.min(rest.len()))];
        let ascending = |indices: &[u32]| {
            let mut indices = indices.to_vec();
            indices.sort_unstable();
            indices
        };
        Ok(Self {
            info,
            train: Split::select(train.clone(), ascending(rest))?,
            validation: Split::select(train, ascending(validation))?,
            test: Split::all(test)?,
            notes: Vec::new(),
        })
    }
}

/// Some images of a source, in a fixed order. Clones share the images.
#[derive(Clone)]
pub struct Split {
    source: Arc<dyn Source>,
    indices: Arc<[u32]>,
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Split({} of {} images, {})", self.len(), self.source.len(), self.shape())
    }
}

impl Split {
    /// All images of `source`, in its order.
    ///
    /// # Errors
    /// [`Error::Config`] if there are more images than a u32 counts.
    pub fn all(source: Arc<dyn Source>) -> Result<Self> {
        let count = u32::try_from(source.len())
            .map_err(|_| Error::Config { key: "data", reason: "more than 2³² images".to_owned() })?;
        Ok(Self { source, indices: (0..count).collect() })
    }

    /// The images of `source` with these indices, in this order.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for an index that the source does not have.
    pub fn select(source: Arc<dyn Source>, indices: Vec<u32>) -> Result<Self> {
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= source.len()) {
            return Err(Error::OutOfRange { index: index as usize, len: source.len() });
        }
        Ok(Self { source, indices: indices.into() })
    }

    /// The first `n` images of this split, or all if there are fewer.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        Self { source: self.source.clone(), indices: self.indices.iter().take(n).copied().collect() }
    }

    /// Shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.source.shape()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True if there are no images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Position in the original data set of each image, in the order of this split.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The class of the image at `position`; None if there are no labels or no such image.
    pub fn label(&self, position: usize) -> Option<u32> {
        self.source.label(*self.indices.get(position)? as usize)
    }

    /// The classes of all images; None if any image has none.
    pub fn labels(&self) -> Option<Vec<u32>> {
        self.indices.iter().map(|&index| self.source.label(index as usize)).collect()
    }

    /// What each image was drawn from; nothing where the source does not know.
    pub fn factors(&self) -> Vec<Vec<Factor>> {
        let all = self.indices.iter().map(|&index| self.source.factors(index as usize));
        all.filter(|factors| !factors.is_empty()).collect()
    }

    /// The pixels of the images at `positions`, one after the other: `positions.len() · shape().len()` bytes, channel
    /// first.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], or what the source gives.
    pub fn images_u8(&self, positions: &[usize]) -> Result<Vec<u8>> {
        let indices = self.originals(positions)?;
        let size = self.shape().len();
        let mut pixels = vec![0; positions.len() * size];
        pixels
            .par_chunks_exact_mut(size)
            .zip(&indices)
            .with_min_len(IMAGES_PER_TASK)
            .try_for_each(|(image, &index)| self.source.write_image(index as usize, image))?;
        Ok(pixels)
    }

    /// The images at `positions` (0 is the first of this split) on `device`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], what the source gives, or [`Error::Tensor`].
    pub fn batch(&self, positions: &[usize], device: &Device) -> Result<Batch> {
        let indices = self.originals(positions)?;
        let pixels = self.images_u8(positions)?;
        self.assemble(indices, pixels, device).into_batch(device)
    }

    /// All images in order, in batches of `batch_size`; the last may be smaller.
    ///
    /// # Errors
    /// [`Error::Config`] if `batch_size` is zero.
    pub fn batches(&self, batch_size: usize, device: &Device) -> Result<Batches> {
        Batches::new(self.clone(), batch_size, device.clone())
    }

    /// A batch before it goes to its device, made on this thread alone: the loader's thread must neither wait for rayon's
    /// pool, whose one thread may be the training loop that waits for the loader, nor take it from that loop.
    pub(crate) fn host_batch(&self, positions: &[usize], device: &Device) -> Result<HostBatch> {
        let indices = self.originals(positions)?;
        let size = self.shape().len();
        let mut pixels = vec![0; indices.len() * size];
        for (image, &index) in pixels.chunks_exact_mut(size.max(1)).zip(&indices) {
            self.source.write_image(index as usize, image)?;
        }
        Ok(self.assemble(indices, pixels, device))
    }

    fn assemble(&self, indices: Vec<u32>, pixels: Vec<u8>, device: &Device) -> HostBatch {
        let labels = indices.iter().map(|&index| self.source.label(index as usize)).collect();
        let images = if runs_on_cpu_kernels(device) {
            Pixels::Unit(pixels.into_iter().map(unit_interval).collect())
        } else {
            Pixels::Bytes(pixels)
        };
        let indices = indices.into_iter().map(u64::from).collect();
        HostBatch { shape: self.shape(), images, labels, indices }
    }

    fn originals(&self, positions: &[usize]) -> Result<Vec<u32>> {
        let out_of_range = |index| Error::OutOfRange { index, len: self.len() };
        positions.iter().map(|&p| self.indices.get(p).copied().ok_or_else(|| out_of_range(p))).collect()
    }
}

/// 0 to 255 as 0 to 1. A true division: a product with 1/255 has other bits on some values.
fn unit_interval(value: u8) -> f32 {
    f32::from(value) / 255.0
}

/// Values of images.
enum Pixels {
    /// 0 to 1, for the CPU.
    Unit(Vec<f32>),
    /// 0 to 255, a quarter of the bytes on the way to a device, which divides.
    Bytes(Vec<u8>),
}

/// The contents of a batch in host memory, so that another thread can prepare it without touching the device.
pub(crate) struct HostBatch {
    shape: ImageShape,
    images: Pixels,
    labels: Option<Vec<u32>>,
    indices: Vec<u64>,
}

impl HostBatch {
    /// Turns the images whose index `chosen` picks left to right.
    pub(crate) fn mirror(&mut self, chosen: impl Fn(u64) -> bool) {
        fn mirror<T>(images: &mut [T], shape: ImageShape, chosen: impl Iterator<Item = bool>) {
            for (image, _) in images.chunks_exact_mut(shape.len()).zip(chosen).filter(|(_, chosen)| *chosen) {
                image.chunks_exact_mut(shape.width).for_each(<[T]>::reverse);
            }
        }
        let chosen = self.indices.iter().map(|&index| chosen(index));
        match &mut self.images {
            Pixels::Unit(images) => mirror(images, self.shape, chosen),
            Pixels::Bytes(images) => mirror(images, self.shape, chosen),
        }
    }

    pub(crate) fn into_batch(self, device: &Device) -> Result<Batch> {
        let count = self.indices.len();
        let shape = self.shape.batch(count);
        let images = match self.images {
            Pixels::Unit(images) => Tensor::from_vec(images, shape, device)?,
            Pixels::Bytes(images) => {
                let values = Tensor::from_vec(images, shape, device)?.to_dtype(DType::F32)?;
                values.broadcast_div(&Tensor::new(255f32, device)?)?
            }
        };
        Ok(Batch {
            images,
            labels: self.labels.map(|labels| Tensor::from_vec(labels, count, &Device::Cpu)).transpose()?,
            indices: self.indices,
        })
    }
}
