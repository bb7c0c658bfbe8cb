//! Sounds: WAV files as samples of one rate and one length, and what networks see of them.

mod fft;
mod mel;
pub(crate) mod recordings;
mod resample;
pub mod spectrogram;
mod stft;
pub mod wav;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::Kind;

use crate::view::View;
use crate::{Error, Result};

pub use recordings::{Recordings, read};
pub use spectrogram::Spectrogram;
pub use wav::Recording;

/// Samples a second where nobody says.
pub(crate) const RATE: u32 = 8000;
/// Samples of a sound where nobody says: a second and a bit.
pub(crate) const LENGTH: usize = 8192;
/// Rates that sounds may have.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=192_000;
/// Samples that a sound may have at most: minutes.
const MOST_SAMPLES: usize = 1 << 23;

/// How recordings are made into sounds of one length, and what networks see of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoundConfig {
    /// Samples a second, Hz, to which recordings of another rate are brought. Default: the data set's own, or 8000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<usize>,
    /// Samples of every sound. Default: the data set's own, or 8192.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// What is done with recordings of another length.
    pub fit: Fit,
    /// The class in the name of a file, without its ending: `{label}` stands for it, `*` for anything else. Default: the class is the
    /// directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Leave out recordings that cannot be read or are silent, and count them, instead of failing.
    pub skip_unreadable: bool,
    /// What networks see of a sound.
    pub view: SoundView,
    /// Mel bands of a log-mel spectrogram.
    pub bands: usize,
    /// Samples of a frame of a spectrogram, a power of two.
    pub window: usize,
    /// Samples from one frame to the next; the length is a multiple of it.
    pub hop: usize,
}

/// What is done with recordings that are not as long as sounds are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Silence is added at the end of shorter ones; longer ones lose their end.
    #[default]
    Pad,
    /// Silence at both ends is removed first.
    Trim,
    /// Each is cut into as many sounds as it has room for; what is left at the end, and shorter recordings, are padded if they are at
    /// least half as long as a sound.
    Cut,
}

/// What networks see of a sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SoundView {
    /// Mel bands by frames, logarithms of their magnitudes.
    #[default]
    LogMel,
    /// Every frequency by frames, logarithms of their magnitudes.
    LogMagnitude,
    /// The samples themselves.
    Waveform,
}

impl Default for SoundConfig {
    fn default() -> Self {
        Self {
            rate: None,
            length: None,
            fit: Fit::Pad,
            label: None,
            skip_unreadable: false,
            view: SoundView::LogMel,
            bands: 64,
            window: 256,
            hop: 128,
        }
    }
}

impl SoundConfig {
    /// The kind of sounds of a data set with these values of its own.
    ///
    /// # Errors
    /// [`Error::Config`] if rate or length are out of bounds.
    pub(crate) fn kind(&self, rate: u32, length: usize) -> Result<Kind> {
        let (asked, length) = (self.rate.unwrap_or(rate as usize), self.length.unwrap_or(length));
        let Some(rate) = u32::try_from(asked).ok().filter(|rate| RATES.contains(rate)) else {
            let reason = format!("must be {} to {} Hz, got {asked}", RATES.start(), RATES.end());
            return Err(Error::Config { key: "data.sound.rate", reason });
        };
        if !(1..=MOST_SAMPLES).contains(&length) {
            let reason = format!("must be 1 to {MOST_SAMPLES} samples, got {length}");
            return Err(Error::Config { key: "data.sound.length", reason });
        }
        Ok(Kind::Sound { rate, length })
    }

    /// What networks see of sounds, before there are statistics.
    ///
    /// # Errors
    /// [`Error::Config`] if its sizes do not fit each other.
    pub(crate) fn view(&self, rate: u32, length: usize) -> Result<View> {
        let bands = match self.view {
            SoundView::Waveform => return Ok(View::Waveform),
            SoundView::LogMagnitude => None,
            SoundView::LogMel => Some(self.bands),
        };
        Ok(View::Spectrogram(Spectrogram::new(bands, self.window, self.hop, rate, length)?))
    }
}
