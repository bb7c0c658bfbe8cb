//! Data sets from the Hub: fetched once through candle-datasets and hf-hub, decoded, and kept as a packed file.
//!
//! `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_CACHE` mean what they mean to hf-hub. With `HF_HUB_OFFLINE` set, which
//! hf-hub does not know, only files that are in its cache already are used.

use std::fs;
use std::path::{Component, Path, PathBuf};

use candle_datasets::hub::from_hub;
use hf_hub::{HFClient, HFClientSync};

use crate::manifest::{HubSource, Manifest};
use crate::{Error, Result, files, packed, parquet};

/// The branch on which the Hub keeps every data set as parquet files, and which candle-datasets reads.
const REVISION: &str = "refs/convert/parquet";

/// Fetches the data set `name` from the Hub and leaves it, packed, below `dir` (default: the cache), where
/// [`load`](crate::load()) finds it. Files that hf-hub's own cache holds are not fetched again.
///
/// # Errors
/// [`Error::UnknownDataset`], [`Error::Config`] if the data set is not on the Hub, [`Error::Hub`], [`Error::Format`],
/// [`Error::Picture`], [`Error::Label`], [`Error::Io`].
pub fn fetch(name: &str, dir: Option<&Path>) -> Result<PathBuf> {
    let manifest = Manifest::find(name)?;
    let hub = hub_source(&manifest)?;
    let dir = match dir {
        Some(dir) => dir.to_path_buf(),
        None => files::cache_dir()?,
    };
    let client = HFClient::new().map_err(|error| hub_error(hub, &error))?;
    fetch_with(&client, is_offline(), &manifest, &dir)
}

/// Fetches one file of a model's repository, `owner/name/path/of/file`, and returns where hf-hub's cache keeps it; a file that
/// is there already is asked for, but not fetched again.
///
/// # Errors
/// [`Error::Hub`] if the address is none, or what the Hub says.
pub fn fetch_file(address: &str) -> Result<PathBuf> {
    let failed = |reason: &dyn std::fmt::Display| Error::Hub {
        repository: address.to_owned(),
        reason: reason.to_string(),
    };
    let client = HFClient::new().map_err(|error| failed(&error))?;
    fetch_file_with(client, is_offline(), address)
}

fn fetch_file_with(client: HFClient, offline: bool, address: &str) -> Result<PathBuf> {
    let failed = |reason: &dyn std::fmt::Display| Error::Hub {
        repository: address.to_owned(),
        reason: reason.to_string(),
    };
    let mut parts = address.splitn(3, '/').filter(|part| !part.is_empty());
    let (Some(owner), Some(name), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(failed(&"a file's address is owner/name/path/of/file"));
    };
    if !is_below(address) {
        return Err(failed(&"its parts are names, not `..`"));
    }
    let client = HFClientSync::from_inner(client).map_err(|error| failed(&error))?;
    let repository = client.model(owner, name);
    let request = repository.download_file().filename(file).local_files_only(offline);
    request.send().map_err(|error| failed(&error))
}

fn hub_source(manifest: &Manifest) -> Result<&HubSource> {
    manifest.hub.as_ref().ok_or_else(|| Error::Config {
        key: "data.name",
        reason: format!("`{}` needs no files: there is nothing to fetch", manifest.name),
    })
}

/// As huggingface_hub reads it.
fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

fn fetch_with(client: &HFClient, offline: bool, manifest: &Manifest, dir: &Path) -> Result<PathBuf> {
    let hub = hub_source(manifest)?;
    if !offline {
        // Opens every parquet file of the repository, which leaves it in hf-hub's cache; a reader does not know its
        // file's name, and so not its split, hence the walk through the cache below.
        let blocking = HFClientSync::from_inner(client.clone()).map_err(|error| hub_error(hub, &error))?;
        check_names(&blocking, hub)?;
        let opened = parquet::guarded(|| from_hub(&blocking, hub.repository.clone()));
        opened.map_err(|reason| hub_error(hub, &reason))?.map_err(|error| hub_error(hub, &error))?;
    }
    let snapshot = cached_snapshot(client, hub, offline)?;
    let path = files::packed(dir, manifest);
    let mut writer = packed::Writer::create(&path, manifest.image_shape(), &manifest.classes)?;
    write_part(&mut writer, manifest, &snapshot, "train", manifest.train)?;
    writer.end_train();
    write_part(&mut writer, manifest, &snapshot, "test", manifest.test)?;
    writer.finish(0)?;
    Ok(path)
}

