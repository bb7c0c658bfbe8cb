//! Invalid values in weights, in arrays of other programs, and in labels. Each is refused with its name and
//! place, or read in the only way that makes sense.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use waxwork_core::{DType, Device, Tensor, npy, store};

use crate::util::{metric, run_json, small_of, tensor, text, waxwork};

fn trained(recipe: &str, settings: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    waxwork(&small_of(recipe, &run, &settings)).good();
    (folder, run)
}

/// Overwrites one value of one tensor of a finished run, and removes the hash of the weights.
pub(crate) fn poison(run: &Path, name: &str, place: usize, value: f32) {
    let model = run.join("model.safetensors");
    let mut tensors = store::load(&model, &Device::Cpu).unwrap();
    let tensor = &tensors[name];
    let mut values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values[place] = value;
    let poisoned = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
    tensors.insert(name.to_owned(), poisoned);
    store::save(&model, &tensors).unwrap();
    let info = std::fs::read_to_string(run.join("run.json")).unwrap();
    let mut info: serde_json::Value = serde_json::from_str(&info).unwrap();
    info["model_sha256"] = serde_json::Value::Null;
    std::fs::write(run.join("run.json"), info.to_string()).unwrap();
}

pub(crate) fn save(path: &Path, tensor: &Tensor) {
    tensor.contiguous().unwrap().write_npy(path).unwrap();
}

/// An array of booleans as NumPy writes it.
pub(crate) fn save_booleans(path: &Path, dims: &[usize], values: &[u8]) {
    let header = format!("{{'descr': '|b1', 'fortran_order': False, 'shape': {dims:?}, }}");
    let header = header.replace('[', "(").replace(']', ")");
    let length = (header.len() as u16).to_le_bytes();
    std::fs::write(path, [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values].concat()).unwrap();
}

#[test]
fn invalid_weights_are_named_by_every_command() {
    let normed = "model.network={kind=\"conv\",channels=[4,8],hidden=16,batch_norm=true}";
    let cases = [
        (
            "decoder.output.bias",
            3,
            f32::NAN,
            "`decoder.output.bias` is NaN at [3]: every value must be finite",
        ),
        ("encoder.mean.weight", 17, f32::INFINITY, "`encoder.mean.weight` is inf at [1, 1]"),
        (
            "encoder.down.1.norm.running_var",
            2,
            -0.5,
            "running_var` is -0.5 at [2]: a variance cannot be negative",
        ),
    ];
    for (name, place, value, said) in cases {
        let (folder, run) = trained("vae-digits", &[normed]);
        let path = |name: &str| text(&folder.path().join(name)).to_owned();
        npy::save(&folder.path().join("z.npy"), &Tensor::zeros((2, 10), DType::F32, &Device::Cpu).unwrap())
            .unwrap();
        poison(&run, name, place, value);
        let run = text(&run);
        let (out, z) = (path("out.npy"), path("z.npy"));
        for command in [
            &["sample", run, "-n", "2", "--out", &out][..],
            &["decode", run, &z, "--out", &out],
            &["encode", run, "--out", &out],
            &["reconstruct", run, "--out", &out],
            &["interpolate", run, "--out", &out],
            &["traverse", run, "--out", &out],
            &["export", run, "--out", &out],
            &["evaluate", run],
            &["compare", run],
            &["rate", run],
        ] {
            waxwork(command).refused(&["run", said]);
            assert!(!Path::new(&out).exists(), "{command:?}");
        }
        let (file, imported) = (format!("{run}/model.safetensors"), path("imported"));
        waxwork(&["import", &file, "--recipe", "vae-digits", "--set", normed, "--out", &imported])
            .refused(&["model.safetensors", said]);
        assert!(!Path::new(&imported).exists());
    }
}

