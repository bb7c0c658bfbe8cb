//! docs/robustness.md, kept true: every case of its tables is built in a folder of its own, and gets what the document says.
//!
//! A new case is a [`Case`] in the list of its section, and a line in the document's table.

use std::fs::{self, File};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, SystemTime};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use waxwork_core::{Device, store};

use crate::util::{Call, waxwork};

/// A line of the document's table.
struct Case {
    /// Its first column.
    case: &'static str,
    /// Its second.
    gets: &'static str,
    /// Builds the case in an empty folder, and looks at what it gets.
    run: fn(&Path),
}

/// Runs a list of cases, and compares it with the table of the section of this heading.
#[track_caller]
fn section(heading: &str, cases: &[Case]) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/robustness.md");
    let page = fs::read_to_string(page).unwrap();
    let table = page.split("\n## ").find(|section| section.starts_with(&format!("{heading}\n")));
    let rows = table.into_iter().flat_map(str::lines).filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<&str> = rows.collect();
    let expected: Vec<String> =
        cases.iter().map(|case| format!("| {} | {} |", case.case, case.gets)).collect();
    assert_eq!(rows, expected, "docs/robustness.md under `{heading}`");

    let failed = cases.iter().filter(|case| {
        println!("{heading}: {}", case.case);
        let folder = tempfile::tempdir().unwrap();
        catch_unwind(AssertUnwindSafe(|| (case.run)(folder.path()))).is_err()
    });
    let failed: Vec<&str> = failed.map(|case| case.case).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A picture of colours that change everywhere.
fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, ((x * y) % 251) as u8]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png() -> Vec<u8> {
    encoded(photo(32, 32), ImageFormat::Png)
}

fn jpeg() -> Vec<u8> {
    encoded(photo(64, 64), ImageFormat::Jpeg)
}

/// Of 20 by 12 pixels; the tests of waxwork-data's pictures say how it was made.
const PROGRESSIVE: &[u8] = include_bytes!("../crates/data/tests/pictures/progressive.jpg");

