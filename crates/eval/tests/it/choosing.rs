//! The judge that chooses checkpoints: real samples are as close as the floor says, and a collapse is noticed.

use waxwork_core::Device;
use waxwork_data::{DataConfig, load};
use waxwork_eval::{Chooser, Extractor, Judge};

#[test]
fn real_samples_are_close_and_a_collapse_is_noticed() {
    let cache = tempfile::tempdir().unwrap();
    let data = load(&DataConfig { limit: Some(4000), ..DataConfig::named("ring") }).unwrap();
    let samples = data.validation.subset(300);
    let chooser = Chooser::of(&data, &samples, cache.path(), |_, _| {}).unwrap();

    let real = data.test.subset(300).batch(&(0..300).collect::<Vec<_>>(), &Device::Cpu).unwrap().inputs;
    let close = chooser.closeness(&real).unwrap();
    assert!(close.frechet < 3.0 * close.floor, "{close:?}");
    assert!(close.recall > 0.5 && close.precision > 0.5, "{close:?}");
    assert_eq!(close.collapse(), None);

    // One sample over and over has one class; two modes of eight have two.
    let one = real.narrow(0, 0, 1).unwrap().broadcast_as(real.shape()).unwrap().contiguous().unwrap();
    let collapsed = chooser.closeness(&one).unwrap();
    assert!(collapsed.frechet > 10.0 * close.frechet, "{collapsed:?}");
    assert!(collapsed.class_entropy.abs() < 1e-9);
    assert!(collapsed.collapse().unwrap().contains("entropy"));

    // It is another judge than the one that measures, and both stay in the cache.
    let [measures, chooses] =
        [Judge::of, Judge::that_chooses].map(|judge| judge(&data, cache.path(), |_, _| {}).unwrap());
    assert_ne!(measures.sha256(), chooses.sha256());
    let again = Chooser::of(&data, &samples, cache.path(), |_, _| panic!("trained again")).unwrap();
    assert_eq!(again.closeness(&real).unwrap(), close);

    // A judge of fewer samples is another one, although they belong to the same data set.
    let few = load(&DataConfig { limit: Some(300), ..DataConfig::named("ring") }).unwrap();
    assert_eq!(few.info.identity, data.info.identity);
    let of_few = Judge::that_chooses(&few, cache.path(), |_, _| {}).unwrap();
    assert_ne!(of_few.sha256(), chooses.sha256());
}
