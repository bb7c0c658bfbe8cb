//! Maps against their closed form, rows that come back from distorted scalars, and maps that do not fit.

use std::path::Path;

use proptest::prelude::*;

use super::super::{TableOptions, csv};
use super::*;

/// The map from generated scalars to real numbers; the scalars may have any order.
fn map(generated: &[f32], real: &[f64]) -> QuantileMap {
    QuantileMap::fit(generated.to_vec(), real.to_vec()).unwrap()
}

fn mapped(map: &QuantileMap, generated: &[f32]) -> Vec<f64> {
    generated.iter().map(|scalar| map.real.number(map.rank(f64::from(*scalar)))).collect()
}

/// `count` scalars at equal distances in (−1, 1), in another order.
fn uniform(count: usize) -> Vec<f32> {
    let scalar = |i: usize| (2.0 * ((i * 7919 % count) as f64 + 0.5) / count as f64 - 1.0) as f32;
    (0..count).map(scalar).collect()
}

fn count(numbers: &[f64], number: f64) -> usize {
    numbers.iter().filter(|own| **own == number).count()
}

/// 47 of 100 rows have the number 40; each other number is in one row.
#[test]
fn every_number_comes_back_with_its_share() {
    let others = (15..40).chain(41..69).map(f64::from);
    let real: Vec<f64> = others.chain([40.0; 47]).collect();
    assert_eq!(real.len(), 100);
    // More and fewer scalars than a map has quantiles.
    for (scalars, each) in [(1000, 10), (10_000, 100)] {
        let generated = uniform(scalars);
        let numbers = mapped(&map(&generated, &real), &generated);
        assert_eq!(count(&numbers, 40.0), 47 * each, "{scalars}");
        for number in (15..40).chain(41..69) {
            assert_eq!(count(&numbers, f64::from(number)), each, "{scalars}: {number}");
        }
    }
}

/// Too many distinct numbers for steps: a frequent one keeps its share up to a quantile at either end.
#[test]
fn a_frequent_number_among_many_keeps_its_share() {
    let real: Vec<f64> = (0..3000).map(|i| f64::from(i) + 0.25).chain([1500.0; 2660]).collect();
    let generated = uniform(20_000);
    let map = map(&generated, &real);
    assert!(matches!(&map.real, Numbers::Quantiles(numbers) if numbers.len() == PARTS + 1));
    let share = count(&mapped(&map, &generated), 1500.0) as f64 / 20_000.0;
    assert!((share - 0.47).abs() < 2.5 / PARTS as f64, "{share}");
}

#[test]
fn equal_distributions_keep_every_number() {
    let bent = |scalar: &f32| scalar.powi(3) * 0.9;
    let generated: Vec<f32> = uniform(5000).iter().map(bent).collect();
    let number = |scalar: &f32| 38.0 + 4.0 * 13.0 * f64::from(*scalar);
    let real: Vec<f64> = generated.iter().map(number).collect();
    for (scalar, found) in generated.iter().zip(mapped(&map(&generated, &real), &generated)) {
        assert!((found - number(scalar)).abs() < 1e-3, "{found} for {scalar}");
    }
}

#[test]
fn equal_scalars_have_their_mean_rank() {
    let real: Vec<f64> = (0..100).map(f64::from).collect();
    let mut generated = uniform(100);
    generated.iter_mut().for_each(|scalar| *scalar = scalar.min(0.4));
    // The thirty greatest are 0.4: the mean of 70 to 99, up to half a rank.
    assert!((84.0..=86.0).contains(&mapped(&map(&generated, &real), &[0.4])[0]));
    assert!((49.0..=50.0).contains(&mapped(&map(&[0.3; 50], &real), &[0.3])[0]));
    // Scalars beyond those that the map was fitted to.
    assert_eq!(mapped(&map(&[0.3; 50], &real), &[-1.0, 0.2, 0.4, 1.0]), [0.0, 0.0, 99.0, 99.0]);
    assert_eq!(mapped(&map(&generated, &[7.0; 20]), &[-0.5, 0.4]), [7.0, 7.0]);
}

