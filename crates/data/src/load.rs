//! Loading a data set from a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use waxwork_core::Kind;
use waxwork_core::hash::sha256;

use crate::clips::{self, ClipsConfig, Packing};
use crate::embedded::points::{self, STANDARD_DEVIATION};
use crate::embedded::{
    Digits, Drums, FactorImages, Grammar, Motions, MovingDigits, ORACLE, Oracle, OracleSequences, Part,
    Phrases, PlaneMixture, PlanePoints, Shapes, factors,
};
use crate::folder::{self, FolderConfig};
use crate::left_out::LeftOut;
use crate::manifest::{CLIPS, FOLDER, HUB, MEMORY, Manifest, SOUND, Storage, TABLE, TEXT};
use crate::noise::NoiseConfig;
use crate::notes::Note;
#[cfg(feature = "hub")]
use crate::parquet::Content;
use crate::parts::Parts;
use crate::sound::{self, SoundConfig};
use crate::table::encode::Encoder;
use crate::table::{Table, TableOptions, TableRows, Tables, clinic};
use crate::text::{self, TextConfig};
use crate::view::View;
use crate::{
    Cached, Dataset, DatasetInfo, Error, Result, Source, cifar, files, identity, mnist, noise, packed,
    stacked,
};

/// Which data, and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A known data set (`digits`, `shapes`, `ring`, `grid`, `clinic`, `drums`, `phrases`, `oracle`, `motions`, `moving-digits`, `factors`, `mnist`,
    /// `fashion-mnist`, `stacked-mnist`, `cifar10`, `fsdd`, `ptb`, `coco-captions`, `equations`, `names`, `trec`, `sprites`,
    /// `sprites64`),
    /// `folder`, `table`, `sound`, `text`, `clips`, or `hf:OWNER/NAME` (or `hf:OWNER/NAME/SUBSET`) of the Hub. A run that learned from arrays in Python has
    /// `memory`.
    pub name: String,
    /// The folder that holds the files, or the file of a table or of texts; default: `WAXWORK_DATA_DIR` or the user's cache folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Maximum number of training images to use; default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Training images that are held out for validation; default: a twelfth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<usize>,
    /// Seed of an embedded generator or of stacked images. It is not the seed of the run, so runs with different seeds use
    /// the same data.
    #[serde(default)]
    pub seed: u64,
    /// How the files of an image folder, or of the Hub if they differ in size, become images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderConfig>,
    /// What is known about a table beyond its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableOptions>,
    /// How wide the modes of `ring` and `grid` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<PointsConfig>,
    /// The weights that the sequences of `oracle` are drawn from; default: the embedded ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<OracleConfig>,
    /// Damage to the training images, to see what a model makes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseConfig>,
    /// A file that names training samples to leave out, as `waxwork data doubts` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_out: Option<PathBuf>,
    /// How recordings become sounds of one length, and what networks see of sounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<SoundConfig>,
    /// How lines become texts, and which tokens they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextConfig>,
    /// How files become clips of one number of frames and one size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clips: Option<ClipsConfig>,
}

/// The modes of `ring` and `grid`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PointsConfig {
    /// The standard deviation of every mode in both directions; papers differ between 0.01 and 0.22.
    pub std: f64,
}

/// Where the sequences of `oracle` come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OracleConfig {
    /// A safetensors file with the weights of an LSTM over 5,000 tokens, under PyTorch's names: `embedding.weight`, `lstm.weight_ih_l0`,
    /// `lstm.weight_hh_l0`, `lstm.bias_ih_l0`, `lstm.bias_hh_l0`, `output.weight`, `output.bias`.
    pub weights: PathBuf,
}

impl Default for PointsConfig {
    fn default() -> Self {
        Self { std: STANDARD_DEVIATION }
    }
}

/// The content of each file of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A recording.
    Recording,
    /// A clip, or a frame of one.
    Clip,
    /// An image, or anything else.
    Other,
}

