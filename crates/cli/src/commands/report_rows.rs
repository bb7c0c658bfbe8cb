//! The part of a run's page about rows of a table: every column and every pair of columns next to the real
//! ones, and generated rows next to their nearest training rows.

use serde::Serialize;
use waxwork_core::SampleRequest;
use waxwork_data::table::{Column, Table, Tables, Values};
use waxwork_eval::table::nearest::{closest, nearest_pairs};
use waxwork_eval::table::quality::quality;
use waxwork_eval::table::trends::Thresholds;
use waxwork_eval::table::{TableColumns, frames};
use waxwork_models::{Run, rows};

use crate::failure::Failure;
use crate::output::number;

/// Rows drawn for the page.
const ROWS: usize = 2000;
/// Number of bars for a column of numbers.
const BINS: usize = 20;
/// Maximum number of bars for a column of categories.
const MOST_VALUES: usize = 12;
/// Maximum number of columns whose pairs are shown.
const MOST_COLUMNS: usize = 40;
/// Number of rows shown with their nearest training rows.
const NEAREST: usize = 5;

/// Generated rows next to real ones.
#[derive(Serialize)]
pub(crate) struct RowsView {
    rows: usize,
    columns: Vec<Bars>,
    /// Names along the map of pairs; empty if there are too many.
    names: Vec<String>,
    pairs: Vec<Pair>,
    header: Vec<String>,
    nearest: Vec<Nearest>,
}

/// The frequencies of a column's values.
#[derive(Serialize)]
struct Bars {
    name: String,
    score: String,
    bars: Vec<Bar>,
    first: String,
    last: String,
}

/// Shares in per cent of the highest bar.
#[derive(Serialize)]
struct Bar {
    label: String,
    real: f64,
    made: f64,
}

/// How well generated rows keep the relation of two columns, which are given by their places in the map.
#[derive(Serialize)]
struct Pair {
    first: usize,
    second: usize,
    score: f64,
    label: String,
}

/// A generated row above its nearest training row.
#[derive(Serialize)]
struct Nearest {
    distance: String,
    made: Vec<String>,
    real: Vec<String>,
}

impl RowsView {
    /// Compares rows of a run with those of its data.
    pub(crate) fn of(run: &Run, tables: &Tables) -> Result<Self, Failure> {
        let request = SampleRequest::new(0, ROWS);
        let made = rows::sample(run.model.as_ref(), run.encoder_for(tables), &request, |_| {})?;
        let real = &tables.train;
        let columns = [real, &made].map(TableColumns::of);
        let frames = frames(&[("real", &columns[0]), ("generated", &columns[1])])?;
        let quality = quality(&frames[0], &frames[1], Thresholds::SDMETRICS)?;
        let closest = closest(&frames[1], &frames[0], &frames[0])?;
        let score = |name: &str| {
            let shape = quality.columns.iter().find(|shape| shape.column == name);
            shape.and_then(|shape| shape.score).map_or_else(String::new, number)
        };
        let schema = real.schema();
        let bars = schema.columns.iter().enumerate().filter_map(|(index, column)| {
            let [real, made] = [real, &made].map(|table| &table.columns()[index]);
            let bars = match real.values() {
                Values::Numbers(_) => of_numbers(real, made, &|value| column.kind.number_text(value)),
                // Skip identifiers and constants, which show nothing.
                Values::Text(_) if !column.kind.is_discrete() => return None,
                Values::Text(_) => of_texts(real, made),
            };
            let end = |bar: Option<&Bar>| bar.map_or_else(String::new, |bar| bar.label.clone());
            let (first, last) = (end(bars.first()), end(bars.last()));
            Some(Bars { name: column.name.clone(), score: score(&column.name), bars, first, last })
        });
        let columns: Vec<Bars> = bars.collect();
        let mut names: Vec<String> = columns.iter().map(|bars| bars.name.clone()).collect();
        if names.len() > MOST_COLUMNS {
            names.clear();
        }
        let place = |name: &String| names.iter().position(|own| own == name);
        let pairs = quality.shared_pairs.iter().filter_map(|pair| {
            let (first, second) = (place(&pair.first)?, place(&pair.second)?);
            let label = format!("{} and {}: {}", pair.first, pair.second, number(pair.score));
            Some(Pair { first, second, score: pair.score, label })
        });
        let cells = |table: &Table, row: u32| {
            (0..table.columns().len()).map(|column| table.cell_text(row as usize, column)).collect()
        };
        let nearest = nearest_pairs(&closest, NEAREST).into_iter().map(|pair| Nearest {
            distance: number(pair.distance),
            made: cells(&made, pair.synthetic),
            real: cells(real, pair.training),
        });
        Ok(Self {
            rows: ROWS,
            pairs: pairs.collect(),
            names,
            columns,
            header: schema.columns.iter().map(|column| column.name.clone()).collect(),
            nearest: nearest.collect(),
        })
    }
}

