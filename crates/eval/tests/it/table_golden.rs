//! Numbers of SDMetrics 0.32.0 and synthcity 0.2.12 on small made-up tables.
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use crate::support::Table;
use waxwork_eval::table::diagnostic::diagnose;
use waxwork_eval::table::manifold::manifold;
use waxwork_eval::table::nearest::{closest, holdout_test};
use waxwork_eval::table::quality::quality;
use waxwork_eval::table::trends::Thresholds;
use waxwork_eval::table::{Frame, align};

// import numpy as np, pandas as pd
// from sdmetrics.reports.single_table import QualityReport
// from sdmetrics.single_column import *
// from sdmetrics.single_table import DCROverfittingProtection
// from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr
//
// def table(n, shift, extra):
//     i = np.arange(n)
//     u = lambda k: ((i + shift) * k % 1009) / 1009
//     a = u(389)
//     b = 2 * a + u(577) / 2
//     c = np.floor(1000 * u(101) ** 4)
//     k = np.array(['x', 'y', 'z'])[np.floor(3 * (0.9 * a + 0.1 * u(733))).astype(int)]
//     m = np.array(['p', 'q', extra])[np.floor(3 * u(211)).astype(int)]
//     t = pd.DataFrame({'a': a + shift / 1000, 'b': b, 'c': c, 'k': k.astype(object), 'm': m.astype(object), 'one': 1.5})
//     t.loc[i % 17 == 3, 'a'] = np.nan
//     t.loc[i % 13 == 5, 'k'] = np.nan
//     return t
//
// real, synthetic, holdout = table(240, 0, 'q'), table(200, 40, 'r'), table(180, 501, 'p')
fn table(rows: usize, shift: usize, extra: &str) -> Table {
    let mut text = String::from("a,b,c,k,m,one\n");
    for i in 0..rows {
        let u = |k: usize| ((i + shift) * k % 1009) as f64 / 1009.0;
        let a = u(389);
        let b = 2.0 * a + u(577) / 2.0;
        let c = (1000.0 * u(101).powi(4)).floor();
        let k = ["x", "y", "z"][(3.0 * (0.9 * a + 0.1 * u(733))).floor() as usize];
        let m = ["p", "q", extra][(3.0 * u(211)).floor() as usize];
        let a = if i % 17 == 3 { String::new() } else { (a + shift as f64 / 1000.0).to_string() };
        let k = if i % 13 == 5 { "" } else { k };
        text.push_str(&format!("{a},{b},{c},{k},{m},1.5\n"));
    }
    Table::parse(&text, &[])
}

fn frames() -> [Frame; 3] {
    let tables = [table(240, 0, "q"), table(200, 40, "r"), table(180, 501, "p")];
    let views: Vec<_> = tables.iter().map(Table::views).collect();
    let named: Vec<_> = ["real", "synthetic", "holdout"]
        .into_iter()
        .zip(tables.iter().zip(&views).map(|(table, columns)| table.view(columns)))
        .collect();
    align(&named).unwrap().try_into().unwrap()
}

fn close(what: &str, got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-12, "{what}: {got} instead of {expected}");
}

