//! Images, sounds, texts and rows from any program, with their labels: NumPy arrays, tensor files, folders of
//! images or recordings, files of lines, and tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use waxwork_core::{Device, ImageShape, Kind, Tensor, npy, store};
use waxwork_data::clips::Clips;
use waxwork_data::folder::Pictures;
use waxwork_data::sound::Recordings;
use waxwork_data::table::Table;
use waxwork_data::table::encode::Encoder;
use waxwork_data::text::{LineFormat, Texts};
use waxwork_data::{InMemory, Split, memory};
use waxwork_eval::arrays;
use waxwork_models::Classes;

use crate::failure::Failure;
use crate::output::Form;
use crate::{notes, output};

/// Images from another program.
enum Images {
    /// Images of eight bits.
    Pictures(Split),
    /// An array of any type and range.
    Array(Tensor),
}

/// Reads samples as an 8-bit split, the form in which all samples are measured. The path is a `.npy` or
/// `.safetensors` file (`images`, and `labels` if there are any), or a folder of images in the order of their
/// names, with one directory per class or none. Labels index `classes`; in a folder, the names of the
/// directories are the labels.
pub(crate) fn read_split(path: &Path, form: &Form, classes: &Classes) -> Result<Split, Failure> {
    let kind = &form.kind;
    let at = |failure: Failure| failure.at(path);
    match read(path, form, classes)? {
        (Images::Pictures(split), _) => Ok(split.seen_as(&form.view)?),
        (Images::Array(array), labels) => {
            let bytes = arrays::at_rest(&array, kind).map_err(Failure::from).map_err(at)?;
            Ok(Split::all(Arc::new(InMemory::new(kind.clone(), bytes, labels)?))?.seen_as(&form.view)?)
        }
    }
}

/// Reads the same images without rounding, `(N, C, H, W)` f32 in [0, 1] on the CPU, and their labels.
pub(crate) fn read_tensor(
    path: &Path,
    form: &Form,
    classes: &Classes,
) -> Result<(Tensor, Option<Vec<u32>>), Failure> {
    let kind = &form.kind;
    if matches!(kind, Kind::Sound { .. }) {
        let split = read_split(path, form, classes)?;
        let all: Vec<usize> = (0..split.len()).collect();
        return Ok((split.batch(&all, &Device::Cpu)?.inputs, split.labels()));
    }
    match read(path, form, classes)? {
        (Images::Pictures(split), labels) => {
            let all: Vec<usize> = (0..split.len()).collect();
            Ok((split.batch(&all, &Device::Cpu)?.inputs, labels))
        }
        (Images::Array(array), labels) => {
            let images = arrays::samples(&array, kind).map_err(|error| Failure::from(error).at(path))?;
            Ok((images, labels))
        }
    }
}

