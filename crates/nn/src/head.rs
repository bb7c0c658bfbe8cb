//! The output of a generator: from what its last layer computes to a sample, by the range of the sample's values.

use candle_core::Tensor;

use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::sample::Range;
use waxwork_core::{Error, Result, SampleSpec};
use waxwork_kernels::Activation;

/// The last step of a network that makes samples whose values all have one range.
///
/// Networks of a GAN see values of [`Range::Unit`] in [−1, 1], the range of tanh (Radford et al. 2016), and all others as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    range: Range,
}

impl Head {
    /// The head for samples like `sample`. `key` is the configuration key of the network.
    ///
    /// # Errors
    /// [`Error::Config`] if the values are choices, or of several ranges.
    pub fn new(sample: &SampleSpec, key: &str) -> Result<Self> {
        match sample.range() {
            Some(range @ (Range::Unit | Range::Signed | Range::Real)) => Ok(Self { range }),
            _ => Err(Error::Config {
                key: key.to_owned(),
                reason: "this network makes numbers of one range, but the samples of this data have choices among them"
                    .to_owned(),
            }),
        }
    }

    /// The activation of the last layer.
    pub fn activation(self) -> Activation {
        match self.range {
            Range::Unit | Range::Signed => Activation::Tanh,
            _ => Activation::Identity,
        }
    }

    /// Samples → what the networks of a GAN see.
    pub fn to_network(self, samples: &Tensor) -> Result<Tensor> {
        match self.range {
            Range::Unit => Ok(samples.affine(2.0, -1.0)?),
            _ => Ok(samples.clone()),
        }
    }

    /// What the networks of a GAN see → samples.
    pub fn to_sample(self, outputs: &Tensor) -> Result<Tensor> {
        match self.range {
            Range::Unit => Ok(outputs.affine(0.5, 0.5)?),
            _ => Ok(outputs.clone()),
        }
    }

    /// [`Head::to_sample`] as nodes of a graph.
    pub fn export(self, mut scope: GraphScope<'_>, outputs: &Value) -> Result<Value> {
        match self.range {
            Range::Unit => scope.affine(outputs, 0.5, 0.5),
            _ => Ok(outputs.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use waxwork_core::ImageShape;
    use waxwork_core::sample::Segment;

    use super::*;

    #[test]
    fn samples_survive_the_way_to_the_network_and_back() {
        let values = Tensor::new(&[[[[0.0f32, 0.25, 1.0]]]], &Device::Cpu).unwrap();
        let read = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let images = Head::new(&ImageShape::new(1, 1, 3).into(), "k").unwrap();
        let signed = images.to_network(&values).unwrap();
        assert_eq!(read(&signed), [-1.0, -0.5, 1.0]);
        assert_eq!(read(&images.to_sample(&signed).unwrap()), [0.0, 0.25, 1.0]);
        assert_eq!(images.activation(), Activation::Tanh);
        let points = Head::new(&SampleSpec::real(3), "k").unwrap();
        assert_eq!(read(&points.to_network(&values).unwrap()), [0.0, 0.25, 1.0]);
        assert_eq!(points.activation(), Activation::Identity);
        let part = |width, range| Segment { width, range };
        let row = SampleSpec::new(vec![4], vec![part(1, Range::Signed), part(3, Range::OneHot)]).unwrap();
        assert!(Head::new(&row, "model.generator").unwrap_err().to_string().contains("model.generator"));
    }
}
