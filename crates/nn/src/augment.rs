//! Differentiable augmentation (Zhao et al. 2020): the same random changes to real and generated images,
//! through which the generator still gets its gradient.

use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::Result;
use waxwork_core::rng::Stream;
use waxwork_kernels as kernels;

/// One kind of change, drawn again for each image and step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Brightness moved by up to ±0.5, saturation scaled by 0–2, contrast scaled by 0.5–1.5.
    Colour,
    /// Shifted by up to an eighth of the size; the revealed border is black in [0, 1], and so grey in [−1,
    /// 1].
    Translation,
    /// A square of half the size set to zero.
    Cutout,
}

/// Augments images `(N, C, H, W)`, or clips `(N, T, C, H, W)`, in [−1, 1] in the same shape. Sample `i` uses the
/// draws of row `rows[i]` of `stream`, and all frames of a clip are changed alike. With a `probability`, a scalar, each augmentation changes each image only with this probability.
pub fn augment(
    images: &Tensor,
    augmentations: &[Augmentation],
    probability: Option<&Tensor>,
    stream: &Stream,
    rows: &[u64],
) -> Result<Tensor> {
    let mut images = images.clone();
    let n = images.dim(0)?;
    let mut draws: Vec<_> = rows.iter().map(|&row| stream.at(row)).collect();
    for augmentation in augmentations {
        let samples = images;
        images = seen_as_images(&samples, *augmentation)?;
        let (_, _, height, width) = images.dims4()?;
        let changed = match augmentation {
            Augmentation::Colour => {
                let mut column = |low, high| -> Result<Tensor> {
                    let values: Vec<f32> = draws.iter_mut().map(|draws| draws.between(low, high)).collect();
                    let column = Tensor::from_vec(values, (n, 1, 1, 1), images.device())?;
                    Ok(column.to_dtype(images.dtype())?)
                };
                let (brightness, saturation) = (column(-0.5, 0.5)?, column(0.0, 2.0)?);
                let contrast = column(0.5, 1.5)?;
                let brighter = images.broadcast_add(&brightness)?;
                let saturated = away_from(&brighter, &brighter.mean_keepdim(1)?, &saturation)?;
                away_from(&saturated, &saturated.mean_keepdim((1, 2, 3))?, &contrast)?
            }
            Augmentation::Translation => {
                let mut shift = |size: usize| {
                    let most = (size as f64 / 8.0).round() as u32;
                    draws.iter_mut().map(|draws| draws.below(2 * most + 1) as isize - most as isize).collect()
                };
                let (down, right): (Vec<isize>, Vec<isize>) = (shift(height), shift(width));
                kernels::translate(&images, &down, &right)?
            }
            Augmentation::Cutout => {
                // Use bytes, because the mask is copied to a device.
                let mut mask = vec![1u8; n * height * width];
                for (draws, mask) in draws.iter_mut().zip(mask.chunks_exact_mut(height * width)) {
                    let (top, bottom) = span(draws.below(height as u32 + 1) as usize, height);
                    let (left, right) = span(draws.below(width as u32 + 1) as usize, width);
                    for row in mask.chunks_exact_mut(width).take(bottom).skip(top) {
                        row[left..right].fill(0);
                    }
                }
                let mask = Tensor::from_vec(mask, (n, 1, height, width), images.device())?;
                images.broadcast_mul(&mask.to_dtype(images.dtype())?)?
            }
        };
        images = match probability {
            None => changed,
            Some(probability) => {
                let chances: Vec<f32> = draws.iter_mut().map(|draws| draws.between(0.0, 1.0)).collect();
                let chances = Tensor::from_vec(chances, (n, 1, 1, 1), images.device())?;
                let chosen = chances.broadcast_lt(&probability.to_dtype(DType::F32)?)?;
                chosen.broadcast_as(images.shape())?.where_cond(&changed, &images)?
            }
        };
        images = seen_as_samples(&images, &samples, *augmentation)?;
    }
    Ok(images)
}

/// Clips `(N, T, C, H, W)` as images: frames below each other for a change of colour, frames as channels for a
/// change of place. Images are unchanged.
fn seen_as_images(samples: &Tensor, augmentation: Augmentation) -> Result<Tensor> {
    let &[n, frames, channels, height, width] = samples.dims() else { return Ok(samples.clone()) };
    Ok(match augmentation {
        Augmentation::Colour => {
            samples.transpose(1, 2)?.contiguous()?.reshape((n, channels, frames * height, width))?
        }
        Augmentation::Translation | Augmentation::Cutout => {
            samples.reshape((n, frames * channels, height, width))?
        }
    })
}

/// The inverse of [`seen_as_images`] for samples like `like`.
fn seen_as_samples(images: &Tensor, like: &Tensor, augmentation: Augmentation) -> Result<Tensor> {
    let &[n, frames, channels, height, width] = like.dims() else { return Ok(images.clone()) };
    Ok(match augmentation {
        Augmentation::Colour => {
            images.reshape((n, channels, frames, height, width))?.transpose(1, 2)?.contiguous()?
        }
        Augmentation::Translation | Augmentation::Cutout => images.reshape(like.shape())?,
    })
}

