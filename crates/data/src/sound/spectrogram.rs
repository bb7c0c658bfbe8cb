//! Spectrograms, the images of sounds that networks see, and their inversion. A spectrogram holds log
//! magnitudes of mel bands or of every frequency, normalised by statistics of the training part. The
//! inversion finds a waveform with given magnitudes by the Griffin-Lim algorithm.
//!
//! ```text
//! waveform → short-time Fourier transform → magnitudes → mel bands → log(m + 0.001) → (x − mean) / deviation per row
//!          → clipped to ±3 → [0, 1], row 0 the lowest frequency
//! ```

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use waxwork_core::ImageShape;
use waxwork_core::rng::Stream;

use super::fft::Complex;
use super::mel::MelBank;
use super::stft::Stft;
use crate::{Error, Result};

/// Added to magnitudes before the logarithm: 96 dB below a full-scale sine in a window of 256.
const FLOOR: f64 = 1e-3;
/// Values are clipped at this number of standard deviations from the mean.
const KEPT: f64 = 3.0;
/// Minimum standard deviation of a row, for rows that never change.
const LEAST_DEVIATION: f64 = 1e-2;
/// Iterations of the Griffin-Lim algorithm.
const ITERATIONS: usize = 32;
/// Momentum of the fast Griffin-Lim algorithm (Perraudin, Balazs & Søndergaard 2013).
const MOMENTUM: f64 = 0.99;

/// Settings and statistics of a spectrogram. The statistics come from the training part, so they are part of
/// a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrogram {
    /// Mel bands; None for every frequency above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<usize>,
    /// Samples per frame, a power of two.
    pub window: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Mean of each row's logarithms.
    pub mean: Vec<f32>,
    /// Standard deviation of each row's logarithms.
    pub deviation: Vec<f32>,
}

/// Precomputed values for spectrograms of one length.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    stft: Stft,
    bank: Option<MelBank>,
}

impl Spectrogram {
    /// Returns settings without statistics, for sounds of `length` samples at `rate` Hz.
    ///
    /// # Errors
    /// [`Error::Config`] if window, hop, bands and length do not fit each other.
    pub fn new(bands: Option<usize>, window: usize, hop: usize, rate: u32, length: usize) -> Result<Self> {
        let rows = bands.unwrap_or(window / 2);
        let plain = Self { bands, window, hop, mean: vec![0.0; rows], deviation: vec![1.0; rows] };
        plain.plan(rate, length)?;
        Ok(plain)
    }

