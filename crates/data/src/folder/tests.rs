//! Folders of images: how they are read, and when a packed file is used again.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use image::{Rgb, RgbImage};

use super::*;
use crate::Source;

/// Red in the upper left quarter, blue in the lower right one.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (2 * x < width, 2 * y < height) {
        (true, true) => Rgb([255, 0, 0]),
        (false, false) => Rgb([0, 0, 255]),
        _ => Rgb([0, 0, 0]),
    })
}

fn save(path: PathBuf, width: u32, height: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture(width, height).save(path).unwrap();
}

fn quiet(dir: &Path, config: &FolderConfig, cache: &Path) -> Result<(Parts, Header)> {
    load(dir, config, cache, &|_, _| ())
}

fn config(size: usize) -> FolderConfig {
    FolderConfig { size: Some(size), ..FolderConfig::default() }
}

fn pixel(source: &dyn Source, index: usize, row: usize, column: usize) -> Vec<u8> {
    let shape = source.kind().image().unwrap();
    let mut image = vec![0; shape.len()];
    source.write_sample(index, &mut image).unwrap();
    let plane = shape.height * shape.width;
    (0..shape.channels).map(|channel| image[channel * plane + row * shape.width + column]).collect()
}

#[test]
fn pictures_stay_upright_and_keep_their_class_whatever_their_shape_and_format() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pictures");
    for part in ["train", "test"] {
        save(root.join(part).join("cat/a.png"), 8, 8);
        save(root.join(part).join("cat/b.JPG"), 64, 40);
        save(root.join(part).join("dog/a.png"), 30, 90);
        for (name, width) in [("c.bmp", 12), ("d.gif", 16), ("e.tif", 9), ("f.TIFF", 8), ("g.webp", 17)] {
            save(root.join(part).join("cat").join(name), width, 16);
        }
        fs::rename(root.join(part).join("cat/b.JPG"), root.join(part).join("cat/b.jfif")).unwrap();
    }
    fs::write(root.join("train/cat/notes.txt"), "not a picture").unwrap();
    let (parts, header) = quiet(&root, &config(8), dir.path()).unwrap();
    assert_eq!(header.classes, ["cat", "dog"]);
    assert_eq!((parts.train.len(), parts.test.len()), (8, 8));
    assert_eq!([0, 6, 7].map(|i| parts.train.label(i)), [Some(0), Some(0), Some(1)]);
    for index in 0..8 {
        let near = |found: Vec<u8>, wanted: [u8; 3]| {
            assert!(found.iter().zip(wanted).all(|(&f, w)| f.abs_diff(w) < 30), "{index}: {found:?}");
        };
        near(pixel(&*parts.train, index, 1, 1), [255, 0, 0]);
        near(pixel(&*parts.train, index, 6, 6), [0, 0, 255]);
        near(pixel(&*parts.train, index, 1, 6), [0, 0, 0]);
        near(pixel(&*parts.train, index, 6, 1), [0, 0, 0]);
    }
    let grey = FolderConfig { grey: true, ..config(8) };
    let (parts, _) = quiet(&root, &grey, dir.path()).unwrap();
    assert_eq!(parts.train.kind(), ImageShape::new(1, 8, 8).into());
}

/// Returns the packed files in a cache.
fn packed_files(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache.join("folders")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "waxpack")).collect()
}

