//! `cargo xtask tidy`: checks the rules that the compiler does not check. Each rule is a function of a file's
//! path and text. The rules are textual and simple, so that it is clear what they find and what they miss.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub(crate) const HELP: &str = "\
Check the rules that the compiler does not check

Usage: cargo xtask tidy

  - Every .rs file begins with a `//!` comment on its purpose.
  - No file contains an absolute path from one machine, and no code contains a TODO.
  - `unsafe` is only in the kernels, in the calls to the MPI library and to NCCL, in main.rs of the
    program, and in the exports of the sampler for browsers.
  - The trainer and eval crates name no model family; the workspace has one `match` over families.
  - The files of the kernels have no circular imports.
  - Every package uses the lints of the workspace; every published package contains the licences.
  - The targets of links and inclusions in documents exist; every document in docs is in the table
    of contents, docs/SUMMARY.md.
  - Every line that a document shows as Rust or as a change to the code is in the code.
  - Documents, recipes, manifests, help and error messages avoid the words that docs/style.md lists,
    and Markdown wraps at 100 columns.

Examples:
  cargo xtask tidy";

/// Extensions of the files that are read.
const TEXT: [&str; 8] = ["rs", "toml", "md", "yml", "sh", "py", "html", "txt"];

/// Names of the model families.
const FAMILIES: [&str; 4] = ["vae", "gan", "cvae", "cgan"];

/// The files that may contain `unsafe`.
const UNSAFE: [&str; 5] = [
    "crates/kernels/src/",
    "crates/distributed/src/library.rs",
    "crates/distributed/src/nccl.rs",
    "crates/cli/src/main.rs",
    "crates/web/src/lib.rs",
];

/// Folders of code that must work for any model family.
const ANY_FAMILY: [&str; 2] = ["crates/trainer/src/", "crates/eval/src/"];

/// The folder whose files form layers.
const LAYERED: &str = "crates/kernels/src/";

/// The table of contents of the book.
const CONTENTS: &str = "docs/SUMMARY.md";

/// Files that are not checked, because they contain what the rules forbid.
const SELF: [&str; 2] = ["xtask/src/tidy.rs", "xtask/src/tidy/tests.rs"];

/// A file: its path from the root, with forward slashes, and its text.
struct File {
    path: String,
    text: String,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(arg) = args.first() {
        bail!("unknown argument `{arg}`; `cargo xtask tidy` takes no arguments");
    }
    check(&crate::workspace::Workspace::load()?.root)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks all files under `root`.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    let mut complaints = complaints(&files);
    let exists = |path: &str| root.join(path).exists();
    complaints.extend(dead_links(&files, exists));
    complaints.extend(without_licences(&files, exists));
    if !complaints.is_empty() {
        bail!("found {} problems:\n  {}", complaints.len(), complaints.join("\n  "));
    }
    println!("checked {} files; found no problems", files.len());
    Ok(())
}

/// Reads the text files under `root`/`folder`, in order of their names. Skips the output of builds and runs.
fn collect(root: &Path, folder: &str, files: &mut Vec<File>) -> Result<()> {
    let here = root.join(folder);
    let entries = fs::read_dir(&here).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.with_context(|| format!("failed to list {}", here.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}{name}");
        let kind = entry.file_type().with_context(|| format!("failed to read the type of {path}"))?;
        let skipped = ["target", "runs", "corpus", "artifacts"].contains(&name.as_str())
            || name.starts_with('.') && name != ".github";
        if kind.is_dir() && !skipped {
            collect(root, &format!("{path}/"), files)?;
        } else if kind.is_file()
            && Path::new(&name).extension().is_some_and(|e| TEXT.iter().any(|text| e == *text))
        {
            let text =
                fs::read_to_string(root.join(&path)).with_context(|| format!("failed to read {path}"))?;
            files.push(File { path, text });
        }
    }
    Ok(())
}

fn complaints(files: &[File]) -> Vec<String> {
    let each = [
        opening,
        machine_paths,
        left_to_do,
        unsafe_code,
        families_where_any_will_do,
        lints,
        words::words,
        words::width,
    ];
    let mut found: Vec<String> = each.iter().flat_map(|rule| files.iter().flat_map(rule)).collect();
    found.extend(matches_over_families(files));
    found.extend(circles(files));
    found.extend(shown_but_gone(files));
    found
}

/// Every .rs file must begin with a comment on its purpose.
fn opening(file: &File) -> Vec<String> {
    let fine = !file.is_rust() || file.text.starts_with("//!");
    if fine { Vec::new() } else { vec![format!("{}: does not begin with a `//!` comment", file.path)] }
}

/// An absolute path to a home or work folder exists on only one machine.
fn machine_paths(file: &File) -> Vec<String> {
    const PLACES: [&str; 4] = ["/work/", "/root/", "/home/", "/Users/"];
    let starts = |line: &str, place: &str| {
        let before = |at| line[..at].chars().next_back();
        let inside = |c: char| c.is_alphanumeric() || "_-.~}/".contains(c);
        line.match_indices(place).any(|(at, _)| !before(at).is_some_and(inside))
    };
    file.lines_where("absolute path that exists only on one machine", |line| {
        PLACES.iter().any(|place| starts(line, place))
    })
}

