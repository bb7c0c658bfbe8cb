//! A run's event file for TensorBoard: scalars, sample grids, sounds, texts, hyperparameters, and histograms
//! of weights on request.
//!
//! A resumed run starts a new file, which makes TensorBoard drop the events of earlier files from that step
//! on. Event files contain times, so they are not among the reproducible parts of a run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message;
use serde_json::Value;
use waxwork_core::{ParamSet, Tensor, store};

use crate::Result;
use crate::observer::{Event, Observer};

/// Number of buckets in a histogram; all have the same width.
const BUCKETS: usize = 40;
/// The tag under which TensorBoard's hyperparameter plugin looks for them.
const START_OF_SESSION: &str = "_hparams_/session_start_info";
/// `START` of `SessionLog.SessionStatus`.
const START: i32 = 1;
/// `DT_FLOAT` of `DataType`.
const FLOAT: i32 = 1;
/// `DT_STRING` of `DataType`.
const STRING: i32 = 7;

/// Writes the event file of one run.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    hyperparameters: BTreeMap<String, proto::Scalar>,
    params: ParamSet,
    histogram_every: u64,
    /// None before the start, and after an error.
    file: Option<EventFile>,
}

impl TensorBoard {
    /// Watches a run in `folder`. `recipe` is its configuration, whose leaves become the hyperparameters.
    /// Histograms of the weights in `params` are written every `histogram_every` steps; 0 writes none.
    pub fn new(folder: &Path, recipe: &Value, params: &ParamSet, histogram_every: u64) -> Self {
        let mut hyperparameters = BTreeMap::new();
        flatten("", recipe, &mut hyperparameters);
        Self {
            folder: folder.to_owned(),
            hyperparameters,
            params: params.clone(),
            histogram_every,
            file: None,
        }
    }

    fn write(&mut self, event: Event<'_>) -> Result<()> {
        if let Event::Started { done, .. } = event {
            let mut file = EventFile::create(&self.folder, done)?;
            let start = proto::SessionStart { hparams: self.hyperparameters.clone(), start_time_secs: now() };
            file.write(0, proto::What::Summary(proto::Summary { value: vec![session(start)] }))?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        match event {
            Event::Logged { step, values, costs } => {
                let values = values.iter().map(|(name, value)| scalar(name, *value));
                let costs = costs.iter().map(|(name, value)| scalar(&format!("timing/{name}"), *value));
                file.summary(step, values.chain(costs).collect())?;
                file.flush()
            }
            Event::Validated { step, metrics } => {
                file.summary(step, metrics.iter().map(|(name, value)| scalar(name, *value)).collect())
            }
            Event::Drawn { step, artifacts } => {
                let pictures =
                    artifacts.iter().filter_map(|artifact| Some((artifact, artifact.picture.as_ref()?)));
                let images = pictures.map(|(artifact, picture)| proto::Image {
                    height: picture.height as i32,
                    width: picture.width as i32,
                    colorspace: picture.channels as i32,
                    encoded_image_string: artifact.bytes.clone(),
                });
                let values = images.map(|image| summary_value("samples", |value| value.image = Some(image)));
                let heard = artifacts.iter().filter_map(|artifact| Some((artifact, artifact.sound?)));
                let sounds = heard.map(|(artifact, sound)| proto::Audio {
                    sample_rate: sound.rate as f32,
                    num_channels: 1,
                    length_frames: sound.samples as i64,
                    encoded_audio_string: artifact.bytes.clone(),
                    content_type: "audio/wav".into(),
                });
                let sounds =
                    sounds.map(|sound| summary_value("samples/sound", |value| value.audio = Some(sound)));
                let lines = artifacts.iter().filter(|artifact| artifact.extension == "txt");
                let texts =
                    lines.map(|artifact| text("samples/text", &String::from_utf8_lossy(&artifact.bytes)));
                file.summary(step, values.chain(sounds).chain(texts).collect())
            }
            Event::Step(report) if (report.step + 1).is_multiple_of(self.histogram_every.max(1)) => {
                if self.histogram_every == 0 {
                    return Ok(());
                }
                let mut values = Vec::new();
                for (name, _, var) in self.params.iter() {
                    let tag = name.replacen('.', "/", 1);
                    let histogram = histogram(&var.as_detached_tensor())?;
                    values.extend(
                        histogram.map(|found| summary_value(&tag, |value| value.histo = Some(found))),
                    );
                }
                file.summary(report.step + 1, values)
            }
            Event::Finished => file.flush(),
            Event::Started { .. } | Event::Step(_) | Event::Checkpoint(_) => Ok(()),
        }
    }
}

impl Observer for TensorBoard {
    fn on(&mut self, event: Event<'_>) {
        if let Err(error) = self.write(event) {
            tracing::warn!("TensorBoard events stop here: {error}");
            self.file = None;
        }
    }
}

/// A growing file of events, each framed as a TFRecord.
#[derive(Debug)]
struct EventFile {
    path: PathBuf,
    file: std::io::BufWriter<File>,
}

impl EventFile {
    /// Creates a file in `folder` for the steps after `done`. It invalidates events of later steps in other
    /// files.
    fn create(folder: &Path, done: u64) -> Result<Self> {
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("events.out.tfevents.{:010}.waxwork.{done:09}", now() as u64);
        let path = folder.join(name);
        // A file of the same second holds nothing that this one will not. A link would lead out of the
        // folder.
        _ = fs::remove_file(&path);
        let file = File::create_new(&path).map_err(store::failed("create", &path))?;
        let mut events = Self { path, file: std::io::BufWriter::new(file) };
        events.write(0, proto::What::FileVersion("brain.Event:2".into()))?;
        events.write(done + 1, proto::What::SessionLog(proto::SessionLog { status: START }))?;
        Ok(events)
    }

