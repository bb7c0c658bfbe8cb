//! An image folder, one directory a class: decoded in parallel once, then kept as a packed file in the cache.
//!
//! ```text
//! DIR/train/cat/1.jpg   DIR/test/cat/2.jpg     with a test part of its own, which may also be called `val`
//! DIR/cat/1.jpg         DIR/dog/2.png          a tenth of each class, chosen once and for all, is the test part
//! DIR/1.jpg                                    the same without classes
//! ```

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use waxwork_core::model::ImageShape;

use crate::identity::hex;
use crate::packed::{self, Header};
use crate::parts::Parts;
use crate::source::InMemory;
use crate::{Error, Progress, Result, selection};

/// Pictures that are decoded before they are written; bounds the memory that packing takes.
const CHUNK: usize = 256;
/// Without a test part of its own, one picture in this many is for testing.
pub(crate) const TEST_SHARE: usize = 10;
/// A picture whose one side is so many times the other is not decoded: on its way to a square, such a strip would take many
/// times the memory that it has itself.
const LONGEST_STRIP: u32 = 100;
/// Sides that an image may have. No picture that is decoded is larger.
const SIZES: RangeInclusive<usize> = 4..=1 << 15;
/// Raised by any change to which pictures are taken and how they are made into images.
const VERSION: u32 = 1;

/// How the pictures of a folder are made into images of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FolderConfig {
    /// Rows and columns, from 4 to 32,768. A picture's shorter side is scaled to it, and the middle is cut out.
    pub size: usize,
    /// One channel instead of three.
    pub grey: bool,
    /// Leave out pictures that cannot be decoded, and count them, instead of failing.
    pub skip_unreadable: bool,
}

impl Default for FolderConfig {
    fn default() -> Self {
        Self { size: 64, grey: false, skip_unreadable: false }
    }
}

impl FolderConfig {
    /// The shape of the images.
    pub(crate) fn shape(&self) -> Result<ImageShape> {
        if !SIZES.contains(&self.size) {
            let reason = format!("{} is not from {} to {}", self.size, SIZES.start(), SIZES.end());
            return Err(Error::Config { key: "data.folder.size", reason });
        }
        Ok(ImageShape::new(if self.grey { 1 } else { 3 }, self.size, self.size))
    }
}

/// A picture file and its class.
struct Picture {
    path: PathBuf,
    label: Option<u32>,
}

/// The pictures below `dir`, and the classes in the order of their names.
struct Listing {
    classes: Vec<String>,
    train: Vec<Picture>,
    test: Vec<Picture>,
}

/// Opens the packed form of a folder, and makes it first, below `cache`, where the folder or `config` is new.
///
/// # Errors
/// [`Error::Io`], [`Error::Picture`], [`Error::TooSmall`], [`Error::EmptyFolder`], [`Error::Config`].
pub(crate) fn load(
    dir: &Path,
    config: &FolderConfig,
    cache: &Path,
    progress: &Progress<'_>,
) -> Result<(Parts, Header)> {
    config.shape()?;
    let listing = list(dir)?;
    let key = fingerprint(dir, config, &listing)?;
    let path = cache.join("folders").join(format!("{key}.waxpack"));
    // A damaged or outdated file in the cache is made again.
    if let Ok(opened) = packed::open(&path) {
        return Ok(opened);
    }
    pack(&path, config, &listing, progress)?;
    packed::open(&path)
}

/// Pictures that are exactly of `shape`, in the order of their names: of one directory per class, whose place among the names that
/// are returned with them is the label, or of a directory without directories, without labels or names.
///
/// # Errors
/// [`Error::Io`], [`Error::EmptyFolder`], and [`Error::Picture`] for the first that is broken or of another size.
pub fn read(dir: &Path, shape: ImageShape) -> Result<(InMemory, Vec<String>)> {
    let (classes, pictures) = list_part(dir)?;
    let pixels: Result<Vec<Vec<u8>>> = pictures
        .par_iter()
        .map(|picture| {
            let unreadable = |reason: String| Error::Picture { path: picture.path.clone(), reason };
            let size = image::image_dimensions(&picture.path)
                .map_err(|error| unreadable(first_line(&error.to_string())))?;
            if size != (shape.width as u32, shape.height as u32) {
                return Err(unreadable(format!("it is {} by {}, and not {shape}", size.0, size.1)));
            }
            self::picture(&picture.path, shape)
        })
        .collect();
    let labels = pictures.iter().map(|picture| picture.label).collect();
    Ok((InMemory::new(shape, pixels?.concat(), labels)?, classes))
}