#[test]
fn finite_weights_whose_results_overflow_are_refused() {
    let (folder, run) = trained("vae-digits", &[]);
    // One pixel with such a value is still finite, but the sum of two is not.
    poison(&run, "decoder.output.bias", 0, 3e38);
    poison(&run, "decoder.output.bias", 1, 3e38);
    waxwork(&["evaluate", text(&run), "-n", "20", "--samples", "0"])
        .refused(&["of image 0 is ", "the mean over all images is not defined"]);
    assert!(!run.join("metrics.json").exists());
    poison(&run, "encoder.mean.bias", 2, 3e38);
    poison(&run, "encoder.mean.weight", 2 * 64, 3e38);
    let out = folder.path().join("z.npy");
    let call = waxwork(&["encode", text(&run), "--out", text(&out)]);
    if call.code != Some(0) {
        call.refused(&["`latents` is"]);
        assert!(!out.exists());
    }
}

#[test]
fn arrays_to_encode_are_unambiguous_or_refused() {
    let (folder, run) = trained("vae-digits", &[]);
    let path = |name: &str| folder.path().join(name);
    waxwork(&["data", "show", "digits", "-n", "6", "--out", text(&path("unit.npy"))]).good();
    let unit = npy::load(&path("unit.npy")).unwrap();
    let scaled = |factor: f64, shift: f64| unit.affine(factor, shift).unwrap();
    let codes = |name: &str| -> Vec<f32> {
        let out = path("codes.npy");
        waxwork(&["encode", text(&run), "--images", text(&path(name)), "--out", text(&out)]).good();
        npy::load(&out).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let expected = codes("unit.npy");
    let bytes = scaled(255.0, 0.0).round().unwrap().to_dtype(DType::U8).unwrap();
    save(&path("bytes.npy"), &bytes);
    save(&path("last.npy"), &bytes.permute((0, 2, 3, 1)).unwrap());
    save(&path("grey.npy"), &bytes.squeeze(1).unwrap());
    save(&path("doubles.npy"), &unit.to_dtype(DType::F64).unwrap());
    store::save(&path("tensors.safetensors"), &BTreeMap::from([("images".to_owned(), bytes)])).unwrap();
    waxwork(&["data", "show", "digits", "-n", "6", "--out", text(&path("classes"))]).good();
    for name in ["bytes.npy", "last.npy", "grey.npy", "doubles.npy", "tensors.safetensors"] {
        assert_eq!(codes(name), expected, "{name}");
    }
    // A folder is read class by class; the codes are the same.
    let sorted = |codes: &[f32]| {
        let mut rows: Vec<Vec<u32>> =
            codes.chunks(10).map(|row| row.iter().map(|x| x.to_bits()).collect()).collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted(&codes("classes")), sorted(&expected));

    let binary = unit.ge(0.5).unwrap();
    save(&path("binary.npy"), &binary.to_dtype(DType::F32).unwrap());
    save_booleans(
        &path("booleans.npy"),
        &[6, 1, 28, 28],
        &binary.flatten_all().unwrap().to_vec1::<u8>().unwrap(),
    );
    assert_eq!(codes("booleans.npy"), codes("binary.npy"));

    save(&path("zero-one.npy"), &binary);
    save(&path("signed.npy"), &scaled(2.0, -1.0));
    save(&path("scaled.npy"), &scaled(255.0, 0.0));
    save(&path("whole.npy"), &scaled(255.0, 0.0).to_dtype(DType::I64).unwrap());
    let mut values = unit.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values[784 + 28 + 2] = f32::NAN;
    save(&path("nan.npy"), &Tensor::from_vec(values, unit.dims(), &Device::Cpu).unwrap());
    for (name, words) in [
        ("zero-one.npy", &["all 0 or 1", "booleans"][..]),
        ("signed.npy", &["from -1 to 1", "(x + 1) / 2"]),
        ("scaled.npy", &["from 0 to 255", "uint8"]),
        ("whole.npy", &["I64", "uint8"]),
        ("nan.npy", &["NaN at [1, 0, 1, 2]"]),
    ] {
        for command in ["encode", "reconstruct"] {
            let out = path("no.npy");
            waxwork(&[command, text(&run), "--images", text(&path(name)), "--out", text(&out)])
                .refused(&[&[name], words].concat());
            assert!(!out.exists());
        }
        waxwork(&["evaluate", "--samples", text(&path(name)), "--data", "digits"])
            .refused(&[&[name], words].concat());
    }
    let infinite =
        Tensor::new(&[[0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, f32::INFINITY]], &Device::Cpu).unwrap();
    save(&path("infinite.npy"), &infinite);
    waxwork(&["decode", text(&run), text(&path("infinite.npy")), "--out", text(&path("no.npy"))])
        .refused(&["infinite.npy", "`latents` is inf at [0, 9]"]);
}

#[test]
fn a_conditional_model_refuses_images_without_labels() {
    let (folder, run) = trained("cvae-digits", &[]);
    let path = |name: &str| folder.path().join(name);
    waxwork(&["data", "show", "digits", "-n", "4", "--out", text(&path("x.npy"))]).good();
    waxwork(&["data", "show", "digits", "-n", "4", "--out", text(&path("x.safetensors"))]).good();
    let encode = |name: &str| {
        waxwork(&["encode", text(&run), "--images", text(&path(name)), "--out", text(&path("z.npy"))])
    };
    encode("x.npy").good();
    let one = npy::load(&path("z.npy")).unwrap().to_vec2::<f32>().unwrap();
    encode("x.safetensors").good();
    assert_eq!(npy::load(&path("z.npy")).unwrap().to_vec2::<f32>().unwrap(), one);
    npy::save_labels(&path("x.labels.npy"), &[1, 1, 1, 1]).unwrap();
    encode("x.npy").good();
    assert_ne!(npy::load(&path("z.npy")).unwrap().to_vec2::<f32>().unwrap(), one);
    std::fs::remove_file(path("x.labels.npy")).unwrap();
    encode("x.npy").refused(&["x.npy", "no labels", "x.labels.npy"]);
}

/// The metrics of samples from another program.
fn measured(samples: &Path, data: &str) -> serde_json::Value {
    let call = waxwork(&["evaluate", "--samples", text(samples), "--data", data, "--json"]).good();
    serde_json::from_str(&call.stdout).unwrap()
}

#[test]
fn folders_of_samples_are_matched_to_classes_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("all");
    waxwork(&["data", "show", "digits", "-n", "300", "--out", text(&all)]).good();
    assert_eq!(std::fs::read_dir(&all).unwrap().count(), 10);
    let some = folder.path().join("some");
    std::fs::create_dir(&some).unwrap();
    for class in ["3", "7"] {
        std::fs::rename(all.join(class), some.join(class)).unwrap();
    }
    let value = |report: &serde_json::Value, name: &str| metric(report, name)["value"].as_f64().unwrap();
    // The judge labels nearly all real digits correctly, whichever of their folders exist.
    for samples in [&some, &all] {
        let agreement = value(&measured(samples, "digits"), "judge_agreement");
        assert!(agreement > 0.95, "{samples:?}: {agreement}");
    }
    std::fs::rename(some.join("7"), some.join("seven")).unwrap();
    waxwork(&["evaluate", "--samples", text(&some), "--data", "digits"]).refused(&[
        "some/seven",
        "no class `seven`",
        "0, 1, 2",
    ]);
}

