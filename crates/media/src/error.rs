//! The error type of `waxwork-media`.

use candle_core::Shape;

/// An error while drawing samples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed; candle's message carries the operation and the shapes.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),

    /// A tensor does not have the shape that the drawing needs.
    #[error("{what} has shape {found:?}, but must be {expected}")]
    Shape {
        /// What is drawn.
        what: &'static str,
        /// The shape in words.
        expected: &'static str,
        /// The shape given.
        found: Shape,
    },

    /// A value that has no shade, because it is NaN or infinite.
    #[error("value {place} of the images is {value}, which cannot be drawn")]
    NotFinite {
        /// The position of the value, counted from 0 over all images.
        place: usize,
        /// NaN or an infinity.
        value: f32,
    },

    /// Samples that do not fit a WAV file.
    #[error("{bytes} bytes cannot be the samples of a 16-bit WAV file: the number is odd, or too large")]
    Sound {
        /// Bytes of the samples.
        bytes: usize,
    },

    /// A picture that is too large for a GIF.
    #[error("a GIF has at most 65,535 pixels per side, not {side}")]
    Gif {
        /// The side, in pixels.
        side: usize,
    },

    /// The GIF encoder failed.
    #[error("failed to encode a GIF: {0}")]
    GifEncoding(#[from] gif::EncodingError),

    /// A picture of texts.
    #[error("texts cannot be drawn as an image")]
    Text,

    /// The PNG encoder failed.
    #[error("failed to encode a PNG: {0}")]
    Png(#[from] png::EncodingError),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