fn list(dir: &Path) -> Result<Listing> {
    let train_dir = dir.join("train");
    let test_dir = ["test", "val"].map(|name| dir.join(name)).into_iter().find(|dir| dir.is_dir());
    if train_dir.is_dir()
        && let Some(test_dir) = test_dir
    {
        let (classes, train) = list_part(&train_dir)?;
        let (test_classes, test) = list_part(&test_dir)?;
        if classes != test_classes {
            let (expected, found) =
                (format!("the classes of train: {classes:?}"), format!("{test_classes:?}"));
            return Err(Error::format(&test_dir, expected, found));
        }
        return Ok(Listing { classes, train, test });
    }
    let (classes, mut train) = list_part(dir)?;
    if train.len() < 2 {
        let reason = format!("{} holds one picture, training and testing need two", dir.display());
        return Err(Error::Config { key: "data.dir", reason });
    }
    let order = selection::fixed_order(train.len(), |index| train[index].label);
    let mut is_test = vec![false; train.len()];
    order[..train.len().div_ceil(TEST_SHARE)].iter().for_each(|&index| is_test[index as usize] = true);
    let mut flags = is_test.into_iter();
    let test = train.extract_if(.., |_| flags.next().unwrap_or(false)).collect();
    Ok(Listing { classes, train, test })
}

/// The pictures of one part: in a directory a class, or, if there are no directories, all without a class.
fn list_part(dir: &Path) -> Result<(Vec<String>, Vec<Picture>)> {
    let directories: Vec<PathBuf> = entries(dir)?.into_iter().filter(|path| path.is_dir()).collect();
    if directories.is_empty() {
        let pictures = pictures(dir)?.into_iter().map(|path| Picture { path, label: None });
        return Ok((Vec::new(), pictures.collect()));
    }
    let mut classes = Vec::new();
    let mut all = Vec::new();
    for (label, directory) in (0u32..).zip(directories) {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        classes.push(name);
        all.extend(pictures(&directory)?.into_iter().map(|path| Picture { path, label: Some(label) }));
    }
    Ok((classes, all))
}

fn pictures(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_picture = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && ["jpg", "jpeg", "png"].contains(&extension.as_str())
    };
    let pictures: Vec<PathBuf> = entries(dir)?.into_iter().filter(is_picture).collect();
    if pictures.is_empty() {
        return Err(Error::EmptyFolder { path: dir.to_path_buf() });
    }
    Ok(pictures)
}

/// What a directory holds in the order of names, without hidden entries.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(dir).map_err(Error::io("open", dir))?;
    let entries: std::io::Result<Vec<_>> = read.collect();
    let mut paths: Vec<PathBuf> = entries
        .map_err(Error::io("read", dir))?
        .into_iter()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    Ok(paths)
}

/// Names the packed file: changes when a picture is added, removed or changed, or when images are to be made otherwise.
fn fingerprint(dir: &Path, config: &FolderConfig, listing: &Listing) -> Result<String> {
    let mut hash = Sha256::new_with_prefix(format!("waxwork-data folder {VERSION} {config:?}\n"));
    for (part, pictures) in [("train", &listing.train), ("test", &listing.test)] {
        for Picture { path, .. } in pictures {
            let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let name = path.strip_prefix(dir).unwrap_or(path).to_string_lossy();
            let nanoseconds = changed.map_or(0, |time| time.as_nanos());
            hash.update(format!("{part}\0{name}\0{}\0{nanoseconds}\n", metadata.len()));
        }
    }
    Ok(hex(&hash.finalize()[..16]))
}

fn pack(path: &Path, config: &FolderConfig, listing: &Listing, progress: &Progress<'_>) -> Result<()> {
    let shape = config.shape()?;
    let total = listing.train.len() + listing.test.len();
    let mut writer = packed::Writer::create(path, shape, &listing.classes)?;
    let (mut done, mut skipped) = (0, 0);
    for (part, pictures) in [&listing.train, &listing.test].into_iter().enumerate() {
        let mut kept = 0;
        for chunk in pictures.chunks(CHUNK) {
            let images: Vec<Result<Vec<u8>>> =
                chunk.par_iter().map(|entry| picture(&entry.path, shape)).collect();
            for (picture, image) in chunk.iter().zip(images) {
                match image {
                    Ok(image) => {
                        writer.image(&image, picture.label)?;
                        kept += 1;
                    }
                    Err(Error::Picture { .. }) if config.skip_unreadable => skipped += 1,
                    Err(error) => return Err(error),
                }
            }
            done += chunk.len();
            progress(done as u64, total as u64);
        }
        if kept == 0 {
            let reason = format!("none of its {} pictures can be decoded", pictures.len());
            return Err(Error::Config { key: "data.dir", reason });
        }
        if part == 0 {
            writer.end_train();
        }
    }
    writer.finish(skipped)
}

