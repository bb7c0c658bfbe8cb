//! Quantisers: from vectors to numbered codes, and from codes to vectors.
//!
//! Both kinds have a table with one vector per code, and pass gradients straight through: the gradient of a
//! code's vector is that of the vector that was quantised (Bengio et al. 2013; van den Oord et al. 2017).

use candle_core::{DType, Device, Tensor, Var};

use waxwork_core::collective::Reduction;
use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::params::{Init, Scope};
use waxwork_core::rng::Stream;
use waxwork_core::{Result, StepContext};
use waxwork_kernels::{self as kernels, Activation};

use crate::config::{LatentConfig, not_codes};

/// The distance that bounded values keep from the outer edges of the first and the last level (Mentzer et al.
/// 2023).
const MARGIN: f64 = 1e-3;
/// Laplace smoothing of the number of vectors of a code (van den Oord et al. 2017, appendix A.1).
const SMOOTHING: f64 = 1e-5;
/// A code is dead if its share of the vectors falls below this part of an even share.
const DEAD: f64 = 0.01;
/// The part of an even share that a dead code gets when it restarts, divided by the number of micro-batches.
const RESTARTED: f64 = 0.1;
/// Standard deviation of the values of a new codebook.
const START: f64 = 0.1;

/// Types of values in a graph, by their numbers in `TensorProto.DataType`.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// Quantised vectors.
pub(crate) struct Quantised {
    /// The number of each vector's code, `(M)` u32.
    pub(crate) codes: Tensor,
    /// The vectors of the codes, `(M, width)`.
    pub(crate) vectors: Tensor,
    /// The loss that trains the encoder, a scalar: for VQ, the squared distance from the codes' vectors, summed
    /// over all vectors and multiplied by the weight of the commitment. None for FSQ.
    pub(crate) commitment: Option<Tensor>,
}

/// A quantiser of vectors of one width.
#[derive(Clone, Debug)]
pub(crate) enum Quantiser {
    /// Finite scalar quantisation.
    Fsq(Fsq),
    /// Vector quantisation.
    Vq(Vq),
}

impl Quantiser {
    /// The quantiser of `config` for vectors of `width` values, with its buffers in `scope`.
    ///
    /// # Errors
    /// If latents are not codes, or the set is stored and lacks a tensor or has one of another shape.
    pub(crate) fn new(
        scope: Scope<'_>,
        config: &LatentConfig,
        width: usize,
        (dtype, device): (DType, &Device),
    ) -> Result<Self> {
        match config {
            LatentConfig::Gaussian => Err(not_codes()),
            LatentConfig::Fsq { levels } => Ok(Self::Fsq(Fsq::new(levels, dtype, device)?)),
            LatentConfig::Vq { codebook, decay, commitment } => {
                Ok(Self::Vq(Vq::new(scope, *codebook, width, (*decay, *commitment))?))
            }
        }
    }

    /// Vectors `(M, width)` → codes.
    pub(crate) fn quantise(&self, x: &Tensor) -> Result<Quantised> {
        match self {
            Self::Fsq(fsq) => fsq.quantise(x),
            Self::Vq(vq) => vq.quantise(x),
        }
    }

