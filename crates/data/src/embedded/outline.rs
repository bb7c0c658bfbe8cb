//! Signed distances to the outlines of the ten shapes: negative inside, in units of the shape's radius, y
//! downwards.

/// Corners of a polygon, in order.
type Polygon = &'static [(f32, f32)];

const SQUARE: Polygon = &[(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)];
const TRIANGLE: Polygon = &[(0.0, -0.95), (0.95, 0.7), (-0.95, 0.7)];
// Five points at radius 1, and five between them at radius 0.42.
const STAR: Polygon = &[
    (0.0, -1.0),
    (0.246_87, -0.339_79),
    (0.951_06, -0.309_02),
    (0.399_44, 0.129_79),
    (0.587_79, 0.809_02),
    (0.0, 0.42),
    (-0.587_79, 0.809_02),
    (-0.399_44, 0.129_79),
    (-0.951_06, -0.309_02),
    (-0.246_87, -0.339_79),
];
const CROSS: Polygon = &[
    (-0.3, -0.95),
    (0.3, -0.95),
    (0.3, -0.3),
    (0.95, -0.3),
    (0.95, 0.3),
    (0.3, 0.3),
    (0.3, 0.95),
    (-0.3, 0.95),
    (-0.3, 0.3),
    (-0.95, 0.3),
    (-0.95, -0.3),
    (-0.3, -0.3),
];
const HEXAGON: Polygon = &[
    (0.95, 0.0),
    (0.475, 0.822_72),
    (-0.475, 0.822_72),
    (-0.95, 0.0),
    (-0.475, -0.822_72),
    (0.475, -0.822_72),
];
const ARROW: Polygon =
    &[(1.0, 0.0), (0.2, -0.75), (0.2, -0.28), (-0.95, -0.28), (-0.95, 0.28), (0.2, 0.28), (0.2, 0.75)];

/// Returns the signed distance from (x, y) to the outline of `class`, in the order of the manifest: circle,
/// square, triangle, star, cross, ring, heart, crescent, hexagon, arrow.
pub(super) fn distance(class: u32, x: f32, y: f32) -> f32 {
    match class {
        0 => length(x, y) - 0.92,
        1 => polygon(SQUARE, x, y),
        2 => polygon(TRIANGLE, x, y),
        3 => polygon(STAR, x, y),
        4 => polygon(CROSS, x, y),
        5 => (length(x, y) - 0.7).abs() - 0.24,
        6 => heart(x, y),
        7 => (length(x, y) - 0.95).max(0.8 - length(x - 0.45, y)),
        8 => polygon(HEXAGON, x, y),
        _ => polygon(ARROW, x, y),
    }
}

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// Two quarter circles on a square that stands on a corner (after I. Quilez, "2D distance functions").
fn heart(x: f32, y: f32) -> f32 {
    const SIZE: f32 = 1.65;
    let (x, y) = (x.abs() / SIZE, 0.55 - y / SIZE);
    let distance = if x + y > 1.0 {
        length(x - 0.25, y - 0.75) - std::f32::consts::SQRT_2 / 4.0
    } else {
        let half = 0.5 * (x + y).max(0.0);
        let nearest = length(x, y - 1.0).min(length(x - half, y - half));
        if x < y { -nearest } else { nearest }
    };
    distance * SIZE
}

/// Returns the distance to the nearest edge, negative if a ray from the point crosses an odd number of edges.
fn polygon(corners: Polygon, x: f32, y: f32) -> f32 {
    let mut nearest = f32::MAX;
    let mut inside = false;
    let mut previous = corners[corners.len() - 1];
    for &corner in corners {
        let (ex, ey) = (previous.0 - corner.0, previous.1 - corner.1);
        let (px, py) = (x - corner.0, y - corner.1);
        let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        let (dx, dy) = (px - along * ex, py - along * ey);
        nearest = nearest.min(dx * dx + dy * dy);
        if (corner.1 > y) != (previous.1 > y) && px < py * ex / ey {
            inside = !inside;
        }
        previous = corner;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}
