//! The same bytes on another machine: QEMU's user-mode emulation of a processor with AVX2 but nothing newer,
//! and with other caches. Skipped if `qemu-x86_64` (Debian's `qemu-user`) is not installed.

use std::process::Command;

use crate::util::{command, deterministic_files, finished, small_of};

/// Emulation is about ten times slower than the processor.
const TINY: [&str; 4] = ["--set", "train.batch_size=4", "--set", "data.limit=16"];

#[test]
fn a_machine_with_only_avx2_gives_the_same_bytes() {
    let emulator = Command::new("qemu-x86_64").arg("--version").output();
    if !cfg!(target_arch = "x86_64") || emulator.is_err() {
        println!("skipped: there is no qemu-x86_64 here, or this is no x86-64 machine");
        return;
    }
    // The prior is fitted when training ends.
    let mixture = ["--set", "model.prior={mixture={components=2}}", "--set", "model.latent_dim=3"];
    for (recipe, more) in [("vae-digits", &mixture[..]), ("cgan-digits", &[])] {
        let settings = [&TINY[..], more].concat();
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let train = command(&small_of(recipe, &here, &settings));
        finished(&{ train }.output().unwrap()).good();

        let train = command(&small_of(recipe, &there, &settings));
        let mut emulated = Command::new("qemu-x86_64");
        emulated.args(["-cpu", "Haswell"]).arg(train.get_program()).args(train.get_args());
        for (name, value) in train.get_envs() {
            match value {
                Some(value) => emulated.env(name, value),
                None => emulated.env_remove(name),
            };
        }
        finished(&emulated.output().unwrap()).good();
        assert_eq!(deterministic_files(&here), deterministic_files(&there), "{recipe}");
    }
}
