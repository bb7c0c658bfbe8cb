//! Every supported format, complete and truncated, and the errors of damaged files.

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use proptest::prelude::*;

use super::*;

/// Made by Pillow 13, as are the two below:
///
/// ```python
/// im = Image.new("RGB", (20, 12))
/// im.putdata([(12 * x, 20 * y, 255 * ((x // 4 + y // 4) % 2)) for y in range(12) for x in range(20)])
/// im.save("progressive.jpg", quality=60, progressive=True)
/// im.save("restarts.jpg", quality=60, optimize=True, restart_marker_blocks=1)
/// im.save("lossy.webp", quality=60)
/// ```
const PROGRESSIVE: &[u8] = include_bytes!("../../tests/pictures/progressive.jpg");
const RESTARTS: &[u8] = include_bytes!("../../tests/pictures/restarts.jpg");
const LOSSY: &[u8] = include_bytes!("../../tests/pictures/lossy.webp");

/// Returns the image in the fixtures.
fn picture() -> RgbImage {
    RgbImage::from_fn(20, 12, |x, y| Rgb([12 * x as u8, 20 * y as u8, 255 * ((x / 4 + y / 4) % 2) as u8]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Returns a file of every kind, and the tolerance for its values.
fn files() -> Vec<(&'static str, Vec<u8>, u8)> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let grey = GrayImage::from_fn(20, 12, |x, y| Luma([(6 * x + 10 * y) as u8]));
    let mut files: Vec<(&str, Vec<u8>, u8)> = Vec::new();
    for (name, format, off) in [
        ("jpeg", Jpeg, 90),
        ("png", Png, 0),
        ("gif", Gif, 40),
        ("bmp", Bmp, 0),
        ("tiff", Tiff, 0),
        ("webp", WebP, 0),
    ] {
        files.push((name, encoded(picture(), format), off));
    }
    files.push(("grey jpeg", encoded(grey.clone(), Jpeg), 255));
    files.push(("grey png", encoded(grey, Png), 255));
    for (name, bytes) in [("progressive", PROGRESSIVE), ("restarts", RESTARTS), ("lossy webp", LOSSY)] {
        files.push((name, bytes.to_vec(), 120));
    }
    files
}

fn pixels(bytes: &[u8]) -> Vec<u8> {
    decode(bytes).unwrap().to_rgb8().into_raw()
}

#[test]
fn recognises_formats_by_content_and_turns_images_upright() {
    for (name, bytes, off) in files() {
        let header = header(&bytes).unwrap();
        assert_eq!((header.width, header.height, header.shorter_side()), (20, 12, 12), "{name}");
        assert_eq!(header.colour, !name.starts_with("grey"), "{name}");
        let found = pixels(&bytes);
        let apart = found.iter().zip(picture().as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(off), "{name}: {apart:?}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    for (name, bytes, _) in files() {
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{name} of {} bytes cut to {end}", bytes.len());
        }
    }
}

#[test]
fn rejects_jpegs_without_their_end() {
    for (name, bytes, _) in files()
        .into_iter()
        .filter(|(name, ..)| ["jpeg", "grey jpeg", "progressive", "restarts"].contains(name))
    {
        // Where the pixels begin.
        let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        for end in scan..bytes.len() - 2 {
            let closed = [&bytes[..end], &[0xff, 0xd9]].concat();
            assert!(decode(&closed).is_err(), "{name} cut to {end} and closed");
            let mut hole = bytes.clone();
            hole[end..].fill(0);
            assert!(decode(&hole).is_err(), "{name} with zeros from {end} on");
        }
    }
    let whole = encoded(picture(), ImageFormat::Jpeg);
    let cut = decode(&whole[..whole.len() - 20]).unwrap_err().0;
    assert!(cut.contains("ends too early, in block"), "{cut}");
    let open = decode(&whole[..whole.len() - 2]).unwrap_err().0;
    assert!(open.contains("is cut off"), "{open}");
}

#[test]
fn ignores_extra_bytes_in_jpegs() {
    for bytes in [PROGRESSIVE, RESTARTS] {
        let whole = pixels(bytes);
        let after = |tail: &[u8]| [bytes, tail].concat();
        let before_end = |filling: &[u8]| [&bytes[..bytes.len() - 2], filling, &[0xff, 0xd9]].concat();
        for changed in [
            after(&[0; 100]),
            after(bytes),
            before_end(&[0xff; 5]),
            before_end(&[0; 7]),
            before_end(&[1, 2, 3, 0xff, 0, 5]),
            [&bytes[..2], &[0xff, 0xfe, 0, 4, 1, 2], &bytes[2..]].concat(),
            [&bytes[..2], &[0xff; 3], &bytes[2..]].concat(),
        ] {
            assert_eq!(pixels(&changed), whole);
        }
    }
}

#[test]
fn a_progressive_jpeg_lacks_no_scan() {
    let bytes = PROGRESSIVE.to_vec();
    let scans: Vec<usize> = (0..bytes.len() - 1).filter(|&at| bytes[at..at + 2] == [0xff, 0xda]).collect();
    assert_eq!(scans.len(), 10);
    for &scan in &scans[1..] {
        let mut closed = bytes[..scan].to_vec();
        closed.extend([0xff, 0xd9]);
        let said = decode(&closed).unwrap_err().0;
        assert!(said.contains("are missing"), "{said}");
    }
}

#[test]
fn detects_a_lost_restart_interval() {
    let bytes = RESTARTS.to_vec();
    let markers: Vec<usize> = (0..bytes.len() - 1)
        .filter(|&at| bytes[at] == 0xff && (0xd0..=0xd7).contains(&bytes[at + 1]))
        .collect();
    assert_eq!(markers.len(), 1);
    let mut other = bytes.clone();
    other[markers[0] + 1] = 0xd1;
    assert!(decode(&other).unwrap_err().0.contains("restart marker"));
}

#[test]
fn a_wrong_checksum_of_a_png_is_an_error() {
    let bytes = encoded(picture(), ImageFormat::Png);
    for place in 8..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 4;
        assert!(decode(&flipped).is_err(), "byte {place}");
    }
}

#[test]
fn photographs_that_lie_on_their_side_are_turned_in_the_header_too() {
    // An Exif segment whose one entry means a quarter turn clockwise.
    let exif = [
        &[0xff, 0xe1, 0, 34][..],
        b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01",
        &[1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0],
        &[0; 4],
    ];
    let bytes = encoded(picture(), ImageFormat::Jpeg);
    let turned = [&bytes[..2], &exif.concat(), &bytes[2..]].concat();
    let header = header(&turned).unwrap();
    assert_eq!((header.width, header.height), (12, 20));
    assert_eq!(decode(&turned).unwrap(), decode(&bytes).unwrap().rotate90());
}

#[test]
fn a_picture_of_the_exact_shape_is_not_scaled_whichever_side_is_longer() {
    let path = Path::new("x.png");
    for (width, height) in [(6, 4), (4, 6)] {
        let shape = ImageShape::new(3, height as usize, width as usize);
        let picture = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 9]));
        let image = fit(path, picture.clone().into(), shape).unwrap();
        assert_eq!(image, channel_first(&picture.into(), 3));
    }
    let small = fit(path, RgbImage::new(8, 7).into(), ImageShape::new(3, 8, 8)).unwrap_err();
    assert!(
        matches!(small, Error::TooSmall { width: 8, height: 7, size: 8, others: 0, largest: 7, .. }),
        "{small}"
    );
}

