//! Completions of images of which a part is given.

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::rng::Stream;
use waxwork_core::{Condition, Device, GenerativeModel, ImageShape, SampleRequest, Tensor, values};
use waxwork_vae::GivenPart;

use crate::{Result, Run};

/// Which part of images is given.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The part that the model learned with.
    Learned,
    /// This part; the second value is the seed of parts that are drawn.
    Part(GivenPart, u64),
    /// The values whose mask is 1; the others' is 0. `(N, C, H, W)` f32 on the CPU; N and C may be 1, for all
    /// images and channels.
    Mask(Tensor),
}

/// The part of images `(N, C, H, W)` f32 in [0, 1], on the CPU, whose rest a model is to complete. Image `i` has
/// the number `numbers[i]`, on which a drawn part depends. Warns of a part that the model has not learned to
/// complete.
///
/// # Errors
/// [`crate::Error::NoCompletion`]; [`crate::Error::Core`] if the shapes do not fit.
pub fn given(run: &Run, images: &Tensor, numbers: &[u64], asked: &Asked) -> Result<Condition> {
    let completer = run.needed_completer()?;
    if let Some(learned) = run.recipe.model.completion().map(|completion| completion.given) {
        let other = match asked {
            Asked::Learned => false,
            Asked::Part(part, _) => *part != learned,
            Asked::Mask(_) => true,
        };
        if other && !learned.is_drawn() {
            tracing::warn!(
                "this model was trained only to complete images in which {} is given; expect worse results for other parts",
                learned.name()
            );
        }
    }
    Ok(match asked {
        Asked::Learned => completer.given(images, numbers)?,
        Asked::Part(part, seed) => {
            let (_, channels, height, width) = images.dims4().map_err(waxwork_core::Error::from)?;
            let shape = ImageShape::new(channels, height, width);
            part_of(images, &part.masks(shape, &Stream::new(*seed, "given", 0), numbers)?)?
        }
        Asked::Mask(mask) => part_of(images, mask)?,
    })
}

/// The values of images whose mask is 1.
fn part_of(images: &Tensor, mask: &Tensor) -> waxwork_core::Result<Condition> {
    let mask = mask.broadcast_as(images.shape())?.contiguous()?;
    Ok(Condition::Part { values: images.mul(&mask)?, mask })
}

/// Completions of images of which a part is given: `draws` of the first image, then as many of the second, and
/// so on. `(N · draws, C, H, W)` on the CPU. `progress` is called with the number done.
///
/// # Errors
/// [`waxwork_core::Error::NothingGiven`] for another condition, [`waxwork_core::Error::Empty`] for no images;
/// if a value is not finite.
pub fn complete(
    model: &dyn GenerativeModel,
    given: &Condition,
    draws: usize,
    seed: u64,
    mut progress: impl FnMut(usize),
) -> waxwork_core::Result<Tensor> {
    let Condition::Part { values: known, mask } = given else {
        return Err(waxwork_core::Error::NothingGiven);
    };
    let all = known.dim(0)?.saturating_mul(draws);
    let mut parts = Vec::new();
    for first in (0..all).step_by(EVALUATION_BATCH) {
        let end = all.min(first + EVALUATION_BATCH);
        let images: Vec<u32> = (first..end).map(|number| (number / draws) as u32).collect();
        let images = Tensor::new(images.as_slice(), &Device::Cpu)?;
        let condition =
            Condition::Part { values: known.index_select(&images, 0)?, mask: mask.index_select(&images, 0)? };
        let request =
            SampleRequest { first: first as u64, condition, ..SampleRequest::new(seed, end - first) };
        parts.push(model.sample(&request)?.to_device(&Device::Cpu)?);
        progress(end);
    }
    if parts.is_empty() {
        return Err(waxwork_core::Error::Empty { what: "a completion", of: "image" });
    }
    let made = Tensor::cat(&parts, 0)?;
    values::check("completions", &made)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use waxwork_core::ParamSet;

    use super::*;
    use crate::Recipe;

    #[test]
    fn batches_are_no_part_of_what_is_completed() {
        let recipe = Recipe::named("cvae-digits-holes", &["data.limit=100".to_owned()]).unwrap();
        let data = waxwork_data::load(&recipe.data).unwrap();
        let params = ParamSet::fresh(1, &Device::Cpu);
        let model = recipe.model.build(data.info.sample(), data.info.condition(), params).unwrap();
        let images = data.train.batch(&[0, 1, 2], &Device::Cpu).unwrap().inputs;
        let given = model.completer().unwrap().given(&images, &[0, 1, 2]).unwrap();
        let mut done = Vec::new();
        let made = complete(model.as_ref(), &given, 45, 5, |count| done.push(count)).unwrap();
        assert_eq!((made.dims(), done), ([135, 1, 28, 28].as_slice(), vec![100, 135]));
        let Condition::Part { values, mask } = &given else { panic!("{given:?}") };
        let rows: Vec<u32> = (0..3).flat_map(|image| [image; 45]).collect();
        let rows = Tensor::new(rows.as_slice(), &Device::Cpu).unwrap();
        let each = |tensor: &Tensor| tensor.index_select(&rows, 0).unwrap();
        let condition = Condition::Part { values: each(values), mask: each(mask) };
        let whole = SampleRequest { condition, ..SampleRequest::new(5, 135) };
        let whole = model.sample(&whole).unwrap();
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&made), flat(&whole));
        assert!(complete(model.as_ref(), &given, 0, 5, |_| {}).is_err());
        assert!(complete(model.as_ref(), &Condition::None, 2, 5, |_| {}).is_err());
    }

    #[test]
    fn a_mask_of_one_image_and_channel_is_that_of_all() {
        let images = Tensor::arange(0f32, 24.0, &Device::Cpu).unwrap().reshape((2, 3, 2, 2)).unwrap();
        let mask = Tensor::new(&[1f32, 0.0, 0.0, 1.0], &Device::Cpu).unwrap().reshape((1, 1, 2, 2)).unwrap();
        let Condition::Part { values, mask } = part_of(&images, &mask).unwrap() else { panic!("a part") };
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(mask), [1.0, 0.0, 0.0, 1.0].repeat(6));
        let expected = (0..24).map(|i| if matches!(i % 4, 0 | 3) { i as f32 } else { 0.0 });
        assert_eq!(flat(values), expected.collect::<Vec<_>>());
        assert!(
            part_of(&images, &Tensor::ones((1, 1, 3, 2), images.dtype(), &Device::Cpu).unwrap()).is_err()
        );
    }
}
