//! The recurrent part of a long short-term memory (LSTM) over whole sequences, as one operation.
//!
//! A task computes all steps of a few rows of the batch, so no step waits for another task. The recurrent
//! weight is packed once and multiplied at every step. The forward pass keeps the gates and the cells; the
//! backward pass goes through time once, and then computes the weight's gradient as one product over all
//! steps.
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

/// Gates of a cell, in PyTorch's order: input, forget, cell candidate, output.
const GATES: usize = 4;

const CELL: Cell = Cell {
    gates: GATES,
    weight: "the recurrent weight of an LSTM",
    start: "the start of an LSTM",
    contributions: "the contributions to an LSTM",
    one_step: "the contributions to a step of an LSTM",
};

/// Rows of the batch per task.
const ROWS: usize = 16;

/// The hidden states of an LSTM at every step (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et
/// al. 2000). Takes the contributions of the inputs, `(N · L, 4H)`, with the L steps of each sequence in
/// succession, the recurrent weight `(4H, H)`, and the initial hidden and cell state, concatenated as
/// `(N, 2H)`; returns `(N · L, H)`. Differentiable in all three.
///
/// With a = contribution + W h, cut into four parts in PyTorch's order, a step is i = σ(a₁), f = σ(a₂), g =
/// tanh(a₃), o = σ(a₄), c ← f c + i g, h ← o tanh c. The contributions hold the product of the inputs and
/// both biases.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit.
pub fn lstm(contributions: &Tensor, weight: &Tensor, start: &Tensor) -> Result<Tensor> {
    let sizes = Sizes::of(&CELL, contributions, weight, start)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return composed::lstm(contributions, weight, start);
    }
    let op = LstmOp { sizes, kept: OnceLock::new() };
    Ok(tape::apply3(&contributions.contiguous()?, &weight.contiguous()?, &start.contiguous()?, op)?)
}

