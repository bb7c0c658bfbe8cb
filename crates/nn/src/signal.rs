//! Forward-mode differentiation with operations of the first-order tape: a value goes through a network, and
//! then its derivative along one direction of the input does.
//!
//! A discriminator's gradient penalty needs the gradient, in the weights, of the norm of the gradient in the
//! image. Let v be the unit direction of the gradient in the image, held constant. Then the norm equals the
//! directional derivative along v, and their gradients in the weights are equal too. So the ordinary gradient
//! of what this module computes is enough, and no second-order tape is needed.
//!
//! Activations are piecewise linear, so their slopes are locally constant. They follow from the outputs of
//! the activations in the value's pass, which a [`Trace`] keeps for the derivative's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use candle_core::Tensor;

use waxwork_core::{Error, Result};
use waxwork_kernels::{self as kernels, Activation};

/// The outputs of activations, in their order, from a value's pass to that of its derivative.
#[derive(Clone, Debug, Default)]
pub struct Trace(Rc<RefCell<VecDeque<Tensor>>>);

impl Trace {
    /// Whether the derivative has used all outputs.
    pub fn is_used_up(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// What goes through a network: a value, or its directional derivative.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Its numbers.
    pub tensor: Tensor,
    pass: Pass,
}

#[derive(Clone, Debug)]
enum Pass {
    /// Of a value.
    Value,
    /// Of a value whose derivative follows.
    Traced(Trace),
    /// Of the derivative of a value that was traced.
    Derivative(Trace),
}

impl Signal {
    /// A value.
    pub fn value(tensor: Tensor) -> Self {
        Self { tensor, pass: Pass::Value }
    }

    /// A value whose derivative follows.
    pub fn traced(tensor: Tensor, trace: &Trace) -> Self {
        Self { tensor, pass: Pass::Traced(trace.clone()) }
    }

    /// A direction at the input of the network, of the same shape as the value that was traced. The network
    /// must have the same weights, dropout masks and mode. A trace serves one derivative.
    pub fn along(direction: Tensor, trace: &Trace) -> Self {
        Self { tensor: direction, pass: Pass::Derivative(trace.clone()) }
    }

    /// Whether this is a value that no derivative follows, so that layers can fuse operations.
    pub fn is_plain(&self) -> bool {
        matches!(self.pass, Pass::Value)
    }

    /// Applies `f`, which must be affine in its tensor. If called with `false`, it must leave out its
    /// constant part.
    pub fn affine(&self, f: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        let constant = !matches!(self.pass, Pass::Derivative(_));
        Ok(self.with(f(&self.tensor, constant)?))
    }

    /// Applies `f`, which must be linear in its tensor.
    pub fn linear(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.affine(|x, _| f(x))
    }

    /// The sum of two signals of the same pass.
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.add_scaled(other, 1.0)
    }

    /// The sum of this signal and a multiple of another of the same pass.
    pub fn add_scaled(&self, other: &Self, scale: f64) -> Result<Self> {
        Ok(self.with(kernels::add_scaled(&self.tensor, &other.tensor, scale)?))
    }

    /// Applies an activation.
    ///
    /// # Errors
    /// If a derivative follows, but the activation is not piecewise linear, or if the trace of a derivative has
    /// fewer outputs than the network has activations.
    pub fn activate(&self, activation: Activation) -> Result<Self> {
        let without = |layer| Error::NoDirectionalDerivative { layer };
        match &self.pass {
            Pass::Value => Ok(self.with(kernels::activate(&self.tensor, activation)?)),
            Pass::Traced(_) if !activation.is_piecewise_linear() => {
                Err(without(format!("{activation:?}, which is not piecewise linear")))
            }
            Pass::Traced(Trace(outputs)) => {
                let y = kernels::activate(&self.tensor, activation)?;
                outputs.borrow_mut().push_back(y.detach());
                Ok(self.with(y))
            }
            Pass::Derivative(Trace(outputs)) => {
                let y = outputs.borrow_mut().pop_front();
                let y = y.ok_or_else(|| without("an activation whose output was not traced".into()))?;
                Ok(self.with(kernels::activate_tangent(&y, &self.tensor, activation)?))
            }
        }
    }

    fn with(&self, tensor: Tensor) -> Self {
        Self { tensor, pass: self.pass.clone() }
    }
}
