//! Several processes evaluate and sample a run together: the results are those of one process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use std::path::Path;

use waxwork_core::collective::{Collective, OneProcess, Reduction};
use waxwork_core::{Device, Error, Result, Tensor};
use waxwork_models::evaluation::samples_of;
use waxwork_models::sampling::{Draw, draw};
use waxwork_models::{EvaluationConfig, Recipe, Run, evaluate, train};

#[path = "../../../crates/core/src/sharing/tests/threads.rs"]
mod threads;
use threads::on;

fn trained(recipe: &str, path: &Path) {
    let settings = ["train.steps=2", "train.batch_size=8", "data.limit=200", "data.validation=64"];
    let settings = settings.map(String::from);
    train(&Recipe::named(recipe, &settings).unwrap(), path, &Device::Cpu).unwrap();
}

#[test]
fn an_evaluation_on_several_processes_is_that_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    trained("vae-ring", &path);
    let report = |collective: &dyn Collective| {
        let config = EvaluationConfig {
            test_samples: Some(230),
            importance_samples: 3,
            samples: 0,
            collective,
            ..EvaluationConfig::default()
        };
        evaluate(&path, &config, &Device::Cpu).unwrap().metrics
    };
    let expected = report(&OneProcess);
    assert!(expected.iter().any(|metric| metric.name == "neg_log_likelihood"));
    assert!(expected.iter().any(|metric| metric.name == "active_units"));
    for size in [2, 4] {
        assert_eq!(on(size, report)[0], expected, "{size} processes");
    }
}

#[test]
fn the_first_of_several_processes_gets_the_samples_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    trained("cvae-digits", &path);
    let labels: Vec<u32> = (0..330).map(|number| number % 7).collect();
    let made = |collective: &dyn Collective| {
        let run = Run::open(&path, &Device::Cpu).unwrap();
        let mut drawn: Vec<f32> = Vec::new();
        let asked = Draw { collective, ..Draw::new(330, 5, &labels) };
        draw::<Error>(run.model.as_ref(), &asked, |part| {
            drawn.extend(part.flatten_all()?.to_vec1::<f32>()?);
            Ok(())
        })
        .unwrap();
        let split = samples_of(&run, 230, 5, collective, &mut |_, _, _| {}).unwrap();
        (drawn, split.bytes(&(0..split.len()).collect::<Vec<_>>()).unwrap())
    };
    let expected = made(&OneProcess);
    assert_eq!((expected.0.len(), expected.1.len()), (330 * 784, 230 * 784));
    for size in [2, 4] {
        for (rank, (drawn, stored)) in on(size, made).into_iter().enumerate() {
            // Only the first process writes what is drawn; all of them measure the samples of an evaluation.
            assert!(drawn == if rank == 0 { expected.0.clone() } else { Vec::new() }, "process {rank}");
            assert!(stored == expected.1, "process {rank}");
        }
    }
}

#[test]
fn a_failure_of_one_process_is_that_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    trained("cvae-digits", &path);
    // The third batch has a label that the model does not know.
    let labels: Vec<u32> = (0..330).map(|number| if number == 250 { 99 } else { 0 }).collect();
    let failed = |collective: &dyn Collective| {
        let run = Run::open(&path, &Device::Cpu).unwrap();
        let asked = Draw { collective, ..Draw::new(330, 5, &labels) };
        draw::<Error>(run.model.as_ref(), &asked, |_| Ok(())).unwrap_err().to_string()
    };
    let expected = failed(&OneProcess);
    assert!(expected.contains("99"), "{expected}");
    for size in [2, 4] {
        for found in on(size, failed) {
            assert_eq!(found, expected);
        }
    }
}
