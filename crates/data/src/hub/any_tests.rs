//! Reading of data sets of the Hub as people upload them: columns, labels, parts, and images, recordings and
//! texts of all kinds.

use std::sync::Arc;
use std::time::Duration;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use hf_hub::HFClient;
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

use super::super::server::Server;
use super::super::tests::png;
use super::*;
use crate::load::load_hub_texts;
use crate::text::{TextConfig, tokens_of};
use crate::{Dataset, DatasetInfo};

const SET: &str = "datasets/some/pictures";

/// The contents of the label column.
enum Cells<'a> {
    Numbers(&'a [i64]),
    Words(&'a [&'a str]),
}

/// Returns a parquet file of these images, with a label column of this name, described as the Hub does.
fn table(pictures: &[Vec<u8>], column: &str, cells: &Cells<'_>, described: &Value) -> Vec<u8> {
    table_of(("image", "Image"), pictures, column, cells, described)
}

/// Returns a parquet file of these encoded samples in a column of this name and type.
fn table_of(
    (own, of_type): (&str, &str),
    samples: &[Vec<u8>],
    column: &str,
    cells: &Cells<'_>,
    described: &Value,
) -> Vec<u8> {
    let kind = match cells {
        Cells::Numbers(_) => format!("required int64 {column};"),
        Cells::Words(_) => format!("required binary {column} (UTF8);"),
    };
    let schema = format!("message schema {{ required group {own} {{ required binary bytes; }} {kind} }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let features = json!({"info": {"features": {own: {"_type": of_type}, column: described}}});
    let pairs = vec![KeyValue { key: "huggingface".into(), value: Some(features.to_string()) }];
    let described = (!described.is_null()).then_some(pairs);
    let properties = WriterProperties::builder().set_key_value_metadata(described).build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes: Vec<ByteArray> = samples.iter().map(|bytes| ByteArray::from(bytes.clone())).collect();
    let mut next = group.next_column().unwrap().unwrap();
    next.typed::<ByteArrayType>().write_batch(&bytes, None, None).unwrap();
    next.close().unwrap();
    let mut next = group.next_column().unwrap().unwrap();
    match cells {
        Cells::Numbers(numbers) => next.typed::<Int64Type>().write_batch(numbers, None, None).unwrap(),
        Cells::Words(words) => {
            let words: Vec<ByteArray> = words.iter().map(|word| ByteArray::from(*word)).collect();
            next.typed::<ByteArrayType>().write_batch(&words, None, None).unwrap()
        }
    };
    next.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    out
}

/// Returns images whose blue value is their number.
fn blue(numbers: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    numbers.map(|i| png(RgbImage::from_pixel(4, 6, Rgb([200, 0, i])))).collect()
}

fn named(names: &[&str]) -> Value {
    json!({"_type": "ClassLabel", "names": names})
}

fn plain() -> Value {
    json!({"_type": "Value", "dtype": "int64"})
}

/// Fetches these files, grouped by part, into a folder.
fn fetched_into(dir: &Path, files: &[(&str, Vec<u8>)], config: &DataConfig) -> Result<PathBuf> {
    let server = Server::start();
    for (part, bytes) in files {
        server.put(SET, &format!("default/{part}.parquet"), bytes.clone());
    }
    let client =
        HFClient::builder().endpoint(&server.address).cache_dir(dir.join("hf")).retry_max_attempts(0);
    let hub = Hub::new(client, Duration::from_secs(1), false).unwrap();
    fetch(&hub, config, dir, &|_, _| ())
}

/// Returns the result of these files, grouped by part, and the notes about it.
fn fetched(files: &[(&str, Vec<u8>)], folder: Option<FolderConfig>) -> Result<(Dataset, Vec<String>)> {
    fetched_as(files, &DataConfig { folder, ..DataConfig::named("hf:some/pictures") })
}

/// [`fetched`] with any settings.
fn fetched_as(files: &[(&str, Vec<u8>)], config: &DataConfig) -> Result<(Dataset, Vec<String>)> {
    let dir = tempfile::tempdir().unwrap();
    let path = fetched_into(dir.path(), files, config)?;
    let (parts, header) = packed::open(&path)?;
    let info = DatasetInfo::of("x", &header.classes, &*parts.train, &*parts.test)?;
    assert_eq!(info.identity, header.identity);
    let data = Dataset::new(
        DatasetInfo { skipped: header.skipped, ..info },
        parts.train,
        parts.test,
        Some(0),
        None,
    )?;
    Ok((data, header.notes.iter().map(ToString::to_string).collect()))
}

/// Returns the blue value and the label of every image.
fn seen(split: &crate::Split) -> Vec<(u8, Option<u32>)> {
    let value = |position| {
        let image = split.bytes(&[position]).unwrap();
        (image[image.len() - 1], split.label(position))
    };
    (0..split.len()).map(value).collect()
}

/// Returns a parquet file of columns of texts, and of the class numbers of a column `label` if there are any.
fn table_of_texts(columns: &[(&str, &[&str])], labels: Option<(&[i64], &Value)>) -> Vec<u8> {
    let mut fields: Vec<String> =
        columns.iter().map(|(name, _)| format!("required binary {name} (UTF8);")).collect();
    fields.extend(labels.map(|_| "required int64 label;".to_owned()));
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {} }}", fields.concat())).unwrap());
    let described = labels.map(|(_, described)| {
        let features = json!({"info": {"features": {"label": described}}});
        vec![KeyValue { key: "huggingface".into(), value: Some(features.to_string()) }]
    });
    let properties = WriterProperties::builder().set_key_value_metadata(described).build();
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, texts) in columns {
        let texts: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
        let mut next = group.next_column().unwrap().unwrap();
        next.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        next.close().unwrap();
    }
    if let Some((numbers, _)) = labels {
        let mut next = group.next_column().unwrap().unwrap();
        next.typed::<Int64Type>().write_batch(numbers, None, None).unwrap();
        next.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    out
}

