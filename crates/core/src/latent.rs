//! Latents: their parts, how each part is drawn, and interpolation in latent space.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::rng::Stream;
use crate::{Error, Result};

/// The most values of a latent vector when its length comes from a file.
const MOST_VALUES: usize = 1 << 30;

/// The parts of a latent vector, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<LatentPart>", into = "Vec<LatentPart>")]
pub struct LatentLayout(Vec<LatentPart>);

/// One part of a latent vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatentPart {
    /// Its name, e.g. `z`.
    pub name: String,
    /// Number of values.
    pub len: usize,
    /// The distribution of the values.
    pub noise: Noise,
}

/// How the values of a part are drawn, independently of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Noise {
    /// Standard normal.
    Normal,
    /// Standard Gumbel, −ln(−ln u) for a uniform u. The largest of log probabilities plus this noise is a
    /// draw (Gumbel 1954).
    Gumbel,
    /// Uniform in [0, 1). The model's prior maps each number to one of `count` codes, and the latent consists
    /// of the numbers of these codes. They are not quantities: no code lies between two others.
    Codes {
        /// Number of different codes.
        count: usize,
    },
}

impl TryFrom<Vec<LatentPart>> for LatentLayout {
    type Error = String;

    fn try_from(parts: Vec<LatentPart>) -> Result<Self, String> {
        let sum = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len));
        if !matches!(sum, Some(1..=MOST_VALUES)) {
            return Err("latents of this length are not possible".to_owned());
        }
        match parts
            .iter()
            .enumerate()
            .find(|(i, part)| parts[..*i].iter().any(|other| other.name == part.name))
        {
            Some((_, part)) => Err(format!("two parts of the latent are called `{}`", part.name)),
            None => Ok(Self(parts)),
        }
    }
}

impl From<LatentLayout> for Vec<LatentPart> {
    fn from(layout: LatentLayout) -> Self {
        layout.0
    }
}

impl LatentLayout {
    /// One Gaussian vector, called `z`.
    pub fn normal(len: usize) -> Self {
        Self(vec![LatentPart { name: "z".to_owned(), len, noise: Noise::Normal }])
    }

    /// A map of `len` codes, each one of `count`, called `codes`.
    pub fn codes(len: usize, count: usize) -> Self {
        Self(vec![LatentPart { name: "codes".to_owned(), len, noise: Noise::Codes { count } }])
    }

    /// The number of different codes, if the latent is a map of codes.
    pub fn code_count(&self) -> Option<usize> {
        match self.0[..] {
            [LatentPart { noise: Noise::Codes { count }, .. }] => Some(count),
            _ => None,
        }
    }

    /// A layout of these parts, in this order.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no values or two parts have one name.
    pub fn new(parts: Vec<LatentPart>) -> Result<Self> {
        Self::try_from(parts).map_err(|reason| Error::Config { key: "model.latent_dim".to_owned(), reason })
    }

    /// The parts in order.
    pub fn parts(&self) -> &[LatentPart] {
        &self.0
    }

    /// Number of values in all parts.
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len).sum()
    }

    /// True if there are no values, which no layout allows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Draws noise for the samples with these numbers, `(N, len)`: row `i` is a function of the seed and of
    /// `numbers[i]`. Normal values whose magnitude exceeds `truncation` are drawn again (Brock et al. 2019).
    ///
    /// # Errors
    /// [`Error::Config`] if the truncation is so small that this would take long, or the values are codes.
    pub fn draw(
        &self,
        seed: u64,
        numbers: &[u64],
        truncation: Option<f32>,
        device: &Device,
    ) -> Result<Tensor> {
        let mut drawn = Vec::with_capacity(self.0.len());
        for (i, LatentPart { name, len, noise }) in self.0.iter().enumerate() {
            // The first part keeps the name from when layouts had one part, so its draws stay the same.
            let name = if i == 0 { "sample".to_owned() } else { format!("sample/{name}") };
            let stream = Stream::new(seed, &name, 0);
            drawn.push(match (noise, truncation) {
                (Noise::Normal, None) => stream.normal(numbers, *len, device)?,
                (Noise::Normal, Some(most)) => stream.truncated_normal(numbers, *len, most, device)?,
                (Noise::Gumbel, _) => stream.gumbel(numbers, *len, device)?,
                (Noise::Codes { .. }, None) => stream.uniform(numbers, *len, device)?,
                (Noise::Codes { .. }, Some(_)) => {
                    let reason = "codes cannot be truncated: leave this setting out".to_owned();
                    return Err(Error::Config { key: "truncation".to_owned(), reason });
                }
            });
        }
        match drawn.len() {
            1 => Ok(drawn.swap_remove(0)),
            _ => Ok(Tensor::cat(&drawn, 1)?),
        }
    }
}

