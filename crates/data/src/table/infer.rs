//! Infers the kind of a column from its distinct texts, unless the recipe names it.

use std::collections::HashSet;
use std::path::Path;

use super::Column;
use super::date::DateFormat;
use super::error::{Error, Result};
use super::number::{self, Decimals, Written};
use super::raw::{Cells, RawColumn, null_codes, whole};
use super::schema::{ColumnOverride, ColumnSchema, Kind, KindName, Storage};

/// A column of at most this number of distinct integers is categorical.
const FEW: usize = 20;
/// The two texts of boolean columns, false first.
const TRUTHS: [(&str, &str); 11] = [
    ("0", "1"),
    ("false", "true"),
    ("False", "True"),
    ("FALSE", "TRUE"),
    ("no", "yes"),
    ("No", "Yes"),
    ("NO", "YES"),
    ("n", "y"),
    ("N", "Y"),
    ("f", "t"),
    ("F", "T"),
];

/// The facts about one column that determine its kind.
pub(super) struct Inference<'a> {
    pub(super) path: &'a Path,
    pub(super) lines: bool,
    pub(super) raw: &'a RawColumn,
    pub(super) said: &'a ColumnOverride,
    pub(super) most: usize,
}

impl Inference<'_> {
    pub(super) fn run(&self) -> Result<(ColumnSchema, Column, Option<String>)> {
        let raw = self.raw;
        let counts = raw.codes.counts(raw.texts().len());
        let said = self.said.null.as_deref();
        // A recipe's nulls replace the usual ones.
        let null_codes = |numeric: bool| match said {
            Some(said) => (0..counts.len())
                .map(|code| raw.null == Some(code as u32) || said.iter().any(|null| null == raw.text(code)))
                .collect(),
            None => null_codes(raw, None, numeric),
        };
        let (strict, wide) = (null_codes(false), null_codes(true));
        let cells = |nulls| Cells { path: self.path, lines: self.lines, raw, nulls };
        let all_null = !strict.contains(&false) || raw.storage == Storage::Untyped && !wide.contains(&false);
        if all_null && self.said.kind != Some(KindName::Constant) {
            return Err(Error::AllNull { path: self.path.into(), column: raw.name.clone() });
        }
        let (name, note) = match self.said.kind {
            Some(name) => (name, None),
            None => self.guess(cells(&strict), cells(&wide))?,
        };
        // A few distinct integers are categories, but with the null texts of numbers.
        let numeric = matches!(name, KindName::Number | KindName::Integer | KindName::Date)
            || self.numbers(cells(&wide)).is_some();
        let none = vec![false; counts.len()];
        let nulls = match name {
            KindName::Constant if counts.len() == 1 && raw.null.is_none() => &none,
            _ if numeric => &wide,
            _ => &strict,
        };
        let kind = self.kind(name, cells(nulls), &counts)?;
        self.check_override(name)?;
        let column = cells(nulls).column(&kind)?;
        let mut spelled: Vec<(u64, &str)> = (0..counts.len())
            .filter(|code| nulls[*code] && counts[*code] > 0)
            .map(|code| (counts[code], if raw.null == Some(code as u32) { "" } else { raw.text(code) }))
            .collect();
        spelled.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        spelled.dedup_by(|a, b| a.1 == b.1);
        let missing: u64 = spelled.iter().map(|(count, _)| count).sum();
        let schema = ColumnSchema {
            name: raw.name.clone(),
            kind,
            nulls: spelled.into_iter().map(|(_, text)| text.to_owned()).collect(),
            null_share: missing as f64 / raw.codes.len().max(1) as f64,
            storage: raw.storage,
        };
        Ok((schema, column, note))
    }

    /// Guesses the kind of a column. Returns a sentence too if the guess is doubtful.
    fn guess(&self, strict: Cells, wide: Cells) -> Result<(KindName, Option<String>)> {
        let distinct = strict.values().count();
        let rows = self.raw.codes.len();
        match self.raw.storage {
            Storage::Boolean => return Ok((KindName::Boolean, None)),
            Storage::Days | Storage::Millis | Storage::Micros | Storage::Nanos => {
                return Ok((KindName::Date, None));
            }
            _ => {}
        }
        if distinct == 1 && !strict.nulls.contains(&true) {
            return Ok((KindName::Constant, None));
        }
        let mut note = None;
        if let Some(numbers) = self.numbers(wide) {
            return Ok((self.guess_number(&numbers), None));
        }
        if self.raw.storage != Storage::Text {
            self.refuse_commas(wide)?;
            note = self.mostly_numbers(wide);
        }
        let text = |code: usize| self.raw.text(code);
        if distinct == 2
            && TRUTHS
                .iter()
                .any(|pair| strict.values().all(|(code, _)| [pair.0, pair.1].contains(&text(code))))
        {
            return Ok((KindName::Boolean, note));
        }
        if let Some((format, doubt)) = DateFormat::infer(&wide.values().map(|(_, text)| text)) {
            let says =
                || format!("column `{}`: day and month may be swapped; read as `{format}`", self.raw.name);
            return Ok((KindName::Date, doubt.then(says)));
        }
        let valued = rows - strict.raw.codes.iter().filter(|code| strict.nulls[*code as usize]).count();
        if distinct == valued && distinct > FEW {
            return Ok((KindName::Identifier, note));
        }
        if distinct > super::schema::CATEGORIES && distinct * 2 > valued {
            let says = "set its kind to `identifier` if they are names of rows";
            let name = &self.raw.name;
            note = Some(format!("column `{name}` has {distinct} distinct texts in {valued} rows; {says}"));
        }
        Ok((KindName::Category, note))
    }

    /// Returns all values, if all are numbers.
    fn numbers(&self, cells: Cells) -> Option<Vec<Written>> {
        if self.raw.storage == Storage::Text {
            return None;
        }
        let numbers: Option<Vec<Written>> = cells.values().map(|(_, text)| number::parse(text)).collect();
        numbers.filter(|numbers| !numbers.is_empty())
    }

    fn guess_number(&self, numbers: &[Written]) -> KindName {
        if !numbers.iter().all(whole) {
            return if numbers.len() == 1 { KindName::Category } else { KindName::Number };
        }
        if self.counts_rows(numbers) {
            return KindName::Identifier;
        }
        let texts = self.raw.texts();
        match numbers.len() {
            2 if ["0", "1"].iter().all(|truth| texts.iter().any(|text| text == *truth)) => KindName::Boolean,
            ..=FEW => KindName::Category,
            _ => KindName::Integer,
        }
    }

    /// Whether the column is 0, 1, 2 … or 1, 2, 3 … in the order of rows.
    fn counts_rows(&self, numbers: &[Written]) -> bool {
        let first = numbers[0].value;
        let rows = self.raw.codes.len();
        rows > FEW
            && numbers.len() == rows
            && (first == 0.0 || first == 1.0)
            && numbers.iter().enumerate().all(|(row, written)| written.value == first + row as f64)
    }

    /// Fails if all cells of a column would be numbers with decimal points instead of commas.
    fn refuse_commas(&self, cells: Cells) -> Result<()> {
        let is_number = |text: &str| {
            let plain = text.trim_matches(' ').replace(',', "");
            plain.bytes().any(|byte| byte.is_ascii_digit())
                && plain
                    .trim_start_matches(['-', '+'])
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        let mut with = cells.values().filter(|(_, text)| text.contains(','));
        let Some((code, text)) = with.next() else { return Ok(()) };
        if cells.values().all(|(_, text)| is_number(text)) {
            return Err(Error::DecimalComma {
                path: self.path.into(),
                column: self.raw.name.clone(),
                place: cells.place(code),
                value: text.into(),
            });
        }
        Ok(())
    }

    /// Quotes the first text in a column that otherwise holds numbers.
    fn mostly_numbers(&self, cells: Cells) -> Option<String> {
        let numbers = cells.values().filter(|(_, text)| number::parse(text).is_some()).count();
        let others = cells.values().count() - numbers;
        let (code, text) = cells.values().find(|(_, text)| number::parse(text).is_none())?;
        (numbers > FEW && others * 10 <= numbers).then(|| {
            let place = cells.place(code);
            let name = &self.raw.name;
            let more = match others - 1 {
                0 => String::new(),
                1 => " (and 1 more cell)".into(),
                more => format!(" (and {more} more cells)"),
            };
            format!(
                "column `{name}` is not numeric because of `{text}` on {place}{more}; list them as its nulls if they mean \
                 missing"
            )
        })
    }

    /// Determines the parameters of a kind.
    fn kind(&self, name: KindName, cells: Cells, counts: &[u64]) -> Result<Kind> {
        Ok(match name {
            KindName::Number | KindName::Integer => self.number(name, cells)?,
            KindName::Date => self.date(cells)?,
            KindName::Boolean => self.boolean(cells)?,
            KindName::Category => self.category(cells, counts),
            KindName::Identifier => identifier(cells),
            KindName::Constant => {
                let mut values = cells.values();
                let value = values.next().map_or(String::new(), |(_, text)| text.into());
                if let Some((code, _)) = values.next() {
                    return Err(cells.error(code, format!("the constant `{value}`")));
                }
                Kind::Constant { value }
            }
        })
    }

    fn number(&self, name: KindName, cells: Cells) -> Result<Kind> {
        let parse = |(code, text)| number::parse(text).ok_or_else(|| cells.error(code, "a number"));
        let all = cells.values().map(parse).collect::<Result<Vec<Written>>>()?;
        let extreme = |pick: fn(f64, f64) -> f64| all.iter().map(|w| w.value).reduce(pick).unwrap_or(0.0);
        let (min, max) = (extreme(f64::min), extreme(f64::max));
        let least = all.iter().map(|written| written.decimals).min().unwrap_or(0);
        let most = all.iter().map(|written| written.significant).max().unwrap_or(0);
        if name == KindName::Integer || most == 0 && self.said.kind.is_none() {
            return Ok(Kind::Integer { min, max, zeros: least });
        }
        let most = self.said.decimals.unwrap_or(most);
        let least = self.said.decimals.map_or(least, |said| least.min(said));
        Ok(Kind::Number { min, max, decimals: Decimals { most, least } })
    }

    fn date(&self, cells: Cells) -> Result<Kind> {
        let format = match (&self.said.format, &self.raw.format) {
            (Some(said), _) => {
                DateFormat::new(said).map_err(|reason| Error::schema(&self.raw.name, reason))?
            }
            (None, Some(own)) => own.clone(),
            (None, None) => match DateFormat::infer(&cells.values().map(|(_, text)| text)) {
                Some((format, _)) => format,
                None => {
                    let code = cells.values().next().map_or(0, |(code, _)| code);
                    return Err(
                        cells.error(code, "in a date format that all cells have; set the column's `format`")
                    );
                }
            },
        };
        let parse = |(code, text): (usize, &str)| {
            let units = format.parse(text.trim_matches(' '));
            units.ok_or_else(|| cells.error(code, format!("a date of the format `{format}`")))
        };
        let all = cells.values().map(parse).collect::<Result<Vec<i64>>>()?;
        let (min, max) = (all.iter().min().copied().unwrap_or(0), all.iter().max().copied().unwrap_or(0));
        Ok(Kind::Date { format, min, max })
    }

    fn boolean(&self, cells: Cells) -> Result<Kind> {
        if self.raw.storage == Storage::Boolean {
            return Ok(Kind::Boolean { no: "false".into(), yes: "true".into() });
        }
        let sorted: Vec<&str> = cells.sorted().into_iter().map(|code| self.raw.text(code)).collect();
        let pair = match sorted[..] {
            [no, yes] => TRUTHS.iter().copied().find(|pair| *pair == (yes, no)).unwrap_or((no, yes)),
            [only] => match TRUTHS.iter().copied().find(|pair| pair.0 == only || pair.1 == only) {
                Some(pair) => pair,
                None => {
                    let reason = format!("a boolean needs two values, but only `{only}` occurs");
                    return Err(Error::schema(&self.raw.name, reason));
                }
            },
            _ => {
                let code = cells.values().nth(2).map_or(0, |(code, _)| code);
                let firsts: Vec<&str> = cells.values().take(2).map(|(_, text)| text).collect();
                return Err(cells
                    .error(code, format!("one of the two values of a boolean (`{}`)", firsts.join("`, `"))));
            }
        };
        Ok(Kind::Boolean { no: pair.0.into(), yes: pair.1.into() })
    }

    fn category(&self, cells: Cells, counts: &[u64]) -> Kind {
        let most = self.said.max_categories.unwrap_or(self.most).clamp(1, super::schema::MOST_CATEGORIES);
        let sorted = cells.sorted();
        let mut by_count = sorted.clone();
        by_count.sort_by_key(|code| std::cmp::Reverse(counts[*code]));
        by_count.truncate(most);
        let kept: HashSet<usize> = by_count.into_iter().collect();
        let rare = sorted.len() > kept.len();
        let values =
            sorted.iter().filter(|code| kept.contains(code)).map(|code| self.raw.text(*code).to_owned());
        let values: Vec<String> = values.collect();
        let mut other = String::from("other");
        while self.raw.contains(&other) {
            other.push('_');
        }
        Kind::Category { values, other: rare.then_some(other) }
    }

    /// Fails if a recipe has an override that does not apply to the column's kind.
    fn check_override(&self, name: KindName) -> Result<()> {
        let said = self.said;
        let useless = [
            ("decimals", said.decimals.is_some() && name != KindName::Number),
            ("format", said.format.is_some() && name != KindName::Date),
            ("max_categories", said.max_categories.is_some() && name != KindName::Category),
        ];
        match useless.iter().find(|(_, useless)| *useless) {
            Some((key, _)) => {
                let name = format!("{name:?}").to_lowercase();
                Err(Error::schema(
                    &self.raw.name,
                    format!("`{key}` does not apply to columns of kind {name}"),
                ))
            }
            None => Ok(()),
        }
    }
}

/// Returns an identifier with the texts' common prefix, starting at the number after the greatest in the
/// file, so that no name in the file occurs again.
fn identifier(cells: Cells) -> Kind {
    let split = |text: &str| {
        let prefix = text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let digits = text.len() - prefix.len();
        let number: u64 = text[prefix.len()..].parse().ok()?;
        Some((prefix, u8::try_from(digits).ok()?, number))
    };
    let parts: Option<Vec<_>> = cells.values().map(|(_, text)| split(text)).collect();
    let parts = parts.filter(|parts| parts.windows(2).all(|two| two[0].0 == two[1].0));
    let Some((prefix, ..)) = parts.as_ref().and_then(|parts| parts.first()) else {
        return Kind::Identifier { prefix: "row-".into(), digits: 1, first: 1 };
    };
    let all = || parts.iter().flatten();
    let digits = all().map(|part| part.1).min().unwrap_or(1);
    let fixed = all().all(|part| part.1 == digits);
    let greatest = all().map(|part| part.2).max().unwrap_or(0);
    Kind::Identifier {
        prefix: prefix.clone(),
        digits: if fixed { digits } else { 1 },
        first: greatest.saturating_add(1),
    }
}
