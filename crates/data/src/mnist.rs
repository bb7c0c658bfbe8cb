//! MNIST and data sets in the same format: four IDX files.

use std::path::Path;

use waxwork_core::ImageShape;

use crate::idx::{self, Idx};
use crate::manifest::{Manifest, Role};
use crate::parts::{Parts, check_file, locate};
use crate::{Error, InMemory, Result};

/// Reads the four files of `manifest` below `dir` and checks their hashes.
///
/// # Errors
/// [`Error::Missing`], [`Error::Hash`], and the errors of [`read_pair`].
pub(crate) fn load(manifest: &Manifest, dir: &Path) -> Result<Parts> {
    let shape = manifest.image_shape()?;
    let part = |images: Role, labels: Role, count: usize| -> Result<InMemory> {
        let (images_file, images_path) = locate(manifest, dir, images)?;
        let (labels_file, labels_path) = locate(manifest, dir, labels)?;
        let (images, labels) = read_pair(&images_path, &labels_path, shape, manifest.classes.len(), count)?;
        check_file(manifest, images_file, &images_path, &images.sha256, images.file_size())?;
        check_file(manifest, labels_file, &labels_path, &labels.sha256, labels.file_size())?;
        InMemory::new(shape, images.bytes, Some(labels.bytes.into_iter().map(u32::from).collect()))
    };
    Parts::new(
        part(Role::TrainImages, Role::TrainLabels, manifest.train)?,
        part(Role::TestImages, Role::TestLabels, manifest.test)?,
        &manifest.classes,
    )
}

/// Reads at most `most` images of `shape` (one channel), and the same number of labels below `classes`.
///
/// # Errors
/// The errors of [`idx::read_at_most`], [`Error::Count`], [`Error::Label`], and [`Error::Format`] if there
/// are no images.
pub fn read_pair(
    images_path: &Path,
    labels_path: &Path,
    shape: ImageShape,
    classes: usize,
    most: usize,
) -> Result<(Idx, Idx)> {
    let images = idx::read_at_most(images_path, &[shape.height, shape.width], most)?;
    let labels = idx::read_at_most(labels_path, &[], most)?;
    if images.dims[0] != labels.dims[0] {
        let (images_path, labels_path) = (images_path.to_path_buf(), labels_path.to_path_buf());
        return Err(Error::Count {
            images_path,
            labels_path,
            images: images.dims[0],
            labels: labels.dims[0],
        });
    }
    if images.dims[0] == 0 {
        return Err(Error::format(images_path, "at least one image", "none"));
    }
    if let Some(index) = labels.bytes.iter().position(|&label| usize::from(label) >= classes) {
        let label = u32::from(labels.bytes[index]);
        return Err(Error::Label { path: labels_path.to_path_buf(), index, label, classes });
    }
    Ok((images, labels))
}
