//! Dates and date-times as files write them: formats in the notation of `strftime`, values as a number of
//! units since 1970, and the formats to try when the recipe names none.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::{Date, Month};

/// Julian day of 1970-01-01.
const EPOCH: i64 = 2_440_588;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The finest part in a format. A date is a number of these units since the start of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Calendar months.
    Month,
    /// Days.
    Day,
    /// Minutes.
    Minute,
    /// Seconds.
    Second,
    /// 10⁻³ s.
    Milli,
    /// 10⁻⁶ s.
    Micro,
    /// 10⁻⁹ s.
    Nano,
}

impl Unit {
    /// Returns the length in nanoseconds; None for a month.
    pub fn nanos(self) -> Option<i64> {
        Some(match self {
            Self::Month => return None,
            Self::Day => 86_400_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Second => 1_000_000_000,
            Self::Milli => 1_000_000,
            Self::Micro => 1_000,
            Self::Nano => 1,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Month { padded: bool },
    MonthName,
    Day { padded: bool },
    Hour { padded: bool },
    Minute,
    Second,
    Fraction(u8),
    Text(String),
}

/// A format such as `%Y-%m-%d %H:%M:%S`. It supports `%Y`, `%m`, `%b`, `%d`, `%H`, `%M`, `%S`, `%3f`, `%6f`,
/// `%9f`; `%-m`, `%-d` and `%-H` without a leading zero; and `%%`. An offset from UTC is plain text that is
/// the same in all rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DateFormat {
    pattern: String,
    parts: Vec<Part>,
    unit: Unit,
}

impl TryFrom<String> for DateFormat {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        Self::new(&pattern)
    }
}

impl From<DateFormat> for String {
    fn from(format: DateFormat) -> Self {
        format.pattern
    }
}

impl fmt::Display for DateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

/// The values of a date's parts: calendar and clock.
#[derive(Default)]
struct Fields {
    year: i32,
    month: u8,
    day: u8,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
}

impl DateFormat {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A sentence about what is wrong: an unknown specifier, a repeated one, no year or month, or a time of
    /// day without all coarser parts.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = pattern.chars();
        while let Some(next) = rest.next() {
            if next != '%' {
                text.push(next);
                continue;
            }
            let part = match rest.next() {
                Some('%') => {
                    text.push('%');
                    continue;
                }
                Some('Y') => Part::Year,
                Some('m') => Part::Month { padded: true },
                Some('b') => Part::MonthName,
                Some('d') => Part::Day { padded: true },
                Some('H') => Part::Hour { padded: true },
                Some('M') => Part::Minute,
                Some('S') => Part::Second,
                Some('-') => match rest.next() {
                    Some('m') => Part::Month { padded: false },
                    Some('d') => Part::Day { padded: false },
                    Some('H') => Part::Hour { padded: false },
                    _ => return Err(format!("`{pattern}` has an unknown part after `%-`")),
                },
                Some(digit @ ('3' | '6' | '9')) if rest.next() == Some('f') => {
                    Part::Fraction(digit as u8 - b'0')
                }
                _ => return Err(format!("`{pattern}` has an unknown part after `%`")),
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            if parts.iter().any(|other| other.rank() == part.rank()) {
                return Err(format!("`{pattern}` has a part twice"));
            }
            parts.push(part);
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let finest = parts.iter().filter_map(Part::rank).max().unwrap_or(0);
        let all = (0..=finest).all(|rank| parts.iter().any(|part| part.rank() == Some(rank)));
        let unit = match finest {
            1 => Unit::Month,
            2 => Unit::Day,
            4 => Unit::Minute,
            5 => Unit::Second,
            6 => {
                match parts.iter().find_map(|part| if let Part::Fraction(n) = part { Some(*n) } else { None })
                {
                    Some(3) => Unit::Milli,
                    Some(6) => Unit::Micro,
                    _ => Unit::Nano,
                }
            }
            _ => return Err(format!("`{pattern}` has no month, or an hour without its minutes")),
        };
        if !all {
            return Err(format!("`{pattern}` leaves out a part between the year and the finest one"));
        }
        Ok(Self { pattern: pattern.into(), parts, unit })
    }

    /// Returns the unit of [`parse`](Self::parse)'s numbers.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Parses a text as a number of [`unit`](Self::unit)s since 1970; None if the text is not in this format
    /// or there is no such day.
    pub fn parse(&self, text: &str) -> Option<i64> {
        let mut fields = Fields { day: 1, ..Fields::default() };
        let mut rest = text;
        for part in &self.parts {
            rest = part.read(rest, &mut fields)?;
        }
        if !rest.is_empty() || !(0..24).contains(&fields.hour) || fields.minute > 59 || fields.second > 59 {
            return None;
        }
        let month = Month::try_from(fields.month).ok()?;
        if self.unit == Unit::Month {
            return Some((i64::from(fields.year) - 1970) * 12 + i64::from(fields.month) - 1);
        }
        let date = Date::from_calendar_date(fields.year, month, fields.day).ok()?;
        let seconds =
            ((i64::from(date.to_julian_day()) - EPOCH) * 24 + fields.hour) * 3600 + fields.minute * 60;
        let seconds = seconds + fields.second;
        Some(match self.unit {
            Unit::Month | Unit::Day => seconds / 86_400,
            Unit::Minute => seconds.div_euclid(60),
            Unit::Second => seconds,
            Unit::Milli => seconds * 1000 + fields.nanos / 1_000_000,
            Unit::Micro => seconds * 1_000_000 + fields.nanos / 1000,
            Unit::Nano => seconds.checked_mul(1_000_000_000)?.checked_add(fields.nanos)?,
        })
    }

    /// Converts a value in the units of another format to the units of this one; None if precision would be
    /// lost.
    pub(crate) fn converted(&self, units: i64, from: &Self) -> Option<i64> {
        if self.unit == from.unit {
            return Some(units);
        }
        let (own, other) = (i128::from(self.unit.nanos()?), i128::from(from.unit.nanos()?));
        let nanos = i128::from(units) * other;
        if nanos % own == 0 { i64::try_from(nanos / own).ok() } else { None }
    }

    /// Formats a number of units since 1970; None before the year 0 and after the year 9999.
    pub fn text(&self, units: i64) -> Option<String> {
        let mut fields = Fields { day: 1, ..Fields::default() };
        if let Some(nanos) = self.unit.nanos() {
            let a_day = 86_400_000_000_000 / nanos;
            let day = i32::try_from(units.div_euclid(a_day).checked_add(EPOCH)?).ok()?;
            let date = Date::from_julian_day(day).ok()?;
            (fields.year, fields.month, fields.day) = (date.year(), date.month().into(), date.day());
            let nanos = units.rem_euclid(a_day) * nanos;
            let seconds = nanos / 1_000_000_000;
            (fields.hour, fields.minute, fields.second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            fields.nanos = nanos % 1_000_000_000;
        } else {
            fields.year = i32::try_from(units.div_euclid(12).checked_add(1970)?).ok()?;
            fields.month = units.rem_euclid(12) as u8 + 1;
        }
        if !(0..=9999).contains(&fields.year) {
            return None;
        }
        let mut text = String::new();
        self.parts.iter().for_each(|part| part.write(&fields, &mut text));
        Some(text)
    }

    /// Returns the first known format that all texts match, and whether the format with day and month swapped
    /// matches them too.
    pub(crate) fn infer<'a>(texts: &(impl Iterator<Item = &'a str> + Clone)) -> Option<(Self, bool)> {
        let first = texts.clone().next()?;
        if !first.contains(|c: char| c.is_ascii_digit()) || first.len() < 6 || first.len() > 40 {
            return None;
        }
        let mut fitting = candidates(first).into_iter().filter(|format| {
            format.parse(first).is_some() && texts.clone().all(|text| format.parse(text).is_some())
        });
        let best = fitting.next()?;
        let order = |format: &Self| format.parts.iter().filter_map(Part::rank).collect::<Vec<_>>();
        let ambiguous = fitting.any(|other| order(&other) != order(&best));
        Some((best, ambiguous))
    }
}

/// Returns the formats that a text may have.
fn candidates(first: &str) -> Vec<DateFormat> {
    const DATES: [&str; 15] = [
        "%Y-%m-%d",
        "%Y/%m/%d",
        "%Y.%m.%d",
        "%d.%m.%Y",
        "%-d.%-m.%Y",
        "%m/%d/%Y",
        "%-m/%-d/%Y",
        "%d/%m/%Y",
        "%-d/%-m/%Y",
        "%d-%m-%Y",
        "%m-%d-%Y",
        "%d-%b-%Y",
        "%d %b %Y",
        "%b %d %Y",
        "%Y%m%d",
    ];
    const TIMES: [&str; 6] = ["%H:%M:%S", "%H:%M", "%-H:%M", "%H:%M:%S.%3f", "%H:%M:%S.%6f", "%H:%M:%S.%9f"];
    let zone = zone(first).replace('%', "%%");
    let mut patterns: Vec<String> = Vec::new();
    for date in DATES {
        // Eight digits alone are a number, not a date.
        if date != "%Y%m%d" {
            patterns.push(date.into());
        }
        for separator in [" ", "T"] {
            patterns.extend(TIMES.iter().map(|time| format!("{date}{separator}{time}{zone}")));
        }
    }
    patterns.extend(["%Y-%m", "%b %Y", "%b-%Y"].map(String::from));
    patterns.iter().filter_map(|pattern| DateFormat::new(pattern).ok()).collect()
}

/// Returns `Z` or the offset from UTC at the end of a date-time.
fn zone(text: &str) -> &str {
    let Some(colon) = text.find(':') else { return "" };
    let tail = &text[colon..];
    let start = tail.find(['Z', '+', '-']).map(|at| colon + at);
    start.map_or("", |start| &text[start..])
}

impl Part {
    /// Returns the rank of the part, from year 0 and month 1 to fraction 6; None for text.
    fn rank(&self) -> Option<u8> {
        Some(match self {
            Self::Year => 0,
            Self::Month { .. } | Self::MonthName => 1,
            Self::Day { .. } => 2,
            Self::Hour { .. } => 3,
            Self::Minute => 4,
            Self::Second => 5,
            Self::Fraction(_) => 6,
            Self::Text(_) => return None,
        })
    }

