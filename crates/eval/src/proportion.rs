//! The confidence interval of a proportion.

/// Returns Wilson's 95 % score interval (1927) of a share: `wrong` of `all`. It is valid for few answers too,
/// and if none or all of them are wrong. Without answers, the interval is 0 to 1.
pub fn wilson(wrong: usize, all: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if all == 0 {
        return [0.0, 1.0];
    }
    let n = all as f64;
    let share = wrong as f64 / n;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`.
    #[test]
    fn intervals_are_those_of_scipy() {
        let golden = [
            ((12, 50), [0.1429739139699173, 0.3741268375794292]),
            ((0, 20), [0.0, 0.16112515805281935]),
            ((20, 20), [0.8388748419471808, 1.0]),
        ];
        for ((wrong, all), [low, high]) in golden {
            let ours = wilson(wrong, all);
            assert!(
                (ours[0] - low).abs() < 1e-9 && (ours[1] - high).abs() < 1e-9,
                "{wrong} of {all}: {ours:?}"
            );
        }
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }
}
