//! Invalid files and options: each gives one line that says what is wrong and where.

use super::*;

#[track_caller]
fn says(result: Result<Table>, expected: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(expected) && !error.contains('\n'), "{error}");
}

#[test]
fn rejects_files_without_rows() {
    says(read(""), "x.csv is an empty table: it has neither a header nor rows");
    says(read("a,b\n"), "x.csv is an empty table: it has a header but no rows");
}

#[test]
fn a_header_that_is_a_row() {
    let error = "x.csv has no header: its first line is a row of values (`39` …)";
    says(read("39,Private\n50,Public\n38,Private\n"), error);
    says(read("1.5,2\n2.5,3\n"), "has no header");
    // Years are valid names.
    assert_eq!(read("country,2019,2020\nfr,1,2\nde,3,4\n").unwrap().columns().len(), 3);
}

#[test]
fn rows_of_other_lengths() {
    says(read("a,b\n1,2\n\"x\ny\",2\n3\n"), "x.csv, line 5: 1 cells, but the header has 2");
    says(read("a,b\n1,2,3\n"), "x.csv, line 2: 3 cells, but the header has 2");
}

#[test]
fn two_columns_of_one_name() {
    says(read("a,b,a\n1,2,3\n"), "x.csv has two columns named `a`: columns 1 and 3");
}

#[test]
fn other_encodings() {
    let read = |bytes: &[u8]| csv::read_from(Path::new("x.csv"), bytes, &TableOptions::default());
    says(read(b"a,b\n1,x\n2,caf\xe9\n"), "x.csv, line 3: the text is not UTF-8 but probably Latin-1");
    says(read(b"a,b\n1,\x93x\x94\n"), "line 2: the text is not UTF-8 but probably Windows-1252");
    says(read(b"\xff\xfea\0,\0b\0"), "not UTF-8 but UTF-16");
}

