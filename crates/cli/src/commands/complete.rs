//! `waxwork complete`: a model fills in the missing parts of images.

use std::path::Path;

use waxwork_core::model::ModelInfo;
use waxwork_core::rng::Stream;
use waxwork_core::{Condition, Device, ImageShape, Kind, SampleRequest, Tensor, device, store, values};
use waxwork_media::grid;
use waxwork_models::{GivenPart, Run};

use crate::args::{CompleteArguments, PartOfImage};
use crate::commands::foreign;
use crate::commands::sample::{data, open};
use crate::failure::Failure;
use crate::output::{self, Form};

/// The grey value from which a pixel of a mask counts as white.
const WHITE: u8 = 128;

pub(crate) fn run(arguments: &CompleteArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let completer = run.needed_completer()?;
    let form = Form::from(&run);
    let Kind::Image(shape) = form.kind else {
        return Err(Failure::new(format!(
            "only images can be completed, but this run generates {}",
            form.kind
        )));
    };
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("completions.png"));
    output::check_target(&out, &form.kind)?;
    let (images, numbers) = if arguments.images.is_empty() {
        let test = data(&run, arguments.data_dir.as_ref())?.test.subset(arguments.count);
        let batch = test.batch(&(0..test.len()).collect::<Vec<_>>(), &Device::Cpu)?;
        (batch.inputs, batch.indices)
    } else {
        let images = foreign::read_images(&arguments.images, &form, shape)?;
        let numbers = (0..images.dim(0)? as u64).collect();
        (images, numbers)
    };
    let given = match (arguments.given, &arguments.mask) {
        (Some(part), _) => {
            let stream = Stream::new(arguments.seed, "given", 0);
            part_of(&images, GivenPart::from(part).masks(shape, &stream, &numbers)?)?
        }
        (None, Some(path)) => part_of(&images, mask_of(path, shape, numbers.len())?)?,
        (None, None) => completer.given(&images, &numbers)?,
    };
    warn_of_another_part(&run, arguments);
    let made = completions(&run, &given, arguments.draws, arguments.seed)?;
    // Where the mask is white, the user's image may contain anything.
    let original = (arguments.mask.is_none() || arguments.images.is_empty()).then_some(&images);
    if output::extension(&out).as_deref() == Some("png") {
        let (rows, columns) = rows(&given, &made, original)?;
        store::write(&out, &grid::grid(&rows, columns)?.png()?)?;
    } else {
        output::write_samples(&out, &form, &made, None, 0)?;
    }
    let times = if arguments.draws == 1 { "once".to_owned() } else { format!("{} times", arguments.draws) };
    Ok(format!("{} images, each completed {times}, in {}\n", numbers.len(), out.display()))
}

/// The command that generates images with a model.
pub(crate) fn command_of(info: &ModelInfo) -> &'static str {
    if info.condition.is_part() { "complete" } else { "sample" }
}

/// Completions of images, on the CPU: `draws` of the first, then as many of the second, and so on.
pub(crate) fn completions(run: &Run, given: &Condition, draws: usize, seed: u64) -> Result<Tensor, Failure> {
    let (known, mask) = parts(given)?;
    let repeated = |images: &Tensor| -> Result<Tensor, Failure> {
        let (n, channels, height, width) = images.dims4()?;
        let each = images.unsqueeze(1)?.broadcast_as((n, draws, channels, height, width))?;
        Ok(each.reshape((n * draws, channels, height, width))?)
    };
    let condition = Condition::Part { values: repeated(known)?, mask: repeated(mask)? };
    let count = draws * known.dim(0)?;
    let request = SampleRequest { condition, ..SampleRequest::new(seed, count) };
    let made = run.model.sample(&request)?.to_device(&Device::Cpu)?;
    values::check("images", &made)?;
    Ok(made)
}

/// One row per image: its given part with missing pixels in grey, its completions, and the original if there
/// is one. Returns the images of all rows and the number of images per row.
pub(crate) fn rows(
    given: &Condition,
    made: &Tensor,
    original: Option<&Tensor>,
) -> Result<(Tensor, usize), Failure> {
    let (known, mask) = parts(given)?;
    let shown = (known + mask.affine(-0.5, 0.5)?)?;
    let n = shown.dim(0)?;
    let draws = made.dim(0)? / n.max(1);
    let mut rows = Vec::with_capacity(3 * n);
    for i in 0..n {
        rows.push(shown.narrow(0, i, 1)?);
        rows.push(made.narrow(0, i * draws, draws)?);
        if let Some(original) = original {
            rows.push(original.narrow(0, i, 1)?);
        }
    }
    Ok((Tensor::cat(&rows, 0)?, draws + 1 + usize::from(original.is_some())))
}

/// The values of a given part, and their mask.
fn parts(given: &Condition) -> Result<(&Tensor, &Tensor), Failure> {
    match given {
        Condition::Part { values, mask } => Ok((values, mask)),
        _ => Err(waxwork_core::Error::NothingGiven.into()),
    }
}

/// The part of images for which `mask` is 1.
fn part_of(images: &Tensor, mask: Tensor) -> Result<Condition, Failure> {
    Ok(Condition::Part { values: images.mul(&mask)?, mask })
}

/// The mask in a picture, `(n, C, H, W)`: 0 where it is white, 1 where it is black.
fn mask_of(path: &Path, shape: ImageShape, n: usize) -> Result<Tensor, Failure> {
    let pixels = foreign::exact(path, ImageShape { channels: 1, ..shape })?;
    if pixels.iter().all(|&pixel| pixel < WHITE) {
        return Err(Failure::new(format!(
            "`{}` has no white pixels, so there is nothing to complete",
            path.display()
        )));
    }
    let ImageShape { channels, height, width } = shape;
    let mask: Vec<f32> = pixels.iter().map(|&pixel| if pixel < WHITE { 1.0 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (1, 1, height, width), &Device::Cpu)?;
    Ok(mask.broadcast_as((n, channels, height, width))?.contiguous()?)
}

/// Warns if the missing part differs from the one that the model was trained to complete.
fn warn_of_another_part(run: &Run, arguments: &CompleteArguments) {
    let Some(learned) = run.recipe.model.completion().map(|completion| completion.given) else { return };
    let other = arguments.given.is_some_and(|part| GivenPart::from(part) != learned);
    if !learned.is_drawn() && (other || arguments.mask.is_some()) {
        tracing::warn!(
            "this model was trained only to complete images in which {} is given; expect worse results for other parts",
            learned.name()
        );
    }
}

impl From<PartOfImage> for GivenPart {
    fn from(part: PartOfImage) -> Self {
        match part {
            PartOfImage::LowerLeft => Self::LowerLeft,
            PartOfImage::Left => Self::Left,
            PartOfImage::AllButLowerRight => Self::AllButLowerRight,
            PartOfImage::AllButABox => Self::AllButABox,
        }
    }
}
