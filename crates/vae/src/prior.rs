//! Priors p(z), or p(z | y) for conditional models.

use std::fmt::Debug;

use candle_core::Tensor;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::{Error, Result};
use waxwork_kernels as kernels;
use waxwork_nn::loss;

use crate::posterior::DiagonalGaussian;

/// A distribution over latents. In a conditional model, labels are one-hot, `(N, classes)`.
pub trait Prior: Debug + Send + Sync {
    /// log p(z | y), `(N)` in nats, of `z` `(N, latent_dim)`.
    fn log_density(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor>;

    /// Standard normal noise `(N, latent_dim)` → draws of the same shape.
    fn draw(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor>;

    /// KL(q ‖ p) by dimension, `(N, latent_dim)` in nats; None if there is no closed form.
    fn kl(&self, _q: &DiagonalGaussian, _labels: Option<&Tensor>) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// [`Prior::draw`] as nodes of a graph; None if the noise itself is a draw.
    fn export(&self, scope: GraphScope<'_>, noise: &Value, labels: Option<&Value>) -> Result<Option<Value>>;
}

/// N(0, 1) in every dimension.
#[derive(Clone, Copy, Debug)]
pub struct StandardNormal;

impl Prior for StandardNormal {
    fn log_density(&self, z: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        loss::standard_normal_log_density(z)
    }

    fn draw(&self, noise: &Tensor, _labels: Option<&Tensor>) -> Result<Tensor> {
        Ok(noise.clone())
    }

    fn kl(&self, q: &DiagonalGaussian, _labels: Option<&Tensor>) -> Result<Option<Tensor>> {
        Ok(Some(q.kl_to_standard_normal()?))
    }

    fn export(
        &self,
        _scope: GraphScope<'_>,
        _noise: &Value,
        _labels: Option<&Value>,
    ) -> Result<Option<Value>> {
        Ok(None)
    }
}

/// One learned diagonal Gaussian per class (Sohn et al. 2015), each standard normal at the start.
#[derive(Clone, Debug)]
pub struct LabelGaussian {
    /// `(classes, latent_dim)`.
    mean: Tensor,
    /// `(classes, latent_dim)`.
    log_var: Tensor,
}

impl LabelGaussian {
    /// The weights `mean` and `log_var` of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, classes: usize, latent_dim: usize) -> Result<Self> {
        Ok(Self {
            mean: scope.weight("mean", (classes, latent_dim), Init::Constant(0.0))?,
            log_var: scope.weight("log_var", (classes, latent_dim), Init::Constant(0.0))?,
        })
    }

    /// The Gaussian of each label, or mixture of labels.
    fn given(&self, labels: Option<&Tensor>) -> Result<DiagonalGaussian> {
        let labels = labels.ok_or_else(needs_labels)?;
        Ok(DiagonalGaussian {
            mean: kernels::matmul(labels, &self.mean)?,
            log_var: kernels::matmul(labels, &self.log_var)?,
        })
    }
}

impl Prior for LabelGaussian {
    fn log_density(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        self.given(labels)?.log_density(z)
    }

    fn draw(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        self.given(labels)?.draw(noise)
    }

    fn kl(&self, q: &DiagonalGaussian, labels: Option<&Tensor>) -> Result<Option<Tensor>> {
        Ok(Some(q.kl_to(&self.given(labels)?)?))
    }

    fn export(
        &self,
        mut scope: GraphScope<'_>,
        noise: &Value,
        labels: Option<&Value>,
    ) -> Result<Option<Value>> {
        let labels = labels.ok_or_else(needs_labels)?;
        let mut row = |name: &str, table: &Tensor| -> Result<Value> {
            let table = scope.tensor(name, table)?;
            Ok(scope.node("MatMul", &[labels, &table], &[]))
        };
        let (mean, log_var) = (row("mean", &self.mean)?, row("log_var", &self.log_var)?);
        Ok(Some(exported_draw(scope, noise, &mean, &log_var)?))
    }
}

/// The diagonal Gaussian that a network has computed for each sample: the condition is its mean followed
/// by its log-variance, `(N, 2 · latent_dim)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Computed {
    pub(crate) latent_dim: usize,
}

impl Computed {
    fn given(&self, condition: Option<&Tensor>) -> Result<DiagonalGaussian> {
        let condition = condition.ok_or(Error::NothingGiven)?;
        let half = |start: usize| condition.narrow(1, start, self.latent_dim)?.contiguous();
        Ok(DiagonalGaussian { mean: half(0)?, log_var: half(self.latent_dim)? })
    }
}

impl Prior for Computed {
    fn log_density(&self, z: &Tensor, condition: Option<&Tensor>) -> Result<Tensor> {
        self.given(condition)?.log_density(z)
    }

    fn draw(&self, noise: &Tensor, condition: Option<&Tensor>) -> Result<Tensor> {
        self.given(condition)?.draw(noise)
    }

    fn kl(&self, q: &DiagonalGaussian, condition: Option<&Tensor>) -> Result<Option<Tensor>> {
        Ok(Some(q.kl_to(&self.given(condition)?)?))
    }

    fn export(
        &self,
        mut scope: GraphScope<'_>,
        noise: &Value,
        condition: Option<&Value>,
    ) -> Result<Option<Value>> {
        let condition = condition.ok_or(Error::NothingGiven)?;
        let mean = scope.columns(condition, 0, self.latent_dim);
        let log_var = scope.columns(condition, self.latent_dim, self.latent_dim);
        Ok(Some(exported_draw(scope, noise, &mean, &log_var)?))
    }
}

/// [`DiagonalGaussian::draw`] as nodes of a graph.
pub(crate) fn exported_draw(
    mut scope: GraphScope<'_>,
    noise: &Value,
    mean: &Value,
    log_var: &Value,
) -> Result<Value> {
    let half = scope.affine(log_var, 0.5, 0.0)?;
    let scale = scope.node("Exp", &[&half], &[]);
    let scaled = scope.node("Mul", &[noise, &scale], &[]);
    Ok(scope.node("Add", &[mean, &scaled], &[]))
}

fn needs_labels() -> Error {
    Error::MissingLabels { what: "a prior per class".into() }
}