    /// Codes of any shape `(..)` u32 → their vectors, `(.., width)`.
    pub(crate) fn vectors(&self, codes: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fsq(fsq) => Ok(kernels::embedding(&fsq.table, codes)?),
            Self::Vq(vq) => Ok(kernels::embedding(&vq.table()?, codes)?),
        }
    }

    /// The vectors of codes `(batch, h · w)`, which are numbers as f32, as maps `(batch, width, h, w)` in a
    /// graph.
    pub(crate) fn export_vectors(
        &self,
        mut scope: GraphScope<'_>,
        codes: &Value,
        (height, width): (usize, usize),
    ) -> Result<Value> {
        let table = match self {
            Self::Fsq(fsq) => fsq.table.clone(),
            Self::Vq(vq) => vq.table()?,
        };
        let values = table.dim(1)?;
        let table = scope.tensor("table", &table)?;
        let codes = scope.node("Cast", &[codes], &[("to", Attribute::Int(INT64))]);
        let rows = scope.node("Gather", &[&table, &codes], &[("axis", Attribute::Int(0))]);
        let maps = scope.node("Transpose", &[&rows], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
        Ok(scope.reshape(&maps, &[values, height, width]))
    }

    /// The codes `(batch, places)`, as f32, of maps of vectors `(batch, width, h, w)` in a graph.
    pub(crate) fn export_codes(
        &self,
        mut scope: GraphScope<'_>,
        maps: &Value,
        places: usize,
    ) -> Result<Value> {
        let rows = scope.node("Transpose", &[maps], &[("perm", Attribute::Ints(&[0, 2, 3, 1]))]);
        match self {
            Self::Fsq(fsq) => {
                let rows = scope.reshape(&rows, &[places, fsq.table.dim(1)?]);
                let [shift, reach, offset] =
                    [("shift", &fsq.shift), ("reach", &fsq.reach), ("offset", &fsq.offset)]
                        .map(|(name, tensor)| scope.tensor(name, tensor));
                let shifted = scope.node("Add", &[&rows, &shift?], &[]);
                let bounded = scope.node("Tanh", &[&shifted], &[]);
                let bounded = scope.node("Mul", &[&bounded, &reach?], &[]);
                let bounded = scope.node("Sub", &[&bounded, &offset?], &[]);
                let rounded = scope.node("Round", &[&bounded], &[]);
                let below = scope.tensor("below", &fsq.below)?;
                let levels = scope.node("Add", &[&rounded, &below], &[]);
                let basis = scope.tensor("basis", &fsq.basis.t()?)?;
                let codes = scope.node("MatMul", &[&levels, &basis], &[]);
                Ok(scope.reshape(&codes, &[places]))
            }
            Self::Vq(vq) => {
                let table = vq.table()?;
                let rows = scope.reshape(&rows, &[places, table.dim(1)?]);
                let squares = scope.tensor("squares", &table.sqr()?.sum(1)?.unsqueeze(0)?)?;
                let doubled = scope.tensor("doubled", &table.t()?.affine(2.0, 0.0)?)?;
                let products = scope.node("MatMul", &[&rows, &doubled], &[]);
                let nearness = scope.node("Sub", &[&products, &squares], &[]);
                let last = [("axis", Attribute::Int(-1)), ("keepdims", Attribute::Int(0))];
                let codes = scope.node("ArgMax", &[&nearness], &last);
                Ok(scope.node("Cast", &[&codes], &[("to", Attribute::Int(FLOAT))]))
            }
        }
    }

    /// Records what a training step on `x`, whose codes are `codes`, changes in the codebook. Of the micro-batches
    /// of the step, the first one has the vectors at which dead codes start again.
    pub(crate) fn record(
        &self,
        x: &Tensor,
        codes: &Tensor,
        ctx: &StepContext<'_>,
        is_first: bool,
    ) -> Result<()> {
        match self {
            Self::Fsq(_) => Ok(()),
            Self::Vq(vq) => {
                let restarts = is_first.then(|| restarts(&ctx.stream("codes/restart"), vq.codes, x));
                let (count, sum) = vq.after(&x.detach(), codes, restarts.transpose()?.as_ref())?;
                ctx.record(&vq.count, count, 1.0, Reduction::Mean);
                ctx.record(&vq.sum, sum, 1.0, Reduction::Mean);
                Ok(())
            }
        }
    }
}

/// Finite scalar quantisation (FSQ, Mentzer et al. 2023): every value of a vector is bounded and rounded to one
/// of a few levels. The levels of all values together form the code.
#[derive(Clone, Debug)]
pub(crate) struct Fsq {
    /// `(1, width)` each: a value x is bounded to tanh(x + shift) · reach − offset.
    shift: Tensor,
    reach: Tensor,
    offset: Tensor,
    /// The number of levels below zero, `(1, width)`, and its inverse.
    below: Tensor,
    scale: Tensor,
    /// The amount that one level of each value adds to the number of the code, `(1, width)`.
    basis: Tensor,
    /// The vector of every code, with values in [−1, 1], `(codes, width)`.
    table: Tensor,
}

