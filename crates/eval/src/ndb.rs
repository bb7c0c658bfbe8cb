//! The number of statistically different bins (NDB, Richardson & Weiss 2018). Training samples are clustered
//! into bins. The measure counts the bins in which the share of generated samples differs from that of
//! training samples by more than chance explains.

use waxwork_core::rng::Stream;
use waxwork_core::{Device, Result, Tensor};
use waxwork_data::Split;
use waxwork_kernels as kernels;

use crate::report::{Metric, Protocol};

/// Maximum number of training samples to cluster.
const MOST_TRAINING: usize = 5000;
/// Minimum mean number of training samples per bin.
const PER_BIN: usize = 25;
/// Maximum number of bins, as in the paper.
const MOST_BINS: usize = 100;
/// Iterations of k-means.
const STEPS: usize = 20;
/// Shares of a bin differ if they are this number of standard errors apart, which is true for 5 % of equal
/// shares.
const DIFFERENT: f64 = 1.96;

/// The bins in which samples differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DifferentBins {
    /// Bins in which the share of generated samples differs from that of training samples.
    pub generated: usize,
    /// The same for test samples.
    pub real: usize,
    /// Number of bins.
    pub bins: usize,
    /// Number of generated samples.
    pub n_generated: usize,
}

/// Clusters training samples into bins, and counts the bins in which samples differ. None if there are too
/// few samples for two bins.
///
/// # Errors
/// If samples cannot be read.
pub fn different_bins(
    train: &Split,
    generated: &Split,
    test: &Split,
) -> crate::Result<Option<DifferentBins>> {
    let train = train.subset(MOST_TRAINING);
    let bins = (train.len() / PER_BIN).min(MOST_BINS);
    if bins < 2 {
        return Ok(None);
    }
    let training = values(&train)?;
    let centres = centres(&training, bins)?;
    let of_training = counts(&training, &centres, bins)?;
    let different = |split: &Split| -> crate::Result<usize> {
        Ok(differing(&of_training, &counts(&values(split)?, &centres, bins)?))
    };
    let test = test.subset(generated.len());
    Ok(Some(DifferentBins {
        generated: different(generated)?,
        real: different(&test)?,
        bins,
        n_generated: generated.len(),
    }))
}

impl DifferentBins {
    /// Returns the share of bins that differ, with that of test samples as the floor.
    pub fn metric(&self, protocol: &Protocol) -> Metric {
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), self.n_generated.to_string());
        protocol.insert(
            "bins".into(),
            format!("{}, k-means of training samples; significance level 5 %", self.bins),
        );
        let share = |count: usize| count as f64 / self.bins as f64;
        Metric::new("ndb", share(self.generated), &protocol).floor(share(self.real)).lower()
    }
}

/// Returns the samples as rows of the values that networks see.
fn values(split: &Split) -> crate::Result<Tensor> {
    let batch = split.batch(&(0..split.len()).collect::<Vec<_>>(), &Device::Cpu)?;
    Ok(batch.inputs.flatten_from(1).map_err(waxwork_core::Error::from)?)
}

