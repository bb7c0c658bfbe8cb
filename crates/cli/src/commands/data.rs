//! `waxwork data`: lists, downloads, checks and shows data sets.

use std::path::Path;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, Kind, Tensor, store};
#[cfg(not(feature = "hub"))]
use waxwork_data::manifest::HUB;
use waxwork_data::manifest::{CLIPS, FOLDER, SOUND, TABLE, TEXT};
use waxwork_data::text::{LineFormat, TextDescription};
use waxwork_data::{DataConfig, FileStatus, LeftOut, Manifest, files, verify};
use waxwork_eval::judge::named;
use waxwork_eval::second_opinions;
use waxwork_models::{Classes, Recipe};

use crate::args::DataCommand;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::texts;

/// Lists the data sets if there is no subcommand.
pub(crate) fn run(command: Option<&DataCommand>) -> Result<String, Failure> {
    match command {
        None => list(false),
        Some(DataCommand::List { json }) => list(*json),
        Some(DataCommand::Info { name, json }) => info(name, *json),
        Some(DataCommand::Fetch { name }) => fetch(name),
        Some(DataCommand::Verify { name, data_dir }) => check(name, data_dir.as_deref()),
        Some(DataCommand::Describe { file, set, json })
            if file.is_dir() || LineFormat::of(file).is_some() =>
        {
            let config = config(TEXT, None, set)?;
            config.check_tables()?;
            let options = config.text.unwrap_or_default();
            let description = TextDescription::of(file, &options)?;
            if *json { output::json(&description) } else { Ok(description.to_string()) }
        }
        Some(DataCommand::Describe { file, set, json }) => {
            let config = config(TABLE, None, set)?;
            config.check_tables()?;
            let options = config.table.unwrap_or_default();
            super::tables::describe(file, &options, *json)
        }
        Some(DataCommand::Doubts { name, share, data_dir, set, out }) => {
            doubts(&config(name, data_dir.as_deref(), set)?, *share, out)
        }
        Some(DataCommand::Show { name, count, data_dir, set, out }) => {
            show(&config(name, data_dir.as_deref(), set)?, *count, out.as_deref())
        }
    }
}

/// The data set `name` with `settings` of a recipe's data keys.
pub(crate) fn config(name: &str, dir: Option<&Path>, settings: &[String]) -> Result<DataConfig, Failure> {
    // Only the recipe's data settings are used.
    let mut config = Recipe::named("vae-digits", settings)?.data;
    name.clone_into(&mut config.name);
    config.dir = dir.map(Path::to_path_buf).or(config.dir);
    Ok(config)
}

fn list(json: bool) -> Result<String, Failure> {
    let manifests = Manifest::all()?;
    if json {
        return output::json(&manifests);
    }
    let row = |manifest: &Manifest| -> Result<Vec<String>, Failure> {
        let samples = format!("{} + {}", manifest.train, manifest.test);
        let shape = match manifest.kind()? {
            Some(Kind::Image(shape)) => shape.to_string(),
            _ => manifest.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×"),
        };
        Ok(vec![manifest.name.clone(), shape, samples, manifest.description.clone()])
    };
    let mut rows: Vec<_> = manifests.iter().map(row).collect::<Result<_, _>>()?;
    for (name, description) in [
        (FOLDER, "your own images: --data-dir DIR, with one subdirectory per class"),
        (TABLE, "your own table: --data-dir FILE.csv or FILE.parquet"),
        (SOUND, "your own recordings: --data-dir DIR of .wav files, with one subdirectory per class"),
        (
            TEXT,
            "your own texts: --data-dir FILE.txt, .tsv or .jsonl, or a folder with one file per class, or \
             one each for training and testing",
        ),
        (
            CLIPS,
            "your own clips: --data-dir DIR of PNG strips, animated PNGs, GIFs or folders of numbered frames, with one \
             subdirectory per class",
        ),
        ("hf:OWNER/NAME", "images, sounds or texts on the Hugging Face Hub"),
    ] {
        rows.push([name, "", "", description].map(str::to_owned).to_vec());
    }
    Ok(output::table(&rows))
}

fn info(name: &str, json: bool) -> Result<String, Failure> {
    let manifest = Manifest::find(name)?;
    if json {
        return output::json(&manifest);
    }
    let kind = match manifest.kind()? {
        Some(kind) => kind.to_string(),
        None => format!("rows of {} columns", manifest.shape.iter().sum::<usize>()),
    };
    let mut rows = vec![
        ("name", format!("{} ({})", manifest.name, manifest.title)),
        ("contents", manifest.description.clone()),
        ("samples", format!("{} for training, {} for testing, {kind}", manifest.train, manifest.test)),
        ("classes", manifest.classes.join(", ")),
        ("licence", manifest.licence.clone()),
    ];
    rows.extend(manifest.homepage.clone().map(|homepage| ("homepage", homepage)));
    rows.extend(manifest.hub.as_ref().map(|hub| ("on the Hub", hub.repository.clone())));
    let of_files = manifest.clone().of_files()?;
    if manifest.is_embedded() {
        rows.push(("files", "none needed".into()));
    } else {
        rows.push(("search path", files::cache_dir()?.display().to_string()));
    }
    if of_files.name != manifest.name {
        rows.push(("files", format!("those of `{}`", of_files.name)));
    }
    for file in &manifest.files {
        let hash = file.sha256.as_deref().unwrap_or("not known");
        rows.push(("file", format!("{}, {}, SHA-256 {hash}", file.name, output::bytes(file.bytes))));
    }
    Ok(output::table(&rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect::<Vec<_>>()))
}

