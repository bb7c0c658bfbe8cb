//! `waxwork doctor`, `recipes` and `completions`.

use crate::util::waxwork;

#[test]
fn the_doctor_says_what_there_is() {
    let report = waxwork(&["doctor", "--json", "--threads", "3"]).good().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["threads"], 3);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    waxwork(&["doctor"]).good();
}

#[test]
fn a_shown_recipe_is_complete_and_can_be_trained() {
    let list = waxwork(&["recipes", "list", "--json"]).good().stdout;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert!(
        list.as_array().unwrap().iter().any(|row| row["tags"][0] == "quickstart" && row["data"] == "digits")
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let shown = waxwork(&["recipes", "show", "vae-digits", "--set", "train.batch_size=8"]).good().stdout;
    assert!(shown.contains("batch_size = 8") && shown.contains("free_bits"), "{shown}");
    std::fs::write(&file, shown).unwrap();
    let run = folder.path().join("run");
    let more = ["--out", run.to_str().unwrap(), "--steps", "1", "-q"];
    waxwork(&[&["train", file.to_str().unwrap()], &more[..]].concat()).good();
    std::fs::write(&file, "description = \"x\"\nmodel = 3").unwrap();
    waxwork(&["train", file.to_str().unwrap()]).refused(&["mine.toml"]);
}

#[test]
fn completions_are_printed() {
    assert!(waxwork(&["completions", "bash"]).good().stdout.contains("waxwork"));
}
