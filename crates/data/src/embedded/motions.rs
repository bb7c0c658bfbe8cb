//! `motions`: clips of a coloured shape that moves, turns in a circle, grows or shrinks. The class is the
//! motion.
//!
//! A clip is a point that moves through a space without edges: columns and rows of the frame wrap around, and
//! so does the size. In every frame of every class, position and size have the same uniform distribution,
//! independent of shape and colour. So a single frame says nothing about the class.

use std::f32::consts::FRAC_1_SQRT_2;

use serde::Serialize;
use waxwork_core::rng::Draws;
use waxwork_core::{ImageShape, Kind};

use super::{Artist, CLASSES, Part, angle, to_byte};
use crate::Factor;

/// Frames per clip.
pub const MOTION_FRAMES: usize = 16;
/// Rows and columns of a frame, which wrap around.
pub const MOTION_SIDE: usize = 32;
/// Speeds along a straight line, pixels per frame.
pub const MOTION_SPEEDS: [f32; 2] = [0.6, 1.4];
/// Radii of circles, pixels.
pub const MOTION_ORBITS: [f32; 2] = [4.0, 7.0];
/// Angular speeds on a circle, radians per frame.
pub const MOTION_TURNS: [f32; 2] = [0.25, 0.45];
/// Sizes: half the extent of a shape, pixels. A shape that reaches one end continues at the other.
pub const MOTION_SIZES: [f32; 2] = [3.0, 7.0];
/// Rates of growth: change of the logarithm of the size per frame, as a share of the whole range.
pub const MOTION_GROWTHS: [f32; 2] = [0.03, 0.055];

const FRAME: ImageShape = ImageShape::new(3, MOTION_SIDE, MOTION_SIDE);
const SIDE: f32 = MOTION_SIDE as f32;
/// Number of shapes: disc, square, diamond, cross.
const SHAPES: u32 = 4;
/// Directions of the classes that move along a line: right, left, down, up, and two diagonals.
const DIRECTIONS: [(f32, f32); 6] = [
    (1.0, 0.0),
    (-1.0, 0.0),
    (0.0, 1.0),
    (0.0, -1.0),
    (FRAC_1_SQRT_2, FRAC_1_SQRT_2),
    (FRAC_1_SQRT_2, -FRAC_1_SQRT_2),
];

/// What a class does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Motion {
    /// Moves along a line in this direction, a unit vector (right, down).
    Line(f32, f32),
    /// Moves along a circle: 1 for clockwise, −1 for anticlockwise.
    Circle(f32),
    /// Stays where it is: 1 if it grows, −1 if it shrinks.
    Growth(f32),
}

impl Motion {
    /// The motion of a class: right, left, down, up, down-right, up-right, clockwise, anticlockwise, grow,
    /// shrink.
    pub fn of_class(class: u32) -> Self {
        match (class as usize, DIRECTIONS.get(class as usize)) {
            (_, Some(&(x, y))) => Self::Line(x, y),
            (6, None) => Self::Circle(1.0),
            (7, None) => Self::Circle(-1.0),
            (8, None) => Self::Growth(1.0),
            _ => Self::Growth(-1.0),
        }
    }
}

/// The factors that determine a clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MotionFactors {
    /// The motion, as [`Motion::of_class`] counts.
    pub class: u32,
    /// Disc, square, diamond or cross.
    pub shape: u32,
    /// Red, green and blue, 0 to 1; the largest is 1.
    pub colour: [f32; 3],
    /// Column of the centre in the first frame; for a circle, of the circle's centre.
    pub x: f32,
    /// Row of the centre in the first frame; for a circle, of the circle's centre.
    pub y: f32,
    /// Size in the first frame, as a share of the logarithmic range, 0 to 1.
    pub size: f32,
    /// How fast it moves, 0 to 1: the place in the range of speeds, angular speeds or rates of growth.
    pub speed: f32,
    /// Radius of the circle, pixels.
    pub orbit: f32,
    /// Angle on the circle in the first frame, −π to π.
    pub phase: f32,
}

