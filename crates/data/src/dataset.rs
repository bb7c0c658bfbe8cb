//! A data set as models see it: three splits over sources of samples, and the batches that are made of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use waxwork_core::{Batch, ColumnSpec, Condition, ConditionSpec, ImageShape, Kind, SampleSpec};

use crate::asking::Asked;
use crate::embedded::Oracle;
use crate::identity;
use crate::loader::Batches;
use crate::notes::Note;
use crate::selection;
use crate::source::{Factor, Source};
use crate::table::Tables;
use crate::text;
use crate::view::{HostValues, Sight, View};
use crate::{Error, Result};

/// Number of samples per task at which waking another thread pays off.
const SAMPLES_PER_TASK: usize = 16;

/// What a data set is.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetInfo {
    /// Name that selects it, e.g. `mnist`.
    pub name: String,
    /// The kind of every sample.
    pub kind: Kind,
    /// How samples become what networks see.
    pub view: View,
    /// Names of the classes; label `k` is `classes[k]`. Empty if there are no labels.
    pub classes: Vec<String>,
    /// SHA-256, in hex, of the data: its decoded values and labels, or the generator's version and seed. It
    /// does not depend on the compression of the files, their origin, or the view.
    pub identity: String,
    /// Files of an image folder that could not be read and were left out.
    pub skipped: usize,
    /// The rows of a table and their encoder; None for all other data.
    pub tables: Option<Arc<Tables>>,
    /// The model that draws the sequences of `oracle` and knows their probabilities; None for all other data.
    pub oracle: Option<Arc<Oracle>>,
    /// The columns of a table on which a model can be conditioned.
    pub columns: Vec<ColumnSpec>,
}

impl DatasetInfo {
    /// Describes a data set of this identity, a name for its contents that changes whenever they do.
    pub fn new(name: &str, kind: impl Into<Kind>, classes: &[String], identity: impl Into<String>) -> Self {
        let kind = kind.into();
        let (name, view, identity) = (name.to_owned(), View::of(&kind), identity.into());
        let classes = classes.to_vec();
        let columns = Vec::new();
        Self { name, kind, view, classes, identity, skipped: 0, tables: None, oracle: None, columns }
    }

    /// Describes a data set of your own. Its identity is the SHA-256 of the class names and of every image
    /// and label of both parts, all of which are read once.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use waxwork_core::ImageShape;
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
    /// [`Error::Config`] if the parts have different shapes, or a label has no class; errors of the sources.
    pub fn of(name: &str, classes: &[String], train: &dyn Source, test: &dyn Source) -> Result<Self> {
        let kind = train.kind();
        if test.kind() != kind {
            let reason = format!("the training part has {kind}, the test part {}", test.kind());
            return Err(Error::Config { key: "data", reason });
        }
        for (part, source) in [("training", train), ("test", test)] {
            let label = |index| source.label(index).filter(|&label| label as usize >= classes.len());
            if let Some((index, label)) = (0..source.len()).find_map(|index| Some((index, label(index)?))) {
                let classes = classes.len();
                let reason = format!(
                    "{part} {} {index} has label {label}, but there are {classes} classes",
                    kind.noun()
                );
                return Err(Error::Config { key: "data", reason });
            }
        }
        let identity = identity::of_content(classes, train, test)?;
        Ok(Self::new(name, kind, classes, identity))
    }

    /// A sample as networks see it.
    pub fn sample(&self) -> SampleSpec {
        self.view.spec(&self.kind)
    }

    /// The shape of its images.
    ///
    /// # Errors
    /// [`Error::NotImages`] if its samples are something else.
    pub fn image(&self) -> Result<ImageShape> {
        let not_images = || Error::NotImages { dataset: self.name.clone() };
        self.kind.image().ok_or_else(not_images)
    }

    /// The conditions that a model of this data can have.
    pub fn condition(&self) -> ConditionSpec {
        match self.columns.as_slice() {
            [] => ConditionSpec::classes(self.classes.len()),
            columns => ConditionSpec::Columns { columns: columns.to_vec() },
        }
    }

    /// SHA-256, in hex, of how networks see a sample.
    pub fn view_hash(&self) -> String {
        self.view.hash(&self.kind)
    }
}

/// Training, validation and test samples of one kind.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the data is.
    pub info: DatasetInfo,
    /// The samples that models are trained on.
    pub train: Split,
    /// A fixed part of the original training set, by which the best weights are chosen.
    pub validation: Split,
    /// The samples that final numbers are measured on.
    pub test: Split,
    /// How ambiguous contents were interpreted when they were read, and what was left out.
    pub notes: Vec<Note>,
}

