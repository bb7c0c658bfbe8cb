//! The classifiers against scikit-learn 1.9.1 on a small made-up table.
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use crate::support::Table;
use waxwork_eval::table::adaboost::AdaBoost;
use waxwork_eval::table::bins::{Binned, Binner};
use waxwork_eval::table::cart::{DecisionTree, balanced};
use waxwork_eval::table::features::{Design, Encoder, Scaling};
use waxwork_eval::table::linear::{Linear, LinearConfig};
use waxwork_eval::table::mlp::{Mlp, MlpConfig};
use waxwork_eval::table::scores::score;
use waxwork_eval::table::trees::Growth;
use waxwork_eval::table::{Frame, align};

const ROWS: usize = 240;

// import numpy as np
// from sklearn.linear_model import LogisticRegression, Ridge
// from sklearn.tree import DecisionTreeClassifier
// from sklearn.ensemble import AdaBoostClassifier
// i = np.arange(240)
// u = lambda k: (i * i * k % 1009) / 1009
// x, z, noise = 10 * u(389), u(577) - 0.5, u(101)
// c = (i * 7 % 3)
// two = ((x - 5 + 8 * z + (c == 2) * 3 + 6 * noise - 3) > 0).astype(int)
// three = np.digitize(x - 5 + 8 * z + 6 * noise - 3, [-2, 2])
// one_hot = (c[:, None] == np.arange(3)).astype(float)
// X = np.column_stack([(x - x.min()) / (x.max() - x.min()) * 5, (z - z.min()) / (z.max() - z.min()) * 5, one_hot])
struct Data {
    binned: Binned,
    design: Design,
    two: Vec<u32>,
    three: Vec<u32>,
    product: Vec<f64>,
}

fn data() -> Data {
    let u = |i: usize, k: usize| (i * i * k % 1009) as f64 / 1009.0;
    let row = |i: usize| (10.0 * u(i, 389), u(i, 577) - 0.5, i * 7 % 3);
    let text: String = (0..ROWS)
        .map(|i| {
            let (x, z, c) = row(i);
            format!("{x},{z},c{c}\n")
        })
        .collect();
    let table = Table::parse(&format!("x,z,c\n{text}"), &[]);
    let views = table.views();
    let frame: &Frame = &align(&[("real", table.view(&views))]).unwrap()[0];
    let level = |i: usize| {
        let (x, z, _) = row(i);
        x - 5.0 + 8.0 * z + 6.0 * u(i, 101) - 3.0
    };
    let extra = |i: usize| if row(i).2 == 2 { 3.0 } else { 0.0 };
    Data {
        binned: Binner::fit(frame).apply(frame),
        design: Encoder::fit(frame, Scaling::SdGym).apply(frame),
        two: (0..ROWS).map(|i| u32::from(level(i) + extra(i) > 0.0)).collect(),
        three: (0..ROWS).map(|i| u32::from(level(i) >= -2.0) + u32::from(level(i) >= 2.0)).collect(),
        product: (0..ROWS).map(|i| row(i).0 * row(i).1).collect(),
    }
}

fn close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert!(got.len() >= expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() < tolerance, "{got} instead of {expected}");
    }
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

