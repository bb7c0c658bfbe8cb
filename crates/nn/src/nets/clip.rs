//! Networks for clips. Frames are samples of 2-D convolutions, and time is mixed by 1-D convolutions over the
//! features of frames, so that no large tensor is permuted.

use candle_core::Tensor;

use super::{ConvDown, ConvUp, SequenceBlocks, Style, Tower};
use crate::layers::{Conv1d, Linear, Norm, NormKind};
use crate::signal::Signal;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{ImageShape, Mode, Result};
use waxwork_kernels::{self as kernels, Activation, with_planes};

/// Width in frames of the window that first mixes time.
const WINDOW: usize = 5;

/// The size of a network for clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipSize {
    /// Channels at half a frame's size, as for a [`Tower`].
    pub width: usize,
    /// Features of a frame, which are mixed along time.
    pub features: usize,
    /// Residual blocks of convolutions along time.
    pub blocks: usize,
}

/// Clips `(N, T, C, H, W)` → features of frames `(N·T, features)` and of clips `(N, features, 1, T)`.
#[derive(Clone, Debug)]
pub struct ClipDown {
    frames: usize,
    features: usize,
    down: ConvDown,
    project: Linear,
    mix: Conv1d,
    blocks: SequenceBlocks,
    activation: Activation,
}

impl ClipDown {
    /// Makes the network for clips of `frames` frames, and for `planes` values per clip that are concatenated
    /// with the features of each frame. `key` is the configuration key of this network.
    ///
    /// # Errors
    /// If frames are too small, or the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        (frames, image): (usize, ImageShape),
        planes: usize,
        size: ClipSize,
        batch_norm: bool,
        style: Style,
        key: &str,
    ) -> Result<Self> {
        let ClipSize { width, features, blocks } = size;
        let tower = Tower { width, blocks: 0 };
        let inputs = (image.channels, image);
        let (down, values) = ConvDown::fitted(scope.enter("down"), inputs, tower, batch_norm, style, key)?;
        Ok(Self {
            frames,
            features,
            down,
            project: Linear::new(scope.enter("project"), values, features, style.weights)?,
            mix: Conv1d::new(scope.enter("mix"), features + planes, features, WINDOW, style.weights)?,
            blocks: SequenceBlocks::new(scope.enter("blocks"), features, blocks, style.weights)?,
            activation: style.activation,
        })
    }

    /// Number of features of a clip, over all frames.
    pub fn outputs(&self) -> usize {
        self.features * self.frames
    }

    /// `(N, T, C, H, W)` → `(N, features, 1, T)`.
    pub fn forward(&self, clips: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        Ok(self.propagate(&Signal::value(clips.clone()), None, mode)?.1.tensor)
    }

    /// Clips `(N, T, C, H, W)` and values `(N, planes)` → features of frames and of clips, for a signal.
    ///
    /// # Errors
    /// [`waxwork_core::Error::NoDirectionalDerivative`] if a derivative has to pass through batch norm.
    pub fn propagate(
        &self,
        clips: &Signal,
        planes: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<(Signal, Signal)> {
        let frames = clips.linear(|x| Ok(x.flatten(0, 1)?))?;
        let maps = self.down.propagate(&frames, None, mode)?;
        let frames = self.project.propagate(&maps, mode)?.activate(self.activation)?;
        let mut clip = frames.linear(|x| {
            let x = x.reshape(((), self.frames, self.features))?.transpose(1, 2)?;
            Ok(x.unsqueeze(2)?.contiguous()?)
        })?;
        if let Some(planes) = planes {
            let still = planes.zeros_like()?;
            clip = clip.affine(|x, constant| Ok(with_planes(x, if constant { planes } else { &still })?))?;
        }
        let clip = self.mix.propagate(&clip, mode)?.activate(self.activation)?;
        Ok((frames, self.blocks.propagate(&clip, mode)?))
    }

    /// [`ClipDown::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, clips: &Value, image: ImageShape) -> Result<Value> {
        let ImageShape { channels, height, width } = image;
        let frames = scope.regroup(clips, &[channels, height, width]);
        let maps = self.down.export(scope.enter("down"), &frames)?;
        let maps = scope.flatten(&maps);
        let frames = self.project.export(scope.enter("project"), &maps, self.activation)?;
        let rows = scope.regroup(&frames, &[self.frames, self.features]);
        let columns = scope.node("Transpose", &[&rows], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
        let clip = scope.reshape(&columns, &[self.features, 1, self.frames]);
        let clip = self.mix.export(scope.enter("mix"), &clip, self.activation)?;
        self.blocks.export(scope.enter("blocks"), &clip)
    }
}