/// Runs Lloyd's k-means on `rows`, initialised by k-means++ (Arthur & Vassilvitskii 2007).
fn centres(rows: &Tensor, bins: usize) -> Result<Tensor> {
    let (count, width) = rows.dims2()?;
    let all = rows.flatten_all()?.to_vec1::<f32>()?;
    let row = |place: usize| &all[place * width..(place + 1) * width];
    let mut draws = Stream::new(0, "ndb", 0).at(0);
    let mut centres: Vec<f32> = row(draws.below(count as u32) as usize).to_vec();
    let mut least = vec![f64::INFINITY; count];
    while centres.len() < bins * width {
        let newest = &centres[centres.len() - width..];
        for (place, least) in least.iter_mut().enumerate() {
            let square: f32 = row(place).iter().zip(newest).map(|(a, b)| (a - b) * (a - b)).sum();
            *least = least.min(f64::from(square));
        }
        let mut target = f64::from(draws.uniform()) * least.iter().sum::<f64>();
        let chosen = least.iter().position(|square| {
            target -= square;
            target < 0.0
        });
        centres.extend(row(chosen.unwrap_or(count - 1)));
    }
    for _ in 0..STEPS {
        let place = Tensor::from_vec(centres.clone(), (bins, width), &Device::Cpu)?;
        let names = nearest_centres(rows, &place)?;
        let (mut sums, mut counts) = (vec![0f64; bins * width], vec![0usize; bins]);
        for (place, &name) in names.iter().enumerate() {
            counts[name] += 1;
            let sum = &mut sums[name * width..(name + 1) * width];
            sum.iter_mut().zip(row(place)).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        for (bin, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            for (centre, sum) in centres[bin * width..(bin + 1) * width].iter_mut().zip(&sums[bin * width..])
            {
                *centre = (sum / count as f64) as f32;
            }
        }
    }
    Ok(Tensor::from_vec(centres, (bins, width), &Device::Cpu)?)
}

/// Returns the bin of each row. ‖x − c‖² is smallest where ‖c‖² − 2 x·c is.
fn nearest_centres(rows: &Tensor, centres: &Tensor) -> Result<Vec<usize>> {
    let products = kernels::matmul(rows, &centres.t()?.contiguous()?)?.affine(-2.0, 0.0)?;
    let squares = centres.sqr()?.sum_keepdim(1)?.t()?;
    let scores = products.broadcast_add(&squares)?.to_vec2::<f32>()?;
    let least = |scores: &Vec<f32>| {
        scores.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(bin, _)| bin)
    };
    Ok(scores.iter().map(least).collect())
}

fn counts(rows: &Tensor, centres: &Tensor, bins: usize) -> Result<Vec<usize>> {
    let mut counts = vec![0; bins];
    nearest_centres(rows, centres)?.into_iter().for_each(|bin| counts[bin] += 1);
    Ok(counts)
}

/// Returns the number of bins whose shares differ by a test of two proportions.
fn differing(one: &[usize], other: &[usize]) -> usize {
    let (n, m) = (one.iter().sum::<usize>() as f64, other.iter().sum::<usize>() as f64);
    let differ = |(a, b): (&usize, &usize)| {
        let (p, q) = (*a as f64 / n, *b as f64 / m);
        let both = (*a + *b) as f64 / (n + m);
        let error = (both * (1.0 - both) * (1.0 / n + 1.0 / m)).sqrt();
        error > 0.0 && (p - q).abs() > DIFFERENT * error
    };
    one.iter().zip(other).filter(|pair| differ(*pair)).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waxwork_data::embedded::{Part, PlaneMixture, PlanePoints};
    use waxwork_data::{InMemory, Source};

    use super::*;

    #[test]
    fn shares_are_tested_as_a_statistician_does() {
        // from math import sqrt; p, q, n, m = .3, .4, 100, 200; b = (30 + 80) / 300
        // print((q - p) / sqrt(b * (1 - b) * (1 / n + 1 / m)))   # 1.694
        assert_eq!(differing(&[30, 70], &[80, 120]), 0);
        // with p = .25: 2.57
        assert_eq!(differing(&[25, 75], &[80, 120]), 2);
        assert_eq!(differing(&[0, 10], &[0, 20]), 0);
    }

    #[test]
    fn real_points_fill_the_bins_and_a_model_of_one_mode_does_not() {
        let points = |part| PlanePoints::new("ring", PlaneMixture::ring(0.05), 0, part);
        let (train, test) = (points(Part::Train), points(Part::Test));
        let one_mode = {
            let mut bytes = vec![0; 8 * 1000];
            for (place, point) in bytes.chunks_exact_mut(8).enumerate() {
                test.write_sample(place - place % 8, point).unwrap();
            }
            InMemory::new(test.kind(), bytes, None).unwrap()
        };
        let split = |source: Arc<dyn Source>| Split::all(source).unwrap();
        let (train, test) = (split(Arc::new(train)), split(Arc::new(test)));
        let found = different_bins(&train, &split(Arc::new(one_mode)), &test).unwrap().unwrap();
        assert_eq!(found.bins, 100);
        assert!(found.real <= 15, "about 5 of 100 differ by chance: {found:?}");
        assert!(found.generated >= 85, "{found:?}");
        let again = different_bins(&train, &test.subset(1000), &test).unwrap().unwrap();
        assert_eq!(again.generated, again.real);
        assert_eq!(different_bins(&train.subset(30), &test.subset(100), &test).unwrap(), None);
    }
}
