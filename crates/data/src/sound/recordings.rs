//! Folders of WAV files as sounds of one rate and one length: the class and part of each file, and its
//! conversion.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;
use waxwork_core::{Kind, store};

use super::resample::resample;
use super::spectrogram::at_rest;
use super::wav::{self, MOST_SAMPLES, Recording};
use super::{Fit, SoundConfig};
use crate::folder::layout::{self, Listing, Picture, Wanted};
use crate::manifest::Manifest;
use crate::notes::{LISTED, Note};
use crate::parts::Parts;
use crate::{Error, InMemory, Progress, Result, files, natural, selection};

/// Recordings.
const RECORDINGS: Wanted = Wanted {
    plural: "recordings",
    endings: &["wav", "wave"],
    other_endings: &[
        "aac", "aif", "aiff", "amr", "au", "flac", "m4a", "mp3", "ogg", "opus", "ra", "snd", "wma", "w64",
    ],
    is_frame: None,
};
/// Maximum number of bytes of a file.
const MOST_FILE_BYTES: u64 = 1 << 30;
/// Maximum number of bytes of all sounds of a part together.
const MOST_BYTES: usize = 8 << 30;
/// Samples below this share of a recording's loudest one count as silence at its ends.
const SILENT: f64 = 0.01;
/// Indices of the official test part of the Free Spoken Digit Dataset.
const FSDD_TEST: std::ops::Range<u32> = 0..5;

/// Recordings read from a folder, all converted to one kind.
#[derive(Debug)]
pub struct Recordings {
    /// The sounds.
    pub sounds: InMemory,
    /// The names of the directories; label `k` is `classes[k]`. Empty if there are no directories.
    pub classes: Vec<String>,
    /// What the reader assumed, and what it left out.
    pub notes: Vec<Note>,
}

/// Reads the recordings of a folder as sounds of `kind`, padded or cut at their end. The folder has one
/// directory per class, or no directories. Silent recordings are allowed here: the output of another program
/// is measured as it is.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`], [`Error::Recording`] for the first that cannot
/// be read.
pub fn read(dir: &Path, kind: &Kind) -> Result<Recordings> {
    let (part, notes) = layout::list_part(dir, &RECORDINGS)?;
    let &Kind::Sound { rate, length } = kind else {
        let reason = format!("recordings are no {kind}");
        return Err(Error::Config { key: "data", reason });
    };
    let sound = |picture: &Picture| {
        let mut samples = at_rate(&open(&picture.path)?, rate)
            .map_err(|reason| Error::Recording { path: picture.path.clone(), reason })?;
        samples.resize(length, 0.0);
        Ok(at_rest(&samples))
    };
    let sounds: Vec<Result<Vec<u8>>> = part.pictures.par_iter().map(sound).collect();
    // The error is that of the first file that fails, whichever thread was the fastest.
    let sounds: Result<Vec<Vec<u8>>> = sounds.into_iter().collect();
    let labels = part.pictures.iter().map(|picture| picture.label).collect();
    Ok(Recordings {
        sounds: InMemory::new(kind.clone(), sounds?.concat(), labels)?,
        classes: part.classes,
        notes,
    })
}

/// Returns the parts of a folder, its classes, the number of recordings left out, and the notes.
pub(crate) fn load(
    dir: &Path,
    config: &SoundConfig,
    kind: &Kind,
    progress: &Progress<'_>,
) -> Result<(Parts, Vec<String>, usize, Vec<Note>)> {
    let mut listing = layout::list(dir, &RECORDINGS)?;
    if let Some(pattern) = &config.label {
        label_by_name(&mut listing, &Pattern::parse(pattern)?, dir)?;
    }
    let Listing { classes, train, test, mut notes } = listing;
    let all = (train.len() + test.len()) as u64;
    let done = AtomicU64::new(0);
    let mut found = Found::default();
    let mut part = |files: &[Picture]| {
        found.part(files, config, kind, &|| progress(done.fetch_add(1, Ordering::Relaxed) + 1, all), dir)
    };
    let (train, test) = (part(&train)?, part(&test)?);
    notes.extend(found.notes(kind));
    Ok((Parts::new(train, test, &classes)?, classes, found.skipped.len(), notes))
}

