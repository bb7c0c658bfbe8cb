//! Separated attribute predictability (SAP, Kumar et al. 2018): how much better the best unit classifies a factor
//! than the second best.

use rayon::prelude::*;

use super::Values;

/// The cost of an error relative to the penalty ½‖w‖².
const COST: f64 = 0.01;
/// Newton's method ends after a few steps, because the loss is quadratic between a finite number of points.
const MOST_STEPS: usize = 100;

/// A linear support vector machine classifies each factor from each unit; its accuracy is the unit's. Returns
/// the accuracy of the best unit minus that of the second, averaged over the factors. `units` are columns of
/// codes; the first `fitted` images fit the classifiers, and the others test them.
pub fn sap_score(units: &[Vec<f64>], factors: &[Values], fitted: usize) -> f64 {
    let gap = |factor: &Values| {
        let mut scores: Vec<f64> = units.par_iter().map(|unit| accuracy(unit, factor, fitted)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.first().unwrap_or(&0.0) - scores.get(1).unwrap_or(&0.0)
    };
    factors.iter().map(gap).sum::<f64>() / factors.len().max(1) as f64
}

/// One line separates each value from all others, as in scikit-learn's `LinearSVC` with balanced class
/// weights: errors for images with the value have the same total weight for every value, while those for other
/// images have weight one. For two values, a single line decides.
fn accuracy(unit: &[f64], factor: &Values, fitted: usize) -> f64 {
    let ((x, others), (truth, others_truth)) = (unit.split_at(fitted), factor.of.split_at(fitted));
    let mut counts = vec![0usize; factor.count];
    truth.iter().for_each(|value| counts[*value] += 1);
    let seen: Vec<usize> = (0..factor.count).filter(|value| counts[*value] > 0).collect();
    let balanced = |value: usize| COST * x.len() as f64 / (seen.len() * counts[value]) as f64;
    let against = |value: usize, other: f64| {
        let side = |row: usize| if truth[row] == value { (1.0, balanced(value)) } else { (-1.0, other) };
        separator(x, &(0..x.len()).map(side).collect::<Vec<_>>())
    };
    let lines: Vec<(usize, [f64; 2])> = match seen[..] {
        [first, second] => {
            let [slope, offset] = against(second, balanced(first));
            vec![(first, [-slope, -offset]), (second, [slope, offset])]
        }
        _ => seen.iter().map(|&value| (value, against(value, COST))).collect(),
    };
    let named = |x: f64| {
        let score = |[slope, offset]: [f64; 2]| slope * x + offset;
        let better = |best: (usize, [f64; 2]), next: (usize, [f64; 2])| {
            if score(next.1) > score(best.1) { next } else { best }
        };
        lines.iter().copied().reduce(better).map(|(value, _)| value)
    };
    let right = others.iter().zip(others_truth).filter(|(x, truth)| named(**x) == Some(**truth));
    right.count() as f64 / others.len().max(1) as f64
}

/// Minimises ½(w² + b²) + Σ c max(0, 1 − t (w x + b))² by Newton's method, where `sides` has t = ±1 and c for
/// each x. Returns w and b.
fn separator(x: &[f64], sides: &[(f64, f64)]) -> [f64; 2] {
    let loss = |[w, b]: [f64; 2]| {
        let errors = x.iter().zip(sides).map(|(x, (t, c))| {
            let error = (1.0 - t * (w * x + b)).max(0.0);
            c * error * error
        });
        0.5 * (w * w + b * b) + errors.sum::<f64>()
    };
    let mut line = [0.0, 0.0];
    let mut value = loss(line);
    for _ in 0..MOST_STEPS {
        let [w, b] = line;
        let (mut gradient, mut hessian) = ([w, b], [1.0, 0.0, 1.0]);
        for (x, (t, c)) in x.iter().zip(sides) {
            let error = 1.0 - t * (w * x + b);
            if error > 0.0 {
                gradient[0] -= 2.0 * c * t * error * x;
                gradient[1] -= 2.0 * c * t * error;
                hessian[0] += 2.0 * c * x * x;
                hessian[1] += 2.0 * c * x;
                hessian[2] += 2.0 * c;
            }
        }
        let determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
        let step = [
            (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant,
            (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant,
        ];
        // Halves the step until the loss decreases; rounding errors end the search.
        let mut tried = (0..30).map(|halvings| {
            let share = f64::powi(0.5, halvings);
            let moved = [w - share * step[0], b - share * step[1]];
            (moved, loss(moved))
        });
        let Some(next) = tried.find(|(_, moved)| *moved < value) else { break };
        (line, value) = next;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the minimum, no small change lowers the loss. With one point on each side, the line is known.
    #[test]
    fn finds_the_minimum() {
        // With t x = 1 for both points and b = 0, the loss is ½w² + 2c(1 − w)², least at w = 4c / (1 + 4c).
        let [w, b] = separator(&[1.0, -1.0], &[(1.0, 0.5), (-1.0, 0.5)]);
        assert!((w - 2.0 / 3.0).abs() < 1e-12 && b.abs() < 1e-12, "{w} {b}");
        // Large values are far beyond the margin.
        let [w, b] = separator(&[1e6, 1e6, -1e6], &[(1.0, 0.01), (1.0, 0.01), (-1.0, 0.01)]);
        assert!(w > 0.0 && w * 1e6 + b > 0.9 && b - w * 1e6 < -0.9, "{w} {b}");
    }

    #[test]
    fn two_values_have_one_line_and_a_single_one_has_no_choice() {
        let unit: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        let two = Values { of: (0..40).map(|i| i % 2).collect(), count: 2 };
        assert_eq!(accuracy(&unit, &two, 20), 1.0);
        let same = Values { of: vec![1; 40], count: 3 };
        assert_eq!(accuracy(&unit, &same, 20), 1.0);
        assert_eq!(sap_score(&[unit], &[two, same], 20), 1.0);
    }
}
