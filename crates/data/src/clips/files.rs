//! Files as clips: which files belong to a clip, its class and part, and its conversion.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use waxwork_core::{ImageShape, Kind};

use super::packing::{self, Packing};
use super::{ClipsConfig, Longer, SIZE};
use crate::folder::contents;
use crate::folder::layout::{self, Listing, Picture, Wanted};
use crate::manifest::Manifest;
use crate::notes::{LISTED, Note};
use crate::parts::Parts;
use crate::picture::animation::{self, Each, MOST_STRIP};
use crate::picture::{self, Unreadable};
use crate::{Error, InMemory, Progress, Result, folder, natural, selection};

pub(crate) use crate::picture::animation::MOST_FRAMES;

/// Files of clips, or of their frames.
const CLIPS: Wanted = Wanted {
    plural: "clips",
    endings: &["apng", "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"],
    other_endings: &["avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv", "y4m"],
    is_frame: Some(is_frame),
};
/// Maximum number of bytes of all clips that are read into memory at once.
const MOST_BYTES: usize = 8 << 30;

/// Whether a file shows one frame of a clip, not a whole clip. None if it cannot be read.
fn is_frame(path: &Path) -> Option<bool> {
    animation::is_still(&picture::read_up_to(path, MOST_STRIP).ok()?)
}

/// Clips read from a folder, all of one kind.
#[derive(Debug)]
pub struct Clips {
    /// The clips.
    pub clips: InMemory,
    /// The names of the directories; label `k` is `classes[k]`. Empty if there are no directories.
    pub classes: Vec<String>,
    /// What the reader assumed, and what it left out.
    pub notes: Vec<Note>,
}

/// The result of loading a folder: its parts, its classes, the number of clips left out, and the notes.
pub(crate) type Loaded = (Parts, Vec<String>, usize, Vec<Note>);

/// The files of one clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// The file, or the folder of numbered frames.
    path: PathBuf,
    /// The frames in order, if each has a file of its own.
    pub(super) frames: Vec<PathBuf>,
    pub(super) label: Option<u32>,
    /// The expected SHA-256 of each file, None for an unreadable file; empty if any contents are accepted.
    pub(super) hashes: Vec<Option<[u8; 32]>>,
}

impl Files {
    fn new(path: PathBuf, frames: Vec<PathBuf>, label: Option<u32>) -> Self {
        Self { path, frames, label, hashes: Vec::new() }
    }

    /// The files, in temporal order.
    pub(super) fn paths(&self) -> &[PathBuf] {
        if self.frames.is_empty() { std::slice::from_ref(&self.path) } else { &self.frames }
    }

    /// Reads the bytes of a file of [`Files::paths`].
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Clip`] if it is too large; [`Error::Changed`] if its hash has changed.
    fn read(&self, at: usize, path: &Path) -> Result<Vec<u8>> {
        let bytes = picture::read_up_to(path, MOST_STRIP).map_err(|error| match error {
            Error::Picture { path, reason } => Error::Clip { path, reason },
            error => error,
        })?;
        match self.hashes.get(at) {
            Some(hash) if *hash != Some(contents::hash(&bytes)) => {
                Err(Error::Changed { path: path.to_path_buf() })
            }
            _ => Ok(bytes),
        }
    }
}

/// How the clips of a folder are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    /// The folder.
    pub(super) dir: &'a Path,
    pub(super) config: &'a ClipsConfig,
    /// The kind of samples that the clips become.
    pub(super) kind: &'a Kind,
}

impl Reading<'_> {
    /// Decodes clips into `bytes`, one after the other, on all threads. `done` is called after each.
    ///
    /// # Errors
    /// [`Error::Config`] if the kind is not that of clips. Errors of individual clips are in the returned
    /// list.
    pub(super) fn decode(
        &self,
        clips: &[Files],
        bytes: &mut [u8],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Result<()>>> {
        let (frames, image) = needs_clips(self.kind)?;
        let made = |(files, out): (&Files, &mut [u8])| {
            let made = sample(files, frames, image, self.config.longer, out);
            done();
            made
        };
        Ok(clips.par_iter().zip(bytes.par_chunks_exact_mut(self.kind.bytes())).map(made).collect())
    }
}

/// Reads the clips of a folder as samples of `kind`. The folder has one directory per class, or no
/// directories. A clip with another number of frames, or with smaller ones, is an error.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`], [`Error::Clip`] for the first that cannot be
/// read.
pub fn read(dir: &Path, kind: &Kind) -> Result<Clips> {
    let (part, notes) = layout::list_part(dir, &CLIPS)?;
    let files = grouped(dir, part.pictures, !part.classes.is_empty())?;
    let reading = Reading { dir, config: &ClipsConfig::default(), kind };
    let clips = Found::default().part(&files, &reading, &|| ())?;
    Ok(Clips { clips, classes: part.classes, notes: plain(notes) })
}

