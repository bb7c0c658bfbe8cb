//! What commands print and write: messages, tables, progress, images, tensors.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::builder::Styles;
use clap::builder::styling::Style as Colour;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::EnvFilter;
use waxwork_core::npy::{self, NpyWriter};
use waxwork_core::{Error, Kind, Tensor, store, values};
use waxwork_data::table::encode::Encoder;
use waxwork_data::{DatasetInfo, View};
use waxwork_media::{Artifact, grid, preview, wav};
use waxwork_models::{Classes, Run, rows, sounds};
use waxwork_trainer::progress::above_bars;
use waxwork_trainer::{Display, Meter, Unit};

use crate::args::{LogFormat, Messages};
use crate::clips;
use crate::commands::foreign::labels_beside;
use crate::failure::Failure;
use crate::texts;

/// Images per row of a grid that a command writes.
const GRID_COLUMNS: usize = 10;

/// The style of progress and errors, set once from the command line.
static MESSAGES: OnceLock<Style> = OnceLock::new();

/// The style of progress and errors.
struct Style {
    display: Display,
    format: LogFormat,
    /// Whether to print the causes of an error after it.
    causes: bool,
    /// The rank of this process, if there are several.
    rank: Option<usize>,
}

/// Starts logging to standard error, filtered by the command line and `RUST_LOG`. If there are several
/// processes, all but the first log errors only.
pub(crate) fn start_messages(asked: &Messages, rank: Option<usize>) {
    let follows = rank.is_some_and(|rank| rank > 0);
    let display = match (asked.quiet || follows, asked.log_format) {
        (true, _) => Display::Nothing,
        (false, LogFormat::Json) => Display::Events,
        (false, LogFormat::Text) => Display::fitting(),
    };
    // A second start, as in tests, has no effect.
    _ = MESSAGES.set(Style { display, format: asked.log_format, causes: asked.verbose > 0, rank });
    let usual = match (asked.quiet, asked.verbose) {
        _ if follows => "waxwork=error",
        // Other libraries also log errors that we report ourselves.
        (true, _) => "waxwork=warn",
        (false, 0) => "waxwork=warn,waxwork::progress=info,waxwork::notes=info",
        (false, 1) => "waxwork=info",
        (false, 2) => "waxwork=debug",
        (false, _) => "trace",
    };
    let named = std::env::var("RUST_LOG").ok().filter(|named| !named.is_empty());
    let filter = EnvFilter::try_new(named.as_deref().unwrap_or(usual));
    let wrong = filter.as_ref().err().map(ToString::to_string);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(usual)))
        .with_writer(|| AboveBars);
    _ = match asked.log_format {
        LogFormat::Text => log.without_time().with_target(false).with_ansi(colours()).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
    if let Some(wrong) = wrong {
        tracing::warn!("RUST_LOG is not valid and is ignored: {wrong}");
    }
}

