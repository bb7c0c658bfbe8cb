//! Rows of tables: a model's output as a table, and its evaluation.

use waxwork_core::collective::{Collective, OneProcess};
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::sharing::share;
use waxwork_core::{Condition, DType, Device, GenerativeModel, SampleRequest, Tensor, values};
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::{Table, Tables, Values};
use waxwork_eval::judging::Stages;
use waxwork_eval::table::condition::{self, ConditionAgreement};
use waxwork_eval::table::report::{TableConfig, TableInput, evaluate};
use waxwork_eval::table::{TableColumns, TableReport, frames};
use waxwork_eval::{Metric, Protocol};

use crate::{Error, Result};

/// Evaluation asks for values that at least this share of the training rows has.
const COMMON: f64 = 0.01;
/// Number of rows to generate for each such value.
const ASKED: usize = 500;
/// The name of the column that tells originals from reconstructions, and its values.
const VERSION: (&str, [&str; 2]) = ("version", ["original", "reconstruction"]);

/// Decodes encoded rows `(N, width)` to a table, with the numbers that they hold: for latents and
/// reconstructions, not for generated rows ([`sample`]). `first` is the number of the first row, if rows are
/// named by their numbers.
///
/// # Errors
/// If they have another width, or a value is not finite.
pub fn decode(encoder: &Encoder, rows: &Tensor, first: u64) -> Result<Table> {
    values::check("rows", rows)?;
    Ok(encoder.decode(&host(rows)?, first).map_err(waxwork_data::Error::from)?)
}

/// Rows, each followed by its reconstruction. The reconstructions are given encoded, `(N, width)`. The first
/// column, `version`, is `original` or `reconstruction`. Identifiers are not learned, so a reconstruction has
/// its original's.
///
/// # Errors
/// As [`decode`], and if the originals are rows of another table, or more or fewer than the reconstructions.
pub fn reconstructions(encoder: &Encoder, originals: &Table, made: &Tensor) -> Result<Table> {
    let (column, names) = VERSION;
    Ok(originals.paired(&decode(encoder, made, 0)?, column, names)?)
}

/// Asks a conditional model for every value that at least one training row in a hundred has. Measures how
/// many rows obey, and how far their other columns are from those of real rows with that value. `encoder`
/// decodes the rows.
///
/// # Errors
/// If the model does not take such conditions, or a value is not finite.
pub fn condition_agreement(
    model: &dyn GenerativeModel,
    encoder: &Encoder,
    tables: &Tables,
    seed: u64,
    stages: &mut Stages<'_>,
) -> Result<Vec<ConditionAgreement>> {
    let mut asked = Vec::new();
    for index in encoder.discrete() {
        let column = &tables.train.columns()[index];
        let Values::Text(texts) = column.values() else { continue };
        let often = |count: u64| count as f64 >= COMMON * tables.train.rows() as f64;
        let common = texts.iter().zip(column.counts()).filter(|(_, count)| often(*count));
        let name = &tables.train.schema().columns[index].name;
        asked.extend(common.map(|(text, _)| (name.clone(), text.to_owned())));
    }
    let real = TableColumns::of(&tables.train);
    let mut found = Vec::with_capacity(asked.len());
    for (i, wanted) in asked.iter().enumerate() {
        stages("asking for values", i, asked.len());
        let condition = asking_for(encoder, std::slice::from_ref(wanted), ASKED)?;
        let request = SampleRequest { condition, ..SampleRequest::new(seed, ASKED) };
        let made = sample(model, encoder, &request, |_| {})?;
        let frames = frames(&[("real", &real), ("generated", &TableColumns::of(&made))])?;
        found.push(condition::condition_agreement(&frames[0], &frames[1], &wanted.0, Some(&wanted.1))?);
    }
    Ok(found)
}

/// [`condition_agreement`] as three metrics: the mean and the smallest share of rows that obey, and the mean distance
/// of other columns.
pub fn condition_agreement_metrics(found: &[ConditionAgreement], protocol: &Protocol) -> Vec<Metric> {
    let mut protocol = protocol.clone();
    let values = format!("{} that 1 % of training rows or more have, {ASKED} rows each", found.len());
    protocol.insert("values asked for".into(), values);
    let mean = |numbers: Vec<f64>| numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
    let shares = || found.iter().map(|one| one.share);
    let distances = found.iter().filter_map(|one| one.mean_distance).collect();
    vec![
        Metric::new("condition_agreement_mean", mean(shares().collect()), &protocol).higher(),
        Metric::new("condition_agreement_min", shares().fold(1.0, f64::min), &protocol).higher(),
        Metric::new("conditional_variation_mean", mean(distances), &protocol).lower(),
    ]
}

