//! Damaged images: none is read as an image with a missing part.

use image::ImageFormat;

use super::*;

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
            case: "a JPEG, PNG or GIF whose second half is zeros, as after an interrupted download",
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
            case: "a PNG, GIF, BMP, TIFF or WebP file cut in half, or without its last byte",
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
            case: "an empty file, a text or a web page with the name of an image file",
            gets: "refused",
            run: |folder| {
                for bytes in [&b""[..], b"not a picture", b"<!DOCTYPE html><html></html>"] {
                    broken(folder, "x.jpg", bytes, &[]);
                }
            },
        },
        Case {
            case: "an image whose header claims more than 512 MiB, or that is a hundred times as long as wide",
            gets: "refused before memory is allocated for it",
            run: |folder| {
                let mut huge = encoded(photo(32, 32), ImageFormat::Bmp);
                huge[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
                broken(folder, "x.bmp", &huge, &["limit"]);
                broken(folder, "x.png", &encoded(photo(3300, 32), ImageFormat::Png), &["a strip"]);
            },
        },
        Case {
            case: "a JPEG with bytes after its end, before its end marker or between its segments",
            gets: "read: cameras and editors write such bytes",
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
            case: "every image of a class is damaged, and damaged images are left out",
            gets: "refused, with the class",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/1.png", "cat/2.png"]);
                write(folder, "data/dog/1.png", b"");
                show(folder, &["--set", "data.folder.skip_unreadable=true"]).refused(&["class `dog`"]);
            },
        },
    ];
    section("Damaged images", &cases);
}
