//! Networks for waveforms: 1-D convolutions that divide or multiply the length by four at each layer (WaveGAN,
//! Donahue et al. 2019).

use candle_core::Tensor;

use super::Style;
use crate::layers::{Conv1d, ConvTranspose1d};
use crate::signal::Signal;
use waxwork_core::onnx::{GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_core::{Error, Mode, Result, SampleSpec};
use waxwork_kernels::{self as kernels, Activation};

/// Kernel size, in samples.
const KERNEL: usize = 25;
/// The factor by which each layer changes the length.
const STRIDE: usize = 4;

/// The length of a waveform, and that of its features after `layers` layers. `key` is the configuration key of
/// the network.
///
/// # Errors
/// [`Error::Config`] if a sample is not a waveform, or its length is not a multiple of 4 to the power of
/// `layers`.
pub fn needs_waveform(sample: &SampleSpec, layers: usize, key: &str) -> Result<(usize, usize)> {
    let fail = |reason: String| Err(Error::Config { key: key.to_owned(), reason });
    let &[1, 1, length] = sample.dims() else {
        return fail(format!(
            "a network of kind `wave` needs sounds as waveforms, which `data.sound.view=\"waveform\"` gives, \
             but a sample is {sample}"
        ));
    };
    let factor = u32::try_from(layers).ok().and_then(|layers| STRIDE.checked_pow(layers));
    match factor {
        Some(factor) if length.is_multiple_of(factor) && length > 0 => Ok((length, length / factor)),
        _ => fail(format!(
            "{layers} layers, each of which divides the length by {STRIDE}, need one that is a multiple of \
             {STRIDE}^{layers}, not {length}"
        )),
    }
}

/// Strided convolutions, each with an activation: `(N, inputs, 1, L)` → `(N, channels, 1, L / 4^layers)`. This
/// is the discriminator of WaveGAN.
#[derive(Clone, Debug)]
pub struct WaveDown {
    layers: Vec<Conv1d>,
    activation: Activation,
}

impl WaveDown {
    /// One layer per entry of `channels`, named `0`, `1`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, inputs: usize, channels: &[usize], style: Style) -> Result<Self> {
        let mut layers = Vec::with_capacity(channels.len());
        let mut inputs = inputs;
        for (i, &outputs) in channels.iter().enumerate() {
            let windows = (KERNEL, STRIDE);
            layers.push(Conv1d::strided(scope.enter(i), inputs, outputs, windows, style.weights)?);
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// The number of layers whose output can be moved: all but the last.
    pub fn moved(&self) -> usize {
        self.layers.len().saturating_sub(1)
    }

    /// The length of the shortest of these outputs, for waveforms of `length` samples.
    pub fn shortest_moved(&self, length: usize) -> usize {
        (0..self.moved()).fold(length, |length, _| length / STRIDE)
    }

    /// A signal through all layers. `planes` are the values `(N, K)` of K
    /// constant channels, which are appended to those of the input; x then has K channels fewer. The output
    /// of layer `i` is moved by `shifts[i]` positions, one number per sample, with mirror images at the edges
    /// (phase shuffle), if there are any.
    ///
    /// # Errors
    /// If the shifts do not fit the samples.
    pub fn propagate(
        &self,
        x: &Signal,
        planes: Option<&Tensor>,
        shifts: &[Vec<isize>],
        mode: Mode<'_>,
    ) -> Result<Signal> {
        let mut x = x.clone();
        for (i, conv) in self.layers.iter().enumerate() {
            let planes = planes.filter(|_| i == 0);
            x = if x.is_plain() {
                Signal::value(conv.forward_with(&x.tensor, planes, self.activation, mode)?)
            } else {
                conv.propagate_with(&x, planes, mode)?.activate(self.activation)?
            };
            if let Some(right) = shifts.get(i) {
                x = x.linear(|x| Ok(kernels::slide(x, right)?))?;
            }
        }
        Ok(x)
    }
}

/// Transposed convolutions: `(N, inputs, 1, L)` → `(N, outputs, 1, 4^layers · L)`. All but the last are
/// activated. This is the generator of WaveGAN.
#[derive(Clone, Debug)]
pub struct WaveUp {
    layers: Vec<ConvTranspose1d>,
    activation: Activation,
}

impl WaveUp {
    /// `inputs` → `channels[0]` → … → `channels.last()`, named `0`, `1`, … below `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(mut scope: Scope<'_>, inputs: usize, channels: &[usize], style: Style) -> Result<Self> {
        let mut layers = Vec::with_capacity(channels.len());
        let mut inputs = inputs;
        for (i, &outputs) in channels.iter().enumerate() {
            let (windows, init) = ((KERNEL, STRIDE), style.weights.init);
            layers.push(ConvTranspose1d::new(scope.enter(i), inputs, outputs, windows, init)?);
            inputs = outputs;
        }
        Ok(Self { layers, activation: style.activation })
    }

    /// `(N, inputs, 1, L)` → `(N, outputs, 1, 4^layers · L)`.
    ///
    /// # Errors
    /// If x has another shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, conv) in self.layers.iter().enumerate() {
            x = kernels::activate(&conv.forward(&x)?, self.activation_of(i))?;
        }
        Ok(x)
    }

    /// [`WaveUp::forward`] as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        let mut x = x.clone();
        for (i, conv) in self.layers.iter().enumerate() {
            let y = conv.export(scope.enter(i), &x)?;
            x = scope.activate(y, self.activation_of(i));
        }
        Ok(x)
    }

    fn activation_of(&self, layer: usize) -> Activation {
        if layer + 1 < self.layers.len() { self.activation } else { Activation::Identity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::WeightInit;
    use crate::signal::Trace;
    use candle_core::{DType, Device};
    use waxwork_core::ParamSet;
    use waxwork_core::rng::Stream;
    use waxwork_core::sample::{Range, Segment};

    fn style(activation: Activation) -> Style {
        Style { weights: WeightInit::Pytorch.into(), activation }
    }

    fn draws(name: &str, n: u64, dims: &[usize]) -> Tensor {
        let rows: Vec<u64> = (0..n).collect();
        let drawn = Stream::new(3, name, 0).normal(&rows, dims, &Device::Cpu).unwrap();
        drawn.to_dtype(DType::F64).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f64> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn parameter(params: &ParamSet, name: &str) -> Vec<f64> {
        values(&params.get(name).unwrap().as_detached_tensor())
    }

    /// Both directions against their definition: window `j` begins at sample 4 j − 11.
    #[test]
    fn layers_are_their_definition() {
        let mut params = ParamSet::fresh_with(1, &Device::Cpu, DType::F64);
        let down = WaveDown::new(params.root().enter("down"), 2, &[3], style(Activation::Relu)).unwrap();
        let up = WaveUp::new(params.root().enter("up"), 3, &[2], style(Activation::Relu)).unwrap();
        let params = params.finish().unwrap();
        let (wave, maps) = (draws("wave", 2, &[2, 1, 32]), draws("maps", 2, &[3, 1, 8]));
        let (seen, made) = (values(&wave), values(&maps));
        let [weight, bias] = ["down.0.weight", "down.0.bias"].map(|name| parameter(&params, name));
        let [back, back_bias] = ["up.0.weight", "up.0.bias"].map(|name| parameter(&params, name));
        let (mut want, mut want_back) = (vec![0.0; 2 * 3 * 8], vec![0.0; 2 * 2 * 32]);
        for (n, o, j) in (0..2).flat_map(|n| (0..3).flat_map(move |o| (0..8).map(move |j| (n, o, j)))) {
            let position = (n * 3 + o) * 8 + j;
            want[position] += bias[o];
            for (c, tap) in (0..2).flat_map(|c| (0..KERNEL).map(move |tap| (c, tap))) {
                let Some(at) = (4 * j + tap).checked_sub(11).filter(|at| *at < 32) else { continue };
                let sample = (n * 2 + c) * 32 + at;
                want[position] += weight[(o * 2 + c) * KERNEL + tap] * seen[sample];
                want_back[sample] += back[(o * 2 + c) * KERNEL + tap] * made[position];
            }
        }
        want.iter_mut().for_each(|value| *value = value.max(0.0));
        want_back.iter_mut().enumerate().for_each(|(i, value)| *value += back_bias[i / 32 % 2]);
        let found = down.propagate(&Signal::value(wave), None, &[], Mode::Eval).unwrap().tensor;
        let found_back = up.forward(&maps).unwrap();
        assert_eq!((found.dims(), found_back.dims()), (&[2, 3, 1, 8][..], &[2, 2, 1, 32][..]));
        for (found, want) in [(found, want), (found_back, want_back)] {
            for (found, want) in values(&found).iter().zip(want) {
                assert!((found - want).abs() < 1e-12, "{found} {want}");
            }
        }
    }

    /// The derivative along a direction is that of finite differences, with constant channels and shifts.
    #[test]
    fn the_directional_derivative_is_that_of_differences() {
        let mut params = ParamSet::fresh_with(1, &Device::Cpu, DType::F64);
        let down = WaveDown::new(params.root(), 3, &[4, 5], style(Activation::LeakyRelu(0.2))).unwrap();
        params.finish().unwrap();
        assert_eq!((down.moved(), down.shortest_moved(64)), (1, 16));
        let (wave, way, planes) =
            (draws("wave", 2, &[1, 1, 64]), draws("way", 2, &[1, 1, 64]), draws("planes", 2, &[2]));
        let through =
            |x: &Signal, shifts: &[Vec<isize>]| down.propagate(x, Some(&planes), shifts, Mode::Eval).unwrap();
        let shifts = [vec![2, -1]];
        let trace = Trace::default();
        let traced = through(&Signal::traced(wave.clone(), &trace), &shifts).tensor;
        let tangents = through(&Signal::along(way.clone(), &trace), &shifts).tensor;
        assert_eq!(traced.dims(), [2, 5, 1, 4]);
        let still = values(&through(&Signal::value(wave.clone()), &[]).tensor);
        assert_ne!(values(&traced), still, "shifts have an effect");
        // So small a step that no value is likely to pass an activation's kink.
        let step = 1e-6;
        let moved = |by: f64| {
            let moved = (&wave + way.affine(by, 0.0).unwrap()).unwrap();
            values(&through(&Signal::value(moved), &shifts).tensor)
        };
        let (before, after) = (moved(-step), moved(step));
        for (place, tangent) in values(&tangents).iter().enumerate() {
            let slope = (after[place] - before[place]) / (2.0 * step);
            assert!((slope - tangent).abs() < 1e-6 * (1.0 + tangent.abs()), "{tangent}, but {slope}");
        }
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() {
        let waveform = |length| {
            let segments = vec![Segment { width: length, range: Range::Signed }];
            SampleSpec::new(vec![1, 1, length], segments).unwrap()
        };
        assert_eq!(needs_waveform(&waveform(8192), 4, "k").unwrap(), (8192, 32));
        let said = |sample: &SampleSpec, layers| needs_waveform(sample, layers, "k").unwrap_err().to_string();
        assert!(said(&waveform(8000), 4).contains("multiple of 4^4, not 8000"));
        assert!(said(&waveform(8192), 100).contains("4^100"));
        assert!(said(&SampleSpec::real(8192), 2).contains("view=\"waveform\""));
    }
}
