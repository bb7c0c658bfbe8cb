//! The whole report: threads, meaning, bad input.
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use crate::support::Table;
use proptest::prelude::*;
use waxwork_core::rng::Stream;
use waxwork_eval::table::c2st::{Judge, c2st};
use waxwork_eval::table::condition::{condition_agreement, share_with};
use waxwork_eval::table::efficacy::efficacy;
use waxwork_eval::table::nearest::{closest, holdout_test, nearest_pairs};
use waxwork_eval::table::quality::quality;
use waxwork_eval::table::report::{TableConfig, TableInput, evaluate};
use waxwork_eval::table::trends::Thresholds;
use waxwork_eval::table::{ColumnView, Error, Frame, TableReport, TableView, align};

/// Rows of a made-up clinic: an age that drives a diagnosis and a cost, some of it missing; `bound` is the share of
/// rows whose columns belong together.
fn clinic(rows: usize, step: u64, bound: f32) -> Table {
    let stream = Stream::new(11, "clinic", step);
    let mut text = String::from("age,cost,days,diagnosis,ward\n");
    for row in 0..rows as u64 {
        let mut draws = stream.at(row);
        let age = 20.0 + 60.0 * draws.uniform();
        let together = draws.uniform() < bound;
        let driver = if together { age } else { 20.0 + 60.0 * draws.uniform() };
        let sick = draws.uniform() * 60.0 < driver - 20.0;
        let cost = driver * 10.0 + 50.0 * draws.normal() + if sick { 400.0 } else { 0.0 };
        let cost = if draws.below(12) == 0 { String::new() } else { format!("{cost}") };
        let days = (driver / 10.0) as u32 + draws.below(3);
        let ward = ["north", "south", "east"][draws.below(3) as usize];
        let sick = if together { sick } else { draws.below(2) == 0 };
        let sick = if sick { "ill" } else { "well" };
        text.push_str(&format!("{age},{cost},{days},{sick},{ward}\n"));
    }
    Table::parse(&text, &[])
}

fn frames(tables: &[&Table]) -> Vec<Frame> {
    let views: Vec<_> = tables.iter().map(|table| table.views()).collect();
    let named: Vec<_> = tables.iter().zip(&views).map(|(table, views)| ("a", table.view(views))).collect();
    align(&named).unwrap()
}

fn report(training: &Table, holdout: &Table, synthetic: &Table, target: &str) -> TableReport {
    let views = [training.views(), holdout.views(), synthetic.views()];
    let input = TableInput {
        training: training.view(&views[0]),
        holdout: holdout.view(&views[1]),
        synthetic: synthetic.view(&views[2]),
    };
    let config = TableConfig { target: Some(target.into()), ..TableConfig::default() };
    evaluate(&input, &config, true).unwrap()
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (training, holdout, synthetic) = (clinic(2500, 0, 1.0), clinic(1500, 1, 1.0), clinic(1500, 2, 0.7));
    for target in ["diagnosis", "cost"] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| serde_json::to_string(&report(&training, &holdout, &synthetic, target)).unwrap())
        };
        let one = run(1);
        assert!(one.len() > 1000 && !one.contains("null,null"));
        for threads in [2, 4] {
            assert_eq!(run(threads), one, "{threads} threads");
        }
    }
}

#[test]
fn better_rows_have_better_numbers_and_real_rows_the_best() {
    let (training, holdout) = (clinic(3000, 0, 1.0), clinic(3000, 1, 1.0));
    let reports =
        [0.0, 0.7, 1.0].map(|bound| report(&training, &holdout, &clinic(3000, 2, bound), "diagnosis"));
    let number = |report: &TableReport, name: &str| {
        report.numbers().into_iter().find(|number| number.name == name).unwrap()
    };
    for name in ["pair_trends", "shared_pair_trends", "boosting_macro_f1", "c2st_boosting_score"] {
        let values = reports.each_ref().map(|report| number(report, name).value);
        assert!(values[0] < values[1] && values[1] < values[2], "{name}: {values:?}");
        let best = number(&reports[2], name);
        assert!((best.value - best.floor.unwrap()).abs() < 0.05, "{name}: {best:?}");
    }
    let last = &reports[2];
    assert!((number(last, "nearer_to_training").value - 0.5).abs() < 0.05);
    let json = serde_json::to_string(last).unwrap();
    assert_eq!(&serde_json::from_str::<TableReport>(&json).unwrap(), last);
    assert_eq!(last.nearest.len(), 10);
}

