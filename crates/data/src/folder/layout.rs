//! The meaning of the directories in a folder of images or recordings: which are parts, which are classes,
//! and what is left out.
//!
//! All folders follow the same rule. It makes no guess that could put held-out samples into training. An
//! ambiguous layout is an error that says how to resolve it, and everything left out is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::notes::{LISTED, Note};
use crate::picture::{ENDINGS, OTHER_ENDINGS};
use crate::splits;
use crate::{Error, Result, natural, selection};

/// Directories that operating systems create, with copies of names and thumbnails in them.
const OF_SYSTEMS: [&str; 5] =
    ["__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"];

/// The kind of file that a sample is.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Plural of the kind's name.
    pub(crate) plural: &'static str,
    /// File name endings of this kind.
    pub(crate) endings: &'static [&'static str],
    /// File name endings of this kind that the reader does not support.
    pub(crate) other_endings: &'static [&'static str],
    /// For clips: whether a file shows one frame, so that a directory of such files is one clip; None if the
    /// file cannot be read.
    pub(crate) is_frame: Option<fn(&Path) -> Option<bool>>,
}

/// Images.
pub(crate) const PICTURES: Wanted =
    Wanted { plural: "images", endings: &ENDINGS, other_endings: &OTHER_ENDINGS, is_frame: None };

/// A sample file, such as an image, and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) path: PathBuf,
    pub(crate) label: Option<u32>,
}

/// The samples of a folder; label `k` is `classes[k]`.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Picture>,
    pub(crate) test: Vec<Picture>,
    pub(crate) notes: Vec<Note>,
}

/// The samples of one part.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) classes: Vec<String>,
    pub(crate) pictures: Vec<Picture>,
}

/// Lists a folder with its parts.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`], [`Error::Config`].
pub(crate) fn list(dir: &Path, wanted: &'static Wanted) -> Result<Listing> {
    let mut left_out = LeftOut::new(dir, wanted);
    let here = Directory::read(dir, &[], &mut left_out)?;
    let names = || here.directories.iter().map(|(name, _)| name.as_str());
    let at = |name: &str| dir.join(name);
    match splits::parts(names()) {
        // `divided` counts what is left out of this directory.
        (train, held_out) if train.is_empty() && held_out.is_empty() => {
            divided(dir, LeftOut::new(dir, wanted))
        }
        (train, held_out) if train.is_empty() => {
            let held_out = quoted(&held_out);
            Err(layout(
                dir,
                format!(
                    "{held_out} would be the test part, but there is no `train` next to it: rename the training part to `train`, or \
                 rename the class"
                ),
            ))
        }
        (train, _) if train.len() > 1 => {
            Err(layout(dir, format!("{} are both training parts: keep one", quoted(&train))))
        }
        (train, held_out) => {
            let train = train[0].to_owned();
            let others: Vec<&str> = names().filter(|name| splits::role(name).is_none()).collect();
            let mut unused = Vec::new();
            for name in others {
                let pictures = left_out.count(&at(name))?;
                if held_out.is_empty() && pictures > 0 {
                    return Err(layout(
                        dir,
                        format!(
                            "`{train}` may be the training part, or a class like `{name}`: move the other directories, or rename `{train}`"
                        ),
                    ));
                }
                let reason = "its name is not that of a part, such as `train` or `test`".to_owned();
                unused.push(Note::Unused { name: name.to_owned(), pictures: Some(pictures), reason });
            }
            if !here.pictures.is_empty() {
                let reason = format!(
                    "{} next to `{train}`, not in it",
                    if here.pictures.len() == 1 { "it is" } else { "they are" }
                );
                let (name, pictures) = (".".to_owned(), Some(here.pictures.len()));
                unused.push(Note::Unused { name, pictures, reason });
            }
            for name in held_out.iter().skip(1) {
                let pictures = left_out.count(&at(name))?;
                let reason = format!("`{}` is already used as the test part", held_out[0]);
                unused.push(Note::Unused { name: (*name).to_owned(), pictures: Some(pictures), reason });
            }
            let Some(test) = held_out.first() else {
                let mut listing = divided(&at(&train), left_out)?;
                listing.notes.insert(0, Note::Parts { train, test: None });
                listing.notes.extend(unused);
                return Ok(listing);
            };
            let mut listing = two_parts(&at(&train), &at(test), left_out)?;
            listing.notes.insert(0, Note::Parts { train, test: Some((*test).to_owned()) });
            listing.notes.extend(unused);
            Ok(listing)
        }
    }
}