/// The start and end of a range of half of `size` around `centre`, clipped to the image.
fn span(centre: usize, size: usize) -> (usize, usize) {
    let half = size / 4;
    (centre.saturating_sub(half), (centre + half).min(size))
}

/// Scales the distance of `x` from `centre`.
fn away_from(x: &Tensor, centre: &Tensor, factor: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(centre)?.broadcast_mul(factor)?.broadcast_add(centre)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    const ALL: [Augmentation; 3] = [Augmentation::Colour, Augmentation::Translation, Augmentation::Cutout];

    const ROWS: [u64; 6] = [0, 1, 2, 3, 4, 5];

    fn images(n: u64) -> Tensor {
        let rows: Vec<u64> = (0..n).collect();
        let unit = Stream::new(1, "images", 0).uniform(&rows, (3, 8, 8), &Device::Cpu).unwrap();
        unit.affine(2.0, -1.0).unwrap().to_dtype(DType::F64).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f64> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn an_image_is_changed_only_by_its_own_draws() {
        let stream = Stream::new(5, "augment", 3);
        let all = augment(&images(6), &ALL, None, &stream, &ROWS).unwrap();
        let some = augment(&images(2), &ALL, None, &stream, &ROWS[..2]).unwrap();
        assert_eq!(values(&all.narrow(0, 0, 2).unwrap()), values(&some));
        let other = augment(&images(6), &ALL, None, &Stream::new(5, "augment", 4), &ROWS).unwrap();
        assert_ne!(values(&all), values(&other));
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let stream = Stream::new(5, "augment", 3);
        let start = images(2);
        let weights = images(2).sin().unwrap();
        let value = |x: &Tensor| {
            (augment(x, &ALL, None, &stream, &ROWS[..2]).unwrap() * &weights).unwrap().sum_all().unwrap()
        };
        let var = Var::from_tensor(&start).unwrap();
        let gradient = values(value(&var).backward().unwrap().get(&var).unwrap());
        for i in (0..gradient.len()).step_by(7) {
            let at = |delta: f64| {
                let mut moved = values(&start);
                moved[i] += delta;
                let moved = Tensor::from_vec(moved, start.shape(), &Device::Cpu).unwrap();
                value(&moved).to_scalar::<f64>().unwrap()
            };
            let numeric = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!((gradient[i] - numeric).abs() < 1e-8, "{i}: {} against {numeric}", gradient[i]);
        }
    }

    /// A clip whose frames are all one image becomes a clip whose frames are all the augmented image.
    #[test]
    fn the_frames_of_a_clip_change_alike() {
        let stream = Stream::new(5, "augment", 3);
        let still = images(3);
        let clips = still.unsqueeze(1).unwrap().repeat((1, 4, 1, 1, 1)).unwrap();
        let changed = augment(&clips, &ALL, None, &stream, &ROWS[..3]).unwrap();
        let expected = augment(&still, &ALL, None, &stream, &ROWS[..3]).unwrap();
        for frame in 0..4 {
            let frame = values(&changed.narrow(1, frame, 1).unwrap());
            let apart = frame.iter().zip(values(&expected)).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-9);
        }
    }

    #[test]
    fn a_probability_chooses_which_images_change() {
        let ones = Tensor::ones((400, 1, 8, 8), DType::F64, &Device::Cpu).unwrap();
        let rows: Vec<u64> = (0..400).collect();
        let changed = |probability: f32, augmentation| {
            let probability = Tensor::new(probability, &Device::Cpu).unwrap();
            let stream = Stream::new(1, "chance", 0);
            let seen = augment(&ones, &[augmentation], Some(&probability), &stream, &rows).unwrap();
            values(&seen).chunks(64).filter(|image| image.iter().any(|value| *value != 1.0)).count()
        };
        assert_eq!(changed(0.0, Augmentation::Cutout), 0);
        assert_eq!(changed(1.0, Augmentation::Cutout), 400);
        // A binomial of 400 draws has a standard deviation of at most 10.
        assert!((160..=240).contains(&changed(0.5, Augmentation::Cutout)));
        assert!(
            (290..=340).contains(&changed(0.8, Augmentation::Cutout)),
            "{}",
            changed(0.8, Augmentation::Cutout)
        );
    }

    #[test]
    fn cutout_takes_at_most_a_square_of_half_the_size() {
        let ones = Tensor::ones((50, 1, 8, 8), DType::F64, &Device::Cpu).unwrap();
        let rows: Vec<u64> = (0..50).collect();
        let cut = augment(&ones, &[Augmentation::Cutout], None, &Stream::new(1, "cut", 0), &rows).unwrap();
        let kept = cut.sum((1, 2, 3)).unwrap().to_vec1::<f64>().unwrap();
        assert!(kept.iter().all(|kept| (48.0..=60.0).contains(kept)), "{kept:?}");
        assert!(kept.contains(&48.0));
    }
}
