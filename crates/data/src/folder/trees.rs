//! Tests of layouts: trees of files, and how each is interpreted.

use std::fs;

use super::*;

/// Creates a folder with these files. They are empty, because a layout depends on names only.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    dir
}

/// Returns the classes, the paths of the training images and of the test images, and the notes.
fn listed(dir: &Path) -> (Vec<String>, Vec<String>, Vec<String>, Vec<String>) {
    let Listing { classes, train, test, notes } = list(dir, &PICTURES).unwrap();
    let names = |pictures: Vec<Picture>| {
        let name = |picture: Picture| picture.path.strip_prefix(dir).unwrap().display().to_string();
        pictures.into_iter().map(name).collect()
    };
    (classes, names(train), names(test), notes.iter().map(ToString::to_string).collect())
}

fn refused(files: &[&str]) -> String {
    list(tree(files).path(), &PICTURES).unwrap_err().to_string()
}

#[test]
fn held_out_pictures_are_never_trained_on_whatever_their_part_is_called() {
    for train in ["train", "Training", "TRAIN"] {
        for test in ["test", "Testing", "val", "VALID", "validation", "dev", "eval", "Evaluation"] {
            let [a, b] = [format!("{train}/cat/1.png"), format!("{test}/cat/2.png")];
            let dir = tree(&[&a, &b]);
            let (classes, trained, tested, notes) = listed(dir.path());
            assert_eq!((classes, trained, tested), (vec!["cat".to_owned()], vec![a], vec![b]));
            assert_eq!(notes, [format!("the training part is `{train}`, the test part is `{test}`")]);
        }
    }
    let dir = tree(&["train/1.png", "val/2.png", "val/3.png", "test/4.png", "unlabelled/5.png", "6.png"]);
    let (_, trained, tested, notes) = listed(dir.path());
    assert_eq!((trained, tested), (vec!["train/1.png".to_owned()], vec!["test/4.png".to_owned()]));
    assert_eq!(
        notes,
        [
            "the training part is `train`, the test part is `test`",
            "`unlabelled` is not used (1 sample): its name is not that of a part, such as `train` or `test`",
            "1 sample is not used: it is next to `train`, not in it",
            "`val` is not used (2 samples): `test` is already used as the test part",
        ]
    );
    for (files, words) in [
        (&["test/1.png", "val/2.png"][..], "no `train` next to it"),
        (&["cat/1.png", "dog/2.png", "dev/3.png"], "no `train` next to it"),
        (&["train/1.png", "training/2.png", "test/3.png"], "`train` and `training` are both training parts"),
        (&["bus/1.png", "train/2.png"], "`train` may be the training part, or a class"),
        (&["all/train/a/1.png", "all/test/a/2.png"], "has the name of a part, but is in"),
        (&["cat/train/1.png", "cat/test/2.png", "dog/3.png"], "has the name of a part, but is in"),
        (&["train/cat/1.png", "train/val/2.png", "test/cat/3.png"], "`val` has the name of a part"),
    ] {
        let said = refused(files);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn divides_a_training_part_without_a_test_part() {
    let files: Vec<String> = (0..20).map(|i| format!("train/{}/{i}.png", ["cat", "dog"][i % 2])).collect();
    let dir = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    fs::create_dir(dir.path().join("annotations")).unwrap();
    let (classes, trained, tested, notes) = listed(dir.path());
    assert_eq!((classes.join(" "), trained.len(), tested.len()), ("cat dog".to_owned(), 18, 2));
    assert_eq!(notes[0], "the training part is `train`; a tenth of it is held out as the test part");
    assert_eq!(
        notes[1],
        "`annotations` is not used (0 samples): its name is not that of a part, such as `train` or `test`"
    );
}

#[test]
fn labels_of_the_test_part_are_those_of_the_names_in_training() {
    let dir = tree(&["train/2/a.png", "train/10/b.png", "train/9/c.png", "test/10/d.png", "test/2/e.png"]);
    let Listing { classes, test, notes, .. } = list(dir.path(), &PICTURES).unwrap();
    assert_eq!(classes, ["2", "9", "10"]);
    let labels: Vec<(Option<u32>, bool)> =
        test.iter().map(|p| (p.label, p.path.ends_with("2/e.png"))).collect();
    assert_eq!(labels, [(Some(0), true), (Some(2), false)]);
    assert!(notes.contains(&Note::Untested { count: 1, classes: vec!["9".into()] }));
    // With two images of two classes, the test image is the only one of its class.
    let (_, _, _, notes) = listed(tree(&["cat/1.png", "dog/2.png"]).path());
    assert_eq!(notes, ["no sample is left for training of 1 class: cat"]);
    let said = refused(&["train/cat/1.png", "test/bird/2.png"]);
    assert!(said.contains("no class `bird`"), "{said}");
    let said = refused(&["train/cat/1.png", "test/2.png"]);
    assert!(said.contains("no subdirectory per class"), "{said}");
}

#[test]
fn rejects_images_next_to_directories_of_images() {
    let said = refused(&["1.png", "2.png", "thumbs/1.png"]);
    assert!(said.contains("2 images are next to the directory `thumbs`, which contains 1"), "{said}");
    let said = refused(&["train/cat/1.png", "train/2.png", "test/cat/3.png"]);
    assert!(said.contains("1 images are next to"), "{said}");
    let (classes, trained, tested, notes) = listed(tree(&["1.png", "2.png", "notes/x.txt"]).path());
    assert_eq!((classes.len(), trained.len() + tested.len()), (0, 2));
    assert_eq!(notes, ["`notes` is not used (0 samples): it is next to the images"]);
}

#[test]
fn includes_and_reports_subdirectories_of_a_class() {
    let dir = tree(&["cat/1.png", "cat/2019/may/2.png", "cat/2020/3.png", "dog/4.png"]);
    let (classes, trained, tested, notes) = listed(dir.path());
    assert_eq!((classes.join(" "), trained.len() + tested.len()), ("cat dog".to_owned(), 4));
    assert_eq!(notes, ["class `cat` includes 2 samples from 2 subdirectories"]);
    let said = refused(&["pictures/cat/1.png", "pictures/dog/2.png"]);
    assert!(said.contains("such as `pictures/cat`") && said.contains("use "), "{said}");
}

#[test]
fn counts_skipped_files_by_kind() {
    let dir = tree(&[
        "a/1.webp",
        "a/2.JPE",
        "a/3.jfif",
        "a/4.heic",
        "a/5.HEIC",
        "a/6.psd",
        "a/7.txt",
        "a/8",
        "a/.hidden.png",
        "b/1.tif",
        "b/2.gif",
        "b/3.bmp",
        "b/.DS_Store",
        "__MACOSX/a/._1.png",
        ".git/x",
    ]);
    let (classes, trained, tested, notes) = listed(dir.path());
    assert_eq!((classes.join(" "), trained.len() + tested.len()), ("a b".to_owned(), 6));
    assert_eq!(
        notes,
        [
            "3 samples are left out because their formats are not supported: 2 .heic, 1 .psd",
            "2 other files are left out: 1 without an extension, 1 .txt",
            "4 hidden entries are left out: .git, __MACOSX, a/.hidden.png, b/.DS_Store",
        ]
    );
    let said = refused(&["cat/1.png", "cat/2.png", "dog/"]);
    assert!(said.contains("dog` contains no images"), "{said}");
    let said = refused(&["cat/1.png", "dog/1.heic", "dog/2.heic"]);
    assert!(
        said.contains("but 2 samples are left out because their formats are not supported: 2 .heic"),
        "{said}"
    );
    assert!(refused(&[]).contains("contains no images"));
    assert!(matches!(list(Path::new("nowhere at all"), &PICTURES), Err(Error::Io { .. })));
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_a_circle() {
    use std::os::unix::fs::symlink;
    let other = tree(&["x/1.png", "x/2.png"]);
    let dir = tree(&["cat/1.png"]);
    let at = |name: &str| dir.path().join(name);
    symlink(other.path().join("x"), at("dog")).unwrap();
    symlink(dir.path(), at("cat/up")).unwrap();
    symlink(".", at("self")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("nowhere", at("cat/away")).unwrap();
    symlink(dir.path(), other.path().join("x/back")).unwrap();
    let (classes, trained, tested, notes) = listed(dir.path());
    assert_eq!((classes.join(" "), trained.len() + tested.len()), ("cat dog".to_owned(), 3));
    let left_out = "5 entries are left out because they are broken or circular links, or not regular files: loop, self, cat/away, cat/up, dog/back";
    assert_eq!(notes, [left_out]);
    // The test part is not the training part under another name.
    let dir = tree(&["train/1.png", "train/2.png"]);
    symlink("train", dir.path().join("test")).unwrap();
    let said = list(dir.path(), &PICTURES).unwrap_err().to_string();
    assert!(said.contains("the same directory"), "{said}");
}
