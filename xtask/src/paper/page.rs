//! docs/papers.md, and the same tables for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;

use super::results::{Outcome, Results};
use super::table::{Form, Published, Row, Table, number};

/// The width of prose in documents.
const COLUMNS: usize = 100;

const OPENING: &str = "\
`cargo xtask paper` writes this page. Run it again instead of editing the page.

Each table below compares numbers from a paper with those of Waxwork. A row is a recipe with
settings. The command trains it with one or more seeds, evaluates each run, and compares the mean
with the published number.

```sh
cargo xtask paper --data-dir ~/data                    # every row of every table
cargo xtask paper burda/vae-1 --resume                 # one row; resumes its runs
cargo xtask paper pacgan --quick                       # the quick form of a table
```

The command keeps runs in `runs/papers`. With `--resume`, it keeps finished runs and resumes the
others, so you can interrupt a table that takes several days. A row without a finished and evaluated
run says *not run*. The column *within* says whether the mean of all runs is within the tolerance.
Results of earlier versions of Waxwork are kept. A list below each table names the version that
measured each row.

The quick form of a row trains for a few minutes and has a wide tolerance of its own. It only shows
that the row trains. It does not reproduce the published number.
";

/// The whole page.
pub(super) fn page(tables: &[(&Table, Results)]) -> Result<String> {
    let mut page = format!("# Published tables\n\n{OPENING}");
    for (table, results) in tables {
        let Table { name, title, source, notes, .. } = *table;
        write!(page, "\n## {title}\n\n")?;
        page += &wrapped(&format!("Source: {source}."), "");
        page += &wrapped(&format!("Recipes and settings: `models/papers/{name}`."), "");
        page += "\n";
        for note in notes {
            page += &wrapped(note, "- ");
        }
        write!(page, "\n{}", rows(table, results, Form::Full)?)?;
        write!(
            page,
            "\n### Quick form of `{name}`\n\nThese rows do not reproduce the published numbers.\n\n"
        )?;
        page += &rows(table, results, Form::Quick)?;
    }
    Ok(page)
}