impl Dataset {
    /// The number of samples of each part, by its name.
    pub fn sizes(&self) -> BTreeMap<String, usize> {
        let parts = [("training", &self.train), ("validation", &self.validation), ("test", &self.test)];
        parts.into_iter().map(|(part, split)| (part.to_owned(), split.len())).collect()
    }

    /// Separates the fixed validation part from `train` and keeps at most `limit` of the remaining images.
    ///
    /// The choice depends only on the labels and the number of images, and keeps the proportions of the
    /// classes. The validation part has `validation` images (default: a twelfth, so 5,000 of 60,000). The
    /// limit takes a prefix of one fixed order of the rest, so a smaller limit selects a subset of what a
    /// larger one selects.
    ///
    /// # Errors
    /// [`Error::Config`] if nothing is left to train on.
    pub fn new(
        mut info: DatasetInfo,
        train: Arc<dyn Source>,
        test: Arc<dyn Source>,
        validation: Option<usize>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let count = train.len();
        let held_out = validation.unwrap_or(count / 12);
        if held_out >= count {
            let reason =
                format!("holding out {held_out} of {count} training images would leave none to train on");
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
        let split = Split::select(train.clone(), ascending(rest))?;
        if let Some(Tables { encoder, .. }) = info.tables.as_deref() {
            let discrete = encoder.discrete().into_iter();
            let starts = discrete.filter_map(|column| encoder.layout().choice(column));
            let column = |(column, start)| ColumnSpec { start, counts: split.column_counts(column) };
            info.columns = starts.map(|choice| choice.start).enumerate().map(column).collect();
        }
        Ok(Self {
            info,
            train: split,
            validation: Split::select(train, ascending(validation))?,
            test: Split::all(test)?,
            notes: Vec::new(),
        })
    }
}

/// Maximum number of training sounds from which a view's statistics are computed.
const FITTED: usize = 2000;

impl Dataset {
    /// The same data as judges see it, if that differs from what networks see.
    ///
    /// # Errors
    /// As [`Dataset::seen_as`].
    pub fn judged(&self) -> Result<Self> {
        let judged = View::judged(&self.info.kind)?;
        match (&judged, &self.info.view) {
            (View::Spectrogram(own), View::Spectrogram(seen)) if own.is_like(seen) => Ok(self.clone()),
            (View::Spectrogram(_), _) => self.clone().seen_as(judged),
            _ => Ok(self.clone()),
        }
    }

    /// The same data under `view`, with the statistics of the training part, or of a representative subset if
    /// it is large.
    ///
    /// # Errors
    /// [`Error::Config`] if the view does not fit such samples; errors of the source.
    pub fn seen_as(mut self, view: View) -> Result<Self> {
        let some = self.train.subset(FITTED);
        let sounds = some.bytes(&(0..some.len()).collect::<Vec<_>>())?;
        let view = view.fitted(&self.info.kind, &sounds)?;
        self.train = self.train.seen_as(&view)?;
        // Both splits have the same source, so they share one cache.
        self.validation = Split { view: view.clone(), sight: self.train.sight.clone(), ..self.validation };
        self.test = self.test.seen_as(&view)?;
        self.info.view = view;
        Ok(self)
    }
}

/// Some samples of a source, in a fixed order. Clones share the samples.
#[derive(Clone)]
pub struct Split {
    source: Arc<dyn Source>,
    kind: Kind,
    view: View,
    indices: Arc<[u32]>,
    by_column: bool,
    /// What a view of sounds needs.
    sight: Option<Arc<Sight>>,
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Split({} of {}, {})", self.len(), self.source.len(), self.kind)
    }
}

impl Split {
    /// All samples of `source`, in its order.
    ///
    /// # Errors
    /// [`Error::Config`] if there are more samples than a u32 can count.
    pub fn all(source: Arc<dyn Source>) -> Result<Self> {
        let count = u32::try_from(source.len())
            .map_err(|_| Error::Config { key: "data", reason: "more than 2³² samples".to_owned() })?;
        Ok(Self::over(source, (0..count).collect()))
    }

    fn over(source: Arc<dyn Source>, indices: Arc<[u32]>) -> Self {
        let kind = source.kind();
        Self { source, view: View::of(&kind), kind, indices, by_column: false, sight: None }
    }

