//! All distances between two sets of features. Samples are compared with real images. Real images are also
//! compared with other real images; that distance is the floor that a perfect model could reach.

use serde::{Deserialize, Serialize};

use crate::report::{Metric, Protocol};
use crate::{Features, KernelDistance, Result, cover, frechet, kernel_distance};

/// Number of subsets of the kernel distance and their size, as in the paper's code.
const SUBSETS: usize = 100;
const SUBSET_SIZE: usize = 1000;
/// Neighbours for precision and recall (Kynkäänniemi et al. 2019).
pub(crate) const PRECISION_NEIGHBOURS: usize = 3;
/// Neighbours for density and coverage (Naeem et al. 2020).
const DENSITY_NEIGHBOURS: usize = 5;

/// Distances between two sets of features. They depend on the extractor and, most of them, on the number of
/// images. Do not compare values of different extractors or numbers of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distances {
    /// Number of real images.
    pub n_real: usize,
    /// Number of images compared with them.
    pub n_generated: usize,
    /// Fréchet distance.
    pub frechet: f64,
    /// Kernel distance.
    pub kernel: KernelDistance,
    /// Share of generated images in the real manifold, k = 3.
    pub precision: f64,
    /// Share of real images in the generated manifold, k = 3.
    pub recall: f64,
    /// Density, k = 5.
    pub density: f64,
    /// Coverage, k = 5.
    pub coverage: f64,
}

impl Distances {
    /// Minimum number of images of either set: each needs five nearest neighbours.
    pub const FEWEST: usize = DENSITY_NEIGHBOURS + 1;

    /// Measures all distances.
    ///
    /// # Errors
    /// If the widths differ or there are fewer than six images of either kind.
    pub fn between(real: &Features, generated: &Features) -> Result<Self> {
        let narrow = cover(real, generated, PRECISION_NEIGHBOURS)?;
        let wide = cover(real, generated, DENSITY_NEIGHBOURS)?;
        Ok(Self {
            n_real: real.rows(),
            n_generated: generated.rows(),
            frechet: frechet(real, generated)?,
            kernel: kernel_distance(real, generated, SUBSETS, SUBSET_SIZE, 0)?,
            precision: narrow.precision,
            recall: narrow.recall,
            density: wide.density,
            coverage: wide.coverage,
        })
    }

    /// Returns its metrics with those of real images as the floor, under the protocol of extractor and data.
    /// Only distances by Inception are called fid and kid.
    pub fn metrics(&self, floor: &Self, extractor: &str, protocol: &Protocol) -> Vec<Metric> {
        let name = |measure: &str| match (extractor, measure) {
            ("inception", "frechet") => "fid".to_owned(),
            ("inception", "kernel") => "kid".to_owned(),
            _ => format!("{extractor}_{measure}"),
        };
        let counts = |more: &[(&str, String)]| {
            let mut protocol = protocol.clone();
            protocol.insert("n_real".into(), self.n_real.to_string());
            protocol.insert("n_generated".into(), self.n_generated.to_string());
            protocol.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            protocol
        };
        let neighbours = |k: usize| counts(&[("neighbours", k.to_string())]);
        let subsets = counts(&[
            ("subsets", format!("{SUBSETS}, each of at most {SUBSET_SIZE} samples")),
            ("interval", "one standard deviation over the subsets".to_owned()),
        ]);
        let KernelDistance { mean, standard_deviation } = self.kernel;
        let kernel = Metric::new(name("kernel"), mean, &subsets).floor(floor.kernel.mean).lower();
        // If every subset is the whole set, the spread over subsets is not an error estimate.
        let kernel = if self.n_real.max(self.n_generated) > SUBSET_SIZE {
            kernel.within([mean - standard_deviation, mean + standard_deviation])
        } else {
            kernel
        };
        let (three, five) = (neighbours(PRECISION_NEIGHBOURS), neighbours(DENSITY_NEIGHBOURS));
        vec![
            Metric::new(name("frechet"), self.frechet, &counts(&[])).floor(floor.frechet).lower(),
            kernel,
            Metric::new(name("precision"), self.precision, &three).floor(floor.precision).higher(),
            Metric::new(name("recall"), self.recall, &three).floor(floor.recall).higher(),
            Metric::new(name("density"), self.density, &five).floor(floor.density).higher(),
            Metric::new(name("coverage"), self.coverage, &five).floor(floor.coverage).higher(),
        ]
    }
}
