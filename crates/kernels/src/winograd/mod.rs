//! The three products of a convolution by minimal filtering: of square convolutions whose kernel is two or
//! three times as wide as their stride, and of those along a line with a kernel of five.
//!
//! The padded image is split into phases by the stride and stored channels-last, so that one position holds a
//! run of `depth` numbers, which are the channels times both strides, and the convolution becomes one of
//! stride 1 with two or three taps per axis, or with five along a line. For each pair of an input and an
//! output channel, tiles of 2 × 2 outputs then need 9 products instead of 16 (3 taps: 16 instead of 36), and
//! tiles of 4 × 4 outputs need 25 instead of 64 (3 taps: 36 instead of 144). Along a line, tiles of 4 outputs
//! need 8 products instead of 20 ([`transforms`]). For each point of the transformed tile there is one matrix
//! product over the channels, whose operands are stored in the order in which the innermost loop reads them.
//! The numbers of input and output channels must be multiples of 16, so that runs fill whole registers.

mod multiply;
mod numbers;
mod plan;
mod products;
pub(crate) mod tiles;
pub(crate) mod transforms;
mod weights;

pub(crate) use plan::Winograd;
