//! Packed files: the decoded images, sounds or clips of a data set, one after the other. A packed file opens at once.
//! It may be larger than memory, because samples are read by position.
//!
//! ```text
//! "WAXPACK1"  bytes of all training, then all test samples  labels, u32 little-endian, in the same order
//! header (TOML)  length of the header, u64 little-endian  "WAXPACK1"
//! ```

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use waxwork_core::{ImageShape, Kind};

use crate::identity::Identity;
use crate::notes::Note;
use crate::parts::Parts;
use crate::{Error, InMemory, Result, Source};

const MAGIC: &[u8; 8] = b"WAXPACK1";
/// The ending of a file while it is written.
const PARTIAL: &str = "partial";
/// Bytes after the header: its length and the magic.
const TAIL: u64 = 16;
/// The largest header. A header lists class names; a longer one is not valid.
const LONGEST_HEADER: u64 = 64 << 20;
/// Up to this number of bytes, samples are read into memory and their hash is checked. Larger files stay on
/// disk.
pub(crate) const IN_MEMORY: u64 = 1 << 30;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// Channels, rows, columns; of a frame, if these are clips. Sounds are one channel of one row, with a column
    /// per sample.
    pub(crate) shape: [usize; 3],
    /// Frames, if these are clips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frames: Option<usize>,
    /// Sample rate, Hz, if these are sounds, whose samples take two bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<u32>,
    pub(crate) classes: Vec<String>,
    pub(crate) train: usize,
    pub(crate) test: usize,
    pub(crate) labelled: bool,
    /// The result of [`Identity`].
    pub(crate) identity: String,
    /// Number of files that were left out when it was written.
    pub(crate) skipped: usize,
    /// Notes from when it was written. Packed files of older versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<Note>,
}

impl Header {
    /// The kind of its samples; None if there are no such samples.
    fn kind(&self) -> Option<Kind> {
        let shape = self.shape;
        match (self.rate, self.frames, shape) {
            _ if shape.contains(&0) => None,
            (None, frames, [channels, height, width]) => {
                let image = ImageShape::new(channels, height, width);
                match frames {
                    None => Some(image.into()),
                    Some(0) => None,
                    Some(frames) => Some(Kind::Clip { frames, image }),
                }
            }
            (Some(rate @ 1..), None, [1, 1, length]) => Some(Kind::Sound { rate, length }),
            (Some(_), ..) => None,
        }
    }
}

/// Writes a packed file under a temporary name next to its final one, sample by sample.
pub(crate) struct Writer {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
    shape: [usize; 3],
    frames: Option<usize>,
    rate: Option<u32>,
    classes: Vec<String>,
    identity: Identity,
    labels: Vec<u32>,
    labelled: bool,
    samples: usize,
    train: Option<usize>,
    finished: bool,
}

