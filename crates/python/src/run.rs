//! An opened run: samples, latents, metrics and files of its model.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use waxwork_cli::{write_evaluation, write_report};
use waxwork_core::onnx::Part;
use waxwork_core::walk::{self, Interpolation, Traversal, Walk};
use waxwork_core::{Condition, Device, ImageShape, Kind, SampleRequest, Tensor, device, store, values};
use waxwork_data::Dataset;
use waxwork_data::table::Table;
use waxwork_data::table::encode::Encoder;
use waxwork_data::text;
use waxwork_eval::{ArrayError, Inception, Protocol, arrays};
use waxwork_models::completion::{self, Asked};
use waxwork_models::resume::data_differences;
use waxwork_models::sampling::{self, Draw};
use waxwork_models::{Classes, EvaluationConfig, GivenPart, Weights, evaluate_on, rows, sounds};

use crate::arrays::{Floats, Made, tensor};
use crate::compute::{Watch, compute};
use crate::data::{self, Column, Data, Source, typed};
use crate::errors::{Class, Fault, guard};
use crate::rows::{Described, described, truth};
use crate::warnings;

/// A run with its model.
#[pyclass(frozen, module = "waxwork._native")]
pub(crate) struct Run {
    run: waxwork_models::Run,
    classes: Classes,
    device: Device,
    /// The data that it was trained on, if that was in memory.
    source: Option<Source>,
}

/// A metric: name, value, unit, interval, floor, whether higher is better, and the protocol.
type Metric = (String, f64, String, Option<[f64; 2]>, Option<f64>, Option<bool>, Protocol);

/// A tensor: its name, its shape, and the bytes of its values.
type NamedTensor<'py> = (String, Vec<usize>, Bound<'py, PyByteArray>);