// m = LogisticRegression(class_weight='balanced', tol=1e-12, max_iter=100000).fit(X, two); m.predict_proba(X)[:6, 1]
// m = LogisticRegression(tol=1e-12, max_iter=100000).fit(X, three); m.predict_proba(X)[:2]
// y = x * z; s = y.std(); m = Ridge(alpha=1, solver='cholesky').fit(X, (y - y.mean()) / s); m.predict(X)[:4] * s + y.mean()
#[test]
fn linear_models_find_scikit_learns_minimum() {
    let data = data();
    assert_eq!(data.two.iter().sum::<u32>(), 138);
    let config = LinearConfig::default();
    let weights = balanced(&data.two, 2);
    let p = Linear::classify(&data.design, &data.two, 2, &weights, &config).predict(&data.design);
    let positive: Vec<f64> = p.chunks_exact(2).map(|p| p[1]).collect();
    let expected = [
        0.0007009891057034707,
        0.39524913239932125,
        0.7249599025832145,
        0.05114181674751689,
        0.009371741558944425,
        0.8487693418985615,
    ];
    close(&positive, &expected, 1e-5);
    let p = Linear::classify(&data.design, &data.three, 3, &[1.0; ROWS], &config).predict(&data.design);
    let expected = [
        0.9977438736745531,
        0.002255956510627072,
        1.6981481988372442e-07,
        0.2177600810970608,
        0.671960119603458,
        0.11027979929948116,
    ];
    close(&p, &expected, 1e-5);
    let y = Linear::regress(&data.design, &data.product, &config).predict(&data.design);
    let expected = [-2.469184234860204, 0.36847812552604453, -1.0567048826037717, -1.8610728645152632];
    close(&y, &expected, 1e-5);
}

// for t in (two, three):
//     m = DecisionTreeClassifier(max_depth=4, class_weight='balanced', random_state=0).fit(X, t)
//     p = m.predict_proba(X); (p ** 2).sum(), p[:3]
#[test]
fn trees_are_scikit_learns() {
    let data = data();
    let growth =
        Growth { max_depth: 4, max_leaves: None, min_rows: 1, min_weight: 0.0, lambda: 0.0, features: None };
    let fit = |labels: &[u32], classes| {
        let weights = balanced(labels, classes);
        DecisionTree::fit(&data.binned, labels, classes, &weights, &growth).probabilities(&data.binned)
    };
    let p = fit(&data.two, 2);
    close(&[squares(&p)], &[200.00978265605906], 1e-9);
    close(&p, &[1.0, 0.0, 0.33264462809917356, 0.6673553719008265], 1e-12);
    let p = fit(&data.three, 3);
    close(&[squares(&p)], &[171.19915793174007], 1e-9);
    close(&p, &[1.0, 0.0, 0.0, 0.0380279482511243, 0.5566741822303134, 0.4052978695185616], 1e-12);
}

// m = AdaBoostClassifier(random_state=0).fit(X, two); p = m.predict_proba(X)[:, 1]; p[:6], p.sum()
// m = AdaBoostClassifier(random_state=0, n_estimators=10).fit(X, three); p = m.predict_proba(X); p[:2], (p ** 2).sum()
#[test]
fn adaboost_is_scikit_learns() {
    let data = data();
    let p = AdaBoost::fit(&data.binned, &data.two, 2, 50).probabilities(&data.binned);
    let positive: Vec<f64> = p.chunks_exact(2).map(|p| p[1]).collect();
    let expected = [0.1558124980498563, 0.5037309867839315, 0.505353531322706, 0.32317472390296736];
    close(&positive, &expected, 1e-9);
    close(&[positive.iter().sum()], &[126.65526664119992], 1e-7);
    let p = AdaBoost::fit(&data.binned, &data.three, 3, 10).probabilities(&data.binned);
    close(&p, &[0.40590460524259847, 0.3391072043472676, 0.25498819041013393], 1e-9);
    close(&[squares(&p)], &[81.1524616577222], 1e-7);
}

#[test]
fn the_network_learns_what_a_line_cannot() {
    let data = data();
    let xor: Vec<u32> = data.product.iter().map(|&product| u32::from(product > 0.0)).collect();
    let config = MlpConfig { epochs: 400, batch: 20, learning_rate: 3e-3, ..MlpConfig::default() };
    let p = Mlp::fit(&data.design, &xor, 2, &config, 1).probabilities(&data.design);
    assert!(score(&p, &xor, 2, Some(1)).unwrap().accuracy > 0.95);
    let p = Mlp::fit(&data.design, &data.three, 3, &config, 1).probabilities(&data.design);
    assert!(score(&p, &data.three, 3, None).unwrap().accuracy > 0.7);
    let again = Mlp::fit(&data.design, &data.three, 3, &config, 1).probabilities(&data.design);
    assert_eq!(p, again);
}
