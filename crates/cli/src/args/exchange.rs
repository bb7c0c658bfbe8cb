//! Arguments of the commands that exchange models: `export`, `import`, `pull` and `push`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use clap_complete::ArgValueCompleter;

use super::shared::{RunArg, SetArg};
use crate::completion;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork export runs/RUN                                    the generator or decoder
  waxwork export runs/RUN --part encoder --out encoder.onnx
  waxwork export runs/RUN --format web                       a page that makes images in the browser

Inputs and outputs of ONNX; N is a dynamic dimension:
  generator, decoder   latents (N, latent_dim) f32 → images (N,C,H,W) f32 in [0,1]
  decoder of texts     latents, tokens (N) int64, state (N,S) → logits (N,V), next_state (N,S),
                       start (N,S)
  encoder              images → mean, log_var (N, latent_dim)
  prior                noise (N, latent_dim) → latents
  Conditional models also take `labels`, (N) int64.

A page is one file that contains the model and a WebAssembly module, `waxwork.wasm`. Release
archives contain the module next to the program; `cargo xtask web` builds it from source.")]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Write this format
    #[arg(long, value_enum, default_value_t = ExportFormat::Onnx)]
    pub(crate) format: ExportFormat,
    /// Export this part
    ///
    /// The default is the part that makes images: the generator or the decoder.
    #[arg(long, value_enum)]
    pub(crate) part: Option<ExportPart>,
    /// Write to FILE [default: RUN/PART.onnx or RUN/sampler.html]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Use this WebAssembly module for a page [default: waxwork.wasm next to the program]
    #[arg(long, value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub(crate) wasm: Option<PathBuf>,
}

/// A file format of models.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportFormat {
    /// ONNX, opset 17
    Onnx,
    /// A page that makes images in a browser, without network access
    Web,
}

/// A part of a model.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportPart {
    /// From latents to images (GAN)
    Generator,
    /// From latents to images (VAE)
    Decoder,
    /// From images to latents (VAE)
    Encoder,
    /// From noise to latents, if the prior is not a standard normal
    Prior,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork import state.safetensors --recipe vae-mnist
  waxwork import state.safetensors --recipe my-recipe.toml --out runs/theirs

The file is a PyTorch state dict, saved with safetensors: save_file(model.state_dict(), path).
Its names and shapes must be those of the recipe's model; python/README.md shows PyTorch modules
that have them.")]
pub(crate) struct ImportArguments {
    /// Tensors of a trained model
    #[arg(value_name = "FILE.safetensors", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Use the model of this recipe: a name or a TOML file
    ///
    /// `waxwork recipes list` lists the names.
    #[arg(long, value_name = "RECIPE|FILE.toml", add = ArgValueCompleter::new(completion::recipes))]
    pub(crate) recipe: String,
    #[command(flatten)]
    pub(crate) set: SetArg,
    /// Write the run to the new folder RUN [default: runs/FILE-TIME]
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork pull OWNER/NAME
  waxwork pull OWNER/NAME --revision v2 --out runs/theirs

Downloads only the files of a run, and checks them against the Hub's hashes. An interrupted
download resumes.

Environment:
  HF_TOKEN         token for private repositories [default: that of `hf auth login`]
  HF_HOME          cache folder
  HF_ENDPOINT      address of another server
  HF_HUB_OFFLINE   1 uses only the cache")]
pub(crate) struct PullArguments {
    /// Repository on the Hugging Face Hub
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repository: String,
    /// Get this branch, tag or commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    pub(crate) revision: String,
    /// Write the run to the new folder RUN [default: runs/NAME]
    #[arg(long, value_name = "RUN", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  waxwork evaluate runs/RUN && waxwork push runs/RUN OWNER/NAME
  waxwork push runs/RUN OWNER/NAME --private

Uploads the weights, recipe.toml, run.json, the metrics, the last sample grid, and a model card
(README.md) with the results of `waxwork evaluate`. HF_TOKEN, or the token of `hf auth login`,
needs write access.")]
pub(crate) struct PushArguments {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Repository on the Hugging Face Hub; created if it does not exist
    #[arg(value_name = "OWNER/NAME")]
    pub(crate) repository: String,
    /// Make a new repository private
    #[arg(long)]
    pub(crate) private: bool,
}
