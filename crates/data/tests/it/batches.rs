//! Splits, the loader and the evaluation batches: fixed, disjoint, resumable, and the same whatever the threads do.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::sync::Arc;

use candle_core::Device;
use proptest::prelude::*;
use waxwork_core::{Batch, ImageShape, Kind};
use waxwork_data::{Dataset, DatasetInfo, Error, InMemory, Loader, LoaderConfig, Result, Source, Split};

const SHAPE: ImageShape = ImageShape::new(1, 2, 3);

/// Image `i` is filled with `i mod 256` and has label `i mod 10`.
fn source(count: usize) -> Arc<dyn Source> {
    let pixels = (0..count).flat_map(|i| [(i % 256) as u8; 6]).collect();
    let labels = (0..count).map(|i| (i % 10) as u32).collect();
    Arc::new(InMemory::new(SHAPE, pixels, Some(labels)).unwrap())
}

fn dataset(count: usize, limit: Option<usize>) -> Dataset {
    let info = DatasetInfo::new("test", SHAPE, &[], "test 1");
    Dataset::new(info, source(count), source(50), None, limit).unwrap()
}

fn from_batch(batch_size: usize, first_batch: u64) -> LoaderConfig {
    LoaderConfig { first_batch, ..LoaderConfig::new(batch_size, 7) }
}

fn contents(batch: Batch) -> (Vec<u64>, Vec<f32>, Vec<u32>) {
    let images = batch.inputs.flatten_all().unwrap().to_vec1().unwrap();
    (batch.indices, images, batch.condition.class().unwrap().to_vec1().unwrap())
}

fn steps(split: &Split, from: u64, count: usize) -> Vec<(Vec<u64>, Vec<f32>, Vec<u32>)> {
    let loader = Loader::new(split, &from_batch(16, from), &Device::Cpu).unwrap();
    loader.take(count).map(|batch| contents(batch.unwrap())).collect()
}

#[test]
fn train_and_validation_are_disjoint_balanced_and_fixed() {
    let data = dataset(1200, None);
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (1100, 100, 50));
    let mut all = [data.train.indices(), data.validation.indices()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..1200).collect::<Vec<u32>>());
    for class in 0..10 {
        assert_eq!(data.validation.labels().unwrap().iter().filter(|&&l| l == class).count(), 10);
    }
    // Written down on the day it was made: another choice would make published numbers incomparable.
    assert_eq!(data.validation.indices()[..8], FIXED);
}
const FIXED: [u32; 8] = [26, 59, 110, 111, 125, 136, 152, 155];

#[test]
fn a_limit_is_balanced_and_nested_and_keeps_the_validation_part() {
    let (whole, small, smaller) = (dataset(1200, None), dataset(1200, Some(100)), dataset(1200, Some(40)));
    assert_eq!(small.train.len(), 100);
    assert_eq!(small.validation.indices(), whole.validation.indices());
    assert!(smaller.train.indices().iter().all(|i| small.train.indices().contains(i)));
    for class in 0..10 {
        assert_eq!(small.train.labels().unwrap().iter().filter(|&&l| l == class).count(), 10);
    }
    assert_eq!(dataset(1200, Some(5000)).train.len(), 1100);
}

#[test]
fn a_batch_holds_what_its_indices_say() {
    let data = dataset(1200, None);
    for (indices, images, labels) in steps(&data.train, 0, 3) {
        for (row, &index) in indices.iter().enumerate() {
            assert_eq!(labels[row], (index % 10) as u32);
            assert!(images[row * 6..(row + 1) * 6].iter().all(|&v| v == (index % 256) as f32 / 255.0));
        }
    }
}

#[test]
fn an_epoch_visits_every_image_at_most_once_and_epochs_differ() {
    let data = dataset(1200, None);
    let per_epoch = Loader::new(&data.train, &from_batch(16, 0), &Device::Cpu).unwrap().batches_per_epoch();
    assert_eq!(per_epoch, 68);
    let batches = steps(&data.train, 0, 136);
    let epoch = |n: usize| -> Vec<u64> {
        batches[n * 68..(n + 1) * 68].iter().flat_map(|(indices, ..)| indices.clone()).collect()
    };
    let (first, second) = (epoch(0), epoch(1));
    assert_ne!(first, second);
    for mut order in [first, second] {
        order.sort_unstable();
        order.dedup();
        assert_eq!(order.len(), 68 * 16);
        assert!(order.iter().all(|&i| data.train.indices().contains(&(i as u32))));
    }
}