impl Writer {
    /// Begins a file of images, sounds or clips.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for another kind of samples.
    pub(crate) fn create(path: &Path, kind: impl Into<Kind>, classes: &[String]) -> Result<Self> {
        let kind = kind.into();
        let of_image = |ImageShape { channels, height, width }| [channels, height, width];
        let (shape, frames, rate) = match kind {
            Kind::Image(image) => (of_image(image), None, None),
            Kind::Clip { frames, image } => (of_image(image), Some(frames), None),
            Kind::Sound { rate, length } => ([1, 1, length], None, Some(rate)),
            _ => return Err(Error::Config { key: "data", reason: format!("{kind} are not packed") }),
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        remove_abandoned(path);
        let (beside, file) = partial(path)?;
        let mut writer = Self {
            path: path.to_path_buf(),
            beside,
            file: BufWriter::with_capacity(1 << 20, file),
            shape,
            frames,
            rate,
            classes: classes.to_vec(),
            identity: Identity::of_kind(&kind, classes),
            labels: Vec::new(),
            labelled: true,
            samples: 0,
            train: None,
            finished: false,
        };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    /// Adds a sample.
    pub(crate) fn sample(&mut self, bytes: &[u8], label: Option<u32>) -> Result<()> {
        self.identity.sample(bytes, label);
        self.labelled &= label.is_some();
        self.labels.push(label.unwrap_or(u32::MAX));
        self.samples += 1;
        self.write(bytes)
    }

    /// Number of samples so far.
    #[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "only the Hub needs it"))]
    pub(crate) fn count(&self) -> usize {
        self.samples
    }

    /// Ends the training samples; test samples follow.
    pub(crate) fn end_train(&mut self) {
        self.identity.end_part();
        self.train = Some(self.samples);
    }

    /// Completes the file, syncs it to disk and renames it to its final name.
    pub(crate) fn finish(mut self, skipped: usize, notes: Vec<Note>) -> Result<()> {
        self.identity.end_part();
        let train = self.train.unwrap_or(self.samples);
        let none = Identity::of_kind(&Kind::Points { dimensions: 1 }, &[]);
        let identity = std::mem::replace(&mut self.identity, none);
        let header = Header {
            shape: self.shape,
            frames: self.frames,
            rate: self.rate,
            classes: std::mem::take(&mut self.classes),
            train,
            test: self.samples - train,
            labelled: self.labelled,
            identity: identity.finish(),
            skipped,
            notes,
        };
        let header = toml::to_string(&header).map_err(|error| {
            Error::format(&self.beside, "a header that can be written", error.to_string())
        })?;
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        self.write(&labels)?;
        self.write(header.as_bytes())?;
        self.write(&(header.len() as u64).to_le_bytes())?;
        self.write(MAGIC)?;
        self.file.flush().map_err(Error::io("write", &self.beside))?;
        self.file.get_ref().sync_all().map_err(Error::io("sync", &self.beside))?;
        fs::rename(&self.beside, &self.path).map_err(Error::io("rename", &self.beside))?;
        self.finished = true;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.beside))
    }
}

/// Creates a temporary file next to `path`, locked while it is written. Each process that packs the same
/// images gets its own.
fn partial(path: &Path) -> Result<(PathBuf, File)> {
    let mut number = 0;
    loop {
        let beside = path.with_extension(format!("{}-{number}.{PARTIAL}", std::process::id()));
        number += 1;
        let file = match File::create_new(&beside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            file => file.map_err(Error::io("create", &beside))?,
        };
        // On a file system without locks, no file counts as abandoned.
        _ = file.lock();
        // Another process may have treated the file as abandoned before it was locked.
        if beside.exists() {
            return Ok((beside, file));
        }
    }
}

/// Removes files that dead processes left next to `path`, which may be gigabytes. A file without a lock is
/// abandoned.
fn remove_abandoned(path: &Path) {
    let files = path.parent().into_iter().flat_map(fs::read_dir).flatten().flatten();
    for file in files.map(|entry| entry.path()) {
        let ours = file.extension().is_some_and(|end| end == PARTIAL)
            && file.file_stem().map(Path::new).and_then(Path::file_stem) == path.file_stem();
        if !ours {
            continue;
        }
        // Hold the lock until the file is removed, so that nobody begins to write to it.
        let Ok(opened) = File::options().write(true).open(&file) else { continue };
        if opened.try_lock().is_ok() {
            _ = fs::remove_file(&file);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            _ = fs::remove_file(&self.beside);
        }
    }
}

/// Opens a packed file. Small files are read whole and checked against their hash; samples of large ones are
/// read when needed.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`].
pub(crate) fn open(path: &Path) -> Result<(Parts, Header)> {
    open_with_limit(path, IN_MEMORY)
}

