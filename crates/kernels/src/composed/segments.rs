//! Heads and likelihoods of rows that are cut into segments, segment by segment.

use candle_core::{D, Result, Tensor};

use crate::segment_layout::{HALF_LOG_TAU, SegmentKind, Segments};

use super::pointwise::{exp, log};

/// Does what the kernel of this name does. Candle's tape differentiates it.
pub(crate) fn activate_segments(x: &Tensor, segments: &Segments, temperature: f64) -> Result<Tensor> {
    let (mut start, mut parts) = (0, Vec::with_capacity(segments.parts().len()));
    for &(kind, width) in segments.parts() {
        let values = x.narrow(D::Minus1, start, width)?;
        start += width;
        parts.push(match kind {
            SegmentKind::Real => values,
            SegmentKind::Signed => values.tanh()?,
            SegmentKind::Choice => softmax(&values.affine(temperature.recip(), 0.0)?)?,
        });
    }
    Tensor::cat(&parts, D::Minus1)
}

/// Does what the kernel of this name does. Candle's tape differentiates it.
pub(crate) fn segment_log_likelihood(
    output: &Tensor,
    targets: &Tensor,
    log_scale: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    let (mut start, mut scales, mut total) = (0, 0, None::<Tensor>);
    for &(kind, width) in segments.parts() {
        let (values, wanted) = (output.narrow(1, start, width)?, targets.narrow(1, start, width)?);
        start += width;
        let part = if kind == SegmentKind::Choice {
            let shifted = values.broadcast_sub(&values.max_keepdim(1)?.detach())?;
            let log_sum = log(&exp(&shifted)?.sum_keepdim(1)?)?;
            (wanted * shifted.broadcast_sub(&log_sum)?)?.sum(1)?
        } else {
            let scale = log_scale.narrow(0, scales, width)?;
            scales += width;
            let mean = if kind == SegmentKind::Signed { values.tanh()? } else { values };
            let z = (wanted - mean)?.broadcast_mul(&exp(&scale.neg()?)?)?;
            let cost = z.sqr()?.affine(0.5, HALF_LOG_TAU)?.broadcast_add(&scale)?;
            let cost = match heard(segments, scales - width..scales, targets)? {
                Some(heard) => (cost * heard)?,
                None => cost,
            };
            cost.sum(1)?.neg()?
        };
        total = Some(match total {
            Some(total) => (total + part)?,
            None => part,
        });
    }
    match total {
        Some(total) => Ok(total),
        None => candle_core::bail!("there are no segments"),
    }
}

/// A mask `(N, numbers)`: 1 where a number counts in its row, 0 where a choice silences it; None if all
/// numbers always count.
fn heard(segments: &Segments, numbers: std::ops::Range<usize>, targets: &Tensor) -> Result<Option<Tensor>> {
    let Some(silenced_by) = segments.silenced_by().get(numbers) else { return Ok(None) };
    let targets = targets.detach();
    let column = |places: &Vec<usize>| {
        let silent = Tensor::zeros((targets.dim(0)?, 1), targets.dtype(), targets.device())?;
        let silent = places.iter().try_fold(silent, |sum, place| sum + targets.narrow(1, *place, 1)?)?;
        silent.affine(-1.0, 1.0)
    };
    let columns: Vec<Tensor> = silenced_by.iter().map(column).collect::<Result<_>>()?;
    Tensor::cat(&columns, 1).map(Some)
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let powers = exp(&x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?)?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}
