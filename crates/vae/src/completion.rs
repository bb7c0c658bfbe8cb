//! Completion of images (Sohn et al. 2015): the condition is a part of the image, and the model learns to
//! fill in the rest.
//!
//! Only the prior sees the given part. It is a network like the encoder that maps the given part to a
//! Gaussian over latents. The encoder sees the whole image, and the decoder sees only the latent. Only values
//! that are not given contribute to the likelihood.

use std::ops::Range;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use waxwork_core::model::check_input;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::rng::{Draws, Stream};
use waxwork_core::sample::Range as Values;
use waxwork_core::{Condition, Error, ImageShape, Loss, Mode, ParamSet, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::Linear;
use waxwork_nn::loss;
use waxwork_nn::nets::Mlp;

use crate::DECODER;
use crate::config::{Network, VaeConfig};
use crate::likelihood::DATA_SEED;
use crate::networks::{Encoder, linear_layers};
use crate::posterior::DiagonalGaussian;

/// The group of the weights of the network that guesses missing values.
pub const GUESS: &str = "guess";

const KEY: &str = "model.completion";

/// Which part of each image is given, and how the missing values are filled in before the prior sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionConfig {
    /// The part of every image that is given, in training and in evaluation.
    pub given: GivenPart,
    /// Number of steps at the start of training that train a separate network, which predicts every missing
    /// value from the given ones. Afterwards it is frozen, and the prior sees its guesses in place of the
    /// missing values (Sohn et al. 2015). With 0, the prior sees −1 there. Only for networks of the kind `mlp`,
    /// and for a part that is the same in all images.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub guess_steps: u64,
}

fn is_zero(steps: &u64) -> bool {
    *steps == 0
}

/// A part of an image. If a side has an odd number of pixels, the first half is the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GivenPart {
    /// The lower left quadrant.
    LowerLeft,
    /// The left half.
    Left,
    /// All but the lower right quadrant.
    AllButLowerRight,
    /// All but a box whose sides are a quarter to three quarters of those of the image. In training, a new
    /// box is drawn for every image in every step; in evaluation, one per image.
    AllButABox,
}

impl GivenPart {
    /// Whether the part differs between images.
    pub const fn is_drawn(self) -> bool {
        matches!(self, Self::AllButABox)
    }

    /// The part in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LowerLeft => "the lower left quadrant",
            Self::Left => "the left half",
            Self::AllButLowerRight => "all but the lower right quadrant",
            Self::AllButABox => "all but a box",
        }
    }

    /// 1 for every value that is given and 0 for the others, the same in all channels: `(N, C, H, W)` f32 on
    /// the CPU. Image `i` uses the draws of `rows[i]`.
    ///
    /// # Errors
    /// If the tensor cannot be created.
    pub fn masks(self, image: ImageShape, stream: &Stream, rows: &[u64]) -> Result<Tensor> {
        let ImageShape { channels, height, width } = image;
        let (middle, centre) = (height / 2, width / 2);
        let mut masks = Vec::with_capacity(rows.len() * image.len());
        for &row in rows {
            let hole = self.is_drawn().then(|| {
                let mut draws = stream.at(row);
                (drawn(height, &mut draws), drawn(width, &mut draws))
            });
            let is_given = |y: usize, x: usize| match (self, &hole) {
                (Self::LowerLeft, _) => y >= middle && x < centre,
                (Self::Left, _) => x < centre,
                (Self::AllButLowerRight, _) => y < middle || x < centre,
                (Self::AllButABox, hole) => {
                    hole.as_ref().is_none_or(|(rows, columns)| !rows.contains(&y) || !columns.contains(&x))
                }
            };
            for _ in 0..channels {
                for y in 0..height {
                    masks.extend((0..width).map(|x| f32::from(u8::from(is_given(y, x)))));
                }
            }
        }
        Ok(Tensor::from_vec(masks, (rows.len(), channels, height, width), &Device::Cpu)?)
    }
}

/// A side of a box in an image whose side is `whole`.
fn drawn(whole: usize, draws: &mut Draws) -> Range<usize> {
    let quarter = (whole / 4).max(1);
    let length = quarter + draws.below((whole / 2 + 1) as u32) as usize;
    let start = draws.below((whole.saturating_sub(length) + 1) as u32) as usize;
    start..start + length
}

/// Images `(N, C, H, W)` of which a part is given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The values that are given; 0 elsewhere.
    pub(crate) values: Tensor,
    /// 1 for every value that is given, 0 for the others.
    pub(crate) mask: Tensor,
}

impl Given {
    /// 1 for every value that is not given.
    pub(crate) fn missing(&self) -> Result<Tensor> {
        Ok(self.mask.affine(-1.0, 1.0)?)
    }

    /// The given values, and −1 elsewhere.
    fn marked(&self) -> Result<Tensor> {
        Ok((&self.values + self.mask.affine(1.0, -1.0)?)?)
    }

