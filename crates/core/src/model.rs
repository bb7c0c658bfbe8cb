//! The contract between a model and whatever trains, samples or evaluates it.

use candle_core::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Channels, height and width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// `channels` × `height` × `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Values in one image.
    pub const fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// True if an image has no values.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of a batch of `n` images.
    pub fn batch(&self, n: usize) -> Shape {
        Shape::from((n, self.channels, self.height, self.width))
    }
}

impl std::fmt::Display for ImageShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// What a training step or an evaluation gets to see.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `(N, C, H, W)` f32 in [0, 1].
    pub images: Tensor,
    /// `(N)` u32 class labels, where the data has them.
    pub labels: Option<Tensor>,
    /// The position of each image in its data set, for what must be fixed per image (binarisation, augmentation).
    pub indices: Vec<u64>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True if there are no images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}
