//! A model's tensors by stable name: weights that an optimiser updates, and buffers that it does not.
//!
//! A network is built from a configuration and a [`ParamSet`]. A fresh set draws each tensor's initial values
//! when the network asks for it. A set of stored tensors is strict. [`ParamSet::frozen`] shares storage but
//! tracks no gradient. So an EMA twin, a frozen discriminator and a loaded run all use the same constructor
//! with another set.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape, Tensor, Var};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::runs_on_cpu_kernels;
use crate::rng::Stream;
use crate::store::checked_len;
use crate::{Error, Result, values};

/// Initialisation of a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f64),
    /// Uniform in [−bound, bound).
    Uniform {
        /// Largest magnitude.
        bound: f64,
    },
    /// Normal with mean zero.
    Normal {
        /// Standard deviation.
        std: f64,
    },
}

/// The compute precision of linear layers and convolutions. Parameters, sums, norms and losses stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The type in which parameters are stored.
    #[default]
    F32,
    /// Eight significant bits, and the range of f32.
    Bf16,
    /// Eleven significant bits, and values up to 65,504; the loss is scaled so that gradients fit.
    F16,
}

/// Whether an optimiser may update a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Updated by an optimiser.
    Weight,
    /// State such as running statistics: saved, but never differentiated.
    Buffer,
}

#[derive(Clone, Debug)]
struct Entry {
    var: Var,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Origin {
    /// Initial values are drawn when the network first asks for a tensor.
    Fresh { seed: u64 },
    /// Every tensor must be here; one that the network does not ask for is an error.
    Stored(BTreeMap<String, Var>),
}

/// The most values of a fresh network: 4 GiB of f32, and the optimiser's moments take twice that again. A
/// typo in a recipe should not make the system run out of memory and kill processes.
const MOST_VALUES: usize = 1 << 30;

/// Every tensor of a model, in name order. Cloning is shallow: clones share storage.
#[derive(Clone, Debug)]
pub struct ParamSet {
    entries: BTreeMap<String, Entry>,
    origin: Origin,
    tracked: bool,
    device: Device,
    dtype: DType,
    precision: Precision,
}

impl ParamSet {
    /// An empty f32 set; a tensor is initialised from `seed` when a network asks for it.
    pub fn fresh(seed: u64, device: &Device) -> Self {
        Self::fresh_with(seed, device, DType::F32)
    }

    /// [`ParamSet::fresh`] with another floating-point type, such as f64 for finite differences.
    pub fn fresh_with(seed: u64, device: &Device, dtype: DType) -> Self {
        let origin = Origin::Fresh { seed };
        let precision = Precision::F32;
        Self { entries: BTreeMap::new(), origin, tracked: true, device: device.clone(), dtype, precision }
    }

    /// A strict set from stored tensors; their values are copied to `device` as f32.
    ///
    /// # Errors
    /// If a tensor cannot be copied to the device; [`Error::Value`] if a value is not finite, or a variance
    /// negative.
    pub fn stored(tensors: BTreeMap<String, Tensor>, device: &Device) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for (name, tensor) in tensors {
            let tensor = tensor.to_dtype(DType::F32)?;
            values::check(&name, &tensor)?;
            vars.insert(name, own(&tensor.to_device(device)?)?);
        }
        let origin = Origin::Stored(vars);
        Ok(Self {
            entries: BTreeMap::new(),
            origin,
            tracked: true,
            device: device.clone(),
            dtype: DType::F32,
            precision: Precision::F32,
        })
    }

    /// A strict set that shares this set's storage and tracks no gradient, for frozen twins and for sampling.
    pub fn frozen(&self) -> Self {
        let vars = self.entries.iter().map(|(name, entry)| (name.clone(), entry.var.clone())).collect();
        Self {
            entries: BTreeMap::new(),
            origin: Origin::Stored(vars),
            tracked: false,
            device: self.device.clone(),
            dtype: self.dtype,
            precision: self.precision,
        }
    }

