//! `waxwork report` and `waxwork compare --html`: the contents of the pages, and the escaping of
//! all inserted text.

use std::fs;
use std::path::Path;

use waxwork_core::{Device, Tensor};
use waxwork_media::grid;

use crate::util::{small_of, text, waxwork};

/// Reads a page, with its escaped slashes restored.
fn page(path: &Path) -> String {
    let page = fs::read_to_string(path).unwrap().replace("&#x2f;", "/");
    assert!(!page.contains("{{") && !page.contains("{%"), "a place was not filled in");
    // The only addresses are targets of links.
    for part in page.split("https:").collect::<Vec<_>>().split_last().unwrap().1 {
        assert!(part.ends_with("href=\""), "an address outside of a link");
    }
    assert!(!page.contains("http:"));
    page
}

#[test]
fn training_leaves_a_page_and_report_adds_the_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let call = waxwork(&small_of("cvae-digits", &run, &["--set", "train.sample_every=2"])).good();
    assert!(call.stdout.contains("report.html"), "{}", call.stdout);
    let shown = page(&run.join("report.html"));
    for part in ["Samples through training", "Samples of each class", "Interpolations", "Latent dimensions"] {
        assert!(shown.contains(part), "{part}");
    }
    for part in ["Reconstructions", "Nearest training images", "Grad norm", "Validation", "Environment"] {
        assert!(shown.contains(part), "{part}");
    }
    assert!(!shown.contains(">Evaluation<") && !shown.contains("Left out"));
    // Two grids, ten classes and four other images, each with a description.
    assert_eq!(shown.matches("<img src=\"data:image/png;base64,iVBOR").count(), 16);
    assert_eq!(shown.matches("alt=\"").count(), 16);
    assert!(shown.contains(&format!("<code>waxwork repeat {}</code>", text(&run))));
    assert!(shown.contains("[model]\nfamily = &quot;cvae&quot;"));

    waxwork(&["evaluate", text(&run), "-n", "50", "--samples", "50"]).good();
    waxwork(&["report", text(&run)]).good();
    let shown = page(&run.join("report.html"));
    for part in [">Evaluation<", "judge_agreement", "lower is better", "n_generated: 50", "Real data"] {
        assert!(shown.contains(part), "{part}");
    }
}

#[test]
fn an_incomplete_run_gets_a_page_of_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small_of("gan-digits", &run, &[])).good();
    let out = folder.path().join("page.html");
    let report = || {
        waxwork(&["report", text(&run), "--out", text(&out)]).good();
        page(&out)
    };
    assert!(!report().contains("Reconstructions"), "a GAN has none");
    fs::write(run.join("metrics.json"), "{").unwrap();
    fs::write(run.join("model.safetensors"), "no weights").unwrap();
    let shown = report();
    assert!(shown.contains("Left out") && shown.contains("SHA-256") && shown.contains("metrics.json"));
    assert!(shown.contains("Samples through training") && !shown.contains("Interpolations"));
    for name in ["samples", "checkpoints"] {
        fs::remove_dir_all(run.join(name)).unwrap();
    }
    for name in ["metrics.jsonl", "timing.jsonl", "metrics.json", "model.safetensors"] {
        fs::remove_file(run.join(name)).unwrap();
    }
    let shown = report();
    assert!(!shown.contains("<img") && !shown.contains("Losses and metrics"));
    assert!(shown.contains("Configuration") && shown.contains("In short"));
    waxwork(&["report", text(folder.path())]).refused(&["not a run folder"]);
}

#[cfg(unix)]
#[test]
fn names_of_runs_and_classes_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    let bad = "\"><img src=x onerror=alert(1)>&'";
    for (number, class) in [bad, "plain"].into_iter().enumerate() {
        fs::create_dir_all(pictures.join(class)).unwrap();
        for i in 0..40 {
            let image =
                Tensor::full((i as f32 + 40.0 * number as f32) / 80.0, (1, 28, 28), &Device::Cpu).unwrap();
            let png = grid::single(&image).unwrap().png().unwrap();
            fs::write(pictures.join(class).join(format!("{i}.png")), png).unwrap();
        }
    }
    let run = folder.path().join("<script>alert(1)<");
    let data = ["--data", "folder", "--data-dir", text(&pictures)];
    let limits = ["--set", "data.limit=30", "--set", "data.validation=8"];
    let shape = ["--set", "data.folder.size=28", "--set", "data.folder.grey=true"];
    waxwork(&small_of("cgan-digits", &run, &[&data[..], &limits, &shape].concat())).good();
    let compared = folder.path().join("compared.html");
    waxwork(&["compare", text(&run), "--html", text(&compared)]).good();
    for path in [&run.join("report.html"), &compared] {
        let shown = page(path);
        assert!(!shown.contains("<img src=x") && !shown.contains("<script>alert"), "{}", path.display());
        assert!(shown.contains("&lt;script&gt;alert(1)&lt;"));
    }
    assert!(page(&run.join("report.html")).contains("&lt;img src=x onerror=alert(1)&gt;"));
}

#[test]
fn runs_are_shown_side_by_side_with_notes_on_what_is_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b b"));
    waxwork(&small_of("gan-digits", &a, &[])).good();
    waxwork(&small_of("cgan-digits", &b, &[])).good();
    let out = folder.path().join("both.html");
    let compare = || waxwork(&["compare", text(&a), text(&b), "--html", text(&out)]).good();
    compare();
    let shown = page(&out);
    assert!(shown.contains("href=\"a/report.html\"") && shown.contains("href=\"b%20b/report.html\""));
    assert!(shown.contains("logits/real") && shown.contains("MFLOP per sample"));
    assert!(!shown.contains("judge_frechet") && !shown.contains("not compared"));
    for (run, samples) in [(&a, "60"), (&b, "50")] {
        waxwork(&["evaluate", text(run), "--samples", samples]).good();
    }
    let call = compare();
    assert!(call.stdout.contains("n_generated: 60 against 50 (judge_"), "{}", call.stdout);
    let shown = page(&out);
    assert!(shown.contains("not compared: ") && shown.contains("n_generated: 60 against 50"));
}
