//! Statistics of an encoder's posteriors (active latent units and the reconstruction error) and of discrete codes
//! (usage and perplexity).

use std::fmt::Display;

use waxwork_core::collective::Collective;
use waxwork_core::model::Posterior;
use waxwork_core::sharing::share;
use waxwork_core::{Batch, DType, Device, Encode, Reconstruct, Result, Tensor};

use crate::Features;
use crate::report::{Metric, Protocol};

/// A unit is active if the variance of its posterior mean over the images exceeds this (Burda et al. 2016).
const ACTIVE: f64 = 0.01;

/// The posteriors of an encoder, and their statistics.
#[derive(Clone, Debug)]
pub struct Codes {
    /// `(N, latent_dim)`, the posterior mean of every sample.
    pub means: Features,
    /// `(N, latent_dim)`, the logs of the posteriors' variances.
    pub log_vars: Features,
    /// Units whose posterior mean has a variance of more than 0.01 over the images.
    pub active_units: usize,
    /// Root mean square of the differences between a sample and its reconstruction, in the values that
    /// networks see. None for texts, because differences of token numbers mean nothing.
    pub reconstruction_rms: Option<f64>,
}

impl Codes {
    /// Returns its metrics under a protocol.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_real".into(), self.means.rows().to_string());
        let mut units = protocol.clone();
        units.insert("active".into(), format!("variance of the mean above {ACTIVE}"));
        units.insert("latent_dim".into(), self.means.columns().to_string());
        let error = |rms| Metric::new("reconstruction_rms", rms, &protocol).lower();
        let units = Metric::new("active_units", self.active_units as f64, &units);
        std::iter::once(units).chain(self.reconstruction_rms.map(error)).collect()
    }
}

/// Statistics of the discrete codes of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeUse {
    /// Number of samples.
    pub samples: usize,
    /// Number of different codes of the model.
    pub codes: usize,
    /// The share of them that occurs at least once.
    pub used: f64,
    /// exp(−Σ p log p) of the shares p of the codes: the number of codes, if all were equally frequent.
    pub perplexity: f64,
}

impl CodeUse {
    /// Counts the codes in `means`, which are numbers from 0 to less than `codes`.
    ///
    /// # Errors
    /// If the means cannot be read.
    pub fn of(means: &Features, codes: usize) -> crate::Result<Self> {
        let mut counts = vec![0u64; codes];
        for value in means.values()? {
            // A number that is not a code counts as the last code; encoders produce none.
            counts[(value as usize).min(codes.saturating_sub(1))] += 1;
        }
        let all = (means.rows() * means.columns()) as f64;
        let found = counts.iter().filter(|count| **count > 0);
        let shares: Vec<f64> = found.map(|count| *count as f64 / all).collect();
        let entropy: f64 = shares.iter().map(|share| -share * libm::log(*share)).sum();
        Ok(Self {
            samples: means.rows(),
            codes,
            used: shares.len() as f64 / codes as f64,
            perplexity: libm::exp(entropy),
        })
    }

    /// Returns its metrics under a protocol.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_real".into(), self.samples.to_string());
        protocol.insert("codes".into(), self.codes.to_string());
        vec![
            Metric::new("code_use", self.used, &protocol).higher(),
            Metric::new("code_perplexity", self.perplexity, &protocol).higher(),
        ]
    }
}

/// Measures the codes of `batches`: their number, and a function that reads one of them. The processes of
/// `collective` share the batches, and all get the same result. `progress` gets the number of samples done.
///
/// # Errors
/// If a batch cannot be read or does not fit the model, or there are no images.
pub fn codes<E: From<waxwork_core::Error> + From<crate::Error> + Display>(
    encoder: &dyn Encode,
    reconstructor: &dyn Reconstruct,
    (batches, mut read): (usize, impl FnMut(usize) -> Result<Batch, E>),
    collective: &dyn Collective,
    mut progress: impl FnMut(usize),
) -> Result<Codes, E> {
    type Found = ((Tensor, Tensor), Vec<f64>);
    let work = |number: usize| -> Result<Found, E> {
        let Batch { inputs, condition, .. } = &read(number)?;
        let Posterior { mean, log_var } = encoder.encode(inputs, condition)?;
        if inputs.dtype() == DType::U32 {
            return Ok(((mean, log_var), Vec::new()));
        }
        let square = squared_difference(inputs, &reconstructor.reconstruct(inputs, condition)?)?;
        Ok(((mean, log_var), vec![square, inputs.elem_count() as f64]))
    };
    let (mut samples, mut squares, mut values) = (0, 0.0, 0.0);
    let (mut means, mut log_vars) = (Vec::new(), Vec::new());
    share(collective, batches, work, |((mean, log_var), sums): Found| -> Result<(), E> {
        if let [square, count] = sums[..] {
            squares += square;
            values += count;
        }
        samples += mean.dim(0).map_err(waxwork_core::Error::from)?;
        means.push(mean);
        log_vars.push(log_var);
        progress(samples);
        Ok(())
    })?;
    if samples == 0 {
        return Err(waxwork_core::Error::Empty { what: "an evaluation", of: "sample" }.into());
    }
    let means = Features::new("real", &Tensor::cat(&means, 0).map_err(waxwork_core::Error::from)?)?;
    let log_vars = Features::new("real", &Tensor::cat(&log_vars, 0).map_err(waxwork_core::Error::from)?)?;
    let variances = means.variances()?;
    Ok(Codes {
        means,
        log_vars,
        active_units: variances.iter().filter(|&&variance| variance > ACTIVE).count(),
        reconstruction_rms: (values > 0.0).then(|| (squares / values).sqrt()),
    })
}

fn squared_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    // Convert on the CPU, because not every device supports f64.
    let wide = |x: &Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    Ok((wide(a)? - wide(b)?)?.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_and_perplexity_have_their_closed_forms() {
        let of = |values: &[f32], codes: usize| {
            let means = Tensor::from_slice(values, (values.len() / 2, 2), &Device::Cpu).unwrap();
            CodeUse::of(&Features::new("real", &means).unwrap(), codes).unwrap()
        };
        let even = of(&[0.0, 1.0, 2.0, 3.0], 8);
        assert_eq!((even.samples, even.used), (2, 0.5));
        assert!((even.perplexity - 4.0).abs() < 1e-12);
        // exp(¾ ln 4⁄3 + ¼ ln 4)
        let uneven = of(&[5.0, 5.0, 5.0, 0.0], 6);
        assert!((uneven.used - 1.0 / 3.0).abs() < 1e-12);
        assert!((uneven.perplexity - 1.754_765_350_603_323).abs() < 1e-12, "{}", uneven.perplexity);
        assert!((of(&[1.0; 6], 3).perplexity - 1.0).abs() < 1e-12);
    }
}
