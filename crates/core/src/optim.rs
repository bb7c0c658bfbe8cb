//! Adam (Kingma & Ba 2015) with AdamW's decoupled weight decay (Loshchilov & Hutter 2019): its settings and
//! its named moments.

use std::collections::BTreeMap;

use candle_core::{Shape, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::runs_on_cpu_kernels;
use crate::kernels::{self, AdamStep};
use crate::params::{ParamGroup, ParamSet};
use crate::scalar::Scalar;
use crate::schedule::{self, Schedule};
use crate::{Error, Result};

/// The optimiser's settings; `groups` overrides them per group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Base learning rate.
    pub lr: f64,
    /// Decay of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the square root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; 0 is plain Adam.
    pub weight_decay: f64,
    /// Largest Euclidean norm of a group's gradient; larger ones are scaled down to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Divide the gradient of each tensor by its Euclidean norm.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub normalise: bool,
    /// Decay of the exponential moving average of the weights; without it, no average is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Steps over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// What follows the warm-up.
    pub schedule: Schedule,
    /// Settings that differ for one group of parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupConfig>,
}

/// Settings that one group of parameters can override.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// Base learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Decay of the first and second moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Decoupled weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            lr: 2e-4,
            betas: [0.5, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: None,
            normalise: false,
            ema: None,
            warmup_steps: 0,
            schedule: Schedule::Constant,
            groups: BTreeMap::new(),
        }
    }
}

impl OptimizerConfig {
    /// Checks the values, and that every group named in `groups` is one of `known`.
    ///
    /// # Errors
    /// [`Error::Config`] names the key and says which values are valid.
    pub fn validate(&self, known: &[&str]) -> Result<()> {
        let fail = |key: &str, reason: String| Err(Error::Config { key: format!("optimizer.{key}"), reason });
        if let Some(name) = self.groups.keys().find(|name| !known.contains(&name.as_str())) {
            return fail(&format!("groups.{name}"), format!("this model's groups are {}", known.join(", ")));
        }
        if let Some(problem) = self.schedule.problem() {
            return fail("schedule", problem.into());
        }
        if self.clip_norm.is_some_and(|norm| norm.is_nan() || norm <= 0.0) {
            return fail("clip_norm", "must be positive".into());
        }
        if self.normalise && self.clip_norm.is_some() {
            return fail(
                "clip_norm",
                "has no effect with `optimizer.normalise`, which sets every norm to 1".into(),
            );
        }
        if self.ema.is_some_and(|decay| !(0.0..1.0).contains(&decay)) {
            return fail("ema", "must lie in [0, 1)".into());
        }
        for name in known {
            let group = self.of_group(name);
            if !(group.lr > 0.0 && group.lr.is_finite()) {
                return fail("lr", format!("must be positive, got {}", group.lr));
            }
            if group.betas.iter().any(|beta| !(0.0..1.0).contains(beta)) {
                return fail("betas", format!("must lie in [0, 1), got {:?}", group.betas));
            }
            let finite = group.eps.is_finite() && group.weight_decay.is_finite();
            if !(finite && group.eps > 0.0 && group.weight_decay >= 0.0) {
                return fail(
                    "eps",
                    "`eps` must be positive, `weight_decay` must be 0 or more, and both must be finite"
                        .into(),
                );
            }
        }
        Ok(())
    }

    /// The settings of one group: its own overrides, else the common ones.
    fn of_group(&self, name: &str) -> GroupSettings {
        let own = self.groups.get(name);
        GroupSettings {
            lr: own.and_then(|group| group.lr).unwrap_or(self.lr),
            betas: own.and_then(|group| group.betas).unwrap_or(self.betas),
            weight_decay: own.and_then(|group| group.weight_decay).unwrap_or(self.weight_decay),
            eps: self.eps,
        }
    }

    /// The factor on every group's base rate at `step` of `total`.
    fn lr_factor(&self, step: u64, total: u64) -> f64 {
        schedule::warmup(step, self.warmup_steps) * self.schedule.factor(step, total)
    }
}

struct GroupSettings {
    lr: f64,
    betas: [f64; 2],
    weight_decay: f64,
    eps: f64,
}

