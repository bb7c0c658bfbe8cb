//! `waxwork fit-prior`: a run whose prior is fitted to the latents of its training data.

use crate::util::{resume, small_of, text, unfinish, waxwork};

fn bytes(path: &std::path::Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_fitted_run_has_the_networks_of_the_run_and_latents_of_its_own() {
    for recipe in ["vae-digits", "cvae-digits"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (run, fitted) = (path("run"), path("run-prior"));
        waxwork(&small_of(recipe, &run, &["--set", "model.latent_dim=2"])).good();
        let before = bytes(&run.join("model.safetensors"));
        let made = waxwork(&["fit-prior", text(&run), "--components", "3"]).good().stdout;
        let each = if recipe == "cvae-digits" { " per class" } else { "" };
        assert!(
            made.starts_with(&format!("3 Gaussians{each} fitted to the latents of training images in ")),
            "{made}"
        );
        assert_eq!(bytes(&run.join("model.safetensors")), before);
        for file in ["recipe.toml", "run.json", "metrics.jsonl", "README.md", "samples/step-000004.png"] {
            assert!(fitted.join(file).is_file(), "{file}");
        }

        // Other samples, from the same networks: the same reconstructions.
        let sampled = |run: &std::path::Path, threads: &str| {
            let out = path("samples.npy");
            _ = std::fs::remove_file(&out);
            waxwork(&["sample", text(run), "-n", "30", "--out", text(&out), "--threads", threads]).good();
            bytes(&out)
        };
        assert_ne!(sampled(&run, "1"), sampled(&fitted, "1"));
        assert_eq!(sampled(&fitted, "1"), sampled(&fitted, "3"));
        let encoded = |run: &std::path::Path| {
            let out = path("latents.npy");
            waxwork(&["encode", text(run), "--out", text(&out)]).good();
            bytes(&out)
        };
        assert_eq!(encoded(&run), encoded(&fitted));
        waxwork(&["interpolate", text(&fitted), "--rows", "2"]).good();
        waxwork(&["traverse", text(&fitted), "--seed", "1"]).good();

        // The same data and seed fit the same prior, and a prior can be fitted again.
        let again = path("again");
        waxwork(&["fit-prior", text(&fitted), "--components", "3", "--out", text(&again)]).good();
        assert_eq!(bytes(&fitted.join("model.safetensors")), bytes(&again.join("model.safetensors")));

        waxwork(&["fit-prior", text(&run), "--components", "3"]).refused(&["run-prior", "already exists"]);
        let few =
            waxwork(&["fit-prior", text(&run), "--components", "100", "--out", text(&path("few"))]).good();
        assert!(few.stderr.contains("of 100 Gaussians"), "{}", few.stderr);
        waxwork(&["fit-prior", text(&run), "--components", "0", "--out", text(&path("x"))])
            .refused(&["1 to 1,000"]);
        assert!(!path("x").exists());
    }
}

#[test]
fn a_flow_can_be_fitted_instead_of_a_mixture() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (run, one, three) = (path("run"), path("one"), path("three"));
    waxwork(&small_of("cvae-digits", &run, &["--set", "model.latent_dim=3"])).good();
    for (out, threads) in [(&one, "1"), (&three, "3")] {
        let asked = ["fit-prior", text(&run), "--kind", "maf", "--out", text(out), "--threads", threads];
        let made = waxwork(&asked).good().stdout;
        assert!(made.starts_with("class-conditional masked autoregressive flow fitted to the"), "{made}");
    }
    for file in ["model.safetensors", "samples/step-000004.png"] {
        assert!(bytes(&one.join(file)) == bytes(&three.join(file)), "{file}");
    }
    assert!(bytes(&one.join("model.safetensors")) != bytes(&run.join("model.safetensors")));
    let recipe = std::fs::read_to_string(one.join("recipe.toml")).unwrap();
    assert!(recipe.contains("a flow of 5 layers with 100 units"), "{recipe}");
    waxwork(&["sample", text(&one), "-n", "4", "--labels", "7"]).good();
    waxwork(&["evaluate", text(&one), "--samples", "0", "--importance-samples", "5", "-n", "20"]).good();
    waxwork(&["export", text(&one), "--part", "prior"]).good();
    // A fork continues from the flow and trains it together with the networks.
    let fork = path("fork");
    waxwork(&["train", "--fork", text(&one), "--out", text(&fork), "--steps", "3"]).good();

    let out = path("x");
    let both = ["fit-prior", text(&run), "--kind", "maf", "--components", "3", "--out", text(&out)];
    waxwork(&both).refused(&["--components is for --kind gmm"]);
    assert!(!path("x").exists());
}

