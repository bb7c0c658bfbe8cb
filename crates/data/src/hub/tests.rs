//! The Hub client against a server on loopback.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use hf_hub::HFClient;
use image::{DynamicImage, ImageFormat, RgbImage};
use waxwork_core::ImageShape;

use super::server::{Server, Trouble};
use super::*;
use crate::folder::FolderConfig;
use crate::{Dataset, DatasetInfo};

const PICTURES: &str = "datasets/some/pictures";
const MODEL: &str = "models/some/model";

fn hub(server: &Server, cache: &Path) -> Hub {
    let client = HFClient::builder().endpoint(&server.address).cache_dir(cache).retry_max_attempts(0);
    Hub::new(client, Duration::from_secs(1), false).unwrap()
}

fn offline(cache: &Path) -> Hub {
    let client = HFClient::builder().endpoint("http://127.0.0.1:1").cache_dir(cache).retry_max_attempts(0);
    Hub::new(client, Duration::from_secs(1), true).unwrap()
}

/// Returns a parquet file as the Hub makes it: `img: {bytes, path}` and `label`, with the names of the
/// classes if there are any.
fn parquet_file(images: &[(Vec<u8>, i64)], classes: &[&str]) -> Vec<u8> {
    let schema = "message schema {
        optional group img { optional binary bytes; optional binary path (UTF8); }
        optional int64 label;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let features = serde_json::json!({"info": {"features": {
        "img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": classes}
    }}});
    let described = (!classes.is_empty())
        .then(|| vec![KeyValue { key: "huggingface".into(), value: Some(features.to_string()) }]);
    let properties = WriterProperties::builder().set_key_value_metadata(described).build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let pictures: Vec<ByteArray> = images.iter().map(|(bytes, _)| ByteArray::from(bytes.clone())).collect();
    let labels: Vec<i64> = images.iter().map(|(_, label)| *label).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&pictures, Some(&vec![2; images.len()]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; images.len()]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, Some(&vec![1; images.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    out
}

pub(super) fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Returns an image in which every pixel encodes its position: red is its row, green its column, blue the
/// image.
fn picture(index: usize) -> Vec<u8> {
    png(RgbImage::from_fn(4, 4, |x, y| image::Rgb([y as u8 * 60, x as u8 * 60, index as u8])))
}

/// Puts eight images on the server: five for training, in two files, and three for testing.
fn put_pictures(server: &Server, labels: i64) {
    for (name, range) in [("train/0000", 0..3), ("train/0001", 3..5), ("test/0000", 5..8)] {
        let rows: Vec<_> = range.map(|i: usize| (picture(i), labels + i as i64)).collect();
        server.put(PICTURES, &format!("plain_text/{name}.parquet"), parquet_file(&rows, &[]));
    }
}

fn manifest() -> Manifest {
    let mut manifest = Manifest::find("cifar10").unwrap();
    manifest.shape = vec![3, 4, 4];
    (manifest.train, manifest.test) = (5, 3);
    manifest.hub = Some(HubSource { repository: "some/pictures".into() });
    manifest
}

fn fetch_manifest(hub: &Hub, dir: &Path) -> Result<PathBuf> {
    let manifest = manifest();
    fetch_known(hub, &manifest, hub_source(&manifest)?, dir, &|_, _| ())
}

fn fetch_file(hub: &Hub, address: &str) -> Result<PathBuf> {
    fetch_file_with(hub, address, &|_, _| ())
}

fn opened(path: &Path) -> Dataset {
    let (parts, header) = packed::open(path).unwrap();
    let info = DatasetInfo::new("x", parts.train.kind(), &header.classes, &parts.identity);
    Dataset::new(info, parts.train, parts.test, Some(0), None).unwrap()
}

#[test]
fn pictures_from_the_hub_are_upright_and_cached() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("hf");
    let server = Server::start();
    put_pictures(&server, 0);
    server.put(PICTURES, "plain_text/other/0000.parquet", "not asked for");
    let path = fetch_manifest(&hub(&server, &cache), dir.path()).unwrap();
    let data = opened(&path);
    assert_eq!((data.train.len(), data.test.len()), (5, 3));
    for (split, first) in [(&data.train, 0), (&data.test, 5)] {
        for position in 0..split.len() {
            assert_eq!(split.label(position), Some((first + position) as u32));
            let image = split.bytes(&[position]).unwrap();
            for (row, column) in (0..16).map(|i| (i / 4, i % 4)) {
                let value = |channel: usize| image[channel * 16 + row * 4 + column];
                let wanted = [row as u8 * 60, column as u8 * 60, (first + position) as u8];
                assert_eq!([value(0), value(1), value(2)], wanted, "row {row}, column {column}");
            }
        }
    }
    let asked = server.state().requests.join("\n");
    assert!(asked.contains("test/0000.parquet") && !asked.contains("other"), "{asked}");

    // Cached files are not fetched again, and need no network.
    server.state().requests.clear();
    fs::remove_file(&path).unwrap();
    fetch_manifest(&hub(&server, &cache), dir.path()).unwrap();
    assert!(!server.state().requests.iter().any(|request| request.contains("resolve")));
    fs::remove_file(&path).unwrap();
    fetch_manifest(&offline(&cache), dir.path()).unwrap();
    assert_eq!(opened(&path).info.identity, data.info.identity);
    let error = fetch_manifest(&offline(&dir.path().join("empty")), dir.path()).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("some/pictures"), "{error}");
}