#[test]
fn a_folder_is_decoded_once_and_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pictures");
    (0..20).for_each(|i| save(root.join(format!("{}/{i}.png", ["a", "b"][i % 2])), 6, 6));
    // If a folder has not changed for a while, no file is even opened.
    let later = SystemTime::now() + Duration::from_secs(10);
    let looked = AtomicU64::new(0);
    let run = |size| {
        load_at(later, &root, &config(size), dir.path(), &|done, total| {
            assert!(done <= total);
            looked.fetch_max(done, Ordering::Relaxed);
        })
        .unwrap()
    };
    let (parts, _) = run(6);
    assert_eq!(looked.swap(0, Ordering::Relaxed), 20);
    assert_eq!((parts.train.len(), parts.test.len()), (18, 2));
    assert_ne!(parts.test.label(0), parts.test.label(1));
    let (again, _) = run(6);
    assert_eq!(looked.swap(0, Ordering::Relaxed), if cfg!(unix) { 0 } else { 20 });
    assert_eq!(again.identity, parts.identity);
    let (smaller, _) = run(4);
    assert_eq!(looked.swap(0, Ordering::Relaxed), 20);
    assert_ne!(smaller.identity, parts.identity);
    save(root.join("a/100.png"), 7, 7);
    run(6);
    assert_eq!(looked.swap(0, Ordering::Relaxed), 21);
    assert_eq!(packed_files(dir.path()).len(), 3);
    // A damaged file in the cache is replaced.
    for entry in fs::read_dir(dir.path().join("folders")).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    run(6);
    assert_eq!(looked.load(Ordering::Relaxed), 21);
}

/// Writes ten images of one shade, as files of equal size and time.
fn shades(dir: &Path, shade: u8) {
    fs::create_dir_all(dir).unwrap();
    for i in 0..10 {
        let path = dir.join(format!("{i}.bmp"));
        RgbImage::from_pixel(4, 4, Rgb([shade, i, 0])).save(&path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
}

/// Returns the shade of every training image, with the name of its class.
fn seen(parts: &Parts, classes: &[String]) -> Vec<(String, u8)> {
    let shade = |index| pixel(&*parts.train, index, 0, 0)[0];
    let class = |index| classes[parts.train.label(index).unwrap() as usize].clone();
    let mut seen: Vec<(String, u8)> =
        (0..parts.train.len()).map(|index| (class(index), shade(index))).collect();
    seen.dedup();
    seen
}

#[test]
fn distinguishes_images_with_the_same_names_sizes_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let later = SystemTime::now() + Duration::from_secs(10);
    let load = |name: &str| {
        let (parts, header) =
            load_at(later, &dir.path().join(name), &config(4), &dir.path().join("cache"), &|_, _| ())
                .unwrap();
        (seen(&parts, &header.classes), parts.identity)
    };
    let at = |name: &str| dir.path().join(name);
    let shown = |pairs: [(&str, u8); 2]| pairs.map(|(class, shade)| (class.to_owned(), shade)).to_vec();
    for (root, cat, dog) in [("one", 10, 20), ("two", 30, 40)] {
        shades(&at(root).join("cat"), cat);
        shades(&at(root).join("dog"), dog);
    }
    let (one, identity) = load("one");
    assert_eq!(one, shown([("cat", 10), ("dog", 20)]));
    // Another folder.
    assert_eq!(load("two").0, shown([("cat", 30), ("dog", 40)]));
    // Two classes swap names.
    let swap = || {
        for (from, to) in [("one/cat", "away"), ("one/dog", "one/cat"), ("away", "one/dog")] {
            fs::rename(at(from), at(to)).unwrap();
        }
    };
    swap();
    let (swapped, other) = load("one");
    assert_eq!(swapped, shown([("cat", 20), ("dog", 10)]));
    assert_ne!(other, identity);
    swap();
    assert_eq!(load("one"), (one.clone(), identity.clone()));
    // The files are overwritten, and their times set back.
    shades(&at("one/cat"), 50);
    assert_eq!(load("one").0, shown([("cat", 50), ("dog", 20)]));
    // Another folder replaces the first, whose files are deleted.
    fs::remove_dir_all(at("one")).unwrap();
    fs::rename(at("two"), at("one")).unwrap();
    assert_eq!(load("one").0, shown([("cat", 30), ("dog", 40)]));
    // A class gets another name.
    let (_, before) = load("one");
    fs::rename(at("one/cat"), at("one/bird")).unwrap();
    let (renamed, after) = load("one");
    assert_eq!(renamed, shown([("bird", 30), ("dog", 40)]));
    assert_ne!(after, before);
    // The same images elsewhere are the same data, with the same packed file.
    let packed = packed_files(&at("cache")).len();
    fs::rename(at("one"), at("three")).unwrap();
    assert_eq!(load("three"), (renamed, after));
    assert_eq!(packed_files(&at("cache")).len(), packed);
}

#[test]
fn a_picture_that_changes_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    save(path.clone(), 8, 8);
    let looked = Looked { hash: Some(contents::hash(&fs::read(&path).unwrap())), header: None };
    let shape = ImageShape::new(3, 8, 8);
    assert_eq!(image(&path, &looked, shape).unwrap().len(), 192);
    save(path.clone(), 9, 8);
    assert!(matches!(image(&path, &looked, shape), Err(Error::Changed { .. })));
}

