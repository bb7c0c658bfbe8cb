//! Activation functions as single passes, alone or at the end of another kernel.

use std::borrow::Cow;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};

use super::buffer::{by_dtype, elements, map1, map2, slice, tensor};
use super::composed;
use super::real::Real;
use super::tape;
use crate::device::runs_on_cpu_kernels;
use crate::{Error, Result};

/// What follows a linear map, elementwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
#[cfg_attr(feature = "schema", serde(rename_all = "kebab-case"))]
pub enum Activation {
    /// x.
    #[default]
    Identity,
    /// max(x, 0).
    Relu,
    /// x for x > 0, else slope · x; the slope is in [0, ∞).
    LeakyRelu(f32),
    /// tanh(x), in (−1, 1).
    Tanh,
    /// 1 / (1 + exp(−x)), in (0, 1).
    Sigmoid,
    /// x / (1 + exp(−x)).
    Silu,
}

/// Evaluates an expression with `$f` bound to a method of the activation over `T`, one closure a kind, so that no loop
/// inside has a branch on the kind.
macro_rules! by_activation {
    ($activation:expr, $f:ident = $method:ident($($x:ident),+) => $body:expr) => {
        match $activation {
            Activation::Identity => {
                let $f = {
#[inline(always)]
|$($x: T),+| Activation::Identity.$method($($x),+)
};
                $body
            }
            Activation::Relu => {
                let $f = {
#[inline(always)]
|$($x: T),+| Activation::Relu.$method($($x),+)
};
                $body
            }
            Activation::Tanh => {
                let $f = {
#[inline(always)]
|$($x: T),+| Activation::Tanh.$method($($x),+)
};
                $body
            }
            Activation::Sigmoid => {
                let $f = {
#[inline(always)]
|$($x: T),+| Activation::Sigmoid.$method($($x),+)
};
                $body
            }
            Activation::Silu => {
                let $f = {
#[inline(always)]
|$($x: T),+| Activation::Silu.$method($($x),+)
};
                $body
            }
            Activation::LeakyRelu(slope) => {
                let $f = {
#[inline(always)]
|$($x: T),+| Activation::LeakyRelu(slope).$method($($x),+)
};
                $body
            }
        }
    };
}
pub(super) use by_activation;

impl Activation {
    /// A slope that would make the sign of the output ambiguous is refused.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::LeakyRelu(slope) if !(0.0..f32::INFINITY).contains(&slope) => Err(Error::Argument {
                name: "leaky_relu",
                reason: format!("the slope is {slope}, but must be in [0, inf)"),
            }),
            _ => Ok(()),
        }
    }

    /// The function itself.
    #[inline(always)]
    pub(super) fn value<T: Real>(self, x: T) -> T {
        match self {
            Self::Identity => x,
            // Comparisons with NaN are false, so NaN stays what it is.
            Self::Relu => {
                if x < T::ZERO {
                    T::ZERO
                } else {
                    x
                }
            }
            Self::LeakyRelu(slope) => {
                if x > T::ZERO {
                    x
                } else {
                    x * T::from_f64(f64::from(slope))
                }
            }
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Silu => x * x.sigmoid(),
        }
    }

    /// The gradient of the input from the output `y` and its gradient. Not for [`Activation::Silu`], whose output
    /// does not tell the input.
    #[inline(always)]
    pub(super) fn gradient<T: Real>(self, y: T, grad: T) -> T {
        match self {
            Self::Identity | Self::Silu => grad,
            Self::Relu => {
                if y <= T::ZERO {
                    T::ZERO
                } else {
                    grad
                }
            }
            Self::LeakyRelu(slope) => {
                if y > T::ZERO {
                    grad
                } else {
                    grad * T::from_f64(f64::from(slope))
                }
            }
            Self::Tanh => grad * (T::ONE - y * y),
            Self::Sigmoid => grad * (y * (T::ONE - y)),
        }
    }

    /// True if nothing follows.
    pub(super) fn is_identity(self) -> bool {
        self == Self::Identity
    }

    /// The part that can be fused into a kernel whose gradient is taken from its output, and what must follow it.
    pub(super) fn split(self) -> (Self, Self) {
        match self {
            Self::Silu => (Self::Identity, Self::Silu),
            fused => (fused, Self::Identity),
        }
    }
}

/// f(x) for every element of a tensor of any shape, differentiable.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    activation.check()?;
    if activation.is_identity() {
        return Ok(x.clone());
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::activate(x, activation);
    }
    Ok(tape::apply1(&x.contiguous()?, Activate(activation))?)
}

struct Activate(Activation);

impl Activate {
    fn backward<T: Real>(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let source = if self.0 == Activation::Silu { x } else { y };
        elements!(T; source, grad);
        let out = match self.0 {
            Activation::Silu => map2(
                source,
                grad,
                #[inline(always)]
                |x: T, grad| {
                    let s = x.sigmoid();
                    grad * (s * (T::ONE + x * (T::ONE - s)))
                },
            ),
            activation => activation.backward(source, grad),
        };
        tensor(out, y.shape())
    }
}

impl Activation {
    /// The gradient of the input, elementwise, from the output and its gradient.
    pub(super) fn backward<T: Real>(self, y: &[T], grad: &[T]) -> Vec<T> {
        by_activation!(self, f = gradient(y, grad) => map2(y, grad, f))
    }

    /// The same, or the gradient itself where there is nothing to go through.
    pub(super) fn through<'a, T: Real>(self, y: &[T], grad: &'a [T]) -> Cow<'a, [T]> {
        if self.is_identity() { Cow::Borrowed(grad) } else { Cow::Owned(self.backward(y, grad)) }
    }

    /// f(y) in place.
    #[inline(always)]
    pub(super) fn apply<T: Real>(self, y: &mut [T]) {
        by_activation!(self, f = value(x) => {
            for y in y {
                *y = f(*y);
            }
        });
    }

    fn forward<T: Real>(self, x: &[T]) -> Vec<T> {
        by_activation!(self, f = value(x) => map1(x, f))
    }
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "waxwork-activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.0.forward::<T>(slice(storage, layout)?))
        });
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        by_dtype!(y.dtype(), T => self.backward::<T>(x, y, grad)).map(Some)
    }
}
