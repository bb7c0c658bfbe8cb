//! `factors`: 64×64 white silhouettes on black with the factors of dSprites (Matthey et al. 2017): shape, scale,
//! orientation, and position in both directions. Every combination of their values occurs once.

use std::f32::consts::TAU;
use std::sync::{Arc, OnceLock};

use waxwork_core::rng::Stream;
use waxwork_core::{ImageShape, Kind};

use super::Part;
use super::outline::distance;
use crate::{Error, Factor, Result, Source};

/// Increase this whenever the images change.
pub(crate) const VERSION: u32 = 1;

/// Names of the factors of `factors`, and the number of values of each.
pub const FACTORS: [(&str, u32); 5] = [("shape", 3), ("scale", 6), ("orientation", 40), ("x", 32), ("y", 32)];

const IMAGE: ImageShape = ImageShape::new(1, 64, 64);
/// Number of combinations of the factors' values.
const COMBINATIONS: usize = 3 * VIEWS * 32 * 32;
/// Number of combinations of scale and orientation.
const VIEWS: usize = 6 * 40;
const TEST_IMAGES: usize = 10_000;
/// Rows and columns of the box that a shape fits into in every size and orientation.
const BOX: usize = 32;
/// Radius of a shape of scale 1, pixels.
const RADIUS: f32 = 13.5;

/// The images of one part for one seed, which determines the order of all combinations. The first 10,000 are
/// the test part.
#[derive(Clone, Debug)]
pub struct FactorImages {
    order: Arc<Vec<u32>>,
    /// The box of each shape, scale and orientation, drawn on first use.
    boxes: Arc<Vec<OnceLock<Box<[u8]>>>>,
    part: Part,
}

impl FactorImages {
    /// Returns both parts for `seed`: training, test.
    pub fn parts(seed: u64) -> [Self; 2] {
        let order = Arc::new(Stream::new(seed, "data/factors/order", 0).permutation(COMBINATIONS));
        let boxes = Arc::new((0..3 * VIEWS).map(|_| OnceLock::new()).collect::<Vec<_>>());
        [Part::Train, Part::Test].map(|part| Self {
            order: Arc::clone(&order),
            boxes: Arc::clone(&boxes),
            part,
        })
    }

    /// The value of each of [`FACTORS`] in image `index`, counted from 0; None if there is no such image.
    ///
    /// Scales go from 0.5 to 1 in steps of 0.1, orientations clockwise in steps of 9°, and positions in steps
    /// of one pixel. A square looks the same after a quarter turn, and an ellipse after a half turn.
    pub fn values(&self, index: usize) -> Option<[u32; 5]> {
        let (test, train) = self.order.split_at(TEST_IMAGES);
        let order = if self.part == Part::Test { test } else { train };
        let mut rest = *order.get(index)?;
        let mut values = FACTORS.map(|_| 0);
        for (value, (_, count)) in values.iter_mut().zip(FACTORS).rev() {
            (*value, rest) = (rest % count, rest / count);
        }
        Some(values)
    }
}

impl Source for FactorImages {
    fn kind(&self) -> Kind {
        IMAGE.into()
    }

    fn len(&self) -> usize {
        match self.part {
            Part::Train => COMBINATIONS - TEST_IMAGES,
            Part::Test => TEST_IMAGES,
        }
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let values = self.values(index).ok_or(Error::OutOfRange { index, len: self.len() })?;
        let [shape, scale, orientation, x, y] = values;
        let view = (scale * 40 + orientation) as usize;
        let drawn = self.boxes[shape as usize * VIEWS + view].get_or_init(|| draw(shape, scale, orientation));
        out.fill(0);
        let rows = out.chunks_exact_mut(IMAGE.width).skip(y as usize);
        for (row, from) in rows.zip(drawn.chunks_exact(BOX)) {
            row[x as usize..x as usize + BOX].copy_from_slice(from);
        }
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.values(index).map(|[shape, ..]| shape)
    }

