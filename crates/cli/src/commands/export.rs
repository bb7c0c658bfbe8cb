//! `waxwork export`: writes a part of a model as a file that other programs can run.

use waxwork_core::onnx::Part;
use waxwork_core::{Device, store};

use crate::args::{ExportArguments, ExportFormat, ExportPart};
use crate::commands::sample::open;
use crate::commands::sampler_page;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(arguments: &ExportArguments) -> Result<String, Failure> {
    let run = open(&arguments.run, &Device::Cpu)?;
    let part = arguments.part.map(|part| match part {
        ExportPart::Generator => Part::Generator,
        ExportPart::Decoder => Part::Decoder,
        ExportPart::Encoder => Part::Encoder,
        ExportPart::Prior => Part::Prior,
    });
    match arguments.format {
        ExportFormat::Onnx => {
            if arguments.wasm.is_some() {
                return Err(Failure::usage("--wasm needs --format web"));
            }
            let (part, bytes) = run.onnx(part)?;
            let usual = || arguments.run.join(format!("{}.onnx", part.name()));
            let out = arguments.out.clone().unwrap_or_else(usual);
            store::write(&out, &bytes)?;
            let size = output::bytes(bytes.len() as u64);
            Ok(format!("wrote the {} to {} ({size})\n", part.name(), out.display()))
        }
        ExportFormat::Web => {
            if part.is_some() {
                return Err(Failure::usage(
                    "--part is for ONNX: a page always contains every part that makes samples",
                ));
            }
            let page = sampler_page::page(&run, arguments.wasm.as_deref())?;
            let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("sampler.html"));
            store::write(&out, page.as_bytes())?;
            let size = output::bytes(page.len() as u64);
            Ok(format!("{} ({size}): open it in a browser\n", out.display()))
        }
    }
}
