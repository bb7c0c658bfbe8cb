//! Data sets of the Hub without a manifest: the files themselves show which parts and columns there are and
//! what they mean.

pub(super) mod texts;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use waxwork_core::{ImageShape, Kind as SampleKind};

use super::{Hub, Kind, REVISION, Wanted, column, packed_path, texts_path};
use crate::folder::FolderConfig;
use crate::manifest::HUB;
use crate::notes::{LISTED, Note};
use crate::parquet::{Columns, Content, Labels, Survey, Table};
use crate::sound::recordings::{Found, Made};
use crate::sound::{self, SoundConfig};
use crate::{DataConfig, Error, Progress, Result, natural, packed, selection, splits};

/// Maximum number of classes of a data set without class names.
const MOST_CLASSES: usize = 10_000;

/// The files to use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) subset: String,
    pub(super) train: String,
    /// The held-out parts, the best test part first.
    pub(super) held_out: Vec<String>,
    /// Parts that are neither for training nor held out.
    pub(super) others: Vec<String>,
}

/// Chooses the subset and its parts.
pub(super) fn choose(listing: &[String], subset: Option<&str>) -> Result<Choice, String> {
    let mut parts: BTreeSet<(&str, &str)> = BTreeSet::new();
    for file in listing.iter().filter(|file| file.ends_with(".parquet")) {
        let mut path = file.split('/');
        if let (Some(subset), Some(part), Some(_)) = (path.next(), path.next(), path.next()) {
            parts.insert((subset, part));
        }
    }
    let subsets: Vec<&str> =
        parts.iter().map(|(subset, _)| *subset).collect::<BTreeSet<_>>().into_iter().collect();
    let subset = match (subset, subsets.as_slice()) {
        (_, []) => return Err("the Hub has no parquet files for it".into()),
        (Some(subset), known) if known.contains(&subset) => subset,
        (Some(subset), known) => {
            return Err(format!("it has no subset `{subset}`; it has {}", known.join(", ")));
        }
        (None, [only]) => only,
        (None, known) if known.contains(&"default") => "default",
        (None, known) => {
            return Err(format!(
                "it has several subsets, {}: choose one, as in hf:OWNER/NAME/{}",
                known.join(", "),
                known[0]
            ));
        }
    };
    let of_subset = || parts.iter().filter(|(other, _)| *other == subset).map(|(_, part)| *part);
    let (train, held_out) = splits::parts(of_subset());
    let Some(train) = train.first() else {
        let there: Vec<&str> = of_subset().collect();
        return Err(format!(
            "its subset `{subset}` has no training part `train`; it has {}",
            there.join(", ")
        ));
    };
    let others = of_subset().filter(|part| part != train && !held_out.contains(part));
    Ok(Choice {
        subset: subset.to_owned(),
        train: (*train).to_owned(),
        held_out: held_out.iter().map(ToString::to_string).collect(),
        others: others.map(str::to_owned).collect(),
    })
}

/// One part of the data set.
struct Part {
    name: String,
    tables: Vec<Table>,
    columns: Vec<Columns>,
    /// The classes of the rows of each table.
    named: Vec<Named>,
}

/// The class of each row of a table, as the table gives it.
enum Named {
    /// The class number of each row, and the names of the classes; empty if there are none.
    Numbers(Vec<Option<i64>>, Vec<String>),
    Words(Vec<Option<String>>),
    Nothing,
}

impl Named {
    fn of(table: &Table, columns: &Columns) -> Result<Self> {
        Ok(match &columns.labels {
            Labels::None => Self::Nothing,
            Labels::Numbers { names, .. } => {
                Self::Numbers(table.numbers(columns)?.unwrap_or_default(), names.clone())
            }
            Labels::Words { .. } => Self::Words(table.words(columns)?.unwrap_or_default()),
        })
    }

    /// Yields the class numbers of the rows that have one. By convention, a negative number means no class.
    fn numbers(&self) -> impl Iterator<Item = usize> {
        let numbers = if let Self::Numbers(numbers, _) = self { numbers.as_slice() } else { &[] };
        numbers.iter().flatten().filter_map(|number| usize::try_from(*number).ok())
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let words = if let Self::Words(words) = self { words.as_slice() } else { &[] };
        words.iter().flatten().map(String::as_str).filter(|word| !word.is_empty())
    }

    fn any(&self) -> bool {
        self.numbers().next().is_some() || self.words().next().is_some()
    }
}

impl Part {
    fn labelled(&self) -> bool {
        self.named.iter().any(Named::any)
    }

    fn rows(&self) -> usize {
        self.tables.iter().map(Table::rows).sum()
    }

