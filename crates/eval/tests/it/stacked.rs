//! The modes of stacked digits, as classified by a judge of single digits.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::sync::Arc;

use waxwork_core::collective::OneProcess;
use waxwork_data::embedded::{Digits, Part};
use waxwork_data::stacked::{NAME, Stacked};
use waxwork_data::{Cached, Dataset, DatasetInfo, Source, Split};
use waxwork_eval::{Judging, Metric, Protocol};

fn stacked(part: Part, name: &str, count: usize) -> Arc<dyn Source> {
    let digits = Split::all(Arc::new(Cached::new(Digits::new(0, part)))).unwrap();
    Arc::new(Stacked::new(digits, name, 0, count).unwrap())
}

#[test]
fn a_judge_of_digits_counts_the_modes_of_stacks() {
    let cache = tempfile::tempdir().unwrap();
    let (train, test) = (stacked(Part::Train, "train", 3000), stacked(Part::Test, "test", 600));
    let info = DatasetInfo::new(NAME, train.kind(), &[], "stacks of generated digits");
    let one = Split::select(test.clone(), vec![5; 600]).unwrap();
    let data = Dataset::new(info, train, test, Some(300), None).unwrap();
    let measured = |generated: Split| -> Vec<Metric> {
        let judging = Judging {
            data: &data,
            generated,
            conditional: false,
            inception: None,
            accuracy: false,
            language_model: false,
            truth: None,
            round_trip: None,
            cache: cache.path(),
            collective: &OneProcess,
        };
        judging.metrics(&Protocol::new(), &mut |_, _, _| {}).unwrap()
    };
    let find = |metrics: &[Metric], name: &str| {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        (metric.value, metric.floor.unwrap())
    };
    // 600 draws cover 1,000 (1 − e^−0.6) = 451 modes; a channel that the judge misreads may add one.
    let real = measured(data.train.subset(600));
    let (covered, floor) = find(&real, "modes_covered");
    assert!((covered - 451.0).abs() < 60.0 && (floor - 451.0).abs() < 60.0, "{covered} {floor}");
    let collapsed = measured(one);
    assert_eq!(find(&collapsed, "modes_covered").0, 1.0);
    let (kl, of_real) = find(&collapsed, "mode_kl");
    assert!((kl - 1000f64.ln()).abs() < 1e-9 && of_real < 2.0, "{kl} {of_real}");
}