#[test]
fn a_mode_of_few_rows_has_no_map() {
    let real: Vec<f64> = (0..LEAST).map(|i| i as f64).collect();
    assert!(QuantileMap::fit(uniform(LEAST), real.clone()).is_some());
    assert!(QuantileMap::fit(uniform(LEAST - 1), real.clone()).is_none());
    assert!(QuantileMap::fit(uniform(LEAST), real[1..].to_vec()).is_none());
    assert!(QuantileMap::fit(Vec::new(), Vec::new()).is_none());
}

proptest! {
    #[test]
    fn greater_scalars_never_get_smaller_numbers(
        mut generated in prop::collection::vec(-1.0f32..1.0, 16..300),
        ties in prop::collection::vec(0usize..16, 0..40),
        real in prop::collection::vec(-1e6f64..1e6, 16..1500),
        whole: bool,
        mut scalars in prop::collection::vec(-1.0f32..1.0, 50),
    ) {
        generated.extend(ties.iter().map(|tie| generated[*tie]).collect::<Vec<_>>());
        let rounded = |number: &f64| if whole { (number / 1e5).round() } else { *number };
        let real: Vec<f64> = real.iter().map(rounded).collect();
        let map = map(&generated, &real);
        scalars.extend(&generated);
        scalars.sort_by(f32::total_cmp);
        let numbers = mapped(&map, &scalars);
        prop_assert!(numbers.is_sorted());
        let is_within = |number: &f64| {
            real.iter().any(|own| own <= number) && real.iter().any(|own| own >= number)
        };
        prop_assert!(numbers.iter().all(is_within));
        prop_assert!(!whole || numbers.iter().all(|number| real.contains(number)));
        let json = serde_json::to_string(&map).unwrap();
        prop_assert_eq!(serde_json::from_str::<QuantileMap>(&json).unwrap(), map);
    }
}

/// A table of integers, a third of which are 40, of numbers with decimals and nulls, and of categories.
fn table() -> Table {
    let row = |i: u32| {
        let hours = if i.is_multiple_of(3) { 40 } else { 10 + i * 7919 % 61 };
        let cost = match i % 9 {
            0 => String::new(),
            _ => format!("{:.2}", 200.0 + f64::from(i * 104_729 % 50_000) / 100.0),
        };
        format!("{hours},{cost},{}\n", ["a", "b"][i as usize % 2])
    };
    let text = format!("hours,cost,kind\n{}", (0..900).map(row).collect::<String>());
    let options =
        serde_json::from_str::<TableOptions>(r#"{"columns":{"hours":{"kind":"integer"}}}"#).unwrap();
    csv::read_from(Path::new("x.csv"), text.as_bytes(), &options).unwrap()
}

/// The encoder of a table with maps of rows whose scalars are distorted, and these rows.
fn distorted(table: &Table) -> (Encoder, Vec<f32>) {
    let encoder = Encoder::fit(table, |_| ()).unwrap();
    let encoded = encoder.bind(table).unwrap();
    let width = encoder.layout().width();
    let mut rows = vec![0.0; width * table.rows()];
    rows.chunks_exact_mut(width).enumerate().for_each(|(row, out)| encoded.write_row(row, out));
    for segment in &encoder.layout().segments {
        if segment.shape.width() == 1 {
            rows.chunks_exact_mut(width).for_each(|row| row[segment.start] = 0.3 + 0.4 * row[segment.start]);
        }
    }
    let all: Vec<u32> = (0..table.rows() as u32).collect();
    let maps = QuantileMaps::fit(&encoder, table, &all, &rows).unwrap();
    assert!(maps.is_some());
    (encoder.with_quantile_maps(maps).unwrap(), rows)
}

#[test]
fn generated_rows_get_the_numbers_of_real_rows_and_other_rows_do_not() {
    let table = table();
    let (encoder, rows) = distorted(&table);
    let (plain, generated) = (encoder.decode(&rows, 0).unwrap(), encoder.decode_generated(&rows, 0).unwrap());
    for column in 0..2 {
        let equal = |other: &Table| {
            let same = |row: &usize| table.cell_text(*row, column) == other.cell_text(*row, column);
            (0..table.rows()).filter(same).count()
        };
        // All but the rows of modes without a map.
        assert!(equal(&generated) > 850 && equal(&plain) < 700, "{}, {}", equal(&generated), equal(&plain));
        let nulls = |table: &Table| table.columns()[column].counts().last().copied();
        assert_eq!(nulls(&generated), nulls(&table));
    }
    assert_eq!(generated.columns()[2], plain.columns()[2]);
    let without = encoder.clone().with_quantile_maps(None).unwrap();
    assert_eq!(without.decode_generated(&rows, 0).unwrap(), plain);
    // A file holds the maps apart from the encoder.
    assert_eq!(serde_json::to_string(&without).unwrap(), serde_json::to_string(&encoder).unwrap());
}

#[test]
fn the_number_of_threads_does_not_change_maps() {
    let maps = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (encoder, _) = pool.install(|| distorted(&table()));
        serde_json::to_vec(encoder.quantile_maps().unwrap()).unwrap()
    };
    assert_eq!(maps(1), maps(2));
}

