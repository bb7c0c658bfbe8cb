//! Clips that need too much memory are decoded once, in parallel, and stored as a packed file in the cache,
//! like the images of a folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::files::{Files, Found, Loaded, Reading};
use crate::folder::contents;
use crate::folder::layout::{Listing, Picture};
use crate::notes::Note;
use crate::packed::{self, IN_MEMORY, Writer};
use crate::picture::animation::MOST_STRIP;
use crate::{Error, Progress, Result, files};

/// Increase this whenever the choice of files or their conversion changes.
const VERSION: u32 = 1;
/// Bytes of clips that are decoded before they are written. This bounds the memory for packing.
const CHUNK: usize = 64 << 20;
/// Maximum number of bytes of one clip.
const MOST_CLIP: usize = 1 << 30;

/// Which clips are packed, and where.
#[derive(Clone, Copy)]
pub(crate) struct Packing<'a> {
    /// Clips that take more bytes than this together are packed.
    pub(crate) beyond: u64,
    /// Finds the cache folder.
    pub(crate) cache: &'a dyn Fn() -> Result<PathBuf>,
    /// The present time.
    pub(crate) now: SystemTime,
}

impl Packing<'static> {
    /// Packs only clips whose packed file is not read into memory when it is opened.
    pub(crate) fn usual() -> Self {
        Self { beyond: IN_MEMORY, cache: &files::cache_dir, now: SystemTime::now() }
    }
}

/// Opens the packed form of the clips of a folder. If the files or the settings are new, first creates it.
///
/// # Errors
/// [`Error::Io`], [`Error::Clip`], [`Error::Changed`], [`Error::Config`].
pub(super) fn load(
    mut clips: [Vec<Files>; 2],
    classes: Vec<String>,
    mut notes: Vec<Note>,
    reading: &Reading<'_>,
    packing: Packing<'_>,
    progress: &Progress<'_>,
) -> Result<Loaded> {
    let (kind, config) = (reading.kind, reading.config);
    if kind.bytes() > MOST_CLIP {
        let reason = format!(
            "one of its {kind} takes {} MiB, more than {}: choose a smaller `data.clips.size` or fewer `data.clips.frames`",
            kind.bytes() >> 20,
            MOST_CLIP >> 20
        );
        return Err(Error::Config { key: "data.dir", reason });
    }
    let cache = (packing.cache)()?;
    let listing = listed(&clips, &classes);
    let settings = ("clips", VERSION, kind, config);
    let note = contents::note(packing.now, &cache, reading.dir, &settings, &listing);
    let known = note.as_deref().and_then(contents::recall);
    let opened = match known.and_then(|key| packed::open(&contents::packed(&cache, &key)).ok()) {
        Some(opened) => opened,
        None => {
            let looked = contents::look(&listing, MOST_STRIP, progress)?;
            // The same frames can be divided into clips in several ways.
            let frames = |part: &Vec<Files>| part.iter().map(|clip| clip.frames.len()).collect::<Vec<_>>();
            let [train, test] = clips.each_ref().map(frames);
            let (longer, skip) = (config.longer, config.skip_unreadable);
            let settings =
                format!("waxwork-data clips {VERSION} {kind} {longer:?} {skip} {train:?} {test:?}\n");
            let key = contents::key_of(&settings, &listing, &looked);
            let path = contents::packed(&cache, &key);
            let opened = match packed::open(&path) {
                Ok(opened) => opened,
                // A damaged file in the cache is created again.
                Err(_) => {
                    let mut hashes = looked.iter().map(|looked| looked.hash);
                    for clip in clips.iter_mut().flatten() {
                        let count = clip.paths().len();
                        clip.hashes = hashes.by_ref().take(count).collect();
                    }
                    pack(&path, &clips, &classes, reading, progress)?;
                    packed::open(&path)?
                }
            };
            if let Some(note) = note {
                contents::remember(&note, &key);
            }
            opened
        }
    };
    let (parts, header) = opened;
    notes.extend(header.notes);
    Ok((parts, classes, header.skipped, notes))
}

/// The files of all clips.
fn listed(clips: &[Vec<Files>; 2], classes: &[String]) -> Listing {
    let [train, test] = clips.each_ref().map(|part| {
        let of_clip = |clip: &Files| {
            let label = clip.label;
            clip.paths().iter().map(|path| Picture { path: path.clone(), label }).collect::<Vec<_>>()
        };
        part.iter().flat_map(of_clip).collect()
    });
    Listing { classes: classes.to_vec(), train, test, notes: Vec::new() }
}

fn pack(
    path: &Path,
    clips: &[Vec<Files>; 2],
    classes: &[String],
    reading: &Reading<'_>,
    progress: &Progress<'_>,
) -> Result<()> {
    let size = reading.kind.bytes();
    let all = clips.iter().map(Vec::len).sum::<usize>() as u64;
    let done = AtomicU64::new(0);
    let tell = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
    let mut writer = Writer::create(path, reading.kind.clone(), classes)?;
    let mut found = Found::default();
    for (place, part) in clips.iter().enumerate() {
        let mut kept = 0;
        for some in part.chunks((CHUNK / size.max(1)).max(1)) {
            let mut bytes = vec![0; some.len() * size];
            let made = reading.decode(some, &mut bytes, &tell)?;
            for ((clip, made), bytes) in some.iter().zip(made).zip(bytes.chunks_exact(size)) {
                if found.keeps(clip, made, reading)? {
                    writer.sample(bytes, clip.label)?;
                    kept += 1;
                }
            }
        }
        if kept == 0 {
            return Err(Found::nothing(part.len()));
        }
        if place == 0 {
            writer.end_train();
        }
    }
    let (skipped, note) = found.left_out();
    writer.finish(skipped, note.into_iter().collect())
}