#[test]
fn labels_of_other_programs_are_understood_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    waxwork(&["data", "show", "digits", "-n", "200", "--out", text(&path("x.safetensors"))]).good();
    let (images, labels) =
        (tensor(&path("x.safetensors"), "images"), tensor(&path("x.safetensors"), "labels"));
    let expected = measured(&path("x.safetensors"), "digits")["metrics"].clone();
    let numbers = labels.to_vec1::<u32>().unwrap();
    let mut hot = vec![0f32; 2000];
    numbers.iter().enumerate().for_each(|(row, &label)| hot[10 * row + label as usize] = 1.0);
    let hot = Tensor::from_vec(hot, (200, 10), &Device::Cpu).unwrap();
    let with = |name: &str, images: &Tensor, labels: Tensor| {
        let tensors = [("images".to_owned(), images.clone()), ("labels".to_owned(), labels)];
        store::save(&path(name), &BTreeMap::from(tensors)).unwrap();
    };
    let whole = labels.to_dtype(DType::I64).unwrap();
    for (name, labels) in
        [("column.safetensors", whole.unsqueeze(1).unwrap()), ("hot.safetensors", hot.clone())]
    {
        with(name, &images, labels);
        assert_eq!(measured(&path(name), "digits")["metrics"], expected, "{name}");
    }
    for (name, labels, words) in [
        ("beyond.safetensors", (&whole + 1.0).unwrap(), "the label 10"),
        ("negative.safetensors", (&whole - 1.0).unwrap(), "the label -1"),
        ("half.safetensors", labels.to_dtype(DType::F32).unwrap().affine(1.0, 0.5).unwrap(), ".5"),
        ("soft.safetensors", hot.affine(0.5, 0.05).unwrap(), "one-hot"),
        ("short.safetensors", whole.narrow(0, 0, 100).unwrap(), "100 labels for 200 images"),
    ] {
        with(name, &images, labels);
        waxwork(&["evaluate", "--samples", text(&path(name)), "--data", "digits"]).refused(&[name, words]);
    }
    // Black-and-white images give the same metrics as booleans and as floats.
    let binary = images.ge(0.5).unwrap();
    save(&path("floats.npy"), &binary.to_dtype(DType::F32).unwrap());
    save_booleans(
        &path("booleans.npy"),
        &[200, 1, 28, 28],
        &binary.flatten_all().unwrap().to_vec1::<u8>().unwrap(),
    );
    let (floats, booleans) =
        (measured(&path("floats.npy"), "digits"), measured(&path("booleans.npy"), "digits"));
    assert_eq!(floats["metrics"], booleans["metrics"]);
    assert!(metric(&floats, "judge_frechet")["value"].as_f64().unwrap() > 0.0);
}

