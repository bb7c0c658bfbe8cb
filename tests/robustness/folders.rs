//! The contents of image folders, and the directories that count as splits.

use std::fs;

use image::ImageFormat;

use super::*;

#[test]
fn contents_of_folders() {
    let cases = [
        Case {
            case: "jpg, jpeg, jpe, jfif, png, webp, bmp, tif, tiff and gif, in upper or lower case",
            gets: "read; of an animation the first frame",
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
            case: "`data show -n` on a folder with more images than it shows",
            gets: "a fixed choice from the whole folder, each class in proportion",
            run: |folder| {
                for number in 0..120u8 {
                    let picture = RgbImage::from_pixel(32, 32, Rgb([number, 0, 0]));
                    let class = if number < 80 { "horse" } else { "ship" };
                    for name in
                        [format!("data/{class}/{number:03}.bmp"), format!("flat/data/{number:03}.bmp")]
                    {
                        write(folder, &name, &encoded(picture.clone(), ImageFormat::Bmp));
                    }
                }
                let reds = |folder: &Path| {
                    show(folder, &["-n", "12"]).good();
                    let shown = store::load(&folder.join("out.safetensors"), &Device::Cpu).unwrap();
                    let values = shown["images"].flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
                    values.iter().map(|image| (image[0] * 255.0).round() as u8).collect::<Vec<u8>>()
                };
                let classes = reds(folder);
                assert_eq!((classes.len(), classes.iter().filter(|&&red| red >= 80).count()), (12, 4));
                assert!(classes.is_sorted() && classes[7] > 20, "{classes:?}");
                let flat = reds(&folder.join("flat"));
                assert!(flat.is_sorted() && flat[0] < 40 && flat[11] > 80, "{flat:?}");
            },
        },
        Case {
            case: "an image with the extension of another format",
            gets: "read: its first bytes identify the format",
            run: |folder| {
                pictures(&folder.join("data"), &["a.png", "b.jpg", "c.gif"]);
                read(folder, 2, &[]);
            },
        },
        Case {
            case: "heic, avif, svg, psd and other unsupported formats",
            gets: "left out, counted by extension, with a warning",
            run: |folder| {
                pictures(&folder.join("data"), &["a.png", "b.png", "c.heic", "d.HEIC", "e.avif"]);
                read(
                    folder,
                    1,
                    &[
                        "WARN",
                        "3 samples are left out because their formats are not supported: 2 .heic, 1 .avif",
                    ],
                );
            },
        },
        Case {
            case: "text, tables, files without an extension, and hidden files",
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
            case: "`__MACOSX`, `@eaDir` and other directories that operating systems create",
            gets: "left out, reported",
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
            case: "images next to a directory with images",
            gets: "refused, with both counts: the directory may be a class",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "thumbs/1.png"]);
                refused(folder, &["2 images are next to the directory `thumbs`, which contains 1"]);
            },
        },
        Case {
            case: "images next to a directory without images",
            gets: "read without classes; the directory is reported as not used",
            run: |folder| {
                pictures(&folder.join("data"), &["1.png", "2.png", "notes/x.txt"]);
                read(folder, 1, &["without classes", "`notes` is not used"]);
            },
        },
        Case {
            case: "directories in the directory of a class",
            gets: "their images belong to that class, with a warning",
            run: |folder| {
                pictures(
                    &folder.join("data"),
                    &["cat/1.png", "cat/2019/2.png", "cat/2020/3.png", "dog/4.png"],
                );
                read(folder, 3, &["WARN", "class `cat` includes 2 samples from 2 subdirectories"]);
            },
        },
        Case {
            case: "one directory that contains the class directories",
            gets: "refused, with the directory to give instead",
            run: |folder| {
                pictures(&folder.join("data"), &["pictures/cat/1.png", "pictures/dog/2.png"]);
                refused(folder, &["its images are in directories below `pictures`", "data/pictures instead"]);
            },
        },
        Case {
            case: "a class without images",
            gets: "refused, with what its directory holds",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/1.png", "cat/2.png", "dog/1.heic"]);
                refused(folder, &["dog` contains no images", "1 .heic"]);
            },
        },
        Case {
            case: "links that form a loop, or lead nowhere",
            gets: "left out, reported; a broken link with the name of an image file counts as an image that cannot be decoded",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/1.png", "dog/2.png"]);
                #[cfg(unix)]
                {
                    std::os::unix::fs::symlink("..", folder.join("data/cat/up")).unwrap();
                    std::os::unix::fs::symlink("nowhere", folder.join("data/away")).unwrap();
                    read(
                        folder,
                        1,
                        &["2 entries are left out because they are broken or circular links", "away, cat/up"],
                    );
                    std::os::unix::fs::symlink("nowhere.png", folder.join("data/cat/x.png")).unwrap();
                    refused(folder, &["x.png"]);
                }
            },
        },
        Case {
            case: "class directories `2`, `10` and `1`",
            gets: "labels in the order 1, 2, 10; names that are words are sorted alphabetically",
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
            case: "`train` or `training`, with `test`, `testing`, `eval`, `evaluation`, `val`, `valid`, `validation`, `dev` or `development`, in upper or lower case",
            gets: "the first is the training part, the second the test part; both are reported",
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
            gets: "the first of the list above is the test part; the others are reported as not used",
            run: |folder| {
                pictures(&folder.join("data"), &["train/1.png", "val/2.png", "dev/3.png", "test/4.png"]);
                read(
                    folder,
                    1,
                    &["the test part is `test`", "`val` is not used (1 sample)", "`dev` is not used"],
                );
            },
        },
        Case {
            case: "`train` alone",
            gets: "a tenth of each class is held out as the test part, which is reported",
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
            case: "a held-out part without `train`, alone or next to classes",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["test/1.png", "test/2.png"]);
                refused(folder, &["`test` would be the test part, but there is no `train`"]);
                pictures(&folder.join("data"), &["cat/1.png", "dog/2.png"]);
                refused(folder, &["`test` would be the test part"]);
            },
        },
        Case {
            case: "a directory `train` next to directories of classes, for example next to `bus`",
            gets: "refused: it may be a part or a class",
            run: |folder| {
                pictures(&folder.join("data"), &["bus/1.png", "train/2.png"]);
                refused(folder, &["`train` may be the training part, or a class like `bus`"]);
            },
        },
        Case {
            case: "parts in the directory of a class, or in one directory that contains everything",
            gets: "refused, because otherwise Waxwork would train on held-out images",
            run: |folder| {
                pictures(&folder.join("data"), &["cat/train/1.png", "cat/val/2.png"]);
                refused(folder, &["has the name of a part, but is in"]);
                fs::remove_dir_all(folder.join("data")).unwrap();
                pictures(&folder.join("data"), &["all/train/cat/1.png", "all/test/cat/2.png"]);
                refused(folder, &["has the name of a part, but is in"]);
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
            gets: "read, with classes matched by name and a warning that it is not tested",
            run: |folder| {
                pictures(&folder.join("data"), &["train/cat/1.png", "train/dog/2.png", "test/dog/3.png"]);
                read(folder, 2, &["WARN", "the test part has no sample of 1 class: cat"]);
            },
        },
        Case {
            case: "a class that only the test part has, or one part with class directories and the other without",
            gets: "refused",
            run: |folder| {
                pictures(&folder.join("data"), &["train/cat/1.png", "test/bird/3.png"]);
                refused(folder, &["there is no class `bird`"]);
                fs::remove_dir_all(folder.join("data")).unwrap();
                pictures(&folder.join("data"), &["train/cat/1.png", "test/3.png"]);
                refused(folder, &["no subdirectory per class"]);
            },
        },
    ];
    section("Parts", &cases);
}
