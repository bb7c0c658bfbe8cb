//! The order in which a recurrent cell computes the steps of sequences of several lengths.
//!
//! A task computes a few sequences, one step after the other. It sorts them by length, longest first, so the
//! sequences that have not ended at a step are the first ones. So a task computes no step that a sequence does
//! not have.
//!
//! Rows whose order is the same in the batch and in the tasks are not copied. This is true of all rows if
//! each sequence has one step, as when samples are drawn.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;

use crate::embedding::gather;
use crate::float::Float;

/// Maximum number of sequences per task.
const SEQUENCES: usize = 16;

/// The sequences and steps of each task.
///
/// The arguments and the results of a cell are in the order of the batch: sequence by sequence, with the steps
/// of each in succession. Tasks work in an order of their own: task by task, then step by step, then by length.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) tasks: Vec<Task>,
    /// The order of rows that belong to sequences, such as states before the first step.
    pub(crate) sequences: Order,
    /// The order of rows that belong to the steps of sequences.
    pub(crate) steps: Order,
    /// Number of steps of each sequence, in the order of the batch.
    lengths: Vec<usize>,
}

/// The sequences of a task.
#[derive(Debug)]
pub(crate) struct Task {
    /// For each step, the number of sequences that have it. The numbers never increase.
    pub(crate) active: Vec<usize>,
    /// The rows of its sequences, in the order of the tasks.
    sequences: Range<usize>,
    /// The rows of its steps, in the order of the tasks.
    steps: Range<usize>,
}

/// A permutation of rows, from the order of the batch to that of the tasks.
#[derive(Debug, PartialEq)]
pub(crate) enum Order {
    /// Both orders are the same.
    Same,
    Permuted {
        /// For each row in the order of the tasks, its place in the order of the batch.
        places: Vec<u32>,
        /// The inverse of `places`.
        inverse: Vec<u32>,
    },
}

impl Schedule {
    /// The schedule of sequences with these numbers of steps.
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let mut starts = Vec::with_capacity(lengths.len());
        let mut all = 0;
        for &length in lengths {
            starts.push(all);
            all += length;
        }
        let count = lengths.len().div_ceil(SEQUENCES);
        let sequences = in_order_of_tasks(lengths, count);
        let mut tasks = Vec::with_capacity(count);
        let mut steps: Vec<u32> = Vec::with_capacity(all);
        let mut end = 0;
        for task in 0..count {
            let (first, begin) = (end, steps.len());
            end += (task..lengths.len()).step_by(count).len();
            let own = &sequences[first..end];
            let longest = own.first().map_or(0, |&sequence| lengths[sequence as usize]);
            let mut active = Vec::with_capacity(longest);
            for step in 0..longest {
                let before = steps.len();
                let having = own.iter().map(|&sequence| sequence as usize);
                let having = having.take_while(|&sequence| lengths[sequence] > step);
                steps.extend(having.map(|sequence| (starts[sequence] + step) as u32));
                active.push(steps.len() - before);
            }
            tasks.push(Task { active, sequences: first..end, steps: begin..steps.len() });
        }
        let (sequences, steps) = (Order::new(sequences), Order::new(steps));
        Self { tasks, sequences, steps, lengths: lengths.to_vec() }
    }

    /// Cuts rows of `width` values for steps, in the order of the tasks, into those of each task.
    pub(crate) fn cut_steps<'a, T>(&self, rows: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        cut(rows, self.tasks.iter().map(|task| task.steps.len() * width))
    }

    /// Cuts rows of `width` values for sequences, in the order of the tasks, into those of each task.
    pub(crate) fn cut_sequences<'a, T>(&self, rows: &'a mut [T], width: usize) -> Vec<&'a mut [T]> {
        cut(rows, self.tasks.iter().map(|task| task.sequences.len() * width))
    }

    /// The hidden state before every step, from those after the steps and from the starts `(N, 2H)`; all in the
    /// order of the batch.
    pub(crate) fn shifted<T: Float>(&self, hidden: &[T], start: &[T], width: usize) -> Vec<T> {
        let mut before = Vec::with_capacity(hidden.len());
        let mut rest = hidden;
        for (&length, start) in self.lengths.iter().zip(start.chunks_exact((2 * width).max(1))) {
            let (own, others) = rest.split_at(length * width);
            rest = others;
            if length > 0 {
                before.extend_from_slice(&start[..width]);
                before.extend_from_slice(&own[..(length - 1) * width]);
            }
        }
        before
    }
}

impl Task {
    /// The part of rows of `width` values for sequences that belongs to this task.
    pub(crate) fn of_sequences<'a, T>(&self, rows: &'a [T], width: usize) -> &'a [T] {
        &rows[self.sequences.start * width..self.sequences.end * width]
    }

    /// The part of rows of `width` values for steps that belongs to this task.
    pub(crate) fn of_steps<'a, T>(&self, rows: &'a [T], width: usize) -> &'a [T] {
        &rows[self.steps.start * width..self.steps.end * width]
    }
}

