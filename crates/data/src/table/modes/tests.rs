//! The mixture against scikit-learn's, its start, and modes with points.

use proptest::prelude::*;

use super::*;

/// A golden fit by scikit-learn 1.9.1: start, maximum number of iterations, iterations done, bound, weights,
/// means, variances.
struct Golden {
    components: usize,
    most: usize,
    iterations: usize,
    bound: f64,
    weights: &'static [f64],
    means: &'static [f64],
    variances: &'static [f64],
}

/// ```python
/// import warnings, numpy as np
/// from sklearn.mixture import BayesianGaussianMixture
/// warnings.filterwarnings("ignore")
/// class Given(BayesianGaussianMixture):
///     def _initialize_parameters(self, X, random_state, xp=None):
///         self._initialize(X, self.given)
/// def fit(values, counts, start, k, iterations):
///     x = np.repeat(values, counts)[:, None]
///     model = Given(n_components=k, weight_concentration_prior_type="dirichlet_process",
///                   weight_concentration_prior=0.001, max_iter=iterations)
///     model.given = np.eye(k)[np.repeat(start, counts)]
///     model.fit(x)
///     print(model.n_iter_, model.converged_, repr(float(model.lower_bound_)))
///     for a in (model.weights_, model.means_[:, 0], model.covariances_[:, 0, 0]):
///         print([float(v) for v in a])
/// i = np.arange(60)
/// # Three heaps of numbers with one decimal, and one far away.
/// values = np.where(i < 20, 0.3 * i, np.where(i < 45, 20 + 0.7 * i, 100 + 2.5 * i))
/// counts = 1 + (7 * i) % 11
/// fit(values, counts, i * 5 // 60, 5, 100)
/// fit(values, counts, i * 10 // 60, 10, 37)
/// ```
const GOLDEN: [Golden; 2] = [
    Golden {
        components: 5,
        most: 100,
        iterations: 16,
        bound: -1513.443104267342,
        weights: &[
            0.3311149395346744,
            0.0029126511266708583,
            0.4028863538282038,
            0.0028648712671493575,
            0.2602211842433015,
        ],
        means: &[
            3.7589334927668263,
            79.18384901325501,
            42.374894764962065,
            79.19714516572093,
            228.21326314865289,
        ],
        variances: &[
            131.10790902463634,
            8556.928804340523,
            91.63729507691974,
            8558.40671730554,
            448.62741616048817,
        ],
    },
    Golden {
        components: 10,
        most: 37,
        iterations: 37,
        bound: -1571.7420371714688,
        weights: &[
            0.06138151420207416,
            0.003273528961560063,
            0.5821071712937896,
            0.0029587065194971603,
            0.09025185275425991,
            0.002900444443801683,
            0.0028676542898727992,
            0.0028352507849179654,
            0.25142128508316747,
            2.5916670590455184e-06,
        ],
        means: &[
            27.561040826246256,
            74.2529448089656,
            24.763301978686908,
            78.05783229796174,
            26.677790253247405,
            78.0838350867621,
            78.09853492716,
            78.11300137973433,
            228.2136442976645,
            79.17756232686963,
        ],
        variances: &[
            895.7006674546258,
            8028.418778753614,
            445.77078040275677,
            8431.630285007352,
            730.248136655938,
            8434.65832771805,
            8436.370401081827,
            8438.055640830074,
            448.80248986213417,
            8563.25474515235,
        ],
    },
];

fn data() -> (Vec<f64>, Vec<u64>) {
    let value = |i: usize| match i {
        ..20 => 0.3 * i as f64,
        20..45 => 20.0 + 0.7 * i as f64,
        _ => 100.0 + 2.5 * i as f64,
    };
    (0..60).map(|i| (value(i), 1 + (7 * i as u64) % 11)).unzip()
}

#[test]
fn equals_scikit_learn_from_the_same_start() {
    let (values, counts) = data();
    for golden in GOLDEN {
        let start: Vec<usize> = (0..60).map(|i| i * golden.components / 60).collect();
        let settings = Settings { iterations: golden.most, ..Settings::default() };
        let mixture = variational(&values, &counts, &start, golden.components, settings);
        assert_eq!(mixture.iterations, golden.iterations);
        let near = |got: f64, expected: f64| {
            assert!((got - expected).abs() <= 1e-8 * expected.abs().max(1.0), "{got} is not {expected}");
        };
        near(mixture.bound, golden.bound);
        for k in 0..golden.components {
            near(mixture.weights[k], golden.weights[k]);
            near(mixture.means[k], golden.means[k]);
            near(mixture.variances[k], golden.variances[k]);
        }
    }
}

