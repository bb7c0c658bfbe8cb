//! Files as clips: which files belong to a clip, its class and part, and its conversion.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use image::DynamicImage;
use rayon::prelude::*;
use waxwork_core::{ImageShape, Kind};

use super::{ClipsConfig, Longer, SIZE};
use crate::folder::layout::{self, Listing, Picture, Wanted};
use crate::manifest::Manifest;
use crate::notes::{LISTED, Note};
use crate::parts::Parts;
use crate::picture::animation;
use crate::picture::{self, Unreadable};
use crate::{Error, InMemory, Progress, Result, natural, selection};

pub(crate) use crate::picture::animation::MOST_FRAMES;

/// Files of clips, or of their frames.
const CLIPS: Wanted = Wanted {
    plural: "clips",
    endings: &["apng", "bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"],
    other_endings: &["avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv", "y4m"],
};
/// Maximum number of bytes of all clips of a part together.
const MOST_BYTES: usize = 8 << 30;

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
struct Files {
    /// The file, or the folder of numbered frames.
    path: PathBuf,
    /// The frames in order, if each has a file of its own.
    frames: Vec<PathBuf>,
    label: Option<u32>,
}

/// Reads the clips of a folder as samples of `kind`. The folder has one directory per class, or no
/// directories. A clip with another number of frames, or with smaller ones, is an error.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`], [`Error::Picture`] for the first that cannot be
/// read.
pub fn read(dir: &Path, kind: &Kind) -> Result<Clips> {
    let (part, notes) = layout::list_part(dir, &CLIPS)?;
    let files = grouped(dir, part.pictures, !part.classes.is_empty())?;
    let mut found = Found::default();
    let clips = found.part(&files, &ClipsConfig::default(), kind, dir, &|| ())?;
    Ok(Clips { clips, classes: part.classes, notes: plain(notes) })
}

/// Reads the clip in a file as a sample of `kind`: a strip or an animation of as many frames.
///
/// # Errors
/// [`Error::Io`], [`Error::Picture`]; [`Error::Config`] if `kind` is another kind.
pub fn clip(path: &Path, kind: &Kind) -> Result<Vec<u8>> {
    let (frames, image) = needs_clips(kind)?;
    let files = Files { path: path.to_path_buf(), frames: Vec::new(), label: None };
    sample(&files, frames, image, Longer::Refuse)
}

/// The frames of a clip of this kind, and the shape of each.
fn needs_clips(kind: &Kind) -> Result<(usize, ImageShape)> {
    match *kind {
        Kind::Clip { frames, image } => Ok((frames, image)),
        _ => Err(Error::Config { key: "data", reason: format!("clips are no {kind}") }),
    }
}

/// Returns the parts of a folder, its classes, the number of clips left out, and the notes.
pub(crate) fn load(dir: &Path, config: &ClipsConfig, progress: &Progress<'_>) -> Result<Loaded> {
    let Listing { classes, train, test, notes } = layout::list(dir, &CLIPS)?;
    let named = !classes.is_empty();
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
        [train, test]
    };
    let first = parts.iter().flatten().next().ok_or_else(|| Error::EmptyFolder {
        path: dir.to_path_buf(),
        what: CLIPS.plural,
        found: String::new(),
    })?;
    // The first clip gives what the recipe leaves open.
    let kind = match (config.frames, config.size) {
        (Some(frames), Some(size)) => config.kind(frames, size)?,
        (frames, _) => {
            let shown = decoded(first, frames.unwrap_or(MOST_FRAMES))?;
            let side = shown.first().map_or(SIZE, |frame| frame.width().min(frame.height()) as usize);
            config.kind(shown.len(), side.min(SIZE))?
        }
    };
    of_parts(parts, classes, plain(notes), config, &kind, dir, progress)
}

