//! The three products behind convolution and transposed convolution, on slices.
//!
//! A convolution maps an *image* (N, C, H, W) to a *map* (N, O, H', W') by a weight (O, C, kh, kw). A
//! transposed convolution is its adjoint, from map to image, so both share three products: image to map, map
//! to image, and the gradient of the weight from both. Each is a matrix product with patches of the image
//! (im2col), computed for a few samples at a time, so that the patches stay in the cache. Some square
//! convolutions use minimal filtering instead ([`crate::winograd`]).

mod canvas;
mod image_to_map;
mod map_to_image;
mod patches;
mod weight_gradient;

pub(crate) use image_to_map::image_to_map;
pub(crate) use map_to_image::map_to_image;
pub(crate) use weight_gradient::weight_gradient;
