//! Data sets that are generated instead of read: [`Digits`], [`Shapes`], [`Drums`], [`Phrases`],
//! [`OracleSequences`], [`Motions`], [`MovingDigits`], [`PlanePoints`] and [`FactorImages`]. They have the same bits on every
//! platform.
//!
//! Sample `i` is a pure function of (seed, i), so samples are made only when they are used. All arithmetic is
//! f32 in a fixed order, with `libm` for operations that processors do not round correctly. The labels of
//! every [`Artist`] repeat 0 to 9, so every class has a tenth of the samples.

mod digits;
mod drums;
pub(crate) mod factors;
mod glyphs;
mod grammar;
mod motions;
mod moving_digits;
mod oracle;
mod outline;
mod phrases;
pub(crate) mod points;
mod shapes;
mod stroke;

use std::f32::consts::PI;
use std::marker::PhantomData;

use waxwork_core::Kind;
use waxwork_core::rng::{Draws, Stream};

use crate::{Error, Factor, Result, Source};

pub use digits::{DigitArtist, DigitFactors};
pub use drums::{DRUM_LENGTH, DRUM_RATE, DrumArtist, DrumFactors};
pub use factors::{FACTORS, FactorImages};
pub use grammar::{Grammar, Parsed};
pub use motions::{
    MOTION_FRAMES, MOTION_GROWTHS, MOTION_ORBITS, MOTION_SIDE, MOTION_SIZES, MOTION_SPEEDS, MOTION_TURNS,
    Motion, MotionArtist, MotionFactors,
};
pub use moving_digits::{MovingDigitArtist, MovingDigitFactors};
pub use oracle::{ORACLE, ORACLE_LENGTH, ORACLE_SEQUENCES, ORACLE_TOKENS, Oracle, OracleSequences};
pub use phrases::{PHRASE_LENGTH, PhraseArtist};
pub use points::{PlaneMixture, PlanePoints};
pub use shapes::{ShapeArtist, ShapeFactors, Texture};

/// Number of training images of a generator.
pub const TRAIN_IMAGES: usize = 60_000;
/// Number of test images of a generator.
pub const TEST_IMAGES: usize = 10_000;
/// Number of classes of a generator.
const CLASSES: usize = 10;

/// A part of a generator's samples. The two parts are drawn from different streams.
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

/// Draws the samples of one generator from factors of variation.
pub trait Artist: Send + Sync {
    /// The generator's name.
    const NAME: &'static str;
    /// Increased by any change to what is drawn.
    const VERSION: u32;
    /// The factors that determine a sample.
    type Factors;

    /// The kind of every sample.
    fn kind() -> Kind;

    /// Number of samples of a part.
    fn count(part: Part) -> usize {
        part.len()
    }

    /// Draws the factors of sample `index`.
    fn factors(index: usize, draws: &mut Draws) -> Self::Factors;

    /// The factors that a model could find, by name. A factor is left out of a sample that is the same for
    /// several of its values.
    fn named(factors: &Self::Factors) -> Vec<Factor>;

    /// Makes a sample, as [`Source::write_sample`] does, with the draws that follow those of its factors.
    fn paint(factors: &Self::Factors, draws: &mut Draws, out: &mut [u8]);
}

/// The generator `digits`, [`Part::len`] images of shape 1×28×28.
pub type Digits = Generator<DigitArtist>;
/// The generator `shapes`, [`Part::len`] images of shape 3×32×32.
pub type Shapes = Generator<ShapeArtist>;
/// The generator `drums`, sounds of 4,096 samples at 8 kHz.
pub type Drums = Generator<DrumArtist>;
/// The generator `phrases`, sentences of a grammar.
pub type Phrases = Generator<PhraseArtist>;
/// The generator `motions`, clips of 16 frames of shape 3×32×32.
pub type Motions = Generator<MotionArtist>;
/// The generator `moving-digits`, clips of 16 frames of shape 1×32×32.
pub type MovingDigits = Generator<MovingDigitArtist>;

/// The samples of one part for one seed.
#[derive(Clone, Debug)]
pub struct Generator<A> {
    stream: Stream,
    part: Part,
    artist: PhantomData<A>,
}

impl<A: Artist> Generator<A> {
    /// Increased by any change to what is drawn.
    pub(crate) const VERSION: u32 = A::VERSION;

    /// The samples of `part` for `seed`.
    pub fn new(seed: u64, part: Part) -> Self {
        Self { stream: Stream::new(seed, &part.stream(A::NAME), 0), part, artist: PhantomData }
    }

    /// The factors of sample `index`; None if there is no such sample.
    pub fn factors(&self, index: usize) -> Option<A::Factors> {
        (index < A::count(self.part)).then(|| A::factors(index, &mut self.stream.at(index as u64)))
    }
}

impl<A: Artist> Source for Generator<A> {
    fn kind(&self) -> Kind {
        A::kind()
    }

    fn len(&self) -> usize {
        A::count(self.part)
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        if index >= self.len() {
            return Err(Error::OutOfRange { index, len: self.len() });
        }
        let mut draws = self.stream.at(index as u64);
        let factors = A::factors(index, &mut draws);
        A::paint(&factors, &mut draws, out);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index < self.len()).then_some((index % CLASSES) as u32)
    }

    fn factors(&self, index: usize) -> Vec<Factor> {
        self.factors(index).map_or_else(Vec::new, |factors| A::named(&factors))
    }
}

/// Number of clips of a part: each takes as much memory as many images.
fn clips(part: Part) -> usize {
    match part {
        Part::Train => 12_000,
        Part::Test => 2_000,
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