#[test]
fn a_resumed_loader_gives_the_batches_of_an_unbroken_one() {
    let data = dataset(1200, None);
    let unbroken = steps(&data.train, 0, 150);
    for from in [1, 67, 68, 100] {
        assert_eq!(steps(&data.train, from, 20), unbroken[from as usize..from as usize + 20]);
    }
}

#[test]
fn flips_mirror_half_of_the_images_and_resume() {
    // Image i is i, i + 1, i + 2 in each row.
    let pixels = (0..200u8).flat_map(|i| [i, i + 1, i + 2, i, i + 1, i + 2]).collect();
    let split = Split::all(Arc::new(InMemory::new(SHAPE, pixels, None).unwrap())).unwrap();
    let take = |from: u64, count| -> Vec<(Vec<u64>, Vec<f32>)> {
        let loader =
            Loader::new(&split, &LoaderConfig { flip: true, ..from_batch(50, from) }, &Device::Cpu).unwrap();
        let flat = |batch: Batch| (batch.indices, batch.inputs.flatten_all().unwrap().to_vec1().unwrap());
        loader.take(count).map(|batch| flat(batch.unwrap())).collect()
    };
    let all = take(0, 8);
    let mut flipped = [0, 0];
    for (step, (indices, images)) in all.iter().enumerate() {
        for (row, &index) in indices.iter().enumerate() {
            let image: Vec<u64> =
                images[row * 6..row * 6 + 6].iter().map(|v| (v * 255.0).round() as u64).collect();
            let upright = [0, 1, 2, 0, 1, 2].map(|offset| index + offset);
            let mirrored = [2, 1, 0, 2, 1, 0].map(|offset| index + offset);
            assert!(image == upright || image == mirrored);
            flipped[step / 4] += usize::from(image == mirrored);
        }
    }
    assert!(flipped.iter().all(|n| (70..130).contains(n)), "{flipped:?}");
    assert_eq!(take(5, 3), all[5..]);
}

#[test]
fn parts_of_a_batch_are_its_rows() {
    let data = dataset(1200, None);
    let whole = steps(&data.train, 60, 12);
    let part = |number| -> Vec<_> {
        let config = LoaderConfig { part: (number, 4), ..from_batch(16, 60) };
        let loader = Loader::new(&data.train, &config, &Device::Cpu).unwrap();
        loader.take(12).map(|batch| contents(batch.unwrap())).collect()
    };
    let parts = [0, 1, 2, 3].map(part);
    for (step, (indices, images, labels)) in whole.iter().enumerate() {
        let of = parts.iter().map(|part| &part[step]);
        assert_eq!(of.clone().flat_map(|part| part.0.clone()).collect::<Vec<_>>(), *indices);
        assert_eq!(of.clone().flat_map(|part| part.1.clone()).collect::<Vec<_>>(), *images);
        assert_eq!(of.flat_map(|part| part.2.clone()).collect::<Vec<_>>(), *labels);
    }
    let uneven = LoaderConfig { part: (0, 3), ..from_batch(16, 0) };
    assert!(matches!(uneven.check(&data.train), Err(Error::Config { key: "train.batch_size", .. })));
}

#[test]
fn prefetching_and_threads_do_not_change_a_bit() {
    let data = dataset(1200, None);
    let expected = steps(&data.train, 0, 10);
    // A slow reader finds the queue full, a fast one finds it empty.
    let mut slow = Loader::new(&data.train, &from_batch(16, 0), &Device::Cpu).unwrap();
    for batch in &expected {
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert_eq!(contents(slow.next().unwrap().unwrap()), *batch);
    }
    let positions: Vec<usize> = (0..1100).rev().collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| data.train.bytes(&positions).unwrap())
    };
    assert_eq!(with(1), with(4));
}

