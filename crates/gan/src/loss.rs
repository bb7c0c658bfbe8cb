//! The losses of generator and discriminator, as pure functions of the discriminator's logits.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::Result;
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::loss::softplus;

/// What generator and discriminator minimise. Logits are `(N)`; results are scalars, in nats where the loss is a
/// cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdversarialLoss {
    /// The game of Goodfellow et al. 2014, eq. 1: the generator minimises log(1 − D(G(z))).
    Minimax,
    /// The same discriminator; the generator minimises −log D(G(z)) (Goodfellow et al. 2014, section 3).
    #[default]
    NonSaturating,
    /// Squares of the distance to 1 and 0 (Mao et al. 2017, eq. 9).
    LeastSquares,
    /// max(0, 1 − D(x)) + max(0, 1 + D(G(z))), and −D(G(z)) (Lim & Ye 2017; Miyato et al. 2018).
    Hinge,
    /// D(G(z)) − D(x), and −D(G(z)) (Arjovsky et al. 2017). The discriminator must be kept Lipschitz: see [`super::Penalty`].
    Wasserstein,
    /// Real against generated samples in pairs: log(1 + exp(D(G(z)) − D(x))), and the same with the two exchanged (Jolicoeur-Martineau
    /// 2019; R3GAN, Huang et al. 2024, eq. 5). Needs the penalty `r1-r2`, or at least `r1`.
    Relativistic,
}

impl AdversarialLoss {
    /// True if real images have a target that smoothing can lower.
    pub(super) fn has_targets(self) -> bool {
        matches!(self, Self::Minimax | Self::NonSaturating | Self::LeastSquares)
    }

    /// True if logits above 0 mean real and logits below 0 generated.
    pub(super) fn has_sides(self) -> bool {
        matches!(self, Self::Minimax | Self::NonSaturating | Self::Hinge)
    }

    /// The discriminator's loss. `label_smoothing` lowers the target of real images from 1.
    pub fn discriminator(self, real: &Tensor, generated: &Tensor, label_smoothing: f64) -> Result<Tensor> {
        let (on_real, on_generated) = match self {
            Self::Minimax | Self::NonSaturating => {
                // Cross-entropy with the target 1 − s: softplus(−l) + s · l.
                let smoothed = real.affine(label_smoothing, 0.0)?;
                ((softplus(&real.neg()?)? + smoothed)?, softplus(generated)?)
            }
            Self::LeastSquares => (
                real.affine(1.0, label_smoothing - 1.0)?.sqr()?.affine(0.5, 0.0)?,
                generated.sqr()?.affine(0.5, 0.0)?,
            ),
            Self::Hinge => (relu(&real.affine(-1.0, 1.0)?)?, relu(&generated.affine(1.0, 1.0)?)?),
            Self::Wasserstein => (real.neg()?, generated.clone()),
            Self::Relativistic => return Ok(softplus(&(generated - real)?)?.mean_all()?),
        };
        Ok((on_real.mean_all()? + on_generated.mean_all()?)?)
    }

    /// The generator's loss. `real` gives the logits of real samples; only a loss of pairs calls it.
    pub fn generator(self, generated: &Tensor, real: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let loss = match self {
            Self::Minimax => softplus(generated)?.neg()?,
            Self::NonSaturating => softplus(&generated.neg()?)?,
            Self::LeastSquares => generated.affine(1.0, -1.0)?.sqr()?.affine(0.5, 0.0)?,
            Self::Hinge | Self::Wasserstein => generated.neg()?,
            Self::Relativistic => softplus(&(real()? - generated)?)?,
        };
        Ok(loss.mean_all()?)
    }
}