/// The start of a JPEG, up to and with the header of its first scan.
fn head(jpeg: &[u8]) -> &[u8] {
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    &jpeg[..scan + 2 + usize::from(jpeg[scan + 3])]
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Whole pictures with these names.
fn pictures(folder: &Path, names: &[&str]) {
    names.iter().for_each(|name| write(folder, name, &png()));
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// `waxwork data show` of the pictures in `folder`/data, all of them, as a tensor file beside.
fn show(folder: &Path, more: &[&str]) -> Call {
    let (data, out) = (text(&folder.join("data")), text(&folder.join("out.safetensors")));
    let arguments = [
        "data",
        "show",
        "folder",
        "-n",
        "1000",
        "--data-dir",
        &data,
        "--out",
        &out,
        "--set",
        "data.validation=0",
    ];
    waxwork(&[&arguments[..], more].concat())
}

/// It is read, with so many training images, and standard error says all of `words`.
#[track_caller]
fn read(folder: &Path, training: usize, words: &[&str]) {
    said(&show(folder, &[]).good(), training, words);
}

#[track_caller]
fn said(call: &Call, training: usize, words: &[&str]) {
    assert!(
        call.stdout.starts_with(&format!("{training} training images")),
        "{}{}",
        call.stdout,
        call.stderr
    );
    for word in words {
        assert!(call.stderr.contains(word), "`{word}` is not in: {}", call.stderr);
    }
}

/// It is refused, and the error says all of `words`.
#[track_caller]
fn refused(folder: &Path, words: &[&str]) {
    show(folder, &[]).refused(words);
}

/// One broken picture among whole ones.
#[track_caller]
fn broken(folder: &Path, name: &str, bytes: &[u8], words: &[&str]) {
    pictures(&folder.join("data"), &["a.png", "b.png", "c.png"]);
    write(folder, &format!("data/{name}"), bytes);
    refused(folder, &[&[name], words].concat());
    // Left out when asked for, and counted.
    let call = show(folder, &["--set", "data.folder.skip_unreadable=true"]).good();
    said(&call, 2, &["1 picture cannot be decoded and was left out", name]);
    fs::remove_file(folder.join("data").join(name)).unwrap();
}

/// The first value of red and the label of every image that was shown, in order of labels.
fn shown(folder: &Path) -> Vec<(u32, u8)> {
    let tensors = store::load(&folder.join("out.safetensors"), &Device::Cpu).unwrap();
    let labels = tensors["labels"].to_vec1::<u32>().unwrap();
    let images = tensors["images"].flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    let mut shown: Vec<(u32, u8)> = labels
        .into_iter()
        .zip(images)
        .map(|(label, image)| (label, (image[0] * 255.0).round() as u8))
        .collect();
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// Ten pictures of one shade of red, as files of one size and one time.
fn shades(folder: &Path, shade: u8) {
    for number in 0..10u8 {
        let picture = RgbImage::from_pixel(32, 32, Rgb([shade, number, 0]));
        write(folder, &format!("{number}.bmp"), &encoded(picture, ImageFormat::Bmp));
        let file = File::options().write(true).open(folder.join(format!("{number}.bmp"))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
}

#[test]
fn damaged_pictures() {
    let cases = [
        Case {
            case: "a JPEG cut in half, baseline or progressive",
            gets: "refused, with the file and where its data ends",
            run: |folder| {
                let jpeg = jpeg();
                broken(folder, "x.jpg", &jpeg[..jpeg.len() / 2], &["the data ends too early, in block"]);
                let scans = &PROGRESSIVE[..PROGRESSIVE.len() - 60];
                broken(folder, "y.jpg", scans, &["is cut off"]);
            },
        },
        Case {
            case: "a JPEG cut right after its header",
            gets: "refused",
            run: |folder| {
                broken(folder, "x.jpg", head(&jpeg()), &["ends too early, in block 1"]);
                broken(folder, "y.jpg", head(PROGRESSIVE), &["ends too early, in block 1"]);
            },
        },
        Case {
            case: "a JPEG without its end marker",
            gets: "refused",
            run: |folder| {
                let jpeg = jpeg();
                broken(folder, "x.jpg", &jpeg[..jpeg.len() - 2], &["is cut off"]);
                broken(folder, "y.jpg", &PROGRESSIVE[..PROGRESSIVE.len() - 2], &["is cut off"]);
            },
        },
        Case {
            case: "a JPEG cut and closed with an end marker, as some programs repair it",
            gets: "refused, with what is missing",
            run: |folder| {
                let jpeg = jpeg();
                let closed = |bytes: &[u8]| [bytes, &[0xff, 0xd9]].concat();
                broken(folder, "x.jpg", &closed(&jpeg[..jpeg.len() / 2]), &["ends too early"]);
                broken(folder, "y.jpg", &closed(head(PROGRESSIVE)), &["ends too early"]);
                let second =
                    PROGRESSIVE[head(PROGRESSIVE).len()..].windows(2).position(|pair| pair == [0xff, 0xc4]);
                let first_scan = &PROGRESSIVE[..head(PROGRESSIVE).len() + second.unwrap()];
                broken(folder, "z.jpg", &closed(first_scan), &["scans of colour 1 of 3 are missing"]);
            },
        },
        Case {
            case: "a JPEG, PNG or GIF whose second half is zeros, as a broken download leaves it",
            gets: "refused",
            run: |folder| {
                for (name, format) in
                    [("x.jpg", ImageFormat::Jpeg), ("x.png", ImageFormat::Png), ("x.gif", ImageFormat::Gif)]
                {
                    let mut bytes = encoded(photo(64, 64), format);
                    let half = bytes.len() / 2;
                    bytes[half..].fill(0);
                    broken(folder, name, &bytes, &[]);
                }
            },
        },
        Case {
            case: "a PNG with a wrong checksum",
            gets: "refused",
            run: |folder| {
                let mut bytes = png();
                let last = bytes.len() - 14;
                bytes[last] ^= 1;
                broken(folder, "x.png", &bytes, &["checksum"]);
            },
        },
        Case {
            case: "a PNG, GIF, BMP, TIFF or WebP file cut in half, or by its last byte",
            gets: "refused",
            run: |folder| {
                for (ending, format) in [
                    ("png", ImageFormat::Png),
                    ("gif", ImageFormat::Gif),
                    ("bmp", ImageFormat::Bmp),
                    ("tif", ImageFormat::Tiff),
                    ("webp", ImageFormat::WebP),
                ] {
                    let bytes = encoded(photo(64, 64), format);
                    for end in [bytes.len() / 2, bytes.len() - 1] {
                        broken(folder, &format!("x.{ending}"), &bytes[..end], &[]);
                    }
                }
            },
        },
        Case {
            case: "an empty file, text or a web page that is called as a picture",
            gets: "refused",
            run: |folder| {
                for bytes in [&b""[..], b"not a picture", b"<!DOCTYPE html><html></html>"] {
                    broken(folder, "x.jpg", bytes, &[]);
                }
            },
        },
        Case {
            case: "a picture that says it is larger than 512 MiB, or is a hundred times as long as wide",
            gets: "refused before memory is taken for it",
            run: |folder| {
                let mut huge = encoded(photo(32, 32), ImageFormat::Bmp);
                huge[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
                broken(folder, "x.bmp", &huge, &["limit"]);
                broken(folder, "x.png", &encoded(photo(3300, 32), ImageFormat::Png), &["a strip"]);
            },
        },
        Case {
            case: "a JPEG with bytes after its end, before its end marker or between its segments",
            gets: "read: cameras and editors leave such",
            run: |folder| {
                let jpeg = jpeg();
                let (start, end) = (&jpeg[..2], &jpeg[jpeg.len() - 2..]);
                let inner = &jpeg[2..jpeg.len() - 2];
                write(folder, "data/a.jpg", &[&jpeg[..], &[0; 50]].concat());
                write(folder, "data/b.jpg", &[start, inner, &[0; 9], end].concat());
                write(
                    folder,
                    "data/c.jpg",
                    &[start, &[0xff, 0xfe, 0, 4, 7, 7], inner, &[0xff; 4], end].concat(),
                );
                read(folder, 2, &[]);
            },
        },
        Case {
            case: "every picture of a class is damaged, and they are to be left out",
            gets: "refused, with the class",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/1.png", "cat/2.png"]);
                write(folder, "data/dog/1.png", b"");
                show(folder, &["--set", "data.folder.skip_unreadable=true"]).refused(&["class `dog`"]);
            },
        },
    ];
    section("Damaged pictures", &cases);
}

#[test]
fn what_is_in_a_folder() {
    let cases = [
        Case {
            case: "jpg, jpeg, jpe, jfif, png, webp, bmp, tif, tiff and gif, in capitals too",
            gets: "read, of an animation the first frame",
            run: |folder| {
                for (name, format) in [
                    ("a.jpg", ImageFormat::Jpeg),
                    ("b.jpeg", ImageFormat::Jpeg),
                    ("c.JPE", ImageFormat::Jpeg),
                    ("d.jfif", ImageFormat::Jpeg),
                    ("e.PNG", ImageFormat::Png),
                    ("f.webp", ImageFormat::WebP),
                    ("g.bmp", ImageFormat::Bmp),
                    ("h.tif", ImageFormat::Tiff),
                    ("i.tiff", ImageFormat::Tiff),
                    ("j.gif", ImageFormat::Gif),
                ] {
                    write(folder, &format!("data/{name}"), &encoded(photo(32, 32), format));
                }
                read(folder, 9, &["9 training, 0 validation and 1 test images"]);
            },
        },
        Case {
            case: "a picture whose ending is that of another format",
            gets: "read: its first bytes tell what it is",
            run: |folder| {
                pictures(&folder.join("data"), &["a.png", "b.jpg", "c.gif"]);
                read(folder, 2, &[]);
            },
        },
        Case {
            case: "heic, avif, svg, psd and other formats that are not read",
            gets: "left out, counted by ending, with a warning",
            run: |folder| {
                pictures(&folder.join("data"), &["a.png", "b.png", "c.heic", "d.HEIC", "e.avif"]);
                read(
                    folder,
                    1,
                    &["WARN", "3 pictures are left out, of formats that are not read: 2 .heic, 1 .avif"],
                );
            },
        },
        Case {
            case: "text, tables, files without an ending, and hidden files",
            gets: "left out, counted",
            run: |folder| {
                pictures(&folder.join("data"), &["a.png", "b.png", "notes.txt", "labels.csv", "c", ".d.png"]);
                read(
                    folder,
                    1,
                    &["3 other files are left out", "1 .csv", "1 hidden entry is left out: .d.png"],
                );
            },
        },
        Case {
            case: "`__MACOSX`, `@eaDir` and other directories that systems make",
            gets: "left out, said",
            run: |folder| {
                pictures(
                    &folder.join("data"),
                    &["cat/1.png", "dog/2.png", "__MACOSX/cat/3.png", "dog/@eaDir/4.png"],
                );
                read(
                    folder,
                    1,
                    &["2 hidden entries are left out: __MACOSX, dog/@eaDir", "2 classes: cat, dog"],
                );
            },
        },
        Case {
            case: "pictures beside a directory with pictures",
            gets: "refused, with both numbers: is it a class?",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "thumbs/1.png"]);
                refused(folder, &["2 pictures lie beside the directory `thumbs`, which holds 1"]);
            },
        },
        Case {
            case: "pictures beside a directory without any",
            gets: "read without classes; the directory is said to be unused",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "notes/x.txt"]);
                read(folder, 1, &["without classes", "`notes` is not used"]);
            },
        },
        Case {
            case: "directories in the directory of a class",
            gets: "their pictures are of that class, with a warning",
            run: |folder| {
                pictures(
                    &folder.join("data"),
                    &["cat/1.png", "cat/2019/2.png", "cat/2020/3.png", "dog/4.png"],
                );
                read(folder, 3, &["WARN", "class `cat` takes in 2 pictures of 2 directories below its own"]);
            },
        },
        Case {
            case: "one directory around those of the classes",
            gets: "refused, with the directory to name instead",
            run: |folder| {
                pictures(&folder.join("data"), &["pictures/cat/1.png", "pictures/dog/2.png"]);
                refused(
                    folder,
                    &["its pictures lie in directories below `pictures`", "data/pictures instead"],
                );
            },
        },
        Case {
            case: "a class without a picture",
            gets: "refused, with what its directory holds",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/1.png", "cat/2.png", "dog/1.heic"]);
                refused(folder, &["dog holds no pictures", "1 .heic"]);
            },
        },
        Case {
            case: "links in a circle, or to nowhere",
            gets: "left out, said; a picture that a link does not lead to is one that cannot be decoded",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/1.png", "dog/2.png"]);
                #[cfg(unix)]
                {
                    std::os::unix::fs::symlink("..", folder.join("data/cat/up")).unwrap();
                    std::os::unix::fs::symlink("nowhere", folder.join("data/away")).unwrap();
                    read(
                        folder,
                        1,
                        &["2 entries are left out, as a link to nowhere or back", "away, cat/up"],
                    );
                    std::os::unix::fs::symlink("nowhere.png", folder.join("data/cat/x.png")).unwrap();
                    refused(folder, &["x.png"]);
                }
            },
        },
        Case {
            case: "class directories `2`, `10` and `1`",
            gets: "labels in the order 1, 2, 10; names of words keep the order of their letters",
            run: |folder| {
                for (class, shade) in [("10", 100), ("2", 20), ("1", 10)] {
                    shades(&folder.join("data").join(class), shade);
                }
                read(folder, 27, &["3 classes: 1, 2, 10"]);
                assert_eq!(shown(folder), [(0, 10), (1, 20), (2, 100)]);
            },
        },
    ];
    section("What is in a folder", &cases);
}