/// Reads the clip in a file as a sample of `kind`: a strip or an animation of as many frames.
///
/// # Errors
/// [`Error::Io`], [`Error::Clip`]; [`Error::Config`] if `kind` is another kind.
pub fn clip(path: &Path, kind: &Kind) -> Result<Vec<u8>> {
    let (frames, image) = needs_clips(kind)?;
    let files = Files::new(path.to_path_buf(), Vec::new(), None);
    let mut bytes = vec![0; kind.bytes()];
    sample(&files, frames, image, Longer::Refuse, &mut bytes)?;
    Ok(bytes)
}

/// The frames of a clip of this kind, and the shape of each.
pub(super) fn needs_clips(kind: &Kind) -> Result<(usize, ImageShape)> {
    match *kind {
        Kind::Clip { frames, image } => Ok((frames, image)),
        _ => Err(Error::Config { key: "data", reason: format!("clips are no {kind}") }),
    }
}

/// Returns the parts of a folder, its classes, the number of clips left out, and the notes. Clips that need
/// much memory are packed.
pub(crate) fn load(
    dir: &Path,
    config: &ClipsConfig,
    packing: Packing<'_>,
    progress: &Progress<'_>,
) -> Result<Loaded> {
    let Listing { classes, train, test, notes } = layout::list(dir, &CLIPS)?;
    let (named, mut notes) = (!classes.is_empty(), plain(notes));
    let parts = if notes.iter().any(|note| matches!(note, Note::Parts { test: Some(_), .. })) {
        [grouped(dir, train, named)?, grouped(dir, test, named)?]
    } else {
        // Clips are held out, not single frames of them.
        let mut train = grouped(dir, train.into_iter().chain(test).collect(), named)?;
        let mut flags = selection::test_part(train.len(), |index| train[index].label).into_iter();
        let test = train.extract_if(.., |_| flags.next().unwrap_or(false)).collect();
        if train.is_empty() {
            let reason =
                format!("{} contains one clip, but training and testing need at least two", dir.display());
            return Err(Error::Config { key: "data.dir", reason });
        }
        // The listing held out single files.
        notes.retain(|note| !matches!(note, Note::Untrained { .. }));
        let missing = folder::without(&classes, &train.iter().filter_map(|files| files.label).collect());
        if !missing.is_empty() {
            let (count, classes) = (missing.len(), missing.into_iter().take(LISTED).collect());
            notes.push(Note::Untrained { count, classes });
        }
        [train, test]
    };
    // What the recipe leaves open comes from the first clip that can be read.
    let kind = match (config.frames, config.size) {
        (Some(frames), Some(size)) => config.kind(frames, size)?,
        (frames, _) => {
            let most = frames.unwrap_or(MOST_FRAMES);
            let (frames, side) = learned(dir, &parts, most, config.skip_unreadable)?;
            config.kind(frames, side.min(SIZE))?
        }
    };
    of_parts(parts, classes, notes, &Reading { dir, config, kind: &kind }, packing, progress)
}

/// The number of frames, at most one more than `most`, and the shorter side of the frames of the first clip;
/// with `skip`, of the first that can be read.
fn learned(dir: &Path, parts: &[Vec<Files>; 2], most: usize, skip: bool) -> Result<(usize, usize)> {
    let mut first = None;
    for files in parts.iter().flatten() {
        let mut side = None;
        let found = visit(files, most, &mut |frame| {
            side.get_or_insert(frame.width().min(frame.height()) as usize);
            Ok(())
        });
        match (found, side) {
            (Ok(frames), Some(side)) if frames > 1 => return Ok((frames, side)),
            (Ok(_), _) if !skip => {
                return Err(Unreadable("it has one frame, not two or more".into()).in_clip(&files.path));
            }
            (Err(error), _) if !(skip && is_of_one_clip(&error)) => return Err(error),
            (Err(error), _) => _ = first.get_or_insert(error),
            (Ok(_), _) => {}
        }
    }
    let reason = first.map_or_else(String::new, |error| format!("; the first: {error}"));
    let count = parts.iter().map(Vec::len).sum::<usize>();
    let reason = format!("none of the {count} clips in {} can be read{reason}", dir.display());
    Err(Error::Config { key: "data.dir", reason })
}

/// True if the error concerns only one clip, so that others may be readable.
fn is_of_one_clip(error: &Error) -> bool {
    matches!(error, Error::Clip { .. } | Error::Io { .. })
}

