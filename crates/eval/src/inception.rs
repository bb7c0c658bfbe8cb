//! Inception-v3 in the form that published Fréchet inception distances use: TensorFlow's graph of 2015-12-05,
//! with the tensor names and weights of pytorch-fid and torch-fidelity. It differs from torchvision's
//! network: average pooling excludes the padding, the last block uses max pooling, and there are 1008 classes
//! (Szegedy et al. 2016, Heusel et al. 2017).

use std::collections::BTreeMap;
use std::path::Path;

use waxwork_core::{Device, Tensor, store, values};
use waxwork_kernels::{self as kernels, Activation, Pool, Windows};

use crate::extractor::{Extractor, in_passes, softmax};
use crate::report::{Metric, Protocol};
use crate::resize::bilinear;
use crate::samples::judged;
use crate::{Error, Result};
use waxwork_core::hash::sha256;

/// Image height and width in the network's training.
const SIZE: usize = 299;
const FEATURES: usize = 2048;
const CLASSES: usize = 1008;
/// Added to variances in every batch norm.
const EPSILON: f64 = 1e-3;
/// Number of parts of the images whose Inception Scores are averaged.
const PARTS: usize = 10;
/// Images per forward pass.
const PASS: usize = 8;

/// The network with its weights.
#[derive(Clone, Debug)]
pub struct Inception {
    /// Weight and bias of every convolution, its batch norm folded in, by name.
    convolutions: BTreeMap<String, (Tensor, Tensor)>,
    /// `(1008, 2048)`. The Inception Score uses no bias.
    classes: Tensor,
    sha256: String,
}

