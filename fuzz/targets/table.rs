//! Comma-separated values: types are inferred, rows are encoded, decoded and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::{TableOptions, csv};
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        let rows: String = (0..30).map(|i| format!("{i},{}.5,town {},2024-01-{:02},\"a \"\"b\"\"\",\r\n", i * i, i % 4, 1 + i % 28)).collect();
        seed("table", "kinds", format!("\u{feff}id,size,town,day,note,none\r\n{rows}").as_bytes());
        seed("table", "semicolons", b"a;b\n1,5;yes\n2,5;no\n;yes\n");
        seed("table", "ragged", b"a,b\n1\n2,3,4\n");
        seed("table", "latin", b"name\ncaf\xe9\n");
    },
    |bytes: &[u8]| {
        let path = "fuzzed.csv".as_ref();
        let Ok(table) = csv::read_from(path, bytes, &TableOptions::default()) else { return };
        let mut written = Vec::new();
        table.write_csv(&mut written).unwrap();
        let Ok(encoder) = Encoder::fit(&table, |_| ()) else { return };
        let Ok(encoded) = encoder.bind(&table) else { return };
        let mut row = vec![0.0; encoded.layout().width()];
        for index in 0..encoded.rows().min(20) {
            encoded.write_row(index, &mut row);
            if !row.is_empty() {
                encoder.decode_row(&row).unwrap();
            }
        }
    }
);
