//! Data sets and files from the Hub: fetched once, checked, decoded, and kept as a packed file, or texts as
//! files of lines.
//!
//! The known data sets have manifests that describe their contents. Any other is called `hf:OWNER/NAME`, or
//! `hf:OWNER/NAME/SUBSET` if it has several subsets.

mod any;
mod client;
mod listing;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::{HUB, HubSource, Manifest};
use crate::notes::Note;
use crate::{DataConfig, Error, Progress, Result, files, packed, parquet};

pub(crate) use any::texts::notes;
pub use client::{Hub, Kind, Snapshot, Wanted};

/// Increase this whenever the conversion of a data set without a manifest changes.
const VERSION: u32 = 2;
/// The branch on which the Hub keeps every data set as parquet files: `SUBSET/SPLIT/0000.parquet`.
const REVISION: &str = "refs/convert/parquet";

/// Fetches the data set `name` from the Hub and writes its packed file, or a folder of its texts, below `dir`
/// (default: the cache), where [`load`](crate::load()) finds it. Files in hf-hub's own cache are not fetched
/// again. `progress` gets the number of bytes present.
///
/// # Errors
/// [`Error::UnknownDataset`], [`Error::Config`] if the data set is not on the Hub, [`Error::Hub`],
/// [`Error::Format`], [`Error::Picture`], [`Error::Label`], [`Error::Io`].
pub fn fetch(name: &str, dir: Option<&Path>, progress: &Progress<'_>) -> Result<PathBuf> {
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => files::cache_dir()?,
    };
    if name.starts_with(HUB) {
        return any::fetch(&Hub::from_environment()?, &DataConfig::named(name), &dir, progress);
    }
    let manifest = Manifest::find(name)?.of_files()?;
    let hub = hub_source(&manifest)?;
    fetch_known(&Hub::from_environment()?, &manifest, hub, &dir, progress)
}

/// Fetches one file of a model's repository, `owner/name/path/of/file`, and returns its path in hf-hub's
/// cache. A file in the cache is not fetched again. `progress` gets the number of bytes present.
///
/// # Errors
/// [`Error::Hub`] if the address is malformed or the Hub refuses.
pub fn fetch_file(address: &str, progress: &Progress<'_>) -> Result<PathBuf> {
    fetch_file_with(&Hub::from_environment()?, address, progress)
}

fn fetch_file_with(hub: &Hub, address: &str, progress: &Progress<'_>) -> Result<PathBuf> {
    let place = address.match_indices('/').nth(1).map(|(place, _)| place);
    let Some((repository, file)) = place.map(|place| (&address[..place], &address[place + 1..])) else {
        let reason = "a file's address is owner/name/path/of/file".to_owned();
        return Err(Error::Hub { repository: address.to_owned(), reason });
    };
    let snapshot = hub.fetch(Kind::Model, repository, "main", Wanted::One(file), progress)?;
    let missing = || Error::Hub {
        repository: repository.to_owned(),
        reason: format!("there is no file `{file}` in it"),
    };
    snapshot.files.get(file).cloned().ok_or_else(missing)
}

/// Returns the path of the packed form of a data set of the Hub, or of the folder of its texts, after
/// fetching it if it is not there, and a note if it replaces an older one.
pub(crate) fn cached_or_fetched(
    config: &DataConfig,
    dir: &Path,
    progress: &Progress<'_>,
) -> Result<(PathBuf, Option<Note>)> {
    let (path, texts) = (packed_path(config, dir), texts_path(config, dir));
    // Who asks for a column of texts does not want images.
    if path.is_file() && column(config).is_none() {
        return Ok((path, None));
    }
    if texts.is_dir() {
        return Ok((texts, None));
    }
    let path = any::fetch(&Hub::from_environment()?, config, dir, progress)?;
    // Older versions could confuse colours and labels.
    let old = dir.join("hub").join(format!("{}.waxpack", packed_name(config)));
    let made_again = fs::remove_file(old).is_ok();
    let reason = "those of an older version may have wrong colours or labels".to_owned();
    Ok((path, made_again.then_some(Note::Remade { reason })))
}

/// Returns the path of the packed file. Its name covers everything that determines the contents, except the
/// commit: a data set stays as it was first fetched.
fn packed_path(config: &DataConfig, dir: &Path) -> PathBuf {
    dir.join("hub").join(format!("{}-v{VERSION}.waxpack", packed_name(config)))
}

/// Returns the path of the folder of texts, as [`packed_path`] that of the packed file.
fn texts_path(config: &DataConfig, dir: &Path) -> PathBuf {
    let name = config.name.trim_start_matches(HUB).replace('/', "--");
    let column = column(config).map(|column| format!("-{}", column.replace(['/', '\\'], "-")));
    dir.join("hub").join(format!("{name}-texts{}-v{VERSION}", column.unwrap_or_default()))
}

/// The column of texts that a data set is read from, if the configuration names one.
fn column(config: &DataConfig) -> Option<&str> {
    config.text.as_ref()?.column.as_deref()
}

fn packed_name(config: &DataConfig) -> String {
    let mut name = config.name.trim_start_matches(HUB).replace('/', "--");
    if let Some(folder) = &config.folder {
        let size = folder.size.map(|size| format!("-{size}")).unwrap_or_default();
        name += &size;
        name += if folder.grey { "-grey" } else { "" };
        name += if folder.skip_unreadable { "-skip" } else { "" };
    }
    if let Some(sound) = &config.sound {
        name += &sound.ending();
    }
    name
}

fn hub_source(manifest: &Manifest) -> Result<&HubSource> {
    manifest.hub.as_ref().ok_or_else(|| Error::Config {
        key: "data.name",
        reason: if manifest.is_embedded() {
            format!("`{}` is embedded: there is nothing to download", manifest.name)
        } else {
            format!("`{}` is not on the Hub: put its files into the data folder", manifest.name)
        },
    })
}

/// Fetches and packs a data set that its manifest describes completely.
fn fetch_known(
    hub: &Hub,
    manifest: &Manifest,
    source: &HubSource,
    dir: &Path,
    progress: &Progress<'_>,
) -> Result<PathBuf> {
    let is_part =
        |file: &str, split: &str| file.split('/').rev().nth(1) == Some(split) && file.ends_with(".parquet");
    let wanted = |file: &str| is_part(file, "train") || is_part(file, "test");
    let snapshot = hub.fetch(Kind::Dataset, &source.repository, REVISION, Wanted::All(&wanted), progress)?;
    let path = files::packed(dir, manifest);
    let (shape, classes) = (manifest.image_shape()?, manifest.classes.len());
    let mut writer = packed::Writer::create(&path, shape, &manifest.classes)?;
    for (split, expected) in [("train", manifest.train), ("test", manifest.test)] {
        let mut found = 0;
        let count = |found: &str| Error::Hub {
            repository: source.repository.clone(),
            reason: format!("expected {expected} {split} images, found {found}"),
        };
        for (_, file) in snapshot.files.iter().filter(|(name, _)| is_part(name, split)) {
            parquet::pictures(file, shape, classes, |pixels, label| {
                if found == expected {
                    return Err(count("more"));
                }
                found += 1;
                writer.sample(pixels, Some(label))
            })?;
        }
        if found != expected {
            return Err(count(&found.to_string()));
        }
        if split == "train" {
            writer.end_train();
        }
    }
    writer.finish(0, Vec::new())?;
    Ok(path)
}
