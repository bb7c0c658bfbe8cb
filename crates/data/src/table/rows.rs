//! Rows that are encoded on demand.

use super::Column;
use super::encode::alpha;
use super::intern::Codes;
use super::layout::Layout;
use super::modes::Mode;

/// The rows of a table, each encoded on demand.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(super) columns: Vec<EncodedColumn>,
    pub(super) layout: Layout,
    pub(super) rows: usize,
}

#[derive(Clone, Debug)]
pub(super) struct EncodedColumn {
    pub(super) column: usize,
    /// Index where its choice starts; a scalar is one before it.
    pub(super) start: usize,
    pub(super) cells: EncodedCells,
}

#[derive(Clone, Debug)]
pub(super) enum EncodedCells {
    Places(Codes),
    Numbers { column: Column, modes: Vec<Mode>, drawn: Vec<u8> },
}

impl Encoded {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the parts of a row.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Encodes a row into `out`, which has the layout's width.
    ///
    /// # Panics
    /// If there is no such row, or `out` has another width.
    pub fn write_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.layout.width(), "an encoded row has another width");
        out.fill(0.0);
        for column in &self.columns {
            match &column.cells {
                EncodedCells::Places(codes) => out[column.start + codes.get(row) as usize] = 1.0,
                EncodedCells::Numbers { column: cells, modes, drawn } => {
                    let place = usize::from(drawn[row]);
                    out[column.start + place] = 1.0;
                    if let (Some(mode), Some(value)) = (modes.get(place), cells.number(row)) {
                        out[column.start - 1] = alpha(mode, value) as f32;
                    }
                }
            }
        }
    }

    /// Returns the place of a row in the choice of a column; None if the column has no choice.
    pub fn place(&self, row: usize, column: usize) -> Option<usize> {
        let own = self.columns.iter().find(|own| own.column == column)?;
        Some(match &own.cells {
            EncodedCells::Places(codes) => codes.get(row) as usize,
            EncodedCells::Numbers { drawn, .. } => drawn[row].into(),
        })
    }

    /// Returns the bytes of memory, without the dictionaries shared with the table.
    pub fn bytes(&self) -> usize {
        let own = |column: &EncodedColumn| match &column.cells {
            EncodedCells::Places(codes) => codes.bytes(),
            EncodedCells::Numbers { drawn, .. } => drawn.capacity(),
        };
        self.columns.iter().map(own).sum()
    }
}
