//! Disks that are full or cannot be written: one clear line, and nothing half-written.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::util::{small, waxwork};

/// A small file system of its own, if this process may mount one.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(folder: &'a Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: a test of full and read-only disks needs the right to mount a tmpfs");
        None
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_disk_without_room_is_refused_before_the_run_starts() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Tmpfs::mount(folder.path(), "size=4m") else { return };
    let run = folder.path().join("run");
    waxwork(&small(&run, &[])).refused(&["MiB", "free"]);
    assert!(!run.exists());
}

#[test]
fn a_disk_that_fills_up_ends_the_run_with_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let done = tempfile::tempdir().unwrap();
    let whole = done.path().join("run");
    waxwork(&small(&whole, &[])).good();
    let Some(_disk) = Tmpfs::mount(folder.path(), "size=2m") else { return };
    std::fs::write(folder.path().join("ballast"), vec![0; (2 << 20) - 40_000]).unwrap();
    let out = folder.path().join("images.npy");
    waxwork(&["sample", whole.to_str().unwrap(), "--out", out.to_str().unwrap()]).refused(&["images.npy"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written may stay");
}

#[test]
fn a_read_only_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = Tmpfs::mount(folder.path(), "ro") else { return };
    let run = folder.path().join("run");
    waxwork(&small(&run, &[])).refused(&["run"]);
}