impl DataConfig {
    /// The mixture that `ring` and `grid` are drawn from; None for other data.
    ///
    /// # Errors
    /// [`Error::Config`] if its standard deviation is not a positive number.
    pub fn mixture(&self) -> Result<Option<PlaneMixture>> {
        let std = self.points.unwrap_or_default().std;
        if !(std > 0.0 && std.is_finite()) {
            let reason = format!("a standard deviation must be a positive number, got {std}");
            return Err(Error::Config { key: "data.points.std", reason });
        }
        Ok(PlaneMixture::named(&self.name, std))
    }

    /// The content of each file of this data set.
    pub fn files(&self) -> FileKind {
        let name = self.name.as_str();
        let manifest = if is_own(name) { None } else { Manifest::find(name).ok() };
        let is = |kind: fn(&Manifest) -> bool| manifest.as_ref().is_some_and(kind);
        if name == SOUND || is(|manifest| manifest.rate.is_some()) {
            FileKind::Recording
        } else if name == CLIPS || is(Manifest::is_of_strips) {
            FileKind::Clip
        } else {
            FileKind::Other
        }
    }

    /// The key that makes loading skip unreadable files of this data set.
    pub fn skip_unreadable_key(&self) -> &'static str {
        match self.files() {
            FileKind::Recording => "data.sound.skip_unreadable",
            FileKind::Clip => "data.clips.skip_unreadable",
            FileKind::Other => "data.folder.skip_unreadable",
        }
    }

    /// Refuses tables of settings that do not apply to this data set, so that none is silently ignored.
    ///
    /// # Errors
    /// [`Error::Config`] with the key of the table; [`Error::UnknownDataset`].
    pub fn check_tables(&self) -> Result<()> {
        let name = self.name.as_str();
        // A program that has the data in memory checks its own settings.
        if name == MEMORY {
            return Ok(());
        }
        let manifest = if is_own(name) { None } else { Some(Manifest::find(name)?) };
        let stored_as =
            |storage: Storage| manifest.as_ref().is_some_and(|manifest| manifest.storage == storage);
        let of_sounds = manifest.as_ref().is_some_and(|manifest| manifest.rate.is_some());
        let of_points = PlaneMixture::named(name, STANDARD_DEVIATION).is_some();
        // The rows of embedded tables are fixed; only the column to predict can be set.
        let only_label = |table: &TableOptions| {
            let label = table.label.clone();
            *table == TableOptions { label, ..TableOptions::default() }
        };
        let table = self.table.as_ref();
        let of_rows = name == TABLE || (stored_as(Storage::Table) && table.is_none_or(only_label));
        let tables = [
            (
                "data.folder",
                self.folder.is_some(),
                name == FOLDER || name.starts_with(HUB),
                format!("the data set `{FOLDER}` and those of the Hub have"),
            ),
            (
                "data.table",
                self.table.is_some(),
                of_rows,
                format!("the data set `{TABLE}` and, for its `label`, `clinic` have"),
            ),
            ("data.points", self.points.is_some(), of_points, "the data sets `ring` and `grid` have".into()),
            ("data.oracle", self.oracle.is_some(), name == ORACLE, format!("the data set `{ORACLE}` has")),
            (
                "data.sound",
                self.sound.is_some(),
                name == SOUND || of_sounds || name.starts_with(HUB),
                "data sets of sounds have".into(),
            ),
            (
                "data.text",
                self.text.is_some(),
                name == TEXT || name.starts_with(HUB),
                format!("the data set `{TEXT}` and those of the Hub have"),
            ),
            (
                "data.clips",
                self.clips.is_some(),
                name == CLIPS || manifest.as_ref().is_some_and(Manifest::is_of_strips),
                "data sets of clips from files have".into(),
            ),
        ];
        match tables.into_iter().find(|(_, set, fits, _)| *set && !fits) {
            Some((key, _, _, owners)) => {
                let reason = format!("only {owners} this table, not `{name}`");
                Err(Error::Config { key, reason })
            }
            None => Ok(()),
        }
    }

    /// Refuses settings that do not fit what a data set of the Hub holds.
    #[cfg(feature = "hub")]
    pub(crate) fn check_content(&self, content: Content) -> Result<()> {
        let name = &self.name;
        let label = self.sound.as_ref().is_some_and(|sound| sound.label.is_some());
        let only =
            |owners: &str| format!("only data sets of {owners} have this table, and `{name}` has {content}");
        let (key, reason) = if content != Content::Images && self.folder.is_some() {
            ("data.folder", only("images"))
        } else if content != Content::Recordings && self.sound.is_some() {
            ("data.sound", only("sounds"))
        } else if content != Content::Texts && self.text.is_some() {
            ("data.text", format!("`{name}` has {content}: set `data.text.column` to a column of texts"))
        } else if label {
            ("data.sound.label", format!("the classes of `{name}` are those of a column, not of file names"))
        } else {
            return Ok(());
        };
        Err(Error::Config { key, reason })
    }

    /// The paths that it names: where the data is, and files that its settings name.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let test = self.table.as_mut().and_then(|table| table.test.as_mut());
        let weights = self.oracle.as_mut().map(|oracle| &mut oracle.weights);
        [self.dir.as_mut(), self.leave_out.as_mut(), test, weights].into_iter().flatten()
    }

    /// The same data with absolute paths, which name the same files from any working directory. A path whose
    /// absolute form is not Unicode does not change, because a recipe could not hold that form.
    #[must_use]
    pub fn with_absolute_paths(mut self) -> Self {
        for path in self.paths_mut() {
            let absolute = std::path::absolute(&*path).ok().filter(|absolute| absolute.to_str().is_some());
            if let Some(absolute) = absolute {
                *path = absolute;
            }
        }
        self
    }

    /// The whole data set `name`, from its default location.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            dir: None,
            limit: None,
            validation: None,
            seed: 0,
            folder: None,
            table: None,
            points: None,
            oracle: None,
            noise: None,
            leave_out: None,
            sound: None,
            text: None,
            clips: None,
        }
    }
}