#[test]
fn a_decimal_comma() {
    says(read("a;b\n1;2,5\n2;3,75\n"), "x.csv, line 2: column `b` has numbers with a comma (`2,5`)");
    says(read("a,b\n1,\"1,234\"\n2,7\n"), "column `b` has numbers with a comma (`1,234`)");
    let options = options(r#"{"columns":{"b":{"kind":"category"}}}"#);
    assert!(read_with("a;b\n1;2,5\n2;3,75\n", &options).is_ok());
}

#[test]
fn a_column_without_a_value() {
    says(read("a,b\n1,\n2,\n"), "x.csv: column `b` has no value in any row");
    says(read("a,b\n1,NA\n2,\n"), "column `b` has no value in any row");
    let options = options(r#"{"columns":{"b":{"kind":"constant"}}}"#);
    assert_eq!(written(&read_with("a,b\n1,\n2,\n", &options).unwrap()), "a,b\n1,\n2,\n");
}

#[test]
fn overrides_that_do_not_fit() {
    let with = |json: &str| read_with("age,when\n31,2020-01-02\n,x\n41,y\n", &options(json));
    says(with(r#"{"columns":{"agee":{}}}"#), "unknown column `agee` (did you mean `age`?)");
    let date = r#"{"columns":{"when":{"kind":"date","format":"%Y-%m-%d"}}}"#;
    says(with(date), "x.csv, line 3: column `when` holds `x`, which is not a date of the format `%Y-%m-%d`");
    says(
        with(r#"{"columns":{"when":{"kind":"number"}}}"#),
        "line 2: column `when` holds `2020-01-02`, which is not a number",
    );
    says(
        with(r#"{"columns":{"when":{"kind":"boolean"}}}"#),
        "`y`, which is not one of the two values of a boolean",
    );
    says(
        with(r#"{"columns":{"when":{"kind":"constant"}}}"#),
        "line 3: column `when` holds `x`, which is not the constant",
    );
    says(
        with(r#"{"columns":{"age":{"kind":"category","decimals":2}}}"#),
        "`decimals` does not apply to columns of kind category",
    );
    says(
        with(r#"{"columns":{"when":{"kind":"date","format":"%Q"}}}"#),
        "column `when`: `%Q` has an unknown part",
    );
    let half = options(r#"{"columns":{"a":{"kind":"integer"}}}"#);
    says(
        read_with("a,b\n1,x\n2.5,y\n", &half),
        "line 3: column `a` holds `2.5`, which is not a whole number",
    );
}

#[test]
fn a_file_of_another_schema() {
    let folder = tempfile::tempdir().unwrap();
    let schema = read("age,sex\n31,f\n41,m\n").unwrap().schema().clone();
    let read_as =
        |text: &str, others| Table::read_as(&file(&folder, "y.csv", text.as_bytes()), &schema, others);
    says(read_as("ages,sex\n31,f\n", true), "it has no column `age`; the most similar is `ages`");
    says(read_as("age,sex,x\n31,f,1\n", false), "it has a column `x`, which the schema does not have");
    let table = read_as("x,sex,age\n1,d,31\n", true).unwrap();
    assert_eq!((table.cell_text(0, 0), table.cell_text(0, 1)), ("31".into(), "d".into()));
}

#[test]
fn values_outside_the_schema() {
    let table = read("age,sex\n31,female\n41,male\n51,female\n").unwrap();
    let encoder = encode::Encoder::fit(&table, |_| ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bind = |text: &str| {
        let table = Table::read_as(&file(&folder, "y.csv", text.as_bytes()), table.schema(), false).unwrap();
        encoder.bind(&table).unwrap_err().to_string()
    };
    let error = bind("age,sex\n31,female\n41,mal\n");
    assert_eq!(
        error,
        "column `sex`: row 1: `mal` is not in the schema, which allows `female`, `male` (did you mean `male`?)"
    );
    let error = bind("age,sex\n31,female\n41,\n");
    assert_eq!(
        error,
        "column `sex`: row 1: a missing value is not in the schema, which allows no missing values here"
    );
    let error = encoder.place(1, Some("femal")).unwrap_err().to_string();
    assert_eq!(
        error,
        "column `sex`: `femal` is not in the schema, which allows `female`, `male` (did you mean `female`?)"
    );
    assert_eq!(encoder.place(1, Some("male")).unwrap(), 1);
    let numbers = read("x\n0.5\n0.25\n0.75\n").unwrap();
    let error =
        encode::Encoder::fit(&numbers, |_| ()).unwrap().place(0, Some("0.5")).unwrap_err().to_string();
    assert_eq!(error, "column `x` is of kind number, which has no classes");
}

#[test]
fn sizes_beyond_what_is_read() {
    let header: Vec<String> = (0..=MOST_COLUMNS).map(|i| format!("c{i}")).collect();
    says(
        read(&format!("{}\n", header.join(","))),
        "a number of columns of 20001 where at most 20000 are read",
    );
    says(read(&format!("{}\n1\n", "n".repeat(1001))), "a column's name, in bytes, of 1001");
    says(read(&format!("a,b\n1,{}\n", "n".repeat((1 << 20) + 1))), "a cell, in bytes, of 1048577");
}

#[cfg(feature = "parquet")]
#[test]
fn rejects_files_that_are_not_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| Table::read(&file(&folder, "x.parquet", bytes), &TableOptions::default());
    says(read(b""), "x.parquet is damaged: expected a parquet file of a table");
    says(read(b"PAR1 no such thing PAR1"), "x.parquet is damaged");
    says(Table::read(&folder.path().join("none.csv"), &TableOptions::default()), "failed to open");
}

#[cfg(feature = "parquet")]
#[test]
fn a_damaged_parquet_file_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let table = read(&every_kind()).unwrap();
    table.write(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        // The changed byte may be padding or a value. The reader must only return.
        let _ = Table::read(&file(&folder, "y.parquet", &damaged), &TableOptions::default());
        says(Table::read(&file(&folder, "z.parquet", &whole[..at]), &TableOptions::default()), "z.parquet");
    }
}

#[test]
fn rejects_vectors_that_are_not_rows() {
    let table = read("x,y\n0.5,a\n0.25,b\n0.75,a\n").unwrap();
    let encoder = encode::Encoder::fit(&table, |_| ()).unwrap();
    let width = encoder.layout().width();
    assert!(encoder.decode_row(&vec![0.0; width + 1]).unwrap_err().to_string().contains("numbers, but"));
    let mut row = vec![0.0; width];
    row[1] = f32::NAN;
    assert!(encoder.decode_row(&row).unwrap_err().to_string().contains("number 1 is NaN"));
    assert!(encoder.decode(&[], 0).unwrap().rows() == 0);
}
