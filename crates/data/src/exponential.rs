//! The exponential function with the same bits on every platform.

/// Returns eˣ for −700 ≤ x ≤ 0, to within 10⁻¹⁵: x = n ln 2 + r with |r| ≤ ½ ln 2, and e^r by its Taylor
/// series. It has no branches, so that the compiler can vectorise it.
#[inline]
pub(crate) fn exp(x: f64) -> f64 {
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

    #[test]
    fn exp_equals_libm() {
        for i in 0..=70_000 {
            let x = -f64::from(i) * 0.01;
            assert!((exp(x) / libm::exp(x) - 1.0).abs() < 1e-15, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
    }
}