/// The middle of the picture in a file, scaled to `shape`, channel first. Reading one takes at most half a gibibyte for the
/// picture itself, however large its header says that it is.
///
/// # Errors
/// [`Error::Io`]; [`Error::Picture`] if it is no whole picture, too large, or a hundred times as long as wide or the other
/// way round; [`Error::TooSmall`].
pub fn picture(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    let unreadable = |reason: &dyn std::fmt::Display| Error::Picture {
        path: path.to_path_buf(),
        reason: first_line(&reason.to_string()),
    };
    let reader = ImageReader::open(path).map_err(Error::io("open", path))?;
    let reader = reader.with_guessed_format().map_err(Error::io("read", path))?;
    fit(path, decoded(reader, unreadable)?, shape)
}

/// A picture as it is, upright; what is wrong with it as `unreadable` puts it. It takes at most half a gibibyte.
pub(crate) fn decoded<R: std::io::BufRead + std::io::Seek>(
    reader: ImageReader<R>,
    unreadable: impl Fn(&dyn std::fmt::Display) -> Error,
) -> Result<DynamicImage> {
    let mut decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    // What the decoder itself allocates is limited by default; what it is decoded into is not, but by this.
    Limits::default().reserve(decoder.total_bytes()).map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    if width.max(height) / width.min(height).max(1) > LONGEST_STRIP {
        return Err(unreadable(&format!("{width} by {height} is a strip and no picture")));
    }
    // Photographs from telephones lie on their side and say so.
    let orientation = decoder.orientation().map_err(|error| unreadable(&error))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The middle of a picture as `shape` has it, channel first. `path` is the file that it came from.
pub(crate) fn fit(path: &Path, mut picture: DynamicImage, shape: ImageShape) -> Result<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    if width.min(height) < shape.height as u32 {
        return Err(Error::TooSmall { path: path.to_path_buf(), width, height, size: shape.height });
    }
    if (width as usize, height as usize) != (shape.width, shape.height) {
        picture = picture.resize_to_fill(shape.width as u32, shape.height as u32, FilterType::CatmullRom);
    }
    Ok(channel_first(&picture, shape.channels))
}

/// What a decoder says: some say it in several lines, of which the first is the cause.
fn first_line(said: &str) -> String {
    said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown error").to_owned()
}

