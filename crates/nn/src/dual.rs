//! Forward-mode differentiation with operations of the first-order tape: a value goes through a network
//! together with its derivative along one direction of the input.
//!
//! A discriminator's gradient penalty needs the gradient, in the weights, of the norm of the gradient in the
//! image. Let v be the unit direction of the gradient in the image, held constant. Then the norm equals the
//! directional derivative along v, and their gradients in the weights are equal too. So the ordinary gradient
//! of what this module computes is enough, and no second-order tape is needed.

use candle_core::Tensor;

use waxwork_core::{Error, Result};
use waxwork_kernels::{self as kernels, Activation};

/// A tensor, and its derivative along a direction if one is tracked.
#[derive(Clone, Debug)]
pub struct Dual {
    /// The value.
    pub value: Tensor,
    /// Its directional derivative, of the same shape.
    pub tangent: Option<Tensor>,
}

impl Dual {
    /// A value whose derivative is not tracked.
    pub fn constant(value: Tensor) -> Self {
        Self { value, tangent: None }
    }

    /// An input and the direction of its derivative, of the same shape.
    pub fn along(value: Tensor, direction: Tensor) -> Self {
        Self { value, tangent: Some(direction) }
    }

    /// Applies `f`, which must be affine in its tensor. If called with `false`, it must leave out its
    /// constant part.
    pub fn affine(&self, f: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        let tangent = self.tangent.as_ref().map(|tangent| f(tangent, false)).transpose()?;
        Ok(Self { value: f(&self.value, true)?, tangent })
    }

    /// Applies `f`, which must be linear in its tensor.
    pub fn linear(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.affine(|x, _| f(x))
    }

    /// The sum of two values.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let tangent = match (&self.tangent, &other.tangent) {
            (Some(a), Some(b)) => Some((a + b)?),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        Ok(Self { value: (&self.value + &other.value)?, tangent })
    }

    /// Applies an activation.
    ///
    /// # Errors
    /// If a derivative is tracked through an activation that is not piecewise linear.
    pub fn activate(&self, activation: Activation) -> Result<Self> {
        let value = kernels::activate(&self.value, activation)?;
        let Some(tangent) = &self.tangent else { return Ok(Self::constant(value)) };
        let slope = match activation {
            Activation::Identity => return Ok(Self { value, tangent: Some(tangent.clone()) }),
            Activation::Relu => 0.0,
            Activation::LeakyRelu(slope) => f64::from(slope),
            other => {
                let layer = format!("{other:?}, which is not piecewise linear");
                return Err(Error::NoDirectionalDerivative { layer });
            }
        };
        // The slopes are locally constant, so they need no gradient of their own.
        let positive = self.value.detach().gt(0.0)?.to_dtype(tangent.dtype())?;
        let slopes = positive.affine(1.0 - slope, slope)?;
        Ok(Self { value, tangent: Some(tangent.mul(&slopes)?) })
    }
}
