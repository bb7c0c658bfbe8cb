//! An image folder, one directory per class: decoded in parallel once, then kept as a packed file in the cache.
//!
//! ```text
//! DIR/train/cat/1.jpg   DIR/test/cat/2.jpg     with a test part of its own
//! DIR/cat/1.jpg         DIR/dog/2.png          a tenth of each class, chosen once and for all, is the test part
//! DIR/1.jpg                                    the same without classes
//! ```

mod contents;
pub(crate) mod layout;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::SystemTime;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::ImageShape;

use crate::notes::{LISTED, Note};
use crate::packed::{self, Header};
use crate::parts::Parts;
use crate::source::InMemory;
use crate::{Error, Progress, Result, picture};
use contents::Looked;
pub(crate) use layout::without;
use layout::{Listing, PICTURES, Picture};

pub use crate::picture::picture;

/// Pictures that are decoded before they are written; bounds the memory that packing takes.
const CHUNK: usize = 256;
/// Sides that an image may have. No picture that is decoded is larger.
const SIZES: RangeInclusive<usize> = 4..=1 << 15;
/// Rows and columns of images where nobody says, and pictures are not all of one smaller size.
const DEFAULT_SIZE: usize = 64;

/// How the pictures of a folder are made into images of one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FolderConfig {
    /// Rows and columns, from 4 to 32,768. A picture's shorter side is scaled to it, and the middle is cut out. Default: 64, or the
    /// shorter side of the pictures if all have one size and it is less; on the Hub, the pictures' own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// One channel instead of three.
    pub grey: bool,
    /// Leave out pictures that cannot be decoded, and count them, instead of failing.
    pub skip_unreadable: bool,
}

impl FolderConfig {
    /// The shape of images with so many rows and columns.
    pub(crate) fn shape(&self, size: usize) -> Result<ImageShape> {
        if !SIZES.contains(&size) {
            let reason = format!("must be {} to {}, got {size}", SIZES.start(), SIZES.end());
            return Err(Error::Config { key: "data.folder.size", reason });
        }
        Ok(ImageShape::new(if self.grey { 1 } else { 3 }, size, size))
    }
}

/// Images that were read from a folder as they are.
#[derive(Debug)]
pub struct Pictures {
    /// The images.
    pub images: InMemory,
    /// The names of the directories, label `k` is `classes[k]`; empty if there are none.
    pub classes: Vec<String>,
    /// What was taken for what, and what was left out.
    pub notes: Vec<Note>,
}

/// Opens the packed form of a folder, and makes it first, below `cache`, where the folder or `config` is new.
///
/// # Errors
/// [`Error::Io`], [`Error::Picture`], [`Error::TooSmall`], [`Error::EmptyFolder`], [`Error::Layout`], [`Error::Changed`],
/// [`Error::Config`].
pub(crate) fn load(
    dir: &Path,
    config: &FolderConfig,
    cache: &Path,
    progress: &Progress<'_>,
) -> Result<(Parts, Header)> {
    load_at(SystemTime::now(), dir, config, cache, progress)
}

fn load_at(
    now: SystemTime,
    dir: &Path,
    config: &FolderConfig,
    cache: &Path,
    progress: &Progress<'_>,
) -> Result<(Parts, Header)> {
    if let Some(size) = config.size {
        config.shape(size)?;
    }
    let listing = layout::list(dir, &PICTURES)?;
    let with_notes = |(parts, mut header): (Parts, Header)| {
        header.notes.splice(..0, listing.notes.iter().cloned());
        (parts, header)
    };
    let note = contents::note(now, cache, dir, config, &listing);
    // A damaged or outdated file in the cache is made again.
    if let Some(key) = note.as_deref().and_then(contents::recall)
        && let Ok(opened) = packed::open(&contents::packed(cache, &key))
    {
        return Ok(with_notes(opened));
    }
    let looked = contents::look(&listing, progress)?;
    let shape = shape(config, &listing, &looked)?;
    let key = contents::key(config, shape, &listing, &looked);
    let path = contents::packed(cache, &key);
    let opened = match packed::open(&path) {
        Ok(opened) => opened,
        Err(_) => {
            pack(&path, config, shape, dir, &listing, &looked, progress)?;
            packed::open(&path)?
        }
    };
    if let Some(note) = note {
        contents::remember(&note, &key);
    }
    Ok(with_notes(opened))
}

