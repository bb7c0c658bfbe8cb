//! The parts of networks: layers, stacks of layers, losses and differentiable augmentation, built on the
//! kernels of `waxwork-kernels` and the parameters of `waxwork-core`.
//!
//! A layer takes its tensors from a [`ParamSet`](waxwork_core::ParamSet) when it is made, with PyTorch's
//! names and shapes. Besides `forward`, a layer has `export`, which writes the same pass as nodes of an ONNX
//! graph. If a gradient penalty needs it, the layer also has `propagate`, for a value and then for its
//! derivative along a direction ([`signal`]).
//!
//! ```
//! use waxwork_core::{Device, Mode, ParamSet, Tensor};
//! use waxwork_kernels::Activation;
//! use waxwork_nn::layers::WeightInit;
//! use waxwork_nn::nets::{Mlp, Style};
//!
//! let style = Style { weights: WeightInit::Pytorch.into(), activation: Activation::Relu };
//! let mut params = ParamSet::fresh(0, &Device::Cpu);
//! let network = Mlp::new(params.root().enter("encoder"), 784, &[400, 20], style)?;
//! let params = params.finish()?;
//! assert_eq!(params.iter().next().map(|(name, ..)| name), Some("encoder.0.bias"));
//!
//! let images = Tensor::zeros((8, 784), waxwork_core::DType::F32, &Device::Cpu)?;
//! assert_eq!(network.forward(&images, Mode::Eval)?.dims(), [8, 20]);
//! # Ok::<(), waxwork_core::Error>(())
//! ```

pub mod augment;
pub mod head;
pub mod layers;
pub mod loss;
pub mod nets;
pub mod rows;
pub mod segments;
pub mod signal;
pub mod tokens;