#[test]
fn a_flow_is_refused_where_training_needed_a_normal_prior() {
    let folder = tempfile::tempdir().unwrap();
    for (key, value) in [("model.free_bits", "0.1"), ("model.total_correlation", "2")] {
        let run = folder.path().join(key);
        let setting = format!("{key}={value}");
        waxwork(&small_of("vae-digits", &run, &["--set", "model.latent_dim=2", "--set", &setting])).good();
        let flow = ["fit-prior", text(&run), "--kind", "maf"];
        waxwork(&flow).refused(&["trained with", key, "fit a mixture with `--kind gmm`"]);
        waxwork(&["fit-prior", text(&run), "--components", "2"]).good();
    }
}

/// The flow is learned with the networks here. A graph has a copy of each layer for every latent dimension.
#[test]
fn a_flow_that_is_too_large_for_a_graph_is_refused_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings = ["--set", "model.latent_dim=60", "--set", "model.prior={maf={layers=9,hidden=4}}"];
    waxwork(&small_of("vae-digits", &run, &settings)).good();
    waxwork(&["export", text(&run), "--part", "prior"]).refused(&["at most 500"]);
    waxwork(&["export", text(&run)]).good();
}

#[test]
fn a_recipe_can_ask_for_a_fitted_prior() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (plain, mixed, later) = (path("plain"), path("mixed"), path("later"));
    let settings = ["--set", "model.latent_dim=2"];
    waxwork(&small_of("cvae-digits", &plain, &settings)).good();
    let prior = "model.prior={mixture={components=3}}";
    let asked = [&settings[..], &["--set", prior]].concat();
    waxwork(&small_of("cvae-digits", &mixed, &asked)).good();
    // Training is that with a standard normal prior, and the fit that of the command with the run's seed.
    assert_eq!(bytes(&plain.join("metrics.jsonl")), bytes(&mixed.join("metrics.jsonl")));
    let seed = ["--components", "3", "--seed", "3"];
    waxwork(&[&["fit-prior", text(&plain), "--out", text(&later)], &seed[..]].concat()).good();
    assert_eq!(bytes(&mixed.join("model.safetensors")), bytes(&later.join("model.safetensors")));
    let picture = "samples/step-000004.png";
    assert_eq!(bytes(&mixed.join(picture)), bytes(&later.join(picture)));
    assert_ne!(bytes(&mixed.join(picture)), bytes(&plain.join(picture)));

    // A fork starts with a standard normal prior again, and ends with a fit of its own.
    let (of_mixed, of_plain) = (path("of-mixed"), path("of-plain"));
    for (from, to) in [(&mixed, &of_mixed), (&plain, &of_plain)] {
        waxwork(&["train", "--fork", text(from), "--out", text(to), "--steps", "3", "--set", prior]).good();
    }
    for file in ["metrics.jsonl", "model.safetensors"] {
        assert_eq!(bytes(&of_mixed.join(file)), bytes(&of_plain.join(file)), "{file}");
    }

    unfinish(&mixed);
    resume(&mixed).good();
    assert_eq!(bytes(&mixed.join("model.safetensors")), bytes(&later.join("model.safetensors")));
}

#[test]
fn a_gan_and_a_model_of_columns_have_no_prior_to_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (gan, rows) = (folder.path().join("gan"), folder.path().join("rows"));
    waxwork(&small_of("gan-digits", &gan, &[])).good();
    waxwork(&["fit-prior", text(&gan)]).refused(&["gan models have no prior to fit"]);
    waxwork(&small_of("cvae-clinic", &rows, &[])).good();
    waxwork(&["fit-prior", text(&rows)]).refused(&["column-conditional cvae models have no prior to fit"]);
    let two = folder.path().join("two");
    let settings = ["--set", "model.latent_dim=4", "--set", "model.upper={latent_dim=3,hidden=[8]}"];
    waxwork(&small_of("vae-digits", &two, &settings)).good();
    waxwork(&["fit-prior", text(&two)]).refused(&["two-level vae models have no prior to fit"]);
    // The latents of such a model are those of both groups.
    waxwork(&["sample", text(&two), "-n", "4"]).good();
    waxwork(&["interpolate", text(&two), "--rows", "2"]).good();
    waxwork(&["encode", text(&two), "--out", text(&folder.path().join("codes.npy"))]).good();
    waxwork(&["evaluate", text(&two), "--samples", "0", "--importance-samples", "5", "-n", "20"]).good();
    for part in ["decoder", "encoder", "prior"] {
        waxwork(&["export", text(&two), "--part", part]).good();
    }
}
