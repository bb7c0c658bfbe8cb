//! The weight of a linear or convolutional layer: its initialisation, and spectral normalisation.

use candle_core::{Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::collective::Reduction;
use waxwork_core::params::{Init, Scope};
use waxwork_kernels as kernels;

/// Initialisation of linear and convolutional layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightInit {
    /// PyTorch's default: weights and biases uniform within 1/√fan_in (Kaiming uniform with a = √5).
    #[default]
    Pytorch,
    /// Uniform within √(6 / (fan_in + fan_out)), biases zero (Glorot & Bengio 2010).
    Glorot,
    /// Normal with standard deviation 0.02, biases zero (Radford et al. 2016).
    Normal,
    /// Normal with standard deviation √(2 / fan_in), biases zero (He et al. 2015).
    He,
}

impl WeightInit {
    pub(super) fn weight(self, fan_in: usize, fan_out: usize) -> Init {
        match self {
            Self::Pytorch => Init::Uniform { bound: (fan_in.max(1) as f64).sqrt().recip() },
            Self::Glorot => Init::Uniform { bound: (6.0 / (fan_in + fan_out).max(1) as f64).sqrt() },
            Self::Normal => Init::Normal { std: 0.02 },
            Self::He => Init::Normal { std: (2.0 / fan_in.max(1) as f64).sqrt() },
        }
    }

    pub(super) fn bias(self, fan_in: usize) -> Init {
        match self {
            Self::Pytorch => self.weight(fan_in, 0),
            Self::Glorot | Self::Normal | Self::He => Init::Constant(0.0),
        }
    }
}

/// Initialisation of a layer's weight, and whether its largest singular value is kept at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightStyle {
    /// Initial values.
    pub init: WeightInit,
    /// Spectral normalisation (Miyato et al. 2018).
    pub spectral_norm: bool,
    /// Zeros instead of `init`, at the end of a residual branch, so that the block starts as the identity
    /// (Zhang et al. 2019). Zero weights have no direction, so spectral normalisation keeps `init`.
    pub zero: bool,
}

impl WeightStyle {
    pub(super) fn start(self, fan_in: usize, fan_out: usize) -> Init {
        if self.zero && !self.spectral_norm {
            return Init::Constant(0.0);
        }
        self.init.weight(fan_in, fan_out)
    }
}

impl From<WeightInit> for WeightStyle {
    fn from(init: WeightInit) -> Self {
        Self { init, spectral_norm: false, zero: false }
    }
}

/// A stored weight, and the state of its spectral normalisation.
#[derive(Clone, Debug)]
pub struct Weight {
    stored: Tensor,
    spectral: Option<SpectralNorm>,
}

/// The weight of another layer.
impl From<Tensor> for Weight {
    fn from(stored: Tensor) -> Self {
        Self { stored, spectral: None }
    }
}

/// The current singular vectors of the power iteration: PyTorch's buffers `weight_u` and `weight_v`.
#[derive(Clone, Debug)]
struct SpectralNorm {
    u: Var,
    v: Var,
}

impl Weight {
    /// A weight of shape `(rows, …)` in `scope`. Its name is `weight`, or with spectral normalisation
    /// PyTorch's `weight_orig`, `weight_u` and `weight_v`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(scope: &mut Scope<'_>, shape: &[usize], init: Init, spectral_norm: bool) -> Result<Self> {
        if !spectral_norm {
            return Ok(Self { stored: scope.weight("weight", shape, init)?, spectral: None });
        }
        let rows = shape.first().copied().unwrap_or(1);
        let columns: usize = shape.iter().skip(1).product();
        // A random direction, and a length very near one.
        let unit = |n: usize| Init::Normal { std: (n.max(1) as f64).sqrt().recip() };
        let stored = scope.weight("weight_orig", shape, init)?;
        let u = scope.buffer("weight_u", rows, unit(rows))?;
        let v = scope.buffer("weight_v", columns, unit(columns))?;
        Ok(Self { stored, spectral: Some(SpectralNorm { u, v }) })
    }

    /// The weight for a forward pass: the stored one, divided by its largest singular value if it has
    /// spectral normalisation. Outside [`Mode::Eval`], one step of power iteration from the committed vectors
    /// comes first; the gradient treats its vectors as constant.
    pub fn in_mode(&self, mode: Mode<'_>) -> Result<Tensor> {
        let Some(SpectralNorm { u, v }) = &self.spectral else { return Ok(self.stored.clone()) };
        let matrix = self.stored.flatten_from(1)?;
        let (left, right) = match mode {
            Mode::Eval => (u.as_detached_tensor(), v.as_detached_tensor()),
            Mode::Train(_) | Mode::Frozen => {
                let fixed = matrix.detach();
                let right = unit(&kernels::matmul(&u.as_detached_tensor().unsqueeze(0)?, &fixed)?)?;
                let left = unit(&kernels::matmul(&right, &fixed.t()?)?)?;
                (left.squeeze(0)?, right.squeeze(0)?)
            }
        };
        if let Mode::Train(log) = mode {
            log.record(u, left.clone(), 1.0, Reduction::Mean);
            log.record(v, right.clone(), 1.0, Reduction::Mean);
        }
        let sigma = kernels::matmul(&left.unsqueeze(1)?, &right.unsqueeze(0)?)?.mul(&matrix)?.sum_all()?;
        Ok(self.stored.broadcast_div(&sigma)?)
    }
}

fn unit(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_all()?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use waxwork_core::StatisticsLog;
    use waxwork_core::params::ParamSet;

    #[test]
    fn power_iteration_finds_the_largest_singular_value_and_holds_its_vectors_in_the_gradient() {
        let mut params = ParamSet::fresh_with(3, &Device::Cpu, DType::F64);
        let weight = Weight::new(&mut params.root(), &[4, 3, 2], Init::Normal { std: 1.0 }, true).unwrap();
        for _ in 0..300 {
            let log = StatisticsLog::default();
            weight.in_mode(Mode::Train(&log)).unwrap();
            log.commit().unwrap();
        }
        // The largest singular value of the result is one: W v = u with both of length one.
        let normed = weight.in_mode(Mode::Eval).unwrap();
        let v = params.get("weight_v").unwrap().as_detached_tensor();
        let image = kernels::matmul(&normed.flatten_from(1).unwrap(), &v.unsqueeze(1).unwrap()).unwrap();
        let u = params.get("weight_u").unwrap().as_detached_tensor();
        let error = (image.squeeze(1).unwrap() - u).unwrap().sqr().unwrap().sum_all().unwrap();
        assert!(error.to_scalar::<f64>().unwrap() < 1e-20);

        // d/dW of Σ c · W/σ(W) against central differences, at the fixed point of the iteration.
        let c = Tensor::arange(0f64, 24.0, &Device::Cpu).unwrap().reshape((4, 3, 2)).unwrap();
        let value = || (weight.in_mode(Mode::Frozen).unwrap() * &c).unwrap().sum_all().unwrap();
        let var = params.get("weight_orig").unwrap();
        let gradient = value().backward().unwrap().get(var).unwrap().flatten_all().unwrap();
        let gradient = gradient.to_vec1::<f64>().unwrap();
        let start = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for i in 0..24 {
            let at = |delta: f64| {
                let mut moved = start.clone();
                moved[i] += delta;
                var.set(&Tensor::from_vec(moved, (4, 3, 2), &Device::Cpu).unwrap()).unwrap();
                value().to_scalar::<f64>().unwrap()
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((gradient[i] - numeric).abs() < 1e-6 * (1.0 + numeric.abs()), "{i}");
        }
    }
}
