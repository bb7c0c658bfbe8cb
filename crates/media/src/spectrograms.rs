//! Images of sounds: spectrograms with low frequencies at the bottom, and waveforms as filled areas.

use candle_core::Tensor;

use crate::{Error, Result};

/// Rows and columns of a waveform's image.
const WAVE: (usize, usize) = (64, 128);

/// Turns sounds as networks see them, `(N, 1, rows, columns)` with the lowest frequency first or
/// `(N, 1, 1, length)`, into images `(N, 1, H, W)` in [0, 1].
///
/// # Errors
/// If the sounds have another shape.
pub(crate) fn upright(sounds: &Tensor) -> Result<Tensor> {
    match *sounds.dims() {
        [_, 1, 1, length] if length > 0 => waves(sounds, length),
        [_, 1, _, _] => Ok(sounds.flip(&[2])?.contiguous()?),
        _ => Err(Error::Shape {
            what: "a batch of sounds",
            expected: "(N, 1, rows, columns)",
            found: sounds.shape().clone(),
        }),
    }
}

/// Draws waveforms in [−1, 1]: each column is white from its least to its greatest value.
fn waves(sounds: &Tensor, length: usize) -> Result<Tensor> {
    let values = sounds.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let (rows, columns) = WAVE;
    let count = values.len() / length;
    let row = |value: f32| ((1.0 - value.clamp(-1.0, 1.0)) * 0.5 * (rows - 1) as f32).round() as usize;
    let mut pixels = vec![0f32; count * rows * columns];
    for (wave, picture) in values.chunks_exact(length).zip(pixels.chunks_exact_mut(rows * columns)) {
        for column in 0..columns {
            let first = column * length / columns;
            let part = &wave[first..((column + 1) * length / columns).max(first + 1)];
            let (least, most) =
                part.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), value| {
                    (least.min(*value), most.max(*value))
                });
            for y in row(most)..=row(least) {
                picture[y * columns + column] = 1.0;
            }
        }
    }
    Ok(Tensor::from_vec(pixels, (count, 1, rows, columns), sounds.device())?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn low_frequencies_are_at_the_bottom() {
        let sound = Tensor::new(&[[[[0.0f32, 0.25], [0.5, 1.0]]]], &Device::Cpu).unwrap();
        let found = upright(&sound).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found, [0.5, 1.0, 0.0, 0.25]);
    }

    #[test]
    fn a_wave_fills_what_it_covers() {
        let sound = Tensor::new(vec![0f32; 256], &Device::Cpu).unwrap().reshape((1, 1, 1, 256)).unwrap();
        let found = upright(&sound).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(found, 128.0, "silence is a line");
        assert!(upright(&sound.reshape((1, 256)).unwrap()).is_err());
    }
}
