//! The LSTM and the GRU over whole sequences, step by step. They compute padding too, because the launches of a
//! step cost more than its padding.

use candle_core::{D, DType, Tensor};

use crate::composed::backward::{ArgumentGradients, Backward, attach, cast, want};
use crate::composed::pointwise::sigmoid;
use crate::composed::products::product;
use crate::composed::tokens::embedding;
use crate::error::Result;

/// As the kernel of this name.
pub(crate) fn lstm(
    contributions: &Tensor,
    weight: &Tensor,
    start: &Tensor,
    lengths: &[usize],
) -> Result<Tensor> {
    padded(contributions, lengths, |contributions| {
        let steps = forward(&contributions.detach(), &weight.detach(), &start.detach())?;
        let hidden: Vec<&Tensor> = steps.iter().map(|step| &step.hidden).collect();
        let y = joined(&hidden)?;
        attach(y, &[contributions, weight, start], LstmBackward { steps })
    })
}

/// Computes sequences of several lengths as sequences of one length: pads `rows` `(T, W)` with zeros to
/// `(N · L, W)` for the longest length L, and removes the padding from the result. At the end of a sequence,
/// padding changes neither the steps before it nor their gradients.
fn padded(
    rows: &Tensor,
    lengths: &[usize],
    compute: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if lengths.iter().all(|&length| length == longest) {
        return compute(rows);
    }
    let of_sequence =
        |(sequence, &length): (usize, &usize)| (sequence * longest..).take(length).map(|place| place as u32);
    let places: Vec<u32> = lengths.iter().enumerate().flat_map(of_sequence).collect();
    let (count, width) = rows.dims2()?;
    let places = Tensor::from_vec(places, count, rows.device())?;
    let zeros = Tensor::zeros((lengths.len() * longest, width), rows.dtype(), rows.device())?;
    let all = zeros.index_add(&places, &rows.contiguous()?, 0)?;
    embedding(&compute(&all)?, &places)
}

/// As the kernel of this name.
pub(crate) fn lstm_step(
    contributions: &Tensor,
    weight: &Tensor,
    state: &Tensor,
) -> candle_core::Result<Tensor> {
    match forward(contributions, weight, state)?.as_slice() {
        [Step { hidden, cell, .. }] => Tensor::cat(&[hidden, cell], 1),
        _ => candle_core::bail!("an LSTM made more steps than one"),
    }
}

/// The values of one step, `(N, H)` each.
struct Step {
    /// Input, forget, cell candidate, output.
    gates: [Tensor; 4],
    /// Hidden state and cell before the step.
    before: [Tensor; 2],
    hidden: Tensor,
    cell: Tensor,
    /// tanh of the cell.
    squashed: Tensor,
}

fn forward(contributions: &Tensor, weight: &Tensor, start: &Tensor) -> candle_core::Result<Vec<Step>> {
    let width = weight.dim(1)?;
    let part = |x: &Tensor, number: usize| x.narrow(1, number * width, width)?.contiguous();
    let mut state = [part(start, 0)?, part(start, 1)?];
    let mut steps = Vec::new();
    for contributions in by_step(contributions, start.dim(0)?)? {
        let a = (contributions + times(&state[0], &weight.t()?)?)?;
        let gate = |number: usize| sigmoid(&part(&a, number)?);
        let [i, f, o] = [gate(0)?, gate(1)?, gate(3)?];
        let g = part(&a, 2)?.tanh()?;
        let cell = ((&f * &state[1])? + (&i * &g)?)?;
        let squashed = cell.tanh()?;
        let hidden = (&o * &squashed)?;
        let before = std::mem::replace(&mut state, [hidden.clone(), cell.clone()]);
        steps.push(Step { gates: [i, f, g, o], before, hidden, cell, squashed });
    }
    Ok(steps)
}

