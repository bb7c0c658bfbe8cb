//! `waxwork sample` for a model of tables: writes rows to a file, in the form of the table that it was
//! trained on. Also the values of columns that `sample` and `decode` request.

use waxwork_core::{Condition, SampleRequest, hash, store};
use waxwork_data::table::Table;
use waxwork_data::table::encode::Encoder;
use waxwork_models::{Run, rows};

use crate::args::{SampleArguments, WantedArgs};
use crate::commands::sample::SAMPLES;
use crate::failure::Failure;
use crate::output;
use crate::processes::Together;

pub(crate) fn sample(
    run: &Run,
    encoder: &Encoder,
    arguments: &SampleArguments,
    together: &Together,
) -> Result<String, Failure> {
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("sample.csv"));
    if !matches!(output::extension(&out).as_deref(), Some("csv" | "parquet")) {
        let shown = out.display();
        return Err(Failure::new(format!(
            "`{shown}`: rows of a table are written to a .csv or .parquet file"
        )));
    }
    if arguments.labels.is_some() {
        return Err(Failure::new(
            "this model makes rows of a table: ask for values with --where COLUMN=VALUE",
        ));
    }
    let count = arguments.count.unwrap_or(SAMPLES);
    if let Some(file) = &arguments.wanted.like {
        together.agree_on_read(file, || Ok(hash::sha256(&store::read(file)?)))?;
    }
    let condition = condition(run, encoder, &arguments.wanted, count)?;
    let request = SampleRequest {
        condition,
        truncation: arguments.truncation,
        temperature: arguments.temperature,
        ..SampleRequest::new(arguments.seed, count)
    };
    let (bar, collective) = (output::bar(count, "sampling"), together.collective());
    let progress = |done| bar.set(done as u64, count as u64);
    let (model, collective) = (run.model.as_ref(), collective.as_ref());
    let table = rows::sample_together(model, encoder, &request, collective, progress)?;
    bar.finish_and_clear();
    if !together.is_first() {
        return Ok(String::new());
    }
    table.write(&out)?;
    Ok(format!("{count} rows in {}\n{}", out.display(), obeyed(&table, &arguments.wanted.asked)?))
}

/// The requested values of `count` rows; nothing if none are requested.
pub(crate) fn condition(
    run: &Run,
    encoder: &Encoder,
    wanted: &WantedArgs,
    count: usize,
) -> Result<Condition, Failure> {
    let WantedArgs { asked, like, columns } = wanted;
    if !wanted.is_given() {
        return Ok(Condition::None);
    }
    let info = run.model.info();
    if !info.condition.is_columns() {
        return Err(Failure::new(format!(
            "{} models cannot be used with --where or --like; train a cgan or cvae on this table",
            info.family
        )));
    }
    let Some(file) = like else { return Ok(rows::asking_for(encoder, asked, count)?) };
    let table = Table::read_as(file, &encoder.schema().select(columns)?, true)?;
    Ok(rows::asking_like(encoder, &table, count)?)
}

/// Reports how many rows have the requested values.
pub(crate) fn obeyed(table: &Table, asked: &[(String, String)]) -> Result<String, Failure> {
    if asked.is_empty() {
        return Ok(String::new());
    }
    let mut wanted = Vec::with_capacity(asked.len());
    for (name, value) in asked {
        wanted.push((table.schema().position(name)?, value.as_str()));
    }
    let obeys = |row: usize| {
        wanted.iter().all(|(column, value)| table.columns()[*column].text(row).unwrap_or_default() == *value)
    };
    let share = (0..table.rows()).filter(|row| obeys(*row)).count() as f64 / table.rows().max(1) as f64;
    let said: Vec<String> = asked.iter().map(|(column, value)| format!("{column}={value}")).collect();
    Ok(format!("{:.1} % of them have {}\n", 100.0 * share, said.join(" and ")))
}