/// Loads the clips of a manifest, which are strips in `train` and `test`. Clips that take much memory are packed.
pub(crate) fn load_strips(
    manifest: &Manifest,
    dir: &Path,
    config: &ClipsConfig,
    kind: &Kind,
    packing: Packing<'_>,
    progress: &Progress<'_>,
) -> Result<Loaded> {
    let folders = manifest.folders.iter().map(|folder| dir.join(folder)).chain([dir.to_path_buf()]);
    let first = manifest.classes.first().cloned().unwrap_or_default();
    let is_there =
        |folder: &PathBuf| folder.join("train").join(&first).is_dir() && folder.join("test").is_dir();
    let Some(folder) = folders.into_iter().find(is_there) else {
        let archive = manifest.folders.first().unwrap_or(&manifest.name);
        return Err(Error::Missing {
            dataset: manifest.name.clone(),
            file: format!("train/{first}"),
            dir: dir.to_path_buf(),
            near: crate::files::nearly(dir, manifest, archive).filter(|path| path.is_file()),
        });
    };
    let Listing { classes, train, test, notes } = layout::list(&folder, &CLIPS)?;
    for (part, found, expected) in
        [("training", train.len(), manifest.train), ("test", test.len(), manifest.test)]
    {
        if found != expected || classes.len() != manifest.classes.len() {
            let reason = format!(
                "it has {found} {part} clips of {} classes, but `{}` has {expected} of {}: copy or unpack it again",
                classes.len(),
                manifest.name,
                manifest.classes.len()
            );
            return Err(Error::Layout { path: folder, reason });
        }
    }
    if let Some((found, expected)) = classes.iter().zip(&manifest.classes).find(|(a, b)| a != b) {
        let reason = format!(
            "it has a class `{found}` where `{}` has `{expected}`: copy or unpack it again",
            manifest.name
        );
        return Err(Error::Layout { path: folder, reason });
    }
    let parts = [grouped(&folder, train, true)?, grouped(&folder, test, true)?];
    let reading = Reading { dir: &folder, config, kind };
    of_parts(parts, classes, plain(notes), &reading, packing, progress)
}

/// The parts of a folder of clips. Clips that need much memory are packed.
fn of_parts(
    parts: [Vec<Files>; 2],
    classes: Vec<String>,
    mut notes: Vec<Note>,
    reading: &Reading<'_>,
    packing: Packing<'_>,
    progress: &Progress<'_>,
) -> Result<Loaded> {
    let all = parts.iter().map(Vec::len).sum::<usize>() as u64;
    if all.saturating_mul(reading.kind.bytes() as u64) > packing.beyond {
        return packing::load(parts, classes, notes, reading, packing, progress);
    }
    let done = AtomicU64::new(0);
    let tell = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    let mut found = Found::default();
    let [train, test] = parts;
    let train = found.part(&train, reading, &tell)?;
    let test = found.part(&test, reading, &tell)?;
    let (skipped, note) = found.left_out();
    notes.extend(note);
    Ok((Parts::new(train, test, &classes)?, classes, skipped, notes))
}

/// The notes without those about directories below classes, which are clips here.
fn plain(mut notes: Vec<Note>) -> Vec<Note> {
    notes.retain(|note| !matches!(note, Note::Nested { .. }));
    notes
}

/// Collects the files of each clip: one file, or the numbered frames in a directory below that of a class, or,
/// without classes, below the folder.
fn grouped(dir: &Path, listed: Vec<Picture>, classes: bool) -> Result<Vec<Files>> {
    let depth = |path: &Path| path.strip_prefix(dir).map_or(0, |below| below.components().count());
    // The directory of a class is in the folder itself, or in that of a part.
    let of_file = |path: &Path| 1 + usize::from(classes) + usize::from(in_part(dir, path));
    let mut clips = Vec::new();
    let mut folders: BTreeMap<(Option<u32>, PathBuf), Vec<PathBuf>> = BTreeMap::new();
    for Picture { path, label } in listed {
        match path.parent() {
            Some(folder) if depth(&path) > of_file(&path) => {
                folders.entry((label, folder.to_path_buf())).or_default().push(path);
            }
            _ => clips.push(Files::new(path, Vec::new(), label)),
        }
    }
    for ((label, path), frames) in folders {
        let frames = numbered(&path, frames)?;
        clips.push(Files::new(path, frames, label));
    }
    clips.sort_by(|a, b| (a.label, &a.path).cmp(&(b.label, &b.path)));
    Ok(clips)
}

/// Whether the first directory on the way to `path` has the name of a part.
fn in_part(dir: &Path, path: &Path) -> bool {
    let first = path.strip_prefix(dir).ok().and_then(|below| below.components().next());
    first.is_some_and(|name| crate::splits::role(&name.as_os_str().to_string_lossy()).is_some())
}

