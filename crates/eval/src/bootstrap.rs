//! The bootstrap: a confidence interval of a mean, estimated from the values themselves (Efron 1979).

use rayon::prelude::*;
use waxwork_core::rng::Stream;

/// Number of resamples.
const RESAMPLES: u64 = 1000;

/// Returns the 95 % percentile interval of the mean of some values. The result is deterministic.
pub fn interval_of_mean(values: &[f64]) -> [f64; 2] {
    let n = values.len();
    if n == 0 {
        return [f64::NAN; 2];
    }
    let stream = Stream::new(0, "evaluation/bootstrap", 0);
    let mean = |resample: u64| {
        let mut draws = stream.at(resample);
        (0..n).map(|_| values[draws.below(n as u32) as usize]).sum::<f64>() / n as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).into_par_iter().map(mean).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    [at(0.025), at(0.975)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_normal_interval() {
        let mut draws = Stream::new(1, "values", 0).at(0);
        let values: Vec<f64> = (0..2000).map(|_| 5.0 + 2.0 * f64::from(draws.normal())).collect();
        let mean = values.iter().sum::<f64>() / 2000.0;
        let half = 1.96 * 2.0 / 2000f64.sqrt();
        let [low, high] = interval_of_mean(&values);
        assert!((low - (mean - half)).abs() < 0.15 * half, "{low} against {}", mean - half);
        assert!((high - (mean + half)).abs() < 0.15 * half, "{high} against {}", mean + half);
        assert_eq!(interval_of_mean(&[3.0; 10]), [3.0, 3.0]);
    }
}
