//! Distances between two sets of features. `waxwork.metrics` in Python documents the functions.

use pyo3::prelude::*;
use waxwork_eval::{
    Features, cover_with_progress, frechet_with_progress, inception_score, kernel_distance_with_progress,
};

use crate::arrays::tensor;
use crate::compute::{Watch, compute};
use crate::errors::Fault;

fn features(whose: &'static str, npy: &[u8]) -> Result<Features, Fault> {
    let array = tensor(whose, npy)?;
    match array.dims() {
        [_, _] => Ok(Features::new(whose, &array)?),
        dims => Err(Fault::data(format!("{whose} features must be (N, D), but their shape is {dims:?}"))),
    }
}

/// Stops the computation after an interrupt.
fn progress(watch: &Watch) -> impl FnMut(usize, usize) {
    move |done: usize, all: usize| watch.progress("measuring", done as u64, all as u64)
}

#[pyfunction]
#[pyo3(name = "frechet")]
pub(crate) fn frechet_of(py: Python<'_>, real: &[u8], generated: &[u8]) -> PyResult<f64> {
    compute(py, None, None, |watch| {
        let (real, generated) = (features("real", real)?, features("generated", generated)?);
        Ok(frechet_with_progress(&real, &generated, &mut progress(watch))?)
    })
}

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
    compute(py, None, None, |watch| {
        let (real, generated) = (features("real", real)?, features("generated", generated)?);
        let progress = &mut progress(watch);
        let found = kernel_distance_with_progress(&real, &generated, subsets, size, seed, progress)?;
        Ok((found.mean, found.standard_deviation))
    })
}

#[pyfunction]
#[pyo3(name = "cover")]
pub(crate) fn cover_of(
    py: Python<'_>,
    real: &[u8],
    generated: &[u8],
    k: usize,
) -> PyResult<(f64, f64, f64, f64)> {
    compute(py, None, None, |watch| {
        let (real, generated) = (features("real", real)?, features("generated", generated)?);
        let found = cover_with_progress(&real, &generated, k, &mut progress(watch))?;
        Ok((found.precision, found.recall, found.density, found.coverage))
    })
}

#[pyfunction]
#[pyo3(name = "score")]
pub(crate) fn score_of(py: Python<'_>, probabilities: &[u8]) -> PyResult<(f64, f64)> {
    compute(py, None, None, |watch| {
        let array = features("generated", probabilities)?;
        // Computing the score takes less time than reading the array.
        progress(watch)(0, 1);
        let values = array.values()?;
        let rows: Vec<Vec<f64>> = values.chunks_exact(array.columns()).map(<[f64]>::to_vec).collect();
        let found = inception_score(&rows)?;
        Ok((found.mean, found.standard_deviation))
    })
}
