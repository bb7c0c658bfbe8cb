//! Parsing and detection of date formats.

use proptest::prelude::*;

use super::*;

/// Expected numbers: Python 3.11, `int((datetime(…) - datetime(1970, 1, 1)) / timedelta(seconds=1))`.
#[test]
fn known_dates() {
    for (pattern, text, units) in [
        ("%Y-%m-%d", "1970-01-01", 0),
        ("%Y-%m-%d", "2000-03-01", 11_017),
        ("%d.%m.%Y", "31.12.1969", -1),
        ("%-m/%-d/%Y %-H:%M", "7/4/2021 9:05", 27089825),
        ("%Y-%m-%dT%H:%M:%SZ", "2026-11-28T17:57:33Z", 1795888653),
        ("%Y-%m-%d %H:%M:%S.%3f", "1969-12-31 23:59:59.250", -750),
        ("%Y-%m", "1971-02", 13),
        ("%d-%b-%Y", "29-Feb-2024", 19_782),
    ] {
        let format = DateFormat::new(pattern).unwrap();
        assert_eq!(format.parse(text), Some(units), "{text}");
        assert_eq!(format.text(units).as_deref(), Some(text));
    }
}

#[test]
fn rejects_invalid_dates_and_patterns() {
    let format = DateFormat::new("%Y-%m-%d").unwrap();
    for text in ["2023-02-29", "2023-13-01", "2023-1-01", "2023-01-011", "", "x", "２０２３-01-01"] {
        assert_eq!(format.parse(text), None, "{text}");
    }
    for pattern in ["%Y", "%Y-%d", "%Y-%m-%d %H", "%Q", "%", "%Y-%m-%d %Y", "%m"] {
        assert!(DateFormat::new(pattern).is_err(), "{pattern}");
    }
    assert_eq!(format.text(i64::MAX), None);
    assert_eq!(format.text(i64::MIN), None);
}

#[test]
fn a_format_is_found_and_doubt_is_named() {
    let infer = |texts: &[&str]| {
        DateFormat::infer(&texts.iter().copied()).map(|(format, doubt)| (format.to_string(), doubt))
    };
    let found = |pattern: &str, doubt| Some((pattern.to_string(), doubt));
    assert_eq!(infer(&["2020-01-31", "2020-02-01"]), found("%Y-%m-%d", false));
    assert_eq!(infer(&["01/02/2020", "03/04/2020"]), found("%m/%d/%Y", true));
    assert_eq!(infer(&["01/02/2020", "13/04/2020"]), found("%d/%m/%Y", false));
    assert_eq!(infer(&["1/2/2020", "10/14/2020"]), found("%-m/%-d/%Y", false));
    assert_eq!(infer(&["2020-01-31T10:00:00+02:00"]), found("%Y-%m-%dT%H:%M:%S+02:00", false));
    assert_eq!(infer(&["20200131"]), None);
    assert_eq!(infer(&["2020-01-31", "soon"]), None);
}

proptest! {
    #[test]
    fn dates_come_back(days in -700_000i64..2_900_000, nanos in 0i64..86_400_000_000) {
        for pattern in ["%d.%m.%Y", "%-m/%-d/%Y", "%b %d %Y"] {
            let format = DateFormat::new(pattern).unwrap();
            prop_assert_eq!(format.parse(&format.text(days).unwrap()), Some(days));
        }
        let format = DateFormat::new("%Y-%m-%d %H:%M:%S.%6f").unwrap();
        let units = days * 86_400_000_000 + nanos;
        prop_assert_eq!(format.parse(&format.text(units).unwrap()), Some(units));
    }

    #[test]
    fn reading_never_panics(pattern in "[%YmdbHMS36f9 :.Z-]{0,12}", text in "\\PC{0,20}") {
        let _ = DateFormat::infer(&[text.as_str()].into_iter());
        if let Ok(format) = DateFormat::new(&pattern) {
            let _ = format.parse(&text);
        }
    }
}
