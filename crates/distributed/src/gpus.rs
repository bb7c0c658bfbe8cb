//! The processes of an MPI job whose gradients move between GPUs by NCCL.

use std::fmt;
use std::sync::Arc;

use waxwork_core::collective::{Collective, Reduction};
use waxwork_core::{DType, Device, Result, Tensor};

use crate::Mpi;
use crate::nccl::Nccl;
use crate::tensors;

/// The processes of an MPI job, each with a GPU of its own. Sums of f32 tensors on GPUs stay there;
/// everything else goes through MPI.
pub(crate) struct Gpus {
    mpi: Arc<Mpi>,
    nccl: Nccl,
}

impl Gpus {
    /// Joins the GPUs of all processes. Returns the reason if that is impossible on one of them.
    pub(crate) fn join(
        mpi: &Arc<Mpi>,
        device: &Device,
        library: Option<&str>,
    ) -> Result<Result<Self, String>> {
        let joined = Nccl::join(mpi, device.as_cuda_device()?, library)?;
        Ok(joined.map(|nccl| Self { mpi: Arc::clone(mpi), nccl }))
    }

    /// The sums of tensors over all processes.
    fn sums(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let flat = tensors.iter().map(|tensor| tensor.detach().flatten_all());
        let flat = Tensor::cat(&flat.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        self.mpi.align_reduction((flat.elem_count() * size_of::<f32>()) as u64)?;
        let summed = tensors::sum(&self.nccl, &flat)?;
        let mut first = 0;
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let part = summed.narrow(0, first, tensor.elem_count())?;
            first += tensor.elem_count();
            // Each part is copied, since reading a view from a GPU would copy the whole tensor.
            parts.push(part.force_contiguous()?.reshape(tensor.shape())?);
        }
        Ok(parts)
    }
}

/// Whether NCCL can add up such values. Maxima go through MPI, because a GPU may choose differently between
/// +0 and −0.
fn stays_on_gpu((reduction, tensor): &(Reduction, Tensor)) -> bool {
    let sums = *reduction != Reduction::Max && tensor.dtype() == DType::F32;
    sums && tensor.device().is_cuda() && tensor.elem_count() > 0
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("mpi", &self.mpi).finish_non_exhaustive()
    }
}

impl Collective for Gpus {
    fn rank(&self) -> usize {
        self.mpi.rank()
    }

    fn size(&self) -> usize {
        self.mpi.size()
    }

    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>> {
        let share = (self.mpi.size() as f64).recip();
        let places: Vec<bool> = values.iter().map(stays_on_gpu).collect();
        let (mut on_gpu, mut others, mut means) = (Vec::new(), Vec::new(), Vec::new());
        for (value, stays) in values.into_iter().zip(&places) {
            if *stays {
                means.push(value.0 == Reduction::Mean);
                on_gpu.push(value.1);
            } else {
                others.push(value);
            }
        }
        let mut summed = Vec::with_capacity(on_gpu.len());
        if !on_gpu.is_empty() {
            for (sum, mean) in self.sums(&on_gpu)?.into_iter().zip(means) {
                summed.push(if mean { sum.affine(share, 0.0)? } else { sum });
            }
        }
        let (mut summed, mut others) = (summed.into_iter(), self.mpi.reduce(others)?.into_iter());
        Ok(places.iter().filter_map(|stays| if *stays { summed.next() } else { others.next() }).collect())
    }

    fn all(&self, here: bool) -> Result<bool> {
        self.mpi.all(here)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.mpi.broadcast(bytes)
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.mpi.gather(bytes)
    }
}