/// Whether standard error gets colours: it is a terminal that supports them, and no variable such as
/// `NO_COLOR` disables them.
fn colours() -> bool {
    AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// Standard error, above any progress bars.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // A closed standard error must not stop the work.
        _ = above_bars(|| std::io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a failure to standard error: one line, and with `-v` one more per cause.
pub(crate) fn failed(failure: &Failure) {
    let Failure { message, causes, code, .. } = failure;
    if message.is_empty() {
        return;
    }
    let style = MESSAGES.get();
    let rank = style.and_then(|style| style.rank);
    let causes = if style.is_some_and(|style| style.causes) { causes.as_slice() } else { &[] };
    let lines = if style.is_some_and(|style| style.format == LogFormat::Json) {
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut object =
            serde_json::json!({"timestamp": now, "level": "ERROR", "message": message, "exit_code": code});
        if let Some(rank) = rank {
            object["rank"] = rank.into();
        }
        if !causes.is_empty() {
            object["causes"] = causes.into();
        }
        object.to_string()
    } else {
        let styles = Styles::styled();
        let colour = if colours() { *styles.get_error() } else { Colour::new() };
        let causes = causes.iter().map(|cause| format!("\n  caused by: {}", cause.replace('\n', "\n    ")));
        let process =
            rank.filter(|rank| *rank > 0).map_or_else(String::new, |rank| format!("process {rank}: "));
        format!("{colour}error:{colour:#} {process}{message}{}", causes.collect::<String>())
    };
    // If this fails, there is no way to report it.
    _ = writeln!(std::io::stderr(), "{lines}");
}

/// Whether the process was started without a standard output.
static STANDARD_OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Checks whether standard output is open, before another file can take its descriptor.
#[cfg(target_os = "linux")]
pub extern "C" fn look_at_standard_output() {
    let files = Path::new("/dev/fd");
    // Without this folder, the state is unknown: treat it as open.
    let closed = files.is_dir() && files.join("1").symlink_metadata().is_err();
    STANDARD_OUTPUT_CLOSED.store(closed, Ordering::Relaxed);
}

/// Writes a command's report to standard output. A pipe that its reader closes, as `head`
/// does, is not a failure.
pub(crate) fn report(text: &str) -> Result<(), Failure> {
    if !text.is_empty() && STANDARD_OUTPUT_CLOSED.load(Ordering::Relaxed) {
        return Err(Failure::new("cannot write to standard output: it is closed"));
    }
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// How this process shows progress.
pub(crate) fn display() -> Display {
    MESSAGES.get().map_or(Display::Nothing, |style| style.display)
}

/// Shows the progress of a task; a length of 0 means unknown.
pub(crate) fn bar(length: usize, what: &'static str) -> Meter {
    Meter::new(display(), what, Unit::Parts, length as u64)
}

/// Shows the progress of a download of unknown size.
pub(crate) fn bar_of_bytes(what: &'static str) -> Meter {
    Meter::new(display(), what, Unit::Bytes, 0)
}

/// Pretty JSON with a newline.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Progress bars of successive stages, for work that names its stages.
#[derive(Default)]
pub(crate) struct Stages(Option<(&'static str, Meter)>);

impl Stages {
    /// Shows that `done` of `all` parts of the stage `what` are done; 0 of 0 if the number is unknown.
    pub(crate) fn set(&mut self, what: &'static str, done: usize, all: usize) {
        if self.0.as_ref().is_none_or(|(shown, _)| *shown != what) {
            self.finish();
            self.0 = Some((what, bar(all, what)));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set(done as u64, all as u64);
        }
    }

    /// Clears the bar.
    pub(crate) fn finish(&mut self) {
        if let Some((_, bar)) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// Formats rows as aligned columns, two spaces apart.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Formats a number with four significant digits, or all digits of an integer part.
pub(crate) fn number(value: f64) -> String {
    let digits = if value == 0.0 || !value.is_finite() { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", (3 - digits).clamp(0, 4) as usize)
}

/// Formats a number of bytes in a suitable unit.
pub(crate) fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}

/// Formats a number with commas between thousands.
pub(crate) fn count(n: usize) -> String {
    indicatif::HumanCount(n as u64).to_string()
}

/// Formats seconds in a suitable unit.
pub(crate) fn seconds(seconds: f64) -> String {
    // The number comes from a file and may have any value.
    let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::from_secs(u64::MAX));
    indicatif::HumanDuration(time).to_string()
}

/// The kind of samples, and how networks see them.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) kind: Kind,
    pub(crate) view: View,
    /// Turns encoded rows into rows of a table, if the run is on a table.
    pub(crate) rows: Option<Encoder>,
}

impl Form {
    /// The extension of the default file for samples: `txt` for texts, `csv` for rows, `png` otherwise.
    pub(crate) fn ending(&self) -> &'static str {
        match (&self.kind, &self.rows) {
            (Kind::Text { .. }, _) => "txt",
            (_, Some(_)) => "csv",
            _ => "png",
        }
    }
}

impl From<&Run> for Form {
    fn from(run: &Run) -> Self {
        Self { kind: run.info.kind(), view: run.info.view(), rows: run.encoder_of_rows.clone() }
    }
}

impl From<&DatasetInfo> for Form {
    fn from(info: &DatasetInfo) -> Self {
        Self { kind: info.kind.clone(), view: info.view.clone(), rows: None }
    }
}

/// The labels of images, and the names of their classes.
#[derive(Clone, Copy)]
pub(crate) struct Labelled<'a> {
    /// One label per image.
    pub(crate) labels: &'a [u32],
    /// The classes that the labels index.
    pub(crate) classes: &'a Classes,
}

/// Writes samples `(N, ..)`, given as networks see them, in the format of the path's extension: an image
/// (.png), an array (.npy, with labels in a file next to it), or a tensor file (.safetensors, with `labels`
/// if there are any). A path without an extension is a new folder of PNG files, numbered from `first`, with a
/// folder per class if there are labels. Sounds are written as waveforms: one .wav file, or a folder of them.
/// Next to their PNG image, one .wav file has all of them. Texts are written as lines (.txt, .jsonl). Clips are
/// written as animations (.png, .gif), as video (.y4m) or as a folder of strips. Rows are written as a table too
/// (.csv, .parquet), in the format of the training file.
pub(crate) fn write_samples(
    path: &Path,
    form: &Form,
    images: &Tensor,
    labelled: Option<Labelled<'_>>,
    first: u64,
) -> Result<(), Failure> {
    let kind = &form.kind;
    values::check("images", images)?;
    if let Kind::Sound { rate, length } = *kind {
        let heard = sounds::at_rest(kind, &form.view, images, first)?;
        return write_sounds(path, images, &heard, (rate, length), labelled, first);
    }
    if matches!(kind, Kind::Clip { .. }) {
        return clips::write(path, images, GRID_COLUMNS, labelled, first);
    }
    if matches!(kind, Kind::Text { .. }) {
        return texts::write(path, form, &sounds::at_rest(kind, &form.view, images, first)?, labelled);
    }
    let is_table = matches!(kind, Kind::Rows(_));
    match extension(path).as_deref() {
        Some("png") => store::write(path, &preview::picture(kind, images, GRID_COLUMNS)?.png()?)?,
        Some("npy") => {
            npy::save(path, images)?;
            write_labels_beside(path, labelled)?;
        }
        Some("safetensors") => {
            let mut tensors = BTreeMap::from([(kind.plural().to_owned(), images.clone())]);
            if let Some(Labelled { labels, .. }) = labelled {
                tensors.insert("labels".to_owned(), Tensor::new(labels, images.device())?);
            }
            store::save(path, &tensors)?;
        }
        Some("csv" | "parquet") if is_table => {
            let encoder = form.rows.as_ref().ok_or_else(|| {
                let path = path.display();
                Failure::new(format!(
                    "cannot write `{path}`: without its table.json, a run has only encoded rows; use .npy or .safetensors"
                ))
            })?;
            rows::decode(encoder, images, first)?.write(path)?;
        }
        _ if is_table => check_target(path, kind)?,
        None if kind.image().is_none() => {
            let (shown, what) = (path.display(), kind.plural());
            return Err(Failure::new(format!(
                "`{shown}`: {what} cannot be written as a folder of images; use .npy, .safetensors or .png"
            )));
        }
        None => {
            let png = |i: usize| Ok(grid::single(&images.get(i)?)?.png()?);
            write_folder(path, "png", images.dim(0)?, labelled, first, png)?;
        }
        Some(_) => check_target(path, kind)?,
    }
    Ok(())
}

/// Writes one file per sample into a new folder, in a folder per class if there are labels.
pub(crate) fn write_folder(
    path: &Path,
    ending: &str,
    count: usize,
    labelled: Option<Labelled<'_>>,
    first: u64,
    contents: impl Fn(usize) -> Result<Vec<u8>, Failure>,
) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(store::failed("create", path))?;
    let bar = bar(count, "writing files");
    for i in 0..count {
        let label = labelled.and_then(|Labelled { labels, classes }| Some((*labels.get(i)?, classes)));
        let folder = match label {
            Some((label, classes)) => path.join(folder_name(label, classes)),
            None => path.to_owned(),
        };
        std::fs::create_dir_all(&folder).map_err(store::failed("create", &folder))?;
        let file = folder.join(format!("{:06}.{ending}", first + i as u64));
        store::write(&file, &contents(i)?)?;
        bar.inc(1);
    }
    Ok(())
}

/// Writes sounds, which networks see as `seen`, in the format of the path's extension.
fn write_sounds(
    path: &Path,
    seen: &Tensor,
    sounds: &[u8],
    (rate, length): (u32, usize),
    labelled: Option<Labelled<'_>>,
    first: u64,
) -> Result<(), Failure> {
    let (kind, each) = (Kind::Sound { rate, length }, 2 * length);
    let one_file = || Artifact::of_sounds(rate, sounds, each);
    let waveforms = || sounds::waveforms(sounds, length);
    match extension(path).as_deref() {
        Some("png") => {
            store::write(path, &preview::picture(&kind, seen, GRID_COLUMNS)?.png()?)?;
            store::write(&path.with_extension("wav"), &one_file()?.bytes)?;
        }
        Some("wav") => store::write(path, &one_file()?.bytes)?,
        Some("npy") => {
            npy::save(path, &waveforms()?)?;
            write_labels_beside(path, labelled)?;
        }
        Some("safetensors") => {
            let mut tensors = BTreeMap::from([(kind.plural().to_owned(), waveforms()?)]);
            if let Some(Labelled { labels, .. }) = labelled {
                tensors.insert("labels".to_owned(), Tensor::new(labels, &waxwork_core::Device::Cpu)?);
            }
            store::save(path, &tensors)?;
        }
        None => {
            let one = |i: usize| Ok(wav::file(rate, &sounds[i * each..(i + 1) * each])?);
            write_folder(path, "wav", sounds.len() / each, labelled, first, one)?;
        }
        Some(_) => check_target(path, &kind)?,
    }
    Ok(())
}

/// Writes each sample with its counterpart, such as its reconstruction, in the formats of [`write_samples`].
/// Images are shown one above the other, in rows of ten.
pub(crate) fn write_pairs(path: &Path, form: &Form, above: &Tensor, below: &Tensor) -> Result<(), Failure> {
    if matches!(form.kind, Kind::Text { .. }) {
        return texts::write_pairs(path, form, above, below);
    }
    if let (Kind::Clip { .. }, Some("png" | "apng" | "gif" | "y4m")) =
        (&form.kind, extension(path).as_deref())
    {
        values::check("clips", above)?;
        values::check("clips", below)?;
        if let Some(animation) = preview::moving_pairs(&form.kind, above, below, GRID_COLUMNS)? {
            return clips::write_animation(path, &animation);
        }
    }
    if extension(path).as_deref() == Some("png") {
        values::check("images", above)?;
        values::check("images", below)?;
        store::write(path, &preview::pairs(&form.kind, above, below, GRID_COLUMNS)?.png()?)?;
        if matches!(form.kind, Kind::Sound { .. }) {
            // In the sound file, each counterpart follows its sample.
            let pairs = grid::interleaved(above, below, 1)?;
            write_samples(&path.with_extension("wav"), form, &pairs, None, 0)?;
        }
        return Ok(());
    }
    write_samples(path, form, &grid::interleaved(above, below, GRID_COLUMNS)?, None, 0)
}

/// What a command says about samples in the file `path`; nothing if they went to standard output.
pub(crate) fn written(path: &Path, text: String) -> String {
    if clips::is_standard_output(path) { String::new() } else { text }
}

/// Whether a path is that of a table, by its extension.
pub(crate) fn is_rows(path: &Path) -> bool {
    matches!(extension(path).as_deref(), Some("csv" | "parquet"))
}

/// Checks that samples can be written to `path`. Call this before anything slow. The extension must be known,
/// and a folder must be new or empty, because images of an earlier call would be mixed with these.
pub(crate) fn check_target(path: &Path, kind: &Kind) -> Result<(), Failure> {
    let shown = path.display();
    let (is_sound, is_table) = (matches!(kind, Kind::Sound { .. }), matches!(kind, Kind::Rows(_)));
    if matches!(kind, Kind::Text { .. }) {
        return texts::check_target(path);
    }
    if matches!(kind, Kind::Clip { .. }) {
        return clips::check_target(path);
    }
    match extension(path).as_deref() {
        Some("png" | "npy" | "safetensors") => Ok(()),
        Some("wav") if is_sound => Ok(()),
        Some("csv" | "parquet") if is_table => Ok(()),
        _ if is_table => Err(Failure::new(format!(
            "`{shown}`: rows are written to .csv, .parquet, .png, .npy or .safetensors files"
        ))),
        Some(other) => {
            let wav = if is_sound { ".wav, " } else { "" };
            Err(Failure::new(format!(
                "`{shown}`: cannot write .{other} files; use {wav}.png, .npy, .safetensors, or a folder (no extension)"
            )))
        }
        None => check_new_folder(path),
    }
}

/// Checks that a folder does not exist or is empty.
pub(crate) fn check_new_folder(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path).map_err(store::failed("read", path))?;
        if entries.next().is_some() {
            return Err(Failure::new(format!("`{}` is not empty: name a new folder", path.display())));
        }
    }
    Ok(())
}