/// Returns the texts of these files, read from the given column or else from the one that is found, and the
/// notes about them.
fn fetched_texts(files: &[(&str, Vec<u8>)], column: Option<&str>) -> Result<(Dataset, Vec<String>)> {
    let dir = tempfile::tempdir().unwrap();
    let text = TextConfig { column: column.map(str::to_owned), ..TextConfig::default() };
    let config =
        DataConfig { text: Some(text), validation: Some(0), ..DataConfig::named("hf:some/pictures") };
    let path = fetched_into(dir.path(), files, &config)?;
    assert_eq!(path, texts_path(&config, dir.path()));
    let data = load_hub_texts(&config, &path)?;
    let notes = data.notes.iter().map(ToString::to_string).collect();
    Ok((data, notes))
}

/// Returns every text and its label.
fn read(data: &Dataset, split: &crate::Split) -> Vec<(String, Option<u32>)> {
    let lines = tokens_of(split).unwrap();
    let line = |(position, tokens): (usize, &Vec<u16>)| (data.info.view.line(tokens), split.label(position));
    lines.iter().enumerate().map(line).collect()
}

/// The lines of docs/robustness.md about the Hub, and the test of each.
const CASES: [(&str, &str, fn()); 10] = [
    (
        "a grey image first, or any mixture of grey and colour",
        "colour images if any image is in colour, else grey images",
        one_picture_in_colour_makes_all_images_coloured,
    ),
    (
        "a label column called `label`, `labels`, `class`, `category`, `target`, `targets` or `y`, in upper or lower case, or described as a column of classes; numbers or words",
        "labels, with the class names from the description or the words",
        labels_are_found_whatever_their_column_is_called_and_described_as,
    ),
    (
        "no such column, numbers too large to be classes (such as 1,000,000), or no label in any row",
        "images without labels, with a warning that says why",
        reports_images_without_labels,
    ),
    (
        "files or parts that list the classes in different orders",
        "the same label for the same name; refused if the training part does not have the name",
        classes_go_by_name_in_every_file,
    ),
    (
        "rows with the label −1 or without a label, or a part with only such rows",
        "the rows or the part are left out, with a warning; then the next held-out part is the test part, or else a tenth of each class",
        rows_and_parts_without_labels_are_left_out_and_said,
    ),
    (
        "parts with any of the names above",
        "as in a folder; parts that are not used are reported",
        parts_go_by_the_names_that_directories_go_by,
    ),
    (
        "a damaged image in a row",
        "refused, with the row; `data.folder.skip_unreadable` leaves it out and counts it",
        damaged_pictures_are_named_or_left_out_and_counted,
    ),
    (
        "images of several sizes, or smaller than `data.folder.size`",
        "refused, with the largest size that all images allow",
        advice_about_sizes_leads_to_no_second_error,
    ),
    (
        "a column of recordings instead of images: described as audio, or called `audio`, `sound`, `recording` or `speech`",
        "sounds, as from a folder of WAV files with `data.sound`; FLAC, MP3 and other formats are refused, with the row",
        recordings_become_sounds,
    ),
    (
        "neither images nor recordings but a column of words called `text` or `sentence`, or any column of words that `data.text.column` names",
        "texts, with labels by the same rules and classes in the order of their names; blank rows are left out, with a warning",
        texts_are_found_where_there_are_no_images_or_where_they_are_asked_for,
    ),
];

