//! Parquet files of images, as the Hub has them.
#![no_main]

use std::fs;
use std::io::Cursor;
use std::panic;
use std::sync::Arc;

use image::{DynamicImage, ImageFormat, RgbImage};
use libfuzzer_sys::fuzz_target;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use waxwork_core::ImageShape;
use waxwork_fuzz::{scratch, seed};

fn file(compression: Compression) -> Vec<u8> {
    let schema = "message schema { optional group img { optional binary bytes; } optional int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut png = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(4, 4)).write_to(&mut png, ImageFormat::Png).unwrap();
    let pictures = vec![ByteArray::from(png.into_inner()); 3];
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut out = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut out, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&pictures, Some(&[2, 2, 2]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[0, 1, 2], Some(&[1, 1, 1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    out
}

fuzz_target!(
    init: {
        // Our reader catches panics of the parquet crate, so a panic must unwind. A panic that nobody catches
        // still ends the fuzzer.
        panic::set_hook(Box::new(|_| {}));
        seed("parquet", "plain", &file(Compression::UNCOMPRESSED));
        seed("parquet", "snappy", &file(Compression::SNAPPY));
    },
    |bytes: &[u8]| {
        let path = scratch().join("pictures.parquet");
        fs::write(&path, bytes).unwrap();
        let (shape, mut pictures) = (ImageShape::new(3, 4, 4), 0);
        _ = waxwork_data::parquet::pictures(&path, shape, 3, |pixels, label| {
            assert!(pixels.len() == shape.len() && label < 3);
            pictures += 1;
            // As for a data set of ten images.
            if pictures < 10 { Ok(()) } else { Err(waxwork_data::Error::OutOfRange { index: 10, len: 10 }) }
        });
    }
);
