//! Files that are read and written again, and tables that do not depend on their file format.

use proptest::prelude::*;

use super::*;

#[test]
fn csv_comes_out_as_it_went_in() {
    for text in [
        every_kind(),
        "\u{feff}a;b\r\n1.50;x\r\n2.25;\"y;z\"\r\n".into(),
        "\"a\",\"b\",\"c\"\n1,\"x\",NA\n2,\"y\",0.5\n3,\"z, z\",0.25\n".into(),
        "a, b\n1.5, x\n2.5, y z\n".into(),
        "a, b\n1.5,\" x, y\"\n2.5, z\n".into(),
        "a\nx\n\"\"\ny\n".into(),
        "\"a\"\t\"b\"\n\"1\"\t\"\"\n\"2\"\t\"x\"\n".into(),
        "t,n\n2020-01-01 00:00:00.250,-0.5\n2020-01-01 00:00:01.000,12.0\n".into(),
    ] {
        assert_eq!(written(&read(&text).unwrap()), text);
    }
}

/// Cells of one column, all in the same format.
fn cells(rows: usize) -> impl Strategy<Value = Vec<String>> {
    let text = prop::collection::vec("[a-z ,\"é]{1,4}", rows);
    let gaps = prop::collection::vec(prop::option::of(-999i64..999), rows).prop_map(|cells| {
        cells.into_iter().map(|cell| cell.map_or(String::new(), |i| i.to_string())).collect()
    });
    let fixed = (prop::collection::vec(-99_999i64..99_999, rows), 1usize..4)
        .prop_map(|(cells, d)| {
            cells.into_iter().map(|i| format!("{:.d$}", i as f64 / 1000.0)).collect::<Vec<String>>()
        })
        .prop_filter("a negative zero rounds to a sign", |cells| {
            cells.iter().all(|c| !c.starts_with("-0.0"))
        });
    let float = prop::collection::vec(-1e6f64..1e6, rows)
        .prop_map(|cells| cells.iter().map(f64::to_string).collect());
    let dates = prop::collection::vec(0i64..30_000, rows).prop_map(|cells| {
        let format = date::DateFormat::new("%d.%m.%Y").unwrap();
        cells.into_iter().filter_map(|day| format.text(day)).collect()
    });
    prop_oneof![text, gaps, fixed, float, dates]
}

