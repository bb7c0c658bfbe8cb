//! The tables of docs/benchmarks.md.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::measure::{Measured, PHASES, median};
use super::{Bench, Options};
use crate::process;

/// The measurements of Waxwork and of PyTorch, one pair per round.
pub(super) type Rounds = Vec<(Measured, Measured)>;

/// The medians of Waxwork and of PyTorch over the rounds.
fn medians(rounds: &Rounds, f: fn(&Measured) -> f64) -> (f64, f64) {
    let ours = median(rounds.iter().map(|(ours, _)| f(ours)).collect());
    (ours, median(rounds.iter().map(|(_, theirs)| f(theirs)).collect()))
}

/// Waxwork's step time divided by PyTorch's: the median over the rounds, with the minimum and the maximum.
fn ratio(rounds: &Rounds) -> String {
    let mut ratios: Vec<f64> = rounds.iter().map(|(ours, theirs)| ours.step / theirs.step).collect();
    ratios.sort_by(f64::total_cmp);
    let [least, most] = [ratios.first(), ratios.last()].map(|end| end.copied().unwrap_or(f64::NAN));
    format!("**{:.2}** ({least:.2}–{most:.2})", median(ratios))
}

pub(super) const HEAD: &str = "\
| recipe, batch | step: Waxwork | PyTorch, eager | ratio (min–max) | torch.compile | ratio (min–max) | first step | peak memory | 10,000 samples |
|---|---|---|---|---|---|---|---|---|
";

/// The row of a recipe at its own batch size, against PyTorch's networks, both uncompiled and compiled.
pub(super) fn row(bench: &Bench, rounds: &Rounds, compiled: Option<&Rounds>) -> String {
    let compiled = compiled.map_or("– | –".to_owned(), |rounds| {
        format!("{:.2} ms | {}", 1e3 * medians(rounds, |m| m.step).1, ratio(rounds))
    });
    let (ours, theirs) = medians(rounds, |m| m.step);
    let first = medians(rounds, |m| m.first);
    let (peak, their_peak) = medians(rounds, |m| m.peak);
    let sampling = if bench.sampled {
        let (ours, theirs) = medians(rounds, |m| m.sampling);
        format!("{ours:.2} s / {theirs:.2} s = {:.2}", ours / theirs)
    } else {
        "–".to_owned()
    };
    format!(
        "| {}, {} | {:.2} ms | {:.2} ms | {} | {compiled} | {:.2} s / {:.2} s = {:.3} | {:.0} / {:.0} MB = {:.2} | {sampling} |\n",
        bench.recipe,
        bench.batch,
        1e3 * ours,
        1e3 * theirs,
        ratio(rounds),
        first.0,
        first.1,
        first.0 / first.1,
        peak / 1e6,
        their_peak / 1e6,
        peak / their_peak,
    )
}

/// The table of the phases of a step: the time and the share of each, averaged over the rounds, without the
/// first fifth of the steps.
pub(super) fn phases(recipes: &[(&Bench, &Rounds)]) -> String {
    let mut table = format!(
        "| recipe, batch | {} | sum |\n|---|{}---|\n",
        PHASES.join(" | "),
        "---|".repeat(PHASES.len())
    );
    for (bench, rounds) in recipes {
        let mean = |phase: usize| {
            rounds.iter().map(|(ours, _)| ours.phases[phase]).sum::<f64>() / rounds.len().max(1) as f64
        };
        let means: Vec<f64> = (0..PHASES.len()).map(mean).collect();
        let all: f64 = means.iter().sum();
        let cells = means.iter().map(|mean| format!("{:.2} ms, {:.0} %", 1e3 * mean, 100.0 * mean / all));
        let cells = cells.collect::<Vec<_>>().join(" | ");
        _ = writeln!(table, "| {}, {} | {cells} | {:.2} ms |", bench.recipe, bench.batch, 1e3 * all);
    }
    table
}

/// The table of one thread against several: one row per recipe, from (rounds with one thread, rounds with
/// `threads`).
pub(super) fn threads(threads: usize, recipes: &[(&Bench, &Rounds, &Rounds)]) -> String {
    let mut table = format!(
        "| recipe, batch | 1 thread: Waxwork | PyTorch | ratio (min–max) | {threads} threads: Waxwork | PyTorch | speed-up: Waxwork | PyTorch |\n|---|---|---|---|---|---|---|---|\n"
    );
    for (bench, one, several) in recipes {
        let (one_ours, one_theirs) = medians(one, |m| m.step);
        let (ours, theirs) = medians(several, |m| m.step);
        _ = writeln!(
            table,
            "| {}, {} | {:.2} ms | {:.2} ms | {} | {:.2} ms | {:.2} ms | {:.2} | {:.2} |",
            bench.recipe,
            bench.batch,
            1e3 * one_ours,
            1e3 * one_theirs,
            ratio(one),
            1e3 * ours,
            1e3 * theirs,
            one_ours / ours,
            one_theirs / theirs,
        );
    }
    table
}