/// Lists one part without looking for others: one class per directory, or no classes if there are no
/// directories.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`].
pub(crate) fn list_part(dir: &Path, wanted: &'static Wanted) -> Result<(Part, Vec<Note>)> {
    let mut left_out = LeftOut::new(dir, wanted);
    let part = left_out.part(dir)?;
    Ok((part, left_out.into_notes()))
}

/// Lists a folder without parts: a tenth of each class becomes the test part.
fn divided(dir: &Path, mut left_out: LeftOut) -> Result<Listing> {
    let Part { classes, pictures: mut train } = left_out.part(dir)?;
    if train.len() < 2 {
        let reason =
            format!("{} contains one sample, but training and testing need at least two", dir.display());
        return Err(Error::Config { key: "data.dir", reason });
    }
    let mut flags = selection::test_part(train.len(), |index| train[index].label).into_iter();
    let test = train.extract_if(.., |_| flags.next().unwrap_or(false)).collect();
    let mut notes = left_out.into_notes();
    let missing = without(&classes, &train.iter().filter_map(|picture| picture.label).collect());
    if !missing.is_empty() {
        notes.push(Note::Untrained {
            count: missing.len(),
            classes: missing.into_iter().take(LISTED).collect(),
        });
    }
    Ok(Listing { classes, train, test, notes })
}

/// Returns the names of the classes whose label is not in `labels`.
pub(crate) fn without(classes: &[String], labels: &BTreeSet<u32>) -> Vec<String> {
    (0..).zip(classes).filter(|(label, _)| !labels.contains(label)).map(|(_, name)| name.clone()).collect()
}

fn two_parts(train_dir: &Path, test_dir: &Path, mut left_out: LeftOut) -> Result<Listing> {
    if real(train_dir)? == real(test_dir)? {
        let reason = format!("it is the same directory as {}", train_dir.display());
        return Err(layout(test_dir, reason));
    }
    let Part { classes, pictures: train } = left_out.part(train_dir)?;
    let test = left_out.part(test_dir)?;
    if classes.is_empty() != test.classes.is_empty() {
        let (with, without) = if classes.is_empty() { (test_dir, train_dir) } else { (train_dir, test_dir) };
        let reason = format!("it has no subdirectory per class, but {} has", with.display());
        return Err(layout(without, reason));
    }
    // Match classes by name, not by order, because the test part may lack some classes.
    let mut label_of = Vec::new();
    for name in &test.classes {
        let label = classes.iter().position(|class| class == name);
        let unknown = || layout(test_dir, format!("there is no class `{name}` in {}", train_dir.display()));
        label_of.push(label.ok_or_else(unknown)? as u32);
    }
    let label = |label: Option<u32>| label.map(|label| label_of[label as usize]);
    let pictures = test.pictures.into_iter();
    let mut test: Vec<Picture> = pictures.map(|p| Picture { label: label(p.label), ..p }).collect();
    test.sort_by(|a, b| (a.label, &a.path).cmp(&(b.label, &b.path)));
    let mut notes = left_out.into_notes();
    let missing = without(&classes, &label_of.into_iter().collect());
    if !missing.is_empty() {
        notes.push(Note::Untested {
            count: missing.len(),
            classes: missing.into_iter().take(LISTED).collect(),
        });
    }
    Ok(Listing { classes, train, test, notes })
}

