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
    /// Along the height and along the width.
    pub(crate) stride: [usize; 2],
    /// Taps of a phase of the kernel, along the height and along the width.
    pub(crate) taps: [usize; 2],
    /// Outputs of a tile, along the height and along the width.
    pub(crate) tile: [usize; 2],
}

impl<'a> Winograd<'a> {
    /// The convolution, if it is suitable. This does not depend on the number of samples.
    pub(crate) fn of(g: &'a Geometry) -> Option<Self> {
        let whole =
            [g.image[0], g.map[0]].iter().all(|channels| *channels > 0 && channels.is_multiple_of(CHUNK));
        if !whole {
            return None;
        }
        let [stride, _] = g.stride;
        let taps = g.kernel[0] / stride;
        // Shorter kernels along a line would save too little, and longer ones would lose precision.
        if g.kernel == [1, 5] && g.stride == [1, 1] {
            return Some(Self { g, stride: g.stride, taps: g.kernel, tile: [1, 4] });
        }
        let square = g.stride == [stride; 2] && g.kernel == [taps * stride; 2];
        // Larger tiles need fewer products per output, unless too much of them lies beyond the map. They need
        // more weights, which does not pay for small maps.
        let points = |tile: usize| -> usize {
            g.map[1..].iter().map(|side| side.div_ceil(tile) * (tile + taps - 1)).product()
        };
        let large = g.map[1..].iter().all(|side| *side > 4) && points(4) < points(2);
        let tile = if large { 4 } else { 2 };
        (square && matches!(taps, 2 | 3)).then_some(Self {
            g,
            stride: g.stride,
            taps: [taps; 2],
            tile: [tile; 2],
        })
    }

    /// Whether tiles are single lines.
    pub(crate) fn flat(&self) -> bool {
        self.taps[0] == 1
    }

    /// Points of a transformed tile, if those of one axis are `side`.
    pub(crate) fn points(&self, side: usize) -> usize {
        if self.flat() { side } else { side * side }
    }

    /// Number of values per position of the canvas.
    pub(crate) fn depth(&self) -> usize {
        self.g.image[0] * self.stride[0] * self.stride[1]
    }

    pub(crate) fn outputs(&self) -> usize {
        self.g.map[0]
    }

    /// Tiles down and across a map.
    pub(crate) fn tiles(&self) -> [usize; 2] {
        [0, 1].map(|i| self.g.map[i + 1].div_ceil(self.tile[i]))
    }

    pub(crate) fn tiles_in_map(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Height and width of the canvas: the phases of a sample's image, with the zeros that its tiles read.
    pub(crate) fn canvas(&self) -> [usize; 2] {
        [0, 1].map(|i| self.tile[i] * self.tiles()[i] + self.taps[i] - 1)
    }

    pub(crate) fn canvas_len(&self) -> usize {
        self.canvas().iter().product::<usize>() * apart(self.depth())
    }

    /// Elements of a sample's map, channels-last and extended to whole tiles.
    pub(crate) fn whole_map_len(&self) -> usize {
        self.whole_positions() * apart(self.outputs())
    }

    /// Positions of a map that is extended to whole tiles.
    fn whole_positions(&self) -> usize {
        self.tile.iter().product::<usize>() * self.tiles_in_map()
    }

    /// Number of samples whose tiles are multiplied together. A power of two, so that common batch sizes
    /// are divided evenly.
    pub(crate) fn group(&self) -> usize {
        GROUP_OUTPUTS.div_ceil(self.whole_positions().max(1)).next_power_of_two().min(self.g.samples.max(1))
    }

    /// The tiles of a canvas.
    pub(crate) fn on_canvas(&self) -> Walk {
        self.on_positions(self.canvas()[1], apart(self.depth()))
    }

    /// The tiles of a map, channels-last.
    pub(crate) fn on_map(&self) -> Walk {
        self.on_positions(self.tile[1] * self.tiles()[1], apart(self.outputs()))
    }

    /// The tiles of positions that are `step` apart, in rows of `columns`.
    fn on_positions(&self, columns: usize, step: usize) -> Walk {
        let entry = [columns * step, step];
        Walk { start: 0, tile: [0, 1].map(|i| self.tile[i] * entry[i]), entry, chunk: CHUNK }
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
        let ([down, across], row) = (self.stride, self.g.kernel[1] * CHUNK);
        Walk { start: 0, tile: [row, CHUNK], entry: [down * row, across * CHUNK], chunk: CHUNK }
    }

    /// The phases of a kernel that starts at `start`, in one matrix per point in which input
    /// channels are `step` apart.
    pub(crate) fn on_weights<const N: usize>(&self, start: usize, step: usize) -> Walk {
        let ([_, across], phase) = (self.stride, self.g.image[0] * step);
        let point = self.depth() * self.outputs();
        Walk { start, tile: [across * phase, phase], entry: [N * point, point], chunk: CHUNK }
    }

    /// The offset of each pixel of the image in the canvas.
    pub(crate) fn image_places(&self) -> Vec<usize> {
        let ([down, across], [rows, columns]) = (self.stride, self.canvas());
        let [channels, height, width] = self.g.image;
        let place = |y: usize, x: usize| {
            let (y, x) = (y + self.g.padding[0], x + self.g.padding[1]);
            let position = (y / down * columns + x / across) * apart(self.depth());
            let inside = y / down < rows && x / across < columns;
            if inside { position + (y % down * across + x % across) * channels } else { NOWHERE }
        };
        (0..height * width).map(|i| place(i / width, i % width)).collect()
    }

    /// The offset of each position of the map in whole tiles, channels-last.
    pub(crate) fn map_places(&self) -> Vec<usize> {
        let [_, height, width] = self.g.map;
        let columns = self.tile[1] * self.tiles()[1];
        (0..height * width).map(|i| (i / width * columns + i % width) * apart(self.outputs())).collect()
    }
}

/// The distance between the runs of channels of neighbouring positions. Runs a power of two apart would
/// compete for few lines of the L1 cache.
pub(crate) fn apart(channels: usize) -> usize {
    channels + CHUNK
}
