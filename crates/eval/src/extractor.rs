//! Feature extractors, and a cache for the features of real images.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::collective::Collective;
use waxwork_core::hash::sha256;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::sharing::{from_first, share};
use waxwork_core::{Batch, Device, Tensor, store, values};
use waxwork_data::Split;

use crate::report::Protocol;
use crate::{Error, Result};

/// A network that maps images to feature vectors and to class probabilities. A row of the result never
/// depends on the rest of its batch.
pub trait Extractor {
    /// Returns `judge` or `inception`, which is part of the names of its metrics.
    fn name(&self) -> &'static str;

    /// Returns the SHA-256 of its weights.
    fn sha256(&self) -> &str;

    /// Returns how images are resized for it.
    fn resize(&self) -> &'static str;

    /// Maps images `(N, C, H, W)` in [0, 1] to features `(N, D)`.
    fn features(&self, images: &Tensor) -> Result<Tensor>;

    /// Maps features to class probabilities, one row per image.
    fn probabilities(&self, features: &Tensor) -> Result<Vec<Vec<f64>>>;

    /// Returns its part of a metric's protocol.
    fn protocol(&self) -> Protocol {
        let hash = &self.sha256()[..16.min(self.sha256().len())];
        Protocol::from([
            ("extractor".to_owned(), format!("{} {hash}", self.name())),
            ("resize".to_owned(), self.resize().to_owned()),
        ])
    }
}

/// Returns the features of all images of a split, `(N, D)`, which the processes of `collective` compute
/// together. `progress` gets the number of images done.
///
/// # Errors
/// If the images cannot be read or do not fit, or there are none.
pub fn features(
    extractor: &dyn Extractor,
    split: &Split,
    collective: &dyn Collective,
    mut progress: impl FnMut(usize),
) -> Result<Tensor> {
    if split.is_empty() {
        return Err(Error::TooFew { whose: "real or generated", needed: 1, found: 0 });
    }
    let mut parts = Vec::new();
    let mut done = 0;
    let work = |number: usize| -> Result<Tensor> {
        extractor.features(&evaluation_batch(split, number, &Device::Cpu)?.inputs)
    };
    share(collective, evaluation_batches(split), work, |features: Tensor| -> Result<()> {
        done += features.dim(0).map_err(waxwork_core::Error::from)?;
        parts.push(features);
        progress(done);
        Ok(())
    })?;
    Ok(Tensor::cat(&parts, 0).map_err(waxwork_core::Error::from)?)
}

/// Number of batches in which an evaluation reads a split.
pub fn evaluation_batches(split: &Split) -> usize {
    split.len().div_ceil(EVALUATION_BATCH)
}

/// One of these batches; the last may be smaller.
///
/// # Errors
/// If its samples cannot be read.
pub fn evaluation_batch(split: &Split, number: usize, device: &Device) -> waxwork_data::Result<Batch> {
    let first = number * EVALUATION_BATCH;
    let end = split.len().min(first + EVALUATION_BATCH);
    split.batch(&(first..end).collect::<Vec<_>>(), device)
}

/// Returns the features of a subset of `most` images of a split, `(N, D)`, from `cache` if they are there.
/// Otherwise the processes of `collective` compute them together, and the first one caches them. `identity`
/// identifies the split, including its data set. `progress` gets the number of images done.
///
/// # Errors
/// If the images cannot be read, there are none, or the cache cannot be written.
pub fn features_of(
    extractor: &dyn Extractor,
    split: &Split,
    (identity, most): (&str, usize),
    cache: &Path,
    collective: &dyn Collective,
    progress: impl FnMut(usize),
) -> Result<Tensor> {
    let split = split.subset(most);
    // Hash the chosen indices, not only their number, because other images have other features.
    let chosen: Vec<u8> = split.indices().iter().flat_map(|index| index.to_le_bytes()).collect();
    let of = format!("{} {} of {} {identity}", extractor.name(), extractor.sha256(), sha256(&chosen));
    let path = cache.join(format!("features-{}.safetensors", &sha256(of.as_bytes())[..32]));
    // Other processes may have other caches, but all of them must compute the same.
    if let Some(features) = from_first::<_, Error>(collective, || Ok(kept(&path, split.len())))? {
        return Ok(features);
    }
    let features = features(extractor, &split, collective, progress)?;
    if collective.is_first() {
        std::fs::create_dir_all(cache).map_err(store::failed("create", cache))?;
        store::save(&path, &BTreeMap::from([("features".to_owned(), features.clone())]))?;
    }
    Ok(features)
}

/// The features of `count` images in a file of the cache, if it is there and whole.
fn kept(path: &Path, count: usize) -> Option<Tensor> {
    if !path.is_file() {
        return None;
    }
    let kept = store::load(path, &Device::Cpu).ok().and_then(|mut kept| kept.remove("features"));
    let whole =
        |kept: &Tensor| kept.dims().first() == Some(&count) && values::check("features", kept).is_ok();
    let kept = kept.filter(whole);
    if kept.is_none() {
        tracing::warn!("`{}` is damaged: computing it again", path.display());
    }
    kept
}

/// Computes rows in batches of `size`. It pads a short last batch, so that results do not depend on the
/// number of rows.
pub(crate) fn in_passes(
    rows: &Tensor,
    size: usize,
    pass: impl Fn(&Tensor) -> waxwork_core::Result<Tensor>,
) -> waxwork_core::Result<Tensor> {
    let n = rows.dim(0)?;
    let mut parts = Vec::new();
    for first in (0..n).step_by(size) {
        let count = size.min(n - first);
        let part = rows.narrow(0, first, count)?.pad_with_zeros(0, 0, size - count)?;
        parts.push(pass(&part.contiguous()?)?.narrow(0, 0, count)?.detach());
    }
    if parts.is_empty() {
        return Err(waxwork_core::Error::Empty { what: "an extractor", of: "image" });
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// Converts logits to probabilities.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f64> {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|logit| libm::exp(f64::from(logit - peak))).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}
