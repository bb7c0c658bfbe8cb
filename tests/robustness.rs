//! docs/robustness.md, kept true: every case of its tables is built in a folder of its own, and gets what the document says.
//!
//! A new case is a [`Case`] in the list of its section, and a line in the document's table.

mod changes;
mod damage;
mod folders;
mod values;

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

/// `waxwork data show` of the pictures in `folder`/data, all of them unless `more` says `-n`, as a tensor file beside.
fn show(folder: &Path, more: &[&str]) -> Call {
    let (data, out) = (text(&folder.join("data")), text(&folder.join("out.safetensors")));
    let arguments =
        ["data", "show", "folder", "--data-dir", &data, "--out", &out, "--set", "data.validation=0"];
    let all: &[&str] = if more.contains(&"-n") { &[] } else { &["-n", "1000"] };
    waxwork(&[&arguments[..], all, more].concat())
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
    // None of the pictures here is too small for that.
    let size = ["--set", "data.folder.size=12"];
    show(folder, &size).refused(&[&[name], words].concat());
    // Left out when asked for, and counted.
    let call = show(folder, &[&size[..], &["--set", "data.folder.skip_unreadable=true"]].concat()).good();
    said(&call, 2, &["1 sample cannot be read and was left out", name]);
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
