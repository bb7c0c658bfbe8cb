//! The discrete Fourier transform for lengths that are powers of two. It returns the same bits on every
//! machine.
//!
//! f64, radix 2, with roots of unity from `libm`. A library that selects its instructions at run time would
//! be faster, but would return other bits on another processor.

use std::f64::consts::TAU;

/// A complex number: its real part and its imaginary part.
pub(super) type Complex = [f64; 2];

/// The transform of one length.
#[derive(Clone, Debug)]
pub(super) struct Fft {
    /// e^(−2πi k/n) for k below n/2.
    roots: Vec<Complex>,
    /// The new index of each value before the first pass.
    order: Vec<u32>,
}

impl Fft {
    /// Prepares the transform of `n` values, a power of two of at least 2.
    pub(super) fn new(n: usize) -> Self {
        debug_assert!(n.is_power_of_two() && n >= 2);
        let root = |k: usize| {
            let (sin, cos) = libm::sincos(-TAU * k as f64 / n as f64);
            [cos, sin]
        };
        let bits = n.trailing_zeros();
        let order = (0..n as u32).map(|place| place.reverse_bits() >> (32 - bits)).collect();
        Self { roots: (0..n / 2).map(root).collect(), order }
    }

    /// Returns the length of the transform.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Computes X_k = Σ x_j e^(−2πi jk/n), in place.
    pub(super) fn forward(&self, values: &mut [Complex]) {
        let n = self.len();
        debug_assert_eq!(values.len(), n);
        for (place, &other) in self.order.iter().enumerate() {
            if place < other as usize {
                values.swap(place, other as usize);
            }
        }
        let mut half = 1;
        while half < n {
            let stride = n / (2 * half);
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((a, b), root) in low.iter_mut().zip(high).zip(self.roots.iter().step_by(stride)) {
                    let turned = product(*b, *root);
                    *b = [a[0] - turned[0], a[1] - turned[1]];
                    *a = [a[0] + turned[0], a[1] + turned[1]];
                }
            }
            half *= 2;
        }
    }

    /// Computes x_j = 1/n Σ X_k e^(2πi jk/n), in place.
    pub(super) fn inverse(&self, values: &mut [Complex]) {
        values.iter_mut().for_each(|value| value[1] = -value[1]);
        self.forward(values);
        let scale = 1.0 / self.len() as f64;
        values.iter_mut().for_each(|value| *value = [value[0] * scale, -value[1] * scale]);
    }
}

fn product(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_its_definition_and_has_an_inverse() {
        for n in [2usize, 8, 64, 256] {
            let value = |j: usize| [libm::sin(j as f64 * 1.3), libm::cos(j as f64 * j as f64 * 0.7)];
            let values: Vec<Complex> = (0..n).map(value).collect();
            let mut found = values.clone();
            let fft = Fft::new(n);
            fft.forward(&mut found);
            for (k, found) in found.iter().enumerate() {
                let mut expected = [0.0; 2];
                for (j, value) in values.iter().enumerate() {
                    let (sin, cos) = libm::sincos(-TAU * ((j * k) % n) as f64 / n as f64);
                    let turned = product(*value, [cos, sin]);
                    expected = [expected[0] + turned[0], expected[1] + turned[1]];
                }
                assert!(
                    (found[0] - expected[0]).abs() + (found[1] - expected[1]).abs() < 1e-11 * n as f64,
                    "{n} {k}"
                );
            }
            fft.inverse(&mut found);
            for (found, value) in found.iter().zip(&values) {
                assert!((found[0] - value[0]).abs() + (found[1] - value[1]).abs() < 1e-13, "{n}");
            }
        }
    }
}
