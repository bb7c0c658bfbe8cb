//! The recurrent part of a gated recurrent unit (GRU) over whole sequences, as one operation.
//!
//! As for the LSTM, a task computes all steps of a few sequences, and the recurrent weight is packed once. The
//! forward pass keeps the gates; the backward pass goes through time once, and then computes the weight's
//! gradient as one product over all steps.
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
use crate::recurrent::{Cell, Sizes};
use crate::schedule::Schedule;
use crate::simd::simd;
use crate::tape::{self, Triple};

/// Gates of a cell, in PyTorch's order: reset, update, candidate.
const GATES: usize = 3;

const CELL: Cell = Cell {
    gates: GATES,
    weight: "the recurrent weight of a GRU",
    start: "the start of a GRU",
    contributions: "the contributions to a GRU",
};

/// What the forward pass keeps of a step: reset gate, update gate, the recurrent part of the candidate, and
/// the candidate. The first three are what the recurrent product is added to.
const PARTS: usize = 4;

/// The hidden states of a GRU at every step (Cho et al. 2014, in PyTorch's form). `lengths` are the numbers of
/// steps of N sequences, and T is their sum. Takes the contributions of the inputs, `(T, 3H)`, with the steps
/// of each sequence in succession, the recurrent weight `(3H, H)`, and the initial hidden state and the
/// recurrent bias b of the candidate, concatenated for each sequence as `(N, 2H)`; returns `(T, H)`.
/// Differentiable in all three.
///
/// With the contribution a and u = W h, each cut into three parts in PyTorch's order, a step is r = σ(a₁ +
/// u₁), z = σ(a₂ + u₂), n = tanh(a₃ + r (u₃ + b)), h ← (1 − z) n + z h. The contributions hold the product of
/// the inputs and all biases but b, which the reset gate multiplies.
///
/// The bits of a sequence's states do not depend on the other sequences.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit;
/// [`Error::Argument`](crate::Error::Argument) if there is not one length per sequence.
pub fn gru(contributions: &Tensor, weight: &Tensor, start: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let sizes = Sizes::of(&CELL, contributions, weight, start, lengths)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return composed::gru(contributions, weight, start, lengths);
    }
    let op = GruOp { sizes, schedule: Schedule::new(lengths), parts: OnceLock::new() };
    Ok(tape::apply3(&contributions.contiguous()?, &weight.contiguous()?, &start.contiguous()?, op)?)
}

/// One step of [`gru`] without a gradient: contributions `(N, 3H)` and state `(N, 2H)` → the next state
/// `(N, 2H)`, whose second half is the same bias.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit.
pub fn gru_step(contributions: &Tensor, weight: &Tensor, state: &Tensor) -> Result<Tensor> {
    let [contributions, weight, state] = [contributions, weight, state].map(Tensor::detach);
    let lengths = vec![1; state.dims().first().copied().unwrap_or(0)];
    let sizes = Sizes::of(&CELL, &contributions, &weight, &state, &lengths)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return Ok(composed::gru_step(&contributions, &weight, &state)?);
    }
    let schedule = Schedule::new(&lengths);
    Ok(by_dtype!(contributions.dtype(), T => {
        next_state::<T>(sizes, &schedule, &contributions, &weight, &state)?
    }))
}

fn next_state<T: Real>(
    sizes: Sizes,
    schedule: &Schedule,
    contributions: &Tensor,
    weight: &Tensor,
    state: &Tensor,
) -> candle_core::Result<Tensor> {
    elements!(T; contributions, weight, state);
    let Pass { hidden, .. } = forward::<T>(sizes, schedule, contributions, weight, state);
    let width = sizes.hidden;
    let hidden = schedule.steps.to_batch(hidden, width);
    let each = hidden.chunks_exact(width.max(1)).zip(state.chunks_exact(2 * width.max(1)));
    let next = each.flat_map(|(hidden, state)| hidden.iter().chain(&state[width..])).copied().collect();
    tensor::<T>(next, (sizes.sequences, 2 * width))
}

