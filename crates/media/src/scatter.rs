//! Scatter plots of the first two coordinates of points.

use candle_core::{DType, Device, Tensor};

use crate::grid::Picture;
use crate::{Error, Result};

/// Pixels per side.
const SIDE: usize = 480;
const PAPER: u8 = 255;
/// Grey values of the lines at whole numbers, and of the axes.
const LINE: u8 = 232;
const AXIS: u8 = 200;
/// How much each point darkens its pixels.
const INK: u8 = 90;

/// Plots points `(N, dimensions)` by their first two coordinates, with the y axis upwards; the second is 0 if
/// there is only one. Light lines mark the whole numbers and darker ones the axes. The sides reach to the
/// first whole number beyond the outermost point.
///
/// # Errors
/// If the tensor has another shape or no points, or a value is not finite.
pub fn scatter(points: &Tensor) -> Result<Picture> {
    plot(&[(&places(points)?, INK)])
}

/// Plots two batches of points together, those of `pale` paler.
///
/// # Errors
/// As [`scatter`].
pub fn pairs(pale: &Tensor, dark: &Tensor) -> Result<Picture> {
    plot(&[(&places(pale)?, INK / 3), (&places(dark)?, INK)])
}

/// The first two coordinates of each point.
fn places(points: &Tensor) -> Result<Vec<[f32; 2]>> {
    let wrong = || Error::Shape {
        what: "a scatter plot",
        expected: "(N, dimensions) with N > 0",
        found: points.shape().clone(),
    };
    let (n, dimensions) = points.dims2().map_err(|_| wrong())?;
    if n == 0 || dimensions == 0 {
        return Err(wrong());
    }
    let values = points.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { place, value: values[place] });
    }
    let place = |point: &[f32]| [point[0], point.get(1).copied().unwrap_or_default()];
    Ok(values.chunks_exact(dimensions).map(place).collect())
}

/// Plots batches of points, each with the amount by which it darkens the pixels around them.
fn plot(batches: &[(&[[f32; 2]], u8)]) -> Result<Picture> {
    let all = batches.iter().flat_map(|(places, _)| places.iter().flatten());
    let farthest = all.fold(0f32, |most, value| most.max(value.abs()));
    // At a very large range, lines at whole numbers would cover the plot.
    let reach = (farthest * 1.02).ceil().max(1.0);
    let pixel = |value: f32| {
        let place = (value / reach + 1.0) / 2.0 * (SIDE - 1) as f32;
        (place.round() as usize).min(SIDE - 1)
    };
    let mut pixels = vec![PAPER; SIDE * SIDE];
    let mut line = |value: f32, shade: u8| {
        let place = pixel(value);
        for along in 0..SIDE {
            pixels[along * SIDE + place] = shade;
            pixels[(SIDE - 1 - place) * SIDE + along] = shade;
        }
    };
    if reach <= 40.0 {
        (-(reach as i32)..=reach as i32).for_each(|whole| line(whole as f32, LINE));
    }
    line(0.0, AXIS);
    let inked = batches.iter().flat_map(|(places, ink)| places.iter().map(move |place| (place, *ink)));
    for (&[x, y], ink) in inked {
        let (column, row) = (pixel(x), SIDE - 1 - pixel(y));
        for row in row.saturating_sub(1)..(row + 2).min(SIDE) {
            for column in column.saturating_sub(1)..(column + 2).min(SIDE) {
                let value = &mut pixels[row * SIDE + column];
                *value = value.saturating_sub(ink);
            }
        }
    }
    Ok(Picture { width: SIDE, height: SIDE, channels: 1, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stand_where_they_should() {
        let points = Tensor::new(&[[1.5f32, 0.5], [-1.5, -0.5]], &Device::Cpu).unwrap();
        let picture = scatter(&points).unwrap();
        // The axes reach from −2 to 2.
        let at = |x: f32, y: f32| {
            let pixel = |value: f32| ((value / 2.0 + 1.0) / 2.0 * (SIDE - 1) as f32).round() as usize;
            picture.pixels[(SIDE - 1 - pixel(y)) * SIDE + pixel(x)]
        };
        assert_eq!(at(1.5, 0.5), PAPER - INK);
        assert_eq!(at(-1.5, -0.5), PAPER - INK);
        assert_eq!((at(1.5, -0.5), at(-1.5, 0.5)), (PAPER, PAPER));
        assert_eq!((at(0.0, 0.3), at(1.0, 0.3)), (AXIS, LINE));
    }

    #[test]
    fn rejects_invalid_batches_of_points() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert!(scatter(&zeros(&[0, 2])).is_err());
        assert!(scatter(&zeros(&[2, 2, 2])).is_err());
        assert!(scatter(&Tensor::new(&[[f32::INFINITY, 0.0]], &Device::Cpu).unwrap()).is_err());
        assert!(scatter(&zeros(&[3, 1])).is_ok(), "one coordinate is enough");
    }
}