    /// The given values, bit for bit, and those of `made` elsewhere.
    pub(crate) fn completed(&self, made: &Tensor) -> Result<Tensor> {
        Ok(self.mask.gt(0.5)?.where_cond(&self.values, made)?)
    }
}

/// The parts of a model that only completion needs.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) config: CompletionConfig,
    image: ImageShape,
    prior: Encoder,
    guess: Option<Guess>,
}

/// The network that guesses missing values: 784 – hidden – 784 for digits.
#[derive(Clone, Debug)]
struct Guess {
    hidden: Mlp,
    output: Linear,
    dims: Vec<usize>,
}

impl Completion {
    /// The networks of `completion` for samples like `sample`: `decoder.prior`, and `guess` if there are
    /// guess steps.
    ///
    /// # Errors
    /// [`Error::Config`] if samples are not images; if the set is stored and does not fit.
    pub(crate) fn new(
        params: &mut ParamSet,
        completion: CompletionConfig,
        config: &VaeConfig,
        sample: &SampleSpec,
    ) -> Result<Self> {
        let image = sample.image().filter(|_| sample.range() == Some(Values::Unit));
        let image = image.ok_or_else(|| Error::Config {
            key: KEY.into(),
            reason: format!("only images can be completed, but a sample is {sample}"),
        })?;
        let mut root = params.root();
        let prior = {
            let mut decoder = root.enter(DECODER);
            Encoder::new(decoder.enter("prior"), config, sample, 0)?
        };
        let guess = match &config.network {
            Network::Mlp { hidden } if completion.guess_steps > 0 => {
                let mut scope = root.enter(GUESS);
                let hidden = linear_layers(scope.enter("hidden"), sample.len(), hidden, config)?;
                let output = Linear::new(scope.enter("output"), hidden.outputs(), sample.len(), config.init)?;
                Some(Guess { hidden, output, dims: sample.dims().to_vec() })
            }
            _ => None,
        };
        Ok(Self { config: completion, image, prior, guess })
    }

    /// Whether this step trains only the network for guesses.
    pub(crate) fn is_guessing(&self, step: u64) -> bool {
        step < self.config.guess_steps
    }

    /// The given part of images `(N, C, H, W)`; if it is random, that of image `i` depends on `rows[i]`.
    pub(crate) fn part_of(&self, images: &Tensor, stream: &Stream, rows: &[u64]) -> Result<Given> {
        let mask = self.config.given.masks(self.image, stream, rows)?;
        let mask = mask.to_device(images.device())?.to_dtype(images.dtype())?;
        Ok(Given { values: images.mul(&mask)?, mask })
    }

    /// [`waxwork_core::Complete::given`].
    pub(crate) fn given(&self, inputs: &Tensor, numbers: &[u64]) -> Result<Condition> {
        check_input("the images", inputs, &SampleSpec::from(self.image).batch(numbers.len()))?;
        let images = inputs.to_device(&Device::Cpu)?;
        let Given { values, mask } = self.part_of(&images, &parts_of_data(), numbers)?;
        Ok(Condition::Part { values, mask })
    }

    /// The given part that [`waxwork_core::ConditionSpec::encode`] has encoded, `(N, 2 · values)`.
    pub(crate) fn decoded(&self, encoded: &Tensor) -> Result<Given> {
        let ImageShape { channels, height, width } = self.image;
        let (n, len) = (encoded.dim(0)?, self.image.len());
        let half =
            |start: usize| encoded.narrow(1, start, len)?.contiguous()?.reshape((n, channels, height, width));
        Ok(Given { values: half(0)?, mask: half(len)? })
    }

    /// The mean of p(z | given), followed by its log-variance, `(N, 2 · latent_dim)`.
    pub(crate) fn prior(&self, given: &Given, mode: Mode<'_>) -> Result<Tensor> {
        let input = match &self.guess {
            None => given.marked()?,
            Some(guess) => {
                let guessed = kernels::activate(&guess.logits(given, Mode::Eval)?, Activation::Sigmoid)?;
                given.completed(&guessed.detach())?
            }
        };
        let DiagonalGaussian { mean, log_var } = self.prior.forward(&input, None, mode)?;
        Ok(Tensor::cat(&[&mean, &log_var], 1)?)
    }

    /// The loss of the guesses: [`Completion::cross_entropy`], averaged over the images.
    pub(crate) fn guess_loss(&self, given: &Given, images: &Tensor, mode: Mode<'_>) -> Result<Option<Loss>> {
        let Some(each) = self.cross_entropy(given, images, mode)? else { return Ok(None) };
        Ok(Some(Loss::new("guess", each.mean_all()?)))
    }

    /// The cross-entropy of the guesses with the missing values of `images`, `(N)` in nats. None if the model
    /// does not guess.
    pub(crate) fn cross_entropy(
        &self,
        given: &Given,
        images: &Tensor,
        mode: Mode<'_>,
    ) -> Result<Option<Tensor>> {
        let Some(guess) = &self.guess else { return Ok(None) };
        let each = loss::bce_with_logits(&guess.logits(given, mode)?, images)?.mul(&given.missing()?)?;
        Ok(Some(loss::sum_per_sample(&each)?))
    }

