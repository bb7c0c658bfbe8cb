//! Folders of clips: strips, animated files and numbered frames as samples of one number of frames and one
//! size.
//!
//! ```text
//! DIR/train/walk/1.png   DIR/test/walk/2.png    a strip, a GIF or an animated PNG per clip
//! DIR/walk/1.gif         DIR/jump/2.gif         a fixed tenth of each class is the test part
//! DIR/walk/a/0001.png    DIR/walk/a/0002.png    numbered frames, one folder per clip
//! DIR/a/0001.png         DIR/b/0001.png         the same without classes
//! ```

mod files;
mod frames;
mod packing;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::{ImageShape, Kind};

use crate::{Error, Result};

pub use crate::longer::Longer;
pub use files::{Clips, clip, read};
pub(crate) use files::{load, load_strips};
pub(crate) use frames::frames;
pub(crate) use packing::Packing;

/// Rows and columns that a frame may have.
const SIZES: std::ops::RangeInclusive<usize> = 4..=1024;
/// Default rows and columns, unless the frames are smaller.
const SIZE: usize = 64;
/// Frames that a clip may have.
const FRAMES: std::ops::RangeInclusive<usize> = 2..=files::MOST_FRAMES;

/// How files become clips of one number of frames and one size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClipsConfig {
    /// Frames per clip, 2 to 4096. Default: the data set's own, or those of the first clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// Rows and columns of a frame, 4 to 1024. Each frame is scaled so that its shorter side has this size, then its middle is cropped. Default: the data set's own, or 64, or the shorter side of the first clip's frames if that is smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Use one channel (grey) instead of three.
    pub grey: bool,
    /// What happens to clips with more frames.
    pub longer: Longer,
    /// Leave out clips that cannot be read or are too short, and count them, instead of failing.
    pub skip_unreadable: bool,
}

impl ClipsConfig {
    /// Returns the kind of clips; `frames` and `size` are the data set's own.
    ///
    /// # Errors
    /// [`Error::Config`] if the number of frames or the size is out of bounds.
    pub(crate) fn kind(&self, frames: usize, size: usize) -> Result<Kind> {
        let (frames, size) = (self.frames.unwrap_or(frames), self.size.unwrap_or(size));
        let channels = if self.grey { 1 } else { 3 };
        for (key, range, found) in [("data.clips.frames", FRAMES, frames), ("data.clips.size", SIZES, size)] {
            if !range.contains(&found) {
                let reason = format!("must be {} to {}, got {found}", range.start(), range.end());
                return Err(Error::Config { key, reason });
            }
        }
        Ok(Kind::Clip { frames, image: ImageShape::new(channels, size, size) })
    }
}
