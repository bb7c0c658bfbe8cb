//! `ring` and `grid`: points in the plane from a mixture of equally likely Gaussians. Its modes are known, so
//! evaluation can count the modes that a model misses and score generated points by the true density.

use waxwork_core::Kind;
use waxwork_core::rng::Stream;

use super::Part;
use crate::{Error, Factor, Result, Source};

/// Increase this whenever the generated points change.
pub(crate) const VERSION: u32 = 1;

/// Default standard deviation of every mode.
pub(crate) const STANDARD_DEVIATION: f64 = 0.05;

/// A mixture of isotropic Gaussians in the plane, all equally likely and equally wide.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaneMixture {
    /// The mean of each mode.
    pub centres: Vec<[f64; 2]>,
    /// The standard deviation of every mode.
    pub std: f64,
}

impl PlaneMixture {
    /// Returns eight modes on the unit circle (Lin et al. 2018).
    pub fn ring(std: f64) -> Self {
        let centre = |mode: usize| {
            let (sin, cos) = libm::sincos(std::f64::consts::TAU * mode as f64 / 8.0);
            [cos, sin]
        };
        Self { centres: (0..8).map(centre).collect(), std }
    }

    /// Returns 25 modes at −4, −2, 0, 2 and 4 in both directions (Srivastava et al. 2017).
    pub fn grid(std: f64) -> Self {
        let place = |number: usize| 2.0 * number as f64 - 4.0;
        Self { centres: (0..25).map(|mode| [place(mode % 5), place(mode / 5)]).collect(), std }
    }

    /// Returns the mixture of this name: `ring` or `grid`.
    pub fn named(name: &str, std: f64) -> Option<Self> {
        match name {
            "ring" => Some(Self::ring(std)),
            "grid" => Some(Self::grid(std)),
            _ => None,
        }
    }

    /// Returns the mode with the nearest mean, and the distance to it.
    pub fn nearest(&self, point: [f64; 2]) -> (usize, f64) {
        let distances =
            self.centres.iter().map(|centre| libm::hypot(point[0] - centre[0], point[1] - centre[1]));
        let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.unwrap_or((0, f64::INFINITY))
    }

    /// Returns log p(point) in nats: log 1/K Σ N(point; centre, std² I).
    pub fn log_density(&self, point: [f64; 2]) -> f64 {
        let variance = self.std * self.std;
        let exponents: Vec<f64> = self
            .centres
            .iter()
            .map(|centre| {
                let (x, y) = (point[0] - centre[0], point[1] - centre[1]);
                -(x * x + y * y) / (2.0 * variance)
            })
            .collect();
        let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = exponents.iter().map(|exponent| libm::exp(exponent - largest)).sum();
        largest + libm::log(sum / self.centres.len() as f64) - libm::log(std::f64::consts::TAU * variance)
    }
}

/// The points of one part for one seed. The modes take turns, and point `i` is a function of (seed, i).
#[derive(Clone, Debug)]
pub struct PlanePoints {
    mixture: PlaneMixture,
    stream: Stream,
    part: Part,
}

impl PlanePoints {
    /// Returns the points of `part` for `seed`, from the mixture called `name`.
    pub fn new(name: &str, mixture: PlaneMixture, seed: u64, part: Part) -> Self {
        Self { mixture, stream: Stream::new(seed, &part.stream(name), 0), part }
    }

    fn mode(&self, index: usize) -> usize {
        index % self.mixture.centres.len()
    }
}

impl Source for PlanePoints {
    fn kind(&self) -> Kind {
        Kind::Points { dimensions: 2 }
    }

    fn len(&self) -> usize {
        self.part.len()
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        if index >= self.len() {
            return Err(Error::OutOfRange { index, len: self.len() });
        }
        let mut draws = self.stream.at(index as u64);
        let centre = self.mixture.centres[self.mode(index)];
        for (value, centre) in out.chunks_exact_mut(4).zip(centre) {
            let coordinate = centre + self.mixture.std * f64::from(draws.normal());
            value.copy_from_slice(&(coordinate as f32).to_le_bytes());
        }
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index < self.len()).then(|| self.mode(index) as u32)
    }

    fn factors(&self, index: usize) -> Vec<Factor> {
        let modes = self.mixture.centres.len() as u32;
        self.label(index).map_or_else(Vec::new, |mode| vec![Factor::kind("mode", mode, modes)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(source: &PlanePoints, index: usize) -> [f64; 2] {
        let mut bytes = [0; 8];
        source.write_sample(index, &mut bytes).unwrap();
        let (numbers, _) = bytes.as_chunks::<4>();
        [0, 1].map(|i| f64::from(f32::from_le_bytes(numbers[i])))
    }

    #[test]
    fn points_lie_around_their_modes_as_the_mixture_says() {
        for (name, modes) in [("ring", 8), ("grid", 25)] {
            let mixture = PlaneMixture::named(name, 0.05).unwrap();
            assert_eq!(mixture.centres.len(), modes);
            let source = PlanePoints::new(name, mixture.clone(), 3, Part::Test);
            let mut squares = 0.0;
            for index in 0..source.len() {
                let (mode, distance) = mixture.nearest(point(&source, index));
                assert_eq!(Some(mode as u32), source.label(index), "{name} {index}");
                squares += distance * distance;
            }
            // The mean of χ² with two degrees of freedom is 2. For 10,000 points, four standard errors are
            // 0.08.
            let mean = squares / (0.05 * 0.05) / source.len() as f64;
            assert!((mean - 2.0).abs() < 0.08, "{name}: {mean}");
        }
    }

    #[test]
    fn the_mean_log_density_is_the_negative_entropy() {
        // The published generators with a variance of 0.05 have these values: −3.0610 on the grid, −1.6980 on
        // the ring.
        for (name, entropy) in [("grid", 3.061), ("ring", 1.698)] {
            let mixture = PlaneMixture::named(name, libm::sqrt(0.05)).unwrap();
            let source = PlanePoints::new(name, mixture.clone(), 0, Part::Train);
            let sum: f64 = (0..source.len()).map(|index| mixture.log_density(point(&source, index))).sum();
            let mean = sum / source.len() as f64;
            assert!((mean + entropy).abs() < 0.02, "{name}: {mean}");
        }
    }

    #[test]
    fn a_point_is_a_function_of_seed_part_and_index() {
        let source = |seed, part| PlanePoints::new("ring", PlaneMixture::ring(0.05), seed, part);
        assert_eq!(point(&source(1, Part::Train), 7), point(&source(1, Part::Train), 7));
        assert_ne!(point(&source(1, Part::Train), 7), point(&source(2, Part::Train), 7));
        assert_ne!(point(&source(1, Part::Train), 7), point(&source(1, Part::Test), 7));
        assert!(source(1, Part::Test).write_sample(10_000, &mut [0; 8]).is_err());
    }
}