/// What a forward pass computes, in the order of the tasks.
struct Pass<T> {
    hidden: Vec<T>,
    parts: Vec<T>,
}

struct GruOp {
    sizes: Sizes,
    schedule: Schedule,
    /// `(T, 4H)`, from the forward pass for the backward pass, in the order of the tasks.
    parts: OnceLock<Tensor>,
}

/// The parts of every step before the recurrent product is added: the contributions to both gates, the
/// bias, and the contribution to the candidate. `start` and the result are in the order of the tasks.
fn begun<T: Real>(sizes: Sizes, schedule: &Schedule, contributions: &[T], start: &[T]) -> Vec<T> {
    let width = sizes.hidden;
    let contributions = schedule.steps.to_tasks(contributions, GATES * width);
    let mut parts = Vec::with_capacity(sizes.steps * PARTS * width);
    let mut rest = &*contributions;
    for task in &schedule.tasks {
        let start = task.of_sequences(start, 2 * width);
        for &rows in &task.active {
            let (of_step, later) = rest.split_at(rows * GATES * width);
            rest = later;
            for (own, start) in of_step.chunks_exact(GATES * width).zip(start.chunks_exact(2 * width)) {
                parts.extend_from_slice(&own[..2 * width]);
                parts.extend_from_slice(&start[width..]);
                parts.extend_from_slice(&own[2 * width..]);
            }
        }
    }
    parts
}

fn forward<T: Real>(
    sizes: Sizes,
    schedule: &Schedule,
    contributions: &[T],
    weight: &[T],
    start: &[T],
) -> Pass<T> {
    let Sizes { steps, hidden: width, .. } = sizes;
    if width == 0 {
        return Pass { hidden: Vec::new(), parts: Vec::new() };
    }
    let start = schedule.sequences.to_tasks(start, 2 * width);
    let parts = begun(sizes, schedule, contributions, &start);
    let mut pass = Pass { hidden: vec![T::ZERO; steps * width], parts };
    count(&[steps, GATES * width, width]);
    // SAFETY: the weight is (3H, H), so its transpose is (H, 3H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width).t(), width, GATES * width) };
    let tasks = schedule.tasks.par_iter().zip(schedule.cut_steps(&mut pass.parts, PARTS * width));
    let tasks = tasks.zip(schedule.cut_steps(&mut pass.hidden, width));
    tasks.for_each(|((task, parts), hidden)| {
        let start = task.of_sequences(&start, 2 * width);
        // The first rows of the step before and of this step.
        let (mut last, mut at) = (0, 0);
        for &rows in &task.active {
            let (past, hidden) = hidden.split_at_mut(at * width);
            let parts = &mut parts[at * PARTS * width..];
            let (before, stride) = match at {
                0 => (start, 2 * width),
                _ => (&past[last * width..], width),
            };
            // SAFETY: the first three parts of this step in this task, which nothing else uses meanwhile.
            unsafe {
                recurrent.add_product(rows, before, stride, parts.as_mut_ptr(), PARTS * width);
            }
            simd(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        advance(
                            &mut parts[row * PARTS * width..][..PARTS * width],
                            &before[row * stride..][..width],
                            &mut hidden[row * width..][..width],
                        );
                    }
                },
            );
            (last, at) = (at, at + rows);
        }
    });
    pass
}

