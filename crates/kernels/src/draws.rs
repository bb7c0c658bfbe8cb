//! Draws from softmax distributions, one per row, by uniform numbers that the caller provides, and Gumbel
//! noise from random bits.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::buffer::{by_dtype, elements};
use crate::elementwise::TASK_LEN;
use crate::embedding::largest;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shapes::dims2;
use crate::simd::simd;
use crate::sums::{Lanes, maximum};

/// Size of the blocks of shares that are summed before the search inspects single shares.
const BLOCK: usize = 64;

/// Draws a position from softmax(logits / temperature) for each row: logits (N, V), and a number in [0, 1)
/// for each row, u. The position is the first at which the cumulative probability exceeds u. At temperature 0,
/// and below the least normal f32, it is that of the largest logit, the first if several are equal.
///
/// # Errors
/// [`Error::Input`] if there are no logits, or not exactly one number per row; [`Error::Argument`] if the
/// temperature is negative or not finite.
pub fn draw(logits: &Tensor, temperature: f64, uniforms: &[f32]) -> Result<Vec<u32>> {
    let (rows, width) = dims2("the logits of draws", logits)?;
    if width == 0 || rows != uniforms.len() {
        let expected = format!("({}, V), V not 0", uniforms.len());
        return Err(Error::Input { what: "the logits of draws", expected, found: logits.shape().clone() });
    }
    if !(temperature >= 0.0 && temperature.is_finite()) {
        let reason = format!("must be a number, zero or more, got {temperature}");
        return Err(Error::Argument { name: "temperature", reason });
    }
    let logits = logits.detach().to_device(&Device::Cpu)?;
    let logits = if logits.dtype() == DType::F64 { logits } else { logits.to_dtype(DType::F32)? };
    // The inverse of a lower temperature is no f32.
    if temperature < f64::from(f32::MIN_POSITIVE) {
        return Ok(largest(&logits)?.to_vec1()?);
    }
    Ok(by_dtype!(logits.dtype(), T => positions::<T>(&logits, width, temperature, uniforms)?))
}

/// Standard Gumbel values −ln(−ln u), each from 32 random bits, for u = (bits + ½) / 2³².
pub fn gumbel(bits: &[u32]) -> Vec<f32> {
    let mut out = vec![0f32; bits.len()];
    out.par_chunks_mut(TASK_LEN).zip(bits.par_chunks(TASK_LEN)).for_each(|(out, bits)| {
        simd(
            #[inline(always)]
            || {
                for (out, &bits) in out.iter_mut().zip(bits) {
                    *out = gumbel_of(bits);
                }
            },
        );
    });
    out
}

/// One value of [`gumbel`].
#[inline(always)]
pub fn gumbel_of(bits: u32) -> f32 {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    // u and 1 − u each keep the digits of an f32, so neither tail loses any.
    let (u, rest) = ((bits as f32 + 0.5) * UNIT, (!bits as f32 + 0.5) * UNIT);
    let (low, high) = (-Float::log(u), (rest / u).log1p_unit());
    -Float::log(if bits < 1 << 31 { low } else { high })
}

fn positions<T: Float>(
    x: &Tensor,
    width: usize,
    temperature: f64,
    uniforms: &[f32],
) -> candle_core::Result<Vec<u32>> {
    elements!(T; x);
    let factor = T::from_f64(temperature.recip());
    let mut out = vec![0u32; uniforms.len()];
    out.par_iter_mut().zip(x.par_chunks_exact(width)).zip(uniforms).for_each_init(
        || vec![T::ZERO; width],
        |shares, ((out, logits), uniform)| {
            *out = simd(
                #[inline(always)]
                || position(logits, shares, factor, *uniform),
            ) as u32;
        },
    );
    Ok(out)
}

/// The position that `uniform` falls on. Writes exp(factor · (logit − the largest logit)) to `shares`.
#[inline(always)]
fn position<T: Float>(logits: &[T], shares: &mut [T], factor: T, uniform: f32) -> usize {
    let top = maximum(logits);
    for (share, &logit) in shares.iter_mut().zip(logits) {
        *share = Float::exp((logit - top) * factor);
    }
    let all: f64 = shares.chunks(BLOCK).map(sum).sum();
    let mut left = f64::from(uniform) * all;
    let mut end = shares.len();
    for (number, block) in shares.chunks(BLOCK).enumerate() {
        let here = sum(block);
        if left >= here {
            left -= here;
            continue;
        }
        for (place, share) in block.iter().enumerate() {
            left -= share.to_f64();
            if left < 0.0 {
                return number * BLOCK + place;
            }
        }
        end = number * BLOCK + block.len();
        break;
    }
    // Only rounding errors lead here. Positions with a share of zero are never drawn.
    shares[..end].iter().rposition(|share| *share > T::ZERO).unwrap_or(0)
}

#[inline(always)]
fn sum<T: Float>(block: &[T]) -> f64 {
    let mut lanes = Lanes::ZERO;
    lanes.add(
        block,
        #[inline(always)]
        |share| share,
    );
    lanes.total()
}
