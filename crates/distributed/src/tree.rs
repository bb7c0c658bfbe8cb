//! Reduction, gathering and broadcast among 2ⁿ processes, built from exchanges between pairs.
//!
//! A reduction goes up the tree by recursive halving: a process exchanges halves with its neighbour at
//! distance 1 and adds them, then quarters at distance 2, and so on. The finished parts come back by
//! recursive doubling. This sends as many bytes as a ring, in fewer messages. Every element is summed by the
//! same perfect binary tree, ((0 + 1) + (2 + 3)) + …, whatever its position.

use std::ops::Range;

/// How a process communicates with another one.
pub(crate) trait Pairs {
    fn rank(&self) -> usize;

    /// The number of processes, a power of two.
    fn size(&self) -> usize;

    /// Sends bytes to a process and fills `received` with bytes from it.
    fn exchange(&self, peer: usize, sent: &[u8], received: &mut [u8]) -> Result<(), String>;
}

/// A number that can be reduced.
pub(crate) trait Element: bytemuck::Pod {
    fn add(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
}

impl Element for f32 {
    fn add(self, other: Self) -> Self {
        self + other
    }

    fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
}

impl Element for f64 {
    fn add(self, other: Self) -> Self {
        self + other
    }

    fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
}

/// Distances 1, 2, 4, … below the number of processes.
pub(crate) fn distances(size: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..size.trailing_zeros()).map(|bit| 1 << bit)
}

/// Combines the `values` of all processes elementwise, in place.
pub(crate) fn reduce<T: Element>(
    pairs: &impl Pairs,
    values: &mut [T],
    join: impl Fn(T, T) -> T,
) -> Result<(), String> {
    let rank = pairs.rank();
    let mut kept = 0..values.len();
    let mut before = Vec::new();
    let mut received = vec![T::zeroed(); values.len().div_ceil(2)];
    for distance in distances(pairs.size()) {
        let (mine, theirs) = halves(&kept, rank & distance == 0);
        before.push((distance, kept));
        let received = &mut received[..mine.len()];
        let sent = bytemuck::cast_slice(&values[theirs]);
        pairs.exchange(rank ^ distance, sent, bytemuck::cast_slice_mut(received))?;
        for (value, other) in values[mine.clone()].iter_mut().zip(received) {
            *value = join(*value, *other);
        }
        kept = mine;
    }
    while let Some((distance, whole)) = before.pop() {
        let (mine, theirs) = halves(&whole, rank & distance == 0);
        let received = &mut received[..theirs.len()];
        let sent = bytemuck::cast_slice(&values[mine]);
        pairs.exchange(rank ^ distance, sent, bytemuck::cast_slice_mut(received))?;
        values[theirs].copy_from_slice(received);
    }
    Ok(())
}

/// The half of a range that a process keeps, then the half that its peer keeps.
fn halves(whole: &Range<usize>, first: bool) -> (Range<usize>, Range<usize>) {
    let middle = whole.start + whole.len().div_ceil(2);
    let (low, high) = (whole.start..middle, middle..whole.end);
    if first { (low, high) } else { (high, low) }
}

/// Returns the bytes of every process, by rank; each has the same number.
pub(crate) fn gather_equal(pairs: &impl Pairs, own: &[u8]) -> Result<Vec<u8>, String> {
    let (rank, len) = (pairs.rank(), own.len());
    let mut all = vec![0; len * pairs.size()];
    all[rank * len..(rank + 1) * len].copy_from_slice(own);
    for distance in distances(pairs.size()) {
        let block = |rank: usize| {
            let first = rank & !(distance - 1);
            first * len..(first + distance) * len
        };
        let sent = all[block(rank)].to_vec();
        pairs.exchange(rank ^ distance, &sent, &mut all[block(rank ^ distance)])?;
    }
    Ok(all)
}