impl Fsq {
    /// The quantiser of vectors with `levels.len()` values.
    pub(crate) fn new(levels: &[usize], dtype: DType, device: &Device) -> Result<Self> {
        let stored = |values: Vec<f64>, rows: usize| -> Result<Tensor> {
            let tensor = Tensor::from_vec(values, (rows, levels.len()), &Device::Cpu)?;
            Ok(tensor.to_dtype(dtype)?.to_device(device)?)
        };
        let row = |of: &dyn Fn(usize) -> f64| stored(levels.iter().map(|&count| of(count)).collect(), 1);
        let reach = |count: usize| (count as f64 - 1.0) * (1.0 - MARGIN) / 2.0;
        // An even number of levels has one more level below zero than above.
        let offset = |count: usize| if count.is_multiple_of(2) { 0.5 } else { 0.0 };
        let below = |count: usize| (count / 2) as f64;
        let bases: Vec<usize> = levels
            .iter()
            .scan(1, |next, count| {
                let base = *next;
                *next *= count;
                Some(base)
            })
            .collect();
        let codes: usize = levels.iter().product();
        let value = |code: usize, at: usize| {
            ((code / bases[at] % levels[at]) as f64 - below(levels[at])) / below(levels[at])
        };
        let table: Vec<f64> = (0..codes)
            .flat_map(|code| (0..levels.len()).map(move |at| (code, at)))
            .map(|(code, at)| value(code, at))
            .collect();
        Ok(Self {
            // Chosen such that a value of zero stays zero.
            shift: row(&|count| libm::atanh(offset(count) / reach(count)))?,
            reach: row(&reach)?,
            offset: row(&offset)?,
            below: row(&below)?,
            scale: row(&|count| 1.0 / below(count))?,
            basis: stored(bases.iter().map(|base| *base as f64).collect(), 1)?,
            table: stored(table, codes)?,
        })
    }

    fn quantise(&self, x: &Tensor) -> Result<Quantised> {
        let shifted = kernels::activate(&x.broadcast_add(&self.shift)?, Activation::Tanh)?;
        let bounded = shifted.broadcast_mul(&self.reach)?.broadcast_sub(&self.offset)?;
        let levels = bounded.detach().round()?.broadcast_add(&self.below)?;
        let codes = levels.broadcast_mul(&self.basis)?.sum(1)?.to_dtype(DType::U32)?;
        let vectors = kernels::embedding(&self.table, &codes)?;
        let vectors = straight_through(&bounded.broadcast_mul(&self.scale)?, &vectors)?;
        Ok(Quantised { codes, vectors, commitment: None })
    }
}

/// Vector quantisation (VQ-VAE, van den Oord et al. 2017): a vector's code is that of the nearest vector in a
/// codebook. Each vector of the codebook is the moving average of the vectors assigned to it (appendix A.1 of
/// the paper). A code with almost no vectors restarts at a vector of the batch.
#[derive(Clone, Debug)]
pub(crate) struct Vq {
    codes: usize,
    decay: f64,
    commitment: f64,
    /// Moving averages per code: the number of its vectors in a batch, `(codes)`, and their sum,
    /// `(codes, width)`.
    count: Var,
    sum: Var,
}

