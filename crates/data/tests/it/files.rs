//! Data sets from files and manifests: what is found, what is refused, and the real MNIST where it is at hand.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use waxwork_core::ImageShape;
use waxwork_data::embedded::{TEST_IMAGES, TRAIN_IMAGES};
use waxwork_data::manifest::{Role, Storage};
use waxwork_data::table::clinic;
use waxwork_data::{
    DataConfig, Error, FileStatus, Manifest, OracleConfig, View, cifar, describe, load, mnist, verify,
};

fn from_dir(name: &str, dir: &Path) -> DataConfig {
    DataConfig { dir: Some(dir.to_path_buf()), ..DataConfig::named(name) }
}

fn idx(dims: &[u32], body: &[u8]) -> Vec<u8> {
    let header = dims.iter().flat_map(|d| d.to_be_bytes());
    [0, 0, 8, dims.len() as u8].into_iter().chain(header).chain(body.iter().copied()).collect()
}

/// Four files of the layout of MNIST, `train` + `test` images.
fn write_idx(dir: &Path, train: u32, test: u32) {
    fs::create_dir_all(dir).unwrap();
    for (stem, count) in [("train", train), ("t10k", test)] {
        let pixels = vec![9; count as usize * 784];
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        fs::write(dir.join(format!("{stem}-images-idx3-ubyte")), idx(&[count, 28, 28], &pixels)).unwrap();
        fs::write(dir.join(format!("{stem}-labels-idx1-ubyte")), idx(&[count], &labels)).unwrap();
    }
}

#[test]
fn manifests_are_complete_and_consistent() {
    let all = Manifest::all().unwrap();
    assert_eq!(all.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), KNOWN);
    for manifest in all {
        let classes = match manifest.name.as_str() {
            "grid" => 25,
            "ring" => 8,
            "names" => 18,
            "trec" => 6,
            "factors" => 3,
            "sprites" | "sprites64" => 9,
            "clinic" | "oracle" | "ptb" | "coco-captions" | "equations" | "stacked-mnist" => 0,
            _ => 10,
        };
        assert_eq!(manifest.classes.len(), classes, "{}", manifest.name);
        let image = manifest.kind().unwrap().map_or(0, |kind| kind.bytes());
        for file in &manifest.files {
            assert!(file.sha256.as_ref().is_none_or(|hash| hash.len() == 64));
            // Lines of texts have no fixed size.
            if manifest.storage == Storage::Texts {
                continue;
            }
            let size = match file.role {
                Role::TrainImages => 16 + manifest.train * image,
                Role::TestImages => 16 + manifest.test * image,
                Role::TrainLabels => 8 + manifest.train,
                Role::TestLabels => 8 + manifest.test,
                Role::Train => manifest.train / 5 * (image + 1),
                Role::Test => manifest.test * (image + 1),
            };
            assert_eq!(file.bytes, size as u64, "{}", file.name);
        }
        let is_of_another = matches!(manifest.storage, Storage::Stills | Storage::Stacked);
        assert_eq!(manifest.of.is_some(), is_of_another, "{}", manifest.name);
        match manifest.storage {
            Storage::Embedded => {
                assert!(manifest.files.is_empty() && manifest.hub.is_none());
                let count = match manifest.name.as_str() {
                    "drums" => (10_000, 2_000),
                    "oracle" => (10_000, 10_000),
                    "motions" | "moving-digits" => (12_000, 2_000),
                    "factors" => (727_280, 10_000),
                    _ => (TRAIN_IMAGES, TEST_IMAGES),
                };
                assert_eq!((manifest.train, manifest.test), count);
            }
            Storage::Table => {
                assert!(manifest.files.is_empty() && manifest.hub.is_none());
                assert_eq!((manifest.train, manifest.test), (clinic::TRAIN, clinic::TEST));
            }
            Storage::Idx => assert_eq!(manifest.files.len(), 4),
            Storage::CifarBinary => assert_eq!(manifest.files.len(), 6),
            // A recording is a file.
            Storage::Fsdd => assert!(manifest.files.is_empty() && manifest.rate == Some(8000)),
            // A clip is a file.
            Storage::Strips => assert!(manifest.files.is_empty() && manifest.shape.len() == 4),
            // An image is a frame of a clip.
            Storage::Stills => {
                let clips = manifest.clone().of_files().unwrap();
                assert_eq!((clips.storage, &clips.shape[1..]), (Storage::Strips, &manifest.shape[..]));
                assert_eq!(clips.classes, manifest.classes);
                let counts = (clips.train * clips.shape[0], clips.test * clips.shape[0]);
                assert_eq!((manifest.train, manifest.test), counts);
            }
            Storage::Stacked => {
                assert!(manifest.files.is_empty() && manifest.hub.is_none());
                let images = manifest.clone().of_files().unwrap();
                let [from, shape] = [&images, &manifest].map(|it| it.image_shape().unwrap());
                assert_eq!((from.channels, shape.channels), (1, 3));
                assert_eq!((from.height, from.width), (shape.height, shape.width));
            }
            Storage::Texts => {
                let files = |role| manifest.files.iter().filter(|file| file.role == role).count();
                assert!(files(Role::Train) >= 1 && files(Role::Test) <= 1 && manifest.text.is_some());
                let of_class = manifest.files.iter().filter_map(|file| file.class.as_ref());
                assert!(of_class.clone().count() == 0 || of_class.eq(&manifest.classes), "{}", manifest.name);
            }
        }
    }
}
const KNOWN: [&str; 23] = [
    "digits",
    "shapes",
    "ring",
    "grid",
    "clinic",
    "drums",
    "phrases",
    "oracle",
    "motions",
    "moving-digits",
    "factors",
    "mnist",
    "fashion-mnist",
    "stacked-mnist",
    "cifar10",
    "fsdd",
    "ptb",
    "coco-captions",
    "equations",
    "names",
    "trec",
    "sprites",
    "sprites64",
];