/// Samples that an encoder gets.
#[derive(FromPyObject)]
pub(crate) enum Inputs<'py> {
    /// The bytes of a `.npy` file.
    Array(Bound<'py, PyBytes>),
    /// Texts.
    Texts(Vec<String>),
    /// Columns of a table.
    Columns(Vec<Column<'py>>),
}

/// Opens a run folder. `raw` weights are those of its newest checkpoint, without their moving average.
#[pyfunction]
pub(crate) fn open(py: Python<'_>, path: PathBuf, device: &str, raw: bool) -> PyResult<Run> {
    compute(py, None, None, |_| {
        let (path, device) = (absolute(path), device::open(device)?);
        if raw {
            let run = waxwork_models::Run::open_raw(&path, &device)?;
            return Ok(Run { classes: Classes::of(&run), run, device, source: None });
        }
        Run::opened(&path, device, None)
    })
}

/// The absolute path, so that a run stays the same if the working directory changes. A path without an
/// absolute form, such as the empty one, is left as it is, and is an error where it is used.
pub(crate) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

impl Run {
    /// Opens a run, with a warning if its weights are not the final ones.
    pub(crate) fn opened(path: &Path, device: Device, source: Option<Source>) -> Result<Self, Fault> {
        let run = waxwork_models::Run::open(path, &device)?;
        if let Weights::Checkpoint { step, damaged } = &run.weights {
            damaged.iter().for_each(|reason| warnings::add(reason.clone()));
            warnings::add(format!("this run is not finished: using its checkpoint at step {step}"));
        }
        Ok(Self { classes: Classes::of(&run), run, device, source })
    }

    /// Checks that data in memory is what the run learned from, with the same test part and classes.
    fn check_same(&self, source: Option<&Source>, data: &Dataset) -> Result<(), Fault> {
        let differences = data_differences(&self.run.info, data);
        if source.is_none() || differences.is_empty() {
            return Ok(());
        }
        let differences = differences.join(", ");
        Err(Fault::data(format!(
            "this is not the data that the run learned from: {differences}; give `data`, `test` and `classes` as for training"
        )))
    }

    fn encoder(&self) -> Result<&Encoder, Fault> {
        let missing = || Fault::new(Class::Model, "this run was not trained on a table");
        self.run.encoder_of_rows.as_ref().ok_or_else(missing)
    }

    /// Samples as people see them; `first` is the number of the first one.
    fn made(&self, samples: &Tensor, first: u64) -> Result<Made, Fault> {
        let (kind, view) = (self.run.info.kind(), self.run.info.view());
        values::check("samples", samples)?;
        if let Some(encoder) = &self.run.encoder_of_rows {
            return Ok(Made::Rows(rows::decode(encoder, samples, first)?));
        }
        if matches!(kind, Kind::Text { .. }) {
            return Ok(Made::Texts(view.lines(&kind, samples)?));
        }
        if let Kind::Sound { length, .. } = kind {
            let bytes = sounds::at_rest(&kind, &view, samples, first)?;
            return Ok(Made::Floats(Floats::of(&sounds::waveforms(&bytes, length)?)?));
        }
        Ok(Made::Floats(Floats::of(samples)?))
    }

    /// A request for rows; `asked` are values of columns, and `like` is a table with the values.
    fn request(
        &self,
        asked: &[(String, String)],
        like: Option<Vec<waxwork_data::table::TypedColumn>>,
        draw: &Draw<'_>,
    ) -> Result<SampleRequest, Fault> {
        let (encoder, info) = (self.encoder()?, self.run.model.info());
        let condition = if asked.is_empty() && like.is_none() {
            Condition::None
        } else if !info.condition.is_columns() {
            let family = &info.family;
            let message =
                format!("{family} models cannot be asked for values; train a cgan or cvae on this table");
            return Err(Fault::new(Class::Model, message));
        } else if let Some(columns) = like {
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            let table = Table::from_columns_as(columns, &encoder.schema().select(&names)?, true)?;
            rows::asking_like(encoder, &table, draw.count)?
        } else {
            rows::asking_for(encoder, asked, draw.count)?
        };
        let (truncation, temperature) = (draw.truncation, draw.temperature);
        Ok(SampleRequest { condition, truncation, temperature, ..SampleRequest::new(draw.seed, draw.count) })
    }

    /// Samples as the encoder sees them. Labels, if any, must be one per sample.
    fn seen(&self, inputs: Given<'_>, labels: Option<&[u32]>) -> Result<Tensor, Fault> {
        let (kind, view) = (self.run.info.kind(), self.run.info.view());
        let seen = match inputs {
            Given::Columns(columns) => {
                let encoder = self.encoder()?;
                let table = Table::from_columns_as(columns, encoder.schema(), false)?;
                let (bound, width) =
                    (encoder.bind(&table).map_err(waxwork_data::Error::from)?, encoder.layout().width());
                let mut encoded = vec![0.0; table.rows() * width];
                let cells = encoded.chunks_exact_mut(width).enumerate();
                cells.for_each(|(row, out)| bound.write_row(row, out));
                Tensor::from_vec(encoded, (table.rows(), width), &Device::Cpu)
                    .map_err(waxwork_core::Error::from)?
            }
            Given::Texts(texts) => {
                let (Kind::Text { length, .. }, Some(vocabulary)) = (&kind, view.vocabulary()) else {
                    return Err(Fault::data(format!("this model encodes {}, not texts", kind.plural())));
                };
                let tokens = texts.iter().map(|text| vocabulary.encode(text)).collect::<Result<Vec<_>, _>>();
                let tokens = tokens.map_err(|error| Fault::data(error.to_string()))?;
                let bytes = tokens.iter().flat_map(|tokens| text::at_rest(tokens, *length)).collect();
                sounds::seen(&kind, &view, bytes)?
            }
            Given::Array(npy) => {
                let array = tensor("inputs", npy)?;
                match kind {
                    Kind::Sound { .. } => sounds::seen(&kind, &view, arrays::at_rest(&array, &kind)?)?,
                    _ => arrays::samples(&array, &kind)?,
                }
            }
        };
        let images = seen.dim(0).map_err(waxwork_core::Error::from)?;
        match labels.map(<[u32]>::len).filter(|labels| *labels != images) {
            Some(labels) => Err(Fault::from(waxwork_eval::Error::from(ArrayError::Count { labels, images }))),
            None => Ok(seen),
        }
    }

    /// Applies a part of the model to samples as it sees them.
    fn applied<'py>(
        &self,
        py: Python<'py>,
        inputs: &mut Inputs<'_>,
        labels: Option<&[u32]>,
        threads: Option<usize>,
        progress: Option<&Bound<'_, PyAny>>,
        apply: impl FnOnce(&Tensor, Option<&[u32]>, &Watch) -> Result<Made, Fault> + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inputs = inputs.given()?;
        let made = compute(py, threads, progress, |watch| apply(&self.seen(inputs, labels)?, labels, watch))?;
        made.into_python(py)
    }

    fn walked(&self, walk: &Walk, watch: &Watch) -> Result<Tensor, Fault> {
        let count = walk.latents.dim(0).map_err(waxwork_core::Error::from)? as u64;
        Ok(walk.generate(self.run.model.as_ref(), |done| watch.progress("generating", done as u64, count))?)
    }
}