/// The rows of a table in one form, followed by how the metrics were measured and by which version.
pub(super) fn rows(table: &Table, results: &Results, form: Form) -> Result<String> {
    let mut text = String::from(
        "| row | metric | published | Waxwork, mean | range | runs | tolerance | within | training time |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let mut protocols: Vec<String> = Vec::new();
    let mut programs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in &table.rows {
        let key = table.key(row, form)?;
        let outcomes = results.of(row, form, &key);
        for outcome in &outcomes {
            let (rows, name) = (programs.entry(&outcome.program).or_default(), format!("`{}`", row.name));
            if !rows.contains(&name) {
                rows.push(name);
            }
        }
        for published in &row.values {
            text += &line(table, row, published, &outcomes, form)?;
            for outcome in &outcomes {
                let protocol = outcome.protocols.get(&published.metric).cloned().unwrap_or_default();
                let said = format!("`{}`: {protocol}.", published.metric);
                if !protocols.contains(&said) {
                    protocols.push(said);
                }
            }
        }
    }
    if !protocols.is_empty() {
        text += "\n";
        text += &wrapped("How the metrics were measured:", "");
        text += "\n";
        protocols.iter().for_each(|protocol| text += &wrapped(protocol, "- "));
    }
    if !programs.is_empty() {
        text += "\n";
        text += &wrapped("Which version of Waxwork measured each row:", "");
        text += "\n";
        for (program, rows) in programs {
            text += &wrapped(&format!("Measured by version {program}: {}.", rows.join(", ")), "- ");
        }
    }
    Ok(text)
}

fn line(
    table: &Table,
    row: &Row,
    published: &Published,
    outcomes: &[&Outcome],
    form: Form,
) -> Result<String> {
    let values: Vec<f64> =
        outcomes.iter().filter_map(|outcome| outcome.metrics.get(&published.metric).copied()).collect();
    let mut line =
        format!("| {} (`{}`) | `{}` | {} |", row.label, row.name, published.metric, published.value);
    let (allowed, wanted) = (published.allowed(form), table.seeds(row, form));
    if values.is_empty() {
        writeln!(line, " not run | | 0 of {wanted} | {allowed} | | |")?;
        return Ok(line);
    }
    let mean = mean(&values);
    let (least, most) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    let within = match published.fits(form, mean) {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "",
    };
    let seconds: Vec<f64> = outcomes.iter().map(|outcome| outcome.seconds).collect();
    writeln!(
        line,
        " {} | {} – {} | {} of {wanted} | {allowed} | {within} | {} |",
        number(mean),
        number(least),
        number(most),
        values.len(),
        time(self::mean(&seconds)),
    )?;
    Ok(line)
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Formats a time in a suitable unit.
pub(super) fn time(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 | 1 if seconds < 90.0 => format!("{seconds:.0} s"),
        0..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// Text in lines of at most [`COLUMNS`]. The first line begins with `bullet`; the others are indented by its
/// width.
fn wrapped(text: &str, bullet: &str) -> String {
    let (mut lines, mut line) = (String::new(), bullet.to_owned());
    let mut begun = false;
    for word in text.split_whitespace() {
        if begun && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines += &line;
            lines += "\n";
            line = " ".repeat(bullet.len());
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line += word;
        begun = true;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn prose_wraps_and_keeps_its_words() {
        let text = "word ".repeat(60);
        let lines = wrapped(&text, "- ");
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        assert!(lines.starts_with("- word") && lines.lines().skip(1).all(|line| line.starts_with("  word")));
        assert_eq!(lines.matches("word").count(), 60);
    }

    #[test]
    fn times_have_a_unit() {
        let times = [3.2, 89.0, 95.0, 3540.0, 7500.0].map(time);
        assert_eq!(times, ["3 s", "89 s", "2 min", "59 min", "2 h 5 min"]);
    }

    #[test]
    fn a_row_has_its_mean_and_range_or_says_that_it_did_not_run() {
        let tables = super::super::tables().unwrap();
        let table = &tables[0];
        let (row, metric) = (&table.rows[0], table.rows[0].values[0].metric.as_str());
        let key = table.key(row, Form::Full).unwrap();
        let published = row.values[0].value;
        let mut results = Results::default();
        let text = rows(table, &results, Form::Full).unwrap();
        assert!(!text.contains("yes") && text.matches("not run").count() >= table.rows.len(), "{text}");
        // Results of another recipe, or of the other form, do not count.
        results.add(Outcome::with(&row.name, Form::Full, 0, "00000000", (metric, published)));
        results.add(Outcome::with(&row.name, Form::Quick, 0, &key, (metric, published)));
        assert_eq!(rows(table, &results, Form::Full).unwrap(), text);
        for (seed, by) in [(0, -0.1), (1, 0.2)] {
            results.add(Outcome::with(&row.name, Form::Full, seed, &key, (metric, published + by)));
        }
        let text = rows(table, &results, Form::Full).unwrap();
        let line = text.lines().find(|line| line.contains(&format!("(`{}`)", row.name))).unwrap();
        let range = format!("{} – {}", number(published - 0.1), number(published + 0.2));
        assert!(line.contains(&number(published + 0.05)) && line.contains(&range), "{line}");
        assert!(line.contains("| 2 of 3 |") && line.ends_with("| yes | 2 min |"), "{line}");
        assert!(text.contains("data: some; draws: 5."), "{text}");
        let other = Outcome::with(&row.name, Form::Full, 2, &key, (metric, published)).by("0.0.1 (old)");
        results.add(other);
        let text = rows(table, &results, Form::Full).unwrap();
        for program in ["0.0.1 (old)", "0.1.0 (abc)"] {
            let said = format!("- Measured by version {program}: `{}`.\n", row.name);
            assert!(text.contains(&said), "{text}");
        }
    }

    /// The page is a function of the tables and of the results that are kept with them.
    #[test]
    fn the_page_in_the_book_is_up_to_date() {
        let tables = super::super::tables().unwrap();
        let with_results = tables.iter().map(|table| (table, Results::read(&table.folder).unwrap()));
        let page = page(&with_results.collect::<Vec<_>>()).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/papers.md");
        assert_eq!(fs::read_to_string(path).unwrap(), page, "run `cargo xtask paper --page`");
    }
}
