//! Measures whether single units of a latent stand for single generating factors: the scores of
//! disentanglement_lib (Locatello et al. 2019), for data sets whose factors have a finite number of values.
//! Its mutual information gap is in [`latent_probes`](crate::latent_probes).

mod attributes;
mod importance;
mod votes;

use waxwork_core::rng::Stream;
use waxwork_data::Factor;

use crate::report::{Metric, Protocol};
use crate::{Error, Features, Result};

pub use attributes::sap_score;
pub use importance::{Dci, dci, dci_scores};
pub use votes::{Vote, factorvae_score};

/// Minimum number of images per value of the factor with the most values.
const IMAGES_PER_VALUE: usize = 10;
/// The number of votes that fit the classifier of the FactorVAE score, and of votes that test it.
const VOTES: [usize; 2] = [10_000, 5_000];
/// Images per vote.
const VOTE_IMAGES: usize = 64;

/// A factor with a finite number of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The value of each image, below `count`.
    pub of: Vec<usize>,
    /// The number of values.
    pub count: usize,
}

/// Scores of codes with respect to generating factors. All are between 0 and 1; 1 is best.
#[derive(Clone, Debug, PartialEq)]
pub struct Disentanglement {
    /// Number of images.
    pub images: usize,
    /// [`factorvae_score`].
    pub factorvae: f64,
    /// [`sap_score`].
    pub sap: f64,
    /// [`dci`].
    pub dci: Dci,
}

impl Disentanglement {
    /// Measures `codes`, one row per image, against the factors of the same images. None if a factor can take
    /// any number as its value, there are fewer than two factors, or there are fewer than ten images per value
    /// of a factor.
    ///
    /// # Errors
    /// [`Error::Lengths`] if the numbers of codes and factors differ.
    pub fn of(codes: &Features, factors: &[Vec<Factor>]) -> Result<Option<Self>> {
        let images = codes.rows();
        if factors.len() != images {
            return Err(Error::Lengths { codes: images, factors: factors.len() });
        }
        let Some(known) = known(factors) else { return Ok(None) };
        let most = known.iter().map(|factor| factor.count).max().unwrap_or(0);
        if known.len() < 2 || images < IMAGES_PER_VALUE * most {
            return Ok(None);
        }
        let (width, values) = (codes.columns(), codes.values()?);
        let units: Vec<Vec<f64>> =
            (0..width).map(|unit| values.iter().skip(unit).step_by(width).copied().collect()).collect();
        let [fitted, tested] = drawn_votes(&known, images);
        let half = images.div_ceil(2);
        Ok(Some(Self {
            images,
            factorvae: factorvae_score(&units, known.len(), [&fitted, &tested]),
            sap: sap_score(&units, &known, half),
            dci: dci(&units, &known, half),
        }))
    }

    /// Returns its metrics under a protocol.
    pub fn metrics(&self, protocol: &Protocol) -> Vec<Metric> {
        let with = |key: &str, value: String| {
            let mut protocol = protocol.clone();
            protocol.insert("n_real".into(), self.images.to_string());
            protocol.insert(key.into(), value);
            protocol
        };
        let halves = "fitted to the first half of the images, tested on the other";
        let [fitted, tested] = VOTES;
        let votes = with(
            "votes",
            format!("{fitted} fit, {tested} test; each of {VOTE_IMAGES} images that share a value"),
        );
        let line = with("classifier", format!("support vector machine of one unit, C = 0.01, {halves}"));
        let trees = with("classifier", format!("{}, {halves}", importance::classifier()));
        let metric =
            |name: &str, value: f64, protocol: &Protocol| Metric::new(name, value, protocol).higher();
        vec![
            metric("factorvae_score", self.factorvae, &votes),
            metric("sap_score", self.sap, &line),
            metric("dci_disentanglement", self.dci.disentanglement, &trees),
            metric("dci_completeness", self.dci.completeness, &trees),
            metric("dci_informativeness", self.dci.informativeness, &trees),
        ]
    }
}

/// The factors by column; None if one of them can have any number as its value.
fn known(factors: &[Vec<Factor>]) -> Option<Vec<Values>> {
    let column = |(place, factor): (usize, &Factor)| {
        let count = factor.kinds? as usize;
        Some(Values { of: factors.iter().map(|factors| factors[place].value as usize).collect(), count })
    };
    factors.first()?.iter().enumerate().map(column).collect()
}

