//! Puts kernels on candle's tape without the cost of candle's gradient accumulation. Candle adds
//! every gradient to a tensor of zeros; between two kernels, this is more memory traffic than many
//! kernels need themselves.
//!
//! On the tape, a kernel's result is represented by a *stub*, a tensor of one element. A kernel that takes
//! the result as its argument is recorded with the stub instead, and its backward pass hands the real
//! gradient to the result's [`Node`]; candle accumulates only the gradients of stubs. One of candle's
//! operations that takes the result sees an ordinary tensor, whose gradient goes to the node as well. In both
//! cases candle visits its tape in the same order as without stubs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Result, Shape, Storage, Tensor, TensorId,
};

use crate::buffer::{by_dtype, elements, tensor};
use crate::elementwise::map2;
use crate::precomputed::{PrecomputedOp, attach};

/// Gradients of three arguments.
pub(crate) type Triple = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// Applies a kernel of one argument and puts it on the tape if its argument is.
pub(crate) fn apply1(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    if x.track_op() { record(Operation::One(Box::new(op)), &[x]) } else { x.apply_op1_no_bwd(&op) }
}

/// Applies a kernel of two arguments and puts it on the tape if one of them is.
pub(crate) fn apply2(x: &Tensor, y: &Tensor, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Tensor> {
    if x.track_op() || y.track_op() {
        return record(Operation::Two(Box::new(op)), &[x, y]);
    }
    x.apply_op2_no_bwd(y, &op)
}

/// Applies a kernel of three arguments and puts it on the tape if one of them is.
pub(crate) fn apply3(
    x: &Tensor,
    y: &Tensor,
    z: &Tensor,
    op: impl CustomOp3 + Send + Sync + 'static,
) -> Result<Tensor> {
    if x.track_op() || y.track_op() || z.track_op() {
        return record(Operation::Three(Box::new(op)), &[x, y, z]);
    }
    x.apply_op3_no_bwd(y, z, &op)
}

/// The gradients of a scalar with respect to the variables that it was computed from.
#[derive(Debug)]
pub struct Gradients {
    /// Gradients that candle's operations and its tape accumulated.
    by_candle: GradStore,
    /// Gradients of variables that kernels used.
    by_kernels: HashMap<TensorId, Tensor>,
}

impl Gradients {
    /// Removes and returns the gradient of a variable, if it has one.
    ///
    /// # Errors
    /// If the two parts of a gradient cannot be added.
    pub fn take(&mut self, variable: &Tensor) -> Result<Option<Tensor>> {
        match (self.by_candle.remove(variable), self.by_kernels.remove(&variable.id())) {
            (Some(one), Some(other)) => sum(&one, &other).map(Some),
            (one, other) => Ok(one.or(other)),
        }
    }
}

/// The backward pass from a scalar. Unlike [`Tensor::backward`], it does not add a gradient to zeros if only
/// kernels used the variable.
///
/// # Errors
/// If a gradient cannot be computed.
pub fn backward(scalar: &Tensor) -> Result<Gradients> {
    // While this thread waits, rayon may give it another task that runs a backward pass: each pass
    // has its own store.
    let outer = VARIABLES.replace(Some(HashMap::new()));
    let by_candle = scalar.backward();
    let by_kernels = VARIABLES.replace(outer).unwrap_or_default();
    Ok(Gradients { by_candle: by_candle?, by_kernels })
}

thread_local! {
    /// The results of kernels that this thread put on the tape.
    static RESULTS: RefCell<HashMap<TensorId, Weak<Link>>> = RefCell::new(HashMap::new());
    /// Where [`backward`] collects the gradients of variables.
    static VARIABLES: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Minimum number of entries at which those of dropped results are removed.
const SWEEP_FROM: usize = 1024;

enum Operation {
    One(Box<dyn CustomOp1 + Send + Sync>),
    Two(Box<dyn CustomOp2 + Send + Sync>),
    Three(Box<dyn CustomOp3 + Send + Sync>),
}

/// A kernel that ran, with everything that its gradient needs.
struct Node {
    operation: Operation,
    inputs: Vec<Tensor>,
    /// The link of each input that was recorded with its stub.
    links: Vec<Option<Arc<Link>>>,
    /// The result, detached from the tape.
    output: OnceLock<Tensor>,
    /// The gradient of the result, as far as it has been accumulated.
    gradient: Mutex<Option<Tensor>>,
}

/// A node and its stub. The result on the tape keeps the link alive.
struct Link {
    node: Arc<Node>,
    stub: Tensor,
}

fn record(operation: Operation, inputs: &[&Tensor]) -> Result<Tensor> {
    let links: Vec<_> = inputs.iter().map(|x| link(x)).collect();
    let argument = |(x, link): (&&Tensor, &Option<Arc<Link>>)| {
        link.as_ref().map_or_else(|| (*x).clone(), |link| link.stub.clone())
    };
    let arguments: Vec<Tensor> = inputs.iter().zip(&links).map(argument).collect();
    let node = Arc::new(Node {
        operation,
        inputs: inputs.iter().map(|x| (*x).clone()).collect(),
        links,
        output: OnceLock::new(),
        gradient: Mutex::new(None),
    });
    let stub = attach(&arguments.iter().collect::<Vec<_>>(), KernelOp(Arc::clone(&node)))?;
    let link = Arc::new(Link { node, stub });
    let result = attach(&[&link.stub], ResultOp(Arc::clone(&link)))?;
    // No other code has access to the node yet, so this is the first value.
    _ = link.node.output.set(result.detach());
    RESULTS.with_borrow_mut(|results| {
        if results.len() >= SWEEP_FROM && results.len().is_power_of_two() {
            results.retain(|_, link| link.strong_count() > 0);
        }
        results.insert(result.id(), Arc::downgrade(&link));
    });
    Ok(result)
}

/// The link of a tensor that is the result of a kernel on this thread.
fn link(x: &Tensor) -> Option<Arc<Link>> {
    RESULTS.with_borrow(|results| results.get(&x.id()).and_then(Weak::upgrade))
}

impl Node {
    fn forward(&self) -> Result<(CpuStorage, Shape)> {
        let guards: Vec<_> = self.inputs.iter().map(Tensor::storage_and_layout).collect();
        let mut parts = Vec::with_capacity(guards.len());
        for (storage, layout) in &guards {
            match &**storage {
                Storage::Cpu(storage) => parts.push((storage, *layout)),
                _ => candle_core::bail!("a kernel for the CPU was given a tensor on another device"),
            }
        }
        match (&self.operation, parts.as_slice()) {
            (Operation::One(op), [(s, l)]) => op.cpu_fwd(s, l),
            (Operation::Two(op), [(s1, l1), (s2, l2)]) => op.cpu_fwd(s1, l1, s2, l2),
            (Operation::Three(op), [(s1, l1), (s2, l2), (s3, l3)]) => op.cpu_fwd(s1, l1, s2, l2, s3, l3),
            _ => candle_core::bail!("a kernel was given the wrong number of tensors"),
        }
    }

    fn take_gradient(&self) -> Option<Tensor> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Adds `gradient` to the gradient of the result.
    fn hand_over(&self, gradient: Tensor) -> Result<()> {
        let gradient = match self.take_gradient() {
            Some(before) => sum(&before, &gradient)?,
            None => gradient,
        };
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
        Ok(())
    }

    /// What candle should add to the gradient of each argument: a token for a stub, and nothing for a
    /// variable whose gradient [`backward`] collects.
    fn backward(&self) -> Result<Vec<Option<Tensor>>> {
        let Some(output) = self.output.get() else {
            candle_core::bail!("a kernel went backward before it went forward")
        };
        let gradient = self.take_gradient().map_or_else(|| output.zeros_like(), Ok)?;
        let gradients = match (&self.operation, self.inputs.as_slice()) {
            (Operation::One(op), [x]) => vec![op.bwd(x, output, &gradient)?],
            (Operation::Two(op), [x, y]) => {
                let (x, y) = op.bwd(x, y, output, &gradient)?;
                vec![x, y]
            }
            (Operation::Three(op), [x, y, z]) => {
                let (x, y, z) = op.bwd(x, y, z, output, &gradient)?;
                vec![x, y, z]
            }
            _ => candle_core::bail!("a kernel was given the wrong number of tensors"),
        };
        let all = self.inputs.iter().zip(&self.links).zip(gradients);
        all.map(|((input, link), gradient)| pass_on(input, link.as_deref(), gradient)).collect()
    }
}

fn pass_on(input: &Tensor, link: Option<&Link>, gradient: Option<Tensor>) -> Result<Option<Tensor>> {
    if let Some(link) = link {
        if let Some(gradient) = gradient {
            link.node.hand_over(gradient)?;
        }
        return token().map(Some);
    }
    let Some(gradient) = gradient else { return Ok(None) };
    let collected = VARIABLES.with_borrow(Option::is_some);
    if !(collected && input.is_variable()) {
        return Ok(Some(gradient));
    }
    // The sum is computed while nothing is borrowed, because rayon may run another task on
    // this thread meanwhile.
    let before = VARIABLES.with_borrow_mut(|all| all.as_mut().and_then(|all| all.remove(&input.id())));
    let gradient = before.map_or(Ok(gradient.clone()), |before| sum(&before, &gradient))?;
    VARIABLES.with_borrow_mut(|all| all.as_mut().map(|all| all.insert(input.id(), gradient)));
    Ok(None)
}

/// The gradient of a stub, which carries no information.
fn token() -> Result<Tensor> {
    Tensor::zeros(1, DType::F32, &candle_core::Device::Cpu)
}

fn sum(one: &Tensor, other: &Tensor) -> Result<Tensor> {
    let shape = one.shape();
    by_dtype!(one.dtype(), T => {
        elements!(T; one, other);
        tensor::<T>(map2(one, other, #[inline(always)] |a, b| a + b), shape)
    })
}

/// The operation behind a stub. Its backward pass runs that of the kernel.
struct KernelOp(Arc<Node>);

impl PrecomputedOp for KernelOp {
    fn name(&self) -> &'static str {
        "waxwork-kernel"
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn backward(&self, _: &[&Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        self.0.backward()
    }
}

/// The operation behind a result, whose argument is the stub. Its forward pass runs the kernel; its backward
/// pass hands the gradient that candle accumulated to the node.
struct ResultOp(Arc<Link>);

impl PrecomputedOp for ResultOp {
    fn name(&self) -> &'static str {
        "waxwork-result"
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        self.0.node.forward()
    }

    fn backward(&self, _: &[&Tensor], _: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        self.0.node.hand_over(gradient.clone())?;
        Ok(vec![Some(token()?)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::{Activation, activate, linear, softplus};

    fn values(x: &Tensor) -> Vec<f64> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn variable(values: &[f64]) -> Var {
        Var::from_tensor(&Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()).unwrap()
    }

    /// tanh x as the argument of two kernels, of one of candle's operations, and of a kernel
    /// that takes it twice.
    fn fan(x: &Tensor) -> Tensor {
        let y = activate(x, Activation::Tanh).unwrap();
        let one = softplus(&y).unwrap();
        let two = activate(&y, Activation::Sigmoid).unwrap();
        let three = y.sqr().unwrap();
        let four = linear(&y, &y, None, Activation::Identity).unwrap().sum_all().unwrap();
        let sum = ((one + two).unwrap() + three).unwrap().sum_all().unwrap();
        (sum + four).unwrap()
    }

    /// The derivative of [`fan`]: (s + s (1 − s) + 2 y + 2 y) (1 − y²) with y = tanh x and s = sigmoid y.
    fn slopes(x: &[f64]) -> Vec<f64> {
        let slope = |x: &f64| {
            let y = x.tanh();
            let s = 1.0 / (1.0 + (-y).exp());
            (s + s * (1.0 - s) + 4.0 * y) * (1.0 - y * y)
        };
        x.iter().map(slope).collect()
    }

    fn assert_slopes(gradient: &Tensor, x: &[f64]) {
        for (got, want) in values(gradient).into_iter().zip(slopes(x)) {
            assert!((got - want).abs() < 1e-12, "{got}, not {want}");
        }
    }

    #[test]
    fn gradients_of_all_uses_are_added_in_either_backward_pass() {
        let at = [0.3, -1.2, 2.0];
        let x = variable(&at);
        let y = fan(&x);
        // Candle's backward pass, which leaves variables in its store, twice over the same graph; then ours.
        for _ in 0..2 {
            assert_slopes(y.backward().unwrap().get(&x).unwrap(), &at);
        }
        let mut gradients = backward(&y).unwrap();
        assert_slopes(&gradients.take(&x).unwrap().unwrap(), &at);
        assert!(gradients.take(&x).unwrap().is_none());
    }

    #[test]
    fn a_variable_of_kernels_and_of_candle_has_one_gradient() {
        let x = variable(&[0.5]);
        let y = (softplus(&x).unwrap() + x.sqr().unwrap()).unwrap().sum_all().unwrap();
        let gradient = backward(&y).unwrap().take(&x).unwrap().unwrap();
        assert!((values(&gradient)[0] - (1.0 / (1.0 + (-0.5f64).exp()) + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn threads_may_change_between_a_kernel_its_user_and_the_backward_pass() {
        let at = [0.7, 0.1];
        let x = variable(&at);
        let elsewhere = |f: &(dyn Fn() -> Tensor + Sync)| std::thread::scope(|s| s.spawn(f).join().unwrap());
        let y = elsewhere(&|| activate(&x, Activation::Tanh).unwrap());
        let z = (softplus(&y).unwrap().sum_all().unwrap() + fan(&x)).unwrap();
        let gradient = elsewhere(&|| backward(&z).unwrap().take(&x).unwrap().unwrap());
        let more = at.map(|x: f64| (1.0 - x.tanh().powi(2)) / (1.0 + (-x.tanh()).exp()));
        for ((got, want), more) in values(&gradient).into_iter().zip(slopes(&at)).zip(more) {
            assert!((got - want - more).abs() < 1e-12, "{got}");
        }
    }

    #[test]
    fn only_results_on_the_tape_are_kept_and_only_while_they_live() {
        let x = Tensor::new(&[[1.0f64]], &Device::Cpu).unwrap();
        assert!(!softplus(&x).unwrap().track_op());
        let x = variable(&[0.3]);
        for _ in 0..3 * SWEEP_FROM {
            drop(softplus(&x).unwrap());
        }
        assert!(RESULTS.with_borrow(HashMap::len) <= 2 * SWEEP_FROM);
    }
}
