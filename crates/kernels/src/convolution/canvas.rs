//! Images with zeros around them, laid out so that the rows of the patch matrix are plain rectangles in memory.

use std::mem::MaybeUninit;

use crate::float::Float;
use crate::geometry::Geometry;
use crate::scratch::scratch;
use crate::simd::simd;

/// Elements that a copy may go over the end of a segment: it copies a whole register, and what is over is written again
/// by the segment after it, or lies in columns that nobody reads. So buffers of both sides are longer by as much.
pub(crate) const SLACK: usize = 16;

/// An image (channels, H, W) with zeros around it, split into phases: the pixels (y, x) of equal remainders by the strides
/// become one small image each, as many a channel as the product of the strides.
#[derive(Clone, Copy)]
pub(crate) struct Canvas {
    source: [usize; 3],
    /// Zeros above and to the left.
    pub(crate) before: [usize; 2],
    stride: [usize; 2],
    /// Height and width of a phase.
    pub(crate) size: [usize; 2],
}

impl Canvas {
    /// The image with its padding, split so that a row of the patch matrix is a plain rectangle.
    pub(crate) fn of_image(g: &Geometry) -> Self {
        Self::padded_image(g, g.stride)
    }

    /// The image with its padding in one piece, in which a line of the kernel is one run.
    pub(crate) fn of_whole_image(g: &Geometry) -> Self {
        Self::padded_image(g, [1, 1])
    }

    fn padded_image(g: &Geometry, stride: [usize; 2]) -> Self {
        let size = [0, 1].map(|i| (g.image[i + 1] + 2 * g.padding[i]).div_ceil(stride[i]));
        Self { source: g.image, before: g.padding, stride, size }
    }

    /// The map with as many zeros around it as the pixels of the image reach over its edge.
    pub(crate) fn of_map(g: &Geometry) -> Self {
        let before = [0, 1].map(|i| (g.kernel[i] - 1) / g.stride[i]);
        let size = [0, 1].map(|i| {
            let reach = (g.image[i + 1] + g.padding[i]).div_ceil(g.stride[i]);
            before[i] + reach.max(g.map[i + 1])
        });
        Self { source: g.map, before, stride: [1, 1], size }
    }

    pub(crate) fn len(&self) -> usize {
        self.source[0] * self.stride[0] * self.stride[1] * self.size[0] * self.size[1]
    }

    /// Where pixel (y, x) of the padded image is; the pixels a stride further are its neighbours.
    #[inline(always)]
    pub(crate) fn place(&self, channel: usize, y: usize, x: usize) -> usize {
        let [down, across] = self.stride;
        let phase = (channel * down + y % down) * across + x % across;
        (phase * self.size[0] + y / down) * self.size[1] + x / across
    }

    /// Where the map's position (0, 0) finds each row of the patch matrix. Other positions lie as far from there as
    /// lines and columns of a phase do.
    pub(crate) fn starts(&self, kernel: [usize; 2]) -> Vec<usize> {
        let mut starts = Vec::with_capacity(self.source[0] * kernel[0] * kernel[1]);
        for channel in 0..self.source[0] {
            for i in 0..kernel[0] {
                starts.extend((0..kernel[1]).map(|j| self.place(channel, i, j)));
            }
        }
        starts
    }

    /// Paints an image.
    #[inline(always)]
    pub(crate) fn paint<T: Float>(&self, image: &[T], canvas: &mut [T]) {
        let ([channels, height, width], stride) = (self.source, self.stride[1]);
        canvas.fill(T::ZERO);
        let mut lines = image.chunks_exact(width.max(1));
        for channel in 0..channels {
            for (y, line) in (0..height).zip(&mut lines) {
                for x in 0..stride.min(width) {
                    let at = self.place(channel, y + self.before[0], x + self.before[1]);
                    let to = &mut canvas[at..at + (width - x).div_ceil(stride)];
                    match stride {
                        1 => to.copy_from_slice(line),
                        2 => take_every(to, &line[x..], 2),
                        _ => take_every(to, &line[x..], stride),
                    }
                }
            }
        }
    }

    /// Paints `count` images one after another, with [`SLACK`] after the last.
    #[inline(always)]
    pub(crate) fn paint_all<'a, T: Float>(
        &self,
        images: &[T],
        count: usize,
        canvases: &'a mut Vec<T>,
    ) -> &'a [T] {
        let (from, to) = (self.source.iter().product::<usize>(), self.len());
        let canvases = scratch(canvases, count * to + SLACK);
        simd(
            #[inline(always)]
            || {
                for sample in 0..count {
                    self.paint(&images[sample * from..][..from], &mut canvases[sample * to..][..to]);
                }
            },
        );
        canvases
    }

    /// Writes a line of an image, plus a value, from the canvas.
    #[inline(always)]
    pub(crate) fn read_line<T: Float>(
        &self,
        canvas: &[T],
        [channel, y]: [usize; 2],
        add: T,
        line: &mut [MaybeUninit<T>],
    ) {
        let phase = |x: usize| &canvas[self.place(channel, y + self.before[0], x + self.before[1])..];
        interleave(self.stride[1].min(line.len()), phase, add, line);
    }
}

#[inline(always)]
fn take_every<T: Copy>(to: &mut [T], from: &[T], stride: usize) {
    for (i, to) in to.iter_mut().enumerate() {
        *to = from[i * stride];
    }
}

/// Writes a line of an image from the lines of its `count` phases, plus a value.
#[inline(always)]
pub(crate) fn interleave<'a, T: Float>(
    count: usize,
    phase: impl Fn(usize) -> &'a [T],
    add: T,
    line: &mut [MaybeUninit<T>],
) {
    match count {
        1 => {
            for (to, &from) in line.iter_mut().zip(phase(0)) {
                to.write(from + add);
            }
        }
        2 if line.len().is_multiple_of(2) => {
            for ((to, &even), &odd) in line.as_chunks_mut::<2>().0.iter_mut().zip(phase(0)).zip(phase(1)) {
                to[0].write(even + add);
                to[1].write(odd + add);
            }
        }
        _ => {
            for x in 0..count {
                for (to, &from) in line[x..].iter_mut().step_by(count).zip(phase(x)) {
                    to.write(from + add);
                }
            }
        }
    }
}
