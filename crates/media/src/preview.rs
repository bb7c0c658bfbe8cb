//! Previews of a few samples of each kind: files for a run folder, and an image of them.

use candle_core::Tensor;
use waxwork_core::Kind;

use crate::grid::{self, Picture};
use crate::{Error, Result};
use crate::{clips, scatter, spectrograms, wav};

/// Images in a preview.
const IMAGES: usize = 100;
/// Rows in a preview.
const ROWS: usize = 100;
/// Points in a preview.
const POINTS: usize = 2000;
/// Sounds in a preview: each takes seconds to listen to.
const SOUNDS: usize = 20;
/// Clips in a preview: each is as large as many images.
const CLIPS: usize = 40;
/// Texts in a preview.
const TEXTS: usize = 50;
/// Bytes of a token as people read it, roughly.
const TOKEN_BYTES: usize = 8;
/// Images per row of a preview.
const COLUMNS: usize = 10;

/// A file that shows samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its file name extension: `png`, …
    pub extension: &'static str,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// The image, if it is one; `bytes` are then its PNG. Of an animated PNG, the first frame.
    pub picture: Option<Picture>,
    /// The sound, if it is one; `bytes` are then its WAV.
    pub sound: Option<Sound>,
}

/// The sound in a WAV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Sample rate in Hz.
    pub rate: u32,
    /// Number of samples.
    pub samples: usize,
}

impl Artifact {
    /// Lines of text.
    pub fn of_lines(lines: &[String]) -> Self {
        let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n'])).collect();
        Self { extension: "txt", bytes, picture: None, sound: None }
    }

    /// One WAV file of sounds in their stored form, `each` bytes long, one after the other.
    ///
    /// # Errors
    /// As [`wav::file`].
    pub fn of_sounds(rate: u32, sounds: &[u8], each: usize) -> Result<Self> {
        let all = wav::one_after_another(rate, sounds, each);
        let sound = Some(Sound { rate, samples: all.len() / 2 });
        Ok(Self { extension: "wav", bytes: wav::file(rate, &all)?, picture: None, sound })
    }
}

/// Number of samples in a preview.
pub const fn preview_count(kind: &Kind) -> usize {
    match kind {
        Kind::Image(_) => IMAGES,
        Kind::Points { .. } => POINTS,
        Kind::Rows(_) => ROWS,
        Kind::Sound { .. } => SOUNDS,
        Kind::Text { .. } => TEXTS,
        Kind::Clip { .. } => CLIPS,
    }
}

/// Approximate maximum size of a preview in bytes.
pub fn preview_bytes(kind: &Kind) -> usize {
    match kind {
        Kind::Image(shape) => shape.len() * IMAGES,
        Kind::Points { .. } => 1 << 18,
        Kind::Rows(spec) => spec.len() * ROWS * 4,
        // A WAV file, and an image with at most one byte for every other sample.
        Kind::Sound { length, .. } => length.saturating_mul(3 * SOUNDS),
        Kind::Text { length, .. } => length.saturating_mul(TEXTS * TOKEN_BYTES),
        Kind::Clip { .. } => kind.bytes().saturating_mul(CLIPS),
    }
}

/// Draws samples `(N, ..)` as an image: a grid of images with `columns` per row, a plot of points, one line
/// of pixels per encoded row, spectrograms of sounds with the lowest frequency at the bottom, or the first
/// frames of clips.
///
/// # Errors
/// If the samples are not of that kind, or a value is not finite.
pub fn picture(kind: &Kind, samples: &Tensor, columns: usize) -> Result<Picture> {
    match kind {
        Kind::Image(_) => grid::grid(samples, columns),
        Kind::Points { .. } => scatter::scatter(samples),
        Kind::Rows(_) => lines(samples),
        Kind::Sound { .. } => grid::grid(&spectrograms::upright(samples)?, columns),
        Kind::Text { .. } => Err(Error::Text),
        Kind::Clip { .. } => grid::grid(&clips::first_frames(samples)?, columns),
    }
}

/// The animation of samples `(N, ..)`; None if they do not move.
///
/// # Errors
/// As [`picture`].
pub fn moving(kind: &Kind, samples: &Tensor, columns: usize) -> Result<Option<clips::Animation>> {
    let Kind::Clip { .. } = kind else { return Ok(None) };
    clips::animation(samples, columns).map(Some)
}

/// The animation of pairs of samples, laid out as by [`pairs`]; None if they do not move.
///
/// # Errors
/// As [`pairs`].
pub fn moving_pairs(
    kind: &Kind,
    above: &Tensor,
    below: &Tensor,
    columns: usize,
) -> Result<Option<clips::Animation>> {
    let Kind::Clip { .. } = kind else { return Ok(None) };
    let columns = fitted(above, columns);
    moving(kind, &grid::interleaved(above, below, columns)?, columns)
}

/// As many columns as `above` fills, at most `columns`. With more, what belongs under the first samples would
/// be next to the last ones.
fn fitted(above: &Tensor, columns: usize) -> usize {
    columns.min(above.dims().first().copied().unwrap_or_default())
}

/// A PNG file of samples `(N, ..)` as [`picture`] draws them, animated if they move.
///
/// # Errors
/// As [`picture`].
pub fn png(kind: &Kind, samples: &Tensor, columns: usize) -> Result<Vec<u8>> {
    match moving(kind, samples, columns)? {
        Some(animation) => animation.apng(),
        None => picture(kind, samples, columns)?.png(),
    }
}

