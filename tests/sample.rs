//! `waxwork sample`, `reconstruct`, `encode`, `decode` and `evaluate` on one small run.

use waxwork_core::Tensor;

use crate::util::{metric, run_json, tensor, text, trained, waxwork};

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn image_i_depends_only_on_the_seed_and_i() {
    let (folder, run) = trained("vae-digits");
    let (few, many) = (folder.path().join("few.safetensors"), folder.path().join("many.safetensors"));
    waxwork(&["sample", text(&run), "-n", "7", "--seed", "5", "--out", text(&few)]).good();
    waxwork(&["sample", text(&run), "-n", "230", "--seed", "5", "--threads", "1", "--out", text(&many)])
        .good();
    let (few, many) = (tensor(&few, "images"), tensor(&many, "images"));
    assert_eq!(many.dims(), [230, 1, 28, 28]);
    assert_eq!(values(&few), values(&many.narrow(0, 0, 7).unwrap()));
    assert!(values(&many).iter().all(|value| (0.0..=1.0).contains(value)));
}

#[test]
fn every_output_format_is_written() {
    let (folder, run) = trained("vae-digits");
    for out in ["grid.png", "images.npy", "images.safetensors"] {
        let out = folder.path().join(out);
        waxwork(&["sample", text(&run), "-n", "12", "--out", text(&out)]).good();
        assert!(out.is_file());
    }
    let npy = Tensor::read_npy(folder.path().join("images.npy")).unwrap();
    assert_eq!(values(&npy), values(&tensor(&folder.path().join("images.safetensors"), "images")));
    let many = folder.path().join("pictures");
    waxwork(&["sample", text(&run), "-n", "12", "--out", text(&many)]).good();
    assert_eq!(std::fs::read_dir(&many).unwrap().count(), 12);
    waxwork(&["sample", text(&run), "--out", "x.gif"]).refused(&[".gif", ".png"]);
    waxwork(&["sample", text(&run), "-n", "0"]).refused(&["--count", "at least 1"]);
    waxwork(&["sample", text(folder.path())]).refused(&["not a run folder"]);
}

#[test]
fn images_are_encoded_decoded_and_reconstructed() {
    let (folder, run) = trained("vae-digits");
    let path = |name: &str| folder.path().join(name);
    waxwork(&["encode", text(&run), "--out", text(&path("test.npy"))]).good();
    let latents = Tensor::read_npy(path("test.npy")).unwrap();
    assert_eq!(latents.dims(), [10_000, 10]);

    waxwork(&["sample", text(&run), "-n", "5", "--out", text(&path("five.npy"))]).good();
    waxwork(&["encode", text(&run), "--images", text(&path("five.npy")), "--out", text(&path("z.npy"))])
        .good();
    waxwork(&["decode", text(&run), text(&path("z.npy")), "--out", text(&path("back.npy"))]).good();
    assert_eq!(Tensor::read_npy(path("back.npy")).unwrap().dims(), [5, 1, 28, 28]);
    waxwork(&["decode", text(&run), text(&path("five.npy")), "--out", text(&path("no.npy"))])
        .refused(&["latents", "10"]);
    waxwork(&["encode", text(&run), "--images", text(&path("z.npy")), "--out", text(&path("no.npy"))])
        .refused(&["images", "28"]);
    std::fs::write(path("junk.npy"), b"not an array").unwrap();
    waxwork(&["decode", text(&run), text(&path("junk.npy")), "--out", text(&path("no.npy"))])
        .refused(&["junk.npy"]);
    assert!(!path("no.npy").exists());

    waxwork(&["reconstruct", text(&run), "-n", "13"]).good();
    assert!(run.join("reconstructions.png").is_file());
}

#[test]
fn an_evaluation_reports_its_metrics_and_their_protocol() {
    let (_folder, run) = trained("vae-digits");
    let evaluate = |threads: &str| {
        let more = ["-n", "250", "--importance-samples", "20", "--json", "--threads", threads];
        waxwork(&[&["evaluate", text(&run)], &more[..]].concat()).good().stdout
    };
    let one = evaluate("1");
    assert_eq!(one, evaluate("2"));
    assert_eq!(one, std::fs::read_to_string(run.join("metrics.json")).unwrap());
    let report: serde_json::Value = serde_json::from_str(&one).unwrap();
    let metric = |name: &str| metric(&report, name);
    let of = |name: &str| metric(name)["value"].as_f64().unwrap();
    assert_eq!(metric("neg_elbo")["protocol"]["n_real"], "250");
    assert_eq!(metric("neg_elbo")["protocol"]["observation"], "bernoulli on grey values");
    assert!((of("neg_elbo") - of("reconstruction") - of("kl")).abs() < 1e-6);
    // Importance sampling tightens the bound (Burda et al. 2016).
    assert!(of("neg_log_likelihood") < of("neg_elbo"));
}

#[test]
fn rejects_damaged_weights_and_weights_of_another_network() {
    let (_folder, run) = trained("vae-digits");
    let model = run.join("model.safetensors");
    let whole = std::fs::read(&model).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(&model, flipped).unwrap();
    waxwork(&["sample", text(&run), "-n", "1"]).refused(&["model.safetensors", "SHA-256"]);
    std::fs::write(&model, &whole[..whole.len() / 2]).unwrap();
    waxwork(&["sample", text(&run), "-n", "1"]).refused(&["model.safetensors"]);
    std::fs::write(&model, &whole).unwrap();

    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    std::fs::write(run.join("recipe.toml"), recipe.replace("latent_dim = 10", "latent_dim = 11")).unwrap();
    waxwork(&["sample", text(&run), "-n", "1"]).refused(&["do not fit its recipe", "[11", "[10"]);
}

#[test]
fn a_missing_tensor_is_named() {
    let (_folder, run) = trained("vae-digits");
    let model = run.join("model.safetensors");
    let mut tensors = waxwork_core::store::load(&model, &waxwork_core::Device::Cpu).unwrap();
    tensors.remove("decoder.output.bias").unwrap();
    waxwork_core::store::save(&model, &tensors).unwrap();
    // Remove the hash, which a hand-made run does not have.
    let info = run_json(&run);
    let hash = info["model_sha256"].to_string();
    let text_of_info = std::fs::read_to_string(run.join("run.json")).unwrap();
    std::fs::write(run.join("run.json"), text_of_info.replace(&hash, "null")).unwrap();
    waxwork(&["sample", text(&run), "-n", "1"]).refused(&["missing tensor", "decoder.output.bias"]);
}
