//! Files and folders of texts as the parts of a data set: the part and class of each file, and the conversion
//! of each text.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use waxwork_core::Kind;
use waxwork_core::hash::sha256;

use super::lines::{self, Line, LineFormat, MOST_LINES};
use super::{Longer, TextConfig, Unit, Vocabulary, at_rest, spec};
use crate::folder::layout::without;
use crate::manifest::{Manifest, Role, TextFiles};
use crate::notes::{LISTED, Note};
use crate::parts::{Parts, check_file, locate_all};
use crate::{Error, InMemory, Result, natural, selection, splits};

/// Maximum size of all texts of a part at rest, in bytes.
const MOST_BYTES: usize = 8 << 30;
/// Maximum number of bytes of all texts of a part in their files.
const MOST_READ: usize = 2 << 30;
/// Maximum number of classes.
const MOST_CLASSES: usize = 10_000;
/// Maximum length that no setting asked for: a batch takes memory for every token of every text.
const MOST_DEFAULT: usize = 4_096;

/// Texts that were read from a file, for callers that need samples of one kind.
#[derive(Debug)]
pub struct Texts {
    /// The texts.
    pub texts: InMemory,
    /// The names of their labels: label `k` is `classes[k]`. Empty if there are none.
    pub classes: Vec<String>,
}

/// A data set of texts.
pub(crate) struct Loaded {
    pub(crate) parts: Parts,
    pub(crate) classes: Vec<String>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) notes: Vec<Note>,
}

/// A file, and the class of its texts if the file's name gives it.
struct TextFile {
    path: PathBuf,
    class: Option<String>,
}

/// The texts of one part; `files[file]` is where each comes from.
#[derive(Default)]
struct Part {
    files: Vec<PathBuf>,
    texts: Vec<(usize, Line)>,
}

/// Reads the texts of a file as samples of `kind`, in the file's order. A blank line of a plain file is a
/// text without a token.
///
/// # Errors
/// [`Error::Io`]; [`Error::Lines`] names the first line with more tokens than `kind` allows, or with a token
/// outside of the vocabulary.
pub fn read(path: &Path, kind: &Kind, vocabulary: &Vocabulary) -> Result<Texts> {
    let &Kind::Text { length, .. } = kind else {
        return Err(Error::Config { key: "data", reason: format!("texts are no {kind}") });
    };
    let part = Part {
        files: vec![path.to_path_buf()],
        texts: lines::read(path, true)?.into_iter().map(|line| (0, line)).collect(),
    };
    let classes = part.classes();
    let encoded = part.encoded(vocabulary)?;
    for (tokens, (_, line)) in encoded.iter().zip(&part.texts) {
        if tokens.len() > length {
            let (noun, found, number) = (vocabulary.unit().noun(), tokens.len(), line.number);
            let reason =
                format!("line {number} has {found} {noun}s, but a text of this kind has at most {length}");
            return Err(Error::Lines { path: path.to_path_buf(), reason });
        }
    }
    Ok(Texts { texts: part.in_memory(&encoded, vocabulary, length, &classes)?, classes })
}

