//! Loads a data set and says what it is and how long that took: `describe NAME [DIR [SIZE]]`, where SIZE is
//! that of the images of an image folder.

use std::error::Error;
use std::time::Instant;

use candle_core::Device;
use waxwork_data::{DataConfig, FolderConfig, Loader, LoaderConfig, load};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: describe NAME [DIR [SIZE]]")?;
    let mut config = DataConfig { dir: arguments.next().map(Into::into), ..DataConfig::named(name) };
    if let Some(size) = arguments.next() {
        config.folder = Some(FolderConfig { size: Some(size.parse()?), ..FolderConfig::default() });
    }

    let start = Instant::now();
    let data = load(&config)?;
    let loaded = start.elapsed();
    println!("{}: {}, classes {:?}", data.info.name, data.info.kind, data.info.classes);
    println!("train {:?}, validation {:?}, test {:?}", data.train, data.validation, data.test);
    println!("identity {}, {} files skipped", data.info.identity, data.info.skipped);

    let mut loader = Loader::new(&data.train, &LoaderConfig::new(128, 0), &Device::Cpu)?;
    let first = loader.next().ok_or("no batch")??;
    println!("loaded in {loaded:.2?}, first batch of {} after {:.2?}", first.len(), start.elapsed());
    for epoch in 0..2 {
        let start = Instant::now();
        let steps = loader.batches_per_epoch();
        for _ in 0..steps {
            loader.next().ok_or("no batch")??;
        }
        let rate = (steps * 128) as f64 / start.elapsed().as_secs_f64();
        println!("epoch {epoch}: {rate:.0} images/s");
    }
    Ok(())
}
