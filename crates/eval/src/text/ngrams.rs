//! The distance between the n-grams of generated and of real texts: the Jensen-Shannon divergence of their
//! frequencies, which Gulrajani et al. (2017) use for language models.

use std::collections::HashMap;

/// The Jensen-Shannon divergence, in bits (0 to 1), of the n-grams of two sets of texts. The end of a text
/// counts as a token.
pub fn divergence(one: &[Vec<u16>], other: &[Vec<u16>], order: usize) -> f64 {
    let (one, other) = (shares(one, order), shares(other, order));
    let mut grams: Vec<&u128> = one.keys().chain(other.keys()).collect();
    // Sorted, so that sums have one order.
    grams.sort_unstable();
    grams.dedup();
    let term = |p: f64, mean: f64| if p > 0.0 { p * libm::log2(p / mean) } else { 0.0 };
    let of = |gram: &u128| {
        let [p, q] = [&one, &other].map(|shares| shares.get(gram).copied().unwrap_or(0.0));
        0.5 * (term(p, 0.5 * (p + q)) + term(q, 0.5 * (p + q)))
    };
    grams.into_iter().map(of).sum::<f64>().max(0.0)
}

fn shares(texts: &[Vec<u16>], order: usize) -> HashMap<u128, f64> {
    let mut counts: HashMap<u128, f64> = HashMap::new();
    let mut all = 0.0;
    for text in texts {
        let ended = [text.as_slice(), &[waxwork_data::text::END]].concat();
        for window in ended.windows(order) {
            let gram = window.iter().fold(0u128, |gram, token| gram << 16 | u128::from(*token));
            *counts.entry(gram).or_default() += 1.0;
            all += 1.0;
        }
    }
    counts.values_mut().for_each(|count| *count /= f64::max(all, 1.0));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_zero_and_nothing_in_common_is_one_bit() {
        let texts = vec![vec![1, 2, 3], vec![2, 2]];
        assert_eq!(divergence(&texts, &texts, 2), 0.0);
        assert!((divergence(&texts, &[vec![7, 8], vec![8, 7, 7]], 2) - 1.0).abs() < 1e-12);
        // The shares of the bigrams (1, end) and (2, end) are 1/2, 1/2 against 1, 0. M is 3/4, 1/4.
        let (one, other) = (vec![vec![1], vec![2]], vec![vec![1], vec![1]]);
        let expected = 0.5 * (0.5 * (0.5f64 / 0.75).log2() + 0.5 * (0.5f64 / 0.25).log2())
            + 0.5 * (1.0f64 / 0.75).log2();
        assert!((divergence(&one, &other, 2) - expected).abs() < 1e-12);
    }
}
