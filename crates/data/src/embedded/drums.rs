//! `drums`: half-second sounds of ten drums, made of decaying sines and filtered noise, with varying pitch,
//! decay, noise, brightness, onset and level.

use std::f64::consts::TAU;

use serde::Serialize;
use waxwork_core::Kind;
use waxwork_core::rng::Draws;

use super::{Artist, CLASSES, Part};
use crate::Factor;

/// Sample rate, Hz.
pub const DRUM_RATE: u32 = 8000;
/// Samples per sound.
pub const DRUM_LENGTH: usize = 4096;
/// Seconds from one burst of a clap to the next.
const CLAP_GAP: f64 = 0.011;
/// Bursts of a clap before its decaying tail.
const CLAPS: f64 = 3.0;
/// Bandwidth of the noise, as the inverse of its filter's Q factor.
const DAMPING: f64 = 1.2;

/// The parameters of one drum: a range for each factor, and what all its sounds have in common.
struct Drum {
    /// Hz.
    pitch: [f32; 2],
    /// Seconds in which the amplitude falls to 1/e.
    decay: [f32; 2],
    /// Share of the noise.
    noise: [f32; 2],
    /// Centre frequency of the noise band, Hz.
    brightness: [f32; 2],
    /// Pitch sweep at the start: its height in multiples of the pitch, and the seconds in which it falls to
    /// 1/e.
    sweep: (f64, f64),
    /// Multiples of the pitch, and their amplitudes.
    partials: &'static [(f64, f64)],
    /// Rise time of the noise, seconds.
    attack: f64,
}

const METAL: &[(f64, f64)] =
    &[(1.0, 0.3), (1.342, 0.25), (1.231, 0.2), (1.653, 0.25), (1.952, 0.2), (2.152, 0.2)];

/// Kick, snare, closed hat, open hat, tom, clap, rim, cowbell, cymbal, shaker.
const DRUMS: [Drum; CLASSES] = [
    Drum {
        pitch: [45.0, 75.0],
        decay: [0.06, 0.14],
        noise: [0.0, 0.08],
        brightness: [800.0, 1600.0],
        sweep: (3.0, 0.015),
        partials: &[(1.0, 1.0)],
        attack: 0.0,
    },
    Drum {
        pitch: [165.0, 235.0],
        decay: [0.04, 0.09],
        noise: [0.45, 0.75],
        brightness: [1800.0, 2900.0],
        sweep: (0.3, 0.01),
        partials: &[(1.0, 0.7), (1.59, 0.5)],
        attack: 0.0,
    },
    Drum {
        pitch: [1350.0, 1750.0],
        decay: [0.012, 0.03],
        noise: [0.4, 0.7],
        brightness: [2800.0, 3500.0],
        sweep: (0.0, 1.0),
        partials: METAL,
        attack: 0.0,
    },
    Drum {
        pitch: [1350.0, 1750.0],
        decay: [0.09, 0.16],
        noise: [0.4, 0.7],
        brightness: [2800.0, 3500.0],
        sweep: (0.0, 1.0),
        partials: METAL,
        attack: 0.0,
    },
    Drum {
        pitch: [95.0, 200.0],
        decay: [0.08, 0.16],
        noise: [0.02, 0.12],
        brightness: [500.0, 1000.0],
        sweep: (0.5, 0.03),
        partials: &[(1.0, 0.9), (1.5, 0.2)],
        attack: 0.0,
    },
    Drum {
        pitch: [900.0, 1100.0],
        decay: [0.04, 0.08],
        noise: [0.95, 1.0],
        brightness: [900.0, 1500.0],
        sweep: (0.0, 1.0),
        partials: &[(1.0, 0.3)],
        attack: 0.0,
    },
    Drum {
        pitch: [820.0, 1050.0],
        decay: [0.006, 0.014],
        noise: [0.1, 0.3],
        brightness: [2000.0, 3000.0],
        sweep: (0.0, 1.0),
        partials: &[(1.0, 0.6), (1.88, 0.6)],
        attack: 0.0,
    },
    Drum {
        pitch: [500.0, 620.0],
        decay: [0.06, 0.14],
        noise: [0.0, 0.06],
        brightness: [1500.0, 2500.0],
        sweep: (0.0, 1.0),
        partials: &[(1.0, 0.5), (1.48, 0.5), (3.0, 0.15), (4.44, 0.12)],
        attack: 0.0,
    },
    Drum {
        pitch: [1050.0, 1300.0],
        decay: [0.22, 0.4],
        noise: [0.3, 0.6],
        brightness: [2200.0, 3200.0],
        sweep: (0.0, 1.0),
        partials: METAL,
        attack: 0.004,
    },
    Drum {
        pitch: [1000.0, 1200.0],
        decay: [0.03, 0.06],
        noise: [1.0, 1.0],
        brightness: [2600.0, 3400.0],
        sweep: (0.0, 1.0),
        partials: &[],
        attack: 0.02,
    },
];

