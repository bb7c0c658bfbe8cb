//! Which convolutions use minimal filtering, with which tiles, and the layout of their operands.

use crate::geometry::Geometry;
use crate::layout::NOWHERE;
use crate::tile::CHUNK;
use crate::winograd::tiles::Walk;

/// Number of outputs, over several samples, that one product per point computes: enough rows to outweigh
/// loading the weights.
const GROUP_OUTPUTS: usize = 256;

/// A convolution that can be computed by minimal filtering.
pub(crate) struct Winograd<'a> {
    pub(crate) g: &'a Geometry,
    /// Along both axes.
    pub(crate) stride: usize,
    /// Taps of a phase of the kernel, along both axes.
    pub(crate) taps: usize,
    /// Outputs of a tile, along both axes.
    pub(crate) tile: usize,
}

impl<'a> Winograd<'a> {
    /// The convolution, if it is suitable. This does not depend on the number of samples.
    pub(crate) fn of(g: &'a Geometry) -> Option<Self> {
        let stride = g.stride[0];
        let taps = g.kernel[0] / stride;
        let square = g.stride == [stride; 2] && g.kernel == [taps * stride; 2];
        let whole =
            [g.image[0], g.map[0]].iter().all(|channels| *channels > 0 && channels.is_multiple_of(CHUNK));
        // Larger tiles need fewer products per output, but more weights, which does not pay for small maps.
        let points = |tile: usize| -> usize {
            g.map[1..].iter().map(|side| side.div_ceil(tile) * (tile + taps - 1)).product()
        };
        let large = taps == 2 && g.map[1..].iter().all(|side| *side > 4) && points(4) < points(2);
        let tile = if large { 4 } else { 2 };
        (square && whole && matches!(taps, 2 | 3)).then_some(Self { g, stride, taps, tile })
    }

    /// Number of values per position of the canvas.
    pub(crate) fn depth(&self) -> usize {
        self.g.image[0] * self.stride * self.stride
    }

    pub(crate) fn outputs(&self) -> usize {
        self.g.map[0]
    }

    /// Tiles down and across a map.
    pub(crate) fn tiles(&self) -> [usize; 2] {
        [self.g.map[1].div_ceil(self.tile), self.g.map[2].div_ceil(self.tile)]
    }

    pub(crate) fn tiles_in_map(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Height and width of the canvas: the phases of a sample's image, with the zeros that its tiles read.
    pub(crate) fn canvas(&self) -> [usize; 2] {
        self.tiles().map(|tiles| self.tile * tiles + self.taps - 1)
    }

    pub(crate) fn canvas_len(&self) -> usize {
        self.canvas().iter().product::<usize>() * apart(self.depth())
    }

    /// Elements of a sample's map, channels-last and extended to whole tiles.
    pub(crate) fn whole_map_len(&self) -> usize {
        self.tile * self.tile * self.tiles_in_map() * apart(self.outputs())
    }

    /// Number of samples whose tiles are multiplied together. A power of two, so that common batch sizes
    /// are divided evenly.
    pub(crate) fn group(&self) -> usize {
        GROUP_OUTPUTS
            .div_ceil((self.tile * self.tile * self.tiles_in_map()).max(1))
            .next_power_of_two()
            .min(self.g.samples.max(1))
    }

    /// The tiles of a canvas.
    pub(crate) fn on_canvas(&self) -> Walk {
        let (row, position) = (self.canvas()[1] * apart(self.depth()), apart(self.depth()));
        Walk { start: 0, tile: [self.tile * row, self.tile * position], entry: [row, position], chunk: CHUNK }
    }

    /// The tiles of a map, channels-last.
    pub(crate) fn on_map(&self) -> Walk {
        let (row, position) = (self.tile * self.tiles()[1] * apart(self.outputs()), apart(self.outputs()));
        Walk { start: 0, tile: [self.tile * row, self.tile * position], entry: [row, position], chunk: CHUNK }
    }

    /// The tiles of one sample, from tile `first` on, in one matrix per point with `count` rows, one per
    /// tile, of `step` elements.
    pub(crate) fn on_points<const N: usize>(&self, first: usize, count: usize, step: usize) -> Walk {
        Walk {
            start: first * step,
            tile: [self.tiles()[1] * step, step],
            entry: [N * count * step, count * step],
            chunk: CHUNK,
        }
    }

    /// The tiles of one sample, from tile `first` on, in one matrix per point with `count` rows, stored by
    /// chunks of 16 columns: (points, columns/16, tiles, 16).
    pub(crate) fn on_chunks<const N: usize>(&self, first: usize, count: usize, columns: usize) -> Walk {
        let point = count * columns;
        Walk {
            start: first * CHUNK,
            tile: [self.tiles()[1] * CHUNK, CHUNK],
            entry: [N * point, point],
            chunk: count * CHUNK,
        }
    }

    /// The phases of a kernel in `[taps][16]`. Their entries are the taps.
    pub(crate) fn on_kernel(&self) -> Walk {
        let (s, row) = (self.stride, self.g.kernel[1] * CHUNK);
        Walk { start: 0, tile: [row, CHUNK], entry: [s * row, s * CHUNK], chunk: CHUNK }
    }

    /// The phases of a kernel that starts at `start`, in one matrix per point in which input
    /// channels are `step` apart.
    pub(crate) fn on_weights<const N: usize>(&self, start: usize, step: usize) -> Walk {
        let (s, phase) = (self.stride, self.g.image[0] * step);
        let point = self.depth() * self.outputs();
        Walk { start, tile: [s * phase, phase], entry: [N * point, point], chunk: CHUNK }
    }

    /// The offset of each pixel of the image in the canvas.
    pub(crate) fn image_places(&self) -> Vec<usize> {
        let (s, [rows, columns]) = (self.stride, self.canvas());
        let [channels, height, width] = self.g.image;
        let place = |y: usize, x: usize| {
            let (y, x) = (y + self.g.padding[0], x + self.g.padding[1]);
            let position = (y / s * columns + x / s) * apart(self.depth());
            let inside = y / s < rows && x / s < columns;
            if inside { position + (y % s * s + x % s) * channels } else { NOWHERE }
        };
        (0..height * width).map(|i| place(i / width, i % width)).collect()
    }

    /// The offset of each position of the map in whole tiles, channels-last.
    pub(crate) fn map_places(&self) -> Vec<usize> {
        let [_, height, width] = self.g.map;
        let columns = self.tile * self.tiles()[1];
        (0..height * width).map(|i| (i / width * columns + i % width) * apart(self.outputs())).collect()
    }
}

/// The distance between the runs of channels of neighbouring positions. Runs a power of two apart would
/// compete for few lines of the L1 cache.
pub(crate) fn apart(channels: usize) -> usize {
    channels + CHUNK
}
