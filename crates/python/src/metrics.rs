//! Distances between two sets of features.

use pyo3::prelude::*;
use waxwork_eval::{Features, cover, frechet, inception_score, kernel_distance};

use crate::arrays::tensor;
use crate::compute::compute;
use crate::errors::Fault;

fn features(whose: &'static str, npy: &[u8]) -> Result<Features, Fault> {
    let array = tensor(whose, npy)?;
    match array.dims() {
        [_, _] => Ok(Features::new(whose, &array)?),
        dims => Err(Fault::data(format!("{whose} features must be (N, D), but their shape is {dims:?}"))),
    }
}

/// The Fréchet distance.
#[pyfunction]
#[pyo3(name = "frechet")]
pub(crate) fn frechet_of(py: Python<'_>, real: &[u8], generated: &[u8]) -> PyResult<f64> {
    compute(py, None, None, |_| Ok(frechet(&features("real", real)?, &features("generated", generated)?)?))
}

/// Mean and standard deviation of the kernel distance over random subsets.
#[pyfunction]
#[pyo3(name = "kernel")]
pub(crate) fn kernel_of(
    py: Python<'_>,
    real: &[u8],
    generated: &[u8],
    subsets: usize,
    size: usize,
    seed: u64,
) -> PyResult<(f64, f64)> {
    compute(py, None, None, |_| {
        let (real, generated) = (features("real", real)?, features("generated", generated)?);
        let found = kernel_distance(&real, &generated, subsets, size, seed)?;
        Ok((found.mean, found.standard_deviation))
    })
}

/// Precision, recall, density and coverage with the `k` nearest neighbours.
#[pyfunction]
#[pyo3(name = "cover")]
pub(crate) fn cover_of(
    py: Python<'_>,
    real: &[u8],
    generated: &[u8],
    k: usize,
) -> PyResult<(f64, f64, f64, f64)> {
    compute(py, None, None, |_| {
        let found = cover(&features("real", real)?, &features("generated", generated)?, k)?;
        Ok((found.precision, found.recall, found.density, found.coverage))
    })
}

/// Mean and standard deviation of the Inception Score's formula over ten parts.
#[pyfunction]
#[pyo3(name = "score")]
pub(crate) fn score_of(py: Python<'_>, probabilities: &[u8]) -> PyResult<(f64, f64)> {
    compute(py, None, None, |_| {
        let array = features("generated", probabilities)?;
        let values = array.values()?;
        let rows: Vec<Vec<f64>> = values.chunks_exact(array.columns()).map(<[f64]>::to_vec).collect();
        let found = inception_score(&rows)?;
        Ok((found.mean, found.standard_deviation))
    })
}
