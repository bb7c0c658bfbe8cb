//! How well clips keep their content over time and, on `motions`, how well they move.

pub mod motions;

use rayon::prelude::*;
use waxwork_core::{ImageShape, Kind};
use waxwork_data::{Dataset, Split};

use crate::Result;
use crate::likelihood::Estimate;
use crate::report::{Metric, Protocol};

/// Maximum number of clips of each side that are measured.
const MOST: usize = 2000;
/// Shades of each colour to which pixels are distributed.
const SHADES: usize = 5;
/// A frame whose values differ by less than this, in every channel, shows nothing.
const CONTRAST: u8 = 32;

/// The metrics that are specific to clips: `content_empty`, [`content_drift`] and, for `motions`, those of
/// [`motions`].
///
/// # Errors
/// If clips cannot be read.
pub fn metrics(
    data: &Dataset,
    generated: &Split,
    conditional: bool,
    protocol: &Protocol,
) -> Result<Vec<Metric>> {
    let (made, real) = (generated.subset(MOST), data.test.subset(MOST));
    let [of_made, of_real] = [&made, &real].map(drifts);
    let (of_made, of_real) = (of_made?, of_real?);
    let mut seen = protocol.clone();
    seen.insert("n_generated".into(), made.len().to_string());
    seen.insert("n_real".into(), real.len().to_string());
    let mut of_content = seen.clone();
    of_content.insert("empty".into(), format!("no frame has a contrast of {CONTRAST} of 255 or more"));
    let [empty, real_empty] = [&of_made, &of_real].map(|drifts| empty_share(drifts));
    let mut metrics = vec![Metric::new("content_empty", empty, &of_content).floor(real_empty).lower()];
    of_content.insert("interval".into(), "95 %, of 1.96 standard errors".into());
    of_content.insert(
        "distance".into(),
        format!("half the L1 distance of colour histograms of {SHADES}³ shades, mean over pairs of frames"),
    );
    let [of_made, of_real] =
        [of_made, of_real].map(|drifts| drifts.into_iter().flatten().collect::<Vec<f64>>());
    // Clips that show nothing have no drift: it would be zero, as if their content did not change.
    if !of_made.is_empty() {
        let drift = Estimate::of(&of_made);
        // Neither direction is better: where nothing moves, nothing changes.
        let metric = Metric::new("content_drift", drift.mean, &of_content).within(drift.interval());
        let with_floor = !of_real.is_empty();
        metrics.push(if with_floor { metric.floor(Estimate::of(&of_real).mean) } else { metric });
    }
    if motions::are_motions(data) {
        metrics.extend(motions::metrics(&made, conditional, &real, &seen)?);
    }
    Ok(metrics)
}

/// [`content_drift`] of every clip of a split; None for a clip that [`is_empty`].
fn drifts(split: &Split) -> Result<Vec<Option<f64>>> {
    each(split, |clip, image| (!is_empty(clip, image)).then(|| content_drift(clip, image)))
}

/// The share of the clips without a drift.
fn empty_share(drifts: &[Option<f64>]) -> f64 {
    drifts.iter().filter(|drift| drift.is_none()).count() as f64 / drifts.len().max(1) as f64
}