#[test]
fn evaluation_batches_are_in_order_and_keep_the_rest() {
    let data = dataset(1200, None);
    let batches = data.test.batches(16, &Device::Cpu).unwrap();
    assert_eq!(batches.len(), 4);
    let batches: Vec<_> = batches.map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [16, 16, 16, 2]);
    assert_eq!(batches[3].inputs.dims(), [2, 1, 2, 3]);
    let indices: Vec<u64> = batches.into_iter().flat_map(|batch| batch.indices).collect();
    assert_eq!(indices, (0..50).collect::<Vec<u64>>());
}

#[test]
fn a_loader_that_is_dropped_early_ends_its_thread() {
    let counted = source(1000);
    let split = Split::all(counted.clone()).unwrap();
    for _ in 0..20 {
        let mut loader = Loader::new(&split, &from_batch(10, 0), &Device::Cpu).unwrap();
        loader.next().unwrap().unwrap();
    }
    drop(split);
    // Each thread held the source; all are gone when drop has returned.
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[test]
fn impossible_batch_sizes_are_errors() {
    let split = Split::all(source(10)).unwrap();
    let error = Loader::new(&split, &from_batch(11, 0), &Device::Cpu).unwrap_err();
    assert!(matches!(error, Error::BatchTooLarge { batch_size: 11, samples: 10 }), "{error}");
    assert!(matches!(Loader::new(&split, &from_batch(0, 0), &Device::Cpu), Err(Error::Config { .. })));
    assert!(matches!(split.batches(0, &Device::Cpu), Err(Error::Config { .. })));
    assert!(matches!(split.batch(&[10], &Device::Cpu), Err(Error::OutOfRange { index: 10, len: 10 })));
}

#[test]
fn only_images_can_be_mirrored() {
    let points = InMemory::new(Kind::Points { dimensions: 2 }, vec![0; 80], None).unwrap();
    let split = Split::all(Arc::new(points)).unwrap();
    let error =
        Loader::new(&split, &LoaderConfig { flip: true, ..from_batch(5, 0) }, &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("points in 2 dimensions"), "{error}");
    assert_eq!(Loader::new(&split, &from_batch(5, 0), &Device::Cpu).unwrap().batches_per_epoch(), 2);
}

/// Fails on its third image.
struct Broken;

impl Source for Broken {
    fn kind(&self) -> Kind {
        SHAPE.into()
    }
    fn len(&self) -> usize {
        8
    }
    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        out.fill(0);
        if index == 3 { Err(Error::OutOfRange { index, len: 3 }) } else { Ok(()) }
    }
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
}

#[test]
fn an_error_of_the_source_reaches_the_step_and_ends_the_loader() {
    let split = Split::all(Arc::new(Broken)).unwrap();
    let mut loader = Loader::new(&split, &from_batch(8, 0), &Device::Cpu).unwrap();
    assert!(matches!(loader.next(), Some(Err(Error::OutOfRange { .. }))));
    assert!(loader.next().is_none());
}

proptest! {
    #[test]
    fn any_split_and_batch_size_gives_each_image_once_an_epoch(
        count in 2usize..300, batch in 1usize..40, seed: u64, epoch in 0u64..5,
    ) {
        prop_assume!(batch <= count);
        let split = Split::all(source(count)).unwrap();
        let per_epoch = (count / batch) as u64;
        let loader = Loader::new(&split, &LoaderConfig { seed, ..from_batch(batch, epoch * per_epoch) }, &Device::Cpu).unwrap();
        let mut seen: Vec<u64> = loader.take(per_epoch as usize).flat_map(|b| b.unwrap().indices).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), batch * per_epoch as usize);
    }
}

/// Other devices get bytes and divide there: the same numbers, to the bit.
#[test]
fn a_device_gets_the_same_numbers_from_bytes() {
    let split = dataset(40, None).train;
    let positions: Vec<usize> = (0..20).collect();
    let batch = || contents(split.batch(&positions, &Device::Cpu).unwrap());
    assert_eq!(waxwork_core::device::without_kernels(batch), batch());
}