/// `count` copies of one request, which gives values for some columns; an empty value asks for a missing one.
///
/// # Errors
/// If a column is unknown or cannot be asked for, or does not have the value.
pub fn asking_for(encoder: &Encoder, wanted: &[(String, String)], count: usize) -> Result<Condition> {
    let mut row = vec![0f32; width(encoder)];
    for (name, value) in wanted {
        let column = encoder.schema().position(name)?;
        let start = start(encoder, column)?;
        let value = Some(value.as_str()).filter(|value| !value.is_empty());
        row[start + encoder.place(column, value)?] = 1.0;
    }
    let rows = row.repeat(count);
    let rows = Tensor::from_vec(rows, (count, row.len()), &Device::Cpu);
    Ok(Condition::Columns(rows.map_err(waxwork_core::Error::from)?))
}

/// `count` requests for the values that the rows of a table have in some columns, row by row and cyclically.
///
/// # Errors
/// If a column is unknown or cannot be asked for, or the schema does not have a value.
pub fn asking_like(encoder: &Encoder, table: &Table, count: usize) -> Result<Condition> {
    let width = width(encoder);
    let mut rows = vec![0f32; count * width];
    for (at, schema) in table.schema().columns.iter().enumerate() {
        let column = encoder.schema().position(&schema.name)?;
        let start = start(encoder, column)?;
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let value = table.columns()[at].text(i % table.rows());
            row[start + encoder.place(column, value)?] = 1.0;
        }
    }
    let rows = Tensor::from_vec(rows, (count, width), &Device::Cpu);
    Ok(Condition::Columns(rows.map_err(waxwork_core::Error::from)?))
}

/// Number of values in a request: those of all columns that can be asked for.
fn width(encoder: &Encoder) -> usize {
    encoder.discrete().into_iter().map(|column| places(encoder, column)).sum()
}

fn places(encoder: &Encoder, column: usize) -> usize {
    encoder.layout().choice(column).map_or(0, |choice| choice.shape.width())
}

/// The position at which a column begins in a request.
fn start(encoder: &Encoder, column: usize) -> Result<usize> {
    let discrete = encoder.discrete();
    if !discrete.contains(&column) {
        let schema = &encoder.schema().columns[column];
        return Err(Error::NotAskable { column: schema.name.clone(), kind: schema.kind.name() });
    }
    Ok(discrete.into_iter().take_while(|own| *own != column).map(|column| places(encoder, column)).sum())
}

/// All values of a tensor, in host memory.
pub(crate) fn host(tensor: &Tensor) -> waxwork_core::Result<Vec<f32>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Generates rows as a table; `request` gives their number and condition. If the encoder has quantile maps,
/// the numbers go through them. `progress` is called with the number done.
///
/// # Errors
/// If the condition does not fit, or a value is not finite.
pub fn sample(
    model: &dyn GenerativeModel,
    encoder: &Encoder,
    request: &SampleRequest,
    progress: impl FnMut(usize),
) -> Result<Table> {
    sample_together(model, encoder, request, &OneProcess, progress)
}

/// As [`sample`]; the processes of `collective` share the work, and all get the table.
///
/// # Errors
/// As [`sample`].
pub fn sample_together(
    model: &dyn GenerativeModel,
    encoder: &Encoder,
    request: &SampleRequest,
    collective: &dyn Collective,
    mut progress: impl FnMut(usize),
) -> Result<Table> {
    let work = |number: usize| -> Result<Tensor> {
        let start = number * EVALUATION_BATCH;
        let count = EVALUATION_BATCH.min(request.count - start);
        let condition = match &request.condition {
            Condition::None => Condition::None,
            asked => asked.narrow(start, count)?,
        };
        let first = request.first + start as u64;
        let part = model.sample(&SampleRequest { first, count, condition, ..request.clone() })?;
        values::check_rows("rows", &part, start)?;
        Ok(part)
    };
    let (mut rows, mut done) = (Vec::new(), 0);
    share(collective, request.count.div_ceil(EVALUATION_BATCH), work, |part: Tensor| -> Result<()> {
        done += part.dim(0).map_err(waxwork_core::Error::from)?;
        rows.push(part);
        progress(done);
        Ok(())
    })?;
    let rows = host(&Tensor::cat(&rows, 0).map_err(waxwork_core::Error::from)?)?;
    Ok(encoder.decode_generated(&rows, request.first).map_err(waxwork_data::Error::from)?)
}

/// Compares the rows of any program with those of a data set; `target` is the column whose prediction
/// measures utility.
///
/// # Errors
/// If there are too few rows, or columns differ.
pub fn measure(
    tables: &Tables,
    rows: &Table,
    target: Option<String>,
    seed: u64,
    stages: &mut Stages<'_>,
) -> Result<TableReport> {
    let [training, test, generated] = [&tables.train, &tables.test, rows].map(TableColumns::of);
    let [training_views, test_views, generated_views] =
        [&training, &test, &generated].map(TableColumns::views);
    let input = TableInput {
        training: training.view(&training_views),
        holdout: test.view(&test_views),
        synthetic: generated.view(&generated_views),
    };
    stages("measuring rows", 0, 0);
    let config = TableConfig { target, seed, ..TableConfig::default() };
    Ok(evaluate(&input, &config, true)?)
}