/// Loads the clips of a manifest, which are strips in `train` and `test`.
pub(crate) fn load_strips(
    manifest: &Manifest,
    dir: &Path,
    config: &ClipsConfig,
    kind: &Kind,
    progress: &Progress<'_>,
) -> Result<Loaded> {
    let folders = manifest.folders.iter().map(|folder| dir.join(folder)).chain([dir.to_path_buf()]);
    let first = manifest.classes.first().cloned().unwrap_or_default();
    let is_there =
        |folder: &PathBuf| folder.join("train").join(&first).is_dir() && folder.join("test").is_dir();
    let Some(folder) = folders.into_iter().find(is_there) else {
        return Err(Error::Missing {
            dataset: manifest.name.clone(),
            file: format!("train/{first}"),
            dir: dir.to_path_buf(),
            near: crate::files::nearly(dir, manifest, &manifest.name).filter(|path| path.is_file()),
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
    let parts = [grouped(&folder, train, true)?, grouped(&folder, test, true)?];
    of_parts(parts, classes, plain(notes), config, kind, &folder, progress)
}

fn of_parts(
    parts: [Vec<Files>; 2],
    classes: Vec<String>,
    mut notes: Vec<Note>,
    config: &ClipsConfig,
    kind: &Kind,
    dir: &Path,
    progress: &Progress<'_>,
) -> Result<Loaded> {
    let all = parts.iter().map(Vec::len).sum::<usize>() as u64;
    let done = AtomicU64::new(0);
    let tell = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    let mut found = Found::default();
    let [train, test] = parts;
    let train = found.part(&train, config, kind, dir, &tell)?;
    let test = found.part(&test, config, kind, dir, &tell)?;
    let skipped = found.skipped.len();
    if skipped > 0 {
        let examples = found.skipped.into_iter().take(LISTED).collect();
        notes.push(Note::Unreadable { count: skipped, examples });
    }
    Ok((Parts::new(train, test, &classes)?, classes, skipped, notes))
}

/// The notes without those about directories below classes, which are clips here.
fn plain(mut notes: Vec<Note>) -> Vec<Note> {
    notes.retain(|note| !matches!(note, Note::Nested { .. }));
    notes
}

/// Collects the files of each clip: one file, or the numbered frames in a directory below that of a class.
fn grouped(dir: &Path, listed: Vec<Picture>, classes: bool) -> Result<Vec<Files>> {
    let depth = |path: &Path| path.strip_prefix(dir).map_or(0, |below| below.components().count());
    // The directory of a class is in the folder itself, or in that of a part.
    let of_file = |path: &Path| 2 + usize::from(in_part(dir, path));
    let mut clips = Vec::new();
    let mut folders: BTreeMap<(Option<u32>, PathBuf), Vec<PathBuf>> = BTreeMap::new();
    for Picture { path, label } in listed {
        match path.parent() {
            Some(folder) if classes && depth(&path) > of_file(&path) => {
                folders.entry((label, folder.to_path_buf())).or_default().push(path);
            }
            _ => clips.push(Files { path, frames: Vec::new(), label }),
        }
    }
    for ((label, path), frames) in folders {
        clips.push(Files { frames: numbered(&path, frames)?, path, label });
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

/// The frames of a clip at their own size: at most one more than `most`.
fn decoded(files: &Files, most: usize) -> Result<Vec<DynamicImage>> {
    if files.frames.is_empty() {
        let bytes = picture::read(&files.path)?;
        return animation::frames(&bytes, most).map_err(|why| why.at(&files.path));
    }
    let mut frames: Vec<DynamicImage> = Vec::new();
    let mut bytes = 0u64;
    for path in files.frames.iter().take(most.saturating_add(1)) {
        let contents = picture::read(path)?;
        if animation::is_animated(&contents) {
            let reason = "it is an animation, but a folder below a class holds the numbered frames of one clip: move \
                          animations into the folder of the class";
            return Err(Unreadable(reason.into()).at(path));
        }
        let frame = picture::decode(&contents).map_err(|why| why.at(path))?;
        bytes += frame.as_bytes().len() as u64;
        if bytes > picture::MOST_BYTES {
            let reason = format!("its frames take more than {} MiB", picture::MOST_BYTES >> 20);
            return Err(Unreadable(reason).at(&files.path));
        }
        if let Some(first) = frames.first()
            && (first.width(), first.height()) != (frame.width(), frame.height())
        {
            let reason = format!(
                "it is {}×{}, but the first frame of its clip {}×{}",
                frame.width(),
                frame.height(),
                first.width(),
                first.height()
            );
            return Err(Unreadable(reason).at(path));
        }
        frames.push(frame);
    }
    Ok(frames)
}

/// A clip as a sample.
fn sample(files: &Files, frames: usize, image: ImageShape, longer: Longer) -> Result<Vec<u8>> {
    let shown = decoded(files, frames)?;
    let found = shown.len();
    let refuse = |reason: String| Err(Unreadable(reason).at(&files.path));
    if found < frames {
        return refuse(format!("it has {found} frames, but a clip has {frames} (`data.clips.frames`)"));
    }
    if found > frames && longer == Longer::Refuse {
        return refuse(format!(
            "it has more than {frames} frames: set `data.clips.frames`, or `data.clips.longer` to `cut`"
        ));
    }
    if let Some(first) = shown.first()
        && (first.width() as usize).min(first.height() as usize) < image.height
    {
        let (width, height) = (first.width(), first.height());
        return refuse(format!(
            "its frames are {width}×{height}, smaller than {} pixels (`data.clips.size`)",
            image.height
        ));
    }
    let mut bytes = Vec::with_capacity(frames * image.len());
    for frame in shown.into_iter().take(frames) {
        bytes.extend(picture::fit(&files.path, frame, image)?);
    }
    Ok(bytes)
}

/// Facts for the notes, collected while reading.
#[derive(Default)]
struct Found {
    /// Names of clips that were left out, each with its reason.
    skipped: Vec<String>,
}

impl Found {
    fn part(
        &mut self,
        clips: &[Files],
        config: &ClipsConfig,
        kind: &Kind,
        dir: &Path,
        done: &(dyn Fn() + Sync),
    ) -> Result<InMemory> {
        let (frames, image) = needs_clips(kind)?;
        let needed = clips.len().saturating_mul(kind.bytes());
        if needed > MOST_BYTES {
            let reason = format!(
                "its {} clips of {frames} frames of {image} take {} GiB, more than {}: choose a smaller `data.clips.size`, fewer \
                 `data.clips.frames`, or fewer clips",
                clips.len(),
                needed >> 30,
                MOST_BYTES >> 30
            );
            return Err(Error::Config { key: "data.dir", reason });
        }
        let made = |files: &Files| {
            let made = sample(files, frames, image, config.longer);
            done();
            made
        };
        let made: Vec<Result<Vec<u8>>> = clips.par_iter().map(made).collect();
        let (mut bytes, mut labels) = (Vec::with_capacity(needed), Vec::new());
        for (files, made) in clips.iter().zip(made) {
            match made {
                Ok(clip) => {
                    bytes.extend(clip);
                    labels.push(files.label);
                }
                Err(error @ (Error::Picture { .. } | Error::Io { .. })) if config.skip_unreadable => {
                    let name = files.path.strip_prefix(dir).unwrap_or(&files.path).display();
                    let reason = match &error {
                        Error::Picture { reason, .. } => reason.clone(),
                        error => error.to_string(),
                    };
                    self.skipped.push(format!("{name} ({reason})"));
                }
                Err(error) => return Err(error),
            }
        }
        if labels.is_empty() {
            let reason = format!("none of its {} clips can be read", clips.len());
            return Err(Error::Config { key: "data.dir", reason });
        }
        InMemory::new(kind.clone(), bytes, labels.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
