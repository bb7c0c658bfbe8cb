//! The rows of a table as samples of a data set.

use waxwork_core::sample::{Range, Silence};
use waxwork_core::{Kind, SampleSpec};

use super::Table;
use super::encode::{Encoded, Encoder, Shape};
use super::error::{Error, Result};
use crate::source::Source;

impl Encoder {
    /// Returns the network's view of a row.
    ///
    /// # Errors
    /// [`Error::Schema`] if no column is encoded.
    pub fn sample(&self) -> Result<SampleSpec> {
        let fail = |reason: String| Error::Schema { column: None, reason };
        let mut silences = Vec::new();
        let segments = self.layout().segments.iter().map(|segment| {
            let range = match segment.shape {
                Shape::Scalar => Range::Signed,
                Shape::Choice(_) => Range::OneHot,
            };
            let modes = self.modes(segment.column).iter();
            let points = modes.enumerate().filter(|(_, mode)| mode.is_point()).map(|(place, _)| place);
            let places: Vec<usize> = points.chain(self.null_place(segment.column)).collect();
            if segment.shape == Shape::Scalar && !places.is_empty() {
                // The choice of the mode follows its scalar.
                let places = places.iter().map(|place| segment.start + 1 + place).collect();
                silences.push(Silence { value: segment.start, places });
            }
            waxwork_core::sample::Segment { width: segment.shape.width(), range }
        });
        let segments = segments.collect();
        if self.layout().width() == 0 {
            return Err(fail(
                "every column is an identifier or a constant: there is nothing to learn".into(),
            ));
        }
        let spec = SampleSpec::new(vec![self.layout().width()], segments);
        spec.and_then(|spec| spec.silenced(silences)).map_err(|error| fail(error.to_string()))
    }

    /// Returns the columns that a model can be conditioned on, by their positions in the schema: categories
    /// and booleans.
    pub fn discrete(&self) -> Vec<usize> {
        let columns = self.schema().columns.iter().enumerate();
        columns.filter(|(_, column)| column.kind.is_discrete()).map(|(index, _)| index).collect()
    }
}

/// The encoded rows of a table, as one of the parts of a data set.
pub(crate) struct TableRows {
    encoded: Encoded,
    kind: Kind,
    /// The columns that a model can be conditioned on: their positions in the schema, and their numbers of
    /// values.
    columns: Vec<usize>,
    widths: Vec<usize>,
}

impl TableRows {
    pub(crate) fn new(encoder: &Encoder, table: &Table) -> Result<Self> {
        let columns = encoder.discrete();
        let width =
            |column: &usize| encoder.layout().choice(*column).map_or(0, |choice| choice.shape.width());
        Ok(Self {
            encoded: encoder.bind(table)?,
            kind: Kind::Rows(encoder.sample()?),
            widths: columns.iter().map(width).collect(),
            columns,
        })
    }
}

impl Source for TableRows {
    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    fn len(&self) -> usize {
        self.encoded.rows()
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> crate::Result<()> {
        if index >= self.encoded.rows() {
            return Err(crate::Error::OutOfRange { index, len: self.encoded.rows() });
        }
        let mut row = vec![0.0; self.encoded.layout().width()];
        self.encoded.write_row(index, &mut row);
        for (bytes, value) in out.chunks_exact_mut(size_of::<f32>()).zip(row) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn column_widths(&self) -> &[usize] {
        &self.widths
    }

    fn column_value(&self, index: usize, column: usize) -> Option<u32> {
        let column = *self.columns.get(column)?;
        (index < self.encoded.rows()).then(|| self.encoded.place(index, column))?.map(|place| place as u32)
    }
}