/// The factors that determine how a drum sounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DrumFactors {
    /// The drum: kick, snare, closed hat, open hat, tom, clap, rim, cowbell, cymbal or shaker.
    pub class: u32,
    /// Frequency of the lowest sine, Hz; without meaning for clap and shaker, which are noise.
    pub pitch: f32,
    /// Seconds in which its amplitude falls to 1/e.
    pub decay: f32,
    /// Share of noise, 0 to 1.
    pub noise: f32,
    /// Centre frequency of the noise band, Hz.
    pub brightness: f32,
    /// Seconds of silence before the drum, 0 to 0.05.
    pub onset: f32,
    /// Peak amplitude, 0.35 to 0.95.
    pub level: f32,
}

/// Synthesises the drums.
#[derive(Clone, Copy, Debug)]
pub struct DrumArtist;

impl Artist for DrumArtist {
    const NAME: &'static str = "drums";
    const VERSION: u32 = 1;
    type Factors = DrumFactors;

    fn kind() -> Kind {
        Kind::Sound { rate: DRUM_RATE, length: DRUM_LENGTH }
    }

    /// 10,000 and 2,000: a sound costs more time than an image.
    fn count(part: Part) -> usize {
        match part {
            Part::Train => 10_000,
            Part::Test => 2_000,
        }
    }

    fn factors(index: usize, draws: &mut Draws) -> DrumFactors {
        let class = index % CLASSES;
        let drum = &DRUMS[class];
        // Draw pitches and times log-uniformly, because people perceive their ratios.
        let mut by_ratio = |[low, high]: [f32; 2]| low * libm::powf(high / low, draws.uniform());
        let (pitch, decay, brightness) =
            (by_ratio(drum.pitch), by_ratio(drum.decay), by_ratio(drum.brightness));
        let noise = draws.between(drum.noise[0], drum.noise[1]);
        let onset = draws.between(0.0, 0.05);
        let level = draws.between(0.35, 0.95);
        DrumFactors { class: class as u32, pitch, decay, noise, brightness, onset, level }
    }

    fn named(factors: &DrumFactors) -> Vec<Factor> {
        vec![
            Factor::kind("class", factors.class, CLASSES as u32),
            Factor::quantity("pitch", libm::logf(factors.pitch)),
            Factor::quantity("decay", libm::logf(factors.decay)),
            Factor::quantity("noise", factors.noise),
            Factor::quantity("brightness", libm::logf(factors.brightness)),
            Factor::quantity("onset", factors.onset),
            Factor::quantity("level", factors.level),
        ]
    }

