//! Draws a sheet of an embedded data set: `contact_sheet digits|shapes OUT.png`. One row a hundred images.

use std::error::Error;
use std::time::Instant;

use waxwork_data::embedded::{Digits, Part, Shapes};
use waxwork_data::{Source, Split};

const COLUMNS: usize = 20;
const ROWS: usize = 14;
const ZOOM: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: contact_sheet digits|shapes OUT.png".into());
    };
    let source = |part| -> Result<std::sync::Arc<dyn Source>, Box<dyn Error>> {
        match name.as_str() {
            "digits" => Ok(std::sync::Arc::new(Digits::new(0, part))),
            "shapes" => Ok(std::sync::Arc::new(Shapes::new(0, part))),
            other => Err(format!("no generator `{other}`").into()),
        }
    };
    let start = Instant::now();
    for part in [Part::Train, Part::Test] {
        let split = Split::all(source(part)?)?;
        let pixels = split.bytes(&(0..split.len()).collect::<Vec<_>>())?;
        let mean = pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64 / 255.0;
        println!("{part:?}: {} images, mean intensity {mean:.4}", split.len());
    }
    println!("drawn in {:.2} s with {} threads", start.elapsed().as_secs_f64(), rayon::current_num_threads());

    let split = Split::all(source(Part::Train)?)?;
    let shape = split.kind().image().ok_or("only images can be drawn")?;
    let pixels = split.bytes(&(0..COLUMNS * ROWS).collect::<Vec<_>>())?;
    let (width, height) = (COLUMNS * shape.width * ZOOM, ROWS * shape.height * ZOOM);
    let sheet = image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize / ZOOM, y as usize / ZOOM);
        let index = y / shape.height * COLUMNS + x / shape.width;
        let offset = (y % shape.height) * shape.width + x % shape.width;
        let value = |c: usize| {
            let channel = c.min(shape.channels - 1);
            pixels[index * shape.len() + channel * shape.height * shape.width + offset]
        };
        image::Rgb([value(0), value(1), value(2)])
    });
    sheet.save(path)?;
    Ok(())
}
