//! `waxwork doctor`: what this machine and this build support.

use std::path::Path;

use serde::Serialize;
use waxwork_core::device;

use crate::environment::{TOOLCHAIN, machine, revision};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Report {
    version: &'static str,
    revision: Option<&'static str>,
    toolchain: &'static str,
    features: Vec<&'static str>,
    system: String,
    processor: String,
    cpu_class: &'static str,
    vector_instructions: Vec<&'static str>,
    processors: usize,
    threads: usize,
    /// The MPI library that a run under mpirun or srun would open.
    mpi: Option<String>,
    data_cache: String,
    free_space: Option<u64>,
}

pub(crate) fn run(json: bool, threads: usize) -> Result<String, Failure> {
    let features = [
        ("hub", cfg!(feature = "hub")),
        ("cuda", cfg!(feature = "cuda")),
        ("cudnn", cfg!(feature = "cudnn")),
        ("metal", cfg!(feature = "metal")),
    ];
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        revision: revision(),
        toolchain: TOOLCHAIN,
        features: features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect(),
        system: machine(),
        processor: processor().unwrap_or_else(|| "unknown".into()),
        cpu_class: device::cpu_class(),
        vector_instructions: vector_instructions(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        threads,
        mpi: waxwork_distributed::found()
            .ok()
            .map(|found| format!("{} ({}, {})", found.version, found.library, found.abi.name())),
        data_cache: waxwork_data::files::cache_dir()
            .map_or_else(|error| error.to_string(), |path| path.display().to_string()),
        free_space: fs4::available_space(Path::new(".")).ok(),
    };
    if json {
        return output::json(&report);
    }
    let or_none = |list: &[&str]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let rows = [
        ("version", format!("{} ({})", report.version, report.revision.unwrap_or("no git revision"))),
        ("toolchain", report.toolchain.to_owned()),
        ("features", or_none(&report.features)),
        ("system", report.system.clone()),
        ("processor", report.processor.clone()),
        ("class of processor", report.cpu_class.to_owned()),
        ("vector instructions", or_none(&report.vector_instructions)),
        ("processors this process may use", report.processors.to_string()),
        ("threads", report.threads.to_string()),
        ("MPI", report.mpi.clone().unwrap_or_else(|| "none found; set WAXWORK_MPI to name one".into())),
        ("data cache", report.data_cache.clone()),
        ("free space here", report.free_space.map_or_else(|| "unknown".into(), output::bytes)),
    ];
    Ok(output::table(&rows.map(|(name, value)| vec![name.to_owned(), value])))
}

/// The processor's name, if the system has a file with it.
fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The vector instruction sets of the processor by which kernels are selected.
fn vector_instructions() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let found = [("neon", true)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found: [(&str, bool); 0] = [];
    found.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}
