//! Test −ELBO and −log p(x) of a model with an encoder.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use waxwork_core::collective::Collective;
use waxwork_core::rng::Stream;
use waxwork_core::sharing::share;
use waxwork_core::{Batch, Bound, DType, Density, Device, Result, Tensor};

use crate::bootstrap::interval_of_mean;
use crate::report::{Metric, Protocol};

/// Seed of the draws in an evaluation. It is part of the protocol, so that all models are judged alike.
const SEED: u64 = 0;

/// A mean over images with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over the images.
    pub mean: f64,
    /// Standard deviation over the images, divided by the square root of their number.
    pub standard_error: f64,
}

/// Likelihoods of some images, in nats per image. Lower is better. Values of different observation models
/// cannot be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The observation model and the preprocessing of pixels.
    pub observation: String,
    /// Number of images.
    pub images: usize,
    /// −ELBO from one draw per image.
    pub neg_elbo: Estimate,
    /// Reconstruction term of −ELBO, −log p(x | z).
    pub reconstruction: Estimate,
    /// KL term of −ELBO, KL(q(z | x) ‖ p(z)).
    pub kl: Estimate,
    /// −log p(x) by importance sampling, if requested.
    pub neg_log_likelihood: Option<Estimate>,
    /// Bootstrap 95 % interval of that mean.
    pub neg_log_likelihood_interval: Option<[f64; 2]>,
    /// Draws per image of the importance sampling.
    pub importance_samples: Option<usize>,
    /// The first value of an image that is not finite. If there is one, the means above are meaningless.
    #[serde(skip)]
    pub not_finite: Option<NotFinite>,
}

/// A value of one image that is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite {
    /// `reconstruction`, `kl` or `log_likelihood`.
    pub term: &'static str,
    /// Index of the image.
    pub image: usize,
    /// The value.
    pub value: f64,
}

impl Likelihood {
    /// Checks that all values are finite.
    ///
    /// # Errors
    /// [`crate::Error::Likelihood`] names the first image with a value that is not finite.
    pub fn check(&self) -> crate::Result<()> {
        match self.not_finite {
            Some(NotFinite { term, image, value }) => Err(crate::Error::Likelihood { term, image, value }),
            None => Ok(()),
        }
    }

    /// Returns its metrics under a protocol. Adds to it the observation model and the numbers of images and
    /// draws.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("observation".into(), self.observation.clone());
        protocol.insert("n_real".into(), self.images.to_string());
        let bound =
            [("neg_elbo", &self.neg_elbo), ("reconstruction", &self.reconstruction), ("kl", &self.kl)];
        let mut one_draw = protocol.clone();
        one_draw.insert("draws".into(), "1 per image".into());
        one_draw.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
        let mut metrics: Vec<Metric> = bound
            .into_iter()
            .map(|(name, estimate)| {
                let metric = Metric::new(name, estimate.mean, &one_draw).nats().within(estimate.interval());
                if name == "kl" { metric } else { metric.lower() }
            })
            .collect();
        if let (Some(estimate), Some(interval), Some(draws)) =
            (self.neg_log_likelihood, self.neg_log_likelihood_interval, self.importance_samples)
        {
            protocol.insert("draws".into(), format!("{draws} per image, importance sampling"));
            protocol.insert("interval".into(), "95 %, bootstrap over the images".into());
            metrics.push(
                Metric::new("neg_log_likelihood", estimate.mean, &protocol).nats().within(interval).lower(),
            );
        }
        metrics
    }
}