/// Returns the path with all links resolved.
fn real(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(Error::io("read", path))
}

/// Whether a link in `dir` leads back to a directory above it, either its real parents or those on the way
/// through other links.
fn leads_back(dir: &Path, link: &Path, above: &[PathBuf]) -> bool {
    if !fs::symlink_metadata(link).is_ok_and(|metadata| metadata.is_symlink()) {
        return false;
    }
    let (Ok(dir), Ok(target)) = (real(dir), real(link)) else { return true };
    dir.starts_with(&target) || above.contains(&target)
}

fn layout(dir: &Path, reason: String) -> Error {
    Error::Layout { path: dir.to_path_buf(), reason }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

/// The contents of a directory, sorted by name.
struct Directory {
    pictures: Vec<PathBuf>,
    /// Names and paths.
    directories: Vec<(String, PathBuf)>,
}

/// The contents of a class.
#[derive(Default)]
struct Class {
    pictures: Vec<PathBuf>,
    /// The number of directories with samples below the class directory, and the number of samples in them.
    nested: (usize, usize),
    /// One of those directories.
    below: Option<PathBuf>,
}

/// Counts what is left out.
struct LeftOut {
    root: PathBuf,
    wanted: &'static Wanted,
    hidden: Vec<String>,
    no_file: Vec<String>,
    other_pictures: BTreeMap<String, usize>,
    other_files: BTreeMap<String, usize>,
    notes: Vec<Note>,
}

impl Directory {
    /// Reads a directory. `above` are the real paths of the directories on the way here.
    fn read(dir: &Path, above: &[PathBuf], left_out: &mut LeftOut) -> Result<Self> {
        let read = fs::read_dir(dir).map_err(Error::io("open", dir))?;
        let entries: std::io::Result<Vec<_>> = read.collect();
        let mut paths: Vec<PathBuf> =
            entries.map_err(Error::io("read", dir))?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        let mut here = Self { pictures: Vec::new(), directories: Vec::new() };
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            let is_picture = left_out.wanted.endings.contains(&ending.as_str());
            match fs::metadata(&path) {
                _ if name.starts_with('.') => left_out.hidden.push(left_out.below(&path)),
                Ok(metadata) if metadata.is_dir() && OF_SYSTEMS.contains(&name.to_lowercase().as_str()) => {
                    left_out.hidden.push(left_out.below(&path));
                }
                Ok(metadata) if metadata.is_dir() && !leads_back(dir, &path, above) => {
                    here.directories.push((name, path));
                }
                Ok(metadata) if metadata.is_file() && is_picture => here.pictures.push(path),
                Ok(metadata) if metadata.is_file() => left_out.file(ending),
                // Keep a broken link to an image: it counts as an image that is unreadable.
                Err(_) if is_picture => here.pictures.push(path),
                _ => left_out.no_file.push(left_out.below(&path)),
            }
        }
        Ok(here)
    }
}