#[test]
fn files_of_mnist_are_found_under_the_names_that_archives_give_them() {
    let plain = "train-images-idx3-ubyte";
    let dotted = "train-images.idx3-ubyte";
    for layout in [
        plain.to_owned(),
        dotted.to_owned(),
        format!("{dotted}.gz"),
        format!("{plain}/{plain}"),
        format!("{plain}/{dotted}"),
        format!("{dotted}/{dotted}"),
        format!("MNIST/raw/{dotted}"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_idx(dir.path(), 20, 10);
        let contents = fs::read(dir.path().join(plain)).unwrap();
        fs::remove_file(dir.path().join(plain)).unwrap();
        let place = dir.path().join(&layout);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, contents).unwrap();
        // Read, and known by its hash for what it is: twenty images of one grey.
        let error = load(&from_dir("mnist", dir.path())).unwrap_err();
        assert!(matches!(&error, Error::Hash { path, .. } if *path == place), "{layout}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    write_idx(dir.path(), 20, 10);
    fs::rename(dir.path().join(plain), dir.path().join("train-images-idx3-ubyte (1).zip")).unwrap();
    let error = load(&from_dir("mnist", dir.path())).unwrap_err();
    let Error::Missing { file, .. } = &error else { panic!("{error}") };
    assert_eq!(file, plain);
    assert!(
        error.to_string().contains("train-images-idx3-ubyte (1).zip` may be it: unpack it, or rename it"),
        "{error}"
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    for (given, nearest) in [("minst", Some("mnist")), ("cifar", Some("cifar10")), ("Digit", Some("digits"))]
    {
        let error = load(&DataConfig::named(given)).unwrap_err();
        assert!(
            matches!(&error, Error::UnknownDataset { nearest: n, .. } if n.as_deref() == nearest),
            "{error}"
        );
    }
    let error = load(&DataConfig::named("zzzzz")).unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown data set `zzzzz`; the known data sets are digits, shapes, ring, grid, clinic, drums, phrases, oracle, motions, moving-digits, factors, mnist, fashion-mnist, stacked-mnist, cifar10, fsdd, ptb, coco-captions, equations, names, trec, sprites, sprites64, folder, table, sound, text, clips"
    );
}

#[test]
fn embedded_sets_load_by_name_and_their_identity_follows_the_seed() {
    let digits = load(&DataConfig::named("digits")).unwrap();
    assert_eq!((digits.train.len(), digits.validation.len(), digits.test.len()), (55_000, 5_000, 10_000));
    assert_eq!(digits.info.image().unwrap(), ImageShape::new(1, 28, 28));
    let other = load(&DataConfig { seed: 1, ..DataConfig::named("digits") }).unwrap();
    assert_ne!(digits.info.identity, other.info.identity);
    let shapes = load(&DataConfig { limit: Some(1000), ..DataConfig::named("shapes") }).unwrap();
    assert_eq!((shapes.train.len(), shapes.validation.len()), (1000, 5000));
    assert_eq!(shapes.info.classes[6], "heart");
}

#[test]
fn impossible_settings_are_refused() {
    for config in [
        DataConfig { limit: Some(0), ..DataConfig::named("digits") },
        DataConfig { validation: Some(60_000), ..DataConfig::named("digits") },
        DataConfig { folder: Some(Default::default()), ..DataConfig::named("digits") },
    ] {
        assert!(matches!(load(&config), Err(Error::Config { .. })), "{config:?}");
    }
    assert!(matches!(load(&DataConfig::named("folder")), Err(Error::NoFolder)));
    assert!(toml::from_str::<DataConfig>("name = 'digits'\nlimt = 3").is_err());
    let config: DataConfig = toml::from_str("name = 'folder'\ndir = 'x'\n[folder]\nsize = 32").unwrap();
    assert_eq!(config, toml::from_str(&toml::to_string(&config).unwrap()).unwrap());
}

/// A table of settings for other data is an error that names it, for every data set.
#[test]
fn tables_of_settings_for_other_data_are_refused() {
    let owners = [
        ("folder", &["folder", "hf:owner/name"][..]),
        ("table", &["table", "clinic"][..]),
        ("points", &["ring", "grid"][..]),
        ("sound", &["sound", "drums", "fsdd", "hf:owner/name"][..]),
        ("text", &["text", "hf:owner/name"][..]),
        ("clips", &["clips", "sprites", "sprites64"][..]),
    ];
    let own = ["folder", "table", "sound", "text", "clips", "hf:owner/name"];
    for name in KNOWN.into_iter().chain(own) {
        for (table, owners) in owners {
            let config: DataConfig = toml::from_str(&format!("name = '{name}'\n[{table}]")).unwrap();
            let found = config.check_tables();
            if owners.contains(&name) {
                assert!(found.is_ok(), "{name} {table}: {found:?}");
                continue;
            }
            let said = found.unwrap_err().to_string();
            assert!(said.starts_with(&format!("invalid `data.{table}`: only ")), "{said}");
            assert!(said.ends_with(&format!("not `{name}`")), "{said}");
            // Nothing is read before.
            assert_eq!(load(&config).unwrap_err().to_string(), said);
            assert_eq!(describe(&config).unwrap_err().to_string(), said);
        }
    }
    // The rows of `clinic` are fixed, except which column is predicted from the others.
    let clinic =
        |table: &str| toml::from_str::<DataConfig>(&format!("name = 'clinic'\n[table]\n{table}")).unwrap();
    assert!(clinic("label = 'readmitted'").check_tables().is_ok());
    assert!(clinic("max_categories = 3").check_tables().is_err());
}

#[test]
fn all_paths_of_a_configuration_become_absolute() {
    let here = std::env::current_dir().unwrap();
    let config: DataConfig = toml::from_str(
        r#"
            name = "table"
            dir = "rows"
            leave_out = "doubts/rows.txt"
            table = { test = "held-out.csv" }
            oracle = { weights = "oracle.safetensors" }
        "#,
    )
    .unwrap();
    let absolute = config.with_absolute_paths();
    let found: Vec<_> = absolute.clone().paths_mut().map(std::mem::take).collect();
    let names = ["rows", "doubts/rows.txt", "held-out.csv", "oracle.safetensors"];
    assert_eq!(found, names.map(|name| here.join(name)));
    assert_eq!(absolute.clone().with_absolute_paths(), absolute);
}

#[test]
fn missing_wrong_and_foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(&from_dir("mnist", dir.path())).unwrap_err();
    assert!(matches!(&error, Error::Missing { file, .. } if file == "train-images-idx3-ubyte"), "{error}");
    assert!(verify("mnist", Some(dir.path())).unwrap().iter().all(|r| r.status == FileStatus::Missing));
    // Stacked digits use the files of the digits.
    let error = load(&from_dir("stacked-mnist", dir.path())).unwrap_err();
    assert!(matches!(&error, Error::Missing { dataset, .. } if dataset == "mnist"), "{error}");
    let reports = ["stacked-mnist", "mnist"].map(|name| verify(name, Some(dir.path())).unwrap());
    assert_eq!(reports[0], reports[1]);

    write_idx(&dir.path().join("mnist"), 20, 10);
    let error = load(&from_dir("mnist", dir.path())).unwrap_err();
    let Error::Hash { expected, found, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains(expected) && error.to_string().contains(found));
    let report = verify("mnist", Some(dir.path())).unwrap();
    assert!(report.iter().all(|r| matches!(r.status, FileStatus::WrongSize { .. }) && !r.status.is_good()));

    write_idx(&dir.path().join("fashion-mnist"), 20, 10);
    let error = load(&from_dir("fashion-mnist", dir.path())).unwrap_err();
    assert!(matches!(&error, Error::Hash { .. }), "{error}");

    fs::write(dir.path().join("mnist/train-labels-idx1-ubyte"), idx(&[3], &[1, 2, 3])).unwrap();
    assert!(matches!(load(&from_dir("mnist", dir.path())), Err(Error::Count { images: 20, labels: 3, .. })));
    fs::write(dir.path().join("mnist/train-labels-idx1-ubyte"), idx(&[20], &[10; 20])).unwrap();
    let error = load(&from_dir("mnist", dir.path())).unwrap_err();
    assert!(matches!(error, Error::Label { index: 0, label: 10, .. }), "{error}");
    fs::write(dir.path().join("mnist/train-images-idx3-ubyte"), idx(&[0, 28, 28], &[])).unwrap();
    fs::write(dir.path().join("mnist/train-labels-idx1-ubyte"), idx(&[0], &[])).unwrap();
    assert!(matches!(load(&from_dir("mnist", dir.path())), Err(Error::Format { .. })));
}

#[test]
fn files_of_the_right_size_with_other_contents_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_idx(&dir.path().join("FashionMNIST/raw"), 60_000, 10_000);
    let error = load(&from_dir("fashion-mnist", dir.path())).unwrap_err();
    assert!(matches!(&error, Error::Hash { .. }), "{error}");
    let report = verify("fashion-mnist", Some(dir.path())).unwrap();
    assert!(report.iter().all(|r| !r.status.is_good()), "{report:?}");
}