proptest! {
    #[test]
    fn any_uniform_csv_comes_out_as_it_went_in(columns in (1usize..40).prop_flat_map(|rows| prop::collection::vec(cells(rows), 1..6))) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record((0..columns.len()).map(|i| format!("c{i}"))).unwrap();
        for row in 0..columns[0].len() {
            writer.write_record(columns.iter().map(|cells| &cells[row])).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        match read(&text) {
            Ok(table) => prop_assert_eq!(written(&table), text),
            Err(Error::AllNull { .. } | Error::DecimalComma { .. }) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn any_bytes_are_a_table_or_an_error(text in prop::collection::vec(prop_oneof![
        prop::sample::select(b",;\"\n\r\t 0123456789.-ab:".to_vec()), any::<u8>()], 0..120)) {
        if let Ok(table) = csv::read_from(Path::new("x.csv"), &text[..], &TableOptions::default()) {
            let encoder = encode::Encoder::fit(&table, |_| ()).unwrap();
            encoder.bind(&table).unwrap();
            written(&table);
            table.content_hash();
            let _ = describe::Description::new(&table, &encoder).to_string();
        }
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_keeps_types_values_and_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let table = read(&every_kind()).unwrap();
    table.write(&path).unwrap();
    let back = Table::read(&path, &TableOptions::default()).unwrap();
    assert_eq!(back.rows(), 60);
    let kinds = |table: &Table| table.schema().columns.iter().map(|c| c.kind.name()).collect::<Vec<_>>();
    assert_eq!(kinds(&back), kinds(&table));
    assert_eq!(back.content_hash(), table.content_hash());
    let storage: Vec<Storage> = back.schema().columns.iter().map(|column| column.storage).collect();
    use Storage::{Days, Double, Int64, Micros, Text};
    assert_eq!(storage, [Text, Int64, Double, Days, Micros, Text, Text, Text, Text, Double, Text]);
    // Once more, from the table read from parquet.
    back.write(&path).unwrap();
    let again = Table::read(&path, &TableOptions::default()).unwrap();
    assert_eq!(again.schema(), back.schema());
    assert_eq!(again.content_hash(), table.content_hash());
    assert_eq!(written(&again), written(&back));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_for_the_schema_of_a_csv() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let table = read(&every_kind()).unwrap();
    table.write(&path).unwrap();
    // Dates come back in the format of the CSV, although parquet has none.
    let back = Table::read_as(&path, table.schema(), false).unwrap();
    assert_eq!(written(&back), every_kind());
    // A time of day does not fit a column of days.
    let times = "at\n2024-01-01 10:30\n2024-02-01 11:45\n";
    read(times).unwrap().write(&path).unwrap();
    let days = read("at\n01.01.2024\n31.01.2024\n").unwrap();
    let error = Table::read_as(&path, days.schema(), false).unwrap_err();
    assert!(matches!(error, Error::Cell { .. }), "{error}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_takes_what_a_schema_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let schema = read("a,b\n1,x\n2,y\n").unwrap().schema().clone();
    let table = Table::read_as(&file(&folder, "x.csv", b"a,b\n1,x\nmany,y\n"), &schema, false).unwrap();
    table.write(&path).unwrap();
    assert_eq!(Table::read(&path, &TableOptions::default()).unwrap().cell_text(1, 0), "many");
    read("a,b\n1,x\n2,y\n").unwrap().write(&path).unwrap();
    assert_eq!(
        Table::read(&path, &TableOptions::default()).unwrap().schema().columns[0].storage,
        Storage::Int64
    );
}

#[test]
fn the_hash_is_of_contents_and_not_of_spelling() {
    let hash = |text: &str| read(text).unwrap().content_hash();
    let base = hash("a,b,c\n1.5,x,NA\n2.50,y,0.5\n3,x,0.25\n");
    assert_eq!(base, hash("\"a\";\"b\";\"c\"\r\n1.50;\"x\";\r\n2.5;\"y\";.50\r\n3.0;\"x\";.25\r\n"));
    for other in [
        "a,b,d\n1.5,x,NA\n2.5,y,0.5\n3,x,0.25\n",
        "a,b,c\n1.5,x,NA\n2.5,y,0.5\n3,x,0.75\n",
        "a,b,c\n1.5,y,NA\n2.5,x,0.5\n3,x,0.25\n",
        "a,b,c\n1.5,x,0.5\n2.5,y,NA\n3,x,0.25\n",
        "a,b,c\n1.5,x,NA\n2.5,y,0.5\n3,x,0.25\n3,x,0.25\n",
    ] {
        assert_ne!(base, hash(other), "{other}");
    }
    let table = read(&every_kind()).unwrap();
    let all: Vec<usize> = (0..60).collect();
    assert_eq!(table.subset(&all).content_hash(), table.content_hash());
    assert_ne!(table.subset(&all[1..]).content_hash(), table.content_hash());
}

#[test]
fn a_subset_has_the_rows_asked_for() {
    let table = read(&every_kind()).unwrap();
    let subset = table.subset(&[59, 3, 3]);
    assert_eq!(subset.rows(), 3);
    for column in 0..table.columns().len() {
        let cells = [0, 1, 2].map(|row| subset.cell_text(row, column));
        assert_eq!(cells, [59, 3, 3].map(|row| table.cell_text(row, column)));
    }
}

#[test]
fn a_description_names_what_is_wide() {
    let text: String = (0..600).map(|i| format!("c{},{}.5\n", i / 2, i)).collect();
    let table = read(&format!("city,x\n{text}")).unwrap();
    let encoder = encode::Encoder::fit(&table, |_| ()).unwrap();
    let description = describe::Description::new(&table, &encoder);
    assert_eq!(description.columns[0].width, 300);
    let text = description.to_string();
    assert!(text.starts_with("600 rows, 2 columns; an encoded row has "), "{text}");
    assert!(text.contains("slow: column `city` takes up 300 of"), "{text}");
    assert!(serde_json::to_string(&description).unwrap().contains("\"kind\":\"category\""));
}

#[test]
fn a_gzipped_file_is_the_same_table_and_a_cut_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = every_kind();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let plain = Table::read(&file(&folder, "a.csv", text.as_bytes()), &TableOptions::default()).unwrap();
    // The bytes determine the format, not the name.
    for name in ["a.csv.gz", "b.csv"] {
        let read = Table::read(&file(&folder, name, &packed), &TableOptions::default()).unwrap();
        assert_eq!(read.content_hash(), plain.content_hash());
    }
    let cut = file(&folder, "cut.csv.gz", &packed[..packed.len() - 9]);
    assert!(matches!(Table::read(&cut, &TableOptions::default()), Err(Error::Io { .. })));
}

#[test]
fn an_endless_row_and_a_device_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, b"a,b\n1,").unwrap();
    for _ in 0..80 {
        std::io::Write::write_all(&mut packed, &[b'x'; 1 << 20]).unwrap();
    }
    let endless = file(&folder, "endless.csv.gz", &packed.finish().unwrap());
    let error = Table::read(&endless, &TableOptions::default()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("a row, in bytes,"), "{error}");
    if cfg!(unix) {
        let error = Table::read(std::path::Path::new("/dev/zero"), &TableOptions::default()).unwrap_err();
        assert!(error.to_string().contains("a device"), "{error}");
    }
}