/// Refuses a repository with a file whose name would lead out of the cache.
fn check_names(client: &HFClientSync, hub: &HubSource) -> Result<()> {
    let (owner, name) = hf_hub::split_id(&hub.repository);
    let info = client.dataset(owner, name).info().revision(REVISION).send();
    let files = info.map_err(|error| hub_error(hub, &error))?.siblings.unwrap_or_default();
    match files.iter().find(|file| !is_below(&file.rfilename)) {
        Some(file) => Err(hub_error(hub, &format!("it has a file called `{}`", file.rfilename))),
        None => Ok(()),
    }
}

/// Where hf-hub keeps the newest fetched state of the repository.
fn cached_snapshot(client: &HFClient, hub: &HubSource, offline: bool) -> Result<PathBuf> {
    let folder = client.cache_dir().join(format!("datasets--{}", hub.repository.replace('/', "--")));
    let commit = fs::read_to_string(folder.join("refs").join(REVISION)).map_err(|_| {
        let why = if offline { "HF_HUB_OFFLINE is set, and " } else { "" };
        hub_error(hub, &format!("{why}there is nothing of it in {}", folder.display()))
    })?;
    let commit = commit.trim();
    if !is_below(commit) {
        return Err(hub_error(hub, &format!("its newest state is called `{commit}`")));
    }
    Ok(folder.join("snapshots").join(commit))
}

/// Whether a name from the Hub stays below the folder that it is joined to: hf-hub takes names as they come.
fn is_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && !name.contains('\\') && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Writes the images of all parquet files in a folder called `split`, in the order of their names.
fn write_part(
    writer: &mut packed::Writer,
    manifest: &Manifest,
    snapshot: &Path,
    split: &str,
    expected: usize,
) -> Result<()> {
    let count = |found: &str| Error::format(snapshot, format!("{expected} {split} images"), found);
    let mut written = 0;
    for path in parquet_files(snapshot, split)? {
        parquet::pictures(&path, manifest.image_shape(), manifest.classes.len(), |pixels, label| {
            if written == expected {
                return Err(count("more"));
            }
            written += 1;
            writer.image(pixels, Some(label))
        })?;
    }
    if written != expected {
        return Err(count(&written.to_string()));
    }
    Ok(())
}

