//! The vectors that transforms compute with: registers of f32, or a single f64.
#![expect(unsafe_code, reason = "vectors are read and written through pointers")]

use pulp::Simd;

use crate::simd::mul_add;

/// Arithmetic on a few numbers at a time: registers of f32, or a single f64.
pub(crate) trait Numbers: Copy {
    type Number;
    type Vector: Copy;
    /// Length of a vector; a divisor of 16.
    const LANES: usize;

    /// # Safety
    /// `LANES` numbers must be readable.
    unsafe fn load(self, from: *const Self::Number) -> Self::Vector;
    /// # Safety
    /// `LANES` numbers must be writable.
    unsafe fn store(self, to: *mut Self::Number, x: Self::Vector);
    fn zero(self) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// c · a.
    fn scale(self, c: f64, a: Self::Vector) -> Self::Vector;
    /// c · a + b, rounded once.
    fn scale_add(self, c: f64, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// Registers of f32.
#[derive(Clone, Copy)]
pub(crate) struct Registers<S>(pub(crate) S);

impl<S: Simd> Numbers for Registers<S> {
    type Number = f32;
    type Vector = S::f32s;
    const LANES: usize = S::F32_LANES;

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> S::f32s {
        // SAFETY: guaranteed by the caller.
        unsafe { from.cast::<S::f32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: S::f32s) {
        // SAFETY: guaranteed by the caller.
        unsafe { to.cast::<S::f32s>().write_unaligned(x) }
    }

    #[inline(always)]
    fn zero(self) -> S::f32s {
        self.0.splat_f32s(0.0)
    }

    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn sub(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.sub_f32s(a, b)
    }

    #[inline(always)]
    fn scale(self, c: f64, a: S::f32s) -> S::f32s {
        self.0.mul_f32s(self.0.splat_f32s(c as f32), a)
    }

    #[inline(always)]
    fn scale_add(self, c: f64, a: S::f32s, b: S::f32s) -> S::f32s {
        mul_add(self.0, self.0.splat_f32s(c as f32), a, b)
    }
}

/// One f64.
#[derive(Clone, Copy)]
pub(crate) struct Single;

impl Numbers for Single {
    type Number = f64;
    type Vector = f64;
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn load(self, from: *const f64) -> f64 {
        // SAFETY: guaranteed by the caller.
        unsafe { *from }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f64, x: f64) {
        // SAFETY: guaranteed by the caller.
        unsafe { *to = x }
    }

    #[inline(always)]
    fn zero(self) -> f64 {
        0.0
    }

    #[inline(always)]
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn sub(self, a: f64, b: f64) -> f64 {
        a - b
    }

    #[inline(always)]
    fn scale(self, c: f64, a: f64) -> f64 {
        c * a
    }

    #[inline(always)]
    fn scale_add(self, c: f64, a: f64, b: f64) -> f64 {
        c.mul_add(a, b)
    }
}
