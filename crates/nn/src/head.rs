//! The output head of a generator, which turns its last layer's output into a sample by the range of the
//! sample's values.

use candle_core::{DType, Device, Tensor};

use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::sample::Range;
use waxwork_core::{Error, Result, SampleSpec};
use waxwork_kernels::{Activation, Segments, activate_segments};

use crate::{segments, tokens};

/// Temperature of the Gumbel softmax over the choices in a row (Xu et al. 2019, section 4.4).
const TEMPERATURE: f64 = 0.2;

/// The last step of a network that generates samples.
///
/// A GAN's networks see values of [`Range::Unit`] in [−1, 1], the range of tanh (Radford et al. 2016), and
/// all others unchanged.
#[derive(Clone, Debug)]
pub enum Head {
    /// All values have one range.
    Numbers(Range),
    /// Vectors of numbers and choices.
    Row(RowHead),
    /// Sequences of tokens: networks see the softmax at every position (Gulrajani et al. 2017), and samples
    /// are the most likely tokens.
    Tokens(TokenHead),
}

/// The head of sequences of tokens.
#[derive(Clone, Debug)]
pub struct TokenHead {
    segments: Segments,
    /// The maximum length of a sequence, and the size of the vocabulary.
    dims: (usize, usize),
}

/// The head of rows: tanh for numbers in [−1, 1], and for choices the Gumbel softmax (Jang et al. 2017),
/// whose noise is part of the latent.
#[derive(Clone, Debug)]
pub struct RowHead {
    segments: Segments,
    /// 1 for every value of a choice and 0 for numbers, `(1, width)`.
    chosen: Tensor,
}

impl Head {
    /// The head for samples like `sample`. `key` is the configuration key of the network.
    ///
    /// # Errors
    /// [`Error::Config`] if samples with choices among their values are not vectors.
    pub fn new(sample: &SampleSpec, key: &str) -> Result<Self> {
        match sample.range() {
            Some(range @ (Range::Unit | Range::Signed | Range::Real)) => return Ok(Self::Numbers(range)),
            _ if sample.dims().len() == 1 => {}
            _ if tokens::dims(sample).is_some() => {
                let (dims, segments) = (tokens::needs_tokens(sample, key)?, segments::of(sample)?);
                return Ok(Self::Tokens(TokenHead { segments, dims }));
            }
            _ => {
                let reason = format!("this network makes vectors of choices, but a sample is {sample}");
                return Err(Error::Config { key: key.to_owned(), reason });
            }
        }
        let each = sample.segments().iter().flat_map(|segment| {
            let chosen = if segment.range == Range::OneHot { 1f32 } else { 0.0 };
            std::iter::repeat_n(chosen, segment.width)
        });
        let chosen = Tensor::from_iter(each, &Device::Cpu)?.unsqueeze(0)?;
        Ok(Self::Row(RowHead { segments: segments::of(sample)?, chosen }))
    }

    /// The activation of the last layer.
    pub fn activation(&self) -> Activation {
        match self {
            Self::Numbers(Range::Unit | Range::Signed) => Activation::Tanh,
            _ => Activation::Identity,
        }
    }

    /// Number of Gumbel noise values per sample.
    pub fn noise(&self) -> usize {
        match self {
            Self::Numbers(_) | Self::Tokens(_) => 0,
            Self::Row(head) => head.segments.width(),
        }
    }

    /// Turns the last layer's output, and Gumbel noise of [`Head::noise`] values, into what a GAN's networks
    /// see.
    pub fn finish(&self, outputs: &Tensor, noise: Option<&Tensor>) -> Result<Tensor> {
        if let Self::Tokens(TokenHead { segments, .. }) = self {
            return Ok(activate_segments(outputs, segments, 1.0)?);
        }
        let (Self::Row(RowHead { segments, chosen }), Some(noise)) = (self, noise) else {
            return Ok(outputs.clone());
        };
        let chosen = chosen.to_device(outputs.device())?.to_dtype(outputs.dtype())?;
        let noisy = (outputs + noise.broadcast_mul(&chosen)?)?;
        Ok(activate_segments(&noisy, segments, TEMPERATURE)?)
    }

    /// Converts samples to what a GAN's networks see. Tokens become one-hot rows of `dtype`.
    pub fn to_network(&self, samples: &Tensor, dtype: DType) -> Result<Tensor> {
        match self {
            Self::Numbers(Range::Unit) => Ok(samples.affine(2.0, -1.0)?),
            Self::Tokens(head) => tokens::one_hot(samples, head.dims.1, dtype),
            _ => Ok(samples.clone()),
        }
    }

