//! Disentanglement, completeness and informativeness (DCI, Eastwood & Williams 2018), from how much classifiers of
//! the factors use each unit.

use std::ops::Range;

use rayon::prelude::*;

use super::Values;
use crate::table::bins::Binner;
use crate::table::boosting::{Boosting, BoostingConfig};
use crate::table::frame::Column;

/// As many trees, with as many leaves at most, as scikit-learn's `GradientBoostingClassifier` has.
const TREES: BoostingConfig =
    BoostingConfig { rounds: 100, learning_rate: 0.1, leaves: 8, min_rows: 5, lambda: 1.0 };
/// Added to each importance to avoid the logarithm of zero.
const LEAST: f64 = 1e-11;

/// Three scores from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dci {
    /// 1 if each unit is used for one factor only.
    pub disentanglement: f64,
    /// 1 if one unit is used for each factor.
    pub completeness: f64,
    /// Mean accuracy of the classifiers.
    pub informativeness: f64,
}

/// Describes the classifiers.
pub(super) fn classifier() -> String {
    format!("boosted trees, {} rounds of {} leaves", TREES.rounds, TREES.leaves)
}

/// Boosted trees classify each factor from all units. The importance of a unit is its share of the gain of all
/// splits. `units` are columns of codes; the first `fitted` images fit the trees, and the others test them.
pub fn dci(units: &[Vec<f64>], factors: &[Values], fitted: usize) -> Dci {
    let images = units.first().map_or(0, Vec::len);
    let part = |rows: Range<usize>| -> Vec<Column> {
        units.iter().map(|unit| Column::Number(unit[rows.clone()].to_vec())).collect()
    };
    let (first, others) = (part(0..fitted), part(fitted..images));
    let binner = Binner::fit_columns(&first);
    let (first, others) = (binner.apply_columns(&first), binner.apply_columns(&others));
    let of = |factor: &Values| {
        let labels: Vec<u32> = factor.of[..fitted].iter().map(|value| *value as u32).collect();
        let model = Boosting::classify(&first, &labels, factor.count, &TREES);
        let said = model.predict(&others);
        let right = said.chunks_exact(factor.count).zip(&factor.of[fitted..]).filter(|(said, truth)| {
            let most = said.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            said.iter().position(|share| *share == most) == Some(**truth)
        });
        (model.importances(units.len()), right.count() as f64 / others.rows.max(1) as f64)
    };
    let (by_factor, accuracies): (Vec<Vec<f64>>, Vec<f64>) = factors.par_iter().map(of).unzip();
    let unit = |unit: usize| -> Vec<f64> { by_factor.iter().map(|shares| shares[unit]).collect() };
    let importance: Vec<Vec<f64>> = (0..units.len()).map(unit).collect();
    let [disentanglement, completeness] = dci_scores(&importance);
    let informativeness = accuracies.iter().sum::<f64>() / accuracies.len().max(1) as f64;
    Dci { disentanglement, completeness, informativeness }
}

/// Disentanglement and completeness from the importance of each unit for each factor, one row per unit. A
/// unit's score is one minus the entropy of its importances, divided by the entropy of equal importances.
/// Disentanglement is the mean over units, weighted by their importances. Completeness is defined in the same
/// way for factors.
pub fn dci_scores(importance: &[Vec<f64>]) -> [f64; 2] {
    let factors = importance.first().map_or(0, Vec::len);
    let columns: Vec<Vec<f64>> =
        (0..factors).map(|factor| importance.iter().map(|unit| unit[factor]).collect()).collect();
    [concentration(importance), concentration(&columns)]
}

fn concentration(rows: &[Vec<f64>]) -> f64 {
    let sums: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
    let all: f64 = sums.iter().sum();
    let score = |row: &[f64]| {
        if row.len() < 2 {
            return 1.0;
        }
        let sum: f64 = row.iter().map(|importance| importance + LEAST).sum();
        let term = |importance: &f64| {
            let share = (importance + LEAST) / sum;
            share * libm::log(share)
        };
        // Rounding errors can make the entropy of equal importances too large.
        (1.0 + row.iter().map(term).sum::<f64>() / libm::log(row.len() as f64)).max(0.0)
    };
    // Without any split, all importances are equal.
    let weight = |sum: f64| if all > 0.0 { sum / all } else { 1.0 / rows.len() as f64 };
    rows.iter().zip(&sums).map(|(row, sum)| score(row) * weight(*sum)).sum()
}
