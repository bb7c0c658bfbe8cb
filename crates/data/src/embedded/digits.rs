//! `digits`: 28×28 grey digits that look handwritten, drawn as pen strokes.

use std::f32::consts::TAU;

use serde::Serialize;
use waxwork_core::rng::Draws;
use waxwork_core::{ImageShape, Kind};

use super::glyphs::GLYPHS;
use super::stroke::{Point, flatten, ink};
use super::{Artist, CLASSES, angle, bounded_normal};
use crate::Factor;

const SHAPE: ImageShape = ImageShape::new(1, 28, 28);
/// The longer side of a digit of scale 1, in pixels; MNIST's digits are fitted to the same box.
const BOX: f32 = 20.0;

/// The factors that determine how a digit looks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DigitFactors {
    /// The digit, 0 to 9.
    pub class: u32,
    /// Writing style, from 0; each digit has three or four.
    pub style: u32,
    /// Shear: the offset of the top to the right of the bottom, in heights, −0.45 to 0.6.
    pub slant: f32,
    /// Rotation clockwise, radians, −0.25 to 0.25.
    pub rotation: f32,
    /// Width relative to the style's own, 0.7 to 1.4.
    pub width: f32,
    /// Size relative to a box of 20 pixels, 0.85 to 1.
    pub scale: f32,
    /// Mean width of the stroke, pixels, 1.5 to 4.2.
    pub thickness: f32,
}

/// Draws the digits.
#[derive(Clone, Copy, Debug)]
pub struct DigitArtist;

impl Artist for DigitArtist {
    const NAME: &'static str = "digits";
    const VERSION: u32 = 1;
    type Factors = DigitFactors;

    fn kind() -> Kind {
        SHAPE.into()
    }

    fn factors(index: usize, draws: &mut Draws) -> DigitFactors {
        draw_factors(index, draws)
    }

    fn named(factors: &DigitFactors) -> Vec<Factor> {
        vec![
            Factor::kind("class", factors.class, CLASSES as u32),
            Factor::quantity("slant", factors.slant),
            Factor::quantity("rotation", factors.rotation),
            Factor::quantity("width", factors.width),
            Factor::quantity("scale", factors.scale),
            Factor::quantity("thickness", factors.thickness),
        ]
    }

    fn paint(factors: &DigitFactors, draws: &mut Draws, out: &mut [u8]) {
        let mut lines = write(factors, draws);
        place(&mut lines, factors);
        press(&mut lines, factors, draws);
        out.fill(0);
        lines.iter().for_each(|line| ink(line, SHAPE, out));
    }
}

fn draw_factors(index: usize, draws: &mut Draws) -> DigitFactors {
    let class = index % CLASSES;
    DigitFactors {
        class: class as u32,
        style: draws.below(GLYPHS[class].len() as u32),
        slant: bounded_normal(draws, 0.1, 0.19, 2.5).clamp(-0.45, 0.6),
        rotation: bounded_normal(draws, 0.0, 0.09, 2.5).clamp(-0.25, 0.25),
        width: libm::expf(bounded_normal(draws, 0.0, 0.14, 2.2)).clamp(0.7, 1.4),
        scale: draws.between(0.85, 1.0),
        thickness: (2.7 * libm::expf(bounded_normal(draws, 0.0, 0.26, 2.0))).clamp(1.5, 4.2),
    }
}

/// Returns the strokes of a digit in glyph units. Jitters the control points, as an unsteady hand would, then
/// distorts the whole digit.
fn write(factors: &DigitFactors, draws: &mut Draws) -> Vec<Vec<Point>> {
    let strokes = GLYPHS[factors.class as usize][factors.style as usize];
    let mut lines: Vec<Vec<Point>> = strokes.iter().map(|stroke| flatten(&jitter(stroke, draws))).collect();

    let bend =
        |draws: &mut Draws| (bounded_normal(draws, 0.0, 0.045, 2.0), draws.between(0.4, 1.1), angle(draws));
    let (across, across_per_height, across_phase) = bend(draws);
    let (down, down_per_width, down_phase) = bend(draws);
    let (sin, cos) = libm::sincosf(factors.rotation);
    for point in lines.iter_mut().flatten() {
        let x = point.x + across * libm::sinf(TAU * across_per_height * point.y + across_phase);
        let y = point.y + down * libm::sinf(TAU * down_per_width * point.x + down_phase);
        let x = x * factors.width + factors.slant * (0.5 - y);
        (point.x, point.y) = (x * cos - y * sin, x * sin + y * cos);
    }
    lines
}

/// Moves each control point a little; the two halves of a corner stay together.
fn jitter(stroke: &[(f32, f32)], draws: &mut Draws) -> Vec<(f32, f32)> {
    let mut moved: Vec<(f32, f32)> = Vec::with_capacity(stroke.len());
    for (i, &(x, y)) in stroke.iter().enumerate() {
        let corner = i > 0 && stroke[i - 1] == (x, y);
        let point = match moved.last() {
            Some(&last) if corner => last,
            _ => {
                let dx = bounded_normal(draws, 0.0, 0.03, 2.3);
                (x + dx, y + bounded_normal(draws, 0.0, 0.03, 2.3))
            }
        };
        moved.push(point);
    }
    moved
}

/// Fits a digit to its box and moves its centre of mass to the middle of the image, as MNIST does.
fn place(lines: &mut [Vec<Point>], factors: &DigitFactors) {
    let (mut left, mut right, mut top, mut bottom) = (f32::MAX, f32::MIN, f32::MAX, f32::MIN);
    for point in lines.iter().flatten() {
        (left, right) = (left.min(point.x), right.max(point.x));
        (top, bottom) = (top.min(point.y), bottom.max(point.y));
    }
    let pixels = (BOX * factors.scale - factors.thickness) / (right - left).max(bottom - top).max(0.1);

    let (mut mass, mut mass_x, mut mass_y) = (0.0, 0.0, 0.0);
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        let (dx, dy) = (pair[1].x - pair[0].x, pair[1].y - pair[0].y);
        let length = (dx * dx + dy * dy).sqrt();
        mass += length;
        mass_x += length * 0.5 * (pair[0].x + pair[1].x);
        mass_y += length * 0.5 * (pair[0].y + pair[1].y);
    }
    let (centre_x, centre_y) = (mass_x / mass, mass_y / mass);
    // Keep a lopsided digit inside the image.
    let margin = 0.5 * factors.thickness + 1.0;
    let shift = |centre: f32, low: f32, high: f32, size: usize| {
        let (size, middle) = (size as f32, size as f32 / 2.0);
        let least = margin - pixels * (low - centre);
        let most = size - margin - pixels * (high - centre);
        middle.min(most).max(least)
    };
    let (to_x, to_y) =
        (shift(centre_x, left, right, SHAPE.width), shift(centre_y, top, bottom, SHAPE.height));
    for point in lines.iter_mut().flatten() {
        point.x = to_x + pixels * (point.x - centre_x);
        point.y = to_y + pixels * (point.y - centre_y);
    }
}

/// Varies the pressure of the pen, and so the stroke width, along each stroke.
fn press(lines: &mut [Vec<Point>], factors: &DigitFactors, draws: &mut Draws) {
    let depth = draws.between(0.0, 0.28);
    let (per_point, phase) = (draws.between(0.05, 0.16), angle(draws));
    for (i, point) in lines.iter_mut().flatten().enumerate() {
        let pressure = 1.0 + depth * libm::sinf(per_point * i as f32 + phase);
        point.radius = 0.5 * factors.thickness * pressure;
    }
}
