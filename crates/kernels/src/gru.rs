//! The recurrent part of a gated recurrent unit (GRU) over whole sequences, as one operation.
//!
//! As for the LSTM, a task computes all steps of a few rows of the batch, and the recurrent weight is packed
//! once. The forward pass keeps the gates; the backward pass goes through time once, and then computes the
//! weight's gradient as one product over all steps.
#![expect(unsafe_code, reason = "products read and write strided rows through pointers")]

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::buffer::{by_dtype, elements, slice, tensor};
use crate::composed;
use crate::count::count;
use crate::device::runs_on_cpu_kernels;
use crate::error::Result;
use crate::float::Float;
use crate::matmul::product_vec;
use crate::matrix::{Matrix, Size};
use crate::panels::PackedRight;
use crate::real::Real;
use crate::recurrent::{Cell, Sizes, Triple};
use crate::simd::simd;
use crate::tape;

/// Gates of a cell, in PyTorch's order: reset, update, candidate.
const GATES: usize = 3;

const CELL: Cell = Cell {
    gates: GATES,
    weight: "the recurrent weight of a GRU",
    start: "the start of a GRU",
    contributions: "the contributions to a GRU",
    one_step: "the contributions to a step of a GRU",
};

/// What the forward pass keeps of a step: reset gate, update gate, the recurrent part of the candidate, and
/// the candidate. The first three are what the recurrent product is added to.
const PARTS: usize = 4;

/// Rows of the batch per task.
const ROWS: usize = 16;

/// The hidden states of a GRU at every step (Cho et al. 2014, in PyTorch's form). Takes the contributions of
/// the inputs, `(N · L, 3H)`, with the L steps of each sequence in succession, the recurrent weight `(3H, H)`,
/// and the initial hidden state and the recurrent bias b of the candidate, concatenated for each sequence as
/// `(N, 2H)`; returns `(N · L, H)`. Differentiable in all three.
///
/// With the contribution a and u = W h, each cut into three parts in PyTorch's order, a step is r = σ(a₁ +
/// u₁), z = σ(a₂ + u₂), n = tanh(a₃ + r (u₃ + b)), h ← (1 − z) n + z h. The contributions hold the product of
/// the inputs and all biases but b, which the reset gate multiplies.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit.
pub fn gru(contributions: &Tensor, weight: &Tensor, start: &Tensor) -> Result<Tensor> {
    let sizes = Sizes::of(&CELL, contributions, weight, start)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return composed::gru(contributions, weight, start);
    }
    let op = GruOp { sizes, parts: OnceLock::new() };
    Ok(tape::apply3(&contributions.contiguous()?, &weight.contiguous()?, &start.contiguous()?, op)?)
}

/// One step of [`gru`] without a gradient: contributions `(N, 3H)` and state `(N, 2H)` → the next state
/// `(N, 2H)`, whose second half is the same bias.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit.
pub fn gru_step(contributions: &Tensor, weight: &Tensor, state: &Tensor) -> Result<Tensor> {
    let [contributions, weight, state] = [contributions, weight, state].map(Tensor::detach);
    let sizes = Sizes::of_one_step(&CELL, &contributions, &weight, &state)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return Ok(composed::gru_step(&contributions, &weight, &state)?);
    }
    Ok(by_dtype!(contributions.dtype(), T => next_state::<T>(sizes, &contributions, &weight, &state)?))
}

fn next_state<T: Real>(
    sizes: Sizes,
    contributions: &Tensor,
    weight: &Tensor,
    state: &Tensor,
) -> candle_core::Result<Tensor> {
    elements!(T; contributions, weight, state);
    let Pass { hidden, .. } = forward::<T>(sizes, contributions, weight, state);
    let width = sizes.hidden.max(1);
    let each = hidden.chunks_exact(width).zip(state.chunks_exact(2 * width));
    let next = each.flat_map(|(hidden, state)| hidden.iter().chain(&state[width..])).copied().collect();
    tensor::<T>(next, (sizes.rows, 2 * sizes.hidden))
}

/// What a forward pass computes, row by row and step by step.
struct Pass<T> {
    hidden: Vec<T>,
    parts: Vec<T>,
}

struct GruOp {
    sizes: Sizes,
    /// `(N · L, 4H)`, from the forward pass for the backward pass.
    parts: OnceLock<Tensor>,
}

/// Elements of one row's hidden states, and of its parts.
fn lengths(sizes: Sizes) -> (usize, usize) {
    (sizes.steps * sizes.hidden, sizes.steps * PARTS * sizes.hidden)
}

/// The parts of every step before the recurrent product is added: the contributions to both gates, the
/// bias, and the contribution to the candidate.
fn begun<T: Real>(sizes: Sizes, contributions: &[T], start: &[T]) -> Vec<T> {
    let width = sizes.hidden;
    let mut parts = Vec::with_capacity(sizes.rows * sizes.steps * PARTS * width);
    if width > 0 {
        let rows = contributions.chunks_exact(sizes.steps * GATES * width);
        for (contributions, start) in rows.zip(start.chunks_exact(2 * width)) {
            for of_step in contributions.chunks_exact(GATES * width) {
                parts.extend_from_slice(&of_step[..2 * width]);
                parts.extend_from_slice(&start[width..]);
                parts.extend_from_slice(&of_step[2 * width..]);
            }
        }
    }
    parts
}