/// True if no manifest describes a data set of this name.
fn is_own(name: &str) -> bool {
    [FOLDER, TABLE, SOUND, TEXT, CLIPS, MEMORY].contains(&name) || name.starts_with(HUB)
}

/// Loads a data set. Embedded ones cost nothing until images are used.
///
/// # Errors
/// [`Error::UnknownDataset`], [`Error::Missing`], [`Error::Config`], and errors of reading its files.
pub fn load(config: &DataConfig) -> Result<Dataset> {
    load_with_progress(config, &|_, _| ())
}

/// Gets the amount that is done, and the total.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// [`load`] with progress: the number of decoded files of a new image folder, or the number of downloaded
/// bytes of a data set of the Hub, each with the total.
///
/// # Errors
/// As [`load`].
pub fn load_with_progress(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let data = load_whole(config, progress)?;
    match &config.leave_out {
        None => Ok(data),
        Some(path) => LeftOut::read(path)?.apply(data, path),
    }
}

fn load_whole(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    config.check_tables()?;
    if config.name == TABLE {
        return load_table(config, progress);
    }
    if config.name == SOUND {
        return load_recordings(config, progress);
    }
    if config.name == TEXT {
        return load_texts(config);
    }
    if config.name == CLIPS {
        return load_clips(config, progress);
    }
    if config.name == FOLDER {
        return load_folder(config, progress);
    }
    if config.name == MEMORY {
        return Err(Error::InMemory);
    }
    if config.name.starts_with(HUB) {
        return load_hub(config, progress);
    }
    let manifest = Manifest::find(&config.name)?;
    let mixture = config.mixture()?;
    check_sound(&manifest, config)?;
    let parts = match manifest.storage {
        Storage::Embedded if manifest.name == ORACLE => return load_oracle(config),
        Storage::Embedded => generate(&manifest, config.seed, mixture)?,
        Storage::Table => return load_clinic(config, progress),
        Storage::Fsdd => {
            let (parts, notes) = load_fsdd(&manifest, config, progress)?;
            return dataset(config, &manifest.classes, parts, 0, notes);
        }
        Storage::Strips | Storage::Stills => {
            let dir = config.dir.clone().map_or_else(files::cache_dir, Ok)?;
            let settings = config.clips.clone().unwrap_or_default();
            let (of_clips, kind) = strips(&manifest, &settings)?;
            let (clips, classes, skipped, notes) =
                clips::load_strips(&of_clips, &dir, &settings, &kind, Packing::usual(), progress)?;
            let stills = manifest.storage == Storage::Stills;
            let parts = if stills { clips::frames(clips, &kind)? } else { clips };
            return dataset(config, &classes, parts, skipped, notes);
        }
        Storage::Texts => return load_known_texts(&manifest, config),
        Storage::Stacked => return load_stacked(&manifest, config, progress),
        Storage::Idx | Storage::CifarBinary => load_files(&manifest, config.dir.as_deref(), progress)?,
    };
    dataset(config, &manifest.classes, parts, 0, Vec::new())
}