impl Inception {
    /// Reads the weights from a safetensors file, with pytorch-fid's names.
    ///
    /// # Errors
    /// If the file cannot be read, lacks a tensor, or belongs to another Inception network.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |reason: String| waxwork_core::Error::Damaged { path: path.to_owned(), reason };
        if path.extension().is_some_and(|extension| extension == "pth" || extension == "pt") {
            let reason = "it is a pickle, which can run code, so it is not read: convert it with python/to_safetensors.py";
            return Err(damaged(reason.into()).into());
        }
        let mut tensors = store::load(path, &Device::Cpu)?;
        tensors.retain(|name, _| name.contains(".conv.") || name.contains(".bn.") || name == "fc.weight");
        tensors.retain(|name, _| !name.ends_with("num_batches_tracked"));
        values::check_all(&tensors).map_err(|error| damaged(error.to_string()))?;
        let take = |name: &str| {
            tensors.get(name).cloned().ok_or_else(|| damaged(format!("it lacks the tensor `{name}`")))
        };
        let classes = take("fc.weight")?;
        if classes.dims() != [CLASSES, FEATURES] {
            let found = classes.shape();
            return Err(damaged(format!(
                "`fc.weight` has the shape {found:?}, not ({CLASSES}, {FEATURES}): this is not the Inception-v3 of published FID values"
            ))
            .into());
        }
        let mut convolutions = BTreeMap::new();
        for name in tensors.keys().filter_map(|name| name.strip_suffix(".conv.weight")) {
            let [weight, gamma, beta, mean, variance] =
                ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
                    .map(|part| take(&format!("{name}.{part}")));
            let folded = fold(&weight?, &gamma?, &beta?, &mean?, &variance?);
            convolutions
                .insert(name.to_owned(), folded.map_err(|error| damaged(format!("`{name}`: {error}")))?);
        }
        let sha256 = sha256(&store::encode(&tensors)?);
        let network = Self { convolutions, classes, sha256 };
        // A test pass on one grey image finds missing tensors and wrong shapes now, not after sampling.
        let grey = Tensor::zeros((1, 3, SIZE, SIZE), waxwork_core::DType::F32, &Device::Cpu);
        let seen = grey.map_err(waxwork_core::Error::from).and_then(|grey| network.forward(&grey));
        match seen {
            Ok(seen) if seen.dims() == [1, FEATURES] => Ok(network),
            Ok(seen) => Err(damaged(format!("its features are {:?}", seen.shape())).into()),
            Err(error) => Err(damaged(error.to_string()).into()),
        }
    }

    /// Maps features `(N, 2048)` to logits `(N, 1008)`, without bias.
    ///
    /// # Errors
    /// If the features are those of another network.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        let pass =
            |features: &Tensor| Ok(kernels::linear(features, &self.classes, None, Activation::Identity)?);
        Ok(in_passes(features, PASS, pass)?)
    }

    /// Maps `(N, 3, 299, 299)` in [−1, 1) to `(N, 2048)`.
    fn forward(&self, x: &Tensor) -> waxwork_core::Result<Tensor> {
        let x = self.valid("Conv2d_1a_3x3", x, 2)?;
        let x = self.valid("Conv2d_2a_3x3", &x, 1)?;
        let x = max_pool(&self.same("Conv2d_2b_3x3", &x)?)?;
        let x = self.same("Conv2d_3b_1x1", &x)?;
        let x = max_pool(&self.valid("Conv2d_4a_3x3", &x, 1)?)?;
        let x = self.block_a("Mixed_5b", &x)?;
        let x = self.block_a("Mixed_5c", &x)?;
        let x = self.block_a("Mixed_5d", &x)?;
        let x = self.block_b("Mixed_6a", &x)?;
        let x = self.block_c("Mixed_6b", &x)?;
        let x = self.block_c("Mixed_6c", &x)?;
        let x = self.block_c("Mixed_6d", &x)?;
        let x = self.block_c("Mixed_6e", &x)?;
        let x = self.block_d("Mixed_7a", &x)?;
        let x = self.block_e("Mixed_7b", &x, average_pool)?;
        let x = self.block_e("Mixed_7c", &x, max_pool_same)?;
        Ok(x.mean((2, 3))?)
    }

    fn block_a(&self, block: &str, x: &Tensor) -> waxwork_core::Result<Tensor> {
        let chain = |x: &Tensor, names: &[&str]| self.chain(block, x, names);
        join(&[
            chain(x, &["branch1x1"])?,
            chain(x, &["branch5x5_1", "branch5x5_2"])?,
            chain(x, &["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"])?,
            chain(&average_pool(x)?, &["branch_pool"])?,
        ])
    }

    fn block_b(&self, block: &str, x: &Tensor) -> waxwork_core::Result<Tensor> {
        let twice = self.chain(block, x, &["branch3x3dbl_1", "branch3x3dbl_2"])?;
        join(&[
            self.valid(&format!("{block}.branch3x3"), x, 2)?,
            self.valid(&format!("{block}.branch3x3dbl_3"), &twice, 2)?,
            max_pool(x)?,
        ])
    }

    fn block_c(&self, block: &str, x: &Tensor) -> waxwork_core::Result<Tensor> {
        let chain = |x: &Tensor, names: &[&str]| self.chain(block, x, names);
        let twice =
            ["branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"];
        join(&[
            chain(x, &["branch1x1"])?,
            chain(x, &["branch7x7_1", "branch7x7_2", "branch7x7_3"])?,
            chain(x, &twice)?,
            chain(&average_pool(x)?, &["branch_pool"])?,
        ])
    }

    fn block_d(&self, block: &str, x: &Tensor) -> waxwork_core::Result<Tensor> {
        let narrow = self.chain(block, x, &["branch3x3_1"])?;
        let wide = self.chain(block, x, &["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3"])?;
        join(&[
            self.valid(&format!("{block}.branch3x3_2"), &narrow, 2)?,
            self.valid(&format!("{block}.branch7x7x3_4"), &wide, 2)?,
            max_pool(x)?,
        ])
    }

    fn block_e(
        &self,
        block: &str,
        x: &Tensor,
        pool: impl Fn(&Tensor) -> waxwork_core::Result<Tensor>,
    ) -> waxwork_core::Result<Tensor> {
        let chain = |x: &Tensor, names: &[&str]| self.chain(block, x, names);
        let once = chain(x, &["branch3x3_1"])?;
        let twice = chain(x, &["branch3x3dbl_1", "branch3x3dbl_2"])?;
        join(&[
            chain(x, &["branch1x1"])?,
            chain(&once, &["branch3x3_2a"])?,
            chain(&once, &["branch3x3_2b"])?,
            chain(&twice, &["branch3x3dbl_3a"])?,
            chain(&twice, &["branch3x3dbl_3b"])?,
            chain(&pool(x)?, &["branch_pool"])?,
        ])
    }

    /// Applies a block's convolutions in sequence; each keeps height and width.
    fn chain(&self, block: &str, x: &Tensor, names: &[&str]) -> waxwork_core::Result<Tensor> {
        names.iter().try_fold(x.clone(), |x, name| self.same(&format!("{block}.{name}"), &x))
    }

    /// Applies a convolution that keeps height and width.
    fn same(&self, name: &str, x: &Tensor) -> waxwork_core::Result<Tensor> {
        let (weight, bias) = self.convolution(name)?;
        let (_, _, height, width) = weight.dims4()?;
        Ok(kernels::conv2d(x, weight, Some(bias), [1; 2], [height / 2, width / 2], Activation::Relu)?)
    }

    /// Applies a convolution without padding, then a ReLU.
    fn valid(&self, name: &str, x: &Tensor, stride: usize) -> waxwork_core::Result<Tensor> {
        let (weight, bias) = self.convolution(name)?;
        Ok(kernels::conv2d(x, weight, Some(bias), [stride; 2], [0; 2], Activation::Relu)?)
    }

    fn convolution(&self, name: &str) -> waxwork_core::Result<&(Tensor, Tensor)> {
        let missing = || waxwork_core::Error::UnknownParameter { name: name.to_owned() };
        self.convolutions.get(name).ok_or_else(missing)
    }
}

