//! The short-time Fourier transform of a waveform, and its least-squares inverse.
//!
//! The waveform is padded with `(window − hop) / 2` zeros at both ends. Frame t is the `window` values around
//! sample `t · hop`, times a periodic Hann window. So a waveform of `length` has exactly `length / hop`
//! frames.

use super::fft::{Complex, Fft};

/// A value with a smaller sum of squared window weights cannot be recovered.
const LEAST_WEIGHT: f64 = 1e-8;

/// The transform of waveforms of one length.
#[derive(Clone, Debug)]
pub(super) struct Stft {
    fft: Fft,
    shape: Vec<f64>,
    hop: usize,
    length: usize,
    /// Σ of the squared windows over every value of the padded waveform.
    weights: Vec<f64>,
}

impl Stft {
    /// Prepares the transform of waveforms of `length` values, a multiple of `hop`. `window` is a power of
    /// two and at least `hop`; both are even.
    pub(super) fn new(length: usize, window: usize, hop: usize) -> Self {
        let hann = |j: usize| 0.5 - 0.5 * libm::cos(std::f64::consts::TAU * j as f64 / window as f64);
        let shape: Vec<f64> = (0..window).map(hann).collect();
        let mut weights = vec![0.0; length + window - hop];
        for start in (0..length).step_by(hop) {
            for (weight, value) in weights[start..start + window].iter_mut().zip(&shape) {
                *weight += value * value;
            }
        }
        Self { fft: Fft::new(window), shape, hop, length, weights }
    }

    /// Returns the number of frames of a waveform.
    pub(super) fn frames(&self) -> usize {
        self.length / self.hop
    }

    /// Returns the number of frequencies of a frame, from 0 to half of the rate.
    pub(super) fn bins(&self) -> usize {
        self.shape.len() / 2 + 1
    }

    fn pad(&self) -> usize {
        (self.shape.len() - self.hop) / 2
    }

    /// Returns the spectra of a waveform, frame by frame, [`Stft::bins`] values each.
    pub(super) fn forward(&self, waveform: &[f64]) -> Vec<Complex> {
        let (window, bins, pad) = (self.shape.len(), self.bins(), self.pad());
        let mut padded = vec![0.0; self.weights.len()];
        padded[pad..pad + self.length].copy_from_slice(waveform);
        let mut spectra = vec![[0.0; 2]; self.frames() * bins];
        let mut values = vec![[0.0; 2]; window];
        // Transform two frames at once, one as the real and one as the imaginary part.
        for (pair, out) in spectra.chunks_mut(2 * bins).enumerate() {
            let start = 2 * pair * self.hop;
            let (first, second) = out.split_at_mut(bins);
            for (j, value) in values.iter_mut().enumerate() {
                let other = if second.is_empty() { 0.0 } else { padded[start + self.hop + j] };
                *value = [padded[start + j] * self.shape[j], other * self.shape[j]];
            }
            self.fft.forward(&mut values);
            for k in 0..bins {
                let (a, b) = (values[k], values[(window - k) % window]);
                first[k] = [0.5 * (a[0] + b[0]), 0.5 * (a[1] - b[1])];
                if let Some(second) = second.get_mut(k) {
                    *second = [0.5 * (a[1] + b[1]), 0.5 * (b[0] - a[0])];
                }
            }
        }
        spectra
    }

    /// Returns the waveform whose spectra are closest to these by least squares (Griffin & Lim 1984, equation
    /// 6).
    pub(super) fn inverse(&self, spectra: &[Complex]) -> Vec<f64> {
        let (window, bins, pad) = (self.shape.len(), self.bins(), self.pad());
        let mut sums = vec![0.0; self.weights.len()];
        let mut values = vec![[0.0; 2]; window];
        for (pair, frames) in spectra.chunks(2 * bins).enumerate() {
            let start = 2 * pair * self.hop;
            let (first, second) = frames.split_at(bins);
            let zero = [0.0; 2];
            for k in 0..bins {
                let (a, b) = (first[k], second.get(k).copied().unwrap_or(zero));
                // The spectrum of a real waveform mirrors its conjugate; its first and last bins are real.
                let (a, b) = if k == 0 || k == bins - 1 { ([a[0], 0.0], [b[0], 0.0]) } else { (a, b) };
                values[k] = [a[0] - b[1], a[1] + b[0]];
                if k > 0 && k < bins - 1 {
                    values[window - k] = [a[0] + b[1], b[0] - a[1]];
                }
            }
            self.fft.inverse(&mut values);
            for (j, value) in values.iter().enumerate() {
                sums[start + j] += value[0] * self.shape[j];
            }
            if !second.is_empty() {
                for (j, value) in values.iter().enumerate() {
                    sums[start + self.hop + j] += value[1] * self.shape[j];
                }
            }
        }
        let known = sums[pad..pad + self.length].iter().zip(&self.weights[pad..]);
        known.map(|(sum, weight)| if *weight > LEAST_WEIGHT { sum / weight } else { 0.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waveform in the scripts of this folder's tests.
    pub(in crate::sound) fn wave(length: usize) -> Vec<f64> {
        (0..length)
            .map(|j| 0.5 * libm::sin(0.31 * j as f64) + 0.3 * libm::sin(0.0004 * (j * j) as f64))
            .collect()
    }

    #[test]
    fn spectra_are_those_of_scipy() {
        // import numpy as np
        // x = [0.5 * np.sin(0.31 * j) + 0.3 * np.sin(0.0004 * j * j) for j in range(1024)]
        // w = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)   # scipy.signal.get_window("hann", 256)
        // p = np.pad(x, 64)
        // X = np.array([np.fft.rfft(p[t * 128:t * 128 + 256] * w) for t in range(8)])
        // for t, k in [(0, 0), (0, 13), (3, 13), (4, 77), (7, 128)]: print(t, k, X[t, k].real, X[t, k].imag)
        let stft = Stft::new(1024, 256, 128);
        let spectra = stft.forward(&wave(1024));
        assert_eq!((stft.frames(), stft.bins(), spectra.len()), (8, 129, 8 * 129));
        for (t, k, re, im) in EXPECTED {
            let found = spectra[t * 129 + k];
            assert!((found[0] - re).abs() < 1e-9 && (found[1] - im).abs() < 1e-9, "{t} {k}: {found:?}");
        }
    }

    const EXPECTED: [(usize, usize, f64, f64); 5] = [
        (0, 0, 9.914657650826566, 0.0),
        (0, 13, -21.63152612917812, 16.28710757824693),
        (3, 13, -8.961495145199272, 22.436996810059995),
        (4, 77, 2.857793859245561e-05, 3.069418752499331e-05),
        (7, 128, 0.07517992723941369, 0.0),
    ];

    #[test]
    fn the_inverse_gives_the_waveform_back() {
        for (length, window, hop) in [(1024, 256, 128), (640, 128, 32), (384, 256, 128)] {
            let stft = Stft::new(length, window, hop);
            let waveform = wave(length);
            let back = stft.inverse(&stft.forward(&waveform));
            for (j, (a, b)) in waveform.iter().zip(&back).enumerate() {
                assert!((a - b).abs() < 1e-10, "{length} {window} {hop}: {j} {a} {b}");
            }
        }
    }
}
