//! End-to-end tests of the binary `waxwork`: one test binary, with a module per command or topic.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should fail where it stands"
)]

mod browser;
mod choosing;
mod clips;
mod codes;
mod complete;
mod data;
mod doctor;
mod factors;
mod families;
mod faults;
mod faulty;
mod formats;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod kills;
mod machines;
mod parts;
mod points;
mod prior;
mod python;
mod recipes;
mod repeat;
mod report;
mod resume;
mod robustness;
mod row_files;
mod rows;
mod sample;
mod sampler;
#[cfg(feature = "hub")]
#[path = "../crates/data/src/hub/server.rs"]
mod server;
mod shell;
mod snapshots;
mod sound;
mod tables;
mod tensorboard;
mod text;
mod train;
mod tree;
mod util;
mod values;
