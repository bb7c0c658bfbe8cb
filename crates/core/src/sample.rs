//! Samples: the kind of data that they are, and the tensor that networks see.

use std::fmt;

use candle_core::Shape;
use serde::{Deserialize, Serialize};

use crate::store::checked_len;
use crate::{Error, Result};

/// The most values of one sample when its size comes from a file.
const MOST_VALUES: usize = 1 << 30;

/// The kind of the samples in a data set. Files hold samples as bytes; a view turns those into the tensors
/// that networks see.
///
/// This enum is exhaustive, so the compiler finds every crate that must handle a new kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", try_from = "StoredKind")]
pub enum Kind {
    /// Images of one size.
    Image(ImageShape),
    /// Points in a space of any dimension, such as the plane.
    Points {
        /// Coordinates of a point.
        dimensions: usize,
    },
    /// Rows of a table, encoded as vectors of numbers and choices.
    Rows(SampleSpec),
    /// Mono sounds of one length.
    Sound {
        /// Sample rate in Hz.
        rate: u32,
        /// Samples per sound.
        length: usize,
    },
    /// Texts of tokens, of which token 0 ends a text and fills the rest.
    Text {
        /// Tokens that there are, the end among them.
        vocabulary: usize,
        /// Tokens of a text at most.
        length: usize,
    },
    /// Clips: videos of one number of frames, all of one size.
    Clip {
        /// Frames per clip.
        frames: usize,
        /// The shape of a frame.
        image: ImageShape,
    },
}

/// The maximum number of tokens in a vocabulary: a token is stored in two bytes.
pub const MOST_TOKENS: usize = 1 << 16;

/// [`Kind`] in its stored form, before its sizes are checked.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum StoredKind {
    Image(ImageShape),
    Points { dimensions: usize },
    Rows(SampleSpec),
    Sound { rate: u32, length: usize },
    Text { vocabulary: usize, length: usize },
    Clip { frames: usize, image: ImageShape },
}

impl TryFrom<StoredKind> for Kind {
    type Error = String;

    fn try_from(stored: StoredKind) -> Result<Self, String> {
        match stored {
            StoredKind::Image(shape) => Ok(Self::Image(shape)),
            StoredKind::Points { dimensions: dimensions @ 1..=MOST_VALUES } => {
                Ok(Self::Points { dimensions })
            }
            StoredKind::Rows(spec) if spec.dims.len() == 1 => Ok(Self::Rows(spec)),
            StoredKind::Rows(spec) => Err(format!("a row is a vector, not {spec}")),
            StoredKind::Sound { rate: rate @ 1.., length: length @ 1..=MOST_VALUES } => {
                Ok(Self::Sound { rate, length })
            }
            StoredKind::Sound { rate, length } => {
                Err(format!("sounds of {length} samples at {rate} Hz are not possible"))
            }
            StoredKind::Text { vocabulary: vocabulary @ 2..=MOST_TOKENS, length: length @ 1.. }
                if matches!(checked_len(&[vocabulary, length]), Some(1..=MOST_VALUES)) =>
            {
                Ok(Self::Text { vocabulary, length })
            }
            StoredKind::Text { vocabulary, length } => {
                Err(format!("texts of {length} of {vocabulary} tokens are not possible"))
            }
            StoredKind::Clip { frames, image } => match checked_len(&[frames, image.len()]) {
                Some(1..=MOST_VALUES) => Ok(Self::Clip { frames, image }),
                _ => Err(format!("clips of {frames} frames of {image} are not possible")),
            },
            StoredKind::Points { dimensions } => {
                Err(format!("points in {dimensions} dimensions are not possible"))
            }
        }
    }
}

impl Kind {
    /// The kind of samples that networks see unchanged: images if they have three dimensions, clips if they
    /// have four, texts if they are rows of choices, points otherwise.
    pub fn seen_as(spec: &SampleSpec) -> Self {
        if let Some((frames, image)) = spec.clip() {
            return Self::Clip { frames, image };
        }
        match (spec.image(), spec.dims()) {
            (Some(shape), _) => Self::Image(shape),
            (None, &[length, vocabulary]) if spec.range() == Some(Range::OneHot) => {
                Self::Text { vocabulary, length }
            }
            (None, _) => Self::Points { dimensions: spec.len() },
        }
    }