#[test]
fn every_case_gets_what_the_document_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/robustness.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split("\n## ").find(|section| section.starts_with("Data sets of the Hub\n")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let expected: Vec<String> = CASES.iter().map(|(case, gets, _)| format!("| {case} | {gets} |")).collect();
    assert_eq!(rows, expected);
    for (case, _, look) in CASES {
        println!("{case}");
        look();
    }
}

const PARTS: &str = "the training part is `train`, the test part is `test`";

fn one_picture_in_colour_makes_all_images_coloured() {
    let grey = |i| png(GrayImage::from_pixel(4, 6, Luma([i])));
    let numbers = Cells::Numbers(&[0, 0, 0]);
    let train = table(
        &[grey(1), grey(2), png(RgbImage::from_pixel(4, 6, Rgb([9, 8, 7])))],
        "label",
        &numbers,
        &named(&["a"]),
    );
    let test = table(&[grey(3), grey(3), grey(3)], "label", &numbers, &named(&["a"]));
    let (data, _) = fetched(&[("train/0", train), ("test/0", test.clone())], None).unwrap();
    // Taller than wide, and not resized.
    assert_eq!(data.info.image().unwrap(), ImageShape::new(3, 6, 4));
    assert_eq!(data.train.bytes(&[2]).unwrap()[..24], [9; 24]);
    assert_eq!(data.train.bytes(&[1]).unwrap(), [2; 72]);
    let (data, _) = fetched(&[("train/0", test.clone()), ("test/0", test)], None).unwrap();
    assert_eq!(data.info.image().unwrap(), ImageShape::new(1, 6, 4));
}

fn labels_are_found_whatever_their_column_is_called_and_described_as() {
    for (column, described) in [
        ("label", plain()),
        ("labels", plain()),
        ("Label", Value::Null),
        ("y", Value::Null),
        ("kind", named(&["a", "b", "c"])),
    ] {
        let train = table(&blue(0..4), column, &Cells::Numbers(&[2, 0, 1, 0]), &described);
        let test = table(&blue(4..5), column, &Cells::Numbers(&[1]), &described);
        let (data, notes) = fetched(&[("train/0", train), ("test/0", test)], None).unwrap();
        assert_eq!(seen(&data.train), [(0, Some(2)), (1, Some(0)), (2, Some(1)), (3, Some(0))], "{column}");
        assert_eq!(seen(&data.test), [(4, Some(1))], "{column}");
        let names = if column == "kind" { ["a", "b", "c"] } else { ["0", "1", "2"] };
        assert_eq!(data.info.classes, names);
        assert_eq!(notes, [PARTS]);
    }
    let train = table(&blue(0..3), "label", &Cells::Words(&["dog", "cat", "dog"]), &Value::Null);
    let test = table(&blue(3..4), "label", &Cells::Words(&["cat"]), &Value::Null);
    let (data, _) = fetched(&[("train/0", train.clone()), ("test/0", test)], None).unwrap();
    assert_eq!(data.info.classes, ["cat", "dog"]);
    assert_eq!(seen(&data.train), [(0, Some(1)), (1, Some(0)), (2, Some(1))]);
    let test = table(&blue(3..4), "label", &Cells::Words(&["bird"]), &Value::Null);
    let error = fetched(&[("train/0", train), ("test/0", test)], None).unwrap_err().to_string();
    assert!(error.contains("row 0 is of class `bird`"), "{error}");
}