impl Extractor for Inception {
    fn name(&self) -> &'static str {
        "inception"
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn resize(&self) -> &'static str {
        "to 299×299, bilinear as TensorFlow 1 does it; grey repeated"
    }

    fn features(&self, images: &Tensor) -> Result<Tensor> {
        let channels = images.dim(1).map_err(waxwork_core::Error::from)?;
        if channels != 1 && channels != 3 {
            let found = images.shape().clone();
            let expected = "(N, 1, H, W) or (N, 3, H, W)".into();
            return Err(Error::Core(waxwork_core::Error::Input {
                what: "images for Inception",
                expected,
                found,
            }));
        }
        Ok(in_passes(images, PASS, |images| {
            let images = if channels == 1 { images.repeat((1, 3, 1, 1))? } else { images.clone() };
            let bytes = (images * 255.0)?.round()?;
            let large = bilinear(&bytes, SIZE, SIZE)?;
            self.forward(&large.affine(1.0 / 128.0, -1.0)?)
        })?)
    }

    fn probabilities(&self, features: &Tensor) -> Result<Vec<Vec<f64>>> {
        let rows = self.logits(features)?.to_vec2::<f32>().map_err(waxwork_core::Error::from)?;
        Ok(rows.iter().map(|row| softmax(row)).collect())
    }
}

/// The Inception Score (Salimans et al. 2016) over ten parts of the images, as papers report it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InceptionScore {
    /// Mean over the parts.
    pub mean: f64,
    /// Standard deviation over the parts.
    pub standard_deviation: f64,
}

impl InceptionScore {
    /// Returns the metric, with that of real images as the floor.
    pub fn metric(self, of_real: f64, n_generated: usize, protocol: &Protocol) -> Metric {
        let mut protocol = protocol.clone();
        protocol.insert("n_generated".into(), n_generated.to_string());
        protocol.insert("parts".into(), PARTS.to_string());
        protocol.insert("interval".into(), "one standard deviation over the parts".into());
        let Self { mean, standard_deviation } = self;
        let interval = [mean - standard_deviation, mean + standard_deviation];
        Metric::new("inception_score", mean, &protocol).within(interval).floor(of_real).higher()
    }
}

/// Returns mean and standard deviation of the score over ten consecutive parts of the images. The classes
/// take turns in a model's samples, so each part has all of them.
///
/// # Errors
/// If there are fewer than ten images.
pub fn inception_score(probabilities: &[Vec<f64>]) -> Result<InceptionScore> {
    if probabilities.len() < PARTS {
        return Err(Error::TooFew { whose: "generated", needed: PARTS, found: probabilities.len() });
    }
    let scores: Vec<f64> = probabilities
        .chunks(probabilities.len().div_ceil(PARTS))
        .map(|part| judged(part, None).score)
        .collect();
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n;
    Ok(InceptionScore { mean, standard_deviation: variance.sqrt() })
}

/// Folds a convolution and its batch norm into one convolution: weight times γ / √(σ² + ε), with bias β − μ·γ
/// / √(σ² + ε).
fn fold(
    weight: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
) -> waxwork_core::Result<(Tensor, Tensor)> {
    let [weight, gamma, beta, mean, variance] =
        [weight, gamma, beta, mean, variance].map(|tensor| tensor.to_dtype(waxwork_core::DType::F64));
    let (weight, gamma) = (weight?, gamma?);
    let scale = gamma.div(&(variance? + EPSILON)?.sqrt()?)?;
    let bias = (beta? - (mean? * &scale)?)?;
    let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
    let single = waxwork_core::DType::F32;
    Ok((weight.to_dtype(single)?.contiguous()?, bias.to_dtype(single)?.contiguous()?))
}

/// 3×3 max pooling, stride 2, no padding.
fn max_pool(x: &Tensor) -> waxwork_core::Result<Tensor> {
    Ok(kernels::pool2d(x, Pool::Max, Windows { size: 3, stride: 2, padding: 0 })?)
}

/// 3×3 max pooling, stride 1.
fn max_pool_same(x: &Tensor) -> waxwork_core::Result<Tensor> {
    Ok(kernels::pool2d(x, Pool::Max, Windows { size: 3, stride: 1, padding: 1 })?)
}

/// 3×3 average pooling, stride 1, over the pixels inside the image.
fn average_pool(x: &Tensor) -> waxwork_core::Result<Tensor> {
    Ok(kernels::pool2d(x, Pool::Mean, Windows { size: 3, stride: 1, padding: 1 })?)
}

fn join(branches: &[Tensor]) -> waxwork_core::Result<Tensor> {
    Ok(Tensor::cat(branches, 1)?)
}