#[test]
fn cifar_records_are_upright_and_checked() {
    let shape = ImageShape::new(3, 32, 32);
    let path = Path::new("some/batch.bin");
    let image: Vec<u8> = (0..3072).map(|i| (i % 251) as u8).collect();
    let file = [vec![7], image.clone(), vec![0], vec![1; 3072]].concat();
    let (pixels, labels) = cifar::records(path, &file, shape, 10).unwrap();
    assert_eq!((&pixels[..3072], labels), (&image[..], vec![7, 0]));
    for bad in [&file[..0], &file[..1], &file[..4000]] {
        let error = cifar::records(path, bad, shape, 10).unwrap_err();
        assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("some/batch.bin"));
    }
    let error = cifar::records(path, &file, shape, 7).unwrap_err();
    assert!(matches!(error, Error::Label { index: 0, label: 7, classes: 7, .. }), "{error}");
}

#[test]
fn cifar_loads_from_its_own_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&folder).unwrap();
    let records = |value: u8| -> Vec<u8> {
        (0..10_000u32).flat_map(|i| [vec![(i % 10) as u8], vec![value; 3072]].concat()).collect()
    };
    for batch in 1..=5 {
        fs::write(folder.join(format!("data_batch_{batch}.bin")), records(batch)).unwrap();
    }
    let error = load(&from_dir("cifar10", dir.path())).unwrap_err();
    assert!(matches!(&error, Error::Missing { file, .. } if file == "test_batch.bin"), "{error}");
    fs::write(folder.join("test_batch.bin"), records(9)).unwrap();
    let data = load(&from_dir("cifar10", dir.path())).unwrap();
    assert_eq!(data.train.len() + data.validation.len(), 50_000);
    // Files without a known hash load, and are said to be so.
    let report = verify("cifar10", Some(dir.path())).unwrap();
    assert!(report.iter().all(|r| matches!(r.status, FileStatus::Unknown { .. })), "{report:?}");
    let first_of_third = data.train.indices().iter().position(|&i| i >= 20_000).unwrap();
    assert!(data.train.bytes(&[first_of_third]).unwrap().iter().all(|&v| v == 3));
    fs::write(folder.join("test_batch.bin"), &records(9)[..30_000_000]).unwrap();
    let error = load(&from_dir("cifar10", dir.path())).unwrap_err().to_string();
    assert!(error.contains("30730000") && error.contains("30000000"), "{error}");
}