/// Two vectors per clip → clips `(N, T, C, H, W)`. One vector, the motion, differs from frame to frame: 1-D
/// convolutions make a code of each frame from it. The other, the content, is the same for all frames (MoCoGAN,
/// Tulyakov et al. 2018). Both reach each frame through a linear layer; then transposed convolutions follow.
#[derive(Clone, Debug)]
pub struct ClipUp {
    frames: usize,
    features: usize,
    content: usize,
    image: ImageShape,
    motion: Linear,
    blocks: SequenceBlocks,
    hidden: Linear,
    project: Linear,
    norm: Norm,
    up: ConvUp,
    shape: (usize, usize, usize),
    activation: Activation,
}

impl ClipUp {
    /// Makes the network for `motion` and `content` values per clip. `key` is the configuration key of this
    /// network.
    ///
    /// # Errors
    /// As [`ClipDown::new`].
    pub fn new(
        mut scope: Scope<'_>,
        (frames, image): (usize, ImageShape),
        (motion, content): (usize, usize),
        size: ClipSize,
        norm: NormKind,
        style: Style,
        key: &str,
    ) -> Result<Self> {
        let ClipSize { width, features, blocks } = size;
        let tower = Tower { width, blocks: 0 };
        let (up, shape) = ConvUp::fitted(scope.enter("up"), image, (tower, 0), norm, style, key)?;
        let (channels, height, columns) = shape;
        let inner = 2 * features;
        let mut linear = |name: &str, inputs: usize, outputs: usize| {
            Linear::new(scope.enter(name), inputs, outputs, style.weights)
        };
        Ok(Self {
            frames,
            features,
            content,
            image,
            motion: linear("motion", motion, features * frames)?,
            hidden: linear("hidden", features + content, inner)?,
            project: linear("project", inner, channels * height * columns)?,
            blocks: SequenceBlocks::new(scope.enter("blocks"), features, blocks, style.weights)?,
            norm: Norm::new(scope.enter("norm"), norm, channels)?,
            up,
            shape,
            activation: style.activation,
        })
    }

    /// Motion `(N, motion)` and content `(N, content)` → the last layer's output, `(N, T, C, H, W)`.
    pub fn forward(&self, motion: &Tensor, content: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let (n, width) = content.dims2()?;
        let codes =
            self.motion.forward_to(motion, &[self.features, 1, self.frames], Activation::Identity, mode)?;
        let codes = kernels::activate(&self.blocks.forward(&codes, mode)?, self.activation)?;
        let codes = codes.squeeze(2)?.transpose(1, 2)?.contiguous()?;
        let content = content.unsqueeze(1)?.broadcast_as((n, self.frames, width))?.contiguous()?;
        let rows = Tensor::cat(&[&codes, &content], 2)?.flatten(0, 1)?;
        let hidden = self.hidden.forward(&rows, self.activation, mode)?;
        let (channels, height, columns) = self.shape;
        let maps =
            self.project.forward_to(&hidden, &[channels, height, columns], Activation::Identity, mode)?;
        let maps = self.norm.forward(&maps, None, self.activation, mode)?;
        let pixels = self.up.forward(&maps, None, mode)?;
        let ImageShape { channels, height, width } = self.image;
        Ok(pixels.reshape((n, self.frames, channels, height, width))?)
    }