fn reports_images_without_labels() {
    let train = table(&blue(0..4), "caption", &Cells::Words(&["a", "b", "c", "d"]), &Value::Null);
    let (data, notes) = fetched(&[("train/0", train)], None).unwrap();
    assert_eq!((data.info.classes.len(), data.train.len(), data.test.len()), (0, 3, 1));
    assert_eq!(notes[0], "the training part is `train`; a tenth of it is held out as the test part");
    assert_eq!(notes[1], "the images have no labels: none of the columns image, caption contains labels");
    let train = table(&blue(0..2), "label", &Cells::Numbers(&[5, 1_000_000]), &plain());
    let (data, notes) = fetched(&[("train/0", train)], None).unwrap();
    assert_eq!((data.info.classes.len(), data.train.label(0)), (0, None));
    assert!(notes[1].contains("up to 1000000 without names: too many for classes"), "{notes:?}");
    let train = table(&blue(0..2), "label", &Cells::Numbers(&[-1, -1]), &named(&["a"]));
    let (data, notes) = fetched(&[("train/0", train)], None).unwrap();
    assert_eq!((data.info.classes.len(), data.train.len() + data.test.len()), (0, 2));
    assert_eq!(notes[1], "the images have no labels: no row of the training part has one");
}

fn classes_go_by_name_in_every_file() {
    let train = table(&blue(0..2), "label", &Cells::Numbers(&[0, 1]), &named(&["cat", "dog"]));
    let more = table(&blue(2..4), "label", &Cells::Numbers(&[0, 1]), &named(&["dog", "cat"]));
    let test = table(&blue(4..6), "label", &Cells::Numbers(&[1, 2]), &named(&["bird", "dog", "cat"]));
    let (data, _) =
        fetched(&[("train/0", train.clone()), ("train/1", more), ("test/0", test)], None).unwrap();
    assert_eq!(data.info.classes, ["cat", "dog"]);
    assert_eq!(seen(&data.train), [(0, Some(0)), (1, Some(1)), (2, Some(1)), (3, Some(0))]);
    assert_eq!(seen(&data.test), [(4, Some(1)), (5, Some(0))]);
    for (names, number, class) in [(&["bird", "dog"][..], 0, "bird"), (&["cat", "dog"], 7, "7")] {
        let test = table(&blue(4..5), "label", &Cells::Numbers(&[number]), &named(names));
        let error = fetched(&[("train/0", train.clone()), ("test/0", test)], None).unwrap_err().to_string();
        assert!(error.contains(&format!("row 0 is of class `{class}`")), "{error}");
    }
}

fn rows_and_parts_without_labels_are_left_out_and_said() {
    let names = named(&["cat", "dog"]);
    let train = table(&blue(0..4), "label", &Cells::Numbers(&[0, -1, 1, 0]), &names);
    let hidden = table(&blue(4..6), "label", &Cells::Numbers(&[-1, -1]), &names);
    let shown = table(&blue(6..8), "label", &Cells::Numbers(&[1, -1]), &names);
    let files = [("train/0", train), ("test/0", hidden), ("validation/0", shown)];
    let (data, notes) = fetched(&files, None).unwrap();
    assert_eq!(seen(&data.train), [(0, Some(0)), (2, Some(1)), (3, Some(0))]);
    assert_eq!(seen(&data.test), [(6, Some(1))]);
    assert_eq!(
        notes,
        [
            "the training part is `train`, the test part is `validation`",
            "`test` is not used (2 samples): it has no labels",
            "1 row is left out because it has no label in `train`",
            "1 row is left out because it has no label in `validation`",
        ]
    );
    // Without another part, a tenth of the training part is held out.
    let (data, notes) = fetched(&files[..2], None).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (2, 1));
    assert!(notes[0].contains("a tenth of it"), "{notes:?}");
}

