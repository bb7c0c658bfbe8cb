//! Rows of a table by number, such as the embeddings of tokens, and the numbers of one-hot rows.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::elementwise::TASK_LEN;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::shapes::dims2;
use crate::simd::simd;
use crate::sums::maximum;
use crate::tape;

/// The rows of a table `(V, E)` with these numbers, u32 of any shape `(..)` → `(.., E)`. Differentiable in
/// the table: the gradients of a row are added in the order of the numbers.
///
/// # Errors
/// [`Error::Input`] if the table is not a matrix; [`Error::Argument`] if a number has no row.
pub fn embedding(table: &Tensor, numbers: &Tensor) -> Result<Tensor> {
    let (rows, width) = dims2("the table of an embedding", table)?;
    let shape = Shape::from([numbers.dims(), &[width]].concat());
    if !runs_on_cpu_kernels(table.device()) {
        return Ok(composed::embedding(table, &numbers.flatten_all()?)?.reshape(shape)?);
    }
    let op = EmbeddingOp { numbers: read(numbers, rows)?, shape };
    Ok(tape::apply1(&table.contiguous()?, op)?)
}

/// The position of the largest value along the last dimension, the first if several are equal: `(.., V)` →
/// `(..)` u32. For one-hot rows these are the positions of the ones. Not on the tape.
///
/// # Errors
/// [`Error::Input`] if there are no values.
pub fn largest(x: &Tensor) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    if width == 0 {
        let expected = "(.., V), V not 0".into();
        return Err(Error::Input {
            what: "values of which one is the largest",
            expected,
            found: x.shape().clone(),
        });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return Ok(composed::largest(&x.detach())?);
    }
    let numbers = by_dtype!(x.dtype(), T => positions::<T>(&x.detach(), width)?);
    Ok(Tensor::from_vec(numbers, &x.dims()[..x.rank() - 1], &Device::Cpu)?)
}

fn positions<T: Float>(x: &Tensor, width: usize) -> candle_core::Result<Vec<u32>> {
    elements!(T; x);
    let rows = (TASK_LEN / width).max(1);
    let mut out = vec![0u32; x.len() / width];
    out.par_chunks_mut(rows).zip(x.par_chunks(rows * width)).for_each(|(out, x)| {
        for (out, row) in out.iter_mut().zip(x.chunks_exact(width)) {
            let top = simd(
                #[inline(always)]
                || maximum(row),
            );
            *out = row.iter().position(|value| *value == top).unwrap_or(0) as u32;
        }
    });
    Ok(out)
}

/// Reads numbers below `count` from a tensor.
pub(crate) fn read(numbers: &Tensor, count: usize) -> Result<Arc<[u32]>> {
    if numbers.dtype() != DType::U32 {
        let (expected, found) = ("u32".into(), numbers.shape().clone());
        return Err(Error::Input { what: "a tensor of numbers of another type", expected, found });
    }
    let numbers = numbers.flatten_all()?.to_vec1::<u32>()?;
    if let Some(number) = numbers.iter().find(|number| **number as usize >= count) {
        let reason = format!("there is no {number} among {count}");
        return Err(Error::Argument { name: "numbers", reason });
    }
    Ok(numbers.into())
}

struct EmbeddingOp {
    numbers: Arc<[u32]>,
    /// Shape of the result.
    shape: Shape,
}

impl EmbeddingOp {
    fn width(&self) -> usize {
        self.shape.dims().last().copied().unwrap_or(0)
    }

    fn forward<T: Float>(&self, table: &[T]) -> Vec<T> {
        gather(table, &self.numbers, self.width())
    }

    fn backward<T: Float>(&self, table: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (shape, width) = (table.shape(), self.width());
        let rows = shape.dims().first().copied().unwrap_or(0);
        elements!(T; grad);
        let mut out = vec![T::ZERO; rows * width];
        if width == 0 {
            return tensor(out, shape);
        }
        // The places of each number, in order. Those of row r are `places[ends[r - 1]..ends[r]]`.
        let mut ends = vec![0usize; rows];
        self.numbers.iter().for_each(|&number| ends[number as usize] += 1);
        let mut sum = 0;
        for end in &mut ends {
            (*end, sum) = (sum, sum + *end);
        }
        let mut places = vec![0u32; self.numbers.len()];
        for (place, &number) in self.numbers.iter().enumerate() {
            let next = &mut ends[number as usize];
            places[*next] = place as u32;
            *next += 1;
        }
        let per_task = (TASK_LEN / width).clamp(1, 64);
        out.par_chunks_mut(per_task * width).enumerate().for_each(|(task, out)| {
            for (row, out) in (task * per_task..).zip(out.chunks_exact_mut(width)) {
                let start = if row == 0 { 0 } else { ends[row - 1] };
                for &place in &places[start..ends[row]] {
                    let grad = &grad[place as usize * width..][..width];
                    out.iter_mut().zip(grad).for_each(|(sum, &grad)| *sum += grad);
                }
            }
        });
        tensor(out, shape)
    }
}

/// The rows of a table with these numbers, one below the other.
pub(crate) fn gather<T: Float>(table: &[T], numbers: &[u32], width: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; numbers.len() * width];
    if width == 0 {
        return out;
    }
    let rows = (TASK_LEN / width).max(1);
    out.par_chunks_mut(rows * width).zip(numbers.par_chunks(rows)).for_each(|(out, numbers)| {
        for (out, &number) in out.chunks_exact_mut(width).zip(numbers) {
            out.copy_from_slice(&table[number as usize * width..][..width]);
        }
    });
    out
}

impl CustomOp1 for EmbeddingOp {
    fn name(&self) -> &'static str {
        "waxwork-embedding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let out = by_dtype!(storage.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(storage, layout)?))
        });
        Ok((out, self.shape.clone()))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(by_dtype!(grad.dtype(), T => self.backward::<T>(table, grad)?)))
    }
}
