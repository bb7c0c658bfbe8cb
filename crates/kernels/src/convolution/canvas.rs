//! Padded images, laid out so that each row of the patch matrix is a rectangle in memory.

use std::mem::MaybeUninit;

use crate::float::Float;
use crate::geometry::Geometry;
use crate::scratch::scratch;
use crate::simd::simd;

/// Elements by which a copy may exceed its segment, because it copies a whole register. The next
/// segment overwrites the excess, or it lies in columns that are not read. The buffers on both sides
/// are longer by this number.
pub(crate) const SLACK: usize = 16;

/// The layout of an image (channels, H, W) with zeros around it, split into phases: the pixels (y, x)
/// with equal remainders modulo the strides form one small image each. Every channel has
/// stride[0] · stride[1] phases.
#[derive(Clone, Copy)]
pub(crate) struct Canvas {
    source: [usize; 3],
    /// Number of zeros above and to the left.
    pub(crate) before: [usize; 2],
    stride: [usize; 2],
    /// Height and width of a phase.
    pub(crate) size: [usize; 2],
}

impl Canvas {
    /// The padded image, split by the strides: each row of the patch matrix is a rectangle.
    pub(crate) fn of_image(g: &Geometry) -> Self {
        Self::padded_image(g, g.stride)
    }

    /// The padded image in one piece: each row of the kernel meets a contiguous run.
    pub(crate) fn of_whole_image(g: &Geometry) -> Self {
        Self::padded_image(g, [1, 1])
    }

    fn padded_image(g: &Geometry, stride: [usize; 2]) -> Self {
        let size = [0, 1].map(|i| (g.image[i + 1] + 2 * g.padding[i]).div_ceil(stride[i]));
        Self { source: g.image, before: g.padding, stride, size }
    }

    /// The map, with as many zeros around it as the pixels of the image need beyond its edges.
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

    /// The offset of pixel (y, x) of the padded image. Its neighbours in memory are the pixels one stride
    /// away.
    #[inline(always)]
    pub(crate) fn place(&self, channel: usize, y: usize, x: usize) -> usize {
        let [down, across] = self.stride;
        let phase = (channel * down + y % down) * across + x % across;
        (phase * self.size[0] + y / down) * self.size[1] + x / across
    }

    /// The offset of each row of the patch matrix for position (0, 0) of the map. Position (y, x) is y rows
    /// and x columns of a phase further on.
    pub(crate) fn starts(&self, kernel: [usize; 2]) -> Vec<usize> {
        let mut starts = Vec::with_capacity(self.source[0] * kernel[0] * kernel[1]);
        for channel in 0..self.source[0] {
            for i in 0..kernel[0] {
                starts.extend((0..kernel[1]).map(|j| self.place(channel, i, j)));
            }
        }
        starts
    }

    /// Writes an image to its canvas.
    #[inline(always)]
    pub(crate) fn write<T: Float>(&self, image: &[T], canvas: &mut [T]) {
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

    /// Writes `count` images to consecutive canvases, followed by [`SLACK`].
    #[inline(always)]
    pub(crate) fn write_all<'a, T: Float>(
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
                    self.write(&images[sample * from..][..from], &mut canvases[sample * to..][..to]);
                }
            },
        );
        canvases
    }

    /// Copies a row of an image from the canvas and adds a value.
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

/// Interleaves the rows of `count` phases to a row of an image and adds a value.
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
