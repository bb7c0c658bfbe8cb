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

#[cfg(test)]
mod tests {
    use waxwork_core::{Device, ImageShape, Kind};
    use waxwork_data::View;
    use waxwork_models::Classes;

    use super::*;
    use crate::commands::foreign::read_split;
    use crate::output::Form;

    const FRAMES: usize = 12;
    const SIDE: usize = 8;

    fn kind(side: usize) -> Kind {
        Kind::Clip { frames: FRAMES, image: ImageShape::new(1, side, side) }
    }

    /// The grey value of every frame of a clip: no frame is like another, nor like one of the other clip.
    fn greys(clip: u8) -> Vec<u8> {
        (0..FRAMES as u8).map(|time| 3 + 7 * clip + 20 * time).collect()
    }

    /// Each frame has its own grey value, which identifies it when it is read back.
    #[test]
    fn frames_come_back_in_order_from_every_file_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes: Vec<u8> =
            [greys(0), greys(1)].concat().iter().flat_map(|grey| [*grey; SIDE * SIDE]).collect();
        let values: Vec<f32> = bytes.iter().map(|value| f32::from(*value) / 255.0).collect();
        let samples = Tensor::from_vec(values, (2, FRAMES, 1, SIDE, SIDE), &Device::Cpu).unwrap();
        let form = Form { kind: kind(SIDE), view: View::of(&kind(SIDE)), rows: None };
        for name in ["some.npy", "some.safetensors", "strips"] {
            write(&path(name), &samples, 10, None, 0).unwrap();
            let split = read_split(&path(name), &form, &Classes::default()).unwrap();
            assert_eq!(split.len(), 2, "{name}");
            assert!(split.bytes(&[0, 1]).unwrap() == bytes, "{name}");
        }
        // A grid of one clip, with its gaps of two pixels, is a clip of larger frames.
        let (second, side) = (samples.narrow(0, 1, 1).unwrap(), SIDE + 4);
        for name in ["one.png", "one.apng", "one.gif"] {
            write(&path(name), &second, 1, None, 0).unwrap();
            let clip = waxwork_data::clips::clip(&path(name), &kind(side)).unwrap();
            for (frame, grey) in clip.chunks_exact(side * side).zip(greys(1)) {
                assert!(frame[..2 * side].iter().all(|value| *value == 64), "{name}: the gap");
                for row in frame[2 * side..(side - 2) * side].chunks_exact(side) {
                    assert_eq!(row[2..side - 2], [grey; SIDE], "{name}");
                }
            }
        }
    }
}
