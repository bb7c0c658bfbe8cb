//! The names that people give to the parts of a data set: directories of a folder, and splits on the Hub.

/// Names of the part that models are trained on.
const TRAIN: [&str; 2] = ["train", "training"];
/// Names of parts that are held out, the one that numbers are best measured on first.
const HELD_OUT: [&str; 9] =
    ["test", "testing", "eval", "evaluation", "val", "valid", "validation", "dev", "development"];

/// What a part is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Models are trained on it.
    Train,
    /// No model may see it in training. The lower the number, the better it serves as the test part.
    HeldOut(usize),
}

/// What the part of this name is for, whatever its case; None if it is the name of no part.
pub(crate) fn role(name: &str) -> Option<Role> {
    let is = |known: &&str| name.eq_ignore_ascii_case(known);
    if TRAIN.iter().any(is) {
        return Some(Role::Train);
    }
    HELD_OUT.iter().position(is).map(Role::HeldOut)
}

/// The parts among some names: those to train on, and those that are held out, the best test part first.
pub(crate) fn parts<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut parts: Vec<(Role, &str)> = names.filter_map(|name| Some((role(name)?, name))).collect();
    parts.sort_unstable();
    let of = |train: bool| {
        parts.iter().filter(move |(role, _)| (*role == Role::Train) == train).map(|part| part.1)
    };
    (of(true).collect(), of(false).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_any_of_their_names() {
        for name in ["train", "Train", "TRAINING", "training"] {
            assert_eq!(role(name), Some(Role::Train), "{name}");
        }
        for name in
            ["test", "Testing", "val", "VALID", "validation", "dev", "eval", "Evaluation", "development"]
        {
            assert!(matches!(role(name), Some(Role::HeldOut(_))), "{name}");
        }
        for name in ["trains", "cat", "", "tes", "test2", "train_extra"] {
            assert_eq!(role(name), None, "{name}");
        }
    }

    #[test]
    fn the_best_test_part_is_first() {
        let names = ["validation", "cat", "Test", "dev", "training"];
        assert_eq!(parts(names.into_iter()), (vec!["training"], vec!["Test", "validation", "dev"]));
        assert_eq!(parts(["cat"].into_iter()), (vec![], vec![]));
    }
}
