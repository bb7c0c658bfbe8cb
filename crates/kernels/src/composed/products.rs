//! Matrix products, and layers with a weight and a bias: linear layers and convolutions.

use candle_core::{DType, Tensor};

use crate::activation::Activation;
use crate::composed::backward::{
    ArgumentGradients, Backward, along_channels, attach, cast, channel_sums, lacks_type, want,
};
use crate::composed::convolution::{image_to_map, map_to_image, weight_gradient};
use crate::composed::pointwise;
use crate::error::Result;
use crate::geometry::Geometry;

/// (M, K) · (K, N) → (M, N).
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = product(&a.detach(), &b.detach())?;
    attach(y, &[a, b], MatMulBackward)
}

struct MatMulBackward;

impl Backward for MatMulBackward {
    const NAME: &'static str = "waxwork-composed-matmul";

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let [a, b] = [&arguments[0], &arguments[1]];
        Ok(vec![want(wanted[0], || product(grad, &b.t()?))?, want(wanted[1], || product(&a.t()?, grad))?])
    }
}

/// f(x · wᵀ + b).
pub(crate) fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let layer = |x: &Tensor, weight: &Tensor| product(x, &weight.t()?);
    parametric([x, weight], bias, activation, layer, LinearProducts)
}

/// Convolution followed by an activation.
pub(crate) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
    activation: Activation,
) -> Result<Tensor> {
    let layer = |x: &Tensor, weight: &Tensor| image_to_map(x, weight, &g);
    parametric([x, weight], bias, activation, layer, ConvProducts(g))
}

/// Transposed convolution.
pub(crate) fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
) -> Result<Tensor> {
    let layer = |x: &Tensor, weight: &Tensor| map_to_image(x, weight, &g);
    parametric([x, weight], bias, Activation::Identity, layer, ConvTransposeProducts(g))
}

/// A layer with bias and activation, as one operation with one gradient.
fn parametric(
    [x, weight]: [&Tensor; 2],
    bias: Option<&Tensor>,
    activation: Activation,
    layer: impl FnOnce(&Tensor, &Tensor) -> candle_core::Result<Tensor>,
    products: impl Products,
) -> Result<Tensor> {
    let (fused, after) = activation.split();
    let precision = weight.dtype();
    let mut y = cast(&layer(&cast(&x.detach(), precision)?, &weight.detach())?, x.dtype())?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&along_channels(&bias.detach(), y.rank())?)?;
    }
    let y = pointwise::value(&y, fused)?;
    let backward = ParametricBackward { products, activation: fused };
    let y = match bias {
        Some(bias) => attach(y, &[x, weight, bias], backward)?,
        None => attach(y, &[x, weight], backward)?,
    };
    pointwise::activate(&y, after)
}

/// The gradients of a layer without bias and activation. All tensors have the type of the weight.
trait Products: Send + Sync + 'static {
    const NAME: &'static str;

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor>;

    fn for_weight(&self, x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor>;
}

struct ParametricBackward<P> {
    products: P,
    activation: Activation,
}

impl<P: Products> Backward for ParametricBackward<P> {
    const NAME: &'static str = P::NAME;

    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients> {
        let (x, weight) = (&arguments[0], &arguments[1]);
        let grad = pointwise::gradient(self.activation, y, grad)?;
        let low = cast(&grad, weight.dtype())?;
        let mut gradients = vec![
            want(wanted[0], || cast(&self.products.for_x(weight, &low)?, x.dtype()))?,
            want(wanted[1], || self.products.for_weight(&cast(x, weight.dtype())?, &low))?,
        ];
        if let Some(&wanted) = wanted.get(2) {
            gradients.push(want(wanted, || channel_sums(&grad))?);
        }
        Ok(gradients)
    }
}

struct LinearProducts;

impl Products for LinearProducts {
    const NAME: &'static str = "waxwork-composed-linear";

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        product(grad, weight)
    }

    fn for_weight(&self, x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        product(&grad.t()?, x)
    }
}

struct ConvProducts(Geometry);

impl Products for ConvProducts {
    const NAME: &'static str = "waxwork-composed-conv2d";

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        map_to_image(grad, weight, &self.0)
    }

    fn for_weight(&self, x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        weight_gradient(x, grad, &self.0)
    }
}

struct ConvTransposeProducts(Geometry);

impl Products for ConvTransposeProducts {
    const NAME: &'static str = "waxwork-composed-conv-transpose2d";

    fn for_x(&self, weight: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        image_to_map(grad, weight, &self.0)
    }

    fn for_weight(&self, x: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        weight_gradient(grad, x, &self.0)
    }
}

/// (M, K) · (K, N) → (M, N) without a graph.
#[expect(clippy::disallowed_methods, reason = "on other devices candle's product is the fast one")]
pub(super) fn product(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    let (a, b) = (&rows_or_columns(a)?, &rows_or_columns(b)?);
    if lacks_type(a) {
        return a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?.to_dtype(a.dtype());
    }
    a.matmul(b)
}

/// The matrix with contiguous rows or columns, which cuBLAS requires.
fn rows_or_columns(x: &Tensor) -> candle_core::Result<Tensor> {
    if x.is_contiguous() || x.t()?.is_contiguous() { Ok(x.clone()) } else { x.contiguous() }
}