/// Sorts frames by the number at the end of their names.
fn numbered(folder: &Path, frames: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let fail = |reason: String| Error::Layout { path: folder.to_path_buf(), reason };
    let number = |path: &PathBuf| -> Option<u64> {
        let name = path.file_stem()?.to_string_lossy().into_owned();
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        name[name.len() - digits..].parse().ok()
    };
    let mut ordered = Vec::with_capacity(frames.len());
    for path in frames {
        let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = number(&path).ok_or_else(|| {
            fail(format!(
                "its file `{shown}` has no number at the end of its name, as the frames of a clip have"
            ))
        })?;
        ordered.push((number, path));
    }
    ordered.sort_by(|(a, one), (b, other)| {
        a.cmp(b).then_with(|| natural::compare(&one.to_string_lossy(), &other.to_string_lossy()))
    });
    for two in ordered.windows(2) {
        let [(before, _), (after, path)] = two else { continue };
        let shown = path.file_name().unwrap_or_default().to_string_lossy();
        if after == before {
            return Err(fail(format!("two frames have the number {after}, one of them `{shown}`")));
        }
        if *after != before + 1 {
            return Err(fail(format!("frame {} is missing before `{shown}`", before + 1)));
        }
    }
    Ok(ordered.into_iter().map(|(_, path)| path).collect())
}

/// Passes the frames of a clip in their original size to `each`, at most one more than `most`, and returns
/// their number. Only one frame or one strip is in memory at a time.
fn visit(files: &Files, most: usize, each: &mut Each<'_>) -> Result<usize> {
    if files.frames.is_empty() {
        let bytes = files.read(0, &files.path)?;
        return animation::frames(&bytes, most, each).map_err(|why| why.in_clip(&files.path));
    }
    let (mut first, mut found) = (None, 0);
    for (at, path) in files.frames.iter().take(most.saturating_add(1)).enumerate() {
        let contents = files.read(at, path)?;
        if animation::is_animated(&contents) {
            let reason = "it is an animation, but a folder below a class holds the numbered frames of one clip: move \
                          animations into the folder of the class";
            return Err(Unreadable(reason.into()).in_clip(path));
        }
        let frame = animation::frame(&contents).map_err(|why| why.in_clip(path))?;
        let (width, height) = *first.get_or_insert((frame.width(), frame.height()));
        if (width, height) != (frame.width(), frame.height()) {
            let reason = format!(
                "it is {}×{}, but the first frame of its clip is {width}×{height}",
                frame.width(),
                frame.height()
            );
            return Err(Unreadable(reason).in_clip(path));
        }
        each(frame).map_err(|why| why.in_clip(path))?;
        found += 1;
    }
    Ok(found)
}

/// Writes a clip as a sample to `out`, which has as many bytes.
fn sample(files: &Files, frames: usize, image: ImageShape, longer: Longer, out: &mut [u8]) -> Result<()> {
    let mut places = out.chunks_exact_mut(image.len());
    let found = visit(files, frames, &mut |frame| {
        let (width, height) = (frame.width(), frame.height());
        if (width as usize).min(height as usize) < image.height {
            return Err(Unreadable(format!(
                "its frames are {width}×{height}, smaller than {} pixels (`data.clips.size`)",
                image.height
            )));
        }
        if let Some(place) = places.next() {
            let pixels = picture::fit(&files.path, frame, image);
            place.copy_from_slice(&pixels.map_err(|error| Unreadable(error.to_string()))?);
        }
        Ok(())
    })?;
    let refuse = |reason: String| Err(Unreadable(reason).in_clip(&files.path));
    if found < frames {
        let plural = if found == 1 { "" } else { "s" };
        return refuse(format!(
            "it has {found} frame{plural}, but a clip has {frames} (`data.clips.frames`)"
        ));
    }
    if found > frames && longer == Longer::Refuse {
        return refuse(format!(
            "it has more than {frames} frames: set `data.clips.frames`, or `data.clips.longer` to `cut`"
        ));
    }
    Ok(())
}

/// Facts for the notes, collected while reading.
#[derive(Default)]
pub(super) struct Found {
    /// Names of clips that were left out, each with its reason.
    skipped: Vec<String>,
}