/// A PNG file of pairs of samples as [`pairs`] draws them, animated if they move.
///
/// # Errors
/// As [`pairs`].
pub fn png_of_pairs(kind: &Kind, above: &Tensor, below: &Tensor, columns: usize) -> Result<Vec<u8>> {
    match moving_pairs(kind, above, below, columns)? {
        Some(animation) => animation.apng(),
        None => pairs(kind, above, below, columns)?.png(),
    }
}

/// Draws pairs of samples `(N, ..)`: images, first frames of clips and sounds with `below` under `above`, in rows of `columns`;
/// points in one plot, those of `above` paler; encoded rows alternately.
///
/// # Errors
/// As [`picture`], or if `above` and `below` differ in number.
pub fn pairs(kind: &Kind, above: &Tensor, below: &Tensor, columns: usize) -> Result<Picture> {
    let columns = fitted(above, columns);
    match kind {
        Kind::Image(_) => grid::grid(&grid::interleaved(above, below, columns)?, columns),
        Kind::Points { .. } => scatter::pairs(above, below),
        Kind::Rows(_) => lines(&grid::interleaved(above, below, 1)?),
        Kind::Sound { .. } => {
            let both = grid::interleaved(above, below, columns)?;
            grid::grid(&spectrograms::upright(&both)?, columns)
        }
        Kind::Text { .. } => Err(Error::Text),
        Kind::Clip { .. } => {
            let [above, below] = [clips::first_frames(above)?, clips::first_frames(below)?];
            grid::grid(&grid::interleaved(&above, &below, columns)?, columns)
        }
    }
}

/// Encoded rows as one grey image, one line of pixels each: −1 is black, 1 is white.
fn lines(rows: &Tensor) -> Result<Picture> {
    grid::single(&rows.affine(0.5, 0.5)?.clamp(0f32, 1f32)?.unsqueeze(0)?)
}

/// The files that show samples `(N, ..)` in a run folder.
///
/// # Errors
/// As [`picture`], but of texts there are no files: who knows the vocabulary makes them ([`Artifact::of_lines`]).
pub fn preview(kind: &Kind, samples: &Tensor) -> Result<Vec<Artifact>> {
    if matches!(kind, Kind::Text { .. }) {
        return Ok(Vec::new());
    }
    let picture = picture(kind, samples, COLUMNS)?;
    let bytes = png(kind, samples, COLUMNS)?;
    Ok(vec![Artifact { extension: "png", bytes, picture: Some(picture), sound: None }])
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use waxwork_core::ImageShape;

    use super::*;

    #[test]
    fn texts_are_lines() {
        let kind = Kind::Text { vocabulary: 3, length: 4 };
        let texts = Tensor::zeros((preview_count(&kind), 4, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(preview(&kind, &texts).unwrap().is_empty() && picture(&kind, &texts, 10).is_err());
        let artifact = Artifact::of_lines(&["a b".into(), "c".into()]);
        assert_eq!((artifact.extension, artifact.bytes.as_slice()), ("txt", &b"a b\nc\n"[..]));
    }

    /// Fewer samples than columns: each is still above its counterpart.
    #[test]
    fn few_pairs_are_above_each_other() {
        let shape = ImageShape::new(1, 4, 4);
        let kind = Kind::Image(shape);
        let [above, below] =
            [1f32, 0.0].map(|value| Tensor::full(value, (3, 1, 4, 4), &Device::Cpu).unwrap());
        let picture = pairs(&kind, &above, &below, 10).unwrap();
        assert_eq!((picture.width, picture.height), (3 * 6 + 2, 2 * 6 + 2));
        let pixel =
            |row: usize, column: usize| picture.pixels[(2 + 6 * row) * picture.width + 2 + 6 * column];
        assert_eq!([0, 1].map(|row| [0, 1, 2].map(|column| pixel(row, column))), [[255; 3], [0; 3]]);
        let clips = Kind::Clip { frames: 2, image: shape };
        let [above, below] = [above, below].map(|x| x.unsqueeze(1).unwrap().repeat((1, 2, 1, 1, 1)).unwrap());
        let animation = moving_pairs(&clips, &above, &below, 10).unwrap().unwrap();
        assert_eq!(animation.still(), picture);
    }

    #[test]
    fn every_kind_has_a_preview_of_its_size() {
        for (kind, dims) in [
            (Kind::Image(ImageShape::new(3, 8, 6)), vec![100, 3, 8, 6]),
            (Kind::Points { dimensions: 2 }, vec![2000, 2]),
            (Kind::Sound { rate: 8000, length: 1024 }, vec![20, 1, 64, 8]),
            (Kind::Sound { rate: 8000, length: 1024 }, vec![20, 1, 1, 1024]),
            (Kind::Clip { frames: 4, image: ImageShape::new(3, 8, 6) }, vec![40, 4, 3, 8, 6]),
        ] {
            assert_eq!(preview_count(&kind), dims[0]);
            let samples = Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
            let artifacts = preview(&kind, &samples).unwrap();
            assert_eq!(artifacts.len(), 1, "{kind}");
            assert_eq!((artifacts[0].extension, &artifacts[0].bytes[1..4]), ("png", &b"PNG"[..]));
            assert!(artifacts[0].picture.is_some());
        }
    }
}