#[test]
fn classes_have_names_in_run_card_and_commands() {
    let (folder, run) = trained("cgan-shapes", &["model.generator={kind=\"dcgan\",channels=[8,8,8]}"]);
    let path = |name: &str| folder.path().join(name);
    let info = run_json(&run);
    assert_eq!((&info["data_classes"][0], &info["data_classes"][1]), (&"circle".into(), &"square".into()));
    let card = std::fs::read_to_string(run.join("README.md")).unwrap();
    assert!(card.contains(
        "| classes | 10: circle, square, triangle, star, cross, ring, heart, crescent, hexagon, arrow |"
    ));
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("hexagon"));
    let sample = |labels: &str, out: &str| {
        waxwork(&["sample", text(&run), "-n", "4", "--labels", labels, "--out", text(&path(out))])
    };
    let said = sample("star,circle", "named.safetensors").good().stdout;
    assert!(said.ends_with(", of the classes star, circle in turn\n"), "{said}");
    sample("3,0", "numbered.safetensors").good();
    let images = |name: &str| tensor(&path(name), "images").flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(images("named.safetensors"), images("numbered.safetensors"));
    assert_eq!(tensor(&path("named.safetensors"), "labels").to_vec1::<u32>().unwrap(), [3, 0, 3, 0]);
    sample("Star,ring", "folder").good();
    for class in ["star", "ring"] {
        assert_eq!(std::fs::read_dir(path("folder").join(class)).unwrap().count(), 2, "{class}");
    }
    sample("star", "folder").refused(&["folder", "not empty"]);
    sample("sqare", "x.png").refused(&["no class `sqare`", "did you mean `square`", "circle, square"]);
    sample("10", "x.png").refused(&["no class `10`", "0 to 9"]);
    waxwork(&["traverse", text(&run), "--label", "heart", "--out", text(&path("t.png"))]).good();
    waxwork(&["interpolate", text(&run), "--labels", "heart,arrow", "--out", text(&path("i.png"))]).good();

    // A run of an older version knows classes only by number.
    let mut older = info;
    older.as_object_mut().unwrap().remove("data_classes");
    std::fs::write(run.join("run.json"), older.to_string()).unwrap();
    sample("3,0", "older.safetensors").good();
    assert_eq!(images("older.safetensors"), images("named.safetensors"));
    sample("star", "x.png").refused(&["no class `star`", "0, 1, 2"]);
}

