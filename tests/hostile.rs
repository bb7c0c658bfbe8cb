//! Files that were cut, flipped or forged: every reader prints one clear line.

use std::fs;
use std::path::Path;

use crate::util::{resume, small, waxwork};

/// Asserts that a command works or fails with one clear line: it does not panic, and nothing kills it.
#[track_caller]
fn stays_calm(what: &str, arguments: &[&str]) {
    let call = waxwork(arguments);
    if call.code == Some(0) {
        return;
    }
    assert!(matches!(call.code, Some(1 | 2)), "{what}: {:?}: {}", call.code, call.stderr);
    call.refused(&[]);
}

/// Copies that are truncated or have a flipped bit, at places all over the file.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let place = |part: usize| part * whole.len() / 7;
    let cut = (0..7).map(|part| whole[..place(part)].to_vec());
    let flip = |part: usize| {
        let mut bytes = whole.to_vec();
        bytes[place(part)] ^= 1 << (part % 8);
        bytes
    };
    cut.chain((0..7).map(flip)).collect()
}

#[test]
fn damaged_run_folders_give_one_clear_line_or_still_work() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    waxwork(&small(&run, &["--set", "model.network={kind=\"mlp\",hidden=[4]}"])).good();
    let (run, out) = (run.to_str().unwrap(), folder.path().join("out.npy"));
    let out = out.to_str().unwrap();
    waxwork(&["evaluate", run, "-n", "8", "--samples", "0"]).good();
    let sample = ["sample", run, "-n", "2", "--out", out];
    let compare = ["compare", run];
    let list = ["runs", "list", folder.path().to_str().unwrap()];
    for (name, readers) in [
        ("recipe.toml", &[&sample[..], &list]),
        ("run.json", &[&sample[..], &list]),
        ("model.safetensors", &[&sample[..], &compare]),
        ("timing.jsonl", &[&compare[..], &list]),
        ("metrics.json", &[&compare[..], &list]),
    ] {
        let path = Path::new(run).join(name);
        let whole = fs::read(&path).unwrap();
        for bytes in damaged(&whole) {
            fs::write(&path, bytes).unwrap();
            for reader in readers {
                stays_calm(name, reader);
            }
        }
        fs::write(&path, whole).unwrap();
    }
    // Forged instead of damaged: well-formed, but of absurd size.
    let info = Path::new(run).join("run.json");
    let whole = fs::read_to_string(&info).unwrap();
    for (from, to) in [
        ("\"height\": 28", "\"height\": 4611686018427387904"),
        ("\"channels\": 1", "\"channels\": 0"),
        ("\"latent_dim\": 10", "\"latent_dim\": 18446744073709551615"),
        ("\"classes\": 0", "\"classes\": 18446744073709551615"),
    ] {
        assert!(whole.contains(from), "{from} is not in {whole}");
        fs::write(&info, whole.replace(from, to)).unwrap();
        stays_calm(to, &sample);
    }
    fs::write(&info, whole).unwrap();
    waxwork(&sample).good();
    waxwork(&compare).good();
}

/// A run folder from somebody else may contain anything.
#[cfg(unix)]
#[test]
fn links_and_devices_in_a_run_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (run, outside) = (folder.path().join("run"), folder.path().join("outside"));
    waxwork(&small(&run, &["--max-time", "0"])).good();
    fs::create_dir(&outside).unwrap();
    let precious = outside.join("precious.tmp");
    fs::write(&precious, "precious").unwrap();
    let replaced = |name: &str, target: &Path, call: &dyn Fn()| {
        let (path, aside) = (run.join(name), folder.path().join("aside"));
        let there = fs::rename(&path, &aside).is_ok();
        symlink(target, &path).unwrap();
        call();
        fs::remove_file(&path).unwrap();
        if there {
            fs::rename(&aside, &path).unwrap();
        }
    };
    for name in ["run.lock", "metrics.jsonl", "timing.jsonl", "samples", "checkpoints"] {
        for target in [precious.as_path(), &outside, Path::new("/dev/zero")] {
            replaced(name, target, &|| resume(&run).refused(&[name, "link"]));
        }
    }
    let zeros = Path::new("/dev/zero");
    replaced("run.json", zeros, &|| resume(&run).refused(&["run.json", "device"]));
    replaced("recipe.toml", zeros, &|| resume(&run).refused(&["recipe.toml"]));
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    resume(&run).good();
    replaced("model.safetensors", zeros, &|| {
        waxwork(&["sample", run.to_str().unwrap()]).refused(&["model.safetensors", "device"]);
    });
}

#[test]
fn recipes_of_absurd_size_are_refused_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for (recipe, setting) in [
        ("vae-digits", "model.latent_dim=9000000000000000000"),
        ("vae-digits", "model.latent_dim=1000000000000"),
        ("vae-digits", "model.network={kind=\"mlp\",hidden=[16000000,16000000]}"),
        ("gan-digits", "model.latent_dim=4000000000"),
        ("gan-digits", "model.generator={kind=\"mlp\",hidden=[4000000000]}"),
        ("gan-digits", "model.generator={kind=\"tower\",width=8,blocks=9000000000000000000}"),
        ("gan-digits", "model.generator={kind=\"tower\",width=8,detail=9000000000000000000}"),
        ("gan-digits", "model.discriminator={kind=\"tower\",width=8,blocks=4000000000}"),
        ("vae-digits", "model.network={kind=\"tower\",width=8,blocks=4000000000,hidden=8}"),
        ("cgan-digits", "model.discriminator={kind=\"dcgan\",channels=[10000000,10000000]}"),
        ("gan-digits", "model.generator={kind=\"residual\",channels=8,blocks=9000000000000000000}"),
        ("vae-digits", "train.batch_size=9000000000000000000"),
        ("vae-digits", "data.limit=0"),
        ("vae-digits", "data.validation=9000000000000000000"),
    ] {
        let out = run.to_str().unwrap();
        waxwork(&["train", recipe, "-q", "--steps", "1", "--set", setting, "--out", out])
            .refused(&["invalid"]);
        assert!(!run.exists(), "{setting}");
    }
    // The sizes overflow 64 bits, and must count as more than the disk has.
    let (steps, keep) = ("9000000000000000000", "train.keep=9000000000000000000");
    let out = run.to_str().unwrap();
    waxwork(&["train", "vae-digits", "-q", "--steps", steps, "--set", keep, "--out", out]).refused(&["MiB"]);
    assert!(!run.exists());
}
