//! The judge: a small classifier that is trained on the real samples of a data set and classifies generated
//! ones. Its training is deterministic, and the hash of its weights identifies it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use waxwork_core::Mode;
use waxwork_core::collective::Collective;
use waxwork_core::model::EVALUATION_BATCH;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::sharing::from_first;
use waxwork_core::{
    Batch, ConditionSpec, DType, Device, Kind, Loss, ParamGroup, ParamSet, StepContext, Tensor, Trainable,
    TrainingState, store,
};
use waxwork_data::{Dataset, DatasetInfo, Loader, LoaderConfig, Split};
use waxwork_kernels::Activation;
use waxwork_nn::augment::{Augmentation, augment};
use waxwork_nn::layers::{Linear, WeightInit};
use waxwork_nn::loss::cross_entropy;
use waxwork_nn::nets::{ClipDown, ClipSize, ConvDown, Mlp, Style};
use waxwork_nn::tokens::one_hot;

use crate::cache::{self, Place};
use crate::extractor::{Extractor, in_passes, softmax};
use crate::{Error, Result};
use waxwork_core::hash::sha256;

/// Increased whenever training on the same data gives a different judge; part of its identity.
const VERSION: u32 = 2;
/// Seed of the judge that measures.
const SEED: u64 = 0;
/// Seed of the judge that chooses checkpoints.
const CHOOSING_SEED: u64 = 1;
const BATCH: usize = 100;
/// Clips per batch: each has as many frames as a batch needs for its norms.
const CLIP_BATCH: usize = 32;
/// Maximum number of training steps.
const STEPS: u64 = 3000;
/// Steps between validations.
const LOOK_EVERY: u64 = 250;
/// Validation images per validation.
const LOOK_AT: usize = 2000;
/// Training ends at this validation accuracy.
const ENOUGH: f64 = 0.995;
/// Length of the vector of features.
const FEATURES: usize = 128;

/// A body for the kind of sample, one hidden layer of features, and a linear layer to the classes.
#[derive(Clone, Debug)]
struct Classifier {
    condition: ConditionSpec,
    params: ParamSet,
    groups: Vec<ParamGroup>,
    body: Body,
    hidden: Linear,
    output: Linear,
}

/// The layers that see the samples.
#[derive(Clone, Debug)]
enum Body {
    /// Convolutions of stride 2 with batch norm, for images, which training shifts a little.
    Images(ConvDown),
    /// One linear layer.
    Vectors(Mlp),
    /// Windows of embedded tokens, and the largest value of each feature over all positions (Kim 2014).
    Texts { vocabulary: usize, embedding: Linear, windows: Linear },
    /// Convolutions of stride 2 with batch norm over frames, then convolutions along time.
    Clips(ClipDown),
}

/// Width of a token's embedding.
const EMBEDDING: usize = 64;
/// Number of tokens in a window.
const WINDOW: usize = 3;
/// The size of the network for clips.
const CLIPS: ClipSize = ClipSize { width: 8, features: 64, blocks: 2 };

impl Body {
    /// The body for samples of such data, and the number of values that it gives per sample.
    fn new(info: &DatasetInfo, params: &mut ParamSet) -> waxwork_core::Result<(Self, usize)> {
        let style = Style { weights: WeightInit::Pytorch.into(), activation: Activation::Relu };
        let (kind, sample) = (&info.kind, info.sample());
        let image = match kind {
            // A spectrogram is an image as well.
            Kind::Image(_) | Kind::Sound { .. } => sample.needs_image("data")?,
            Kind::Points { .. } | Kind::Rows(_) => {
                let mlp = Mlp::new(params.root().enter(kind.plural()), sample.len(), &[FEATURES], style)?;
                return Ok((Self::Vectors(mlp), FEATURES));
            }
            Kind::Text { vocabulary, .. } => {
                let style = WeightInit::Pytorch;
                let embedding = Linear::new(params.root().enter("embedding"), *vocabulary, EMBEDDING, style)?;
                let windows =
                    Linear::new(params.root().enter("windows"), WINDOW * EMBEDDING, FEATURES, style)?;
                return Ok((Self::Texts { vocabulary: *vocabulary, embedding, windows }, FEATURES));
            }
            Kind::Clip { .. } => {
                let clip = sample.needs_clip("data")?;
                let down = ClipDown::new(params.root().enter("clip"), clip, 0, CLIPS, true, style, "data")?;
                let values = down.outputs();
                return Ok((Self::Clips(down), values));
            }
        };
        // Halve the size as often as it is even, down to 4×4 at the least: 7×7 for MNIST, 4×4 for CIFAR-10.
        let halvings = (1..=4)
            .take_while(|halvings| {
                let size = 1 << halvings;
                image.height.is_multiple_of(size)
                    && image.width.is_multiple_of(size)
                    && image.height.min(image.width) / size >= 4
            })
            .count();
        let channels: Vec<usize> = (0..halvings).map(|i| (32 << i).min(128)).collect();
        let down = ConvDown::new(params.root().enter("down"), image.channels, &channels, 0, true, style)?;
        let size = image.height / (1 << halvings) * (image.width / (1 << halvings));
        Ok((Self::Images(down), channels.last().copied().unwrap_or(image.channels) * size))
    }
}

