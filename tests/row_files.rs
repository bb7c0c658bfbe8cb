//! Rows of tables through latent space: every command that decodes writes rows in the format of the training
//! file, and `encode` and `reconstruct` read rows of any program.

use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use waxwork_core::{DType, Device, Tensor, npy};
use waxwork_data::table::Table;
use waxwork_data::table::encode::Encoder;

use crate::util::{small_of, text, trained, waxwork};

const HEADER: &str = "id;day;amount;age;member;grade;site";

/// Writes a table of every kind of column, with a delimiter, decimals, dates and a null of its own.
fn visits(path: &Path, rows: Range<u32>) {
    let mut csv = format!("{HEADER}\n");
    for i in rows {
        let (day, month, age) = (1 + i % 28, 1 + i % 12, 20 + i * 13 % 60);
        let amount = match i % 7 {
            0 => "NA".to_owned(),
            _ => format!("{:.2}", 10.0 + f64::from(i * 37 % 900) / 8.0),
        };
        let (member, grade) = (["no", "yes", "no", "no"][i as usize % 4], ["a", "b", ""][i as usize % 3]);
        writeln!(csv, "P{i:04};{day:02}.{month:02}.2023;{amount};{age};{member};{grade};here").unwrap();
    }
    fs::write(path, csv).unwrap();
}

/// Trains a small model on `visits.csv`, with 60 held-out rows in `held-out.csv`.
fn learned(recipe: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [file, held_out, run] = ["visits.csv", "held-out.csv", "run"].map(|name| folder.path().join(name));
    visits(&file, 0..240);
    visits(&held_out, 240..300);
    let test = format!("data.table.test={}", text(&held_out));
    waxwork(&small_of(recipe, &run, &["--data-dir", text(&file), "--set", &test])).good();
    (folder, run)
}

/// Reads a file of rows, all of which the schema of a run must allow. `others` allows other columns too.
fn read(run: &Path, file: &Path, others: bool) -> Table {
    let encoder: Encoder = serde_json::from_slice(&fs::read(run.join("table.json")).unwrap()).unwrap();
    // Cells of other kinds and dates of other formats are refused here, unknown categories and nulls below.
    let table = Table::read_as(file, encoder.schema(), others).unwrap();
    encoder.bind(&table).unwrap();
    table
}

/// Reads a file of generated rows: its bytes are those of such rows in the format of the training file, and its
/// numbers are in the range of the column.
fn generated(run: &Path, file: &Path) -> Table {
    let table = read(run, file, false);
    for (column, schema) in table.columns().iter().zip(&table.schema().columns) {
        for number in (0..table.rows()).filter_map(|row| column.number(row)) {
            assert_eq!(schema.kind.snap(number), number, "{}", schema.name);
        }
    }
    let mut written = Vec::new();
    table.write_csv(&mut written).unwrap();
    let bytes = fs::read(file).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(bytes).unwrap(), "{}", file.display());
    table
}

/// The pairs of rows in a file, without the cells of the column `version`.
fn pairs(file: &Path, header: &str, delimiter: char) -> Vec<[String; 2]> {
    let lines = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], format!("version{delimiter}{header}"));
    let cells = |line: &str, version: &str| {
        line.strip_prefix(&format!("{version}{delimiter}")).unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let pair = |pair: &[&str]| [cells(pair[0], "original"), cells(pair[1], "reconstruction")];
    lines[1..].chunks(2).map(pair).collect()
}

