//! The arithmetic of one Adam step.

use crate::float::Float;

/// The settings of one Adam step, with decoupled weight decay (AdamW).
///
/// With g = `grad_scale` · gradient and t = `step`:
/// p ← p · (1 − lr · weight_decay), m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²,
/// p ← p − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps), as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate of this step.
    pub lr: f64,
    /// Decay rate of the mean gradient m, in [0, 1).
    pub beta1: f64,
    /// Decay rate of the mean squared gradient v, in [0, 1).
    pub beta2: f64,
    /// Added to the square root of the bias-corrected v.
    pub eps: f64,
    /// Decoupled weight decay: the parameter shrinks by the factor 1 − lr · weight_decay,
    /// independent of the gradient.
    pub weight_decay: f64,
    /// The number of this step, counted from 1.
    pub step: u64,
    /// Factor by which the gradient is multiplied first; 1 without clipping.
    pub grad_scale: f64,
}

/// The constant factors of one step, rounded to the element type once.
#[derive(Clone, Copy)]
pub(crate) struct Factors<T> {
    shrink: T,
    grad_scale: T,
    keep1: T,
    gain1: T,
    keep2: T,
    gain2: T,
    rate: T,
    inverse_root_correction2: T,
    eps: T,
    pub(crate) decay: T,
    pub(crate) gain: T,
}

impl<T: Float> Factors<T> {
    pub(crate) fn new(step: &AdamStep, decay: f64) -> Self {
        let t = step.step as f64;
        let correction1 = 1.0 - libm::pow(step.beta1, t);
        let correction2 = 1.0 - libm::pow(step.beta2, t);
        Self {
            shrink: T::from_f64(1.0 - step.lr * step.weight_decay),
            grad_scale: T::from_f64(step.grad_scale),
            keep1: T::from_f64(step.beta1),
            gain1: T::from_f64(1.0 - step.beta1),
            keep2: T::from_f64(step.beta2),
            gain2: T::from_f64(1.0 - step.beta2),
            rate: T::from_f64(-step.lr / correction1),
            inverse_root_correction2: T::from_f64(1.0 / correction2.sqrt()),
            eps: T::from_f64(step.eps),
            decay: T::from_f64(decay),
            gain: T::from_f64(1.0 - decay),
        }
    }

    /// Updates one element of param, m and v.
    #[inline(always)]
    pub(crate) fn update(self, p: &mut T, m: &mut T, v: &mut T, g: T) {
        let g = g * self.grad_scale;
        *m = self.keep1.fma(*m, self.gain1 * g);
        *v = self.keep2.fma(*v, self.gain2 * g * g);
        let root = v.sqrt().fma(self.inverse_root_correction2, self.eps);
        *p = self.rate.fma(*m / root, *p * self.shrink);
    }
}
