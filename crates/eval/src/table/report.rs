//! All measures of a table with their protocol, next to those of real rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::{Metric, Protocol};
use crate::table::c2st::{C2st, Judge, c2st};
use crate::table::diagnostic::{Diagnostic, diagnose};
use crate::table::efficacy::{Efficacy, efficacy};
use crate::table::manifold::{self, Manifold};
use crate::table::nearest::{
    ClosestSummary, HoldoutTest, NearestPair, closest, holdout_test, nearest_pairs, sample,
};
use crate::table::quality::{Quality, SDMETRICS, quality};
use crate::table::trends::{BINS, Thresholds};
use crate::table::{Error, Frame, Result, TableView, align, condition};

/// What to measure and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableConfig {
    /// The column that classifiers or regressors predict; None leaves utility out.
    pub target: Option<String>,
    /// The positive class of F1; the rarer one by default.
    pub positive: Option<String>,
    /// The strength above which a pair counts in SDMetrics' mean.
    pub thresholds: Thresholds,
    /// Folds of the two-sample tests.
    pub folds: usize,
    /// Maximum number of rows of each side of the two-sample tests.
    pub c2st_rows: usize,
    /// Maximum number of generated rows whose nearest rows are searched for.
    pub nearest_rows: usize,
    /// Maximum number of rows of each side of α-precision and β-recall.
    pub manifold_rows: usize,
    /// Number of nearest pairs in the report.
    pub pairs: usize,
    /// Seed of folds, samples, bootstrap and initial weights.
    pub seed: u64,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            target: None,
            positive: None,
            thresholds: Thresholds::SDMETRICS,
            folds: 3,
            c2st_rows: 20_000,
            nearest_rows: 10_000,
            manifold_rows: 10_000,
            pairs: 10,
            seed: 0,
        }
    }
}

/// Three tables with the same columns, in any order.
#[derive(Clone, Copy, Debug)]
pub struct TableInput<'a> {
    /// The training rows of the model.
    pub training: TableView<'a>,
    /// Real rows that the model never saw.
    pub holdout: TableView<'a>,
    /// The rows to judge.
    pub synthetic: TableView<'a>,
}

/// The measures of one set of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Number of rows judged.
    pub rows: usize,
    /// SDMetrics' quality report against the training rows, and the pair trends with shared bins.
    pub quality: Quality,
    /// SDMetrics' diagnostics.
    pub diagnostic: Diagnostic,
    /// Total variation distance of each column from the training rows, with numbers in deciles.
    pub distances: Vec<condition::ColumnDistance>,
    /// Utility: train on these rows, test on the holdout.
    pub efficacy: Option<Efficacy>,
    /// Two-sample tests against the training rows.
    pub c2st: Vec<C2st>,
    /// Distances to the closest training row.
    pub closest: ClosestSummary,
    /// Holdout test: are rows nearer to the training rows than to the holdout?
    pub holdout: HoldoutTest,
    /// α-precision, β-recall and authenticity.
    pub manifold: Manifold,
}

/// All measures of generated rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// How they were measured. Two reports are comparable if their protocols are equal.
    pub protocol: BTreeMap<String, String>,
    /// The seed, which is not part of the protocol.
    pub seed: u64,
    /// Measures of the generated rows.
    pub synthetic: Measures,
    /// Measures of real holdout rows instead: what a perfect model would reach.
    pub floor: Option<Measures>,
    /// The generated rows nearest to a training row. Indices refer to the rows of the given tables.
    pub nearest: Vec<NearestPair>,
}

/// Measures generated rows and, with `floor`, holdout rows instead of them. For the floor, the holdout test
/// compares half of the holdout with the other half, and the utility trains on the training rows.
///
/// # Errors
/// Those of [`align`] and of the single measures.
pub fn evaluate(input: &TableInput<'_>, config: &TableConfig, floor: bool) -> Result<TableReport> {
    let tables = [("training", input.training), ("holdout", input.holdout), ("synthetic", input.synthetic)];
    let frames = align(&tables)?;
    let [training, holdout, synthetic] = &frames[..] else {
        return Err(Error::NoColumns { whose: "real".into() }); // never: three go in, three come out
    };
    let judged = Judged { rows: synthetic, train: synthetic, near: synthetic, holdout };
    let (measures, nearest) = measure(training, holdout, &judged, config)?;
    let floor = if floor { Some(floor_of(training, holdout, synthetic.rows(), config)?) } else { None };
    Ok(TableReport {
        protocol: protocol(training, holdout, synthetic, config),
        seed: config.seed,
        synthetic: measures,
        floor,
        nearest,
    })
}

