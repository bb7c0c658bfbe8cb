//! Checks of prose in documents, help and error messages: the words to avoid, which docs/style.md lists, and
//! the width of Markdown.

use super::File;

/// Files whose words are checked: those in a folder (`""` is any folder) with an extension.
const PROSE: [(&str, &str); 3] = [("", "md"), ("models/", "toml"), ("datasets/", "toml")];

/// Files whose words are not checked, because they list the words.
const EXEMPT: [&str; 2] = ["docs/style.md", "xtask/src/tidy/words.rs"];

/// Folders whose error messages are checked: the literals in `#[error(…)]`. A `*` matches one folder.
const ERRORS: [&str; 2] = ["crates/*/src/", "models/src/"];

/// The folder whose help is checked: its doc comments, and the literals in `#[command(…)]` and `#[arg(…)]`.
const HELP: &str = "crates/cli/src/args/";

/// Maximum width of a Markdown line.
const COLUMNS: usize = 100;

/// Phrases to avoid that have no other use, and their replacements. `|` separates alternatives for one word.
const AVOID: [(&str, &str); 23] = [
    ("so many", "`N` or `the number of`"),
    ("manieth", "`every N steps`"),
    ("nought", "`zero`"),
    ("anew", "`again`"),
    ("goes|gone|went on", "`resumes` or `continues`"),
    ("go on with|from", "`resume`"),
    ("to go on", "`to resume` or `to continue`"),
    ("told", "`says`, `names` or `given`"),
    ("all the same", "`anyway` or `identical`"),
    ("further ado", "`without other changes`"),
    ("by heart", "`memorise`"),
    ("be it", "`whether`"),
    ("goodwill", "what you mean"),
    ("for want of", "`for lack of`"),
    ("and the like", "the list, or the rule"),
    ("go|goes|gone round", "`work around`"),
    ("mends|mended", "`fixes`"),
    ("put|puts right", "`fixes`"),
    ("break|breaks|broke off", "`interrupt`"),
    ("seldom", "`rarely`"),
    ("thousand million", "`billion`"),
    ("next to nothing", "`close to zero`"),
    ("a|one line|row|column|class|step|image|file|directory|folder a|an", "`one … per …`"),
];

/// Prose must use standard words instead of the phrases in [`AVOID`].
pub(super) fn words(file: &File) -> Vec<String> {
    let words = split(&prose(file));
    let found = |(phrase, instead): &(&str, &str)| {
        let phrase: Vec<Vec<&str>> = phrase.split(' ').map(|word| word.split('|').collect()).collect();
        let at = |at: &&[(usize, String)]| {
            phrase.iter().zip(*at).all(|(allowed, (_, word))| allowed.contains(&word.as_str()))
        };
        let complaint = |at: &[(usize, String)]| {
            let said = at.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ");
            format!("{}:{}: write {instead} instead of `{said}`", file.path, at[0].0)
        };
        words.windows(phrase.len()).filter(at).map(complaint).collect::<Vec<_>>()
    };
    AVOID.iter().flat_map(found).collect()
}

/// The prose of a file, on its original lines; the rest is blank.
fn prose(file: &File) -> String {
    let whole = |(folder, extension): &(&str, &str)| {
        file.path.starts_with(folder) && file.path.ends_with(&format!(".{extension}"))
    };
    if EXEMPT.contains(&file.path.as_str()) {
        String::new()
    } else if PROSE.iter().any(whole) {
        file.text.clone()
    } else if !file.path.ends_with(".rs") {
        String::new()
    } else if file.path.starts_with(HELP) {
        merged(&doc_comments(&file.text), &literals(&file.text, &["#[command(", "#[arg("]))
    } else if ERRORS.iter().any(|folder| is_below(&file.path, folder)) {
        literals(&file.text, &["#[error("])
    } else {
        String::new()
    }
}

/// Whether a file lies below a folder. A `*` in the folder matches one name.
fn is_below(path: &str, folder: &str) -> bool {
    let fits = |(name, wanted): (&str, &str)| wanted == "*" || name == wanted;
    let wanted = folder.trim_end_matches('/').split('/');
    path.split('/').count() > wanted.clone().count() && path.split('/').zip(wanted).all(fits)
}

/// The `///` comments of a text; the rest is blank.
fn doc_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start().strip_prefix("///").unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The string literals, with their quotes, inside attributes that begin in one of these ways; the rest is
/// blank. Escapes become spaces.
fn literals(text: &str, attributes: &[&str]) -> String {
    let mut shown = String::new();
    let mut rest = text;
    // The number of open brackets in the attribute, and whether we are inside a literal.
    let (mut open, mut quoted) = (0_usize, false);
    while let Some(c) = rest.chars().next() {
        let begins = attributes.iter().find(|attribute| rest.starts_with(**attribute));
        if let (0, Some(attribute)) = (open, begins) {
            open = 1;
            rest = &rest[attribute.len()..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '"' if open > 0 => quoted = !quoted,
            '\\' if quoted => {
                let escaped = rest.chars().next().unwrap_or(' ');
                rest = &rest[escaped.len_utf8()..];
                shown.push(if escaped == '\n' { '\n' } else { ' ' });
                continue;
            }
            '(' if open > 0 && !quoted => open += 1,
            ')' if open > 0 && !quoted => open -= 1,
            _ => {}
        }
        shown.push(if c == '\n' || quoted || (c == '"' && open > 0) { c } else { ' ' });
    }
    shown
}

/// Merges two texts, each of which is blank where the other is not.
fn merged(one: &str, other: &str) -> String {
    let pick =
        |(one, other): (&str, &str)| if one.trim().is_empty() { other.to_owned() } else { one.to_owned() };
    let ends = std::iter::repeat("");
    let longest = one.lines().count().max(other.lines().count());
    let lines = one.lines().chain(ends.clone()).zip(other.lines().chain(ends)).take(longest).map(pick);
    lines.collect::<Vec<_>>().join("\n")
}

/// Markdown wraps at [`COLUMNS`], except tables, lines without a space, and code copied from the sources.
pub(super) fn width(file: &File) -> Vec<String> {
    let mut copied = false;
    let mut found = Vec::new();
    if !file.path.ends_with(".md") || EXEMPT.contains(&file.path.as_str()) {
        return found;
    }
    for (number, line) in file.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            copied = ["rust", "diff"].contains(&language);
        }
        let columns = line.chars().count();
        let breaks = !copied && !line.starts_with('|') && line.trim().contains(' ');
        if columns > COLUMNS && breaks {
            found.push(format!("{}:{number}: {columns} columns; the limit is {COLUMNS}", file.path));
        }
    }
    found
}

