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

/// Returns eˣ for −700 ≤ x ≤ 0, to within 10⁻¹⁵: x = n ln 2 + r with |r| ≤ ½ ln 2, and e^r by its Taylor
/// series. It has no branches, so that the compiler can vectorise it.
#[inline]
pub(super) fn exp(x: f64) -> f64 {
    // Adding this to a number below 2⁵¹ leaves its nearest integer in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // ln 2 in two parts. The product of the first part and n is exact.
    const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    const TERMS: [f64; 12] = [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
    ];
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let mut sum = TERMS[0];
    for term in &TERMS[1..] {
        sum = sum * r + term;
    }
    let power = sum * r + 1.0;
    f64::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 52))
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

    #[test]
    fn exp_equals_libm() {
        for i in 0..=70_000 {
            let x = -f64::from(i) * 0.01;
            assert!((exp(x) / libm::exp(x) - 1.0).abs() < 1e-15, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
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