/// The slopes of the parts `(T, 4H)`, and the gradient of the start `(N, 2H)`, in the order of the batch.
/// `parts` are in the order of the tasks, and all others in that of the batch.
fn through_time<T: Real>(
    sizes: Sizes,
    schedule: &Schedule,
    weight: &[T],
    start: &[T],
    parts: &[T],
    [hidden, grad]: [&[T]; 2],
) -> (Vec<T>, Vec<T>) {
    let Sizes { steps, hidden: width, .. } = sizes;
    let (mut slopes, mut for_start) = (vec![T::ZERO; parts.len()], vec![T::ZERO; start.len()]);
    if width == 0 {
        return (slopes, for_start);
    }
    count(&[steps, GATES * width, width]);
    let start = schedule.sequences.to_tasks(start, 2 * width);
    let [hidden, grad] = [hidden, grad].map(|values| schedule.steps.to_tasks(values, width));
    // SAFETY: the weight is (3H, H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width), GATES * width, width) };
    let tasks = schedule.tasks.par_iter().zip(schedule.cut_steps(&mut slopes, PARTS * width));
    let tasks = tasks.zip(schedule.cut_sequences(&mut for_start, 2 * width));
    tasks.for_each(|((task, slopes), for_start)| {
        let start = task.of_sequences(&start, 2 * width);
        let parts = task.of_steps(parts, PARTS * width);
        let (hidden, grad) = (task.of_steps(&hidden, width), task.of_steps(&grad, width));
        // `for_start` holds the gradient of the state after the current step from later steps, which is zero
        // at the last step of a sequence, and the sum of the bias's gradients.
        let mut at: usize = task.active.iter().sum();
        for (step, &rows) in task.active.iter().enumerate().rev() {
            at -= rows;
            let (before, stride) = match step {
                0 => (start, 2 * width),
                _ => (&hidden[(at - task.active[step - 1]) * width..], width),
            };
            let (parts, grad) = (&parts[at * PARTS * width..], &grad[at * width..]);
            let slopes = &mut slopes[at * PARTS * width..];
            simd(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        let (for_hidden, for_bias) =
                            for_start[row * 2 * width..][..2 * width].split_at_mut(width);
                        retreat(
                            &parts[row * PARTS * width..][..PARTS * width],
                            &before[row * stride..][..width],
                            &grad[row * width..][..width],
                            for_hidden,
                            for_bias,
                            &mut slopes[row * PARTS * width..][..PARTS * width],
                        );
                    }
                },
            );
            // SAFETY: the hidden halves of this task's rows of `for_start`, which nothing else uses
            // meanwhile.
            unsafe {
                recurrent.add_product(rows, slopes, PARTS * width, for_start.as_mut_ptr(), 2 * width);
            }
        }
    });
    (schedule.steps.to_batch(slopes, PARTS * width), schedule.sequences.to_batch(for_start, 2 * width))
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
        let Sizes { steps, hidden: width, .. } = self.sizes;
        let Pass { hidden, parts } = forward(self.sizes, &self.schedule, contributions, weight, start);
        // The forward pass runs once. A second one would compute the same values.
        let _ = self.parts.set(tensor(parts, (steps, PARTS * width))?);
        Ok(self.schedule.steps.to_batch(hidden, width))
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
        let Sizes { steps, hidden: width, .. } = self.sizes;
        let shapes = [contributions.shape(), weight.shape(), start.shape()];
        let wanted = [contributions, weight, start].map(Tensor::track_op);
        elements!(T; weight, start, parts, y, grad);
        let (slopes, for_start) = through_time(self.sizes, &self.schedule, weight, start, parts, [y, grad]);
        let for_contributions = wanted[0].then(|| {
            let of_steps = slopes.chunks_exact((PARTS * width).max(1));
            // The recurrent part of the candidate is not one of the contributions.
            let each = of_steps.flat_map(|slopes| slopes[..2 * width].iter().chain(&slopes[3 * width..]));
            tensor::<T>(each.copied().collect(), shapes[0])
        });
        let for_weight = wanted[1].then(|| {
            let before = self.schedule.shifted(y, start, width);
            let size = Size { m: GATES * width, n: width, k: steps };
            // SAFETY: both matrices have T rows, of at least 3H and of H elements.
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
        let Sizes { steps, hidden, .. } = self.sizes;
        let out = by_dtype!(s1.dtype(), T => {
            T::to_cpu_storage_owned(self.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?)?)
        });
        Ok((out, Shape::from((steps, hidden))))
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