    /// A copy of the tensors with separate storage, such as the start of an exponential moving average.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn deep_copy(&self) -> Result<Self> {
        let mut copy = self.clone();
        for entry in copy.entries.values_mut() {
            entry.var = own(&entry.var)?;
        }
        Ok(copy)
    }

    /// The root scope, in which a network's constructor asks for its tensors.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { set: self, prefix: String::new() }
    }

    /// Ends construction.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensors`] if a stored set holds tensors that the network did not ask for.
    pub fn finish(self) -> Result<Self> {
        match &self.origin {
            Origin::Stored(rest) if !rest.is_empty() => {
                Err(Error::UnexpectedTensors { names: rest.keys().cloned().collect() })
            }
            _ => Ok(self),
        }
    }

    /// The device that holds the tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The floating-point type of the tensors.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sets the compute precision of the layers that are built from this set or from its frozen twins.
    ///
    /// # Errors
    /// [`Error::Precision`] on the CPU, whose kernels compute in f32.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        if precision != Precision::F32 && runs_on_cpu_kernels(&self.device) {
            return Err(Error::Precision { precision });
        }
        self.precision = precision;
        Ok(self)
    }

    /// The compute precision of layers.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Every tensor, weights and buffers, detached but sharing storage.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.var.as_detached_tensor())).collect()
    }

    /// Names, kinds and variables in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Kind, &Var)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.kind, &entry.var))
    }

    fn has_room_for(&self, shape: &Shape) -> bool {
        let there: usize = self.entries.values().map(|entry| entry.var.elem_count()).sum();
        checked_len(shape.dims()).is_some_and(|more| more <= MOST_VALUES.saturating_sub(there))
    }

    /// The variable called `name`.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.entries.get(name).map(|entry| &entry.var)
    }

    /// Number of values in all weights, without buffers.
    pub fn weight_count(&self) -> usize {
        let weights = self.entries.values().filter(|entry| entry.kind == Kind::Weight);
        weights.map(|entry| entry.var.elem_count()).sum()
    }

    /// The weights whose names start with `prefix`, as the group `name`.
    pub fn group(&self, name: &str, prefix: &str) -> ParamGroup {
        let weights = self.iter().filter(|(full, kind, _)| *kind == Kind::Weight && full.starts_with(prefix));
        ParamGroup { name: name.to_owned(), params: weights.map(|(full, _, _)| full.to_owned()).collect() }
    }

    /// Overwrites every value in place from stored tensors of the same names and shapes.
    ///
    /// # Errors
    /// [`Error::UnexpectedTensors`], [`Error::MissingTensor`], [`Error::TensorShape`] or [`Error::Value`]
    /// names the tensor. The tensors before it, in name order, have then been overwritten.
    pub fn assign(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        if let Some(name) = tensors.keys().find(|name| !self.entries.contains_key(*name)) {
            return Err(Error::UnexpectedTensors { names: vec![name.clone()] });
        }
        for (name, entry) in &self.entries {
            let expected = entry.var.shape();
            let tensor = tensors
                .get(name)
                .ok_or_else(|| Error::MissingTensor { name: name.clone(), expected: expected.clone() })?;
            check_shape(name, expected, tensor.shape())?;
            let tensor = tensor.to_dtype(self.dtype)?;
            values::check(name, &tensor)?;
            entry.var.set(&tensor.to_device(&self.device)?)?;
        }
        Ok(())
    }
}

/// Parameters that one optimiser updates together: a generator, a discriminator, an encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamGroup {
    /// The group's name in recipes and logs.
    pub name: String,
    /// Full parameter names, in name order.
    pub params: Vec<String>,
}

/// A place in the tree of names, such as `encoder.hidden.0`.
#[derive(Debug)]
pub struct Scope<'a> {
    set: &'a mut ParamSet,
    prefix: String,
}