/// The words of a text in lower case, with their line numbers. An empty word marks punctuation or the end of
/// a paragraph; no phrase matches across it.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '\'' {
                word.extend(c.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push((index + 1, std::mem::take(&mut word)));
            }
            if !c.is_whitespace() {
                words.push((index + 1, String::new()));
            }
        }
        if line.trim().is_empty() {
            words.push((index + 1, String::new()));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn finds_phrases_across_lines_but_not_across_sentences() {
        let of = |text: &str| words(&file("docs/a.md", text));
        assert_eq!(
            of("It\n\nruns so\nmany times."),
            ["docs/a.md:3: write `N` or `the number of` instead of `so many`"]
        );
        for bad in
            ["Goes on.", "one row a class", "a line\nan image", "at every so manieth step", "# All the same"]
        {
            assert_eq!(of(bad).len(), 1, "{bad}");
        }
        for fine in [
            "add a row. A column",
            "| a row | a class |",
            "a row\n\na class",
            "so, many",
            "untold",
            "The bytes are the same",
            "one row per class",
            "what is on a device",
        ] {
            assert_eq!(of(fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn checks_documents_recipes_and_manifests() {
        let found = |path: &str| words(&file(path, "description = \"so many\"")).len();
        assert_eq!(["README.md", "models/a.toml", "datasets/a.toml"].map(found), [1, 1, 1]);
        assert_eq!(["Cargo.toml", "docs/style.md", "crates/core/src/a.rs"].map(found), [0, 0, 0]);
    }

    #[test]
    fn checks_help() {
        let of = |text: &str| words(&file("crates/cli/src/args/a.rs", text));
        for bad in [
            "/// Draw so many images\nn: usize,",
            "/// Draw so\n/// many images\nn: usize,",
            "#[command(after_long_help = \"\\\nExamples:\n  so many\")]",
            "#[arg(long, help = \"every so\\\n    many steps\")]",
            "#[arg(help = \"a \\\"so many\\\"\")]",
        ] {
            assert_eq!(of(bad).len(), 1, "{bad}: {:?}", of(bad));
        }
        let text = "#[command(about = \"x\")]\n#[command(\n    after_help = \"\\\nso many\")]\n";
        assert_eq!(
            of(text),
            ["crates/cli/src/args/a.rs:4: write `N` or `the number of` instead of `so many`"]
        );
        for fine in [
            "// so many",
            "fn so(many: usize) {}",
            "let x = \"so many\";",
            "#[arg(value_parser = so(many), help = \"so\", value_name = \"many\")]",
            "/// so\n///\n/// many",
        ] {
            assert_eq!(of(fine), Vec::<String>::new(), "{fine}");
        }
        assert_eq!(words(&file("crates/cli/src/a.rs", "/// Draw so many images")), Vec::<String>::new());
    }

    #[test]
    fn checks_error_messages() {
        let text =
            "/// so many\n#[error(\n    \"{} so many ({})\",\n    f(so, \"a\")\n)]\nlet y = \"so many\";";
        let complaint = |path: &str| format!("{path}:3: write `N` or `the number of` instead of `so many`");
        for path in ["crates/data/src/error.rs", "crates/data/src/hub/client.rs", "models/src/error.rs"] {
            assert_eq!(words(&file(path, text)), [complaint(path)]);
        }
        for path in ["crates/data/tests/a.rs", "crates/data/build.rs", "xtask/src/error.rs", "tests/a.rs"] {
            assert_eq!(words(&file(path, text)), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn checks_the_width_of_markdown() {
        let long = format!("{} {}", "a".repeat(60), "ä".repeat(40));
        let of = |path: &str, text: &str| width(&file(path, text));
        assert_eq!(of("a.md", &format!("x\n{long}\n")), ["a.md:2: 101 columns; the limit is 100"]);
        assert_eq!(of("a.md", &format!("```sh\n{long}\n```")).len(), 1);
        assert_eq!(of("a.md", &format!("```rust\n{long}\n```\n{long}")).len(), 1);
        for fine in [&long[1..], &format!("| {long} |"), &format!("```diff\n{long}\n```"), &"a".repeat(101)] {
            assert_eq!(of("a.md", fine), Vec::<String>::new(), "{fine}");
        }
        assert!(of("a.rs", &long).is_empty());
    }
}