// report = QualityReport()
// report.generate(real, synthetic, {'columns': {c: {'sdtype': 'categorical' if c in 'km' else 'numerical'} for c in real}})
// report.get_score(), report.get_properties()['Score'], report.get_details(…)
#[test]
fn the_quality_report_is_sdmetrics() {
    let [real, synthetic, _] = frames();
    let report = quality(&real, &synthetic, Thresholds::SDMETRICS).unwrap();
    close("score", report.score.unwrap(), 0.892640997084616);
    close("shapes", report.shapes.unwrap(), 0.9148301597907077);
    close("trends", report.trends.unwrap(), 0.8704518343785242);
    let shapes = [
        0.9331105253247975,
        0.9841666666666666,
        0.9833333333333333,
        0.9233704292527822,
        0.6650000041666666,
        1.0,
    ];
    for (column, expected) in report.columns.iter().zip(shapes) {
        close(&column.column, column.score.unwrap(), expected);
    }
    let nan = f64::NAN;
    // first, second, score (where it counts), real ρ or V
    let pairs = [
        ("a", "b", 0.9996888364689063, 0.9704482210593546),
        ("a", "c", nan, -0.0825446228205263),
        ("a", "k", 0.8275, 0.7424152158309844),
        ("a", "m", nan, 0.11523305069741084),
        ("a", "one", nan, nan),
        ("b", "c", nan, -0.055586004200057854),
        ("b", "k", 0.7841666666666667, 0.706897567410184),
        ("b", "m", nan, 0.06906667483179019),
        ("b", "one", nan, nan),
        ("c", "k", nan, 0.16853438229651188),
        ("c", "m", nan, 0.10335217580667015),
        ("c", "one", nan, nan),
        ("k", "m", nan, 0.03825927991884011),
        ("k", "one", nan, nan),
        ("m", "one", nan, nan),
    ];
    assert_eq!(report.pairs.len(), pairs.len());
    for (pair, (first, second, score, strength)) in report.pairs.iter().zip(pairs) {
        let what = format!("{first}, {second}");
        assert_eq!((pair.first.as_str(), pair.second.as_str()), (first, second));
        assert_eq!(pair.counts, !score.is_nan(), "{what}");
        assert_eq!(pair.real.is_none(), strength.is_nan(), "{what}");
        if pair.counts {
            close(&what, pair.score.unwrap(), score);
        }
        if let Some(real) = pair.real {
            close(&what, real, strength);
        }
    }
    close("synthetic ρ", report.pairs[0].synthetic.unwrap(), 0.969825893997167);
}

// RangeCoverage.compute(real[c], synthetic[c]) …
#[test]
fn the_diagnostics_are_sdmetrics() {
    let [real, synthetic, _] = frames();
    let report = diagnose(&real, &synthetic).unwrap();
    let expected = [
        ("a", Some(0.949047619047619), 0.9414893617021277, 0.9983333333333333),
        ("b", Some(0.9333199033037872), 1.0, 1.0),
        ("c", Some(1.0), 1.0, 1.0),
        ("k", Some(1.0), 1.0, 0.9958333333333333),
        ("m", Some(1.0), 0.665, 1.0),
        ("one", None, 1.0, 1.0),
    ];
    for (column, (name, coverage, adherence, missing)) in report.columns.iter().zip(expected) {
        assert_eq!((column.column.as_str(), column.coverage.is_some()), (name, coverage.is_some()));
        if let (Some(got), Some(expected)) = (column.coverage, coverage) {
            close(name, got, expected);
        }
        close(name, column.adherence.unwrap(), adherence);
        close(name, column.missing_similarity, missing);
    }
}

// dcr = calculate_dcr(synthetic, real, metadata); dcr.sum(), dcr[:5], dcr[199]
// hold = calculate_dcr(synthetic, holdout, metadata); hold.sum(), (dcr < hold).sum()
// DCROverfittingProtection.compute_breakdown(real, synthetic, holdout, metadata, None)
#[test]
fn distances_to_the_closest_record_are_sdmetrics() {
    let [real, synthetic, holdout] = frames();
    let ours = closest(&synthetic, &real, &real).unwrap();
    let others = closest(&synthetic, &holdout, &holdout).unwrap();
    let sum = |closest: &[waxwork_eval::table::nearest::Closest]| -> f64 {
        closest.iter().map(|closest| closest.distance).sum()
    };
    close("sum", sum(&ours), 14.556252698563299);
    close("sum to the holdout", sum(&others), 26.38905089879006);
    let first = [
        0.004567955750109627,
        0.0058110567068974,
        0.17333994708994707,
        0.19589794803188185,
        0.012795995259080234,
    ];
    ours.iter().zip(first).for_each(|(closest, expected)| close("distance", closest.distance, expected));
    close("last", ours[199].distance, 0.17674343318002148);
    let nearer = ours.iter().zip(&others).filter(|(a, b)| a.distance < b.distance).count();
    assert_eq!(nearer, 181);
    let test = holdout_test(&synthetic, &real, &holdout, 0).unwrap();
    assert_eq!(test.reference_rows, 180);
    assert!(test.nearer_to_training > 0.5);
}