/// Rows from the top and columns from the left, one plane a channel: grey for one channel, red, green, blue for three.
pub(crate) fn channel_first(picture: &DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return picture.to_luma8().into_raw();
    }
    let interleaved = picture.to_rgb8().into_raw();
    (0..channels).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use image::{Rgb, RgbImage};
    use proptest::prelude::*;

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
        FolderConfig { size, ..FolderConfig::default() }
    }

    fn pixel(source: &dyn Source, index: usize, row: usize, column: usize) -> Vec<u8> {
        let shape = source.shape();
        let mut image = vec![0; shape.len()];
        source.write_image(index, &mut image).unwrap();
        let plane = shape.height * shape.width;
        (0..shape.channels).map(|channel| image[channel * plane + row * shape.width + column]).collect()
    }

    #[test]
    fn pictures_stay_upright_and_keep_their_class_whatever_their_shape() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pictures");
        for part in ["train", "test"] {
            save(root.join(part).join("cat/a.png"), 8, 8);
            save(root.join(part).join("cat/b.JPG"), 64, 40);
            save(root.join(part).join("dog/a.png"), 30, 90);
        }
        fs::write(root.join("train/cat/notes.txt"), "not a picture").unwrap();
        let (parts, header) = quiet(&root, &config(8), dir.path()).unwrap();
        assert_eq!(header.classes, ["cat", "dog"]);
        assert_eq!((parts.train.len(), parts.test.len()), (3, 3));
        assert_eq!([0, 1, 2].map(|i| parts.train.label(i)), [Some(0), Some(0), Some(1)]);
        for index in 0..3 {
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
        assert_eq!(parts.train.shape(), ImageShape::new(1, 8, 8));
    }

    #[test]
    fn a_folder_is_decoded_once_and_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pictures");
        (0..20).for_each(|i| save(root.join(format!("{}/{i}.png", ["a", "b"][i % 2])), 6, 6));
        let decoded = AtomicU64::new(0);
        let run = |size| {
            load(&root, &config(size), dir.path(), &|done, total| {
                assert!(done <= total);
                decoded.store(done, Ordering::Relaxed);
            })
            .unwrap()
        };
        let (parts, _) = run(6);
        assert_eq!(decoded.swap(0, Ordering::Relaxed), 20);
        assert_eq!((parts.train.len(), parts.test.len()), (18, 2));
        assert_ne!(parts.test.label(0), parts.test.label(1));
        let (again, _) = run(6);
        assert_eq!(decoded.swap(0, Ordering::Relaxed), 0);
        assert_eq!(again.identity, parts.identity);
        let (smaller, _) = run(4);
        assert_eq!(decoded.swap(0, Ordering::Relaxed), 20);
        assert_ne!(smaller.identity, parts.identity);
        save(root.join("a/100.png"), 7, 7);
        run(6);
        assert_eq!(decoded.swap(0, Ordering::Relaxed), 21);
        // A damaged file in the cache is made anew.
        for entry in fs::read_dir(dir.path().join("folders")).unwrap() {
            fs::write(entry.unwrap().path(), "damaged").unwrap();
        }
        run(6);
        assert_eq!(decoded.load(Ordering::Relaxed), 21);
    }

    #[test]
    fn an_unreadable_picture_is_named_or_counted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pictures");
        (0..10).for_each(|i| save(root.join(format!("{i}.png")), 6, 6));
        fs::write(root.join("5.png"), "no picture").unwrap();
        let error = quiet(&root, &config(6), dir.path()).err().unwrap().to_string();
        assert!(error.contains("5.png"), "{error}");
        // An empty jpeg is told in one line too, though its decoder says two.
        let empty = dir.path().join("0.jpg");
        fs::write(&empty, "").unwrap();
        let error = super::picture(&empty, ImageShape::new(3, 6, 6)).unwrap_err().to_string();
        assert!(error.contains("0.jpg") && error.contains("--skip-unreadable"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        // Nothing half-written stays behind.
        assert_eq!(fs::read_dir(dir.path().join("folders")).unwrap().count(), 0);
        let skipping = FolderConfig { skip_unreadable: true, ..config(6) };
        for _ in 0..2 {
            let (parts, header) = quiet(&root, &skipping, dir.path()).unwrap();
            assert_eq!((parts.train.len() + parts.test.len(), header.skipped), (9, 1));
            assert_eq!(parts.train.label(0), None);
        }
    }

    #[test]
    fn empty_classes_small_pictures_and_uneven_parts_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pictures");
        save(root.join("cat/a.png"), 8, 7);
        save(root.join("cat/b.png"), 8, 8);
        let error = quiet(&root, &config(8), dir.path()).err().unwrap();
        assert!(matches!(error, Error::TooSmall { width: 8, height: 7, size: 8, .. }), "{error}");
        fs::create_dir(root.join("dog")).unwrap();
        let error = quiet(&root, &config(4), dir.path()).err().unwrap();
        assert!(matches!(&error, Error::EmptyFolder { path } if path.ends_with("dog")), "{error}");
        save(root.join("train/cat/a.png"), 8, 8);
        save(root.join("test/dog/a.png"), 8, 8);
        assert!(matches!(quiet(&root, &config(4), dir.path()), Err(Error::Format { .. })));
        for size in [3, (1 << 32) + 4, usize::MAX] {
            assert!(matches!(quiet(&root, &config(size), dir.path()), Err(Error::Config { .. })), "{size}");
        }
        assert!(matches!(quiet(&root.join("none"), &config(4), dir.path()), Err(Error::Io { .. })));
    }

    #[test]
    fn a_picture_that_says_it_is_huge_or_is_a_strip_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        save(path.clone(), 8, 8);
        let shape = ImageShape::new(3, 4, 4);
        assert_eq!(super::picture(&path, shape).unwrap().len(), 48);

        // The header's chunk: length, name, width, height, five bytes, checksum.
        let mut huge = fs::read(&path).unwrap();
        huge[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        huge[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let mut checksum = flate2::Crc::new();
        checksum.update(&huge[12..29]);
        huge[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
        fs::write(&path, huge).unwrap();
        let error = super::picture(&path, shape).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.to_lowercase().contains("limit"), "{error}");

        save(path.clone(), 808, 8);
        let error = super::picture(&path, shape).unwrap_err().to_string();
        assert!(error.contains("808 by 8 is a strip"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn damaged_pictures_never_panic(jpeg: bool, cut: prop::sample::Index, bit: prop::sample::Index) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(if jpeg { "a.jpg" } else { "a.png" });
            save(path.clone(), 9, 7);
            let whole = fs::read(&path).unwrap();
            let shape = ImageShape::new(3, 4, 4);
            let mut flipped = whole.clone();
            flipped[bit.index(whole.len())] ^= 1 << (bit.index(8 * whole.len()) % 8);
            for bytes in [&whole[..cut.index(whole.len())], &flipped] {
                fs::write(&path, bytes).unwrap();
                if let Ok(pixels) = super::picture(&path, shape) {
                    prop_assert_eq!(pixels.len(), shape.len());
                }
            }
        }
    }
}
