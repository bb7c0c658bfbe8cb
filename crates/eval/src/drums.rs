//! Factors of generated drums: onset, decay, brightness, pitch and level are measured in the waveforms and
//! compared, drum by drum, with those of real drums, whose factors are known.

use waxwork_data::Split;
use waxwork_data::embedded::{DRUM_RATE, DrumArtist};

use crate::report::{Metric, Protocol};
use crate::{Error, Result};

/// The measured factors, in order.
pub const MEASURED: [&str; 5] = ["onset", "decay", "brightness", "pitch", "level"];
/// Samples over which energy is averaged.
const FRAME: usize = 32;
/// A drum begins where its energy exceeds this share of the peak energy.
const BEGUN: f64 = 0.05;
/// The decay is measured down to this share of the peak energy.
const FADED: f64 = 0.01;
/// Lags of the autocorrelation that count as periods: 2000 Hz to 40 Hz.
const LAGS: std::ops::RangeInclusive<usize> = 4..=200;
/// Index of the pitch in [`MEASURED`]. Only the tom has a pitch steady enough to measure; that of a kick
/// falls.
const PITCH: usize = 3;
const TOM: u32 = 4;
/// Samples after the onset in which the pitch is measured.
const PITCHED: usize = 1200;

/// Returns the seconds until a drum begins, the log seconds in which its amplitude falls to 1/e, the log Hz
/// of its mean frequency, the log Hz of its pitch, and its peak amplitude. None for silence.
pub fn measure(waveform: &[f64]) -> Option<[f64; 5]> {
    let rate = f64::from(DRUM_RATE);
    let level = waveform.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    let energies: Vec<f64> =
        waveform.chunks(FRAME).map(|frame| frame.iter().map(|value| value * value).sum()).collect();
    let peak = energies.iter().copied().fold(0.0, f64::max);
    if peak <= 0.0 || level < 1e-3 {
        return None;
    }
    let begun = energies.iter().position(|energy| *energy > BEGUN * peak)?;
    let loudest = energies.iter().position(|energy| *energy == peak)?;
    // The least-squares line through the log energy, which falls by 2 / decay per second.
    let after = energies[loudest..].iter().take_while(|energy| **energy > FADED * peak);
    let points: Vec<(f64, f64)> = after
        .enumerate()
        .map(|(place, energy)| (place as f64 * FRAME as f64 / rate, libm::log(*energy)))
        .collect();
    let decay = slope(&points)
        .filter(|slope| *slope < 0.0)
        .map_or(f64::from(FRAME as u32) / rate, |slope| -2.0 / slope);
    let sound = &waveform[begun * FRAME..];
    // The mean frequency from the energy of differences: for a sine, ‖x′‖ / ‖x‖ is its frequency.
    let (mut differences, mut all) = (0.0, 0.0);
    for two in sound.windows(2) {
        differences += (two[1] - two[0]) * (two[1] - two[0]);
        all += two[0] * two[0];
    }
    let turn = (0.5 * (differences / all.max(1e-12)).sqrt()).min(1.0);
    let brightness = 2.0 * libm::asin(turn) * rate / std::f64::consts::TAU;
    let pitch = rate / period(&sound[..sound.len().min(PITCHED)]);
    Some([
        begun as f64 * FRAME as f64 / rate,
        libm::log(decay.max(1e-3)),
        libm::log(brightness.max(1.0)),
        libm::log(pitch),
        level,
    ])
}

/// Returns the lag, in samples, at which a sound is most similar to itself.
fn period(sound: &[f64]) -> f64 {
    let like = |lag: usize| {
        let (mut both, mut own, mut other) = (0.0, 1e-12, 1e-12);
        for (a, b) in sound.iter().zip(sound.get(lag..).unwrap_or_default()) {
            both += a * b;
            own += a * a;
            other += b * b;
        }
        both / f64::sqrt(own * other)
    };
    let likeness: Vec<f64> = LAGS.map(like).collect();
    // A slow wave resembles itself at every short lag, so search after the first trough.
    let start = likeness.iter().position(|like| *like < 0.5).unwrap_or(0);
    let most = likeness[start..].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Take the first peak almost as high as the highest, because multiples of the period give peaks as high.
    let peak = (start.max(1)..likeness.len().saturating_sub(1)).find(|&at| {
        likeness[at] >= likeness[at - 1] && likeness[at] >= likeness[at + 1] && likeness[at] > 0.9 * most
    });
    // A falling pitch may have no peak in the range of lags. Then take the lag of greatest similarity.
    let nearest = || (start..likeness.len()).max_by(|a, b| likeness[*a].total_cmp(&likeness[*b]));
    (LAGS.start() + peak.or_else(nearest).unwrap_or(0)) as f64
}

fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    if points.len() < 2 {
        return None;
    }
    let (x, y) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut both, mut own) = (0.0, 0.0);
    for point in points {
        both += (point.0 - x) * (point.1 - y);
        own += (point.0 - x) * (point.0 - x);
    }
    (own > 0.0).then(|| both / own)
}

/// Returns the distances between the measured factors of generated drums and of real ones: for each factor,
/// the 1-Wasserstein distance per drum, in standard deviations of the real drums, averaged over drums.
/// `names` are the drums of the generated sounds.
///
/// # Errors
/// If sounds cannot be read, or a drum has fewer than two real sounds.
pub fn factor_distances(
    generated: &Split,
    names: &[u32],
    real: &Split,
    protocol: &Protocol,
) -> Result<Vec<Metric>> {
    let (made, test) = (measured(generated)?, measured(real)?);
    let test_names = real.labels().ok_or(Error::NoLabels { data: "drums".into() })?;
    // The floor compares one half of the real drums with the other half.
    let half = |odd: usize| (0..test.len()).filter(move |place| (place / CLASSES) % 2 == odd);
    let pick = |places: Vec<usize>| -> (Vec<Option<[f64; 5]>>, Vec<u32>) {
        (
            places.iter().map(|&place| test[place]).collect(),
            places.iter().map(|&place| test_names[place]).collect(),
        )
    };
    let ((one, one_names), (other, other_names)) = (pick(half(0).collect()), pick(half(1).collect()));
    let silent = made.iter().filter(|found| found.is_none()).count() as f64 / made.len().max(1) as f64;
    let mut protocol = protocol.clone();
    protocol.insert("n_generated".into(), made.len().to_string());
    protocol.insert("n_real".into(), test.len().to_string());
    protocol.insert(
        "factors".into(),
        "measured in waveforms; 1-Wasserstein in real standard deviations, mean over drums".into(),
    );
    let mut metrics = Vec::new();
    for (place, name) in MEASURED.iter().enumerate() {
        let value = distance(place, &made, names, &test, &test_names);
        let floor = distance(place, &one, &one_names, &other, &other_names);
        if let (Some(value), Some(floor)) = (value, floor) {
            metrics.push(Metric::new(format!("drum_{name}_distance"), value, &protocol).floor(floor).lower());
        }
    }
    metrics.push(Metric::new("drum_silent", silent, &protocol).floor(0.0).lower());
    Ok(metrics)
}

const CLASSES: usize = 10;

/// True if a data set's sounds are drums.
pub fn are_drums(data: &waxwork_data::Dataset) -> bool {
    use waxwork_data::embedded::Artist;
    data.info.name == DrumArtist::NAME && data.info.kind == DrumArtist::kind()
}

fn measured(split: &Split) -> Result<Vec<Option<[f64; 5]>>> {
    let mut found = Vec::with_capacity(split.len());
    for place in 0..split.len() {
        let bytes = split.bytes(&[place])?;
        let (samples, _) = bytes.as_chunks::<2>();
        let waveform: Vec<f64> =
            samples.iter().map(|sample| f64::from(i16::from_le_bytes(*sample)) / 32768.0).collect();
        found.push(measure(&waveform));
    }
    Ok(found)
}

