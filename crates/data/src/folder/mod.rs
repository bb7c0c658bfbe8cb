//! An image folder with one directory per class: decoded once, in parallel, then kept as a packed file in the
//! cache.
//!
//! ```text
//! DIR/train/cat/1.jpg   DIR/test/cat/2.jpg     with a test part of its own
//! DIR/cat/1.jpg         DIR/dog/2.png          a fixed tenth of each class is the test part
//! DIR/1.jpg                                    the same without classes
//! ```

pub(crate) mod contents;
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

/// Images decoded before they are written. This bounds the memory for packing.
const CHUNK: usize = 256;
/// Sides that an image may have. The decoder accepts no larger image.
const SIZES: RangeInclusive<usize> = 4..=1 << 15;
/// Default rows and columns, unless all images have the same smaller size.
const DEFAULT_SIZE: usize = 64;

/// How the images of a folder are converted to one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FolderConfig {
    /// Rows and columns, from 4 to 32,768. Each image is scaled so that its shorter side has this size, then its middle is cropped. Default: 64, or the shorter side of the images if all have the same smaller size; on the Hub, the images' own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Use one channel (grey) instead of three.
    pub grey: bool,
    /// Leave out images that cannot be decoded, and count them, instead of failing.
    pub skip_unreadable: bool,
}

impl FolderConfig {
    /// Returns the shape of images with `size` rows and columns.
    pub(crate) fn shape(&self, size: usize) -> Result<ImageShape> {
        if !SIZES.contains(&size) {
            let reason = format!("must be {} to {}, got {size}", SIZES.start(), SIZES.end());
            return Err(Error::Config { key: "data.folder.size", reason });
        }
        Ok(ImageShape::new(if self.grey { 1 } else { 3 }, size, size))
    }
}

/// Images read from a folder without changes.
#[derive(Debug)]
pub struct Pictures {
    /// The images.
    pub images: InMemory,
    /// The names of the directories; label `k` is `classes[k]`. Empty if there are no directories.
    pub classes: Vec<String>,
    /// What the reader assumed, and what it left out.
    pub notes: Vec<Note>,
}

/// Opens the packed form of a folder. If the folder or `config` is new, first creates it below `cache`.
///
/// # Errors
/// [`Error::Io`], [`Error::Picture`], [`Error::TooSmall`], [`Error::EmptyFolder`], [`Error::Layout`],
/// [`Error::Changed`], [`Error::Config`].
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
    // Recreate a damaged or outdated file in the cache.
    if let Some(key) = note.as_deref().and_then(contents::recall)
        && let Ok(opened) = packed::open(&contents::packed(cache, &key))
    {
        return Ok(with_notes(opened));
    }
    let looked = contents::look(&listing, picture::MOST_BYTES, progress)?;
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

/// Reads images that already have `shape`, sorted by name. With one directory per class, the label of an
/// image is the position of its class in the returned names. A directory without directories gives neither
/// labels nor names.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], [`Error::Layout`], and [`Error::Picture`] for the first image that
/// is broken or has another size.
pub fn read(dir: &Path, shape: ImageShape) -> Result<Pictures> {
    let (part, notes) = layout::list_part(dir, &PICTURES)?;
    let read = |Picture { path, .. }: &Picture| exact(path, shape);
    let pixels: Result<Vec<Vec<u8>>> = part.pictures.par_iter().map(read).collect();
    let labels = part.pictures.iter().map(|picture| picture.label).collect();
    Ok(Pictures { images: InMemory::new(shape, pixels?.concat(), labels)?, classes: part.classes, notes })
}

/// Reads an image that already has the rows and columns of `shape`, channel first.
///
/// # Errors
/// [`Error::Io`], and [`Error::Picture`] if it is broken or has another size.
pub fn exact(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    let bytes = picture::read(path)?;
    let header = picture::header(&bytes).map_err(|why| why.at(path))?;
    if (header.width as usize, header.height as usize) != (shape.width, shape.height) {
        let reason = format!("it is {}×{}, not {shape}", header.width, header.height);
        return Err(Error::Picture { path: path.to_path_buf(), reason });
    }
    picture::fit(path, picture::decode(&bytes).map_err(|why| why.at(path))?, shape)
}

/// Returns the shape of the images, and checks that none is too small for it.
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
        // One counter per class, or a single one without classes.
        let mut kept = vec![0usize; listing.classes.len().max(1)];
        let mut listed = kept.clone();
        for (chunk, looked) in pictures.chunks(CHUNK).zip(looked.chunks(CHUNK)) {
            let decode = |(picture, looked): (&Picture, &Looked)| image(&picture.path, looked, shape);
            let images: Vec<Result<Vec<u8>>> = chunk.par_iter().zip(looked).map(decode).collect();
            for (picture, image) in chunk.iter().zip(images) {
                listed[picture.label.unwrap_or(0) as usize] += 1;
                match image {
                    Ok(image) => {
                        writer.sample(&image, picture.label)?;
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

/// Decodes an image file, after checking that its bytes are those that were hashed before.
fn image(path: &Path, looked: &Looked, shape: ImageShape) -> Result<Vec<u8>> {
    let bytes = picture::read(path)?;
    if looked.hash != Some(contents::hash(&bytes)) {
        return Err(Error::Changed { path: path.to_path_buf() });
    }
    picture::fit(path, picture::decode(&bytes).map_err(|why| why.at(path))?, shape)
}

#[cfg(test)]
mod tests;
