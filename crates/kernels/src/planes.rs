//! Convolution of an image with additional channels that are constant planes, such as the labels of a
//! conditional discriminator (Mirza & Osindero 2014).
//!
//! At each position of the map, a plane adds its value times the sum of the taps that lie within the image.
//! These are all taps, unless the window extends beyond the edge. So it is enough to compute one number per
//! *band*, instead of one per position and tap. A band consists of the positions whose windows extend beyond
//! the edge by the same amount.

use std::ops::Range;

use candle_core::{DType, Shape, Tensor};
use rayon::prelude::*;

use crate::activate::activate;
use crate::activation::Activation;
use crate::buffer::{elements, tensor};
use crate::conv::conv2d;
use crate::convolution::{image_to_map, map_to_image, weight_gradient};
use crate::count::count;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::geometry::Geometry;
use crate::parametric_op::{self, ParametricGradients, ParametricOp};
use crate::real::Real;
use crate::shapes::check_bias;
use crate::simd::simd;

/// Maps (N, C, H, W) with values (N, K) as K additional constant planes: (N, C + K, H, W).
///
/// # Errors
/// [`Error::Input`] if `values` does not have one row per sample.
pub fn with_planes(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    let planes = check_values(x, values)?;
    let (n, _, height, width) = x.dims4()?;
    let values = values.reshape((n, planes, 1, 1))?.broadcast_as((n, planes, height, width))?;
    Ok(Tensor::cat(&[x, &values], 1)?)
}

/// [`conv2d`] of [`with_planes`]: x (N, C, H, W), values (N, K), weight (O, C + K, kh, kw), bias (O) →
/// (N, O, H', W'). Differentiable in x, weight and bias; values are constants. Stride and padding are
/// those of [`conv2d`].
///
/// # Errors
/// Those of [`conv2d`], and [`Error::Input`] if `values` does not have one row per sample.
pub fn conv2d_with_planes(
    x: &Tensor,
    values: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: [usize; 2],
    padding: [usize; 2],
    activation: Activation,
) -> Result<Tensor> {
    let planes = check_values(x, values)?;
    if !runs_on_cpu_kernels(x.device()) {
        return conv2d(&with_planes(x, &values.detach())?, weight, bias, stride, padding, activation);
    }
    activation.check()?;
    let geometry = Geometry::of_convolution(x, planes, weight, stride, padding)?;
    check_bias(bias, geometry.map[0])?;
    let (fused, activation_after) = activation.split();
    let side = |i: usize| {
        bands(
            geometry.image[i + 1],
            geometry.map[i + 1],
            geometry.kernel[i],
            geometry.stride[i],
            geometry.padding[i],
        )
    };
    let op = Conv2dWithPlanesOp {
        geometry,
        planes,
        values: values.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?,
        bands: [side(0), side(1)],
        activation: fused,
    };
    activate(&parametric_op::apply(op, x, weight, bias)?, activation_after)
}

/// Checks that every sample has one value per plane, and returns the number of planes.
fn check_values(x: &Tensor, values: &Tensor) -> Result<usize> {
    match (x.dims(), values.dims()) {
        (&[n, ..], &[rows, planes]) if n == rows => Ok(planes),
        (dims, _) => Err(Error::Input {
            what: "values of planes",
            expected: format!("({}, planes)", dims.first().copied().unwrap_or(0)),
            found: values.shape().clone(),
        }),
    }
}

/// Positions of the map along one side whose windows have the same taps within the image.
#[derive(Clone, Debug)]
struct Band {
    positions: Range<usize>,
    taps: Range<usize>,
}

fn bands(image: usize, map: usize, kernel: usize, stride: usize, padding: usize) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for position in 0..map {
        let first = position * stride;
        let end = (image + padding).saturating_sub(first).min(kernel);
        let taps = padding.saturating_sub(first).min(end)..end;
        match bands.last_mut() {
            Some(band) if band.taps == taps => band.positions.end += 1,
            _ => bands.push(Band { positions: position..position + 1, taps }),
        }
    }
    bands
}

struct Conv2dWithPlanesOp {
    /// The sizes without the planes.
    geometry: Geometry,
    planes: usize,
    /// Values of the planes, (N, K).
    values: Vec<f64>,
    /// Bands of rows, and bands of columns.
    bands: [Vec<Band>; 2],
    activation: Activation,
}