/// Writes the labels of a NumPy file of images next to it. Without labels, removes an older label file.
pub(crate) fn write_labels_beside(images: &Path, labelled: Option<Labelled<'_>>) -> Result<(), Failure> {
    let beside = labels_beside(images);
    if let Some(Labelled { labels, .. }) = labelled {
        npy::save_labels(&beside, labels)?;
    } else if beside.is_file() {
        std::fs::remove_file(&beside).map_err(store::failed("remove", &beside))?;
    }
    Ok(())
}

/// The name of a class, or its number if the name cannot be a folder name.
fn folder_name(label: u32, classes: &Classes) -> String {
    let name = classes.name(label);
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
    if plain && classes.label(&name).is_ok_and(|found| found == label) { name } else { label.to_string() }
}

/// Writes a NumPy array of shape `dims` from the parts that `make` hands over in order. A separate thread
/// writes, so that the disk works while the next part is computed.
pub(crate) fn stream_npy(
    path: &Path,
    dims: &[usize],
    make: impl FnOnce(&mut dyn FnMut(Tensor) -> Result<(), Failure>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    /// Parts that may be queued for the disk.
    const WAITING: usize = 16;
    let mut array = NpyWriter::create(path, dims)?;
    std::thread::scope(|scope| {
        let (sender, parts) = sync_channel::<Tensor>(WAITING);
        let writer = scope.spawn(move || {
            for part in parts {
                array.append(&part)?;
            }
            array.finish()
        });
        // If the writer failed, its error is reported below.
        let mut rows = 0;
        let made = make(&mut |part| {
            values::check_rows("images", &part, rows)?;
            rows += part.dim(0)?;
            sender.send(part).map_err(Failure::from)
        });
        drop(sender);
        let written =
            writer.join().map_err(|_| Failure::new("the thread that writes the images ended early"))?;
        match (made, written) {
            (Err(failure), Ok(()) | Err(Error::ArrayLength)) => Err(failure),
            (_, written) => Ok(written?),
        }
    })
}

/// The path's extension in lower case.
pub(crate) fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_a_failure_between_two_parts_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let part = Tensor::zeros((1, 2), waxwork_core::DType::F32, &waxwork_core::Device::Cpu).unwrap();
        let failed = stream_npy(&path, &[2, 2], |hand_over| {
            hand_over(part.clone())?;
            Err(Failure::new("no more"))
        });
        assert_eq!(failed.unwrap_err().message, "no more");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        stream_npy(&path, &[2, 2], |hand_over| {
            hand_over(part.clone())?;
            hand_over(part.clone())
        })
        .unwrap();
        assert_eq!(npy::load(&path).unwrap().dims(), [2, 2]);
        let nan = Tensor::new(&[[0.0, f32::NAN]], &waxwork_core::Device::Cpu).unwrap();
        let failed = stream_npy(&path, &[2, 2], |hand_over| {
            hand_over(part.clone())?;
            hand_over(nan.clone())
        });
        assert_eq!(failed.unwrap_err().message, "`images` is NaN at [1, 1]: every value must be finite");
        assert_eq!(npy::load(&path).unwrap().to_vec2::<f32>().unwrap(), [[0.0; 2]; 2]);
    }

    #[test]
    fn any_number_is_a_time() {
        for forged in [f64::MAX, f64::INFINITY, f64::NAN, -1.0, 1e19] {
            assert!(!seconds(forged).is_empty());
        }
        assert_eq!(seconds(80.0), "80 seconds");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "bbb", "c"], ["aaaa", "b", ""]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "a     bbb  c\naaaa  b\n");
    }
}