impl Classifier {
    fn new(info: &DatasetInfo, classes: usize, mut params: ParamSet) -> waxwork_core::Result<Self> {
        let (body, values) = Body::new(info, &mut params)?;
        let hidden = Linear::new(params.root().enter("hidden"), values, FEATURES, WeightInit::Pytorch)?;
        let output = Linear::new(params.root().enter("output"), FEATURES, classes, WeightInit::Pytorch)?;
        let params = params.finish()?;
        let groups = vec![params.group("classifier", "")];
        let condition = ConditionSpec::classes(classes);
        Ok(Self { condition, params, groups, body, hidden, output })
    }

    /// `(N, ..)` → features `(N, 128)`.
    fn features(&self, inputs: &Tensor, mode: Mode<'_>) -> waxwork_core::Result<Tensor> {
        let values = match &self.body {
            Body::Images(down) => down.forward(inputs, mode)?.flatten_from(1)?,
            Body::Vectors(mlp) => mlp.forward(inputs, mode)?,
            Body::Clips(down) => down.forward(inputs, mode)?.flatten_from(1)?,
            Body::Texts { vocabulary, embedding, windows } => {
                let rows = one_hot(inputs, *vocabulary, DType::F32)?;
                let (count, length, vocabulary) = rows.dims3()?;
                let tokens = rows.reshape((count * length, vocabulary))?;
                let tokens = embedding.forward(&tokens, Activation::Identity, mode)?;
                // Pad both ends with zeros, so that every token is in the middle of a window.
                let tokens = tokens.reshape((count, length, EMBEDDING))?.pad_with_zeros(1, 1, 1)?;
                let parts: Vec<Tensor> =
                    (0..WINDOW).map(|from| tokens.narrow(1, from, length)).collect::<Result<_, _>>()?;
                let seen = Tensor::cat(&parts, 2)?.reshape((count * length, WINDOW * EMBEDDING))?;
                let seen = windows.forward(&seen, Activation::Relu, mode)?;
                seen.reshape((count, length, FEATURES))?.max(1)?
            }
        };
        self.hidden.forward(&values, Activation::Relu, mode)
    }

    fn logits(&self, features: &Tensor, mode: Mode<'_>) -> waxwork_core::Result<Tensor> {
        self.output.forward(features, Activation::Identity, mode)
    }
}

impl Trainable for Classifier {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> waxwork_core::Result<()> {
        let labels = self.condition.encode(&batch.condition, "classifier", &self.params)?;
        let inputs = match &self.body {
            Body::Images(_) => {
                let rows = ctx.rows(batch.len());
                augment(&batch.inputs, &[Augmentation::Translation], None, &ctx.stream("augment"), &rows)?
            }
            Body::Vectors(_) | Body::Texts { .. } | Body::Clips(_) => batch.inputs.clone(),
        };
        let logits = self.logits(&self.features(&inputs, ctx.train())?, ctx.train())?;
        if let Some(labels) = labels {
            ctx.update(&["classifier"], Loss::new("loss", cross_entropy(&logits, &labels)?.mean_all()?))?;
        }
        Ok(())
    }
}

/// Identity and accuracy of a judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeInfo {
    /// SHA-256 of the file of its weights.
    pub sha256: String,
    /// Identity of the data that it was trained on.
    pub data_identity: String,
    /// Number of training steps.
    pub steps: u64,
    /// Accuracy on the test images.
    pub test_accuracy: f64,
}

/// A trained judge.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Its identity and accuracy.
    pub info: JudgeInfo,
    classifier: Classifier,
}

impl Judge {
    /// The judge of a data set. It is read from `cache` if it is there, else trained (deterministically, on
    /// the CPU) and stored there. `progress` gets the steps done and the maximum. A damaged file in the cache
    /// is replaced.
    ///
    /// # Errors
    /// If the data has no labels, cannot be read, or the cache cannot be written.
    pub fn of(data: &Dataset, cache: &Path, progress: impl FnMut(u64, u64)) -> Result<Self> {
        Self::seeded(SEED, data, cache, progress)
    }