    /// The samples of `source` with these indices, in this order.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for an index that the source does not have.
    pub fn select(source: Arc<dyn Source>, indices: Vec<u32>) -> Result<Self> {
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= source.len()) {
            return Err(Error::OutOfRange { index: index as usize, len: source.len() });
        }
        Ok(Self::over(source, indices.into()))
    }

    /// The samples at these positions, in this order.
    ///
    /// # Panics
    /// If there is no such position.
    pub(crate) fn at(&self, positions: &[usize]) -> Self {
        Self { indices: positions.iter().map(|&position| self.indices[position]).collect(), ..self.clone() }
    }

    /// The two halves of a split: every second sample, from the first or from the second.
    #[must_use]
    pub fn halves(&self) -> [Self; 2] {
        [0, 1].map(|first| self.at(&(first..self.len()).step_by(2).collect::<Vec<_>>()))
    }

    /// A representative subset of `n` samples in the split's order, or all if there are fewer. It is the same
    /// each time and keeps the proportions of the classes, even if the split is sorted. If the labels show a
    /// mixed order, it is the first `n`.
    #[must_use]
    pub fn subset(&self, n: usize) -> Self {
        let chosen = selection::subset(n, self.len(), |position| self.label(position));
        let indices = chosen.iter().map(|&position| self.indices[position as usize]).collect();
        Self { indices, ..self.clone() }
    }

    /// The same samples, but a [`Loader`](crate::Loader) draws them by their column values, to train a
    /// conditional model: it draws a column uniformly, a value by the logarithm of its frequency, and a
    /// sample among those that have the value (Xu et al. 2019).
    #[must_use]
    pub fn by_column(self) -> Self {
        Self { by_column: true, ..self }
    }

    /// The same samples under `view`.
    ///
    /// # Errors
    /// [`Error::Config`] if the view does not fit such samples.
    pub fn seen_as(self, view: &View) -> Result<Self> {
        let sight = view.sight(&self.kind, self.source.len())?.map(Arc::new);
        Ok(Self { view: view.clone(), sight, ..self })
    }

    pub(crate) fn is_by_column(&self) -> bool {
        self.by_column
    }

    /// The kind of every sample.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True if there are no samples.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Position in the original data set of each sample, in the order of this split.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The class of the sample at `position`; None if there are no labels or no such sample.
    pub fn label(&self, position: usize) -> Option<u32> {
        self.source.label(*self.indices.get(position)? as usize)
    }

    /// The classes of all samples; None if any sample has none.
    pub fn labels(&self) -> Option<Vec<u32>> {
        self.indices.iter().map(|&index| self.source.label(index as usize)).collect()
    }

    /// The number of values of each column on which a model can be conditioned.
    pub(crate) fn column_widths(&self) -> &[usize] {
        self.source.column_widths()
    }

    /// The value of a column in the sample of this index in the original data set.
    pub(crate) fn column_value(&self, index: u32, column: usize) -> Option<u32> {
        self.source.column_value(index as usize, column)
    }

    /// The number of samples with each value of a column.
    fn column_counts(&self, column: usize) -> Vec<u64> {
        let mut counts = vec![0; self.column_widths().get(column).copied().unwrap_or_default()];
        for value in self.indices.iter().filter_map(|&index| self.column_value(index, column)) {
            counts[value as usize] += 1;
        }
        counts
    }

    /// The factors of each sample; empty if the source does not know them.
    pub fn factors(&self) -> Vec<Vec<Factor>> {
        let all = self.indices.iter().map(|&index| self.source.factors(index as usize));
        all.filter(|factors| !factors.is_empty()).collect()
    }

    /// Writes the sample at `position` at rest to `out`, on this thread.
    pub(crate) fn write_sample(&self, position: usize, out: &mut [u8]) -> Result<()> {
        let index =
            self.indices.get(position).ok_or(Error::OutOfRange { index: position, len: self.len() })?;
        self.source.write_sample(*index as usize, out)
    }

    /// The factors of the sample at `position`; empty if the source does not know them.
    pub(crate) fn factors_at(&self, position: usize) -> Vec<Factor> {
        self.indices.get(position).map_or_else(Vec::new, |&index| self.source.factors(index as usize))
    }

    /// The samples at `positions` at rest, one after the other, [`Kind::bytes`] each.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], or errors of the source.
    pub fn bytes(&self, positions: &[usize]) -> Result<Vec<u8>> {
        let indices = self.originals(positions)?;
        let size = self.kind.bytes();
        let mut bytes = vec![0; positions.len() * size];
        bytes
            .par_chunks_exact_mut(size)
            .zip(&indices)
            .with_min_len(SAMPLES_PER_TASK)
            .try_for_each(|(sample, &index)| self.source.write_sample(index as usize, sample))?;
        Ok(bytes)
    }

    /// The samples at `positions` (0 is the first of this split) on `device`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], errors of the source, or [`Error::Tensor`].
    pub fn batch(&self, positions: &[usize], device: &Device) -> Result<Batch> {
        let indices = self.originals(positions)?;
        let bytes = self.bytes(positions)?;
        self.assemble(indices, bytes, device).into_batch(device)
    }

    /// All samples in order, in batches of `batch_size`; the last may be smaller.
    ///
    /// # Errors
    /// [`Error::Config`] if `batch_size` is zero.
    pub fn batches(&self, batch_size: usize, device: &Device) -> Result<Batches> {
        Batches::new(self.clone(), batch_size, device.clone())
    }

    /// A batch before the transfer to its device, made on this thread alone. The loader's thread must not
    /// wait for rayon's pool, whose only thread may be the training loop that waits for the loader, nor take
    /// that thread from the training loop.
    pub(crate) fn host_batch(&self, positions: &[usize], device: &Device) -> Result<HostBatch> {
        let indices = self.originals(positions)?;
        let size = self.kind.bytes();
        let mut bytes = vec![0; indices.len() * size];
        for (sample, &index) in bytes.chunks_exact_mut(size.max(1)).zip(&indices) {
            self.source.write_sample(index as usize, sample)?;
        }
        Ok(self.assemble(indices, bytes, device))
    }

    fn assemble(&self, indices: Vec<u32>, bytes: Vec<u8>, device: &Device) -> HostBatch {
        let labels: Option<_> = indices.iter().map(|&index| self.source.label(index as usize)).collect();
        let condition = match labels {
            _ if !self.column_widths().is_empty() => HostCondition::Columns(Asked::one_each(self, &indices)),
            Some(labels) => HostCondition::Classes(labels),
            None => HostCondition::None,
        };
        let lengths = match self.kind {
            Kind::Text { length, .. } => {
                Some(text::tokens(&bytes, length).iter().map(|tokens| tokens.len() as u32).collect())
            }
            _ => None,
        };
        let values = match &self.sight {
            Some(sight) => HostValues::Ready(self.view.seen(sight, &bytes, &indices)),
            None => self.view.values(bytes, device),
        };
        let indices = indices.into_iter().map(u64::from).collect();
        HostBatch { kind: self.kind.clone(), view: self.view.clone(), values, lengths, condition, indices }
    }

    fn originals(&self, positions: &[usize]) -> Result<Vec<u32>> {
        let out_of_range = |index| Error::OutOfRange { index, len: self.len() };
        positions.iter().map(|&p| self.indices.get(p).copied().ok_or_else(|| out_of_range(p))).collect()
    }
}

