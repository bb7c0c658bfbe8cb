//! The windows of a pooling.

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Its largest value; NaN where it has one.
    Max,
    /// The mean of the pixels that it has: padding does not count.
    Mean,
}

/// Square windows, `stride` apart, over an image with `padding` pixels beside it that no window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Height and width.
    pub size: usize,
    /// Pixels between two windows.
    pub stride: usize,
    /// Less than `size`.
    pub padding: usize,
}
