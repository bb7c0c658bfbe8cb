//! `waxwork data describe` and `waxwork evaluate` on tables.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::util::{metric, real_data, text, waxwork};

/// A table with `rows` rows: an age, a town that depends on it, a cost that is sometimes
/// missing, and a label.
pub(crate) fn people(folder: &Path, name: &str, rows: u32, first: u32) -> PathBuf {
    let mut csv = "age,town,cost,label\n".to_owned();
    for i in first..first + rows {
        let (age, town) =
            (20.0 + f64::from(i * 7919 % 600) / 10.0, ["york", "leeds", "hull"][(i * 31 % 3) as usize]);
        let cost = if i % 11 == 0 { String::new() } else { format!("{:.2}", age * 3.0 + f64::from(i % 13)) };
        let label = if age > 50.0 { "yes" } else { "no" };
        writeln!(csv, "{age:.1},{town},{cost},{label}").unwrap();
    }
    let path = folder.join(name);
    std::fs::write(&path, csv).unwrap();
    path
}

#[test]
fn a_table_is_described_column_by_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = people(folder.path(), "people.csv", 400, 0);
    let said = waxwork(&["data", "describe", text(&path)]).good().stdout;
    for words in ["400 rows", "age", "number", "town", "category", "label", "boolean"] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let json = waxwork(&["data", "describe", text(&path), "--json"]).good().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["columns"][2]["name"], "cost");
    assert_eq!(json["columns"][2]["nulls"], 37);
    let set = ["data", "describe", text(&path), "--json", "--set", "data.table.columns.age.kind=category"];
    let json: serde_json::Value = serde_json::from_str(&waxwork(&set).good().stdout).unwrap();
    assert_eq!(json["columns"][0]["kind"], "category");
}

#[test]
fn rows_from_any_program_are_measured_against_real_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (real, theirs) =
        (people(folder.path(), "real.csv", 900, 0), people(folder.path(), "theirs.csv", 300, 5000));
    let arguments = ["evaluate", "--samples", text(&theirs), "--data", "table", "--data-dir", text(&real)];
    let report =
        waxwork(&[&arguments[..], &["--set", "data.table.label=label", "--json"]].concat()).good().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for name in ["quality", "column_shapes", "pair_trends", "shared_pair_trends"] {
        let value = metric(&report, name)["value"].as_f64().unwrap();
        assert!((0.5..=1.0).contains(&value), "{name} is {value}");
        assert!(metric(&report, name)["floor"].is_number(), "{name} has a floor");
    }
    let data = metric(&report, "quality")["protocol"]["data"].as_str().unwrap().to_owned();
    assert!(data.starts_with("table "), "{data}");
    assert!(folder.path().join("theirs.metrics.json").is_file());
    let again =
        waxwork(&[&arguments[..], &["--set", "data.table.label=label", "--json", "--threads", "1"]].concat());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&again.good().stdout).unwrap(), report);
}

#[test]
fn files_that_are_not_tables_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let refused = |path: &Path, words: &[&str]| waxwork(&["data", "describe", text(path)]).refused(words);
    refused(&file("ragged.csv", b"a,b\n1,2\n3\n"), &["ragged.csv", "line 3"]);
    refused(&file("twice.csv", b"a,a\n1,2\n"), &["twice.csv", "`a`"]);
    refused(&file("empty.csv", b""), &["empty.csv", "empty"]);
    refused(&file("latin.csv", b"name\ncaf\xe9\nth\xe9\n"), &["latin.csv", "Latin-1"]);
    refused(&folder.path().join("none.csv"), &["none.csv"]);
    let good = people(folder.path(), "people.csv", 40, 0);
    waxwork(&["data", "describe", text(&good), "--set", "data.table.columns.agee.kind=number"])
        .refused(&["agee", "age"]);
    let other = file("other.csv", b"age,town\n31.5,york\n40.5,hull\n");
    waxwork(&["evaluate", "--samples", text(&other), "--data", "table", "--data-dir", text(&good)])
        .refused(&["other.csv", "cost"]);
}

#[test]
fn adult_is_described_and_its_test_part_is_as_good_as_itself() {
    let Some(data) = real_data("adult_is_described_and_its_test_part_is_as_good_as_itself") else { return };
    let folder = tempfile::tempdir().unwrap();
    let unpacked = |name: &str| {
        let path = folder.path().join(format!("{name}.csv"));
        let file = std::fs::File::open(data.join("tables").join(format!("{name}.csv.gz"))).unwrap();
        let mut to = std::fs::File::create(&path).unwrap();
        std::io::copy(&mut flate2::read::GzDecoder::new(file), &mut to).unwrap();
        path
    };
    let (train, test) = (unpacked("adult-train"), unpacked("adult-test"));
    let json = waxwork(&["data", "describe", text(&train), "--json"]).good().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["rows"].as_u64(), json["columns"].as_array().map(Vec::len)), (Some(32_561), Some(15)));
    // The two-sample tests of whole rows are tested elsewhere. This checks that real rows are rated as real.
    let report = waxwork(&[
        "evaluate",
        "--samples",
        text(&test),
        "--data",
        "table",
        "--data-dir",
        text(&train),
        "--json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&report.good().stdout).unwrap();
    assert!(metric(&report, "quality")["value"].as_f64().unwrap() > 0.98);
}