fn parts_go_by_the_names_that_directories_go_by() {
    let of = |range| table(&blue(range), "label", &Cells::Numbers(&[0, 0]), &named(&["a"]));
    let (data, notes) = fetched(
        &[("training/0", of(0..2)), ("dev/0", of(2..4)), ("extra/0", of(4..6)), ("Test/0", of(6..8))],
        None,
    )
    .unwrap();
    assert_eq!((seen(&data.train)[0].0, seen(&data.test)[0].0), (0, 6));
    assert_eq!(notes[0], "the training part is `training`, the test part is `Test`");
    assert!(
        notes[1].starts_with("`dev` is not used: ") && notes[2].starts_with("`extra` is not used: "),
        "{notes:?}"
    );
    let error = fetched(&[("dev/0", of(0..2)), ("extra/0", of(2..4))], None).unwrap_err().to_string();
    assert!(error.contains("no training part") && error.contains("dev, extra"), "{error}");
}

fn damaged_pictures_are_named_or_left_out_and_counted() {
    let mut pictures = blue(0..4);
    let length = pictures[1].len();
    pictures[1].truncate(length / 2);
    let cells = Cells::Numbers(&[0, 1, 0, 1]);
    let train = table(&pictures, "label", &cells, &named(&["a", "b"]));
    let test = table(&blue(4..8), "label", &cells, &named(&["a", "b"]));
    let files = [("train/0", train), ("test/0", test)];
    let error = fetched(&files, None).unwrap_err();
    assert!(matches!(error, Error::Row { row: 1, .. }), "{error}");
    let skip = FolderConfig { skip_unreadable: true, ..FolderConfig::default() };
    let (data, notes) = fetched(&files, Some(skip)).unwrap();
    assert_eq!(seen(&data.train), [(0, Some(0)), (2, Some(0)), (3, Some(1))]);
    // The images' own size, although one table alone could suggest another.
    assert_eq!((data.info.skipped, data.info.image().unwrap()), (1, ImageShape::new(3, 6, 4)));
    assert!(
        notes[1].starts_with("1 sample cannot be read and was left out: row 1 of `train` ("),
        "{notes:?}"
    );
}

fn advice_about_sizes_leads_to_no_second_error() {
    let pictures: Vec<Vec<u8>> =
        [(40, 30), (50, 20), (25, 28)].iter().map(|&(w, h)| png(RgbImage::new(w, h))).collect();
    let cells = Cells::Numbers(&[0, 0, 0]);
    let train = table(&pictures, "label", &cells, &named(&["a"]));
    let sized = |size| FolderConfig { size, ..FolderConfig::default() };
    let error = fetched(&[("train/0", train.clone())], None).unwrap_err();
    assert!(
        matches!(error, Error::Sizes { smallest: (50, 20), greatest: (40, 30), largest: 20, .. }),
        "{error}"
    );
    let error = fetched(&[("train/0", train.clone())], Some(sized(Some(64)))).unwrap_err();
    assert!(matches!(error, Error::TooSmall { width: 50, height: 20, size: 64, largest: 20, .. }), "{error}");
    let (data, _) = fetched(&[("train/0", train)], Some(sized(Some(20)))).unwrap();
    assert_eq!(data.info.image().unwrap(), ImageShape::new(3, 20, 20));
}