/// The moments of every weight, by name, and the number of updates of every group.
#[derive(Debug)]
pub struct Adam {
    config: OptimizerConfig,
    moments: BTreeMap<String, Moments>,
    /// On a device, the same moments concatenated into one row per group, which shares their storage. Each
    /// operation costs a kernel launch, so an operation runs once per group instead of once per weight.
    rows: BTreeMap<String, Moments>,
    updates: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Moments {
    first: Tensor,
    second: Tensor,
}

/// The gradient of a group, in the order of its parameters, and its Euclidean norm.
#[derive(Debug)]
pub(crate) struct GroupGradient {
    /// One tensor per weight, or a single row on a device.
    tensors: Vec<Tensor>,
    pub(crate) norm: Scalar,
}

impl GroupGradient {
    /// Takes the gradients of the group's weights, which are `factor` times too large.
    pub(crate) fn new(tensors: Vec<Tensor>, factor: f64) -> Result<Self> {
        if tensors.first().is_some_and(|tensor| !runs_on_cpu_kernels(tensor.device())) {
            let row = concat_flat(&tensors)?;
            let row = if factor == 1.0 { row } else { row.affine(factor.recip(), 0.0)? };
            let norm = Scalar::Unread(kernels::row_norm(&row)?);
            return Ok(Self { tensors: vec![row], norm });
        }
        let mut squares = 0.0;
        for tensor in &tensors {
            squares += kernels::sum_squares(tensor)?;
        }
        Ok(Self { tensors, norm: Scalar::Known(squares.sqrt()) })
    }
}

/// All elements, one tensor after the other, in new storage.
fn concat_flat(tensors: &[Tensor]) -> Result<Tensor> {
    let flat: Vec<Tensor> =
        tensors.iter().map(|tensor| tensor.detach().flatten_all()).collect::<Result<_, _>>()?;
    // candle does not copy a single tensor.
    Ok(if let [one] = flat.as_slice() { one.force_contiguous()? } else { Tensor::cat(&flat, 0)? })
}

impl Adam {
    /// Zero moments for every weight of every group.
    pub(crate) fn new(params: &ParamSet, groups: &[ParamGroup], config: OptimizerConfig) -> Result<Self> {
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        config.validate(&names)?;
        let (mut moments, mut rows) = (BTreeMap::new(), BTreeMap::new());
        for group in groups {
            let zeros = |shape: &Shape| -> Result<Moments> {
                let zeros = || Tensor::zeros(shape, params.dtype(), params.device());
                Ok(Moments { first: zeros()?, second: zeros()? })
            };
            let shapes = group.params.iter().map(|name| Ok(variable(params, name)?.shape().clone()));
            let shapes: Vec<Shape> = shapes.collect::<Result<_>>()?;
            if runs_on_cpu_kernels(params.device()) {
                for (name, shape) in group.params.iter().zip(&shapes) {
                    moments.insert(name.clone(), zeros(shape)?);
                }
                continue;
            }
            let row = zeros(&shapes.iter().map(Shape::elem_count).sum::<usize>().into())?;
            let views = views(&row.first, &shapes)?.into_iter().zip(views(&row.second, &shapes)?);
            for (name, (first, second)) in group.params.iter().zip(views) {
                moments.insert(name.clone(), Moments { first, second });
            }
            rows.insert(group.name.clone(), row);
        }
        let updates = groups.iter().map(|group| (group.name.clone(), 0)).collect();
        Ok(Self { config, moments, rows, updates })
    }

    /// The optimiser's settings.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Updates one group in place, and its moving average.
    pub(crate) fn update(
        &mut self,
        params: &ParamSet,
        group: &ParamGroup,
        gradient: GroupGradient,
        clock: Clock,
        ema: Option<&ParamSet>,
    ) -> Result<()> {
        let settings = self.config.of_group(&group.name);
        let updates = self.updates.entry(group.name.clone()).or_default();
        *updates = updates.saturating_add(1);
        let [beta1, beta2] = settings.betas;
        let GroupGradient { mut tensors, norm } = gradient;
        if self.config.normalise && !runs_on_cpu_kernels(params.device()) {
            tensors = vec![normalised_row(params, group, &tensors)?];
        }
        let grad_scale = match (self.config.clip_norm, norm) {
            (None, _) => 1.0,
            (Some(limit), Scalar::Known(norm)) => (limit / norm).min(1.0),
            (Some(limit), Scalar::Unread(norm)) => {
                let scale = norm.maximum(limit)?.recip()?.affine(limit, 0.0)?;
                for tensor in &mut tensors {
                    *tensor = tensor.broadcast_mul(&scale)?;
                }
                1.0
            }
        };
        let step = AdamStep {
            lr: settings.lr * self.config.lr_factor(clock.step, clock.total),
            beta1,
            beta2,
            eps: settings.eps,
            weight_decay: settings.weight_decay,
            step: *updates,
            grad_scale,
        };
        // A young average would long remember the random start, so its decay rises with its age (as in
        // TensorFlow).
        let decay =
            self.config.ema.map(|decay| decay.min((1.0 + *updates as f64) / (10.0 + *updates as f64)));
        let average = ema.zip(decay);
        if let (Some(row), [gradient]) = (self.rows.get(&group.name), tensors.as_slice()) {
            return update_row(params, group, row, gradient, &step, average);
        }
        for (name, gradient) in group.params.iter().zip(&tensors) {
            let Moments { first, second } = self.moments.get(name).ok_or_else(|| unknown(name))?;
            let average = match average {
                Some((ema, decay)) => Some((variable(ema, name)?.as_tensor(), decay)),
                None => None,
            };
            let grad_scale = if self.config.normalise { scale_to_1(gradient)? } else { step.grad_scale };
            let step = AdamStep { grad_scale, ..step };
            kernels::adam_step(variable(params, name)?, gradient, first, second, &step, average)?;
        }
        Ok(())
    }