impl Scope<'_> {
    /// The scope `name` below this one.
    pub fn enter(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        Scope { prefix: self.full(&name.to_string()), set: self.set }
    }

    /// The dtype in which layers compute.
    pub fn compute_dtype(&self) -> DType {
        match self.set.precision {
            Precision::F32 => self.set.dtype,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }

    /// A trainable tensor; it tracks no gradient if the set is frozen.
    ///
    /// # Errors
    /// [`Error::DuplicateParameter`]; for a stored set, [`Error::MissingTensor`] or [`Error::TensorShape`].
    pub fn weight(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let var = self.var(name, &shape.into(), init, Kind::Weight)?;
        Ok(if self.set.tracked { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }

    /// A buffer: state that no optimiser updates.
    ///
    /// # Errors
    /// As [`Scope::weight`].
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Var> {
        self.var(name, &shape.into(), init, Kind::Buffer)
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    fn var(&mut self, name: &str, shape: &Shape, init: Init, kind: Kind) -> Result<Var> {
        let name = self.full(name);
        if self.set.entries.contains_key(&name) {
            return Err(Error::DuplicateParameter { name });
        }
        if matches!(self.set.origin, Origin::Fresh { .. }) && !self.set.has_room_for(shape) {
            let reason = format!(
                "the model would exceed 2^30 values with `{name}` of shape {shape:?}; make it smaller"
            );
            return Err(Error::Config { key: "model".into(), reason });
        }
        let var = match &mut self.set.origin {
            Origin::Fresh { seed } => initial(*seed, &name, shape, init, &self.set.device, self.set.dtype)?,
            Origin::Stored(vars) => {
                let missing = || Error::MissingTensor { name: name.clone(), expected: shape.clone() };
                let var = vars.remove(&name).ok_or_else(missing)?;
                check_shape(&name, shape, var.shape())?;
                var
            }
        };
        self.set.entries.insert(name, Entry { var: var.clone(), kind });
        Ok(var)
    }
}

/// Draws initial values as a function of (seed, name), so they depend neither on the order of construction
/// nor on the device.
fn initial(seed: u64, name: &str, shape: &Shape, init: Init, device: &Device, dtype: DType) -> Result<Var> {
    let stream = Stream::new(seed, &format!("init/{name}"), 0);
    let rows: Vec<u64> = (0..shape.dims().first().copied().unwrap_or(1) as u64).collect();
    let row = Shape::from(shape.dims().get(1..).unwrap_or_default());
    // Scale on the CPU first, because another device may round differently.
    let cpu = &Device::Cpu;
    let values = match init {
        Init::Constant(value) => Tensor::full(value as f32, shape.clone(), cpu)?,
        Init::Uniform { bound } => stream.uniform(&rows, row, cpu)?.affine(2.0 * bound, -bound)?,
        Init::Normal { std } => stream.normal(&rows, row, cpu)?.affine(std, 0.0)?,
    };
    Ok(Var::from_tensor(&values.reshape(shape)?.to_dtype(dtype)?.to_device(device)?)?)
}

/// A variable with a copy of the tensor's values.
fn own(tensor: &Tensor) -> Result<Var> {
    Ok(Var::from_tensor(&tensor.detach().force_contiguous()?)?)
}

fn check_shape(name: &str, expected: &Shape, found: &Shape) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::TensorShape { name: name.to_owned(), expected: expected.clone(), found: found.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(set: &mut ParamSet, reversed: bool) -> Result<()> {
        let mut names = vec!["a", "b"];
        if reversed {
            names.reverse();
        }
        for name in names {
            set.root().enter(name).weight("weight", (3, 4), Init::Uniform { bound: 0.5 })?;
        }
        set.root().buffer("mean", 4, Init::Constant(0.0))?;
        Ok(())
    }

    fn values(set: &ParamSet, name: &str) -> Vec<f32> {
        set.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn initial_values_do_not_depend_on_order() {
        let (mut one, mut two) = (ParamSet::fresh(3, &Device::Cpu), ParamSet::fresh(3, &Device::Cpu));
        build(&mut one, false).unwrap();
        build(&mut two, true).unwrap();
        assert_eq!(values(&one, "a.weight"), values(&two, "a.weight"));
        assert_ne!(values(&one, "a.weight"), values(&one, "b.weight"));
        assert!(values(&one, "a.weight").iter().all(|v| v.abs() <= 0.5));
        assert_eq!(one.weight_count(), 24);
        assert_eq!(one.group("all", "").params, ["a.weight", "b.weight"]);
    }

    #[test]
    fn a_network_that_fits_no_memory_is_refused_before_it_is_made() {
        for side in [1 << 16, 1 << 32, usize::MAX / 2] {
            let mut set = ParamSet::fresh(3, &Device::Cpu);
            build(&mut set, false).unwrap();
            let error = set.root().weight("large", (side, side), Init::Constant(0.0)).unwrap_err();
            assert!(matches!(&error, Error::Config { reason, .. } if reason.contains("large")), "{error}");
        }
    }

    #[test]
    fn stored_sets_are_strict() {
        let mut fresh = ParamSet::fresh(3, &Device::Cpu);
        build(&mut fresh, false).unwrap();
        let mut tensors = fresh.tensors();

        let mut same = ParamSet::stored(tensors.clone(), &Device::Cpu).unwrap();
        build(&mut same, false).unwrap();
        let same = same.finish().unwrap();
        assert_eq!(values(&same, "b.weight"), values(&fresh, "b.weight"));

        tensors.insert("stray".into(), Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        let mut more = ParamSet::stored(tensors.clone(), &Device::Cpu).unwrap();
        build(&mut more, false).unwrap();
        assert!(matches!(more.finish(), Err(Error::UnexpectedTensors { names }) if names == ["stray"]));

        tensors.remove("stray");
        tensors.insert("mean".into(), Tensor::new(&[0f64, 0.0, 1e300, 0.0], &Device::Cpu).unwrap());
        let mut other = ParamSet::fresh(4, &Device::Cpu);
        build(&mut other, false).unwrap();
        for refused in [ParamSet::stored(tensors.clone(), &Device::Cpu).map(drop), other.assign(&tensors)] {
            // Finite as f64, but not as f32.
            let said = refused.unwrap_err().to_string();
            assert_eq!(said, "`mean` is inf at [2]: every value must be finite");
        }
        tensors.remove("mean");

        tensors.remove("a.weight");
        let mut fewer = ParamSet::stored(tensors, &Device::Cpu).unwrap();
        assert!(
            matches!(build(&mut fewer, false), Err(Error::MissingTensor { name, .. }) if name == "a.weight")
        );
    }

    #[test]
    fn frozen_twins_share_storage_and_copies_do_not() {
        let mut set = ParamSet::fresh(3, &Device::Cpu);
        build(&mut set, false).unwrap();
        let mut twin = set.frozen();
        let weight = twin.root().enter("a").weight("weight", (3, 4), Init::Constant(0.0)).unwrap();
        let copy = set.deep_copy().unwrap();

        let before = values(&set, "a.weight");
        set.get("a.weight").unwrap().set(&Tensor::ones((3, 4), DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(weight.flatten_all().unwrap().to_vec1::<f32>().unwrap(), vec![1.0; 12]);
        assert_eq!(values(&copy, "a.weight"), before);
        assert!(!weight.track_op());
    }
}