/// The kind and the classes of a data set's samples. Its files are opened only if no manifest gives them.
///
/// # Errors
/// As [`load`].
pub fn describe(config: &DataConfig) -> Result<(Kind, Vec<String>)> {
    config.check_tables()?;
    if !is_own(&config.name) {
        let manifest = Manifest::find(&config.name)?;
        if let Some(kind) = manifest.kind()? {
            let kind = match kind {
                Kind::Sound { rate, length } => {
                    config.sound.clone().unwrap_or_default().kind(rate, length)?
                }
                kind if manifest.is_of_strips() => {
                    let (_, clips) = strips(&manifest, &config.clips.clone().unwrap_or_default())?;
                    match (kind, clips) {
                        (Kind::Image(_), Kind::Clip { image, .. }) => image.into(),
                        (_, clips) => clips,
                    }
                }
                kind => kind,
            };
            return Ok((kind, manifest.classes));
        }
    }
    let info = load(config)?.info;
    Ok((info.kind, info.classes))
}

fn load_table(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let Some(path) = &config.dir else {
        return Err(Error::NoTable);
    };
    let (train, test) = Table::read_parts(path, &config.table.clone().unwrap_or_default())?;
    of_tables(config, train, test, progress)
}

/// Makes a data set from the rows to train on and the rows that are held out.
///
/// # Errors
/// If there is nothing to train on.
pub(crate) fn of_tables(
    config: &DataConfig,
    train: Table,
    test: Table,
    progress: &Progress<'_>,
) -> Result<Dataset> {
    let identity = sha256(format!("{} {}", train.content_hash(), test.content_hash()).as_bytes());
    rows(config, train, test, identity, progress)
}

fn load_clinic(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let train = clinic::table(config.seed, 0, clinic::TRAIN)?;
    let test = clinic::table(config.seed, clinic::TRAIN as u64, clinic::TEST)?;
    let identity = identity::of_generator(&config.name, clinic::VERSION, config.seed);
    rows(config, train, test, identity, progress)
}

