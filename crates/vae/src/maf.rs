//! The masked autoregressive flow as a prior (Papamakarios, Pavlakou & Murray 2017).

mod fit;

use candle_core::{Device, Tensor};
use waxwork_core::onnx::{Attribute, GraphScope, Part, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::{Error, Result};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::rows::beside;

use crate::prior::{Prior, StandardNormal};

pub use fit::fit;

/// Logarithms of scales within this range are exact; those outside are squashed to at most one beyond it.
const LOG_SCALE: (f64, f64) = (-6.0, 4.0);

/// Maximum number of passes through a layer in an exported graph, which contains a copy for each pass.
const MOST_PASSES: usize = 500;

/// p(z | y): the distribution of standard normal noise after all layers. In each layer, value i of the result
/// is noise_i · exp(α_i) + μ_i, where α_i and μ_i depend on the values of the result before i (a masked
/// network, MADE, Germain et al. 2015) and on the label. Every other layer processes the values in reverse
/// order. A new flow is standard normal.
#[derive(Clone, Debug)]
pub struct Maf {
    latent_dim: usize,
    layers: Vec<Made>,
}

/// A layer: a network of one hidden layer with masks.
#[derive(Clone, Debug)]
struct Made {
    /// `(hidden, latent_dim + width)`: the values of a condition come last.
    hidden_weight: Tensor,
    /// `(hidden)`.
    hidden_bias: Tensor,
    /// `(latent_dim, hidden)` each.
    shift_weight: Tensor,
    scale_weight: Tensor,
    /// `(latent_dim)` each.
    shift_bias: Tensor,
    scale_bias: Tensor,
    /// 1 where an input may reach a hidden unit, and where a hidden unit may reach an output.
    inputs: Tensor,
    outputs: Tensor,
}

impl Maf {
    /// Creates a flow of `layers` layers with `hidden` units each, for conditions of `width` values, from the
    /// weights of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        layers: usize,
        hidden: usize,
        latent_dim: usize,
        width: usize,
    ) -> Result<Self> {
        let layer =
            |number: usize| Made::new(scope.enter(number), hidden, latent_dim, width, number % 2 == 1);
        Ok(Self { latent_dim, layers: (0..layers).map(layer).collect::<Result<_>>()? })
    }

    /// The noise `(N, latent_dim)` that the flow maps to `z`, and the logarithm of the determinant of its
    /// Jacobian with respect to `z`, `(N)`.
    fn noise_of(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (mut z, mut log_scales) = (z.clone(), z.zeros_like()?);
        for layer in self.layers.iter().rev() {
            let (shift, log_scale) = layer.masked()?.forward(&z, labels)?;
            z = (z - shift)?.mul(&kernels::exp(&log_scale.neg()?)?)?;
            log_scales = (log_scales + log_scale)?;
        }
        Ok((z, log_scales.sum(1)?.neg()?))
    }
}

impl Made {
    fn new(
        mut scope: Scope<'_>,
        hidden: usize,
        latent_dim: usize,
        width: usize,
        reversed: bool,
    ) -> Result<Self> {
        let (d, inputs) = (latent_dim, latent_dim + width);
        let uniform = Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
        let mut weight = |name: &str, shape: &[usize], init: Init| scope.weight(name, shape, init);
        let zero = Init::Constant(0.0);
        let hidden_weight = weight("hidden.weight", &[hidden, inputs], uniform)?;
        // A value sees units of degrees lower than its own, and a unit sees values of degrees up to its own.
        let of_value = |at: usize| if reversed { d - at } else { at + 1 };
        // Only a condition can reach units of degree 0.
        let (lowest, degrees) = if width > 0 { (0, d) } else { (1, (d - 1).max(1)) };
        let of_unit = |unit: usize| lowest + unit * degrees / hidden;
        let mask = |rows: usize, columns: usize, is_open: &dyn Fn(usize, usize) -> bool| -> Result<Tensor> {
            let values =
                (0..rows * columns).map(|at| f32::from(u8::from(is_open(at / columns, at % columns))));
            let mask = Tensor::from_vec(values.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu)?;
            Ok(mask.to_dtype(hidden_weight.dtype())?.to_device(hidden_weight.device())?)
        };
        Ok(Self {
            inputs: mask(hidden, inputs, &|unit, input| input >= d || of_value(input) <= of_unit(unit))?,
            outputs: mask(d, hidden, &|output, unit| of_unit(unit) < of_value(output))?,
            hidden_bias: weight("hidden.bias", &[hidden], zero)?,
            shift_weight: weight("shift.weight", &[d, hidden], zero)?,
            shift_bias: weight("shift.bias", &[d], zero)?,
            scale_weight: weight("scale.weight", &[d, hidden], zero)?,
            scale_bias: weight("scale.bias", &[d], zero)?,
            hidden_weight,
        })
    }

