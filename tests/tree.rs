//! A tree of the size of a part of ImageNet. It takes minutes:
//! `cargo nextest run --run-ignored only -E 'test(tree)'`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

use crate::util::waxwork;

const CLASSES: usize = 1000;
const OF_A_CLASS: usize = 20;
/// One in this number of files is cut in half.
const DAMAGED: usize = 500;
/// Number of different images. All others are copies with another comment.
const DIFFERENT: usize = 50;

/// Writes `folder`/train/n00000007/n00000007_3.JPEG and so on: 20,000 images of 500 by 375, of
/// which 40 are damaged.
fn write(folder: &Path) {
    let picture = |seed: u32| {
        let picture = RgbImage::from_fn(500, 375, |x, y| {
            let wave = f64::from(x * (1 + seed % 7) + y * (1 + seed % 5)) / 40.0;
            let noise =
                (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ seed).wrapping_mul(747_796_405);
            let value = 128.0 + 100.0 * wave.sin() + f64::from(noise >> 28);
            Rgb([value as u8, (255.0 - value) as u8, (seed * 5) as u8])
        });
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture).unwrap();
        bytes
    };
    let pictures: Vec<Vec<u8>> = (0..DIFFERENT as u32).map(picture).collect();
    for class in 0..CLASSES {
        let name = format!("n{class:08}");
        let directory = folder.join("train").join(&name);
        fs::create_dir_all(&directory).unwrap();
        for number in 0..OF_A_CLASS {
            let index = class * OF_A_CLASS + number;
            let picture = &pictures[index % DIFFERENT];
            // A comment after the start marker makes the contents of every file unique.
            let comment = (index as u32).to_be_bytes();
            let bytes = [&picture[..2], &[0xff, 0xfe, 0, 6], &comment, &picture[2..]].concat();
            let end = if index % DAMAGED == 7 { bytes.len() / 2 } else { bytes.len() };
            fs::write(directory.join(format!("{name}_{number}.JPEG")), &bytes[..end]).unwrap();
        }
    }
}

/// Trains three steps. Returns seconds, and peak memory in MiB.
fn train(tree: &Path, cache: &Path, run: &Path) -> (f64, f64) {
    let began = Instant::now();
    let [tree, out] = [tree, run].map(|path| path.to_str().unwrap());
    let mut arguments = vec!["train", "cgan-shapes", "--data", "folder", "--data-dir", tree, "--out", out];
    arguments.extend(["--skip-unreadable", "--steps", "3", "--set", "train.log_every=1"]);
    arguments.extend(["--set", "train.batch_size=16", "--set", "data.folder.size=64"]);
    // Use small networks, because the layers that see a thousand classes would use most of the memory.
    arguments.extend(["--set", "model.generator={kind=\"dcgan\",channels=[32,16,8]}"]);
    arguments.extend(["--set", "model.discriminator={kind=\"dcgan\",channels=[8,16,32],norm=\"spectral\"}"]);
    let output = crate::util::command(&arguments).env("XDG_CACHE_HOME", cache).output().unwrap();
    let call = crate::util::finished(&output).good();
    assert!(call.stderr.contains("40 samples cannot be read and were left out"), "{}", call.stderr);
    let seconds = began.elapsed().as_secs_f64();
    let timing = fs::read_to_string(run.join("timing.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(timing.lines().last().unwrap()).unwrap();
    (seconds, last["peak_memory_bytes"].as_f64().unwrap() / f64::from(1 << 20))
}

#[test]
#[ignore = "takes minutes and 1.5 GB of disk"]
fn a_tree_of_a_thousand_classes_is_packed_once_and_then_starts_fast() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, cache) = (folder.path().join("tree"), folder.path().join("cache"));
    write(&tree);
    let run = |name: &str| -> PathBuf { folder.path().join(name) };
    let (first, peak) = train(&tree, &cache, &run("first"));
    let (second, again) = train(&tree, &cache, &run("second"));
    println!("first start {first:.1} s, {peak:.0} MiB; second {second:.1} s, {again:.0} MiB");
    // The decoded images take 234 MiB. Reading the files adds no more than a few of them at a time.
    assert!(second < first / 3.0 && peak < 700.0 && again < 700.0);
    let info = fs::read_to_string(run("second").join("run.json")).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let classes = info["data_classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), CLASSES);
    let images = info["data_images"].as_object().unwrap().values().map(|count| count.as_u64().unwrap());
    assert_eq!(images.sum::<u64>(), (CLASSES * OF_A_CLASS - CLASSES * OF_A_CLASS / DAMAGED) as u64);
    // One of a thousand classes, by name.
    let second = run("second");
    waxwork(&["sample", second.to_str().unwrap(), "--labels", "n00000999", "-n", "2"]).good();
}
