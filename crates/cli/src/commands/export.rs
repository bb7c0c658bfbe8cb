//! `waxwork export`: writes a part of a model as a file that other programs can run.

use waxwork_core::onnx::Part;
use waxwork_core::{Device, store};

use crate::args::{ExportArguments, ExportFormat, ExportPart};
use crate::commands::sample::open;
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
    let ExportFormat::Onnx = arguments.format;
    let (part, bytes) = run.onnx(part)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join(format!("{}.onnx", part.name())));
    store::write(&out, &bytes)?;
    Ok(format!("wrote the {} to {} ({})\n", part.name(), out.display(), output::bytes(bytes.len() as u64)))
}
