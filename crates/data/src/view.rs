//! Views: conversions of samples to the tensors that networks see, and back.

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use waxwork_core::device::runs_on_cpu_kernels;
use waxwork_core::hash::sha256;
use waxwork_core::sample::{Range, Segment};
use waxwork_core::{ImageShape, Kind, SampleSpec};

use rayon::prelude::*;

use crate::sound::Spectrogram;
use crate::sound::spectrogram::{Plan, at_rest, waveform};
use crate::text::{self, Vocabulary};
use crate::{Error, Result};

/// How samples of a kind become what networks see, and back. A run folder stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "view", rename_all = "kebab-case")]
pub enum View {
    /// The values of a picture, 0 to 255, as [0, 1].
    Pixels,
    /// The coordinates of a point as they are.
    Coordinates,
    /// The numbers and choices of an encoded row as they are.
    Encoded,
    /// The samples of a sound as [−1, 1), one row of one channel.
    Waveform,
    /// A spectrogram, as an image of a sound.
    Spectrogram(Spectrogram),
    /// The tokens of a text, if only their numbers are known.
    Tokens,
    /// The tokens of a text, with their vocabulary.
    Text(Vocabulary),
}

/// What the sounds of one split need for their view: values that are computed once, and a cache of the
/// results.
#[derive(Debug)]
pub(crate) struct Sight {
    plan: Plan,
    seen: Vec<OnceLock<Box<[f32]>>>,
}

/// Maximum number of cached values of spectrograms.
const KEPT: usize = 1 << 27;

/// Values of a batch in host memory.
pub(crate) enum HostValues {
    /// As networks see them.
    Ready(Vec<f32>),
    /// Bytes 0 to 255 that stand for [0, 1]. The transfer to a device is a quarter of the size, and the
    /// device divides.
    Bytes(Vec<u8>),
    /// Token numbers of texts. One-hot rows have a value for each token of the vocabulary, and most networks
    /// need none.
    Tokens(Vec<u32>),
}