#[test]
fn a_logistic_judge_is_blind_where_trees_see() {
    // independent columns with the real marginals
    let (real, other) = (clinic(2000, 0, 1.0), clinic(2000, 1, 0.0));
    let frames = frames(&[&real, &other]);
    let logistic = c2st(&frames[0], &frames[1], Judge::Logistic, 3, 9999, 0).unwrap();
    let trees = c2st(&frames[0], &frames[1], Judge::Boosting, 3, 9999, 0).unwrap();
    assert!(trees.auc > 0.8 && trees.accuracy > 0.7, "{trees:?}");
    assert!(logistic.score > trees.score + 0.2, "{logistic:?}");
    assert_eq!((trees.rows, trees.folds.len()), (2000, 3));
}

#[test]
fn copies_are_found_and_do_not_pass_the_holdout_test() {
    let (training, holdout) = (clinic(800, 0, 1.0), clinic(800, 1, 1.0));
    let frames = frames(&[&training, &holdout]);
    let copied = frames[0].pick(&(100..400).collect::<Vec<_>>());
    let near = closest(&copied, &frames[0], &frames[0]).unwrap();
    assert!(near.iter().zip(100..).all(|(near, row)| near.distance == 0.0 && near.row == row));
    let pairs = nearest_pairs(&near, 3);
    assert_eq!(
        pairs.iter().map(|pair| (pair.synthetic, pair.training)).collect::<Vec<_>>(),
        [(0, 100), (1, 101), (2, 102)]
    );
    assert_eq!(holdout_test(&copied, &frames[0], &frames[1], 0).unwrap().nearer_to_training, 1.0);
    assert_eq!(holdout_test(&copied, &frames[1], &frames[0], 0).unwrap().nearer_to_training, 0.0);
    let tied = holdout_test(&copied, &frames[0], &frames[0], 0).unwrap();
    assert_eq!((tied.nearer_to_training, tied.ties), (0.5, 1.0));
}

#[test]
fn condition_agreement_counts_rows_and_compares_other_columns() {
    let (real, other) = (clinic(4000, 0, 1.0), clinic(4000, 1, 1.0));
    let frames = frames(&[&real, &other]);
    let share = share_with(&frames[0], "diagnosis", Some("ill")).unwrap();
    assert!((share - 0.5).abs() < 0.05, "{share}");
    let fair = condition_agreement(&frames[0], &frames[1], "diagnosis", Some("ill")).unwrap();
    assert!(fair.mean_distance.unwrap() < 0.05, "{fair:?}");
    assert_eq!(fair.others.len(), 4);
    let well = frames[1]
        .pick(&waxwork_eval::table::condition::rows_with(&frames[1], "diagnosis", Some("well")).unwrap());
    let deaf = condition_agreement(&frames[0], &well, "diagnosis", Some("ill")).unwrap();
    assert_eq!((deaf.share, deaf.mean_distance), (0.0, None));
    let unknown = condition_agreement(&frames[0], &well, "diagnosis", Some("odd"));
    assert_eq!(unknown, Err(Error::NoSuchValue { column: "diagnosis".into(), value: "odd".into() }));
    assert!(matches!(
        condition_agreement(&frames[0], &well, "age", Some("3")),
        Err(Error::TargetKind { .. })
    ));
}

#[test]
fn rows_of_one_class_are_no_use_but_no_error() {
    let frames = frames(&[&clinic(400, 0, 1.0), &clinic(400, 1, 1.0)]);
    let well = waxwork_eval::table::condition::rows_with(&frames[0], "diagnosis", Some("well")).unwrap();
    let got = efficacy(&frames[0], &frames[0].pick(&well), &frames[1], "diagnosis", Some("ill"), 0).unwrap();
    assert_eq!((got.training_classes, got.sdgym_f1), (1, Some(0.0)));
    let single = efficacy(&frames[0].pick(&well), &frames[0], &frames[1], "diagnosis", None, 0);
    assert_eq!(single, Err(Error::SingleClass { whose: "real", column: "diagnosis".into() }));
    let none = efficacy(&frames[0], &frames[0].pick(&[]), &frames[1], "diagnosis", None, 0);
    assert_eq!(none, Err(Error::TooFewRows { whose: "training", needed: 1, found: 0 }));
    let words: String = (0..300).map(|row| format!("w{row},{row}\n")).collect();
    let words = Table::parse(&format!("word,n\n{words}"), &[]);
    let words = &self::frames(&[&words])[0];
    let many = efficacy(words, words, words, "word", None, 0);
    assert!(matches!(many, Err(Error::TooMany { found: 300, .. })));
    let missing = efficacy(&frames[0], &frames[0], &frames[1], "colour", None, 0);
    assert_eq!(missing, Err(Error::NoSuchColumn { column: "colour".into() }));
}