/// Returns the distance between two samples of one factor, averaged over drums.
fn distance(
    place: usize,
    made: &[Option<[f64; 5]>],
    names: &[u32],
    real: &[Option<[f64; 5]>],
    real_names: &[u32],
) -> Option<f64> {
    let of = |found: &[Option<[f64; 5]>], names: &[u32], drum: u32| -> Vec<f64> {
        let own = found.iter().zip(names).filter(|(_, name)| **name == drum);
        let mut values: Vec<f64> = own.filter_map(|(found, _)| Some((*found)?[place])).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let mut distances = Vec::new();
    for drum in (0..CLASSES as u32).filter(|drum| place != PITCH || *drum == TOM) {
        let (made, real) = (of(made, names, drum), of(real, real_names, drum));
        if real.len() < 2 {
            return None;
        }
        if made.is_empty() || real.first() == real.last() {
            continue;
        }
        let mean = real.iter().sum::<f64>() / real.len() as f64;
        let deviation =
            (real.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / real.len() as f64).sqrt();
        distances.push(wasserstein(&made, &real) / deviation.max(1e-6));
    }
    (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64)
}

/// Returns ∫ |F⁻¹ − G⁻¹| of two sorted samples.
fn wasserstein(a: &[f64], b: &[f64]) -> f64 {
    let (mut i, mut j, mut done, mut sum) = (0, 0, 0.0, 0.0);
    while i < a.len() && j < b.len() {
        let (next_a, next_b) = ((i + 1) as f64 / a.len() as f64, (j + 1) as f64 / b.len() as f64);
        let next = next_a.min(next_b);
        sum += (next - done) * (a[i] - b[j]).abs();
        done = next;
        i += usize::from(next_a <= next);
        j += usize::from(next_b <= next);
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waxwork_data::Source;
    use waxwork_data::embedded::{Drums, Part};

    use super::*;
    use crate::table::trends::pearson;

    #[test]
    fn distances_of_samples_are_those_of_scipy() {
        // from scipy.stats import wasserstein_distance as w; print(w([0, 1, 3], [5, 6, 8]), w([0, 1], [0, 1, 4]))
        assert!((wasserstein(&[0.0, 1.0, 3.0], &[5.0, 6.0, 8.0]) - 5.0).abs() < 1e-12);
        assert!((wasserstein(&[0.0, 1.0], &[0.0, 1.0, 4.0]) - 1.1666666666666667).abs() < 1e-12);
    }

    fn correlation(pairs: &[(f64, f64)]) -> f64 {
        let (found, truth): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        pearson(&found, &truth).unwrap()
    }

    #[test]
    fn measures_the_factors_of_the_drums() {
        let drums = Arc::new(Drums::new(0, Part::Test));
        let split = Split::all(drums.clone()).unwrap().subset(1000);
        let found = measured(&split).unwrap();
        let pairs = |place: usize, factor: &str, drums: &[u32]| -> Vec<(f64, f64)> {
            let all = split.indices().iter().zip(&found);
            let all = all.filter(|(index, _)| drums.contains(&(**index % 10)));
            all.map(|(&index, found)| {
                let factors = split_factors(index as usize);
                let truth = factors.iter().find(|other| other.0 == factor).unwrap().1;
                (found.unwrap()[place], truth)
            })
            .collect()
        };
        fn split_factors(index: usize) -> Vec<(&'static str, f64)> {
            let factors = Source::factors(&Drums::new(0, Part::Test), index);
            factors.iter().map(|factor| (factor.name, f64::from(factor.value))).collect()
        }
        let every: Vec<u32> = (0..10).collect();
        assert!(correlation(&pairs(0, "onset", &every)) > 0.9);
        assert!(correlation(&pairs(1, "decay", &every)) > 0.8);
        assert!(correlation(&pairs(4, "level", &every)) > 0.999);
        assert!(correlation(&pairs(PITCH, "pitch", &[TOM])) > 0.8);
        let metrics = factor_distances(&split, &split.labels().unwrap(), &split, &Protocol::new()).unwrap();
        assert_eq!(metrics.len(), 6);
        assert!(metrics.iter().all(|metric| metric.value == 0.0), "{metrics:?}");
        // Fifty sounds of each drum against fifty others; the pitch uses one drum only.
        assert!(metrics.iter().all(|metric| metric.floor.unwrap() < 0.6), "{metrics:?}");
    }
}
