//! The recurrent part of a long short-term memory (LSTM) over whole sequences, as one operation.
//!
//! A task computes all steps of a few sequences, so no step waits for another task. The recurrent weight is
//! packed once and multiplied at every step, by the states of the sequences that have the step. The forward
//! pass keeps the gates and the cells; the backward pass goes through time once, and then computes the weight's
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

/// Gates of a cell, in PyTorch's order: input, forget, cell candidate, output.
const GATES: usize = 4;

const CELL: Cell = Cell {
    gates: GATES,
    weight: "the recurrent weight of an LSTM",
    start: "the start of an LSTM",
    contributions: "the contributions to an LSTM",
};

/// The hidden states of an LSTM at every step (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et
/// al. 2000). `lengths` are the numbers of steps of N sequences, and T is their sum. Takes the contributions
/// of the inputs, `(T, 4H)`, with the steps of each sequence in succession, the recurrent weight `(4H, H)`,
/// and the initial hidden and cell state, concatenated as `(N, 2H)`; returns `(T, H)`. Differentiable in all
/// three.
///
/// With a = contribution + W h, cut into four parts in PyTorch's order, a step is i = σ(a₁), f = σ(a₂), g =
/// tanh(a₃), o = σ(a₄), c ← f c + i g, h ← o tanh c. The contributions hold the product of the inputs and
/// both biases.
///
/// The bits of a sequence's states do not depend on the other sequences.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit;
/// [`Error::Argument`](crate::Error::Argument) if there is not one length per sequence.
pub fn lstm(contributions: &Tensor, weight: &Tensor, start: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let sizes = Sizes::of(&CELL, contributions, weight, start, lengths)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return composed::lstm(contributions, weight, start, lengths);
    }
    let op = LstmOp { sizes, schedule: Schedule::new(lengths), kept: OnceLock::new() };
    Ok(tape::apply3(&contributions.contiguous()?, &weight.contiguous()?, &start.contiguous()?, op)?)
}

/// One step of [`lstm`] without a gradient: contributions `(N, 4H)` and state `(N, 2H)` → the next state
/// `(N, 2H)`.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit.
pub fn lstm_step(contributions: &Tensor, weight: &Tensor, state: &Tensor) -> Result<Tensor> {
    let [contributions, weight, state] = [contributions, weight, state].map(Tensor::detach);
    let lengths = vec![1; state.dims().first().copied().unwrap_or(0)];
    let sizes = Sizes::of(&CELL, &contributions, &weight, &state, &lengths)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return Ok(composed::lstm_step(&contributions, &weight, &state)?);
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
    let Pass { hidden, cells, .. } = forward::<T>(sizes, schedule, contributions, weight, state);
    let width = sizes.hidden;
    let [hidden, cells] = [hidden, cells].map(|values| schedule.steps.to_batch(values, width));
    let each = hidden.chunks_exact(width.max(1)).zip(cells.chunks_exact(width.max(1)));
    let next = each.flat_map(|(hidden, cells)| hidden.iter().chain(cells)).copied().collect();
    tensor::<T>(next, (sizes.sequences, 2 * width))
}

/// What a forward pass computes, in the order of the tasks.
struct Pass<T> {
    hidden: Vec<T>,
    gates: Vec<T>,
    cells: Vec<T>,
}

/// What the backward pass needs of the forward pass, in the order of the tasks.
struct Kept {
    /// `(T, 4H)`.
    gates: Tensor,
    /// `(T, H)`.
    cells: Tensor,
}

struct LstmOp {
    sizes: Sizes,
    schedule: Schedule,
    kept: OnceLock<Kept>,
}