/// The mask of the pixels that are given, of an array that is white where pixels are missing: one for all images, or
/// one for each.
fn mask_of(npy: &[u8], images: &Tensor) -> Result<Tensor, Fault> {
    let wrong = |reason: String| Fault::data(format!("mask: {reason}"));
    let (count, _, height, width) = images.dims4().map_err(waxwork_core::Error::from)?;
    let white = arrays::images(&tensor("mask", npy)?, ImageShape::new(1, height, width));
    let white = white.map_err(|error| wrong(error.to_string()))?;
    let given = |values: &[f32]| values.iter().map(|value| f32::from(u8::from(*value < 0.5))).collect();
    let mask: Vec<f32> = values::read(&white, given)?;
    if mask.iter().all(|given| *given > 0.0) {
        return Err(wrong("it has no white pixel, so it marks nothing to complete".into()));
    }
    let masks = white.dims().first().copied().unwrap_or_default();
    if masks != 1 && masks != count {
        return Err(wrong(format!("{masks} masks for {count} images")));
    }
    Ok(Tensor::from_vec(mask, white.dims(), &Device::Cpu).map_err(waxwork_core::Error::from)?)
}

/// [`Inputs`] without ties to the interpreter.
enum Given<'a> {
    Array(&'a [u8]),
    Texts(Vec<String>),
    Columns(Vec<waxwork_data::table::TypedColumn>),
}

impl Inputs<'_> {
    /// Takes texts and columns out, and borrows an array.
    fn given(&mut self) -> PyResult<Given<'_>> {
        Ok(match self {
            Self::Array(bytes) => Given::Array(bytes.as_bytes()),
            Self::Texts(texts) => Given::Texts(std::mem::take(texts)),
            Self::Columns(columns) => Given::Columns(typed(std::mem::take(columns))?),
        })
    }
}

// `waxwork.Run` in Python documents the methods of the same name.
#[pymethods]
impl Run {
    #[getter]
    fn path(&self) -> PathBuf {
        self.run.folder.path().to_owned()
    }

    #[getter]
    fn family(&self) -> &str {
        &self.run.info.model.family
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.run.info.kind().plural()
    }

    #[getter]
    fn shape(&self) -> Vec<usize> {
        self.run.info.model.sample.batch(1).dims()[1..].to_vec()
    }

    #[getter]
    fn latent_dim(&self) -> usize {
        self.run.model.info().latent_dim()
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        (0..self.classes.len() as u32).map(|label| self.classes.name(label)).collect()
    }

    #[getter]
    fn steps(&self) -> u64 {
        match &self.run.weights {
            Weights::Finished => self.run.info.model_step.unwrap_or(self.run.info.steps),
            Weights::Checkpoint { step, .. } => *step,
        }
    }

    #[getter]
    fn finished(&self) -> bool {
        self.run.weights == Weights::Finished
    }

    #[getter]
    fn has_encoder(&self) -> bool {
        self.run.encoder().is_some()
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.run.info.seed
    }

    #[getter]
    fn data(&self) -> &str {
        &self.run.info.data
    }

    #[getter]
    fn description(&self) -> &str {
        &self.run.recipe.description
    }

