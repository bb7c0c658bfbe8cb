//! Data sets from samples with labels, and from tables, that a program has in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::load::of_tables;
use crate::manifest::MEMORY;
use crate::notes::{LISTED, Note};
use crate::table::encode::Encoder;
use crate::table::{Table, TableRows};
use crate::{
    DataConfig, Dataset, DatasetInfo, Error, InMemory, Progress, Result, Source, Split, folder, natural,
    selection,
};

/// Makes a data set of samples in memory; label `k` is `classes[k]`. Without a `test` part, a tenth of each
/// class is held out for testing, as for an image folder. The same pixels in the same order are the same data
/// set, with the same identity. `config` sets the size of the validation part and the limit on the rest.
///
/// ```
/// use waxwork_core::ImageShape;
/// use waxwork_data::manifest::MEMORY;
/// use waxwork_data::{DataConfig, InMemory, memory};
///
/// let shape = ImageShape::new(1, 8, 8);
/// let images = InMemory::new(shape, vec![0; 40 * shape.len()], Some(vec![0; 40]))?;
/// let classes = ["black".to_owned()];
/// let data = memory::samples(&DataConfig::named(MEMORY), &classes, images.into(), None)?;
/// assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (33, 3, 4));
/// # Ok::<(), waxwork_data::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] if there are too few samples, the parts have different shapes, or a label has no class.
pub fn samples(
    config: &DataConfig,
    classes: &[String],
    train: Arc<InMemory>,
    test: Option<Arc<InMemory>>,
) -> Result<Dataset> {
    let (train, test) = match test {
        Some(test) => (train, test),
        None => {
            if train.len() < 2 {
                let what = train.kind().plural();
                let reason =
                    format!("{} {what} were given, but training and testing need at least two", train.len());
                return Err(Error::Config { key: "data", reason });
            }
            let is_test = selection::test_part(train.len(), |index| train.label(index));
            let [rest, held_out] = train.parted(&is_test).map(Arc::new);
            (rest, held_out)
        }
    };
    let info = DatasetInfo::of(MEMORY, classes, train.as_ref(), test.as_ref())?;
    let seen: BTreeSet<u32> = (0..train.len()).filter_map(|index| train.label(index)).collect();
    let missing = folder::without(classes, &seen);
    let (count, classes) = (missing.len(), missing.into_iter().take(LISTED).collect());
    let notes = if count > 0 { vec![Note::Untrained { count, classes }] } else { Vec::new() };
    let data = Dataset::new(info, train, test, config.validation, config.limit)?;
    Ok(Dataset { notes, ..data })
}

/// Returns the distinct names in the order of classes, with numbers in names sorted by value, and the class
/// of each name: as for the directories of a folder.
pub fn classes(names: &[String]) -> (Vec<String>, Vec<u32>) {
    let mut classes: Vec<&String> = names.iter().collect::<BTreeSet<_>>().into_iter().collect();
    classes.sort_by(|a, b| natural::compare(a, b));
    let labels: HashMap<&String, u32> = classes.iter().copied().zip(0..).collect();
    (classes.iter().map(|name| (*name).clone()).collect(), names.iter().map(|name| labels[name]).collect())
}

/// Makes a data set of a table in memory. Without `test` rows, a fifth is held out, as for a file. The same
/// values are the same data set.
///
/// # Errors
/// If there is nothing to learn from, or the test rows have other columns.
pub fn table(
    config: &DataConfig,
    train: &Table,
    test: Option<Table>,
    progress: &Progress<'_>,
) -> Result<Dataset> {
    let (train, test) = match test {
        Some(test) => (train.clone(), test),
        None => train.split(),
    };
    of_tables(config, train, test, progress)
}

/// Makes a split of all rows of a table, in their order and as networks see them.
///
/// # Errors
/// If the table has other columns than the encoder, or a value that the encoder's schema does not know.
pub fn rows(encoder: &Encoder, table: &Table) -> Result<Split> {
    Split::all(Arc::new(TableRows::new(encoder, table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_classes_as_directories_do() {
        let names = ["10", "2", "cat", "2", "Cat"].map(String::from);
        let (classes, labels) = classes(&names);
        assert_eq!(classes, ["2", "10", "Cat", "cat"]);
        assert_eq!(labels, [1, 0, 3, 0, 2]);
    }

    #[test]
    fn rejects_too_few_images_and_too_many_classes() {
        let shape = waxwork_core::ImageShape::new(1, 4, 4);
        let config = DataConfig::named(MEMORY);
        let images = |labels: Vec<u32>| {
            Arc::new(InMemory::new(shape, vec![0; 16 * labels.len()], Some(labels)).unwrap())
        };
        let said = |labels, names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            samples(&config, &names, images(labels), None).unwrap_err().to_string()
        };
        assert!(
            said(vec![0], &["a"]).contains("1 images were given, but training and testing need at least two")
        );
        assert!(said(vec![0, 5, 0, 0], &["a"]).contains("label 5, but there are 1 classes"));
        let two = ["a".to_owned(), "b".to_owned()];
        let data = samples(&config, &two, images(vec![0; 20]), None).unwrap();
        assert!(matches!(data.notes[..], [Note::Untrained { count: 1, .. }]), "{:?}", data.notes);
        assert!(matches!(crate::load(&config), Err(Error::InMemory)));
    }
}