impl Found {
    fn part(&mut self, clips: &[Files], reading: &Reading<'_>, done: &(dyn Fn() + Sync)) -> Result<InMemory> {
        let kind = reading.kind;
        let needed = clips.len().saturating_mul(kind.bytes());
        if needed > MOST_BYTES {
            let reason = format!(
                "its {} {kind} take {} GiB, more than {}: choose a smaller `data.clips.size`, fewer `data.clips.frames`, or fewer \
                 clips",
                clips.len(),
                needed >> 30,
                MOST_BYTES >> 30
            );
            return Err(Error::Config { key: "data.dir", reason });
        }
        // Every clip is decoded into its final place, so that there is no second copy of the part.
        let (size, mut bytes) = (kind.bytes(), vec![0u8; needed]);
        let made = reading.decode(clips, &mut bytes, done)?;
        let mut labels = Vec::with_capacity(clips.len());
        for (place, (files, made)) in clips.iter().zip(made).enumerate() {
            if self.keeps(files, made, reading)? {
                let kept = labels.len();
                if kept < place {
                    bytes.copy_within(place * size..(place + 1) * size, kept * size);
                }
                labels.push(files.label);
            }
        }
        if labels.is_empty() {
            return Err(Self::nothing(clips.len()));
        }
        bytes.truncate(labels.len() * size);
        InMemory::new(kind.clone(), bytes, labels.into_iter().collect())
    }