impl Vq {
    /// The buffers `count` and `sum` of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        codes: usize,
        width: usize,
        (decay, commitment): (f64, f64),
    ) -> Result<Self> {
        let count = scope.buffer("count", codes, Init::Constant(1.0))?;
        let sum = scope.buffer("sum", (codes, width), Init::Normal { std: START })?;
        Ok(Self { codes, decay, commitment, count, sum })
    }

    /// The vector of every code, `(codes, width)`.
    fn table(&self) -> Result<Tensor> {
        let (count, sum) = (self.count.as_detached_tensor(), self.sum.as_detached_tensor());
        let all = count.sum_keepdim(0)?;
        let share = (&all / all.affine(1.0, self.codes as f64 * SMOOTHING)?)?;
        let smoothed = count.affine(1.0, SMOOTHING)?.broadcast_mul(&share)?;
        Ok(sum.broadcast_div(&smoothed.unsqueeze(1)?)?)
    }

    fn quantise(&self, x: &Tensor) -> Result<Quantised> {
        let table = self.table()?;
        // The nearest vector e has the largest 2 x·e − ‖e‖².
        let squares = table.sqr()?.sum(1)?.unsqueeze(0)?;
        let products = kernels::matmul(&x.detach(), &table.t()?.contiguous()?)?;
        let codes = kernels::largest(&products.affine(2.0, 0.0)?.broadcast_sub(&squares)?)?;
        let vectors = kernels::embedding(&table, &codes)?;
        let commitment = (x - &vectors)?.sqr()?.sum_all()?.affine(self.commitment, 0.0)?;
        Ok(Quantised { codes, vectors: straight_through(x, &vectors)?, commitment: Some(commitment) })
    }

    /// Both moving averages after a batch of vectors `(M, width)` with these codes `(M)`. Codes that are dead before
    /// it, which all micro-batches agree on, start again at `restarts`, `(codes, width)`. Without restarts they have
    /// nothing, so that the mean over micro-batches of which one has restarts is at these, and not between several.
    fn after(&self, x: &Tensor, codes: &Tensor, restarts: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (count, sum) = (self.count.as_detached_tensor(), self.sum.as_detached_tensor());
        let even = count.mean_keepdim(0)?;
        let dead = count.broadcast_lt(&even.affine(DEAD, 0.0)?)?;
        let (of_code, restarts) = match restarts {
            None => (count.zeros_like()?, sum.zeros_like()?),
            Some(restarts) => {
                let restarted = even.affine(RESTARTED, 0.0)?;
                let of_code = restarted.broadcast_as(count.shape())?.contiguous()?;
                (of_code, restarts.broadcast_mul(&restarted)?)
            }
        };
        let moved = |old: &Tensor, new: &Tensor| -> Result<Tensor> {
            Ok((old.affine(self.decay, 0.0)? + new.affine(1.0 - self.decay, 0.0)?)?)
        };
        let ones = Tensor::ones(x.dim(0)?, x.dtype(), x.device())?;
        let count = moved(&count, &count.zeros_like()?.index_add(codes, &ones, 0)?)?;
        let sum = moved(&sum, &sum.zeros_like()?.index_add(codes, x, 0)?)?;
        let dead_rows = dead.unsqueeze(1)?.broadcast_as(sum.shape())?.contiguous()?;
        Ok((dead.where_cond(&of_code, &count)?, dead_rows.where_cond(&restarts, &sum)?))
    }
}

/// One vector of `x` for each of `codes` codes, drawn by `stream`.
fn restarts(stream: &Stream, codes: usize, x: &Tensor) -> Result<Tensor> {
    let (mut draws, most) = (stream.at(0), x.dim(0)? as u32);
    let rows: Vec<u32> = (0..codes).map(|_| draws.below(most)).collect();
    Ok(x.detach().index_select(&Tensor::from_vec(rows, codes, x.device())?, 0)?)
}

/// The values of `to`, with the gradient of `x`.
fn straight_through(x: &Tensor, to: &Tensor) -> Result<Tensor> {
    // A value minus itself is exactly zero.
    Ok(((x - x.detach())? + to)?)
}

#[cfg(test)]
mod tests {
    use waxwork_core::ParamSet;

    use super::*;

    fn rows(tensor: &Tensor) -> Vec<Vec<f64>> {
        tensor.to_vec2().unwrap()
    }

    fn near(found: &[f64], expected: &[f64]) {
        let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(found.len() == expected.len() && close, "{found:?} against {expected:?}");
    }

    // The numbers of this test come from:
    //
    // import numpy as np
    // levels = np.array([8, 5, 4]); eps = 1e-3
    // half = (levels - 1) * (1 - eps) / 2
    // offset = np.where(levels % 2 == 0, 0.5, 0.0)
    // shift = np.arctanh(offset / half)
    // basis = np.concatenate(([1], np.cumprod(levels[:-1])))
    // z = np.array([[0.0, 0.0, 0.0], [0.7, -0.3, 0.4], [-1.3, 2.0, -0.9], [9.0, 9.0, 9.0], [-9.0, -9.0, -9.0],
    //               [0.05, 1.1, -2.2]])
    // rounded = np.round(np.tanh(z + shift) * half - offset)
    // print((rounded / (levels // 2)).tolist())
    // print(((rounded + levels // 2) @ basis).astype(int).tolist())
    // t = np.tanh(z + shift)
    // print(((1 - t * t) * half / (levels // 2))[1].tolist())
    #[test]
    fn fsq_rounds_as_the_paper_does_and_its_gradient_is_that_of_the_bound() {
        let fsq = Fsq::new(&[8, 5, 4], DType::F64, &Device::Cpu).unwrap();
        let z = [
            [0.0, 0.0, 0.0],
            [0.7, -0.3, 0.4],
            [-1.3, 2.0, -0.9],
            [9.0, 9.0, 9.0],
            [-9.0, -9.0, -9.0],
            [0.05, 1.1, -2.2],
        ];
        let z = Var::new(&z, &Device::Cpu).unwrap();
        let Quantised { codes, vectors, commitment } = fsq.quantise(&z).unwrap();
        assert!(commitment.is_none());
        assert_eq!(codes.to_vec1::<u32>().unwrap(), [100, 94, 73, 159, 0, 36]);
        let expected = [
            [0.0, 0.0, 0.0],
            [0.5, -0.5, 0.0],
            [-0.75, 1.0, -0.5],
            [0.75, 1.0, 0.5],
            [-1.0, -1.0, -1.0],
            [0.0, 1.0, -1.0],
        ];
        assert_eq!(rows(&vectors), expected);
        assert_eq!(rows(&kernels::embedding(&fsq.table, &codes).unwrap()), expected);

        let weights = Tensor::new(&[[2.0, -1.0, 0.5]], &Device::Cpu).unwrap();
        let loss = vectors.broadcast_mul(&weights).unwrap().sum_all().unwrap();
        let gradient = kernels::backward(&loss).unwrap().take(&z).unwrap().unwrap();
        let slopes = [0.4604653106268324, 0.9142218248648025, 0.4487251730906371];
        near(&rows(&gradient)[1], &[2.0 * slopes[0], -slopes[1], 0.5 * slopes[2]]);
    }

