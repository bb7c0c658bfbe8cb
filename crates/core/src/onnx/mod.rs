//! ONNX graphs (opset 17) of networks, for other programs to run. Layers write themselves into a [`Graph`].
//!
//! A layer's `export` mirrors its forward pass in [`Mode::Eval`](crate::Mode::Eval), with values instead of
//! tensors. As in construction, a [`GraphScope`] gives every stored tensor the name that it has in a
//! [`ParamSet`](crate::params::ParamSet). The batch dimension stays open.

mod proto;

use std::fmt::Display;

use candle_core::{DType, Device, Tensor};
use prost::Message;

use crate::condition::ConditionSpec;
use crate::kernels::Activation;
use crate::{Error, Result};

/// The version of the operators' definitions.
const OPSET: i64 = 17;
/// The version of the file format that goes with it.
const IR_VERSION: i64 = 8;
/// The name of the open dimension.
const BATCH: &str = "batch";
/// The largest protobuf message, in bytes.
const LARGEST: usize = i32::MAX as usize;

/// A part of a model that can be exported by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A GAN's network from latents, and a condition if the model takes one, to samples.
    Generator,
    /// The same network of a VAE. For sequences of tokens, one step of the network, which returns the logits of
    /// the next token.
    Decoder,
    /// From samples, and a condition if the model takes one, to mean and log-variance of the latents.
    Encoder,
    /// From standard normal noise, and labels if the model takes them, to latents, if the model's prior is
    /// not standard normal.
    Prior,
}

impl Part {
    /// The part's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Decoder => "decoder",
            Self::Encoder => "encoder",
            Self::Prior => "prior",
        }
    }
}

/// The name of a value that flows through a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// Stands for an optional input that is not given.
    fn absent() -> Self {
        Self(String::new())
    }
}

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// A whole number.
    Int(i64),
    /// Several whole numbers.
    Ints(&'a [i64]),
    /// A number.
    Float(f32),
    /// A word.
    Word(&'a str),
}

/// A graph under construction.
#[derive(Clone, Debug)]
pub struct Graph {
    proto: proto::Graph,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { proto: proto::Graph { name: name.to_owned(), ..proto::Graph::default() } }
    }

    /// An input of floats, `(batch, …dims)`.
    pub fn input(&mut self, name: &str, dims: &[usize]) -> Value {
        self.proto.input.push(value_info(name, proto::FLOAT, dims));
        Value(name.to_owned())
    }

    /// An input of whole numbers as int64, `(batch)`.
    pub fn numbers(&mut self, name: &str) -> Value {
        self.proto.input.push(value_info(name, proto::INT64, &[]));
        Value(name.to_owned())
    }

    /// Adds an input `labels` of int64, `(batch)`, and returns it as one-hot rows `(batch, classes)`; None
    /// for a model without classes.
    ///
    /// A label out of range ends the run of the graph with an error if the runtime checks the bounds of
    /// `Gather`, as onnxruntime does on the CPU. `OneHot` alone would give no class for a label that is too
    /// large, and would count negative ones from the end.
    pub fn labels(&mut self, classes: usize) -> Result<Option<Value>> {
        if classes == 0 {
            return Ok(None);
        }
        let labels = self.numbers("labels");
        let mut root = self.root();
        let depth = root.integers("classes", &[], &[classes as i64]);
        let off_on = root.tensor("off_on", &Tensor::new(&[0f32, 1.0], &Device::Cpu)?)?;
        // The runtime's error names this node, so the name states the range. `Gather` accepts negative
        // labels, so they are replaced by one that is too large.
        let mut within = root.enter(format!("labels_from_0_to_{}", classes - 1));
        let numbers: Vec<i64> = (0..classes as i64).collect();
        let (zero, known) =
            (within.integers("zero", &[], &[0]), within.integers("known", &[classes as i64], &numbers));
        let negative = within.node("Less", &[&labels, &zero], &[]);
        let outside = within.node("Where", &[&negative, &depth, &labels], &[]);
        let labels = within.node("Gather", &[&known, &outside], &[("axis", Attribute::Int(0))]);
        Ok(Some(root.node("OneHot", &[&labels, &depth, &off_on], &[])))
    }

    /// Returns a condition as the networks see it, `(batch, width)`: made from the input `labels` if it is a
    /// class, otherwise the input `condition` itself. None for an unconditional model.
    ///
    /// # Errors
    /// As [`Graph::labels`].
    pub fn condition(&mut self, spec: &ConditionSpec) -> Result<Option<Value>> {
        match spec {
            ConditionSpec::None => Ok(None),
            ConditionSpec::Classes { count } => self.labels(*count),
            ConditionSpec::Columns { .. } | ConditionSpec::Part { .. } => {
                Ok(Some(self.input("condition", &[spec.width()])))
            }
        }
    }

    /// Gives a value the name `name` and makes it an output of shape `(batch, …dims)`.
    pub fn output(&mut self, name: &str, value: &Value, dims: &[usize]) {
        self.push("Identity", &[value], &[], name.to_owned());
        self.proto.output.push(value_info(name, proto::FLOAT, dims));
    }

    /// The root of the tree of names.
    pub fn root(&mut self) -> GraphScope<'_> {
        GraphScope { graph: self, prefix: String::new() }
    }

    /// The contents of an `.onnx` file.
    ///
    /// # Errors
    /// [`Error::GraphTooLarge`] if they exceed the limit of a protobuf message.
    pub fn encode(self) -> Result<Vec<u8>> {
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "waxwork".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.proto),
            opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
        };
        if model.encoded_len() > LARGEST {
            return Err(Error::GraphTooLarge);
        }
        Ok(model.encode_to_vec())
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
        output: String,
    ) {
        self.proto.node.push(proto::Node {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            name: output.clone(),
            output: vec![output],
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, *value)).collect(),
        });
    }
}

