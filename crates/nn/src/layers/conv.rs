//! Convolutional layers.

use candle_core::{DType, Device, Tensor};

use super::{Weight, WeightStyle, cast};
use crate::signal::Signal;
use waxwork_core::Mode;
use waxwork_core::Result;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::Scope;
use waxwork_kernels::{self as kernels, Activation};

/// The geometry of a square convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
}

impl ConvGeometry {
    /// Kernel 4, stride 2, padding 1: halves height and width, or doubles them if transposed (Radford et al.
    /// 2016).
    pub const HALVE: Self = Self { kernel: 4, stride: 2, padding: 1 };
    /// Kernel 3, stride 1, padding 1: keeps height and width.
    pub const SAME: Self = Self { kernel: 3, stride: 1, padding: 1 };
    /// Kernel 1: mixes channels only.
    pub const POINT: Self = Self { kernel: 1, stride: 1, padding: 0 };

    /// A convolution of this geometry, plain or transposed, as a node of a graph.
    fn export(
        self,
        scope: &mut GraphScope<'_>,
        operator: &str,
        x: &Value,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Value> {
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding].map(|side| side as i64);
        let weight = scope.tensor("weight", weight)?;
        let bias = bias.map(|bias| scope.tensor("bias", bias)).transpose()?;
        let inputs: Vec<&Value> = [x, &weight].into_iter().chain(&bias).collect();
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[kernel; 2])),
            ("strides", Attribute::Ints(&[stride; 2])),
            ("pads", Attribute::Ints(&[padding; 4])),
        ];
        Ok(scope.node(operator, &inputs, &attributes))
    }
}

/// 2-D cross-correlation: `(N, inputs, H, W)` → `(N, outputs, H', W')`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Weight,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    compute_dtype: DType,
}

/// Convolves x with an activation. If there are `planes`, the values `(N, K)` of K constant planes, these
/// planes are the last channels of the input.
pub(super) fn convolve(
    x: &Tensor,
    planes: Option<&Tensor>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    (stride, padding): ([usize; 2], [usize; 2]),
    activation: Activation,
) -> Result<Tensor> {
    Ok(match planes {
        Some(values) => kernels::conv2d_with_planes(x, values, weight, bias, stride, padding, activation)?,
        None => kernels::conv2d(x, weight, bias, stride, padding, activation)?,
    })
}

impl Conv2d {
    /// Makes the layer; `weight` is `(outputs, inputs, kernel, kernel)`. Leave the bias out before a batch
    /// norm.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        geometry: ConvGeometry,
        bias: bool,
        style: impl Into<WeightStyle>,
    ) -> Result<Self> {
        let style: WeightStyle = style.into();
        let ConvGeometry { kernel, .. } = geometry;
        let [fan_in, fan_out] = [inputs, outputs].map(|channels| channels.saturating_mul(kernel * kernel));
        let shape = [outputs, inputs, kernel, kernel];
        let weight = Weight::new(&mut scope, &shape, style.start(fan_in, fan_out), style.spectral_norm)?;
        let bias = bias.then(|| scope.weight("bias", outputs, style.init.bias(fan_in))).transpose()?;
        Ok(Self { weight, bias, geometry, compute_dtype: scope.compute_dtype() })
    }

    /// `(N, inputs, H, W)` → `(N, outputs, H', W')`, with an activation. `planes` are values `(N, K)` of K
    /// constant planes, which count as the last channels; x then has K channels fewer.
    pub fn forward(
        &self,
        x: &Tensor,
        planes: Option<&Tensor>,
        activation: Activation,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        self.apply(x, planes, &weight, self.bias.as_ref(), activation)
    }

    /// The same without an activation, for a signal.
    pub fn propagate(&self, x: &Signal, planes: Option<&Tensor>, mode: Mode<'_>) -> Result<Signal> {
        let weight = cast(&self.weight.in_mode(mode)?, self.compute_dtype)?;
        let still = planes.map(Tensor::zeros_like).transpose()?;
        x.affine(|x, constant| {
            let (planes, bias) = if constant { (planes, self.bias.as_ref()) } else { (still.as_ref(), None) };
            self.apply(x, planes, &weight, bias, Activation::Identity)
        })
    }

    fn apply(
        &self,
        x: &Tensor,
        planes: Option<&Tensor>,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let ConvGeometry { stride, padding, .. } = self.geometry;
        convolve(x, planes, weight, bias, ([stride; 2], [padding; 2]), activation)
    }

    /// [`Conv2d::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value, activation: Activation) -> Result<Value> {
        let weight = self.weight.in_mode(Mode::Eval)?;
        let y = self.geometry.export(&mut scope, "Conv", x, &weight, self.bias.as_ref())?;
        Ok(scope.activate(y, activation))
    }
}

/// Transposed 2-D convolution: `(N, inputs, H, W)` → `(N, outputs, H', W')`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    /// The matrix that turns the 3×3 weights of a resize-convolution into 4×4 weights, `(9, 16)`.
    spread: Option<Tensor>,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    compute_dtype: DType,
}