    fn summary(&mut self, step: u64, value: Vec<proto::SummaryValue>) -> Result<()> {
        self.write(step, proto::What::Summary(proto::Summary { value }))
    }

    fn write(&mut self, step: u64, what: proto::What) -> Result<()> {
        let event = proto::Event { wall_time: now(), step: step as i64, what: Some(what) };
        let record = framed(&event.encode_to_vec());
        Ok(self.file.write_all(&record).map_err(store::failed("write", &self.path))?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush().map_err(store::failed("write", &self.path))?)
    }
}

/// A TFRecord: the length, its checksum, the contents, their checksum.
fn framed(contents: &[u8]) -> Vec<u8> {
    let length = (contents.len() as u64).to_le_bytes();
    let checksum =
        |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [&length, checksum(&length).as_slice(), contents, &checksum(contents)].concat()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// The leaves of a configuration under their dotted names; a list is a leaf, as JSON.
fn flatten(name: &str, value: &Value, leaves: &mut BTreeMap<String, proto::Scalar>) {
    let kind = match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&name, value, leaves);
            }
            return;
        }
        Value::Null => return,
        Value::Bool(value) => proto::ScalarKind::Bool(*value),
        Value::Number(value) => proto::ScalarKind::Number(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => proto::ScalarKind::Text(value.clone()),
        Value::Array(_) => proto::ScalarKind::Text(value.to_string()),
    };
    leaves.insert(name.to_owned(), proto::Scalar { kind: Some(kind) });
}

fn summary_value(tag: &str, fill: impl FnOnce(&mut proto::SummaryValue)) -> proto::SummaryValue {
    let mut value = proto::SummaryValue { tag: tag.to_owned(), ..proto::SummaryValue::default() };
    fill(&mut value);
    value
}

fn scalar(name: &str, value: f64) -> proto::SummaryValue {
    summary_value(name, |found| found.simple_value = Some(value as f32))
}

/// The start of a session, which the hyperparameter plugin reads from a value's metadata.
fn session(start: proto::SessionStart) -> proto::SummaryValue {
    let content = proto::Hyperparameters { session_start_info: Some(start) }.encode_to_vec();
    let plugin_data = Some(proto::PluginData { plugin_name: "hparams".into(), content });
    // TensorBoard drops values without a tensor.
    let nothing = proto::Tensor {
        dtype: FLOAT,
        tensor_shape: Some(proto::TensorShape { dim: vec![proto::Dimension { size: 1 }] }),
        float_val: vec![0.0],
        string_val: Vec::new(),
    };
    summary_value(START_OF_SESSION, |value| {
        value.metadata = Some(proto::Metadata { plugin_data });
        value.tensor = Some(nothing);
    })
}