    /// The noun for one sample: `image`, `point`, `row`, `sound`, `text`, `clip`.
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Points { .. } => "point",
            Self::Rows(_) => "row",
            Self::Sound { .. } => "sound",
            Self::Text { .. } => "text",
            Self::Clip { .. } => "clip",
        }
    }

    /// The noun for several samples: `images`, `points`, `rows`, `sounds`, `texts`, `clips`.
    pub const fn plural(&self) -> &'static str {
        match self {
            Self::Image(_) => "images",
            Self::Points { .. } => "points",
            Self::Rows(_) => "rows",
            Self::Sound { .. } => "sounds",
            Self::Text { .. } => "texts",
            Self::Clip { .. } => "clips",
        }
    }

    /// Size in bytes of one sample as a source writes it: one byte per value of an image or of a clip's frames, four per coordinate
    /// of a point or number of a row (f32, little-endian), two per sample of a sound (i16, little-endian) or
    /// token of a text (u16, little-endian).
    pub fn bytes(&self) -> usize {
        match self {
            Self::Image(shape) => shape.len(),
            Self::Points { dimensions } => 4 * *dimensions,
            Self::Rows(spec) => 4 * spec.len(),
            Self::Sound { length, .. } | Self::Text { length, .. } => 2 * *length,
            Self::Clip { frames, image } => *frames * image.len(),
        }
    }

    /// The shape, if these are images.
    pub const fn image(&self) -> Option<ImageShape> {
        match self {
            Self::Image(shape) => Some(*shape),
            Self::Points { .. }
            | Self::Rows(_)
            | Self::Sound { .. }
            | Self::Text { .. }
            | Self::Clip { .. } => None,
        }
    }
}

impl From<ImageShape> for Kind {
    fn from(shape: ImageShape) -> Self {
        Self::Image(shape)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(shape) => write!(f, "{shape} images"),
            Self::Points { dimensions } => write!(f, "points in {dimensions} dimensions"),
            Self::Rows(spec) => write!(f, "rows of {} numbers", spec.len()),
            Self::Sound { rate, length } => write!(f, "sounds of {length} samples at {rate} Hz"),
            Self::Text { vocabulary, length } => {
                write!(f, "texts of up to {length} of {vocabulary} tokens")
            }
            Self::Clip { frames, image } => write!(f, "clips of {frames} frames of {image}"),
        }
    }
}

/// Channels, height and width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Sides")]
pub struct ImageShape {
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// [`ImageShape`] in its stored form, before its sizes are checked.
#[derive(Deserialize)]
struct Sides {
    channels: usize,
    height: usize,
    width: usize,
}

impl TryFrom<Sides> for ImageShape {
    type Error = String;

    /// Other code multiplies the sizes without checking for overflow, so they are checked here, where they
    /// come in.
    fn try_from(Sides { channels, height, width }: Sides) -> Result<Self, String> {
        match checked_len(&[channels, height, width]) {
            Some(1..=MOST_VALUES) => Ok(Self { channels, height, width }),
            _ => Err(format!("images of {channels}×{height}×{width} are not possible")),
        }
    }
}

impl ImageShape {
    /// `channels` × `height` × `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Number of values in one image.
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

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// The range of the values of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Range {
    /// [0, 1], such as the values of an image.
    Unit,
    /// [−1, 1].
    Signed,
    /// Any number.
    Real,
    /// One 1 among zeros: a choice among as many values as the segment is wide.
    OneHot,
}

/// Adjacent values along the last dimension that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// Number of values.
    pub width: usize,
    /// The range of the values.
    pub range: Range,
}

/// A number that is undefined in some samples, such as one whose cell in the table is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Silence {
    /// Its position along the last dimension.
    pub value: usize,
    /// Positions of one-hot values: the number is undefined if one of them is 1.
    pub places: Vec<usize>,
}

/// One sample as networks see it: the shape of its tensor, and the meaning of its values.
///
/// Segments divide the last dimension and repeat along the others. An image is one segment of range
/// [`Range::Unit`], a sequence of tokens `(length, vocabulary)` is one of range [`Range::OneHot`], and an
/// encoded table row `(width)` has at least one per column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredSpec")]
pub struct SampleSpec {
    dims: Vec<usize>,
    segments: Vec<Segment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    silences: Vec<Silence>,
}

/// [`SampleSpec`] in its stored form, before its sizes are checked.
#[derive(Deserialize)]
struct StoredSpec {
    dims: Vec<usize>,
    segments: Vec<Segment>,
    #[serde(default)]
    silences: Vec<Silence>,
}