    #[test]
    fn every_code_of_fsq_has_its_own_vector_and_every_vector_its_code() {
        for levels in [vec![3], vec![8, 6, 5], vec![4, 3, 5, 7]] {
            let fsq = Fsq::new(&levels, DType::F64, &Device::Cpu).unwrap();
            let codes: usize = levels.iter().product();
            assert_eq!(fsq.table.dims(), [codes, levels.len()]);
            let digits = fsq.table.broadcast_div(&fsq.scale).unwrap().broadcast_add(&fsq.below).unwrap();
            let numbers = digits.broadcast_mul(&fsq.basis).unwrap().sum(1).unwrap().to_vec1::<f64>().unwrap();
            let expected: Vec<f64> = (0..codes).map(|code| code as f64).collect();
            near(&numbers, &expected);
            // A value that is bounded to a code's vector is quantised to that code.
            let bounded = fsq.table.broadcast_div(&fsq.scale).unwrap();
            let inverse: Vec<f64> = rows(&bounded)
                .iter()
                .flat_map(|row| row.iter().zip(&levels).map(|(value, count)| inverse(*value, *count)))
                .collect();
            let x = Tensor::from_vec(inverse, (codes, levels.len()), &Device::Cpu).unwrap();
            let found = fsq.quantise(&x).unwrap().codes.to_vec1::<u32>().unwrap();
            assert!(found.iter().enumerate().all(|(code, found)| code == *found as usize), "{levels:?}");
        }
    }

    /// A value that is bounded to nearly `level`, of `count` levels around zero.
    fn inverse(level: f64, count: usize) -> f64 {
        let reach = (count as f64 - 1.0) * (1.0 - MARGIN) / 2.0;
        let offset = if count.is_multiple_of(2) { 0.5 } else { 0.0 };
        ((level + offset) / reach).clamp(-0.9999, 0.9999).atanh() - (offset / reach).atanh()
    }

    /// A codebook of three vectors in the plane, and its set.
    fn codebook(decay: f64) -> (Vq, ParamSet) {
        let mut params = ParamSet::fresh_with(1, &Device::Cpu, DType::F64);
        let vq = Vq::new(params.root(), 3, 2, (decay, 0.25)).unwrap();
        vq.count.set(&Tensor::new(&[2.0, 1.0, 4.0], &Device::Cpu).unwrap()).unwrap();
        vq.sum.set(&Tensor::new(&[[2.0, 0.0], [0.0, 3.0], [-8.0, 4.0]], &Device::Cpu).unwrap()).unwrap();
        (vq, params)
    }

