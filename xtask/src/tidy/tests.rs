//! Tests of the rules of tidy.

use super::*;

fn of(path: &str, text: &str) -> Vec<String> {
    complaints(&[File { path: path.into(), text: text.into() }])
}

#[test]
fn rust_files_begin_with_their_purpose() {
    assert!(of("crates/core/src/a.rs", "//! Sums.\n").is_empty());
    assert_eq!(of("a.rs", "use std::fs;\n"), ["a.rs: does not begin with a `//!` comment"]);
    assert_eq!(of("a.rs", "").len(), 1);
    assert!(of("README.md", "# Title").is_empty());
}

#[test]
fn finds_paths_of_one_machine_and_no_others() {
    for bad in ["see /home/me/x", "\"/root/.cargo\"", "path=/work/data", "/Users/me"] {
        assert_eq!(of("a.md", &format!("{bad}/\n")).len(), 1, "{bad}");
    }
    for fine in ["https://example.org/work/x", "a/home/b", "~/work/x", "${HOME}/work/x", "../root/x"] {
        assert!(of("a.md", fine).is_empty(), "{fine}");
    }
}

#[test]
fn finds_unfinished_work() {
    assert_eq!(of("a.rs", "//! A.\nfn f() { todo!() }\n// FIXME later\n").len(), 2);
    assert!(of("a.rs", "//! A.\n// what to do\n").is_empty());
}

#[test]
fn finds_unsafe_in_other_files() {
    let text = "//! A.\nunsafe { f() }\n";
    assert!(of("crates/kernels/src/adam.rs", text).is_empty());
    assert!(of("crates/cli/src/main.rs", text).is_empty());
    assert_eq!(of("crates/nn/src/loss.rs", text).len(), 1);
    assert!(of("a.rs", "//! A.\n#![deny(unsafe_code)] // no unsafe\n").is_empty());
}

#[test]
fn trainer_and_eval_name_no_family() {
    for bad in
        ["use waxwork_vae::Vae;", "struct VaeState;", "if family == \"cgan\" {", "fn gan_step() {}", "GAN"]
    {
        assert_eq!(of("crates/trainer/src/a.rs", &format!("//! A.\n{bad}\n")).len(), 1, "{bad}");
    }
    for fine in ["let organ = elegant;", "// a GAN has none", "/// Unlike a VAE"] {
        assert!(of("crates/eval/src/a.rs", &format!("//! A.\n{fine}\n")).is_empty(), "{fine}");
    }
    assert!(of("crates/vae/src/a.rs", "//! A.\nstruct Vae;\n").is_empty());
}

#[test]
fn one_match_over_families() {
    let file = |path: &str, text: &str| File { path: path.into(), text: format!("//! A.\n{text}\n") };
    let home = "match self {\n Self::Vae(c) => 1,\n Self::Cvae(c) => 2,\n}";
    assert!(complaints(&[file("models/src/a.rs", home)]).is_empty());
    assert_eq!(complaints(&[file("models/src/a.rs", home), file("b.rs", "Family::Vae => 3,")]).len(), 1);
    assert_eq!(complaints(&[file("models/src/a.rs", home), file("b.rs", "\"gan\" => 3,")]).len(), 1);
    assert!(!is_arm("let f = |x| Vae::new(x);", "vae") && !is_arm("Self::VaeLike => 1", "vae"));
}

#[test]
fn finds_circular_imports() {
    let circles = |files: &[(&str, &str)]| {
        let file =
            |(path, text): &(&str, &str)| File { path: format!("{LAYERED}{path}"), text: (*text).into() };
        circles(&files.iter().map(file).collect::<Vec<_>>())
    };
    let lib = ("lib.rs", "mod a;\nmod b;\npub mod c;\npub use a::A;\n");
    let (a, b) = (("a.rs", "use crate::b::{B, C};\n"), ("b.rs", "use crate::c::inner::D;\n"));
    let (c, inner) = (("c/mod.rs", "mod inner;\n"), ("c/inner.rs", "//! Not crate::a.\n"));
    assert_eq!(circles(&[lib, a, b, c, inner]), Vec::<String>::new());
    let tested =
        ("c/inner.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::a::A;\n}\n");
    assert_eq!(circles(&[lib, a, b, c, tested, ("tests/a.rs", "use crate::a;")]), Vec::<String>::new());
    for (text, circle) in [
        ("use crate::a::A;", "a, b, c::inner"),
        ("use crate::b;", "b, c::inner"),
        ("fn f() { crate::b::f() }", "b, c::inner"),
        ("use super::D;", "c, c::inner"),
        ("use crate::A;", "lib, a, b, c, c::inner"),
    ] {
        let found = circles(&[lib, a, b, c, ("c/inner.rs", text)]);
        assert_eq!(found.len(), 1, "{text}");
        assert!(found[0].ends_with(&format!("imports: {circle}")), "{text}: {found:?}");
    }
}

#[test]
fn finds_dead_links() {
    let of = |path: &str, text: &str| {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let contents = file(CONTENTS, "- [A](book/a.md)");
        let files = [contents, file(path, text), file("README.md", "# The Title: it's\n## Part two")];
        let there = |path: &str| ["README.md", "docs/book/a.md", "docs/images/a.png"].contains(&path);
        dead_links(&files, there)
    };
    for fine in [
        "[a](../../README.md) ![b](../images/a.png) [c](https://example.org/x) [d](#here)\n# Here",
        "[a](../../README.md#the-title-its)",
        "```text\n[a](nowhere.md)\n{{#include ../../README.md}}\n```",
    ] {
        assert_eq!(of("docs/book/a.md", fine), Vec::<String>::new(), "{fine}");
    }
    for bad in
        ["[a](b.md)", "![a](images/a.png)", "[a](../../README.md#part-three)", "```\n{{#include b.rs}}\n```"]
    {
        assert_eq!(of("docs/book/a.md", bad).len(), 1, "{bad}");
    }
    assert_eq!(of("docs/b.md", ""), ["docs/b.md: is not listed in docs/SUMMARY.md"]);
}

#[test]
fn finds_shown_lines_that_are_not_in_the_code() {
    let code = || File { path: "a.rs".into(), text: "//! A.\nenum A {\n    B,\n}\n".into() };
    let of = |text: &str| complaints(&[code(), File { path: "a.md".into(), text: text.into() }]);
    let fine = "```diff\n enum A {\n     …\n+    B,\n-    C,\n }\n```\n+ D,\n```rust,ignore\n+ D,\n```";
    assert_eq!(of(fine), Vec::<String>::new());
    assert_eq!(of("```diff\n enum A {\n+    C,\n```").len(), 1);
    assert_eq!(of("```diff\n enum B {\n```").len(), 1);
    assert_eq!(of("```rust\nenum A {\n    B,\n…\n}\n```\nenum C {"), Vec::<String>::new());
    assert_eq!(of("```rust\nenum A {\n    C,\n```").len(), 1);
}

#[test]
fn packages_use_the_lints() {
    assert_eq!(of("a/Cargo.toml", "[package]\nname = \"a\"\n").len(), 1);
    assert!(of("a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n").is_empty());
    assert!(of("Cargo.toml", "[workspace]\n").is_empty());
}

#[test]
fn published_packages_contain_the_licences() {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let files = [
        file("a/Cargo.toml", "[package]\n"),
        file("b/Cargo.toml", "[package]\n"),
        file("c/Cargo.toml", "[package]\npublish = false\n"),
    ];
    let missing = without_licences(&files, |path| path.starts_with("a/"));
    assert_eq!(missing.len(), 2, "{missing:?}");
}
