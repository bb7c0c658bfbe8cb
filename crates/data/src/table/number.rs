//! Numbers as files write them. Parsing records the number of decimals, and writing uses it.

use serde::{Deserialize, Serialize};

/// The largest magnitude that is read as a number. Squares of larger ones could overflow.
pub(crate) const GREATEST: f64 = 1e100;
/// Integers of at most this magnitude are exact in an `f64`.
pub(crate) const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number and how it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) value: f64,
    /// Decimals as written, including trailing zeros.
    pub(crate) decimals: u8,
    /// Decimals without trailing zeros.
    pub(crate) significant: u8,
}

/// Parses a number such as `-12.50` or `1e-3`. Returns None for a text with leading zeros (`007`), which is a
/// code rather than a number; for numbers that are not finite or beyond 1e100; and for integers that an `f64`
/// cannot represent.
pub(crate) fn parse(text: &str) -> Option<Written> {
    let text = text.trim_matches(' ');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts = digits.as_bytes().first()?;
    if !(starts.is_ascii_digit() || *starts == b'.' && digits.len() > 1) {
        return None;
    }
    if digits.len() > 1 && *starts == b'0' && digits.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let fraction = mantissa.split_once('.').map_or("", |(_, fraction)| fraction);
    if value.abs() > GREATEST || (fraction.is_empty() && exponent == "0" && value.abs() > EXACT) {
        return None;
    }
    let (decimals, significant) = if exponent == "0" {
        (fraction.len(), fraction.trim_end_matches('0').len())
    } else {
        let plain = decimals(&value.to_string());
        (plain, plain)
    };
    let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX).min(MOST_DECIMALS);
    Some(Written { value, decimals: byte(decimals), significant: byte(significant) })
}

/// Numbers with more decimals than this are written as the shortest text that reads as the same number.
pub(crate) const MOST_DECIMALS: u8 = 120;

fn decimals(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

/// The number format of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decimals {
    /// Decimals that values are rounded to.
    pub most: u8,
    /// Decimals that are always written; trailing zeros beyond them are left out.
    pub least: u8,
}

impl Decimals {
    /// Rounds `value` to [`most`](Self::most) decimals, to the number that the written text reads as.
    pub fn round(self, value: f64) -> f64 {
        // Below 2⁵³, a quotient of whole numbers equals the number that its decimals read as.
        let one = 10f64.powi(self.most.into());
        let whole = libm::rint(value * one);
        if self.most <= 15 && whole.abs() < EXACT {
            return whole / one;
        }
        self.text(value).parse().unwrap_or(value)
    }

    /// Formats `value`.
    pub fn text(self, value: f64) -> String {
        let (most, least) = (usize::from(self.most), usize::from(self.least));
        let mut text = value.to_string();
        if decimals(&text) > most {
            text = format!("{value:.most$}");
            while text.contains('.') && text.ends_with('0') && decimals(&text) > least {
                text.pop();
            }
            if text.ends_with('.') {
                text.pop();
            }
            // A small negative number rounds to zero, which has no sign.
            if text.starts_with('-') && text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.')) {
                text.remove(0);
            }
        }
        let missing = least.saturating_sub(decimals(&text));
        if missing > 0 {
            if !text.contains('.') {
                text.push('.');
            }
            text.extend(std::iter::repeat_n('0', missing));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distinguishes_numbers_from_codes() {
        for text in ["1", "-1.5", "+2", "0.10", "1e5", "2.5E-3", " 7 ", "0", "-0", ".5", "5."] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in
            ["", "-", "007", "1,5", "nan", "inf", "-inf", "12 3", "0x1", "1e300", "12345678901234567890", "."]
        {
            assert!(parse(text).is_none(), "{text}");
        }
        let written = parse("12.500").unwrap();
        assert_eq!((written.value, written.decimals, written.significant), (12.5, 3, 1));
        assert_eq!(parse("1e-3").unwrap().significant, 3);
    }

    #[test]
    fn text_has_as_many_decimals_as_asked() {
        let text = |most, least, value| Decimals { most, least }.text(value);
        assert_eq!(text(2, 2, 3.0), "3.00");
        assert_eq!(text(2, 0, 3.12159), "3.12");
        assert_eq!(text(2, 0, 3.1), "3.1");
        assert_eq!(text(2, 0, 2.999), "3");
        assert_eq!(text(0, 1, 2.6), "3.0");
        assert_eq!(text(1, 0, -0.01), "0");
        assert_eq!(text(0, 0, 100.0), "100");
        assert_eq!(text(17, 0, 0.1), "0.1");
    }

    proptest! {
        #[test]
        fn numbers_keep_their_decimals(units in -1_000_000_000i64..1_000_000_000, most in 0u8..6) {
            let fixed = usize::from(most);
            let value = units as f64 / 10f64.powi(most.into());
            let text = format!("{value:.fixed$}");
            let written = parse(&text).unwrap();
            prop_assert_eq!(Decimals { most, least: most }.text(written.value), text);
            prop_assert_eq!(Decimals { most, least: 0 }.round(written.value), written.value);
            let near = Decimals { most, least: 0 }.round(written.value * 1.000_000_1 + 0.000_1);
            prop_assert_eq!(Decimals { most: 17, least: 0 }.text(near), Decimals { most, least: 0 }.text(near));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,12}") {
            let _ = parse(&text);
        }
    }
}
