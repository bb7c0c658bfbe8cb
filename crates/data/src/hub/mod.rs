//! Data sets and files from the Hub: fetched once, checked, decoded, and kept as a packed file.
//!
//! The known data sets have manifests that say what must come; any other is asked for as `hf:OWNER/NAME`, or
//! `hf:OWNER/NAME/SUBSET` where there are several.

mod client;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use waxwork_core::model::ImageShape;

use crate::folder::{FolderConfig, TEST_SHARE};
use crate::manifest::{HUB, HubSource, Manifest};
use crate::{DataConfig, Error, Progress, Result, files, packed, parquet, selection};

use crate::parquet::{Columns, Table};
pub use client::{Hub, Kind, Snapshot, Wanted};

/// The branch on which the Hub keeps every data set as parquet files: `SUBSET/SPLIT/0000.parquet`.
const REVISION: &str = "refs/convert/parquet";
/// Names that a test part goes by, the best first.
const TESTS: [&str; 4] = ["test", "validation", "valid", "val"];
/// Classes of a data set that nobody named.
const MOST_CLASSES: u32 = 10_000;

/// Fetches the data set `name` from the Hub and leaves it, packed, below `dir` (default: the cache), where
/// [`load`](crate::load()) finds it. Files that hf-hub's own cache holds are not fetched again. `progress` is told the bytes
/// that are there.
///
/// # Errors
/// [`Error::UnknownDataset`], [`Error::Config`] if the data set is not on the Hub, [`Error::Hub`], [`Error::Format`],
/// [`Error::Picture`], [`Error::Label`], [`Error::Io`].
pub fn fetch(name: &str, dir: Option<&Path>, progress: &Progress<'_>) -> Result<PathBuf> {
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => files::cache_dir()?,
    };
    if name.starts_with(HUB) {
        return fetch_any(&Hub::from_environment()?, &DataConfig::named(name), &dir, progress);
    }
    let manifest = Manifest::find(name)?;
    let hub = hub_source(&manifest)?;
    fetch_known(&Hub::from_environment()?, &manifest, hub, &dir, progress)
}

/// Fetches one file of a model's repository, `owner/name/path/of/file`, and returns where hf-hub's cache keeps it; a file that
/// is there already is not fetched again. `progress` is told the bytes that are there.
///
/// # Errors
/// [`Error::Hub`] if the address is none, or what the Hub says.
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

/// Where the packed form of a data set of the Hub is, which is fetched first if it is not there.
pub(crate) fn cached_or_fetched(config: &DataConfig, dir: &Path, progress: &Progress<'_>) -> Result<PathBuf> {
    let path = packed_path(config, dir);
    if path.is_file() {
        return Ok(path);
    }
    fetch_any(&Hub::from_environment()?, config, dir, progress)
}

/// The file's name tells everything that its contents depend on, but for the commit: what was fetched once stays as it is.
fn packed_path(config: &DataConfig, dir: &Path) -> PathBuf {
    let name = config.name.trim_start_matches(HUB).replace('/', "--");
    let folder = config.folder.as_ref().map_or_else(String::new, |folder| {
        format!("-{}{}", folder.size, if folder.grey { "-grey" } else { "" })
    });
    dir.join("hub").join(format!("{name}{folder}.waxpack"))
}

fn hub_source(manifest: &Manifest) -> Result<&HubSource> {
    manifest.hub.as_ref().ok_or_else(|| Error::Config {
        key: "data.name",
        reason: format!("`{}` needs no files: there is nothing to fetch", manifest.name),
    })
}

/// A data set of which the manifest says everything.
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
    let (shape, classes) = (manifest.image_shape(), manifest.classes.len());
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
                writer.image(pixels, Some(label))
            })?;
        }
        if found != expected {
            return Err(count(&found.to_string()));
        }
        if split == "train" {
            writer.end_train();
        }
    }
    writer.finish(0)?;
    Ok(path)
}

