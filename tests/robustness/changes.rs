//! Folders that change, sizes of images, and samples of other programs.

use std::fs;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

use super::*;

#[test]
fn folders_that_change() {
    let cases = [
        Case {
            case: "two folders with files of equal names, sizes and times",
            gets: "each folder gives its own images",
            run: |folder| {
                for (data, shade) in [("one", 10), ("two", 20)] {
                    shades(&folder.join(data).join("data/cat"), shade);
                    read(&folder.join(data), 9, &[]);
                    assert_eq!(shown(&folder.join(data)), [(0, shade)]);
                }
            },
        },
        Case {
            case: "two class directories exchange their names",
            gets: "labels by the new names",
            run: |folder| {
                let at = |name: &str| folder.join("data").join(name);
                shades(&at("cat"), 10);
                shades(&at("dog"), 20);
                read(folder, 18, &[]);
                assert_eq!(shown(folder), [(0, 10), (1, 20)]);
                for (from, to) in [("cat", "../away"), ("dog", "cat"), ("../away", "dog")] {
                    fs::rename(at(from), at(to)).unwrap();
                }
                read(folder, 18, &[]);
                assert_eq!(shown(folder), [(0, 20), (1, 10)]);
            },
        },
        Case {
            case: "files are overwritten with others of the same size, and their times are set back",
            gets: "the new images",
            run: |folder| {
                shades(&folder.join("data/cat"), 10);
                read(folder, 9, &[]);
                shades(&folder.join("data/cat"), 20);
                read(folder, 9, &[]);
                assert_eq!(shown(folder), [(0, 20)]);
            },
        },
        Case {
            case: "a class is renamed",
            gets: "a different data set: a run that was trained with the old name cannot be resumed on the renamed data",
            run: |folder| {
                shades(&folder.join("data/cat"), 10);
                shades(&folder.join("data/dog"), 20);
                let (data, run) = (text(&folder.join("data")), text(&folder.join("run")));
                let small = [
                    "--steps",
                    "1",
                    "--set",
                    "train.batch_size=4",
                    "--set",
                    "data.folder={size=28, grey=true}",
                ];
                let train =
                    ["train", "vae-digits", "-q", "--data", "folder", "--data-dir", &data, "--out", &run];
                waxwork(&[&train[..], &small[..]].concat()).good();
                crate::util::unfinish(&folder.join("run"));
                fs::rename(folder.join("data/cat"), folder.join("data/bird")).unwrap();
                waxwork(&["train", "--resume", &run, "-q"]).refused(&["their identity is"]);
            },
        },
    ];
    section("Folders that change", &cases);
}

#[test]
fn sizes() {
    let cases = [
        Case {
            case: "image files that all have the same size, with a shorter side below 64, and no `data.folder.size`",
            gets: "images as large as that side",
            run: |folder| {
                for (size, width) in [(32, 32), (28, 40)] {
                    write(folder, "data/a.png", &encoded(photo(width, size), ImageFormat::Png));
                    write(folder, "data/b.png", &encoded(photo(width, size), ImageFormat::Png));
                    read(folder, 1, &[&format!("{size}×{size}")]);
                }
            },
        },
        Case {
            case: "larger image files, and no `data.folder.size`",
            gets: "images of 64×64",
            run: |folder| {
                write(folder, "data/a.png", &encoded(photo(90, 70), ImageFormat::Png));
                write(folder, "data/b.png", &encoded(photo(64, 100), ImageFormat::Png));
                read(folder, 1, &["64×64"]);
            },
        },
        Case {
            case: "image files that are smaller than `data.folder.size`; or, without this key, files of several sizes of which some are smaller than 64",
            gets: "refused, with the key and the largest size that all files allow",
            run: |folder| {
                write(folder, "data/a.png", &encoded(photo(90, 70), ImageFormat::Png));
                write(folder, "data/b.png", &encoded(photo(20, 100), ImageFormat::Png));
                write(folder, "data/c.png", &encoded(photo(40, 30), ImageFormat::Png));
                refused(
                    folder,
                    &["too small for images of 64×64 (as is 1 more image)", "`--set data.folder.size=20`"],
                );
                said(&show(folder, &["--set", "data.folder.size=20"]).good(), 2, &["20×20"]);
            },
        },
    ];
    section("Sizes", &cases);
}

