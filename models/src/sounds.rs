//! Sounds that models make: waveforms from what networks output, and the loss of real sounds in the same
//! round trip.

use std::sync::Arc;

use waxwork_core::collective::Collective;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::sharing::share;
use waxwork_core::{Device, Kind, Reconstruct, Tensor};
use waxwork_data::{Dataset, InMemory, Split, View};
use waxwork_eval::judging::{RoundTrip, Stages};
use waxwork_eval::likelihood::Estimate;
use waxwork_eval::{Metric, Protocol, arrays, evaluation_batches, evaluation_places};

use crate::Result;

/// Number of test sounds whose reconstructions become waveforms; each takes as long as many spectrograms.
const RECONSTRUCTED: usize = 300;

/// Turns a model's output, `(N, ..)` as networks see it, into samples in their stored form. For spectrograms,
/// the search for the phases of sound `i` starts from random ones of number `first + i`.
///
/// # Errors
/// If the samples are not of that kind, or a value is not finite.
pub fn at_rest(kind: &Kind, view: &View, samples: &Tensor, first: u64) -> Result<Vec<u8>> {
    match kind {
        Kind::Sound { .. } => Ok(view.sounds(kind, samples, first)?),
        Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Text { .. } | Kind::Clip { .. } => {
            Ok(arrays::at_rest(samples, kind)?)
        }
    }
}

/// The waveforms `(N, length)` of stored sounds, f32 in [−1, 1].
///
/// # Errors
/// If the bytes are not a whole number of sounds.
pub fn waveforms(sounds: &[u8], length: usize) -> waxwork_core::Result<Tensor> {
    let (samples, _) = sounds.as_chunks::<2>();
    let values: Vec<f32> =
        samples.iter().map(|sample| f32::from(i16::from_le_bytes(*sample)) / 32768.0).collect();
    Ok(Tensor::from_vec(values, (sounds.len() / (2 * length), length), &Device::Cpu)?)
}

/// The tensor, on the CPU, of stored samples for networks that see them through `view`.
///
/// # Errors
/// If the bytes are not a whole number of samples, or the view does not fit their kind.
pub fn seen(kind: &Kind, view: &View, bytes: Vec<u8>) -> Result<Tensor> {
    let split = Split::all(Arc::new(InMemory::new(kind.clone(), bytes, None)?))?.seen_as(view)?;
    Ok(split.batch(&(0..split.len()).collect::<Vec<_>>(), &Device::Cpu)?.inputs)
}

/// At most `count` real sounds of each split, converted by `view` and back. None for other kinds, and for
/// waveforms, which lose nothing. The processes of `collective` share the sounds, and all get the result.
///
/// # Errors
/// If the sounds cannot be read.
pub fn round_trip(
    view: &View,
    data: &Dataset,
    count: usize,
    collective: &dyn Collective,
    stages: &mut Stages<'_>,
) -> Result<Option<RoundTrip>> {
    let kind = &data.info.kind;
    if !matches!(view, View::Spectrogram(_)) {
        return Ok(None);
    }
    let mut trip = |split: &Split| -> Result<(Split, Vec<f64>)> {
        let split = split.subset(count).seen_as(view)?;
        let work = |number: usize| -> Result<(Vec<u8>, Vec<f64>)> {
            let places = evaluation_places(&split, number);
            let (real, batch) = (split.bytes(&places)?, split.batch(&places, &Device::Cpu)?);
            let made = view.sounds(kind, &batch.inputs, (number * EVALUATION_BATCH) as u64)?;
            let convergence = view.convergence(kind, &real, &made)?;
            Ok((made, convergence))
        };
        let (mut back, mut convergence) = (Vec::new(), Vec::new());
        share(
            collective,
            evaluation_batches(&split),
            work,
            |(made, found): (Vec<u8>, Vec<f64>)| -> Result<()> {
                back.extend(made);
                convergence.extend(found);
                stages("converting real sounds", convergence.len(), split.len());
                Ok(())
            },
        )?;
        let back = InMemory::new(kind.clone(), back, split.labels())?;
        Ok((Split::all(Arc::new(back))?.seen_as(&data.info.view)?, convergence))
    };
    let (test, convergence) = trip(&data.test)?;
    let (train, _) = trip(&data.train)?;
    Ok(Some(RoundTrip { test, train, convergence }))
}

/// The distance of reconstructed test sounds from the real ones, and that of real sounds after the same round
/// trip; empty for other kinds. The model is on `device`. The processes of `collective` share the sounds.
///
/// # Errors
/// If the sounds cannot be read.
pub fn reconstructions(
    reconstructor: &dyn Reconstruct,
    view: &View,
    (test, device): (&Split, &Device),
    collective: &dyn Collective,
    protocol: &Protocol,
    stages: &mut Stages<'_>,
) -> Result<Option<Metric>> {
    if !matches!(view, View::Spectrogram(_)) {
        return Ok(None);
    }
    let (kind, test) = (test.kind().clone(), test.subset(RECONSTRUCTED));
    let work = |number: usize| -> Result<(Vec<f64>, Vec<f64>)> {
        let places = evaluation_places(&test, number);
        let (real, batch) = (test.bytes(&places)?, test.batch(&places, device)?);
        let made = reconstructor.reconstruct(&batch.inputs, &batch.condition)?;
        let convergence = |output: &Tensor| -> Result<Vec<f64>> {
            let sounds = view.sounds(&kind, output, (number * EVALUATION_BATCH) as u64)?;
            Ok(view.convergence(&kind, &real, &sounds)?)
        };
        Ok((convergence(&made)?, convergence(&batch.inputs)?))
    };
    let (mut of_made, mut of_real) = (Vec::new(), Vec::new());
    share(collective, evaluation_batches(&test), work, |(made, real): (Vec<f64>, Vec<f64>)| -> Result<()> {
        of_made.extend(made);
        of_real.extend(real);
        stages("measuring reconstructions", of_made.len(), test.len());
        Ok(())
    })?;
    let (made, real) = (Estimate::of(&of_made), Estimate::of(&of_real));
    let mut protocol = protocol.clone();
    protocol.insert("n_real".into(), test.len().to_string());
    protocol.insert("interval".into(), "95 %, ± 1.96 standard errors".into());
    let metric = Metric::new("reconstruction_convergence", made.mean, &protocol);
    Ok(Some(metric.within(made.interval()).floor(real.mean).lower()))
}
