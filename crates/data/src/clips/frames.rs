//! The frames of clips as images.

use std::sync::Arc;

use waxwork_core::hash::sha256;
use waxwork_core::{ImageShape, Kind};

use super::files::needs_clips;
use crate::parts::Parts;
use crate::{Result, Source};

/// The frames of a source of clips, one clip after the other, each with the label of its clip.
struct Frames {
    clips: Arc<dyn Source>,
    frames: usize,
    image: ImageShape,
}

impl Source for Frames {
    fn kind(&self) -> Kind {
        self.image.into()
    }

    fn len(&self) -> usize {
        self.clips.len() * self.frames
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let size = self.image.len();
        // A clip is stored as its frames, one after the other.
        let mut clip = vec![0; self.frames * size];
        self.clips.write_sample(index / self.frames, &mut clip)?;
        out.copy_from_slice(&clip[index % self.frames * size..][..size]);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.clips.label(index / self.frames)
    }
}

/// The frames of both parts of a data set of clips of this kind.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if the kind is not that of clips.
pub(crate) fn frames(clips: Parts, kind: &Kind) -> Result<Parts> {
    let (frames, image) = needs_clips(kind)?;
    let of = |clips| Arc::new(Frames { clips, frames, image });
    let identity = sha256(format!("waxwork-data frames of {}", clips.identity).as_bytes());
    Ok(Parts { train: of(clips.train), test: of(clips.test), identity })
}