/// Remaining work belongs in an issue, not in a comment.
fn left_to_do(file: &File) -> Vec<String> {
    let marks = |line: &str| words(line).any(|word| ["TODO", "FIXME", "XXX"].contains(&word));
    file.lines_where("unfinished work; open an issue instead", |line| {
        file.is_rust() && (line.contains("todo!") || marks(line))
    })
}

/// `unsafe` is allowed only in some files.
fn unsafe_code(file: &File) -> Vec<String> {
    let allowed = !file.is_rust() || UNSAFE.iter().any(|place| file.path.starts_with(place));
    file.lines_where("`unsafe` in a file that must not use it", |line| {
        !allowed && words(code(line)).any(|word| word == "unsafe")
    })
}

/// The trainer and eval crates work for any model, so they must not name a family. Comments may, to explain.
fn families_where_any_will_do(file: &File) -> Vec<String> {
    let applies = file.is_rust() && ANY_FAMILY.iter().any(|place| file.path.starts_with(place));
    let named = |line: &str| words(code(line)).flat_map(parts).any(|part| FAMILIES.contains(&part.as_str()));
    file.lines_where("model family named in code that must work for any family", |line| {
        applies && named(line)
    })
}

/// Every package must use the lints of the workspace.
fn lints(file: &File) -> Vec<String> {
    let is_package = file.path.ends_with("Cargo.toml") && file.text.contains("[package]");
    let fine = !is_package || file.text.contains("[lints]\nworkspace = true");
    if fine { Vec::new() } else { vec![format!("{}: lacks `[lints] workspace = true`", file.path)] }
}

/// Adding a family means adding one arm to one `match`. Two arms for one family, or arms in two files, mean
/// two matches.
fn matches_over_families(files: &[File]) -> Vec<String> {
    let mut arms: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.lines() {
            for family in FAMILIES.iter().filter(|family| is_arm(code(line), family)) {
                arms.entry(family).or_default().push(format!("{}:{number}", file.path));
            }
        }
    }
    let file_of = |place: &String| place.split(':').next().unwrap_or_default().to_owned();
    let mut homes: Vec<String> = arms.values().flatten().map(file_of).collect();
    homes.sort();
    homes.dedup();
    let twice = arms.iter().filter(|(_, places)| places.len() > 1);
    let mut found: Vec<String> = twice
        .map(|(family, places)| {
            format!("{}: a second `match` over model families ({family})", places.join(", "))
        })
        .collect();
    if homes.len() > 1 && found.is_empty() {
        found.push(format!("{}: `match` over model families in more than one file", homes.join(", ")));
    }
    found
}

/// Files of a layered crate import only files below them. Repeatedly removing every file that imports none of
/// the others, or that none of them imports, leaves the cycles.
fn circles(files: &[File]) -> Vec<String> {
    let named = files.iter().filter_map(|file| Some((module(file.path.strip_prefix(LAYERED)?)?, file)));
    let modules: BTreeMap<String, &File> = named.collect();
    let mut left: BTreeMap<&String, BTreeSet<String>> =
        modules.iter().map(|(name, file)| (name, imports(name, file, &modules))).collect();
    loop {
        let outermost = left.iter().find(|(name, imports)| {
            let imported = left.values().any(|imports| imports.contains(**name));
            !imported || imports.iter().all(|import| !left.contains_key(import))
        });
        let Some(name) = outermost.map(|(name, _)| *name) else { break };
        left.remove(name);
    }
    let names: Vec<&str> = left.keys().map(|name| if name.is_empty() { "lib" } else { name }).collect();
    if names.is_empty() {
        return Vec::new();
    }
    vec![format!("{LAYERED}: circular imports: {}", names.join(", "))]
}

/// The name of a file's module, "" for lib.rs; None for tests, which nothing may import.
fn module(path: &str) -> Option<String> {
    let name = path.strip_suffix(".rs").filter(|name| !name.starts_with("tests/"))?;
    let name = name.strip_suffix("/mod").unwrap_or(name);
    Some(if name == "lib" { String::new() } else { name.replace('/', "::") })
}

/// The modules that a file declares or names by a path from `crate` or `super`, outside its tests.
fn imports(name: &str, file: &File, modules: &BTreeMap<String, &File>) -> BTreeSet<String> {
    let parent = name.rsplit_once("::").map_or("", |(parent, _)| parent);
    let text = file.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in text.lines().map(code) {
        let child = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
        let below = child.map(|(_, child)| (name, child)).into_iter();
        let from_root = line.split("crate::").skip(1).map(|path| ("", path));
        let beside = line.split("super::").skip(1).map(|path| (parent, path));
        for (start, path) in below.chain(from_root).chain(beside) {
            let inner = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path = path.split(|c| !inner(c)).next().unwrap_or_default();
            let mut path = format!("{start}::{path}").trim_matches(':').to_owned();
            while !modules.contains_key(&path) && !path.is_empty() {
                path = path.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
            }
            found.insert(path);
        }
    }
    found.remove(name);
    found
}

