//! Which convolutions go by minimal filtering, with which tiles, and where everything lies.

use crate::geometry::Geometry;
use crate::layout::NOWHERE;
use crate::tile::CHUNK;
use crate::winograd::tiles::Walk;

/// Outputs of a map, all samples together, whose products are made together: enough rows for the weights to be worth
/// fetching.
const GROUP_OUTPUTS: usize = 256;

/// A convolution that can go this way.
pub(crate) struct Winograd<'a> {
    pub(crate) g: &'a Geometry,
    /// Along both axes.
    pub(crate) stride: usize,
    /// Taps of the kernel in a phase, along one side.
    pub(crate) taps: usize,
    /// Outputs of a tile, along one side.
    pub(crate) tile: usize,
}

impl<'a> Winograd<'a> {
    /// The convolution, if it fits. That does not depend on the number of samples.
    pub(crate) fn of(g: &'a Geometry) -> Option<Self> {
        let stride = g.stride[0];
        let taps = g.kernel[0] / stride;
        let square = g.stride == [stride; 2] && g.kernel == [taps * stride; 2];
        let whole =
            [g.image[0], g.map[0]].iter().all(|channels| *channels > 0 && channels.is_multiple_of(CHUNK));
        // Larger tiles take fewer products an output, but more weights, which small maps would not repay.
        let points = |tile: usize| -> usize {
            g.map[1..].iter().map(|side| side.div_ceil(tile) * (tile + taps - 1)).product()
        };
        let large = taps == 2 && g.map[1..].iter().all(|side| *side > 4) && points(4) < points(2);
        let tile = if large { 4 } else { 2 };
        (square && whole && matches!(taps, 2 | 3)).then_some(Self { g, stride, taps, tile })
    }

    /// Numbers at a position of the canvas.
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

    /// Height and width of the canvas, a sample's image by phases with all that its tiles look at.
    pub(crate) fn canvas(&self) -> [usize; 2] {
        self.tiles().map(|tiles| self.tile * tiles + self.taps - 1)
    }

    pub(crate) fn canvas_len(&self) -> usize {
        self.canvas().iter().product::<usize>() * apart(self.depth())
    }

    /// Elements of a sample's map, channel last, with its last tiles whole.
    pub(crate) fn whole_map_len(&self) -> usize {
        self.tile * self.tile * self.tiles_in_map() * apart(self.outputs())
    }

    /// Samples whose tiles are multiplied together; a power of two, so that the usual batches are shared out evenly.
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

    /// The tiles of a map, channel last.
    pub(crate) fn on_map(&self) -> Walk {
        let (row, position) = (self.tile * self.tiles()[1] * apart(self.outputs()), apart(self.outputs()));
        Walk { start: 0, tile: [self.tile * row, self.tile * position], entry: [row, position], chunk: CHUNK }
    }

    /// The tiles of one sample, from tile `first` on, among matrices of `count` tiles and rows of `step`, one a point.
    pub(crate) fn on_points<const N: usize>(&self, first: usize, count: usize, step: usize) -> Walk {
        Walk {
            start: first * step,
            tile: [self.tiles()[1] * step, step],
            entry: [N * count * step, count * step],
            chunk: CHUNK,
        }
    }

    /// The same among matrices of chunks of 16 columns of `count` rows (points, columns/16, tiles, 16).
    pub(crate) fn on_chunks<const N: usize>(&self, first: usize, count: usize, columns: usize) -> Walk {
        let point = count * columns;
        Walk {
            start: first * CHUNK,
            tile: [self.tiles()[1] * CHUNK, CHUNK],
            entry: [N * point, point],
            chunk: count * CHUNK,
        }
    }

    /// Where the phases of a kernel are in `[taps][16]`, and the taps of a phase.
    pub(crate) fn on_kernel(&self) -> Walk {
        let (s, row) = (self.stride, self.g.kernel[1] * CHUNK);
        Walk { start: 0, tile: [row, CHUNK], entry: [s * row, s * CHUNK], chunk: CHUNK }
    }

    /// The phases of the kernel of input channel 0 in matrices of one a point, in which input channels are `step` apart.
    pub(crate) fn on_weights<const N: usize>(&self, start: usize, step: usize) -> Walk {
        let (s, phase) = (self.stride, self.g.image[0] * step);
        let point = self.depth() * self.outputs();
        Walk { start, tile: [s * phase, phase], entry: [N * point, point], chunk: CHUNK }
    }

    /// Where the canvas has each pixel of the image.
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

    /// Where each position of the map is among whole tiles, channel last.
    pub(crate) fn map_places(&self) -> Vec<usize> {
        let [_, height, width] = self.g.map;
        let columns = self.tile * self.tiles()[1];
        (0..height * width).map(|i| (i / width * columns + i % width) * apart(self.outputs())).collect()
    }
}

/// From a position's run of channels to the next: rows a power of two apart would meet in few lines of the nearest cache.
pub(crate) fn apart(channels: usize) -> usize {
    channels + CHUNK
}