impl TryFrom<StoredSpec> for SampleSpec {
    type Error = String;

    fn try_from(StoredSpec { dims, segments, silences }: StoredSpec) -> Result<Self, String> {
        let spec = Self::new(dims, segments).and_then(|spec| spec.silenced(silences));
        spec.map_err(|error| error.to_string())
    }
}

impl SampleSpec {
    /// A sample of shape `dims`; `segments` divide its last dimension.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no values or too many, or the widths of the segments do not add up to
    /// the last dimension.
    pub fn new(dims: Vec<usize>, segments: Vec<Segment>) -> Result<Self> {
        let fail = |reason: String| Err(Error::Config { key: "data".into(), reason });
        if !matches!(checked_len(&dims), Some(1..=MOST_VALUES)) {
            return fail(format!("samples of shape {dims:?} are not possible"));
        }
        let widths = segments.iter().try_fold(0usize, |sum, segment| sum.checked_add(segment.width));
        if widths != dims.last().copied() || segments.iter().any(|segment| segment.width == 0) {
            return fail(format!(
                "the segments of a sample of shape {dims:?} do not fill its last dimension"
            ));
        }
        Ok(Self { dims, segments, silences: Vec::new() })
    }

    /// The same sample with numbers that are undefined in some samples.
    ///
    /// # Errors
    /// [`Error::Config`] for a position outside of the last dimension.
    pub fn silenced(mut self, silences: Vec<Silence>) -> Result<Self> {
        let width = self.dims.last().copied().unwrap_or_default();
        let outside =
            |Silence { value, places }: &Silence| places.iter().chain([value]).any(|at| *at >= width);
        if silences.iter().any(outside) {
            let reason = format!("a silence refers to a number beyond the {width} numbers of the sample");
            return Err(Error::Config { key: "data".into(), reason });
        }
        self.silences = silences;
        Ok(self)
    }

    /// A vector of `len` unbounded numbers.
    pub fn real(len: usize) -> Self {
        let segments = vec![Segment { width: len, range: Range::Real }];
        Self { dims: vec![len], segments, silences: Vec::new() }
    }

    /// The name of a batch in a graph: `images` or `samples`.
    pub fn name(&self) -> &'static str {
        if self.image().is_some() { "images" } else { "samples" }
    }

    /// The shape of one sample.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The segments of the last dimension.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Numbers that are undefined in some samples.
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// Number of values in one sample.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True if a sample has no values, which no spec allows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of a batch of `n` samples.
    pub fn batch(&self, n: usize) -> Shape {
        let mut dims = vec![n];
        dims.extend(&self.dims);
        Shape::from(dims)
    }

    /// The range of all values, if all segments share one.
    pub fn range(&self) -> Option<Range> {
        let range = self.segments.first()?.range;
        self.segments.iter().all(|segment| segment.range == range).then_some(range)
    }

    /// Channels, height and width, if the sample has three dimensions.
    pub fn image(&self) -> Option<ImageShape> {
        match self.dims[..] {
            [channels, height, width] => Some(ImageShape { channels, height, width }),
            _ => None,
        }
    }

    /// A clip of `frames` frames: `(frames, channels, height, width)` in [0, 1].
    ///
    /// # Errors
    /// As [`SampleSpec::new`].
    pub fn of_clips(frames: usize, image: ImageShape) -> Result<Self> {
        let ImageShape { channels, height, width } = image;
        let segments = vec![Segment { width, range: Range::Unit }];
        Self::new(vec![frames, channels, height, width], segments)
    }

    /// The number of frames and the shape of each, if the sample has four dimensions.
    pub fn clip(&self) -> Option<(usize, ImageShape)> {
        match self.dims[..] {
            [frames, channels, height, width] => Some((frames, ImageShape { channels, height, width })),
            _ => None,
        }
    }

    /// Channels, height and width, for a network that needs images.
    ///
    /// # Errors
    /// [`Error::Config`] that names `key` if a sample is not an image.
    pub fn needs_image(&self, key: &str) -> Result<ImageShape> {
        let other = if self.clip().is_some() { "clip" } else { "mlp" };
        self.image().ok_or_else(|| Error::Config {
            key: key.to_owned(),
            reason: format!(
                "a network of this kind needs images, but a sample is {self}; use one of kind `{other}`"
            ),
        })
    }

    /// [`SampleSpec::clip`] for a network that needs clips.
    ///
    /// # Errors
    /// [`Error::Config`] that names `key` if a sample is not a clip.
    pub fn needs_clip(&self, key: &str) -> Result<(usize, ImageShape)> {
        self.clip().ok_or_else(|| Error::Config {
            key: key.to_owned(),
            reason: format!("a network of kind `clip` needs clips, but a sample is {self}"),
        })
    }
}

