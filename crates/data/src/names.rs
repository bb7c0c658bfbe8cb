//! The known name that is closest to a mistyped one, for messages.

/// Minimum similarity of a suggestion (Jaro & Winkler, 0 to 1). Below it, a suggestion would be a guess.
const LIKENESS: f64 = 0.75;

/// Returns the candidate closest to `name`, ignoring case, if it is close enough to be a typing error.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let name = name.to_lowercase();
    let scored = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > LIKENESS).then(|| best.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_names_for_typing_errors_only() {
        let known = ["mnist", "fashion-mnist", "cifar10", "Income"];
        assert_eq!(nearest("minst", known).as_deref(), Some("mnist"));
        assert_eq!(nearest("CIFAR", known).as_deref(), Some("cifar10"));
        assert_eq!(nearest("incom", known).as_deref(), Some("Income"));
        assert_eq!(nearest("zzzzz", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
