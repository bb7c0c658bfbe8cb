//! Rows to vectors, vectors to rows, and conditions.

use proptest::prelude::*;

use super::super::encode::{Encoder, Shape};
use super::*;

fn encoded_rows(encoder: &Encoder, table: &Table) -> Vec<f32> {
    let encoded = encoder.bind(table).unwrap();
    let width = encoder.layout().width();
    let mut all = vec![7.0; width * table.rows()];
    all.chunks_exact_mut(width).enumerate().for_each(|(row, out)| encoded.write_row(row, out));
    all
}

#[test]
fn a_vector_is_scalars_and_choices() {
    let table = read(&every_kind()).unwrap();
    let encoder = Encoder::fit(&table, |_| ()).unwrap();
    let rows = encoded_rows(&encoder, &table);
    let width = encoder.layout().width();
    let mut at = 0;
    for segment in &encoder.layout().segments {
        assert_eq!(segment.start, at);
        at += segment.shape.width();
        for row in rows.chunks_exact(width) {
            let part = &row[segment.start..][..segment.shape.width()];
            match segment.shape {
                Shape::Scalar => assert!(part[0].abs() <= 0.99),
                Shape::Choice(_) => {
                    assert!(
                        part.iter().filter(|p| **p == 1.0).count() == 1 && part.iter().sum::<f32>() == 1.0
                    );
                }
            }
        }
    }
    assert_eq!(at, width);
    // Identifiers and constants are not encoded; nulls are.
    let columns: Vec<usize> = encoder.layout().segments.iter().map(|segment| segment.column).collect();
    assert!(!columns.contains(&0) && !columns.contains(&8));
    assert_eq!(encoder.null_place(9), Some(encoder.modes(9).len()));
    assert_eq!((encoder.null_place(7), encoder.null_place(5), encoder.null_place(0)), (Some(3), None, None));
}

#[test]
fn rows_come_back_from_their_vectors() {
    let table = read(&every_kind()).unwrap();
    let encoder = Encoder::fit(&table, |_| ()).unwrap();
    let back = encoder.decode(&encoded_rows(&encoder, &table), 0).unwrap();
    for (index, schema) in table.schema().columns.iter().enumerate() {
        for row in 0..60 {
            let (own, other) = (table.cell_text(row, index), back.cell_text(row, index));
            match schema.name.as_str() {
                "id" => assert_eq!(other, format!("P{:04}", 60 + row)),
                // 24 bits for the seconds of a month.
                "at" => assert!(
                    (table.columns()[index].number(row).unwrap()
                        - back.columns()[index].number(row).unwrap())
                    .abs()
                        < 2.0
                ),
                _ => assert_eq!(own, other, "{} of row {row}", schema.name),
            }
        }
    }
    assert_eq!(encoder.decode(&encoded_rows(&encoder, &table), 100).unwrap().cell_text(0, 0), "P0160");
}

#[test]
fn an_encoder_comes_back_from_json() {
    let table = read(&every_kind()).unwrap();
    let encoder = Encoder::fit(&table, |_| ()).unwrap();
    let json = serde_json::to_string(&encoder).unwrap();
    let back: Encoder = serde_json::from_str(&json).unwrap();
    assert_eq!(back, encoder);
    let broken = json.replacen("\"sd\":", "\"sd\":-", 1);
    assert!(serde_json::from_str::<Encoder>(&broken).unwrap_err().to_string().contains("not finite"));
    let broken = json.replacen("\"modes\":[[],", "\"modes\":[", 1);
    assert!(
        serde_json::from_str::<Encoder>(&broken)
            .unwrap_err()
            .to_string()
            .contains("modes of 10 columns for 11")
    );
}

#[test]
fn the_mode_of_a_value_is_drawn_by_its_probability_and_always_the_same() {
    // Two clusters that overlap at 5: values there may belong to either.
    let heap = |centre: f64, i: i32| centre + 3.0 * f64::from(i * 7919 % 1000 - 500) / 500.0;
    let text: String =
        (0..4000).map(|i| format!("{:.3},x\n", heap(if i % 2 == 0 { 3.0 } else { 7.0 }, i))).collect();
    let table = read(&format!("a,b\n{text}")).unwrap();
    let encoder = Encoder::fit(&table, |_| ()).unwrap();
    let encoded = encoder.bind(&table).unwrap();
    let modes = encoder.modes(0);
    let (mut expected, mut variance, mut drawn) =
        (vec![0.0; modes.len()], vec![0.0; modes.len()], vec![0.0; modes.len()]);
    let mut shares = vec![0.0; modes.len()];
    for row in 0..4000 {
        modes::responsibilities(modes, table.columns()[0].number(row).unwrap(), &mut shares);
        for (k, share) in shares.iter().enumerate() {
            expected[k] += share;
            variance[k] += share * (1.0 - share);
        }
        drawn[encoded.place(row, 0).unwrap()] += 1.0;
    }
    for k in 0..modes.len() {
        assert!((expected[k] - drawn[k]).abs() <= 4.5 * variance[k].sqrt() + 1e-6, "{expected:?} {drawn:?}");
    }
    let bind = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| encoded_rows(&Encoder::fit(&table, |_| ()).unwrap(), &table))
    };
    assert_eq!(bind(1), bind(3));
}