    /// The moments as `first/NAME` and `second/NAME`; they share storage.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let named = self.moments.iter().flat_map(|(name, moments)| {
            [("first", &moments.first), ("second", &moments.second)]
                .map(|(kind, tensor)| (format!("{kind}/{name}"), tensor.clone()))
        });
        named.collect()
    }

    /// The number of updates of each group.
    pub fn updates(&self) -> &BTreeMap<String, u64> {
        &self.updates
    }

    /// Restores what [`Adam::tensors`] and [`Adam::updates`] returned.
    pub(crate) fn restore(
        &mut self,
        tensors: &BTreeMap<String, Tensor>,
        updates: &BTreeMap<String, u64>,
    ) -> Result<()> {
        for (name, moments) in &self.moments {
            for (kind, own) in [("first", &moments.first), ("second", &moments.second)] {
                let full = format!("{kind}/{name}");
                let expected = || Error::MissingTensor { name: full.clone(), expected: own.shape().clone() };
                let stored = tensors.get(&full).ok_or_else(expected)?;
                if stored.shape() != own.shape() {
                    let (expected, found) = (own.shape().clone(), stored.shape().clone());
                    return Err(Error::TensorShape { name: full, expected, found });
                }
                let stored = stored.to_device(own.device())?.to_dtype(own.dtype())?.force_contiguous()?;
                own.slice_set(&stored, 0, 0)?;
            }
        }
        self.updates.clone_from(updates);
        Ok(())
    }
}

/// The factor that gives a gradient a norm of 1; 1 if it is zero.
fn scale_to_1(gradient: &Tensor) -> Result<f64> {
    let norm = kernels::sum_squares(gradient)?.sqrt();
    Ok(if norm > 0.0 { norm.recip() } else { 1.0 })
}

/// The gradients of a group, concatenated to a row on their device. Each tensor's part is scaled to a norm of
/// 1, unless it is zero.
fn normalised_row(params: &ParamSet, group: &ParamGroup, gradient: &[Tensor]) -> Result<Tensor> {
    // A gradient of zero stays zero.
    const LEAST: f64 = 1e-30;
    let shapes = group.params.iter().map(|name| Ok(variable(params, name)?.shape().clone()));
    let shapes: Vec<Shape> = shapes.collect::<Result<_>>()?;
    let row = concat_flat(gradient)?;
    let mut parts = Vec::with_capacity(shapes.len());
    for view in views(&row, &shapes)? {
        let view = view.flatten_all()?;
        let norm = kernels::row_norm(&view)?.maximum(LEAST)?;
        parts.push(view.broadcast_div(&norm)?);
    }
    concat_flat(&parts)
}

/// Updates all weights of one group on a device as one row. `gradient` is the row of their gradients.
fn update_row(
    params: &ParamSet,
    group: &ParamGroup,
    moments: &Moments,
    gradient: &Tensor,
    step: &AdamStep,
    average: Option<(&ParamSet, f64)>,
) -> Result<()> {
    let of_set = |set: &ParamSet| -> Result<Vec<Tensor>> {
        group.params.iter().map(|name| Ok(variable(set, name)?.as_detached_tensor())).collect()
    };
    let weights = of_set(params)?;
    let shapes: Vec<Shape> = weights.iter().map(|weight| weight.shape().clone()).collect();
    let row = concat_flat(&weights)?;
    let put_back = |row: &Tensor, weights: &[Tensor]| -> Result<()> {
        for (view, weight) in views(row, &shapes)?.iter().zip(weights) {
            weight.slice_set(view, 0, 0)?;
        }
        Ok(())
    };
    let Moments { first, second } = moments;
    match average {
        None => kernels::adam_step(&row, gradient, first, second, step, None)?,
        Some((set, decay)) => {
            let averages = of_set(set)?;
            let average = concat_flat(&averages)?;
            kernels::adam_step(&row, gradient, first, second, step, Some((&average, decay)))?;
            put_back(&average, &averages)?;
        }
    }
    put_back(&row, &weights)
}

/// Views of a row as tensors of these shapes, one after the other, which share its storage.
fn views(row: &Tensor, shapes: &[Shape]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let mut view = |shape: &Shape| {
        let part = row.narrow(0, start, shape.elem_count())?;
        start += shape.elem_count();
        Ok(part.reshape(shape)?)
    };
    shapes.iter().map(&mut view).collect()
}

/// The step of an update, and the run's length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) step: u64,
    pub(crate) total: u64,
}

fn variable<'a>(params: &'a ParamSet, name: &str) -> Result<&'a Var> {
    params.get(name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    Error::UnknownParameter { name: name.to_owned() }
}
