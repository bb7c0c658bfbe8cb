//! `waxwork interpolate` and `waxwork traverse`: paths through latent space as images, arrays, texts or rows.

use waxwork_core::walk::{self, Interpolation, Traversal, Walk};
use waxwork_core::{Tensor, device};
use waxwork_models::{Classes, Run};

use crate::args::{InterpolateArguments, TraverseArguments};
use crate::commands::sample::{labels_for, no_labels, open};
use crate::failure::Failure;
use crate::output::{self, Form};

/// Samples per row.
pub(crate) const STEPS: usize = 10;
/// Rows of a traversal if none are named.
pub(crate) const DIMS: u32 = 10;

pub(crate) fn interpolate(arguments: &InterpolateArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let info = run.model.info();
    let labels = arguments.labels.as_ref().map(|labels| labels_for(&run, &Classes::of(&run), labels));
    let ends = match labels.transpose()?.as_deref() {
        None if info.classes() == 0 => None,
        None => Some((0, 0)),
        Some(&[label]) => Some((label, label)),
        Some(&[from, to]) => Some((from, to)),
        Some(_) => return Err(Failure::new("--labels takes one label, or two to interpolate between")),
    };
    let ends: Vec<(u32, u32)> = ends.into_iter().collect();
    let (rows, fixed_latent, seed) = (arguments.rows, arguments.fixed_latent, arguments.seed);
    let way = Interpolation { rows, steps: STEPS, classes: &ends, fixed_latent, seed };
    let samples = generated(&run, &walk::interpolation(run.model.as_ref(), &way)?)?;
    let form = Form::from(&run);
    let usual = || arguments.run.join("interpolation").with_extension(form.ending());
    let out = arguments.out.clone().unwrap_or_else(usual);
    output::write_samples(&out, &form, &samples, None, 0)?;
    let (ways, what) = (if form.rows.is_some() { "paths" } else { "rows" }, form.kind.plural());
    Ok(output::written(&out, format!("{rows} {ways} of {STEPS} {what} in {}\n", out.display())))
}

pub(crate) fn traverse(arguments: &TraverseArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let info = run.model.info();
    let size = info.latent_dim();
    let dims =
        arguments.dims.as_ref().map_or_else(|| (0..DIMS.min(size as u32)).collect(), |dims| dims.0.clone());
    if let Some(dim) = dims.iter().find(|&&dim| dim as usize >= size) {
        return Err(Failure::new(format!(
            "there is no latent dimension {dim}: this model has dimensions 0 to {}",
            size - 1
        )));
    }
    let label = match &arguments.label {
        None => 0,
        Some(word) if info.classes() > 0 => Classes::of(&run).label(word)?,
        Some(_) => return Err(no_labels(&run)),
    };
    let way = Traversal { dims: &dims, steps: STEPS, class: label, seed: arguments.seed };
    let samples = generated(&run, &walk::traversal(run.model.as_ref(), &way)?)?;
    let form = Form::from(&run);
    let usual = || arguments.run.join("traversal").with_extension(form.ending());
    let out = arguments.out.clone().unwrap_or_else(usual);
    output::write_samples(&out, &form, &samples, None, 0)?;
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    let (dims, out_shown) = (dims.join(", "), out.display());
    let text = if form.rows.is_some() {
        format!("{STEPS} rows per latent dimension ({dims}), from −3 to 3, in {out_shown}\n")
    } else {
        format!("rows: latent dimensions {dims}, from −3 to 3, in {out_shown}\n")
    };
    Ok(output::written(&out, text))
}

/// The samples along a path.
pub(crate) fn generated(run: &Run, walk: &Walk) -> Result<Tensor, Failure> {
    let bar = output::bar(walk.latents.dim(0)?, "generating");
    let samples = walk.generate(run.model.as_ref(), |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(samples)
}
