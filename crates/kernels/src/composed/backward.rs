//! Operations with an explicit gradient, and helpers for these gradients.

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, DType, MetalStorage, Shape, Storage, Tensor};

use crate::error::Result;
use crate::precomputed::{self, PrecomputedOp};

/// The gradients of an operation's arguments, in their order.
pub(crate) type ArgumentGradients = Vec<Option<Tensor>>;

/// The gradient of an operation, in candle's operations.
pub(crate) trait Backward: Send + Sync + 'static {
    /// Name of the operation in candle's errors.
    const NAME: &'static str;

    /// Returns the gradients of the arguments that are `wanted`, given the arguments, the result and its
    /// gradient. All of these are off the tape.
    fn backward(
        &self,
        arguments: &[Tensor],
        wanted: &[bool],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<ArgumentGradients>;
}

/// Puts `y` on the tape as the result of one to three arguments. `y` was computed from them without a graph.
///
/// Candle requires that an operation owns the storage of its result, so the elements are copied once if a
/// gradient is tracked.
pub(crate) fn attach(y: Tensor, arguments: &[&Tensor], backward: impl Backward) -> Result<Tensor> {
    if !arguments.iter().any(|argument| argument.track_op()) {
        return Ok(y);
    }
    let y = from_the_start(&y)?;
    Ok(precomputed::attach(arguments, Composed { y: Mutex::new(Some(y)), backward })?)
}

/// Returns x as a contiguous tensor that starts at the first element of its storage. Copies x if necessary.
pub(crate) fn from_the_start(x: &Tensor) -> candle_core::Result<Tensor> {
    if x.is_contiguous() && x.layout().start_offset() == 0 { Ok(x.clone()) } else { x.force_contiguous() }
}

/// A computed result as an operation.
struct Composed<B> {
    /// The result, until the forward pass takes it, so that the elements are not stored twice.
    y: Mutex<Option<Tensor>>,
    backward: B,
}

impl<B: Backward> Composed<B> {
    /// A copy of the storage of the result.
    fn forward<S>(&self, of: impl FnOnce(&Storage) -> Option<&S>) -> candle_core::Result<(S, Shape)>
    where
        S: BackendStorage,
    {
        let taken = self.y.lock().ok().and_then(|mut y| y.take());
        let Some(y) = taken else { candle_core::bail!("{} went forward twice", B::NAME) };
        let (storage, layout) = y.storage_and_layout();
        let Some(storage) = of(&storage) else { candle_core::bail!("{} changed its device", B::NAME) };
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }
}

impl<B: Backward> PrecomputedOp for Composed<B> {
    fn name(&self) -> &'static str {
        B::NAME
    }

    fn on_cpu(&self) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward(|storage| if let Storage::Cpu(storage) = storage { Some(storage) } else { None })
    }

    fn on_cuda(&self) -> candle_core::Result<(CudaStorage, Shape)> {
        self.forward(|storage| if let Storage::Cuda(storage) = storage { Some(storage) } else { None })
    }

    fn on_metal(&self) -> candle_core::Result<(MetalStorage, Shape)> {
        self.forward(|storage| if let Storage::Metal(storage) = storage { Some(storage) } else { None })
    }

    fn backward(
        &self,
        arguments: &[&Tensor],
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let wanted: Vec<bool> = arguments.iter().map(|argument| argument.track_op()).collect();
        let plain: Vec<Tensor> = arguments.iter().map(|argument| argument.detach()).collect();
        self.backward.backward(&plain, &wanted, &y.detach(), &grad.contiguous()?)
    }
}

/// Computes a gradient if it is wanted.
pub(crate) fn want(
    wanted: bool,
    gradient: impl FnOnce() -> candle_core::Result<Tensor>,
) -> candle_core::Result<Option<Tensor>> {
    wanted.then(gradient).transpose()
}

/// (N, C, …) as (N, C, rest).
pub(crate) fn planes(x: &Tensor) -> candle_core::Result<Tensor> {
    x.reshape((x.dim(0)?, x.dim(1)?, ()))
}

/// The sum over all dimensions but the second: (N, C, …) → (C). In two stages, because a device computes each
/// sum with one block of threads.
pub(crate) fn channel_sums(x: &Tensor) -> candle_core::Result<Tensor> {
    if x.rank() == 2 { x.sum(0) } else { planes(x)?.sum(2)?.sum(0) }
}

/// A vector (C) in the shape (1, C, 1, …), to broadcast over (N, C, …).
pub(crate) fn along_channels(vector: &Tensor, rank: usize) -> candle_core::Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = vector.elem_count();
    vector.reshape(shape)
}

/// Converts x to the given type.
pub(crate) fn cast(x: &Tensor, dtype: DType) -> candle_core::Result<Tensor> {
    if x.dtype() == dtype { Ok(x.clone()) } else { x.to_dtype(dtype) }
}

/// Whether candle has no products of this type on this device. This is true of bf16 on the CPU. The callers
/// then multiply in f32, in which devices accumulate too.
pub(crate) fn lacks_type(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::BF16
}