#[test]
fn every_command_that_decodes_writes_rows_in_the_format_of_the_training_file() {
    let (folder, run) = learned("vae-table");
    let path = |name: &str| folder.path().join(name);
    let codes = path("codes.npy");
    waxwork(&["encode", text(&run), "--out", text(&codes)]).good();
    assert_eq!(npy::load(&codes).unwrap().dims(), [60, 24]);
    for (command, rest, count) in [
        ("decode", &[text(&codes)][..], 60),
        ("interpolate", &["-n", "2"][..], 20),
        ("traverse", &["--dims", "0,3"][..], 20),
    ] {
        let out = path(&format!("{command}.csv"));
        let bytes = |threads: &str| {
            let end = ["--out", text(&out), "--threads", threads];
            waxwork(&[&[command, text(&run)], rest, &end].concat()).good();
            fs::read(&out).unwrap()
        };
        assert_eq!(bytes("1"), bytes("2"), "{command}");
        assert!(bytes("2").starts_with(HEADER.as_bytes()), "{command}");
        assert_eq!(generated(&run, &out).rows(), count, "{command}");
    }
    // Identifiers continue those of the training file.
    assert!(fs::read_to_string(path("decode.csv")).unwrap().contains("\nP0240;"));
    let said = waxwork(&["interpolate", text(&run)]).good().stdout;
    assert!(said.starts_with("10 paths of 10 rows in "), "{said}");
    assert_eq!(generated(&run, &run.join("interpolation.csv")).rows(), 100);
    let said = waxwork(&["traverse", text(&run), "--dims", "1"]).good().stdout;
    assert!(said.starts_with("10 rows per latent dimension (1)"), "{said}");
    assert_eq!(generated(&run, &run.join("traversal.csv")).rows(), 10);

    for name in ["rows.gif", "rows"] {
        waxwork(&["decode", text(&run), text(&codes), "--out", text(&path(name))])
            .refused(&[name, "rows are written to .csv, .parquet"]);
        waxwork(&["interpolate", text(&run), "--out", text(&path(name))]).refused(&[name, ".csv, .parquet"]);
        assert!(!path(name).exists());
    }
    waxwork(&["interpolate", text(&run), "--labels", "3"]).refused(&["no labels", "rows of a table"]);
    waxwork(&["decode", text(&run), text(&codes), "--where", "member=yes", "--out", text(&path("x.csv"))])
        .refused(&["vae models cannot be used with --where"]);
}

