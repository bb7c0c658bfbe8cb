//! Disentanglement scores against their definitions in disentanglement_lib, computed with NumPy and scikit-learn on
//! ten sets of codes.
//!
//! The script draws codes and factors with its own generator, which the tests reproduce bit by bit. It leaves out
//! votes for constant units, which disentanglement_lib does not define. It runs `LinearSVC` to the optimum; with
//! the default settings, `LinearSVC` stops near the optimum, at a point that depends on a random state.
//!
//! ```python
//! import numpy as np
//! from sklearn.metrics import mutual_info_score
//! from sklearn.svm import LinearSVC
//!
//! class Draws:
//!     def __init__(self, seed): self.state = seed
//!     def below(self, n): return self.bits() * n >> 31
//!     def bits(self):
//!         self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
//!         return self.state >> 33
//!     def noise(self): return (self.bits() + self.bits() + self.bits() + self.bits()) / 2**31 - 2
//!
//! VALUES, ROWS = (3, 4, 5), 800
//! CASES = [
//!     lambda a, b, c, n: (a + n[0] / 4, b + n[1] / 4, c + n[2] / 4, n[3]),
//!     lambda a, b, c, n: (a + b + n[0] / 4, a - b + n[1] / 4, c + n[2] / 4, n[3]),
//!     lambda a, b, c, n: n,
//!     lambda a, b, c, n: (a + n[0] / 2, a + n[1] / 2, b + n[2] / 2, c + n[3] / 2),
//!     lambda a, b, c, n: (a, b, c, 1),
//!     lambda a, b, c, n: (a + 3 * b + 12 * c + n[0] / 4, n[1], n[2], n[3]),
//!     lambda a, b, c, n: ((c - 2) ** 2, a * b + n[1] / 8, abs(a - 1) + n[2] / 4, c + n[3]),
//!     lambda a, b, c, n: (128 * a + 32 * n[0], b / 64 + n[1] / 256, c / 4 + n[2] / 16, 1024 * n[3]),
//!     lambda a, b, c, n: (np.floor(4 * a + 2 * n[0]) / 4, np.floor(b + n[1]), np.floor(2 * n[2]), c - a),
//!     lambda a, b, c, n: (a + n[0], b + 2 * n[1], c + n[2], a + b + c + n[3]),
//! ]
//!
//! def case(number):
//!     draws, codes, factors = Draws(10 + number), [], []
//!     for _ in range(ROWS):
//!         factors.append([draws.below(n) for n in VALUES])
//!         codes.append(CASES[number](*factors[-1], [draws.noise() for _ in range(4)]))
//!     return draws, np.array(codes, float), np.array(factors)
//!
//! def mig(codes, factors):
//!     def bins(x): return np.digitize(x, np.histogram(x, 20)[1][:-1])
//!     gaps = []
//!     for truth in factors.T:
//!         shared = sorted(mutual_info_score(bins(x), truth) for x in codes.T)
//!         gaps.append((shared[-1] - shared[-2]) / mutual_info_score(truth, truth))
//!     return np.mean(gaps)
//!
//! def sap(codes, factors, **kw):
//!     half, gaps = ROWS // 2, []
//!     for truth in factors.T:
//!         right = []
//!         for x in codes.T:
//!             svc = LinearSVC(C=0.01, class_weight="balanced", **kw)
//!             svc.fit(x[:half, None], truth[:half])
//!             right.append(np.mean(svc.predict(x[half:, None]) == truth[half:]))
//!         right.sort()
//!         gaps.append(right[-1] - right[-2])
//!     return np.mean(gaps)
//!
//! def factorvae(draws, codes, factors):
//!     whole = np.var(codes, axis=0, ddof=1)
//!     units = np.flatnonzero(whole > 0)
//!     def votes(n):
//!         counts = np.zeros((3, codes.shape[1]))
//!         for _ in range(n):
//!             factor, row = draws.below(3), draws.below(ROWS)
//!             same = np.flatnonzero(factors[:, factor] == factors[row, factor])
//!             batch = codes[[same[draws.below(len(same))] for _ in range(16)]]
//!             part = np.var(batch, axis=0, ddof=1)
//!             counts[factor, units[np.argmin(part[units] / whole[units])]] += 1
//!         return counts
//!     named = np.argmax(votes(300), axis=0)
//!     counts = votes(200)
//!     return counts[named, np.arange(codes.shape[1])].sum() / 200
//!
//! def dci(importance):
//!     def score(shares):  # one row for each unit (or factor)
//!         p = shares + 1e-11
//!         p /= p.sum(1, keepdims=True)
//!         return 1 + (p * np.log(p)).sum(1) / np.log(shares.shape[1])
//!     weights = importance / importance.sum()
//!     return (score(importance) * weights.sum(1)).sum(), (score(importance.T) * weights.sum(0)).sum()
//!
//! if __name__ == "__main__":
//!     for number in range(10):
//!         draws, codes, factors = case(number)
//!         importance = np.array([[draws.below(1000) ** 3 / 2**20 for _ in range(3)] for _ in range(4)])
//!         values = (mig(codes, factors), sap(codes, factors, dual=False, tol=1e-12, max_iter=100_000),
//!                   factorvae(draws, codes, factors), *dci(importance))
//!         print("    [" + ", ".join(f"{value:.9f}" for value in values) + "],")
//! ```

