//! What an encoder's means say: how many of the latent's units carry something, and what comes back of an image.

use waxwork_core::{Batch, DType, GenerativeModel, LatentModel, Result};

use crate::report::{Metric, Protocol};

/// A unit is active if its mean varies more than this over the images (Burda et al. 2016).
const ACTIVE: f64 = 0.01;

/// Numbers about an encoder's means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codes {
    /// How many images.
    pub images: usize,
    /// Length of the latent.
    pub latent_dim: usize,
    /// Units whose posterior mean has a variance of more than 0.01 over the images.
    pub active_units: usize,
    /// Root mean square of the differences between an image and the decoded mean of its code, of pixels in [0, 1].
    pub reconstruction_rms: f64,
}

impl Codes {
    /// Its numbers under a protocol.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_real".into(), self.images.to_string());
        let mut units = protocol.clone();
        units.insert("active".into(), format!("variance of the mean above {ACTIVE}"));
        units.insert("latent_dim".into(), self.latent_dim.to_string());
        vec![
            Metric::new("active_units", self.active_units as f64, &units),
            Metric::new("reconstruction_rms", self.reconstruction_rms, &protocol).lower(),
        ]
    }
}

/// Looks at the codes of `batches`. `latent` is the encoder of `model`; `progress` is told the images done.
///
/// # Errors
/// If a batch cannot be read or does not fit the model, or there are no images.
pub fn codes<E: From<waxwork_core::Error>>(
    model: &dyn GenerativeModel,
    latent: &dyn LatentModel,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    mut progress: impl FnMut(usize),
) -> Result<Codes, E> {
    let (mut images, mut squares, mut pixels) = (0, 0.0, 0);
    // Running mean and sum of squared distances from it, a unit (Welford 1962).
    let mut spread: Vec<(f64, f64)> = Vec::new();
    for batch in batches {
        let batch = batch?;
        let means = latent.encode(&batch.images, batch.labels.as_ref())?.mean;
        let again = model.generate(&means, batch.labels.as_ref())?;
        squares += squared_difference(&batch.images, &again)?;
        pixels += batch.images.elem_count();
        for row in rows(&means)? {
            images += 1;
            spread.resize(row.len(), (0.0, 0.0));
            for ((mean, sum), value) in spread.iter_mut().zip(row) {
                let apart = value - *mean;
                *mean += apart / images as f64;
                *sum += apart * (value - *mean);
            }
        }
        progress(images);
    }
    if images == 0 {
        return Err(waxwork_core::Error::Unsupported("an evaluation needs images".into()).into());
    }
    Ok(Codes {
        images,
        latent_dim: spread.len(),
        active_units: spread.iter().filter(|(_, sum)| sum / images as f64 > ACTIVE).count(),
        reconstruction_rms: (squares / pixels as f64).sqrt(),
    })
}

fn squared_difference(a: &waxwork_core::Tensor, b: &waxwork_core::Tensor) -> Result<f64> {
    Ok((a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

fn rows(means: &waxwork_core::Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(means.to_dtype(DType::F64)?.to_vec2::<f64>()?)
}
