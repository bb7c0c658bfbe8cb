//! Feature extractors, and a cache for the features of real images.

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::hash::sha256;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, Tensor, store, values};
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

/// Returns the features of all images of a split, `(N, D)`. `progress` gets the number of images done.
///
/// # Errors
/// If the images cannot be read or do not fit, or there are none.
pub fn features(extractor: &dyn Extractor, split: &Split, mut progress: impl FnMut(usize)) -> Result<Tensor> {
    if split.is_empty() {
        return Err(Error::TooFew { whose: "real or generated", needed: 1, found: 0 });
    }
    let mut parts = Vec::new();
    let mut done = 0;
    for batch in split.batches(EVALUATION_BATCH, &Device::Cpu)? {
        let batch = batch?;
        parts.push(extractor.features(&batch.inputs)?);
        done += batch.len();
        progress(done);
    }
    Ok(Tensor::cat(&parts, 0).map_err(waxwork_core::Error::from)?)
}

/// Returns the features of a subset of `most` images of a split, `(N, D)`, from `cache` if they are there.
/// Otherwise computes and caches them. `identity` identifies the split, including its data set. `progress`
/// gets the number of images done.
///
/// # Errors
/// If the images cannot be read, there are none, or the cache cannot be written.
pub fn features_of(
    extractor: &dyn Extractor,
    split: &Split,
    identity: &str,
    most: usize,
    cache: &Path,
    progress: impl FnMut(usize),
) -> Result<Tensor> {
    let split = split.subset(most);
    // Hash the chosen indices, not only their number, because other images have other features.
    let chosen: Vec<u8> = split.indices().iter().flat_map(|index| index.to_le_bytes()).collect();
    let of = format!("{} {} of {} {identity}", extractor.name(), extractor.sha256(), sha256(&chosen));
    let path = cache.join(format!("features-{}.safetensors", &sha256(of.as_bytes())[..32]));
    if path.is_file() {
        let kept = store::load(&path, &Device::Cpu).ok().and_then(|mut kept| kept.remove("features"));
        let whole = |kept: &Tensor| {
            kept.dims().first() == Some(&split.len()) && values::check("features", kept).is_ok()
        };
        match kept.filter(whole) {
            Some(features) => return Ok(features),
            None => tracing::warn!("`{}` is damaged: computing it again", path.display()),
        }
    }
    let features = features(extractor, &split, progress)?;
    std::fs::create_dir_all(cache).map_err(store::failed("create", cache))?;
    store::save(&path, &BTreeMap::from([("features".to_owned(), features.clone())]))?;
    Ok(features)
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