#[test]
fn a_row_is_written_above_its_reconstruction() {
    let (folder, run) = learned("vae-table");
    let path = |name: &str| folder.path().join(name);
    let out = path("pairs.csv");
    let bytes = |threads: &str| {
        let few = ["reconstruct", text(&run), "-n", "9", "--out", text(&out), "--threads", threads];
        waxwork(&few).good();
        fs::read(&out).unwrap()
    };
    assert_eq!(bytes("1"), bytes("2"));
    assert_eq!(read(&run, &out, true).rows(), 18);
    let real = fs::read_to_string(path("held-out.csv")).unwrap();
    let real: Vec<&str> = real.lines().skip(1).collect();
    let id = |row: &str| row.split(';').next().unwrap_or_default().to_owned();
    let found = pairs(&out, HEADER, ';');
    assert_eq!(found.len(), 9);
    for [original, made] in &found {
        assert!(real.contains(&original.as_str()), "{original}");
        assert_eq!(id(original), id(made));
    }
    assert!(found.iter().any(|[original, made]| original != made), "four steps do not learn to copy rows");

    let said = waxwork(&["reconstruct", text(&run)]).good().stdout;
    assert!(said.starts_with("50 test rows, each above its reconstruction, in "), "{said}");
    assert_eq!(pairs(&run.join("reconstructions.csv"), HEADER, ';').len(), 50);
    // The file of pairs is a table with the columns of the run, so it can be read again.
    let again = path("again.csv");
    waxwork(&["reconstruct", text(&run), "--images", text(&out), "--out", text(&again)]).good();
    let originals: Vec<String> =
        pairs(&again, HEADER, ';').into_iter().map(|[original, _]| original).collect();
    assert_eq!(originals, found.concat());
    let picture = path("pairs.png");
    waxwork(&["reconstruct", text(&run), "--out", text(&picture)]).good();
    assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn rows_of_any_program_are_encoded_if_they_fit_the_schema() {
    let (folder, run) = learned("vae-table");
    let path = |name: &str| folder.path().join(name);
    let codes = |more: &[&str]| {
        let out = path("codes.npy");
        waxwork(&[&["encode", text(&run), "--out", text(&out)], more].concat()).good();
        fs::read(&out).unwrap()
    };
    let expected = codes(&[]);
    assert_eq!(codes(&["--images", text(&path("held-out.csv"))]), expected);
    // The columns may come in any order and between others, and the file may have a dialect of its own.
    let real = fs::read_to_string(path("held-out.csv")).unwrap();
    let turned = real.lines().enumerate().map(|(place, line)| {
        let cells: Vec<&str> = line.split(';').rev().collect();
        format!("{},{}\n", if place == 0 { "note" } else { "x" }, cells.join(","))
    });
    fs::write(path("turned.csv"), turned.collect::<String>()).unwrap();
    assert_eq!(codes(&["--images", text(&path("turned.csv"))]), expected);

    let mine = path("mine.csv");
    let refused = |header: &str, row: &str, words: &[&str]| {
        fs::write(&mine, format!("{header}\n{row}\n")).unwrap();
        for command in ["encode", "reconstruct"] {
            let out = path("no.npy");
            waxwork(&[command, text(&run), "--images", text(&mine), "--out", text(&out)]).refused(words);
            assert!(!out.exists());
        }
    };
    let good = "P1;01.02.2023;1.50;30;no;a;here";
    let but = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replace(from, to)
    };
    refused(HEADER, &but(";a;", ";z;"), &["mine.csv", "`grade`", "row 0", "`z`", "allows `a`, `b`"]);
    refused(HEADER, &but(";no;", ";perhaps;"), &["mine.csv", "`member`", "`perhaps`"]);
    refused(HEADER, &but(";30;", ";;"), &["mine.csv", "`age`", "a missing value"]);
    refused(HEADER, &but("1.50", "much"), &["mine.csv, line 2", "`amount`", "`much`", "a number"]);
    refused(HEADER, &but("01.02.2023", "2023-02-01"), &["mine.csv, line 2", "`day`", "%d.%m.%Y"]);
    refused(&HEADER.replace("age", "aged"), good, &["mine.csv", "no column `age`", "`aged`"]);
    refused(HEADER, "P1;01.02.2023", &["mine.csv, line 2", "2 cells"]);
    let encode = |from: &Path| waxwork(&["encode", text(&run), "--images", text(from), "--out", "no.npy"]);
    encode(&path("none.csv")).refused(&["none.csv"]);
    encode(folder.path()).refused(&["is a folder, but rows come from a .csv, .parquet"]);
}

#[test]
fn a_conditional_model_is_given_the_values_that_rows_should_have() {
    let (folder, run) = learned("cvae-table");
    let path = |name: &str| folder.path().join(name);
    let (held_out, codes) = (path("held-out.csv"), path("codes.npy"));
    waxwork(&["encode", text(&run), "--out", text(&codes)]).good();
    let of_test_rows = fs::read(&codes).unwrap();
    waxwork(&["encode", text(&run), "--images", text(&held_out), "--out", text(&codes)]).good();
    assert_eq!(fs::read(&codes).unwrap(), of_test_rows);
    let out = path("rows.csv");
    let decode =
        |more: &[&str]| waxwork(&[&["decode", text(&run), text(&codes), "--out", text(&out)], more].concat());
    decode(&[]).refused(&["--where COLUMN=VALUE", "--like FILE"]);
    decode(&["--labels", "yes"]).refused(&["no labels"]);
    decode(&["--where", "member=maybe"]).refused(&["`member`", "`maybe`"]);
    assert!(!out.exists());
    let said = decode(&["--where", "member=yes", "--where", "grade="]).good().stdout;
    assert!(said.contains("% of them have member=yes and grade="), "{said}");
    assert_eq!(generated(&run, &out).rows(), 60);
    decode(&["--like", text(&held_out), "--columns", "member,grade"]).good();
    assert_eq!(generated(&run, &out).rows(), 60);
    for (command, count) in [("interpolate", 20), ("traverse", 10)] {
        let few: &[&str] = if command == "traverse" { &["--dims", "2"] } else { &["-n", "2"] };
        waxwork(&[&[command, text(&run), "--out", text(&out)], few].concat()).good();
        assert_eq!(generated(&run, &out).rows(), count, "{command}");
    }
    waxwork(&["reconstruct", text(&run), "--images", text(&held_out), "--out", text(&out)]).good();
    assert_eq!(read(&run, &out, true).rows(), 100);
}

