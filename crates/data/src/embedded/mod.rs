//! Data sets that are drawn instead of read: [`Digits`] and [`Shapes`], the same bits on every platform.
//!
//! Image `i` is a pure function of (seed, i), so nothing waits for the whole. All arithmetic is f32 in a fixed order with
//! `libm` for what the processor does not round correctly, and the labels repeat 0 to 9, so every class has its tenth.

mod digits;
mod glyphs;
mod outline;
mod shapes;
mod stroke;

use std::f32::consts::PI;

use waxwork_core::rng::Draws;

pub use digits::{DigitFactors, Digits};
pub use shapes::{ShapeFactors, Shapes, Texture};

/// Number of training images of a generator.
pub const TRAIN_IMAGES: usize = 60_000;
/// Number of test images of a generator.
pub const TEST_IMAGES: usize = 10_000;
/// Number of classes of a generator.
const CLASSES: usize = 10;

/// Which images of a generator: the two parts are drawn from different streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 60,000 images.
    Train,
    /// 10,000 images.
    Test,
}

impl Part {
    /// Number of images.
    pub fn len(self) -> usize {
        match self {
            Self::Train => TRAIN_IMAGES,
            Self::Test => TEST_IMAGES,
        }
    }

    /// False: both parts have images.
    pub fn is_empty(self) -> bool {
        false
    }

    fn stream(self, generator: &str) -> String {
        match self {
            Self::Train => format!("data/{generator}/train"),
            Self::Test => format!("data/{generator}/test"),
        }
    }
}

/// A normal variate cut off at `limit` standard deviations.
fn bounded_normal(draws: &mut Draws, mean: f32, deviation: f32, limit: f32) -> f32 {
    mean + deviation * draws.normal().clamp(-limit, limit)
}

/// Intensity in [0, 1] as a byte.
fn to_byte(intensity: f32) -> u8 {
    (intensity.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// A random phase.
fn angle(draws: &mut Draws) -> f32 {
    draws.between(-PI, PI)
}
