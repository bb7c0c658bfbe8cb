//! The arguments that the LSTM and the GRU share: their sizes, and the checks of their shapes.
//!
//! The passes of both cells have the same outline, but use different arrays of different widths. Shared code
//! would have to abstract over these arrays, and would be longer than the two passes.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::shapes::dims2;

/// A kind of cell: its number of gates, and the names of its arguments in errors.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) gates: usize,
    pub(crate) weight: &'static str,
    pub(crate) start: &'static str,
    pub(crate) contributions: &'static str,
}

/// The sizes of a batch of sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Number of sequences.
    pub(crate) sequences: usize,
    /// Number of steps of all sequences together.
    pub(crate) steps: usize,
    /// Width H of the hidden state.
    pub(crate) hidden: usize,
}

impl Sizes {
    /// The sizes of contributions `(T, G · H)` for G gates, of the recurrent weight `(G · H, H)`, and of the
    /// start `(N, 2H)`, where the `lengths` of the N sequences add up to T.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes do not fit; [`Error::Argument`] for another number of lengths.
    pub(crate) fn of(
        cell: &Cell,
        contributions: &Tensor,
        weight: &Tensor,
        start: &Tensor,
        lengths: &[usize],
    ) -> Result<Self> {
        let (gates, hidden) = dims2(cell.weight, weight)?;
        let (sequences, state) = dims2(cell.start, start)?;
        let (all, columns) = dims2(cell.contributions, contributions)?;
        let fail = |what, expected: String, found: &Tensor| {
            Err(Error::Input { what, expected, found: found.shape().clone() })
        };
        if gates != cell.gates * hidden {
            return fail(cell.weight, format!("({}H, H)", cell.gates), weight);
        }
        if sequences == 0 || state != 2 * hidden {
            return fail(cell.start, format!("(N, {}), N not 0", 2 * hidden), start);
        }
        if lengths.len() != sequences {
            let reason = format!("there are {} for {sequences} sequences", lengths.len());
            return Err(Error::Argument { name: "lengths", reason });
        }
        let steps: usize = lengths.iter().sum();
        if steps == 0 || all != steps || columns != gates {
            let expected = format!("(T, {gates}), T not 0 and the sum of the lengths, {steps}");
            return fail(cell.contributions, expected, contributions);
        }
        Ok(Self { sequences, steps, hidden })
    }
}