fn open_with_limit(path: &Path, in_memory: u64) -> Result<(Parts, Header)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let (header, kind) = read_header(path, &mut file, length)?;
    let samples = header.train + header.test;
    let bytes = (samples * kind.bytes()) as u64;

    let mut labels = vec![0; samples * 4];
    seek(path, &mut file, SeekFrom::Start(MAGIC.len() as u64 + bytes))?;
    file.read_exact(&mut labels).map_err(Error::io("read", path))?;
    let labels: Vec<u32> =
        labels.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if header.labelled
        && let Some(index) = labels.iter().position(|&label| label as usize >= header.classes.len())
    {
        let (path, label, classes) = (path.to_path_buf(), labels[index], header.classes.len());
        return Err(Error::Label { path, index, label, classes });
    }
    let (train_labels, test_labels) = labels.split_at(header.train);
    let [train_labels, test_labels] =
        [train_labels, test_labels].map(|labels| header.labelled.then(|| labels.to_vec()));

    if bytes <= in_memory {
        seek(path, &mut file, SeekFrom::Start(MAGIC.len() as u64))?;
        let mut read = |count: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; count * kind.bytes()];
            file.read_exact(&mut bytes).map_err(Error::io("read", path))?;
            Ok(bytes)
        };
        let train = InMemory::new(kind.clone(), read(header.train)?, train_labels)?;
        let test = InMemory::new(kind.clone(), read(header.test)?, test_labels)?;
        let parts = Parts::new(train, test, &header.classes)?;
        if parts.identity != header.identity {
            let (expected, found) = (header.identity, parts.identity);
            return Err(Error::format(path, format!("contents of SHA-256 {expected}"), found));
        }
        return Ok((parts, header));
    }
    let file = Arc::new(file);
    let part = |first: usize, count: usize, labels| {
        let (path, file) = (path.to_path_buf(), file.clone());
        Arc::new(OnDisk { path, file, kind: kind.clone(), first, count, labels })
    };
    let parts = Parts {
        train: part(0, header.train, train_labels),
        test: part(header.train, header.test, test_labels),
        identity: header.identity.clone(),
    };
    Ok((parts, header))
}

fn read_header(path: &Path, file: &mut File, length: u64) -> Result<(Header, Kind)> {
    let not_packed = |found: &str| Error::format(path, "a complete packed file", found);
    if length < MAGIC.len() as u64 + TAIL {
        return Err(not_packed(&format!("{length} bytes")));
    }
    let mut start = [0; 8];
    let mut tail = [0; TAIL as usize];
    seek(path, file, SeekFrom::Start(0))?;
    file.read_exact(&mut start).map_err(Error::io("read", path))?;
    seek(path, file, SeekFrom::Start(length - TAIL))?;
    file.read_exact(&mut tail).map_err(Error::io("read", path))?;
    let (header_length, magic) = tail.split_at(8);
    if &start != MAGIC || magic != MAGIC {
        return Err(not_packed("other bytes at its start or end"));
    }
    let header_length = header_length.iter().rev().fold(0u64, |n, &byte| (n << 8) | u64::from(byte));
    if header_length > LONGEST_HEADER || header_length > length - TAIL - MAGIC.len() as u64 {
        return Err(not_packed(&format!("a header of {header_length} bytes")));
    }
    let mut header = vec![0; header_length as usize];
    seek(path, file, SeekFrom::Start(length - TAIL - header_length))?;
    file.read_exact(&mut header).map_err(Error::io("read", path))?;
    let header = String::from_utf8(header).map_err(|error| not_packed(&error.to_string()))?;
    let header: Header = toml::from_str(&header).map_err(|error| not_packed(&error.to_string()))?;

    // Allocate memory only for a header whose sizes add up to the size of the file.
    let each = header.shape.iter().try_fold(4u64, |n, &d| n.checked_mul(d as u64)).map(|n| n / 4);
    let each = each.and_then(|values| values.checked_mul(if header.rate.is_some() { 2 } else { 1 }));
    let each = each.and_then(|values| values.checked_mul(header.frames.unwrap_or(1) as u64));
    let each = each.and_then(|bytes| bytes.checked_add(4));
    let samples = (header.train as u64).checked_add(header.test as u64);
    let contents = each.zip(samples).and_then(|(each, samples)| each.checked_mul(samples));
    let expected = contents.and_then(|n| n.checked_add(MAGIC.len() as u64 + header_length + TAIL));
    match header.kind() {
        Some(kind) if expected == Some(length) => Ok((header, kind)),
        _ => {
            let (train, test, shape) = (header.train, header.test, header.shape);
            Err(not_packed(&format!("{length} bytes for {train} + {test} samples of {shape:?}")))
        }
    }
}

fn seek(path: &Path, file: &mut File, to: SeekFrom) -> Result<()> {
    file.seek(to).map(|_| ()).map_err(Error::io("read", path))
}

/// One part of a packed file that stays on disk.
#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    file: Arc<File>,
    kind: Kind,
    first: usize,
    count: usize,
    labels: Option<Vec<u32>>,
}