    /// True if the other has the same rows and columns, whatever its statistics.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.bands, self.window, self.hop) == (other.bands, other.window, other.hop)
    }

    /// Returns the rows and columns of the spectrogram of a sound of `length` samples.
    pub fn shape(&self, length: usize) -> ImageShape {
        ImageShape::new(1, self.bands.unwrap_or(self.window / 2), length / self.hop.max(1))
    }

    /// Checks the sizes and precomputes what they need.
    pub(crate) fn plan(&self, rate: u32, length: usize) -> Result<Plan> {
        let fail = |key, reason| Err(Error::Config { key, reason });
        let Self { bands, window, hop, .. } = *self;
        if !window.is_power_of_two() || !(16..=1 << 14).contains(&window) {
            return fail(
                "data.sound.window",
                format!("must be a power of two from 16 to 16384, got {window}"),
            );
        }
        if hop < 2 || hop > window / 2 || !hop.is_multiple_of(2) {
            return fail(
                "data.sound.hop",
                format!("must be even and 2 to {}, half of the window, got {hop}", window / 2),
            );
        }
        if length == 0 || !length.is_multiple_of(hop) {
            return fail(
                "data.sound.length",
                format!("must be a multiple of the hop of {hop}, got {length}"),
            );
        }
        let rows = bands.unwrap_or(window / 2);
        if self.mean.len() != rows || self.deviation.len() != rows {
            return fail("data.sound.bands", format!("the statistics are not those of {rows} rows"));
        }
        let stft = Stft::new(length, window, hop);
        let bank = match bands {
            None => None,
            Some(0) => return fail("data.sound.bands", "must be at least 1".to_owned()),
            Some(bands) if bands > window / 2 => {
                return fail(
                    "data.sound.bands",
                    format!("a window of {window} has {} frequencies at most, got {bands} bands", window / 2),
                );
            }
            Some(bands) => match MelBank::new(bands, stft.bins(), rate) {
                Ok(bank) => Some(bank),
                Err(band) => {
                    return fail(
                        "data.sound.bands",
                        format!(
                            "band {band} of {bands} lies between two frequencies of a window of {window}: take fewer bands or a larger window"
                        ),
                    );
                }
            },
        };
        Ok(Plan { stft, bank })
    }

    /// Adds the statistics of these sounds, i16 each.
    ///
    /// # Errors
    /// As [`Spectrogram::new`].
    pub(crate) fn fitted(mut self, rate: u32, length: usize, sounds: &[u8]) -> Result<Self> {
        let plan = self.plan(rate, length)?;
        let rows = self.mean.len();
        // Sum each sound, then sum over sounds in order, so that the result does not depend on the number of
        // threads.
        let sums: Vec<(Vec<f64>, Vec<f64>)> = sounds
            .par_chunks_exact(2 * length)
            .map(|sound| {
                let logs = plan.logs(&waveform(sound));
                let (mut sum, mut squares) = (vec![0.0; rows], vec![0.0; rows]);
                for frame in logs.chunks_exact(rows) {
                    for (row, value) in frame.iter().enumerate() {
                        sum[row] += value;
                        squares[row] += value * value;
                    }
                }
                (sum, squares)
            })
            .collect();
        let count = (sums.len() * plan.stft.frames()).max(1) as f64;
        for row in 0..rows {
            let mean = sums.iter().map(|(sum, _)| sum[row]).sum::<f64>() / count;
            let square = sums.iter().map(|(_, squares)| squares[row]).sum::<f64>() / count;
            self.mean[row] = mean as f32;
            self.deviation[row] = (square - mean * mean).max(0.0).sqrt().max(LEAST_DEVIATION) as f32;
        }
        Ok(self)
    }

    /// Returns the network's view of a sound: row by row, the lowest frequency first, in [0, 1].
    pub(crate) fn values(&self, plan: &Plan, sound: &[u8]) -> Vec<f32> {
        let logs = plan.logs(&waveform(sound));
        let (rows, columns) = (self.mean.len(), plan.stft.frames());
        let mut values = vec![0.0; rows * columns];
        for (column, frame) in logs.chunks_exact(rows).enumerate() {
            for (row, value) in frame.iter().enumerate() {
                let deviation = (value - f64::from(self.mean[row])) / f64::from(self.deviation[row]);
                values[row * columns + column] = (0.5 + deviation.clamp(-KEPT, KEPT) / (2.0 * KEPT)) as f32;
            }
        }
        values
    }

    /// Converts a network's output to the magnitudes of every frequency, frame by frame.
    fn magnitudes(&self, plan: &Plan, values: &[f32]) -> Vec<f64> {
        let (rows, columns, bins) = (self.mean.len(), plan.stft.frames(), plan.stft.bins());
        let mut magnitudes = Vec::with_capacity(columns * bins);
        let mut frame = vec![0.0; rows];
        for column in 0..columns {
            for (row, value) in frame.iter_mut().enumerate() {
                let unit = f64::from(values[row * columns + column]).clamp(0.0, 1.0);
                let log =
                    f64::from(self.mean[row]) + f64::from(self.deviation[row]) * (unit - 0.5) * 2.0 * KEPT;
                *value = (libm::exp(log) - FLOOR).max(0.0);
            }
            match &plan.bank {
                Some(bank) => magnitudes.extend(bank.invert(&frame)),
                None => {
                    magnitudes.push(0.0);
                    magnitudes.extend(&frame);
                }
            }
        }
        magnitudes
    }

    /// Returns a waveform, i16, with a spectrogram close to a network's output. Its initial phases are
    /// random; `number` selects the draw.
    pub(crate) fn sound(&self, plan: &Plan, values: &[f32], number: u64) -> Vec<u8> {
        let magnitudes = self.magnitudes(plan, values);
        at_rest(&griffin_lim(&plan.stft, &magnitudes, number))
    }
}

