//! `moving-digits`: clips of a digit that moves in a straight line and bounces off the edges, as in Moving
//! MNIST (Srivastava et al. 2015). The digits are those of `digits`, at half their size.

use std::f32::consts::PI;

use serde::Serialize;
use waxwork_core::rng::Draws;
use waxwork_core::{ImageShape, Kind};

use super::digits::{DigitArtist, DigitFactors};
use super::{Artist, CLASSES, Part};
use crate::Factor;

const FRAMES: usize = 16;
const FRAME: ImageShape = ImageShape::new(1, 32, 32);
/// Rows and columns of a digit as `digits` draws it, and in a clip.
const DRAWN: usize = 28;
const SIDE: usize = DRAWN / 2;
/// Pixels per frame, as a share of the way that a digit can go, in each direction.
const STEP: f32 = 0.1;

/// The factors that determine a clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MovingDigitFactors {
    /// How the digit looks; its class is the clip's.
    pub digit: DigitFactors,
    /// Column before the first frame, as a share of the way that a digit can go, 0 to 1.
    pub x: f32,
    /// Row, likewise.
    pub y: f32,
    /// Direction before the first frame, clockwise from the right, 0 to 2π.
    pub direction: f32,
}

impl MovingDigitFactors {
    /// The left and top pixel of the digit in every frame. A step comes before the first frame, and a digit
    /// that would leave the frame stays at the edge and turns around.
    pub fn track(&self) -> [(usize, usize); FRAMES] {
        let (sin, cos) = libm::sincosf(self.direction);
        let (mut at, mut speed) = ([self.x, self.y], [cos, sin]);
        std::array::from_fn(|_| {
            for (at, speed) in at.iter_mut().zip(&mut speed) {
                *at += *speed * STEP;
                if !(0.0..1.0).contains(at) {
                    *at = at.clamp(0.0, 1.0);
                    *speed = -*speed;
                }
            }
            let pixel = |share: f32| (share * (FRAME.width - SIDE) as f32) as usize;
            (pixel(at[0]), pixel(at[1]))
        })
    }
}

/// Draws the clips.
#[derive(Clone, Copy, Debug)]
pub struct MovingDigitArtist;

impl Artist for MovingDigitArtist {
    const NAME: &'static str = "moving-digits";
    const VERSION: u32 = 1;
    type Factors = MovingDigitFactors;

    fn kind() -> Kind {
        Kind::Clip { frames: FRAMES, image: FRAME }
    }

    /// 12,000 and 2,000.
    fn count(part: Part) -> usize {
        super::clips(part)
    }

    fn factors(index: usize, draws: &mut Draws) -> MovingDigitFactors {
        let digit = DigitArtist::factors(index, draws);
        let (x, y, direction) = (draws.uniform(), draws.uniform(), draws.between(0.0, 2.0 * PI));
        MovingDigitFactors { digit, x, y, direction }
    }

    fn named(factors: &MovingDigitFactors) -> Vec<Factor> {
        let [(left, top), ..] = factors.track();
        vec![
            Factor::kind("class", factors.digit.class, CLASSES as u32),
            Factor::quantity("slant", factors.digit.slant),
            Factor::quantity("thickness", factors.digit.thickness),
            Factor::quantity("x", left as f32),
            Factor::quantity("y", top as f32),
            Factor::quantity("right", libm::cosf(factors.direction)),
            Factor::quantity("down", libm::sinf(factors.direction)),
        ]
    }

    fn paint(factors: &MovingDigitFactors, draws: &mut Draws, out: &mut [u8]) {
        let mut drawn = [0u8; DRAWN * DRAWN];
        DigitArtist::paint(&factors.digit, draws, &mut drawn);
        out.fill(0);
        for (frame, (left, top)) in out.chunks_exact_mut(FRAME.len()).zip(factors.track()) {
            for row in 0..SIDE {
                for column in 0..SIDE {
                    let at = |down: usize, right: usize| {
                        u16::from(drawn[(2 * row + down) * DRAWN + 2 * column + right])
                    };
                    let sum = at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1);
                    frame[(top + row) * FRAME.width + left + column] = ((sum + 2) / 4) as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::hash::sha256;

    use super::super::Generator;
    use super::*;
    use crate::Source;

    fn clip(index: usize) -> (MovingDigitFactors, Vec<u8>) {
        let source = Generator::<MovingDigitArtist>::new(0, Part::Test);
        let mut bytes = vec![0; MovingDigitArtist::kind().bytes()];
        source.write_sample(index, &mut bytes).unwrap();
        (source.factors(index).unwrap(), bytes)
    }

    #[test]
    fn the_same_clips_everywhere() {
        let all: Vec<u8> = (0..20).flat_map(|index| clip(index).1).collect();
        assert_eq!(sha256(&all), "5aa1eaf76b86327f857d9ca3a75bad7c773494c1b8744f51f4c271d8ce7429ca");
    }

    /// Every frame shows the same digit, moved.
    #[test]
    fn a_digit_keeps_its_look_and_bounces() {
        let mut turned = 0;
        for index in 0..30 {
            let (factors, bytes) = clip(index);
            let track = factors.track();
            let cut = |frame: usize| {
                let ((left, top), first) = (track[frame], frame * FRAME.len());
                let row = |row: usize| first + (top + row) * FRAME.width + left;
                (0..SIDE).flat_map(|down| bytes[row(down)..row(down) + SIDE].to_vec()).collect::<Vec<u8>>()
            };
            assert!(cut(0).iter().any(|value| *value > 100));
            assert!((1..FRAMES).all(|frame| cut(frame) == cut(0)), "{factors:?}");
            let total = |frame: &[u8]| frame.iter().map(|value| u64::from(*value)).sum::<u64>();
            assert_eq!(total(&bytes), FRAMES as u64 * total(&cut(0)), "nothing is outside of the digit");
            let steps: Vec<isize> =
                track.windows(2).map(|two| two[1].0 as isize - two[0].0 as isize).collect();
            turned += usize::from(steps.iter().any(|step| *step > 0) && steps.iter().any(|step| *step < 0));
        }
        assert!(turned > 5, "{turned} of 30 bounced off a side");
    }
}
