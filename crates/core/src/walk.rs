//! Paths through latent space, as latents and conditions: interpolations between draws, and traversals of one
//! latent dimension.

use candle_core::{DType, Device, Tensor};

use crate::condition::{Condition, ConditionSpec};
use crate::latent::arc;
use crate::model::{Drawing, EVALUATION_BATCH, GenerativeModel, ModelInfo};
use crate::{Error, Result, kernels};

/// How far a traversal goes to either side, in standard deviations.
const REACH: f64 = 3.0;

/// Latents `(N, latent_dim)` from the model's prior, and the condition of each.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Row by row.
    pub latents: Tensor,
    /// One per latent.
    pub condition: Condition,
}

/// The endpoints and the grid of an interpolation.
#[derive(Clone, Copy, Debug)]
pub struct Interpolation<'a> {
    /// Rows, each from one draw to another.
    pub rows: usize,
    /// Samples per row, including both ends; at least 2.
    pub steps: usize,
    /// The classes to interpolate between, row by row and cyclically. If empty, every row has the first
    /// class, or the model is unconditional.
    pub classes: &'a [(u32, u32)],
    /// Keeps one draw throughout each row, so that only the class changes.
    pub fixed_latent: bool,
    /// Seed of the draws.
    pub seed: u64,
}

/// Rows of `steps` latents on great circles between draws, with mixtures of two classes if the model has
/// classes.
///
/// # Errors
/// [`Error::UnexpectedLabels`] if classes are given to a model that has none; [`Error::UnknownClass`];
/// [`Error::Empty`] for no rows or fewer than two steps; [`Error::NoPath`] if the latents are codes.
pub fn interpolation(model: &dyn GenerativeModel, walk: &Interpolation<'_>) -> Result<Walk> {
    let &Interpolation { rows, steps, classes, fixed_latent, seed } = walk;
    if rows == 0 || steps < 2 {
        return Err(Error::Empty { what: "an interpolation", of: "row of two samples" });
    }
    let (info, params) = (model.info(), model.params());
    check_continuous(info)?;
    let numbers: Vec<u64> = (0..2 * rows as u64).collect();
    let noise = info.latent.draw(seed, &numbers, None, params.device())?.to_dtype(params.dtype())?;
    let noise = if fixed_latent {
        let kept: Vec<u32> = numbers.iter().map(|number| (number / 2 * 2) as u32).collect();
        noise.index_select(&Tensor::new(kept, params.device())?, 0)?
    } else {
        noise
    };
    let mut latents = Vec::with_capacity(rows * steps);
    let ends = if classes.is_empty() { &[(0, 0)][..] } else { classes };
    let at_ends = match &info.condition {
        ConditionSpec::Classes { .. } => {
            let labels = ends.iter().cycle().take(rows).flat_map(|&(from, to)| [from, to]);
            Condition::classes(&labels.collect::<Vec<_>>())?
        }
        condition => {
            condition.unspecified(seed, &numbers.iter().map(|number| number / 2).collect::<Vec<_>>())?
        }
    };
    // The prior may jump between two noises that are close, so a row leads from latent to latent.
    let drawn = model.latents(&noise, &at_ends)?;
    for row in 0..rows {
        let (from, to) = (drawn.get(2 * row)?, drawn.get(2 * row + 1)?);
        latents.extend(arc(&from, &to, steps)?);
    }
    let condition = match (&info.condition, classes) {
        (ConditionSpec::Classes { .. }, _) => {
            let mut mixtures = Vec::with_capacity(rows);
            for &(from, to) in ends.iter().cycle().take(rows) {
                let Some(ends) = info.encode_condition(&Condition::classes(&[from, to])?, params)? else {
                    return Err(Error::UnexpectedLabels { family: info.family.clone() });
                };
                let shares = (0..steps).map(|step| step as f32 / (steps - 1) as f32);
                let shares: Vec<f32> = shares.flat_map(|share| [1.0 - share, share]).collect();
                mixtures
                    .push(kernels::matmul(&Tensor::from_vec(shares, (steps, 2), params.device())?, &ends)?);
            }
            Condition::Mixture(Tensor::cat(&mixtures, 0)?)
        }
        (_, [_, ..]) => return Err(Error::UnexpectedLabels { family: info.family.clone() }),
        (condition, []) => {
            let row_of_each: Vec<u64> = (0..rows * steps).map(|number| (number / steps) as u64).collect();
            condition.unspecified(seed, &row_of_each)?
        }
    };
    Ok(Walk { latents: Tensor::stack(&latents, 0)?, condition })
}

/// Which latent dimensions a traversal varies.
#[derive(Clone, Copy, Debug)]
pub struct Traversal<'a> {
    /// The latent dimensions, one per row.
    pub dims: &'a [u32],
    /// Samples per row; at least 2.
    pub steps: usize,
    /// The class of all samples, if the model has classes.
    pub class: u32,
    /// The seed of the draw at which the other values stay; without it, they stay at zero.
    pub seed: Option<u64>,
}