/// Makes a data set of rows. The modes of its columns of numbers are fitted to all training rows.
fn rows(
    config: &DataConfig,
    train: Table,
    test: Table,
    identity: String,
    progress: &Progress<'_>,
) -> Result<Dataset> {
    if config.noise.is_some() {
        return Err(Error::Config { key: "data.noise", reason: noise::ONLY_IMAGES.to_owned() });
    }
    let (done, columns) = (AtomicU64::new(0), train.columns().len() as u64);
    let encoder = Encoder::fit(&train, |_| progress(done.fetch_add(1, Ordering::Relaxed) + 1, columns))?;
    let (train_rows, test_rows) = (TableRows::new(&encoder, &train)?, TableRows::new(&encoder, &test)?);
    let notes = train.notes().iter().map(|note| Note::Table { doubt: note.clone() }).collect();
    let info = DatasetInfo::new(&config.name, train_rows.kind(), &[], identity);
    let info = DatasetInfo { tables: Some(Arc::new(Tables { encoder, train, test })), ..info };
    let (train, test) = (Arc::new(train_rows), Arc::new(test_rows));
    let data = Dataset::new(info, train, test, config.validation, config.limit)?;
    Ok(Dataset { notes, ..data })
}

fn load_oracle(config: &DataConfig) -> Result<Dataset> {
    let oracle = match &config.oracle {
        Some(OracleConfig { weights }) => Arc::new(Oracle::read(weights)?),
        None => Oracle::embedded(),
    };
    let [train, test] = [Part::Train, Part::Test].map(|part| {
        let sequences = OracleSequences::new(Arc::clone(&oracle), config.seed, part);
        Arc::new(Cached::new(sequences)) as Arc<dyn Source>
    });
    let parts = Parts { train, test, identity: oracle.identity(config.seed) };
    let data = dataset(config, &[], parts, 0, Vec::new())?;
    let mut data = data.seen_as(View::Text(Oracle::vocabulary()))?;
    data.info.oracle = Some(oracle);
    Ok(data)
}

fn load_folder(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let Some(dir) = &config.dir else {
        return Err(Error::NoFolder);
    };
    let folder = config.folder.clone().unwrap_or_default();
    let (parts, header) = folder::load(dir, &folder, &files::cache_dir()?, progress)?;
    dataset(config, &header.classes, parts, header.skipped, header.notes)
}

#[cfg(feature = "hub")]
fn load_hub(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let dir = config.dir.clone().map_or_else(files::cache_dir, Ok)?;
    let (path, note) = crate::hub::cached_or_fetched(config, &dir, progress)?;
    if path.is_dir() {
        return load_hub_texts(config, &path);
    }
    let (parts, mut header) = packed::open(&path)?;
    config.check_content(match parts.train.kind() {
        Kind::Sound { .. } => Content::Recordings,
        _ => Content::Images,
    })?;
    header.notes.extend(note);
    dataset(config, &header.classes, parts, header.skipped, header.notes)
}

/// Loads texts of the Hub from the folder that they were written to.
#[cfg(feature = "hub")]
pub(crate) fn load_hub_texts(config: &DataConfig, path: &Path) -> Result<Dataset> {
    config.check_content(Content::Texts)?;
    let loaded = text::load::load(path, &config.text.clone().unwrap_or_default())?;
    let mut notes = crate::hub::notes(path)?;
    // The notes of the Hub have the names of its parts.
    notes.extend(loaded.notes.into_iter().filter(|note| !matches!(note, Note::Parts { .. })));
    let data = dataset(config, &loaded.classes, loaded.parts, 0, notes)?;
    data.seen_as(View::Text(loaded.vocabulary))
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
    classes: &[String],
    parts: Parts,
    skipped: usize,
    notes: Vec<Note>,
) -> Result<Dataset> {
    let parts = match config.noise {
        Some(noise) => noise.apply(parts, classes.len())?,
        None => parts,
    };
    let info = DatasetInfo::new(&config.name, parts.train.kind(), classes, parts.identity);
    let info = DatasetInfo { skipped, ..info };
    let data = Dataset::new(info, parts.train, parts.test, config.validation, config.limit)?;
    let data = Dataset { notes, ..data };
    match data.info.kind {
        Kind::Sound { rate, length } => {
            let view = config.sound.clone().unwrap_or_default().view(rate, length)?;
            data.seen_as(view)
        }
        Kind::Text { .. } if config.name == "phrases" => {
            data.seen_as(View::Text(Grammar::phrases().vocabulary().clone()))
        }
        _ => Ok(data),
    }
}

