//! The one fixed order of a training set, from which the validation part, a limited training set, and a test part where there is none
//! are cut.

use waxwork_core::rng::Stream;

/// Without a test part of its own, one image in this many is for testing.
const TEST_SHARE: usize = 10;

/// Which images of a data set without a test part are for testing: a tenth of each class, the same for ever.
pub(crate) fn test_part(count: usize, label: impl Fn(usize) -> Option<u32>) -> Vec<bool> {
    let order = fixed_order(count, label);
    let mut is_test = vec![false; count];
    order[..count.div_ceil(TEST_SHARE)].iter().for_each(|&index| is_test[index as usize] = true);
    is_test
}

/// All of `0..count` in a fixed random order, every prefix of which has the proportions of the classes of the whole
/// (to within one image a class). It depends on no seed of a run, so a data set has one validation part for ever.
pub(crate) fn fixed_order(count: usize, label: impl Fn(usize) -> Option<u32>) -> Vec<u32> {
    let shuffled = Stream::new(0, "data/fixed-order", 0).permutation(count);
    let class = |index: u32| label(index as usize).map_or(0, |label| label as usize + 1);
    let mut sizes: Vec<u64> = Vec::new();
    // The k-th image of a class of n has its place at (2k + 1) / 2n of the way.
    let ranked: Vec<(usize, u64, u32)> = shuffled
        .into_iter()
        .map(|index| {
            let class = class(index);
            if sizes.len() <= class {
                sizes.resize(class + 1, 0);
            }
            sizes[class] += 1;
            (class, sizes[class] * 2 - 1, index)
        })
        .collect();
    let mut placed: Vec<(u64, u32)> =
        ranked.into_iter().map(|(class, odd, index)| ((odd << 31) / sizes[class], index)).collect();
    // Stable, so images of several classes with one place stay in their shuffled order.
    placed.sort_by_key(|&(place, _)| place);
    placed.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_balanced_and_the_whole_is_a_permutation() {
        // One class in six, the other five: a prefix must keep that.
        let order = fixed_order(1200, |i| Some(u32::from(i % 6 != 0)));
        for n in [12, 60, 100, 600] {
            let rare = order[..n].iter().filter(|&&i| i % 6 == 0).count();
            assert!(rare.abs_diff(n / 6) <= 1, "{rare} of {n}");
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1200).collect::<Vec<u32>>());
        assert_ne!(order, sorted);
        assert_eq!(order, fixed_order(1200, |i| Some(u32::from(i % 6 != 0))));
    }

    #[test]
    fn works_without_labels_and_without_images() {
        assert_eq!(fixed_order(100, |_| None).len(), 100);
        assert!(fixed_order(0, |_| None).is_empty());
    }
}
