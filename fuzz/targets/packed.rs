//! Packed files of a data set, as the cache has them: a small MNIST.
#![no_main]

use std::fs;

use image::GrayImage;
use libfuzzer_sys::fuzz_target;
use waxwork_data::{DataConfig, FolderConfig, load};
use waxwork_fuzz::{scratch, seed};

/// The packed file that `load` makes of a folder: 20 images of 28×28, ten classes.
fn pack() -> Vec<u8> {
    let pictures = scratch().join("pictures");
    for picture in 0..20u8 {
        let class = pictures.join((picture % 10).to_string());
        fs::create_dir_all(&class).unwrap();
        GrayImage::from_pixel(28, 28, image::Luma([picture]))
            .save(class.join(format!("{picture}.png")))
            .unwrap();
    }
    let folder = Some(FolderConfig { size: Some(28), grey: true, skip_unreadable: false });
    load(&DataConfig { dir: Some(pictures), folder, ..DataConfig::named("folder") }).unwrap();
    let cache = waxwork_data::files::cache_dir().unwrap().join("folders");
    // The cache also has a file of facts about the folder.
    let entries = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap());
    let newest = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "waxpack"));
    let newest = newest.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap()).unwrap();
    fs::read(newest.path()).unwrap()
}

fuzz_target!(
    init: seed("packed", "twenty", &pack()),
    |bytes: &[u8]| {
        let dir = scratch().join("packed");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("mnist.waxpack"), bytes).unwrap();
        if let Ok(data) = load(&DataConfig { dir: Some(dir), validation: Some(1), ..DataConfig::named("mnist") }) {
            data.train.images_u8(&[0]).unwrap();
            data.test.images_u8(&[data.test.len() - 1]).unwrap();
        }
    }
);