    /// [`Completion::prior`] of an encoded part as nodes of a graph.
    pub(crate) fn export(&self, mut root: GraphScope<'_>, encoded: &Value) -> Result<Value> {
        let len = self.image.len();
        let (values, mask) = (root.columns(encoded, 0, len), root.columns(encoded, len, len));
        let below = root.affine(&mask, 1.0, -1.0)?;
        let mut input = root.node("Add", &[&values, &below], &[]);
        if let Some(guess) = &self.guess {
            let mut scope = root.enter(GUESS);
            let hidden = guess.hidden.export(scope.enter("hidden"), &input)?;
            let guessed = guess.output.export(scope.enter("output"), &hidden, Activation::Sigmoid)?;
            let missing = scope.affine(&mask, -1.0, 1.0)?;
            let guessed = scope.node("Mul", &[&guessed, &missing], &[]);
            input = scope.node("Add", &[&values, &guessed], &[]);
        }
        let ImageShape { channels, height, width } = self.image;
        let input = root.reshape(&input, &[channels, height, width]);
        let mut decoder = root.enter(DECODER);
        let (mean, log_var) = self.prior.export(decoder.enter("prior"), &input, None)?;
        Ok(root.beside(&mean, Some(&log_var)))
    }
}

/// The draws of the parts that are given in evaluation, which belong to the data rather than to a run.
pub(crate) fn parts_of_data() -> Stream {
    Stream::new(DATA_SEED, "given", 0)
}

impl Guess {
    /// The logits of every value, `(N, C, H, W)`.
    fn logits(&self, given: &Given, mode: Mode<'_>) -> Result<Tensor> {
        let hidden = self.hidden.forward(&given.marked()?, mode)?;
        self.output.forward_to(&hidden, &self.dims, Activation::Identity, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(part: GivenPart, image: ImageShape, row: u64) -> Vec<f32> {
        let masks = part.masks(image, &Stream::new(3, "given", 0), &[row]).unwrap();
        assert_eq!(masks.dims(), [1, image.channels, image.height, image.width]);
        masks.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn quadrants_are_those_of_their_names() {
        let image = ImageShape::new(1, 4, 2);
        assert_eq!(mask(GivenPart::LowerLeft, image, 0), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(mask(GivenPart::Left, image, 0), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(mask(GivenPart::AllButLowerRight, image, 0), [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        // Every channel has the same mask, and the parts of a digit have a quarter, a half and three quarters
        // of its pixels.
        let colour = mask(GivenPart::Left, ImageShape::new(3, 4, 2), 5);
        assert_eq!(colour, mask(GivenPart::Left, image, 0).repeat(3));
        let digit = ImageShape::new(1, 28, 28);
        let parts = [GivenPart::LowerLeft, GivenPart::Left, GivenPart::AllButLowerRight];
        assert_eq!(parts.map(|part| mask(part, digit, 0).iter().sum::<f32>()), [196.0, 392.0, 588.0]);
    }

    #[test]
    fn boxes_are_drawn_by_row_and_stay_in_the_image() {
        let image = ImageShape::new(1, 8, 12);
        let mut areas = std::collections::BTreeSet::new();
        for row in 0..300 {
            let mask = mask(GivenPart::AllButABox, image, row);
            let missing: Vec<usize> = (0..mask.len()).filter(|place| mask[*place] == 0.0).collect();
            let side = |of: &dyn Fn(usize) -> usize| {
                let (least, most) = missing.iter().fold((usize::MAX, 0), |(least, most), &place| {
                    (least.min(of(place)), most.max(of(place)))
                });
                most - least + 1
            };
            let (height, width) = (side(&|place| place / 12), side(&|place| place % 12));
            assert!((2..=6).contains(&height) && (3..=9).contains(&width), "{height}×{width}");
            assert_eq!(missing.len(), height * width);
            areas.insert(missing);
        }
        assert!(areas.len() > 200, "{}", areas.len());
        let all = GivenPart::AllButABox.masks(image, &Stream::new(3, "given", 0), &[6, 7]).unwrap();
        let second: Vec<f32> = all.get(1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(second, mask(GivenPart::AllButABox, image, 7));
        // This also holds for the smallest images.
        for (height, width) in [(1, 1), (1, 2), (3, 2)] {
            assert!(mask(GivenPart::AllButABox, ImageShape::new(1, height, width), 0).contains(&0.0));
        }
    }

    #[test]
    fn given_values_stay_as_they_are() {
        let row =
            |values: [f32; 4]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 1, 2, 2)).unwrap();
        let given = Given { values: row([0.1, 0.0, 0.3, 0.0]), mask: row([1.0, 0.0, 1.0, 0.0]) };
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(given.marked().unwrap()), [0.1, -1.0, 0.3, -1.0]);
        assert_eq!(flat(given.missing().unwrap()), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(flat(given.completed(&row([0.6, 0.7, 0.8, 0.9])).unwrap()), [0.1, 0.7, 0.3, 0.9]);
    }
}