/// Values `(N, W)` of each of L steps → `(N · L, W)`, with the L steps of each sequence in succession.
fn joined<V: AsRef<Tensor>>(steps: &[V]) -> candle_core::Result<Tensor> {
    Tensor::stack(steps, 1)?.flatten(0, 1)
}

/// The inverse of [`joined`]: values `(N · L, W)` of N sequences → `(N, W)` for each of L steps.
fn by_step(rows: &Tensor, sequences: usize) -> candle_core::Result<Vec<Tensor>> {
    let rows = rows.reshape((sequences, (), rows.dim(1)?))?;
    (0..rows.dim(1)?).map(|step| rows.narrow(1, step, 1)?.squeeze(1)).collect()
}

/// x · w, multiplied in the type of w; the result has the type of x.
fn times(x: &Tensor, w: &Tensor) -> candle_core::Result<Tensor> {
    cast(&product(&cast(x, w.dtype())?, w)?, x.dtype())
}

/// The gradient of a recurrent weight `(G · H, H)` of this type, from the slopes of its products,
/// `(N · L, G · H)`, and from the hidden states before each of the L steps, `(N, H)` each.
fn weight_gradient(slopes: &Tensor, before: &[&Tensor], dtype: DType) -> candle_core::Result<Tensor> {
    let before = cast(&joined(before)?, dtype)?;
    product(&cast(slopes, dtype)?.t()?, &before)
}

/// The slope before a sigmoid of this value: σ' = σ (1 − σ).
fn through_sigmoid(value: &Tensor, slope: &Tensor) -> candle_core::Result<Tensor> {
    slope.mul(value)?.mul(&value.affine(-1.0, 1.0)?)
}

/// The slope before a tanh of this value: tanh' = 1 − tanh².
fn through_tanh(value: &Tensor, slope: &Tensor) -> candle_core::Result<Tensor> {
    slope.mul(&value.sqr()?.affine(-1.0, 1.0)?)
}

struct LstmBackward {
    steps: Vec<Step>,
}

impl Backward for LstmBackward {
    const NAME: &'static str = "waxwork-composed-lstm";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let weight = &arguments[1];
        let grads = by_step(grad, arguments[2].dim(0)?)?;
        let mut later = arguments[2].narrow(1, 0, weight.dim(1)?)?.zeros_like()?;
        let mut for_cell = later.clone();
        let mut for_gates = Vec::new();
        for (step, grad) in self.steps.iter().zip(grads).rev() {
            let Step { gates: [i, f, g, o], before: [_, cell], squashed, .. } = step;
            let dh = (grad + later)?;
            let dc = (for_cell + through_tanh(squashed, &dh.mul(o)?)?)?;
            let of_step = Tensor::cat(
                &[
                    through_sigmoid(i, &dc.mul(g)?)?,
                    through_sigmoid(f, &dc.mul(cell)?)?,
                    through_tanh(g, &dc.mul(i)?)?,
                    through_sigmoid(o, &dh.mul(squashed)?)?,
                ],
                D::Minus1,
            )?;
            for_cell = dc.mul(f)?;
            later = times(&of_step, weight)?;
            for_gates.push(of_step);
        }
        for_gates.reverse();
        let for_gates = joined(&for_gates)?;
        let for_weight = || {
            let before: Vec<&Tensor> = self.steps.iter().map(|step| &step.before[0]).collect();
            weight_gradient(&for_gates, &before, weight.dtype())
        };
        Ok(vec![
            want(wanted[0], || Ok(for_gates.clone()))?,
            want(wanted[1], for_weight)?,
            want(wanted[2], || Tensor::cat(&[&later, &for_cell], 1))?,
        ])
    }
}

/// As the kernel of this name.
pub(crate) fn gru(
    contributions: &Tensor,
    weight: &Tensor,
    start: &Tensor,
    lengths: &[usize],
) -> Result<Tensor> {
    padded(contributions, lengths, |contributions| {
        let steps = gru_forward(&contributions.detach(), &weight.detach(), &start.detach())?;
        let hidden: Vec<&Tensor> = steps.iter().map(|step| &step.hidden).collect();
        let y = joined(&hidden)?;
        attach(y, &[contributions, weight, start], GruBackward { steps })
    })
}

