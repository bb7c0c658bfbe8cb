//! quantiles.json of a run: the quantile maps of a calibrated model of table rows.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use waxwork_data::table::encode::Encoder;
use waxwork_data::table::quantile_map::QuantileMaps;
use waxwork_data::table::{TableOptions, csv};
use waxwork_fuzz::seed;

/// An encoder with maps, and the rows that these were fitted to.
static FITTED: LazyLock<(Encoder, Vec<f32>)> = LazyLock::new(|| {
    let row = |i: u32| format!("{},{}.5,town {}\n", i * 7919 % 60, i * i, i % 4);
    let text = format!("age,size,town\n{}", (0..300).map(row).collect::<String>());
    let table = csv::read_from("t.csv".as_ref(), text.as_bytes(), &TableOptions::default()).unwrap();
    let encoder = Encoder::fit(&table, |_| ()).unwrap();
    let encoded = encoder.bind(&table).unwrap();
    let width = encoded.layout().width();
    let mut rows = vec![0.0; table.rows() * width];
    rows.chunks_exact_mut(width).enumerate().for_each(|(row, out)| encoded.write_row(row, out));
    let all: Vec<u32> = (0..table.rows() as u32).collect();
    let maps = QuantileMaps::fit(&encoder, &table, &all, &rows).unwrap();
    (encoder.with_quantile_maps(maps).unwrap(), rows)
});

fuzz_target!(
    init: {
        seed("quantiles", "two columns", &serde_json::to_vec(FITTED.0.quantile_maps().unwrap()).unwrap());
    },
    |bytes: &[u8]| {
        let Ok(maps) = serde_json::from_slice::<QuantileMaps>(bytes) else { return };
        let (encoder, rows) = &*FITTED;
        let Ok(encoder) = encoder.clone().with_quantile_maps(Some(maps)) else { return };
        let table = encoder.decode_generated(rows, 7).unwrap();
        table.write_csv(&mut Vec::<u8>::new()).unwrap();
    }
);