    /// The complete recipe as JSON.
    #[getter]
    fn recipe(&self) -> PyResult<String> {
        let json = serde_json::to_string(&self.run.recipe);
        Ok(json.map_err(|error| Fault::new(Class::Recipe, error.to_string()))?)
    }

    /// Name, kind and possible values of each column; None if the run was not trained on a table.
    #[getter]
    fn columns(&self) -> Option<Vec<Described>> {
        self.run.encoder_of_rows.as_ref().map(|encoder| described(encoder.schema()))
    }

    /// The file that shows samples after the steps of the weights.
    #[getter]
    fn shown(&self) -> PathBuf {
        self.run.folder.sample_shown(self.steps())
    }

    /// The class number of each name or number.
    fn labels(&self, words: Vec<String>) -> PyResult<Vec<u32>> {
        if self.classes.is_empty() && !words.is_empty() {
            let info = self.run.model.info();
            let why = if info.condition.is_part() {
                "it completes images; call `Run.complete`".to_owned()
            } else {
                format!("{} models are unconditional", info.family)
            };
            return Err(Fault::data(format!("this model takes no labels: {why}")).into());
        }
        guard(|| {
            let labels = words.iter().map(|word| self.classes.label(word)).collect::<Result<_, _>>();
            Ok(labels.map_err(Fault::from)?)
        })
    }

    /// The text of a truth value in a column of the table.
    fn truth(&self, column: &str, value: bool) -> PyResult<String> {
        Ok(truth(self.encoder()?.schema(), column, value)?)
    }

