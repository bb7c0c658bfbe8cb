//! Mel filter banks: triangular filters over the frequencies of a spectrum, equally wide on the mel scale.
//! Also finds spectra with given mel bands.

/// Hz per mel below [`LINEAR_MELS`]; above it, each mel multiplies the frequency by a constant factor.
const LINEAR_HZ: f64 = 200.0 / 3.0;
const LINEAR_MELS: f64 = 15.0;
/// The logarithm of that factor: 27 mels are a factor of 6.4.
const LOG_STEP: f64 = 0.068_751_777_420_949_12;
/// Steps of the inversion. Where bands are wider than the spectrum's resolution, each step at least halves
/// the error.
const STEPS: usize = 30;

/// A filter bank on the mel scale of Slaney's Auditory Toolbox (1998), with triangles of height 1.
#[derive(Clone, Debug)]
pub(super) struct MelBank {
    /// For each band, its first frequency bin and the weights from there on.
    bands: Vec<(usize, Vec<f64>)>,
    bins: usize,
}

fn mel(hz: f64) -> f64 {
    let linear = hz / LINEAR_HZ;
    if linear < LINEAR_MELS {
        linear
    } else {
        LINEAR_MELS + libm::log(hz / (LINEAR_MELS * LINEAR_HZ)) / LOG_STEP
    }
}

fn hz(mel: f64) -> f64 {
    if mel < LINEAR_MELS {
        mel * LINEAR_HZ
    } else {
        LINEAR_MELS * LINEAR_HZ * libm::exp((mel - LINEAR_MELS) * LOG_STEP)
    }
}

impl MelBank {
    /// Returns `bands` triangles over `bins` frequencies from 0 to half of the rate in Hz. If there are too
    /// many bands, fails with the number of the first band without a frequency.
    pub(super) fn new(bands: usize, bins: usize, rate: u32) -> Result<Self, usize> {
        let top = f64::from(rate) / 2.0;
        let edge = |number: usize| hz(mel(top) * number as f64 / (bands + 1) as f64);
        let frequency = |bin: usize| top * bin as f64 / (bins - 1) as f64;
        let band = |number: usize| {
            let [low, middle, high] = [0, 1, 2].map(|more| edge(number + more));
            let weight = |bin: usize| {
                let f = frequency(bin);
                ((f - low) / (middle - low)).min((high - f) / (high - middle)).max(0.0)
            };
            let first = (0..bins).find(|&bin| weight(bin) > 0.0).ok_or(number)?;
            Ok::<_, usize>((first, (first..bins).map(weight).take_while(|weight| *weight > 0.0).collect()))
        };
        Ok(Self { bands: (0..bands).map(band).collect::<Result<_, _>>()?, bins })
    }

    pub(super) fn bands(&self) -> usize {
        self.bands.len()
    }

    /// Computes the bands of one spectrum's magnitudes.
    pub(super) fn apply(&self, magnitudes: &[f64], out: &mut [f64]) {
        for (out, (first, weights)) in out.iter_mut().zip(&self.bands) {
            *out = magnitudes[*first..].iter().zip(weights).map(|(value, weight)| value * weight).sum();
        }
    }

    fn spread(&self, bands: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        for (value, (first, weights)) in bands.iter().zip(&self.bands) {
            out[*first..].iter_mut().zip(weights).for_each(|(out, weight)| *out += value * weight);
        }
    }

    /// Returns non-negative magnitudes with bands close to these: least squares by multiplicative updates
    /// (Lee & Seung 2001).
    pub(super) fn invert(&self, bands: &[f64]) -> Vec<f64> {
        let (mut wanted, mut found) = (vec![0.0; self.bins], vec![0.0; self.bins]);
        self.spread(bands, &mut wanted);
        let mut magnitudes = wanted.clone();
        let mut own = vec![0.0; self.bands()];
        for _ in 0..STEPS {
            self.apply(&magnitudes, &mut own);
            self.spread(&own, &mut found);
            for ((value, wanted), found) in magnitudes.iter_mut().zip(&wanted).zip(&found) {
                // A frequency outside every band stays at zero.
                *value = if *found > 0.0 { *value * (wanted / found) } else { 0.0 };
            }
        }
        magnitudes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_linear_below_a_kilohertz_and_comes_back() {
        assert!((mel(500.0) - 7.5).abs() < 1e-12 && (hz(7.5) - 500.0).abs() < 1e-10);
        assert!((mel(6400.0) - 42.0).abs() < 1e-9, "6.4 times as high, 27 mels more");
        for f in [0.0, 333.0, 999.0, 1001.0, 3999.0] {
            assert!((hz(mel(f)) - f).abs() < 1e-9);
        }
    }

    #[test]
    fn bands_that_are_too_narrow_are_named() {
        assert!(MelBank::new(64, 129, 8000).is_ok());
        assert!(MelBank::new(64, 33, 8000).is_err(), "125 Hz from one frequency to the next");
    }

    #[test]
    fn a_spectrum_of_the_bands_has_these_bands() {
        let bank = MelBank::new(40, 129, 8000).unwrap();
        let magnitudes: Vec<f64> = (0..129).map(|k| 1.0 + libm::sin(k as f64 * 0.2)).collect();
        let mut bands = vec![0.0; 40];
        bank.apply(&magnitudes, &mut bands);
        let mut again = vec![0.0; 40];
        let found = bank.invert(&bands);
        assert!(found.iter().all(|value| *value >= 0.0));
        bank.apply(&found, &mut again);
        for (a, b) in bands.iter().zip(&again) {
            assert!((a - b).abs() < 0.02 * a.max(0.1), "{a} {b}");
        }
    }
}