/// Our own ReLU, because candle's turns NaN into 0 on a GPU.
fn relu(x: &Tensor) -> Result<Tensor> {
    Ok(kernels::activate(x, Activation::Relu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    const REAL: [f64; 4] = [-1.3, 0.2, 0.9, 2.5];
    const GENERATED: [f64; 4] = [-2.1, -0.4, 0.3, 1.7];

    fn vector(values: &[f64]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        values.sum::<f64>() / 4.0
    }

    #[test]
    fn losses_are_the_papers_formulas() {
        let probability = |l: f64| 1.0 / (1.0 + (-l).exp());
        let (real, generated) = (vector(&REAL), vector(&GENERATED));
        let check = |loss: AdversarialLoss, smoothing: f64, d: f64, g: f64| {
            let found = loss.discriminator(&real, &generated, smoothing).unwrap().to_scalar::<f64>().unwrap();
            assert!((found - d).abs() < 1e-12, "{loss:?}: {found} against {d}");
            let found = loss.generator(&generated, || Ok(real.clone())).unwrap().to_scalar::<f64>().unwrap();
            assert!((found - g).abs() < 1e-12, "{loss:?}: {found} against {g}");
        };
        let on_generated = mean(GENERATED.iter().map(|&l| -(1.0 - probability(l)).ln()));
        for smoothing in [0.0, 0.1] {
            let d = on_generated
                + mean(REAL.iter().map(|&l| {
                    -(1.0 - smoothing) * probability(l).ln() - smoothing * (1.0 - probability(l)).ln()
                }));
            check(AdversarialLoss::Minimax, smoothing, d, -on_generated);
            let saturating = mean(GENERATED.iter().map(|&l| -probability(l).ln()));
            check(AdversarialLoss::NonSaturating, smoothing, d, saturating);
            let d = mean(REAL.iter().map(|l| 0.5 * (l - 1.0 + smoothing).powi(2)))
                + mean(GENERATED.iter().map(|l| 0.5 * l * l));
            let g = mean(GENERATED.iter().map(|l| 0.5 * (l - 1.0).powi(2)));
            check(AdversarialLoss::LeastSquares, smoothing, d, g);
        }
        let g = -mean(GENERATED.into_iter());
        let d = mean(REAL.iter().map(|l| (1.0 - l).max(0.0)))
            + mean(GENERATED.iter().map(|l| (1.0 + l).max(0.0)));
        check(AdversarialLoss::Hinge, 0.0, d, g);
        check(AdversarialLoss::Wasserstein, 0.0, -g - mean(REAL.into_iter()), g);
        let pairs = || REAL.iter().zip(&GENERATED).map(|(real, generated)| probability(real - generated));
        let (d, g) = (mean(pairs().map(|p| -p.ln())), mean(pairs().map(|p| -(1.0 - p).ln())));
        check(AdversarialLoss::Relativistic, 0.0, d, g);
    }

    #[test]
    fn losses_stay_finite_where_probabilities_saturate() {
        let far = vector(&[-1e4, 1e4, 0.0, 1.0]);
        for loss in [AdversarialLoss::Minimax, AdversarialLoss::NonSaturating, AdversarialLoss::Relativistic]
        {
            let d = loss.discriminator(&far, &far, 0.1).unwrap().to_scalar::<f64>().unwrap();
            let g = loss.generator(&far, || Ok(far.clone())).unwrap().to_scalar::<f64>().unwrap();
            assert!(d.is_finite() && g.is_finite(), "{loss:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        use AdversarialLoss::{Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein};
        for loss in [Minimax, NonSaturating, LeastSquares, Hinge, Wasserstein, Relativistic] {
            let values = |real: &Tensor, generated: &Tensor| {
                let d = loss.discriminator(real, generated, 0.1).unwrap();
                (d + loss.generator(generated, || Ok(real.clone())).unwrap().affine(0.7, 0.0).unwrap())
                    .unwrap()
            };
            let vars = [REAL, GENERATED].map(|values| Var::from_tensor(&vector(&values)).unwrap());
            let gradients = values(&vars[0], &vars[1]).backward().unwrap();
            for which in 0..2 {
                let gradient = gradients.get(&vars[which]).unwrap().to_vec1::<f64>().unwrap();
                for i in 0..4 {
                    let at = |delta: f64| {
                        let mut moved = [REAL, GENERATED];
                        moved[which][i] += delta;
                        values(&vector(&moved[0]), &vector(&moved[1])).to_scalar::<f64>().unwrap()
                    };
                    let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                    assert!((gradient[i] - numeric).abs() < 1e-7, "{loss:?} {which} {i}");
                }
            }
        }
    }
}
