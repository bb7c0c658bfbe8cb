//! `shapes`: 32×32 RGB images of one shape each, with varying colours, size, position, rotation and texture.

use serde::Serialize;
use waxwork_core::rng::Draws;
use waxwork_core::{ImageShape, Kind};

use super::outline::distance;
use super::{Artist, CLASSES, angle, to_byte};
use crate::Factor;

const SHAPE: ImageShape = ImageShape::new(3, 32, 32);
/// Minimum distance between the colours of shape and background, in RGB with channels in [0, 1].
const CONTRAST: f32 = 0.5;

/// How a shape is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Texture {
    /// One colour.
    Plain,
    /// Stripes of two colours.
    Stripes,
    /// A checkerboard of two colours.
    Checker,
    /// A gradient from one colour to the other.
    Gradient,
    /// Grains of colours between the first and half-way to the second.
    Noise,
}

/// The factors that determine how a shape looks. Colours are RGB with channels in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShapeFactors {
    /// The shape: circle, square, triangle, star, cross, ring, heart, crescent, hexagon or arrow.
    pub class: u32,
    /// Main colour of the shape.
    pub colour: [f32; 3],
    /// Second colour of its texture.
    pub accent: [f32; 3],
    /// Colour of the background.
    pub background: [f32; 3],
    /// Radius of the circumscribed circle, pixels, 8 to 13.
    pub radius: f32,
    /// Centre, pixels from the left. The shape never touches the border.
    pub x: f32,
    /// Centre, pixels from the top.
    pub y: f32,
    /// Rotation clockwise, radians, −0.6 to 0.6.
    pub rotation: f32,
    /// How the shape is filled.
    pub texture: Texture,
}

/// Draws the shapes.
#[derive(Clone, Copy, Debug)]
pub struct ShapeArtist;

impl Artist for ShapeArtist {
    const NAME: &'static str = "shapes";
    const VERSION: u32 = 1;
    type Factors = ShapeFactors;

    fn kind() -> Kind {
        SHAPE.into()
    }

    fn factors(index: usize, draws: &mut Draws) -> ShapeFactors {
        draw_factors(index, draws)
    }

    /// Leaves out the rotation and the accent: a circle has no rotation and a triangle has three, and a plain
    /// shape has no accent.
    fn named(factors: &ShapeFactors) -> Vec<Factor> {
        let ([red, green, blue], [back_red, back_green, back_blue]) = (factors.colour, factors.background);
        vec![
            Factor::kind("class", factors.class, CLASSES as u32),
            Factor::quantity("x", factors.x),
            Factor::quantity("y", factors.y),
            Factor::quantity("radius", factors.radius),
            Factor::quantity("red", red),
            Factor::quantity("green", green),
            Factor::quantity("blue", blue),
            Factor::quantity("background_red", back_red),
            Factor::quantity("background_green", back_green),
            Factor::quantity("background_blue", back_blue),
            Factor::kind("texture", factors.texture as u32, 5),
        ]
    }

    fn paint(factors: &ShapeFactors, draws: &mut Draws, out: &mut [u8]) {
        paint(factors, draws, out);
    }
}

fn draw_factors(index: usize, draws: &mut Draws) -> ShapeFactors {
    let background = background_colour(draws);
    let colour = shape_colour(background, draws);
    let accent = shape_colour(background, draws);
    let radius = draws.between(8.0, 13.0);
    let room = (16.0 - radius - 0.5).min(5.0);
    let texture = match draws.below(5) {
        0 => Texture::Plain,
        1 => Texture::Stripes,
        2 => Texture::Checker,
        3 => Texture::Gradient,
        _ => Texture::Noise,
    };
    ShapeFactors {
        class: (index % CLASSES) as u32,
        colour,
        accent,
        background,
        radius,
        x: 16.0 + draws.between(-room, room),
        y: 16.0 + draws.between(-room, room),
        rotation: draws.between(-0.6, 0.6),
        texture,
    }
}