/// Turns a standard normal draw into a uniform one in [0, 1): the share of draws below it.
pub fn uniform_of_normal(z: f32) -> f32 {
    const BELOW_ONE: f32 = 1.0 - f32::EPSILON / 2.0;
    let share = 0.5 * libm::erfc(-f64::from(z) * std::f64::consts::FRAC_1_SQRT_2);
    (share as f32).min(BELOW_ONE)
}

/// Spherical interpolation of Gaussian latents (Shoemake 1985; White 2016): from `a` at 0 to `b` at 1 along
/// the great circle; both are `(latent_dim)`. A straight line would pass through vectors that are shorter
/// than any draw.
pub fn slerp(a: &Tensor, b: &Tensor, fraction: f64) -> Result<Tensor> {
    let [aa, bb, ab] = [(a, a), (b, b), (a, b)].map(|(x, y)| crate::kernels::scalar(&(x * y)?.sum_all()?));
    let cosine = (ab? / (aa? * bb?).sqrt()).clamp(-1.0, 1.0);
    let angle = libm::acos(cosine);
    let (from, to) = if angle.is_nan() || libm::sin(angle) < 1e-6 {
        // Parallel, opposite or zero vectors define no unique great circle.
        (1.0 - fraction, fraction)
    } else {
        let sine = libm::sin(angle);
        (libm::sin((1.0 - fraction) * angle) / sine, libm::sin(fraction * angle) / sine)
    };
    Ok((a.affine(from, 0.0)? + b.affine(to, 0.0)?)?)
}

/// `steps` latents at equal distances on the great circle from `a` to `b`, both included; see [`slerp`]. A
/// single step is `a`.
pub fn arc(a: &Tensor, b: &Tensor, steps: usize) -> Result<Vec<Tensor>> {
    let last = steps.saturating_sub(1).max(1) as f64;
    (0..steps).map(|step| slerp(a, b, step as f64 / last)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_latent_depends_on_its_number_alone_and_one_part_draws_what_it_always_drew() {
        let layout = LatentLayout::normal(3);
        let all = layout.draw(7, &[0, 1, 2], None, &Device::Cpu).unwrap();
        let plain = Stream::new(7, "sample", 0).normal(&[0, 1, 2], 3, &Device::Cpu).unwrap();
        assert_eq!(values(&all), values(&plain));
        let part = |name: &str, len, noise| LatentPart { name: name.to_owned(), len, noise };
        let two = vec![part("z", 3, Noise::Normal), part("noise", 2, Noise::Gumbel)];
        let both = LatentLayout::new(two.clone()).unwrap();
        let drawn = both.draw(7, &[2], None, &Device::Cpu).unwrap();
        assert_eq!(drawn.dims(), [1, 5]);
        assert_eq!(values(&drawn)[..3], values(&all)[6..], "another part changes nothing in the first");
        assert!(LatentLayout::new(vec![two[0].clone(), two[0].clone()]).is_err());
        assert!(LatentLayout::new(vec![]).is_err());
        let codes = LatentLayout::codes(49, 240);
        assert_eq!((codes.len(), codes.code_count(), both.code_count()), (49, Some(240), None));
        let drawn = values(&codes.draw(7, &[0, 1], None, &Device::Cpu).unwrap());
        assert!(drawn.len() == 98 && drawn.iter().all(|value| (0.0..1.0).contains(value)));
        assert!(codes.draw(7, &[0], Some(1.0), &Device::Cpu).is_err());
        for layout in [both, codes] {
            let text = serde_json::to_string(&layout).unwrap();
            assert_eq!(serde_json::from_str::<LatentLayout>(&text).unwrap(), layout);
        }
    }

    #[test]
    fn normal_draws_become_uniform_ones() {
        for (z, share) in [(0.0, 0.5), (1.0, 0.841_344_8), (-1.0, 0.158_655_25), (-1.959_964, 0.025)] {
            assert!((uniform_of_normal(z) - share).abs() < 1e-7, "{z}");
        }
        assert!(uniform_of_normal(30.0) < 1.0 && uniform_of_normal(-30.0) >= 0.0);
    }

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
        let arc = |steps| arc(&vector(a), &vector(b), steps).unwrap();
        let along: Vec<Vec<f64>> = arc(3).iter().map(|step| step.to_vec1().unwrap()).collect();
        assert_eq!(along, [at(a, b, 0.0), at(a, b, 0.5), at(a, b, 1.0)]);
        assert_eq!(arc(1)[0].to_vec1::<f64>().unwrap(), at(a, b, 0.0));
        assert!(arc(0).is_empty());
    }
}