proptest! {
    #[test]
    fn random_cifar_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok((pixels, labels)) = cifar::records(Path::new("x"), &bytes, ImageShape::new(3, 2, 2), 10) {
            prop_assert_eq!(pixels.len() + labels.len(), bytes.len());
        }
    }
}

/// The data sets of texts, from archives in `text/` if they are there: the manifests' hashes, counts, lengths
/// and vocabularies are those of the files, and the first text is known.
#[test]
fn real_texts_are_what_their_manifests_say() {
    let Some(dir) = std::env::var_os("WAXWORK_TEST_DATA").map(|dir| Path::new(&dir).join("text")) else {
        println!("skipped: set WAXWORK_TEST_DATA to a folder that holds text/");
        return;
    };
    let unpacked = tempfile::tempdir().unwrap();
    for (archive, name, first, class) in [
        ("ptb.tar.gz", "ptb", "aer banknote berlitz calloway centrust cluett fromstein gitano", None),
        ("coco-captions.tar.gz", "coco-captions", "a bicycle replica with a clock as the front wheel.", None),
        ("equations.txt.gz", "equations", "x + x + ( x ) + ( x + x )", None),
        ("names.tar.gz", "names", "Khoury", Some("Arabic")),
        (
            "sentences-labelled.tar.gz",
            "trec",
            "How did <unk> develop in and then leave Russia ?",
            Some("description"),
        ),
    ] {
        let archive = dir.join(archive);
        if !archive.is_file() {
            println!("skipped `{name}`: no {}", archive.display());
            continue;
        }
        if archive.to_string_lossy().ends_with(".tar.gz") {
            let file = flate2::read::GzDecoder::new(fs::File::open(&archive).unwrap());
            tar::Archive::new(file).unpack(unpacked.path()).unwrap();
        } else {
            fs::copy(&archive, unpacked.path().join(archive.file_name().unwrap())).unwrap();
        }
        let manifest = Manifest::find(name).unwrap();
        let folder = unpacked.path();
        assert!(verify(name, Some(folder)).unwrap().iter().all(|file| file.status == FileStatus::Verified));
        let mut data = load(&from_dir(name, folder)).unwrap();
        assert_eq!(data.train.len() + data.validation.len(), manifest.train, "{name}");
        assert_eq!(data.test.len(), manifest.test, "{name}");
        assert_eq!(Some(data.info.kind.clone()), manifest.kind().unwrap(), "{name}");
        data = load(&DataConfig { validation: Some(1), ..from_dir(name, folder) }).unwrap();
        let View::Text(vocabulary) = &data.info.view else { panic!("{name}: {:?}", data.info.view) };
        let texts = waxwork_data::text::tokens_of(&data.train).unwrap();
        assert!(texts.iter().take(20).any(|text| vocabulary.decode(text).starts_with(first)), "{name}");
        let label = data.train.label(0).map(|label| data.info.classes[label as usize].as_str());
        assert_eq!(label.is_some(), class.is_some(), "{name}");
    }
}