#[test]
fn rows_of_clinic_are_shown_encoded_and_decoded() {
    let (folder, run) = trained("vae-clinic");
    let path = |name: &str| folder.path().join(name);
    let (rows, codes, back) = (path("rows.csv"), path("codes.npy"), path("back.csv"));
    waxwork(&["data", "show", "clinic", "-n", "30", "--out", text(&rows)]).good();
    assert_eq!(generated(&run, &rows).rows(), 30);
    waxwork(&["encode", text(&run), "--images", text(&rows), "--out", text(&codes)]).good();
    waxwork(&["decode", text(&run), text(&codes), "--out", text(&back)]).good();
    assert_eq!(generated(&run, &back).rows(), 30);
    let out = path("pairs.csv");
    waxwork(&["reconstruct", text(&run), "--images", text(&rows), "--out", text(&out)]).good();
    let rows = fs::read_to_string(&rows).unwrap();
    let (header, rows) = rows.split_once('\n').unwrap();
    let originals: Vec<String> = pairs(&out, header, ',').into_iter().map(|[original, _]| original).collect();
    assert_eq!(originals, rows.lines().collect::<Vec<_>>());
}

#[test]
fn models_of_images_have_no_rows() {
    let (folder, run) = trained("vae-digits");
    let path = |name: &str| folder.path().join(name);
    let (rows, codes, out) = (path("rows.csv"), path("codes.npy"), path("out.csv"));
    visits(&rows, 0..3);
    npy::save(&codes, &Tensor::zeros((2, 10), DType::F32, &Device::Cpu).unwrap()).unwrap();
    let decode = ["decode", text(&run), text(&codes), "--out"];
    waxwork(&[&decode[..], &[text(&out)]].concat()).refused(&["cannot write .csv files"]);
    waxwork(&[&decode[..], &[text(&path("out.png")), "--where", "sex=male"]].concat())
        .refused(&["--where and --like are for models of tables"]);
    waxwork(&["encode", text(&run), "--images", text(&rows), "--out", text(&out)])
        .refused(&["rows.csv", "not a folder, .npy or .safetensors file"]);
    assert!(!out.exists() && !path("out.png").exists());
}

#[cfg(feature = "hub")]
#[test]
fn parquet_holds_the_same_rows_and_is_read_again() {
    let (folder, run) = learned("vae-table");
    let path = |name: &str| folder.path().join(name);
    let codes = |images: &Path| {
        let out = path("codes.npy");
        waxwork(&["encode", text(&run), "--images", text(images), "--out", text(&out)]).good();
        fs::read(&out).unwrap()
    };
    codes(&path("held-out.csv"));
    let [csv, parquet] = ["rows.csv", "rows.parquet"].map(|name| {
        let out = path(name);
        waxwork(&["decode", text(&run), text(&path("codes.npy")), "--out", text(&out)]).good();
        out
    });
    let hash = |file: &Path| read(&run, file, false).content_hash();
    assert_eq!(hash(&parquet), hash(&csv));
    assert_eq!(codes(&parquet), codes(&csv));
    let [csv, parquet] = ["pairs.csv", "pairs.parquet"].map(|name| {
        let out = path(name);
        waxwork(&["reconstruct", text(&run), "-n", "5", "--out", text(&out)]).good();
        read(&run, &out, true)
    });
    assert_eq!((parquet.rows(), parquet.content_hash()), (10, csv.content_hash()));
}
