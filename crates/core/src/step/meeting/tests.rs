//! Steps give the same bits for any number of processes and micro-batches.

use std::sync::{Arc, Barrier, Mutex};

use candle_core::{DType, Device, Tensor, Var};

use crate::collective::{Collective, Reduction};
use crate::optim::OptimizerConfig;
use crate::params::{Init, ParamGroup, ParamSet};
use crate::rng::Stream;
use crate::step::{Batch, Loss, StepContext, StepReport, Trainable, TrainingState};
use crate::{Error, Result};

const WIDTH: usize = 6;
const BATCH: u64 = 16;
const STEPS: u64 = 4;

/// Two players, each of which sees what the other has learned: `ours` is updated first, then `theirs` by the
/// updated `ours`.
struct Game {
    params: ParamSet,
    groups: Vec<ParamGroup>,
    ours: Tensor,
    theirs: Tensor,
    seen: Var,
    /// Number of updates per step.
    updates: usize,
}

impl Game {
    fn new(updates: usize) -> Self {
        let mut params = ParamSet::fresh(3, &Device::Cpu);
        let ours = params.root().weight("ours", WIDTH, Init::Normal { std: 1.0 }).unwrap();
        let theirs = params.root().weight("theirs", WIDTH, Init::Normal { std: 1.0 }).unwrap();
        let seen = params.root().buffer("seen", WIDTH, Init::Constant(0.0)).unwrap();
        let group = |name: &str| ParamGroup { name: name.into(), params: vec![name.into()] };
        let groups = vec![group("ours"), group("theirs")];
        Self { params, groups, ours, theirs, seen, updates }
    }

    fn values(&self) -> Vec<u32> {
        let tensors = self.params.tensors();
        tensors.values().flat_map(|t| t.to_vec1::<f32>().unwrap()).map(f32::to_bits).collect()
    }
}

impl Trainable for Game {
    fn params(&self) -> &ParamSet {
        &self.params
    }

    fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    fn updates(&self) -> usize {
        2
    }

    fn step(&self, batch: &Batch, ctx: &mut StepContext<'_>) -> Result<()> {
        let made = ctx.normal("noise", batch.len(), WIDTH)?.broadcast_mul(&self.theirs)?;
        ctx.log("made", &made.mean_all()?)?;
        ctx.record(&self.seen, batch.inputs.mean(0)?, 0.1, Reduction::Mean);
        let error = (batch.inputs.broadcast_mul(&self.ours)? - made.detach())?.sqr()?.mean_all()?;
        ctx.update(&["ours"], Loss::new("first", error))?;
        for _ in 1..self.updates {
            let error = (made.broadcast_mul(&self.ours.detach())? - 1.0)?.sqr()?.mean_all()?;
            ctx.update(&["theirs"], Loss::new("second", error))?;
        }
        ctx.log_reduced("rows", &Tensor::new(batch.len() as f32, &Device::Cpu)?, Reduction::Sum)
    }
}

/// One of several processes, each on its own thread.
#[derive(Debug)]
struct Thread {
    rank: usize,
    all: Arc<Threads>,
}

#[derive(Debug)]
struct Threads {
    barrier: Barrier,
    said: Mutex<Vec<Vec<(Reduction, Tensor)>>>,
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.all.said.lock().unwrap().len()
    }

    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>> {
        self.all.said.lock().unwrap()[self.rank] = values;
        self.all.barrier.wait();
        let mut level = self.all.said.lock().unwrap().clone();
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| super::joined(pair[0].clone(), pair[1].clone()).unwrap())
                .collect();
        }
        self.all.barrier.wait();
        Ok(level.swap_remove(0).into_iter().map(|(_, value)| value).collect())
    }

    fn all(&self, here: bool) -> Result<bool> {
        Ok(here)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes])
    }
}

/// These rows of a step's whole batch.
fn batch(step: u64, rows: std::ops::Range<u64>, broken: Option<u64>) -> Batch {
    let indices: Vec<u64> = rows.collect();
    let mut values = Stream::new(1, "data", step).normal(&indices, WIDTH, &Device::Cpu).unwrap();
    if let Some(row) = broken.filter(|row| indices.contains(row)) {
        let is_broken: Vec<f32> =
            indices.iter().map(|index| if *index == row { f32::NAN } else { 0.0 }).collect();
        values = values
            .broadcast_add(&Tensor::new(is_broken, &Device::Cpu).unwrap().unsqueeze(1).unwrap())
            .unwrap();
    }
    Batch::unlabelled(values, indices)
}