/// Loads the texts of a file, or of a folder with one file per part or class.
pub(crate) fn load(path: &Path, config: &TextConfig) -> Result<Loaded> {
    let mut notes = Vec::new();
    let (train, test) = layout(path, &mut notes)?;
    let mut train = Part::read(train)?;
    let test = match test {
        Some(files) => Part::read(files)?,
        None => train.divided(path)?,
    };
    let classes = classes(&train, &test, path, &mut notes)?;
    let vocabulary = vocabulary(&train, &test, config, &mut notes)?;
    let (trained, tested) = (train.encoded(&vocabulary)?, test.encoded(&vocabulary)?);
    let longest = trained.iter().chain(&tested).map(Vec::len).max().unwrap_or_default();
    let length = config.length.unwrap_or(longest + 1);
    if config.length.is_none() && length > MOST_DEFAULT {
        let reason = format!(
            "the longest text has {longest} {}s: a default length must not exceed {MOST_DEFAULT}, so set one, and `data.text.longer` to `cut`",
            vocabulary.unit().noun()
        );
        return Err(Error::Config { key: "data.text.length", reason });
    }
    if length < 2 {
        let reason = format!("must be at least 2, a token and the end, got {length}");
        return Err(Error::Config { key: "data.text.length", reason });
    }
    if config.longer == Longer::Refuse {
        train.refuse_longer(&trained, length, vocabulary.unit())?;
        test.refuse_longer(&tested, length, vocabulary.unit())?;
    }
    let all = trained.len() + tested.len();
    let cut = trained.iter().chain(&tested).filter(|tokens| tokens.len() >= length).count();
    if cut > 0 {
        let doubt = format!("{cut} of {all} texts have more than {} tokens and lose their end", length - 1);
        notes.push(Note::Texts { doubt });
    }
    // A text that is cut still needs an end.
    let cut = |mut tokens: Vec<u16>| {
        tokens.truncate(length - 1);
        tokens
    };
    let [trained, tested]: [Vec<_>; 2] = [trained, tested].map(|texts| texts.into_iter().map(cut).collect());
    let train = train.in_memory(&trained, &vocabulary, length, &classes)?;
    let test = test.in_memory(&tested, &vocabulary, length, &classes)?;
    Loaded::new(train, test, classes, vocabulary, notes)
}

/// Loads the texts that `manifest` describes from its files below `dir`. Without a test file, a tenth of each
/// class is held out.
///
/// # Errors
/// [`Error::Missing`], [`Error::Hash`], [`Error::Lines`]; [`Error::Manifest`] if the files do not have the
/// manifest's vocabulary and length.
pub(crate) fn load_known(manifest: &Manifest, dir: &Path) -> Result<Loaded> {
    let wrong = |reason: String| Error::Manifest { dataset: manifest.name.clone(), reason };
    let (&[length, tokens], Some(files)) = (&manifest.shape[..], &manifest.text) else {
        return Err(wrong("texts need `shape` [length, vocabulary], and a table `text`".to_owned()));
    };
    let mut train = Part::of_role(manifest, files, dir, Role::Train)?;
    let test = match Part::of_role(manifest, files, dir, Role::Test)? {
        test if test.texts.is_empty() => train.divided(dir)?,
        test => test,
    };
    let mut notes = Vec::new();
    let config = TextConfig { tokens: files.tokens, min_count: files.min_count, ..TextConfig::default() };
    let vocabulary = vocabulary(&train, &test, &config, &mut notes)?;
    let (trained, tested) = (train.encoded(&vocabulary)?, test.encoded(&vocabulary)?);
    let longest = trained.iter().chain(&tested).map(Vec::len).max().unwrap_or_default();
    if (longest + 1, vocabulary.len()) != (length, tokens) {
        let found = format!("[{}, {}]", longest + 1, vocabulary.len());
        return Err(wrong(format!("its files have shape {found}, not [{length}, {tokens}]")));
    }
    let classes = manifest.classes.clone();
    let train = train.in_memory(&trained, &vocabulary, length, &classes)?;
    let test = test.in_memory(&tested, &vocabulary, length, &classes)?;
    Loaded::new(train, test, classes, vocabulary, notes)
}

impl Loaded {
    fn new(
        train: InMemory,
        test: InMemory,
        classes: Vec<String>,
        vocabulary: Vocabulary,
        notes: Vec<Note>,
    ) -> Result<Self> {
        let parts = Parts::new(train, test, &classes)?;
        // Token numbers mean nothing without the vocabulary.
        let identity = sha256(format!("{} {vocabulary:?}", parts.identity).as_bytes());
        Ok(Self { parts: Parts { identity, ..parts }, classes, vocabulary, notes })
    }
}