/// Draws a dull colour, so that shapes stand out.
fn background_colour(draws: &mut Draws) -> [f32; 3] {
    let (hue, saturation, value) = (draws.uniform(), draws.between(0.0, 0.45), draws.between(0.05, 0.95));
    rgb(hue, saturation, value)
}

/// Draws a vivid colour far from `background`.
fn shape_colour(background: [f32; 3], draws: &mut Draws) -> [f32; 3] {
    // With every background, more than half of the colours are far enough, so the loop is short. White or
    // black ends it in any case.
    for _ in 0..16 {
        let colour = rgb(draws.uniform(), draws.between(0.55, 1.0), draws.between(0.55, 1.0));
        let squares: f32 = (0..3).map(|c| (colour[c] - background[c]) * (colour[c] - background[c])).sum();
        if squares > CONTRAST * CONTRAST {
            return colour;
        }
    }
    if background[1] > 0.5 { [0.0; 3] } else { [1.0; 3] }
}

/// Converts hue, saturation and value, all in [0, 1], to RGB.
fn rgb(hue: f32, saturation: f32, value: f32) -> [f32; 3] {
    let channel = |offset: f32| {
        let sector = (offset + hue * 6.0) % 6.0;
        value - value * saturation * sector.min(4.0 - sector).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

fn paint(factors: &ShapeFactors, draws: &mut Draws, out: &mut [u8]) {
    let plane = SHAPE.height * SHAPE.width;
    for (channel, value) in factors.background.iter().enumerate() {
        out[channel * plane..(channel + 1) * plane].fill(to_byte(*value));
    }
    let (sin, cos) = libm::sincosf(factors.rotation);
    let (grain_sin, grain_cos) = libm::sincosf(angle(draws));
    let period = draws.between(3.0, 5.5);
    let reach = factors.radius * 1.05 + 1.0;
    for row in 0..SHAPE.height {
        for column in 0..SHAPE.width {
            // Pixel centres lie at half-integers.
            let (dx, dy) = (column as f32 + 0.5 - factors.x, row as f32 + 0.5 - factors.y);
            if dx * dx + dy * dy > reach * reach {
                continue;
            }
            let (x, y) = ((dx * cos + dy * sin) / factors.radius, (dy * cos - dx * sin) / factors.radius);
            let cover = (0.5 - factors.radius * distance(factors.class, x, y)).clamp(0.0, 1.0);
            if cover == 0.0 {
                continue;
            }
            let (u, v) = (dx * grain_cos + dy * grain_sin, dy * grain_cos - dx * grain_sin);
            let mix = match factors.texture {
                Texture::Plain => 0.0,
                Texture::Stripes => band(u, period),
                Texture::Checker => {
                    let (a, b) = (band(u, period), band(v, period));
                    a + b - 2.0 * a * b
                }
                Texture::Gradient => (0.5 + 0.5 * u / factors.radius).clamp(0.0, 1.0),
                // Use half of the range. With full contrast from pixel to pixel, this noise would dominate a
                // likelihood.
                Texture::Noise => 0.5 * draws.uniform(),
            };
            for channel in 0..3 {
                let fill =
                    factors.colour[channel] + mix * (factors.accent[channel] - factors.colour[channel]);
                let background = factors.background[channel];
                out[channel * plane + row * SHAPE.width + column] =
                    to_byte(background + cover * (fill - background));
            }
        }
    }
}

/// Returns 0 and 1 in turn, each `period` pixels wide, with edges one pixel soft.
fn band(position: f32, period: f32) -> f32 {
    let phase = position / (2.0 * period);
    // A triangle wave: its height above the middle, in pixels.
    let triangle = (phase - phase.floor() - 0.5).abs() - 0.25;
    (0.5 + triangle * 2.0 * period).clamp(0.0, 1.0)
}