/// Rows to judge, and their substitutes in measures where the same rows cannot be on both sides.
struct Judged<'a> {
    /// Rows for quality, diagnostics, two-sample tests and the manifold.
    rows: &'a Frame,
    /// Rows to train on.
    train: &'a Frame,
    /// Rows whose nearest rows are searched for.
    near: &'a Frame,
    /// The holdout to compare those with.
    holdout: &'a Frame,
}

fn floor_of(training: &Frame, holdout: &Frame, rows: usize, config: &TableConfig) -> Result<Measures> {
    holdout.need("holdout", 4)?;
    let order =
        waxwork_core::rng::Stream::new(config.seed, "table/floor/halves", 0).permutation(holdout.rows());
    let (near, other) = order.split_at(holdout.rows() / 2);
    let halves = (holdout.pick(near), holdout.pick(other));
    let rows = sample(holdout, rows, config.seed, "table/floor/rows");
    let judged = Judged { rows: &rows, train: training, near: &halves.0, holdout: &halves.1 };
    Ok(measure(training, holdout, &judged, config)?.0)
}

fn measure(
    training: &Frame,
    test: &Frame,
    judged: &Judged<'_>,
    config: &TableConfig,
) -> Result<(Measures, Vec<NearestPair>)> {
    let (rows, seed) = (judged.rows, config.seed);
    let efficacy = match &config.target {
        None => None,
        Some(target) => {
            Some(efficacy(training, judged.train, test, target, config.positive.as_deref(), seed)?)
        }
    };
    let judges = [Judge::Logistic, Judge::Boosting];
    let c2st = judges.map(|judge| c2st(training, rows, judge, config.folds, config.c2st_rows, seed));
    // The first rows, not a sample, so that an index in the report is an index into the table.
    let first: Vec<u32> = (0..judged.near.rows().min(config.nearest_rows) as u32).collect();
    let near = judged.near.pick(&first);
    near.need("synthetic", 1)?;
    let closest = closest(&near, training, training)?;
    let summary = ClosestSummary::new(&closest);
    let most = config.manifold_rows.min(training.rows()).min(rows.rows());
    let clouds = (
        sample(training, most, seed, "table/manifold/real"),
        sample(rows, most, seed, "table/manifold/synthetic"),
    );
    let measures = Measures {
        rows: rows.rows(),
        quality: quality(training, rows, config.thresholds)?,
        diagnostic: diagnose(training, rows)?,
        distances: condition::distances(training, rows)?,
        efficacy,
        c2st: c2st.into_iter().collect::<Result<_>>()?,
        closest: summary.ok_or(Error::TooFewRows { whose: "synthetic", needed: 1, found: 0 })?,
        holdout: holdout_test(&near, training, judged.holdout, seed)?,
        manifold: manifold::manifold(&clouds.0, &clouds.1)?,
    };
    Ok((measures, nearest_pairs(&closest, config.pairs)))
}