/// True if no frame of a clip shows anything: each has nearly one colour.
pub fn is_empty(clip: &[u8], image: ImageShape) -> bool {
    clip.chunks_exact((image.height * image.width).max(1)).all(|plane| {
        let (least, most) = plane
            .iter()
            .fold((u8::MAX, u8::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
        most.saturating_sub(least) < CONTRAST
    })
}

/// Applies `measure` to the bytes of each clip and the shape of its frames.
fn each<T: Send>(split: &Split, measure: impl Fn(&[u8], ImageShape) -> T + Sync) -> Result<Vec<T>> {
    let Kind::Clip { image, .. } = *split.kind() else { return Ok(Vec::new()) };
    let one = |place: usize| Ok(measure(&split.bytes(&[place])?, image));
    (0..split.len()).into_par_iter().map(one).collect()
}

/// How much the colours of a clip change over time, from 0 (not at all) to 1 (no colour in common): the mean
/// over all pairs of frames of the total variation distance between their histograms. It is the average
/// content distance of MoCoGAN (Tulyakov et al. 2018) with histograms as features, which depend on what is
/// shown and hardly on where. It is 0 for a clip in which nothing changes, even if the clip shows nothing:
/// see [`is_empty`].
pub fn content_drift(clip: &[u8], image: ImageShape) -> f64 {
    let histograms: Vec<Vec<f64>> =
        clip.chunks_exact(image.len().max(1)).map(|frame| histogram(frame, image)).collect();
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (place, one) in histograms.iter().enumerate() {
        for other in &histograms[..place] {
            sum += 0.5 * one.iter().zip(other).map(|(a, b)| (a - b).abs()).sum::<f64>();
            pairs += 1.0;
        }
    }
    if pairs > 0.0 { sum / pairs } else { 0.0 }
}

/// The shares of shades among the pixels of a frame. A pixel is distributed linearly to the nearest shades, so
/// that a small change of colour is a small change of the histogram.
fn histogram(frame: &[u8], image: ImageShape) -> Vec<f64> {
    let plane = image.height * image.width;
    let mut shares = vec![0.0; SHADES.pow(image.channels as u32)];
    // The shades near a pixel's colour, two per channel, each with the pixel's share.
    let (mut near, mut finer) = (Vec::new(), Vec::new());
    for place in 0..plane {
        near.clear();
        near.push((0usize, 1.0f64));
        for channel in 0..image.channels {
            let shade = f64::from(frame[channel * plane + place]) / 255.0 * (SHADES - 1) as f64;
            let low = (shade as usize).min(SHADES - 2);
            let high_share = shade - low as f64;
            finer.clear();
            for &(at, share) in &near {
                finer.push((at * SHADES + low, share * (1.0 - high_share)));
                finer.push((at * SHADES + low + 1, share * high_share));
            }
            std::mem::swap(&mut near, &mut finer);
        }
        for &(at, share) in &near {
            shares[at] += share / plane as f64;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waxwork_data::{DatasetInfo, InMemory};

    use super::*;

    const IMAGE: ImageShape = ImageShape::new(3, 4, 4);

    fn frame(colours: &[[u8; 3]]) -> Vec<u8> {
        (0..3).flat_map(|channel| (0..16).map(move |at| colours[at % colours.len()][channel])).collect()
    }

    /// The histogram distance of two frames that share half their pixels is one half, and a frame that is only
    /// moved has the same histogram.
    #[test]
    fn drift_is_the_share_of_pixels_with_other_colours() {
        let (red, blue, black) = ([255, 0, 0], [0, 0, 255], [0, 0, 0]);
        let still = [frame(&[red, black]), frame(&[black, red])].concat();
        assert!(content_drift(&still, IMAGE) < 1e-12);
        let half = [frame(&[red, black]), frame(&[blue, black])].concat();
        assert!((content_drift(&half, IMAGE) - 0.5).abs() < 1e-12);
        let all = [frame(&[red]), frame(&[blue])].concat();
        assert!((content_drift(&all, IMAGE) - 1.0).abs() < 1e-12);
        // A change by a tenth of the distance between two shades moves a tenth of the mass.
        let little = [frame(&[[0, 0, 0]]), frame(&[[6, 0, 0]])].concat();
        assert!((content_drift(&little, IMAGE) - 6.0 / 63.75).abs() < 1e-9);
    }

    /// Clips in which nothing can be seen have no drift that could look perfect, and their share is a metric.
    #[test]
    fn clips_that_show_nothing_do_not_look_perfect() {
        let (black, dim, red) = ([0; 3], [20, 25, 31], [255, 0, 0]);
        let still = |colours: &[[u8; 3]]| [frame(colours), frame(colours)].concat();
        for empty in [still(&[black]), still(&[red]), still(&[black, dim])] {
            assert!(is_empty(&empty, IMAGE) && content_drift(&empty, IMAGE) < 1e-12);
        }
        // One frame that shows something is enough.
        let flash = [frame(&[black]), frame(&[black, red])].concat();
        assert!(!is_empty(&still(&[black, red]), IMAGE) && !is_empty(&flash, IMAGE));

        let shown = still(&[black, red]);
        let split = |clips: &[&[u8]]| {
            let kind = Kind::Clip { frames: 2, image: IMAGE };
            Split::all(Arc::new(InMemory::new(kind, clips.concat(), None).unwrap())).unwrap()
        };
        let empty = still(&[black]);
        let real = split(&[shown.as_slice(); 4]);
        let source = Arc::new(InMemory::new(real.kind().clone(), shown.repeat(4), None).unwrap());
        let info = DatasetInfo::new("own", real.kind().clone(), &[], "id");
        let data = Dataset::new(info, source.clone(), source, Some(1), None).unwrap();
        let measured = |made: &[&[u8]]| {
            let metrics = metrics(&data, &split(made), false, &Protocol::new()).unwrap();
            let find = |name: &str| metrics.iter().find(|metric| metric.name == name).cloned();
            (find("content_empty").unwrap(), find("content_drift"))
        };
        let (share, drift) = measured(&[&empty, &empty]);
        assert_eq!((share.value, share.floor, share.higher_is_better), (1.0, Some(0.0), Some(false)));
        assert!(drift.is_none());
        let (share, drift) = measured(&[&empty, &shown, &flash, &shown]);
        let drift = drift.unwrap();
        assert_eq!((share.value, drift.floor, drift.higher_is_better), (0.25, Some(0.0), None));
        // Half of the flash changes its colour, and the other two clips do not change.
        assert!((drift.value - 0.5 / 3.0).abs() < 1e-12, "{}", drift.value);
    }
}
