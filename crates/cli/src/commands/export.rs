//! `waxwork export`: a part of a model as a file that other programs run.

use waxwork_core::onnx::Part;
use waxwork_core::{Device, store};

use crate::args::{ExportArguments, ExportFormat, ExportPart};
use crate::commands::sample::open;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(arguments: &ExportArguments) -> Result<String, Failure> {
    let run = open(&arguments.run, &Device::Cpu)?;
    let part = match arguments.part {
        Some(ExportPart::Generator) => Part::Generator,
        Some(ExportPart::Decoder) => Part::Decoder,
        Some(ExportPart::Encoder) => Part::Encoder,
        Some(ExportPart::Prior) => Part::Prior,
        None => {
            let nothing = || Failure::new(format!("{} models have nothing to export", run.info.model.family));
            *run.model.parts().first().ok_or_else(nothing)?
        }
    };
    if run.info.untrained.iter().any(|untrained| untrained == part.name()) {
        return Err(Failure::new(format!("this run was imported without its {}", part.name())));
    }
    let ExportFormat::Onnx = arguments.format;
    let bytes = run.model.graph(part)?.encode()?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join(format!("{}.onnx", part.name())));
    store::write(&out, &bytes)?;
    Ok(format!("the {} in {} ({})\n", part.name(), out.display(), output::bytes(bytes.len() as u64)))
}
