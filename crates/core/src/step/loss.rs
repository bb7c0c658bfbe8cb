//! What a step minimises.

use candle_core::Tensor;

/// A scalar to minimise, and its named terms.
#[derive(Debug)]
pub struct Loss {
    pub(super) name: &'static str,
    pub(super) total: Tensor,
    pub(super) terms: Vec<(&'static str, Tensor)>,
}

impl Loss {
    /// The scalar `total`, logged as `name`.
    pub fn new(name: &'static str, total: Tensor) -> Self {
        Self { name, total, terms: vec![] }
    }

    /// Names one part of the total, for the log and for messages about NaN.
    pub fn term(mut self, name: &'static str, value: &Tensor) -> Self {
        self.terms.push((name, value.detach()));
        self
    }
}
