//! The fixed order of a data set. It determines the validation part, a limited training set, and the test
//! part of a data set without one. Also chooses images that represent a whole split.

use std::collections::BTreeMap;

use waxwork_core::rng::Stream;

/// Without a test part, one image in this number is for testing.
const TEST_SHARE: usize = 10;

/// Returns which images of a data set without a test part are for testing: a fixed tenth of each class.
pub(crate) fn test_part(count: usize, label: impl Fn(usize) -> Option<u32>) -> Vec<bool> {
    let order = fixed_order(count, label);
    let mut is_test = vec![false; count];
    order[..count.div_ceil(TEST_SHARE)].iter().for_each(|&index| is_test[index as usize] = true);
    is_test
}

/// Returns `0..count` in a fixed random order. Every prefix has the class proportions of the whole, to within
/// one image per class. The order does not depend on a run's seed, so a data set always has the same
/// validation part.
pub(crate) fn fixed_order(count: usize, label: impl Fn(usize) -> Option<u32>) -> Vec<u32> {
    let shuffled = Stream::new(0, "data/fixed-order", 0).permutation(count);
    let class = |index: u32| label(index as usize).map_or(0, |label| label as usize + 1);
    let mut sizes: Vec<u64> = Vec::new();
    // The k-th image of a class of n is placed at the fraction (2k + 1) / 2n.
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
    // The sort is stable, so images of different classes at the same place stay in shuffled order.
    placed.sort_by_key(|&(place, _)| place);
    placed.into_iter().map(|(_, index)| index).collect()
}

/// Returns the positions, ascending, of `count` of `0..all` that represent the whole. If the labels show that
/// the order is already mixed, as in MNIST, returns the first ones; else those of a prefix of the fixed
/// order. A smaller subset is part of a larger one.
pub(crate) fn subset(count: usize, all: usize, label: impl Fn(usize) -> Option<u32>) -> Vec<u32> {
    if count >= all || is_mixed(all, &label) {
        return (0..count.min(all) as u32).collect();
    }
    let mut chosen = fixed_order(all, label);
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}

/// True if neighbours differ in class at least three quarters as often as in a random order, which is (1 − Σ
/// p²) of the time for class shares p. False for images without labels or of one class.
fn is_mixed(all: usize, label: impl Fn(usize) -> Option<u32>) -> bool {
    let mut sizes: BTreeMap<u32, u128> = BTreeMap::new();
    let (mut before, mut changes) = (None, 0u128);
    for index in 0..all {
        let Some(class) = label(index) else { return false };
        *sizes.entry(class).or_default() += 1;
        changes += u128::from(before.is_some_and(|before| before != class));
        before = Some(class);
    }
    let (all, squares) = (all as u128, sizes.values().map(|size| size * size).sum::<u128>());
    changes > 0 && 4 * changes * all >= 3 * (all * all - squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_of_a_sorted_order_has_every_class_in_proportion() {
        // 600 images in folders: half of class 0, a third of class 1, a sixth of class 2.
        let class = |i: usize| if i < 300 { 0u32 } else { 1 + u32::from(i >= 500) };
        for order in [&class, &|i| class(599 - i)] as [&dyn Fn(usize) -> u32; 2] {
            for (count, expected) in [(6, [3, 2, 1]), (60, [30, 20, 10]), (594, [297, 198, 99])] {
                let chosen = subset(count, 600, |i| Some(order(i)));
                let found = [0, 1, 2].map(|k| chosen.iter().filter(|&&i| order(i as usize) == k).count());
                assert!((0..3).all(|k| found[k].abs_diff(expected[k]) <= 1), "{found:?} {expected:?}");
                assert!(chosen.is_sorted_by(|a, b| a < b) && chosen.len() == count);
            }
        }
        // Two images per class are sorted too.
        let pairs = subset(50, 200, |i| Some(i as u32 / 2));
        assert!(pairs.iter().any(|&i| i >= 150), "{pairs:?}");
    }

    #[test]
    fn a_smaller_subset_is_a_part_of_a_larger_one_and_no_prefix_where_labels_show_nothing() {
        for label in [|_: usize| None, |_: usize| Some(3)] {
            let (ten, all) = (subset(10, 400, label), subset(400, 400, label));
            let hundred = subset(100, 400, label);
            assert!(ten.iter().all(|i| hundred.contains(i)));
            assert!(hundred.iter().filter(|&&i| i >= 200).count() > 25, "{hundred:?}");
            assert_eq!(all, (0..400).collect::<Vec<u32>>());
            assert_eq!(subset(401, 400, label), all);
        }
        assert!(subset(10, 0, |_| None).is_empty() && subset(0, 10, |_| None).is_empty());
    }

    #[test]
    fn a_mixed_order_stays_as_it_is() {
        let drawn = Stream::new(1, "test/mixed", 0).permutation(3000);
        for order in [&|i: usize| drawn[i] % 10, &|i: usize| i as u32 % 10] as [&dyn Fn(usize) -> u32; 2] {
            assert_eq!(subset(200, 3000, |i| Some(order(i))), (0..200).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn every_prefix_is_balanced_and_the_whole_is_a_permutation() {
        // One sixth of one class, the rest of another: a prefix must keep that ratio.
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
