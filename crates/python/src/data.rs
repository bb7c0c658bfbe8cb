//! Data sets that a program has in memory.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use waxwork_data::table::{Table, TypedColumn, TypedValues};
use waxwork_data::{DataConfig, Dataset, InMemory, Progress, memory};
use waxwork_eval::arrays;

use crate::arrays::tensor;
use crate::errors::{Class, Fault, guard};
use crate::warnings;

/// Samples with labels, or a table, in memory.
#[pyclass(frozen, module = "waxwork._native")]
pub(crate) struct Data {
    source: Source,
}

/// What a data set in memory is made of.
#[derive(Clone)]
pub(crate) enum Source {
    /// Samples, and the names of their classes.
    Samples { classes: Vec<String>, train: Arc<InMemory>, test: Option<Arc<InMemory>> },
    /// Columns of a table. Their kinds depend on the recipe.
    Columns { train: Arc<Vec<TypedColumn>>, test: Option<Arc<Vec<TypedColumn>>> },
}

/// An array as the bytes of a `.npy` file, and the name of each sample's class.
type Part<'py> = (Bound<'py, PyBytes>, Option<Vec<String>>);

#[pymethods]
impl Data {
    /// Samples from arrays. Without `classes`, the names of labels are classes in natural order, as the
    /// directories of a folder are.
    #[staticmethod]
    fn samples(
        py: Python<'_>,
        train: Part<'_>,
        test: Option<Part<'_>>,
        classes: Option<Vec<String>>,
    ) -> PyResult<Self> {
        let (images, names) = (train.0.as_bytes(), train.1);
        let test = test.as_ref().map(|(images, names)| (images.as_bytes(), names.as_deref()));
        guard(|| {
            let source = py.detach(|| Source::samples((images, names.as_deref()), test, classes))?;
            Ok(Self { source })
        })
    }

    /// A table from columns: each has a name, the kind of its values, and one value or None per row.
    #[staticmethod]
    fn table(train: Vec<Column<'_>>, test: Option<Vec<Column<'_>>>) -> PyResult<Self> {
        guard(|| {
            let test = test.map(|test| typed(test).map(Arc::new)).transpose()?;
            Ok(Self { source: Source::Columns { train: Arc::new(typed(train)?), test } })
        })
    }
}

impl Data {
    pub(crate) fn source(&self) -> Source {
        self.source.clone()
    }
}

impl Source {
    fn samples(
        (images, names): (&[u8], Option<&[String]>),
        test: Option<(&[u8], Option<&[String]>)>,
        classes: Option<Vec<String>>,
    ) -> Result<Self, Fault> {
        let array = tensor("images", images)?;
        let kind = arrays::kind_of(&array)?;
        let bytes = arrays::at_rest(&array, &kind)?;
        if test.is_some_and(|(_, test)| test.is_some() != names.is_some()) {
            return Err(Fault::data("give labels for both parts, or for neither"));
        }
        let test_names = test.and_then(|(_, names)| names).unwrap_or_default();
        let all: Vec<String> = names.unwrap_or_default().iter().chain(test_names).cloned().collect();
        let (classes, labels) = numbered(&all, classes)?;
        let (labels, test_labels) = labels.split_at(all.len() - test_names.len());
        let part = |bytes, labels: &[u32]| {
            let labels = names.is_some().then(|| labels.to_vec());
            Ok::<_, Fault>(Arc::new(InMemory::new(kind.clone(), bytes, labels)?))
        };
        let train = part(bytes, labels)?;
        let test = test
            .map(|(images, _)| part(arrays::at_rest(&tensor("test images", images)?, &kind)?, test_labels));
        Ok(Self::Samples { classes, train, test: test.transpose()? })
    }

    fn load(&self, config: &DataConfig, progress: &Progress<'_>) -> Result<Dataset, waxwork_models::Error> {
        match self {
            Self::Samples { classes, train, test } => {
                Ok(memory::samples(config, classes, Arc::clone(train), test.clone())?)
            }
            Self::Columns { train, test } => {
                let options = config.table.clone().unwrap_or_default();
                let rows = Table::from_columns(train.to_vec(), &options)?;
                let test = test.as_ref();
                let test = test
                    .map(|test| Table::from_columns_as(test.to_vec(), rows.schema(), false))
                    .transpose()?;
                Ok(memory::table(config, &rows, test, progress)?)
            }
        }
    }
}

/// Loads a data set: `source` if there is one, else what `config` names, from `dir` if it is given. What was
/// left out becomes a warning.
///
/// # Errors
/// As [`waxwork_data::load`] and the functions of [`memory`].
pub(crate) fn load(
    config: &DataConfig,
    source: Option<&Source>,
    dir: Option<PathBuf>,
    progress: &Progress<'_>,
) -> Result<Dataset, waxwork_models::Error> {
    let data = match source {
        Some(source) => source.load(config, progress)?,
        None => {
            let dir = dir.or_else(|| config.dir.clone());
            waxwork_data::load_with_progress(&DataConfig { dir, ..config.clone() }, progress)?
        }
    };
    data.notes.iter().filter(|note| note.is_warning()).for_each(|note| warnings::add(note.to_string()));
    Ok(data)
}

/// Checks that a recipe asks for nothing that data in memory does not have.
///
/// # Errors
/// If it names a folder's settings, noise, or samples to leave out.
pub(crate) fn check(config: &DataConfig) -> Result<(), Fault> {
    let settings = [
        ("data.folder", config.folder.is_some()),
        ("data.noise", config.noise.is_some()),
        ("data.leave_out", config.leave_out.is_some()),
        ("data.sound", config.sound.is_some()),
        ("data.text", config.text.is_some()),
        ("data.points", config.points.is_some()),
        ("data.oracle", config.oracle.is_some()),
        ("data.clips", config.clips.is_some()),
    ];
    match settings.into_iter().find(|(_, set)| *set) {
        Some((key, _)) => {
            Err(Fault::new(Class::Recipe, format!("invalid `{key}`: data in memory has no such settings")))
        }
        None => Ok(()),
    }
}

/// The classes, and the class of each name.
fn numbered(names: &[String], classes: Option<Vec<String>>) -> Result<(Vec<String>, Vec<u32>), Fault> {
    let Some(classes) = classes else { return Ok(memory::classes(names)) };
    let known = waxwork_models::Classes::named(&classes);
    let labels = names.iter().map(|name| {
        let place = classes.iter().position(|class| class == name);
        place.map_or_else(|| known.label(name), |place| Ok(place as u32))
    });
    let labels = labels.collect::<Result<_, _>>()?;
    Ok((classes, labels))
}

/// A column as Python gives it: its name, the kind of its values, and one value or None per row.
pub(crate) type Column<'py> = (String, String, Bound<'py, PyAny>);

/// The columns of a table. Integers of times are nanoseconds since 1970.
///
/// # Errors
/// If a value is not of its column's kind.
pub(crate) fn typed(columns: Vec<Column<'_>>) -> PyResult<Vec<TypedColumn>> {
    let typed = |(name, kind, values): Column<'_>| {
        let values = match kind.as_str() {
            "boolean" => TypedValues::Booleans(values.extract()?),
            "integer" => TypedValues::Integers(values.extract()?),
            "number" => TypedValues::Numbers(values.extract()?),
            "time" => TypedValues::Times(values.extract()?),
            _ => TypedValues::Texts(values.extract()?),
        };
        Ok(TypedColumn { name, values })
    };
    columns.into_iter().map(typed).collect()
}
