//! Natural sort order: `2` before `10`.

use std::cmp::Ordering;

/// Compares names by bytes, but runs of digits by value. If two names differ only by leading zeros, the
/// shorter run is first.
///
/// Names without digits, and names whose numbers all have the same width (`n01440764`), are in byte order.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        let order = match (left.first(), right.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (digits(&mut left), digits(&mut right));
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
            (Some(x), Some(y)) => {
                let order = x.cmp(y);
                (left, right) = (&left[1..], &right[1..]);
                order
            }
            // The names differ at most by leading zeros.
            (None, None) => return a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (one, other) => one.cmp(&other),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Removes the leading digits of `name`, and returns them without leading zeros.
fn digits<'a>(name: &mut &'a [u8]) -> &'a [u8] {
    let end = name.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len());
    let (run, rest) = name.split_at(end);
    *name = rest;
    let zeros = run.iter().take_while(|&&digit| digit == b'0').count();
    &run[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.sort_by(|a, b| compare(a, b));
        names
    }

    #[test]
    fn numbers_are_in_the_order_of_their_values() {
        assert_eq!(sorted(&["10", "2", "1", "11", "0"]), ["0", "1", "2", "10", "11"]);
        assert_eq!(sorted(&["class10", "class9", "class"]), ["class", "class9", "class10"]);
        assert_eq!(sorted(&["1.10", "1.9", "01.9"]), ["1.9", "01.9", "1.10"]);
        assert_eq!(sorted(&["007", "7", "6", "08"]), ["6", "7", "007", "08"]);
        // More digits than fit into any integer type.
        assert_eq!(sorted(&["2".repeat(40).as_str(), "3"]), ["3".to_owned(), "2".repeat(40)]);
    }

    #[test]
    fn names_of_words_or_of_digits_in_columns_keep_the_order_of_their_bytes() {
        for names in [
            &["dog", "cat", "Cat", "bird", "émeu", "a b", "a-b", "a_b", "a"][..],
            &["n02085620-Chihuahua", "n01440764", "n01443537"],
        ] {
            let mut by_bytes: Vec<String> = names.iter().map(ToString::to_string).collect();
            by_bytes.sort();
            assert_eq!(sorted(names), by_bytes);
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(names in prop::collection::vec("[a-c0-2.]{0,6}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            prop_assert_eq!(compare(a, b).is_eq(), a == b);
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }
    }
}
