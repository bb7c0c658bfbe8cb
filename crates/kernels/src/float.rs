//! Scalar arithmetic: `Float`, implemented for f32 (our own polynomials) and f64 (the `libm` crate).
//!
//! The f32 functions are straight-line code: additions, products, fused multiply-adds and selections. Each of
//! these is exactly rounded, so a loop over them gives the same bits whether the compiler emits AVX-512,
//! AVX2, NEON or scalar code. The C library's functions differ between systems and do not vectorise.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Error, Result, WithDType};

/// The element types that kernels compute in: f32 for speed, f64 as the reference.
pub(crate) trait Float: WithDType + std::iter::Sum + std::ops::Neg<Output = Self> {
    const ZERO: Self;
    const ONE: Self;
    const HALF: Self;

    /// The elements of a storage of this type, for writing.
    fn mut_slice(storage: &mut CpuStorage) -> Result<&mut [Self]>;
    /// `self · a + b`, rounded once.
    fn fma(self, a: Self, b: Self) -> Self;
    fn exp(self) -> Self;
    /// The natural logarithm: −∞ at 0, NaN below 0.
    fn log(self) -> Self;
    fn tanh(self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    /// log(1 + e) for e in [0, 1].
    fn log1p_unit(self) -> Self;

    /// 1 / (1 + exp(−x)), with a small relative error in both tails.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let t = (-self.abs()).exp();
        let upper = Self::ONE / (Self::ONE + t);
        // `t` is NaN if `self` is, so either branch returns NaN.
        if self >= Self::ZERO { upper } else { t * upper }
    }

    /// log(1 + exp(x)) without overflow.
    #[inline(always)]
    fn softplus(self) -> Self {
        let positive = if self > Self::ZERO { self } else { Self::ZERO };
        positive + (-self.abs()).exp().log1p_unit()
    }
}

fn wrong_type(expected: DType, storage: &CpuStorage) -> Error {
    Error::UnexpectedDType { msg: "waxwork kernel", expected, got: storage.dtype() }.bt()
}

/// 1.5 · 2²³: adding it rounds a small f32 to an integer and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;

impl Float for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const HALF: Self = 0.5;

    fn mut_slice(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(data) => Ok(data),
            other => Err(wrong_type(Self::DTYPE, other)),
        }
    }

    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // As in `simd::mul_add`.
        if cfg!(target_family = "wasm") { self * a + b } else { f32::mul_add(self, a, b) }
    }

    /// exp, within 1.1 units in the last place, subnormal results included (coefficients of Cephes' `expf`).
    #[inline(always)]
    fn exp(self) -> Self {
        // Beyond these bounds the result is 0 or infinity anyway. These selections preserve NaN.
        let x = if self < -104.0 { -104.0 } else { self };
        let x = if x > 89.0 { 89.0 } else { x };
        let t = x.fma(std::f32::consts::LOG2_E, ROUND);
        let n = t - ROUND;
        let r = n.fma(-0.693_359_4, x);
        let r = n.fma(2.121_944_4e-4, r);
        let p = 1.987_569_1e-4_f32;
        let p = p.fma(r, 1.398_199_9e-3);
        let p = p.fma(r, 8.333_452e-3);
        let p = p.fma(r, 4.166_579_6e-2);
        let p = p.fma(r, 1.666_666_5e-1);
        let p = p.fma(r, 0.5);
        let p = p.fma(r * r, r) + 1.0;
        // 2ⁿ as two factors: n ranges from −150 to 128, which exceeds the exponent range of one f32.
        let n = t.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        let half = n >> 1;
        let rest = n.wrapping_sub(half);
        p * power_of_two(half) * power_of_two(rest)
    }

    /// log, within 1 unit in the last place (coefficients of Cephes' `logf`).
    #[inline(always)]
    fn log(self) -> Self {
        // x = 2ⁿ m with m in [√½, √2). Subnormal numbers are scaled up first.
        let subnormal = self < f32::MIN_POSITIVE;
        let x = if subnormal { self * 8_388_608.0 } else { self };
        let bits = x.to_bits();
        let n = (bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
        let m = f32::from_bits(bits.wrapping_sub((n << 23) as u32));
        let n = n as f32 - if subnormal { 23.0 } else { 0.0 };
        let r = m - 1.0;
        let z = r * r;
        let p = 7.037_683_6e-2_f32;
        let p = p.fma(r, -1.151_461e-1);
        let p = p.fma(r, 1.167_699_9e-1);
        let p = p.fma(r, -1.242_014_1e-1);
        let p = p.fma(r, 1.424_932_3e-1);
        let p = p.fma(r, -1.666_805_8e-1);
        let p = p.fma(r, 2.000_071_5e-1);
        let p = p.fma(r, -2.499_999_4e-1);
        let p = p.fma(r, 3.333_333e-1);
        let y = n.fma(-2.121_944_4e-4, p * r * z);
        let y = z.fma(-0.5, y);
        let y = n.fma(0.693_359_4, r + y);
        // A comparison with NaN is false, so NaN gives NaN.
        let y = if self < f32::INFINITY { y } else { self };
        let y = if self > 0.0 { y } else { f32::NAN };
        if self == 0.0 { f32::NEG_INFINITY } else { y }
    }

    /// tanh (Cephes' `tanhf`): a polynomial near 0, where 1 − tanh would cancel, and exp elsewhere.
    #[inline(always)]
    fn tanh(self) -> Self {
        let z = self * self;
        let p = -5.704_988_7e-3_f32;
        let p = p.fma(z, 2.063_908_8e-2);
        let p = p.fma(z, -5.373_971_6e-2);
        let p = p.fma(z, 1.333_144_2e-1);
        let p = p.fma(z, -3.333_328e-1);
        let small = (p * z).fma(self, self);
        let magnitude = f32::abs(self);
        let large = 1.0 - 2.0 / (Float::exp(2.0 * magnitude) + 1.0);
        if magnitude < 0.625 { small } else { large.copysign(self) }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }

    /// The series of 2 artanh(e / (2 + e)). Its argument is at most 1/3, so the first omitted
    /// term is below 2⁻²⁹.
    #[inline(always)]
    fn log1p_unit(self) -> Self {
        let s = self / (2.0 + self);
        let z = s * s;
        let p = 1.0 / 15.0_f32;
        let p = p.fma(z, 1.0 / 13.0);
        let p = p.fma(z, 1.0 / 11.0);
        let p = p.fma(z, 1.0 / 9.0);
        let p = p.fma(z, 1.0 / 7.0);
        let p = p.fma(z, 1.0 / 5.0);
        let p = p.fma(z, 1.0 / 3.0);
        let twice = 2.0 * s;
        (p * z).fma(twice, twice)
    }
}