    /// Returns the label of every row of every table, among `classes`.
    fn labels(&self, classes: &[String]) -> Result<Vec<Vec<Option<u32>>>> {
        let known: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let of_table = |(table, named): (&Table, &Named)| {
            let unknown = |row: usize, class: &str| Error::Layout {
                path: table.path().to_path_buf(),
                reason: format!("row {row} is of class `{class}`, which the training part does not have"),
            };
            let named_so =
                |row: usize, class: &str| known.get(class).copied().ok_or_else(|| unknown(row, class));
            let number = |row: usize, number: i64, names: &[String]| match usize::try_from(number) {
                Err(_) => Ok(None),
                Ok(number) => match names.get(number) {
                    Some(name) => named_so(row, name).map(Some),
                    None if names.is_empty() && number < classes.len() => Ok(Some(number as u32)),
                    None => Err(unknown(row, &number.to_string())),
                },
            };
            let word = |row: usize, word: &str| {
                if word.is_empty() { Ok(None) } else { named_so(row, word).map(Some) }
            };
            let nothing = vec![None; table.rows()];
            match named {
                Named::Nothing => Ok(nothing),
                Named::Numbers(numbers, names) => (0..)
                    .zip(numbers)
                    .map(|(row, cell)| cell.map_or(Ok(None), |cell| number(row, cell, names)))
                    .collect(),
                Named::Words(words) => (0..)
                    .zip(words)
                    .map(|(row, cell)| cell.as_deref().map_or(Ok(None), |cell| word(row, cell)))
                    .collect(),
            }
        };
        self.tables.iter().zip(&self.named).map(of_table).collect()
    }
}

/// Returns the names of the classes of a data set, from its training part and from `all` parts. If there are
/// none, returns the reason, unless it is only that there is no label column.
fn classes(train: &Part, all: &[&Part]) -> Result<Vec<String>, Option<String>> {
    if !train.labelled() {
        let empty = !train.named.iter().all(|named| matches!(named, Named::Nothing));
        return Err(empty.then(|| "no row of the training part has one".to_owned()));
    }
    let all = || all.iter().flat_map(|part| &part.named);
    let classes: Vec<String> = match train.named.first() {
        Some(Named::Numbers(_, names)) if !names.is_empty() => names.clone(),
        Some(Named::Numbers(..)) => {
            let highest = all().flat_map(Named::numbers).max().unwrap_or(0);
            if highest >= MOST_CLASSES {
                return Err(Some(format!(
                    "its labels are numbers up to {highest} without names: too many for classes"
                )));
            }
            (0..=highest).map(|class| class.to_string()).collect()
        }
        Some(Named::Words(_)) => {
            let words: BTreeSet<&str> = train.named.iter().flat_map(Named::words).collect();
            let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            words.sort_by(|a, b| natural::compare(a, b));
            words
        }
        Some(Named::Nothing) | None => Vec::new(),
    };
    if classes.len() > MOST_CLASSES {
        return Err(Some(format!("its labels are {} different words: too many for classes", classes.len())));
    }
    Ok(classes)
}