    /// Whether to keep a clip, where `made` is the result of reading it. Records the clips that are left out.
    ///
    /// # Errors
    /// The error in `made`, unless unreadable clips are to be left out.
    pub(super) fn keeps(&mut self, files: &Files, made: Result<()>, reading: &Reading<'_>) -> Result<bool> {
        match made {
            Ok(()) => Ok(true),
            Err(error) if reading.config.skip_unreadable && is_of_one_clip(&error) => {
                let name = files.path.strip_prefix(reading.dir).unwrap_or(&files.path).display();
                let reason = match &error {
                    Error::Clip { reason, .. } => reason.clone(),
                    error => error.to_string(),
                };
                self.skipped.push(format!("{name} ({reason})"));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The error if none of `count` clips can be read.
    pub(super) fn nothing(count: usize) -> Error {
        Error::Config { key: "data.dir", reason: format!("none of its {count} clips can be read") }
    }

    /// The number of clips that were left out, and a note that names some of them.
    pub(super) fn left_out(self) -> (usize, Option<Note>) {
        let count = self.skipped.len();
        let examples = self.skipped.into_iter().take(LISTED).collect();
        (count, (count > 0).then_some(Note::Unreadable { count, examples }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use image::codecs::gif::GifEncoder;
    use image::{Frame, GrayImage, Luma, Rgba, RgbaImage};

    use super::super::frames::frames as frames_of;
    use super::*;
    use crate::Source;

    const SIDE: u32 = 8;
    const IMAGE: ImageShape = ImageShape::new(1, SIDE as usize, SIDE as usize);

    /// The grey values of a clip of `frames` frames that begins with `first`: no frame is like another.
    fn greys(first: u8, frames: u8) -> Vec<u8> {
        (0..frames).map(|time| first + 20 * time).collect()
    }

    /// A clip as a strip, each of whose frames has one grey value.
    fn strip(path: &Path, greys: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let width = SIDE * greys.len() as u32;
        GrayImage::from_fn(width, SIDE, |x, _| Luma([greys[(x / SIDE) as usize]])).save(path).unwrap();
    }

    /// A clip as numbered frames. Their numbers have no leading zeros, so their names are not in order.
    fn frames(folder: &Path, greys: &[u8]) {
        fs::create_dir_all(folder).unwrap();
        for (number, grey) in (1..).zip(greys) {
            let path = folder.join(format!("frame{number}.png"));
            GrayImage::from_pixel(SIDE, SIDE, Luma([*grey])).save(path).unwrap();
        }
    }

    fn animation(path: &Path, greys: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = GifEncoder::new(File::create(path).unwrap());
        for &grey in greys {
            let image = RgbaImage::from_pixel(SIDE, SIDE, Rgba([grey, grey, grey, 255]));
            encoder.encode_frame(Frame::new(image)).unwrap();
        }
    }

    /// The grey value of each frame of a sample.
    fn shown(sample: &[u8]) -> Vec<u8> {
        let frames = sample.chunks_exact(IMAGE.len());
        frames
            .inspect(|frame| assert!(frame.iter().all(|value| *value == frame[0])))
            .map(|frame| frame[0])
            .collect()
    }

    /// The grey values of every clip of a source.
    fn all(source: &dyn Source) -> Vec<Vec<u8>> {
        let sample = |index| {
            let mut bytes = vec![0; source.kind().bytes()];
            source.write_sample(index, &mut bytes).unwrap();
            shown(&bytes)
        };
        (0..source.len()).map(sample).collect()
    }

    fn grey() -> ClipsConfig {
        ClipsConfig { grey: true, ..ClipsConfig::default() }
    }

    fn loaded(dir: &Path, config: &ClipsConfig) -> Result<Loaded> {
        load(dir, config, Packing::usual(), &|_, _| ())
    }

    fn said(dir: &Path) -> String {
        loaded(dir, &grey()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn frames_are_ordered_by_their_numbers() {
        let names = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let folder = Path::new("walk/a");
        let found = numbered(folder, names(&["f10.png", "f9.png", "f11.png"])).unwrap();
        assert_eq!(found, names(&["f9.png", "f10.png", "f11.png"]));
        let fault = |files: &[&str]| numbered(folder, names(files)).unwrap_err().to_string();
        assert!(fault(&["1.png", "3.png"]).contains("frame 2 is missing before `3.png`"));
        assert!(fault(&["1.png", "01.png"]).contains("two frames have the number 1"));
        assert!(fault(&["1.png", "last.png"]).contains("`last.png` has no number"));
    }

    /// Each frame has its own grey value, which identifies it when it is read back.
    #[test]
    fn every_reader_keeps_the_order_of_frames() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        strip(&at("train/run/1.png"), &greys(1, 12));
        animation(&at("train/run/2.gif"), &greys(2, 12));
        frames(&at("train/run/3"), &greys(3, 12));
        frames(&at("train/walk/1"), &greys(4, 12));
        strip(&at("train/walk/2.png"), &greys(5, 12));
        animation(&at("test/walk/1.gif"), &greys(6, 12));
        let (parts, classes, skipped, notes) = loaded(dir.path(), &grey()).unwrap();
        assert_eq!((classes, skipped), (vec!["run".to_owned(), "walk".to_owned()], 0));
        assert!(
            !notes.iter().any(|note| matches!(note, Note::Nested { .. } | Note::Unclassed { .. })),
            "{notes:?}"
        );
        assert_eq!(all(parts.train.as_ref()), (1..=5).map(|first| greys(first, 12)).collect::<Vec<_>>());
        assert_eq!(all(parts.test.as_ref()), [greys(6, 12)]);
        let labels: Vec<_> = (0..5).map(|index| parts.train.label(index)).collect();
        assert_eq!(labels, [0, 0, 0, 1, 1].map(Some));
        let kind = parts.train.kind();
        assert_eq!(kind, Kind::Clip { frames: 12, image: IMAGE });
        for (name, first) in [("train/run/1.png", 1), ("train/run/2.gif", 2)] {
            assert_eq!(shown(&clip(&at(name), &kind).unwrap()), greys(first, 12));
        }
        let Clips { clips, classes, .. } = read(&at("train"), &kind).unwrap();
        assert_eq!((clips.len(), classes.len()), (5, 2));
        assert_eq!(all(&clips)[2], greys(3, 12));
        // The first frames, if the rest is cut.
        let cut = ClipsConfig { frames: Some(5), longer: Longer::Cut, ..grey() };
        let (parts, ..) = loaded(dir.path(), &cut).unwrap();
        assert_eq!(all(parts.train.as_ref()), (1..=5).map(|first| greys(first, 5)).collect::<Vec<_>>());
    }

    #[test]
    fn numbered_frames_need_no_classes_and_may_have_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (clip, first) in [("a", 1), ("b", 2), ("c", 3)] {
            frames(&at("one/walk").join(clip), &greys(first, 4));
            frames(&at("none").join(clip), &greys(first, 4));
            let part = if clip == "c" { "test" } else { "train" };
            frames(&at("parts").join(part).join(clip), &greys(first, 4));
            frames(
                &at("high/clips").join(if clip == "c" { "run" } else { "walk" }).join(clip),
                &greys(first, 4),
            );
        }
        let sorted = |parts: &Parts| {
            let mut clips = all(parts.train.as_ref());
            clips.extend(all(parts.test.as_ref()));
            clips.sort();
            clips
        };
        let clips: Vec<Vec<u8>> = (1..=3).map(|first| greys(first, 4)).collect();
        for (name, classes) in [("one", &["walk"][..]), ("none", &[][..]), ("parts", &[][..])] {
            let (parts, found, _, notes) = loaded(&at(name), &grey()).unwrap();
            assert_eq!(found, classes, "{name}");
            assert_eq!(
                (parts.train.len(), parts.test.len(), sorted(&parts)),
                (2, 1, clips.clone()),
                "{name}"
            );
            assert_eq!(parts.train.label(0), classes.first().map(|_| 0), "{name}");
            let unclassed = notes.iter().any(|note| matches!(note, Note::Unclassed { .. }));
            assert_eq!(unclassed, classes.is_empty(), "{name}: {notes:?}");
        }
        let kind = Kind::Clip { frames: 4, image: IMAGE };
        let Clips { clips: found, classes, .. } = read(&at("none"), &kind).unwrap();
        assert_eq!((all(&found), classes.len()), (clips, 0));

        // An ambiguous folder causes an error of one line that says what to do.
        assert!(said(&at("high")).contains("clips instead"), "{}", said(&at("high")));
        assert!(
            said(&at("none/a")).contains("numbered frames belong in a folder per clip"),
            "{}",
            said(&at("none/a"))
        );
        frames(&at("alone/a"), &greys(1, 4));
        assert!(said(&at("alone")).contains("contains one clip"), "{}", said(&at("alone")));
        frames(&at("short/a"), &greys(1, 2));
        frames(&at("short/b"), &greys(1, 3));
        assert!(said(&at("short")).contains(": it has "), "{}", said(&at("short")));
    }

    /// The size and the number of frames come from the first clip that can be read.
    #[test]
    fn an_unreadable_clip_may_be_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, first) in [("train/walk/b.png", 1), ("train/walk/d.png", 2), ("test/walk/a.png", 3)] {
            strip(&at(name), &greys(first, 6));
        }
        fs::write(at("train/walk/a.png"), b"no image").unwrap();
        frames(&at("train/walk/c"), &greys(4, 1));
        assert!(said(dir.path()).contains("a.png"), "{}", said(dir.path()));
        assert!(matches!(loaded(dir.path(), &grey()), Err(Error::Clip { .. })));
        let skip = ClipsConfig { skip_unreadable: true, ..grey() };
        let (parts, _, skipped, notes) = loaded(dir.path(), &skip).unwrap();
        assert_eq!(parts.train.kind(), Kind::Clip { frames: 6, image: IMAGE });
        assert_eq!((all(parts.train.as_ref()), skipped), (vec![greys(1, 6), greys(2, 6)], 2));
        assert_eq!(all(parts.test.as_ref()), [greys(3, 6)]);
        let note = notes.iter().map(ToString::to_string).find(|note| note.contains("a.png"));
        assert!(note.is_some_and(|note| note.contains("it has 1 frame, but a clip has 6")), "{notes:?}");
        for name in ["train/walk/b.png", "train/walk/d.png", "test/walk/a.png"] {
            fs::write(at(name), b"no image").unwrap();
        }
        let none = loaded(dir.path(), &skip).map(|_| ()).unwrap_err().to_string();
        assert!(none.contains("none of the 5 clips in") && none.contains("; the first: "), "{none}");
    }

    /// Packed clips are the same as clips read into memory, in the same order, and are decoded once. Every change
    /// to a file, to the settings, or to the division of frames into clips creates another packed file.
    #[test]
    fn packed_clips_are_those_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("clips").join(name);
        strip(&at("train/run/1.png"), &greys(1, 6));
        animation(&at("train/run/2.gif"), &greys(2, 6));
        frames(&at("train/walk/1"), &greys(3, 6));
        fs::write(at("train/walk/2.png"), b"no image").unwrap();
        frames(&at("test/walk/1"), &greys(4, 12));
        let config = ClipsConfig { frames: Some(6), longer: Longer::Cut, skip_unreadable: true, ..grey() };
        let cache = || -> Result<PathBuf> { Ok(dir.path().join("cache")) };
        // A file that has not changed for a while is not even opened.
        let now = SystemTime::now() + Duration::from_secs(3600);
        let calls = AtomicU64::new(0);
        let packed = |config: &ClipsConfig| {
            let packing = Packing { beyond: 0, cache: &cache, now };
            let tell = |done: u64, all: u64| {
                assert!(done <= all);
                calls.fetch_add(1, Ordering::Relaxed);
            };
            load(&at(""), config, packing, &tell).unwrap()
        };
        let (parts, classes, skipped, notes) = packed(&config);
        // Eighteen frames, three other files, and five clips.
        let of_all = (6 + 12 + 3) + 5;
        assert_eq!(calls.swap(0, Ordering::Relaxed), of_all);
        let (expected, names, left_out, _) = loaded(&at(""), &config).unwrap();
        assert_eq!((classes, skipped, left_out), (names, 1, 1));
        assert_eq!(parts.identity, expected.identity);
        assert_eq!(all(parts.train.as_ref()), (1..=3).map(|first| greys(first, 6)).collect::<Vec<_>>());
        assert_eq!(all(parts.test.as_ref()), [greys(4, 6)]);
        let labels: Vec<_> = (0..3).map(|index| parts.train.label(index)).collect();
        assert_eq!(labels, [0, 0, 1].map(Some));
        assert!(notes.iter().any(|note| matches!(note, Note::Unreadable { count: 1, .. })), "{notes:?}");

        let (again, _, skipped, more) = packed(&config);
        assert_eq!((again.identity, skipped, more.len()), (parts.identity.clone(), 1, notes.len()));
        assert_eq!(calls.swap(0, Ordering::Relaxed), if cfg!(unix) { 0 } else { of_all - 5 });
        let short = packed(&ClipsConfig { frames: Some(3), ..config.clone() }).0;
        assert_eq!(all(short.test.as_ref()), [greys(4, 3)]);
        // The same frames as two clips.
        for number in 7..=12 {
            let (from, to) = (at("test/walk/1"), at("test/walk/2"));
            fs::create_dir_all(&to).unwrap();
            let name = format!("frame{number}.png");
            fs::rename(from.join(&name), to.join(&name)).unwrap();
        }
        let two = packed(&config).0;
        assert_eq!(all(two.test.as_ref()), [greys(4, 6), greys(124, 6)]);
        strip(&at("train/run/1.png"), &greys(9, 6));
        let changed = packed(&config).0;
        assert_eq!(all(changed.train.as_ref())[0], greys(9, 6));
        // Each of the four has a file, and on Unix a note.
        let count = fs::read_dir(dir.path().join("cache/folders")).unwrap().count();
        assert_eq!(count, if cfg!(unix) { 8 } else { 4 });
        // A damaged file is created again.
        for entry in fs::read_dir(dir.path().join("cache/folders")).unwrap() {
            fs::write(entry.unwrap().path(), "damaged").unwrap();
        }
        assert_eq!(packed(&config).0.identity, changed.identity);
    }

    /// A file that changes between its two reads is not packed under the hash of its old contents.
    #[test]
    fn a_file_that_changes_while_it_is_packed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.png");
        strip(&path, &greys(1, 4));
        let hash = contents::hash(&fs::read(&path).unwrap());
        let mut out = vec![0; 4 * IMAGE.len()];
        let mut read = |hashes: Vec<Option<[u8; 32]>>| {
            let files = Files { hashes, ..Files::new(path.clone(), Vec::new(), None) };
            sample(&files, 4, IMAGE, Longer::Refuse, &mut out)
        };
        read(vec![Some(hash)]).unwrap();
        for other in [None, Some([0; 32])] {
            assert!(matches!(read(vec![other]), Err(Error::Changed { .. })));
        }
    }

    /// A small folder of the shape of `sprites`: its classes are those of the manifest, in the same order.
    #[test]
    fn sprites_have_the_classes_of_their_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("sprites");
        let manifest = Manifest::find("sprites").unwrap();
        let manifest = Manifest { train: 18, test: 9, ..manifest };
        assert_eq!(manifest.classes[..2], ["slash-front", "slash-left"]);
        for (number, class) in (0u8..).zip(&manifest.classes) {
            for (place, first) in [("train", 0), ("train", 10), ("test", 20)] {
                let name = format!("{place}/{class}/{first}.png");
                strip(&below.join(name), &greys(first + number, 8));
            }
        }
        let config = ClipsConfig { size: Some(SIDE as usize), ..grey() };
        let kind = config.kind(8, 64).unwrap();
        let load = || load_strips(&manifest, dir.path(), &config, &kind, Packing::usual(), &|_, _| ());
        let (parts, classes, ..) = load().unwrap();
        assert_eq!(classes, manifest.classes);
        for (index, clip) in all(parts.train.as_ref()).iter().enumerate() {
            let label = parts.train.label(index).unwrap();
            assert_eq!(u32::from(clip[0]) % 10, label, "clip {index}");
        }
        for (index, clip) in all(parts.test.as_ref()).iter().enumerate() {
            assert_eq!(parts.test.label(index), Some(u32::from(clip[0]) - 20));
        }
        // The frames of each clip in order, with its class, in memory and from a packed file.
        let cache = || -> Result<PathBuf> { Ok(dir.path().join("cache")) };
        let packed = Packing { beyond: 0, cache: &cache, now: SystemTime::now() };
        for packing in [Packing::usual(), packed] {
            let (clips, ..) =
                load_strips(&manifest, dir.path(), &config, &kind, packing, &|_, _| ()).unwrap();
            let identity = clips.identity.clone();
            let stills = frames_of(clips, &kind).unwrap();
            assert_ne!(stills.identity, identity);
            assert_eq!(stills.train.kind(), Kind::Image(IMAGE));
            assert_eq!((stills.train.len(), stills.test.len()), (8 * 18, 8 * 9));
            assert!(stills.test.write_sample(8 * 9, &mut [0; IMAGE.len()]).is_err());
            // Clips 0 and 1 are those of the first class, and 2 is the first of the second.
            let images = all(stills.train.as_ref());
            for (place, image) in images.iter().enumerate() {
                let (class, clip, frame) = (place / 16, place / 8 % 2, place % 8);
                assert_eq!(image[..], [(10 * clip + class + 20 * frame) as u8], "image {place}");
                assert_eq!(stills.train.label(place), Some(class as u32));
            }
        }
        for part in ["train", "test"] {
            fs::rename(below.join(part).join("walk-right"), below.join(part).join("walking-right")).unwrap();
        }
        let said = load().map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("it has a class `walking-right` where `sprites` has `walk-right`"), "{said}");
    }
}
