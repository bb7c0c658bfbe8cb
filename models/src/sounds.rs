//! Sounds that models make: waveforms out of what networks see, and what real sounds lose on the same way.

use std::sync::Arc;

use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::{Device, Kind, Reconstruct, Tensor};
use waxwork_data::{Dataset, InMemory, Split, View};
use waxwork_eval::judging::{RoundTrip, Stages};
use waxwork_eval::likelihood::Estimate;
use waxwork_eval::{Metric, Protocol, arrays};

use crate::Result;

/// Test sounds whose reconstructions are made audible: each takes as long as many that are only seen.
const RECONSTRUCTED: usize = 300;

/// What a model makes, `(N, ..)` as networks see it, as samples at rest. Sounds of a spectrogram begin their search for phases as numbers
/// `first`, `first + 1` …
///
/// # Errors
/// If the samples are not of that kind, or a value is not finite.
pub fn at_rest(kind: &Kind, view: &View, samples: &Tensor, first: u64) -> Result<Vec<u8>> {
    match kind {
        Kind::Sound { .. } => Ok(view.sounds(kind, samples, first)?),
        Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Text { .. } => {
            Ok(arrays::at_rest(samples, kind)?)
        }
    }
}

/// What samples at rest look like to networks that see `view` of them, on the CPU.
///
/// # Errors
/// If the bytes are not whole samples, or the view is not one of such.
pub fn seen(kind: &Kind, view: &View, bytes: Vec<u8>) -> Result<Tensor> {
    let split = Split::all(Arc::new(InMemory::new(kind.clone(), bytes, None)?))?.seen_as(view)?;
    Ok(split.batch(&(0..split.len()).collect::<Vec<_>>(), &Device::Cpu)?.inputs)
}

/// At most `count` real sounds of each part that went through `view` and back; None for other kinds, and for waveforms, which lose nothing.
///
/// # Errors
/// If the sounds cannot be read.
pub fn round_trip(
    view: &View,
    data: &Dataset,
    count: usize,
    stages: &mut Stages<'_>,
) -> Result<Option<RoundTrip>> {
    let kind = &data.info.kind;
    if !matches!(view, View::Spectrogram(_)) {
        return Ok(None);
    }
    let mut trip = |split: &Split| -> Result<(Split, Vec<f64>)> {
        let split = split.subset(count).seen_as(view)?;
        let (mut back, mut convergence) = (Vec::new(), Vec::new());
        let all: Vec<usize> = (0..split.len()).collect();
        for places in all.chunks(EVALUATION_BATCH) {
            let (real, batch) = (split.bytes(places)?, split.batch(places, &Device::Cpu)?);
            let first = places.first().copied().unwrap_or_default();
            let made = view.sounds(kind, &batch.inputs, first as u64)?;
            convergence.extend(view.convergence(kind, &real, &made)?);
            back.extend(made);
            stages("real sounds there and back", first + places.len(), split.len());
        }
        let back = InMemory::new(kind.clone(), back, split.labels())?;
        Ok((Split::all(Arc::new(back))?.seen_as(&data.info.view)?, convergence))
    };
    let (test, convergence) = trip(&data.test)?;
    let (train, _) = trip(&data.train)?;
    Ok(Some(RoundTrip { test, train, convergence }))
}

/// How far reconstructed test sounds are from the real ones, beside what real ones lose on the same way; nothing for other kinds.
///
/// # Errors
/// If the sounds cannot be read.
pub fn reconstructions(
    reconstructor: &dyn Reconstruct,
    view: &View,
    test: &Split,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Option<Metric>> {
    if !matches!(view, View::Spectrogram(_)) {
        return Ok(None);
    }
    let (kind, test) = (test.kind().clone(), test.subset(RECONSTRUCTED));
    let (mut of_made, mut of_real) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..test.len()).collect();
    for places in all.chunks(EVALUATION_BATCH) {
        let (real, batch) = (test.bytes(places)?, test.batch(places, &Device::Cpu)?);
        let first = places.first().copied().unwrap_or_default();
        let made = reconstructor.reconstruct(&batch.inputs, &batch.condition)?;
        for (output, found) in [(&made, &mut of_made), (&batch.inputs, &mut of_real)] {
            found.extend(view.convergence(&kind, &real, &view.sounds(&kind, output, first as u64)?)?);
        }
        stages("listening to reconstructions", first + places.len(), test.len());
    }
    let (made, real) = (Estimate::of(&of_made), Estimate::of(&of_real));
    let mut protocol = protocol.clone();
    protocol.insert("n_real".into(), test.len().to_string());
    protocol.insert("interval".into(), "95 %, of 1.96 standard errors".into());
    let metric = Metric::new("reconstruction_convergence", made.mean, &protocol);
    Ok(Some(metric.within(made.interval()).floor(real.mean).lower()))
}
