//! The three products behind convolution and transposed convolution, on slices.
//!
//! A convolution maps an *image* (N, C, H, W) to a *map* (N, O, H', W') by a weight (O, C, kh, kw). A transposed
//! convolution is the adjoint, from map to image, so that both share the products here: image to map, map to image, and
//! the weight's gradient from both. Each is a matrix product with patches of the image (im2col), made for a few samples
//! at a time so that they stay in the cache.

mod canvas;
mod image_to_map;
mod map_to_image;
mod patches;
mod weight_gradient;

pub(crate) use image_to_map::image_to_map;
pub(crate) use map_to_image::map_to_image;
pub(crate) use weight_gradient::weight_gradient;