type End = (Vec<u32>, Vec<Vec<u32>>, Result<Vec<StepReport>>);

/// The result on each process of training with this many processes and micro-batches.
fn trained(processes: usize, micro_batches: usize, updates: usize, broken: Option<u64>) -> Vec<End> {
    let said = Mutex::new(vec![Vec::new(); processes]);
    let all = Arc::new(Threads { barrier: Barrier::new(processes), said });
    let one = |rank: usize| {
        let model = Game::new(updates);
        let config = OptimizerConfig { lr: 0.05, ema: Some(0.9), clip_norm: Some(0.5), ..Default::default() };
        let mut state = TrainingState::new(&model, config, 9, STEPS).unwrap();
        if processes > 1 {
            state = state.with_collective(Arc::new(Thread { rank, all: Arc::clone(&all) }));
        }
        let mut state = state.with_micro_batches(micro_batches).unwrap();
        let share = BATCH / processes as u64;
        let rows = rank as u64 * share..(rank as u64 + 1) * share;
        let reports = (0..STEPS).map(|step| state.step(&model, &batch(step, rows.clone(), broken))).collect();
        let bits = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect();
        (model.values(), state.tensors().values().map(bits).collect(), reports)
    };
    std::thread::scope(|scope| {
        let one = &one;
        let running: Vec<_> = (0..processes).map(|rank| scope.spawn(move || one(rank))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn processes_and_micro_batches_come_to_the_same_bits() {
    let (values, moments, reports) = trained(1, 8, 2, None).swap_remove(0);
    let reports = reports.unwrap();
    for processes in [2, 4, 8] {
        for (others, moments_of_others, reports_of_others) in trained(processes, 8, 2, None) {
            assert_eq!(others, values, "{processes} processes");
            assert_eq!(moments_of_others, moments, "{processes} processes");
            assert_eq!(reports_of_others.unwrap(), reports, "{processes} processes");
        }
    }
    let names: Vec<&str> = reports[0].scalars.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["made", "first", "grad_norm/ours", "second", "grad_norm/theirs", "rows"]);
    assert_eq!(reports[0].scalars[5].1, BATCH as f64, "a sum over all parts");
}

/// Averages over parts equal averages over the whole, up to the order of sums.
#[test]
fn micro_batches_learn_what_the_whole_batch_teaches() {
    let (whole, _, reports) = trained(1, 1, 2, None).swap_remove(0);
    let (parts, _, reports_of_parts) = trained(1, 4, 2, None).swap_remove(0);
    for (a, b) in whole.iter().zip(&parts) {
        let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
        assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} and {b}");
    }
    for (a, b) in reports.unwrap().iter().zip(&reports_of_parts.unwrap()) {
        for ((name, a), (_, b)) in a.scalars.iter().zip(&b.scalars) {
            assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{name}: {a} and {b}");
        }
    }
}

#[test]
fn a_part_that_is_not_finite_stops_all_before_any_change() {
    for (processes, micro_batches) in [(1, 4), (4, 4), (2, 8)] {
        for (values, _, reports) in trained(processes, micro_batches, 2, Some(13)) {
            let error = reports.unwrap_err();
            assert!(matches!(&error, Error::NonFinite { step: 0, .. }), "{error}");
            assert_eq!(values, Game::new(2).values());
        }
    }
}

#[test]
fn more_updates_than_a_model_announces_are_an_error_in_parts_and_none_in_the_whole() {
    let result = |micro_batches| trained(1, micro_batches, 3, None).swap_remove(0).2;
    assert!(result(1).is_ok());
    assert!(matches!(result(4), Err(Error::ManyUpdates { most: 2 })));
    // A step may do fewer updates.
    assert!(trained(1, 4, 1, None).swap_remove(0).2.is_ok());
}

#[test]
fn parts_are_a_power_of_two_of_equal_size() {
    let model = Game::new(2);
    let state = || TrainingState::new(&model, OptimizerConfig::default(), 0, 1).unwrap();
    for count in [0, 3, 6] {
        let error = state().with_micro_batches(count).unwrap_err().to_string();
        assert!(error.contains("train.micro_batches") && error.contains("power of two"), "{error}");
    }
    let error = state().with_micro_batches(4).unwrap().step(&model, &batch(0, 0..6, None)).unwrap_err();
    assert!(error.to_string().contains("cannot be cut into 4 equal parts"), "{error}");
    assert_eq!(model.params.tensors()["ours"].dtype(), DType::F32);
}