/// Fetches the data set of `config`. Packs its images or recordings, or writes its texts as files of lines,
/// and returns the path of the packed file or of the folder of the texts.
pub(super) fn fetch(hub: &Hub, config: &DataConfig, dir: &Path, progress: &Progress<'_>) -> Result<PathBuf> {
    let name = config.name.trim_start_matches(HUB);
    let (repository, subset) = match name.match_indices('/').nth(1) {
        Some((place, _)) => (&name[..place], Some(&name[place + 1..])),
        None => (name, None),
    };
    let wrong = |reason: String| Error::Hub { repository: repository.to_owned(), reason };

    // The listing shows which subsets and parts there are, so only the files in use are fetched.
    let listing = hub.list(Kind::Dataset, repository, REVISION)?;
    let Choice { subset, train, held_out, others } = choose(&listing, subset).map_err(wrong)?;
    let mut notes = Vec::new();
    let open = |part: &str, notes: &mut Vec<Note>| -> Result<Part> {
        let of_part =
            |file: &str| file.starts_with(&format!("{subset}/{part}/")) && file.ends_with(".parquet");
        let snapshot = hub.fetch(Kind::Dataset, repository, REVISION, Wanted::All(&of_part), progress)?;
        let files = snapshot.files.iter().filter(|(file, _)| of_part(file));
        let tables: Vec<Table> = files.map(|(_, path)| Table::open(path)).collect::<Result<_>>()?;
        let mut columns = Vec::new();
        for table in &tables {
            let (found, said) = table.columns(column(config))?;
            said.into_iter()
                .filter(|note| !notes.contains(note))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|note| notes.push(note));
            columns.push(found);
        }
        let named = tables.iter().zip(&columns).map(|(table, columns)| Named::of(table, columns));
        Ok(Part { name: part.to_owned(), named: named.collect::<Result<_>>()?, tables, columns })
    };
    let train = open(&train, &mut notes)?;
    if train.rows() == 0 {
        return Err(wrong("its training part is empty".into()));
    }
    let mut test = None;
    for part in &held_out {
        if test.is_some() {
            let reason = "another part is the test part".to_owned();
            notes.push(Note::Unused { name: part.clone(), pictures: None, reason });
            continue;
        }
        let candidate = open(part, &mut notes)?;
        if train.labelled() && !candidate.labelled() {
            let reason = "it has no labels".to_owned();
            notes.push(Note::Unused { name: part.clone(), pictures: Some(candidate.rows()), reason });
            continue;
        }
        test = Some(candidate);
    }
    for part in others {
        let reason = "its name is neither that of a training part nor that of a test part".to_owned();
        notes.push(Note::Unused { name: part, pictures: None, reason });
    }
    let test_name = test.as_ref().map(|test| test.name.clone());
    notes.insert(0, Note::Parts { train: train.name.clone(), test: test_name });

    let parts: Vec<&Part> = std::iter::once(&train).chain(&test).collect();
    let content = content(&parts).map_err(wrong)?;
    config.check_content(content)?;
    let classes = classes(&train, &parts).unwrap_or_else(|reason| {
        notes.extend(reason.map(|reason| content.no_labels(reason)));
        Vec::new()
    });
    if content == Content::Texts {
        let path = texts_path(config, dir);
        texts::write(&path, &parts, &classes, notes)?;
        return Ok(path);
    }
    let path = packed_path(config, dir);
    let mut packing = Packing {
        labels: Vec::new(),
        keep: Vec::new(),
        config: config.folder.clone().unwrap_or_default(),
        sound: config.sound.clone().unwrap_or_default(),
        found: Found::default(),
        skipped: 0,
        examples: Vec::new(),
    };
    for part in &parts {
        packing.take_labels(part, &classes, &mut notes)?;
    }
    let kind = if content == Content::Recordings {
        packing.sound.kind(sound::RATE, sound::LENGTH)?
    } else {
        packing.shape(config, &parts)?.into()
    };
    let mut writer = packed::Writer::create(&path, kind.clone(), &classes)?;
    let train_only = packing.train_only(&train, test.is_none());
    packing.write(&mut writer, &train, 0, &kind, |row| train_only[row])?;
    if writer.count() == 0 {
        return Err(wrong("none of its training samples is left".into()));
    }
    writer.end_train();
    match &test {
        Some(test) => packing.write(&mut writer, test, 1, &kind, |_| true)?,
        None => packing.write(&mut writer, &train, 0, &kind, |row| !train_only[row])?,
    }
    notes.extend(packing.found.notes(&kind));
    if packing.skipped > 0 {
        notes.push(Note::Unreadable { count: packing.skipped, examples: packing.examples });
    }
    writer.finish(packing.skipped, notes)?;
    Ok(path)
}

/// Returns what all parts hold, or the reason why they do not fit each other.
fn content(parts: &[&Part]) -> Result<Content, String> {
    let mut all = parts.iter().flat_map(|part| &part.columns).map(|columns| columns.content);
    let first = all.next().unwrap_or(Content::Images);
    match all.find(|content| *content != first) {
        Some(other) => Err(format!("some of its files hold {first}, and others {other}")),
        None => Ok(first),
    }
}

/// How rows become images or sounds.
struct Packing {
    /// The label of every row of each part, over all its tables; empty without classes.
    labels: Vec<Vec<Option<u32>>>,
    /// The rows that each part uses.
    keep: Vec<Vec<bool>>,
    config: FolderConfig,
    sound: SoundConfig,
    /// Facts about recordings, for the notes.
    found: Found,
    skipped: usize,
    examples: Vec<String>,
}

/// What a row becomes.
enum Sample {
    Image(Vec<u8>),
    Sounds(Made),
}

impl Packing {
    /// Adds the labels of the next part. Rows without a label are not used.
    fn take_labels(&mut self, part: &Part, classes: &[String], notes: &mut Vec<Note>) -> Result<()> {
        if classes.is_empty() {
            self.labels.push(Vec::new());
            self.keep.push(vec![true; part.rows()]);
            return Ok(());
        }
        let labels = part.labels(classes)?.concat();
        let rows = labels.iter().filter(|label| label.is_none()).count();
        if rows > 0 {
            notes.push(Note::Unlabelled { part: part.name.clone(), rows });
        }
        self.keep.push(labels.iter().map(Option::is_some).collect());
        self.labels.push(labels);
        Ok(())
    }

