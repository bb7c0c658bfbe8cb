//! Tables from file to vector and back.

mod encoding;
mod errors;
mod files;
mod kinds;
mod pairs;

use std::path::{Path, PathBuf};

use super::*;

/// Reads a text as a file of comma-separated values.
fn read(text: &str) -> Result<Table> {
    read_with(text, &TableOptions::default())
}

fn read_with(text: &str, options: &TableOptions) -> Result<Table> {
    csv::read_from(Path::new("x.csv"), text.as_bytes(), options)
}

/// Parses options from JSON, with the keys of a recipe.
fn options(json: &str) -> TableOptions {
    serde_json::from_str(json).unwrap()
}

fn written(table: &Table) -> String {
    let mut bytes = Vec::new();
    table.write_csv(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn kind(table: &Table, name: &str) -> Kind {
    table.schema().columns[table.schema().position(name).unwrap()].kind.clone()
}

fn file(folder: &tempfile::TempDir, name: &str, text: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A table of 60 rows with every kind of column.
fn every_kind() -> String {
    let mut text = String::from("id,age,price,when,at,sex,member,grade,site,weight,note\n");
    for i in 0..60 {
        let weight = if i % 7 == 0 { "NA".into() } else { format!("{:.1}", 50.0 + f64::from(i) * 0.7) };
        let grade = if i % 11 == 3 { "" } else { ["a", "b", "c d"][i as usize % 3] };
        text.push_str(&format!(
            "P{i:04},{},{:.2},{:02}.{:02}.2021,2020-01-{:02}T{:02}:{:02}:07Z,{},{},{grade},here,{weight},{}\n",
            20 + i * 7 % 53,
            f64::from(i * i) * 1.25,
            1 + i % 28,
            1 + i % 12,
            1 + i % 30,
            i % 24,
            (i * 13) % 60,
            ["f", "m"][i as usize % 2],
            ["no", "yes"][usize::from(i % 5 == 0)],
            ["\"x, y\"", "\"say \"\"hi\"\"\"", "ü"][i as usize % 3],
        ));
    }
    text
}
