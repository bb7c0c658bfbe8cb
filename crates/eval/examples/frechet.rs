//! The Fréchet distance of two feature matrices, `a` and `b` of a safetensors file, and how long it took.
use std::path::PathBuf;
use std::time::Instant;

use waxwork_core::{Device, store};
use waxwork_eval::{Features, frechet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path: PathBuf = std::env::args().nth(1).ok_or("usage: frechet FILE.safetensors")?.into();
    let tensors = store::load(&path, &Device::Cpu)?;
    let features = |name: &'static str| -> Result<Features, Box<dyn std::error::Error>> {
        Ok(Features::new(name, tensors.get(name).ok_or("the file needs tensors `a` and `b`")?)?)
    };
    let (a, b) = (features("a")?, features("b")?);
    for _ in 0..2 {
        let began = Instant::now();
        let distance = frechet(&a, &b)?;
        println!("{distance} in {:.2} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}