/// A place in the tree of names, such as `generator.up.0`.
#[derive(Debug)]
pub struct GraphScope<'a> {
    graph: &'a mut Graph,
    prefix: String,
}

impl GraphScope<'_> {
    /// The scope `name` below this one.
    pub fn enter(&mut self, name: impl Display) -> GraphScope<'_> {
        GraphScope { prefix: self.full(&name.to_string()), graph: self.graph }
    }

    /// A stored tensor, as f32.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<Value> {
        let values = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = tensor.dims().iter().map(|&side| side as i64).collect();
        Ok(self.initializer(name, dims, proto::FLOAT, bytes))
    }

    /// Whole numbers as a stored tensor.
    fn integers(&mut self, name: &str, dims: &[i64], values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, dims.to_vec(), proto::INT64, bytes)
    }

    fn initializer(&mut self, name: &str, dims: Vec<i64>, data_type: i32, raw_data: Vec<u8>) -> Value {
        let name = self.full(name);
        self.graph.proto.initializer.push(proto::Tensor { dims, data_type, name: name.clone(), raw_data });
        Value(name)
    }

    /// The result of an ONNX operator.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], attributes: &[(&str, Attribute<'_>)]) -> Value {
        let name = self.full(&format!("{operator}_{}", self.graph.proto.node.len()));
        self.graph.push(operator, inputs, attributes, name.clone());
        Value(name)
    }

    /// Applies the activation elementwise.
    pub fn activate(&mut self, x: Value, activation: Activation) -> Value {
        match activation {
            Activation::Identity => x,
            Activation::Relu => self.node("Relu", &[&x], &[]),
            Activation::LeakyRelu(slope) => {
                self.node("LeakyRelu", &[&x], &[("alpha", Attribute::Float(slope))])
            }
            Activation::Tanh => self.node("Tanh", &[&x], &[]),
            Activation::Sigmoid => self.node("Sigmoid", &[&x], &[]),
            Activation::Silu => {
                let gate = self.node("Sigmoid", &[&x], &[]);
                self.node("Mul", &[&x, &gate], &[])
            }
        }
    }

    /// `scale · x + shift`, elementwise.
    pub fn affine(&mut self, x: &Value, scale: f64, shift: f64) -> Result<Value> {
        let n = self.graph.proto.node.len();
        let scale = self.tensor(&format!("scale_{n}"), &Tensor::new(scale as f32, &Device::Cpu)?)?;
        let shift = self.tensor(&format!("shift_{n}"), &Tensor::new(shift as f32, &Device::Cpu)?)?;
        let scaled = self.node("Mul", &[x, &scale], &[]);
        Ok(self.node("Add", &[&scaled, &shift], &[]))
    }

    /// [`waxwork_kernels::soft_bound`]: c + d / (1 + |d|), where c is the value clipped to the range and d =
    /// x − c.
    pub fn soft_bound(&mut self, x: &Value, low: f64, high: f64) -> Result<Value> {
        let n = self.graph.proto.node.len();
        let mut scalar = |name: &str, value: f64| {
            self.tensor(&format!("{name}_{n}"), &Tensor::new(value as f32, &Device::Cpu)?)
        };
        let (low, high, one) = (scalar("low", low)?, scalar("high", high)?, scalar("one", 1.0)?);
        let inside = self.node("Clip", &[x, &low, &high], &[]);
        let beyond = self.node("Sub", &[x, &inside], &[]);
        let size = self.node("Abs", &[&beyond], &[]);
        let size = self.node("Add", &[&size, &one], &[]);
        let tail = self.node("Div", &[&beyond, &size], &[]);
        Ok(self.node("Add", &[&inside, &tail], &[]))
    }

    /// Reshapes `(batch, …)` to `(batch, …dims)`.
    pub fn reshape(&mut self, x: &Value, dims: &[usize]) -> Value {
        // In ONNX, zero copies the size from the input.
        let sizes: Vec<i64> = std::iter::once(0).chain(dims.iter().map(|&side| side as i64)).collect();
        let name = format!("shape_{}", self.graph.proto.node.len());
        let shape = self.integers(&name, &[sizes.len() as i64], &sizes);
        self.node("Reshape", &[x, &shape], &[])
    }

    /// Gives the values the shape `(n, ..dims)`, where n is what is left of the batch and of the values of a
    /// row.
    pub fn regroup(&mut self, x: &Value, dims: &[usize]) -> Value {
        // In ONNX, −1 stands for the size that is not given.
        let sizes: Vec<i64> = std::iter::once(-1).chain(dims.iter().map(|&side| side as i64)).collect();
        let name = format!("shape_{}", self.graph.proto.node.len());
        let shape = self.integers(&name, &[sizes.len() as i64], &sizes);
        self.node("Reshape", &[x, &shape], &[])
    }

    /// Flattens `(batch, …)` to rows.
    pub fn flatten(&mut self, x: &Value) -> Value {
        self.node("Flatten", &[x], &[("axis", Attribute::Int(1))])
    }

    /// Columns `start .. start + width` of rows.
    pub fn columns(&mut self, x: &Value, start: usize, width: usize) -> Value {
        let n = self.graph.proto.node.len();
        let mut at = |name: &str, value: usize| self.integers(&format!("{name}_{n}"), &[1], &[value as i64]);
        let (from, to, axis) = (at("from", start), at("to", start + width), at("axis", 1));
        self.node("Slice", &[x, &from, &to, &axis], &[])
    }

    /// The top left `height` × `width` pixels of images `(N, C, H, W)`.
    pub fn first_pixels(&mut self, x: &Value, height: usize, width: usize) -> Value {
        let n = self.graph.proto.node.len();
        let mut at = |name: &str, values: [i64; 2]| self.integers(&format!("{name}_{n}"), &[2], &values);
        let (from, axes) = (at("from", [0, 0]), at("axes", [2, 3]));
        let to = at("to", [height as i64, width as i64]);
        self.node("Slice", &[x, &from, &to, &axes], &[])
    }

    /// Concatenates rows; returns `left` alone if there is no `right`.
    pub fn beside(&mut self, left: &Value, right: Option<&Value>) -> Value {
        match right {
            Some(right) => self.node("Concat", &[left, right], &[("axis", Attribute::Int(1))]),
            None => left.clone(),
        }
    }

    /// Doubles height and width by repeating pixels.
    pub fn upsample2(&mut self, x: &Value) -> Result<Value> {
        let name = format!("scales_{}", self.graph.proto.node.len());
        let scales = self.tensor(&name, &Tensor::new(&[1f32, 1.0, 2.0, 2.0], &Device::Cpu)?)?;
        let nearest = [
            ("mode", Attribute::Word("nearest")),
            ("coordinate_transformation_mode", Attribute::Word("asymmetric")),
            ("nearest_mode", Attribute::Word("floor")),
        ];
        Ok(self.node("Resize", &[x, &Value::absent(), &scales], &nearest))
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}

fn value_info(name: &str, elem_type: i32, dims: &[usize]) -> proto::ValueInfo {
    let open = proto::Dimension { value: None, param: Some(BATCH.into()) };
    let known = dims.iter().map(|&side| proto::Dimension { value: Some(side as i64), param: None });
    let shape = Some(proto::Shape { dim: std::iter::once(open).chain(known).collect() });
    let of = Some(proto::Type { tensor: Some(proto::TensorType { elem_type, shape }) });
    proto::ValueInfo { name: name.to_owned(), of }
}

/// The numbers are those of `AttributeProto.AttributeType`.
fn attribute(name: &str, value: Attribute<'_>) -> proto::Attribute {
    let mut attribute = proto::Attribute { name: name.to_owned(), ..proto::Attribute::default() };
    attribute.kind = match value {
        Attribute::Float(value) => {
            attribute.f = Some(value);
            1
        }
        Attribute::Int(value) => {
            attribute.i = Some(value);
            2
        }
        Attribute::Word(value) => {
            attribute.s = Some(value.as_bytes().to_vec());
            3
        }
        Attribute::Ints(values) => {
            attribute.ints = values.to_vec();
            7
        }
    };
    attribute
}
