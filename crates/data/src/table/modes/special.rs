//! Functions related to the gamma function, with the same bits on every platform.

/// Returns ln Γ(x) for x > 0.
pub(super) fn log_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Returns ln B(a, b) for a, b > 0.
pub(super) fn log_beta(a: f64, b: f64) -> f64 {
    log_gamma(a) + log_gamma(b) - log_gamma(a + b)
}

/// Returns ψ(x), the derivative of ln Γ, for x > 0: by ψ(x) = ψ(x + 1) − 1/x up to 10, then by its asymptotic
/// series (Abramowitz & Stegun 6.3.18).
pub(super) fn digamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    // B₂ₖ / 2k for k = 1 … 7.
    const TERMS: [f64; 7] =
        [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0];
    let series = TERMS.iter().rev().fold(0.0, |series, term| (series + term) * square);
    sum + libm::log(x) - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from scipy.special import digamma, betaln
    /// for x in [1e-3, 0.5, 1, 2.5, 9.99, 100, 32561.001]: print(repr(float(digamma(x))))
    /// print(float(betaln(1.5, 2e4)), float(betaln(1, 0.001)))
    /// ```
    #[test]
    fn digamma_and_beta_equal_scipy() {
        DIGAMMA.iter().for_each(|(x, expected): &(f64, f64)| {
            assert!((digamma(*x) - expected).abs() < 1e-13 * expected.abs().max(1.0), "{x}: {}", digamma(*x));
        });
        assert!((log_beta(1.5, 2e4) - LOG_BETA[0]).abs() < 1e-10, "{}", log_beta(1.5, 2e4));
        assert!((log_beta(1.0, 0.001) - LOG_BETA[1]).abs() < 1e-12);
    }

    const DIGAMMA: [(f64, f64); 7] = [
        (0.001, -1000.5755719318103),
        (0.5, -1.9635100260214235),
        (1.0, -0.5772156649015329),
        (2.5, 0.7031566406452432),
        (9.99, 2.250700372831201),
        (100.0, 4.600161852738088),
        (32561.001, 10.390855207015285),
    ];
    const LOG_BETA: [f64; 2] = [-14.97603231613175, 6.907755278982137];
}
