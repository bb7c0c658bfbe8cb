//! The FactorVAE score (Kim & Mnih 2018): the unit that varies least while one factor is fixed should identify
//! this factor.

/// Images that share the value of a factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The factor.
    pub factor: usize,
    /// The images.
    pub rows: Vec<usize>,
}

/// Each vote selects the unit whose variance over the vote's images is smallest relative to its variance over
/// all images. Each unit stands for the factor of most of the `fitted` votes for it. Returns the share of
/// `tested` votes whose factor is that of their unit. `units` are columns of codes; constant units get no
/// votes.
pub fn factorvae_score(units: &[Vec<f64>], factors: usize, [fitted, tested]: [&[Vote]; 2]) -> f64 {
    let whole: Vec<f64> = units.iter().map(|unit| variance(unit.iter().copied())).collect();
    let counts = |votes: &[Vote]| {
        let mut counts = vec![vec![0usize; factors]; units.len()];
        for vote in votes {
            let part = |unit: usize| variance(vote.rows.iter().map(|row| units[unit][*row])) / whole[unit];
            let parts = (0..units.len()).filter(|unit| whole[*unit] > 0.0).map(|unit| (unit, part(unit)));
            if let Some((unit, _)) = parts.min_by(|a, b| a.1.total_cmp(&b.1)) {
                counts[unit][vote.factor] += 1;
            }
        }
        counts
    };
    let (fitted, counted) = (counts(fitted), counts(tested));
    let right = fitted.iter().zip(&counted).map(|(fitted, counted)| {
        // The first factor among those with the most votes.
        let factor = (0..factors).rev().max_by_key(|factor| fitted[*factor]);
        factor.map_or(0, |factor| counted[factor])
    });
    right.sum::<usize>() as f64 / tested.len().max(1) as f64
}

/// Σ (x − mean)² / (n − 1).
fn variance(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let n = values.len() as f64;
    let mean = values.clone().sum::<f64>() / n;
    values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0).max(1.0)
}