/// Pictures that are exactly of `shape`, in the order of their names: of one directory per class, whose place among the names that
/// come with them is the label, or of a directory without directories, without labels or names.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`], and [`Error::Picture`] for the first that is broken or of another size.
pub fn read(dir: &Path, shape: ImageShape) -> Result<Pictures> {
    let (part, notes) = layout::list_part(dir, &PICTURES)?;
    let read = |Picture { path, .. }: &Picture| {
        let bytes = picture::read(path)?;
        let header = picture::header(&bytes).map_err(|why| why.at(path))?;
        if (header.width as usize, header.height as usize) != (shape.width, shape.height) {
            let reason = format!("it is {}×{}, not {shape}", header.width, header.height);
            return Err(Error::Picture { path: path.clone(), reason });
        }
        picture::fit(path, picture::decode(&bytes).map_err(|why| why.at(path))?, shape)
    };
    let pixels: Result<Vec<Vec<u8>>> = part.pictures.par_iter().map(read).collect();
    let labels = part.pictures.iter().map(|picture| picture.label).collect();
    Ok(Pictures { images: InMemory::new(shape, pixels?.concat(), labels)?, classes: part.classes, notes })
}

/// The shape of the images, which no picture is too small for.
fn shape(config: &FolderConfig, listing: &Listing, looked: &[Looked]) -> Result<ImageShape> {
    let all = || listing.train.iter().chain(&listing.test).zip(looked);
    let sides = || all().filter_map(|(picture, looked)| Some((picture, looked.header?)));
    let first = sides().next().map(|(_, header)| (header.width, header.height));
    let of_one_size = first.filter(|&size| sides().all(|(_, header)| (header.width, header.height) == size));
    let own = of_one_size.map(|(width, height)| width.min(height) as usize);
    let size = config.size.unwrap_or_else(|| own.map_or(DEFAULT_SIZE, |own| own.min(DEFAULT_SIZE)));
    let shape = config.shape(size)?;
    let too_small = || sides().filter(|(_, header)| header.shorter_side() < size);
    let Some((picture, header)) = too_small().next() else { return Ok(shape) };
    Err(Error::TooSmall {
        path: picture.path.clone(),
        width: header.width,
        height: header.height,
        size,
        others: too_small().count() - 1,
        largest: sides().map(|(_, header)| header.shorter_side()).min().unwrap_or(0),
    })
}

fn pack(
    path: &Path,
    config: &FolderConfig,
    shape: ImageShape,
    dir: &Path,
    listing: &Listing,
    looked: &[Looked],
    progress: &Progress<'_>,
) -> Result<()> {
    let total = listing.train.len() + listing.test.len();
    let mut writer = packed::Writer::create(path, shape, &listing.classes)?;
    let (mut done, mut skipped, mut examples) = (0, 0, Vec::new());
    let (train, test) = looked.split_at(listing.train.len());
    for (pictures, looked) in [(&listing.train, train), (&listing.test, test)] {
        let is_train = done == 0;
        // Of each class, or of all pictures without classes.
        let mut kept = vec![0usize; listing.classes.len().max(1)];
        let mut listed = kept.clone();
        for (chunk, looked) in pictures.chunks(CHUNK).zip(looked.chunks(CHUNK)) {
            let decode = |(picture, looked): (&Picture, &Looked)| image(&picture.path, looked, shape);
            let images: Vec<Result<Vec<u8>>> = chunk.par_iter().zip(looked).map(decode).collect();
            for (picture, image) in chunk.iter().zip(images) {
                listed[picture.label.unwrap_or(0) as usize] += 1;
                match image {
                    Ok(image) => {
                        writer.image(&image, picture.label)?;
                        kept[picture.label.unwrap_or(0) as usize] += 1;
                    }
                    Err(error) if config.skip_unreadable && contents::is_of_one_file(&error) => {
                        skipped += 1;
                        if examples.len() < LISTED {
                            let name = picture.path.strip_prefix(dir).unwrap_or(&picture.path).display();
                            let reason = match &error {
                                Error::Picture { reason, .. } => reason.clone(),
                                error => error.to_string(),
                            };
                            examples.push(format!("{name} ({reason})"));
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            done += chunk.len();
            progress(done as u64, total as u64);
        }
        if kept.iter().all(|&kept| kept == 0) {
            let reason = format!("none of its {} images can be decoded", pictures.len());
            return Err(Error::Config { key: "data.dir", reason });
        }
        if is_train {
            if let Some(class) = (0..kept.len()).find(|&class| listed[class] > 0 && kept[class] == 0) {
                let reason =
                    format!("no training image of class `{}` can be decoded", listing.classes[class]);
                return Err(Error::Config { key: "data.dir", reason });
            }
            writer.end_train();
        }
    }
    let unreadable = Note::Unreadable { count: skipped, examples };
    writer.finish(skipped, if skipped > 0 { vec![unreadable] } else { Vec::new() })
}

/// The image of a picture whose bytes must be those that were looked at.
fn image(path: &Path, looked: &Looked, shape: ImageShape) -> Result<Vec<u8>> {
    let bytes = picture::read(path)?;
    if looked.hash != Some(contents::hash(&bytes)) {
        return Err(Error::Changed { path: path.to_path_buf() });
    }
    picture::fit(path, picture::decode(&bytes).map_err(|why| why.at(path))?, shape)
}

#[cfg(test)]
mod tests;