/// 2ⁿ for n in −126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

impl Float for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const HALF: Self = 0.5;

    fn mut_slice(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F64(data) => Ok(data),
            other => Err(wrong_type(Self::DTYPE, other)),
        }
    }

    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        f64::mul_add(self, a, b)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        libm::exp(self)
    }

    #[inline(always)]
    fn log(self) -> Self {
        libm::log(self)
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        libm::tanh(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        f64::abs(self)
    }

    #[inline(always)]
    fn log1p_unit(self) -> Self {
        libm::log1p(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 2¹¹-th f32 bit pattern, including NaNs and infinities, and a dense grid around 0.
    fn inputs() -> Vec<f32> {
        let sweep = (0..1u32 << 21).map(|i| f32::from_bits(i << 11));
        let dense = (-20_000..20_000).map(|i| i as f32 * 0.005);
        sweep.chain(dense).chain([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).collect()
    }

    /// The largest distance to the f64 result, in units in the last place of the f32 result.
    fn worst_ulp(ours: fn(f32) -> f32, exact: fn(f64) -> f64, domain: impl Fn(f32) -> bool) -> f64 {
        let mut worst = 0.0f64;
        for x in inputs().into_iter().filter(|x| domain(*x)) {
            let want = exact(f64::from(x));
            let got = ours(x);
            if want.is_nan() {
                assert!(got.is_nan(), "{x} must give NaN, not {got}");
                continue;
            }
            let rounded = want as f32;
            if rounded.is_infinite() || got.is_infinite() {
                assert!(rounded == got || want.abs() > 3.4028e38, "{x}: {got} instead of {want}");
                continue;
            }
            let ulp = f64::from(rounded.abs().next_up() - rounded.abs()).max(f64::from(f32::from_bits(1)));
            let error = (f64::from(got) - want).abs() / ulp;
            assert!(error < 8.0, "{x}: {got} instead of {want}");
            worst = worst.max(error);
        }
        worst
    }

    #[test]
    fn functions_are_accurate_over_all_of_f32() {
        assert!(worst_ulp(Float::exp, libm::exp, |_| true) < 1.5);
        assert!(worst_ulp(Float::log, libm::log, |_| true) < 1.5);
        assert!(worst_ulp(Float::tanh, libm::tanh, |_| true) < 2.0);
        assert!(
            worst_ulp(Float::sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), |x| x.is_nan() || x >= -87.0) < 3.0
        );
        assert!(worst_ulp(Float::log1p_unit, libm::log1p, |x| (0.0..=1.0).contains(&x)) < 2.0);
        assert!(
            worst_ulp(
                Float::softplus,
                |x| x.max(0.0) + libm::log1p(libm::exp(-x.abs())) + x * 0.0,
                f32::is_finite
            ) < 3.0
        );
    }

    #[test]
    fn nan_stays_nan() {
        for f in [Float::exp, Float::log, Float::tanh, Float::sigmoid, Float::softplus, Float::log1p_unit]
            as [fn(f32) -> f32; 6]
        {
            assert!(f(f32::NAN).is_nan());
        }
    }

    /// The same loop, compiled for each instruction set of this machine, gives the same bits.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn instruction_sets_agree_to_the_bit() {
        #[inline(always)]
        fn all(inputs: &[f32]) -> Vec<u32> {
            inputs
                .iter()
                .flat_map(|&x| {
                    [Float::exp(x), Float::log(x), Float::tanh(x), Float::sigmoid(x), Float::softplus(x)]
                })
                .map(|y: f32| if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() })
                .collect()
        }
        let inputs = inputs();
        let scalar = all(&inputs);
        if let Some(v3) = pulp::x86::V3::try_new() {
            assert!(v3.vectorize(|| all(&inputs)) == scalar);
        }
        if let Some(v4) = pulp::x86::V4::try_new() {
            assert!(v4.vectorize(|| all(&inputs)) == scalar);
        }
    }
}
