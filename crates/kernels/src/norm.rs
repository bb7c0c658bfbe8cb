//! Batch normalisation fused with the activation that follows it.
//!
//! One task handles a few neighbouring channels. Their elements stay in the cache between the passes for
//! mean, variance and result, and form runs that are long enough for hardware prefetching. Rows of features,
//! (N, C), take another path with the same bits ([`crate::norm_rows`]).
#![expect(unsafe_code, reason = "each task writes the planes of its channels, which are not one slice")]

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

use crate::activate::activate;
use crate::activation::{Activation, Function, by_activation};
use crate::buffer::{Out, build_raw, by_dtype, elements, slice, tensor};
use crate::composed;
use crate::device::runs_on_cpu_kernels;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::norm_rows::{COLUMNS, Columns};
use crate::simd::simd;
use crate::sums::{Lanes, SUM_BLOCK, add3};
use crate::tape;

/// f(γ · (x − mean) / √(var + eps) + β) with the batch's own statistics over all dimensions but the second.
///
/// x (N, C, …), gamma and beta (C) → (y like x, mean (C), biased variance (C)). y is differentiable in x,
/// gamma and beta; mean and variance are not on the tape and serve running averages.
///
/// # Errors
/// [`Error::Input`] if the shapes do not fit or x is empty.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    let channels = check(x, &[("gamma", gamma), ("beta", beta)], activation)?;
    if x.elem_count() == 0 {
        return Err(Error::Input {
            what: "batch norm input",
            expected: "elements".into(),
            found: x.shape().clone(),
        });
    }
    if !runs_on_cpu_kernels(x.device()) {
        return composed::batch_norm(x, gamma, beta, eps, activation);
    }
    let (fused, after) = activation.split();
    let statistics = Arc::new(OnceLock::new());
    let op = BatchNormOp { eps, activation: fused, fixed: false, statistics: Arc::clone(&statistics) };
    let y = tape::apply3(&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?, op)?;
    let statistics = statistics.get().cloned().unwrap_or_default();
    let vector = |values: Vec<f64>| -> Result<Tensor> {
        Ok(Tensor::from_vec(values, channels, x.device())?.to_dtype(x.dtype())?)
    };
    Ok((activate(&y, after)?, vector(statistics.mean)?, vector(statistics.var)?))
}

