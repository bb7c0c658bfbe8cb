//! The classes that a model can be asked for: lookup by name or number, and the names to show.

use waxwork_data::names::nearest;

use crate::{Error, Result, Run};

/// The most names that a list in a message shows.
const SHOWN: usize = 20;
/// The most classes that a range may span, more than any data set has.
const MOST: u32 = 100_000;

/// The classes of a data set or of a conditional model. Label `k` is the class number `k`, counted from 0.
///
/// A word means the class with that name. The case may differ if only one class then fits. A number that is
/// not a name means the class with that number. But if some class has a number as its name, numbers are names
/// only, so that no number has two meanings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    count: u32,
    /// One name per class, or empty if the names are not known.
    names: Vec<String>,
}

impl Classes {
    /// The classes with these names; label `k` has name `k`.
    pub fn named(names: &[String]) -> Self {
        Self { count: names.len() as u32, names: names.to_vec() }
    }

    /// The classes that a run's model can be asked for; none if it is unconditional. Runs of older versions
    /// have no names.
    pub fn of(run: &Run) -> Self {
        let count = run.model.info().classes();
        let names = &run.info.data_classes;
        let known = if names.len() == count { names.clone() } else { Vec::new() };
        Self { count: count as u32, names: known }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// True if there are no classes.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The name of a label, or its number if the names are not known.
    pub fn name(&self, label: u32) -> String {
        self.names.get(label as usize).cloned().unwrap_or_else(|| label.to_string())
    }

    /// The names of labels, such as `cat, dog`; only the first ones if there are many.
    pub fn list(&self, labels: impl IntoIterator<Item = u32>) -> String {
        let mut labels = labels.into_iter();
        let mut names: Vec<String> = labels.by_ref().take(SHOWN).map(|label| self.name(label)).collect();
        match labels.count() {
            0 => {}
            more => names.push(format!("and {more} more")),
        }
        names.join(", ")
    }

    /// The label that a word means.
    ///
    /// # Errors
    /// [`Error::Class`] with the known names, and the nearest one.
    pub fn label(&self, word: &str) -> Result<u32> {
        let word = word.trim();
        let fail = |reason: String, near: Option<String>| Error::Class {
            word: word.to_owned(),
            reason,
            nearest: near,
            known: self.list(0..self.count),
        };
        let places = |fits: &dyn Fn(&str) -> bool| -> Vec<u32> {
            (0..).zip(&self.names).filter(|(_, name)| fits(name)).map(|(label, _)| label).collect()
        };
        for found in
            [places(&|name| name == word), places(&|name| name.to_lowercase() == word.to_lowercase())]
        {
            match found.as_slice() {
                [] => {}
                [label] => return Ok(*label),
                several if self.numbers_are_names() => {
                    return Err(fail(format!("{} classes have this name", several.len()), None));
                }
                several => {
                    let numbers: Vec<String> = several.iter().map(u32::to_string).collect();
                    let numbers = numbers.join(" or ");
                    return Err(fail(
                        format!("{} classes have this name: use {numbers}", several.len()),
                        None,
                    ));
                }
            }
        }
        match word.parse::<u32>() {
            Ok(number) if number < self.count && !self.numbers_are_names() => Ok(number),
            Ok(_) if self.count > 0 && !self.numbers_are_names() => {
                Err(fail(format!("class numbers are 0 to {}", self.count - 1), None))
            }
            // For a number, the nearest name would be a wrong guess.
            Ok(_) => Err(fail(String::new(), None)),
            Err(_) => Err(fail(String::new(), nearest(word, self.names.iter().map(String::as_str)))),
        }
    }

    /// The labels that a list means: names or numbers separated by commas, and ranges of numbers such as
    /// `0..9`, which include their end. A name that contains a comma can only be given by its number.
    ///
    /// # Errors
    /// As [`Classes::label`], and if a range does not ascend.
    pub fn labels(&self, list: &str) -> Result<Vec<u32>> {
        let mut labels = Vec::new();
        for word in list.split(',') {
            let ends = word.split_once("..").filter(|_| self.label(word).is_err());
            let ends = ends.and_then(|(first, last)| {
                Some((first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?))
            });
            match ends {
                None => labels.push(self.label(word)?),
                Some((first, last)) if first <= last && last - first <= MOST => {
                    for number in first..=last {
                        labels.push(self.label(&number.to_string())?);
                    }
                }
                Some(_) => {
                    let reason = format!("a range must ascend and span at most {MOST} classes");
                    let (word, known) = (word.to_owned(), self.list(0..self.count));
                    return Err(Error::Class { word, reason, nearest: None, known });
                }
            }
        }
        Ok(labels)
    }

    fn numbers_are_names(&self) -> bool {
        self.names.iter().any(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Classes {
        Classes::named(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn names_and_numbers_mean_classes() {
        let animals = classes(&["cat", "Dog", "hot dog"]);
        assert_eq!(animals.labels("cat,dog").unwrap(), [0, 1]);
        assert_eq!(animals.labels("hot dog, CAT,1").unwrap(), [2, 0, 1]);
        assert_eq!(animals.labels("0..2").unwrap(), [0, 1, 2]);
        assert_eq!((animals.name(2), animals.list([1, 0])), ("hot dog".to_owned(), "Dog, cat".to_owned()));
        let said = |list: &str| animals.labels(list).unwrap_err().to_string();
        assert_eq!(
            said("catt"),
            "there is no class `catt` (did you mean `cat`?); the classes are cat, Dog, hot dog"
        );
        assert_eq!(
            said("3"),
            "there is no class `3`: class numbers are 0 to 2; the classes are cat, Dog, hot dog"
        );
        assert!(said("2..0").contains("`2..0`: a range must ascend"), "{}", said("2..0"));
        assert!(said("").contains("there is no class ``") && said("-1").contains("`-1`"));
    }

    #[test]
    fn a_number_that_names_a_class_is_no_index() {
        let numbered = classes(&["1", "2", "10"]);
        assert_eq!(numbered.labels("10,1").unwrap(), [2, 0]);
        assert_eq!(numbered.labels("1..2").unwrap(), [0, 1]);
        // Class number 0 is called 1. If 0 meant this class, 1 would have two meanings.
        assert!(numbered.label("0").unwrap_err().to_string().contains("the classes are 1, 2, 10"));
        let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
        let digits = Classes::named(&digits);
        assert_eq!(digits.labels("0..9").unwrap(), (0..10).collect::<Vec<_>>());
        assert!(digits.labels("3..12").unwrap_err().to_string().contains("no class `10`"));
    }

    #[test]
    fn names_that_two_classes_share_are_refused() {
        let cranes = classes(&["crane", "heron", "crane", "HERON"]);
        assert_eq!(cranes.label("heron").unwrap(), 1);
        let said = cranes.label("crane").unwrap_err().to_string();
        assert!(said.contains("2 classes have this name: use 0 or 2"), "{said}");
        assert!(cranes.label("Heron").is_err() && cranes.label("2").is_ok());
    }

    #[test]
    fn classes_without_names_have_numbers() {
        let unnamed = Classes { count: 30, names: Vec::new() };
        assert_eq!(unnamed.labels("7,0..1").unwrap(), [7, 0, 1]);
        assert_eq!(unnamed.name(7), "7");
        let said = unnamed.label("cat").unwrap_err().to_string();
        assert!(said.ends_with("17, 18, 19, and 10 more"), "{said}");
        assert!(Classes::default().label("0").unwrap_err().to_string().contains("there are no classes"));
    }
}
