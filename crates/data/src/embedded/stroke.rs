//! Curves through control points, and ink along them.

use waxwork_core::ImageShape;

use super::to_byte;

/// Straight segments between two control points.
const PIECES: usize = 6;
/// Half the width, in pixels, over which ink fades at the edge of a stroke.
const SOFTNESS: f32 = 0.62;

/// A point of a stroke: its position, and half the stroke's width there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
}

/// Returns the uniform Catmull–Rom spline through `controls`, with `PIECES` points per span. A control point
/// that occurs twice in a row is a corner.
pub(super) fn flatten(controls: &[(f32, f32)]) -> Vec<Point> {
    let mut line = Vec::with_capacity(controls.len() * PIECES + 1);
    let point = |(x, y): (f32, f32)| Point { x, y, radius: 0.0 };
    for span in 0..controls.len().saturating_sub(1) {
        let (from, to) = (controls[span], controls[span + 1]);
        if from == to {
            continue;
        }
        // At a corner the neighbour equals the end point itself, so the tangent points along the span.
        let before = controls[span.saturating_sub(1)];
        let after = controls[(span + 2).min(controls.len() - 1)];
        if line.is_empty() {
            line.push(point(from));
        }
        for piece in 1..=PIECES {
            let t = piece as f32 / PIECES as f32;
            let blend = |a: f32, b: f32, c: f32, d: f32| {
                let linear = c - a;
                let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
                let cube = 3.0 * (b - c) + d - a;
                b + 0.5 * t * (linear + t * (square + t * cube))
            };
            line.push(point((
                blend(before.0, from.0, to.0, after.0),
                blend(before.1, from.1, to.1, after.1),
            )));
        }
    }
    line
}

/// Draws `line` (in pixels) on a grey image. Where strokes overlap, the darker value stays.
pub(super) fn ink(line: &[Point], shape: ImageShape, image: &mut [u8]) {
    for pair in line.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let reach = a.radius.max(b.radius) + SOFTNESS;
        let (left, right) = pixel_range(a.x.min(b.x) - reach, a.x.max(b.x) + reach, shape.width);
        let (top, bottom) = pixel_range(a.y.min(b.y) - reach, a.y.max(b.y) + reach, shape.height);
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let inverse_length = 1.0 / (dx * dx + dy * dy).max(1e-12);
        for row in top..bottom {
            for column in left..right {
                // Pixel centres lie at half-integers.
                let (px, py) = (column as f32 + 0.5 - a.x, row as f32 + 0.5 - a.y);
                let along = ((px * dx + py * dy) * inverse_length).clamp(0.0, 1.0);
                let (ex, ey) = (px - along * dx, py - along * dy);
                let distance = (ex * ex + ey * ey).sqrt();
                let radius = a.radius + along * (b.radius - a.radius);
                let cover = ((radius + SOFTNESS - distance) / (2.0 * SOFTNESS)).clamp(0.0, 1.0);
                let value = to_byte(cover * cover * (3.0 - 2.0 * cover));
                let pixel = &mut image[row * shape.width + column];
                *pixel = value.max(*pixel);
            }
        }
    }
}

/// Returns the pixels whose squares meet [low, high], clipped to `0..size`.
fn pixel_range(low: f32, high: f32, size: usize) -> (usize, usize) {
    let limit = size as f32;
    (low.floor().clamp(0.0, limit) as usize, high.ceil().clamp(0.0, limit) as usize)
}
