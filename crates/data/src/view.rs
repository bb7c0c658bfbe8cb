//! Views: how samples become the tensors that networks see.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use waxwork_core::device::runs_on_cpu_kernels;
use waxwork_core::hash::sha256;
use waxwork_core::{ImageShape, Kind, SampleSpec};

use crate::Result;

/// How samples of a kind become what networks see, and back. A run folder keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "view", rename_all = "kebab-case")]
pub enum View {
    /// The values of a picture, 0 to 255, as [0, 1].
    Pixels,
    /// The coordinates of a point as they are.
    Coordinates,
    /// The numbers and choices of an encoded row as they are.
    Encoded,
}

/// Values of a batch in host memory.
pub(crate) enum HostValues {
    /// As networks see them.
    Ready(Vec<f32>),
    /// Bytes 0 to 255 that stand for [0, 1]: a quarter of the size on the way to a device, which divides.
    Bytes(Vec<u8>),
}

impl View {
    /// The view of samples of this kind.
    pub const fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Image(_) => Self::Pixels,
            Kind::Points { .. } => Self::Coordinates,
            Kind::Rows(_) => Self::Encoded,
        }
    }

    /// What networks see of a sample of `kind`.
    pub fn spec(&self, kind: &Kind) -> SampleSpec {
        match kind {
            Kind::Image(shape) => SampleSpec::from(*shape),
            Kind::Points { dimensions } => SampleSpec::real(*dimensions),
            Kind::Rows(spec) => spec.clone(),
        }
    }

    /// SHA-256 in hex of what networks see of samples of `kind`: two runs with one content and one view train on the same tensors.
    pub fn hash(&self, kind: &Kind) -> String {
        sha256(format!("waxwork-data view 1 {kind:?} {self:?}").as_bytes())
    }

    /// The values of samples at rest, one after the other, on their way to `device`.
    pub(crate) fn values(&self, bytes: Vec<u8>, device: &Device) -> HostValues {
        match self {
            Self::Pixels if runs_on_cpu_kernels(device) => {
                HostValues::Ready(bytes.into_iter().map(unit_interval).collect())
            }
            Self::Pixels => HostValues::Bytes(bytes),
            Self::Coordinates | Self::Encoded => {
                let (numbers, _) = bytes.as_chunks::<4>();
                HostValues::Ready(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            }
        }
    }
}

impl HostValues {
    /// Mirrors those images left to right that `chosen` picks, in order.
    pub(crate) fn mirror(&mut self, shape: ImageShape, chosen: impl Iterator<Item = bool>) {
        fn mirror<T>(images: &mut [T], shape: ImageShape, chosen: impl Iterator<Item = bool>) {
            for (image, _) in images.chunks_exact_mut(shape.len()).zip(chosen).filter(|(_, chosen)| *chosen) {
                image.chunks_exact_mut(shape.width).for_each(<[T]>::reverse);
            }
        }
        match self {
            Self::Ready(values) => mirror(values, shape, chosen),
            Self::Bytes(values) => mirror(values, shape, chosen),
        }
    }

    /// `(count, ..)` as networks see them.
    pub(crate) fn into_tensor(self, spec: &SampleSpec, count: usize, device: &Device) -> Result<Tensor> {
        let shape = spec.batch(count);
        Ok(match self {
            Self::Ready(values) => Tensor::from_vec(values, shape, device)?,
            Self::Bytes(values) => {
                let values = Tensor::from_vec(values, shape, device)?.to_dtype(DType::F32)?;
                values.broadcast_div(&Tensor::new(255f32, device)?)?
            }
        })
    }
}

/// 0 to 255 as 0 to 1. A true division: a product with 1/255 has other bits on some values.
fn unit_interval(value: u8) -> f32 {
    f32::from(value) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_known_by_its_hash() {
        let kinds = [
            Kind::Image(ImageShape::new(1, 28, 28)),
            Kind::Image(ImageShape::new(3, 28, 28)),
            Kind::Points { dimensions: 2 },
        ];
        let hashes = kinds.each_ref().map(|kind| View::of(kind).hash(kind));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
        assert_eq!(hashes[0], View::Pixels.hash(&kinds[0]), "the same again");
    }

    #[test]
    fn coordinates_are_what_was_stored() {
        let numbers = [1.5f32, -2.25];
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let spec = SampleSpec::real(2);
        let values = View::Coordinates.values(bytes, &Device::Cpu);
        let tensor = values.into_tensor(&spec, 1, &Device::Cpu).unwrap();
        assert_eq!(tensor.to_vec2::<f32>().unwrap(), [numbers]);
    }
}