fn forward<T: Real>(sizes: Sizes, contributions: &[T], weight: &[T], start: &[T]) -> Pass<T> {
    let Sizes { rows, steps, hidden: width } = sizes;
    let (states, parts_len) = lengths(sizes);
    let parts = begun(sizes, contributions, start);
    let mut pass = Pass { hidden: vec![T::ZERO; rows * states], parts };
    if rows * width == 0 {
        return pass;
    }
    count(&[rows, steps, GATES * width, width]);
    // SAFETY: the weight is (3H, H), so its transpose is (H, 3H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width).t(), width, GATES * width) };
    let tasks = pass.hidden.par_chunks_mut(ROWS * states).zip(pass.parts.par_chunks_mut(ROWS * parts_len));
    tasks.zip(start.par_chunks(ROWS * 2 * width)).for_each(|((hidden, parts), start)| {
        let rows = hidden.len() / states;
        for step in 0..steps {
            let (before, stride) = match step {
                0 => (start, 2 * width),
                _ => (&hidden[(step - 1) * width..], states),
            };
            // SAFETY: the first three parts of this step in the rows of this task, which nothing else
            // uses meanwhile.
            unsafe {
                let out = parts[step * PARTS * width..].as_mut_ptr();
                recurrent.add_product(rows, before, stride, out, parts_len);
            }
            simd(
                #[inline(always)]
                || {
                    let rows = hidden.chunks_exact_mut(states).zip(parts.chunks_exact_mut(parts_len));
                    for ((hidden, parts), start) in rows.zip(start.chunks_exact(2 * width)) {
                        let (past, hidden) = hidden.split_at_mut(step * width);
                        let before = if step == 0 { &start[..width] } else { &past[(step - 1) * width..] };
                        advance(
                            &mut parts[step * PARTS * width..][..PARTS * width],
                            &before[..width],
                            &mut hidden[..width],
                        );
                    }
                },
            );
        }
    });
    pass
}

/// The slopes of the parts `(N · L, 4H)`, and the gradient of the start `(N, 2H)`.
fn through_time<T: Real>(
    sizes: Sizes,
    weight: &[T],
    start: &[T],
    parts: &[T],
    hidden: &[T],
    grad: &[T],
) -> (Vec<T>, Vec<T>) {
    let Sizes { rows, steps, hidden: width } = sizes;
    let (states, parts_len) = lengths(sizes);
    let (mut slopes, mut for_start) = (vec![T::ZERO; parts.len()], vec![T::ZERO; start.len()]);
    if rows * width == 0 {
        return (slopes, for_start);
    }
    count(&[rows, steps, GATES * width, width]);
    // SAFETY: the weight is (3H, H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width), GATES * width, width) };
    let outputs = slopes.par_chunks_mut(ROWS * parts_len).zip(for_start.par_chunks_mut(ROWS * 2 * width));
    let inputs = parts.par_chunks(ROWS * parts_len).zip(hidden.par_chunks(ROWS * states));
    let inputs = inputs.zip(grad.par_chunks(ROWS * states)).zip(start.par_chunks(ROWS * 2 * width));
    outputs.zip(inputs).for_each(|((slopes, for_start), (((parts, hidden), grad), start))| {
        let rows = hidden.len() / states;
        // `for_start` holds the gradient of the state after the current step from later steps, and the
        // sum of the bias's gradients.
        for step in (0..steps).rev() {
            simd(
                #[inline(always)]
                || {
                    let outputs = slopes.chunks_exact_mut(parts_len);
                    let outputs = outputs.zip(for_start.chunks_exact_mut(2 * width));
                    let inputs = parts.chunks_exact(parts_len).zip(hidden.chunks_exact(states));
                    let inputs = inputs.zip(grad.chunks_exact(states)).zip(start.chunks_exact(2 * width));
                    for ((slopes, for_start), (((parts, hidden), grad), start)) in outputs.zip(inputs) {
                        let before = if step == 0 { start } else { &hidden[(step - 1) * width..] };
                        let (for_hidden, for_bias) = for_start.split_at_mut(width);
                        retreat(
                            &parts[step * PARTS * width..][..PARTS * width],
                            &before[..width],
                            &grad[step * width..][..width],
                            for_hidden,
                            for_bias,
                            &mut slopes[step * PARTS * width..][..PARTS * width],
                        );
                    }
                },
            );
            // SAFETY: the hidden halves of this task's rows of `for_start`, which nothing else uses
            // meanwhile.
            unsafe {
                let left = &slopes[step * PARTS * width..];
                recurrent.add_product(rows, left, parts_len, for_start.as_mut_ptr(), 2 * width);
            }
        }
    });
    (slopes, for_start)
}

