//! Tests of files and folders of texts: the parts and classes that they become, and what is refused.

use std::fs;
use std::io::Write as _;

use super::*;
use crate::text::tokens_of;
use crate::{DataConfig, Dataset, load as load_data};

/// A folder with these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn config(path: &Path, text: TextConfig) -> DataConfig {
    DataConfig {
        dir: Some(path.to_path_buf()),
        text: Some(text),
        validation: Some(0),
        ..DataConfig::named("text")
    }
}

fn loaded(path: &Path) -> Dataset {
    load_data(&config(path, TextConfig::default())).unwrap()
}

fn refused(path: &Path, text: TextConfig) -> String {
    load_data(&config(path, text)).unwrap_err().to_string()
}

fn texts(data: &Dataset, split: &crate::Split) -> Vec<String> {
    tokens_of(split).unwrap().iter().map(|tokens| data.info.view.line(tokens)).collect()
}

#[test]
fn parts_are_files_or_folders_of_their_names() {
    for files in [
        [("train.txt", "a b\nc"), ("test.txt", "b a\n"), ("valid.txt", "c c c c")],
        [("ptb.train.txt", "a b\nc"), ("ptb.test.txt", "b  a\n"), ("ptb.valid.txt", "c")],
        [("train/all.txt", "a b\nc"), ("test/all.txt", "b a\n"), ("dev/x.txt", "c")],
    ] {
        let dir = tree(&files);
        let data = loaded(dir.path());
        assert_eq!(texts(&data, &data.train), ["a b", "c"]);
        assert_eq!(texts(&data, &data.test), ["b a"]);
        assert_eq!(data.info.kind, Kind::Text { vocabulary: 4, length: 3 });
        assert!(data.info.classes.is_empty() && data.train.label(0).is_none());
        assert!(
            data.notes.iter().any(|note| note.to_string().contains("it is held out")),
            "{:?}",
            data.notes
        );
    }
    let dir = tree(&[("test.txt", "a")]);
    assert!(refused(dir.path(), TextConfig::default()).contains("there is no `train` next to it"));
    let dir = tree(&[("train.txt", "a"), ("training.txt", "a")]);
    assert!(refused(dir.path(), TextConfig::default()).contains("both training parts"));
    assert!(
        refused(tree(&[]).path(), TextConfig::default()).contains("contains no .txt, .tsv or .jsonl files")
    );
}

#[test]
fn classes_are_files_labels_or_keys_and_a_tenth_is_held_out() {
    let lines = |word: &str| (0..20).map(|i| format!("{word} w{}\n", i % 4)).collect::<String>();
    let labelled = |form: &dyn Fn(&str, &str) -> String| -> String {
        let of = |label: &str| lines(label).lines().map(|line| form(label, line)).collect::<String>();
        of("dog") + &of("cat")
    };
    let folder = tree(&[("dog.txt", &lines("dog")), ("cat.txt", &lines("cat")), (".hidden.txt", "x")]);
    let tsv = labelled(&|label, line| format!("{label}\t{line}\n"));
    let json = labelled(&|label, line| format!("{{\"text\": \"{line}\", \"label\": \"{label}\"}}\n"));
    let files = tree(&[("a.tsv", &tsv), ("a.jsonl", &json)]);
    let mut identities = Vec::new();
    for path in [folder.path().to_path_buf(), files.path().join("a.tsv"), files.path().join("a.jsonl")] {
        let data = loaded(&path);
        assert_eq!(data.info.classes, ["cat", "dog"]);
        assert_eq!((data.train.len(), data.test.len()), (36, 4));
        for split in [&data.train, &data.test] {
            for (place, text) in texts(&data, split).iter().enumerate() {
                let class = &data.info.classes[split.label(place).unwrap() as usize];
                assert!(text.starts_with(class.as_str()), "{text}");
            }
        }
        identities.push(data.info.identity);
    }
    assert_eq!(identities[1], identities[2], "the same texts in the same order");
    let said = refused(files.path(), TextConfig::default());
    assert!(said.contains("has labels of its own"), "{said}");
    let unknown = tree(&[("train.tsv", "a\tx\nb\tx"), ("test.tsv", "c\tx")]);
    assert!(refused(unknown.path(), TextConfig::default()).contains("has the label `c`"));
    let mixed = tree(&[("train.tsv", "a\tx\nb\tx"), ("test.txt", "x")]);
    assert!(refused(mixed.path(), TextConfig::default()).contains("the test part has none"));
}