fn texts_are_found_where_there_are_no_images_or_where_they_are_asked_for() {
    let names = named(&["pos", "neg"]);
    let sentences = ["a good film", "a bad film", "  ", "so \"good\"\nand long", "whatever"];
    let train = table_of_texts(&[("Sentence", &sentences[..])], Some((&[0, 1, 0, 0, -1][..], &names)));
    let test = table_of_texts(&[("Sentence", &["a long film"][..])], Some((&[1][..], &names)));
    let files = [("train/0", train), ("test/0", test)];
    let (data, notes) = fetched_texts(&files, None).unwrap();
    assert_eq!(data.info.classes, ["neg", "pos"]);
    let texts = |texts: &[(&str, Option<u32>)]| -> Vec<(String, Option<u32>)> {
        texts.iter().map(|(text, label)| ((*text).to_owned(), *label)).collect()
    };
    let trained = [("a good film", Some(1)), ("a bad film", Some(0)), ("so \"good\" and long", Some(1))];
    assert_eq!(read(&data, &data.train), texts(&trained));
    assert_eq!(read(&data, &data.test), texts(&[("a long film", Some(0))]));
    assert_eq!(
        notes,
        [
            PARTS,
            "1 row is left out because it has no label in `train`",
            "1 row is left out because there is no text in `train`",
            "the test part has no sample of 1 class: pos",
        ]
    );

    // Without labels and without a test part. Another column of words is not taken for texts.
    let lines: Vec<String> = (0..20).map(|number| format!("line {}", number % 3)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let titles = ["the same title"; 20];
    let columns = [("title", &titles[..]), ("text", &lines[..])];
    let files = [("train/0", table_of_texts(&columns, None))];
    let (data, notes) = fetched_texts(&files, None).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.info.classes.len()), (18, 2, 0));
    assert!(
        read(&data, &data.train).iter().all(|(text, label)| text.starts_with("line ") && label.is_none())
    );
    assert_eq!(notes, ["the training part is `train`; a tenth of it is held out as the test part"]);
    let (data, _) = fetched_texts(&files, Some("title")).unwrap();
    assert_eq!(read(&data, &data.train)[0], ("the same title".to_owned(), None));
    let error = fetched_texts(&files, Some("body")).unwrap_err().to_string();
    assert!(error.contains("a column of texts `body`") && error.contains("title, text"), "{error}");
    let error = fetched(&[("train/0", table_of_texts(&columns[..1], None))], None).unwrap_err().to_string();
    assert!(error.contains("`text` or `sentence`"), "{error}");

    // Captions beside images are texts if they are asked for.
    let captions = table(&blue(0..10), "caption", &Cells::Words(&["a blue square"; 10]), &Value::Null);
    let (data, _) = fetched_texts(&[("train/0", captions)], Some("caption")).unwrap();
    assert_eq!(read(&data, &data.test), [("a blue square".to_owned(), None)]);

    // So are transcripts beside recordings.
    let recordings = vec![wav(8000, &[500; 50]); 10];
    let transcripts = Cells::Words(&["a tone"; 10]);
    let spoken = table_of(("audio", "Audio"), &recordings, "text", &transcripts, &Value::Null);
    let spoken = [("train/0", spoken)];
    let (data, _) = fetched_texts(&spoken, Some("text")).unwrap();
    assert_eq!(read(&data, &data.test), [("a tone".to_owned(), None)]);
    let error = fetched_texts(&spoken, None).unwrap_err().to_string();
    assert!(error.contains("data.text.column") && error.contains("has recordings"), "{error}");

    // Settings for other kinds of samples are refused, not ignored.
    let named = DataConfig::named("hf:some/pictures");
    let sound = DataConfig { sound: Some(SoundConfig::default()), ..named.clone() };
    let folder = DataConfig { folder: Some(FolderConfig::default()), ..named };
    for (config, key) in [(sound, "data.sound"), (folder, "data.folder")] {
        let error = fetched_as(&files, &config).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("has texts"), "{error}");
    }
}