    /// Samples; without labels, those of a conditional model are of its classes in turn.
    #[expect(clippy::too_many_arguments, reason = "the method of Python that calls it names them")]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        seed: u64,
        labels: Vec<u32>,
        truncation: Option<f32>,
        temperature: f64,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = compute(py, threads, progress.as_ref(), |watch| {
            let labels = if labels.is_empty() {
                sampling::in_turn(&(0..self.classes.len() as u32).collect::<Vec<_>>(), count)
            } else {
                labels
            };
            let asked = Draw { truncation, temperature, ..Draw::new(count, seed, &labels) };
            let (mut floats, mut texts, mut done) = (None, Vec::new(), 0);
            sampling::draw::<Fault>(self.run.model.as_ref(), &asked, |part| {
                values::check_rows("samples", &part, done)?;
                match self.made(&part, done as u64)? {
                    Made::Floats(part) => {
                        let all = floats.get_or_insert_with(|| Floats::new(&part.dims));
                        all.parts.extend(part.parts);
                    }
                    Made::Texts(lines) => texts.extend(lines),
                    Made::Rows(_) => {}
                }
                done += part.dim(0).map_err(waxwork_core::Error::from)?;
                watch.progress("sampling", done as u64, count as u64);
                Ok(())
            })?;
            Ok(match floats {
                Some(mut floats) => {
                    if let Some(rows) = floats.dims.first_mut() {
                        *rows = count;
                    }
                    Made::Floats(floats)
                }
                None => Made::Texts(texts),
            })
        })?;
        made.into_python(py)
    }

    /// Rows of a table: with values of columns as asked, or with the values of the rows of `like`.
    #[expect(clippy::too_many_arguments, reason = "the method of Python that calls it names them")]
    fn sample_rows<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        seed: u64,
        asked: Vec<(String, String)>,
        like: Option<Vec<Column<'_>>>,
        truncation: Option<f32>,
        temperature: f64,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let like = like.map(typed).transpose()?;
        let draw = Draw { truncation, temperature, ..Draw::new(count, seed, &[]) };
        let table = compute(py, threads, progress.as_ref(), |watch| {
            let request = self.request(&asked, like, &draw)?;
            Ok(rows::sample(self.run.model.as_ref(), self.encoder()?, &request, |done| {
                watch.progress("sampling", done as u64, count as u64);
            })?)
        })?;
        Made::Rows(table).into_python(py)
    }

    fn encode<'py>(
        &self,
        py: Python<'py>,
        mut inputs: Inputs<'_>,
        labels: Option<Vec<u32>>,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.applied(py, &mut inputs, labels.as_deref(), threads, progress.as_ref(), |seen, labels, watch| {
            let all = seen.dims().first().copied().unwrap_or_default() as u64;
            let done = |done| watch.progress("encoding", done as u64, all);
            let means = sampling::encode(self.run.needed_encoder()?, &self.device, seen, labels, done)?;
            Ok(Made::Floats(Floats::of(&means)?))
        })
    }

    fn reconstruct<'py>(
        &self,
        py: Python<'py>,
        mut inputs: Inputs<'_>,
        labels: Option<Vec<u32>>,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.applied(py, &mut inputs, labels.as_deref(), threads, progress.as_ref(), |seen, labels, watch| {
            let all = seen.dims().first().copied().unwrap_or_default() as u64;
            let done = |done| watch.progress("reconstructing", done as u64, all);
            let reconstructor = self.run.needed_reconstructor()?;
            self.made(&sampling::reconstruct(reconstructor, &self.device, seen, labels, done)?, 0)
        })
    }

    /// Completions of images, all of the first before those of the second.
    #[expect(clippy::too_many_arguments, reason = "the method of Python that calls it names them")]
    fn complete<'py>(
        &self,
        py: Python<'py>,
        images: &[u8],
        given: Option<String>,
        mask: Option<&[u8]>,
        draws: usize,
        seed: u64,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = compute(py, threads, progress.as_ref(), |watch| {
            self.run.needed_completer()?;
            let images = self.seen(Given::Array(images), None)?;
            let asked = match (given, mask) {
                (Some(part), _) => {
                    let part = serde_json::from_value::<GivenPart>(part.into());
                    Asked::Part(part.map_err(|error| Fault::data(format!("given: {error}")))?, seed)
                }
                (None, Some(mask)) => Asked::Mask(mask_of(mask, &images)?),
                (None, None) => Asked::Learned,
            };
            let numbers: Vec<u64> = (0..images.dims().first().copied().unwrap_or_default() as u64).collect();
            let given = completion::given(&self.run, &images, &numbers, &asked)?;
            let all = numbers.len().saturating_mul(draws) as u64;
            let done = |done: usize| watch.progress("completing", done as u64, all);
            self.made(&completion::complete(self.run.model.as_ref(), &given, draws, seed, done)?, 0)
        })?;
        made.into_python(py)
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        latents: &[u8],
        labels: Option<Vec<u32>>,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = compute(py, threads, progress.as_ref(), |watch| {
            let latents = arrays::latents(&tensor("latents", latents)?, self.run.model.info().latent_dim())?;
            let latents = latents.to_device(&self.device).map_err(waxwork_core::Error::from)?;
            let condition = labels.as_ref().map(|labels| Condition::classes(labels)).transpose()?;
            let walk = Walk { latents, condition: condition.unwrap_or_default() };
            self.made(&self.walked(&walk, watch)?, 0)
        })?;
        made.into_python(py)
    }

    /// Rows of samples on paths between draws, all in one array.
    #[expect(clippy::too_many_arguments, reason = "the method of Python that calls it names them")]
    fn interpolate<'py>(
        &self,
        py: Python<'py>,
        rows: usize,
        steps: usize,
        ends: Option<(u32, u32)>,
        fixed_latent: bool,
        seed: u64,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let usual = (!self.classes.is_empty()).then_some((0, 0));
        let classes: Vec<(u32, u32)> = ends.or(usual).into_iter().collect();
        let made = compute(py, threads, progress.as_ref(), |watch| {
            let way = Interpolation { rows, steps, classes: &classes, fixed_latent, seed };
            let walk = walk::interpolation(self.run.model.as_ref(), &way)?;
            self.made(&self.walked(&walk, watch)?, 0)
        })?;
        made.into_python(py)
    }

    /// Rows of samples that differ in one latent value, all in one array.
    fn traverse<'py>(
        &self,
        py: Python<'py>,
        dims: Vec<u32>,
        steps: usize,
        label: u32,
        seed: Option<u64>,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = compute(py, threads, progress.as_ref(), |watch| {
            let way = Traversal { dims: &dims, steps, class: label, seed };
            let walk = walk::traversal(self.run.model.as_ref(), &way)?;
            self.made(&self.walked(&walk, watch)?, 0)
        })?;
        made.into_python(py)
    }

    #[expect(clippy::too_many_arguments, reason = "the method of Python that calls it names them")]
    fn evaluate(
        &self,
        py: Python<'_>,
        samples: usize,
        seed: u64,
        count: Option<usize>,
        importance_samples: usize,
        accuracy: bool,
        inception: Option<PathBuf>,
        data: Option<Bound<'_, Data>>,
        data_dir: Option<PathBuf>,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Metric>> {
        let source = data.map(|data| data.get().source()).or_else(|| self.source.clone());
        let report = compute(py, threads, progress.as_ref(), |watch| {
            let loading = |done, total| watch.progress("loading data", done, total);
            let data = data::load(&self.run.recipe.data, source.as_ref(), data_dir.clone(), &loading)?;
            self.check_same(source.as_ref(), &data)?;
            let whole = self.run.whole_data(data_dir.as_deref());
            let whole =
                whole.map(|config| data::load(&config, source.as_ref(), None, &loading)).transpose()?;
            let inception = inception.map(|path| Inception::open(&path)).transpose()?;
            let config = EvaluationConfig {
                test_samples: count,
                importance_samples,
                samples,
                seed,
                inception: inception.as_ref(),
                accuracy,
                ..EvaluationConfig::default()
            };
            let whole = whole.as_ref().unwrap_or(&data);
            let report = evaluate_on(&self.run, &data, whole, &config, &mut |what, done, total| {
                watch.progress(what, done as u64, total as u64);
            })?;
            write_evaluation(&report, self.run.folder.path())?;
            Ok(report)
        })?;
        let metric = |m: waxwork_eval::Metric| {
            (m.name, m.value, m.unit, m.interval, m.floor, m.higher_is_better, m.protocol)
        };
        Ok(report.metrics.into_iter().map(metric).collect())
    }

    fn report(
        &self,
        py: Python<'_>,
        out: Option<PathBuf>,
        data: Option<Bound<'_, Data>>,
        data_dir: Option<PathBuf>,
        threads: Option<usize>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<PathBuf> {
        let source = data.map(|data| data.get().source()).or_else(|| self.source.clone());
        compute(py, threads, progress.as_ref(), |watch| {
            let loading = |done, total| watch.progress("loading data", done, total);
            let data = data::load(&self.run.recipe.data, source.as_ref(), data_dir, &loading);
            let data = match &source {
                Some(_) => {
                    let data = data?;
                    self.check_same(source.as_ref(), &data)?;
                    Ok(data)
                }
                None => data,
            };
            let load = |_: &waxwork_models::Run| Ok(data?);
            let drawn =
                |done: usize, parts: usize| watch.progress("drawing the page", done as u64, parts as u64);
            Ok(write_report(self.run.folder.path(), out.as_deref(), load, &self.device, &drawn)?)
        })
    }

    fn export(&self, py: Python<'_>, out: Option<PathBuf>, part: Option<&str>) -> PyResult<PathBuf> {
        const PARTS: [Part; 4] = [Part::Generator, Part::Decoder, Part::Encoder, Part::Prior];
        let named = |name: &str| {
            let known = PARTS.map(Part::name).join(", ");
            let unknown =
                || Fault::new(Class::Model, format!("there is no part `{name}`; parts are {known}"));
            PARTS.into_iter().find(|part| part.name() == name).ok_or_else(unknown)
        };
        let part = part.map(named).transpose()?;
        compute(py, None, None, |_| {
            let (part, bytes) = self.run.onnx(part)?;
            let out = out.unwrap_or_else(|| self.run.folder.path().join(format!("{}.onnx", part.name())));
            store::write(&out, &bytes)?;
            Ok(out)
        })
    }

    /// The tensors of the model in the order of their names: name, shape and the bytes of f32 values.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Vec<NamedTensor<'py>>> {
        let tensors = self.run.model.params().tensors().into_iter();
        let one = |(name, tensor): (String, Tensor)| {
            let (dims, bytes) = Floats::of(&tensor)?.into_python(py)?;
            Ok((name, dims, bytes))
        };
        guard(|| tensors.map(one).collect())
    }
}
