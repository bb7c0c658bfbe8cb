//! The parts of an encoded row.

use serde::{Deserialize, Serialize};

/// A part of an encoded row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The column it belongs to, by its position in the schema.
    pub column: usize,
    /// Its first number.
    pub start: usize,
    /// What it holds.
    pub shape: Shape,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One number from −1 to 1.
    Scalar,
    /// So many numbers, one of which is 1 and the others 0.
    Choice(usize),
}

impl Shape {
    /// How many numbers it takes.
    pub fn width(self) -> usize {
        match self {
            Self::Scalar => 1,
            Self::Choice(places) => places,
        }
    }
}

/// The parts of an encoded row in order, without gaps. A scalar comes before the choice of its mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The parts.
    pub segments: Vec<Segment>,
}

impl Layout {
    /// How many numbers a row has.
    pub fn width(&self) -> usize {
        self.segments.last().map_or(0, |last| last.start + last.shape.width())
    }

    pub(super) fn push(&mut self, column: usize, shape: Shape) {
        let start = self.width();
        self.segments.push(Segment { column, start, shape });
    }

    /// The choice of a column, if it has one.
    pub fn choice(&self, column: usize) -> Option<Segment> {
        let choice = |segment: &&Segment| segment.column == column && segment.shape != Shape::Scalar;
        self.segments.iter().find(choice).copied()
    }
}