/// A data set of which nothing is known before.
fn fetch_any(hub: &Hub, config: &DataConfig, dir: &Path, progress: &Progress<'_>) -> Result<PathBuf> {
    let name = config.name.trim_start_matches(HUB);
    let (repository, subset) = match name.match_indices('/').nth(1) {
        Some((place, _)) => (&name[..place], Some(&name[place + 1..])),
        None => (name, None),
    };
    let wrong = |reason: String| Error::Hub { repository: repository.to_owned(), reason };

    // The listing says which subsets and splits there are; nothing but what is used is fetched.
    let listing = hub.list(Kind::Dataset, repository, REVISION)?;
    let (subset, test) = choose(&listing, subset).map_err(wrong)?;
    let of = |file: &str, split: &str| {
        file.starts_with(&format!("{subset}/{split}/")) && file.ends_with(".parquet")
    };
    let wanted = |file: &str| of(file, "train") || test.as_deref().is_some_and(|test| of(file, test));
    let snapshot = hub.fetch(Kind::Dataset, repository, REVISION, Wanted::All(&wanted), progress)?;
    let tables = |split: &str| -> Result<Vec<Table>> {
        snapshot.files.iter().filter(|(name, _)| of(name, split)).map(|(_, path)| Table::open(path)).collect()
    };
    let train = tables("train")?;
    let test = test.as_deref().map_or_else(|| Ok(Vec::new()), tables)?;

    let first = train.first().ok_or_else(|| wrong("its training part has no files".into()))?;
    let mut columns = first.columns()?;
    let labels: Vec<Vec<u32>> =
        train.iter().chain(&test).map(|table| table.labels(&columns)).collect::<Result<_>>()?;
    let highest = labels.iter().flatten().max();
    if let (true, Some(&highest)) = (columns.classes.is_empty(), highest) {
        if highest >= MOST_CLASSES {
            return Err(wrong(format!("its labels have no names and go to {highest}: those are no classes")));
        }
        columns.classes = (0..=highest).map(|class| class.to_string()).collect();
    }
    let shape = shape_of(first, &columns, config.folder.as_ref(), repository)?;

    // Without a test part a tenth of each class becomes one, the same for ever, as in a folder of pictures.
    let counts: Vec<usize> = train.iter().map(Table::rows).collect();
    let rows: usize = counts.iter().sum();
    let mut is_test = vec![false; rows];
    if test.is_empty() {
        let flat: Vec<u32> = labels.iter().take(train.len()).flatten().copied().collect();
        let order = selection::fixed_order(rows, |row| flat.get(row).copied());
        order[..rows.div_ceil(TEST_SHARE)].iter().for_each(|&row| is_test[row as usize] = true);
    }

    let path = packed_path(config, dir);
    let mut writer = packed::Writer::create(&path, shape, &columns.classes)?;
    let folder = config.folder.as_ref();
    let classes = columns.classes.len();
    for held_out in [false, true] {
        let mut before = 0;
        for (table, count) in train.iter().zip(&counts) {
            let chosen = |row: usize| is_test[before + row] == held_out;
            table.pictures(&columns, shape, folder, classes, chosen, |pixels, label| {
                writer.image(pixels, label)
            })?;
            before += count;
        }
        if !held_out {
            writer.end_train();
        }
    }
    for table in &test {
        let take = |pixels: &[u8], label| writer.image(pixels, label);
        table.pictures(&columns, shape, folder, classes, |_| true, take)?;
    }
    writer.finish(0)?;
    Ok(path)
}

/// The subset and the test part to use.
fn choose(listing: &[String], subset: Option<&str>) -> Result<(String, Option<String>), String> {
    let mut subsets: Vec<&str> = Vec::new();
    let mut splits: Vec<(&str, &str)> = Vec::new();
    for file in listing.iter().filter(|file| file.ends_with(".parquet")) {
        let mut parts = file.split('/');
        if let (Some(subset), Some(split), Some(_)) = (parts.next(), parts.next(), parts.next()) {
            subsets.push(subset);
            splits.push((subset, split));
        }
    }
    subsets.sort_unstable();
    subsets.dedup();
    let subset = match (subset, subsets.as_slice()) {
        (_, []) => return Err("the Hub keeps no parquet files of it".into()),
        (Some(subset), known) if known.contains(&subset) => subset,
        (Some(subset), known) => {
            return Err(format!("it has no subset `{subset}`; it has {}", known.join(", ")));
        }
        (None, [only]) => only,
        (None, known) if known.contains(&"default") => "default",
        (None, known) => {
            return Err(format!(
                "it has several subsets, {}: name one, as in hf:OWNER/NAME/{}",
                known.join(", "),
                known[0]
            ));
        }
    };
    let has = |split: &&str| splits.contains(&(subset, split));
    if !has(&"train") {
        return Err(format!("its subset `{subset}` has no part `train`"));
    }
    Ok((subset.to_owned(), TESTS.iter().copied().find(has).map(str::to_owned)))
}

/// The shape of the images: what the configuration asks for, or else that of the first picture.
fn shape_of(
    table: &Table,
    columns: &Columns,
    folder: Option<&FolderConfig>,
    repository: &str,
) -> Result<ImageShape> {
    if let Some(folder) = folder {
        return folder.shape();
    }
    let nothing =
        || Error::Hub { repository: repository.to_owned(), reason: "its training part is empty".into() };
    let first = table.first(columns)?.ok_or_else(nothing)?;
    let channels = if first.color().has_color() { 3 } else { 1 };
    Ok(ImageShape::new(channels, first.height() as usize, first.width() as usize))
}