impl Part {
    fn read(files: Vec<TextFile>) -> Result<Self> {
        let mut part = Self::default();
        let mut bytes = 0;
        for TextFile { path, class } in files {
            let file = part.files.len();
            for line in lines::read(&path, false)? {
                bytes += line.text.len();
                if part.texts.len() == MOST_LINES || bytes > MOST_READ {
                    let reason = format!(
                        "with this file, the part has more than {MOST_LINES} texts or {} GiB",
                        MOST_READ >> 30
                    );
                    return Err(Error::Lines { path, reason });
                }
                let label = line.label.or_else(|| class.clone());
                part.texts.push((file, Line { label, ..line }));
            }
            part.files.push(path);
        }
        let labelled = |(_, line): &&(usize, Line)| line.label.is_some();
        let count = part.texts.iter().filter(labelled).count();
        if count > 0 && count < part.texts.len() {
            let reason = "some of its files have labels and others none".to_owned();
            let path = part.files.first().and_then(|path| path.parent()).unwrap_or(Path::new("."));
            return Err(Error::Layout { path: path.to_path_buf(), reason });
        }
        let classes = part.classes().len();
        if classes > MOST_CLASSES {
            let path = part.files.first().cloned().unwrap_or_default();
            let reason = format!(
                "it has {classes} different labels, but at most {MOST_CLASSES} are supported: is its first column a label?"
            );
            return Err(Error::Lines { path, reason });
        }
        Ok(part)
    }

    /// The texts of a manifest's files of one role.
    fn of_role(manifest: &Manifest, files: &TextFiles, dir: &Path, role: Role) -> Result<Self> {
        let mut part = Self::default();
        for (file, path) in locate_all(manifest, dir, role)? {
            let at = |reason: String| Error::Lines { path: path.clone(), reason };
            let bytes = lines::contents(&path)?;
            check_file(manifest, file, &path, &sha256(&bytes), bytes.len())?;
            let bytes = match files.latin1 {
                // The first 256 characters of Unicode are those of Latin-1.
                true => bytes.into_iter().map(char::from).collect::<String>().into_bytes(),
                false => bytes,
            };
            let class = |label: &str| {
                let class = label.parse().ok().and_then(|label: usize| manifest.classes.get(label));
                class.cloned().ok_or_else(|| at(format!("it has the label `{label}`")))
            };
            for line in lines::parse(files.lines, &bytes, false).map_err(|fault| at(fault.to_string()))? {
                let label = line.label.as_deref().map(class).transpose()?.or_else(|| file.class.clone());
                part.texts.push((part.files.len(), Line { label, ..line }));
            }
            part.files.push(path);
        }
        Ok(part)
    }

    /// Moves a tenth of each class to a test part.
    fn divided(&mut self, path: &Path) -> Result<Self> {
        if self.texts.len() < 2 {
            let reason = format!("{} contains one text, but training and testing need two", path.display());
            return Err(Error::Config { key: "data.dir", reason });
        }
        let classes = self.classes();
        let numbers = numbers(&classes);
        let label = |index: usize| {
            let (_, line) = self.texts.get(index)?;
            numbers.get(line.label.as_ref()?.as_str()).copied()
        };
        let mut flags = selection::test_part(self.texts.len(), label).into_iter();
        let texts = self.texts.extract_if(.., |_| flags.next().unwrap_or(false)).collect();
        Ok(Self { files: self.files.clone(), texts })
    }