use waxwork_core::{Device, Tensor};
use waxwork_data::Factor;
use waxwork_eval::disentanglement::{Values, Vote, dci_scores, factorvae_score, sap_score};
use waxwork_eval::{Features, LatentProbes};

const ROWS: usize = 800;
const UNITS: usize = 4;
const NAMES: [&str; 3] = ["a", "b", "c"];
const VALUES: [u32; 3] = [3, 4, 5];

/// Mutual information gap, SAP, FactorVAE score, disentanglement and completeness of each case.
const EXPECTED: [[f64; 5]; 10] = [
    [0.973221661, 0.395833333, 1.000000000, 0.323751933, 0.373536442],
    [0.330771729, 0.128333333, 0.695000000, 0.888738249, 0.578548728],
    [0.004258856, 0.015000000, 0.305000000, 0.750937084, 0.610949793],
    [0.582019676, 0.239166667, 1.000000000, 0.257835764, 0.268376088],
    [0.992995159, 0.385000000, 1.000000000, 0.571167315, 0.218624696],
    [0.640806488, 0.140833333, 0.560000000, 0.659648419, 0.535387197],
    [0.217897371, 0.156666667, 0.825000000, 0.622490298, 0.438092045],
    [0.971905807, 0.208333333, 1.000000000, 0.200741797, 0.201597877],
    [0.516287294, 0.233333333, 1.000000000, 0.249988597, 0.291643834],
    [0.279869968, 0.125000000, 0.945000000, 0.330187248, 0.256430326],
];

struct Draws(u64);

impl Draws {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.bits() * n) >> 31
    }

    fn noise(&mut self) -> f64 {
        (self.bits() + self.bits() + self.bits() + self.bits()) as f64 / f64::from(1u32 << 31) - 2.0
    }
}

fn code(case: usize, [a, b, c]: [f64; 3], n: [f64; 4]) -> [f64; UNITS] {
    match case {
        0 => [a + n[0] / 4.0, b + n[1] / 4.0, c + n[2] / 4.0, n[3]],
        1 => [a + b + n[0] / 4.0, a - b + n[1] / 4.0, c + n[2] / 4.0, n[3]],
        2 => n,
        3 => [a + n[0] / 2.0, a + n[1] / 2.0, b + n[2] / 2.0, c + n[3] / 2.0],
        4 => [a, b, c, 1.0],
        5 => [a + 3.0 * b + 12.0 * c + n[0] / 4.0, n[1], n[2], n[3]],
        6 => [(c - 2.0) * (c - 2.0), a * b + n[1] / 8.0, (a - 1.0).abs() + n[2] / 4.0, c + n[3]],
        7 => [128.0 * a + 32.0 * n[0], b / 64.0 + n[1] / 256.0, c / 4.0 + n[2] / 16.0, 1024.0 * n[3]],
        8 => [(4.0 * a + 2.0 * n[0]).floor() / 4.0, (b + n[1]).floor(), (2.0 * n[2]).floor(), c - a],
        _ => [a + n[0], b + 2.0 * n[1], c + n[2], a + b + c + n[3]],
    }
}