impl ConvTranspose2d {
    /// Makes the layer; `weight` is `(inputs, outputs, kernel, kernel)`. Leave the bias out before a batch
    /// norm.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn new(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        geometry: ConvGeometry,
        bias: bool,
        init: super::WeightInit,
    ) -> Result<Self> {
        let ConvGeometry { kernel, .. } = geometry;
        // PyTorch computes the fan-in from dimension 1 of the weight, which is the output here.
        let [fan_in, fan_out] = [outputs, inputs].map(|channels| channels.saturating_mul(kernel * kernel));
        let weight =
            scope.weight("weight", (inputs, outputs, kernel, kernel), init.weight(fan_in, fan_out))?;
        let bias = bias.then(|| scope.weight("bias", outputs, init.bias(fan_in))).transpose()?;
        Ok(Self { weight, spread: None, bias, geometry, compute_dtype: scope.compute_dtype() })
    }

    /// A resize-convolution (Odena et al. 2016): every pixel becomes 2×2, then a 3×3 convolution follows. Away from the
    /// border, a constant input gives a constant output, whereas other transposed convolutions tend to draw a chequerboard.
    ///
    /// The layer computes the transposed convolution with [`ConvGeometry::HALVE`] that is equal to both steps, with
    /// four ninths of their multiplications. `weight` is `(inputs, outputs, 3, 3)`. Leave the bias out before a
    /// batch norm.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub fn resizing(
        mut scope: Scope<'_>,
        inputs: usize,
        outputs: usize,
        bias: bool,
        init: super::WeightInit,
    ) -> Result<Self> {
        // Along one axis, each row is where a weight of the convolution stands among those of the transposed one.
        const SPREAD: [[f32; 4]; 3] = [[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]];
        let [fan_in, fan_out] = [inputs, outputs].map(|channels| channels.saturating_mul(9));
        let weight = scope.weight("weight", (inputs, outputs, 3, 3), init.weight(fan_in, fan_out))?;
        let bias = bias.then(|| scope.weight("bias", outputs, init.bias(fan_in))).transpose()?;
        let spread: Vec<f32> =
            (0..9 * 16).map(|i| SPREAD[i / 48][i % 16 / 4] * SPREAD[i / 16 % 3][i % 4]).collect();
        let spread = Tensor::from_vec(spread, (9, 16), &Device::Cpu)?;
        let spread = spread.to_dtype(weight.dtype())?.to_device(weight.device())?;
        let compute_dtype = scope.compute_dtype();
        Ok(Self { weight, spread: Some(spread), bias, geometry: ConvGeometry::HALVE, compute_dtype })
    }

    /// The weight of the transposed convolution, `(inputs, outputs, kernel, kernel)`.
    fn weight(&self) -> Result<Tensor> {
        let Some(spread) = &self.spread else { return Ok(self.weight.clone()) };
        let (inputs, outputs, _, _) = self.weight.dims4()?;
        let weight = kernels::matmul(&self.weight.reshape((inputs * outputs, 9))?, spread)?;
        Ok(weight.reshape((inputs, outputs, 4, 4))?)
    }

    /// `(N, inputs, H, W)` → `(N, outputs, H', W')`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvGeometry { stride, padding, .. } = self.geometry;
        let weight = cast(&self.weight()?, self.compute_dtype)?;
        Ok(kernels::conv_transpose2d(x, &weight, self.bias.as_ref(), [stride; 2], [padding; 2], [0; 2])?)
    }

    /// [`ConvTranspose2d::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        self.geometry.export(&mut scope, "ConvTranspose", x, &self.weight()?, self.bias.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};
    use waxwork_core::ParamSet;
    use waxwork_core::rng::Stream;

    use super::*;
    use crate::layers::WeightInit;

    fn draws(name: &str, n: u64, dims: &[usize]) -> Tensor {
        let rows: Vec<u64> = (0..n).collect();
        Stream::new(3, name, 0).normal(&rows, dims, &Device::Cpu).unwrap()
    }

    fn assert_close(found: &Tensor, expected: &Tensor) {
        assert_eq!(found.dims(), expected.dims());
        let gap = (found - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(gap < 1e-5, "{gap}");
    }

    /// The transposed convolution and its gradients are those of doubling every pixel and a 3×3 convolution.
    #[test]
    fn a_resize_convolution_is_doubling_and_convolving() {
        let mut params = ParamSet::fresh(1, &Device::Cpu);
        let layer = ConvTranspose2d::resizing(params.root(), 3, 5, true, WeightInit::Pytorch).unwrap();
        params.finish().unwrap();
        let (x, weights) =
            (Var::from_tensor(&draws("x", 2, &[3, 4, 6])).unwrap(), draws("output", 2, &[5, 8, 12]));
        let two_steps = |x: &Tensor| {
            let weight = layer.weight.transpose(0, 1)?.contiguous()?;
            let doubled = kernels::upsample2(x)?;
            kernels::conv2d(&doubled, &weight, layer.bias.as_ref(), [1; 2], [1; 2], Activation::Identity)
        };
        let (found, expected) = (layer.forward(&x).unwrap(), two_steps(&x).unwrap());
        assert_close(&found, &expected);
        let gradients = |y: &Tensor| kernels::backward(&(y * &weights).unwrap().sum_all().unwrap()).unwrap();
        let (mut found, mut expected) = (gradients(&found), gradients(&expected));
        for tensor in [x.as_tensor(), &layer.weight, layer.bias.as_ref().unwrap()] {
            let of = |gradients: &mut kernels::Gradients| gradients.take(tensor).unwrap().unwrap();
            assert_close(&of(&mut found), &of(&mut expected));
        }
    }
}