impl MotionFactors {
    /// Centre (column, row, both in [0, 32)) and size (pixels) in frame `frame`.
    pub fn at(&self, frame: usize) -> (f32, f32, f32) {
        let time = frame as f32;
        let within = |[low, high]: [f32; 2]| low + (high - low) * self.speed;
        let (mut x, mut y, mut size) = (self.x, self.y, self.size);
        match Motion::of_class(self.class) {
            Motion::Line(right, down) => {
                let way = within(MOTION_SPEEDS) * time;
                (x, y) = (x + right * way, y + down * way);
            }
            Motion::Circle(sense) => {
                let (sin, cos) = libm::sincosf(self.phase + sense * within(MOTION_TURNS) * time);
                (x, y) = (x + self.orbit * cos, y + self.orbit * sin);
            }
            Motion::Growth(sense) => size += sense * within(MOTION_GROWTHS) * time,
        }
        let [least, most] = MOTION_SIZES;
        let size = least * libm::expf(size.rem_euclid(1.0) * libm::logf(most / least));
        (x.rem_euclid(SIDE), y.rem_euclid(SIDE), size)
    }
}

/// Draws the clips.
#[derive(Clone, Copy, Debug)]
pub struct MotionArtist;

impl Artist for MotionArtist {
    const NAME: &'static str = "motions";
    const VERSION: u32 = 1;
    type Factors = MotionFactors;

    fn kind() -> Kind {
        Kind::Clip { frames: MOTION_FRAMES, image: FRAME }
    }

    /// 12,000 and 2,000.
    fn count(part: Part) -> usize {
        super::clips(part)
    }

    fn factors(index: usize, draws: &mut Draws) -> MotionFactors {
        MotionFactors {
            class: (index % CLASSES) as u32,
            shape: draws.below(SHAPES),
            colour: colour(draws.uniform(), draws.between(0.4, 1.0)),
            x: draws.between(0.0, SIDE),
            y: draws.between(0.0, SIDE),
            size: draws.uniform(),
            speed: draws.uniform(),
            orbit: draws.between(MOTION_ORBITS[0], MOTION_ORBITS[1]),
            phase: angle(draws),
        }
    }

    fn named(factors: &MotionFactors) -> Vec<Factor> {
        let [red, green, blue] = factors.colour;
        let (x, y, size) = factors.at(0);
        vec![
            Factor::kind("class", factors.class, CLASSES as u32),
            Factor::kind("shape", factors.shape, SHAPES),
            Factor::quantity("red", red),
            Factor::quantity("green", green),
            Factor::quantity("blue", blue),
            Factor::quantity("x", x),
            Factor::quantity("y", y),
            Factor::quantity("size", size),
            Factor::quantity("speed", factors.speed),
        ]
    }

    fn paint(factors: &MotionFactors, _: &mut Draws, out: &mut [u8]) {
        out.fill(0);
        for (number, frame) in out.chunks_exact_mut(FRAME.len()).enumerate() {
            let (x, y, size) = factors.at(number);
            // No shape extends further than 1.25 times its size from its centre.
            let reach = (1.25 * size + 1.0) as isize + 1;
            let (column, row) = (x as isize, y as isize);
            for down in row - reach..=row + reach {
                for right in column - reach..=column + reach {
                    let inside = coverage(factors.shape, right as f32 - x, down as f32 - y, size);
                    let side = MOTION_SIDE as isize;
                    let place = (down.rem_euclid(side) * side + right.rem_euclid(side)) as usize;
                    if inside <= 0.0 {
                        continue;
                    }
                    for (plane, colour) in
                        frame.chunks_exact_mut(MOTION_SIDE * MOTION_SIDE).zip(factors.colour)
                    {
                        plane[place] = to_byte(inside * colour);
                    }
                }
            }
        }
    }
}

/// The share of a pixel that a shape of this size covers, if its centre is this far from the pixel's.
fn coverage(shape: u32, right: f32, down: f32, size: f32) -> f32 {
    let (right, down) = (right.abs(), down.abs());
    let outside = match shape {
        0 => (right * right + down * down).sqrt() - size,
        1 => right.max(down) - 0.85 * size,
        2 => (right + down - 1.25 * size) * FRAC_1_SQRT_2,
        _ => {
            let arm = 0.4 * size;
            (right - size).max(down - arm).min((right - arm).max(down - size))
        }
    };
    (0.5 - outside).clamp(0.0, 1.0)
}