/// Loads the Free Spoken Digit Dataset: `DIGIT_SPEAKER_INDEX.wav` in one folder.
pub(crate) fn load_fsdd(
    manifest: &Manifest,
    dir: &Path,
    config: &SoundConfig,
    kind: &Kind,
    progress: &Progress<'_>,
) -> Result<(Parts, Vec<Note>)> {
    let first = "0_george_0.wav";
    let Some(folder) = files::find(dir, manifest, first).and_then(|path| Some(path.parent()?.to_path_buf()))
    else {
        let near = files::nearly(dir, manifest, "fsdd")
            .or_else(|| files::nearly(dir, manifest, "free-spoken-digit"));
        return Err(Error::Missing {
            dataset: manifest.name.clone(),
            file: first.to_owned(),
            dir: dir.to_path_buf(),
            near: near.filter(|path| path.is_file()),
        });
    };
    let (listed, mut notes) = layout::list_part(&folder, &RECORDINGS)?;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for Picture { path, .. } in listed.pictures {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut words = name.split('_');
        let label = words.next().and_then(|digit| manifest.classes.iter().position(|class| class == digit));
        let index = words.next_back().and_then(|index| index.parse::<u32>().ok());
        let (Some(label), Some(index)) = (label, index) else {
            return Err(Error::Layout { path, reason: "its name is not DIGIT_SPEAKER_INDEX.wav".into() });
        };
        let part = if FSDD_TEST.contains(&index) { &mut test } else { &mut train };
        part.push(Picture { path, label: Some(label as u32) });
    }
    for (part, found, expected) in
        [("training", train.len(), manifest.train), ("test", test.len(), manifest.test)]
    {
        if found != expected {
            let reason = format!(
                "it has {found} {part} recordings, but `{}` has {expected}: copy or unpack it again",
                manifest.name
            );
            return Err(Error::Layout { path: folder, reason });
        }
    }
    let all = (train.len() + test.len()) as u64;
    let done = AtomicU64::new(0);
    let mut found = Found::default();
    let mut part = |files: &[Picture]| {
        found.part(files, config, kind, &|| progress(done.fetch_add(1, Ordering::Relaxed) + 1, all), &folder)
    };
    let (train, test) = (part(&train)?, part(&test)?);
    notes.extend(found.notes(kind));
    Ok((Parts::new(train, test, &manifest.classes)?, notes))
}

/// Facts for the notes, collected while reading.
#[derive(Default)]
pub(crate) struct Found {
    /// Names of files that were left out, each with its reason.
    skipped: Vec<String>,
    resampled: usize,
    rates: BTreeSet<u32>,
    longer: usize,
    all: usize,
}

