//! Inferred kinds of columns, and overrides by a recipe.

use super::*;

#[test]
fn every_kind_is_found() {
    let table = read(&every_kind()).unwrap();
    let kinds: Vec<(&str, &str)> =
        table.schema().columns.iter().map(|column| (column.name.as_str(), column.kind.name())).collect();
    let expected = [
        ("id", "identifier"),
        ("age", "integer"),
        ("price", "number"),
        ("when", "date"),
        ("at", "date"),
        ("sex", "category"),
        ("member", "boolean"),
        ("grade", "category"),
        ("site", "constant"),
        ("weight", "number"),
        ("note", "category"),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(kind(&table, "id"), Kind::Identifier { prefix: "P".into(), digits: 4, first: 60 });
    assert_eq!(kind(&table, "member"), Kind::Boolean { no: "no".into(), yes: "yes".into() });
    let Kind::Date { format, .. } = kind(&table, "at") else { panic!("no date") };
    assert_eq!(format.to_string(), "%Y-%m-%dT%H:%M:%SZ");
    let weight = &table.schema().columns[9];
    assert_eq!(weight.nulls, ["NA"]);
    assert!((weight.null_share - 9.0 / 60.0).abs() < 1e-12);
    assert!(table.columns()[9].is_null(0) && table.columns()[9].number(1) == Some(50.7));
}

fn column(cells: impl Iterator<Item = String>) -> Kind {
    let text: String = cells.map(|cell| format!("{cell},x\n")).collect();
    kind(&read(&format!("a,b\n{text}")).unwrap(), "a")
}

#[test]
fn few_integers_are_categories_and_many_are_integers() {
    assert_eq!(column((0..40).map(|i| (i * 3 % 20).to_string())).name(), "category");
    assert_eq!(column((0..42).map(|i| (i * 2 % 21 + 5).to_string())).name(), "integer");
    // Categories that are numbers are sorted as numbers.
    let Kind::Category { values, .. } = column([10, 9, 100, 9].iter().map(i32::to_string)) else { panic!() };
    assert_eq!(values, ["9", "10", "100"]);
    assert_eq!(
        column([1, 0, 1].iter().map(i32::to_string)),
        Kind::Boolean { no: "0".into(), yes: "1".into() }
    );
}

#[test]
fn numbers_of_rows_and_codes_with_zeros_are_no_integers() {
    assert_eq!(
        column((1..50).map(|i| i.to_string())),
        Kind::Identifier { prefix: String::new(), digits: 1, first: 50 }
    );
    assert_eq!(column((1990..2040).map(|i| i.to_string())).name(), "integer");
    assert_eq!(column((0..50).map(|i| format!("{:05}", i % 25))).name(), "category");
    assert_eq!(
        column((0..50).map(|i| (12_345_678_901_234_567_890u128 + i % 25).to_string())).name(),
        "category"
    );
}

#[test]
fn a_number_keeps_how_it_was_written() {
    let decimals = |cells: &[&str]| match column((0..30).map(|i| cells[i % cells.len()].to_string())) {
        Kind::Number { decimals, .. } => (decimals.most, decimals.least),
        other => panic!("{other:?}"),
    };
    assert_eq!(decimals(&["1.50", "2.25", "3.00"]), (2, 2));
    assert_eq!(decimals(&["1.5", "2", "3.125"]), (3, 0));
    assert_eq!(decimals(&["1.5", "2.0", "3.125"]), (3, 1));
    assert_eq!(decimals(&["1e-3", "2.5"]), (3, 1));
    // Other programs write integer columns with missing values this way.
    let many = column((0..60).map(|i| if i % 9 == 0 { String::new() } else { format!("{}.0", i * 3) }));
    assert_eq!(many, Kind::Integer { min: 3.0, max: 177.0, zeros: 1 });
}

#[test]
fn nulls_of_numbers_are_many_and_of_texts_only_the_empty_one() {
    let table = read("a,b\n1.5,NA\n?,x\nNaN,\n2.5,x\n").unwrap();
    assert_eq!(table.schema().columns[0].nulls, ["?", "NaN"]);
    assert_eq!(table.schema().columns[1].nulls, [""]);
    let Kind::Category { values, .. } = kind(&table, "b") else { panic!() };
    assert_eq!(values, ["NA", "x"]);
    let said = options(r#"{"columns":{"b":{"null":["NA"]}}}"#);
    let table = read_with("a,b\n1.5,NA\n?,x\nNaN,y\n2.5,x\n", &said).unwrap();
    assert!(table.columns()[1].is_null(0));
}

#[test]
fn gaps_of_few_integers_are_gaps() {
    let table = read("a,b,c\n1,0,x\nNA,1,y\n2,?,x\n1,0,y\n").unwrap();
    assert_eq!(table.schema().columns[0].nulls, ["NA"]);
    assert_eq!(kind(&table, "b"), Kind::Boolean { no: "0".into(), yes: "1".into() });
    assert!(table.columns()[0].is_null(1) && table.columns()[1].is_null(2));
}

#[test]
fn an_empty_cell_may_be_a_value() {
    let said = options(r#"{"columns":{"a":{"null":[]}}}"#);
    let text = "a,b\nx,1.5\n,2.5\n";
    let table = read_with(text, &said).unwrap();
    assert_eq!(table.columns()[0].text(1), Some(""));
    let folder = tempfile::tempdir().unwrap();
    let again = Table::read_as(&file(&folder, "x.csv", text.as_bytes()), table.schema(), false).unwrap();
    assert_eq!(again.content_hash(), table.content_hash());
}

#[test]
fn rare_categories_become_other() {
    let text: String = (0..1000)
        .map(|i| format!("{},{i}\n", if i < 500 { "common".into() } else { format!("r{}", i / 2) }))
        .collect();
    let said = options(r#"{"columns":{"b":{"kind":"integer"},"a":{"max_categories":3}}}"#);
    let table = read_with(&format!("a,b\n{text}"), &said).unwrap();
    let Kind::Category { values, other } = kind(&table, "a") else { panic!() };
    assert_eq!(
        (values, other.as_deref()),
        (vec!["common".into(), "r250".into(), "r251".into()], Some("other"))
    );
    // The table keeps the original text; the encoder has four places.
    assert_eq!(table.cell_text(999, 0), "r499");
    let encoder = encode::Encoder::fit(&table, |_| ()).unwrap();
    let encoded = encoder.bind(&table).unwrap();
    assert_eq!(encoder.layout().choice(0).unwrap().shape, encode::Shape::Choice(4));
    assert_eq!([0, 500, 999].map(|row| encoded.place(row, 0)), [Some(0), Some(1), Some(3)]);
}

#[test]
fn a_column_that_is_almost_numbers_is_named() {
    let text: String = (0..50).map(|i| format!("{}.5,{}\n", i, i % 3)).collect();
    let table = read(&format!("a,b\n{text}inf,1\n")).unwrap();
    assert_eq!(table.notes().len(), 1);
    assert!(
        table.notes()[0].contains("column `a` is not numeric because of `inf` on line 52"),
        "{:?}",
        table.notes()
    );
}

#[test]
fn texts_that_are_almost_all_distinct_are_named() {
    let text: String = (0..1000).map(|i| format!("k{},{}\n", i.max(1), i % 3)).collect();
    let table = read(&format!("a,b\n{text}")).unwrap();
    assert_eq!(kind(&table, "a").name(), "category");
    assert!(
        table.notes()[0].contains("column `a` has 999 distinct texts in 1000 rows"),
        "{:?}",
        table.notes()
    );
}

#[test]
fn separators_quotes_and_line_ends_are_found() {
    let format = |text: &str| read(text).unwrap().schema().csv;
    assert_eq!(format("a;b\n1;2\n").delimiter, Delimiter::Semicolon);
    assert_eq!(format("a\tb\n1\t2\n").delimiter, Delimiter::Tab);
    assert_eq!(format("\"a,b\"|c\nx|2\n").delimiter, Delimiter::Bar);
    assert_eq!(format("a\nx\ny\n").delimiter, Delimiter::Comma);
    assert_eq!(format("\"a\",\"b\"\n1,\"x\"\n").quotes, Quotes::Texts);
    assert_eq!(format("\"a\",\"b\"\n\"1\",\"x\"\n").quotes, Quotes::All);
    assert!(
        format("a,b\r\n1,2\r\n").crlf && format("\u{feff}a,b\n1,2\n").bom && format("a, b\n1, x\n").spaced
    );
}
