//! The page that makes images in a browser: a model, and the WebAssembly module that samples it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::json;
use waxwork_core::onnx::Part;
use waxwork_core::{Kind, Tensor, store};
use waxwork_models::{Classes, Run};

use crate::failure::Failure;
use crate::pages;

/// The file name of the module, next to the program.
const MODULE: &str = "waxwork.wasm";

/// What the page shows, and its embedded files as gzip in base64.
#[derive(Serialize)]
struct SamplerPage {
    name: String,
    description: String,
    family: String,
    version: &'static str,
    repository: &'static str,
    page: Form,
    code: String,
    model: String,
    weights: String,
}

/// What the page's script needs to know.
#[derive(Serialize)]
struct Form {
    width: usize,
    height: usize,
    latent_dim: usize,
    classes: Vec<String>,
}

/// A page that draws samples of `run` with the module at `wasm`, or with the one next to the program.
///
/// # Errors
/// If the run generates no images, its latents are codes, or the module is missing or is not
/// WebAssembly.
pub(crate) fn page(run: &Run, wasm: Option<&Path>) -> Result<String, Failure> {
    let info = run.model.info();
    // Networks see a sound as an image if they learn its spectrogram.
    let (Kind::Image(_), Some(image)) = (run.info.kind(), info.sample.image()) else {
        return Err(Failure::new(format!("a page shows images, but this run makes {}", run.info.kind())));
    };
    if info.latent.code_count().is_some() {
        return Err(Failure::new(
            "a page varies real-valued latents, but the latents of this run are codes: use `waxwork sample`",
        ));
    }
    if info.condition.is_part() {
        return Err(Failure::new(
            "a page generates images from latent vectors alone, but this model completes images: use `waxwork complete`",
        ));
    }
    let code = module(wasm)?;
    let description = json!({"model": run.recipe.model, "info": info}).to_string();
    let classes = Classes::of(run);
    let shown = SamplerPage {
        name: run.folder.name(),
        description: run.recipe.description.clone(),
        family: info.family.clone(),
        version: env!("CARGO_PKG_VERSION"),
        repository: env!("CARGO_PKG_REPOSITORY"),
        page: Form {
            width: image.width,
            height: image.height,
            latent_dim: info.latent_dim(),
            classes: (0..classes.len() as u32).map(|label| classes.name(label)).collect(),
        },
        code: packed(&code)?,
        model: packed(description.as_bytes())?,
        weights: packed(&store::encode(&sampling_weights(run))?)?,
    };
    pages::page("sampler.html", &shown)
}

/// The bytes of the WebAssembly module.
fn module(asked: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let path = asked.map(Path::to_owned).or_else(beside_the_program);
    let Some(path) = path.filter(|path| path.exists()) else {
        let place = asked.map_or_else(
            || format!("{MODULE} is not next to the program"),
            |path| format!("there is no {}", path.display()),
        );
        return Err(Failure::new(format!(
            "{place}: take it from a release archive or build it with `cargo xtask web`, and name it with --wasm"
        )));
    };
    let bytes = store::read(&path)?;
    if !bytes.starts_with(b"\0asm") {
        return Err(Failure::new(format!("{}: this is not a WebAssembly module", path.display())));
    }
    Ok(bytes)
}

fn beside_the_program() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(MODULE))
}

/// The tensors of the parts that make samples. A prior may need the encoder.
fn sampling_weights(run: &Run) -> BTreeMap<String, Tensor> {
    let with_encoder = run.recipe.model.samples_with_encoder();
    let parts = run.model.parts().iter().filter(|part| with_encoder || **part != Part::Encoder);
    let starts: Vec<String> = parts.map(|part| format!("{}.", part.name())).collect();
    let tensors = run.model.params().tensors().into_iter();
    tensors.filter(|(name, _)| starts.iter().any(|start| name.starts_with(start))).collect()
}

/// `bytes` as gzip in base64. The same bytes give the same text.
fn packed(bytes: &[u8]) -> Result<String, Failure> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let packed = gzip.write_all(bytes).and_then(|()| gzip.finish());
    let packed = packed.map_err(|error| Failure::new(format!("failed to compress the page: {error}")))?;
    Ok(BASE64_STANDARD.encode(packed))
}
