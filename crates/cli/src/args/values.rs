//! Values of options that are more complex than a number or a path.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use waxwork_core::Precision;

/// Zero-based indices, written as `7`, `0..9` (both ends included) or `1,3,5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexList(pub(crate) Vec<u32>);

impl FromStr for IndexList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LARGEST: u32 = 100_000;
        let number = |text: &str| {
            let number = text.trim().parse::<u32>();
            number.map_err(|_| format!("`{text}` is not a number; use 7, 0..9 or 1,3,5"))
        };
        if let Some((first, last)) = text.split_once("..") {
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last > LARGEST {
                return Err(format!("the range `{text}` must ascend and end at {LARGEST} or below"));
            }
            return Ok(Self((first..=last).collect()));
        }
        Ok(Self(text.split(',').map(number).collect::<Result<_, _>>()?))
    }
}

/// A device name that `waxwork_core::device::open` understands; whether the device exists is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceName(pub(super) String);

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = ["cpu", "cuda", "metal"].contains(&text)
            || text.strip_prefix("cuda:").is_some_and(|ordinal| ordinal.parse::<usize>().is_ok());
        if known {
            Ok(Self(text.to_owned()))
        } else {
            Err("choose one of cpu, cuda, cuda:N, metal".to_owned())
        }
    }
}

/// The images that `evaluate` compares with real ones.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    /// This number of samples of a model.
    Count(usize),
    /// The images of a file or folder.
    Of(PathBuf),
}

impl FromStr for Samples {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Of(text.into()), Self::Count))
    }
}

/// Parses a number of things of which at least one is needed.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("must be a whole number, at least 1".into()),
    }
}

/// Parses a share of something, in (0, 1).
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("must be a number between 0 and 1, such as 0.1".into()),
    }
}

/// Parses a column and the value that it is to have.
pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or("expected COLUMN=VALUE")?;
    Ok((column.to_owned(), value.to_owned()))
}

/// Parses a finite number, zero or more.
pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) && number >= 0.0 => Ok(number),
        _ => Err("must be a number, zero or more".into()),
    }
}

/// Parses a compute precision.
pub(super) fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        "f16" => Ok(Precision::F16),
        _ => Err("choose one of f32, bf16, f16".to_owned()),
    }
}

/// Parses a time such as `90s`, `15m`, `2h`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit of time; use s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_lists() {
        let indices = |text: &str| text.parse::<IndexList>().map(|list| list.0);
        assert_eq!(indices("7").unwrap(), [7]);
        assert_eq!(indices("0..2").unwrap(), [0, 1, 2]);
        assert_eq!(indices("5,1").unwrap(), [5, 1]);
        assert!(indices("3..1").is_err() && indices("a").is_err() && indices("").is_err());
        assert!(indices("0..4000000000").is_err());
    }

    #[test]
    fn device_names_are_those_that_core_understands() {
        for text in ["cpu", "cuda", "cuda:1", "metal", "gpu", "cuda:x", "cuda:", "cuda:-1", "", "CPU"] {
            let opened = waxwork_core::device::open(text);
            let understood = match opened {
                Ok(_) => true,
                Err(error) => {
                    !error.to_string().contains("choose one of") && !error.to_string().contains("number")
                }
            };
            assert_eq!(text.parse::<DeviceName>().is_ok(), understood, "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert!(duration("2d").is_err() && duration("x").is_err() && duration("-1s").is_err());
    }
}