/// A published package must contain its licence texts, because cargo packs only files in the package's
/// folder.
fn without_licences(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let published = files.iter().filter(|file| {
        file.path.ends_with("/Cargo.toml")
            && file.text.contains("[package]")
            && !file.text.contains("publish = false")
    });
    let texts = published
        .flat_map(|file| ["LICENSE-APACHE", "LICENSE-MIT"].map(|text| (file, beside(&file.path, text))));
    texts
        .filter(|(_, text)| !exists(text))
        .map(|(file, text)| format!("{}: {text} is missing", file.path))
        .collect()
}

/// Links, images and inclusions in documents must name a file that exists, and a heading that exists if they
/// name one. Every document in docs must be in the table of contents.
fn dead_links(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut listed = BTreeSet::from([CONTENTS.to_owned()]);
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, target) in targets(&file.text) {
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() { file.path.clone() } else { beside(&file.path, path) };
            if !exists(&path) {
                found.push(format!("{}:{number}: the target does not exist: {target}", file.path));
            }
            let document = files.iter().find(|file| file.path == path);
            if !heading.is_empty()
                && document.is_some_and(|document| headings(&document.text).all(|known| known != heading))
            {
                found.push(format!("{}:{number}: the target has no such heading: {target}", file.path));
            }
            if file.path == CONTENTS {
                listed.insert(path);
            }
        }
    }
    let documents = files.iter().filter(|file| file.path.starts_with("docs/") && file.path.ends_with(".md"));
    let unlisted = documents.filter(|file| !listed.contains(&file.path));
    found.extend(unlisted.map(|file| format!("{}: is not listed in {CONTENTS}", file.path)));
    found
}

/// Lines that a document shows as `rust` or `diff` must be lines of the code, except those that a `diff`
/// removes.
fn shown_but_gone(files: &[File]) -> Vec<String> {
    let code = files.iter().filter(|file| file.is_rust() || file.path.ends_with(".toml"));
    let code: BTreeSet<&str> = code.flat_map(|file| file.text.lines().map(str::trim)).collect();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let mut language = "";
        for (number, line) in file.lines() {
            if let Some(fence) = line.strip_prefix("```") {
                language = fence;
                continue;
            }
            let shown = match language {
                "diff" => line.strip_prefix(['+', ' ']).unwrap_or_default().trim(),
                "rust" => line.trim(),
                _ => continue,
            };
            if !shown.is_empty() && shown != "…" && !code.contains(shown) {
                found.push(format!("{}:{number}: this line is not in the code: {shown}", file.path));
            }
        }
    }
    found
}

/// The targets inside the repository that a document refers to, by line: links outside examples, and
/// inclusions.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut example = false;
    for (index, line) in text.lines().enumerate() {
        example ^= line.trim_start().starts_with("```");
        let (start, end) = if example { ("{{#include ", "}}") } else { ("](", ")") };
        let found = line.split(start).skip(1).filter_map(|rest| rest.split(end).next());
        let inside = found.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        targets.extend(inside.map(|target| (index + 1, target.to_owned())));
    }
    targets
}

/// Resolves `target`, which is relative to `file`, to a path from the root.
fn beside(file: &str, target: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The headings of a document, in the form that links use.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles =
        text.lines().filter_map(|line| line.strip_prefix('#')).map(|title| title.trim_start_matches('#'));
    titles.map(|title| {
        let letters = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        letters.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Whether this line is an arm such as `Family::Vae(config) => …` or `"vae" => …`.
fn is_arm(line: &str, family: &str) -> bool {
    let Some((pattern, _)) = line.split_once("=>") else { return false };
    let variant = |(at, _): (usize, &str)| {
        words(&pattern[at + 2..]).next().is_some_and(|w| w.eq_ignore_ascii_case(family))
    };
    pattern.contains(&format!("\"{family}\"")) || pattern.match_indices("::").any(variant)
}

/// A line without its comment. A `//` inside a string also ends it, so the rules may miss something but never
/// complain wrongly.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The identifiers and numbers of a line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The parts of an identifier, in lower case: `MlpVae` and `mlp_vae` are `mlp` and `vae`.
fn parts(word: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut previous_is_lower = false;
    for c in word.chars() {
        if c.is_uppercase() && previous_is_lower {
            spaced.push('_');
        }
        previous_is_lower = c.is_lowercase();
        spaced.extend(c.to_lowercase());
    }
    spaced.split('_').map(str::to_owned).collect()
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if SELF.contains(&self.path.as_str()) { "" } else { &self.text };
        lines.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// One message for every line that is `bad`.
    fn lines_where(&self, complaint: &str, bad: impl Fn(&str) -> bool) -> Vec<String> {
        let bad = self.lines().filter(|(_, line)| bad(line));
        bad.map(|(number, line)| format!("{}:{number}: {complaint}: {}", self.path, line.trim())).collect()
    }
}

#[cfg(test)]
mod tests;
