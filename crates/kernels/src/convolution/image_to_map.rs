//! The convolution itself: image to map.
#![expect(unsafe_code, reason = "tasks write parts of one output")]

use rayon::prelude::*;

use crate::activation::Activation;
use crate::buffer::{Out, build_raw};
use crate::convolution::canvas::Canvas;
use crate::convolution::patches::{segments, times_patches};
use crate::geometry::Geometry;
use crate::packed::PackedLeft;
use crate::real::Real;
use crate::scratch::scratch;
use crate::winograd::Winograd;

/// Image (N, C, H, W), weight (O, C, kh, kw) and bias (O) → map (N, O, H', W'), followed by an activation.
pub(crate) fn image_to_map<T: Real>(
    g: &Geometry,
    image: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    activation: Activation,
) -> Vec<T> {
    g.count();
    if let Some(winograd) = Winograd::of(g) {
        return winograd.image_to_map(image, weight, bias, activation);
    }
    let (outputs, positions, patch, group) = (g.map[0], g.positions(), g.patch(), g.group());
    let canvas = Canvas::of_image(g);
    let starts = canvas.starts(g.kernel);
    let weight = PackedLeft::pack(weight, (outputs, patch), &(0..patch).collect::<Vec<_>>());
    // SAFETY: the groups cover all samples, and each group writes all maps of its samples.
    unsafe {
        build_raw(g.samples * g.map_len(), |out: Out<T>| {
            (0..g.samples.div_ceil(group)).into_par_iter().for_each(|index| {
                T::with_scratch(|[canvases, panel, product]| {
                    let first = index * group;
                    let count = group.min(g.samples - first);
                    let width = count * positions;
                    let canvases = canvas.write_all(&image[first * g.image_len()..], count, canvases);
                    let panels = segments(&canvas, [g.map[1], g.map[2]], width);
                    // The product of one sample is its map; that of several samples has to be
                    // copied to their maps.
                    let direct = count == 1;
                    let product = scratch(product, if direct { 0 } else { outputs * width });
                    let target = if direct { out.at(first * g.map_len()) } else { product.as_mut_ptr() };
                    times_patches(&weight, canvases, &starts, &panels, panel, (target, width));
                    for sample in 0..count {
                        for channel in 0..outputs {
                            let at = (first + sample) * g.map_len() + channel * positions;
                            if !direct {
                                let from = &product[channel * width + sample * positions..][..positions];
                                for (map, &from) in out.slice(at, positions).iter_mut().zip(from) {
                                    map.write(from);
                                }
                            }
                            if bias.is_some() || !activation.is_identity() {
                                let add = bias.map_or(T::ZERO, |bias| bias[channel]);
                                activation.apply_plus(out.filled(at, positions), add);
                            }
                        }
                    }
                });
            });
        })
    }
}
