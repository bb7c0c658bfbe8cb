//! The three products of a convolution whose kernel is two or three strides wide, by minimal filtering.
//!
//! The image, with its padding, is split into phases by the stride and laid out channel last, so that one position holds a
//! run of `depth` = channels · stride² numbers, and the convolution becomes one of stride 1 with a kernel of two or three
//! taps a side. Tiles of 2 × 2 outputs then need 9 products instead of 16 (3 taps: 16 instead of 36) an input channel and
//! output channel, tiles of 4 × 4 need 25 instead of 64 ([`transforms`]). For each point of the transformed tile there is one matrix product over the
//! channels, all operands of which lie in memory as the innermost loop reads them. Input channels and output channels must be multiples
//! of 16, so that runs are whole registers.

mod multiply;
mod numbers;
mod plan;
mod products;
pub(crate) mod tiles;
pub(crate) mod transforms;
mod weights;

pub(crate) use plan::Winograd;