#[test]
fn images_of_a_conditional_model_are_always_written_with_labels() {
    let (folder, run) = trained("cgan-digits", &[]);
    let path = |name: &str| folder.path().join(name);
    let expected: Vec<u32> = (0..12).map(|number| number % 10).collect();
    let sample = |out: &str| {
        waxwork(&["sample", text(&run), "-n", "12", "--out", text(&path(out))]).good();
    };
    sample("x.safetensors");
    assert_eq!(tensor(&path("x.safetensors"), "labels").to_vec1::<u32>().unwrap(), expected);
    sample("x.npy");
    assert_eq!(npy::load(&path("x.labels.npy")).unwrap().to_vec1::<u32>().unwrap(), expected);
    sample("folder");
    for (class, count) in [("0", 2), ("1", 2), ("2", 1), ("9", 1)] {
        assert_eq!(std::fs::read_dir(path("folder").join(class)).unwrap().count(), count, "{class}");
    }
    let latents = Tensor::zeros((3, 64), DType::F32, &Device::Cpu).unwrap();
    let info = run_json(&run);
    let length = info["model"]["latent_dim"].as_u64().unwrap() as usize;
    save(&path("z.npy"), &latents.narrow(1, 0, 1).unwrap().repeat((1, length)).unwrap());
    let out = path("decoded.safetensors");
    waxwork(&["decode", text(&run), text(&path("z.npy")), "--labels", "7,1", "--out", text(&out)]).good();
    assert_eq!(tensor(&out, "labels").to_vec1::<u32>().unwrap(), [7, 1, 7]);
    // If an unconditional model overwrites the file, it has no labels.
    let (_plain, plain) = trained("gan-digits", &[]);
    waxwork(&["sample", text(&plain), "-n", "12", "--out", text(&path("x.npy"))]).good();
    assert!(!path("x.labels.npy").exists());
}

/// Writes the tensors of a run's result under other names, without those for which `rename` returns None,
/// to a file to import.
fn renamed(run: &Path, file: &Path, rename: impl Fn(&str) -> Option<String>) {
    let tensors = store::load(&run.join("model.safetensors"), &Device::Cpu).unwrap();
    let state = tensors.into_iter().filter_map(|(name, tensor)| Some((rename(&name)?, tensor)));
    store::save(file, &state.collect()).unwrap();
}

