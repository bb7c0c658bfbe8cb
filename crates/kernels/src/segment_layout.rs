//! How a row is cut into segments.

use std::sync::Arc;

use candle_core::Tensor;

use crate::error::{Error, Result};

/// ½ log 2π.
pub(crate) const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_7;

/// What the values of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Any number, computed as it is.
    Real,
    /// In [−1, 1], computed as a tanh.
    Signed,
    /// One choice of as many as the segment is wide, computed as a softmax.
    Choice,
}

/// How the last dimension of a tensor is cut: kind and width of each segment, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    parts: Arc<[(SegmentKind, usize)]>,
    width: usize,
    numbers: usize,
}

impl Segments {
    /// Segments of these kinds and widths.
    pub fn new(parts: impl IntoIterator<Item = (SegmentKind, usize)>) -> Self {
        let parts: Arc<[(SegmentKind, usize)]> = parts.into_iter().filter(|(_, width)| *width > 0).collect();
        let width = parts.iter().map(|(_, width)| width).sum();
        let number =
            |(kind, width): &(SegmentKind, usize)| if *kind == SegmentKind::Choice { 0 } else { *width };
        Self { numbers: parts.iter().map(number).sum(), parts, width }
    }

    /// Kind and width of each segment.
    pub fn parts(&self) -> &[(SegmentKind, usize)] {
        &self.parts
    }

    /// Values of all segments.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values that are no part of a choice.
    pub fn numbers(&self) -> usize {
        self.numbers
    }

    /// Refuses a tensor whose last dimension is not these segments.
    pub(crate) fn check(&self, what: &'static str, x: &Tensor) -> Result<()> {
        if x.rank() >= 1 && x.dims().last() == Some(&self.width) && self.width > 0 {
            return Ok(());
        }
        Err(Error::Input { what, expected: format!("(.., {})", self.width), found: x.shape().clone() })
    }
}