    /// As [`Judge::of`], for several processes: only the first one reads or trains the judge, and writes the
    /// cache. The others wait, and get its weights.
    ///
    /// # Errors
    /// As for [`Judge::of`].
    pub fn together(
        data: &Dataset,
        cache: &Path,
        collective: &dyn Collective,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self> {
        if collective.size() == 1 {
            return Self::of(data, cache, progress);
        }
        let mut own = None;
        let sent = from_first(collective, || -> Result<(Vec<u8>, Vec<u8>)> {
            let judge = Self::of(data, cache, progress)?;
            let weights = store::encode(&judge.classifier.params.tensors())?;
            let notes = serde_json::to_vec(&judge.info).map_err(|error| cache::damaged(cache, &error))?;
            own = Some(judge);
            Ok((weights, notes))
        })?;
        match own {
            Some(judge) => Ok(judge),
            None => Self::decode(&sent.0, &sent.1, Path::new("the judge of process 0"), data),
        }
    }

    /// Another judge, with other initial values and batches, by which training may choose checkpoints. No
    /// reported number comes from it.
    ///
    /// # Errors
    /// As for [`Judge::of`].
    pub fn that_chooses(data: &Dataset, cache: &Path, progress: impl FnMut(u64, u64)) -> Result<Self> {
        Self::seeded(CHOOSING_SEED, data, cache, progress)
    }

    fn seeded(seed: u64, data: &Dataset, cache: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Self> {
        let classes = data.info.classes.len();
        if classes == 0 {
            return Err(Error::NoLabels { data: data.info.name.clone() });
        }
        let role = if seed == SEED { String::new() } else { format!(" with seed {seed}") };
        // Other kinds have only one view.
        let seen = match data.info.kind {
            Kind::Sound { .. } => format!(" seen as {}", data.info.view_hash()),
            Kind::Image(_) | Kind::Points { .. } | Kind::Rows(_) | Kind::Text { .. } | Kind::Clip { .. } => {
                String::new()
            }
        };
        // A part of a data set has the identity of the whole.
        let (learned, held_out) = (data.train.len(), data.validation.len());
        let key = format!(
            "judge {VERSION} of {}, {learned} and {held_out} samples{role}{seen}",
            data.info.identity
        );
        let place = Place::new(cache, "judge", &key);
        let kept = place.load(|weights, notes, origin| Self::decode(weights, notes, origin, data));
        if let Some(judge) = kept {
            return Ok(judge);
        }

        let Self { classifier, info: JudgeInfo { steps, .. } } = train(data, classes, seed, &mut progress)?;
        let bytes = store::encode(&classifier.params.tensors())?;
        let mut judge = Self {
            info: JudgeInfo {
                sha256: sha256(&bytes),
                data_identity: data.info.identity.clone(),
                steps,
                test_accuracy: 0.0,
            },
            classifier,
        };
        judge.info.test_accuracy = judge.accuracy(&data.test)?;
        place.store(&bytes, &judge.info)?;
        Ok(judge)
    }

    /// The judge whose weights and notes have these bytes. `origin` is the path to name in an error.
    fn decode(weights: &[u8], notes: &[u8], origin: &Path, data: &Dataset) -> Result<Self> {
        let info = cache::notes(weights, notes, &data.info.identity, origin)?;
        let tensors = store::decode(weights, origin, &Device::Cpu)?;
        let classes = data.info.classes.len();
        let stored = Classifier::new(&data.info, classes, ParamSet::stored(tensors, &Device::Cpu)?)?;
        let classifier = Classifier::new(&data.info, classes, stored.params.frozen())?;
        Ok(Self { info, classifier })
    }

    /// Accuracy on the images of a split.
    ///
    /// # Errors
    /// If the split has no labels, or its images cannot be read.
    pub fn accuracy(&self, split: &Split) -> Result<f64> {
        let (mut right, mut all) = (0, 0);
        for batch in split.batches(EVALUATION_BATCH, &Device::Cpu)? {
            let batch = batch?;
            let Some(labels) = batch.condition.class() else { continue };
            let labels = labels.to_vec1::<u32>().map_err(waxwork_core::Error::from)?;
            let named = named(&self.probabilities(&self.features(&batch.inputs)?)?);
            right += named.iter().zip(&labels).filter(|(a, b)| a == b).count();
            all += labels.len();
        }
        Ok(right as f64 / all.max(1) as f64)
    }
}

impl Extractor for Judge {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn sha256(&self) -> &str {
        &self.info.sha256
    }

    fn resize(&self) -> &'static str {
        "none"
    }

    /// Samples `(N, ..)` as networks see them → features `(N, 128)`.
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        Ok(in_passes(images, EVALUATION_BATCH, |images| self.classifier.features(images, Mode::Eval))?)
    }

