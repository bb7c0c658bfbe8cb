//! The arguments that the LSTM and the GRU share: their sizes, and the checks of their shapes.
//!
//! The passes of both cells have the same outline, but use different arrays of different widths. Shared code
//! would have to abstract over these arrays, and would be longer than the two passes.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::real::Real;
use crate::shapes::dims2;

/// Gradients of three arguments.
pub(crate) type Triple = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// A kind of cell: its number of gates, and the names of its arguments in errors.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) gates: usize,
    pub(crate) weight: &'static str,
    pub(crate) start: &'static str,
    pub(crate) contributions: &'static str,
    pub(crate) one_step: &'static str,
}

/// Rows of the batch, steps of a sequence, and width H of the hidden state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) steps: usize,
    pub(crate) hidden: usize,
}

impl Sizes {
    /// The sizes of contributions `(N · L, G · H)` for G gates, of the recurrent weight `(G · H, H)`, and of
    /// the start `(N, 2H)`.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes do not fit.
    pub(crate) fn of(cell: &Cell, contributions: &Tensor, weight: &Tensor, start: &Tensor) -> Result<Self> {
        let (gates, hidden) = dims2(cell.weight, weight)?;
        let (rows, state) = dims2(cell.start, start)?;
        let (all, columns) = dims2(cell.contributions, contributions)?;
        let fail = |what, expected: String, found: &Tensor| {
            Err(Error::Input { what, expected, found: found.shape().clone() })
        };
        if gates != cell.gates * hidden {
            return fail(cell.weight, format!("({}H, H)", cell.gates), weight);
        }
        if rows == 0 || state != 2 * hidden {
            return fail(cell.start, format!("(N, {}), N not 0", 2 * hidden), start);
        }
        if all == 0 || !all.is_multiple_of(rows) || columns != gates {
            let expected = format!("({rows} · L, {gates}), L not 0");
            return fail(cell.contributions, expected, contributions);
        }
        Ok(Self { rows, steps: all / rows, hidden })
    }

    /// As [`Sizes::of`], for contributions to a single step, `(N, G · H)`.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes do not fit.
    pub(crate) fn of_one_step(
        cell: &Cell,
        contributions: &Tensor,
        weight: &Tensor,
        state: &Tensor,
    ) -> Result<Self> {
        let sizes = Self::of(cell, contributions, weight, state)?;
        if sizes.steps != 1 {
            let expected = format!("({}, {}H)", sizes.rows, cell.gates);
            let found = contributions.shape().clone();
            return Err(Error::Input { what: cell.one_step, expected, found });
        }
        Ok(sizes)
    }

    /// The hidden state before every step, `(N · L, H)`, from the hidden states after them and the start.
    pub(crate) fn shifted<T: Real>(self, hidden: &[T], start: &[T]) -> Vec<T> {
        let Self { steps, hidden: width, .. } = self;
        let mut before = Vec::with_capacity(hidden.len());
        if width > 0 {
            for (hidden, start) in hidden.chunks_exact(steps * width).zip(start.chunks_exact(2 * width)) {
                before.extend_from_slice(&start[..width]);
                before.extend_from_slice(&hidden[..(steps - 1) * width]);
            }
        }
        before
    }
}
