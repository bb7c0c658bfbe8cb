//! Training by sampling: which condition and which row a place of a batch gets, as a function of its coordinates alone.
//!
//! CTGAN's paper (Xu et al. 2019, section 4.3): a discrete column is drawn uniformly, one of its categories by the logarithm of its frequency, so that
//! rare ones are seen often enough, and a row among those of that category. When a model makes rows, conditions come by their true frequencies.

use super::encode::{Encoded, Encoder};
use waxwork_core::rng::{Draws, Stream};

/// A condition: a place in the choice of a discrete column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column, by its position in the schema.
    pub column: usize,
    /// The place, nulls and `other` included.
    pub place: usize,
}

/// A condition in training, and a row that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The condition.
    pub condition: Condition,
    /// The row.
    pub row: usize,
}

/// Tables from which conditions and rows are drawn in constant time.
#[derive(Clone, Debug)]
pub struct Sampler {
    seed: u64,
    columns: Vec<Discrete>,
    rows: usize,
}

#[derive(Clone, Debug)]
struct Discrete {
    column: usize,
    /// Where its places are in a condition vector.
    start: usize,
    by_log: Alias,
    /// The rows in the order of their places, and where the rows of each place begin.
    rows: Vec<u32>,
    begin: Vec<u32>,
}

impl Sampler {
    /// A sampler of the discrete columns of a table; None if there are none, or no rows.
    pub fn new(encoder: &Encoder, encoded: &Encoded, seed: u64) -> Option<Self> {
        let mut columns: Vec<Discrete> = Vec::new();
        let mut start = 0;
        for (index, schema) in encoder.schema().columns.iter().enumerate() {
            let Some(codes) = encoded.places(index).filter(|_| schema.kind.is_discrete()) else { continue };
            let width = encoder.layout().choice(index).map_or(0, |choice| choice.shape.width());
            let counts = codes.counts(width);
            let mut begin = vec![0u32; width + 1];
            (0..width).for_each(|place| begin[place + 1] = begin[place] + counts[place] as u32);
            let mut next = begin.clone();
            let mut rows = vec![0u32; encoded.rows()];
            for (row, place) in codes.iter().enumerate() {
                rows[next[place as usize] as usize] = row as u32;
                next[place as usize] += 1;
            }
            // A place that no row has is never drawn: ln 1 = 0.
            let logs: Vec<f64> = counts.iter().map(|count| libm::log(*count as f64 + 1.0)).collect();
            columns.push(Discrete { column: index, start, by_log: Alias::new(&logs), rows, begin });
            start += width;
        }
        (!columns.is_empty() && encoded.rows() > 0).then_some(Self { seed, columns, rows: encoded.rows() })
    }

    /// Numbers in a condition vector: all places of all discrete columns.
    pub fn width(&self) -> usize {
        self.columns.last().map_or(0, |last| last.start + last.begin.len() - 1)
    }

    /// Where the places of a discrete column begin in a condition vector.
    pub fn start(&self, column: usize) -> Option<usize> {
        self.columns.iter().find(|own| own.column == column).map(|own| own.start)
    }

    /// Writes a condition as a vector of [`width`](Self::width) numbers, one of which is 1.
    ///
    /// # Panics
    /// If `out` has another width.
    pub fn write_condition(&self, condition: Condition, out: &mut [f32]) {
        assert_eq!(out.len(), self.width(), "a condition vector has another width");
        out.fill(0.0);
        if let Some(start) = self.start(condition.column) {
            out[start + condition.place] = 1.0;
        }
    }

    /// What place `i` of the batch of a step gets in training.
    pub fn draw(&self, step: u64, i: u64) -> Drawn {
        let mut draws = Stream::new(self.seed, "table/condition", step).at(i);
        let own = &self.columns[draws.below(self.columns.len() as u32) as usize];
        let place = own.by_log.draw(&mut draws);
        let (from, to) = (own.begin[place], own.begin[place + 1]);
        let row = own.rows[(from + draws.below((to - from).max(1))) as usize] as usize;
        Drawn { condition: Condition { column: own.column, place }, row }
    }

    /// A condition for sample `i` of generated rows: a column uniformly, and its place in a row that is drawn uniformly.
    pub fn condition(&self, seed: u64, i: u64) -> Condition {
        let mut draws = Stream::new(seed, "table/sample-condition", 0).at(i);
        let own = &self.columns[draws.below(self.columns.len() as u32) as usize];
        let at = draws.below(self.rows as u32);
        let place = own.begin.partition_point(|begin| *begin <= at) - 1;
        Condition { column: own.column, place }
    }
}

/// Walker's alias method (Vose 1991): one of n outcomes by given weights in constant time.
#[derive(Clone, Debug)]
struct Alias {
    /// For every outcome how likely it is kept, and the one that else takes its place.
    outcomes: Vec<(f64, u32)>,
}

impl Alias {
    fn new(weights: &[f64]) -> Self {
        let sum: f64 = weights.iter().sum();
        let mut left: Vec<f64> = weights.iter().map(|weight| weight / sum * weights.len() as f64).collect();
        let heaviest =
            (0..weights.len()).fold(0, |best, i| if weights[i] > weights[best] { i } else { best });
        let mut outcomes: Vec<(f64, u32)> = vec![(1.0, 0); weights.len()];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..left.len()).partition(|i| left[*i] < 1.0);
        while let (Some(&light), Some(&heavy)) = (small.last(), large.last()) {
            small.pop();
            outcomes[light] = (left[light], heavy as u32);
            left[heavy] -= 1.0 - left[light];
            if left[heavy] < 1.0 {
                large.pop();
                small.push(heavy);
            }
        }
        // What rounding leaves over keeps its own outcome, unless that is impossible.
        for i in small.into_iter().filter(|i| weights[*i] == 0.0) {
            outcomes[i] = (0.0, heaviest as u32);
        }
        Self { outcomes }
    }

    fn draw(&self, draws: &mut Draws) -> usize {
        let outcome = draws.below(self.outcomes.len() as u32) as usize;
        let (keep, other) = self.outcomes[outcome];
        let draw = f64::from(draws.bits()) / 4_294_967_296.0;
        if draw < keep { outcome } else { other as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_as_often_as_their_weights_say() {
        let weights = [0.0, 1.0, 3.0, 0.5, 5.5];
        let alias = Alias::new(&weights);
        let stream = Stream::new(1, "test", 0);
        let mut counts = [0u32; 5];
        let draws = 100_000;
        (0..draws).for_each(|i| counts[alias.draw(&mut stream.at(i))] += 1);
        assert_eq!(counts[0], 0);
        for (weight, count) in weights.iter().zip(counts) {
            let p = weight / 10.0;
            let sd = (p * (1.0 - p) * draws as f64).sqrt();
            assert!((f64::from(count) - p * draws as f64).abs() <= 4.5 * sd, "{counts:?}");
        }
    }
}
