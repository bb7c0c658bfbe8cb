//! Statistics of an encoder's means: active latent units and the reconstruction error.

use waxwork_core::{Batch, DType, Device, Encode, Reconstruct, Result, Tensor};

use crate::Features;
use crate::report::{Metric, Protocol};

/// A unit is active if the variance of its posterior mean over the images exceeds this (Burda et al. 2016).
const ACTIVE: f64 = 0.01;

/// Statistics of an encoder's means.
#[derive(Clone, Debug)]
pub struct Codes {
    /// `(N, latent_dim)`, the posterior mean of every sample.
    pub means: Features,
    /// Units whose posterior mean has a variance of more than 0.01 over the images.
    pub active_units: usize,
    /// Root mean square of the differences between a sample and its reconstruction, in the values that
    /// networks see.
    pub reconstruction_rms: f64,
}

impl Codes {
    /// Returns its metrics under a protocol.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_real".into(), self.means.rows().to_string());
        let mut units = protocol.clone();
        units.insert("active".into(), format!("variance of the mean above {ACTIVE}"));
        units.insert("latent_dim".into(), self.means.columns().to_string());
        vec![
            Metric::new("active_units", self.active_units as f64, &units),
            Metric::new("reconstruction_rms", self.reconstruction_rms, &protocol).lower(),
        ]
    }
}

/// Measures the codes of `batches`. `progress` gets the number of samples done.
///
/// # Errors
/// If a batch cannot be read or does not fit the model, or there are no images.
pub fn codes<E: From<waxwork_core::Error> + From<crate::Error>>(
    encoder: &dyn Encode,
    reconstructor: &dyn Reconstruct,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    mut progress: impl FnMut(usize),
) -> Result<Codes, E> {
    let (mut samples, mut squares, mut values) = (0, 0.0, 0);
    let mut means = Vec::new();
    for batch in batches {
        let batch = batch?;
        let Batch { inputs, condition, .. } = &batch;
        let mean = encoder.encode(inputs, condition)?.mean;
        squares += squared_difference(inputs, &reconstructor.reconstruct(inputs, condition)?)?;
        values += inputs.elem_count();
        means.push(mean);
        samples += batch.len();
        progress(samples);
    }
    if samples == 0 {
        return Err(waxwork_core::Error::Empty { what: "an evaluation", of: "sample" }.into());
    }
    let means = Features::new("real", &Tensor::cat(&means, 0).map_err(waxwork_core::Error::from)?)?;
    let variances = means.variances()?;
    Ok(Codes {
        means,
        active_units: variances.iter().filter(|&&variance| variance > ACTIVE).count(),
        reconstruction_rms: (squares / values as f64).sqrt(),
    })
}

fn squared_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    // Convert on the CPU, because not every device supports f64.
    let wide = |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    Ok((wide(a)? - wide(b)?)?.sqr()?.sum_all()?.to_scalar::<f64>()?)
}
