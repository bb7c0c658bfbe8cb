//! Downsampling, upsampling and translation against their definitions, and their gradients as adjoints.

use candle_core::{Tensor, Var};
use proptest::prelude::*;

use super::{check, check_nan, random};
use crate::{avg_pool2, slide, translate, upsample2};

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Tests that ⟨y, f(x)⟩ = ⟨fᵀ(y), x⟩ for a linear f, where fᵀ(y) is the gradient of the left side
/// with respect to x.
fn check_adjoint(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) {
    let var = Var::from_tensor(x).unwrap();
    let out = f(&var);
    let (n, c, h, w) = out.dims4().unwrap();
    let y = random(2, &[n, c, h, w]);
    let left = (&out * &y).unwrap().sum_all().unwrap();
    let gradient = left.backward().unwrap().get(&var).unwrap().clone();
    let other = random(3, x.dims());
    let right = (gradient * &other).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    let left = (f(&other) * y).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    assert!((left - right).abs() < 1e-9 * (1.0 + left.abs()), "{left} against {right}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn halving_and_doubling_match_their_definitions(n in 1usize..4, c in 1usize..5, h in 1usize..5, w in 1usize..7) {
        let x = random(1, &[n, c, 2 * h, 2 * w]);
        let (halved, doubled) = (avg_pool2(&x).unwrap(), upsample2(&x).unwrap());
        let at = |t: &Tensor, i: usize, y: usize, x: usize| {
            t.flatten(0, 1).unwrap().get(i).unwrap().get(y).unwrap().get(x).unwrap().to_scalar::<f64>().unwrap()
        };
        for (i, row, column) in [(0, 0, 0), (n * c - 1, h - 1, w - 1), (n * c / 2, h / 2, w / 2)] {
            let mean = 0.25 * (0..4).map(|k| at(&x, i, 2 * row + k / 2, 2 * column + k % 2)).sum::<f64>();
            prop_assert!((at(&halved, i, row, column) - mean).abs() < 1e-12);
            prop_assert_eq!(at(&doubled, i, 2 * row + 1, 2 * column), at(&x, i, row, column));
            prop_assert_eq!(at(&doubled, i, 2 * row, 2 * column + 1), at(&x, i, row, column));
        }
        check_adjoint(&x, |x| avg_pool2(x).unwrap());
        check_adjoint(&x, |x| upsample2(x).unwrap());
        check_adjoint(&x.t().unwrap(), |x| upsample2(x).unwrap());
        check(&|t| avg_pool2(&t[0]), std::slice::from_ref(&x));
        check(&|t| upsample2(&t[0]), std::slice::from_ref(&x));
        check_nan(&|t| avg_pool2(&t[0]), std::slice::from_ref(&x));
        check_nan(&|t| upsample2(&t[0]), &[x]);
    }

    #[test]
    fn a_shifted_image_is_read_from_where_it_came(down in -6isize..7, right in -6isize..7) {
        let x = random(1, &[2, 2, 5, 4]);
        let shifted = translate(&x, &[down, 0], &[right, -right]).unwrap();
        let (from, to) = (values(&x), values(&shifted));
        for (image, (down, right)) in [(down, right), (0, -right)].into_iter().enumerate() {
            for i in 0..40isize {
                let (plane, row, column) = (i / 20, i / 4 % 5, i % 4);
                let (row0, column0) = (row - down, column - right);
                let inside = (0..5).contains(&row0) && (0..4).contains(&column0);
                let start = image * 40;
                let expected =
                    if inside { from[start + (plane * 20 + row0 * 4 + column0) as usize] } else { 0.0 };
                prop_assert_eq!(to[start + i as usize], expected);
            }
        }
        check_adjoint(&x, |x| translate(x, &[down, 0], &[right, -right]).unwrap());
        check(&|t| translate(&t[0], &[down, 0], &[right, -right]), std::slice::from_ref(&x));
        check_nan(&|t| translate(&t[0], &[down, 0], &[right, -right]), &[x]);
    }

    #[test]
    fn a_slid_line_is_read_from_where_it_came_or_mirrored(by in -4isize..5, width in 5usize..9) {
        let x = random(1, &[2, 2, 2, width]);
        let slid = slide(&x, &[by, -by]).unwrap();
        let (from, to) = (values(&x), values(&slid));
        let last = width as isize - 1;
        for (line, by) in [by, by, by, by, -by, -by, -by, -by].into_iter().enumerate() {
            for column in 0..=last {
                // Reflection at the middle of the first and of the last column.
                let source = (column - by).abs();
                let source = if source > last { 2 * last - source } else { source };
                let start = line * width;
                prop_assert_eq!(to[start + column as usize], from[start + source as usize]);
            }
        }
        check_adjoint(&x, |x| slide(x, &[by, -by]).unwrap());
        check(&|t| slide(&t[0], &[by, -by]), std::slice::from_ref(&x));
        check_nan(&|t| slide(&t[0], &[by, -by]), &[x]);
    }
}

#[test]
fn slides_that_do_not_fit_are_refused() {
    let x = random(1, &[2, 1, 1, 4]);
    assert_eq!(values(&slide(&x, &[3, 0]).unwrap())[..4], [3, 2, 1, 0].map(|column| values(&x)[column]));
    for shifts in [&[4, 0][..], &[0, -4], &[isize::MIN, 0], &[1]] {
        let run = || slide(&x, shifts).unwrap_err().to_string();
        assert!(run().contains("one image per shift"), "{shifts:?}");
        assert_eq!(run(), crate::device::without_kernels(run));
    }
}

#[test]
fn an_input_with_another_use_gets_both_gradients() {
    let x = Var::from_tensor(&random(1, &[1, 1, 2, 2])).unwrap();
    let y = (upsample2(&x).unwrap().sum_all().unwrap() + x.sum_all().unwrap()).unwrap();
    assert_eq!(values(y.backward().unwrap().get(&x).unwrap()), vec![5.0; 4]);
}

/// Shifts of any size beyond the image leave only zeros, forward and backward.
#[test]
fn shifts_beyond_the_image_leave_zeros() {
    let x = Var::from_tensor(&random(1, &[2, 1, 3, 3])).unwrap();
    for shifts in [[isize::MIN, isize::MAX], [3, -3]] {
        let run = || {
            let y = translate(&x, &shifts, &[0, 0]).unwrap();
            let gradient = y.sqr().unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
            [values(&y), values(&gradient)]
        };
        assert_eq!(run(), [[0.0; 18]; 2]);
        assert_eq!(crate::device::without_kernels(run), [[0.0; 18]; 2]);
    }
}

#[test]
fn odd_sizes_cannot_be_halved() {
    assert!(avg_pool2(&random(1, &[1, 1, 3, 2])).unwrap_err().to_string().contains("even"));
}
