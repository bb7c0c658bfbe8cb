//! L-BFGS (Nocedal 1980) for smooth convex functions.

use std::collections::VecDeque;

/// Number of step and gradient-difference pairs to keep.
const MEMORY: usize = 10;

/// Minimises a function that returns its value and gradient, starting at `x`. Stops when no gradient
/// component exceeds `tolerance`, a step brings no improvement, or `steps` are done. Uses a backtracking line
/// search with Armijo's rule.
pub(super) fn minimise(
    x: &mut [f64],
    steps: usize,
    tolerance: f64,
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
) {
    let mut history: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::with_capacity(MEMORY);
    let (mut value, mut gradient) = function(x);
    for step in 0..steps {
        if gradient.iter().all(|g| g.abs() <= tolerance) {
            return;
        }
        let mut direction = descend(&gradient, &history);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            history.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = dot(&direction, &gradient);
        }
        let norm = dot(&gradient, &gradient).sqrt();
        let mut length = if step == 0 { (1.0 / norm).min(1.0) } else { 1.0 };
        let mut found = None;
        for _ in 0..40 {
            let next: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + length * d).collect();
            let (new, slopes) = function(&next);
            if new <= value + 1e-4 * length * slope {
                found = Some((next, new, slopes));
                break;
            }
            length /= 2.0;
        }
        let Some((next, new, slopes)) = found else { return };
        let moved: Vec<f64> = next.iter().zip(&*x).map(|(next, x)| next - x).collect();
        let bent: Vec<f64> = slopes.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&moved, &bent);
        if curvature > 1e-12 * dot(&bent, &bent).max(f64::MIN_POSITIVE) {
            if history.len() == MEMORY {
                history.pop_front();
            }
            history.push_back((moved, bent, 1.0 / curvature));
        }
        x.copy_from_slice(&next);
        let gained = value - new;
        (value, gradient) = (new, slopes);
        if gained <= 1e-13 * value.abs().max(1e-300) {
            return;
        }
    }
}

/// Returns −H·g by the two-loop recursion.
fn descend(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut alphas = Vec::with_capacity(history.len());
    for (moved, bent, rho) in history.iter().rev() {
        let alpha = rho * dot(moved, &q);
        q.iter_mut().zip(bent).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    if let Some((_, bent, rho)) = history.back() {
        let scale = 1.0 / (rho * dot(bent, bent));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((moved, bent, rho), alpha) in history.iter().zip(alphas.iter().rev()) {
        let beta = rho * dot(bent, &q);
        q.iter_mut().zip(moved).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    q.iter_mut().for_each(|q| *q = -*q);
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_bowl_and_rosenbrock() {
        let mut x = vec![3.0, -2.0, 1.0];
        let scale = [1.0, 100.0, 1e4];
        minimise(&mut x, 200, 1e-10, |x| {
            let value = x.iter().zip(scale).map(|(x, s)| s * (x - 1.0) * (x - 1.0)).sum();
            (value, x.iter().zip(scale).map(|(x, s)| 2.0 * s * (x - 1.0)).collect())
        });
        assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-6), "{x:?}");
        let mut x = vec![-1.2, 1.0];
        minimise(&mut x, 500, 1e-10, |x| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
        });
        assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-5), "{x:?}");
    }
}