#[test]
fn checks_downloads_and_leaves_no_partial_file() {
    let dir = tempfile::tempdir().unwrap();
    let attempt = |cache: &str, change: &dyn Fn(&Server)| {
        let server = Server::start();
        put_pictures(&server, 0);
        change(&server);
        fetch_manifest(&hub(&server, &dir.path().join(cache)), &dir.path().join("out")).unwrap_err()
    };
    let error = attempt("labels", &|server| put_pictures(server, 8));
    assert!(matches!(error, Error::Label { label: 10, index: 2, .. }), "{error}");
    let error = attempt("few", &|server| {
        server
            .state()
            .repositories
            .get_mut(PICTURES)
            .unwrap()
            .remove("plain_text/train/0001.parquet")
            .unwrap();
    });
    assert!(error.to_string().contains("expected 5 train images, found 3"), "{error}");
    let bad = |contents: Vec<u8>| {
        move |server: &Server| server.put(PICTURES, "plain_text/test/0000.parquet", contents.clone())
    };
    let error = attempt("picture", &bad(parquet_file(&[(b"no picture".to_vec(), 0)], &[])));
    assert!(error.to_string().contains("row 0"), "{error}");
    let larger = png(RgbImage::new(5, 4));
    let error = attempt("size", &bad(parquet_file(&[(larger, 0)], &[])));
    assert!(error.to_string().contains("5×4 in row 0"), "{error}");
    let error = attempt("parquet", &bad(b"no parquet".to_vec()));
    assert!(error.to_string().contains("a parquet file of images"), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 0);
}

#[test]
fn names_that_lead_out_of_the_cache_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (number, name) in
        ["../../../out.parquet", "/out.parquet", "a/../../../out.parquet"].iter().enumerate()
    {
        let server = Server::start();
        put_pictures(&server, 0);
        server.put(PICTURES, name, parquet_file(&[], &[]));
        let cache = dir.path().join(number.to_string()).join("deep/cache");
        let error = fetch_manifest(&hub(&server, &cache), &dir.path().join("out")).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert!(!cache.exists(), "{name} was asked for");
    }
    let names =
        [(true, "a/b.parquet"), (true, "..a"), (false, ""), (false, "a/.."), (false, "..\\a"), (false, "/a")];
    for (fine, name) in names {
        assert_eq!(listing::is_below(name), fine, "{name}");
    }
}

/// The parquet crate (60.1) itself panics on some of these files, in four places.
#[test]
fn a_flipped_byte_of_a_parquet_file_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let whole = parquet_file(&[(picture(0), 0), (picture(1), 1)], &["a", "b"]);
    for place in 0..whole.len() {
        for bits in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] ^= bits;
            fs::write(&path, &bytes).unwrap();
            _ = parquet::pictures(&path, manifest().image_shape().unwrap(), 10, |_, _| Ok(()));
        }
    }
}

#[test]
fn stops_reading_at_the_first_extra_image() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    put_pictures(&server, 0);
    let many: Vec<(Vec<u8>, i64)> = vec![(picture(0), 0); 6];
    server.put(PICTURES, "plain_text/train/0000.parquet", parquet_file(&many, &[]));
    let error = fetch_manifest(&hub(&server, dir.path()), dir.path()).unwrap_err().to_string();
    assert!(error.contains("expected 5 train images, found more"), "{error}");
}