impl Source for OnDisk {
    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    fn len(&self) -> usize {
        self.count
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        if index >= self.count {
            return Err(Error::OutOfRange { index, len: self.count });
        }
        let position = MAGIC.len() as u64 + (self.first + index) as u64 * self.kind.bytes() as u64;
        read_exact_at(&self.file, out, position).map_err(Error::io("read", &self.path))
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.as_ref()?.get(index).copied()
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], position: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, position)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut position: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, position)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                out = &mut out[read..];
                position += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape::new(3, 2, 2);

    fn write(path: &Path) {
        let mut writer = Writer::create(path, SHAPE, &["a".into(), "b".into()]).unwrap();
        for i in 0..7u8 {
            writer.sample(&[i; 12], Some(u32::from(i % 2))).unwrap();
            if i == 4 {
                writer.end_train();
            }
        }
        writer.finish(3, Vec::new()).unwrap();
    }

    fn image(source: &dyn Source, index: usize) -> Vec<u8> {
        let mut image = vec![0; source.kind().bytes()];
        source.write_sample(index, &mut image).unwrap();
        image
    }

    #[test]
    fn removes_files_of_dead_processes_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.y.waxpack");
        let names = ["x.y.0.partial", "x.y.1.partial", "x.0.partial", "x.y.waxpack.0"];
        let paths = names.map(|name| dir.path().join(name));
        let files = paths.each_ref().map(|path| File::create(path).unwrap());
        files[1].lock().unwrap();
        write(&path);
        assert_eq!(paths.map(|path| path.exists()), [false, true, true, true]);
        assert_eq!(open(&path).unwrap().1.train, 5);
    }

    #[test]
    fn memory_and_disk_give_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/x.waxpack");
        write(&path);
        for limit in [0, IN_MEMORY] {
            let (parts, header) = open_with_limit(&path, limit).unwrap();
            assert_eq!((parts.train.len(), parts.test.len(), header.skipped), (5, 2, 3));
            assert_eq!(image(&*parts.train, 4), [4; 12]);
            assert_eq!(image(&*parts.test, 1), [6; 12]);
            assert_eq!((parts.test.label(0), parts.test.label(1)), (Some(1), Some(0)));
            assert!(parts.test.write_sample(2, &mut [0; 12]).is_err());
            let found = crate::identity::of_content(&header.classes, &*parts.train, &*parts.test).unwrap();
            assert_eq!(found, parts.identity);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn detects_every_cut_and_every_flipped_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.waxpack");
        write(&path);
        let good = fs::read(&path).unwrap();
        for end in 0..good.len() {
            fs::write(&path, &good[..end]).unwrap();
            assert!(open(&path).is_err(), "cut at {end}");
        }
        // The number of skipped files is the only thing that no hash covers.
        let skipped = good.windows(9).position(|w| w == b"skipped =").unwrap();
        for place in (0..good.len()).filter(|&place| place < skipped || place >= good.len() - 16) {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(open(&path).is_err(), "byte {place}");
        }
    }

    #[test]
    fn an_abandoned_writer_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&dir.path().join("x.waxpack"), SHAPE, &[]).unwrap();
        writer.sample(&[0; 12], None).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn sounds_are_packed_as_two_bytes_per_sample() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.waxpack");
        let kind = Kind::Sound { rate: 8000, length: 3 };
        let mut writer = Writer::create(&path, kind.clone(), &[]).unwrap();
        writer.sample(&[1, 2, 3, 4, 5, 6], None).unwrap();
        writer.end_train();
        writer.sample(&[7; 6], None).unwrap();
        writer.finish(0, Vec::new()).unwrap();
        for limit in [0, IN_MEMORY] {
            let (parts, header) = open_with_limit(&path, limit).unwrap();
            assert_eq!((parts.train.kind(), parts.test.kind()), (kind.clone(), kind.clone()));
            assert_eq!(
                (image(&*parts.train, 0), image(&*parts.test, 0)),
                (vec![1, 2, 3, 4, 5, 6], vec![7; 6])
            );
            let found = crate::identity::of_content(&[], &*parts.train, &*parts.test).unwrap();
            assert_eq!(found, header.identity);
        }
        let bytes = fs::read(&path).unwrap();
        let without = |old: &[u8], new: &[u8]| {
            let place = bytes.windows(old.len()).position(|part| part == old).unwrap();
            [&bytes[..place], new, &bytes[place + old.len()..]].concat()
        };
        // The same number of bytes cannot be images, and sounds have a rate.
        for bad in [without(b"rate = 8000", b"#ate = 8000"), without(b"rate = 8000", b"rate = 0   ")] {
            fs::write(&path, bad).unwrap();
            assert!(open(&path).is_err());
        }
        let text = Kind::Text { vocabulary: 3, length: 4 };
        assert!(Writer::create(&path, text, &[]).is_err());
    }

    #[test]
    fn clips_are_packed_with_their_number_of_frames() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.waxpack");
        let kind = Kind::Clip { frames: 3, image: ImageShape::new(1, 2, 2) };
        let mut writer = Writer::create(&path, kind.clone(), &["a".into()]).unwrap();
        let clips = [0u8, 12, 24].map(|first| (first..first + 12).collect::<Vec<u8>>());
        writer.sample(&clips[0], Some(0)).unwrap();
        writer.sample(&clips[1], Some(0)).unwrap();
        writer.end_train();
        writer.sample(&clips[2], Some(0)).unwrap();
        writer.finish(0, Vec::new()).unwrap();
        for limit in [0, IN_MEMORY] {
            let (parts, header) = open_with_limit(&path, limit).unwrap();
            assert_eq!((parts.train.kind(), parts.train.len(), header.frames), (kind.clone(), 2, Some(3)));
            assert_eq!(
                [image(&*parts.train, 1), image(&*parts.test, 0)],
                [clips[1].clone(), clips[2].clone()]
            );
            let found = crate::identity::of_content(&header.classes, &*parts.train, &*parts.test).unwrap();
            assert_eq!(found, header.identity);
        }
        // Clips without frames are invalid, and without the number of frames the sizes are inconsistent.
        let bytes = fs::read(&path).unwrap();
        for (old, new) in [(b"frames = 3", b"frames = 0"), (b"frames = 3", b"#rames = 3")] {
            let place = bytes.windows(old.len()).position(|part| part == old).unwrap();
            fs::write(&path, [&bytes[..place], new, &bytes[place + old.len()..]].concat()).unwrap();
            assert!(open(&path).is_err());
        }
    }

    /// A file as the first version wrote it. Its identity is what this script prints:
    ///
    /// ```python
    /// import hashlib, struct
    /// h = hashlib.sha256(b"waxwork-data content 1\n")
    /// for value in [1, 2, 2, 2]: h.update(struct.pack("<Q", value))      # shape, number of classes
    /// for name in ["a", "b"]: h.update(struct.pack("<Q", len(name)) + name.encode())
    /// for pixels, label in [(bytes([0, 1, 2, 3]), 0), (bytes([4, 5, 6, 7]), 1)]:
    ///     h.update(pixels + struct.pack("<I", label) + struct.pack("<Q", 1))  # each part has one image
    /// print(h.hexdigest())
    /// ```
    #[test]
    fn a_file_of_the_first_version_opens() {
        let header = "shape = [1, 2, 2]\nclasses = [\"a\", \"b\"]\ntrain = 1\ntest = 1\nlabelled = true\n\
                      identity = \"1213cd392454931a58694982f296ee1a1affbbb5a388df5ef66be23d95eb7441\"\n\
                      skipped = 3\n";
        let mut file = MAGIC.to_vec();
        file.extend(0..8u8);
        file.extend([0u32, 1].iter().flat_map(|label| label.to_le_bytes()));
        file.extend(header.bytes());
        file.extend((header.len() as u64).to_le_bytes());
        file.extend(MAGIC);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.pack");
        fs::write(&path, file).unwrap();
        let (parts, header) = open(&path).unwrap();
        assert_eq!((header.skipped, header.notes.len()), (3, 0));
        assert_eq!(image(parts.test.as_ref(), 0), [4, 5, 6, 7]);
        assert_eq!((parts.train.label(0), parts.test.label(0)), (Some(0), Some(1)));
    }
}