/// The table of several batch sizes; each row has a recipe, a batch size and its rounds.
pub(super) fn batches(rows: &[(&str, usize, &Rounds)]) -> String {
    let mut table = String::from(
        "| recipe, batch | step: Waxwork | PyTorch | ratio (min–max) | images/s: Waxwork | PyTorch |\n|---|---|---|---|---|---|\n",
    );
    for (recipe, batch, rounds) in rows {
        let (ours, theirs) = medians(rounds, |m| m.step);
        _ = writeln!(
            table,
            "| {recipe}, {batch} | {:.2} ms | {:.2} ms | {} | {:.0} | {:.0} |",
            1e3 * ours,
            1e3 * theirs,
            ratio(rounds),
            *batch as f64 / ours,
            *batch as f64 / theirs,
        );
    }
    table
}

/// The heading of the section that `--quality` writes. The rest of the page is above it.
const QUALITY: &str = "## Quality against time\n";

/// Replaces the tables of steps, and keeps the section on quality.
pub(super) fn replace_steps(path: &Path, steps: &str) -> Result<()> {
    let page = fs::read_to_string(path).unwrap_or_default();
    let quality = page.find(QUALITY).map(|start| format!("\n{}", &page[start..])).unwrap_or_default();
    fs::write(path, format!("{steps}{quality}"))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// Today's date.
pub(super) fn date() -> Result<String> {
    Ok(process::output(Command::new("date").args(["-u", "+%F"]))?.trim().to_owned())
}

/// The name of the processor, if the system reports it.
pub(super) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("Unknown processor");
    name.trim_start_matches([' ', '\t', ':']).to_owned()
}

/// Replaces the table of quality, and keeps the tables of steps. `settings` has one row per data set.
pub(super) fn replace_quality(path: &Path, settings: &str, table: &str) -> Result<()> {
    let page = fs::read_to_string(path).unwrap_or_default();
    let steps = page.find(QUALITY).map_or(page.as_str(), |start| &page[..start]).trim_end();
    let quality = format!(
        "{QUALITY}
`cargo xtask bench --quality DATA_DIR --write` writes this section from `xtask/bench/quality.json`,
which keeps the numbers.

| data | processor, threads, PyTorch, date |
|---|---|
{settings}
![Fréchet distance against minutes of training, three systems, three data sets](images/quality.svg)

{table}
Conditional GANs, one seed. The processes take turns of twenty seconds on the same processors. The
minutes are the time that a process ran, including its start and the reading of data. The plain
networks are the DCGANs of `cgan-dcgan-mnist` and `gan-dcgan-cifar10` with labels. Waxwork's networks
are those of the recipe, with its losses, optimiser and moving average. All learning rates are
constant. At every mark, one judge measures 10,000 samples of each. None of the processes uses this
judge. No process chooses its best weights: the samples are those of the current weights.
"
    );
    fs::write(path, format!("{steps}\n\n{quality}"))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// The page around the tables.
pub(super) fn document(tables: &str, options: &Options, torch: &str) -> Result<String> {
    let rust = process::output(Command::new("rustc").arg("--version"))?;
    Ok(format!(
        "# Benchmarks

`cargo xtask bench --write` writes this page. Run it again instead of editing the page.

{}, {} threads per side, {} rounds, PyTorch {torch},
{}, {}.

{tables}
Each pair is Waxwork's number / PyTorch's. The time of a step is the median over the steps of a
round, without the first fifth of the steps. If only every second step trains the generator, it is
the median over the means of two successive steps. `torch.compile` compiles during the first fifth,
so the time for compiling does not count. Waxwork's step includes preparing the batch and writing a
log line; PyTorch's includes neither. The command checks that the tensors of both sides have the
same sizes. PyTorch has the losses, penalties, dropout and number of updates of the recipe, and
limits the norm of gradients if the recipe does. If the recipe keeps a moving average of all
weights, PyTorch keeps one of the weights that samples are drawn from. `vae-ptb` trains on random
words, with the vocabulary size and the average sentence length of the Penn Treebank. Neither side
computes logits of padding. PyTorch's LSTMs compute the padding of short sentences, because the
reference does not pack its sequences; on the CPU, Waxwork's LSTMs do not. The time of the first
step is measured from the start of the process. For both programs, the time for 10,000 samples
includes reading the weights from a file and writing a NumPy file that is synced to the same disk,
but not the start of the process.
",
        processor(),
        options.threads,
        options.rounds,
        rust.trim(),
        date()?,
    ))
}