/// As the kernel of this name.
pub(crate) fn gru_step(
    contributions: &Tensor,
    weight: &Tensor,
    state: &Tensor,
) -> candle_core::Result<Tensor> {
    let width = weight.dim(1)?;
    match gru_forward(contributions, weight, state)?.as_slice() {
        [GruStep { hidden, .. }] => Tensor::cat(&[hidden, &state.narrow(1, width, width)?.contiguous()?], 1),
        _ => candle_core::bail!("a GRU made more steps than one"),
    }
}

/// The values of one step of a GRU, `(N, H)` each.
struct GruStep {
    /// Reset gate, update gate, candidate.
    gates: [Tensor; 3],
    /// The part of the candidate that the reset gate multiplies.
    recurrent: Tensor,
    /// Hidden state before the step.
    before: Tensor,
    hidden: Tensor,
}

fn gru_forward(contributions: &Tensor, weight: &Tensor, start: &Tensor) -> candle_core::Result<Vec<GruStep>> {
    let width = weight.dim(1)?;
    let part = |x: &Tensor, number: usize| x.narrow(1, number * width, width)?.contiguous();
    let (mut state, bias) = (part(start, 0)?, part(start, 1)?);
    let mut steps = Vec::new();
    for a in by_step(contributions, start.dim(0)?)? {
        let u = times(&state, &weight.t()?)?;
        let gate = |number: usize| sigmoid(&(part(&a, number)? + part(&u, number)?)?);
        let [r, z] = [gate(0)?, gate(1)?];
        let recurrent = (part(&u, 2)? + &bias)?;
        let n = (part(&a, 2)? + (&r * &recurrent)?)?.tanh()?;
        let hidden = (&n + (&z * (&state - &n)?)?)?;
        let before = std::mem::replace(&mut state, hidden.clone());
        steps.push(GruStep { gates: [r, z, n], recurrent, before, hidden });
    }
    Ok(steps)
}

struct GruBackward {
    steps: Vec<GruStep>,
}

impl Backward for GruBackward {
    const NAME: &'static str = "waxwork-composed-gru";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let weight = &arguments[1];
        let grads = by_step(grad, arguments[2].dim(0)?)?;
        let mut later = arguments[2].narrow(1, 0, weight.dim(1)?)?.zeros_like()?;
        let mut for_bias = later.clone();
        let (mut for_gates, mut for_products) = (Vec::new(), Vec::new());
        for (step, grad) in self.steps.iter().zip(grads).rev() {
            let GruStep { gates: [r, z, n], recurrent, before, .. } = step;
            let dh = (grad + later)?;
            let dn = through_tanh(n, &dh.mul(&z.affine(-1.0, 1.0)?)?)?;
            let du = dn.mul(r)?;
            let dr = through_sigmoid(r, &dn.mul(recurrent)?)?;
            let dz = through_sigmoid(z, &dh.mul(&(before - n)?)?)?;
            let of_product = Tensor::cat(&[&dr, &dz, &du], D::Minus1)?;
            later = (dh.mul(z)? + times(&of_product, weight)?)?;
            for_bias = (for_bias + du)?;
            for_products.push(of_product);
            for_gates.push(Tensor::cat(&[dr, dz, dn], D::Minus1)?);
        }
        for_gates.reverse();
        for_products.reverse();
        let for_weight = || {
            let before: Vec<&Tensor> = self.steps.iter().map(|step| &step.before).collect();
            weight_gradient(&joined(&for_products)?, &before, weight.dtype())
        };
        Ok(vec![
            want(wanted[0], || joined(&for_gates))?,
            want(wanted[1], for_weight)?,
            want(wanted[2], || Tensor::cat(&[&later, &for_bias], 1))?,
        ])
    }
}
