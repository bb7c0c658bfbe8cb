//! How a row is cut into segments.

use std::sync::Arc;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::float::Float;

/// ½ log 2π.
pub(crate) const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_7;

/// The kind of a segment's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Any number, computed as it is.
    Real,
    /// In [−1, 1], computed as a tanh.
    Signed,
    /// A choice among as many options as the segment is wide, computed as a softmax.
    Choice,
}

/// How the last dimension of a tensor is cut: kind and width of each segment, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    parts: Arc<[(SegmentKind, usize)]>,
    width: usize,
    numbers: usize,
    /// For every number, the positions of the choices that silence it.
    silenced_by: Arc<[Vec<usize>]>,
}

impl Segments {
    /// Segments of these kinds and widths.
    pub fn new(parts: impl IntoIterator<Item = (SegmentKind, usize)>) -> Self {
        let parts: Arc<[(SegmentKind, usize)]> = parts.into_iter().filter(|(_, width)| *width > 0).collect();
        let width = parts.iter().map(|(_, width)| width).sum();
        let number =
            |(kind, width): &(SegmentKind, usize)| if *kind == SegmentKind::Choice { 0 } else { *width };
        Self { numbers: parts.iter().map(number).sum(), parts, width, silenced_by: Arc::new([]) }
    }

    /// The same segments, where some numbers mean nothing in some rows: the number at position `value` of a
    /// row if the target at one of `places` is 1. A likelihood leaves it out there.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no number at a position, or no value at a place.
    pub fn silenced(mut self, silences: impl IntoIterator<Item = (usize, Vec<usize>)>) -> Result<Self> {
        let mut positions = Vec::with_capacity(self.numbers);
        let mut start = 0;
        for &(kind, width) in &*self.parts {
            if kind != SegmentKind::Choice {
                positions.extend(start..start + width);
            }
            start += width;
        }
        let mut silenced_by = vec![Vec::new(); self.numbers];
        for (value, places) in silences {
            let number = positions.iter().position(|position| *position == value);
            match number.filter(|_| places.iter().all(|place| *place < self.width)) {
                Some(number) => silenced_by[number] = places,
                None => {
                    let reason = format!("no number at {value} that {places:?} could silence");
                    return Err(Error::Argument { name: "silences", reason });
                }
            }
        }
        self.silenced_by = silenced_by.into();
        Ok(self)
    }

    /// For every number, the positions that silence it; empty if no number is ever silent.
    pub(crate) fn silenced_by(&self) -> &[Vec<usize>] {
        &self.silenced_by
    }

    /// Whether number `number` of a row with these targets means nothing.
    #[inline(always)]
    pub(crate) fn is_silent<T: Float>(&self, number: usize, targets: &[T]) -> bool {
        let places = self.silenced_by.get(number);
        places.is_some_and(|places| places.iter().any(|place| targets[*place] > T::HALF))
    }

    /// Kind and width of each segment.
    pub fn parts(&self) -> &[(SegmentKind, usize)] {
        &self.parts
    }

    /// Number of values in all segments.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of values that are not part of a choice.
    pub fn numbers(&self) -> usize {
        self.numbers
    }

    /// Refuses a tensor whose last dimension does not fit these segments.
    pub(crate) fn check(&self, what: &'static str, x: &Tensor) -> Result<()> {
        if x.rank() >= 1 && x.dims().last() == Some(&self.width) && self.width > 0 {
            return Ok(());
        }
        Err(Error::Input { what, expected: format!("(.., {})", self.width), found: x.shape().clone() })
    }
}