#[test]
fn a_packed_file_is_the_same_data() {
    let dir = tree(&[("a.txt", "one two\nthree\nfour\n")]);
    let packed = dir.path().join("b.txt.gz");
    let mut gzip =
        flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    gzip.write_all(b"one two\nthree\nfour\n").unwrap();
    gzip.finish().unwrap();
    assert_eq!(loaded(&packed).info.identity, loaded(&dir.path().join("a.txt")).info.identity);
    // The same numbers with other words are different data.
    let other = tree(&[("a.txt", "eins zwei\ndrei\nvier\n")]);
    let other = loaded(&other.path().join("a.txt"));
    assert_ne!(other.info.identity, loaded(&packed).info.identity);
    assert_ne!(other.info.view_hash(), loaded(&packed).info.view_hash());
}

#[test]
fn lengths_and_vocabularies_are_as_the_recipe_says() {
    let dir = tree(&[("train.txt", "a a b\na c\n"), ("test.txt", "a d a d\n")]);
    let data = loaded(dir.path());
    assert_eq!(data.info.kind, Kind::Text { vocabulary: 5, length: 5 });
    assert_eq!(texts(&data, &data.test), ["a <unk> a <unk>"]);
    assert!(data.notes.iter().any(|note| note.to_string().contains("1 of 1 test texts have a word")));
    let short = TextConfig { length: Some(3), ..TextConfig::default() };
    let said = refused(dir.path(), short.clone());
    assert!(
        said.contains("train.txt: line 1: it has 3 words, but `data.text.length` leaves room for 2"),
        "{said}"
    );
    let cut = load_data(&config(dir.path(), TextConfig { longer: Longer::Cut, ..short })).unwrap();
    assert_eq!(
        (texts(&cut, &cut.train), texts(&cut, &cut.test)),
        (vec!["a a".into(), "a c".into()], vec!["a <unk>".into()])
    );
    assert!(cut.notes.iter().any(|note| note.to_string().contains("2 of 3 texts have more than 2 tokens")));
    let rare = load_data(&config(dir.path(), TextConfig { min_count: 2, ..TextConfig::default() })).unwrap();
    assert_eq!(texts(&rare, &rare.train), ["a a <unk>", "a <unk>"]);
    let tokens =
        |tokens| load_data(&config(dir.path(), TextConfig { tokens, ..TextConfig::default() })).unwrap();
    assert_eq!(tokens(Unit::Characters).info.kind, Kind::Text { vocabulary: 6, length: 8 });
    assert_eq!(tokens(Unit::Bytes).info.kind, Kind::Text { vocabulary: 257, length: 8 });
    assert!(
        refused(dir.path(), TextConfig { length: Some(1), ..TextConfig::default() }).contains("at least 2")
    );
    let column = TextConfig { column: Some("text".into()), ..TextConfig::default() };
    assert!(refused(dir.path(), column).contains("only data sets of the Hub have columns"));
    let none = DataConfig { text: Some(TextConfig::default()), ..DataConfig::named("phrases") };
    assert!(load_data(&none).unwrap_err().to_string().contains("only the data set `text`"));
    assert!(load_data(&DataConfig::named("text")).unwrap_err().to_string().contains("needs `data.dir`"));
}

#[test]
fn texts_of_other_programs_must_fit() {
    let dir = tree(&[("train.txt", "a a b\na c\n"), ("test.txt", "a\n")]);
    let data = loaded(dir.path());
    let vocabulary = data.info.view.vocabulary().unwrap();
    let read = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path, &data.info.kind, vocabulary).map_err(|error| error.to_string())
    };
    let made = read("made.txt", "c a\n\na b a a\n").unwrap();
    let split = crate::Split::all(std::sync::Arc::new(made.texts)).unwrap();
    assert_eq!(texts(&data, &split), ["c a", "", "a b a a"]);
    let labelled = read("made.tsv", "dog\ta\ncat\tb\n").unwrap();
    assert_eq!(labelled.classes, ["cat", "dog"]);
    let said = read("made.txt", "a\na q\n").unwrap_err();
    assert!(said.ends_with("made.txt: line 2: the word `q` is not in the vocabulary"), "{said}");
    let said = read("made.txt", "a a a a a\n").unwrap_err();
    assert!(said.ends_with("line 1 has 5 words, but a text of this kind has at most 4"), "{said}");
    assert!(read("made.md", "a").unwrap_err().contains("texts come from .txt, .tsv or .jsonl files"));
    assert!(read("made.jsonl", "").unwrap_err().ends_with("it has no texts"));
}
