//! Labels that are wrong are doubted, and those that are right are not.

use std::sync::Arc;

use waxwork_core::Kind;
use waxwork_core::rng::Stream;
use waxwork_data::{Dataset, DatasetInfo, InMemory};
use waxwork_eval::judge::named;
use waxwork_eval::second_opinions;

/// Points around three corners, every fifth with the label of the next corner.
#[test]
fn a_wrong_label_is_found_by_a_judge_that_has_not_seen_it() {
    let is_wrong = |i: u32| i.is_multiple_of(5);
    let stream = Stream::new(3, "points", 0);
    let points = |count: u32, noise: bool| {
        let (mut bytes, mut labels) = (Vec::new(), Vec::new());
        for i in 0..count {
            let class = i % 3;
            let mut draws = stream.at(u64::from(i));
            for centre in [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]][class as usize] {
                bytes.extend((centre + 0.1 * draws.normal()).to_le_bytes());
            }
            labels.push(if noise && is_wrong(i) { (class + 1) % 3 } else { class });
        }
        InMemory::new(Kind::Points { dimensions: 2 }, bytes, Some(labels)).unwrap()
    };
    let (train, test) = (points(900, true), points(90, false));
    let info = DatasetInfo::of("corners", &["a", "b", "c"].map(str::to_owned), &train, &test).unwrap();
    let data = Dataset::new(info, Arc::new(train), Arc::new(test), None, None).unwrap();
    let opinions = second_opinions(&data, |_, _| {}).unwrap();
    assert_eq!(opinions.len(), data.train.len());
    let named = named(&opinions);
    let right =
        named.iter().zip(data.train.indices()).filter(|(named, index)| **named == **index % 3).count();
    let doubted = (0..named.len()).filter(|&place| Some(named[place]) != data.train.label(place));
    let found = doubted.clone().filter(|&place| is_wrong(data.train.indices()[place])).count();
    let wrong = data.train.indices().iter().filter(|index| is_wrong(**index)).count();
    let (doubted, all) = (doubted.count(), named.len());
    // A judge knows some wrong labels of its own half by heart, and misleads in their neighbourhood.
    assert!(right as f64 > 0.85 * all as f64, "{right} of {all}");
    assert!(found as f64 > 0.85 * wrong as f64, "{found} of {wrong} wrong labels");
    assert!(found as f64 > 0.6 * doubted as f64, "{found} of {doubted} that are doubted");
}