#[test]
fn starts_from_quantiles_and_separates_frequent_values() {
    assert_eq!(start(&[1; 10], 5), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
    // 90 of 100 rows have one value. It is alone, and the others share the other two components.
    let start = start(&[3, 90, 3, 2, 2], 3);
    assert_eq!(start.iter().filter(|component| **component == start[1]).count(), 1);
    assert_eq!([start[0], start[2], start[3], start[4]], [0, 0, 1, 1]);
}

#[test]
fn two_far_heaps_are_two_modes_of_their_own_width() {
    let values: Vec<f64> = (0..2000)
        .map(|i| if i < 1000 { f64::from(i) * 0.001 } else { 500.0 + f64::from(i) * 0.01 })
        .collect();
    let modes = fit(&values, &vec![1; 2000]);
    let heap = |from: f64, to: f64| modes.iter().filter(move |mode| mode.mean > from && mode.mean < to);
    assert!((heap(-1.0, 2.0).map(|mode| mode.weight).sum::<f64>() - 0.5).abs() < 0.01, "{modes:?}");
    assert!((heap(505.0, 525.0).map(|mode| mode.weight).sum::<f64>() - 0.5).abs() < 0.01, "{modes:?}");
    let mut shares = vec![0.0; modes.len()];
    responsibilities(&modes, 0.5, &mut shares);
    let low: f64 =
        modes.iter().zip(&shares).filter(|(mode, _)| mode.mean < 2.0).map(|(_, share)| share).sum();
    assert!(low > 0.999);
}

#[test]
fn a_value_of_many_rows_is_a_point_that_takes_no_other() {
    let values: Vec<f64> = (0..1000).map(f64::from).collect();
    let mut counts = vec![1; 1000];
    counts[0] = 9000;
    let modes = fit(&values, &counts);
    let point: Vec<&Mode> = modes.iter().filter(|mode| mode.is_point()).collect();
    assert!(point.len() == 1 && point[0].mean == 0.0 && (point[0].weight - 9000.0 / 9999.0).abs() < 1e-12);
    let at = modes.iter().position(Mode::is_point).unwrap();
    let mut shares = vec![0.0; modes.len()];
    for value in [0.0, 1.0, 1e6] {
        responsibilities(&modes, value, &mut shares);
        assert_eq!(shares[at], f64::from(u8::from(value == 0.0)));
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn tiny_and_huge_numbers_have_finite_modes() {
    for scale in [1e-90, 1e-9, 1e9, 1e99] {
        let values: Vec<f64> = (0..500).map(|i| f64::from(i) * scale).collect();
        let modes = fit(&values, &vec![1; 500]);
        assert!(!modes.is_empty());
        for mode in &modes {
            assert!(mode.sd > 0.0 && mode.sd.is_finite() && mode.sd < 500.0 * scale, "{scale}: {mode:?}");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let values: Vec<f64> = (0..9000).map(|i| f64::from(i * i % 7919) + f64::from(i) * 1e-4).collect();
    let fit = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&values, &vec![1; 9000]))
    };
    assert_eq!(fit(1), fit(3));
}

proptest! {
    #[test]
    fn any_column_has_modes_of_weight_one(values in prop::collection::btree_map(-1000i32..1000, 1u64..50, 1..60)) {
        let (values, counts): (Vec<f64>, Vec<u64>) = values.into_iter().map(|(v, c)| (f64::from(v), c)).unzip();
        let modes = fit(&values, &counts);
        prop_assert!((modes.iter().map(|mode| mode.weight).sum::<f64>() - 1.0).abs() < 1e-9);
        prop_assert!(modes.len() <= COMPONENTS);
        let mut shares = vec![0.0; modes.len()];
        for value in values {
            responsibilities(&modes, value, &mut shares);
            prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{:?}", shares);
        }
    }
}

#[test]
fn a_component_without_rows_is_no_mode() {
    let values: Vec<f64> = (0..200).map(f64::from).collect();
    let modes = fit(&values, &[1; 200]);
    assert!(modes.iter().all(|mode| mode.weight > 0.1), "{modes:?}");
}

#[test]
fn a_shift_of_all_values_shifts_the_modes() {
    let mut values: Vec<f64> = (0..200).map(|i| f64::from(i * i % 887)).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let counts: Vec<u64> = (0..values.len() as u64).map(|i| 1 + i % 3).collect();
    let plain = fit(&values, &counts);
    for shift in [18_262.0, 1.6e9, -3e12] {
        let shifted: Vec<f64> = values.iter().map(|value| value + shift).collect();
        let modes = fit(&shifted, &counts);
        assert_eq!(modes.len(), plain.len(), "{shift}: {modes:?}");
        for (mode, plain) in modes.iter().zip(&plain) {
            assert!((mode.mean - shift - plain.mean).abs() < 1e-3 * plain.sd, "{shift}: {mode:?}");
        }
    }
}
