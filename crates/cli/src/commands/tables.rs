//! Tables: the description of a file of rows, and a comparison of any program's rows with real ones.

use std::path::Path;

use waxwork_data::DataConfig;
use waxwork_data::manifest::TABLE;
use waxwork_data::table::describe::Description;
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::{Table, TableOptions, Tables};
use waxwork_eval::{Protocol, Report};
use waxwork_models::rows;

use crate::failure::Failure;
use crate::output::{self, Stages};

/// `waxwork data describe`: kinds, gaps, modes and widths of the columns of a file.
pub(crate) fn describe(path: &Path, options: &TableOptions, json: bool) -> Result<String, Failure> {
    let bar = output::bar(0, "reading rows");
    let table = Table::read(path, options)?;
    bar.finish_and_clear();
    let columns = table.columns().len();
    let bar = output::bar(columns, "fitting modes");
    let encoder = Encoder::fit(&table, |_| bar.inc(1))?;
    bar.finish_and_clear();
    let description = Description::new(&table, &encoder);
    if json { output::json(&description) } else { Ok(description.to_string()) }
}

/// Measures the rows in the file `samples`, from any program, against those of
/// `--data table --data-dir FILE`.
pub(crate) fn measure(samples: &Path, config: &DataConfig, seed: u64) -> Result<Report, Failure> {
    let Some(path) = &config.dir else {
        return Err(Failure::usage("`--data table` needs a file: pass `--data-dir FILE.csv`"));
    };
    let options = config.table.clone().unwrap_or_default();
    let bar = output::bar(0, "reading rows");
    let (training, held_out) = Table::read_parts(path, &options)?;
    let generated = Table::read_as(samples, training.schema(), true)?;
    bar.finish_and_clear();
    let encoder = Encoder::fit(&training, |_| ())?;
    let tables = Tables { encoder, train: training, test: held_out };
    let mut stages = Stages::default();
    let report = rows::measure(&tables, &generated, options.label, seed, &mut |what, done, all| {
        stages.set(what, done, all);
    });
    stages.finish();
    let identity = tables.train.content_hash();
    let data = format!("{TABLE} {}", identity.get(..16).unwrap_or(&identity));
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: samples.display().to_string(),
        training_seed: None,
        sample_seed: None,
        metrics: report?.metrics(&Protocol::from([("data".to_owned(), data)])),
    })
}
