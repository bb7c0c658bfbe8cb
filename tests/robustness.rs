//! Keeps docs/robustness.md true: builds every case of its tables in a separate folder, and checks what the
//! document says of it.
//!
//! To add a case, add a [`Case`] to the list of its section, and a line to the document's table.

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

/// A row of the document's table.
struct Case {
    /// The first column.
    case: &'static str,
    /// The second column.
    gets: &'static str,
    /// Builds the case in an empty folder, and checks the result.
    run: fn(&Path),
}

/// Runs a list of cases, and compares it with the table below this heading.
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

/// An image whose colours change everywhere.
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

/// A progressive JPEG of 20 by 12 pixels. The image tests of waxwork-data say how it was made.
const PROGRESSIVE: &[u8] = include_bytes!("../crates/data/tests/pictures/progressive.jpg");

/// The start of a JPEG, up to and including the header of its first scan.
fn head(jpeg: &[u8]) -> &[u8] {
    let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    &jpeg[..scan + 2 + usize::from(jpeg[scan + 3])]
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes intact images with these names.
fn pictures(folder: &Path, names: &[&str]) {
    names.iter().for_each(|name| write(folder, name, &png()));
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Runs `waxwork data show` on the images in `folder`/data, all of them unless `more` has `-n`, and writes a
/// tensor file next to that folder.
fn show(folder: &Path, more: &[&str]) -> Call {
    let (data, out) = (text(&folder.join("data")), text(&folder.join("out.safetensors")));
    let arguments =
        ["data", "show", "folder", "--data-dir", &data, "--out", &out, "--set", "data.validation=0"];
    let all: &[&str] = if more.contains(&"-n") { &[] } else { &["-n", "1000"] };
    waxwork(&[&arguments[..], all, more].concat())
}

/// Asserts that the folder is read with this number of training images, and that standard
/// error contains `words`.
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

/// Asserts that the folder is refused, and that the error contains `words`.
#[track_caller]
fn refused(folder: &Path, words: &[&str]) {
    show(folder, &[]).refused(words);
}

/// Checks one broken image among intact ones.
#[track_caller]
fn broken(folder: &Path, name: &str, bytes: &[u8], words: &[&str]) {
    pictures(&folder.join("data"), &["a.png", "b.png", "c.png"]);
    write(folder, &format!("data/{name}"), bytes);
    // None of these images is smaller than that.
    let size = ["--set", "data.folder.size=12"];
    show(folder, &size).refused(&[&[name], words].concat());
    // It is left out and counted if the settings allow it.
    let call = show(folder, &[&size[..], &["--set", "data.folder.skip_unreadable=true"]].concat()).good();
    said(&call, 2, &["1 sample cannot be read and was left out", name]);
    fs::remove_file(folder.join("data").join(name)).unwrap();
}

/// The first red value and the label of every image shown, in order of labels.
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

/// Writes ten images of one shade of red, with equal file sizes and times.
fn shades(folder: &Path, shade: u8) {
    for number in 0..10u8 {
        let picture = RgbImage::from_pixel(32, 32, Rgb([shade, number, 0]));
        write(folder, &format!("{number}.bmp"), &encoded(picture, ImageFormat::Bmp));
        let file = File::options().write(true).open(folder.join(format!("{number}.bmp"))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
}
