//! The parts of an encoded row.

use serde::{Deserialize, Serialize};

/// A part of an encoded row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Position in the schema of the column that it belongs to.
    pub column: usize,
    /// Index of its first number.
    pub start: usize,
    /// Its contents.
    pub shape: Shape,
}

/// The contents of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One number from −1 to 1.
    Scalar,
    /// A one-hot vector of this length.
    Choice(usize),
}

impl Shape {
    /// Returns the number of numbers.
    pub fn width(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Choice(places) => places,
        }
    }
}

/// The parts of an encoded row, in order and without gaps. A scalar comes before the choice of its mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The parts.
    pub segments: Vec<Segment>,
}

impl Layout {
    /// Returns the width of a row.
    pub fn width(&self) -> usize {
        self.segments.last().map_or(0, |last| last.start + last.shape.width())
    }

    pub(super) fn push(&mut self, column: usize, shape: Shape) {
        let start = self.width();
        self.segments.push(Segment { column, start, shape });
    }

    /// Returns the choice of a column, if it has one.
    pub fn choice(&self, column: usize) -> Option<Segment> {
        let choice = |segment: &&Segment| segment.column == column && segment.shape != Shape::Scalar;
        self.segments.iter().find(choice).copied()
    }
}
