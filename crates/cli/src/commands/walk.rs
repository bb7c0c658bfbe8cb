//! `waxwork interpolate` and `waxwork traverse`: ways through latent space as pictures.

use waxwork_core::rng::Stream;
use waxwork_core::{DType, Device, Tensor, device, latent};
use waxwork_kernels as kernels;
use waxwork_models::{Classes, Run};

use crate::args::{InterpolateArguments, TraverseArguments};
use crate::commands::latents::generate;
use crate::commands::sample::{labels_for, open};
use crate::failure::Failure;
use crate::output;

/// Images per row.
pub(crate) const STEPS: usize = 10;
/// How far a traversal goes to either side, in standard deviations.
const REACH: f64 = 3.0;
/// Rows of a traversal if none are named.
pub(crate) const DIMS: u32 = 10;

pub(crate) fn interpolate(arguments: &InterpolateArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let info = run.model.info();
    let labels = arguments.labels.as_ref().map(|labels| labels_for(&run, &Classes::of(&run), labels));
    let ends = match labels.transpose()?.as_deref() {
        None if info.classes == 0 => None,
        None => Some((0, 0)),
        Some(&[label]) => Some((label, label)),
        Some(&[from, to]) => Some((from, to)),
        Some(_) => return Err(Failure::new("--labels takes one label, or two to interpolate between")),
    };
    let ends: Vec<(u32, u32)> = ends.into_iter().collect();
    let images = interpolation(&run, arguments.rows, &ends, arguments.fixed_latent, arguments.seed)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("interpolation.png"));
    output::write_images(&out, &images, None, 0)?;
    Ok(format!("{} rows of {STEPS} images in {}\n", arguments.rows, out.display()))
}

/// Rows of images `(rows · 10, C, H, W)`, each from one random latent vector to another, or with one latent vector
/// throughout; and from one label to another, `ends` in turn, if the model knows labels.
pub(crate) fn interpolation(
    run: &Run,
    rows: usize,
    ends: &[(u32, u32)],
    fixed_latent: bool,
    seed: u64,
) -> Result<Tensor, Failure> {
    let info = run.model.info();
    let device = run.model.params().device();
    let stream = Stream::new(seed, "sample", 0);
    let numbers: Vec<u64> = (0..2 * rows as u64).collect();
    let noise = stream.normal(&numbers, info.latent_dim, device)?;
    let mut latents = Vec::new();
    for row in 0..rows {
        let from = noise.get(2 * row)?;
        let to = if fixed_latent { from.clone() } else { noise.get(2 * row + 1)? };
        for step in 0..STEPS {
            latents.push(latent::slerp(&from, &to, step as f64 / (STEPS - 1) as f64)?);
        }
    }
    let mut mixtures = Vec::new();
    for &(from, to) in ends.iter().cycle().take(if ends.is_empty() { 0 } else { rows }) {
        let ends = info.one_hot(Some(&Tensor::new(&[from, to], &Device::Cpu)?), run.model.params())?;
        let Some(ends) = ends else { return Err(no_labels(run)) };
        let shares = (0..STEPS).map(|step| step as f32 / (STEPS - 1) as f32);
        let shares: Vec<f32> = shares.flat_map(|share| [1.0 - share, share]).collect();
        mixtures.push(kernels::matmul(&Tensor::from_vec(shares, (STEPS, 2), device)?, &ends)?);
    }
    let mixtures = if mixtures.is_empty() { None } else { Some(Tensor::cat(&mixtures, 0)?) };
    let latents = run.model.latents(&Tensor::stack(&latents, 0)?, mixtures.as_ref())?;
    generate(run, &latents, mixtures.as_ref())
}

pub(crate) fn traverse(arguments: &TraverseArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let info = run.model.info();
    let size = info.latent_dim;
    let dims =
        arguments.dims.as_ref().map_or_else(|| (0..DIMS.min(size as u32)).collect(), |dims| dims.0.clone());
    if let Some(dim) = dims.iter().find(|&&dim| dim as usize >= size) {
        return Err(Failure::new(format!(
            "there is no latent value {dim}: latent values are 0 to {}",
            size - 1
        )));
    }
    let label = match &arguments.label {
        None => 0,
        Some(word) if info.classes > 0 => Classes::of(&run).label(word)?,
        Some(_) => return Err(no_labels(&run)),
    };
    let images = traversal(&run, &dims, label, arguments.seed)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("traversal.png"));
    output::write_images(&out, &images, None, 0)?;
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    Ok(format!("rows: latent values {}, from −3 to 3, in {}\n", dims.join(", "), out.display()))
}

/// Rows of images `(dims · 10, C, H, W)`, in each of which one latent value goes from −3 to 3 while the others stay: at
/// nought, or where `seed` draws them. All are of `label` if the model knows labels.
pub(crate) fn traversal(run: &Run, dims: &[u32], label: u32, seed: Option<u64>) -> Result<Tensor, Failure> {
    let info = run.model.info();
    let (size, device) = (info.latent_dim, run.model.params().device());
    let start = match seed {
        Some(seed) => Stream::new(seed, "sample", 0).normal(&[0], size, &Device::Cpu)?.get(0)?,
        None => Tensor::zeros(size, DType::F32, &Device::Cpu)?,
    };
    let start: Vec<f32> = start.to_vec1()?;
    let mut values = Vec::new();
    for &dim in dims {
        for step in 0..STEPS {
            let mut row = start.clone();
            row[dim as usize] = (REACH * (2.0 * step as f64 / (STEPS - 1) as f64 - 1.0)) as f32;
            values.extend(row);
        }
    }
    let count = dims.len() * STEPS;
    let labels = (info.classes > 0).then(|| Tensor::new(vec![label; count], device)).transpose()?;
    let latents = run.model.latents(&Tensor::from_vec(values, (count, size), device)?, labels.as_ref())?;
    generate(run, &latents, labels.as_ref())
}

fn no_labels(run: &Run) -> Failure {
    Failure::new(format!("this model takes no labels: {} models are unconditional", run.info.model.family))
}
