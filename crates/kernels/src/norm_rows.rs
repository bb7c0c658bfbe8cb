//! Batch normalisation of rows of features, (N, C). Neighbouring channels share registers, whereas the planes
//! of [`crate::norm`] would fill one lane each. Every sum has the same order as there, so all bits are the same.

use crate::activation::Function;
use crate::float::Float;
use crate::sums::SUM_BLOCK;

/// Channels per task.
pub(crate) const COLUMNS: usize = 64;

/// Neighbouring columns, at most [`COLUMNS`], of a matrix with rows of `stride` elements.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) rows: usize,
    pub(crate) stride: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Columns {
    /// The columns of one row.
    #[inline(always)]
    pub(crate) fn of<'a, T>(&self, x: &'a [T], row: usize) -> &'a [T] {
        &x[row * self.stride + self.first..][..self.count]
    }

    /// K sums over each column: running sums in `T` over blocks of rows, whose totals are added in f64. `add`
    /// adds the terms of a row to the running sums.
    #[inline(always)]
    fn sums<T: Float, const K: usize>(
        &self,
        add: impl Fn(usize, &mut [[T; COLUMNS]; K]),
    ) -> [[f64; COLUMNS]; K] {
        let mut totals = [[0.0; COLUMNS]; K];
        for block in (0..self.rows).step_by(SUM_BLOCK) {
            let mut sums = [[T::ZERO; COLUMNS]; K];
            for row in block..self.rows.min(block + SUM_BLOCK) {
                add(row, &mut sums);
            }
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total += sum.to_f64();
                }
            }
        }
        totals
    }

    /// Mean and biased variance of each column, in two passes.
    #[inline(always)]
    pub(crate) fn statistics<T: Float>(&self, x: &[T], found: &mut [(f64, f64)]) {
        let count = self.rows as f64;
        let [sums] = self.sums(
            #[inline(always)]
            |row, [sums]: &mut [[T; COLUMNS]; 1]| {
                for (sum, &x) in sums.iter_mut().zip(self.of(x, row)) {
                    *sum += x;
                }
            },
        );
        let mut centres = [T::ZERO; COLUMNS];
        for ((found, centre), sum) in found.iter_mut().zip(&mut centres).zip(sums) {
            found.0 = sum / count;
            *centre = T::from_f64(found.0);
        }
        let [sums] = self.sums(
            #[inline(always)]
            |row, [sums]: &mut [[T; COLUMNS]; 1]| {
                for ((sum, &x), &centre) in sums.iter_mut().zip(self.of(x, row)).zip(&centres) {
                    *sum += (x - centre) * (x - centre);
                }
            },
        );
        for (found, sum) in found.iter_mut().zip(sums) {
            found.1 = sum / count;
        }
    }

    /// Σ g and Σ (x − mean) g of each column, where g is the gradient before the activation.
    #[inline(always)]
    pub(crate) fn gradient_sums<T: Float>(
        &self,
        [x, y, grad]: [&[T]; 3],
        means: &[T; COLUMNS],
        activation: impl Function,
    ) -> [[f64; COLUMNS]; 2] {
        self.sums(
            #[inline(always)]
            |row, [plain, centred]: &mut [[T; COLUMNS]; 2]| {
                // Slices of one length, so that their bounds are checked once.
                let count = self.count;
                let [x, y, grad] = [x, y, grad].map(|all| &self.of(all, row)[..count]);
                let (plain, centred, means) = (&mut plain[..count], &mut centred[..count], &means[..count]);
                for i in 0..count {
                    let g = activation.gradient(y[i], grad[i]);
                    plain[i] += g;
                    centred[i] += (x[i] - means[i]) * g;
                }
            },
        )
    }
}