#[test]
fn reads_any_data_set_of_images_with_its_classes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    let rows = |range: std::ops::Range<usize>| -> Vec<(Vec<u8>, i64)> {
        range.map(|i| (picture(i), (i % 2) as i64)).collect()
    };
    server.put(PICTURES, "default/train/0000.parquet", parquet_file(&rows(0..20), &["cat", "dog"]));
    server.put(PICTURES, "other/train/0000.parquet", parquet_file(&rows(0..4), &[]));
    server.put(PICTURES, "other/validation/0000.parquet", parquet_file(&rows(4..7), &[]));
    let hub = hub(&server, &dir.path().join("hf"));
    let fetch = |name: &str| any::fetch(&hub, &DataConfig::named(name), dir.path(), &|_, _| ());

    // A tenth of each class is held out for testing.
    let data = opened(&fetch("hf:some/pictures").unwrap());
    assert_eq!(data.info.classes, ["cat", "dog"]);
    assert_eq!((data.train.len(), data.test.len()), (18, 2));
    let mut held_out = data.test.labels().unwrap();
    held_out.sort_unstable();
    assert_eq!(held_out, [0, 1]);
    let blue = |split: &crate::Split, i: usize| split.bytes(&[i]).unwrap()[32];
    let mut all: Vec<u8> =
        (0..18).map(|i| blue(&data.train, i)).chain((0..2).map(|i| blue(&data.test, i))).collect();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<u8>>());

    let data = opened(&fetch("hf:some/pictures/other").unwrap());
    assert_eq!((data.train.len(), data.test.len()), (4, 3));
    assert_eq!(data.info.classes, ["0", "1"]);

    let folder = Some(FolderConfig { size: Some(4), grey: true, ..FolderConfig::default() });
    let grey = DataConfig { folder, ..DataConfig::named("hf:some/pictures") };
    let data = opened(&any::fetch(&hub, &grey, dir.path(), &|_, _| ()).unwrap());
    assert_eq!(data.info.image().unwrap(), ImageShape::new(1, 4, 4));

    let error = fetch("hf:some/pictures/third").unwrap_err().to_string();
    assert!(error.contains("default, other"), "{error}");
    let error = fetch("hf:pictures").unwrap_err().to_string();
    assert!(error.contains("owner/name"), "{error}");
    server.state().repositories.get_mut(PICTURES).unwrap().remove("default/train/0000.parquet");
    server.put(PICTURES, "third/train/0000.parquet", parquet_file(&rows(0..4), &[]));
    let error = fetch("hf:some/pictures").unwrap_err().to_string();
    assert!(error.contains("several subsets, other, third"), "{error}");
    server.put(PICTURES, "text/train/0000.parquet", "no parquet");
    assert!(fetch("hf:some/pictures/text").unwrap_err().to_string().contains("parquet"));
}

#[test]
fn a_file_of_a_model_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.put(MODEL, "deep/weights.safetensors", "numbers");
    server.put(MODEL, "empty", "");
    let online = hub(&server, dir.path());
    let address = "some/model/deep/weights.safetensors";
    let told = std::sync::Mutex::new(Vec::new());
    let path =
        fetch_file_with(&online, address, &|done, all| told.lock().unwrap().push((done, all))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"numbers");
    assert_eq!(told.lock().unwrap().last(), Some(&(7, 7)));
    assert_eq!(fs::read(fetch_file(&online, "some/model/empty").unwrap()).unwrap(), b"");
    assert_eq!(fetch_file(&offline(dir.path()), address).unwrap(), path);
    for (hub, address, words) in [
        (&online, "some/model/none", "there is no file `none`"),
        (&online, "some/other/file", "no such repository (404)"),
        (&online, "some/model", "owner/name/path"),
        (&online, "some/../file", "owner/name"),
        (&offline(dir.path()), "some/model/none", "HF_HUB_OFFLINE"),
    ] {
        let error = fetch_file(hub, address).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn resumes_an_interrupted_download() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    let contents: Vec<u8> = (0..5000u32).map(|i| (i * i % 251) as u8).collect();
    server.put(MODEL, "weights", contents.clone());
    let online = hub(&server, dir.path());
    // Each response breaks off after 2000 bytes, and the next request asks for the rest.
    server.state().trouble = Some(Trouble::BreaksAfter(2000));
    let path = fetch_file(&online, "some/model/weights").unwrap();
    assert_eq!(fs::read(&path).unwrap(), contents);
    let ranges = |server: &Server| -> Vec<String> {
        let state = server.state();
        let gets =
            state.requests.iter().filter(|request| request.starts_with("GET") && request.contains("bytes="));
        gets.map(|request| request.split("bytes=").nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(ranges(&server), ["0-4999", "2000-4999", "4000-4999"]);

    // The server stops sending half way. Another process keeps the partial file, and resumes it another day.
    let blobs = dir.path().join("models--some--model/blobs");
    let blob = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&blob).unwrap();
    fs::write(blob.with_extension("incomplete"), &contents[..1234]).unwrap();
    server.state().trouble = Some(Trouble::BreaksAfter(0));
    let error = fetch_file(&online, "some/model/weights").unwrap_err().to_string();
    assert!(error.contains("1234 of 5000 bytes") && error.contains("to resume"), "{error}");
    server.state().trouble = None;
    server.state().requests.clear();
    assert_eq!(fs::read(fetch_file(&online, "some/model/weights").unwrap()).unwrap(), contents);
    assert_eq!(ranges(&server), ["1234-4999"]);

    // A server without ranges sends the whole file again. Damaged partial files are discarded.
    for (trouble, remains) in [
        (Some(Trouble::KnowsNoRanges), contents[..1234].to_vec()),
        (None, vec![7; 1234]),
        (None, vec![7; 9000]),
    ] {
        fs::remove_file(&blob).unwrap();
        fs::write(blob.with_extension("incomplete"), remains).unwrap();
        server.state().trouble = trouble;
        assert_eq!(fs::read(fetch_file(&online, "some/model/weights").unwrap()).unwrap(), contents);
    }
}

#[test]
fn contents_with_another_hash_are_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.put(MODEL, "large", vec![5; 3000]);
    server.put(MODEL, "small", "few bytes");
    server.state().trouble = Some(Trouble::Corrupts);
    for (file, hash) in [("large", "SHA-256"), ("small", "git hash")] {
        let error =
            fetch_file(&hub(&server, dir.path()), &format!("some/model/{file}")).unwrap_err().to_string();
        assert!(
            error.contains(hash) && error.contains("do not match") && error.contains("try again"),
            "{error}"
        );
    }
    assert!(!dir.path().join("models--some--model/snapshots").exists());
    server.state().trouble = None;
    for file in ["large", "small"] {
        fetch_file(&hub(&server, dir.path()), &format!("some/model/{file}")).unwrap();
    }
}