impl Conv2dWithPlanesOp {
    /// Pairs of a band of rows and a band of columns.
    fn pairs(&self) -> impl Iterator<Item = (&Band, &Band)> {
        let [rows, columns] = &self.bands;
        rows.iter().flat_map(move |row| columns.iter().map(move |column| (row, column)))
    }

    /// Elements of one kernel.
    fn taps(&self) -> usize {
        self.geometry.kernel.iter().product()
    }

    /// Elements of the weight per output: of the image's channels, and of all channels.
    fn patch(&self) -> [usize; 2] {
        [0, self.planes].map(|planes| (self.geometry.image[0] + planes) * self.taps())
    }

    /// The weight of the image's channels.
    fn own_weight<T: Real>(&self, weight: &[T]) -> Vec<T> {
        let [own, all] = self.patch();
        weight.chunks_exact(all.max(1)).flat_map(|weight| &weight[..own]).copied().collect()
    }

    /// Calls `f` for every plane, output and pair of bands, in this order, with the offsets of their taps in
    /// the weight of all channels.
    fn for_each_pair(&self, mut f: impl FnMut(usize, &mut dyn Iterator<Item = usize>)) {
        let [own, all] = self.patch();
        let (outputs, width) = (self.geometry.map[0], self.geometry.kernel[1]);
        let mut index = 0;
        for plane in 0..self.planes {
            for output in 0..outputs {
                let start = output * all + own + plane * self.taps();
                for (row, column) in self.pairs() {
                    let lines = row.taps.clone().map(|i| start + i * width);
                    f(index, &mut lines.flat_map(|line| column.taps.clone().map(move |j| line + j)));
                    index += 1;
                }
            }
        }
    }

    /// The sum that the planes and the bias add to the map in each pair of bands: (N, O, pairs).
    fn added<T: Real>(&self, weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let pairs = self.pairs().count();
        let len = self.geometry.map[0] * pairs;
        let mut sums = vec![T::ZERO; self.planes * len];
        self.for_each_pair(|index, taps| sums[index] = taps.map(|place| weight[place]).sum());
        let mut added = vec![T::ZERO; self.geometry.samples * len];
        count(&[self.geometry.samples, self.planes, len]);
        added.par_chunks_exact_mut(len.max(1)).enumerate().for_each(|(sample, added)| {
            if let Some(bias) = bias {
                for (added, &bias) in added.chunks_exact_mut(pairs.max(1)).zip(bias) {
                    added.fill(bias);
                }
            }
            for (plane, sums) in sums.chunks_exact(len.max(1)).enumerate() {
                add_scaled(added, sums, self.value(sample, plane));
            }
        });
        added
    }

    fn value<T: Real>(&self, sample: usize, plane: usize) -> T {
        T::from_f64(self.values[sample * self.planes + plane])
    }

    /// Sums of the map's gradient over each pair of bands: (N, O, pairs).
    fn band_sums<T: Real>(&self, grad: &[T]) -> Vec<T> {
        let [outputs, height, width] = self.geometry.map;
        let [rows, columns] = &self.bands;
        let pairs = self.pairs().count();
        let mut sums = vec![T::ZERO; self.geometry.samples * outputs * pairs];
        let (positions, len) = ((outputs * height * width).max(1), (outputs * pairs).max(1));
        sums.par_chunks_exact_mut(len).zip(grad.par_chunks_exact(positions)).for_each(|(sums, grad)| {
            let mut line = vec![T::ZERO; width];
            simd(
                #[inline(always)]
                || {
                    let maps = grad.chunks_exact(height * width);
                    for (map, sums) in maps.zip(sums.chunks_exact_mut(pairs)) {
                        for (row, sums) in rows.iter().zip(sums.chunks_exact_mut(columns.len())) {
                            line.fill(T::ZERO);
                            for y in row.positions.clone() {
                                for (sum, &x) in line.iter_mut().zip(&map[y * width..]) {
                                    *sum += x;
                                }
                            }
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                *sum = line[column.positions.clone()].iter().copied().sum();
                            }
                        }
                    }
                },
            );
        });
        sums
    }

    /// The gradient of the whole weight, from that of the image's channels and the sums of the map's
    /// gradient.
    fn whole_gradient<T: Real>(&self, own_gradient: &[T], band_sums: &[T]) -> Vec<T> {
        let [own, all] = self.patch();
        let mut gradient = vec![T::ZERO; self.geometry.map[0] * all];
        let outputs = gradient.chunks_exact_mut(all.max(1));
        for (gradient, own_gradient) in outputs.zip(own_gradient.chunks_exact(own.max(1))) {
            gradient[..own].copy_from_slice(own_gradient);
        }
        let len = (self.geometry.map[0] * self.pairs().count()).max(1);
        let mut sums = vec![T::ZERO; self.planes * len];
        count(&[self.geometry.samples, self.planes, len]);
        sums.par_chunks_exact_mut(len).enumerate().for_each(|(plane, sums)| {
            for (sample, band_sums) in band_sums.chunks_exact(len).enumerate() {
                add_scaled(sums, band_sums, self.value(sample, plane));
            }
        });
        self.for_each_pair(|index, taps| taps.for_each(|place| gradient[place] += sums[index]));
        gradient
    }
}