#[test]
fn parts() {
    let cases = [
        Case {
            case: "`train` or `training`, with `test`, `testing`, `eval`, `evaluation`, `val`, `valid`, `validation`, `dev` or `development`, in any case",
            gets: "trained on the one, tested on the other, said",
            run: |folder| {
                for (train, test) in
                    [("train", "Valid"), ("Training", "DEV"), ("TRAIN", "testing"), ("training", "eval")]
                {
                    _ = fs::remove_dir_all(folder.join("data"));
                    shades(&folder.join("data").join(train).join("cat"), 10);
                    shades(&folder.join("data").join(test).join("cat"), 20);
                    let words = format!("the training part is `{train}`, the test part is `{test}`");
                    read(folder, 10, &[&words, "one class: cat"]);
                    assert_eq!(shown(folder), [(0, 10)]);
                }
            },
        },
        Case {
            case: "several held-out parts",
            gets: "the first of the list above is the test part; the others are not used, said",
            run: |folder| {
                pictures(&folder.join("data"), &["train/1.png", "val/2.png", "dev/3.png", "test/4.png"]);
                read(
                    folder,
                    1,
                    &["the test part is `test`", "`val` is not used (1 picture)", "`dev` is not used"],
                );
            },
        },
        Case {
            case: "`train` alone",
            gets: "a tenth of each class is held out as the test part, said",
            run: |folder| {
                shades(&folder.join("data/train/cat"), 10);
                read(
                    folder,
                    9,
                    &["the training part is `train`; a tenth of it is held out", "one class: cat"],
                );
            },
        },
        Case {
            case: "a held-out part without `train`, alone or beside classes",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["test/1.png", "test/2.png"]);
                refused(folder, &["`test` would be held out of training, and there is no `train`"]);
                pictures(&folder.join("data"), &["cat/1.png", "dog/2.png"]);
                refused(folder, &["`test` would be held out"]);
            },
        },
        Case {
            case: "`train` beside classes, as among vehicles",
            gets: "refused: it may be a part or a class",
            run: |folder| {
                pictures(&folder.join("data"), &["bus/1.png", "train/2.png"]);
                refused(folder, &["`train` may be the training part or a class beside `bus`"]);
            },
        },
        Case {
            case: "parts in the directory of a class, or below a directory around all",
            gets: "refused: held-out pictures are never trained on",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/train/1.png", "cat/val/2.png"]);
                refused(folder, &["is called as a part, but lies in"]);
                fs::remove_dir_all(folder.join("data")).unwrap();
                pictures(&folder.join("data"), &["all/train/cat/1.png", "all/test/cat/2.png"]);
                refused(folder, &["is called as a part, but lies in"]);
            },
        },
        Case {
            case: "`test` is a link to `train`",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["train/1.png", "train/2.png"]);
                #[cfg(unix)]
                {
                    std::os::unix::fs::symlink("train", folder.join("data/test")).unwrap();
                    refused(folder, &["the same directory"]);
                }
            },
        },
        Case {
            case: "a class that only the training part has",
            gets: "read by name, with a warning that it is not tested",
            run: |folder| {
                pictures(&folder.join("data"), &["train/cat/1.png", "train/dog/2.png", "test/dog/3.png"]);
                read(folder, 2, &["WARN", "the test part has no picture of 1 class: cat"]);
            },
        },
        Case {
            case: "a class that only the test part has, or classes in one part only",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["train/cat/1.png", "test/bird/3.png"]);
                refused(folder, &["there is no class `bird`"]);
                fs::remove_dir_all(folder.join("data")).unwrap();
                pictures(&folder.join("data"), &["train/cat/1.png", "test/3.png"]);
                refused(folder, &["no directory per class"]);
            },
        },
    ];
    section("Parts", &cases);
}

