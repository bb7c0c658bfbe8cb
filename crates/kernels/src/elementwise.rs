//! Parallel, vectorised elementwise operations on slices.
#![expect(unsafe_code, reason = "every element of a result is written before it is read")]

use crate::buffer::build;
use crate::float::Float;
use crate::simd::simd;

/// Elements per task: 128 KiB of f32, enough to outweigh the cost of scheduling a task.
pub(crate) const TASK_LEN: usize = 1 << 15;

/// f(x) for every element.
pub(crate) fn map1<T: Float>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    // SAFETY: `out` and the part of `x` have the same length, so every element is written.
    unsafe {
        build(x.len(), TASK_LEN, |index, out| {
            let x = part(x, index, out.len());
            simd(
                #[inline(always)]
                || {
                    for (out, &x) in out.iter_mut().zip(x) {
                        out.write(f(x));
                    }
                },
            );
        })
    }
}

/// f(x, y) for every pair of elements.
pub(crate) fn map2<T: Float>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len());
    // SAFETY: `out` and the parts of `x` and `y` have the same length, so every element is written.
    unsafe {
        build(x.len(), TASK_LEN, |index, out| {
            let (x, y) = (part(x, index, out.len()), part(y, index, out.len()));
            simd(
                #[inline(always)]
                || {
                    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                        out.write(f(x, y));
                    }
                },
            );
        })
    }
}

/// f(x, y, z) for every triple of elements.
pub(crate) fn map3<T: Float>(x: &[T], y: &[T], z: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    assert!(x.len() == y.len() && y.len() == z.len());
    // SAFETY: `out` and the parts of `x`, `y` and `z` have the same length, so every element is written.
    unsafe {
        build(x.len(), TASK_LEN, |index, out| {
            let len = out.len();
            let (x, y, z) = (part(x, index, len), part(y, index, len), part(z, index, len));
            simd(
                #[inline(always)]
                || {
                    for (((out, &x), &y), &z) in out.iter_mut().zip(x).zip(y).zip(z) {
                        out.write(f(x, y, z));
                    }
                },
            );
        })
    }
}

/// f(x, y, s) for every pair of elements of two (rows, columns) matrices, with the row's element of `s`.
pub(crate) fn map2_rows<T: Float>(x: &[T], y: &[T], s: &[T], f: impl Fn(T, T, T) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len());
    let columns = x.len() / s.len().max(1);
    assert_eq!(columns * s.len(), x.len());
    let rows = (TASK_LEN / columns.max(1)).max(1);
    // SAFETY: a chunk consists of whole rows, and the loops below write all of them.
    unsafe {
        build(x.len(), rows * columns, |index, out| {
            let first = index * rows;
            simd(
                #[inline(always)]
                || {
                    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                        let start = (first + row) * columns;
                        let s = s[first + row];
                        let (x, y) = (&x[start..start + columns], &y[start..start + columns]);
                        for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                            out.write(f(x, y, s));
                        }
                    }
                },
            );
        })
    }
}

/// The part of an input that corresponds to chunk `index`.
fn part<T>(x: &[T], index: usize, len: usize) -> &[T] {
    &x[index * TASK_LEN..index * TASK_LEN + len]
}