/// Sends the bytes of process 0 to all; every process knows their length.
pub(crate) fn broadcast(pairs: &impl Pairs, bytes: &mut [u8]) -> Result<(), String> {
    let rank = pairs.rank();
    for distance in distances(pairs.size()).rev() {
        // The processes that already have the bytes are the multiples of twice the distance.
        if rank.is_multiple_of(2 * distance) {
            pairs.exchange(rank ^ distance, bytes, &mut [])?;
        } else if rank.is_multiple_of(distance) {
            pairs.exchange(rank ^ distance, &[], bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A process simulated by a thread, with channels to and from every other one.
    pub(crate) struct Threads {
        rank: usize,
        to: Vec<Sender<Vec<u8>>>,
        from: Vec<Receiver<Vec<u8>>>,
    }

    impl Pairs for Threads {
        fn rank(&self) -> usize {
            self.rank
        }

        fn size(&self) -> usize {
            self.to.len()
        }

        fn exchange(&self, peer: usize, sent: &[u8], received: &mut [u8]) -> Result<(), String> {
            if !sent.is_empty() {
                self.to[peer].send(sent.to_vec()).map_err(|error| error.to_string())?;
            }
            if !received.is_empty() {
                received.copy_from_slice(&self.from[peer].recv().map_err(|error| error.to_string())?);
            }
            Ok(())
        }
    }

    /// Runs `each` on `size` processes and returns their results.
    pub(crate) fn on<R: Send>(size: usize, each: impl Fn(&Threads) -> R + Sync) -> Vec<R> {
        let mut processes: Vec<Threads> =
            (0..size).map(|rank| Threads { rank, to: vec![], from: vec![] }).collect();
        for from in 0..size {
            for to in 0..size {
                let (sender, receiver) = channel();
                processes[from].to.push(sender);
                processes[to].from.push(receiver);
            }
        }
        std::thread::scope(|scope| {
            let each = &each;
            let running: Vec<_> =
                processes.into_iter().map(|process| scope.spawn(move || each(&process))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// Numbers whose sum depends on the order.
    fn value(leaf: usize, place: usize) -> f32 {
        let mixed = (leaf * 7919 + place * 104_729 + 1) as u32;
        (mixed.wrapping_mul(2_654_435_761) as f32 / 4e9 - 0.5) * 10f32.powi((mixed % 9) as i32 - 4)
    }

    /// The sum of leaves along the perfect binary tree, computed recursively.
    fn tree(leaves: Range<usize>, place: usize) -> f32 {
        if leaves.len() == 1 {
            return value(leaves.start, place);
        }
        let middle = leaves.start + leaves.len() / 2;
        tree(leaves.start..middle, place) + tree(middle..leaves.end, place)
    }

    #[test]
    fn a_sum_has_the_bits_of_the_tree_for_every_number_of_processes_and_length() {
        for len in [0, 1, 2, 3, 7, 8, 31, 100] {
            let expected: Vec<u32> = (0..len).map(|place| tree(0..8, place).to_bits()).collect();
            for size in [1, 2, 4, 8] {
                let of_processes = on(size, |process| {
                    let own = 8 / size * process.rank()..8 / size * (process.rank() + 1);
                    let mut values: Vec<f32> = (0..len).map(|place| tree(own.clone(), place)).collect();
                    reduce(process, &mut values, Element::add).unwrap();
                    values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                });
                for found in of_processes {
                    assert_eq!(found, expected, "{size} processes, {len} values");
                }
            }
        }
        let orders = |place| -> [f32; 2] {
            [tree(0..8, place), (0..8).fold(0.0, |sum, leaf| sum + value(leaf, place))]
        };
        assert!(
            (0..100).any(|place| orders(place)[0] != orders(place)[1]),
            "the numbers do not tell orders apart"
        );
    }

    #[test]
    fn the_largest_is_found_element_by_element() {
        for found in on(4, |process| {
            let mut values = [process.rank() as f64, -(process.rank() as f64), 7.0];
            reduce(process, &mut values, Element::max).unwrap();
            values
        }) {
            assert_eq!(found, [3.0, 0.0, 7.0]);
        }
    }

    #[test]
    fn every_process_gathers_in_the_order_of_ranks() {
        for size in [1, 2, 4, 8, 16] {
            for gathered in on(size, |process| gather_equal(process, &[process.rank() as u8, 9]).unwrap()) {
                let expected: Vec<u8> = (0..size as u8).flat_map(|rank| [rank, 9]).collect();
                assert_eq!(gathered, expected);
            }
            for said in on(size, |process| {
                let mut bytes = if process.rank() == 0 { *b"abc" } else { [0; 3] };
                broadcast(process, &mut bytes).unwrap();
                bytes
            }) {
                assert_eq!(&said, b"abc");
            }
        }
    }
}
