//! Convolutional layers.

use candle_core::{DType, Tensor};

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
        let (fan_in, fan_out) = (inputs * kernel * kernel, outputs * kernel * kernel);
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
        let (fan_in, fan_out) = (outputs * kernel * kernel, inputs * kernel * kernel);
        let weight =
            scope.weight("weight", (inputs, outputs, kernel, kernel), init.weight(fan_in, fan_out))?;
        let bias = bias.then(|| scope.weight("bias", outputs, init.bias(fan_in))).transpose()?;
        Ok(Self { weight, bias, geometry, compute_dtype: scope.compute_dtype() })
    }

    /// `(N, inputs, H, W)` → `(N, outputs, H', W')`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvGeometry { stride, padding, .. } = self.geometry;
        let weight = cast(&self.weight, self.compute_dtype)?;
        Ok(kernels::conv_transpose2d(x, &weight, self.bias.as_ref(), [stride; 2], [padding; 2], [0; 2])?)
    }

    /// [`ConvTranspose2d::forward`] as nodes of a graph.
    pub fn export(&self, mut scope: GraphScope<'_>, x: &Value) -> Result<Value> {
        self.geometry.export(&mut scope, "ConvTranspose", x, &self.weight, self.bias.as_ref())
    }
}