#[test]
fn the_real_mnist() {
    let Some(dir) = std::env::var_os("WAXWORK_TEST_DATA") else {
        println!("skipped: set WAXWORK_TEST_DATA to a folder that holds mnist/");
        return;
    };
    let dir = Path::new(&dir);
    assert!(verify("mnist", Some(dir)).unwrap().iter().all(|r| r.status == FileStatus::Verified));
    let data = load(&from_dir("mnist", dir)).unwrap();
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (55_000, 5_000, 10_000));
    // The first test image is a 7, and the mean of the test pixels is known.
    assert_eq!(data.test.label(0), Some(7));
    let pixels = data.test.bytes(&(0..10_000).collect::<Vec<_>>()).unwrap();
    let mean = pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64 / 255.0;
    assert!((mean - 0.1325).abs() < 1e-4, "{mean}");

    let stacked = load(&DataConfig { validation: Some(1000), ..from_dir("stacked-mnist", dir) }).unwrap();
    let sizes = (stacked.train.len(), stacked.validation.len(), stacked.test.len());
    assert_eq!(sizes, (127_000, 1000, 26_000));
    let digits = waxwork_data::stacked::digits(&stacked).unwrap();
    let found: Vec<u32> = (0..3000).filter_map(|position| digits.test.label(position)).collect();
    assert_eq!(found.len(), 3000);
    // About a tenth of the digits are zeros.
    let zeros = found.iter().filter(|digit| **digit == 0).count();
    assert!((200..400).contains(&zeros), "{zeros}");

    // MNIST under another name is noticed.
    let images = dir.join("mnist/t10k-images-idx3-ubyte.gz");
    let labels = dir.join("mnist/t10k-labels-idx1-ubyte.gz");
    assert!(mnist::read_pair(&images, &labels, data.info.image().unwrap(), 10, 60_000).is_ok());
    assert!(matches!(load(&from_dir("fashion-mnist", &dir.join("mnist"))), Err(Error::OtherDataset { .. })));
    // One flipped byte, re-compressed: only the hash can tell.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir.join("mnist")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let mut file = idx(&[10_000, 28, 28], &pixels);
    file[5000] ^= 1;
    fs::remove_file(copy.path().join("t10k-images-idx3-ubyte.gz")).unwrap();
    fs::write(copy.path().join("t10k-images-idx3-ubyte"), file).unwrap();
    assert!(matches!(load(&from_dir("mnist", copy.path())), Err(Error::Hash { .. })));
}