impl View {
    /// The view of samples of this kind that needs no other information: waveforms for sounds, token numbers
    /// for texts.
    pub const fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Image(_) | Kind::Clip { .. } => Self::Pixels,
            Kind::Points { .. } => Self::Coordinates,
            Kind::Rows(_) => Self::Encoded,
            Kind::Sound { .. } => Self::Waveform,
            Kind::Text { .. } => Self::Tokens,
        }
    }

    /// The sample of `kind` as networks see it.
    pub fn spec(&self, kind: &Kind) -> SampleSpec {
        match kind {
            Kind::Image(shape) => SampleSpec::from(*shape),
            Kind::Points { dimensions } => SampleSpec::real(*dimensions),
            Kind::Rows(spec) => spec.clone(),
            Kind::Sound { length, .. } => match self {
                Self::Spectrogram(spectrogram) => SampleSpec::from(spectrogram.shape(*length)),
                _ => signed(*length),
            },
            // Clips and texts have no more values than a spec allows.
            Kind::Clip { frames, image } => {
                SampleSpec::of_clips(*frames, *image).unwrap_or_else(|_| SampleSpec::real(1))
            }
            Kind::Text { vocabulary, length } => {
                text::spec(*vocabulary, *length).unwrap_or_else(|_| SampleSpec::real(1))
            }
        }
    }

    /// SHA-256, in hex, of how networks see samples of `kind`. Two runs with the same content and view train
    /// on the same tensors.
    pub fn hash(&self, kind: &Kind) -> String {
        sha256(format!("waxwork-data view 1 {kind:?} {self:?}").as_bytes())
    }

    /// The view that judges use for samples of this kind, whatever view a model uses: 64 mel bands for
    /// sounds.
    ///
    /// # Errors
    /// [`Error::Config`] if the sounds' length is not a multiple of 16.
    pub fn judged(kind: &Kind) -> Result<Self> {
        let &Kind::Sound { rate, length } = kind else { return Ok(Self::of(kind)) };
        // The time resolution of 128 samples at 8 kHz, or the next finer one that fits the length.
        let usual = (rate / 63).next_power_of_two().clamp(16, 8192) as usize;
        let hop = usual.min(1 << length.trailing_zeros());
        if hop < 16 {
            let reason = format!("must be a multiple of 16 for sounds to be judged, got {length}");
            return Err(Error::Config { key: "data.sound.length", reason });
        }
        Ok(Self::Spectrogram(Spectrogram::new(Some(64), 2 * usual, hop, rate, length)?))
    }

    /// What `count` sounds of `kind` need for this view; None for other views.
    ///
    /// # Errors
    /// [`Error::Config`] if the view does not fit such sounds.
    pub(crate) fn sight(&self, kind: &Kind, count: usize) -> Result<Option<Sight>> {
        let (Self::Spectrogram(spectrogram), Kind::Sound { rate, length }) = (self, kind) else {
            return Ok(None);
        };
        let plan = spectrogram.plan(*rate, *length)?;
        let kept = count.saturating_mul(spectrogram.shape(*length).len()) <= KEPT;
        let mut seen = Vec::new();
        seen.resize_with(if kept { count } else { 0 }, OnceLock::new);
        Ok(Some(Sight { plan, seen }))
    }

    /// Converts sounds at rest, which have `indices` in their source, to what networks see.
    pub(crate) fn seen(&self, sight: &Sight, bytes: &[u8], indices: &[u32]) -> Vec<f32> {
        let Self::Spectrogram(spectrogram) = self else { return Vec::new() };
        let size = bytes.len() / indices.len().max(1);
        let mut values = Vec::new();
        for (sound, &index) in bytes.chunks_exact(size.max(1)).zip(indices) {
            let see = || spectrogram.values(&sight.plan, sound).into_boxed_slice();
            match sight.seen.get(index as usize) {
                Some(kept) => values.extend_from_slice(kept.get_or_init(see)),
                None => values.extend_from_slice(&see()),
            }
        }
        values
    }

    /// The view with the statistics of these sounds at rest; other views are unchanged.
    pub(crate) fn fitted(self, kind: &Kind, sounds: &[u8]) -> Result<Self> {
        match (self, kind) {
            (Self::Spectrogram(spectrogram), Kind::Sound { rate, length }) => {
                Ok(Self::Spectrogram(spectrogram.fitted(*rate, *length, sounds)?))
            }
            (view, _) => Ok(view),
        }
    }

    /// The vocabulary of texts, if it is known.
    pub const fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            Self::Text(vocabulary) => Some(vocabulary),
            _ => None,
        }
    }

    /// A text as people read it: its words, or its token numbers if the words are unknown.
    pub fn line(&self, tokens: &[u16]) -> String {
        match self.vocabulary() {
            Some(vocabulary) => vocabulary.decode(tokens),
            None => tokens.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    /// Texts as people read them: those that a network's output `(N, length, vocabulary)` stands for, or token
    /// numbers `(N, length)` u32.
    ///
    /// # Errors
    /// [`Error::Config`] if `kind` is not a kind of text or the texts have another shape; [`Error::Tensor`].
    pub fn lines(&self, kind: &Kind, texts: &Tensor) -> Result<Vec<String>> {
        let bytes = text::from_tensor(kind, texts)?;
        let length = kind.bytes() / 2;
        Ok(text::tokens(&bytes, length).iter().map(|tokens| self.line(tokens)).collect())
    }

    /// The sounds at rest (i16) that a network's output `(N, ..)` stands for, one after the other.
    /// Spectrograms are inverted by the Griffin-Lim algorithm, whose initial phases are those of sound
    /// `first`, `first + 1` …
    ///
    /// # Errors
    /// [`Error::Config`] if `kind` is not a kind of sound or the output has another shape; [`Error::Tensor`].
    pub fn sounds(&self, kind: &Kind, output: &Tensor, first: u64) -> Result<Vec<u8>> {
        let fail = |reason: String| Err(Error::Config { key: "data.sound", reason });
        let Kind::Sound { rate, length } = *kind else {
            return fail(format!("{kind} are not sounds"));
        };
        let spec = self.spec(kind);
        if output.dims().get(1..) != Some(spec.dims()) {
            return fail(format!("an output of shape {:?} does not fit {spec}", output.dims()));
        }
        let values = output.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let each = values.par_chunks_exact(spec.len()).enumerate();
        let sounds: Vec<Vec<u8>> = match self {
            Self::Spectrogram(spectrogram) => {
                let plan = spectrogram.plan(rate, length)?;
                each.map(|(place, values)| spectrogram.sound(&plan, values, first + place as u64)).collect()
            }
            _ => each
                .map(|(_, values)| at_rest(&values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>()))
                .collect(),
        };
        Ok(sounds.concat())
    }

    /// The spectral convergence of each sound at rest from the one that it should equal: ‖|A| − |B|‖ / ‖|A|‖
    /// of the magnitudes of their spectra, 0 if they are equal. Empty if the view is not a spectrogram.
    ///
    /// # Errors
    /// [`Error::Config`] if the view does not fit such sounds.
    pub fn convergence(&self, kind: &Kind, real: &[u8], made: &[u8]) -> Result<Vec<f64>> {
        let Some(Sight { plan, .. }) = self.sight(kind, 0)? else { return Ok(Vec::new()) };
        let size = kind.bytes();
        let pairs = real.par_chunks_exact(size).zip(made.par_chunks_exact(size));
        Ok(pairs.map(|(real, made)| plan.convergence(real, made)).collect())
    }

    /// The values of samples at rest, one after the other, ready for `device`.
    pub(crate) fn values(&self, bytes: Vec<u8>, device: &Device) -> HostValues {
        match self {
            Self::Pixels if runs_on_cpu_kernels(device) => {
                HostValues::Ready(bytes.into_iter().map(unit_interval).collect())
            }
            Self::Pixels => HostValues::Bytes(bytes),
            // Spectrograms are made by `seen`.
            Self::Waveform | Self::Spectrogram(_) => {
                HostValues::Ready(waveform(&bytes).into_iter().map(|value| value as f32).collect())
            }
            Self::Tokens | Self::Text(_) => HostValues::Tokens(text::numbers(&bytes)),
            Self::Coordinates | Self::Encoded => {
                let (numbers, _) = bytes.as_chunks::<4>();
                HostValues::Ready(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            }
        }
    }
}

impl HostValues {
    /// Mirrors images left to right; `chosen` says which, in order.
    pub(crate) fn mirror(&mut self, shape: ImageShape, chosen: impl Iterator<Item = bool>) {
        fn mirror<T>(images: &mut [T], shape: ImageShape, chosen: impl Iterator<Item = bool>) {
            for (image, _) in images.chunks_exact_mut(shape.len()).zip(chosen).filter(|(_, chosen)| *chosen) {
                image.chunks_exact_mut(shape.width).for_each(<[T]>::reverse);
            }
        }
        match self {
            Self::Ready(values) => mirror(values, shape, chosen),
            Self::Bytes(values) => mirror(values, shape, chosen),
            // Texts have no left side and no right side.
            Self::Tokens(_) => {}
        }
    }

    /// A tensor `(count, ..)` of the values as networks see them; of texts, token numbers `(count, length)`.
    pub(crate) fn into_tensor(self, spec: &SampleSpec, count: usize, device: &Device) -> Result<Tensor> {
        let shape = spec.batch(count);
        Ok(match self {
            Self::Ready(values) => Tensor::from_vec(values, shape, device)?,
            Self::Bytes(values) => {
                let values = Tensor::from_vec(values, shape, device)?.to_dtype(DType::F32)?;
                values.broadcast_div(&Tensor::new(255f32, device)?)?
            }
            Self::Tokens(numbers) => {
                let length = spec.dims().first().copied().unwrap_or_default();
                Tensor::from_vec(numbers, (count, length), device)?
            }
        })
    }
}

/// A sample of one row and one channel, with values in [−1, 1].
fn signed(length: usize) -> SampleSpec {
    let segments = vec![Segment { width: length, range: Range::Signed }];
    // Sounds have at least one sample, and no more than a spec allows.
    SampleSpec::new(vec![1, 1, length], segments).unwrap_or_else(|_| SampleSpec::real(1))
}

/// Maps 0 to 255 to 0 to 1 by a true division, because a product with 1/255 rounds some values differently.
fn unit_interval(value: u8) -> f32 {
    f32::from(value) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_known_by_its_hash() {
        let kinds = [
            Kind::Image(ImageShape::new(1, 28, 28)),
            Kind::Image(ImageShape::new(3, 28, 28)),
            Kind::Points { dimensions: 2 },
        ];
        let hashes = kinds.each_ref().map(|kind| View::of(kind).hash(kind));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
        assert_eq!(hashes[0], View::Pixels.hash(&kinds[0]), "the same again");
    }

    #[test]
    fn coordinates_are_what_was_stored() {
        let numbers = [1.5f32, -2.25];
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let spec = SampleSpec::real(2);
        let values = View::Coordinates.values(bytes, &Device::Cpu);
        let tensor = values.into_tensor(&spec, 1, &Device::Cpu).unwrap();
        assert_eq!(tensor.to_vec2::<f32>().unwrap(), [numbers]);
    }

    #[test]
    fn texts_are_token_numbers() {
        let kind = Kind::Text { vocabulary: 300, length: 3 };
        let view = View::of(&kind);
        let bytes = [[299u16, 2], [0, 7], [0, 0]].concat().into_iter().flat_map(u16::to_le_bytes).collect();
        let values = view.values(bytes, &Device::Cpu);
        let tensor = values.into_tensor(&view.spec(&kind), 2, &Device::Cpu).unwrap();
        assert_eq!(tensor.to_vec2::<u32>().unwrap(), [[299, 2, 0], [7, 0, 0]]);
        assert_eq!(view.lines(&kind, &tensor).unwrap(), ["299 2", "7"]);
    }
}
