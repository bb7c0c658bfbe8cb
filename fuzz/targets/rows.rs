//! Rows for a run on a table: comma-separated values are read as the columns of a table.json, encoded,
//! decoded, and paired with the decoded rows. An input is a table.json on the first line, then the rows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::{TableOptions, csv};
use waxwork_fuzz::seed;

/// Rows to encode.
const FEW: usize = 20;

fuzz_target!(
    init: {
        let rows: String = (0..30).map(|i| format!("{i},{}.5,town {},2024-01-{:02},{}\n", i * i, i % 4, 1 + i % 28, ["yes", "no", ""][i % 3])).collect();
        let text = format!("id,size,town,day,member\n{rows}");
        let table = csv::read_from("t.csv".as_ref(), text.as_bytes(), &TableOptions::default()).unwrap();
        let encoder = serde_json::to_vec(&Encoder::fit(&table, |_| ()).unwrap()).unwrap();
        let add = |name: &str, rows: &str| seed("rows", name, &[&encoder[..], b"\n", rows.as_bytes()].concat());
        add("same", &text);
        add("other order", "town;size;id;member;day\ntown 1;-7;31;;2024-02-30\n\"town 2\";1e9;32;yes;2024-02-03\n");
        add("other values", "id,size,town,day,member\n,,paris,,maybe\n");
    },
    |bytes: &[u8]| {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
        let Ok(encoder) = serde_json::from_slice::<Encoder>(&bytes[..end]) else { return };
        let path = "fuzzed.csv".as_ref();
        let Ok(table) = csv::read_from_as(path, &bytes[end + 1..], encoder.schema()) else { return };
        let Ok(encoded) = encoder.bind(&table) else { return };
        let width = encoded.layout().width();
        if width == 0 {
            return;
        }
        let rows: Vec<usize> = (0..table.rows().min(FEW)).collect();
        let mut vectors = vec![0.0; rows.len() * width];
        for (row, vector) in vectors.chunks_exact_mut(width).enumerate() {
            encoded.write_row(row, vector);
        }
        let (few, made) = (table.subset(&rows), encoder.decode(&vectors, 7).unwrap());
        let Ok(pairs) = few.paired(&made, "version", ["original", "reconstruction"]) else { return };
        for row in rows {
            for column in 0..few.columns().len() {
                assert_eq!(pairs.cell_text(2 * row, column + 1), few.cell_text(row, column));
            }
        }
        pairs.write_csv(&mut Vec::<u8>::new()).unwrap();
    }
);
