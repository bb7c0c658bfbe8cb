//! Tables: what a file of rows is, and any program's rows measured against real ones.

use std::path::Path;

use waxwork_data::DataConfig;
use waxwork_data::manifest::TABLE;
use waxwork_data::table::describe::Description;
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::{Table, TableOptions};
use waxwork_eval::table::report::{TableConfig, TableInput, evaluate};
use waxwork_eval::table::{TableColumns, TableReport};
use waxwork_eval::{Metric, Protocol, Report};

use crate::failure::Failure;
use crate::output;

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

/// Measures rows of any program, in the file `samples`, against those of `--data table --data-dir FILE`.
pub(crate) fn measure(samples: &Path, config: &DataConfig, seed: u64) -> Result<Report, Failure> {
    let Some(path) = &config.dir else {
        return Err(Failure::usage("which table? Name its file: --data-dir FILE.csv"));
    };
    let options = config.table.clone().unwrap_or_default();
    let bar = output::bar(0, "reading rows");
    let real = Table::read(path, &options)?;
    let (training, held_out) = match &options.test {
        Some(test) => {
            let held_out = Table::read_as(test, real.schema(), false)?;
            (real, held_out)
        }
        None => real.split(),
    };
    let generated = Table::read_as(samples, training.schema(), true)?;
    bar.finish_and_clear();
    let identity = training.content_hash();
    let data = format!("{TABLE} {}", identity.get(..16).unwrap_or(&identity));
    let [training, held_out, generated] = [&training, &held_out, &generated].map(TableColumns::of);
    let [training_views, held_out_views, generated_views] =
        [&training, &held_out, &generated].map(TableColumns::views);
    let input = TableInput {
        training: training.view(&training_views),
        holdout: held_out.view(&held_out_views),
        synthetic: generated.view(&generated_views),
    };
    let _bar = output::bar(0, "measuring rows");
    let report =
        evaluate(&input, &TableConfig { target: options.label, seed, ..TableConfig::default() }, true)?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").into(),
        subject: samples.display().to_string(),
        training_seed: None,
        sample_seed: None,
        metrics: metrics(&report, &data),
    })
}

fn metrics(report: &TableReport, data: &str) -> Vec<Metric> {
    let mut protocol: Protocol = report.protocol.clone();
    protocol.insert("data".into(), data.to_owned());
    let metric = |number: waxwork_eval::table::report::Number| {
        let metric = Metric::new(number.name, number.value, &protocol);
        let metric = match number.floor {
            Some(floor) => metric.floor(floor),
            None => metric,
        };
        match number.higher_is_better {
            Some(true) => metric.higher(),
            Some(false) => metric.lower(),
            None => metric,
        }
    };
    report.numbers().into_iter().map(metric).collect()
}
