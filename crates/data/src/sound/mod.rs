//! Sounds: WAV files as samples of one rate and one length, and the representation that networks see.

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

/// Default sample rate, Hz.
pub(crate) const RATE: u32 = 8000;
/// Default number of samples per sound: just over a second.
pub(crate) const LENGTH: usize = 8192;
/// Valid sample rates.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=192_000;
/// Maximum number of samples of a sound: some minutes.
const MOST_SAMPLES: usize = 1 << 23;

/// How recordings become sounds of one length, and the representation that networks see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoundConfig {
    /// Sample rate, Hz; recordings with another rate are resampled. Default: the data set's own, or 8000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<usize>,
    /// Samples per sound. Default: the data set's own, or 8192.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// How recordings of another length are fitted.
    pub fit: Fit,
    /// Pattern of the file name without its ending, which gives the class: `{label}` stands for the class, `*` for anything else. Default: the directory is the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Leave out recordings that cannot be read or are silent, and count them, instead of failing.
    pub skip_unreadable: bool,
    /// The representation that networks see.
    pub view: SoundView,
    /// Mel bands of a log-mel spectrogram.
    pub bands: usize,
    /// Samples per frame of a spectrogram, a power of two.
    pub window: usize,
    /// Samples from one frame to the next; must divide the length.
    pub hop: usize,
}

/// How recordings of another length are fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Add silence at the end of shorter ones, and drop the end of longer ones.
    #[default]
    Pad,
    /// Remove silence at both ends first, then pad.
    Trim,
    /// Cut each into as many sounds as fit. Shorter recordings and the rest at the end are padded if they are at least half as long as a sound, else dropped.
    Cut,
}

/// The representation of a sound that networks see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SoundView {
    /// Log magnitudes of mel bands, bands by frames.
    #[default]
    LogMel,
    /// Log magnitudes of every frequency, frequencies by frames.
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
    /// Returns the kind of sounds; `rate` and `length` are the data set's own.
    ///
    /// # Errors
    /// [`Error::Config`] if the rate or the length is out of bounds.
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

    /// Returns a suffix for the name of the file that caches the sounds of these settings: how they differ
    /// from the default settings, or nothing. It does not depend on what networks see of the sounds.
    #[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "only the Hub keeps sounds"))]
    pub(crate) fn ending(&self) -> String {
        let other = |value: Option<usize>, usual: usize| value.filter(|value| *value != usual);
        let mut ending = String::new();
        ending += &other(self.rate, RATE as usize).map(|rate| format!("-{rate}hz")).unwrap_or_default();
        ending += &other(self.length, LENGTH).map(|length| format!("-{length}")).unwrap_or_default();
        ending += match self.fit {
            Fit::Pad => "",
            Fit::Trim => "-trim",
            Fit::Cut => "-cut",
        };
        ending += if self.skip_unreadable { "-skip" } else { "" };
        ending
    }

    /// Returns the representation that networks see, without statistics.
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