    fn factors(&self, index: usize) -> Vec<Factor> {
        let Some(values) = self.values(index) else { return Vec::new() };
        let factor = |((name, count), value): ((&'static str, u32), u32)| match name {
            "shape" => Factor::kind(name, value, count),
            _ => Factor::level(name, value, count),
        };
        FACTORS.into_iter().zip(values).map(factor).collect()
    }
}

/// Draws a square, an ellipse or a heart into its box.
fn draw(shape: u32, scale: u32, orientation: u32) -> Box<[u8]> {
    let radius = RADIUS * (5 + scale) as f32 / 10.0;
    let (sin, cos) = libm::sincosf(TAU * orientation as f32 / 40.0);
    // Pixel centres lie at half-integers.
    let place = |at: usize| at as f32 + 0.5 - BOX as f32 / 2.0;
    let inside = |at: usize| {
        let (dx, dy) = (place(at % BOX), place(at / BOX));
        let (x, y) = ((dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / radius);
        let outside = match shape {
            0 => distance(1, x, y),
            1 => distance(0, x, y / 0.6),
            _ => distance(6, x, y),
        };
        outside <= 0.0
    };
    (0..BOX * BOX).map(|at| if inside(at) { 255 } else { 0 }).collect()
}

#[cfg(test)]
mod tests {
    use waxwork_core::hash::sha256;

    use super::*;

    fn image(source: &FactorImages, index: usize) -> Vec<u8> {
        let mut bytes = vec![7; 64 * 64];
        source.write_sample(index, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_same_images_everywhere() {
        let [train, test] = FactorImages::parts(0);
        let all: Vec<u8> =
            [train, test].iter().flat_map(|part| (0..100).flat_map(move |i| image(part, i))).collect();
        assert_eq!(sha256(&all), "19958b20700803f4e64ad480811a0d97dbb61ca91eca28f8494f60930e492a0e");
    }

    #[test]
    fn every_combination_occurs_once() {
        let parts = FactorImages::parts(3);
        let mut seen = vec![false; COMBINATIONS];
        for part in &parts {
            for index in 0..part.len() {
                let values = part.values(index).unwrap();
                let place =
                    values.iter().zip(FACTORS).fold(0u32, |sum, (value, (_, count))| sum * count + value);
                assert!(!std::mem::replace(&mut seen[place as usize], true), "{values:?}");
                assert_eq!(part.label(index), Some(values[0]));
            }
            assert_eq!((part.values(part.len()), part.factors(part.len())), (None, Vec::new()));
            assert!(part.write_sample(part.len(), &mut [0; 4096]).is_err());
        }
        assert_eq!(parts.map(|part| part.len()), [727_280, 10_000]);
        assert!(seen.iter().all(|seen| *seen));
        let other = FactorImages::parts(4);
        assert_ne!(other[0].values(0), FactorImages::parts(3)[0].values(0), "the seed decides the order");
    }

    /// The centre of the white pixels follows the position, and their number is proportional to the square of
    /// the scale.
    #[test]
    fn images_show_their_factors() {
        let [_, test] = FactorImages::parts(0);
        for index in 0..2000 {
            let (bytes, [shape, scale, _, x, y]) = (image(&test, index), test.values(index).unwrap());
            assert!(bytes.iter().all(|value| [0, 255].contains(value)));
            let set: Vec<usize> = (0..4096).filter(|at| bytes[*at] > 0).collect();
            let mean = |of: fn(&usize) -> usize| set.iter().map(of).sum::<usize>() as f32 / set.len() as f32;
            let centre = [mean(|at| at % 64), mean(|at| at / 64)].map(|mean| mean - 15.5);
            // A heart's centre of mass is not the middle of its box.
            let far = if shape == 2 { 2.7 } else { 0.1 };
            assert!((centre[0] - x as f32).abs() < far && (centre[1] - y as f32).abs() < far, "{index}");
            let radius = 1.35 * (5 + scale) as f32;
            let area = [2.4336, 0.6 * 0.8464 * std::f32::consts::PI, 2.43][shape as usize];
            assert!(
                (set.len() as f32 / (area * radius * radius) - 1.0).abs() < 0.2,
                "{index}: {}",
                set.len()
            );
            // Nothing is cut off at the edge of the box.
            let at_edge = |at: &&usize| {
                let (column, row) = (**at % 64 - x as usize, **at / 64 - y as usize);
                column.min(row) == 0 || column.max(row) == BOX - 1
            };
            assert_eq!(set.iter().filter(at_edge).count(), 0, "{index}");
        }
    }

    #[test]
    fn all_views_of_a_heart_differ() {
        let views: std::collections::BTreeSet<_> =
            (0..VIEWS as u32).map(|view| draw(2, view / 40, view % 40)).collect();
        assert_eq!(views.len(), VIEWS);
    }
}