    /// Converts what a GAN's networks see to samples.
    pub fn to_sample(&self, outputs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Numbers(Range::Unit) => Ok(outputs.affine(0.5, 0.5)?),
            Self::Tokens(_) => tokens::most_likely(outputs),
            _ => Ok(outputs.clone()),
        }
    }

    /// [`Head::finish`] as nodes of a graph.
    pub fn export_finish(
        &self,
        mut scope: GraphScope<'_>,
        outputs: &Value,
        noise: Option<&Value>,
    ) -> Result<Value> {
        if let Self::Tokens(_) = self {
            return Ok(scope.node("Softmax", &[outputs], &[("axis", Attribute::Int(2))]));
        }
        let (Self::Row(RowHead { segments, chosen }), Some(noise)) = (self, noise) else {
            return Ok(outputs.clone());
        };
        let chosen = scope.tensor("chosen", &chosen.to_dtype(DType::F32)?)?;
        let noise = scope.node("Mul", &[noise, &chosen], &[]);
        let noisy = scope.node("Add", &[outputs, &noise], &[]);
        segments::export(scope, segments, &noisy, TEMPERATURE)
    }

    /// [`Head::to_sample`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, outputs: &Value) -> Result<Value> {
        match self {
            Self::Numbers(Range::Unit) => scope.affine(outputs, 0.5, 0.5),
            Self::Tokens(head) => tokens::export_most_likely(scope, outputs, head.dims),
            _ => Ok(outputs.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::ImageShape;
    use waxwork_core::sample::Segment;

    use super::*;

    #[test]
    fn samples_survive_the_way_to_the_network_and_back() {
        let values = Tensor::new(&[[[[0.0f32, 0.25, 1.0]]]], &Device::Cpu).unwrap();
        let read = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let images = Head::new(&ImageShape::new(1, 1, 3).into(), "k").unwrap();
        let signed = images.to_network(&values, DType::F32).unwrap();
        assert_eq!(read(&signed), [-1.0, -0.5, 1.0]);
        assert_eq!(read(&images.to_sample(&signed).unwrap()), [0.0, 0.25, 1.0]);
        assert_eq!((images.activation(), images.noise()), (Activation::Tanh, 0));
        let points = Head::new(&SampleSpec::real(3), "k").unwrap();
        assert_eq!(read(&points.to_network(&values, DType::F32).unwrap()), [0.0, 0.25, 1.0]);
        assert_eq!(points.activation(), Activation::Identity);
        let part = |width, range| Segment { width, range };
        let mixed = vec![part(3, Range::OneHot), part(1, Range::Signed)];
        let mixed = SampleSpec::new(vec![7, 4], mixed).unwrap();
        assert!(Head::new(&mixed, "model.generator").unwrap_err().to_string().contains("model.generator"));
    }

    /// Networks see shares that add up to 1, and samples are one-hot rows, which end once. Real texts are
    /// numbers, of which networks see the rows.
    #[test]
    fn tokens_are_soft_to_networks_and_hard_in_samples() {
        let tokens = vec![Segment { width: 3, range: Range::OneHot }];
        let head = Head::new(&SampleSpec::new(vec![3, 3], tokens).unwrap(), "k").unwrap();
        let logits = [[[0.0f32, 2.0, 1.0], [3.0, 0.0, 1.0], [0.0, 0.0, 4.0]]];
        let seen = head.finish(&Tensor::new(&logits, &Device::Cpu).unwrap(), None).unwrap();
        for row in &seen.to_vec3::<f32>().unwrap()[0] {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6 && row.iter().all(|share| *share > 0.01));
        }
        let sample = head.to_sample(&seen).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(sample, [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]);
        let text = Tensor::new(&[[1u32, 0, 0]], &Device::Cpu).unwrap();
        assert_eq!(head.to_network(&text, DType::F32).unwrap().to_vec3::<f32>().unwrap(), sample);
    }

    /// With Gumbel noise, the position of the largest value is a draw from the softmax (Gumbel 1954).
    #[test]
    fn a_choice_is_drawn_as_often_as_its_softmax_says() {
        let part = |width, range| Segment { width, range };
        let row = SampleSpec::new(vec![4], vec![part(1, Range::Signed), part(3, Range::OneHot)]).unwrap();
        let head = Head::new(&row, "k").unwrap();
        assert_eq!((head.noise(), head.activation()), (4, Activation::Identity));
        let n = 20_000;
        let numbers: Vec<u64> = (0..n).collect();
        let stream = waxwork_core::rng::Stream::new(1, "noise", 0);
        let noise = stream.gumbel(&numbers, 4, &Device::Cpu).unwrap();
        let logits = [0.5f32, 0.6f32.ln(), 0.3f32.ln(), 0.1f32.ln()];
        let outputs = Tensor::new(&[logits], &Device::Cpu).unwrap().broadcast_as((n as usize, 4)).unwrap();
        let rows = head.finish(&outputs.contiguous().unwrap(), Some(&noise)).unwrap();
        let mut counts = [0u32; 3];
        for row in rows.to_vec2::<f32>().unwrap() {
            assert_eq!(row[0], 0.5f32.tanh());
            assert!((row[1..].iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let first = (0..3).fold(0, |best, i| if row[1 + i] > row[1 + best] { i } else { best });
            counts[first] += 1;
        }
        for (count, want) in counts.into_iter().zip([0.6, 0.3, 0.1]) {
            assert!((f64::from(count) / n as f64 - want).abs() < 0.015, "{counts:?}");
        }
    }
}
