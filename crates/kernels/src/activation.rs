//! Activation functions: their values and gradients on slices, alone or fused into another kernel.

use std::borrow::Cow;

use crate::elementwise::{map1, map2};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::simd::simd;

/// An elementwise function that follows a linear map.
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

/// Evaluates an expression with `$f` bound to the [`Function`] of an activation. Each activation is a
/// separate type, so loops inside the expression do not branch on it.
macro_rules! by_activation {
    ($activation:expr, $f:ident => $body:expr) => {
        match $activation {
            $crate::activation::Activation::Identity => {
                let $f = $crate::activation::Identity;
                $body
            }
            $crate::activation::Activation::Relu => {
                let $f = $crate::activation::Relu;
                $body
            }
            $crate::activation::Activation::LeakyRelu(slope) => {
                let $f = $crate::activation::LeakyRelu(slope);
                $body
            }
            $crate::activation::Activation::Tanh => {
                let $f = $crate::activation::Tanh;
                $body
            }
            $crate::activation::Activation::Sigmoid => {
                let $f = $crate::activation::Sigmoid;
                $body
            }
            $crate::activation::Activation::Silu => {
                let $f = $crate::activation::Silu;
                $body
            }
        }
    };
}
pub(crate) use by_activation;

impl Activation {
    /// Refuses slopes outside [0, ∞): with a negative slope the output would not show the sign of the input.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::LeakyRelu(slope) if !(0.0..f32::INFINITY).contains(&slope) => Err(Error::Argument {
                name: "leaky_relu",
                reason: format!("the slope is {slope}, but must be in [0, inf)"),
            }),
            _ => Ok(()),
        }
    }

    /// Whether this is the identity.
    pub(crate) fn is_identity(self) -> bool {
        self == Self::Identity
    }

    /// Whether the slope is constant on either side of 0.
    pub fn is_piecewise_linear(self) -> bool {
        matches!(self, Self::Identity | Self::Relu | Self::LeakyRelu(_))
    }

    /// Splits the activation into the part that a kernel can fuse, whose gradient follows from its output,
    /// and the part that must be applied after the kernel.
    pub(crate) fn split(self) -> (Self, Self) {
        match self {
            Self::Silu => (Self::Identity, Self::Silu),
            fused => (fused, Self::Identity),
        }
    }

    /// Returns the gradient of the input, given the output `y` and its gradient, elementwise.
    pub(crate) fn backward<T: Float>(self, y: &[T], grad: &[T]) -> Vec<T> {
        by_activation!(self, f => map2(
            y,
            grad,
            #[inline(always)]
            |y, grad| f.gradient(y, grad),
        ))
    }

    /// [`Activation::backward`], without a copy if the activation is the identity.
    pub(crate) fn through<'a, T: Float>(self, y: &[T], grad: &'a [T]) -> Cow<'a, [T]> {
        if self.is_identity() { Cow::Borrowed(grad) } else { Cow::Owned(self.backward(y, grad)) }
    }

    /// f(x) for every element.
    pub(crate) fn forward<T: Float>(self, x: &[T]) -> Vec<T> {
        by_activation!(self, f => map1(
            x,
            #[inline(always)]
            |x| f.value(x),
        ))
    }

    /// f(y) in place.
    #[inline(always)]
    pub(crate) fn apply<T: Float>(self, y: &mut [T]) {
        by_activation!(self, f => {
            for y in y {
                *y = f.value(*y);
            }
        });
    }

    /// f(y + add) in place.
    pub(crate) fn apply_plus<T: Float>(self, y: &mut [T], add: T) {
        simd(
            #[inline(always)]
            || {
                for y in &mut *y {
                    *y += add;
                }
                self.apply(y);
            },
        );
    }
}

/// An activation function as a type.
pub(crate) trait Function: Copy + Send + Sync {
    /// f(x).
    fn value<T: Float>(self, x: T) -> T;

    /// Returns the gradient of the input, given the output `y` and its gradient.
    fn gradient<T: Float>(self, y: T, grad: T) -> T;
}

#[derive(Clone, Copy)]
pub(crate) struct Identity;

impl Function for Identity {
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        x
    }

    #[inline(always)]
    fn gradient<T: Float>(self, _: T, grad: T) -> T {
        grad
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Relu;

impl Function for Relu {
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        // A comparison with NaN is false, so NaN gives NaN.
        if x < T::ZERO { T::ZERO } else { x }
    }

    #[inline(always)]
    fn gradient<T: Float>(self, y: T, grad: T) -> T {
        if y <= T::ZERO { T::ZERO } else { grad }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct LeakyRelu(pub(crate) f32);

impl Function for LeakyRelu {
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        if x > T::ZERO { x } else { x * T::from_f64(f64::from(self.0)) }
    }

    #[inline(always)]
    fn gradient<T: Float>(self, y: T, grad: T) -> T {
        if y > T::ZERO { grad } else { grad * T::from_f64(f64::from(self.0)) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Tanh;

impl Function for Tanh {
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        x.tanh()
    }

    #[inline(always)]
    fn gradient<T: Float>(self, y: T, grad: T) -> T {
        grad * (T::ONE - y * y)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        x.sigmoid()
    }

    #[inline(always)]
    fn gradient<T: Float>(self, y: T, grad: T) -> T {
        grad * (y * (T::ONE - y))
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        x * x.sigmoid()
    }

    /// Returns the gradient unchanged, because the output does not determine the input. [`Activation::split`]
    /// ensures that this function is never fused.
    #[inline(always)]
    fn gradient<T: Float>(self, _: T, grad: T) -> T {
        grad
    }
}