#[test]
fn names_or_counts_unreadable_images() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pictures");
    (0..10).for_each(|i| save(root.join(format!("{i}.png")), 6, 6));
    fs::write(root.join("5.png"), "no picture").unwrap();
    let error = quiet(&root, &config(6), dir.path()).err().unwrap().to_string();
    assert!(error.contains("5.png"), "{error}");
    // An image without its second half.
    save(root.join("7.jpg"), 64, 64);
    let whole = fs::read(root.join("7.jpg")).unwrap();
    fs::write(root.join("7.jpg"), &whole[..whole.len() - 20]).unwrap();
    fs::remove_file(root.join("5.png")).unwrap();
    let error = quiet(&root, &config(6), dir.path()).err().unwrap().to_string();
    assert!(error.contains("7.jpg") && error.contains("too early"), "{error}");
    // No partial file is left.
    assert_eq!(fs::read_dir(dir.path().join("folders")).unwrap().count(), 0);
    fs::write(root.join("5.png"), "no picture").unwrap();
    let skipping = FolderConfig { skip_unreadable: true, ..config(6) };
    for _ in 0..2 {
        let (parts, header) = quiet(&root, &skipping, dir.path()).unwrap();
        assert_eq!((parts.train.len() + parts.test.len(), header.skipped), (9, 2));
        assert_eq!(parts.train.label(0), None);
        let [Note::Unreadable { count: 2, examples }] = header.notes.as_slice() else {
            panic!("{:?}", header.notes)
        };
        assert!(examples.iter().any(|example| example.starts_with("7.jpg (")), "{examples:?}");
    }
    // A broken link is not an image either.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere.png", root.join("8.jpg")).unwrap();
        let error = quiet(&root, &config(6), dir.path()).err().unwrap().to_string();
        assert!(error.contains(".jpg") || error.contains("5.png"), "{error}");
        assert_eq!(quiet(&root, &skipping, dir.path()).unwrap().1.skipped, 3);
    }
    let all = dir.path().join("all");
    save(all.join("a/1.png"), 6, 6);
    save(all.join("a/2.png"), 6, 6);
    fs::create_dir(all.join("b")).unwrap();
    fs::write(all.join("b/1.png"), "no picture").unwrap();
    let error = quiet(&all, &skipping, dir.path()).err().unwrap().to_string();
    assert!(error.contains("class `b`"), "{error}");
}

