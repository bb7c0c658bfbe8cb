//! Arrays on their way in and out. They come in as the bytes of a `.npy` file, which the reader of such files
//! checks, and go out as bytes that NumPy uses without a copy.

use std::path::Path;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList};
use waxwork_core::{DType, Device, Tensor, npy, values};
use waxwork_eval::arrays;
use waxwork_media::preview;

use crate::compute::compute;
use crate::errors::{Fault, guard};
use crate::rows;

/// The tensor of an array. `what` names it in errors.
pub(crate) fn tensor(what: &str, npy: &[u8]) -> Result<Tensor, Fault> {
    npy::decode(npy, Path::new(what)).map_err(|error| match error {
        waxwork_core::Error::Damaged { reason, .. } => Fault::data(format!("{what}: {reason}")),
        error => error.into(),
    })
}

/// The labels of `count` samples: class numbers, or one-hot rows.
#[pyfunction]
pub(crate) fn labels(npy: &[u8], count: usize, classes: usize) -> PyResult<Vec<u32>> {
    guard(|| {
        let array = tensor("labels", npy)?;
        Ok(arrays::labels(&array, count, classes).map_err(Fault::from)?)
    })
}

/// Images or points as one PNG image, with this number of columns.
#[pyfunction]
pub(crate) fn grid<'py>(py: Python<'py>, npy: &[u8], columns: usize) -> PyResult<Bound<'py, PyBytes>> {
    let png = compute(py, None, None, |_| {
        let array = tensor("images", npy)?;
        let kind = arrays::kind_of(&array)?;
        let picture = preview::picture(&kind, &arrays::samples(&array, &kind)?, columns.max(1));
        Ok(picture.and_then(|picture| picture.png()).map_err(waxwork_trainer::Error::from)?)
    })?;
    Ok(PyBytes::new(py, &png))
}

/// What a model made.
pub(crate) enum Made {
    /// Numbers of this shape.
    Floats(Floats),
    /// Texts.
    Texts(Vec<String>),
    /// Rows of a table.
    Rows(waxwork_data::table::Table),
}

/// An array of f32.
pub(crate) struct Floats {
    pub(crate) dims: Vec<usize>,
    /// Tensors of f32 on the CPU. They are copied once, to the bytes that Python gets.
    pub(crate) parts: Vec<Tensor>,
}

impl Floats {
    /// An array of these dimensions that has no values yet.
    pub(crate) fn new(dims: &[usize]) -> Self {
        Self { dims: dims.to_vec(), parts: Vec::new() }
    }

    /// The values of a tensor, in its shape.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self, Fault> {
        let mut floats = Self::new(tensor.dims());
        floats.push(tensor)?;
        Ok(floats)
    }

    /// Appends the values of a tensor.
    pub(crate) fn push(&mut self, part: &Tensor) -> Result<(), Fault> {
        let part = part.to_device(&Device::Cpu).and_then(|part| part.to_dtype(DType::F32));
        self.parts.push(part.map_err(waxwork_core::Error::from)?);
        Ok(())
    }

    /// The shape, and the bytes of all values.
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<(Vec<usize>, Bound<'_, PyByteArray>)> {
        let count: usize = self.parts.iter().map(Tensor::elem_count).sum();
        let bytes = PyByteArray::new_with(py, 4 * count, |mut bytes| {
            for part in &self.parts {
                let (here, rest) = bytes.split_at_mut(4 * part.elem_count());
                let copy = |values: &[f32]| {
                    for (to, value) in here.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                        *to = value.to_ne_bytes();
                    }
                };
                values::read(part, copy).map_err(Fault::from)?;
                bytes = rest;
            }
            Ok(())
        })?;
        Ok((self.dims, bytes))
    }
}

impl Made {
    /// A shape and bytes, a list of texts, or columns.
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Floats(floats) => floats.into_python(py)?.into_bound_py_any(py),
            Self::Texts(texts) => Ok(PyList::new(py, texts)?.into_any()),
            Self::Rows(table) => Ok(rows::columns(py, &table)?.into_any()),
        }
    }
}