    #[test]
    fn vq_takes_the_nearest_vector_and_passes_gradients_on() {
        let (vq, _params) = codebook(0.9);
        // The vectors are (1, 0), (0, 3) and (−2, 1), up to the smoothing.
        let table = vq.table().unwrap();
        for (found, expected) in rows(&table).iter().zip([[1.0, 0.0], [0.0, 3.0], [-2.0, 1.0]]) {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
        }
        let x = Var::new(&[[0.4, 0.3], [0.2, 2.0], [-3.0, 0.0], [9.0, 9.5]], &Device::Cpu).unwrap();
        let Quantised { codes, vectors, commitment } = vq.quantise(&x).unwrap();
        assert_eq!(codes.to_vec1::<u32>().unwrap(), [0, 1, 2, 1]);
        let of_codes = table.index_select(&codes, 0).unwrap();
        assert_eq!(rows(&vectors), rows(&of_codes));
        // d/dx Σ w·e = w, and d/dx 0.25 ‖x − e‖² = 0.5 (x − e).
        let weights = Tensor::new(&[[2.0, -1.0]], &Device::Cpu).unwrap();
        let loss = vectors.broadcast_mul(&weights).unwrap().sum_all().unwrap();
        let loss = (loss + commitment.unwrap()).unwrap();
        let gradient = kernels::backward(&loss).unwrap().take(&x).unwrap().unwrap();
        let away = ((x.as_detached_tensor() - of_codes).unwrap() * 0.5).unwrap();
        let expected = away.broadcast_add(&weights).unwrap();
        for (found, expected) in rows(&gradient).iter().zip(rows(&expected)) {
            near(found, &expected);
        }
    }

    #[test]
    fn the_codebook_is_a_moving_average_and_dead_codes_start_again() {
        let x = Tensor::new(&[[1.0, 1.0], [3.0, -1.0], [0.5, 4.0], [2.0, 0.0]], &Device::Cpu).unwrap();
        let codes = Tensor::new(&[0u32, 0, 1, 0], &Device::Cpu).unwrap();
        let restarts = Tensor::new(&[[7.0, 8.0], [5.0, 6.0], [10.0, -20.0]], &Device::Cpu).unwrap();
        let (vq, _params) = codebook(0.9);
        let (count, sum) = vq.after(&x, &codes, Some(&restarts)).unwrap();
        near(&count.to_vec1::<f64>().unwrap(), &[0.9 * 2.0 + 0.1 * 3.0, 0.9 + 0.1, 0.9 * 4.0]);
        let expected =
            [[0.9 * 2.0 + 0.1 * 6.0, 0.0], [0.1 * 0.5, 0.9 * 3.0 + 0.1 * 4.0], [-0.9 * 8.0, 0.9 * 4.0]];
        for (found, expected) in rows(&sum).iter().zip(expected) {
            near(found, &expected);
        }

        // The third code has less than a hundredth of an even share, 1.
        let (vq, _params) = codebook(0.9);
        vq.count.set(&Tensor::new(&[2.0, 0.994, 0.006], &Device::Cpu).unwrap()).unwrap();
        let (count, sum) = vq.after(&x, &codes, Some(&restarts)).unwrap();
        near(&count.to_vec1::<f64>().unwrap(), &[0.9 * 2.0 + 0.1 * 3.0, 0.9 * 0.994 + 0.1, RESTARTED]);
        near(&rows(&sum)[2], &[10.0 * RESTARTED, -20.0 * RESTARTED]);
        near(&rows(&sum)[0], &expected[0]);

        // With a micro-batch that has no restarts, the code starts at the same vector. There the code is in use, and
        // both still agree that it was dead.
        let used = Tensor::new(&[2u32, 2, 2, 2], &Device::Cpu).unwrap();
        let (other_count, other_sum) = vq.after(&x, &used, None).unwrap();
        let [of_one, of_other] = [&count, &other_count].map(|count| count.to_vec1::<f64>().unwrap()[2]);
        let mean = |at: usize| (rows(&sum)[2][at] + rows(&other_sum)[2][at]) / (of_one + of_other);
        near(&[mean(0), mean(1)], &[10.0, -20.0]);
    }

    #[test]
    fn restarts_are_vectors_of_the_batch_by_seed_and_step() {
        let x = Tensor::new(&[[1.0f64, 1.0], [2.0, 2.0], [3.0, 3.0]], &Device::Cpu).unwrap();
        let of = |step: u64| rows(&restarts(&Stream::new(1, "codes/restart", step), 50, &x).unwrap());
        assert_eq!(of(4), of(4));
        assert_ne!(of(4), of(5));
        assert!(of(4).iter().all(|row| row[0] == row[1] && [1.0, 2.0, 3.0].contains(&row[0])));
    }
}