// synthcity/metrics/eval_statistical.py, AlphaPrecision.metrics(X, X_syn, emb_center=None), after
// i = np.arange(150)
// u = lambda k, s: ((i + s) ** 2 * k % 1009) / 1009
// x = np.stack([3 * u(389, 0), u(577, 0) ** 2, 100 * u(101, 0)], 1)
// y = np.stack([3 * u(389, 31), 0.9 * u(577, 7), 100 * u(101, 90) + 5], 1)
// s = sklearn.preprocessing.MinMaxScaler().fit(x); metrics(s.transform(x), s.transform(y))
#[test]
fn alpha_precision_and_beta_recall_are_synthcity() {
    let text = |row: &dyn Fn(usize) -> [f64; 3]| {
        let lines = (0..150).map(|i| {
            let [x, y, z] = row(i);
            format!("{x},{y},{z}\n")
        });
        Table::parse(&format!("x,y,z\n{}", lines.collect::<String>()), &[])
    };
    let u = |i: usize, k: usize, s: usize| ((i + s) * (i + s) * k % 1009) as f64 / 1009.0;
    let real = text(&|i| [3.0 * u(i, 389, 0), u(i, 577, 0).powi(2), 100.0 * u(i, 101, 0)]);
    let synthetic = text(&|i| [3.0 * u(i, 389, 31), 0.9 * u(i, 577, 7), 100.0 * u(i, 101, 90) + 5.0]);
    let (ours, theirs) = (real.views(), synthetic.views());
    let frames = align(&[("real", real.view(&ours)), ("synthetic", synthetic.view(&theirs))]).unwrap();
    let got = manifold(&frames[0], &frames[1]).unwrap();
    close("α-precision", got.alpha_precision, ALPHA);
    close("β-recall", got.beta_recall, BETA);
    close("authenticity as synthcity has it", got.authenticity_synthcity.unwrap(), AUTHENTICITY);
    for (curve, expected) in [(&got.precision_curve, PRECISION), (&got.recall_curve, RECALL)] {
        curve.iter().zip(expected).for_each(|(&got, expected)| close("curve", got, expected));
    }
}

const ALPHA: f64 = 0.9566590038314177;
const BETA: f64 = 0.41955555555555546;
const AUTHENTICITY: f64 = 0.5733333333333334;
const PRECISION: [f64; 30] = [
    0.006666666666666667,
    0.04666666666666667,
    0.06666666666666667,
    0.1,
    0.15333333333333332,
    0.15333333333333332,
    0.18666666666666668,
    0.24,
    0.29333333333333333,
    0.34,
    0.3933333333333333,
    0.4066666666666667,
    0.4266666666666667,
    0.4866666666666667,
    0.52,
    0.5666666666666667,
    0.5933333333333334,
    0.6,
    0.6133333333333333,
    0.6266666666666667,
    0.6533333333333333,
    0.6666666666666666,
    0.72,
    0.78,
    0.8266666666666667,
    0.84,
    0.8666666666666667,
    0.9133333333333333,
    0.9666666666666667,
    1.0,
];
const RECALL: [f64; 30] = [
    0.006666666666666667,
    0.02,
    0.02,
    0.02666666666666667,
    0.04666666666666667,
    0.08666666666666667,
    0.1,
    0.12,
    0.14,
    0.14666666666666667,
    0.14666666666666667,
    0.15333333333333332,
    0.18666666666666668,
    0.18666666666666668,
    0.19333333333333333,
    0.2,
    0.22666666666666666,
    0.25333333333333335,
    0.28,
    0.29333333333333333,
    0.29333333333333333,
    0.30666666666666664,
    0.32,
    0.32666666666666666,
    0.36,
    0.36,
    0.36666666666666664,
    0.36666666666666664,
    0.38,
    0.3933333333333333,
];