/// Lines for the plugin for texts, which reads Markdown: indented, they stay as they are.
fn text(tag: &str, lines: &str) -> proto::SummaryValue {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let plugin_data = Some(proto::PluginData { plugin_name: "text".into(), content: Vec::new() });
    let tensor = proto::Tensor {
        dtype: STRING,
        tensor_shape: Some(proto::TensorShape { dim: vec![proto::Dimension { size: 1 }] }),
        float_val: Vec::new(),
        string_val: vec![indented.into_bytes()],
    };
    summary_value(tag, |value| {
        value.metadata = Some(proto::Metadata { plugin_data });
        value.tensor = Some(tensor);
    })
}

/// Counts the values in each of [`BUCKETS`] equal parts of their range; None if no value is finite.
fn histogram(tensor: &Tensor) -> Result<Option<proto::Histogram>> {
    let values =
        tensor.flatten_all().and_then(|all| all.to_dtype(waxwork_core::DType::F32)?.to_vec1::<f32>());
    let values = values.map_err(waxwork_core::Error::from)?;
    let values: Vec<f64> = values.into_iter().map(f64::from).filter(|value| value.is_finite()).collect();
    let (min, max) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &v| (min.min(v), max.max(v)));
    if values.is_empty() {
        return Ok(None);
    }
    let width = ((max - min) / BUCKETS as f64).max(f64::from(f32::MIN_POSITIVE));
    let mut bucket = vec![0.0; BUCKETS];
    for value in &values {
        bucket[(((value - min) / width) as usize).min(BUCKETS - 1)] += 1.0;
    }
    Ok(Some(proto::Histogram {
        min,
        max,
        num: values.len() as f64,
        sum: values.iter().sum(),
        sum_squares: values.iter().map(|value| value * value).sum(),
        bucket_limit: (1..=BUCKETS).map(|i| min + width * i as f64).collect(),
        bucket,
    }))
}

