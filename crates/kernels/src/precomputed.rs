//! Attaches a result that is already computed to candle's autograd tape, with a custom gradient. Candle has
//! one trait per number of arguments; this one trait serves them all.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, MetalStorage};
use candle_core::{Result, Shape, Tensor, bail};

/// A result that is already computed, and its gradient.
pub(crate) trait PrecomputedOp: Send + Sync + 'static {
    /// Name of the operation in candle's errors.
    fn name(&self) -> &'static str;

    /// The result, in storage that nothing else shares.
    fn on_cpu(&self) -> Result<(CpuStorage, Shape)>;

    fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        bail!("{} is an operation for the CPU", self.name())
    }

    fn on_metal(&self) -> Result<(MetalStorage, Shape)> {
        bail!("{} is an operation for the CPU", self.name())
    }

    /// Returns the gradients of the arguments, in their order, given the arguments, the result and its
    /// gradient.
    fn backward(&self, arguments: &[&Tensor], y: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// Puts the result on the tape as a function of one to three arguments.
pub(crate) fn attach(arguments: &[&Tensor], op: impl PrecomputedOp) -> Result<Tensor> {
    let op = PrecomputedCustomOp(op);
    match *arguments {
        [a] => a.apply_op1(op),
        [a, b] => a.apply_op2(b, op),
        [a, b, c] => a.apply_op3(b, c, op),
        _ => bail!("{} takes one to three tensors, not {}", op.0.name(), arguments.len()),
    }
}

struct PrecomputedCustomOp<A>(A);

impl<A: PrecomputedOp> PrecomputedCustomOp<A> {
    fn gradients<const N: usize>(
        &self,
        arguments: [&Tensor; N],
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let gradients = self.0.backward(&arguments, y, grad)?;
        match <[Option<Tensor>; N]>::try_from(gradients) {
            Ok(gradients) => Ok(gradients),
            Err(found) => bail!("{} gave {} gradients of {N}", self.0.name(), found.len()),
        }
    }
}

impl<A: PrecomputedOp> CustomOp1 for PrecomputedCustomOp<A> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.on_cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.0.on_metal()
    }

    fn bwd(&self, a: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.gradients([a], y, grad)?;
        Ok(a)
    }
}

impl<A: PrecomputedOp> CustomOp2 for PrecomputedCustomOp<A> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.0.on_metal()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.gradients([a, b], y, grad)?;
        Ok((a, b))
    }
}

impl<A: PrecomputedOp> CustomOp3 for PrecomputedCustomOp<A> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.0.on_metal()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.gradients([a, b, c], y, grad)?;
        Ok((a, b, c))
    }
}