#[test]
fn bad_tables_are_named() {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let (ab, ac, aa) = (names(&["a", "b"]), names(&["a", "c"]), names(&["a", "a"]));
    let words = names(&["x"]);
    let number = ColumnView::Number(&[1.0, 2.0]);
    let short = ColumnView::Number(&[1.0]);
    let infinite = ColumnView::Number(&[1.0, f64::INFINITY]);
    let category = ColumnView::Category { codes: &[0, 0], names: &words, null: None };
    let wild = ColumnView::Category { codes: &[0, 7], names: &words, null: None };
    let (numbers, mixed) = ([number, number], [number, category]);
    let good = TableView { names: &ab, columns: &numbers };
    let fails = |names: &[String], columns: &[ColumnView<'_>]| {
        align(&[("real", good), ("synthetic", TableView { names, columns })]).unwrap_err().to_string()
    };
    assert_eq!(
        fails(&ac, &numbers),
        "the columns of the synthetic table are not those of the real table: missing [b], unknown [c]"
    );
    assert_eq!(fails(&aa, &numbers), "the synthetic table has two columns named `a`");
    assert_eq!(
        fails(&ab, &mixed),
        "column `b` holds categories in the synthetic table and numbers in the real table"
    );
    assert_eq!(
        fails(&ab, &[number, short]),
        "column `b` of the synthetic table has 1 rows, but the first column has 2"
    );
    assert_eq!(fails(&ab, &[number, infinite]), "column `b` of the synthetic table is infinite in row 1");
    assert_eq!(
        fails(&ab, &[number, wild]),
        "column `b` of the synthetic table has code 7 in row 1, but there are only 1 names"
    );
    assert_eq!(fails(&[], &[]), "the synthetic table has no columns");
}

#[test]
fn columns_are_matched_by_name_and_categories_by_word() {
    let one = Table::parse("a,k\n1,x\n2,y\n3,x\n", &[]);
    let two = Table::parse("k,a\nz,1\nx,2\ny,3\n", &[]);
    let frames = frames(&[&one, &two]);
    let report = quality(&frames[0], &frames[1], Thresholds::SDMETRICS).unwrap();
    assert_eq!(report.columns[0].score, Some(1.0));
    assert_eq!(&*frames[1].names, ["a".to_owned(), "k".to_owned()]);
    let k = report.columns[1].score.unwrap();
    assert!((k - 2.0 / 3.0).abs() < 1e-6, "{k}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Any small table gives a report or a typed error, and scores within their ranges.
    #[test]
    fn no_table_panics(
        rows in prop::collection::vec((prop::option::of(-3i32..3), 0u32..4, -1e300f64..1e300), 0..40),
        split in 0usize..40,
        second in 0usize..40,
        target in 0usize..4,
    ) {
        let table = |rows: &[(Option<i32>, u32, f64)]| {
            let mut text = String::from("n,k,big\n");
            for (n, k, big) in rows {
                let n = n.map_or(String::new(), |n| n.to_string());
                let k = ["", "p", "q", "r"][*k as usize];
                text.push_str(&format!("{n},{k},{big}\n"));
            }
            let mut table = Table::parse(&text, &["k"]);
            table.names[0] = "n".into();
            table
        };
        let (a, rest) = rows.split_at(split.min(rows.len()));
        let (b, c) = rest.split_at(second.min(rest.len()));
        let tables = [table(a), table(b), table(c)];
        let views = tables.each_ref().map(Table::views);
        let input = TableInput {
            training: tables[0].view(&views[0]),
            holdout: tables[1].view(&views[1]),
            synthetic: tables[2].view(&views[2]),
        };
        let target = ["n", "k", "big", "none"][target];
        let config = TableConfig { target: (target != "none").then(|| target.into()), folds: 2, ..TableConfig::default() };
        if let Ok(report) = evaluate(&input, &config, true) {
            for number in report.numbers() {
                prop_assert!(!number.value.is_nan(), "{number:?}");
                let unbounded = ["boosting_r2", "alpha_precision", "beta_recall"].contains(&number.name);
                prop_assert!(unbounded || (-1e-9..=1.0 + 1e-9).contains(&number.value), "{number:?}");
            }
        }
    }

    /// The order of rows does not matter to the quality report.
    #[test]
    fn quality_does_not_depend_on_the_order_of_rows(seed in 0u64..1000) {
        let frames = frames(&[&clinic(200, 0, 1.0), &clinic(150, 1, 0.5)]);
        let shuffled = frames[1].pick(&Stream::new(seed, "order", 0).permutation(150));
        let score = |frame: &Frame| quality(&frames[0], frame, Thresholds::SDMETRICS).unwrap().score.unwrap();
        prop_assert!((score(&frames[1]) - score(&shuffled)).abs() < 1e-12);
    }
}