#[test]
fn maps_come_back_from_json_and_fit_only_their_encoder() {
    let (encoder, _) = distorted(&table());
    let maps = encoder.quantile_maps().unwrap().clone();
    let json = serde_json::to_string(&maps).unwrap();
    assert_eq!(serde_json::from_str::<QuantileMaps>(&json).unwrap(), maps);
    let point = encoder.modes(0).iter().position(Mode::is_point).unwrap();
    let refused = |change: &dyn Fn(&mut QuantileMaps)| {
        let mut changed = maps.clone();
        change(&mut changed);
        encoder.clone().with_quantile_maps(Some(changed)).unwrap_err().to_string()
    };
    let modes = encoder.modes(1).len();
    assert_eq!(refused(&|maps| maps.columns.truncate(2)), "invalid quantile map: maps of 2 columns for 3");
    assert_eq!(
        refused(&|maps| maps.columns[1].push(None)),
        format!("invalid quantile map of column `cost`: maps of {} modes for {modes}", modes + 1)
    );
    assert_eq!(
        refused(&|maps| maps.columns[2].push(None)),
        "invalid quantile map of column `kind`: maps of 1 modes for 0"
    );
    let of_point = refused(&|maps| maps.columns[0][point] = Some(map(&uniform(20), &[3.0; 20])));
    assert!(of_point.contains("column `hours`: a map of a point"), "{of_point}");
}

#[test]
fn a_map_that_is_no_map_is_refused() {
    let read = |generated: &str, real: &str| {
        let json = format!(r#"{{"generated":{generated},"real":{real}}}"#);
        serde_json::from_str::<QuantileMap>(&json).map_err(|error| error.to_string())
    };
    let steps = r#"{"steps":{"numbers":[1,2],"rows":[3,5]}}"#;
    assert!(read("[-1,0.5,0.5]", steps).is_ok() && read("[0,1]", r#"{"quantiles":[1,1]}"#).is_ok());
    for generated in ["[]", "[0]", "[0.5,0.1]", "[-1.5,0]"] {
        let error = read(generated, steps).unwrap_err();
        assert!(error.contains("its scalars are not ascending"), "{generated}: {error}");
    }
    for real in [
        r#"{"steps":{"numbers":[],"rows":[]}}"#,
        r#"{"steps":{"numbers":[1,2],"rows":[3]}}"#,
        r#"{"steps":{"numbers":[1,2],"rows":[3,3]}}"#,
        r#"{"steps":{"numbers":[1,2],"rows":[0,3]}}"#,
        r#"{"steps":{"numbers":[2,2],"rows":[3,5]}}"#,
        r#"{"steps":{"numbers":[2,1e101],"rows":[3,5]}}"#,
        r#"{"quantiles":[1]}"#,
        r#"{"quantiles":[2,1]}"#,
    ] {
        let error = read("[0,1]", real).unwrap_err();
        assert!(error.contains("its numbers are neither ascending"), "{real}: {error}");
    }
    assert!(read("[0,1]", r#"{"steps":{"numbers":[1],"rows":[3],"more":1}}"#).is_err());
    let long = format!("[{}]", vec!["0"; PARTS + 2].join(","));
    assert!(read(&long, steps).is_err());
}