/// `to` += `scale` · `from`.
fn add_scaled<T: Float>(to: &mut [T], from: &[T], scale: T) {
    simd(
        #[inline(always)]
        || {
            for (to, &from) in to.iter_mut().zip(from) {
                *to += scale * from;
            }
        },
    );
}

impl ParametricOp for Conv2dWithPlanesOp {
    const NAME: &'static str = "waxwork-conv2d-with-planes";

    fn shape(&self) -> Shape {
        let [channels, height, width] = self.geometry.map;
        Shape::from((self.geometry.samples, channels, height, width))
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        let [outputs, height, width] = self.geometry.map;
        let [rows, columns] = &self.bands;
        let added = self.added(weight, bias);
        let own_weight = self.own_weight(weight);
        let mut map = image_to_map(&self.geometry, x, &own_weight, None, Activation::Identity);
        let (positions, len) =
            ((outputs * height * width).max(1), (outputs * rows.len() * columns.len()).max(1));
        map.par_chunks_exact_mut(positions).zip(added.par_chunks_exact(len)).for_each(|(maps, added)| {
            let mut line = vec![T::ZERO; width];
            simd(
                #[inline(always)]
                || {
                    let maps = maps.chunks_exact_mut(height * width);
                    for (map, added) in maps.zip(added.chunks_exact(rows.len() * columns.len())) {
                        for (row, added) in rows.iter().zip(added.chunks_exact(columns.len())) {
                            for (column, &added) in columns.iter().zip(added) {
                                line[column.positions.clone()].fill(added);
                            }
                            for map in map[row.positions.start * width..row.positions.end * width]
                                .chunks_exact_mut(width)
                            {
                                for (x, &added) in map.iter_mut().zip(&line) {
                                    *x += added;
                                }
                            }
                        }
                        self.activation.apply(map);
                    }
                },
            );
        });
        map
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ParametricGradients> {
        let g = &self.geometry;
        let (x_shape, weight_shape) = (x.shape(), weight.shape());
        let (for_x, for_weight) = (x.track_op(), weight.track_op());
        elements!(T; x, weight, y, grad);
        let grad = &*self.activation.through(y, grad);
        let mut gradients = ParametricGradients { x: None, weight: None, bias: None };
        if for_x {
            let own_weight = self.own_weight(weight);
            gradients.x = Some(tensor(map_to_image(g, grad, &own_weight, None), x_shape)?);
        }
        if !(for_weight || bias) {
            return Ok(gradients);
        }
        let band_sums = self.band_sums(grad);
        if for_weight {
            let whole = self.whole_gradient(&weight_gradient(g, x, grad), &band_sums);
            gradients.weight = Some(tensor(whole, weight_shape)?);
        }
        if bias {
            let (outputs, pairs) = (g.map[0], self.pairs().count());
            let mut sums = vec![0.0f64; outputs];
            for band_sums in band_sums.chunks_exact((outputs * pairs).max(1)) {
                for (sum, band_sums) in sums.iter_mut().zip(band_sums.chunks_exact(pairs)) {
                    *sum += band_sums.iter().map(|x| x.to_f64()).sum::<f64>();
                }
            }
            gradients.bias = Some(tensor(sums.into_iter().map(T::from_f64).collect(), outputs)?);
        }
        Ok(gradients)
    }
}