impl Plan {
    /// Returns log(m + floor) of every row, frame by frame.
    fn logs(&self, waveform: &[f64]) -> Vec<f64> {
        let bins = self.stft.bins();
        let rows = self.bank.as_ref().map_or(bins - 1, MelBank::bands);
        let spectra = self.stft.forward(waveform);
        let mut logs = vec![0.0; self.stft.frames() * rows];
        for (spectrum, out) in spectra.chunks_exact(bins).zip(logs.chunks_exact_mut(rows)) {
            let magnitudes: Vec<f64> = spectrum.iter().map(magnitude).collect();
            match &self.bank {
                Some(bank) => bank.apply(&magnitudes, out),
                None => out.copy_from_slice(&magnitudes[1..]),
            }
            out.iter_mut().for_each(|value| *value = libm::log(*value + FLOOR));
        }
        logs
    }
}

fn magnitude(value: &Complex) -> f64 {
    (value[0] * value[0] + value[1] * value[1]).sqrt()
}

/// Returns a waveform whose spectra approximate these magnitudes, after 32 iterations of the fast Griffin-Lim
/// algorithm.
fn griffin_lim(stft: &Stft, magnitudes: &[f64], number: u64) -> Vec<f64> {
    let mut draws = Stream::new(0, "griffin-lim", 0).at(number);
    let start = magnitudes.iter().map(|magnitude| {
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * f64::from(draws.uniform()));
        [magnitude * cos, magnitude * sin]
    });
    let mut spectra: Vec<Complex> = start.collect();
    let mut before: Option<Vec<Complex>> = None;
    for _ in 0..ITERATIONS {
        let consistent = stft.forward(&stft.inverse(&spectra));
        for (place, (spectrum, magnitude)) in spectra.iter_mut().zip(magnitudes).enumerate() {
            let new = consistent[place];
            let old = before.as_ref().map_or(new, |before| before[place]);
            let on = [0, 1].map(|part| new[part] + MOMENTUM * (new[part] - old[part]));
            let length = self::magnitude(&on);
            let scale = if length > 0.0 { magnitude / length } else { 0.0 };
            *spectrum = [on[0] * scale, on[1] * scale];
        }
        before = Some(consistent);
    }
    stft.inverse(&spectra)
}

/// Converts a stored sound to values in [−1, 1).
pub(crate) fn waveform(sound: &[u8]) -> Vec<f64> {
    let (samples, _) = sound.as_chunks::<2>();
    samples.iter().map(|sample| f64::from(i16::from_le_bytes(*sample)) / 32768.0).collect()
}

/// Converts values in [−1, 1] to i16, little-endian; louder values are clipped.
pub(crate) fn at_rest(waveform: &[f64]) -> Vec<u8> {
    let sample = |value: &f64| (value * 32768.0).round_ties_even().clamp(-32768.0, 32767.0) as i16;
    waveform.iter().flat_map(|value| sample(value).to_le_bytes()).collect()
}

/// Returns the spectral convergence of a sound to a real one: ‖|A| − |B|‖ / ‖|A|‖ of their spectral
/// magnitudes, 0 if equal.
fn convergence(stft: &Stft, real: &[u8], made: &[u8]) -> f64 {
    let [a, b] = [real, made].map(|sound| stft.forward(&waveform(sound)));
    let (mut difference, mut all) = (0.0, 0.0);
    for (a, b) in a.iter().zip(&b) {
        let (a, b) = (magnitude(a), magnitude(b));
        difference += (a - b) * (a - b);
        all += a * a;
    }
    if all > 0.0 { (difference / all).sqrt() } else { 0.0 }
}

