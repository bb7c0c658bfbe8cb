//! The windows of a pooling operation.

/// How the pixels of a window are reduced to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pool {
    /// The largest value; NaN if the window contains one.
    Max,
    /// The mean of the pixels within the image; padding does not count.
    Mean,
}

/// Square windows, `stride` pixels apart, on an image with `padding` pixels on each side, which do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Height and width of a window, in pixels.
    pub size: usize,
    /// Distance between the starts of neighbouring windows, in pixels.
    pub stride: usize,
    /// Pixels on each side; less than `size`.
    pub padding: usize,
}