impl Order {
    fn new(places: Vec<u32>) -> Self {
        // The only permutation in ascending order is the one that moves nothing.
        if places.is_sorted() {
            return Self::Same;
        }
        let mut inverse = vec![0u32; places.len()];
        for (row, &place) in (0u32..).zip(&places) {
            inverse[place as usize] = row;
        }
        Self::Permuted { places, inverse }
    }

    /// Rows of `width` values in the order of the tasks.
    pub(crate) fn to_tasks<'a, T: Float>(&self, rows: &'a [T], width: usize) -> Cow<'a, [T]> {
        match self {
            Self::Same => Cow::Borrowed(rows),
            Self::Permuted { places, .. } => Cow::Owned(gather(rows, places, width)),
        }
    }

    /// Rows of `width` values back in the order of the batch.
    pub(crate) fn to_batch<T: Float>(&self, rows: Vec<T>, width: usize) -> Vec<T> {
        match self {
            Self::Same => rows,
            Self::Permuted { inverse, .. } => gather(&rows, inverse, width),
        }
    }
}

/// The sequences in the order of `count` tasks.
fn in_order_of_tasks(lengths: &[usize], count: usize) -> Vec<u32> {
    let mut sequences: Vec<u32> = (0..lengths.len() as u32).collect();
    // Sequences of equal length need no sorting: the tasks have about as many steps in any order.
    if lengths.iter().all(|&length| length == lengths[0]) {
        return sequences;
    }
    // Stable, so that the order is a function of the lengths.
    sequences.sort_by_key(|&sequence| Reverse(lengths[sequence as usize]));
    // With every `count`-th sequence, all tasks have about as many steps.
    (0..count).flat_map(|task| sequences.iter().skip(task).step_by(count)).copied().collect()
}

fn cut<T>(mut rest: &mut [T], lengths: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let part = |length: usize| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(length);
        rest = others;
        part
    };
    lengths.map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_go_step_by_step_and_longest_first() {
        let schedule = Schedule::new(&[2, 0, 3, 1]);
        let [task] = schedule.tasks.as_slice() else { panic!("{:?}", schedule.tasks) };
        assert_eq!(task.active, [3, 2, 1]);
        assert_eq!(schedule.sequences, Order::new(vec![2, 0, 3, 1]));
        // The steps of the batch are those of its sequences: 0 and 1, none, 2 to 4, and 5.
        assert_eq!(schedule.steps, Order::new(vec![2, 0, 5, 3, 1, 4]));
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let sorted = schedule.steps.to_tasks(&values, 2);
        assert_eq!(sorted[..6], [4.0, 5.0, 0.0, 1.0, 10.0, 11.0]);
        assert_eq!(schedule.steps.to_batch(sorted.into_owned(), 2), values);
        let before = schedule.shifted(&values[..6], &[7.0, 0.0, 8.0, 0.0, 9.0, 0.0, 6.0, 0.0], 1);
        assert_eq!(before, [7.0, 0.0, 9.0, 2.0, 3.0, 6.0]);
    }

    #[test]
    fn tasks_share_the_steps_evenly_and_omit_none() {
        let lengths: Vec<usize> = (0..40).map(|sequence| 1 + sequence * 7 % 40).collect();
        let schedule = Schedule::new(&lengths);
        let steps: Vec<usize> = schedule.tasks.iter().map(|task| task.active.iter().sum()).collect();
        let sequences: Vec<usize> = schedule.tasks.iter().map(|task| task.sequences.len()).collect();
        assert_eq!((steps.iter().sum::<usize>(), sequences), (820, vec![14, 13, 13]));
        assert!(steps.iter().all(|steps| steps.abs_diff(820 / 3) < 30), "{steps:?}");
        let Order::Permuted { places, .. } = &schedule.steps else { panic!("{:?}", schedule.steps) };
        let mut places = places.clone();
        places.sort_unstable();
        assert!((0..820).eq(places));
        let mut rows = vec![0u8; 2 * 820];
        let cut: Vec<usize> = schedule.cut_steps(&mut rows, 2).iter().map(|part| part.len() / 2).collect();
        assert_eq!(cut, steps);
        assert!(Schedule::new(&[]).tasks.is_empty());
    }

    #[test]
    fn rows_in_the_order_of_the_tasks_are_not_copied() {
        // More sequences than a task has.
        let schedule = Schedule::new(&[1; 37]);
        let sequences: Vec<usize> = schedule.tasks.iter().map(|task| task.sequences.len()).collect();
        assert_eq!(sequences, [13, 12, 12]);
        assert_eq!(schedule.sequences, Order::Same);
        assert_eq!(schedule.steps, Order::Same);
        let values: Vec<f32> = (0..74u8).map(f32::from).collect();
        assert!(matches!(schedule.steps.to_tasks(&values, 2), Cow::Borrowed(rows) if rows == values));
        assert_eq!(schedule.steps.to_batch(values.clone(), 2), values);
        // With the longest sequence first, the sequences stay in order, but not the steps.
        let schedule = Schedule::new(&[3, 3, 1, 0]);
        assert_eq!(schedule.sequences, Order::Same);
        assert_eq!(schedule.steps, Order::new(vec![0, 3, 6, 1, 4, 2, 5]));
    }
}