/// Rows of `steps` latents. In each row one value goes from −3 to 3 standard deviations of the prior while the
/// others stay fixed. If the value is not one of [`GenerativeModel::direct_latents`], those follow it, as the
/// prior draws them from noise that stays fixed.
///
/// # Errors
/// [`Error::Config`] for a latent dimension that the model does not have; [`Error::Empty`] for no dimensions
/// or fewer than two steps; [`Error::NoPath`] if the latents are codes.
pub fn traversal(model: &dyn GenerativeModel, walk: &Traversal<'_>) -> Result<Walk> {
    let &Traversal { dims, steps, class, seed } = walk;
    if dims.is_empty() || steps < 2 {
        return Err(Error::Empty { what: "a traversal", of: "row of two samples" });
    }
    let info = model.info();
    check_continuous(info)?;
    let (size, device) = (info.latent_dim(), model.params().device());
    if let Some(dim) = dims.iter().find(|&&dim| dim as usize >= size) {
        let reason =
            format!("there is no latent dimension {dim}: this model has dimensions 0 to {}", size - 1);
        return Err(Error::Config { key: "dims".to_owned(), reason });
    }
    let condition = |count: usize| match info.classes() {
        0 => info.condition.unspecified(seed.unwrap_or_default(), &vec![0; count]),
        _ => Condition::classes(&vec![class; count]),
    };
    let noise: Vec<f32> = match seed {
        Some(seed) => info.latent.draw(seed, &[0], None, &Device::Cpu)?.get(0)?.to_vec1()?,
        None => vec![0.0; size],
    };
    let with = |dim: u32, value: f64| {
        let mut row = noise.clone();
        row[dim as usize] = value as f32;
        row
    };
    let drawn = |noises: Vec<f32>| -> Result<Vec<Vec<f32>>> {
        let rows = noises.len() / size;
        let noises = Tensor::from_vec(noises, (rows, size), device)?.to_dtype(model.params().dtype())?;
        let drawn = model.latents(&noises, &condition(rows)?)?.to_device(&Device::Cpu)?;
        Ok(drawn.to_dtype(DType::F32)?.to_vec2::<f32>()?)
    };
    let places: Vec<f64> = (0..steps).map(|step| 2.0 * step as f64 / (steps - 1) as f64 - 1.0).collect();
    // The latents of the noise, and of the noise with each value at both ends. A prior gives every value its
    // own mean and scale.
    let mut noises = noise.clone();
    noises.extend(dims.iter().flat_map(|&dim| [-REACH, REACH].map(|end| with(dim, end)).concat()));
    let starts = drawn(noises)?;
    let mut values = Vec::with_capacity(dims.len() * steps * size);
    for (&dim, ends) in dims.iter().zip(starts[1..].chunks_exact(2)) {
        if dim as usize >= model.direct_latents() {
            let noises = places.iter().flat_map(|place| with(dim, REACH * place)).collect();
            values.extend(drawn(noises)?.concat());
            continue;
        }
        let (low, high) = (f64::from(ends[0][dim as usize]), f64::from(ends[1][dim as usize]));
        for place in &places {
            let mut row = starts[0].clone();
            row[dim as usize] = (0.5 * (low + high) + 0.5 * (high - low) * place) as f32;
            values.extend(row);
        }
    }
    let count = dims.len() * steps;
    let latents = Tensor::from_vec(values, (count, size), device)?.to_dtype(model.params().dtype())?;
    Ok(Walk { latents, condition: condition(count)? })
}

fn check_continuous(info: &ModelInfo) -> Result<()> {
    match info.latent.code_count() {
        None => Ok(()),
        Some(_) => Err(Error::NoPath { family: info.family.clone() }),
    }
}

impl Walk {
    /// Generates the samples along the path, `(N, ..)` on the CPU, in passes and without random draws.
    /// `progress` is called with the number done.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are no latents; the model's own errors.
    pub fn generate(&self, model: &dyn GenerativeModel, mut progress: impl FnMut(usize)) -> Result<Tensor> {
        let count = self.latents.dims().first().copied().unwrap_or_default();
        let mut samples = Vec::new();
        for first in (0..count).step_by(EVALUATION_BATCH) {
            let many = EVALUATION_BATCH.min(count - first);
            let latents = self.latents.narrow(0, first, many)?;
            let condition = self.condition.narrow(first, many)?;
            let pass = model.generate(&latents, &condition, &Drawing::none())?;
            samples.push(pass.to_device(&Device::Cpu)?);
            progress(first + many);
        }
        if samples.is_empty() {
            return Err(Error::Empty { what: "a walk", of: "latent" });
        }
        Ok(Tensor::cat(&samples, 0)?)
    }
}