/// [`batch_norm`] with given statistics, for evaluation: mean and var (C) are constants.
///
/// # Errors
/// [`Error::Input`] if the shapes do not fit.
pub fn batch_norm_with(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    check(x, &[("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var)], activation)?;
    if !runs_on_cpu_kernels(x.device()) {
        return composed::batch_norm_with(x, gamma, beta, [mean, var], eps, activation);
    }
    let (fused, after) = activation.split();
    let values = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
    let statistics = Arc::new(OnceLock::from(Statistics { mean: values(mean)?, var: values(var)? }));
    let op = BatchNormOp { eps, activation: fused, fixed: true, statistics };
    let y = tape::apply3(&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?, op)?;
    activate(&y, after)
}

fn check(x: &Tensor, vectors: &[(&'static str, &Tensor)], activation: Activation) -> Result<usize> {
    activation.check()?;
    if x.rank() < 2 {
        return Err(Error::Input {
            what: "batch norm input",
            expected: "(N, C, …)".into(),
            found: x.shape().clone(),
        });
    }
    let channels = x.dims()[1];
    for (what, vector) in vectors {
        if vector.dims() != [channels] {
            return Err(Error::Input {
                what,
                expected: format!("({channels})"),
                found: vector.shape().clone(),
            });
        }
    }
    Ok(channels)
}

#[derive(Clone, Debug, Default)]
struct Statistics {
    mean: Vec<f64>,
    /// The biased variance, divided by the number of elements.
    var: Vec<f64>,
}

struct BatchNormOp {
    eps: f64,
    activation: Activation,
    /// Whether the statistics are constants instead of those of the batch.
    fixed: bool,
    statistics: Arc<OnceLock<Statistics>>,
}

/// The largest number of channels per task.
const MAX_CHANNELS: usize = 8;

/// Number of samples, of channels, and of elements per channel of a sample.
#[derive(Clone, Copy)]
struct Planes {
    samples: usize,
    channels: usize,
    len: usize,
}

impl Planes {
    fn of(dims: &[usize]) -> Self {
        Self { samples: dims[0], channels: dims[1], len: dims[2..].iter().product() }
    }

    /// Number of channels per task.
    fn group(self) -> usize {
        (1024 / self.len.max(1)).clamp(1, MAX_CHANNELS)
    }

    /// The planes of `count` channels from `first` on, in memory order: index of the channel among these, and
    /// the offset of the plane.
    #[inline(always)]
    fn starts(self, first: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
        self.starts_of(0..self.samples, first, count)
    }

    /// [`Planes::starts`] for some of the samples.
    #[inline(always)]
    fn starts_of(
        self,
        samples: Range<usize>,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        samples.flat_map(
            #[inline(always)]
            move |sample| {
                (0..count).map(
                    #[inline(always)]
                    move |i| (i, (sample * self.channels + first + i) * self.len),
                )
            },
        )
    }

    /// Sums over each channel from `first` on and adds the sums to `totals`. `add` adds a range of
    /// elements of a channel to its lanes. The lanes of one partial sum cover several small planes or a
    /// part of a large plane.
    #[inline(always)]
    fn sums<T: Float, const K: usize>(
        self,
        first: usize,
        totals: &mut [[f64; K]],
        add: impl Fn(usize, Range<usize>, &mut [Lanes<T>; K]),
    ) {
        let samples = (SUM_BLOCK / self.len.max(1)).max(1);
        for sample in (0..self.samples).step_by(samples) {
            let samples = sample..self.samples.min(sample + samples);
            for part in (0..self.len).step_by(SUM_BLOCK) {
                let len = SUM_BLOCK.min(self.len - part);
                let mut lanes = [[Lanes::ZERO; K]; MAX_CHANNELS];
                for (i, start) in self.starts_of(samples.clone(), first, totals.len()) {
                    add(i, start + part..start + part + len, &mut lanes[i]);
                }
                for (totals, lanes) in totals.iter_mut().zip(lanes) {
                    for (total, lanes) in totals.iter_mut().zip(lanes) {
                        *total += lanes.total();
                    }
                }
            }
        }
    }

    /// Columns of rows of features.
    fn columns(self, first: usize, count: usize) -> Columns {
        Columns { rows: self.samples, stride: self.channels, first, count }
    }

    fn all(self) -> usize {
        self.samples * self.channels * self.len
    }
}

impl BatchNormOp {
    fn forward<T: Float>(&self, x: &[T], gamma: &[T], beta: &[T], planes: Planes) -> Vec<T> {
        let given = if self.fixed { self.statistics.get() } else { None };
        let count = (planes.samples * planes.len) as f64;
        let mut found = vec![(0.0, 0.0); planes.channels];
        if planes.len == 1 {
            let y = self.rows_forward(x, [gamma, beta], planes, given, &mut found);
            self.keep(found);
            return y;
        }
        // SAFETY: the tasks write each plane of each channel once, and these make up the output.
        let y = unsafe {
            build_raw(planes.all(), |out: Out<T>| {
                found.par_chunks_mut(planes.group()).enumerate().for_each(|(index, found)| {
                    let first = index * planes.group();
                    by_activation!(self.activation, f => simd(
                        #[inline(always)]
                        || {
                            given_or(
                                given,
                                first,
                                found,
                                #[inline(always)]
                                |found| statistics(x, planes, first, count, found),
                            );
                            for (i, start) in planes.starts(first, found.len()) {
                                let (mean, var) = found[i];
                                let scale = gamma[first + i].to_f64() / (var + self.eps).sqrt();
                                let (scale, mean) = (T::from_f64(scale), T::from_f64(mean));
                                let beta = beta[first + i];
                                // One task writes all planes of a channel.
                                let y = out.slice(start, planes.len);
                                for (y, &x) in y.iter_mut().zip(&x[start..start + planes.len]) {
                                    y.write(f.value((x - mean).fma(scale, beta)));
                                }
                            }
                        },
                    ));
                });
            })
        };
        self.keep(found);
        y
    }

    /// Keeps the statistics of the batch for the backward pass.
    fn keep(&self, found: Vec<(f64, f64)>) {
        if !self.fixed {
            let (mean, var) = found.into_iter().unzip();
            // The forward pass runs once. A second one would compute the same values.
            let _ = self.statistics.set(Statistics { mean, var });
        }
    }

    /// [`BatchNormOp::forward`] for rows of features.
    fn rows_forward<T: Float>(
        &self,
        x: &[T],
        [gamma, beta]: [&[T]; 2],
        planes: Planes,
        given: Option<&Statistics>,
        found: &mut [(f64, f64)],
    ) -> Vec<T> {
        // SAFETY: the tasks write the columns of each channel in all rows, and these make up the output.
        unsafe {
            build_raw(planes.all(), |out: Out<T>| {
                found.par_chunks_mut(COLUMNS).enumerate().for_each(|(index, found)| {
                    let columns = planes.columns(index * COLUMNS, found.len());
                    let (mut means, mut scales, mut shifts) =
                        ([T::ZERO; COLUMNS], [T::ZERO; COLUMNS], [T::ZERO; COLUMNS]);
                    by_activation!(self.activation, f => simd(
                        #[inline(always)]
                        || {
                            given_or(
                                given,
                                columns.first,
                                found,
                                #[inline(always)]
                                |found| columns.statistics(x, found),
                            );
                            for (i, (mean, var)) in found.iter().enumerate() {
                                let scale = gamma[columns.first + i].to_f64() / (var + self.eps).sqrt();
                                (means[i], scales[i]) = (T::from_f64(*mean), T::from_f64(scale));
                                shifts[i] = beta[columns.first + i];
                            }
                            // Slices of one length, so that their bounds are checked once.
                            let count = columns.count;
                            let (means, scales, shifts) =
                                (&means[..count], &scales[..count], &shifts[..count]);
                            for row in 0..columns.rows {
                                let x = &columns.of(x, row)[..count];
                                let y = out.slice(row * columns.stride + columns.first, count);
                                for (i, y) in y.iter_mut().enumerate() {
                                    y.write(f.value((x[i] - means[i]).fma(scales[i], shifts[i])));
                                }
                            }
                        },
                    ));
                });
            })
        }
    }

    fn backward<T: Float>(
        &self,
        args: [&Tensor; 3],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Some(statistics) = self.statistics.get() else {
            candle_core::bail!("batch norm went backward before it went forward")
        };
        let [x, gamma, _] = args;
        let [for_x, for_gamma, for_beta] = args.map(Tensor::track_op);
        let (shape, planes) = (x.shape(), Planes::of(x.dims()));
        elements!(T; x, gamma, y, grad);
        let mut sums = vec![[0.0; 2]; planes.channels];
        let each = |dx: Option<Out<T>>, sums: &mut Vec<[f64; 2]>| {
            if planes.len == 1 {
                return self.rows_backward([x, y, grad], gamma, planes, statistics, dx, sums);
            }
            sums.par_chunks_mut(planes.group()).enumerate().for_each(|(index, sums)| {
                let first = index * planes.group();
                let channels = Channels { planes, first, fixed: self.fixed };
                let channel = |i: usize| Channel {
                    mean: statistics.mean[first + i],
                    inverse: 1.0 / (statistics.var[first + i] + self.eps).sqrt(),
                    gamma: gamma[first + i].to_f64(),
                };
                let each: Vec<Channel> = (0..sums.len()).map(channel).collect();
                by_activation!(self.activation, f => simd(
                    #[inline(always)]
                    || {
                        // SAFETY: one task writes all planes of a channel, and `dx` contains all planes.
                        unsafe {
                            channels.backward(&each, [x, y, grad], dx, sums, f);
                        }
                    },
                ));
            });
        };
        let dx = if for_x {
            // SAFETY: the tasks write each plane of each channel once, and these make up the output.
            let dx = unsafe { build_raw(planes.all(), |out| each(Some(out), &mut sums)) };
            Some(tensor(dx, shape)?)
        } else {
            each(None, &mut sums);
            None
        };
        let vector =
            |place: usize| tensor(sums.iter().map(|s| T::from_f64(s[place])).collect(), planes.channels);
        Ok([dx, for_gamma.then(|| vector(1)).transpose()?, for_beta.then(|| vector(0)).transpose()?])
    }

    /// [`BatchNormOp::backward`] for rows of features: the gradients of β and γ, then that of x if it is
    /// requested.
    fn rows_backward<T: Float>(
        &self,
        [x, y, grad]: [&[T]; 3],
        gamma: &[T],
        planes: Planes,
        statistics: &Statistics,
        dx: Option<Out<T>>,
        sums: &mut [[f64; 2]],
    ) {
        let rows = planes.samples as f64;
        sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(index, sums)| {
            let columns = planes.columns(index * COLUMNS, sums.len());
            let mut means = [T::ZERO; COLUMNS];
            for (mean, &given) in means.iter_mut().zip(&statistics.mean[columns.first..]).take(columns.count)
            {
                *mean = T::from_f64(given);
            }
            let (mut scales, mut shifts, mut slopes) =
                ([T::ZERO; COLUMNS], [T::ZERO; COLUMNS], [T::ZERO; COLUMNS]);
            by_activation!(self.activation, f => simd(
                #[inline(always)]
                || {
                    let [plain, centred] = columns.gradient_sums([x, y, grad], &means, f);
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let inverse = 1.0 / (statistics.var[columns.first + i] + self.eps).sqrt();
                        *sums = [plain[i], centred[i] * inverse];
                        let [sum, sum_hat] = *sums;
                        scales[i] = T::from_f64(gamma[columns.first + i].to_f64() * inverse);
                        if !self.fixed {
                            shifts[i] = T::from_f64(-sum / rows);
                            slopes[i] = T::from_f64(-sum_hat * inverse / rows);
                        }
                    }
                    let Some(dx) = dx else { return };
                    let count = columns.count;
                    let (means, scales, shifts, slopes) =
                        (&means[..count], &scales[..count], &shifts[..count], &slopes[..count]);
                    for row in 0..columns.rows {
                        let [x, y, g] = [x, y, grad].map(|all| &columns.of(all, row)[..count]);
                        // SAFETY: only this task writes these columns, which lie within `dx`.
                        let dx = unsafe { dx.slice(row * columns.stride + columns.first, count) };
                        for (i, dx) in dx.iter_mut().enumerate() {
                            let g = f.gradient(y[i], g[i]) + shifts[i];
                            dx.write(scales[i] * (x[i] - means[i]).fma(slopes[i], g));
                        }
                    }
                },
            ));
        });
    }
}

/// The constants of one channel in the backward pass.
struct Channel {
    mean: f64,
    /// 1 / √(var + eps).
    inverse: f64,
    gamma: f64,
}

/// The channels of one task.
struct Channels {
    planes: Planes,
    first: usize,
    fixed: bool,
}

impl Channels {
    /// Adds the gradients of β and γ to `sums`, then writes the gradient of x if it is requested.
    ///
    /// # Safety
    /// `dx` must contain all planes, and no other task may write those of these channels.
    #[inline(always)]
    unsafe fn backward<T: Float>(
        &self,
        channels: &[Channel],
        [x, y, grad]: [&[T]; 3],
        dx: Option<Out<T>>,
        sums: &mut [[f64; 2]],
        activation: impl Function,
    ) {
        let mut means = [T::ZERO; MAX_CHANNELS];
        for (mean, channel) in means.iter_mut().zip(channels) {
            *mean = T::from_f64(channel.mean);
        }
        self.planes.sums(
            self.first,
            sums,
            #[inline(always)]
            |i, range, lanes| {
                let mean = means[i];
                add3(
                    lanes,
                    [x, y, grad].map(|all| &all[range.clone()]),
                    #[inline(always)]
                    |x, y, g| {
                        let g = activation.gradient(y, g);
                        (g, (x - mean) * g)
                    },
                );
            },
        );
        for (channel, [_, sum_hat]) in channels.iter().zip(&mut *sums) {
            *sum_hat *= channel.inverse;
        }
        let Some(dx) = dx else { return };
        let count = (self.planes.samples * self.planes.len) as f64;
        for (i, start) in self.planes.starts(self.first, channels.len()) {
            let (channel, [sum, sum_hat]) = (&channels[i], sums[i]);
            let scale = T::from_f64(channel.gamma * channel.inverse);
            let (shift, slope) =
                if self.fixed { (0.0, 0.0) } else { (-sum / count, -sum_hat * channel.inverse / count) };
            let (mean, shift, slope) = (T::from_f64(channel.mean), T::from_f64(shift), T::from_f64(slope));
            let range = start..start + self.planes.len;
            let (x, y, g) = (&x[range.clone()], &y[range.clone()], &grad[range]);
            // SAFETY: guaranteed by the caller.
            let dx = unsafe { dx.slice(start, self.planes.len) };
            for (((dx, &x), &y), &g) in dx.iter_mut().zip(x).zip(y).zip(g) {
                dx.write(scale * (x - mean).fma(slope, activation.gradient(y, g) + shift));
            }
        }
    }
}

/// Mean and biased variance of each channel from `first` on: the given ones, or those that `own` computes.
#[inline(always)]
fn given_or(
    given: Option<&Statistics>,
    first: usize,
    found: &mut [(f64, f64)],
    own: impl FnOnce(&mut [(f64, f64)]),
) {
    match given {
        Some(Statistics { mean, var }) => {
            for (i, found) in found.iter_mut().enumerate() {
                *found = (mean[first + i], var[first + i]);
            }
        }
        None => own(found),
    }
}

/// Mean and biased variance of each channel from `first` on, in two passes.
#[inline(always)]
fn statistics<T: Float>(x: &[T], planes: Planes, first: usize, count: f64, found: &mut [(f64, f64)]) {
    let mut sums = [[0.0]; MAX_CHANNELS];
    let sums = &mut sums[..found.len()];
    planes.sums(
        first,
        sums,
        #[inline(always)]
        |_, range, [lanes]| {
            lanes.add(
                &x[range],
                #[inline(always)]
                |x| x,
            );
        },
    );
    let mut centres = [T::ZERO; MAX_CHANNELS];
    for ((found, centre), [sum]) in found.iter_mut().zip(&mut centres).zip(&mut *sums) {
        found.0 = *sum / count;
        *centre = T::from_f64(found.0);
        *sum = 0.0;
    }
    planes.sums(
        first,
        sums,
        #[inline(always)]
        |i, range, [lanes]| {
            let centre = centres[i];
            lanes.add(
                &x[range],
                #[inline(always)]
                |x| (x - centre) * (x - centre),
            );
        },
    );
    for (found, [sum]) in found.iter_mut().zip(sums) {
        found.1 = *sum / count;
    }
}

impl CustomOp3 for BatchNormOp {
    fn name(&self) -> &'static str {
        "waxwork-batch-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let planes = Planes::of(l1.dims());
        let out = by_dtype!(s1.dtype(), T => T::to_cpu_storage_owned(
            self.forward::<T>(slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?, planes)
        ));
        Ok((out, l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, gamma, beta] = by_dtype!(x.dtype(), T => self.backward::<T>([x, gamma, beta], y, grad))?;
        Ok((x, gamma, beta))
    }
}