    /// The labels that occur, in natural order.
    fn classes(&self) -> Vec<String> {
        let found: BTreeSet<&String> =
            self.texts.iter().filter_map(|(_, line)| line.label.as_ref()).collect();
        let mut classes: Vec<String> = found.into_iter().cloned().collect();
        classes.sort_by(|a, b| natural::compare(a, b));
        classes
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|(_, line)| line.text.as_str())
    }

    fn fault(&self, file: usize, number: usize, reason: &str) -> Error {
        let path = self.files.get(file).cloned().unwrap_or_default();
        Error::Lines { path, reason: format!("line {number}: {reason}") }
    }

    fn encoded(&self, vocabulary: &Vocabulary) -> Result<Vec<Vec<u16>>> {
        let one = |(file, line): &(usize, Line)| {
            vocabulary.encode(&line.text).map_err(|token| self.fault(*file, line.number, &token.to_string()))
        };
        self.texts.iter().map(one).collect()
    }

    fn refuse_longer(&self, encoded: &[Vec<u16>], length: usize, unit: Unit) -> Result<()> {
        let longer = self.texts.iter().zip(encoded).find(|(_, tokens)| tokens.len() >= length);
        let Some(((file, line), tokens)) = longer else { return Ok(()) };
        let reason = format!(
            "it has {} {}s, but `data.text.length` leaves room for {}: set it to more, or `data.text.longer` to `cut`",
            tokens.len(),
            unit.noun(),
            length - 1
        );
        Err(self.fault(*file, line.number, &reason))
    }

    fn in_memory(
        &self,
        encoded: &[Vec<u16>],
        vocabulary: &Vocabulary,
        length: usize,
        classes: &[String],
    ) -> Result<InMemory> {
        let kind = Kind::Text { vocabulary: vocabulary.len(), length };
        spec(vocabulary.len(), length)
            .map_err(|error| Error::Config { key: "data.text.length", reason: error.to_string() })?;
        if encoded.len().saturating_mul(kind.bytes()) > MOST_BYTES {
            let reason = format!("more than {} GiB of texts: choose a shorter length", MOST_BYTES >> 30);
            return Err(Error::Config { key: "data.text.length", reason });
        }
        let mut bytes = Vec::with_capacity(encoded.len() * kind.bytes());
        encoded.iter().for_each(|tokens| bytes.extend(at_rest(tokens, length)));
        let numbers = numbers(classes);
        let label = |(_, line): &(usize, Line)| numbers.get(line.label.as_ref()?.as_str()).copied();
        InMemory::new(kind, bytes, self.texts.iter().map(label).collect())
    }
}

/// The label of each class.
fn numbers(classes: &[String]) -> HashMap<&str, u32> {
    classes.iter().map(String::as_str).zip(0..).collect()
}

/// The classes of the training part. Other classes in the test part are an error.
fn classes(train: &Part, test: &Part, path: &Path, notes: &mut Vec<Note>) -> Result<Vec<String>> {
    let (classes, tested) = (train.classes(), test.classes());
    let fail = |reason: String| Err(Error::Layout { path: path.to_path_buf(), reason });
    if classes.is_empty() != tested.is_empty() {
        let (with, without) = if classes.is_empty() { ("test", "training") } else { ("training", "test") };
        return fail(format!("the {with} part has labels, but the {without} part has none"));
    }
    if let Some(unknown) = tested.iter().find(|class| !classes.contains(class)) {
        return fail(format!(
            "the test part has the label `{unknown}`, which the training part does not have"
        ));
    }
    let labels = tested.iter().filter_map(|name| classes.iter().position(|class| class == name));
    let missing = without(&classes, &labels.map(|label| label as u32).collect());
    if !missing.is_empty() {
        let count = missing.len();
        notes.push(Note::Untested { count, classes: missing.into_iter().take(LISTED).collect() });
    }
    Ok(classes)
}

/// The vocabulary of the training part, with `<unk>` if the test part needs one.
fn vocabulary(train: &Part, test: &Part, config: &TextConfig, notes: &mut Vec<Note>) -> Result<Vocabulary> {
    let &TextConfig { tokens: unit, min_count, max_vocabulary, .. } = config;
    let vocabulary = Vocabulary::of(unit, train.texts(), min_count, max_vocabulary, false)?;
    if vocabulary.unknown().is_some() {
        return Ok(vocabulary);
    }
    let unknown = test.texts().filter(|text| vocabulary.encode(text).is_err()).count();
    if unknown == 0 {
        return Ok(vocabulary);
    }
    let (all, noun) = (test.texts.len(), unit.noun());
    let doubt = format!(
        "{unknown} of {all} test texts have a {noun} that the training part does not have: it is read as `<unk>`"
    );
    notes.push(Note::Texts { doubt });
    Vocabulary::of(unit, train.texts(), min_count, max_vocabulary, true)
}