impl LeftOut {
    fn new(root: &Path, wanted: &'static Wanted) -> Self {
        Self {
            root: root.to_path_buf(),
            wanted,
            hidden: Vec::new(),
            no_file: Vec::new(),
            other_pictures: BTreeMap::new(),
            other_files: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Returns a path relative to the folder, for display.
    fn below(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn file(&mut self, ending: String) {
        let known = self.wanted.other_endings.contains(&ending.as_str());
        let kind = if known { &mut self.other_pictures } else { &mut self.other_files };
        *kind.entry(ending).or_default() += 1;
    }

    fn part(&mut self, dir: &Path) -> Result<Part> {
        let mut here = Directory::read(dir, &[], self)?;
        if let Some((name, _)) = here.directories.iter().find(|(name, _)| splits::role(name).is_some()) {
            return Err(layout(
                dir,
                format!("`{name}` has the name of a part, but would be a class: rename it, or move it"),
            ));
        }
        here.directories.sort_by(|(a, _), (b, _)| natural::compare(a, b));
        if here.directories.is_empty() {
            if here.pictures.is_empty() {
                return Err(self.empty(dir));
            }
            let pictures = here.pictures.into_iter().map(|path| Picture { path, label: None }).collect();
            return Ok(Part { classes: Vec::new(), pictures });
        }
        if !here.pictures.is_empty() {
            return self.without_classes(dir, here);
        }
        if self.are_clips(&here.directories)? {
            let directories = here.directories.len();
            let mut pictures = Vec::new();
            for (_, path) in here.directories {
                let frames = Directory::read(&path, &[], self)?.pictures;
                pictures.extend(frames.into_iter().map(|path| Picture { path, label: None }));
            }
            self.notes.push(Note::Unclassed { directories });
            return Ok(Part { classes: Vec::new(), pictures });
        }
        let (mut classes, mut pictures) = (Vec::new(), Vec::new());
        let alone = here.directories.len() == 1;
        for (label, (name, path)) in (0u32..).zip(here.directories) {
            let mut class = Class::default();
            self.collect(&path, &mut vec![real(dir)?], &mut class)?;
            class.pictures.sort();
            if class.pictures.is_empty() {
                return Err(self.empty(&path));
            }
            // Two names that are not valid text may look the same.
            if classes.contains(&name) {
                return Err(layout(dir, format!("two classes have the name `{name}`")));
            }
            let (directories, nested) = class.nested;
            if let (true, true, Some(below)) = (alone, nested == class.pictures.len(), class.below)
                && !self.is_class_of_clips(&path)?
            {
                let (path, below) = (path.display(), self.below(&below));
                return Err(layout(
                    dir,
                    format!(
                        "its {} are in directories below `{name}`, such as `{below}`: use {path} instead",
                        self.wanted.plural
                    ),
                ));
            }
            if nested > 0 {
                self.notes.push(Note::Nested { class: name.clone(), directories, pictures: nested });
            }
            classes.push(name);
            pictures.extend(class.pictures.into_iter().map(|path| Picture { path, label: Some(label) }));
        }
        Ok(Part { classes, pictures })
    }

    /// Whether every one of these directories holds the frames of one clip: at least two samples, of which
    /// the first readable one is a single frame, and no directory with samples.
    fn are_clips(&self, directories: &[(String, PathBuf)]) -> Result<bool> {
        let Some(is_frame) = self.wanted.is_frame else { return Ok(false) };
        for (_, path) in directories {
            let here = Directory::read(path, &[], &mut Self::new(&self.root, self.wanted))?;
            if here.pictures.len() < 2 || here.pictures.iter().find_map(|path| is_frame(path)) != Some(true) {
                return Ok(false);
            }
            for (_, below) in &here.directories {
                if self.count(below)? > 0 {
                    return Ok(false);
                }
            }
        }
        Ok(!directories.is_empty())
    }

    /// Whether a directory is a class of clips with one directory of frames per clip.
    fn is_class_of_clips(&self, dir: &Path) -> Result<bool> {
        let here = Directory::read(dir, &[], &mut Self::new(&self.root, self.wanted))?;
        self.are_clips(&here.directories)
    }

    /// Takes a directory of samples that also has directories, none of which may be a class.
    fn without_classes(&mut self, dir: &Path, here: Directory) -> Result<Part> {
        for (name, path) in here.directories {
            let pictures = self.count(&path)?;
            if pictures > 0 {
                return Err(layout(
                    dir,
                    format!(
                        "{} {} are next to the directory `{name}`, which contains {pictures}: put all into one directory per \
                     class, or move `{name}`",
                        here.pictures.len(),
                        self.wanted.plural
                    ),
                ));
            }
            let reason = format!("it is next to the {}", self.wanted.plural);
            self.notes.push(Note::Unused { name, pictures: Some(pictures), reason });
        }
        let pictures = here.pictures.into_iter().map(|path| Picture { path, label: None }).collect();
        Ok(Part { classes: Vec::new(), pictures })
    }

    /// Collects all samples of a class, including those in directories below its own. `above` are the
    /// directories on the way to `dir`.
    fn collect(&mut self, dir: &Path, above: &mut Vec<PathBuf>, class: &mut Class) -> Result<()> {
        let here = Directory::read(dir, above, self)?;
        // The first entry is the part, and the second is the class itself.
        if above.len() > 1 && !here.pictures.is_empty() {
            class.nested.0 += 1;
            class.nested.1 += here.pictures.len();
            class.below.get_or_insert_with(|| dir.to_path_buf());
        }
        class.pictures.extend(here.pictures);
        above.push(real(dir)?);
        for (name, path) in here.directories {
            let before = class.pictures.len();
            self.collect(&path, above, class)?;
            if class.pictures.len() > before && splits::role(&name).is_some() {
                let (path, dir) = (path.display(), dir.display());
                return Err(layout(
                    &self.root,
                    format!(
                        "{path} has the name of a part, but is in {dir}, which would be a class: use the directory that contains the \
                     parts, or rename it"
                    ),
                ));
            }
        }
        above.pop();
        Ok(())
    }

    /// Counts the samples anywhere below an unused directory.
    fn count(&self, dir: &Path) -> Result<usize> {
        // A separate counter, because nothing else in there matters.
        let mut nothing = Self::new(&self.root, self.wanted);
        let mut above = Vec::new();
        let mut count = 0;
        let mut waiting = vec![(0, dir.to_path_buf())];
        while let Some((depth, dir)) = waiting.pop() {
            above.truncate(depth);
            let here = Directory::read(&dir, &above, &mut nothing)?;
            count += here.pictures.len();
            above.push(real(&dir)?);
            waiting.extend(here.directories.into_iter().map(|(_, path)| (depth + 1, path)));
        }
        Ok(count)
    }

    /// Returns the error for a directory without samples; it says what the directory holds instead.
    fn empty(&self, dir: &Path) -> Error {
        let mut there = Self::new(&self.root, self.wanted);
        let found = match Directory::read(dir, &[], &mut there) {
            Ok(_) => there.into_notes().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(_) => String::new(),
        };
        Error::EmptyFolder { path: dir.to_path_buf(), what: self.wanted.plural, found }
    }

    fn into_notes(self) -> Vec<Note> {
        let mut notes = self.notes;
        let some = |names: &[String]| names.iter().take(LISTED).cloned().collect();
        let (count, endings) = by_ending(&self.other_pictures);
        if count > 0 {
            notes.push(Note::OtherPictures { count, endings });
        }
        if !self.no_file.is_empty() {
            notes.push(Note::NoFile { count: self.no_file.len(), paths: some(&self.no_file) });
        }
        let (count, endings) = by_ending(&self.other_files);
        if count > 0 {
            notes.push(Note::OtherFiles { count, endings });
        }
        if !self.hidden.is_empty() {
            notes.push(Note::Hidden { count: self.hidden.len(), names: some(&self.hidden) });
        }
        notes
    }
}

/// Returns the number of files, and the number for each ending, the most frequent first.
fn by_ending(endings: &BTreeMap<String, usize>) -> (usize, String) {
    let mut most: Vec<(&String, &usize)> = endings.iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let text = |(ending, count): (&String, &usize)| match ending.as_str() {
        "" => format!("{count} without an extension"),
        ending => format!("{count} .{ending}"),
    };
    let more = if most.len() > LISTED { ", …" } else { "" };
    let listed: Vec<String> = most.into_iter().take(LISTED).map(text).collect();
    (endings.values().sum(), listed.join(", ") + more)
}

#[cfg(test)]
#[path = "trees.rs"]
mod tests;