/// Refuses settings for sounds that are fixed for a data set.
fn check_sound(manifest: &Manifest, config: &DataConfig) -> Result<()> {
    let Some(sound) = &config.sound else { return Ok(()) };
    let said = [
        ("data.sound.rate", sound.rate.is_some()),
        ("data.sound.length", sound.length.is_some()),
        ("data.sound.label", sound.label.is_some()),
    ];
    let fixed = |key: &str| manifest.is_embedded() || key == "data.sound.label";
    match said.into_iter().find(|(key, said)| *said && fixed(key)) {
        Some((key, _)) => {
            let reason = format!("it is fixed for `{}`", manifest.name);
            Err(Error::Config { key, reason })
        }
        None => Ok(()),
    }
}

fn load_recordings(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let Some(dir) = &config.dir else {
        return Err(Error::NoRecordings);
    };
    let sound = config.sound.clone().unwrap_or_default();
    let kind = sound.kind(sound::RATE, sound::LENGTH)?;
    let (parts, classes, skipped, notes) = sound::recordings::load(dir, &sound, &kind, progress)?;
    dataset(config, &classes, parts, skipped, notes)
}

fn load_texts(config: &DataConfig) -> Result<Dataset> {
    let Some(path) = &config.dir else {
        return Err(Error::NoTexts);
    };
    if config.text.as_ref().is_some_and(|text| text.column.is_some()) {
        let reason = "only data sets of the Hub have columns".to_owned();
        return Err(Error::Config { key: "data.text.column", reason });
    }
    let loaded = text::load::load(path, &config.text.clone().unwrap_or_default())?;
    let data = dataset(config, &loaded.classes, loaded.parts, 0, loaded.notes)?;
    data.seen_as(View::Text(loaded.vocabulary))
}

fn load_clips(config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let Some(dir) = &config.dir else {
        return Err(Error::NoClips);
    };
    let settings = config.clips.clone().unwrap_or_default();
    let (parts, classes, skipped, notes) = clips::load(dir, &settings, Packing::usual(), progress)?;
    dataset(config, &classes, parts, skipped, notes)
}

/// The manifest of the clips behind a data set of clips or of stills, with the data set's own name, and the
/// kind of these clips under these settings.
fn strips(manifest: &Manifest, settings: &ClipsConfig) -> Result<(Manifest, Kind)> {
    let clips = Manifest { name: manifest.name.clone(), ..manifest.clone().of_files()? };
    match clips.kind()? {
        Some(Kind::Clip { frames, image }) => {
            let kind = settings.kind(frames, image.height)?;
            Ok((clips, kind))
        }
        _ => {
            let reason = "strips are clips, but `shape` is not that of clips".to_owned();
            Err(Error::Manifest { dataset: manifest.name.clone(), reason })
        }
    }
}

/// Loads texts that a manifest describes.
fn load_known_texts(manifest: &Manifest, config: &DataConfig) -> Result<Dataset> {
    let dir = config.dir.clone().map_or_else(files::cache_dir, Ok)?;
    let loaded = text::load::load_known(manifest, &dir)?;
    dataset(config, &loaded.classes, loaded.parts, 0, loaded.notes)?.seen_as(View::Text(loaded.vocabulary))
}