    fn probabilities(&self, features: &Tensor) -> Result<Vec<Vec<f64>>> {
        let logits =
            in_passes(features, EVALUATION_BATCH, |features| self.classifier.logits(features, Mode::Eval))?;
        let rows = logits.to_vec2::<f32>().map_err(waxwork_core::Error::from)?;
        Ok(rows.iter().map(|row| softmax(row)).collect())
    }
}

/// Classification accuracy score (Ravuri & Vinyals 2019): the accuracy, on real test images, of a classifier
/// that is trained like a judge, but on labelled samples. `progress` gets the steps done and the maximum.
///
/// # Errors
/// If the samples have no labels or other labels than the data, or images cannot be read.
pub fn classification_accuracy(
    data: &Dataset,
    samples: &Split,
    mut progress: impl FnMut(u64, u64),
) -> Result<f64> {
    let classes = data.info.classes.len();
    let known = |labels: Vec<u32>| labels.iter().all(|&label| (label as usize) < classes);
    if !samples.labels().is_some_and(known) {
        return Err(Error::NoLabels { data: "samples".into() });
    }
    let learned = Dataset {
        train: samples.clone(),
        validation: samples.clone(),
        test: data.test.clone(),
        ..data.clone()
    };
    train(&learned, classes, SEED, &mut progress)?.accuracy(&data.test)
}

/// Class probabilities for every sample of the training part, in its order. They come from a judge that was
/// trained on the other half of the part, so it cannot have memorised the sample's label (Northcutt et al.
/// 2021). `progress` gets the steps done and the maximum.
///
/// # Errors
/// If the data has no labels, or cannot be read.
pub fn second_opinions(data: &Dataset, mut progress: impl FnMut(u64, u64)) -> Result<Vec<Vec<f64>>> {
    let classes = data.info.classes.len();
    if classes == 0 {
        return Err(Error::NoLabels { data: data.info.name.clone() });
    }
    let halves = data.train.halves();
    let mut opinions = Vec::with_capacity(2);
    for (done, (learned, asked)) in
        [(&halves[1], &halves[0]), (&halves[0], &halves[1])].into_iter().enumerate()
    {
        let learned = Dataset { train: learned.clone(), ..data.clone() };
        let mut progress = |steps, _| progress(done as u64 * STEPS + steps, 2 * STEPS);
        let judge = train(&learned, classes, SEED, &mut progress)?;
        let mut half = Vec::with_capacity(asked.len());
        for batch in asked.batches(EVALUATION_BATCH, &Device::Cpu)? {
            half.extend(judge.probabilities(&judge.features(&batch?.inputs)?)?);
        }
        opinions.push(half.into_iter());
    }
    let mut turn = [0, 1].into_iter().cycle();
    let next = || turn.next().and_then(|half: usize| opinions[half].next());
    Ok(std::iter::from_fn(next).collect())
}

/// The most probable class of each row.
pub fn named(probabilities: &[Vec<f64>]) -> Vec<u32> {
    let most =
        |row: &Vec<f64>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
    probabilities.iter().map(|row| most(row) as u32).collect()
}

/// Trains a judge without an identity, whose accuracy is not measured yet.
fn train(data: &Dataset, classes: usize, seed: u64, progress: &mut impl FnMut(u64, u64)) -> Result<Judge> {
    let device = Device::Cpu;
    let classifier = Classifier::new(&data.info, classes, ParamSet::fresh(seed, &device))?;
    // The moving average replaces a falling learning rate, at whatever step training ends.
    let adam =
        OptimizerConfig { lr: 1e-3, betas: [0.9, 0.999], ema: Some(0.99), ..OptimizerConfig::default() };
    let mut state = TrainingState::new(&classifier, adam, seed, STEPS)?;
    let average = state.ema().ok_or_else(|| waxwork_core::Error::Empty {
        what: "the judge",
        of: "moving average of its weights",
    })?;
    let average = Classifier::new(&data.info, classes, average)?;
    let judged = |steps: u64| Judge {
        info: JudgeInfo { sha256: String::new(), data_identity: String::new(), steps, test_accuracy: 0.0 },
        classifier: average.clone(),
    };
    let validation = if data.validation.is_empty() { &data.train } else { &data.validation };
    let validation = validation.subset(LOOK_AT);
    let batch = if matches!(data.info.kind, Kind::Clip { .. }) { CLIP_BATCH } else { BATCH };
    let batch = batch.min(data.train.len());
    let mut loader = Loader::new(&data.train, &LoaderConfig::new(batch, seed), &device)?;
    let mut done = 0;
    while done < STEPS {
        let Some(batch) = loader.next() else { break };
        state.step(&classifier, &batch?)?;
        done += 1;
        progress(done, STEPS);
        if done.is_multiple_of(LOOK_EVERY) && judged(done).accuracy(&validation)? >= ENOUGH {
            break;
        }
    }
    Ok(judged(done))
}