impl From<ImageShape> for SampleSpec {
    fn from(shape: ImageShape) -> Self {
        let ImageShape { channels, height, width } = shape;
        let segments = vec![Segment { width, range: Range::Unit }];
        Self { dims: vec![channels, height, width], segments, silences: Vec::new() }
    }
}

impl fmt::Display for SampleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [len] = self.dims[..] {
            return write!(f, "a vector of {len}");
        }
        let dims: Vec<String> = self.dims.iter().map(usize::to_string).collect();
        f.write_str(&dims.join("×"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_fill_the_last_dimension() {
        let part = |width, range| Segment { width, range };
        let row = SampleSpec::new(vec![5], vec![part(1, Range::Signed), part(4, Range::OneHot)]).unwrap();
        assert_eq!((row.len(), row.range(), row.image()), (5, None, None));
        let image = SampleSpec::from(ImageShape::new(3, 4, 5));
        assert_eq!((image.len(), image.range()), (60, Some(Range::Unit)));
        assert_eq!(image.batch(7).dims(), [7, 3, 4, 5]);
        for (dims, widths) in
            [(vec![5], vec![4]), (vec![5], vec![5, 0]), (vec![0], vec![0]), (vec![], vec![])]
        {
            let segments = widths.iter().map(|&width| part(width, Range::Real)).collect();
            assert!(SampleSpec::new(dims.clone(), segments).is_err(), "{dims:?} {widths:?}");
        }
        assert!(SampleSpec::new(vec![4], vec![part(usize::MAX, Range::Real), part(5, Range::Real)]).is_err());
    }

    #[test]
    fn checks_stored_values() {
        let spec = SampleSpec::real(2);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<SampleSpec>(&text).unwrap(), spec);
        assert!(serde_json::from_str::<SampleSpec>(&text.replace("[2]", "[3]")).is_err());
        let segments = [(1, Range::Signed), (3, Range::OneHot)];
        let segments = segments.map(|(width, range)| Segment { width, range }).to_vec();
        let row = SampleSpec::new(vec![4], segments).unwrap();
        let silence = |value, place| vec![Silence { value, places: vec![place] }];
        let row = row.silenced(silence(0, 3)).unwrap();
        assert!(row.clone().silenced(silence(4, 3)).is_err() && row.clone().silenced(silence(0, 4)).is_err());
        for kind in [
            Kind::Image(ImageShape::new(1, 28, 28)),
            Kind::Points { dimensions: 2 },
            Kind::Rows(row),
            Kind::Sound { rate: 8000, length: 4096 },
            Kind::Text { vocabulary: 100, length: 16 },
            Kind::Clip { frames: 16, image: ImageShape::new(3, 32, 32) },
        ] {
            let text = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<Kind>(&text).unwrap(), kind, "{text}");
        }
        assert!(serde_json::from_str::<Kind>(r#"{"kind":"points","dimensions":0}"#).is_err());
        assert!(serde_json::from_str::<Kind>(r#"{"kind":"sound","rate":8000,"length":0}"#).is_err());
        for (vocabulary, length) in [(1, 16), (65_537, 16), (100, 0), (65_536, 1 << 20)] {
            let text = format!(r#"{{"kind":"text","vocabulary":{vocabulary},"length":{length}}}"#);
            assert!(serde_json::from_str::<Kind>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn rows_of_choices_are_seen_as_texts() {
        let choices = |width| vec![Segment { width, range: Range::OneHot }];
        let text = SampleSpec::new(vec![16, 100], choices(100)).unwrap();
        let kind = Kind::Text { vocabulary: 100, length: 16 };
        assert_eq!(Kind::seen_as(&text), kind);
        assert_eq!((kind.bytes(), kind.image(), kind.noun()), (32, None, "text"));
        assert_eq!(Kind::seen_as(&SampleSpec::real(2)), Kind::Points { dimensions: 2 });
    }
}
