//! The texts on a run's page: through training, per class, along paths through latent space, and
//! reconstructed.

use std::collections::HashSet;

use serde::Serialize;
use waxwork_core::walk::{Interpolation, interpolation};
use waxwork_core::{SampleRequest, Tensor, store};
use waxwork_data::Dataset;
use waxwork_data::embedded::Grammar;
use waxwork_data::text::{from_tensor, tokens, tokens_of};
use waxwork_eval::text::phrases::are_phrases;
use waxwork_models::{Classes, Run};

use crate::commands::{sample, walk};
use crate::failure::Failure;

/// Texts of an unconditional model, and of each class.
const TEXTS: usize = 50;
const OF_CLASS: usize = 10;
/// Classes that get a part of their own.
const MOST_CLASSES: usize = 20;
/// Training steps that are shown, and texts of each.
const MOST_STEPS: usize = 6;
const OF_STEP: usize = 10;
/// Paths through latent space.
const WAYS: usize = 3;
/// Test texts that are shown with their reconstructions.
const RECONSTRUCTED: usize = 20;

/// Everything that a page shows.
#[derive(Serialize)]
pub(crate) struct TextsView {
    steps: Vec<Step>,
    classes: Vec<Class>,
    ways: Vec<Vec<String>>,
    pairs: Vec<[String; 2]>,
    /// How many texts there are above, and how many of them are marked.
    count: usize,
    copies: usize,
    /// None if it is unknown which texts are valid.
    invalid: Option<usize>,
}

#[derive(Serialize)]
struct Step {
    step: u64,
    lines: Vec<String>,
}

/// Texts of one class; the name is empty if the model has no classes.
#[derive(Serialize)]
struct Class {
    name: String,
    lines: Vec<Line>,
}

/// A text and a remark about it: `copy` of a training text, `invalid`, or nothing.
#[derive(Serialize)]
struct Line {
    text: String,
    mark: &'static str,
}

impl TextsView {
    /// Collects the texts of a run and of its data.
    ///
    /// # Errors
    /// If the model's outputs cannot be read as texts, or the data cannot be read.
    pub(crate) fn of(run: &Run, data: &Dataset) -> Result<Self, Failure> {
        let training: HashSet<Vec<u16>> = tokens_of(&data.train)?.into_iter().collect();
        let known = are_phrases(data).then(Grammar::phrases);
        let marked = |tokens: &Vec<u16>| Line {
            text: run.info.view().line(tokens),
            mark: if known.is_some_and(|grammar| grammar.parse(tokens).is_none()) {
                "invalid"
            } else if training.contains(tokens) {
                "copy"
            } else {
                ""
            },
        };
        let names = Classes::of(run);
        let mut classes = Vec::new();
        let all = if names.is_empty() { 1 } else { names.len().min(MOST_CLASSES) };
        for class in 0..all as u32 {
            let (name, request) = if names.is_empty() {
                (String::new(), SampleRequest::new(0, TEXTS))
            } else {
                (names.name(class), SampleRequest::of_classes(0, &[class; OF_CLASS])?)
            };
            let made = texts(run, &run.model.sample(&request)?)?;
            classes.push(Class { name, lines: made.iter().map(marked).collect() });
        }
        let lines = || classes.iter().flat_map(|class| &class.lines);
        let (count, marks) = (lines().count(), |mark: &str| lines().filter(|line| line.mark == mark).count());
        let (copies, invalid) = (marks("copy"), known.map(|_| marks("invalid")));
        Ok(Self {
            steps: steps(run)?,
            ways: ways(run)?,
            pairs: pairs(run, data)?,
            classes,
            count,
            copies,
            invalid,
        })
    }
}

/// The tokens of texts as networks see or make them.
fn texts(run: &Run, texts: &Tensor) -> Result<Vec<Vec<u16>>, Failure> {
    let kind = run.info.kind();
    Ok(tokens(&from_tensor(&kind, texts)?, kind.bytes() / 2))
}

/// Some lines of the previews of training.
fn steps(run: &Run) -> Result<Vec<Step>, Failure> {
    let mut steps = run.folder.sample_steps()?;
    if steps.len() > MOST_STEPS {
        let last = steps.len() - 1;
        steps = (0..MOST_STEPS).map(|place| steps[place * last / (MOST_STEPS - 1)]).collect();
    }
    let mut shown = Vec::new();
    for step in steps {
        let path = run.folder.sample(step, "txt");
        if path.is_file() {
            let text = String::from_utf8_lossy(&store::read(&path)?).into_owned();
            shown.push(Step { step, lines: text.lines().take(OF_STEP).map(str::to_owned).collect() });
        }
    }
    Ok(shown)
}

/// Texts along paths from one latent vector to another.
fn ways(run: &Run) -> Result<Vec<Vec<String>>, Failure> {
    let way = Interpolation { rows: WAYS, steps: walk::STEPS, classes: &[], fixed_latent: false, seed: 0 };
    let made = walk::generated(run, &interpolation(run.model.as_ref(), &way)?)?;
    let lines: Vec<String> = texts(run, &made)?.iter().map(|tokens| run.info.view().line(tokens)).collect();
    Ok(lines.chunks(walk::STEPS).map(<[String]>::to_vec).collect())
}

/// Test texts and their reconstructions; nothing without an encoder.
fn pairs(run: &Run, data: &Dataset) -> Result<Vec<[String; 2]>, Failure> {
    let Some(reconstructor) = run.reconstructor() else { return Ok(Vec::new()) };
    let some = data.test.subset(RECONSTRUCTED);
    let (originals, made) = sample::reconstructions(reconstructor, &some, run.model.params().device())?;
    let line = |tokens: &Vec<u16>| run.info.view().line(tokens);
    let (originals, made) = (texts(run, &originals)?, texts(run, &made)?);
    Ok(originals.iter().zip(&made).map(|(text, made)| [line(text), line(made)]).collect())
}
