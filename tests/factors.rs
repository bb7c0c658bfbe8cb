//! Disentanglement scores: the data set `factors`, its recipes, and their evaluation with `waxwork
//! evaluate`.

use crate::util::{small_of, text, waxwork};

#[test]
fn an_evaluation_scores_disentanglement_with_the_same_bits_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let little = ["--set", "model.network.channels=[4, 4, 4]", "--set", "model.network.hidden=16"];
    waxwork(&small_of("vae-factors-tc", &run, &little)).good();
    let evaluated = |threads: &str| {
        let call = waxwork(&["evaluate", text(&run), "--samples", "0", "-n", "400", "--threads", threads]);
        let call = call.good();
        for name in ["factorvae_score", "sap_score", "dci_disentanglement", "dci_informativeness"] {
            assert!(call.stdout.contains(name), "{}", call.stdout);
        }
        std::fs::read(run.join("metrics.json")).unwrap()
    };
    assert_eq!(evaluated("1"), evaluated("3"));

    let bad = ["--set", "model.total_correlation=-1"];
    waxwork(&small_of("vae-factors-tc", &folder.path().join("bad"), &bad))
        .refused(&["model.total_correlation", "not negative"]);
}