/// Reads images of one shape from image files and from the files that [`read_tensor`] reads, in the order of the
/// paths: `(N, C, H, W)` f32 in [0, 1] on the CPU.
pub(crate) fn read_images(paths: &[PathBuf], form: &Form, shape: ImageShape) -> Result<Tensor, Failure> {
    let mut parts = Vec::with_capacity(paths.len());
    for path in paths {
        if path.is_dir() || matches!(output::extension(path).as_deref(), Some("npy" | "safetensors")) {
            parts.push(read_tensor(path, form, &Classes::default())?.0);
            continue;
        }
        let pixels = exact(path, shape)?;
        let picture = Split::all(Arc::new(InMemory::new(shape, pixels, None)?))?;
        parts.push(picture.batch(&[0], &Device::Cpu)?.inputs);
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// Reads a picture of exactly this size, channel first.
pub(crate) fn exact(path: &Path, shape: ImageShape) -> Result<Vec<u8>, Failure> {
    let pixels = waxwork_data::folder::exact(path, shape);
    // The advice to skip the file applies only to pictures of a data set.
    pixels.map_err(|error| Failure::new(error.to_string()))
}

/// Whether a file given to a model of tables is a table, not an array of encoded rows.
pub(crate) fn is_table(path: &Path) -> bool {
    !path.is_dir() && !matches!(output::extension(path).as_deref(), Some("npy" | "safetensors"))
}

/// Reads rows for a model of tables, and returns them as they are and encoded. Ignores other columns.
pub(crate) fn read_rows(path: &Path, encoder: &Encoder) -> Result<(Table, Split), Failure> {
    let bar = output::bar(0, "reading rows");
    let table = Table::read_as(path, encoder.schema(), true)?;
    bar.finish_and_clear();
    let rows = memory::rows(encoder, &table).map_err(|error| Failure::from(error).at(path))?;
    Ok((table, rows))
}

/// Refuses images without labels for a model that needs them.
pub(crate) fn check_labelled(path: &Path, labelled: bool, classes: &Classes) -> Result<(), Failure> {
    if labelled || classes.is_empty() {
        return Ok(());
    }
    if LineFormat::of(path).is_some() {
        return Err(Failure::new(format!(
            "`{}` has no labels, but a conditional model needs them: use a .tsv file of lines with a label, a tab and a text, or a .jsonl \
             file of objects with `text` and `label`",
            path.display()
        )));
    }
    let beside = labels_beside(path);
    Err(Failure::new(format!(
        "`{}` has no labels, but a conditional model needs them: use a .safetensors file with `images` and `labels`, a folder \
         with one subdirectory per class, or `{}` next to the array",
        path.display(),
        beside.file_name().unwrap_or_default().to_string_lossy()
    )))
}

/// The file of labels next to a NumPy file of images.
pub(crate) fn labels_beside(images: &Path) -> PathBuf {
    images.with_extension("labels.npy")
}

fn read(path: &Path, form: &Form, classes: &Classes) -> Result<(Images, Option<Vec<u32>>), Failure> {
    let kind = &form.kind;
    if let (Kind::Text { .. }, Some(vocabulary), Some(_)) =
        (kind, form.view.vocabulary(), LineFormat::of(path))
    {
        let Texts { texts, classes: named } = waxwork_data::text::read(path, kind, vocabulary)?;
        let texts = of_folder(path, texts, &named, classes)?;
        let labels = texts.labels();
        return Ok((Images::Pictures(texts), labels));
    }
    if path.is_dir() {
        let pictures = match kind {
            Kind::Image(shape) => {
                let Pictures { images, classes: directories, notes } =
                    waxwork_data::folder::read(path, *shape)?;
                notes::say(&notes);
                of_folder(path, images, &directories, classes)?
            }
            Kind::Sound { .. } => {
                let Recordings { sounds, classes: directories, notes } =
                    waxwork_data::sound::read(path, kind)?;
                notes::say(&notes);
                of_folder(path, sounds, &directories, classes)?
            }
            Kind::Clip { .. } => {
                let Clips { clips, classes: directories, notes } = waxwork_data::clips::read(path, kind)?;
                notes::say(&notes);
                of_folder(path, clips, &directories, classes)?
            }
            Kind::Text { .. } => {
                let path = path.display();
                return Err(Failure::new(format!(
                    "`{path}` is a folder, but texts come from a .txt, .tsv, .jsonl, .npy or .safetensors file"
                )));
            }
            Kind::Points { .. } => {
                let (path, what) = (path.display(), kind.plural());
                return Err(Failure::new(format!(
                    "`{path}` is a folder, but {what} come from a .npy file or a .safetensors file"
                )));
            }
            Kind::Rows(_) => {
                let path = path.display();
                return Err(Failure::new(format!(
                    "`{path}` is a folder, but rows come from a .csv, .parquet, .npy or .safetensors file"
                )));
            }
        };
        let labels = pictures.labels();
        return Ok((Images::Pictures(pictures), labels));
    }
    let (array, labels, labels_path) = match output::extension(path).as_deref() {
        Some("npy") => {
            let beside = labels_beside(path);
            let labels = if beside.is_file() { Some(npy::load(&beside)?) } else { None };
            (npy::load(path)?, labels, beside)
        }
        Some("safetensors") => {
            let mut tensors = store::load(path, &Device::Cpu)?;
            let name = kind.plural();
            let images = tensors
                .remove(name)
                .ok_or_else(|| Failure::new(format!("`{}` has no tensor `{name}`", path.display())))?;
            (images, tensors.remove("labels"), path.to_owned())
        }
        _ if matches!(kind, Kind::Text { .. }) => {
            let path = path.display();
            return Err(Failure::new(format!(
                "texts are read from .txt, .tsv, .jsonl, .npy and .safetensors files, not from `{path}`"
            )));
        }
        _ => {
            let path = path.display();
            return Err(Failure::new(format!("`{path}` is not a folder, .npy or .safetensors file")));
        }
    };
    // Ignore labels if there are no classes that they could index.
    let labels = labels.filter(|_| !classes.is_empty()).map(|labels| {
        let count = array.dims().first().copied().unwrap_or(0);
        arrays::labels(&labels, count, classes.len()).map_err(|error| Failure::from(error).at(&labels_path))
    });
    Ok((Images::Array(array), labels.transpose()?))
}

/// The samples of a folder. The name of a directory is the name of its class, whatever other
/// directories exist.
fn of_folder(
    path: &Path,
    pictures: InMemory,
    directories: &[String],
    classes: &Classes,
) -> Result<Split, Failure> {
    if directories.is_empty() {
        return Ok(Split::all(Arc::new(pictures))?);
    }
    if classes.is_empty() {
        return Ok(Split::all(Arc::new(pictures.relabelled(None)))?);
    }
    let label = |name: &String| {
        classes.label(name).map_err(|error| {
            let failure = Failure::from(error).at(&path.join(name));
            Failure {
                message: failure.message + "; put samples without labels into the folder itself",
                ..failure
            }
        })
    };
    let labels: Vec<u32> = directories.iter().map(label).collect::<Result<_, _>>()?;
    Ok(Split::all(Arc::new(pictures.relabelled(Some(&labels))))?)
}

#[cfg(test)]
mod tests {
    use waxwork_data::View;

    use super::*;
    use crate::output::Labelled;

    fn form(shape: ImageShape) -> Form {
        let kind = Kind::from(shape);
        Form { view: View::of(&kind), kind, rows: None }
    }

    fn digits() -> Classes {
        Classes::named(&(0..10).map(|digit| digit.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn arrays_of_any_order_become_the_same_images() {
        let folder = tempfile::tempdir().unwrap();
        let (kind, classes) = (form(ImageShape::new(3, 2, 4)), digits());
        let images = Tensor::arange(0u8, 48, &Device::Cpu).unwrap().reshape((2, 3, 2, 4)).unwrap();
        // A true division: candle's division by a number multiplies by the inverse.
        let unit: Vec<f32> = (0..48).map(|value| value as f32 / 255.0).collect();
        let unit = Tensor::from_vec(unit, (2, 3, 2, 4), &Device::Cpu).unwrap();
        let labelled = Some(Labelled { labels: &[7, 3], classes: &classes });
        let path = |name: &str| folder.path().join(name);
        output::write_samples(&path("a.npy"), &kind, &unit, None, 0).unwrap();
        images.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().write_npy(path("b.npy")).unwrap();
        output::write_samples(&path("pictures"), &kind, &unit, None, 0).unwrap();
        for name in ["a.npy", "b.npy", "pictures"] {
            let split = read_split(&path(name), &kind, &classes).unwrap();
            assert_eq!(split.bytes(&[0, 1]).unwrap(), (0..48).collect::<Vec<u8>>(), "{name}");
            assert_eq!(split.labels(), None);
            let (tensor, _) = read_tensor(&path(name), &kind, &classes).unwrap();
            let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values(&tensor), values(&unit), "{name}");
        }
        for name in ["c.safetensors", "d.npy", "classes"] {
            output::write_samples(&path(name), &kind, &unit, labelled, 0).unwrap();
            let split = read_split(&path(name), &kind, &classes).unwrap();
            // A folder is read class by class.
            let order = if name == "classes" { [1, 0] } else { [0, 1] };
            assert_eq!(split.bytes(&order).unwrap(), (0..48).collect::<Vec<u8>>(), "{name}");
            assert_eq!(order.map(|place| split.label(place).unwrap()), [7, 3], "{name}");
        }
        assert!(path("d.labels.npy").is_file() && path("classes/7/000000.png").is_file());
        let other =
            read_split(&path("a.npy"), &form(ImageShape::new(3, 4, 2)), &classes).unwrap_err().message;
        assert!(other.contains("a.npy") && other.contains("(N, 3, 4, 2)"), "{other}");
    }

    #[test]
    fn labels_outside_the_classes_name_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let (kind, classes) = (form(ImageShape::new(1, 2, 2)), digits());
        let path = |name: &str| folder.path().join(name);
        let images = Tensor::zeros((2, 1, 2, 2), waxwork_core::DType::F32, &Device::Cpu).unwrap();
        npy::save(&path("x.npy"), &images).unwrap();
        npy::save_labels(&path("x.labels.npy"), &[9, 10]).unwrap();
        let said = |name: &str| read_split(&path(name), &kind, &classes).unwrap_err().message;
        let found = said("x.npy");
        assert!(
            found.contains("x.labels.npy`: image 1 has the label 10, but the labels are 0 to 9"),
            "{found}"
        );
        let labelled = Labelled { labels: &[0, 1], classes: &Classes::named(&["3".into(), "cat".into()]) };
        output::write_samples(&path("pictures"), &kind, &images, Some(labelled), 0).unwrap();
        let found = said("pictures");
        assert!(found.contains("pictures/cat`: there is no class `cat`; the classes are 0, 1, 2"), "{found}");
        // Without classes, labels are ignored.
        assert_eq!(read_split(&path("pictures"), &kind, &Classes::default()).unwrap().labels(), None);
        assert_eq!(read_split(&path("x.npy"), &kind, &Classes::default()).unwrap().labels(), None);
    }
}
