//! `waxwork rate`: a page that asks a person which of two images, clips or sounds is real.

use serde_json::json;
use waxwork_core::collective::OneProcess;
use waxwork_core::rng::Stream;
use waxwork_core::{Device, Kind, Tensor, device, store};
use waxwork_data::Split;
use waxwork_eval::wilson;
use waxwork_media::{grid, preview, wav};
use waxwork_models::evaluation::samples_of;

use crate::args::RateArguments;
use crate::commands::sample::{data, open};
use crate::failure::Failure;
use crate::output::Stages;
use crate::pages;

pub(crate) fn run(arguments: &RateArguments) -> Result<String, Failure> {
    let device = device::open(&arguments.device)?;
    let run = open(&arguments.run, &device)?;
    let test = data(&run, arguments.data_dir.as_ref())?.test;
    let kind = run.info.kind();
    if matches!(kind, Kind::Points { .. } | Kind::Rows(_) | Kind::Text { .. }) {
        return Err(Failure::new(format!(
            "this run makes {kind}: only images, clips and sounds can be rated by a person"
        )));
    }
    let pairs = arguments.count;
    if pairs == 0 || pairs > test.len() {
        return Err(Failure::new(format!(
            "-n must be 1 to {}, the number of real {} to show, but is {pairs}",
            test.len(),
            kind.plural()
        )));
    }
    // Real samples and their sides are drawn at random, so that an earlier page does not reveal them.
    let mut order: Vec<usize> = (0..test.len()).collect();
    let stream = Stream::new(arguments.seed, "rate", 0);
    let mut draws = stream.at(0);
    for place in 0..pairs {
        let other = place + draws.below((test.len() - place) as u32) as usize;
        order.swap(place, other);
    }
    let mut stages = Stages::default();
    let mut progress = |what, done, all| stages.set(what, done, all);
    let generated = samples_of(&run, pairs, arguments.seed, &OneProcess, &mut progress)?;
    stages.finish();
    let generated = generated.seen_as(&run.info.view())?;
    let mut questions = Vec::new();
    for (place, &chosen) in order.iter().take(pairs).enumerate() {
        let (real, made) = (picture(&test, chosen)?, picture(&generated, place)?);
        let (real_sound, made_sound) = (sound(&test, chosen)?, sound(&generated, place)?);
        let left = draws.below(2) == 0;
        questions.push(if left {
            (real, made, "left", real_sound, made_sound)
        } else {
            (made, real, "right", made_sound, real_sound)
        });
    }
    let intervals: Vec<[f64; 2]> = (0..=pairs).map(|wrong| wilson(wrong, pairs)).collect();
    let shown = json!({"run": run.folder.name(), "what": kind.plural(), "questions": questions, "intervals": intervals});
    let page = pages::page("rate.html", &shown)?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.run.join("rate.html"));
    store::write(&out, page.as_bytes())?;
    Ok(format!("{pairs} questions in {}: open it in a browser\n", out.display()))
}

/// An image, a clip that plays, or the spectrogram of a sound, as a page shows it.
fn picture(split: &Split, place: usize) -> Result<String, Failure> {
    let samples: Tensor = split.batch(&[place], &Device::Cpu)?.inputs;
    let picture = match split.kind() {
        Kind::Sound { .. } => preview::picture(split.kind(), &samples, 1)?,
        Kind::Clip { .. } => return Ok(pages::address(&preview::png(split.kind(), &samples, 1)?)),
        Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Text { .. } => {
            grid::single(&samples.get(0)?)?
        }
    };
    Ok(pages::address(&picture.png()?))
}

/// A sound as a page plays it.
fn sound(split: &Split, place: usize) -> Result<Option<String>, Failure> {
    let Kind::Sound { rate, .. } = *split.kind() else { return Ok(None) };
    Ok(Some(pages::sound_address(&wav::file(rate, &split.bytes(&[place])?)?)))
}