    /// Returns which rows of the training part to train on. Without a test part, a fixed tenth of each class
    /// becomes one, as in an image folder.
    fn train_only(&self, train: &Part, divide: bool) -> Vec<bool> {
        let mut trained = vec![true; train.rows()];
        if divide {
            let kept: Vec<usize> = (0..trained.len()).filter(|&row| self.keep[0][row]).collect();
            let label = |place: usize| self.labels[0].get(kept[place]).copied().flatten();
            let is_test = selection::test_part(kept.len(), label);
            kept.iter().zip(is_test).for_each(|(&row, is_test)| trained[row] = !is_test);
        }
        trained
    }

    /// Returns the shape of the images: the configured one, else that of the images themselves. It has colour
    /// if any image does.
    fn shape(&self, config: &DataConfig, parts: &[&Part]) -> Result<ImageShape> {
        let asked = &self.config;
        if let Some(size) = asked.size {
            asked.shape(size)?;
        }
        let mut survey = Survey::default();
        for (part, keep) in parts.iter().zip(&self.keep) {
            let mut before = 0;
            for (table, columns) in part.tables.iter().zip(&part.columns) {
                let chosen = |row: usize| keep[before + row];
                table.survey(columns, chosen, asked.skip_unreadable, &mut survey)?;
                before += table.rows();
            }
        }
        let Some([smallest, greatest]) = survey.sizes else {
            let reason = "none of its rows has an image that can be decoded".to_owned();
            return Err(Error::Hub { repository: config.name.clone(), reason });
        };
        let largest = smallest.0.min(smallest.1) as usize;
        match asked.size {
            Some(size) if largest >= size => asked.shape(size),
            Some(size) => {
                let (path, (width, height)) = (survey.smallest_in, smallest);
                Err(Error::TooSmall { path, width, height, size, others: 0, largest })
            }
            None if survey.uniform => {
                let channels = if survey.colour && !asked.grey { 3 } else { 1 };
                Ok(ImageShape::new(channels, smallest.1 as usize, smallest.0 as usize))
            }
            None => Err(Error::Sizes { name: config.name.clone(), smallest, greatest, largest }),
        }
    }

    /// Writes the rows of part number `index` that `chosen` selects, as samples of `kind`.
    fn write(
        &mut self,
        writer: &mut packed::Writer,
        part: &Part,
        index: usize,
        kind: &SampleKind,
        chosen: impl Fn(usize) -> bool + Sync,
    ) -> Result<()> {
        let exactly = self.config.size.is_none();
        let skip = self.config.skip_unreadable || self.sound.skip_unreadable;
        let fit = self.sound.fit;
        let rate = if let SampleKind::Sound { rate, .. } = *kind { rate } else { 0 };
        let sample = |table: &Table, row: usize, bytes: Option<&[u8]>| -> Result<Sample> {
            match *kind {
                SampleKind::Image(shape) => Ok(Sample::Image(table.image(row, bytes, shape, exactly)?)),
                SampleKind::Sound { rate, length } => {
                    let made = Made::of(&table.recording(row, bytes)?, fit, (rate, length));
                    Ok(Sample::Sounds(made.map_err(|reason| table.unreadable(row, reason))?))
                }
                _ => Err(Error::Config { key: "data.name", reason: format!("its rows are not {kind}") }),
            }
        };
        let mut before = 0;
        for (table, columns) in part.tables.iter().zip(&part.columns) {
            let (labels, keep) = (&self.labels[index], &self.keep[index]);
            let picked = |row: usize| keep[before + row] && chosen(before + row);
            let make = |row: usize, bytes: Option<&[u8]>| match sample(table, row, bytes) {
                Err(Error::Row { reason, .. } | Error::RecordingRow { reason, .. }) if skip => {
                    Ok((row, Err(reason)))
                }
                sample => sample.map(|sample| (row, Ok(sample))),
            };
            let (skipped, examples, found) = (&mut self.skipped, &mut self.examples, &mut self.found);
            table.pictures(columns, picked, make, |(row, sample)| {
                let label = labels.get(before + row).copied().flatten();
                match sample {
                    Ok(Sample::Image(pixels)) => writer.sample(&pixels, label)?,
                    Ok(Sample::Sounds(made)) => {
                        found.add(&made, rate, fit);
                        made.sounds.iter().try_for_each(|sound| writer.sample(sound, label))?;
                    }
                    Err(reason) => {
                        *skipped += 1;
                        if examples.len() < LISTED {
                            examples.push(format!("row {row} of `{}` ({reason})", part.name));
                        }
                    }
                }
                Ok(())
            })?;
            before += table.rows();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "any_tests.rs"]
mod tests;