    /// [`ClipUp::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, motion: &Value, content: &Value) -> Result<Value> {
        let (frames, features) = (self.frames, self.features);
        let codes = self.motion.export(scope.enter("motion"), motion, Activation::Identity)?;
        let codes = scope.reshape(&codes, &[features, 1, frames]);
        let codes = self.blocks.export(scope.enter("blocks"), &codes)?;
        let codes = scope.activate(codes, self.activation);
        let codes = scope.reshape(&codes, &[features, frames]);
        let codes = scope.node("Transpose", &[&codes], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
        let codes = scope.regroup(&codes, &[features]);
        // One copy of the content per frame: N rows of T copies are N·T rows.
        let copies = vec![content; frames];
        let content = scope.node("Concat", &copies, &[("axis", Attribute::Int(1))]);
        let content = scope.regroup(&content, &[self.content]);
        let rows = scope.beside(&codes, Some(&content));
        let hidden = self.hidden.export(scope.enter("hidden"), &rows, self.activation)?;
        let maps = self.project.export(scope.enter("project"), &hidden, Activation::Identity)?;
        let (channels, height, columns) = self.shape;
        let maps = scope.regroup(&maps, &[channels, height, columns]);
        let maps = self.norm.export(scope.enter("norm"), &maps, None, self.activation)?;
        let pixels = self.up.export(scope.enter("up"), &maps, None)?;
        let ImageShape { channels, height, width } = self.image;
        Ok(scope.regroup(&pixels, &[frames, channels, height, width]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::WeightInit;
    use crate::signal::Trace;
    use candle_core::{DType, Device, Var};
    use waxwork_core::ParamSet;
    use waxwork_core::rng::Stream;

    const SIZE: ClipSize = ClipSize { width: 2, features: 6, blocks: 1 };
    const CLIP: (usize, ImageShape) = (4, ImageShape { channels: 1, height: 8, width: 8 });

    fn style(activation: Activation) -> Style {
        Style { weights: WeightInit::Pytorch.into(), activation }
    }

    fn draws(name: &str, n: u64, dims: &[usize]) -> Tensor {
        let rows: Vec<u64> = (0..n).collect();
        Stream::new(3, name, 0).normal(&rows, dims, &Device::Cpu).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Frames differ, and each clip depends on its own latents alone.
    #[test]
    fn motion_differs_from_frame_to_frame() {
        let mut params = ParamSet::fresh(1, &Device::Cpu);
        let style = style(Activation::Relu);
        let up = ClipUp::new(params.root(), CLIP, (3, 5), SIZE, NormKind::None, style, "k").unwrap();
        params.finish().unwrap();
        let (motion, content) = (draws("motion", 2, &[3]), draws("content", 2, &[5]));
        let clips = up.forward(&motion, &content, Mode::Eval).unwrap();
        assert_eq!(clips.dims(), [2, 4, 1, 8, 8]);
        let frame = |clips: &Tensor, at: usize| values(&clips.narrow(1, at, 1).unwrap());
        assert_ne!(frame(&clips, 0), frame(&clips, 3));
        // A clip depends on its own row alone.
        let alone = up
            .forward(&motion.narrow(0, 1, 1).unwrap(), &content.narrow(0, 1, 1).unwrap(), Mode::Eval)
            .unwrap();
        assert_eq!(values(&clips.narrow(0, 1, 1).unwrap()), values(&alone));
    }

    /// The derivative along a direction is that of finite differences, with values beside the features.
    #[test]
    fn the_directional_derivative_is_that_of_differences() {
        let mut params = ParamSet::fresh(1, &Device::Cpu);
        let style = style(Activation::LeakyRelu(0.2));
        let down = ClipDown::new(params.root(), CLIP, 2, SIZE, false, style, "k").unwrap();
        params.finish().unwrap();
        let dims = [4, 1, 8, 8];
        let (clips, way, planes) =
            (draws("clips", 2, &dims), draws("way", 2, &dims), draws("planes", 2, &[2]));
        let both = |x: Signal| {
            let (frames, clip) = down.propagate(&x, Some(&planes), Mode::Eval).unwrap();
            assert_eq!((frames.tensor.dims(), clip.tensor.dims()), (&[8, 6][..], &[2, 6, 1, 4][..]));
            let mut all = values(&frames.tensor);
            all.extend(values(&clip.tensor));
            all
        };
        let trace = Trace::default();
        let traced = both(Signal::traced(clips.clone(), &trace));
        let tangents = both(Signal::along(way.clone(), &trace));
        // Where an activation has a kink, the derivative is one of the two on its sides, or between them.
        let step = 2e-3;
        let moved = |by: f64| both(Signal::value((&clips + way.affine(by, 0.0).unwrap()).unwrap()));
        let (before, here, after) = (moved(-step), moved(0.0), moved(step));
        assert_eq!(traced, here);
        for (place, tangent) in tangents.iter().enumerate() {
            let slope = |from: &[f32], to: &[f32]| (to[place] - from[place]) / step as f32;
            let (left, right) = (slope(&before, &here), slope(&here, &after));
            let near = 5e-3 * (1.0 + tangent.abs());
            let inside = left.min(right) - near..=left.max(right) + near;
            assert!(inside.contains(tangent), "{tangent}, but {left} to {right}");
        }
    }

    /// The values of clips, features and codes that this NumPy script computes:
    ///
    /// ```python
    /// import numpy as np
    ///
    /// def wave(n, phase):                          # the same numbers on both sides
    ///     return 0.4 * np.sin(0.7 * np.arange(n) + phase)
    ///
    /// class Net:                                   # tensors by our names, made when first asked for
    ///     def __init__(self): self.p = {}
    ///     def w(self, name, *shape): return self.p.setdefault(name, np.zeros(shape))
    ///     def fill(self):
    ///         for i, name in enumerate(sorted(self.p)):
    ///             self.p[name][...] = wave(self.p[name].size, i).reshape(self.p[name].shape)
    ///     def linear(self, name, x, outputs):
    ///         return x @ self.w(name + ".weight", outputs, x.shape[1]).T + self.w(name + ".bias", outputs)
    ///     def conv1d(self, name, x, outputs):      # (N, C, T), five taps
    ///         w, b = self.w(name + ".weight", outputs, x.shape[1], 5), self.w(name + ".bias", outputs)
    ///         padded = np.pad(x, [(0, 0), (0, 0), (2, 2)])
    ///         windows = np.stack([padded[:, :, k:k + x.shape[2]] for k in range(5)], -1)
    ///         return np.einsum("nctk,ock->not", windows, w) + b[:, None]
    ///     def blocks(self, name, x):
    ///         relu = lambda v: np.maximum(v, 0)
    ///         h = self.conv1d(name + ".0.conv1", relu(x), x.shape[1])
    ///         return x + 0.3 * self.conv1d(name + ".0.conv2", relu(h), x.shape[1])
    ///     def halve(self, name, x, outputs):       # 4×4, stride 2, padding 1
    ///         w, b = self.w(name + ".weight", outputs, x.shape[1], 4, 4), self.w(name + ".bias", outputs)
    ///         padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    ///         side = x.shape[2] // 2
    ///         out = sum(np.einsum("ncij,oc->noij", padded[:, :, r:r + 2 * side:2, c:c + 2 * side:2], w[:, :, r, c])
    ///                   for r in range(4) for c in range(4))
    ///         return out + b[:, None, None]
    ///     def double(self, name, x, outputs):      # its transpose
    ///         w, b = self.w(name + ".weight", x.shape[1], outputs, 4, 4), self.w(name + ".bias", outputs)
    ///         side = x.shape[2]
    ///         out = np.zeros((len(x), outputs, 2 * side + 2, 2 * side + 2))
    ///         for r in range(4):
    ///             for c in range(4):
    ///                 out[:, :, r:r + 2 * side:2, c:c + 2 * side:2] += np.einsum("ncij,co->noij", x, w[:, :, r, c])
    ///         return out[:, :, 1:-1, 1:-1] + b[:, None, None]
    ///
    /// leaky = lambda v: np.where(v > 0, v, 0.2 * v)
    ///
    /// def down(net, clips, planes):                # (N, T, 1, 8, 8), (N, 2)
    ///     n, t = clips.shape[:2]
    ///     maps = leaky(net.halve("down.0.conv", clips.reshape(n * t, *clips.shape[2:]), 2))
    ///     frames = leaky(net.linear("project", maps.reshape(n * t, -1), 6))
    ///     clip = frames.reshape(n, t, 6).transpose(0, 2, 1)
    ///     clip = np.concatenate([clip, np.repeat(planes[:, :, None], t, 2)], 1)
    ///     return frames, net.blocks("blocks", leaky(net.conv1d("mix", clip, 6)))
    ///
    /// def up(net, motion, content, t):             # (N, 3), (N, 5)
    ///     n = len(motion)
    ///     codes = leaky(net.blocks("blocks", net.linear("motion", motion, 6 * t).reshape(n, 6, t)))
    ///     content = np.repeat(content[:, None], t, 1)
    ///     rows = np.concatenate([codes.transpose(0, 2, 1), content], 2).reshape(n * t, -1)
    ///     hidden = leaky(net.linear("hidden", rows, 12))
    ///     maps = leaky(net.linear("project", hidden, 2 * 16).reshape(n * t, 2, 4, 4))
    ///     return net.double("up.0.conv", maps, 1).reshape(n, t, 1, 8, 8)
    ///
    /// def values(of, *shape): return wave(np.prod(shape), of).reshape(shape)
    ///
    /// for name, make in [("down", lambda net: down(net, values(9, 2, 4, 1, 8, 8), values(8, 2, 2))),
    ///                    ("up", lambda net: (up(net, values(9, 2, 3), values(8, 2, 5), 4),))]:
    ///     net = Net()
    ///     make(net)
    ///     net.fill()
    ///     for out in make(net):                    # each weighted by numbers that tell every value apart
    ///         print(name, out.shape, f"{(out.flatten() * wave(out.size, 7)).sum():.9e}", f"{out.flatten()[-1]:.9e}")
    ///     print(sorted(net.p))
    /// ```
    #[test]
    fn both_networks_give_the_values_of_numpy() {
        /// 0.4 sin(0.7 i + phase).
        fn wave(dims: &[usize], phase: f64) -> Tensor {
            let len: usize = dims.iter().product();
            let values: Vec<f64> = (0..len).map(|i| 0.4 * (0.7 * i as f64 + phase).sin()).collect();
            Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
        }
        fn fill(params: &ParamSet) {
            for (phase, (_, _, var)) in params.iter().enumerate() {
                var.set(&wave(var.dims(), phase as f64)).unwrap();
            }
        }
        /// The sum of the values, weighted by numbers that distinguish all values, and the last value.
        fn seen(x: &Tensor) -> [f64; 2] {
            let x = x.flatten_all().unwrap();
            let sum = (&x * wave(x.dims(), 7.0)).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            [sum, *x.to_vec1::<f64>().unwrap().last().unwrap()]
        }
        let near = |found: [f64; 2], expected: [f64; 2]| {
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-8, "{found:?} is not {expected:?}");
        };
        let style = style(Activation::LeakyRelu(0.2));
        let mut params = ParamSet::fresh_with(1, &Device::Cpu, DType::F64);
        let down = ClipDown::new(params.root(), CLIP, 2, SIZE, false, style, "k").unwrap();
        fill(&params.finish().unwrap());
        let clips = Signal::value(wave(&[2, 4, 1, 8, 8], 9.0));
        let (frames, clip) = down.propagate(&clips, Some(&wave(&[2, 2], 8.0)), Mode::Eval).unwrap();
        near(seen(&frames.tensor), [-3.388104561e-02, -7.086036776e-02]);
        near(seen(&clip.tensor), [-2.655840322e-01, 3.156700842e-01]);

        let mut params = ParamSet::fresh_with(1, &Device::Cpu, DType::F64);
        let up = ClipUp::new(params.root(), CLIP, (3, 5), SIZE, NormKind::None, style, "k").unwrap();
        fill(&params.finish().unwrap());
        let clips = up.forward(&wave(&[2, 3], 9.0), &wave(&[2, 5], 8.0), Mode::Eval).unwrap();
        near(seen(&clips), [1.125296594e-01, -2.566738831e-01]);
    }

    /// Frames are mixed: the features at the first frame depend on all frames.
    #[test]
    fn time_is_mixed() {
        let mut params = ParamSet::fresh(1, &Device::Cpu);
        let style = style(Activation::LeakyRelu(0.2));
        let down = ClipDown::new(params.root(), CLIP, 0, SIZE, false, style, "k").unwrap();
        params.finish().unwrap();
        let clips = Var::from_tensor(&draws("clips", 1, &[4, 1, 8, 8])).unwrap();
        let first = down.forward(&clips, Mode::Eval).unwrap().narrow(3, 0, 1).unwrap();
        let gradients = first.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(&clips).unwrap().to_dtype(DType::F32).unwrap();
        for frame in 0..4 {
            assert!(values(&gradient.narrow(1, frame, 1).unwrap()).iter().any(|value| *value != 0.0));
        }
    }
}