#[test]
fn folders_that_change() {
    let cases = [
        Case {
            case: "two folders with files of equal names, sizes and times",
            gets: "each its own images",
            run: |folder| {
                for (data, shade) in [("one", 10), ("two", 20)] {
                    shades(&folder.join(data).join("data/cat"), shade);
                    read(&folder.join(data), 9, &[]);
                    assert_eq!(shown(&folder.join(data)), [(0, shade)]);
                }
            },
        },
        Case {
            case: "two class directories change places",
            gets: "labels of their new names",
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
            case: "files are written over with others of the same size, and their times set back",
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
            case: "a class gets another name",
            gets: "another identity: a run of the old one is not resumed on it",
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
            case: "pictures of one size below 64, and no size is asked for",
            gets: "images of their shorter side",
            run: |folder| {
                for (size, width) in [(32, 32), (28, 40)] {
                    write(folder, "data/a.png", &encoded(photo(width, size), ImageFormat::Png));
                    write(folder, "data/b.png", &encoded(photo(width, size), ImageFormat::Png));
                    read(folder, 1, &[&format!("{size}×{size}")]);
                }
            },
        },
        Case {
            case: "larger pictures, and no size is asked for",
            gets: "images of 64×64",
            run: |folder| {
                write(folder, "data/a.png", &encoded(photo(90, 70), ImageFormat::Png));
                write(folder, "data/b.png", &encoded(photo(64, 100), ImageFormat::Png));
                read(folder, 1, &["64×64"]);
            },
        },
        Case {
            case: "pictures that are smaller than the images",
            gets: "refused, with the key and the largest size that no picture is too small for",
            run: |folder| {
                write(folder, "data/a.png", &encoded(photo(90, 70), ImageFormat::Png));
                write(folder, "data/b.png", &encoded(photo(20, 100), ImageFormat::Png));
                write(folder, "data/c.png", &encoded(photo(40, 30), ImageFormat::Png));
                refused(
                    folder,
                    &["(and 1 more), smaller than images of 64×64", "`--set data.folder.size=20`"],
                );
                said(&show(folder, &["--set", "data.folder.size=20"]).good(), 2, &["20×20"]);
            },
        },
    ];
    section("Sizes", &cases);
}