/// One step of one row: turns the pre-activations of the gates and of the candidate into their values, and
/// writes the new hidden state.
#[inline(always)]
fn advance<T: Float>(parts: &mut [T], before: &[T], hidden: &mut [T]) {
    let width = hidden.len();
    let (reset, rest) = parts.split_at_mut(width);
    let (update, rest) = rest.split_at_mut(width);
    let (recurrent, candidate) = rest.split_at_mut(width);
    let (before, candidate) = (&before[..width], &mut candidate[..width]);
    for j in 0..width {
        let (r, z) = (Float::sigmoid(reset[j]), Float::sigmoid(update[j]));
        let n = Float::tanh(r.fma(recurrent[j], candidate[j]));
        (reset[j], update[j], candidate[j]) = (r, z, n);
        hidden[j] = z.fma(before[j] - n, n);
    }
}

/// The backward pass of [`advance`]. `for_hidden` is the gradient of the state after the step from later
/// steps, without the output's own gradient `grad`, and becomes what the state before the step gets directly.
/// Adds the gradient of the bias to `for_bias`.
#[inline(always)]
fn retreat<T: Float>(
    parts: &[T],
    before: &[T],
    grad: &[T],
    for_hidden: &mut [T],
    for_bias: &mut [T],
    slopes: &mut [T],
) {
    let width = before.len();
    let (reset, rest) = parts.split_at(width);
    let (update, rest) = rest.split_at(width);
    let (recurrent, candidate) = rest.split_at(width);
    let (for_reset, rest) = slopes.split_at_mut(width);
    let (for_update, rest) = rest.split_at_mut(width);
    let (for_recurrent, for_candidate) = rest.split_at_mut(width);
    let (candidate, for_candidate) = (&candidate[..width], &mut for_candidate[..width]);
    let (grad, for_hidden) = (&grad[..width], &mut for_hidden[..width]);
    let for_bias = &mut for_bias[..width];
    for j in 0..width {
        let (r, z, u, n) = (reset[j], update[j], recurrent[j], candidate[j]);
        let dh = grad[j] + for_hidden[j];
        let dn = dh * (T::ONE - z) * (T::ONE - n * n);
        let du = dn * r;
        for_reset[j] = dn * u * r * (T::ONE - r);
        for_update[j] = dh * (before[j] - n) * z * (T::ONE - z);
        for_recurrent[j] = du;
        for_candidate[j] = dn;
        for_bias[j] += du;
        for_hidden[j] = dh * z;
    }
}

impl GruOp {
    fn forward<T: Real>(
        &self,
        contributions: &[T],
        weight: &[T],
        start: &[T],
    ) -> candle_core::Result<Vec<T>> {
        let Sizes { rows, steps, hidden: width } = self.sizes;
        let Pass { hidden, parts } = forward(self.sizes, contributions, weight, start);
        // The forward pass runs once. A second one would compute the same values.
        let _ = self.parts.set(tensor(parts, (rows * steps, PARTS * width))?);
        Ok(hidden)
    }

    fn backward<T: Real>(
        &self,
        [contributions, weight, start]: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        let Some(parts) = self.parts.get() else {
            candle_core::bail!("a GRU went backward before it went forward")
        };
        let Sizes { rows, steps, hidden: width } = self.sizes;
        let shapes = [contributions.shape(), weight.shape(), start.shape()];
        let wanted = [contributions, weight, start].map(Tensor::track_op);
        elements!(T; weight, start, parts, y, grad);
        let (slopes, for_start) = through_time(self.sizes, weight, start, parts, y, grad);
        let for_contributions = wanted[0].then(|| {
            let of_steps = slopes.chunks_exact((PARTS * width).max(1));
            // The recurrent part of the candidate is not one of the contributions.
            let each = of_steps.flat_map(|slopes| slopes[..2 * width].iter().chain(&slopes[3 * width..]));
            tensor::<T>(each.copied().collect(), shapes[0])
        });
        let for_weight = wanted[1].then(|| {
            let before = self.sizes.shifted(y, start);
            let size = Size { m: GATES * width, n: width, k: rows * steps };
            // SAFETY: both matrices have N · L rows, of at least 3H and of H elements.
            let product = unsafe {
                product_vec(size, Matrix::rows(&slopes, PARTS * width).t(), Matrix::rows(&before, width))
            };
            tensor(product, shapes[1])
        });
        Ok((
            for_contributions.transpose()?,
            for_weight.transpose()?,
            wanted[2].then(|| tensor(for_start, shapes[2])).transpose()?,
        ))
    }
}

impl CustomOp3 for GruOp {
    fn name(&self) -> &'static str {
        "waxwork-gru"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Sizes { rows, steps, hidden } = self.sizes;
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?)?)
        });
        Ok((out, Shape::from((rows * steps, hidden))))
    }

    fn bwd(
        &self,
        contributions: &Tensor,
        weight: &Tensor,
        start: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        by_dtype!(y.dtype(), T => self.backward::<T>([contributions, weight, start], y, grad))
    }
}
