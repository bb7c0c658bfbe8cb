//! Training by sampling, for models that can be conditioned on values of columns: which samples a step learns
//! from, and which of their columns the model sees as conditions.
//!
//! This follows CTGAN's paper (Xu et al. 2019, section 4.3): draw a column uniformly, then one of its values
//! with a probability proportional to the logarithm of its frequency, so that rare values come often enough,
//! and then a sample that has this value. Half of the samples also show some of their other columns, so that
//! a model learns conditions on several columns at once. The drawn column is always shown, and whether
//! another column is shown never depends on its value. So the samples, given what is shown, are distributed
//! as in the data.

use std::ops::Range;

use waxwork_core::rng::{Draws, Stream};

use crate::dataset::Split;

/// Condition values, one sample after the other: a one-hot vector per column, zeros if the column is not
/// shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) values: Vec<f32>,
    pub(crate) width: usize,
}

impl Asked {
    /// Shows one column of each sample, chosen by the sample's index in the data set. For evaluation.
    pub(crate) fn one_each(split: &Split, indices: &[u32]) -> Self {
        let widths = split.column_widths();
        let stream = Stream::new(0, "data/asked", 0);
        let mut asked = Self { values: Vec::new(), width: widths.iter().sum() };
        for &index in indices {
            let column = stream.at(index.into()).below(widths.len() as u32) as usize;
            asked.show(split, index, |other| other == column);
        }
        asked
    }

    fn show(&mut self, split: &Split, index: u32, shown: impl Fn(usize) -> bool) {
        let mut start = self.values.len();
        self.values.resize(start + self.width, 0.0);
        for (column, width) in split.column_widths().iter().enumerate() {
            if let Some(value) = split.column_value(index, column).filter(|_| shown(column)) {
                self.values[start + value as usize] = 1.0;
            }
            start += width;
        }
    }
}

/// Draws the samples of training batches, each in constant time.
#[derive(Debug)]
pub(crate) struct Sampler {
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    by_log: Alias,
    /// Positions in the split, sorted by value, and where the positions of each value begin.
    positions: Vec<u32>,
    begin: Vec<u32>,
}

impl Sampler {
    /// Returns a sampler of a split, or None if its samples have no columns to condition on.
    pub(crate) fn new(split: &Split) -> Option<Self> {
        let of_column = |(column, &width): (usize, &usize)| {
            let value = |index: &u32| split.column_value(*index, column).unwrap_or(0) as usize;
            let mut begin = vec![0u32; width + 1];
            split.indices().iter().for_each(|index| begin[value(index) + 1] += 1);
            let logs: Vec<f64> = begin[1..].iter().map(|count| libm::log(f64::from(*count) + 1.0)).collect();
            (0..width).for_each(|value| begin[value + 1] += begin[value]);
            let (mut next, mut positions) = (begin.clone(), vec![0; split.len()]);
            for (position, index) in split.indices().iter().enumerate() {
                let place = &mut next[value(index)];
                positions[*place as usize] = position as u32;
                *place += 1;
            }
            Column { by_log: Alias::new(&logs), positions, begin }
        };
        let columns: Vec<Column> = split.column_widths().iter().enumerate().map(of_column).collect();
        (!columns.is_empty() && !split.is_empty()).then_some(Self { columns })
    }

    /// Returns the positions in the split of some rows of batch `number`, and the conditions of each row.
    /// They depend only on the seed, the batch number and the row number.
    pub(crate) fn batch(
        &self,
        split: &Split,
        seed: u64,
        number: u64,
        rows: Range<usize>,
    ) -> (Vec<usize>, Asked) {
        let stream = Stream::new(seed, "data/asked", number);
        let mut asked = Asked { values: Vec::new(), width: split.column_widths().iter().sum() };
        let positions = rows.map(|i| {
            let mut draws = stream.at(i as u64);
            let column = draws.below(self.columns.len() as u32) as usize;
            let position = self.columns[column].draw(&mut draws);
            let share = if draws.below(2) == 0 { 0.0 } else { draws.uniform() };
            let shown: Vec<bool> =
                (0..self.columns.len()).map(|other| other == column || draws.uniform() < share).collect();
            asked.show(split, split.indices()[position], |column| shown[column]);
            position
        });
        (positions.collect(), asked)
    }
}