#[test]
fn wrapped_models_and_halves_of_models_can_be_imported() {
    let (folder, run) = trained("gan-digits", &[]);
    let path = |name: &str| folder.path().join(name);
    let images = |run: &Path| {
        let out = path("images.safetensors");
        waxwork(&["sample", text(run), "-n", "3", "--out", text(&out)]).good();
        tensor(&out, "images").flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let import = |recipe: &str, out: &str| {
        waxwork(&["import", text(&path("state.safetensors")), "--recipe", recipe, "--out", text(&path(out))])
    };
    let generator = |name: &str| Some(name.strip_prefix("generator.")?.to_owned());
    renamed(&run, &path("state.safetensors"), |name| Some(format!("_orig_mod.module.{}", generator(name)?)));
    let said = import("gan-digits", "alone").good().stdout;
    assert!(
        said.contains(
            "names: `_orig_mod.module.` is removed from the start of all names, `generator.` is added"
        ),
        "{said}"
    );
    assert!(said.contains("the discriminator is not in the file"), "{said}");
    assert_eq!(images(&path("alone")), images(&run));
    let info = run_json(&path("alone"));
    assert_eq!(info["untrained"], serde_json::json!(["discriminator"]));
    assert!(
        info["recipe"].as_str().unwrap().contains("family = \"gan\"")
            && info["recipe"].as_str().is_some_and(|text| !text.contains("[results]"))
    );
    let card = std::fs::read_to_string(path("alone/README.md")).unwrap();
    assert!(card.contains("| discriminator | not imported: random values |"), "{card}");
    waxwork(&["evaluate", text(&path("alone")), "--samples", "50"]).good();

    let (_other, vae) = trained("vae-digits", &[]);
    renamed(&vae, &path("state.safetensors"), |name| name.starts_with("decoder.").then(|| name.to_owned()));
    import("vae-digits", "decoder").good();
    assert_eq!(images(&path("decoder")), images(&vae));
    let run = path("decoder");
    let run = text(&run);
    for command in
        [&["encode", run, "--out", "z.npy"][..], &["reconstruct", run], &["export", run, "--part", "encoder"]]
    {
        waxwork(command).refused(&["imported without its encoder"]);
    }
    // Only samples are measured, because the likelihood would be that of random values.
    let report = waxwork(&["evaluate", run, "--samples", "50", "--json"]).good().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(metric(&report, "neg_elbo").is_null() && metric(&report, "judge_frechet")["value"].is_number());
    waxwork(&["evaluate", run, "--samples", "0"]).refused(&["nothing to measure"]);
    // A tensor is missing in the half that the file has.
    renamed(&vae, &path("state.safetensors"), |name| {
        (name.starts_with("decoder.") && name != "decoder.output.bias").then(|| format!("module.{name}"))
    });
    import("vae-digits", "wrong").refused(&[
        "state.safetensors",
        "missing: `decoder.output.bias`",
        "where `module.`",
    ]);
}

#[test]
fn a_changed_recipe_drops_the_claims_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let recipe = |run: &str| std::fs::read_to_string(path(run).join("recipe.toml")).unwrap();
    let shapes =
        ["train", "vae-shapes", "--steps", "2", "--set", "data.limit=100", "--set", "train.batch_size=10"];
    let call = waxwork(&[&shapes[..], &["--out", text(&path("short"))]].concat()).good();
    assert!(
        call.stderr.contains(
            "`model.kl_warmup_steps` is 1000, but the run has only 2 steps: the KL term never has its full weight"
        ),
        "{}",
        call.stderr
    );
    let short = recipe("short");
    assert!(!short.contains("[results]") && short.contains("(changed: "), "{short}");
    assert!(short.contains("train.steps = 2"), "{short}");
    let card = std::fs::read_to_string(path("short/README.md")).unwrap();
    assert!(card.contains("train.steps = 2"), "{card}");

    waxwork(&["data", "show", "shapes", "-n", "60", "--out", text(&path("cats"))]).good();
    let of = ["--data", "folder", "--set", "data.folder.size=32", "-q", "--out"];
    let cats = text(&path("cats")).to_owned();
    waxwork(
        &[
            &shapes[..2],
            &["--steps", "1", "--set", "train.batch_size=10", "--data-dir", &cats],
            &of,
            &[text(&path("cat-run"))],
        ]
        .concat(),
    )
    .good();
    let cats = recipe("cat-run");
    assert!(!cats.contains("embedded coloured shapes"), "{cats}");
    assert!(cats.contains("VAE on `folder`, from the recipe `vae-shapes` (changed: data.folder.size = 32, data.name = \"folder\""), "{cats}");
    // A resumed run is the same run, and makes the same claims.
    waxwork(&["train", "--resume", text(&path("short")), "-q"]).good();
    assert_eq!(recipe("short"), short);
}