#[test]
fn a_value_that_many_rows_have_comes_back_exactly_whatever_the_scalar_is() {
    let text: String =
        (0..200).map(|i| format!("{},x\n", if i % 4 == 0 { 1000 + i * i } else { 0 })).collect();
    let table = read(&format!("gain,b\n{text}")).unwrap();
    let encoder = Encoder::fit(&table, |_| ()).unwrap();
    let point = encoder.modes(0).iter().position(modes::Mode::is_point).unwrap();
    let mut row = vec![0.0; encoder.layout().width()];
    (row[0], row[1 + point]) = (0.7, 1.0);
    assert_eq!(encoder.decode_row(&row).unwrap()[0], super::super::decode::Cell::Number(0.0));
}

proptest! {
    #[test]
    fn numbers_come_back_unless_they_are_far_out(
        cells in prop::collection::vec((-50_000i64..50_000, prop::bool::weighted(0.1)), 30..120),
    ) {
        let text: String = cells.iter().enumerate().map(|(i, (cell, null))| match null {
            true => format!(",{}\n", i % 3),
            false => format!("{:.2},{}\n", *cell as f64 / 100.0, i % 3),
        }).collect();
        let table = read(&format!("a,b\n{text}")).unwrap();
        let encoder = Encoder::fit(&table, |_| ()).unwrap();
        let rows = encoded_rows(&encoder, &table);
        let back = encoder.decode(&rows, 0).unwrap();
        for row in 0..table.rows() {
            let far = rows[row * encoder.layout().width()].abs() >= 0.99;
            let (own, other) = (table.columns()[0].number(row), back.columns()[0].number(row));
            prop_assert_eq!(own.is_none(), other.is_none());
            if let (Some(own), Some(other), false) = (own, other, far) {
                prop_assert_eq!(own, other);
            }
            prop_assert_eq!(table.cell_text(row, 1), back.cell_text(row, 1));
        }
    }

    #[test]
    fn any_vector_decodes_to_what_the_schema_allows(values in prop::collection::vec(-3.0f32..3.0, 400)) {
        let table = read(&every_kind()).unwrap();
        let encoder = Encoder::fit(&table, |_| ()).unwrap();
        let width = encoder.layout().width();
        let rows = &values[..values.len() / width * width];
        let back = encoder.decode(rows, 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        back.write(&path).unwrap();
        let again = Table::read_as(&path, encoder.schema(), false).unwrap();
        prop_assert_eq!(again.content_hash(), back.content_hash());
        encoder.bind(&again).unwrap();
        for (column, schema) in again.columns().iter().zip(&encoder.schema().columns) {
            for row in 0..again.rows() {
                if let (Some(value), Kind::Number { min, max, .. } | Kind::Integer { min, max, .. }) = (column.number(row), &schema.kind) {
                    prop_assert!(value >= *min && value <= *max);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_changed_encoder_is_refused_or_makes_rows(
        at in 0.0f64..1.0,
        with in prop::sample::select(vec!["9", "0", "-", "e", "1e9", "\"", "null", "x", "%", "[]", ","]),
        remove in 0usize..4,
    ) {
        static FITTED: std::sync::LazyLock<(Table, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let table = read(&every_kind()).unwrap();
            let json = serde_json::to_vec(&Encoder::fit(&table, |_| ()).unwrap()).unwrap();
            (table, json)
        });
        let (table, mut json) = FITTED.clone();
        let at = (at * json.len() as f64) as usize;
        json.splice(at..(at + remove).min(json.len()), with.bytes());
        if let Ok(encoder) = serde_json::from_slice::<Encoder>(&json) {
            let width = encoder.layout().width();
            let rows: Vec<f32> = (0..3 * width).map(|i| (i % 5) as f32 - 2.0).collect();
            let decoded = encoder.decode(&rows, u64::MAX).unwrap();
            written(&decoded);
            let _ = encoder.bind(&table);
        }
    }
}
