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

/// The metrics that are specific to clips: [`content_drift`] and, for `motions`, those of [`motions`].
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
    seen.insert("interval".into(), "95 %, of 1.96 standard errors".into());
    let mut with_distance = seen.clone();
    with_distance.insert(
        "distance".into(),
        format!("half the L1 distance of colour histograms of {SHADES}³ shades, mean over pairs of frames"),
    );
    let (made_drift, real_drift) = (Estimate::of(&of_made), Estimate::of(&of_real));
    let drift = Metric::new("content_drift", made_drift.mean, &with_distance)
        .within(made_drift.interval())
        .floor(real_drift.mean)
        .lower();
    let mut metrics = vec![drift];
    if motions::are_motions(data) {
        metrics.extend(motions::metrics(&made, conditional, &real, &seen)?);
    }
    Ok(metrics)
}

/// [`content_drift`] of every clip of a split.
fn drifts(split: &Split) -> Result<Vec<f64>> {
    each(split, content_drift)
}

/// Applies `measure` to the bytes of each clip and the shape of its frames.
fn each<T: Send>(split: &Split, measure: impl Fn(&[u8], ImageShape) -> T + Sync) -> Result<Vec<T>> {
    let Kind::Clip { image, .. } = *split.kind() else { return Ok(Vec::new()) };
    let one = |place: usize| Ok(measure(&split.bytes(&[place])?, image));
    (0..split.len()).into_par_iter().map(one).collect()
}

/// How much the colours of a clip change over time, from 0 (not at all) to 1 (no colour in common): the mean
/// over all pairs of frames of the total variation distance between their histograms. It is the average content
/// distance of MoCoGAN (Tulyakov et al. 2018) with histograms as features, which depend on what is shown and
/// hardly on where.
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
    for place in 0..plane {
        let mut near = vec![(0usize, 1.0f64)];
        for channel in 0..image.channels {
            let shade = f64::from(frame[channel * plane + place]) / 255.0 * (SHADES - 1) as f64;
            let low = (shade as usize).min(SHADES - 2);
            let high_share = shade - low as f64;
            near = near
                .into_iter()
                .flat_map(|(at, share)| {
                    [
                        (at * SHADES + low, share * (1.0 - high_share)),
                        (at * SHADES + low + 1, share * high_share),
                    ]
                })
                .collect();
        }
        for (at, share) in near {
            shares[at] += share / plane as f64;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
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
}