/// The codes of a case by image, and its factors by image.
fn case(number: usize) -> (Draws, Vec<[f64; UNITS]>, Vec<[usize; 3]>) {
    let mut draws = Draws(10 + number as u64);
    let (mut codes, mut factors) = (Vec::new(), Vec::new());
    for _ in 0..ROWS {
        let values = VALUES.map(|count| draws.below(count.into()) as usize);
        let noise = [(); 4].map(|()| draws.noise());
        codes.push(code(number, values.map(|value| value as f64), noise));
        factors.push(values);
    }
    (draws, codes, factors)
}

fn votes(draws: &mut Draws, factors: &[[usize; 3]], count: usize) -> Vec<Vote> {
    let vote = |_| {
        let (factor, row) = (draws.below(3) as usize, draws.below(ROWS as u64) as usize);
        let same: Vec<usize> =
            (0..ROWS).filter(|other| factors[*other][factor] == factors[row][factor]).collect();
        let rows = (0..16).map(|_| same[draws.below(same.len() as u64) as usize]).collect();
        Vote { factor, rows }
    };
    (0..count).map(vote).collect()
}

#[test]
fn scores_are_those_of_disentanglement_lib() {
    for (number, expected) in EXPECTED.iter().enumerate() {
        let (mut draws, codes, factors) = case(number);
        let importance: Vec<Vec<f64>> = (0..UNITS)
            .map(|_| (0..3).map(|_| (draws.below(1000).pow(3)) as f64 / f64::from(1 << 20)).collect())
            .collect();
        let [disentanglement, completeness] = dci_scores(&importance);

        let units: Vec<Vec<f64>> =
            (0..UNITS).map(|unit| codes.iter().map(|code| code[unit]).collect()).collect();
        let fitted = votes(&mut draws, &factors, 300);
        let tested = votes(&mut draws, &factors, 200);
        let factorvae = factorvae_score(&units, 3, [&fitted, &tested]);

        let known: Vec<Values> = (0..3)
            .map(|factor| Values {
                of: factors.iter().map(|values| values[factor]).collect(),
                count: VALUES[factor] as usize,
            })
            .collect();
        let sap = sap_score(&units, &known, ROWS / 2);

        let matrix = Tensor::from_vec(codes.concat(), (ROWS, UNITS), &Device::Cpu).unwrap();
        let named: Vec<Vec<Factor>> = factors
            .iter()
            .map(|values| (0..3).map(|i| Factor::kind(NAMES[i], values[i] as u32, VALUES[i])).collect())
            .collect();
        let gap = LatentProbes::of(&Features::new("codes", &matrix).unwrap(), &named).unwrap().gap;

        let found = [gap, sap, factorvae, disentanglement, completeness];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "case {number}: {found} against {expected}");
        }
    }
}

/// Without a single split, the scores are those of equal importances.
#[test]
fn importances_at_the_extremes() {
    assert!(dci_scores(&[vec![0.0; 3], vec![0.0; 3]]).iter().all(|score| score.abs() < 1e-12));
    let [disentanglement, completeness] =
        dci_scores(&[vec![2.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 5.0], vec![0.0; 3]]);
    assert!((disentanglement - 1.0).abs() < 1e-8 && (completeness - 1.0).abs() < 1e-8);
    // Two factors share a unit: it is entangled, but each factor is complete.
    let [disentanglement, completeness] = dci_scores(&[vec![1.0, 1.0], vec![0.0, 0.0]]);
    assert!(disentanglement < 1e-8 && (completeness - 1.0).abs() < 1e-8);
}
