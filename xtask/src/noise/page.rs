//! docs/noise.md, and the same tables for the terminal.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::results::{METRICS, Outcome, Results};
use super::{DATA, FAMILIES, Row, rows};

const OPENING: &str = "\
# Noise in the training data

`cargo xtask noise` writes this page. Run it again instead of editing the page.

How much do wrong labels and noisy pixels harm a model, and what helps? Each row of the tables below
is a run of a recipe. `data.noise` damages its training and validation images: it replaces 10 % or
30 % of the labels with another class, or adds Gaussian noise with the standard deviation σ to every
pixel value (on the scale from 0 to 1). The test images are clean.

```sh
cargo xtask noise                                  # digits; needs no files
cargo xtask noise mnist --data-dir path/to/data
```

The remedies are:

- **EMA**: sample from an exponential moving average of the weights (`optimizer.ema`). The recipes
  of GANs already use it, so their rows show the effect of training without it.
- **Truncation**: redraw latent values beyond a magnitude (`waxwork sample --truncation`). This
  needs no training.
- **Label smoothing**: lower the discriminator's target for real images (`model.label_smoothing`).
- **Leave out doubtful labels**: `waxwork data doubts` lists the images whose labels a classifier
  doubts, and `data.leave_out` excludes them from training ([Data](book/data.md#doubtful-labels)).

A judge that was trained on clean data measures 10,000 samples of each run
([Evaluation](evaluation.md)). Each row is one run with one seed, so small differences may be due to
chance. Within each kind of noise, bold marks the best value of a column. A row without a finished
and measured run says *not run*. `vae` and `gan` do not use the labels as input: for them, wrong
labels change only the order of the training images and, if the recipe keeps the best weights of a
GAN, the judge that selects these weights.
";

/// The whole page.
pub(super) fn page(root: &Path, results: &Results) -> Result<String> {
    let mut page = OPENING.to_owned();
    for data in DATA {
        write!(page, "\n## {data}\n{}", tables(root, data, results, None)?)?;
    }
    Ok(page)
}

/// The tables of a data set, one per family.
pub(super) fn tables(
    root: &Path,
    data: &'static str,
    results: &Results,
    steps: Option<u64>,
) -> Result<String> {
    let mut text = String::new();
    for family in FAMILIES {
        write!(
            text,
            "\n### {family}-{data}\n\n\
             | noise | remedy | judge Fréchet | label agreement | class entropy | recall | test −ELBO | training |\n\
             |---|---|---|---|---|---|---|---|\n"
        )?;
        let rows = rows(data, family);
        let mut found = Vec::new();
        for row in &rows {
            found.push((row, results.of(&row.name(), &row.key(root, steps)?)));
        }
        for (row, outcome) in &found {
            let of_noise = found.iter().filter(|(other, _)| other.noise == row.noise);
            let rivals: Vec<&Outcome> = of_noise.filter_map(|(_, outcome)| *outcome).collect();
            text += &line(row, *outcome, &rivals)?;
        }
    }
    Ok(text)
}

/// A row; `rivals` are the outcomes with the same noise.
fn line(row: &Row, outcome: Option<&Outcome>, rivals: &[&Outcome]) -> Result<String> {
    let mut line = format!("| {} | {} |", row.noise.label, row.remedy.label);
    match outcome {
        None => line += " not run | | | | | |",
        Some(outcome) => {
            for metric in METRICS {
                write!(line, " {} |", cell(metric, outcome, rivals))?;
            }
            write!(line, " {:.0} s |", outcome.seconds)?;
        }
    }
    Ok(line + "\n")
}

/// A value, in bold if it is better than those of all rivals.
fn cell(metric: &str, outcome: &Outcome, rivals: &[&Outcome]) -> String {
    let of = |outcome: &Outcome| outcome.metrics.get(metric).copied();
    let Some(value) = of(outcome) else { return "–".to_owned() };
    let is_lower_better = matches!(metric, "judge_frechet" | "neg_elbo");
    let others: Vec<f64> =
        rivals.iter().filter(|rival| rival.row != outcome.row).filter_map(|rival| of(rival)).collect();
    let beats = |other: &f64| if is_lower_better { value < *other } else { value > *other };
    let text = match metric {
        "judge_agreement" => format!("{:.1} %", 100.0 * value),
        "judge_frechet" | "neg_elbo" => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    if !others.is_empty() && others.iter().all(beats) { format!("**{text}**") } else { text }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn a_row_shows_its_numbers_or_says_that_it_did_not_run() {
        let rows = rows("digits", "cgan");
        let mut results = Results::default();
        let none = tables(&root(), "digits", &results, None).unwrap();
        let all: usize = FAMILIES.into_iter().map(|family| super::rows("digits", family).len()).sum();
        assert_eq!(none.matches("not run").count(), all, "{none}");
        let key = |row: &Row| row.key(&root(), None).unwrap();
        // A result with another key belongs to another row.
        results.add(Outcome::with(&rows[0].name(), "00000000", 10.0, 0.9));
        assert_eq!(tables(&root(), "digits", &results, None).unwrap(), none);
        results.add(Outcome::with(&rows[0].name(), &key(&rows[0]), 10.0, 0.9));
        results.add(Outcome::with(&rows[1].name(), &key(&rows[1]), 20.0, 0.95));
        let shown = tables(&root(), "digits", &results, None).unwrap();
        for line in [
            "| none | none: the recipe | **10.0** | 90.0 % | – | – | – | 90 s |",
            "| none | without the recipe's EMA | 20.0 | **95.0 %** | – | – | – | 90 s |",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
        assert_eq!(shown.matches("not run").count(), all - 2);
        assert_eq!(tables(&root(), "digits", &results, Some(5)).unwrap(), none);
    }

    /// The page is a function of the recipes and of the stored results.
    #[test]
    fn the_page_in_the_book_is_up_to_date() {
        let results = Results::read(&root().join("xtask/noise/results.json")).unwrap();
        let page = page(&root(), &results).unwrap();
        let path = root().join("docs/noise.md");
        assert_eq!(fs::read_to_string(path).unwrap(), page, "run `cargo xtask noise --page`");
    }
}
