//! Images that any program made: NumPy arrays, tensor files and folders of pictures, as a data set's split.

use std::path::Path;
use std::sync::Arc;

use waxwork_core::{DType, Device, ImageShape, Tensor, npy, store};
use waxwork_data::{InMemory, Split};

use crate::failure::Failure;
use crate::output;

/// Images of `shape` from a `.npy` or `.safetensors` file (`images`, and `labels` where there are any) or a folder of
/// pictures, in the order of their names, with one directory a class or none.
pub(crate) fn read(path: &Path, shape: ImageShape) -> Result<Split, Failure> {
    if path.is_dir() {
        return Ok(Split::all(Arc::new(waxwork_data::folder::read(path, shape)?))?);
    }
    let (images, labels) = match output::extension(path).as_deref() {
        Some("npy") => (npy::load(path)?, None),
        Some("safetensors") => {
            let mut tensors = store::load(path, &Device::Cpu)?;
            let images = tensors
                .remove("images")
                .ok_or_else(|| Failure::new(format!("`{}` has no tensor `images`", path.display())))?;
            (images, tensors.remove("labels"))
        }
        _ => {
            let path = path.display();
            return Err(Failure::new(format!(
                "`{path}`: images come from a folder, a .npy file or a .safetensors file"
            )));
        }
    };
    let at = |failure: Failure| failure.at(path);
    let images = channel_first(&images, shape).map_err(at)?;
    let pixels = if images.dtype() == DType::U8 {
        images.flatten_all()?.to_vec1::<u8>()?
    } else {
        bytes(&images.to_dtype(DType::F32)?, 0).map_err(at)?
    };
    let labels = labels.map(|labels| labels.to_dtype(DType::U32)?.to_vec1::<u32>()).transpose()?;
    split(shape, pixels, labels)
}

/// Images in memory as a split.
pub(crate) fn split(shape: ImageShape, pixels: Vec<u8>, labels: Option<Vec<u32>>) -> Result<Split, Failure> {
    Ok(Split::all(Arc::new(InMemory::new(shape, pixels, labels)?))?)
}

/// Values in [0, 1] as eight bits, which is what every image is measured at. `first` is the number of the first image.
pub(crate) fn bytes(images: &Tensor, first: usize) -> Result<Vec<u8>, Failure> {
    let values = images.flatten_all()?.to_vec1::<f32>()?;
    // A hair beyond is rounding of the program that made them.
    let outside = |value: &f32| !(-1e-3..=1.001).contains(value);
    if let Some(place) = values.iter().position(outside) {
        let image = first + place / (values.len() / images.dim(0)?.max(1)).max(1);
        let value = values[place];
        return Err(Failure::new(format!(
            "image {image} has the value {value}: values are numbers from 0 to 1, or whole ones of eight bits"
        )));
    }
    Ok(values.into_iter().map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8).collect())
}

/// `(N, C, H, W)` of images that may be `(N, H, W, C)` or, grey, `(N, H, W)`.
fn channel_first(images: &Tensor, shape: ImageShape) -> Result<Tensor, Failure> {
    let ImageShape { channels, height, width } = shape;
    match *images.dims() {
        [_, c, h, w] if (c, h, w) == (channels, height, width) => Ok(images.clone()),
        [_, h, w, c] if (c, h, w) == (channels, height, width) => Ok(images.permute((0, 3, 1, 2))?),
        [_, h, w] if (1, h, w) == (channels, height, width) => Ok(images.unsqueeze(1)?),
        _ => Err(Failure::new(format!("holds {:?}, but real images are {shape}", images.shape()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_order_become_the_same_images() {
        let folder = tempfile::tempdir().unwrap();
        let shape = ImageShape::new(3, 2, 4);
        let images = Tensor::arange(0u8, 48, &Device::Cpu).unwrap().reshape((2, 3, 2, 4)).unwrap();
        let unit = (images.to_dtype(DType::F32).unwrap() / 255.0).unwrap();
        let first = folder.path().join("a.npy");
        npy::save(&first, &unit).unwrap();
        let last = folder.path().join("b.npy");
        images.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap().write_npy(&last).unwrap();
        let tensors = folder.path().join("c.safetensors");
        output::write_images(&tensors, &unit, Some(&[1, 0]), 0).unwrap();
        let pictures = folder.path().join("pictures");
        output::write_images(&pictures, &unit, None, 0).unwrap();
        for path in [&first, &last, &tensors, &pictures] {
            let split = read(path, shape).unwrap();
            assert_eq!(split.images_u8(&[0, 1]).unwrap(), (0..48).collect::<Vec<u8>>(), "{path:?}");
            assert_eq!(split.labels(), (path == &tensors).then(|| vec![1, 0]));
        }
        let other = read(&first, ImageShape::new(3, 4, 2)).unwrap_err().message;
        assert!(other.contains("a.npy") && other.contains("real images are"), "{other}");
    }

    #[test]
    fn values_that_are_no_shades_name_their_image() {
        let images = Tensor::new(&[[[[0.5f32]]], [[[f32::NAN]]]], &Device::Cpu).unwrap();
        assert!(bytes(&images, 10).unwrap_err().message.contains("image 11 has the value NaN"));
        let signed = Tensor::new(&[[[[-1.0f32]]]], &Device::Cpu).unwrap();
        assert!(bytes(&signed, 0).is_err());
    }
}
