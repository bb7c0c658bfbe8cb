//! Counts how many of the 1,000 modes of stacked MNIST the samples cover (Metz et al. 2017; Lin et al. 2018).
//! A judge of single digits classifies each channel, and a triple of digits is a mode.

use waxwork_data::stacked::{CHANNELS, DIGITS};

use crate::report::{Metric, Protocol};

/// The number of modes.
pub const MODES: usize = (DIGITS as usize).pow(CHANNELS as u32);

/// The modes of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackedModes {
    /// Modes with at least one sample.
    pub covered: usize,
    /// KL divergence of the modes' shares from the uniform distribution over all modes, in nats.
    pub kl: f64,
    /// Number of samples.
    pub samples: usize,
}

impl StackedModes {
    /// Counts modes. `digits` has the digits of each sample's channels, one sample after the other.
    pub fn of(digits: &[u32]) -> Self {
        let mut counts = vec![0usize; MODES];
        for stack in digits.chunks_exact(CHANNELS) {
            let mode = stack.iter().fold(0, |mode, digit| mode * DIGITS as usize + *digit as usize);
            counts[mode] += 1;
        }
        let samples = digits.len() / CHANNELS;
        let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / samples as f64);
        Self {
            covered: shares.clone().count(),
            kl: shares.map(|share| share * libm::log(share * MODES as f64)).sum(),
            samples,
        }
    }

    /// Its metrics under a protocol. The floor of each is the value of real samples.
    pub fn metrics(&self, real: &Self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), self.samples.to_string());
        protocol.insert("n_real".into(), real.samples.to_string());
        protocol
            .insert("modes".into(), format!("{MODES}, the digits that the judge names in three channels"));
        vec![
            Metric::new("modes_covered", self.covered as f64, &protocol).floor(real.covered as f64).higher(),
            Metric::new("mode_kl", self.kl, &protocol).floor(real.kl).nats().lower(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::rng::Stream;

    use super::*;

    #[test]
    fn modes_are_triples_of_digits() {
        let all: Vec<u32> = (0..1000).flat_map(|mode| [mode / 100, mode / 10 % 10, mode % 10]).collect();
        let modes = StackedModes::of(&all);
        assert_eq!((modes.covered, modes.samples), (1000, 1000));
        assert!(modes.kl.abs() < 1e-12, "{}", modes.kl);
        let one = StackedModes::of(&[3, 1, 4].repeat(50));
        assert_eq!((one.covered, one.samples), (1, 50));
        assert!((one.kl - 1000f64.ln()).abs() < 1e-12, "{}", one.kl);
        // The order of the channels matters.
        assert_eq!(StackedModes::of(&[1, 2, 3, 3, 2, 1]).covered, 2);
    }

    /// A perfect sampler has a divergence of about (modes − 1) / (2 · samples) nats.
    #[test]
    fn the_divergence_of_real_samples_has_a_floor() {
        let draws = Stream::new(0, "modes", 0);
        let digits: Vec<u32> = (0..26_000)
            .flat_map(|sample| {
                let mut draws = draws.at(sample);
                [0; CHANNELS].map(|_| draws.below(DIGITS))
            })
            .collect();
        let modes = StackedModes::of(&digits);
        assert_eq!(modes.covered, 1000);
        assert!((modes.kl - 999.0 / 52_000.0).abs() < 0.002, "{}", modes.kl);
    }
}