fn protocol(
    training: &Frame,
    holdout: &Frame,
    synthetic: &Frame,
    config: &TableConfig,
) -> BTreeMap<String, String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    let numbers = training.columns.iter().filter(|column| column.range().is_some()).count();
    [
        ("quality", format!("SDMetrics {SDMETRICS}, no subsampling")),
        ("correlation_threshold", config.thresholds.correlation.to_string()),
        ("association_threshold", config.thresholds.association.to_string()),
        ("bins", format!("{BINS} equal of each side for SDMetrics; real deciles for shared pairs")),
        ("columns", format!("{} ({numbers} of numbers)", training.columns.len())),
        ("training_rows", training.rows().to_string()),
        ("holdout_rows", holdout.rows().to_string()),
        ("synthetic_rows", synthetic.rows().to_string()),
        ("target", or_none(&config.target)),
        ("positive", config.positive.clone().unwrap_or_else(|| "the rarer class".into())),
        (
            "utility",
            "tree 15 balanced, SAMME 50, logistic C=1 balanced, MLP 50×50, forest 100, boosting 200".into(),
        ),
        ("c2st", format!("{} folds, at most {} rows a side", config.folds, config.c2st_rows)),
        ("nearest", format!("mean over columns, the first {} rows, ties count half", config.nearest_rows)),
        (
            "manifold",
            format!("naive, {} levels, at most {} rows a side", manifold::LEVELS, config.manifold_rows),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// One measure of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// `quality`, `c2st_boosting_auc` …
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// The value of real rows.
    pub floor: Option<f64>,
    /// Whether more is better; None if a certain value is best.
    pub higher_is_better: Option<bool>,
}

impl TableReport {
    /// Returns the headline measures, in the order of the report.
    pub fn numbers(&self) -> Vec<Number> {
        let floors: Vec<(&str, Option<f64>, Option<bool>)> =
            self.floor.as_ref().map(Measures::headlines).unwrap_or_default();
        let floor = |name| floors.iter().find(|(own, ..)| *own == name).and_then(|(_, value, _)| *value);
        let number = |(name, value, higher_is_better): (&'static str, Option<f64>, Option<bool>)| {
            value.map(|value| Number { name, value, floor: floor(name), higher_is_better })
        };
        self.synthetic.headlines().into_iter().filter_map(number).collect()
    }
}

impl TableReport {
    /// Returns the headline measures as metrics, under `protocol` and the report's own.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let mut protocol = protocol.clone();
        protocol.extend(self.protocol.clone());
        let metric = |number: Number| {
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
        self.numbers().into_iter().map(metric).collect()
    }
}

impl Measures {
    fn headlines(&self) -> Vec<(&'static str, Option<f64>, Option<bool>)> {
        const UP: Option<bool> = Some(true);
        let utility = |number: fn(&Efficacy) -> Option<f64>| self.efficacy.as_ref().and_then(number);
        let judged =
            |judge, number: fn(&C2st) -> f64| self.c2st.iter().find(|test| test.judge == judge).map(number);
        let distances = || self.distances.iter().map(|column| column.distance);
        vec![
            ("quality", self.quality.score, UP),
            ("column_shapes", self.quality.shapes, UP),
            ("pair_trends", self.quality.trends, UP),
            ("shared_pair_trends", self.quality.shared_trends, UP),
            ("coverage", self.diagnostic.coverage, UP),
            ("adherence", self.diagnostic.adherence, UP),
            ("missing_similarity", self.diagnostic.missing_similarity, UP),
            ("total_variation_mean", crate::table::quality::mean(distances()), Some(false)),
            ("total_variation_most", distances().reduce(f64::max), Some(false)),
            ("sdgym_f1", utility(|utility| utility.sdgym_f1), UP),
            ("boosting_macro_f1", utility(|utility| utility.boosting_macro_f1), UP),
            ("boosting_r2", utility(|utility| utility.boosting_r2), UP),
            ("c2st_logistic_score", judged(Judge::Logistic, |test| test.score), UP),
            ("c2st_logistic_auc", judged(Judge::Logistic, |test| test.auc), Some(false)),
            ("c2st_boosting_score", judged(Judge::Boosting, |test| test.score), UP),
            ("c2st_boosting_auc", judged(Judge::Boosting, |test| test.auc), Some(false)),
            ("c2st_boosting_accuracy", judged(Judge::Boosting, |test| test.accuracy), Some(false)),
            ("closest_median", Some(self.closest.median), None),
            ("closest_percentile_5", Some(self.closest.percentile_5), None),
            ("copies", Some(self.closest.copies), None),
            ("nearest_ratio_percentile_5", self.closest.ratio_percentile_5, None),
            ("nearer_to_training", Some(self.holdout.nearer_to_training), None),
            ("alpha_precision", Some(self.manifold.alpha_precision), UP),
            ("beta_recall", Some(self.manifold.beta_recall), UP),
            ("authenticity", Some(self.manifold.authenticity), UP),
        ]
    }
}
