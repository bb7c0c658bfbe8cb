//! `waxwork doctor` and `waxwork man`.

use crate::util::waxwork;

#[test]
fn doctor_reports_the_machine_and_the_build() {
    let report = waxwork(&["doctor", "--json", "--threads", "3"]).good().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["threads"], 3);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    waxwork(&["doctor"]).good();
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    waxwork(&["man", pages.to_str().unwrap()]).good();
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("waxwork.1").contains("Exit codes") && page("waxwork-train.1").contains("dry\\-run"));
    assert!(page("waxwork-recipes-diff.1").contains("Examples"));
}