/// Draws the votes of the FactorVAE score: a factor, an image, and images that have the same value of the
/// factor.
fn drawn_votes(factors: &[Values], images: usize) -> [Vec<Vote>; 2] {
    let sharing: Vec<Vec<Vec<usize>>> = factors
        .iter()
        .map(|factor| {
            let mut rows = vec![Vec::new(); factor.count];
            factor.of.iter().enumerate().for_each(|(row, value)| rows[*value].push(row));
            rows
        })
        .collect();
    let stream = Stream::new(0, "evaluation/votes", 0);
    let vote = |number: usize| {
        let mut draws = stream.at(number as u64);
        let factor = draws.below(factors.len() as u32) as usize;
        let image = draws.below(images as u32) as usize;
        let same = &sharing[factor][factors[factor].of[image]];
        let rows = (0..VOTE_IMAGES).map(|_| same[draws.below(same.len() as u32) as usize]).collect();
        Vote { factor, rows }
    };
    let [fitted, tested] = VOTES;
    [(0..fitted).map(vote).collect(), (fitted..fitted + tested).map(vote).collect()]
}

#[cfg(test)]
mod tests {
    use waxwork_core::{Device, Tensor};

    use super::*;

    /// Codes of images with two factors of three and four values.
    fn measured(images: u32, code: impl Fn(f32, f32, f32) -> Vec<f32>) -> Option<Disentanglement> {
        let mut draws = Stream::new(3, "disentanglement", 0).at(0);
        let (mut codes, mut factors) = (Vec::new(), Vec::new());
        for _ in 0..images {
            let (kind, level, noise) = (draws.below(3), draws.below(4), draws.normal());
            codes.push(code(kind as f32, level as f32, noise));
            factors.push(vec![Factor::kind("kind", kind, 3), Factor::level("level", level, 4)]);
        }
        let width = codes[0].len();
        let codes = Tensor::from_vec(codes.concat(), (images as usize, width), &Device::Cpu).unwrap();
        Disentanglement::of(&Features::new("codes", &codes).unwrap(), &factors).unwrap()
    }

    #[test]
    fn a_unit_per_factor_is_perfect_and_noise_is_not() {
        let found = measured(2000, |kind, level, noise| vec![kind, -level, 0.1 * noise]).unwrap();
        assert!(found.factorvae == 1.0 && found.dci.informativeness > 0.999, "{found:?}");
        assert!(found.dci.disentanglement > 0.95 && found.dci.completeness > 0.95, "{found:?}");
        // A line separates the first and the last of four values.
        assert!(found.sap > 0.2, "{found:?}");
        let noise = measured(2000, |_, _, noise| vec![noise, 1.0]).unwrap();
        assert!(noise.factorvae < 0.6 && noise.sap < 0.1, "{noise:?}");
        assert!(noise.dci.informativeness < 0.4, "{noise:?}");
    }

    /// Units that mix both factors keep all information.
    #[test]
    fn a_rotation_is_informative_and_entangled() {
        let found = measured(2000, |kind, level, _| vec![kind + 0.7 * level, kind - 0.7 * level]).unwrap();
        assert!(found.dci.informativeness > 0.99 && found.dci.disentanglement < 0.3, "{found:?}");
    }

    #[test]
    fn scores_that_do_not_apply_are_absent() {
        assert!(measured(39, |kind, level, _| vec![kind, level]).is_none());
        assert!(measured(40, |kind, level, _| vec![kind, level]).is_some());
        let codes = Tensor::zeros((100, 2), waxwork_core::DType::F32, &Device::Cpu).unwrap();
        let codes = Features::new("codes", &codes).unwrap();
        let kinds = [Factor::kind("kind", 1, 3), Factor::quantity("size", 0.5)];
        for factors in [&kinds[..], &kinds[..1]] {
            assert_eq!(Disentanglement::of(&codes, &vec![factors.to_vec(); 100]).unwrap(), None);
        }
        assert!(Disentanglement::of(&codes, &[kinds.to_vec()]).is_err());
    }

    #[test]
    fn metrics_have_their_protocols() {
        let found = measured(200, |kind, level, _| vec![kind, level]).unwrap();
        let metrics = found.metrics(&Protocol::new());
        let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "factorvae_score",
                "sap_score",
                "dci_disentanglement",
                "dci_completeness",
                "dci_informativeness"
            ]
        );
        assert!(metrics.iter().all(|metric| (0.0..=1.0).contains(&metric.value)), "{metrics:?}");
        assert_eq!(metrics[0].protocol["n_real"], "200");
        assert!(metrics[4].protocol["classifier"].starts_with("boosted trees"));
    }
}