impl Column {
    /// Draws the position of a sample.
    fn draw(&self, draws: &mut Draws) -> usize {
        let value = self.by_log.draw(draws);
        let (from, to) = (self.begin[value], self.begin[value + 1]);
        self.positions[(from + draws.below((to - from).max(1))) as usize] as usize
    }
}

/// Walker's alias method (Vose 1991): draws one of n outcomes by given weights in constant time.
#[derive(Clone, Debug)]
struct Alias {
    /// For every outcome, the probability of keeping it, and the outcome that otherwise replaces it.
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
        // Outcomes left over by rounding are kept, unless their weight is zero.
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
    use std::sync::Arc;

    use super::*;
    use crate::table::csv;
    use crate::table::encode::Encoder;
    use crate::table::{TableOptions, TableRows};

    /// 60 rows: `member` is yes in 12 of them, `grade` is a, b or missing.
    fn split() -> Split {
        let row = |i: usize| {
            let grade = ["a", "b", ""][i % 3];
            format!("{}.5,{},{grade}\n", i * i, if i.is_multiple_of(5) { "yes" } else { "no" })
        };
        let text = format!("size,member,grade\n{}", (0..60).map(row).collect::<String>());
        let table = csv::read_from("t.csv".as_ref(), text.as_bytes(), &TableOptions::default()).unwrap();
        let encoder = Encoder::fit(&table, |_| ()).unwrap();
        assert_eq!(encoder.discrete(), [1, 2]);
        Split::all(Arc::new(TableRows::new(&encoder, &table).unwrap())).unwrap()
    }

    fn near(count: usize, p: f64, of: usize) {
        let sd = (p * (1.0 - p) * of as f64).sqrt();
        assert!((count as f64 - p * of as f64).abs() < 4.5 * sd, "{count} of {of}, but p = {p}");
    }

    #[test]
    fn samples_and_what_is_shown_of_them_are_a_function_of_their_coordinates() {
        let split = split();
        assert_eq!(split.column_widths(), [2, 3]);
        let sampler = Sampler::new(&split).unwrap();
        let (positions, asked) = sampler.batch(&split, 3, 5, 0..4000);
        assert_eq!(sampler.batch(&split, 3, 5, 4..10).0, positions[4..10]);
        assert_eq!(sampler.batch(&split, 3, 5, 0..4000).1, asked);
        assert_ne!(sampler.batch(&split, 3, 6, 0..4000).0, positions);
        assert_ne!(sampler.batch(&split, 4, 5, 0..4000).0, positions);
        let (mut alone, mut both, mut yes, mut first) = (0, 0, 0, 0);
        for (&position, row) in positions.iter().zip(asked.values.chunks(5)) {
            // The shown values are those of the sample.
            let [member, grade] = [0, 1].map(|column| split.column_value(position as u32, column).unwrap());
            let (of_member, of_grade) = (row[..2].iter().sum::<f32>(), row[2..].iter().sum::<f32>());
            assert!((1.0..=2.0).contains(&(of_member + of_grade)));
            assert!(of_member == 0.0 || row[member as usize] == 1.0);
            assert!(of_grade == 0.0 || row[2 + grade as usize] == 1.0);
            both += usize::from(of_member + of_grade == 2.0);
            if of_grade == 0.0 {
                alone += 1;
                yes += usize::from(row[1] == 1.0);
                first += usize::from(position == 0);
            }
        }
        // Half of the samples show one column. Each of the others shows the second column with a uniformly
        // drawn probability, so a quarter of all samples show both.
        near(both, 0.25, 4000);
        near(alone, 0.375, 4000);
        // Member: 48 no, 12 yes; by logarithms ln 49 to ln 13. All samples that share a value are equally
        // likely.
        near(yes, 13f64.ln() / (13f64.ln() + 49f64.ln()), alone);
        near(first, 1.0 / 12.0, yes);
    }

    #[test]
    fn in_evaluation_every_sample_shows_one_column_whatever_its_batch() {
        let split = split();
        let all = Asked::one_each(&split, split.indices());
        assert!(all.values.chunks(5).all(|row| row.iter().sum::<f32>() == 1.0));
        assert_eq!(Asked::one_each(&split, &split.indices()[7..9]).values, all.values[35..45]);
        near(all.values.chunks(5).filter(|row| row[0] + row[1] == 1.0).count(), 0.5, 60);
    }

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
