//! Rows in pairs with their counterparts.

use super::*;

const NAMES: [&str; 2] = ["before", "after"];
/// A handful of rows is too few to infer an identifier.
const NAMED: &str = r#"{"columns":{"id":{"kind":"identifier"}}}"#;

#[test]
fn every_row_is_followed_by_its_counterpart_in_the_same_format() {
    let before = "id,x,town,day,n\nP1,1.50,york,2024-01-02,3\nP2,2.25,hull,2024-01-03,\n";
    let before = read_with(before, &options(NAMED)).unwrap();
    let after = "n,id,x,town,day\n7,P8,9.5,leeds,2024-02-01\n,P9,1.5,york,2024-01-02\n";
    let after = csv::read_from_as(Path::new("after.csv"), after.as_bytes(), before.schema()).unwrap();
    let pairs = before.paired(&after, "which", NAMES).unwrap();
    assert_eq!(
        written(&pairs),
        "which,id,x,town,day,n\n\
         before,P1,1.50,york,2024-01-02,3\n\
         after,P1,9.50,leeds,2024-02-01,7\n\
         before,P2,2.25,hull,2024-01-03,\n\
         after,P2,1.50,york,2024-01-02,\n"
    );
    assert_eq!((pairs.rows(), pairs.schema().columns.len()), (4, 6));
    assert_eq!(pairs.schema().columns[1..], before.schema().columns[..]);
    // Each value has one entry, and the entries are in order.
    let Values::Numbers(numbers) = pairs.columns()[2].values() else { panic!("x has numbers") };
    assert_eq!(numbers, &[1.5, 2.25, 9.5]);
    let Values::Text(towns) = pairs.columns()[3].values() else { panic!("town has texts") };
    assert_eq!(towns.iter().collect::<Vec<_>>(), ["hull", "leeds", "york"]);
}

#[test]
fn the_first_column_has_a_name_of_its_own() {
    let table = read("which,_which\n1.5,a\n2.5,b\n").unwrap();
    let pairs = table.paired(&table, "which", NAMES).unwrap();
    assert!(written(&pairs).starts_with("__which,which,_which\nbefore,1.5,a\nafter,1.5,a\n"));
}

#[test]
fn categories_that_are_numbers_stay_in_the_order_of_their_size() {
    let options = options(r#"{"columns":{"a":{"kind":"category"}}}"#);
    let above = read_with("a\n9\n10\n", &options).unwrap();
    let below = csv::read_from_as(Path::new("b.csv"), &b"a\n2\n10\n"[..], above.schema()).unwrap();
    let pairs = above.paired(&below, "which", NAMES).unwrap();
    let Values::Text(texts) = pairs.columns()[1].values() else { panic!("a has texts") };
    assert_eq!(texts.iter().collect::<Vec<_>>(), ["2", "9", "10"]);
    assert_eq!(written(&pairs), "which,a\nbefore,9\nafter,2\nbefore,10\nafter,10\n");
}

#[test]
fn rows_of_other_tables_are_no_counterparts() {
    let table = read("a,b\n1.5,x\n2.5,y\n").unwrap();
    let refused = |text: &str| {
        let error = table.paired(&read(text).unwrap(), "which", NAMES).unwrap_err();
        assert!(matches!(error, Error::Schema { .. }), "{error}");
    };
    refused("a,c\n1.5,x\n2.5,y\n");
    refused("a,b\nu,x\nv,y\n");
    refused("a,b\n1.5,x\n2.5,y\n3.5,x\n");
}

#[cfg(feature = "parquet")]
#[test]
fn gaps_that_the_schema_does_not_know_are_written_to_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.parquet");
    let table = read_with("id,x\nP1,1.5\nP2,2.5\nP3,3.5\n", &options(NAMED)).unwrap();
    let other = file(&folder, "x.csv", b"id,x\nP7,1.5\n,2.5\n");
    let other = Table::read_as(&other, table.schema(), false).unwrap();
    let pairs = other.paired(&other, "which", NAMES).unwrap();
    pairs.write(&path).unwrap();
    let back = Table::read_as(&path, pairs.schema(), false).unwrap();
    assert_eq!((back.rows(), back.cell_text(1, 0), back.cell_text(1, 1)), (4, "after".into(), "P7".into()));
    assert!(back.columns()[1].is_null(2) && back.columns()[1].is_null(3));
}
