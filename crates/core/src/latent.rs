//! Ways through latent space.

use candle_core::Tensor;

use crate::Result;

/// Spherical interpolation of Gaussian latents (Shoemake 1985; White 2016): from `a` at 0 to `b` at 1 along the great
/// circle, `(latent_dim)` each. Unlike a line it does not pass through vectors that are shorter than any draw.
pub fn slerp(a: &Tensor, b: &Tensor, fraction: f64) -> Result<Tensor> {
    let [aa, bb, ab] = [(a, a), (b, b), (a, b)].map(|(x, y)| crate::kernels::scalar(&(x * y)?.sum_all()?));
    let cosine = (ab? / (aa? * bb?).sqrt()).clamp(-1.0, 1.0);
    let angle = libm::acos(cosine);
    let (from, to) = if angle.is_nan() || libm::sin(angle) < 1e-6 {
        // Parallel, opposite or zero: no great circle is the one.
        (1.0 - fraction, fraction)
    } else {
        let sine = libm::sin(angle);
        (libm::sin((1.0 - fraction) * angle) / sine, libm::sin(fraction * angle) / sine)
    };
    Ok((a.affine(from, 0.0)? + b.affine(to, 0.0)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_way_keeps_to_the_sphere_and_ends_where_it_should() {
        let vector = |values: [f64; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
        let at = |a, b, t| slerp(&vector(a), &vector(b), t).unwrap().to_vec1::<f64>().unwrap();
        let (a, b) = ([2.0, 0.0], [0.0, 2.0]);
        for (t, expected) in [(0.0, a), (1.0, b), (0.5, [2f64.sqrt(), 2f64.sqrt()])] {
            assert!(at(a, b, t).iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12), "{t}");
        }
        assert_eq!(at(a, a, 0.3), [2.0, 0.0]);
        assert_eq!(at([0.0, 0.0], b, 0.5), [0.0, 1.0]);
    }
}
