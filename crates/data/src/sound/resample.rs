//! Resampling by a windowed sinc. It returns the same bits on every machine.

use std::f64::consts::PI;

/// Zero crossings of the sinc to keep on either side.
const CROSSINGS: f64 = 32.0;
/// The end of the pass band, as a share of the lower of the two Nyquist frequencies.
const ROLL_OFF: f64 = 0.95;
/// Maximum number of phases whose weights are kept. For more phases, the weights are computed for every
/// value.
const MOST_PHASES: u64 = 2048;

/// Resamples `samples` from rate `from` to rate `to`; the duration stays the same.
pub(super) fn resample(samples: &[f64], from: u32, to: u32) -> Vec<f64> {
    if from == to || samples.is_empty() {
        return samples.to_vec();
    }
    let divisor = greatest_common_divisor(u64::from(from), u64::from(to));
    let (step, phases) = (u64::from(from) / divisor, u64::from(to) / divisor);
    let count = (samples.len() as u64 * phases).div_ceil(step);
    let cut = ROLL_OFF * (f64::from(to) / f64::from(from)).min(1.0);
    let reach = (CROSSINGS / cut).ceil() as i64;
    let weights = |phase: u64| -> Vec<f64> {
        let offset = phase as f64 / phases as f64;
        (1 - reach..=reach).map(|tap| cut * windowed_sinc((tap as f64 - offset) * cut)).collect()
    };
    let known: Vec<Vec<f64>> =
        if phases <= MOST_PHASES { (0..phases).map(weights).collect() } else { Vec::new() };
    let value = |number: u64| {
        let (place, phase) = ((number * step / phases) as i64, number * step % phases);
        let own;
        let weights = match known.get(phase as usize) {
            Some(weights) => weights,
            None => {
                own = weights(phase);
                &own
            }
        };
        let at = |tap: usize| place + 1 - reach + tap as i64;
        let inside = |place: i64| usize::try_from(place).ok().and_then(|place| samples.get(place));
        weights.iter().enumerate().filter_map(|(tap, weight)| Some(weight * inside(at(tap))?)).sum()
    };
    (0..count).map(value).collect()
}

/// Returns sin(πx)/(πx) times a Hann window that spans [`CROSSINGS`] on either side.
fn windowed_sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    if x.abs() >= CROSSINGS {
        return 0.0;
    }
    let window = 0.5 + 0.5 * libm::cos(PI * x / CROSSINGS);
    window * libm::sin(PI * x) / (PI * x)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate: u32, count: usize) -> Vec<f64> {
        (0..count).map(|j| libm::sin(2.0 * PI * hz * j as f64 / f64::from(rate))).collect()
    }

    #[test]
    fn a_sine_stays_the_sine_that_it_is() {
        for (from, to) in [(16000, 8000), (44100, 8000), (8000, 11025), (22050, 48000), (8000, 7919)] {
            let found = resample(&sine(440.0, from, from as usize), from, to);
            assert_eq!(found.len(), to as usize, "a second is a second");
            let expected = sine(440.0, to, to as usize);
            // Only where the sinc does not reach beyond either end.
            let inner = to as usize / 100 + 70;
            for (found, expected) in found.iter().zip(&expected).skip(inner).take(to as usize - 2 * inner) {
                assert!((found - expected).abs() < 2e-3, "{from} {to}: {found} {expected}");
            }
        }
    }

    #[test]
    fn removes_frequencies_above_the_lower_rate() {
        let found = resample(&sine(5000.0, 16000, 16000), 16000, 8000);
        assert!(found[200..7800].iter().all(|value| value.abs() < 2e-3));
    }

    #[test]
    fn returns_sounds_unchanged_at_the_same_rate() {
        assert_eq!(resample(&[0.5, -0.25], 8000, 8000), [0.5, -0.25]);
        assert_eq!(resample(&[], 16000, 8000), [0.0; 0]);
    }
}
