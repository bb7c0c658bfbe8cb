//! table.json of a run: a schema and its encoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::{TableOptions, csv};
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        let rows: String = (0..30).map(|i| format!("{i},{}.5,town {},2024-01-{:02},\n", i * i, i % 4, 1 + i % 28)).collect();
        let text = format!("id,size,town,day,none\n{rows}");
        let table = csv::read_from("t.csv".as_ref(), text.as_bytes(), &TableOptions::default()).unwrap();
        let encoder = Encoder::fit(&table, |_| ()).unwrap();
        seed("schema", "kinds", &serde_json::to_vec(&encoder).unwrap());
    },
    |bytes: &[u8]| {
        let Ok(encoder) = serde_json::from_slice::<Encoder>(bytes) else { return };
        let width = encoder.layout().width();
        let Ok(table) = encoder.decode(&vec![0.25; 3 * width], 7) else { return };
        let mut written = Vec::new();
        table.write_csv(&mut written).unwrap();
        _ = encoder.sample();
    }
);