/// `waxwork evaluate` of the pictures in `folder`/samples beside those in `folder`/data.
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
            case: "`evaluate --samples DIR --data folder`, in any format that is read",
            gets: "all of them are measured, at the size that `--set data.folder.size` says",
            run: |folder| {
                for number in 0..12u8 {
                    let picture = RgbImage::from_pixel(80, 64, Rgb([20 * number, 7, 9]));
                    write(folder, &format!("data/{number}.png"), &encoded(picture.clone(), ImageFormat::Png));
                    let small = image::imageops::thumbnail(&picture, 32, 32);
                    write(folder, &format!("samples/{number}.webp"), &encoded(small, ImageFormat::WebP));
                }
                evaluate(folder).good();
                let report = fs::read_to_string(folder.join("samples/metrics.json")).unwrap();
                let report: serde_json::Value = serde_json::from_str(&report).unwrap();
                let distance = crate::util::metric(&report, "distance_to_training");
                assert_eq!(
                    distance["protocol"]["n_generated"], "2",
                    "as many as there are test images: {report}"
                );
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
            case: "samples beside a directory of samples",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "3.png"]);
                pictures(&folder.join("samples"), &["1.png", "2.png", "more/3.png"]);
                evaluate(folder).refused(&["2 pictures lie beside the directory `more`"]);
            },
        },
    ];
    section("Samples of other programs", &cases);
}
