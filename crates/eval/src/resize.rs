//! The bilinear resize of TensorFlow 1, as published Fréchet inception distances use it: no half-pixel
//! offset, corners not aligned. Output pixel i samples the input at i · in / out.

use waxwork_core::{Device, Result, Tensor};

/// Resizes images `(N, C, H, W)` f32 to `(N, C, height, width)`.
///
/// With y = i · H / height, y₀ is its floor and y₁ the next row or the last; columns work the same.
/// Interpolates first along each row, as a + (b − a) · fraction, then between the two rows, all in f32.
///
/// # Errors
/// If the images are not a batch of f32, or a side is empty.
pub fn bilinear(images: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (n, channels, rows, columns) = images.dims4()?;
    if rows == 0 || columns == 0 {
        return Err(waxwork_core::Error::Empty { what: "resizing an image", of: "pixel" });
    }
    let values = images.flatten_all()?.to_vec1::<f32>()?;
    let (down, across) = (places(rows, height), places(columns, width));
    let mut out = Vec::with_capacity(n * channels * height * width);
    for plane in values.chunks_exact(rows * columns) {
        for &(top, bottom, fall) in &down {
            let (top, bottom) = (&plane[top * columns..][..columns], &plane[bottom * columns..][..columns]);
            out.extend(across.iter().map(|&(left, right, shift)| {
                let upper = top[left] + (top[right] - top[left]) * shift;
                let lower = bottom[left] + (bottom[right] - bottom[left]) * shift;
                upper + (lower - upper) * fall
            }));
        }
    }
    Ok(Tensor::from_vec(out, (n, channels, height, width), &Device::Cpu)?)
}

/// Returns, for each output position, the two input positions and the fraction between them.
fn places(input: usize, output: usize) -> Vec<(usize, usize, f32)> {
    let scale = input as f32 / output as f32;
    let place = |i: usize| {
        let at = i as f32 * scale;
        let low = (at.floor() as usize).min(input - 1);
        (low, (low + 1).min(input - 1), at - low as f32)
    };
    (0..output).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(values: &[f32], rows: usize, columns: usize, height: usize, width: usize) -> Vec<f32> {
        let images = Tensor::from_slice(values, (1, 1, rows, columns), &Device::Cpu).unwrap();
        bilinear(&images, height, width).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn pixels_stay_where_they_are_and_lines_stay_lines() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(resized(&values, 3, 4, 3, 4), values);
        // Twice as many columns: every second one is an original, and the last one repeats the border.
        assert_eq!(resized(&[0.0, 1.0, 3.0], 1, 3, 1, 6), [0.0, 0.5, 1.0, 2.0, 3.0, 3.0]);
        assert_eq!(resized(&[0.0, 2.0], 2, 1, 4, 1), [0.0, 1.0, 2.0, 2.0]);
        // Half as many columns: every second one is kept, and none is averaged.
        assert_eq!(resized(&[5.0, 7.0, 9.0, 11.0], 1, 4, 1, 2), [5.0, 9.0]);
        assert_eq!(resized(&[0.25; 4], 2, 2, 299, 299), vec![0.25; 299 * 299]);
    }
}