/// Bars in per cent of the highest, from the counts of real and generated rows.
fn scaled(labels: Vec<String>, real: &[u64], made: &[u64]) -> Vec<Bar> {
    let shares = |counts: &[u64]| {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        counts.iter().map(|count| *count as f64 / all).collect::<Vec<f64>>()
    };
    let (real, made) = (shares(real), shares(made));
    let most = real.iter().chain(&made).copied().fold(f64::MIN_POSITIVE, f64::max);
    let bar = |(label, (real, made)): (String, (&f64, &f64))| Bar {
        label,
        real: 100.0 * real / most,
        made: 100.0 * made / most,
    };
    labels.into_iter().zip(real.iter().zip(&made)).map(bar).collect()
}

/// Equal bins between the 1st and the 99th percentile of the real numbers, then missing values. Numbers
/// beyond count in the outermost bins.
fn of_numbers(real: &Column, made: &Column, text: &dyn Fn(f64) -> Option<String>) -> Vec<Bar> {
    let (Values::Numbers(values), counts) = (real.values(), real.counts()) else { return Vec::new() };
    let rows: u64 = counts[..values.len()].iter().sum();
    let at = |share: f64| {
        let mut left = (share * rows as f64) as u64;
        let found = values.iter().zip(&counts).find(|(_, count)| {
            let here = left < **count;
            left = left.saturating_sub(**count);
            here
        });
        found.or_else(|| values.last().zip(counts.last())).map_or(0.0, |(value, _)| *value)
    };
    let (low, high) = (at(0.01), at(0.99));
    let width = ((high - low) / BINS as f64).max(f64::MIN_POSITIVE);
    let binned = |column: &Column| {
        let mut bins = vec![0; BINS + 1];
        let counts = column.counts();
        let Values::Numbers(values) = column.values() else { return bins };
        for (value, count) in values.iter().zip(&counts) {
            bins[((value - low) / width).clamp(0.0, (BINS - 1) as f64) as usize] += count;
        }
        bins[BINS] = counts[values.len()];
        bins
    };
    let (mut ours, mut theirs) = (binned(real), binned(made));
    let mut labels: Vec<String> =
        (0..BINS).map(|bin| text(low + width * bin as f64).unwrap_or_default()).collect();
    if ours[BINS] == 0 {
        ours.pop();
        theirs.pop();
    } else {
        labels.push("missing".into());
    }
    scaled(labels, &ours, &theirs)
}

/// The most frequent values, all others together, and missing ones.
fn of_texts(real: &Column, made: &Column) -> Vec<Bar> {
    let Values::Text(texts) = real.values() else { return Vec::new() };
    let (counts, theirs) = (real.counts(), made.counts());
    let found = |text: &str| match made.values() {
        Values::Text(others) => others.iter().position(|other| other == text).map_or(0, |at| theirs[at]),
        Values::Numbers(_) => 0,
    };
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(counts[at]));
    let (shown, rest) = order.split_at(order.len().min(MOST_VALUES));
    let name = |at: &usize| texts.get(*at).unwrap_or_default().to_owned();
    let mut labels: Vec<String> = shown.iter().map(name).collect();
    let mut ours: Vec<u64> = shown.iter().map(|&at| counts[at]).collect();
    let mut made: Vec<u64> = labels.iter().map(|label| found(label)).collect();
    let missing = (counts.last().copied().unwrap_or(0), theirs.last().copied().unwrap_or(0));
    if !rest.is_empty() {
        labels.push("all others".into());
        ours.push(rest.iter().map(|&at| counts[at]).sum());
        made.push((theirs.iter().sum::<u64>() - missing.1).saturating_sub(made.iter().sum()));
    }
    if missing.0 > 0 {
        labels.push("missing".into());
        ours.push(missing.0);
        made.push(missing.1);
    }
    scaled(labels, &ours, &made)
}