impl Found {
    fn part(
        &mut self,
        listed: &[Picture],
        config: &SoundConfig,
        kind: &Kind,
        done: &(dyn Fn() + Sync),
        dir: &Path,
    ) -> Result<InMemory> {
        let &Kind::Sound { rate, length } = kind else {
            return Err(Error::Config { key: "data", reason: format!("recordings are no {kind}") });
        };
        let total = AtomicUsize::new(0);
        let sounds = |picture: &Picture| {
            // Before the next one is opened: the sounds of all recordings may not fit into memory.
            if total.load(Ordering::Relaxed) > MOST_BYTES {
                return Err(too_many());
            }
            let made = open(&picture.path).and_then(|recording| {
                let made = Made::of(&recording, config.fit, (rate, length))
                    .map_err(|reason| Error::Recording { path: picture.path.clone(), reason })?;
                total.fetch_add(made.sounds.len() * kind.bytes(), Ordering::Relaxed);
                Ok(made)
            });
            done();
            made
        };
        let made: Vec<Result<Made>> = listed.par_iter().map(sounds).collect();
        let (mut bytes, mut labels) = (Vec::new(), Vec::new());
        for (picture, made) in listed.iter().zip(made) {
            let made = match made {
                Ok(made) => made,
                Err(error @ (Error::Recording { .. } | Error::Io { .. })) if config.skip_unreadable => {
                    let name = picture.path.strip_prefix(dir).unwrap_or(&picture.path).display();
                    let reason = match &error {
                        Error::Recording { reason, .. } => reason.clone(),
                        error => error.to_string(),
                    };
                    self.skipped.push(format!("{name} ({reason})"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.add(&made, rate, config.fit);
            if bytes.len() + made.sounds.len() * kind.bytes() > MOST_BYTES {
                return Err(too_many());
            }
            for sound in made.sounds {
                bytes.extend(sound);
                labels.push(picture.label);
            }
        }
        if labels.is_empty() {
            let reason = format!("none of its {} recordings gives a sound", listed.len());
            return Err(Error::Config { key: "data.dir", reason });
        }
        InMemory::new(kind.clone(), bytes, labels.into_iter().collect())
    }

    /// Counts a recording that became sounds of `rate`.
    pub(crate) fn add(&mut self, made: &Made, rate: u32, fit: Fit) {
        self.all += 1;
        self.resampled += usize::from(made.rate != rate);
        self.longer += usize::from(made.longer && fit != Fit::Cut);
        self.rates.insert(made.rate);
    }

    pub(crate) fn notes(&self, kind: &Kind) -> Vec<Note> {
        let mut notes = Vec::new();
        let doubt = |text: String| Note::Sounds { doubt: text };
        if self.resampled > 0 {
            let rates: Vec<String> = self.rates.iter().map(ToString::to_string).collect();
            let Self { resampled, all, .. } = self;
            notes.push(doubt(format!(
                "{resampled} of {all} recordings have another rate ({} Hz) and were resampled to {kind}",
                rates.join(", ")
            )));
        }
        if self.longer > 0 {
            let Self { longer, all, .. } = self;
            notes.push(doubt(format!("{longer} of {all} recordings are longer than a sound and lose their end: `data.sound.length` or `data.sound.fit` change that")));
        }
        if !self.skipped.is_empty() {
            let examples = self.skipped.iter().take(LISTED).cloned().collect();
            notes.push(Note::Unreadable { count: self.skipped.len(), examples });
        }
        notes
    }
}

/// The sounds that a recording becomes.
pub(crate) struct Made {
    /// The recording's own sample rate, Hz.
    rate: u32,
    /// Whether it is longer than a sound.
    longer: bool,
    /// The sounds in their stored form.
    pub(crate) sounds: Vec<Vec<u8>>,
}

impl Made {
    /// Fits a recording to sounds of this rate and length.
    ///
    /// # Errors
    /// The reason, if it is nothing but silence, or too long at that rate.
    pub(crate) fn of(recording: &Recording, fit: Fit, (rate, length): (u32, usize)) -> Result<Self, String> {
        if recording.samples.iter().all(|sample| *sample == 0.0) {
            return Err("there is nothing but silence in it".to_owned());
        }
        let samples = at_rate(recording, rate)?;
        let longer = samples.len() > length;
        Ok(Self { rate: recording.rate, longer, sounds: fitted(samples, length, fit) })
    }
}

fn too_many() -> Error {
    let reason = format!(
        "more than {} GiB of sounds: choose a shorter `data.sound.length`, a lower `data.sound.rate`, or fewer recordings",
        MOST_BYTES >> 30
    );
    Error::Config { key: "data.dir", reason }
}

/// The samples of a recording at another rate, or the reason why there are too many.
fn at_rate(recording: &Recording, rate: u32) -> Result<Vec<f64>, String> {
    let samples = recording.samples.len() as u64 * u64::from(rate) / u64::from(recording.rate);
    if samples > MOST_SAMPLES as u64 {
        return Err(format!("at {rate} Hz {}", wav::too_long(samples as usize)));
    }
    Ok(resample(&recording.samples, recording.rate, rate))
}

fn open(path: &Path) -> Result<Recording> {
    store::refuse_special(path).map_err(Error::io("read", path))?;
    let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > MOST_FILE_BYTES {
        let reason = format!("it has more than {MOST_FILE_BYTES} bytes: cut it into parts");
        return Err(Error::Recording { path: path.to_path_buf(), reason });
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    wav::parse(&bytes).map_err(|reason| Error::Recording { path: path.to_path_buf(), reason })
}

/// Cuts or pads one recording into sounds.
fn fitted(mut samples: Vec<f64>, length: usize, fit: Fit) -> Vec<Vec<u8>> {
    match fit {
        Fit::Pad => {}
        Fit::Trim => {
            let loudest = samples.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            let loud = |value: &f64| value.abs() > SILENT * loudest;
            let first = samples.iter().position(loud).unwrap_or(0);
            let last = samples.iter().rposition(loud).map_or(samples.len(), |last| last + 1);
            samples = samples[first..last].to_vec();
        }
        Fit::Cut => {
            let mut sounds: Vec<Vec<f64>> = samples.chunks(length).map(<[f64]>::to_vec).collect();
            sounds.retain(|sound| 2 * sound.len() >= length);
            sounds.iter_mut().for_each(|sound| sound.resize(length, 0.0));
            return sounds.iter().map(|sound| at_rest(sound)).collect();
        }
    }
    samples.resize(length, 0.0);
    vec![at_rest(&samples)]
}

/// A pattern that extracts the class from a file name.
struct Pattern(Vec<Piece>);

enum Piece {
    Text(String),
    Label,
    Anything,
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self> {
        let fail = |reason: &str| {
            Err(Error::Config {
                key: "data.sound.label",
                reason: format!("{reason}, as in `{{label}}_*`; got `{pattern}`"),
            })
        };
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("{label}") {
                pieces.push(Piece::Label);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('*') {
                pieces.push(Piece::Anything);
                rest = after;
            } else {
                let end =
                    ["{label}", "*"].iter().filter_map(|next| rest.find(next)).min().unwrap_or(rest.len());
                pieces.push(Piece::Text(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        if pieces.iter().filter(|piece| matches!(piece, Piece::Label)).count() != 1 {
            return fail("it needs `{label}` once");
        }
        if pieces.windows(2).any(|two| two.iter().all(|piece| !matches!(piece, Piece::Text(_)))) {
            return fail("it needs a text between `{label}` and `*`");
        }
        Ok(Self(pieces))
    }

    /// Returns the class of a file of this name. Each wildcard matches as little as possible.
    fn label<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (mut rest, mut label, mut open) = (name, None, None);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    let place = if open.is_some() {
                        rest.find(text.as_str())?
                    } else {
                        rest.starts_with(text.as_str()).then_some(0)?
                    };
                    if open == Some(true) {
                        label = Some(&rest[..place]);
                    }
                    rest = &rest[place + text.len()..];
                    open = None;
                }
                Piece::Label => open = Some(true),
                Piece::Anything => open = Some(false),
            }
        }
        match open {
            Some(true) => label = Some(rest),
            None if !rest.is_empty() => return None,
            _ => {}
        }
        label.filter(|label| !label.is_empty())
    }
}

/// Gives every file of a folder without classes the class in its name.
fn label_by_name(listing: &mut Listing, pattern: &Pattern, dir: &Path) -> Result<()> {
    let reason = |reason: String| Error::Layout { path: dir.to_path_buf(), reason };
    if !listing.classes.is_empty() {
        return Err(reason("it has a directory per class: leave out `data.sound.label`".into()));
    }
    let name = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut classes: Vec<String> = Vec::new();
    for picture in listing.train.iter().chain(&listing.test) {
        let name = name(&picture.path);
        let label = pattern.label(&name).ok_or_else(|| Error::Layout {
            path: picture.path.clone(),
            reason: "its name does not fit the pattern `data.sound.label`".into(),
        })?;
        if !classes.iter().any(|class| class == label) {
            classes.push(label.to_owned());
        }
    }
    classes.sort_by(|a, b| natural::compare(a, b));
    let label = |path: &PathBuf| {
        let name = name(path);
        let label = pattern.label(&name)?;
        classes.iter().position(|class| class == label).map(|place| place as u32)
    };
    for picture in listing.train.iter_mut().chain(&mut listing.test) {
        picture.label = label(&picture.path);
    }
    let divided = !listing.notes.iter().any(|note| matches!(note, Note::Parts { test: Some(_), .. }));
    if divided {
        // Split again, a tenth of each class, now that the classes are known.
        let mut all: Vec<Picture> = listing.train.drain(..).chain(listing.test.drain(..)).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        let mut flags = selection::test_part(all.len(), |index| all[index].label).into_iter();
        listing.test = all.extract_if(.., |_| flags.next().unwrap_or(false)).collect();
        listing.train = all;
    }
    listing.classes = classes;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataConfig, load};

    /// Returns a 16-bit WAV file.
    fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let head = [36 + data.len() as u32, 16, 0x0001_0001, rate, 2 * rate, 0x0010_0002, data.len() as u32];
        let words = head.map(u32::to_le_bytes);
        [
            b"RIFF",
            &words[0],
            b"WAVE",
            b"fmt ",
            &words[1],
            &words[2],
            &words[3],
            &words[4],
            &words[5],
            b"data",
            &words[6],
            &data[..],
        ]
        .concat()
    }

    fn tone(count: usize) -> Vec<i16> {
        (0..count).map(|j| (libm::sin(j as f64 * 0.3) * 9000.0) as i16).collect()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn config(dir: &Path, sound: SoundConfig) -> DataConfig {
        let sound = SoundConfig { length: Some(sound.length.unwrap_or(1024)), ..sound };
        DataConfig {
            dir: Some(dir.to_path_buf()),
            sound: Some(sound),
            validation: Some(1),
            ..DataConfig::named("sound")
        }
    }

    #[test]
    fn patterns_find_the_class() {
        for (pattern, name, expected) in [
            ("{label}_*", "7_george_3", Some("7")),
            ("*_{label}_*", "george_7_3", Some("7")),
            ("*-{label}", "take-1-dog", Some("1-dog")),
            ("s{label}_x", "sdog_x", Some("dog")),
            ("s{label}_x", "sdog_y", None),
            ("{label}_*", "nothing", None),
            ("{label}_*", "_3", None),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().label(name), expected, "{pattern} {name}");
        }
        for wrong in ["", "*", "{label}{label}", "{label}*", "a{label}_{label}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn classes_come_from_directories_or_names_and_lengths_from_the_recipe() {
        let by_directory: Vec<(String, Vec<u8>)> = (0..6)
            .flat_map(|i| ["cat", "dog"].map(|class| (format!("{class}/{i}.wav"), wav(8000, &tone(900 + i)))))
            .collect();
        let by_name: Vec<(String, Vec<u8>)> = (0..6)
            .flat_map(|i| ["cat", "dog"].map(|class| (format!("{class}_{i}.wav"), wav(8000, &tone(900 + i)))))
            .collect();
        let named = SoundConfig { label: Some("{label}_*".into()), ..SoundConfig::default() };
        for (files, sound) in [(by_directory, SoundConfig::default()), (by_name, named)] {
            let files: Vec<(&str, Vec<u8>)> =
                files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
            let dir = folder(&files);
            let data = load(&config(dir.path(), sound)).unwrap();
            assert_eq!(data.info.classes, ["cat", "dog"]);
            assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (9, 1, 2));
            assert_eq!(data.info.sample().dims(), [1, 64, 8]);
            let batch = data.train.batch(&[0, 1], &candle_core::Device::Cpu).unwrap();
            assert_eq!(batch.inputs.dims(), [2, 1, 64, 8]);
            assert!(data.info.view_hash() != View::Waveform.hash(&data.info.kind));
        }
    }

    use crate::View;

    #[test]
    fn lengths_are_made_equal_as_the_recipe_says() {
        let mut long = vec![0.0; 100];
        long.extend((0..1500).map(|j| libm::sin(j as f64 * 0.3)));
        long.extend(vec![0.0; 100]);
        let sounds = |fit| fitted(long.clone(), 1024, fit);
        assert_eq!(sounds(Fit::Pad)[0], at_rest(&long[..1024]));
        assert_eq!(sounds(Fit::Trim)[0], at_rest(&long[101..1125]));
        let cut = sounds(Fit::Cut);
        assert_eq!((cut.len(), &cut[0]), (2, &at_rest(&long[..1024])));
        assert_eq!(fitted(long[..500].to_vec(), 1024, Fit::Cut).len(), 0);
    }

    #[test]
    fn names_or_skips_invalid_recordings() {
        let good = wav(16000, &tone(2048));
        let files = [
            ("a.wav", good.clone()),
            ("b.wav", good.clone()),
            ("c.wav", good.clone()),
            ("d.wav", good[..good.len() - 7].to_vec()),
            ("e.wav", wav(8000, &[0; 50])),
            ("f.mp3", vec![1]),
        ];
        let dir = folder(&files);
        let said = load(&config(dir.path(), SoundConfig::default())).unwrap_err().to_string();
        assert!(said.contains("d.wav") && said.contains("truncated"), "{said}");
        let skip = SoundConfig { skip_unreadable: true, ..SoundConfig::default() };
        let data = load(&config(dir.path(), skip.clone())).unwrap();
        let notes: Vec<String> = data.notes.iter().map(ToString::to_string).collect();
        assert!(
            notes.iter().any(
                |note| note.contains("16000 Hz) and were resampled to sounds of 1024 samples at 8000 Hz")
            ),
            "{notes:?}"
        );
        assert!(notes.iter().any(|note| note.contains("2 samples cannot be read")), "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("1 .mp3")), "{notes:?}");
        assert_eq!(data.train.len() + data.validation.len() + data.test.len(), 3);
        let silent = folder(&[("a.wav", wav(8000, &[0; 50])), ("b.wav", wav(8000, &[0; 50]))]);
        let said = load(&config(silent.path(), SoundConfig::default())).unwrap_err().to_string();
        assert!(said.contains("nothing but silence"), "{said}");
        let said = load(&config(silent.path(), skip)).unwrap_err().to_string();
        assert!(said.contains("none of its"), "{said}");
        let empty = folder(&[("x.txt", vec![1])]);
        let said = load(&config(empty.path(), SoundConfig::default())).unwrap_err().to_string();
        assert!(said.contains("contains no recordings, but 1 other file is left out"), "{said}");
    }

    #[test]
    fn rejects_impossible_settings_for_sounds() {
        let dir = folder(&[
            ("a.wav", wav(8000, &tone(50))),
            ("b.wav", wav(8000, &tone(50))),
            ("c.wav", wav(8000, &tone(50))),
        ]);
        let said = |sound: SoundConfig| load(&config(dir.path(), sound)).unwrap_err().to_string();
        assert!(said(SoundConfig { rate: Some(10), ..SoundConfig::default() }).contains("data.sound.rate"));
        assert!(
            said(SoundConfig { length: Some(1000), ..SoundConfig::default() })
                .contains("multiple of the hop")
        );
        assert!(
            said(SoundConfig { label: Some("{label}_*".into()), ..SoundConfig::default() })
                .contains("does not fit the pattern")
        );
        let mut digits = DataConfig::named("digits");
        digits.sound = Some(SoundConfig::default());
        assert!(load(&digits).unwrap_err().to_string().contains("only data sets of sounds"));
        let mut drums = DataConfig::named("drums");
        drums.sound = Some(SoundConfig { rate: Some(16000), ..SoundConfig::default() });
        assert!(load(&drums).unwrap_err().to_string().contains("fixed for `drums`"));
    }
}