#[test]
fn every_refusal_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.put(MODEL, "weights", "numbers");
    let online = hub(&server, dir.path());
    let error = |trouble| {
        server.state().trouble = Some(trouble);
        fetch_file(&online, "some/model/weights").unwrap_err().to_string()
    };
    for (trouble, words) in [
        (Trouble::Refuses("401 Unauthorized"), ["HF_TOKEN", "private"]),
        (Trouble::Refuses("403 Forbidden"), ["terms", "token"]),
        (Trouble::Refuses("404 Not Found"), ["no such repository", "HF_TOKEN"]),
        (Trouble::Refuses("429 Too Many Requests"), ["429", "try again in 7 s"]),
        (Trouble::Refuses("503 Service Unavailable"), ["503", "try again later"]),
        (Trouble::Hangs, ["did not answer in time", "HF_HUB_DOWNLOAD_TIMEOUT"]),
    ] {
        let error = error(trouble);
        assert!(words.iter().all(|word| error.contains(word)) && error.contains("some/model"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let nowhere =
        HFClient::builder().endpoint("http://127.0.0.1:1").cache_dir(dir.path()).retry_max_attempts(0);
    let nowhere = Hub::new(nowhere, Duration::from_secs(1), false).unwrap();
    let error = fetch_file(&nowhere, "some/model/weights").unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("HF_HUB_OFFLINE=1"), "{error}");
}

#[test]
fn a_private_repository_takes_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.put(MODEL, "weights", "numbers");
    server.state().token = Some("secret".into());
    let refused = fetch_file(&hub(&server, dir.path()), "some/model/weights").unwrap_err().to_string();
    assert!(refused.contains("401"), "{refused}");
    let client = HFClient::builder().endpoint(&server.address).cache_dir(dir.path()).token("secret");
    let known = Hub::new(client, Duration::from_secs(1), false).unwrap();
    fetch_file(&known, "some/model/weights").unwrap();
}

#[test]
fn fetches_what_was_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start();
    let hub = hub(&server, dir.path());
    for text in ["one", "two"] {
        let files = vec![("a.txt".to_owned(), text.into()), ("deep/b.bin".to_owned(), vec![9; 2000])];
        let address = hub.push("some/new", true, "a run", files, |_, _| ()).unwrap();
        assert_eq!(address, format!("{}/some/new", server.address));
        let wanted = |file: &str| file.ends_with(".txt") || file.starts_with("deep/");
        let snapshot = hub.fetch(Kind::Model, "some/new", "main", Wanted::All(&wanted), &|_, _| ()).unwrap();
        assert_eq!(fs::read(&snapshot.files["a.txt"]).unwrap(), text.as_bytes());
        assert_eq!(fs::read(&snapshot.files["deep/b.bin"]).unwrap(), [9; 2000]);
    }
    let error =
        offline(dir.path()).push("some/new", false, "a run", vec![], |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn an_embedded_set_is_not_on_the_hub() {
    assert!(matches!(crate::fetch("digits", None, &|_, _| ()), Err(Error::Config { .. })));
    let said = crate::fetch("sprites64", None, &|_, _| ()).unwrap_err().to_string();
    assert!(said.contains("`sprites` is not on the Hub"), "{said}");
    assert!(matches!(crate::fetch("mnits", None, &|_, _| ()), Err(Error::UnknownDataset { .. })));
}