    fn paint(factors: &DrumFactors, draws: &mut Draws, out: &mut [u8]) {
        let sound = play(factors, draws);
        for (sample, value) in out.chunks_exact_mut(2).zip(sound) {
            let value = (value * 32767.0).round_ties_even().clamp(-32768.0, 32767.0) as i16;
            sample.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// Returns the sound, scaled to its level.
fn play(factors: &DrumFactors, draws: &mut Draws) -> Vec<f64> {
    let drum = &DRUMS[factors.class as usize];
    let rate = f64::from(DRUM_RATE);
    let start = (f64::from(factors.onset) * rate) as usize;
    let count = DRUM_LENGTH - start;
    let fade = libm::exp(-1.0 / (f64::from(factors.decay) * rate));
    let share = f64::from(factors.noise);
    let mut sound = vec![0.0; DRUM_LENGTH];

    let (height, fall) = drum.sweep;
    let fall = libm::exp(-1.0 / (fall * rate));
    for &(multiple, amplitude) in drum.partials {
        let step = TAU * f64::from(factors.pitch) * multiple / rate;
        let (mut phase, mut above, mut amplitude) =
            (TAU * f64::from(draws.uniform()), height, (1.0 - share) * amplitude);
        for value in &mut sound[start..] {
            *value += amplitude * libm::sin(phase);
            phase += step * (1.0 + above);
            above *= fall;
            amplitude *= fade;
        }
    }

    let noise = band(f64::from(factors.brightness), count, draws);
    let clapping = factors.class == 5;
    let mut amplitude = share;
    for (place, (value, noise)) in sound[start..].iter_mut().zip(noise).enumerate() {
        let time = place as f64 / rate;
        let rise = if drum.attack > 0.0 { (time / drum.attack).min(1.0) } else { 1.0 };
        // A clap is a few bursts, one per hand, and then reverberation.
        let burst = if clapping && time < CLAPS * CLAP_GAP {
            let since = time - (time / CLAP_GAP).floor() * CLAP_GAP;
            libm::exp(-since / 0.003)
        } else {
            1.0
        };
        *value += amplitude * rise * burst * noise;
        if !clapping || time >= CLAPS * CLAP_GAP {
            amplitude *= fade;
        }
    }

    let loudest = sound.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    let scale = if loudest > 0.0 { f64::from(factors.level) / loudest } else { 0.0 };
    sound.iter().map(|value| value * scale).collect()
}

/// Returns noise around `middle` Hz: uniform noise through a state-variable filter (Simper 2013).
fn band(middle: f64, count: usize, draws: &mut Draws) -> Vec<f64> {
    let g = libm::tan(std::f64::consts::PI * middle.min(0.46 * f64::from(DRUM_RATE)) / f64::from(DRUM_RATE));
    let a = 1.0 / (1.0 + g * (g + DAMPING));
    let (mut first, mut second) = (0.0, 0.0);
    let mut next = || {
        let input = f64::from(draws.between(-1.0, 1.0));
        let low = input - second;
        let middle = a * (first + g * low);
        let lowest = second + g * middle;
        first = 2.0 * middle - first;
        second = 2.0 * lowest - second;
        DAMPING * middle
    };
    (0..count).map(|_| 1.7 * next()).collect()
}

#[cfg(test)]
mod tests {
    use waxwork_core::hash::sha256;

    use super::super::Generator;
    use super::*;
    use crate::Source;

    fn sound(index: usize) -> Vec<u8> {
        let source = Generator::<DrumArtist>::new(0, Part::Test);
        let mut bytes = vec![0; 2 * DRUM_LENGTH];
        source.write_sample(index, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_sound_is_the_same_bits_everywhere() {
        let all: Vec<u8> = (0..20).flat_map(sound).collect();
        assert_eq!(sha256(&all), "4b4be94102804734025dd766f3bf99436301ead7821adea8b89d64024ee55d86");
    }

    #[test]
    fn a_sound_is_as_loud_as_its_level_and_silent_before_its_onset() {
        let source = Generator::<DrumArtist>::new(0, Part::Test);
        assert_eq!((source.len(), source.kind()), (2000, DrumArtist::kind()));
        for index in 0..40 {
            let factors = source.factors(index).unwrap();
            let bytes = sound(index);
            let (samples, _) = bytes.as_chunks::<2>();
            let samples: Vec<f64> =
                samples.iter().map(|two| f64::from(i16::from_le_bytes(*two)) / 32767.0).collect();
            let loudest = samples.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            assert!((loudest - f64::from(factors.level)).abs() < 1e-4, "{index}");
            let start = (f64::from(factors.onset) * 8000.0) as usize;
            assert!(samples[..start].iter().all(|value| *value == 0.0), "{index}");
        }
    }
}