fn parquet_files(snapshot: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![snapshot.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("open", &folder))? {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let path = entry.path();
            let of_split = folder.file_name().is_some_and(|name| name == split);
            // Files are links to where hf-hub keeps them; a folder that is a link is none of its making.
            if entry.file_type().map_err(Error::io("read", &path))?.is_dir() {
                folders.push(path);
            } else if of_split && path.extension().is_some_and(|extension| extension == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn hub_error(hub: &HubSource, reason: &dyn std::fmt::Display) -> Error {
    Error::Hub { repository: hub.repository.clone(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Cursor, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use image::{DynamicImage, ImageFormat, RgbImage};

    use super::*;
    use crate::{DataConfig, Dataset};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A parquet file as the Hub makes it: `img: {bytes, path}` and `label`.
    fn parquet_file(images: &[(Vec<u8>, i64)]) -> Vec<u8> {
        let schema = "message schema {
            optional group img { optional binary bytes; optional binary path (UTF8); }
            optional int64 label;
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut out = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut out, schema, Arc::new(WriterProperties::default())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let pictures: Vec<ByteArray> =
            images.iter().map(|(bytes, _)| ByteArray::from(bytes.clone())).collect();
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

    /// Every pixel tells where it is: red its row, green its column, blue the image.
    fn picture(index: usize) -> Vec<u8> {
        let picture = RgbImage::from_fn(4, 4, |x, y| image::Rgb([y as u8 * 60, x as u8 * 60, index as u8]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// The part of the Hub that fetching needs: the list of files, and the files.
    fn serve(files: BTreeMap<String, Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let files = files.clone();
                std::thread::spawn(move || answer(&stream.unwrap(), &files));
            }
        });
        address
    }

    fn answer(mut stream: &TcpStream, files: &BTreeMap<String, Vec<u8>>) {
        let mut lines = BufReader::new(stream).lines().map_while(std::result::Result::ok);
        let request = lines.next().unwrap_or_default();
        for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let resolve = "/datasets/some/pictures/resolve/refs%2Fconvert%2Fparquet/";
        let model = "/some/model/resolve/main/";
        let (status, body) = if path
            .starts_with("/api/datasets/some/pictures/revision/refs%2Fconvert%2Fparquet")
        {
            let siblings: Vec<String> = files.keys().map(|f| format!("{{\"rfilename\": \"{f}\"}}")).collect();
            let json = format!(
                "{{\"id\": \"some/pictures\", \"sha\": \"{COMMIT}\", \"siblings\": [{}]}}",
                siblings.join(", ")
            );
            ("200 OK", json.into_bytes())
        } else {
            let file = path.strip_prefix(resolve).or_else(|| path.strip_prefix(model));
            match file.and_then(|file| files.get(file)) {
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"etag-{}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
             Connection: close\r\n\r\n",
            body.len(),
            path.replace('/', "-"),
        );
        let _ = stream.write_all(head.as_bytes());
        if method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::find("cifar10").unwrap();
        manifest.shape = [3, 4, 4];
        (manifest.train, manifest.test) = (5, 3);
        manifest.hub = Some(HubSource { repository: "some/pictures".into() });
        manifest
    }

    fn files_of(labels: i64) -> BTreeMap<String, Vec<u8>> {
        let part = |range: std::ops::Range<usize>| -> Vec<u8> {
            parquet_file(&range.map(|i| (picture(i), labels + i as i64)).collect::<Vec<_>>())
        };
        [
            ("plain_text/train/0000.parquet", 0..3),
            ("plain_text/train/0001.parquet", 3..5),
            ("plain_text/test/0000.parquet", 5..8),
        ]
        .map(|(name, range)| (name.to_owned(), part(range)))
        .into()
    }

    fn client(endpoint: &str, cache: &Path) -> HFClient {
        HFClient::builder().endpoint(endpoint).cache_dir(cache).retry_max_attempts(0).build().unwrap()
    }

    #[test]
    fn pictures_from_the_hub_are_upright_and_cached() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("hf");
        let online = client(&serve(files_of(0)), &cache);
        let path = fetch_with(&online, false, &manifest(), dir.path()).unwrap();
        let (parts, header) = packed::open(&path).unwrap();
        assert_eq!((header.train, header.test, header.labelled), (5, 3, true));
        let info = crate::DatasetInfo {
            name: DataConfig::named("x").name,
            shape: parts.train.shape(),
            classes: header.classes,
            identity: parts.identity.clone(),
            skipped: 0,
        };
        let data = Dataset::new(info, parts.train, parts.test, Some(0), None).unwrap();
        for (split, first) in [(&data.train, 0), (&data.test, 5)] {
            for position in 0..split.len() {
                assert_eq!(split.label(position), Some((first + position) as u32));
                let image = split.images_u8(&[position]).unwrap();
                for (row, column) in (0..16).map(|i| (i / 4, i % 4)) {
                    let value = |channel: usize| image[channel * 16 + row * 4 + column];
                    let wanted = [row as u8 * 60, column as u8 * 60, (first + position) as u8];
                    assert_eq!([value(0), value(1), value(2)], wanted, "row {row}, column {column}");
                }
            }
        }

        // Without a network, what was fetched still serves.
        let nowhere = client("http://127.0.0.1:1", &cache);
        fs::remove_file(&path).unwrap();
        fetch_with(&nowhere, true, &manifest(), dir.path()).unwrap();
        assert_eq!(packed::open(&path).unwrap().0.identity, parts.identity);
        assert!(matches!(fetch_with(&nowhere, false, &manifest(), dir.path()), Err(Error::Hub { .. })));
        let empty = client("http://127.0.0.1:1", &dir.path().join("empty"));
        let error = fetch_with(&empty, true, &manifest(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("HF_HUB_OFFLINE") && error.contains("some/pictures"), "{error}");
    }

    #[test]
    fn what_the_hub_sends_is_checked_and_nothing_half_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = |files: BTreeMap<String, Vec<u8>>, cache: &str| {
            let client = client(&serve(files), &dir.path().join(cache));
            fetch_with(&client, false, &manifest(), &dir.path().join("out")).unwrap_err()
        };
        let error = attempt(files_of(8), "labels");
        assert!(matches!(error, Error::Label { label: 10, index: 2, .. }), "{error}");
        let mut files = files_of(0);
        files.remove("plain_text/train/0001.parquet");
        let error = attempt(files, "few");
        assert!(error.to_string().contains("expected 5 train images, found 3"), "{error}");
        let mut files = files_of(0);
        files.insert("plain_text/test/0000.parquet".into(), parquet_file(&[(b"no picture".to_vec(), 0)]));
        let error = attempt(files, "picture");
        assert!(error.to_string().contains("row 0"), "{error}");
        let mut files = files_of(0);
        files.insert("plain_text/test/0000.parquet".into(), b"no parquet".to_vec());
        assert!(matches!(attempt(files, "parquet"), Error::Hub { .. }));
        assert!(matches!(attempt(BTreeMap::new(), "nothing"), Error::Hub { .. }));
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 0);
    }

    #[test]
    fn names_that_lead_out_of_the_cache_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (number, name) in
            ["../../../out.parquet", "/out.parquet", "a/../../../out.parquet"].iter().enumerate()
        {
            let mut files = files_of(0);
            files.insert((*name).into(), parquet_file(&[]));
            let cache = dir.path().join(number.to_string()).join("deep/cache");
            let client = client(&serve(files), &cache);
            let error =
                fetch_with(&client, false, &manifest(), &dir.path().join("out")).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(!cache.exists(), "{name} was asked for");
        }
        for (fine, name) in [
            (true, "a/b.parquet"),
            (true, "..a"),
            (false, ""),
            (false, "a/.."),
            (false, "..\\a"),
            (false, "/a"),
        ] {
            assert_eq!(is_below(name), fine, "{name}");
        }
    }

    #[test]
    fn a_file_of_a_model_is_fetched_once() {
        let dir = tempfile::tempdir().unwrap();
        let served = serve(BTreeMap::from([("deep/weights.safetensors".into(), b"numbers".to_vec())]));
        let online = client(&served, dir.path());
        let address = "some/model/deep/weights.safetensors";
        let path = fetch_file_with(online.clone(), false, address).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"numbers");
        let nowhere = client("http://127.0.0.1:1", dir.path());
        assert_eq!(fetch_file_with(nowhere.clone(), true, address).unwrap(), path);
        for (client, address) in
            [(&online, "some/model/none"), (&nowhere, "some/other/file"), (&online, "some/model")]
        {
            let error = fetch_file_with(client.clone(), false, address).unwrap_err().to_string();
            assert!(error.contains(address), "{error}");
        }
    }

    /// The parquet crate itself panics at some of these, in four places (60.1).
    #[test]
    fn a_flipped_byte_of_a_parquet_file_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let whole = parquet_file(&[(picture(0), 0), (picture(1), 1)]);
        for place in 0..whole.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= bits;
                fs::write(&path, &bytes).unwrap();
                _ = parquet::pictures(&path, manifest().image_shape(), 10, |_, _| Ok(()));
            }
        }
    }

    #[test]
    fn a_file_that_does_not_end_is_left_at_the_first_picture_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let many: Vec<(Vec<u8>, i64)> = vec![(picture(0), 0); 6];
        let mut files = files_of(0);
        files.insert("plain_text/train/0000.parquet".into(), parquet_file(&many));
        let client = client(&serve(files), &dir.path().join("cache"));
        let error = fetch_with(&client, false, &manifest(), dir.path()).unwrap_err().to_string();
        assert!(error.contains("expected 5 train images, found more"), "{error}");
    }

    #[test]
    fn an_embedded_set_is_not_on_the_hub() {
        assert!(matches!(fetch("digits", None), Err(Error::Config { .. })));
        assert!(matches!(fetch("mnits", None), Err(Error::UnknownDataset { .. })));
    }
}