    /// Parses this part at the start of `text`, and returns the rest.
    fn read<'a>(&self, text: &'a str, fields: &mut Fields) -> Option<&'a str> {
        let two = |padded: bool| if padded { number(text, 2, 2) } else { bare(text) };
        let (value, rest) = match self {
            Self::Text(expected) => return text.strip_prefix(expected.as_str()),
            Self::MonthName => {
                let name = text.get(..3)?;
                let month = MONTHS.iter().position(|month| *month == name)?;
                (month as i64 + 1, &text[3..])
            }
            Self::Year => number(text, 4, 4)?,
            Self::Month { padded } | Self::Day { padded } | Self::Hour { padded } => two(*padded)?,
            Self::Minute | Self::Second => number(text, 2, 2)?,
            Self::Fraction(digits) => number(text, (*digits).into(), (*digits).into())?,
        };
        match self {
            Self::Year => fields.year = value as i32,
            Self::Month { .. } | Self::MonthName => fields.month = value as u8,
            Self::Day { .. } => fields.day = value as u8,
            Self::Hour { .. } => fields.hour = value,
            Self::Minute => fields.minute = value,
            Self::Second => fields.second = value,
            Self::Fraction(digits) => fields.nanos = value * 10i64.pow(9 - u32::from(*digits)),
            Self::Text(_) => {}
        }
        Some(rest)
    }

    fn write(&self, fields: &Fields, text: &mut String) {
        let number = |text: &mut String, value: i64, width: usize| text.push_str(&format!("{value:0width$}"));
        let width = |padded: bool| if padded { 2 } else { 1 };
        match self {
            Self::Text(own) => text.push_str(own),
            Self::Year => number(text, fields.year.into(), 4),
            Self::Month { padded } => number(text, fields.month.into(), width(*padded)),
            Self::MonthName => text.push_str(MONTHS[usize::from(fields.month).clamp(1, 12) - 1]),
            Self::Day { padded } => number(text, fields.day.into(), width(*padded)),
            Self::Hour { padded } => number(text, fields.hour, width(*padded)),
            Self::Minute => number(text, fields.minute, 2),
            Self::Second => number(text, fields.second, 2),
            Self::Fraction(digits) => {
                number(text, fields.nanos / 10i64.pow(9 - u32::from(*digits)), (*digits).into());
            }
        }
    }
}

/// Parses between `least` and `most` digits at the start, and returns the rest too.
fn number(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if digits < least {
        return None;
    }
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// Parses one or two digits without a leading zero.
fn bare(text: &str) -> Option<(i64, &str)> {
    let (value, rest) = number(text, 1, 2)?;
    let digits = text.len() - rest.len();
    (digits == 1 || value > 9).then_some((value, rest))
}

#[cfg(test)]
mod tests;