/// The files of the training part and, if there is one, of the test part.
fn layout(path: &Path, notes: &mut Vec<Note>) -> Result<(Vec<TextFile>, Option<Vec<TextFile>>)> {
    if !path.is_dir() {
        return Ok((vec![TextFile { path: path.to_path_buf(), class: None }], None));
    }
    let fail = |reason: String| Err(Error::Layout { path: path.to_path_buf(), reason });
    let (files, directories) = listed(path)?;
    let names: Vec<String> = directories
        .iter()
        .map(|path| file_name(path))
        .chain(files.iter().map(|path| part_name(path)))
        .collect();
    let (train, held_out) = splits::parts(names.iter().map(String::as_str));
    match (train.as_slice(), held_out.as_slice()) {
        ([], []) => Ok((by_class(path, files)?, None)),
        ([], [test, ..]) => fail(format!(
            "`{test}` would be the test part, but there is no `train` next to it: rename the training part to `train`"
        )),
        ([one, other, ..], _) => fail(format!("`{one}` and `{other}` are both training parts: keep one")),
        (&[train], held_out) => {
            let part = |name: &str| -> Result<Vec<TextFile>> {
                if let Some(directory) = directories.iter().find(|path| file_name(path) == name) {
                    return by_class(directory, listed(directory)?.0);
                }
                let of_part = files.iter().filter(|path| part_name(path) == name);
                Ok(of_part.map(|path| TextFile { path: path.clone(), class: None }).collect())
            };
            let test = held_out.first().map(|name| (*name).to_owned());
            notes.push(Note::Parts { train: train.to_owned(), test });
            for name in names.iter().filter(|name| *name != train && Some(&name.as_str()) != held_out.first())
            {
                let reason = match (splits::role(name), held_out.first()) {
                    (Some(_), Some(test)) => format!("it is held out, and the test part is `{test}`"),
                    _ => format!("it is not a part, and `{train}` is one"),
                };
                notes.push(Note::Unused { name: name.clone(), pictures: None, reason });
            }
            Ok((part(train)?, held_out.first().map(|name| part(name)).transpose()?))
        }
    }
}

/// The files of a folder without parts: a single file, or one per class, named after the class.
fn by_class(dir: &Path, files: Vec<PathBuf>) -> Result<Vec<TextFile>> {
    let fail = |reason: String| Err(Error::Layout { path: dir.to_path_buf(), reason });
    match files.as_slice() {
        [] => Err(Error::EmptyFolder {
            path: dir.to_path_buf(),
            what: ".txt, .tsv or .jsonl files",
            found: String::new(),
        }),
        [_] => Ok(files.into_iter().map(|path| TextFile { path, class: None }).collect()),
        _ => {
            if let Some(other) = files.iter().find(|path| LineFormat::of(path) != Some(LineFormat::Plain)) {
                return fail(format!(
                    "it has {} files, of which each would be a class, but `{}` has labels of its own: name the files `train` and \
                     `test`, or use one of them",
                    files.len(),
                    file_name(other)
                ));
            }
            let class = |path: &PathBuf| Some(stem(path));
            Ok(files.into_iter().map(|path| TextFile { class: class(&path), path }).collect())
        }
    }
}

/// The files of texts in a folder, and its directories, sorted by name. Hidden ones are skipped.
fn listed(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = std::fs::read_dir(dir).map_err(Error::io("open", dir))?;
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(Error::io("read", dir))?.path();
        if file_name(&path).starts_with('.') {
            continue;
        }
        if path.is_dir() {
            directories.push(path);
        } else if LineFormat::of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort_by(|a, b| natural::compare(&file_name(a), &file_name(b)));
    directories.sort();
    Ok((files, directories))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file's name without its extensions: `ptb.train` of `ptb.train.txt.gz`.
fn stem(path: &Path) -> String {
    let name = file_name(path);
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// The last part of a file's stem if it names a split, else the stem: `train` of `train.txt` and of
/// `ptb.train.txt`.
fn part_name(path: &Path) -> String {
    let stem = stem(path);
    match stem.rsplit_once('.') {
        Some((_, last)) if splits::role(last).is_some() => last.to_owned(),
        _ => stem,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