/// The contents of a batch in host memory, so that another thread can prepare it without touching the device.
pub(crate) struct HostBatch {
    kind: Kind,
    view: View,
    values: HostValues,
    /// Number of tokens of each text before its end.
    lengths: Option<Vec<u32>>,
    condition: HostCondition,
    indices: Vec<u64>,
}

/// [`Condition`] before it is a tensor.
enum HostCondition {
    None,
    Classes(Vec<u32>),
    Columns(Asked),
}

impl HostBatch {
    /// Mirrors the images whose index `chosen` picks, left to right.
    pub(crate) fn mirror(&mut self, shape: ImageShape, chosen: impl Fn(u64) -> bool) {
        self.values.mirror(shape, self.indices.iter().map(|&index| chosen(index)));
    }

    /// The same samples with conditions on other columns.
    pub(crate) fn asking(self, asked: Asked) -> Self {
        Self { condition: HostCondition::Columns(asked), ..self }
    }

    pub(crate) fn into_batch(self, device: &Device) -> Result<Batch> {
        let count = self.indices.len();
        let condition = match self.condition {
            HostCondition::None => Condition::None,
            HostCondition::Classes(labels) => {
                Condition::Class(Tensor::from_vec(labels, count, &Device::Cpu)?)
            }
            HostCondition::Columns(Asked { values, width }) => {
                Condition::Columns(Tensor::from_vec(values, (count, width), &Device::Cpu)?)
            }
        };
        let inputs = self.values.into_tensor(&self.view.spec(&self.kind), count, device)?;
        let lengths = self.lengths.map(|lengths| Tensor::from_vec(lengths, count, &Device::Cpu));
        Ok(Batch { inputs, lengths: lengths.transpose()?, condition, indices: self.indices })
    }
}
