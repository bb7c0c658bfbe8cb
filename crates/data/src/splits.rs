//! Common names of the parts of a data set: directories of a folder, and splits on the Hub.

/// Names of the training part.
const TRAIN: [&str; 2] = ["train", "training"];
/// Names of held-out parts, the best one to measure on first.
const HELD_OUT: [&str; 9] =
    ["test", "testing", "eval", "evaluation", "val", "valid", "validation", "dev", "development"];

/// The role of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// For training.
    Train,
    /// Held out: no model may see it in training. The lower the number, the better it serves as the test
    /// part.
    HeldOut(usize),
}

/// Returns the role of the part with this name, ignoring case; None if this is not the name of a part.
pub(crate) fn role(name: &str) -> Option<Role> {
    let is = |known: &&str| name.eq_ignore_ascii_case(known);
    if TRAIN.iter().any(is) {
        return Some(Role::Train);
    }
    HELD_OUT.iter().position(is).map(Role::HeldOut)
}

/// Finds the parts among some names: those to train on, and those held out, the best test part first.
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