/// Loads stacks of the images of another data set. Their validation part is made of that data set's
/// validation images, so that it shares none with the training part.
fn load_stacked(manifest: &Manifest, config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset> {
    let of = manifest.clone().of_files()?;
    let parts = load_files(&of, config.dir.as_deref(), progress)?;
    let images = dataset(&DataConfig::named(&of.name), &of.classes, parts, 0, Vec::new())?;
    let stacks = stacked::stack(manifest, &images, config.seed)?;
    let [train, validation] = stacks.map(|parts| dataset(config, &manifest.classes, parts, 0, Vec::new()));
    Ok(Dataset { validation: validation?.validation, ..train? })
}

/// The Free Spoken Digit Dataset.
fn load_fsdd(
    manifest: &Manifest,
    config: &DataConfig,
    progress: &Progress<'_>,
) -> Result<(Parts, Vec<Note>)> {
    let dir = config.dir.clone().map_or_else(files::cache_dir, Ok)?;
    let sound = config.sound.clone().unwrap_or_default();
    let kind = sound.kind(
        manifest.rate.unwrap_or(sound::RATE),
        manifest.shape.first().copied().unwrap_or(sound::LENGTH),
    )?;
    sound::recordings::load_fsdd(manifest, &dir, &sound, &kind, progress)
}

fn generate(manifest: &Manifest, seed: u64, mixture: Option<PlaneMixture>) -> Result<Parts> {
    if let Some(mixture) = mixture {
        let name = &manifest.name;
        let identity =
            identity::of_generator(&format!("{name} of std {}", mixture.std), points::VERSION, seed);
        let [train, test] = [Part::Train, Part::Test]
            .map(|part| Arc::new(PlanePoints::new(name, mixture.clone(), seed, part)) as Arc<dyn Source>);
        return Ok(Parts { train, test, identity });
    }
    fn sources<S: Source + 'static>(make: impl Fn(Part) -> S) -> [Arc<dyn Source>; 2] {
        [Part::Train, Part::Test].map(|part| Arc::new(Cached::new(make(part))) as Arc<dyn Source>)
    }
    // Clips would fill the memory, and cost no more to draw than to copy.
    fn clips<S: Source + 'static>(make: impl Fn(Part) -> S) -> [Arc<dyn Source>; 2] {
        [Part::Train, Part::Test].map(|part| Arc::new(make(part)) as Arc<dyn Source>)
    }
    let ([train, test], version) = match manifest.name.as_str() {
        "digits" => (sources(|part| Digits::new(seed, part)), Digits::VERSION),
        "shapes" => (sources(|part| Shapes::new(seed, part)), Shapes::VERSION),
        "drums" => (sources(|part| Drums::new(seed, part)), Drums::VERSION),
        "phrases" => (sources(|part| Phrases::new(seed, part)), Phrases::VERSION),
        "motions" => (clips(|part| Motions::new(seed, part)), Motions::VERSION),
        "moving-digits" => (clips(|part| MovingDigits::new(seed, part)), MovingDigits::VERSION),
        // All images together would fill the memory, but they are copies of a few drawings.
        "factors" => {
            (FactorImages::parts(seed).map(|part| Arc::new(part) as Arc<dyn Source>), factors::VERSION)
        }
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
    let read = if manifest.storage == Storage::CifarBinary { cifar::load } else { mnist::load };
    match read(manifest, &dir) {
        Err(Error::Missing { .. }) if files::packed(&dir, manifest).is_file() => {
            load_packed(manifest, &files::packed(&dir, manifest))
        }
        // A folder that the user names is not filled without their request.
        #[cfg(feature = "hub")]
        Err(Error::Missing { .. }) if named.is_none() => {
            load_packed(manifest, &crate::hub::fetch(&manifest.name, Some(&dir), progress)?)
        }
        result => result,
    }
}

fn load_packed(manifest: &Manifest, path: &Path) -> Result<Parts> {
    let (parts, header) = packed::open(path)?;
    let of_images = header.rate.is_none() && header.frames.is_none();
    if !of_images || header.shape[..] != manifest.shape || header.classes != manifest.classes {
        let expected = format!("the images and classes of `{}`", manifest.name);
        return Err(Error::format(path, expected, format!("{:?}, {:?}", header.shape, header.classes)));
    }
    Ok(parts)
}