/// The messages of TensorBoard's event.proto, summary.proto and hyperparameter plugin, with their field
/// numbers.
mod proto {
    use std::collections::BTreeMap;

    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Event {
        #[prost(double, tag = "1")]
        pub(super) wall_time: f64,
        #[prost(int64, tag = "2")]
        pub(super) step: i64,
        #[prost(oneof = "What", tags = "3, 5, 7")]
        pub(super) what: Option<What>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(super) enum What {
        #[prost(string, tag = "3")]
        FileVersion(String),
        #[prost(message, tag = "5")]
        Summary(Summary),
        #[prost(message, tag = "7")]
        SessionLog(SessionLog),
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct SessionLog {
        #[prost(int32, tag = "1")]
        pub(super) status: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Summary {
        #[prost(message, repeated, tag = "1")]
        pub(super) value: Vec<SummaryValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct SummaryValue {
        #[prost(string, tag = "1")]
        pub(super) tag: String,
        #[prost(float, optional, tag = "2")]
        pub(super) simple_value: Option<f32>,
        #[prost(message, optional, tag = "4")]
        pub(super) image: Option<Image>,
        #[prost(message, optional, tag = "5")]
        pub(super) histo: Option<Histogram>,
        #[prost(message, optional, tag = "6")]
        pub(super) audio: Option<Audio>,
        #[prost(message, optional, tag = "8")]
        pub(super) tensor: Option<Tensor>,
        #[prost(message, optional, tag = "9")]
        pub(super) metadata: Option<Metadata>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Image {
        #[prost(int32, tag = "1")]
        pub(super) height: i32,
        #[prost(int32, tag = "2")]
        pub(super) width: i32,
        #[prost(int32, tag = "3")]
        pub(super) colorspace: i32,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) encoded_image_string: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Audio {
        #[prost(float, tag = "1")]
        pub(super) sample_rate: f32,
        #[prost(int64, tag = "2")]
        pub(super) num_channels: i64,
        #[prost(int64, tag = "3")]
        pub(super) length_frames: i64,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) encoded_audio_string: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) content_type: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Histogram {
        #[prost(double, tag = "1")]
        pub(super) min: f64,
        #[prost(double, tag = "2")]
        pub(super) max: f64,
        #[prost(double, tag = "3")]
        pub(super) num: f64,
        #[prost(double, tag = "4")]
        pub(super) sum: f64,
        #[prost(double, tag = "5")]
        pub(super) sum_squares: f64,
        #[prost(double, repeated, tag = "6")]
        pub(super) bucket_limit: Vec<f64>,
        #[prost(double, repeated, tag = "7")]
        pub(super) bucket: Vec<f64>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Tensor {
        #[prost(int32, tag = "1")]
        pub(super) dtype: i32,
        #[prost(message, optional, tag = "2")]
        pub(super) tensor_shape: Option<TensorShape>,
        #[prost(float, repeated, tag = "5")]
        pub(super) float_val: Vec<f32>,
        #[prost(bytes = "vec", repeated, tag = "8")]
        pub(super) string_val: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct TensorShape {
        #[prost(message, repeated, tag = "2")]
        pub(super) dim: Vec<Dimension>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Dimension {
        #[prost(int64, tag = "1")]
        pub(super) size: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Metadata {
        #[prost(message, optional, tag = "1")]
        pub(super) plugin_data: Option<PluginData>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct PluginData {
        #[prost(string, tag = "1")]
        pub(super) plugin_name: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) content: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Hyperparameters {
        #[prost(message, optional, tag = "3")]
        pub(super) session_start_info: Option<SessionStart>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct SessionStart {
        #[prost(btree_map = "string, message", tag = "1")]
        pub(super) hparams: BTreeMap<String, Scalar>,
        #[prost(double, tag = "5")]
        pub(super) start_time_secs: f64,
    }

    /// `google.protobuf.Value`.
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Scalar {
        #[prost(oneof = "ScalarKind", tags = "2, 3, 4")]
        pub(super) kind: Option<ScalarKind>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(super) enum ScalarKind {
        #[prost(double, tag = "2")]
        Number(f64),
        #[prost(string, tag = "3")]
        Text(String),
        #[prost(bool, tag = "4")]
        Bool(bool),
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::Device;

    use super::*;

    #[test]
    fn a_record_is_framed_as_tensorflow_frames_it() {
        // Python: from tensorboard.summary.writer.record_writer import RecordWriter
        //         RecordWriter(file).write(b"123456789")
        let expected = "090000000000000037f97139313233343536373839e5b08ac7";
        let hex: String = framed(b"123456789").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_histogram_counts_every_finite_value_once() {
        let values = [-1.0f32, -1.0, 0.0, 0.5, 3.0, f32::NAN, f32::INFINITY];
        let found = histogram(&Tensor::new(&values, &Device::Cpu).unwrap()).unwrap().unwrap();
        assert_eq!(
            (found.min, found.max, found.num, found.sum, found.sum_squares),
            (-1.0, 3.0, 5.0, 1.5, 11.25)
        );
        assert_eq!(found.bucket.iter().sum::<f64>(), 5.0);
        assert_eq!((found.bucket[0], found.bucket[BUCKETS - 1]), (2.0, 1.0));
        assert!((found.bucket_limit[BUCKETS - 1] - 3.0).abs() < 1e-12);
        let same = histogram(&Tensor::new(&[0f32, 0.0], &Device::Cpu).unwrap()).unwrap().unwrap();
        assert_eq!(same.bucket.iter().sum::<f64>(), 2.0);
        assert!(histogram(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap()).unwrap().is_none());
    }

    #[test]
    fn hyperparameters_are_the_leaves_of_a_recipe() {
        let recipe = serde_json::json!({"model": {"family": "x", "widths": [1, 2]}, "train": {"flip": true, "seed": 3}});
        let mut leaves = BTreeMap::new();
        flatten("", &recipe, &mut leaves);
        let kinds: Vec<_> = leaves.into_iter().map(|(name, leaf)| (name, leaf.kind.unwrap())).collect();
        let expected = [
            ("model.family", proto::ScalarKind::Text("x".into())),
            ("model.widths", proto::ScalarKind::Text("[1,2]".into())),
            ("train.flip", proto::ScalarKind::Bool(true)),
            ("train.seed", proto::ScalarKind::Number(3.0)),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