#[test]
fn rejects_huge_images_and_strips() {
    // The header's chunk: length, name, width, height, five bytes, checksum.
    let mut huge = encoded(RgbImage::new(8, 8), ImageFormat::Png);
    huge[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let mut checksum = flate2::Crc::new();
    checksum.update(&huge[12..29]);
    huge[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
    let mut huge_jpeg = PROGRESSIVE.to_vec();
    let frame = huge_jpeg.windows(2).position(|pair| pair == [0xff, 0xc2]).unwrap();
    huge_jpeg[frame + 5..frame + 9].fill(0xff);
    let mut huge_gif = encoded(RgbImage::new(8, 8), ImageFormat::Gif);
    huge_gif[6..10].fill(0xff);
    let mut huge_bmp = encoded(RgbImage::new(8, 8), ImageFormat::Bmp);
    huge_bmp[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
    for (name, bytes) in [("png", huge), ("jpeg", huge_jpeg), ("gif", huge_gif), ("bmp", huge_bmp)] {
        let said = decode(&bytes).unwrap_err().0;
        assert!(said.to_lowercase().contains("limit"), "{name}: {said}");
    }
    let strip = encoded(RgbImage::new(808, 8), ImageFormat::Png);
    let said = decode(&strip).unwrap_err().0;
    assert!(said.contains("808×8 is a strip"), "{said}");
}

#[test]
fn rejects_non_images_in_one_line() {
    for bytes in
        [&b""[..], b"no picture", b"<!DOCTYPE html>", &[0xff, 0xd8, 0xff], b"GIF89a", b"RIFF\0\0\0\0WEBP"]
    {
        let said = decode(bytes).unwrap_err().0;
        assert!(!said.is_empty() && !said.contains('\n'), "{said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_images_never_panic(which: prop::sample::Index, flips: Vec<prop::sample::Index>) {
        let files = files();
        let mut bytes = files[which.index(files.len())].1.clone();
        for flip in flips.iter().take(4) {
            let at = flip.index(bytes.len());
            bytes[at] ^= 1 << (flip.index(8 * bytes.len()) % 8);
        }
        if let Ok(picture) = decode(&bytes) {
            prop_assert_eq!(channel_first(&picture, 3).len() as u32, 3 * picture.width() * picture.height());
        }
    }
}