    /// The weights without the masked connections.
    fn masked(&self) -> Result<Masked<'_>> {
        Ok(Masked {
            hidden: (self.hidden_weight.mul(&self.inputs)?, &self.hidden_bias),
            shift: (self.shift_weight.mul(&self.outputs)?, &self.shift_bias),
            scale: (self.scale_weight.mul(&self.outputs)?, &self.scale_bias),
        })
    }

    /// The values that this layer computes from noise. Value i needs the values before it, so each pass makes
    /// one more value correct.
    fn draw(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let masked = self.masked()?;
        let mut z = noise.clone();
        for _ in 0..noise.dim(1)? {
            let (shift, log_scale) = masked.forward(&z, labels)?;
            z = (noise.mul(&kernels::exp(&log_scale)?)? + shift)?.detach();
        }
        Ok(z)
    }

    /// [`Made::draw`] as nodes of a graph, with one copy of the network's nodes for each pass.
    fn export(
        &self,
        scope: &mut GraphScope<'_>,
        noise: &Value,
        labels: Option<&Value>,
        passes: usize,
    ) -> Result<Value> {
        let Masked { hidden, shift, scale } = self.masked()?;
        let mut stored = |name: &str, (weight, bias): (Tensor, &Tensor)| -> Result<(Value, Value)> {
            let weight = scope.tensor(&format!("{name}.weight"), &weight)?;
            Ok((weight, scope.tensor(&format!("{name}.bias"), bias)?))
        };
        let (hidden, shift, scale) =
            (stored("hidden", hidden)?, stored("shift", shift)?, stored("scale", scale)?);
        let (low, high) = LOG_SCALE;
        let mut z = noise.clone();
        for _ in 0..passes {
            let input = scope.beside(&z, labels);
            let units = gemm(scope, &input, &hidden);
            let units = scope.activate(units, Activation::Tanh);
            let log_scale = gemm(scope, &units, &scale);
            let log_scale = scope.soft_bound(&log_scale, low, high)?;
            let factor = scope.node("Exp", &[&log_scale], &[]);
            let scaled = scope.node("Mul", &[noise, &factor], &[]);
            let shift = gemm(scope, &units, &shift);
            z = scope.node("Add", &[&scaled, &shift], &[]);
        }
        Ok(z)
    }
}

/// x · wᵀ + b as a node of a graph.
fn gemm(scope: &mut GraphScope<'_>, x: &Value, (weight, bias): &(Value, Value)) -> Value {
    scope.node("Gemm", &[x, weight, bias], &[("transB", Attribute::Int(1))])
}

/// The weights of a layer's connections, each with a bias.
struct Masked<'a> {
    hidden: (Tensor, &'a Tensor),
    shift: (Tensor, &'a Tensor),
    scale: (Tensor, &'a Tensor),
}

impl Masked<'_> {
    /// μ and α, `(N, latent_dim)` each. The hidden units are bounded, so both are bounded too, even for
    /// values that [`Made::draw`] has not computed correctly yet.
    fn forward(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let linear = |x: &Tensor, (weight, bias): &(Tensor, &Tensor), activation: Activation| {
            kernels::linear(x, weight, Some(*bias), activation)
        };
        let units = linear(&beside(z, labels)?, &self.hidden, Activation::Tanh)?;
        let (low, high) = LOG_SCALE;
        let log_scale = linear(&units, &self.scale, Activation::Identity)?;
        Ok((linear(&units, &self.shift, Activation::Identity)?, kernels::soft_bound(&log_scale, low, high)?))
    }
}

impl Prior for Maf {
    fn log_density(&self, z: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let (noise, log_determinant) = self.noise_of(z, labels)?;
        Ok((StandardNormal.log_density(&noise, None)? + log_determinant)?)
    }

    fn draw(&self, noise: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        self.layers.iter().try_fold(noise.clone(), |z, layer| layer.draw(&z, labels))
    }

    fn export(
        &self,
        mut scope: GraphScope<'_>,
        noise: &Value,
        labels: Option<&Value>,
    ) -> Result<Option<Value>> {
        if self.layers.len() * self.latent_dim > MOST_PASSES {
            return Err(Error::NoGraph {
                part: Part::Prior,
                reason: "a masked autoregressive flow computes one value after another, so a graph of it can have \
                         at most 500 passes (layers times latent dimensions)",
            });
        }
        let mut z = noise.clone();
        for (number, layer) in self.layers.iter().enumerate() {
            z = layer.export(&mut scope.enter(number), &z, labels, self.latent_dim)?;
        }
        Ok(Some(z))
    }
}

#[cfg(test)]
mod tests;