/// A WAV file of 16 bits.
fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut file = b"RIFF____WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(rate.to_le_bytes());
    file.extend((2 * rate).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn recordings_become_sounds() {
    let tone =
        |step: f64| -> Vec<i16> { (0..900).map(|j| (9000.0 * (j as f64 * step).sin()) as i16).collect() };
    let mut recordings: Vec<Vec<u8>> = (1..5).map(|i| wav(8000, &tone(0.1 * f64::from(i)))).collect();
    recordings.push(wav(16_000, &tone(0.7)));
    let words = Cells::Words(&["low", "high", "low", "high", "low"]);
    let settings = |fit: sound::Fit| SoundConfig { length: Some(1024), fit, ..SoundConfig::default() };
    let as_sounds =
        |sound: SoundConfig| DataConfig { sound: Some(sound), ..DataConfig::named("hf:some/pictures") };
    let pad = as_sounds(settings(sound::Fit::Pad));
    for (own, described) in [("audio", Value::Null), ("Speech", Value::Null), ("x", named(&[]))] {
        let table = table_of((own, "Audio"), &recordings, "label", &words, &described);
        let (data, notes) = fetched_as(&[("train/0", table.clone()), ("test/0", table)], &pad).unwrap();
        assert_eq!(data.info.kind, SampleKind::Sound { rate: 8000, length: 1024 }, "{own}");
        assert_eq!(data.info.classes, ["high", "low"]);
        assert_eq!((data.train.len(), data.train.label(1), data.test.len()), (5, Some(0), 5));
        let mut samples = tone(0.2);
        samples.resize(1024, 0);
        let expected: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(data.train.bytes(&[1]).unwrap(), expected);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[1].starts_with("2 of 10 recordings have another rate"), "{notes:?}");
    }

    // Sounds that are cut from one recording stay in one part.
    let table = |recordings: &[Vec<u8>]| {
        vec![("train/0", table_of(("audio", "Audio"), recordings, "label", &words, &Value::Null))]
    };
    let cut = SoundConfig { length: Some(300), ..settings(sound::Fit::Cut) };
    let (data, _) = fetched_as(&table(&recordings), &as_sounds(cut)).unwrap();
    assert_eq!(data.train.len() + data.test.len(), 4 * 3 + 2);
    assert!(matches!(data.test.len(), 2 | 3), "one recording is held out");

    let with = |row: usize, bytes: Vec<u8>| {
        let mut damaged = recordings.clone();
        damaged[row] = bytes;
        let mut files = table(&damaged);
        files.push(("test/0", table(&recordings).remove(0).1));
        files
    };
    for (bad, reason) in [
        (b"fLaC\0\0\0\x22".to_vec(), "it is in the format FLAC, but only WAV is read"),
        (b"\xff\xfb\x90\x64".to_vec(), "MP3"),
        (b"nothing".to_vec(), "not a WAV file"),
        (wav(8000, &[0; 50]), "nothing but silence"),
    ] {
        let files = with(2, bad);
        let error = fetched_as(&files, &pad).unwrap_err();
        assert!(matches!(error, Error::RecordingRow { row: 2, .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        let skip = SoundConfig { skip_unreadable: true, ..settings(sound::Fit::Pad) };
        let (data, notes) = fetched_as(&files, &as_sounds(skip)).unwrap();
        assert_eq!((data.info.skipped, data.train.len(), data.test.len()), (1, 4, 5));
        assert!(notes.last().unwrap().contains("row 2 of `train` ("), "{notes:?}");
    }

    // Settings for the other kind of samples are refused, not ignored.
    let both = DataConfig { folder: Some(FolderConfig::default()), ..pad.clone() };
    assert!(fetched_as(&table(&recordings), &both).unwrap_err().to_string().contains("data.folder"));
    let label = SoundConfig { label: Some("{label}_*".into()), ..SoundConfig::default() };
    let error = fetched_as(&table(&recordings), &as_sounds(label)).unwrap_err().to_string();
    assert!(error.contains("data.sound.label"), "{error}");
    let pictures = self::table(&blue(0..2), "label", &Cells::Numbers(&[0, 1]), &plain());
    let error = fetched_as(&[("train/0", pictures)], &pad).unwrap_err().to_string();
    assert!(error.contains("data.sound") && error.contains("has images"), "{error}");
}
