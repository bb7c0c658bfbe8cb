//! Clips that commands write: animated grids, video, strips and arrays.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use waxwork_core::{Tensor, npy, store};
use waxwork_media::clips::{self, Animation};

use crate::failure::Failure;
use crate::output::{self, Labelled, extension};

/// The path that stands for standard output, to which clips go as Y4M video.
pub(crate) const STANDARD_OUTPUT: &str = "-";

/// True if clips written to `path` go to standard output.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == STANDARD_OUTPUT
}

/// Checks that clips can be written to `path`. Call this before anything slow.
pub(crate) fn check_target(path: &Path) -> Result<(), Failure> {
    match extension(path).as_deref() {
        Some("png" | "apng" | "gif" | "y4m" | "npy" | "safetensors") => Ok(()),
        Some(other) => Err(Failure::new(format!(
            "`{}`: cannot write .{other} files; use .png, .gif, .y4m, .npy, .safetensors, a folder (no extension), or `-` for Y4M \
             video on standard output",
            path.display()
        ))),
        None if is_standard_output(path) => Ok(()),
        None => output::check_new_folder(path),
    }
}

/// Writes clips `(N, T, C, H, W)` in the format of the path's extension: a grid that plays all of them (.png
/// animated, .gif, .y4m, or Y4M on standard output), an array (.npy, with labels in a file next to it), a tensor
/// file, or, without an extension, a new folder of strips.
pub(crate) fn write(
    path: &Path,
    samples: &Tensor,
    columns: usize,
    labelled: Option<Labelled<'_>>,
    first: u64,
) -> Result<(), Failure> {
    match extension(path).as_deref() {
        Some("npy") => {
            npy::save(path, samples)?;
            output::write_labels_beside(path, labelled)?;
        }
        Some("safetensors") => {
            let mut tensors = BTreeMap::from([("clips".to_owned(), samples.clone())]);
            if let Some(Labelled { labels, .. }) = labelled {
                tensors.insert("labels".to_owned(), Tensor::new(labels, samples.device())?);
            }
            store::save(path, &tensors)?;
        }
        None if !is_standard_output(path) => {
            let strip = |i: usize| Ok(clips::strip(&samples.get(i)?)?.png()?);
            output::write_folder(path, "png", samples.dim(0)?, labelled, first, strip)?;
        }
        _ => write_animation(path, &clips::animation(samples, columns)?)?,
    }
    Ok(())
}

/// Writes an animation as .png, .gif or .y4m, or as Y4M to standard output.
pub(crate) fn write_animation(path: &Path, animation: &Animation) -> Result<(), Failure> {
    match extension(path).as_deref() {
        Some("png" | "apng") => store::write(path, &animation.apng()?)?,
        Some("gif") => store::write(path, &animation.gif()?)?,
        Some("y4m") => store::write(path, &animation.y4m())?,
        _ if is_standard_output(path) => {
            let mut out = std::io::stdout().lock();
            out.write_all(&animation.y4m())
                .and_then(|()| out.flush())
                .map_err(store::failed("write", path))?;
        }
        _ => check_target(path)?,
    }
    Ok(())
}
