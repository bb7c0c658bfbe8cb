//! The one way from a configuration to a data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::model::ImageShape;

use crate::embedded::{Digits, Part, Shapes};
use crate::folder::{self, FolderConfig};
use crate::manifest::{FOLDER, HUB, Kind, Manifest};
use crate::notes::Note;
use crate::parts::Parts;
use crate::{Cached, Dataset, DatasetInfo, Error, Result, Source, cifar, files, identity, mnist, packed};

/// Which data, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A known data set (`digits`, `shapes`, `mnist`, `fashion-mnist`, `cifar10`), `folder`, or `hf:OWNER/NAME` (or
    /// `hf:OWNER/NAME/SUBSET`) of the Hub.
    pub name: String,
    /// The folder that holds the files; default: `WAXWORK_DATA_DIR` or the user's cache folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Train on so many images only; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Training images that are held out for validation; default: a twelfth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// Seed of an embedded generator: not the run's, so that runs of different seeds see one data set.
    #[serde(default)]
    pub seed: u64,
    /// How the pictures of an image folder, or of the Hub where they differ in size, are made into images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderConfig>,
}

impl DataConfig {
    /// All of the data set `name`, from its default place.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), dir: None, limit: None, validation: None, seed: 0, folder: None }
    }
}

/// Loads a data set. Embedded ones cost nothing until images are used.
///
/// # Errors
/// [`Error::UnknownDataset`], [`Error::Missing`], [`Error::Config`], and what reading its files gives.
pub fn load(config: &DataConfig) -> Result<Dataset> {
    load_with_progress(config, &|_, _| ())
}

/// Is told how much is done, and of how much.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// [`load`], which tells `progress` how many of how many pictures of a new image folder are decoded, or how many of how
/// many bytes of a data set of the Hub are there.
///
/// # Errors
/// As [`load`].
pub fn load_with_progress(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    if config.name == FOLDER {
        return load_folder(config, progress);
    }
    if config.name.starts_with(HUB) {
        return load_hub(config, progress);
    }
    let manifest = Manifest::find(&config.name)?;
    if config.folder.is_some() {
        let reason = format!("only the data set `{FOLDER}` has this table, not `{}`", config.name);
        return Err(Error::Config { key: "data.folder", reason });
    }
    let parts = match manifest.kind {
        Kind::Embedded => generate(&manifest, config.seed)?,
        Kind::Idx | Kind::CifarBinary => load_files(&manifest, config.dir.as_deref(), progress)?,
    };
    dataset(config, manifest.classes, parts, 0, Vec::new())
}

/// Shape and classes of a data set's images; its files are opened only where no manifest tells them.
///
/// # Errors
/// As [`load`].
pub fn describe(config: &DataConfig) -> Result<(ImageShape, Vec<String>)> {
    if config.name == FOLDER || config.name.starts_with(HUB) {
        let info = load(config)?.info;
        return Ok((info.shape, info.classes));
    }
    let manifest = Manifest::find(&config.name)?;
    Ok((manifest.image_shape(), manifest.classes))
}

fn load_folder(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let Some(dir) = &config.dir else {
        return Err(Error::NoFolder);
    };
    let folder = config.folder.clone().unwrap_or_default();
    let (parts, header) = folder::load(dir, &folder, &files::cache_dir()?, progress)?;
    dataset(config, header.classes, parts, header.skipped, header.notes)
}

#[cfg(feature = "hub")]
fn load_hub(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let dir = config.dir.clone().map_or_else(files::cache_dir, Ok)?;
    let (path, note) = crate::hub::cached_or_fetched(config, &dir, progress)?;
    let (parts, mut header) = packed::open(&path)?;
    header.notes.extend(note);
    dataset(config, header.classes, parts, header.skipped, header.notes)
}

#[cfg(not(feature = "hub"))]
fn load_hub(config: &DataConfig, _: &Progress<'_>) -> Result<Dataset> {
    let reason = format!(
        "this build has no access to the Hub, where `{}` is; build with the feature `hub`",
        config.name
    );
    Err(Error::Config { key: "data.name", reason })
}

fn dataset(
    config: &DataConfig,
    classes: Vec<String>,
    parts: Parts,
    skipped: usize,
    notes: Vec<Note>,
) -> Result<Dataset> {
    let (name, shape) = (config.name.clone(), parts.train.shape());
    let info = DatasetInfo { name, shape, classes, identity: parts.identity, skipped };
    let data = Dataset::new(info, parts.train, parts.test, config.validation, config.limit)?;
    Ok(Dataset { notes, ..data })
}

fn generate(manifest: &Manifest, seed: u64) -> Result<Parts> {
    fn sources<S: Source + 'static>(make: impl Fn(Part) -> S) -> [Arc<dyn Source>; 2] {
        [Part::Train, Part::Test].map(|part| Arc::new(Cached::new(make(part))) as Arc<dyn Source>)
    }
    let ([train, test], version) = match manifest.name.as_str() {
        "digits" => (sources(|part| Digits::new(seed, part)), Digits::VERSION),
        "shapes" => (sources(|part| Shapes::new(seed, part)), Shapes::VERSION),
        name => {
            let reason = "it says embedded, but there is no such generator".to_owned();
            return Err(Error::Manifest { dataset: name.to_owned(), reason });
        }
    };
    Ok(Parts { train, test, identity: identity::of_generator(&manifest.name, version, seed) })
}

#[cfg_attr(not(feature = "hub"), expect(unused_variables, reason = "files that are there are read at once"))]
fn load_files(manifest: &Manifest, named: Option<&Path>, progress: &Progress<'_>) -> Result<Parts> {
    let dir = match named {
        Some(dir) => dir.to_path_buf(),
        None => files::cache_dir()?,
    };
    let read = if manifest.kind == Kind::CifarBinary { cifar::load } else { mnist::load };
    match read(manifest, &dir) {
        Err(Error::Missing { .. }) if files::packed(&dir, manifest).is_file() => {
            load_packed(manifest, &files::packed(&dir, manifest))
        }
        // A folder that the user names is not filled behind their back.
        #[cfg(feature = "hub")]
        Err(Error::Missing { .. }) if named.is_none() => {
            load_packed(manifest, &crate::hub::fetch(&manifest.name, Some(&dir), progress)?)
        }
        result => result,
    }
}

fn load_packed(manifest: &Manifest, path: &Path) -> Result<Parts> {
    let (parts, header) = packed::open(path)?;
    if header.shape != manifest.shape || header.classes != manifest.classes {
        let expected = format!("the images and classes of `{}`", manifest.name);
        return Err(Error::format(path, expected, format!("{:?}, {:?}", header.shape, header.classes)));
    }
    Ok(parts)
}