fn forward<T: Real>(
    sizes: Sizes,
    schedule: &Schedule,
    contributions: &[T],
    weight: &[T],
    start: &[T],
) -> Pass<T> {
    let Sizes { steps, hidden: width, .. } = sizes;
    let mut pass = Pass {
        hidden: vec![T::ZERO; steps * width],
        gates: schedule.steps.to_tasks(contributions, GATES * width).into_owned(),
        cells: vec![T::ZERO; steps * width],
    };
    if width == 0 {
        return pass;
    }
    count(&[steps, GATES * width, width]);
    let start = schedule.sequences.to_tasks(start, 2 * width);
    // SAFETY: the weight is (4H, H), so its transpose is (H, 4H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width).t(), width, GATES * width) };
    let tasks = schedule.tasks.par_iter().zip(schedule.cut_steps(&mut pass.gates, GATES * width));
    let tasks = tasks.zip(schedule.cut_steps(&mut pass.cells, width));
    let tasks = tasks.zip(schedule.cut_steps(&mut pass.hidden, width));
    tasks.for_each(|(((task, gates), cells), hidden)| {
        let start = task.of_sequences(&start, 2 * width);
        // The first rows of the step before and of this step.
        let (mut last, mut at) = (0, 0);
        for &rows in &task.active {
            let (past_hidden, hidden) = hidden.split_at_mut(at * width);
            let (past_cells, cells) = cells.split_at_mut(at * width);
            let gates = &mut gates[at * GATES * width..];
            let (before, cells_before, stride) = match at {
                0 => (start, &start[width..], 2 * width),
                _ => (&past_hidden[last * width..], &past_cells[last * width..], width),
            };
            // SAFETY: the gates of this step in this task, which nothing else uses meanwhile.
            unsafe {
                recurrent.add_product(rows, before, stride, gates.as_mut_ptr(), GATES * width);
            }
            simd(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        advance(
                            &mut gates[row * GATES * width..][..GATES * width],
                            &cells_before[row * stride..][..width],
                            &mut cells[row * width..][..width],
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

/// The gradients of contributions `(T, 4H)` and start `(N, 2H)`, in the order of the batch. `gates` and `cells`
/// are in the order of the tasks, and all others in that of the batch.
fn through_time<T: Real>(
    sizes: Sizes,
    schedule: &Schedule,
    weight: &[T],
    start: &[T],
    [gates, cells]: [&[T]; 2],
    grad: &[T],
) -> (Vec<T>, Vec<T>) {
    let Sizes { steps, hidden: width, .. } = sizes;
    let (mut for_gates, mut for_start) = (vec![T::ZERO; gates.len()], vec![T::ZERO; start.len()]);
    if width == 0 {
        return (for_gates, for_start);
    }
    count(&[steps, GATES * width, width]);
    let (start, grad) = (schedule.sequences.to_tasks(start, 2 * width), schedule.steps.to_tasks(grad, width));
    // SAFETY: the weight is (4H, H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width), GATES * width, width) };
    let tasks = schedule.tasks.par_iter().zip(schedule.cut_steps(&mut for_gates, GATES * width));
    let tasks = tasks.zip(schedule.cut_sequences(&mut for_start, 2 * width));
    tasks.for_each(|((task, for_gates), for_start)| {
        let start = task.of_sequences(&start, 2 * width);
        let (gates, cells) = (task.of_steps(gates, GATES * width), task.of_steps(cells, width));
        let grad = task.of_steps(&grad, width);
        // `for_start` holds the gradients of the state after the current step; for the hidden state, only
        // those from later steps. They are zero at the last step of a sequence.
        let mut at: usize = task.active.iter().sum();
        for (step, &rows) in task.active.iter().enumerate().rev() {
            at -= rows;
            let (cells_before, stride) = match step {
                0 => (&start[width..], 2 * width),
                _ => (&cells[(at - task.active[step - 1]) * width..], width),
            };
            let (gates, cells) = (&gates[at * GATES * width..], &cells[at * width..]);
            let (grad, for_gates) = (&grad[at * width..], &mut for_gates[at * GATES * width..]);
            simd(
                #[inline(always)]
                || {
                    for row in 0..rows {
                        let (for_hidden, for_cell) =
                            for_start[row * 2 * width..][..2 * width].split_at_mut(width);
                        retreat(
                            &gates[row * GATES * width..][..GATES * width],
                            [&cells_before[row * stride..][..width], &cells[row * width..][..width]],
                            &grad[row * width..][..width],
                            for_hidden,
                            for_cell,
                            &mut for_gates[row * GATES * width..][..GATES * width],
                        );
                    }
                },
            );
            // SAFETY: the hidden halves of this task's rows of `for_start`, which nothing else uses
            // meanwhile.
            unsafe {
                recurrent.add_product(rows, for_gates, GATES * width, for_start.as_mut_ptr(), 2 * width);
            }
        }
    });
    (schedule.steps.to_batch(for_gates, GATES * width), schedule.sequences.to_batch(for_start, 2 * width))
}

/// One step of one row: turns the pre-activations of the gates into their values, and writes the new cell and
/// hidden state.
#[inline(always)]
fn advance<T: Float>(gates: &mut [T], before: &[T], cell: &mut [T], hidden: &mut [T]) {
    let width = cell.len();
    let (input, rest) = gates.split_at_mut(width);
    let (forget, rest) = rest.split_at_mut(width);
    let (candidate, output) = rest.split_at_mut(width);
    let (before, hidden, output) = (&before[..width], &mut hidden[..width], &mut output[..width]);
    for j in 0..width {
        let (i, f, o) = (Float::sigmoid(input[j]), Float::sigmoid(forget[j]), Float::sigmoid(output[j]));
        let g = Float::tanh(candidate[j]);
        let c = f.fma(before[j], i * g);
        (input[j], forget[j], candidate[j], output[j], cell[j]) = (i, f, g, o, c);
        hidden[j] = o * Float::tanh(c);
    }
}

/// The backward pass of [`advance`]. `for_hidden` and `for_cell` are gradients of the state after the step,
/// without the output's own gradient `grad`. `for_cell` becomes the gradient of the cell before the step, and
/// `for_hidden` becomes zero.
#[inline(always)]
fn retreat<T: Float>(
    gates: &[T],
    [before, cell]: [&[T]; 2],
    grad: &[T],
    for_hidden: &mut [T],
    for_cell: &mut [T],
    for_gates: &mut [T],
) {
    let width = cell.len();
    let (input, rest) = gates.split_at(width);
    let (forget, rest) = rest.split_at(width);
    let (candidate, output) = rest.split_at(width);
    let (for_input, rest) = for_gates.split_at_mut(width);
    let (for_forget, rest) = rest.split_at_mut(width);
    let (for_candidate, for_output) = rest.split_at_mut(width);
    let (output, for_output) = (&output[..width], &mut for_output[..width]);
    let (before, grad) = (&before[..width], &grad[..width]);
    let (for_hidden, for_cell) = (&mut for_hidden[..width], &mut for_cell[..width]);
    for j in 0..width {
        let (i, f, g, o) = (input[j], forget[j], candidate[j], output[j]);
        let squashed = Float::tanh(cell[j]);
        let dh = grad[j] + for_hidden[j];
        let dc = for_cell[j] + dh * o * (T::ONE - squashed * squashed);
        for_input[j] = dc * g * i * (T::ONE - i);
        for_forget[j] = dc * before[j] * f * (T::ONE - f);
        for_candidate[j] = dc * i * (T::ONE - g * g);
        for_output[j] = dh * squashed * o * (T::ONE - o);
        for_cell[j] = dc * f;
        for_hidden[j] = T::ZERO;
    }
}

impl LstmOp {
    fn forward<T: Real>(
        &self,
        contributions: &[T],
        weight: &[T],
        start: &[T],
    ) -> candle_core::Result<Vec<T>> {
        let Sizes { steps, hidden: width, .. } = self.sizes;
        let Pass { hidden, gates, cells } = forward(self.sizes, &self.schedule, contributions, weight, start);
        let kept =
            Kept { gates: tensor(gates, (steps, GATES * width))?, cells: tensor(cells, (steps, width))? };
        // The forward pass runs once. A second one would compute the same values.
        let _ = self.kept.set(kept);
        Ok(self.schedule.steps.to_batch(hidden, width))
    }

    fn backward<T: Real>(
        &self,
        [contributions, weight, start]: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Triple> {
        let Some(Kept { gates, cells }) = self.kept.get() else {
            candle_core::bail!("an LSTM went backward before it went forward")
        };
        let Sizes { steps, hidden: width, .. } = self.sizes;
        let shapes = [contributions.shape(), weight.shape(), start.shape()];
        let wanted = [contributions, weight, start].map(Tensor::track_op);
        elements!(T; weight, start, gates, cells, y, grad);
        let (for_gates, for_start) =
            through_time(self.sizes, &self.schedule, weight, start, [gates, cells], grad);
        let for_weight = wanted[1].then(|| {
            let before = self.schedule.shifted(y, start, width);
            let size = Size { m: GATES * width, n: width, k: steps };
            // SAFETY: both matrices have T rows, of 4H and of H elements.
            let product = unsafe {
                product_vec(size, Matrix::rows(&for_gates, GATES * width).t(), Matrix::rows(&before, width))
            };
            tensor(product, shapes[1])
        });
        Ok((
            wanted[0].then(|| tensor(for_gates, shapes[0])).transpose()?,
            for_weight.transpose()?,
            wanted[2].then(|| tensor(for_start, shapes[2])).transpose()?,
        ))
    }
}

impl CustomOp3 for LstmOp {
    fn name(&self) -> &'static str {
        "waxwork-lstm"
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