/// Runs `waxwork evaluate` on the images in `folder`/samples, with those in `folder`/data as real ones.
fn evaluate(folder: &Path) -> Call {
    let [samples, data] = ["samples", "data"].map(|name| text(&folder.join(name)));
    let size = ["--set", "data.folder.size=32", "--set", "data.validation=0"];
    waxwork(
        &[&["evaluate", "--samples", &samples, "--data", "folder", "--data-dir", &data][..], &size].concat(),
    )
}

#[test]
fn samples() {
    let cases = [
        Case {
            case: "`evaluate --samples DIR --data folder`, in any supported format",
            gets: "all samples are measured; they must have the size that `--set data.folder.size` gives the real images",
            run: |folder| {
                for number in 0..120u8 {
                    let picture = RgbImage::from_pixel(80, 64, Rgb([2 * number, 7, 9]));
                    write(folder, &format!("data/{number}.png"), &encoded(picture.clone(), ImageFormat::Png));
                    if number >= 12 {
                        continue;
                    }
                    let small = image::imageops::thumbnail(&picture, 32, 32);
                    write(folder, &format!("samples/{number}.webp"), &encoded(small, ImageFormat::WebP));
                }
                evaluate(folder).good();
                let report = fs::read_to_string(folder.join("samples/metrics.json")).unwrap();
                let report: serde_json::Value = serde_json::from_str(&report).unwrap();
                let distance = crate::util::metric(&report, "distance_to_training");
                // Of 120 real images, 12 are for testing, so each sample has a counterpart.
                assert_eq!(distance["protocol"]["n_generated"], "12", "{report}");
            },
        },
        Case {
            case: "fewer samples than test images, which are sorted by name",
            gets: "the floor uses as many test images as samples, chosen from all of them",
            run: |folder| {
                // The first sixty images are equal, so each has a copy; the others differ.
                for number in 0..240u8 {
                    let shade = number.saturating_sub(60);
                    let picture = RgbImage::from_pixel(32, 32, Rgb([shade, 7, 9]));
                    write(folder, &format!("data/{number:03}.bmp"), &encoded(picture, ImageFormat::Bmp));
                }
                pictures(&folder.join("samples"), &["1.png", "2.png", "3.png", "4.png", "5.png", "6.png"]);
                evaluate(folder).good();
                let report = fs::read_to_string(folder.join("samples/metrics.json")).unwrap();
                let report: serde_json::Value = serde_json::from_str(&report).unwrap();
                let distance = crate::util::metric(&report, "distance_to_training");
                assert_eq!(distance["protocol"]["n_generated"], "6", "{report}");
                // A step of 1 in one of three channels: √(1⁄3)⁄255.
                assert!(distance["floor"].as_f64().unwrap() > 0.002, "{report}");
            },
        },
        Case {
            case: "fewer than six samples for a data set with classes",
            gets: "refused before a judge is trained",
            run: |folder| {
                let names: Vec<String> =
                    (0..40).map(|number| format!("{}/{number}.png", ["a", "b"][number % 2])).collect();
                pictures(&folder.join("data"), &names.iter().map(String::as_str).collect::<Vec<_>>());
                pictures(&folder.join("samples"), &["1.png", "2.png", "3.png", "4.png"]);
                evaluate(folder).refused(&["at least 6 generated samples are needed, but there are only 4"]);
            },
        },
        Case {
            case: "a damaged sample",
            gets: "refused, with the file",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "3.png"]);
                let jpeg = encoded(photo(32, 32), ImageFormat::Jpeg);
                write(folder, "samples/1.jpg", &jpeg[..jpeg.len() - 30]);
                evaluate(folder).refused(&["1.jpg", "too early"]);
            },
        },
        Case {
            case: "samples next to a directory of samples",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "3.png"]);
                pictures(&folder.join("samples"), &["1.png", "2.png", "more/3.png"]);
                evaluate(folder).refused(&["2 images are next to the directory `more`"]);
            },
        },
    ];
    section("Samples of other programs", &cases);
}