#[cfg(feature = "hub")]
fn fetch(name: &str) -> Result<String, Failure> {
    let bar = output::bar_of_bytes("downloading");
    let path = waxwork_data::fetch(name, None, &|done, all| bar.set(done, all))?;
    bar.finish_and_clear();
    Ok(format!("`{name}` is in {}\n", path.display()))
}

#[cfg(not(feature = "hub"))]
fn fetch(name: &str) -> Result<String, Failure> {
    if !name.starts_with(HUB) {
        Manifest::find(name)?;
    }
    Err(Failure::new(
        "this build cannot download: build with `--features hub`, or give the folder of the files with `--data-dir DIR`",
    ))
}

fn status(status: &FileStatus) -> String {
    match status {
        FileStatus::Verified => "good".into(),
        FileStatus::Unknown { sha256 } => {
            format!("right size; no known hash to compare with, SHA-256 {sha256}")
        }
        FileStatus::WrongHash { expected, found } => format!("wrong: SHA-256 is {found}, not {expected}"),
        FileStatus::WrongSize { expected, found } => format!("wrong: {found} bytes, not {expected}"),
        FileStatus::Missing => "missing".into(),
        FileStatus::Unreadable { reason } => format!("unreadable: {reason}"),
    }
}

fn check(name: &str, folder: Option<&Path>) -> Result<String, Failure> {
    let bar = output::bar(0, "checking files");
    let reports = verify(name, folder)?;
    bar.finish_and_clear();
    let bad = reports.iter().filter(|report| !report.status.is_good()).count();
    let row = |report: &waxwork_data::FileReport| {
        let path =
            report.path.as_ref().map_or_else(|| report.name.clone(), |path| path.display().to_string());
        vec![path, status(&report.status)]
    };
    let table = output::table(&reports.iter().map(row).collect::<Vec<_>>());
    match bad {
        0 if reports.is_empty() && Manifest::find(name)?.is_embedded() => {
            Ok(format!("`{name}` is embedded: it has no files to check\n"))
        }
        0 if reports.is_empty() => Ok(format!("the hashes of the files of `{name}` are not known\n")),
        0 => Ok(table),
        _ => {
            let folder = folder.map_or_else(files::cache_dir, |folder| Ok(folder.to_owned()))?;
            Err(Failure::new(format!(
                "{bad} of {} files of `{name}` in {} are missing or wrong\n{}",
                reports.len(),
                folder.display(),
                table.trim_end()
            )))
        }
    }
}

/// Writes the training images whose label a judge doubts.
fn doubts(config: &DataConfig, share: Option<f64>, out: &Path) -> Result<String, Failure> {
    let data = super::sample::load(config)?;
    let bar = output::bar(0, "training two classifiers");
    let opinions = second_opinions(&data, |done, all| bar.set(done, all))?;
    bar.finish_and_clear();
    let labels = data.train.labels().unwrap_or_default();
    let believed: Vec<f64> =
        opinions.iter().zip(&labels).map(|(opinion, &label)| opinion[label as usize]).collect();
    let mut doubted: Vec<usize> = match share {
        Some(share) => {
            let mut by_belief: Vec<usize> = (0..believed.len()).collect();
            by_belief.sort_by(|&a, &b| believed[a].total_cmp(&believed[b]));
            by_belief.truncate((share * believed.len() as f64).round() as usize);
            by_belief
        }
        None => {
            let named = named(&opinions);
            (0..labels.len()).filter(|&position| named[position] != labels[position]).collect()
        }
    };
    doubted.sort_unstable();
    let indices = doubted.iter().map(|&position| data.train.indices()[position]).collect();
    let left_out = LeftOut { identity: data.info.identity.clone(), indices };
    store::write(out, left_out.to_string().as_bytes())?;
    let (count, all, what) = (doubted.len(), labels.len(), data.info.kind.plural());
    let out = out.display();
    Ok(format!(
        "{count} of {all} training {what} have a doubtful label; their indices are in {out}\n\
         To train without them: --set data.leave_out={out}\n"
    ))
}

fn show(config: &DataConfig, count: usize, out: Option<&Path>) -> Result<String, Failure> {
    let data = super::sample::load(config)?;
    let form = Form::from(&data.info);
    let Some(out) = out else {
        let Kind::Text { .. } = form.kind else {
            return Err(Failure::usage(format!("give --out PATH to write the {} to", form.kind.plural())));
        };
        return texts::shown(&form, &data.train.subset(count), &Classes::named(&data.info.classes));
    };
    output::check_target(out, &form.kind)?;
    let (samples, kind) = (data.train.subset(count), &form.kind);
    let shown =
        format!("{} training {} of {} in {}\n", samples.len(), kind.plural(), config.name, out.display());
    if let (Some(tables), true) = (&data.info.tables, output::is_rows(out)) {
        let rows: Vec<usize> = samples.indices().iter().map(|&row| row as usize).collect();
        tables.train.subset(&rows).write(out)?;
        return Ok(shown);
    }
    let bar = output::bar(samples.len(), "reading samples");
    let mut parts = Vec::new();
    for batch in samples.batches(EVALUATION_BATCH, &Device::Cpu)? {
        parts.push(batch?.inputs);
        bar.inc(parts.last().map_or(0, |part| part.dim(0).unwrap_or(0)) as u64);
    }
    bar.finish_and_clear();
    let (labels, classes) = (samples.labels(), Classes::named(&data.info.classes));
    let labelled = labels.as_ref().map(|labels| output::Labelled { labels, classes: &classes });
    output::write_samples(out, &form, &Tensor::cat(&parts, 0)?, labelled, 0)?;
    Ok(output::written(out, shown))
}