/// Measures the ELBO of a model on `batches`: their number, and a function that reads one of them. With
/// `density`, also measures log p(x) by importance sampling with the given number of draws. The processes of
/// `collective` share the batches, and all get the same result. `progress` gets the number of samples done.
///
/// # Errors
/// If a batch cannot be read or does not fit the model, or there are no images.
pub fn likelihood<E: From<waxwork_core::Error> + Display>(
    bound: &dyn Bound,
    density: Option<(&dyn Density, usize)>,
    (batches, mut read): (usize, impl FnMut(usize) -> Result<Batch, E>),
    collective: &dyn Collective,
    mut progress: impl FnMut(usize),
) -> Result<Likelihood, E> {
    type Terms = ((Vec<f64>, Vec<f64>), Vec<f64>);
    let work = |number: usize| -> Result<Terms, E> {
        let batch = read(number)?;
        let elbo = bound.elbo(&batch, &Stream::new(SEED, "evaluation/elbo", 0))?;
        let log_likelihood = match density {
            Some((density, draws)) => {
                let stream = Stream::new(SEED, "evaluation/importance", 0);
                values(&density.log_likelihood(&batch, draws, &stream)?)?
            }
            None => Vec::new(),
        };
        Ok(((values(&elbo.reconstruction)?, values(&elbo.kl)?), log_likelihood))
    };
    let mut reconstruction = Vec::new();
    let mut kl = Vec::new();
    let mut log_likelihood = Vec::new();
    share(collective, batches, work, |terms: Terms| -> Result<(), E> {
        reconstruction.extend(terms.0.0);
        kl.extend(terms.0.1);
        log_likelihood.extend(terms.1);
        progress(kl.len());
        Ok(())
    })?;
    if kl.is_empty() {
        return Err(waxwork_core::Error::Empty { what: "an evaluation", of: "sample" }.into());
    }
    let terms = [("reconstruction", &reconstruction), ("kl", &kl), ("log_likelihood", &log_likelihood)];
    let not_finite = terms.into_iter().find_map(|(term, values)| {
        let image = values.iter().position(|value| !value.is_finite())?;
        Some(NotFinite { term, image, value: values[image] })
    });
    let neg_elbo = kl.iter().zip(&reconstruction).map(|(kl, reconstruction)| kl - reconstruction);
    log_likelihood.iter_mut().for_each(|value| *value = -*value);
    let estimated = density.is_some();
    Ok(Likelihood {
        observation: bound.protocol(),
        images: kl.len(),
        neg_elbo: Estimate::of(&neg_elbo.collect::<Vec<_>>()),
        reconstruction: Estimate::of(&reconstruction.iter().map(|value| -value).collect::<Vec<_>>()),
        kl: Estimate::of(&kl),
        neg_log_likelihood: estimated.then(|| Estimate::of(&log_likelihood)),
        neg_log_likelihood_interval: estimated.then(|| interval_of_mean(&log_likelihood)),
        importance_samples: density.map(|(_, draws)| draws),
        not_finite,
    })
}

impl Estimate {
    /// Returns the mean and standard error of some values.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, standard_error: (squares / (n - 1.0).max(1.0) / n).sqrt() }
    }
}

impl Estimate {
    /// Returns the 95 % interval of a normal distribution.
    pub fn interval(&self) -> [f64; 2] {
        let half = 1.96 * self.standard_error;
        [self.mean - half, self.mean + half]
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ± {:.2}", self.mean, self.standard_error)
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    // Not every device supports f64.
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?)
}

#[cfg(test)]
mod tests {
    use waxwork_core::collective::OneProcess;
    use waxwork_core::model::Elbo;

    use super::*;

    /// The KL of the second image is infinite, as for a huge log-variance.
    struct Overflowing;

    impl Bound for Overflowing {
        fn elbo(&self, batch: &Batch, _: &Stream) -> Result<Elbo> {
            let kl: Vec<f32> =
                batch.indices.iter().map(|&index| if index == 1 { f32::INFINITY } else { 1.0 }).collect();
            let kl = Tensor::new(kl, &Device::Cpu)?;
            Ok(Elbo { reconstruction: kl.zeros_like()?, kl })
        }

        fn protocol(&self) -> String {
            "none".into()
        }
    }

    #[test]
    fn a_value_that_is_not_finite_names_its_image() {
        let batch = |index: u64| -> Result<Batch> {
            let images = Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
            Ok(Batch::unlabelled(images, vec![index]))
        };
        let of = |indices: &[u64]| {
            let read = |number: usize| batch(indices[number]);
            likelihood(&Overflowing, None, (indices.len(), read), &OneProcess, |_| {})
        };
        let good = of(&[0, 2]).unwrap();
        assert_eq!((good.check().is_ok(), good.kl.mean), (true, 1.0));
        let bad = of(&[0, 1, 2]).unwrap();
        assert!(of(&[]).is_err());
        let said = bad.check().unwrap_err().to_string();
        assert_eq!(said, "kl of image 1 is inf: the mean over all images is not defined");
    }

    #[test]
    fn estimates_are_the_textbook_ones() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(estimate.mean, 2.5);
        assert!((estimate.standard_error - (5.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
        assert_eq!(Estimate::of(&[7.0]).standard_error, 0.0);
    }
}