/// The colour of a hue in turns and a saturation, at full value.
fn colour(hue: f32, saturation: f32) -> [f32; 3] {
    let channel = |offset: f32| {
        let k = (offset + 6.0 * hue).rem_euclid(6.0);
        1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use std::f32::consts::{PI, TAU};

    use waxwork_core::hash::sha256;

    use super::super::Generator;
    use super::*;
    use crate::Source;

    /// The angle from −π to π that differs from this one by whole turns.
    fn principal(angle: f32) -> f32 {
        (angle + PI).rem_euclid(TAU) - PI
    }

    fn clip(index: usize) -> (MotionFactors, Vec<u8>) {
        let source = Generator::<MotionArtist>::new(0, Part::Test);
        let mut bytes = vec![0; MotionArtist::kind().bytes()];
        source.write_sample(index, &mut bytes).unwrap();
        (source.factors(index).unwrap(), bytes)
    }

    /// The centre of mass on the torus, from the first Fourier coefficient of the brightest channel.
    fn centre(frame: &[u8]) -> (f32, f32) {
        let (mut right, mut down) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
        let plane = MOTION_SIDE * MOTION_SIDE;
        for place in 0..plane {
            let mass = f64::from((0..3).map(|channel| frame[channel * plane + place]).max().unwrap_or(0));
            let turn = |at: usize| std::f64::consts::TAU * at as f64 / MOTION_SIDE as f64;
            let (x, y) = (turn(place % MOTION_SIDE), turn(place / MOTION_SIDE));
            right = (right.0 + mass * x.cos(), right.1 + mass * x.sin());
            down = (down.0 + mass * y.cos(), down.1 + mass * y.sin());
        }
        let at = |(cos, sin): (f64, f64)| {
            (sin.atan2(cos) / std::f64::consts::TAU * MOTION_SIDE as f64).rem_euclid(MOTION_SIDE as f64)
                as f32
        };
        (at(right), at(down))
    }

    #[test]
    fn the_same_clips_everywhere() {
        let all: Vec<u8> = (0..20).flat_map(|index| clip(index).1).collect();
        assert_eq!(sha256(&all), "3ae8c03a2c954a1dc17a0227593424b4acf5d0dc0d8804f07f87e05f4942cf66");
    }

    #[test]
    fn a_shape_is_where_its_track_says() {
        for index in 0..40 {
            let (factors, bytes) = clip(index);
            for (number, frame) in bytes.chunks_exact(FRAME.len()).enumerate() {
                let ((x, y), (at_x, at_y, _)) = (centre(frame), factors.at(number));
                let apart = |a: f32, b: f32| principal((a - b) / SIDE * TAU).abs() / TAU * SIDE;
                assert!(apart(x, at_x) < 0.1 && apart(y, at_y) < 0.1, "{factors:?} frame {number}: {x} {y}");
            }
        }
    }

    #[test]
    fn a_motion_is_what_its_class_says() {
        for index in 0..60 {
            let (factors, _) = clip(index);
            let (first, second) = (factors.at(3), factors.at(4));
            let apart = |a: f32, b: f32| principal((b - a) / SIDE * TAU) / TAU * SIDE;
            let (x, y) = (apart(first.0, second.0), apart(first.1, second.1));
            match Motion::of_class(factors.class) {
                Motion::Line(right, down) => {
                    let along = x * right + y * down;
                    assert!((0.59..1.41).contains(&along), "{factors:?}");
                    assert!((x * down - y * right).abs() < 1e-4 && first.2 == second.2);
                }
                Motion::Circle(_) => assert!(x * x + y * y > 0.9 && first.2 == second.2),
                Motion::Growth(sense) => {
                    assert!(x == 0.0 && y == 0.0);
                    let ratio = second.2 / first.2;
                    // At the end of the range the size starts again at the other end.
                    assert!((ratio > 1.0) == (sense > 0.0) || !(0.5..2.0).contains(&ratio), "{factors:?}");
                }
            }
        }
    }

    /// In every class and at every time, the distribution of what one frame shows is the same: means of
    /// position on the circle vanish, and sizes are uniform on their scale.
    #[test]
    fn a_still_does_not_tell_the_motion() {
        let source = Generator::<MotionArtist>::new(0, Part::Train);
        for class in 0..CLASSES {
            for frame in [0, 7, 15] {
                let (mut sums, mut sizes, mut count) = ([0.0f64; 4], 0.0, 0.0);
                for index in (class..6000).step_by(CLASSES) {
                    let (x, y, size) = source.factors(index).unwrap().at(frame);
                    for (sum, at) in sums.chunks_exact_mut(2).zip([x, y]) {
                        let turn = f64::from(at / SIDE * TAU);
                        sum[0] += turn.cos();
                        sum[1] += turn.sin();
                    }
                    sizes += f64::from(libm::logf(size / MOTION_SIZES[0]));
                    count += 1.0;
                }
                // Four standard errors of the mean of 600 draws.
                assert!(sums.iter().all(|sum| (sum / count).abs() < 4.0 * (0.5f64 / count).sqrt()));
                let range = f64::from(libm::logf(MOTION_SIZES[1] / MOTION_SIZES[0]));
                let mean = sizes / count / range;
                assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / count).sqrt(), "{class} {frame}: {mean}");
            }
        }
    }
}