impl Plan {
    /// Returns [`convergence`] in the windows of this plan.
    pub(crate) fn convergence(&self, real: &[u8], made: &[u8]) -> f64 {
        convergence(&self.stft, real, made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(length: usize) -> Vec<u8> {
        let value = |j: usize| 0.5 * libm::sin(0.31 * j as f64) + 0.3 * libm::sin(0.0004 * (j * j) as f64);
        at_rest(&(0..length).map(value).collect::<Vec<_>>())
    }

    #[test]
    fn log_mels_are_those_of_numpy() {
        // Continues the script in stft.rs:
        // def hz(m): return np.where(m < 15, m * 200 / 3, 1000 * np.exp((m - 15) * np.log(6.4) / 27))
        // def mel(f): return np.where(f < 1000, f * 3 / 200, 15 + 27 * np.log(np.maximum(f, 1) / 1000) / np.log(6.4))
        // e = hz(np.linspace(0, mel(4000.0), 66))       # as librosa.filters.mel(htk=False, norm=None)
        // f = np.linspace(0, 4000, 129)
        // W = np.maximum(0, np.minimum((f - e[:-2, None]) / (e[1:-1] - e[:-2])[:, None],
        //                              (e[2:, None] - f) / (e[2:] - e[1:-1])[:, None]))
        // M = W @ np.abs(X).T
        // for b, t in [(0, 0), (11, 2), (30, 4), (45, 5), (63, 7)]: print(b, t, np.log(M[b, t] + 1e-3))
        let spectrogram = Spectrogram::new(Some(64), 256, 128, 8000, 1024).unwrap();
        let plan = spectrogram.plan(8000, 1024).unwrap();
        let value = |j: usize| 0.5 * libm::sin(0.31 * j as f64) + 0.3 * libm::sin(0.0004 * (j * j) as f64);
        let logs = plan.logs(&(0..1024).map(value).collect::<Vec<_>>());
        for (band, frame, expected) in [
            (0, 0, 2.505173037593395),
            (11, 2, 2.6228613482430956),
            (30, 4, -5.650938754178424),
            (45, 5, -6.720507543401014),
            (63, 7, -1.0655873772953213),
        ] {
            let found = logs[frame * 64 + band];
            assert!((found - expected).abs() < 1e-9, "{band} {frame}: {found}");
        }
    }

    #[test]
    fn statistics_make_rows_of_mean_one_half() {
        let sounds = [sound(1024), sound(2048)[2048..].to_vec()].concat();
        let fitted = Spectrogram::new(Some(32), 256, 128, 8000, 1024).unwrap();
        let fitted = fitted.fitted(8000, 1024, &sounds).unwrap();
        let plan = fitted.plan(8000, 1024).unwrap();
        let values: Vec<Vec<f32>> = sounds.chunks(2048).map(|sound| fitted.values(&plan, sound)).collect();
        for row in 0..32 {
            let all = values.iter().flat_map(|values| &values[row * 8..(row + 1) * 8]);
            let mean = all.map(|value| f64::from(*value)).sum::<f64>() / 16.0;
            assert!((mean - 0.5).abs() < 0.03, "{row} {mean}");
        }
    }

    #[test]
    fn a_sound_comes_back_from_its_spectrogram_and_again_the_same() {
        let sound = sound(4096);
        // Clipping at three standard deviations hurts a sweep more than speech, because each row is loud for
        // only an instant.
        for (bands, most) in [(Some(64), 0.35), (None, 0.3)] {
            let fitted = Spectrogram::new(bands, 256, 128, 8000, 4096).unwrap();
            let fitted = fitted.fitted(8000, 4096, &sound).unwrap();
            let plan = fitted.plan(8000, 4096).unwrap();
            let values = fitted.values(&plan, &sound);
            let back = fitted.sound(&plan, &values, 3);
            assert_eq!(back, fitted.sound(&plan, &values, 3));
            assert_ne!(back, fitted.sound(&plan, &values, 4), "other phases");
            let found = plan.convergence(&sound, &back);
            assert!(found < most, "{bands:?}: {found}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        for (bands, window, hop, length, key) in [
            (Some(64), 250, 128, 8192, "data.sound.window"),
            (Some(64), 256, 200, 8192, "data.sound.hop"),
            (Some(64), 256, 128, 8000, "data.sound.length"),
            (Some(64), 64, 32, 8192, "data.sound.bands"),
            (Some(0), 256, 128, 8192, "data.sound.bands"),
            (Some(200), 256, 128, 8192, "data.sound.bands"),
        ] {
            let error = Spectrogram::new(bands, window, hop, 8000, length).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