/// One step of [`lstm`] without a gradient: contributions `(N, 4H)` and state `(N, 2H)` → the next state
/// `(N, 2H)`.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if the shapes do not fit.
pub fn lstm_step(contributions: &Tensor, weight: &Tensor, state: &Tensor) -> Result<Tensor> {
    let [contributions, weight, state] = [contributions, weight, state].map(Tensor::detach);
    let sizes = Sizes::of_one_step(&CELL, &contributions, &weight, &state)?;
    if !runs_on_cpu_kernels(contributions.device()) {
        return Ok(composed::lstm_step(&contributions, &weight, &state)?);
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
    let Pass { hidden, cells, .. } = forward::<T>(sizes, contributions, weight, state);
    let width = sizes.hidden.max(1);
    let each = hidden.chunks_exact(width).zip(cells.chunks_exact(width));
    let next = each.flat_map(|(hidden, cells)| hidden.iter().chain(cells)).copied().collect();
    tensor::<T>(next, (sizes.rows, 2 * sizes.hidden))
}

/// What a forward pass computes, row by row and step by step.
struct Pass<T> {
    hidden: Vec<T>,
    gates: Vec<T>,
    cells: Vec<T>,
}

/// What the backward pass needs of the forward pass.
struct Kept {
    /// `(N · L, 4H)`.
    gates: Tensor,
    /// `(N · L, H)`.
    cells: Tensor,
}

struct LstmOp {
    sizes: Sizes,
    kept: OnceLock<Kept>,
}

/// Elements of one row's hidden states, and of its gates.
fn lengths(sizes: Sizes) -> (usize, usize) {
    (sizes.steps * sizes.hidden, sizes.steps * GATES * sizes.hidden)
}

fn forward<T: Real>(sizes: Sizes, contributions: &[T], weight: &[T], start: &[T]) -> Pass<T> {
    let Sizes { rows, steps, hidden: width } = sizes;
    let (states, gates_len) = lengths(sizes);
    let mut pass = Pass {
        hidden: vec![T::ZERO; rows * states],
        gates: contributions.to_vec(),
        cells: vec![T::ZERO; rows * states],
    };
    if rows * width == 0 {
        return pass;
    }
    count(&[rows, steps, GATES * width, width]);
    // SAFETY: the weight is (4H, H), so its transpose is (H, 4H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width).t(), width, GATES * width) };
    let tasks = pass.hidden.par_chunks_mut(ROWS * states).zip(pass.cells.par_chunks_mut(ROWS * states));
    let tasks = tasks.zip(pass.gates.par_chunks_mut(ROWS * gates_len));
    tasks.zip(start.par_chunks(ROWS * 2 * width)).for_each(|(((hidden, cells), gates), start)| {
        let rows = hidden.len() / states;
        for step in 0..steps {
            let (before, stride) = match step {
                0 => (start, 2 * width),
                _ => (&hidden[(step - 1) * width..], states),
            };
            // SAFETY: the columns of this step in the rows of this task, which nothing else uses
            // meanwhile.
            unsafe {
                let out = gates[step * GATES * width..].as_mut_ptr();
                recurrent.add_product(rows, before, stride, out, gates_len);
            }
            simd(
                #[inline(always)]
                || {
                    let rows = hidden.chunks_exact_mut(states).zip(cells.chunks_exact_mut(states));
                    let rows = rows.zip(gates.chunks_exact_mut(gates_len));
                    for (((hidden, cells), gates), start) in rows.zip(start.chunks_exact(2 * width)) {
                        let (past, cells) = cells.split_at_mut(step * width);
                        let before = if step == 0 { &start[width..] } else { &past[(step - 1) * width..] };
                        advance(
                            &mut gates[step * GATES * width..][..GATES * width],
                            &before[..width],
                            &mut cells[..width],
                            &mut hidden[step * width..][..width],
                        );
                    }
                },
            );
        }
    });
    pass
}

/// The gradients of contributions `(N · L, 4H)` and start `(N, 2H)`.
fn through_time<T: Real>(
    sizes: Sizes,
    weight: &[T],
    start: &[T],
    gates: &[T],
    cells: &[T],
    grad: &[T],
) -> (Vec<T>, Vec<T>) {
    let Sizes { rows, steps, hidden: width } = sizes;
    let (states, gates_len) = lengths(sizes);
    let (mut for_gates, mut for_start) = (vec![T::ZERO; gates.len()], vec![T::ZERO; start.len()]);
    if rows * width == 0 {
        return (for_gates, for_start);
    }
    count(&[rows, steps, GATES * width, width]);
    // SAFETY: the weight is (4H, H).
    let recurrent = unsafe { PackedRight::pack(Matrix::rows(weight, width), GATES * width, width) };
    let outputs = for_gates.par_chunks_mut(ROWS * gates_len).zip(for_start.par_chunks_mut(ROWS * 2 * width));
    let inputs = gates.par_chunks(ROWS * gates_len).zip(cells.par_chunks(ROWS * states));
    let inputs = inputs.zip(grad.par_chunks(ROWS * states)).zip(start.par_chunks(ROWS * 2 * width));
    outputs.zip(inputs).for_each(|((for_gates, for_start), (((gates, cells), grad), start))| {
        let rows = cells.len() / states;
        // `for_start` holds the gradients of the state after the current step; for the hidden state, only
        // those from later steps.
        for step in (0..steps).rev() {
            simd(
                #[inline(always)]
                || {
                    let outputs = for_gates.chunks_exact_mut(gates_len);
                    let outputs = outputs.zip(for_start.chunks_exact_mut(2 * width));
                    let inputs = gates.chunks_exact(gates_len).zip(cells.chunks_exact(states));
                    let inputs = inputs.zip(grad.chunks_exact(states)).zip(start.chunks_exact(2 * width));
                    for ((for_gates, state), (((gates, cells), grad), start)) in outputs.zip(inputs) {
                        let before = if step == 0 { &start[width..] } else { &cells[(step - 1) * width..] };
                        let (for_hidden, for_cell) = state.split_at_mut(width);
                        retreat(
                            &gates[step * GATES * width..][..GATES * width],
                            [&before[..width], &cells[step * width..][..width]],
                            &grad[step * width..][..width],
                            for_hidden,
                            for_cell,
                            &mut for_gates[step * GATES * width..][..GATES * width],
                        );
                    }
                },
            );
            // SAFETY: the hidden halves of this task's rows of `for_start`, which nothing else uses
            // meanwhile.
            unsafe {
                let left = &for_gates[step * GATES * width..];
                recurrent.add_product(rows, left, gates_len, for_start.as_mut_ptr(), 2 * width);
            }
        }
    });
    (for_gates, for_start)
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
        let Sizes { rows, steps, hidden: width } = self.sizes;
        let Pass { hidden, gates, cells } = forward(self.sizes, contributions, weight, start);
        let kept = Kept {
            gates: tensor(gates, (rows * steps, GATES * width))?,
            cells: tensor(cells, (rows * steps, width))?,
        };
        // The forward pass runs once. A second one would compute the same values.
        let _ = self.kept.set(kept);
        Ok(hidden)
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
        let Sizes { rows, steps, hidden: width } = self.sizes;
        let shapes = [contributions.shape(), weight.shape(), start.shape()];
        let wanted = [contributions, weight, start].map(Tensor::track_op);
        elements!(T; weight, start, gates, cells, y, grad);
        let (for_gates, for_start) = through_time(self.sizes, weight, start, gates, cells, grad);
        let for_weight = wanted[1].then(|| {
            let before = self.sizes.shifted(y, start);
            let size = Size { m: GATES * width, n: width, k: rows * steps };
            // SAFETY: both matrices have N · L rows, of 4H and of H elements.
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
