//! Invalid values, and labels of other programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use waxwork_core::{DType, Tensor, npy};

use super::*;
use crate::util::{metric, small_of, tensor};
use crate::values::{poison, save, save_booleans};

/// A small run in `folder`/run.
fn run(folder: &Path, recipe: &str) -> PathBuf {
    let run = folder.join("run");
    waxwork(&small_of(recipe, &run, &[])).good();
    run
}

/// `count` digits, as floats in [0, 1].
fn digits(folder: &Path, count: &str) -> Tensor {
    let out = text(&folder.join("digits.npy"));
    waxwork(&["data", "show", "digits", "-n", count, "--out", &out]).good();
    npy::load(&folder.join("digits.npy")).unwrap()
}

/// `encode` of an array in `folder`.
fn encode(folder: &Path, name: &str) -> Call {
    let [run, images, out] = ["run", name, "codes.npy"].map(|name| text(&folder.join(name)));
    waxwork(&["encode", &run, "--images", &images, "--out", &out])
}

fn codes(folder: &Path, name: &str) -> Vec<f32> {
    encode(folder, name).good();
    npy::load(&folder.join("codes.npy")).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// `evaluate` of samples in `folder` against digits.
fn judged(folder: &Path, name: &str) -> Call {
    waxwork(&["evaluate", "--samples", &text(&folder.join(name)), "--data", "digits", "--json"])
}

fn agreement(call: Call) -> f64 {
    let report = serde_json::from_str(&call.good().stdout).unwrap();
    metric(&report, "judge_agreement")["value"].as_f64().unwrap()
}

/// Writes labelled digits as a tensor file, with the labels in another form.
fn labelled(folder: &Path, name: &str, form: impl Fn(&Tensor) -> Tensor) {
    let source = folder.join("digits.safetensors");
    waxwork(&["data", "show", "digits", "-n", "200", "--out", &text(&source)]).good();
    let labels = form(&tensor(&source, "labels").to_dtype(DType::I64).unwrap());
    let tensors = [("images".to_owned(), tensor(&source, "images")), ("labels".to_owned(), labels)];
    store::save(&folder.join(name), &BTreeMap::from(tensors)).unwrap();
}

fn one_hot(labels: &Tensor, hot: f32, cold: f32) -> Tensor {
    let mut values = vec![cold; 2000];
    let labels = labels.to_vec1::<i64>().unwrap();
    labels.iter().enumerate().for_each(|(row, &label)| values[10 * row + label as usize] = hot);
    Tensor::from_vec(values, (200, 10), &Device::Cpu).unwrap()
}

#[test]
fn values() {
    let cases = [
        Case {
            case: "weights of a run, or of a file to import, that are NaN or infinite",
            gets: "refused by every command that reads them, with the tensor and the index; nothing is written",
            run: |folder| {
                let run = run(folder, "vae-digits");
                poison(&run, "decoder.output.bias", 3, f32::NAN);
                let (out, run) = (folder.join("out.npy"), text(&run));
                for command in ["sample", "encode", "export"] {
                    waxwork(&[command, &run, "--out", &text(&out)])
                        .refused(&["`decoder.output.bias` is NaN at [3]"]);
                    assert!(!out.exists());
                }
                let (file, other) = (format!("{run}/model.safetensors"), text(&folder.join("other")));
                waxwork(&["import", &file, "--recipe", "vae-digits", "--out", &other])
                    .refused(&["model.safetensors", "NaN at [3]"]);
            },
        },
        Case {
            case: "finite weights whose results are NaN or infinite",
            gets: "refused; nothing is written",
            run: |folder| {
                let run = run(folder, "vae-digits");
                poison(&run, "decoder.output.bias", 0, 3e38);
                poison(&run, "decoder.output.bias", 1, 3e38);
                waxwork(&["evaluate", &text(&run), "-n", "20", "--samples", "0"])
                    .refused(&["of image 0 is ", "is not defined"]);
                assert!(!run.join("metrics.json").exists());
            },
        },
        Case {
            case: "arrays of images: 8-bit values, booleans, floats in [0, 1] of any precision; channels first, last or none",
            gets: "the same images",
            run: |folder| {
                run(folder, "vae-digits");
                let unit = digits(folder, "6");
                let path = |name: &str| folder.join(name);
                let bytes = unit.affine(255.0, 0.0).unwrap().round().unwrap().to_dtype(DType::U8).unwrap();
                save(&path("bytes.npy"), &bytes);
                save(&path("last.npy"), &bytes.permute((0, 2, 3, 1)).unwrap());
                save(&path("none.npy"), &bytes.squeeze(1).unwrap());
                save(&path("doubles.npy"), &unit.to_dtype(DType::F64).unwrap());
                let expected = codes(folder, "digits.npy");
                for name in ["bytes.npy", "last.npy", "none.npy", "doubles.npy"] {
                    assert_eq!(codes(folder, name), expected, "{name}");
                }
                let binary = unit.ge(0.5).unwrap();
                let values = binary.flatten_all().unwrap().to_vec1::<u8>().unwrap();
                save(&path("binary.npy"), &binary.to_dtype(DType::F32).unwrap());
                save_booleans(&path("booleans.npy"), &[6, 1, 28, 28], &values);
                assert_eq!(codes(folder, "booleans.npy"), codes(folder, "binary.npy"));
            },
        },
        Case {
            case: "arrays from −1 to 1, floats or wider integers from 0 to 255, 8-bit values that are all 0 or 1, NaN",
            gets: "refused, with the range or the index, and what to do",
            run: |folder| {
                run(folder, "vae-digits");
                let unit = digits(folder, "6");
                let scaled = |factor, shift| unit.affine(factor, shift).unwrap();
                let mut values = unit.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values[784 + 28 + 2] = f32::NAN;
                let arrays = [
                    ("signed.npy", scaled(2.0, -1.0), ["from -1 to 1", "(x + 1) / 2"]),
                    ("floats.npy", scaled(255.0, 0.0), ["from 0 to 255", "uint8"]),
                    ("whole.npy", scaled(255.0, 0.0).to_dtype(DType::I64).unwrap(), ["I64", "uint8"]),
                    ("bits.npy", unit.ge(0.5).unwrap(), ["all 0 or 1", "booleans"]),
                    (
                        "nan.npy",
                        Tensor::from_vec(values, unit.dims(), &Device::Cpu).unwrap(),
                        ["NaN at [1, 0, 1, 2]", "finite"],
                    ),
                ];
                for (name, array, words) in arrays {
                    save(&folder.join(name), &array);
                    encode(folder, name).refused(&[name, words[0], words[1]]);
                    judged(folder, name).refused(&[name, words[0], words[1]]);
                }
            },
        },
        Case {
            case: "a value that jumps to a thousand times its last value, or above 10⁸, between two lines of metrics.jsonl",
            gets: "its step gets a line of its own, and a warning",
            run: |folder| {
                let run = folder.join("run");
                let narrow = "model.likelihood={kind=\"gaussian\",scale=1e-5}";
                let more = ["--set", narrow, "--set", "train.log_every=100"];
                let call = waxwork(&small_of("vae-digits", &run, &more)).good();
                assert!(call.stderr.contains("WARN spike at step 1: `"), "{}", call.stderr);
                let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
                assert!(metrics.starts_with("{\"step\":1,\"loss\""), "{metrics}");
            },
        },
    ];
    section("Values", &cases);
}

#[test]
fn labels() {
    let cases = [
        Case {
            case: "samples in directories of some of the classes",
            gets: "labels matched by class name",
            run: |folder| {
                let all = text(&folder.join("all"));
                waxwork(&["data", "show", "digits", "-n", "300", "--out", &all]).good();
                for class in ["3", "7"] {
                    fs::create_dir_all(folder.join("some")).unwrap();
                    fs::rename(folder.join("all").join(class), folder.join("some").join(class)).unwrap();
                }
                // The judge labels nearly all real digits correctly.
                assert!(agreement(judged(folder, "some")) > 0.95);
            },
        },
        Case {
            case: "a directory of samples whose name is not a class",
            gets: "refused, with the classes",
            run: |folder| {
                let all = text(&folder.join("all"));
                waxwork(&["data", "show", "digits", "-n", "20", "--out", &all]).good();
                fs::rename(folder.join("all/7"), folder.join("all/seven")).unwrap();
                judged(folder, "all").refused(&["all/seven", "no class `seven`", "0, 1, 2"]);
            },
        },
        Case {
            case: "labels as a column, or one-hot",
            gets: "accepted",
            run: |folder| {
                labelled(folder, "column.safetensors", |labels| labels.unsqueeze(1).unwrap());
                labelled(folder, "hot.safetensors", |labels| one_hot(labels, 1.0, 0.0));
                for name in ["column.safetensors", "hot.safetensors"] {
                    assert!(agreement(judged(folder, name)) > 0.95, "{name}");
                }
            },
        },
        Case {
            case: "labels outside the classes, fractional or soft labels, or more or fewer labels than images",
            gets: "refused, with the file and the label",
            run: |folder| {
                labelled(folder, "beyond.safetensors", |labels| (labels + 1.0).unwrap());
                labelled(folder, "negative.safetensors", |labels| (labels - 1.0).unwrap());
                labelled(folder, "half.safetensors", |labels| {
                    labels.to_dtype(DType::F32).unwrap().affine(1.0, 0.5).unwrap()
                });
                labelled(folder, "soft.safetensors", |labels| one_hot(labels, 0.55, 0.05));
                labelled(folder, "short.safetensors", |labels| labels.narrow(0, 0, 100).unwrap());
                for (name, words) in [
                    ("beyond.safetensors", "the label 10"),
                    ("negative.safetensors", "the label -1"),
                    ("half.safetensors", ".5"),
                    ("soft.safetensors", "one-hot"),
                    ("short.safetensors", "100 labels for 200 images"),
                ] {
                    judged(folder, name).refused(&[name, words]);
                }
            },
        },
        Case {
            case: "`--labels` with an unknown class",
            gets: "refused, with the nearest class",
            run: |folder| {
                let (run, out) = (text(&run(folder, "cgan-shapes")), text(&folder.join("x.png")));
                let sample =
                    |labels| waxwork(&["sample", &run, "-n", "2", "--labels", labels, "--out", &out]);
                sample("star,circle").good();
                sample("sqare").refused(&["no class `sqare`", "did you mean `square`"]);
                sample("10").refused(&["no class `10`", "0 to 9"]);
            },
        },
        Case {
            case: "samples of a conditional model, without `--labels`",
            gets: "all classes in turn; the labels are written with the images",
            run: |folder| {
                let (run, out) = (text(&run(folder, "cvae-digits")), folder.join("x.safetensors"));
                waxwork(&["sample", &run, "-n", "12", "--out", &text(&out)]).good();
                let labels = tensor(&out, "labels").to_vec1::<u32>().unwrap();
                assert_eq!(labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
            },
        },
        Case {
            case: "images without labels for a conditional model",
            gets: "refused, with the file that could contain the labels",
            run: |folder| {
                run(folder, "cvae-digits");
                save(&folder.join("x.npy"), &digits(folder, "4"));
                encode(folder, "x.npy").refused(&["x.npy", "no labels", "x.labels.npy"]);
            },
        },
        Case {
            case: "a folder without classes for a conditional recipe, even with fewer images than a batch",
            gets: "refused: it needs one directory per class",
            run: |folder| {
                let names: Vec<String> = (0..9).map(|number| format!("{number}.png")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                pictures(&folder.join("data"), &names);
                let [data, out] = ["data", "run"].map(|name| text(&folder.join(name)));
                for recipe in ["cvae-shapes", "cgan-shapes"] {
                    waxwork(&["train", recipe, "--data", "folder", "--data-dir", &data, "--out", &out])
                        .refused(&["one subdirectory per class"]);
                }
                waxwork(&["train", "vae-shapes", "--data", "folder", "--data-dir", &data, "--out", &out])
                    .refused(&["invalid `train.batch_size`: must be 1 to 8"]);
            },
        },
    ];
    section("Labels", &cases);
}
