//! Sums in a fixed order, and maxima, which have the same bits for any number of threads and any instruction set.
#![expect(unsafe_code, reason = "every element of a result is written before it is read")]

use rayon::prelude::*;

use crate::buffer::build;
use crate::float::Float;
use crate::simd::simd;

/// Number of running sums side by side, so that a sum vectorises but has the same order on every CPU.
const LANES: usize = 16;

/// Most elements that are added to [`Lanes`] before their total is taken; more would lose precision in f32.
pub(crate) const SUM_BLOCK: usize = 64 * LANES;

/// A partial sum: successive elements are added to successive running sums.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<T>([T; LANES]);

impl<T: Float> Lanes<T> {
    pub(crate) const ZERO: Self = Self([T::ZERO; LANES]);

    /// Adds f(x) for all elements of a slice.
    #[inline(always)]
    pub(crate) fn add(&mut self, x: &[T], f: impl Fn(T) -> T) {
        let mut lanes = self.0;
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            for lane in 0..LANES {
                lanes[lane] += f(x[lane]);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += f(x);
        }
        self.0 = lanes;
    }

    /// The sum, in f64.
    #[inline(always)]
    pub(crate) fn total(self) -> f64 {
        self.0.iter().map(|lane| lane.to_f64()).sum()
    }
}

/// Adds both results of f(x, y, z) for all elements of three slices of equal length, in the order of [`Lanes::add`].
#[inline(always)]
pub(crate) fn add3<T: Float>(
    [first, second]: &mut [Lanes<T>; 2],
    [x, y, z]: [&[T]; 3],
    f: impl Fn(T, T, T) -> (T, T),
) {
    let (mut a, mut b) = (first.0, second.0);
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    let (z, z_rest) = z.as_chunks::<LANES>();
    for ((x, y), z) in x.iter().zip(y).zip(z) {
        for lane in 0..LANES {
            let (one, other) = f(x[lane], y[lane], z[lane]);
            a[lane] += one;
            b[lane] += other;
        }
    }
    for (lane, ((&x, &y), &z)) in x_rest.iter().zip(y_rest).zip(z_rest).enumerate() {
        let (one, other) = f(x, y, z);
        a[lane] += one;
        b[lane] += other;
    }
    (first.0, second.0) = (a, b);
}

/// Σ f(x) over a slice in a fixed order: running sums in `T` over blocks, whose totals are added in f64.
#[inline(always)]
pub(crate) fn sum1<T: Float>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(SUM_BLOCK) {
        let mut lanes = Lanes::ZERO;
        lanes.add(block, &f);
        total += lanes.total();
    }
    total
}

/// Σ f(x, y) over two slices of equal length, in the order of [`sum1`].
#[inline(always)]
pub(crate) fn sum2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut total = 0.0;
    for (x, y) in x.chunks(SUM_BLOCK).zip(y.chunks(SUM_BLOCK)) {
        let mut lanes = [T::ZERO; LANES];
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x.iter().zip(y) {
            for lane in 0..LANES {
                lanes[lane] += f(x[lane], y[lane]);
            }
        }
        for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
            *lane += f(x, y);
        }
        total += Lanes(lanes).total();
    }
    total
}

/// The largest element of a slice that is not empty; NaN if the first is. Several running maxima side by side vectorise.
#[inline(always)]
pub(crate) fn maximum<T: Float>(x: &[T]) -> T {
    let mut lanes = [x[0]; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let mut top = lanes[0];
    for &x in lanes.iter().chain(rest) {
        top = if x > top { x } else { top };
    }
    top
}

/// Sums (N, channels, plane) over samples and planes: the gradient of a bias per channel.
pub(crate) fn channel_sums<T: Float>(data: &[T], samples: usize, channels: usize) -> Vec<T> {
    let plane = data.len() / (samples * channels).max(1);
    let mut sums = vec![T::ZERO; channels];
    sums.par_iter_mut().enumerate().for_each(|(channel, sum)| {
        let total: f64 = simd(
            #[inline(always)]
            || {
                (0..samples)
                    .map(|sample| {
                        sum1(
                            &data[(sample * channels + channel) * plane..][..plane],
                            #[inline(always)]
                            |x| x,
                        )
                    })
                    .sum()
            },
        );
        *sum = T::from_f64(total);
    });
    sums
}

/// Sums a (rows, columns) matrix over its rows, in their order: one sum per column.
pub(crate) fn column_sums<T: Float>(data: &[T], columns: usize) -> Vec<T> {
    const COLUMNS: usize = 64;
    // SAFETY: every column of a chunk is written.
    unsafe {
        build(columns, COLUMNS, |index, out| {
            let start = index * COLUMNS;
            let mut sums = [0.0f64; COLUMNS];
            simd(
                #[inline(always)]
                || {
                    for row in data.chunks_exact(columns) {
                        for (sum, x) in sums.iter_mut().zip(&row[start..start + out.len()]) {
                            *sum += x.to_f64();
                        }
                    }
                },
            );
            for (out, sum) in out.iter_mut().zip(sums) {
                out.write(T::from_f64(sum));
            }
        })
    }
}
