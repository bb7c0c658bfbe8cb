//! `waxwork complete`: a model fills in the missing parts of images.

use std::path::Path;

use waxwork_core::model::ModelInfo;
use waxwork_core::{Condition, Device, ImageShape, Kind, Tensor, device, store};
use waxwork_media::grid;
use waxwork_models::GivenPart;
use waxwork_models::completion::{Asked, complete, given};

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
    run.needed_completer()?;
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
        if test.is_empty() {
            return Err(Failure::new("there are no test images to complete"));
        }
        let batch = test.batch(&(0..test.len()).collect::<Vec<_>>(), &Device::Cpu)?;
        (batch.inputs, batch.indices)
    } else {
        let images = foreign::read_images(&arguments.images, &form, shape)?;
        let numbers = (0..images.dim(0)? as u64).collect();
        (images, numbers)
    };
    let asked = match (arguments.given, &arguments.mask) {
        (Some(part), _) => Asked::Part(part.into(), arguments.seed),
        (None, Some(path)) => Asked::Mask(mask_of(path, shape)?),
        (None, None) => Asked::Learned,
    };
    let given = given(&run, &images, &numbers, &asked)?;
    let bar = output::bar(numbers.len().saturating_mul(arguments.draws), "completing");
    let shown = |done: usize| bar.set_position(done as u64);
    let made = complete(run.model.as_ref(), &given, arguments.draws, arguments.seed, shown);
    bar.finish_and_clear();
    let made = made?;
    // Where a mask is white, a user's own image may hold anything.
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

/// One row per image: its given part, in which missing pixels are grey, its completions, and the original if
/// there is one. Returns the images of all rows, and their number in a row.
pub(crate) fn rows(
    given: &Condition,
    made: &Tensor,
    original: Option<&Tensor>,
) -> Result<(Tensor, usize), Failure> {
    let Condition::Part { values: known, mask } = given else {
        return Err(waxwork_core::Error::NothingGiven.into());
    };
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

/// The mask in a picture, `(1, 1, H, W)`: 0 where it is white, 1 where it is black.
fn mask_of(path: &Path, shape: ImageShape) -> Result<Tensor, Failure> {
    let pixels = foreign::exact(path, ImageShape { channels: 1, ..shape })?;
    if pixels.iter().all(|&pixel| pixel < WHITE) {
        return Err(Failure::new(format!(
            "`{}` has no white pixels, so there is nothing to complete",
            path.display()
        )));
    }
    let mask: Vec<f32> = pixels.iter().map(|&pixel| if pixel < WHITE { 1.0 } else { 0.0 }).collect();
    Ok(Tensor::from_vec(mask, (1, 1, shape.height, shape.width), &Device::Cpu)?)
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