/// Single frames have the size of the clips' frames, and the same settings change it.
#[test]
fn stills_are_described_without_files() {
    let described = |settings: &str| {
        describe(&toml::from_str(&format!("name = 'sprites64'\n{settings}")).unwrap())
            .map(|(kind, classes)| (kind.image().unwrap(), classes.len()))
    };
    assert_eq!(described("").unwrap(), (ImageShape::new(3, 64, 64), 9));
    assert_eq!(described("[clips]\nsize = 32\ngrey = true").unwrap(), (ImageShape::new(1, 32, 32), 9));
    assert!(described("[clips]\nsize = 2").unwrap_err().to_string().contains("data.clips.size"));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sprites-strips.tar.gz"), "").unwrap();
    let said = load(&from_dir("sprites64", dir.path())).unwrap_err().to_string();
    assert!(said.contains("`sprites64`") && said.contains("sprites-strips.tar.gz"), "{said}");
}

#[test]
fn unreadable_files_are_skipped_by_the_key_of_their_kind() {
    for (name, table) in [
        ("folder", "folder"),
        ("hf:some/pictures", "folder"),
        ("sound", "sound"),
        ("fsdd", "sound"),
        ("clips", "clips"),
        ("sprites", "clips"),
        ("sprites64", "clips"),
    ] {
        let key = DataConfig::named(name).skip_unreadable_key();
        assert_eq!(key, format!("data.{table}.skip_unreadable"), "{name}");
    }
}

/// The oracle of SeqGAN's authors, from `text/seqgan-oracle.safetensors` if it is there. A NumPy program with
/// these weights measured −log p of 5.7536 ± 0.0052 nats per token for 10,000 of its own draws.
#[test]
fn the_weights_of_an_oracle_are_read_and_score_its_own_sequences() {
    let Some(dir) = std::env::var_os("WAXWORK_TEST_DATA").map(|dir| Path::new(&dir).join("text")) else {
        println!("skipped: set WAXWORK_TEST_DATA to a folder that holds text/");
        return;
    };
    let weights = dir.join("seqgan-oracle.safetensors");
    if !weights.is_file() {
        println!("skipped: no {}", weights.display());
        return;
    }
    let oracle = Some(OracleConfig { weights });
    let data = load(&DataConfig { oracle, ..DataConfig::named("oracle") }).unwrap();
    assert_ne!(data.info.identity, load(&DataConfig::named("oracle")).unwrap().info.identity);
    let tested = waxwork_data::text::tokens_of(&data.test).unwrap();
    let logs = data.info.oracle.as_ref().unwrap().log_probabilities(&tested);
    let sum: f64 = logs.into_iter().map(Option::unwrap).sum();
    let nll = -sum / (20 * tested.len()) as f64;
    assert!((nll - 5.7536).abs() < 0.02, "{nll}");
}