#[test]
fn images_have_the_requested_size_or_their_own_if_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = |pictures: &[(u32, u32)], asked: Option<usize>| {
        let root = dir.path().join("pictures");
        _ = fs::remove_dir_all(&root);
        for (i, &(width, height)) in pictures.iter().enumerate() {
            save(root.join(format!("{i}.png")), width, height);
        }
        let config = FolderConfig { size: asked, ..FolderConfig::default() };
        quiet(&root, &config, dir.path()).map(|(parts, _)| parts.train.kind().image().unwrap())
    };
    let square = |size| ImageShape::new(3, size, size);
    assert_eq!(sizes(&[(32, 32); 3], None).unwrap(), square(32));
    assert_eq!(sizes(&[(50, 40); 3], None).unwrap(), square(40));
    assert_eq!(sizes(&[(200, 150); 3], None).unwrap(), square(64));
    assert_eq!(sizes(&[(70, 64), (64, 80)], None).unwrap(), square(64));
    assert_eq!(sizes(&[(32, 32); 3], Some(16)).unwrap(), square(16));
    let error = sizes(&[(32, 32), (20, 31), (70, 70)], None).unwrap_err();
    assert!(matches!(error, Error::TooSmall { size: 64, others: 1, largest: 20, .. }), "{error}");
    assert!(error.to_string().contains("`data.folder.size` may be at most 20"), "{error}");
    // The size that the error recommends works.
    assert_eq!(sizes(&[(32, 32), (20, 31), (70, 70)], Some(20)).unwrap(), square(20));
    for size in [3, (1 << 32) + 4, usize::MAX] {
        assert!(matches!(sizes(&[(32, 32); 3], Some(size)), Err(Error::Config { .. })), "{size}");
    }
}

#[test]
fn samples_are_read_by_the_same_rules() {
    let dir = tempfile::tempdir().unwrap();
    let shape = ImageShape::new(3, 6, 6);
    for i in 0..12 {
        save(dir.path().join(format!("{i}.png")), 6, 6);
    }
    assert_eq!(read(dir.path(), shape).unwrap().images.len(), 12);
    save(dir.path().join("more/1.png"), 6, 6);
    let error = read(dir.path(), shape).unwrap_err();
    assert!(
        matches!(&error, Error::Layout { reason, .. } if reason.starts_with("12 images are next to")),
        "{error}"
    );
    fs::remove_dir_all(dir.path().join("more")).unwrap();
    fs::write(dir.path().join("x.heic"), "a picture").unwrap();
    let notes = read(dir.path(), shape).unwrap().notes;
    assert_eq!(notes, [Note::OtherPictures { count: 1, endings: "1 .heic".into() }]);
    fs::write(dir.path().join("3.png"), "no picture").unwrap();
    assert!(matches!(read(dir.path(), shape), Err(Error::Picture { .. })));
    save(dir.path().join("3.png"), 6, 7);
    assert!(read(dir.path(), shape).unwrap_err().to_string().contains("6×7"));
}

#[test]
fn the_same_pixels_in_memory_are_the_same_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pictures");
    let (mut bytes, mut names) = (Vec::new(), Vec::new());
    // In the order of folders: 2 before 10, then by file name.
    for class in ["2", "10"] {
        for number in 0..15u8 {
            let image = image::GrayImage::from_fn(6, 6, |x, y| image::Luma([number * 16 + (x + y) as u8]));
            fs::create_dir_all(root.join(class)).unwrap();
            image.save(root.join(class).join(format!("{number:02}.png"))).unwrap();
            bytes.extend(image.into_raw());
            names.push(class.to_owned());
        }
    }
    let grey = FolderConfig { grey: true, ..config(6) };
    let (of_folder, header) = quiet(&root, &grey, dir.path()).unwrap();
    let (classes, labels) = crate::memory::classes(&names);
    assert_eq!(classes, header.classes);
    let images = InMemory::new(ImageShape::new(1, 6, 6), bytes, Some(labels)).unwrap();
    let data = crate::DataConfig::named(crate::manifest::MEMORY);
    let data = crate::memory::samples(&data, &classes, images.into(), None).unwrap();
    assert_eq!(data.info.identity, of_folder.identity);
    assert_eq!(data.test.len(), of_folder.test.len());
    let mut test = vec![0; 36];
    for index in 0..of_folder.test.len() {
        of_folder.test.write_sample(index, &mut test).unwrap();
        assert_eq!(data.test.bytes(&[index]).unwrap(), test);
    }
}
