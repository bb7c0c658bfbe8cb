//! Dynamic loss scaling, for layers that compute in f16.

use serde::{Deserialize, Serialize};

/// Dynamic loss scaling (Micikevicius et al. 2018): losses are multiplied by a power of two before the
/// backward pass, so that small gradients survive f16. An update that overflows is skipped and halves the
/// factor; many updates without an overflow double it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor is 2 to this power.
    exponent: i32,
    /// Updates since the factor last changed.
    updates: u32,
}

impl LossScale {
    pub(super) const FIRST: Self = Self { exponent: 16, updates: 0 };
    /// Updates without an overflow after which the factor doubles.
    const PATIENCE: u32 = 2000;
    const LARGEST: i32 = 24;

    pub(super) fn factor(self) -> f64 {
        f64::from(2f32.powi(self.exponent))
    }

    /// The scale after an update, whose values were all finite or not. None if the factor is already 1: then
    /// the cause was not an overflow.
    pub(super) fn after(self, finite: bool) -> Option<Self> {
        match finite {
            true if self.updates + 1 < Self::PATIENCE => Some(Self { updates: self.updates + 1, ..self }),
            true => Some(Self { exponent: (self.exponent + 1).min(Self::LARGEST), updates: 0 }),
            false if self.exponent > 0 => Some(Self { exponent: self.exponent - 1, updates: 0 }),
            false => None,
        }
    }
}
