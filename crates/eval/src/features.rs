//! Features, from which distances between real and generated images are computed: one row per image.

use waxwork_core::{DType, Device, Tensor};
use waxwork_kernels as kernels;

use crate::{Error, Result};

/// A matrix with one row per image and one column per feature. All values are finite, and there is at least
/// one row and one column.
#[derive(Clone, Debug)]
pub struct Features {
    /// `(rows, columns)`, f64, on the CPU.
    matrix: Tensor,
}

impl Features {
    /// Makes features `(N, D)` from a tensor of any float type. `whose` names them in errors, e.g.
    /// "generated".
    ///
    /// # Errors
    /// If there is no row or column, or a value is not finite.
    pub fn new(whose: &'static str, features: &Tensor) -> Result<Self> {
        let features = features.to_device(&Device::Cpu).map_err(waxwork_core::Error::from)?;
        let matrix = features.to_dtype(DType::F64).map_err(waxwork_core::Error::from)?;
        let (rows, columns) = matrix.dims2().map_err(waxwork_core::Error::from)?;
        if rows == 0 || columns == 0 {
            return Err(Error::TooFew { whose, needed: 1, found: rows.min(columns) });
        }
        let features = Self { matrix };
        match features.values()?.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(Error::NotFinite { whose, row: place / columns }),
            None => Ok(features),
        }
    }

    /// Returns the number of images.
    pub fn rows(&self) -> usize {
        self.matrix.dims()[0]
    }

    /// Returns the length of an image's vector.
    pub fn columns(&self) -> usize {
        self.matrix.dims()[1]
    }

    /// Returns all values, row by row.
    pub fn values(&self) -> Result<Vec<f64>> {
        Ok(flat(&self.matrix)?)
    }

    /// Returns these rows, in this order.
    ///
    /// # Errors
    /// If one of them does not exist.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        let rows = Tensor::new(rows, &Device::Cpu).map_err(waxwork_core::Error::from)?;
        let matrix = self.matrix.index_select(&rows, 0).map_err(waxwork_core::Error::from)?;
        Ok(Self { matrix })
    }

    /// Returns `count` rows, starting at `first`.
    pub(crate) fn part(&self, first: usize, count: usize) -> Result<Self> {
        let matrix = self.matrix.narrow(0, first, count).map_err(waxwork_core::Error::from)?;
        Ok(Self { matrix })
    }

    /// Returns x·y of every row with every row of `other`, row by row.
    pub(crate) fn products(&self, other: &Self) -> Result<Vec<f64>> {
        let turned = other.matrix.t().map_err(waxwork_core::Error::from)?;
        Ok(flat(&kernels::matmul(&self.matrix, &turned)?)?)
    }

    /// Returns ‖x‖² of every row.
    pub(crate) fn squares(&self) -> Result<Vec<f64>> {
        let columns = self.columns();
        Ok(self.values()?.chunks_exact(columns).map(|row| row.iter().map(|x| x * x).sum()).collect())
    }

    /// Returns the mean of the rows.
    pub(crate) fn mean(&self) -> Result<Vec<f64>> {
        let mut mean = vec![0.0; self.columns()];
        for row in self.values()?.chunks_exact(self.columns()) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
        }
        mean.iter_mut().for_each(|mean| *mean /= self.rows() as f64);
        Ok(mean)
    }

    /// Returns the variance of each column, divided by N.
    pub(crate) fn variances(&self) -> Result<Vec<f64>> {
        let mean = self.mean()?;
        let mut variances = vec![0.0; self.columns()];
        for row in self.values()?.chunks_exact(self.columns()) {
            for ((variance, x), mean) in variances.iter_mut().zip(row).zip(&mean) {
                *variance += (x - mean).powi(2) / self.rows() as f64;
            }
        }
        Ok(variances)
    }

    /// Returns Σ (x − mean)(x − mean)ᵀ over the rows, row by row.
    pub(crate) fn scatter(&self, mean: &[f64]) -> Result<Vec<f64>> {
        let mean = Tensor::new(mean, &Device::Cpu).map_err(waxwork_core::Error::from)?;
        let centred = self.matrix.broadcast_sub(&mean).map_err(waxwork_core::Error::from)?;
        let turned = centred.t().map_err(waxwork_core::Error::from)?;
        Ok(flat(&kernels::matmul(&turned, &centred)?)?)
    }
}

fn flat(matrix: &Tensor) -> waxwork_core::Result<Vec<f64>> {
    Ok(matrix.flatten_all()?.to_vec1::<f64>()?)
}

/// Checks that two sets of features have the same width.
pub(crate) fn check_columns(real: &Features, generated: &Features) -> Result<()> {
    if real.columns() == generated.columns() {
        return Ok(());
    }
    Err(Error::Widths { real: real.columns(), generated: generated.columns() })
}
