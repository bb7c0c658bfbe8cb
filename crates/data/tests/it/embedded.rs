//! The embedded generators: their pictures never change silently, and their factors are what they say.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use sha2::{Digest, Sha256};
use waxwork_data::embedded::{Digits, Part, Shapes};
use waxwork_data::{Cached, DataConfig, Source};

fn sha256(source: &dyn Source, indices: impl Iterator<Item = usize>) -> String {
    let mut hash = Sha256::new();
    let mut image = vec![0; source.kind().bytes()];
    for index in indices {
        source.write_sample(index, &mut image).unwrap();
        hash.update(&image);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

// Written down from this implementation on the day it was made. If one changes, raise the generator's VERSION: every
// number measured on the old pictures is void.
#[test]
fn the_first_hundred_images_never_change() {
    assert_eq!(sha256(&Digits::new(0, Part::Train), 0..100), DIGITS_TRAIN);
    assert_eq!(sha256(&Digits::new(0, Part::Test), 0..100), DIGITS_TEST);
    assert_eq!(sha256(&Shapes::new(0, Part::Train), 0..100), SHAPES_TRAIN);
    assert_eq!(sha256(&Shapes::new(0, Part::Test), 0..100), SHAPES_TEST);
}
const DIGITS_TRAIN: &str = "038ad22ff57ccf5f33f886366b18097d6b0cde95805d42484292e1c410184c04";
const DIGITS_TEST: &str = "9e43b55c603a7131148e6c1b62f0390eb3d1d8bbc276054903a78a7c8fed7320";
const SHAPES_TRAIN: &str = "79d320aa3d4378995c13bab1085903aaa1df8b079a8792c01cd93574b9e0d9db";
const SHAPES_TEST: &str = "a7e53932398975d2e689ba48fe2bda2cf93d53b252bfe8d6e4da122ae1b8512f";

// Values that are written down were measured on the first images: of a mixed order a subset is a prefix.
#[test]
fn a_subset_is_the_first_images() {
    for name in ["digits", "shapes"] {
        let data = waxwork_data::load(&DataConfig::named(name)).unwrap();
        for split in [&data.train, &data.validation, &data.test] {
            for count in [20, 100, 500, 2000] {
                assert_eq!(split.subset(count).indices(), &split.indices()[..count], "{count} of {name}");
            }
        }
    }
}

#[test]
fn an_image_depends_only_on_seed_part_and_index() {
    let image = |source: &dyn Source, index| sha256(source, index..index + 1);
    let digits = Digits::new(3, Part::Train);
    let late = image(&digits, 59_999);
    image(&digits, 4);
    assert_eq!(image(&digits, 59_999), late);
    assert_ne!(image(&digits, 0), image(&Digits::new(4, Part::Train), 0));
    assert_ne!(image(&digits, 0), image(&Digits::new(3, Part::Test), 0));
    let cached = Cached::new(digits.clone());
    assert_eq!(image(&cached, 59_999), late);
    assert_eq!(image(&cached, 59_999), late);
    assert!(digits.write_sample(60_000, &mut [0; 784]).is_err());
    assert!(Cached::new(digits).write_sample(60_000, &mut [0; 784]).is_err());
}

#[test]
fn factors_are_in_range_and_labels_balanced() {
    let (digits, shapes) = (Digits::new(0, Part::Test), Shapes::new(0, Part::Test));
    let mut counts = [0; 10];
    for index in 0..digits.len() {
        let factors = digits.factors(index).unwrap();
        counts[factors.class as usize] += 1;
        assert_eq!(digits.label(index), Some(factors.class));
        assert!((-0.45..=0.6).contains(&factors.slant) && factors.rotation.abs() <= 0.25);
        assert!((0.7..=1.4).contains(&factors.width) && (0.85..=1.0).contains(&factors.scale));
        assert!((1.5..=4.2).contains(&factors.thickness) && factors.style < 4);
        let factors = shapes.factors(index).unwrap();
        assert_eq!(shapes.label(index), Some(factors.class));
        assert!((8.0..=13.0).contains(&factors.radius) && factors.rotation.abs() <= 0.6);
        for centre in [factors.x, factors.y] {
            assert!(centre - factors.radius >= 0.0 && centre + factors.radius <= 32.0);
        }
    }
    assert_eq!(counts, [1000; 10]);
    assert_eq!((digits.label(10_000), digits.factors(10_000)), (None, None));
}

#[test]
fn a_thicker_pen_leaves_more_ink_and_digits_stay_off_the_edge() {
    let digits = Digits::new(0, Part::Test);
    let mut image = [0; 784];
    let (mut thin, mut thick) = ((0.0, 0.0), (0.0, 0.0));
    let mut mean = 0.0;
    for index in 0..2000 {
        digits.write_sample(index, &mut image).unwrap();
        let ink = image.iter().map(|&p| f64::from(p)).sum::<f64>() / 255.0 / 784.0;
        let side = if digits.factors(index).unwrap().thickness < 2.7 { &mut thin } else { &mut thick };
        side.0 += ink;
        side.1 += 1.0;
        mean += ink / 2000.0;
        assert!((0..28).all(|i| image[i] < 128 && image[27 * 28 + i] < 128), "image {index}");
        assert!((0..28).all(|i| image[i * 28] < 128 && image[i * 28 + 27] < 128), "image {index}");
    }
    assert!(thick.0 / thick.1 > 1.3 * (thin.0 / thin.1));
    // MNIST's mean is 0.1307.
    assert!((mean - 0.13).abs() < 0.02, "{mean}");
}
