//! `cargo xtask cuda-check`: checks that everything compiles for CUDA, on a machine that may have neither GPU
//! nor toolkit.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::stand_in;
use crate::workspace::Workspace;

pub(crate) const HELP: &str = "\
Check that everything compiles for CUDA; needs no GPU

Usage: cargo xtask cuda-check [--features cuda|cudnn] [--build [--toolkit DIR] [--python PYTHON]]

Without --build, the command type-checks all packages. This needs no CUDA toolkit: a stand-in
replaces nvcc and compiles nothing. With --build, the command builds the optimised program and
checks the libraries that it is linked against. It uses the toolkit from --toolkit, from CUDA_HOME,
or of the nvcc on PATH. Otherwise it installs NVIDIA's packages from PyPI into target/cuda-toolkit
(2 GB, 2.8 GB with cuDNN).

Options:
  --features LIST   cuda or cudnn, which includes cuda [default: cudnn; with --build: cuda]
  --build           Build the program for the GPUs of CUDA_COMPUTE_CAP [default: 90]
  --toolkit DIR     CUDA toolkit, with DIR/bin/nvcc, DIR/include and DIR/lib
  --python PYTHON   Python with pip, to install the packages [default: python3]

Examples:
  cargo xtask cuda-check
  CUDA_COMPUTE_CAP=80 cargo xtask cuda-check --build --features cudnn";

/// The parts of the toolkit as Python packages. The versions are pinned, because an older driver rejects the
/// code of a newer compiler.
const PACKAGES: [&str; 8] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cublas==13.0.2.14",
    "nvidia-curand==10.4.0.35",
];
const CUDNN: &str = "nvidia-cudnn-cu13==9.21.1.3";

/// The driver's library, which comes with the GPU's driver and not with the toolkit.
const DRIVER: &str = "libcuda.so.1";

/// Compute capability 9.0 (H100 and H200), unless the environment sets another.
const COMPUTE_CAP: &str = "90";

struct Options {
    build: bool,
    cudnn: Option<bool>,
    toolkit: Option<PathBuf>,
    python: OsString,
}

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let options = parse(args)?;
    let workspace = Workspace::load()?;
    let started = Instant::now();
    if options.build {
        build(&workspace, &options)?;
    } else {
        type_check(&workspace, &options)?;
    }
    eprintln!("== {:.0} s", started.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options { build: false, cudnn: None, toolkit: None, python: "python3".into() };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--build" => options.build = true,
            "--features" => match value()?.as_str() {
                "cuda" => options.cudnn = Some(false),
                "cudnn" => options.cudnn = Some(true),
                other => bail!("unknown feature `{other}`; `--features` takes cuda or cudnn"),
            },
            "--toolkit" => options.toolkit = Some(PathBuf::from(value()?)),
            "--python" => options.python = value()?.into(),
            other => bail!("unknown argument `{other}`; `cargo xtask cuda-check --help` lists the options"),
        }
    }
    if options.toolkit.is_some() && !options.build {
        bail!("`--toolkit` needs `--build`; a type check uses no toolkit");
    }
    Ok(options)
}

fn feature(cudnn: bool) -> &'static str {
    if cudnn { "cudnn" } else { "cuda" }
}

fn type_check(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target.join("cuda-check");
    let bin = folder.join("stand-in");
    stand_in::install(&bin, "nvcc")?;
    let mut cargo = stand_in::check(workspace, feature(options.cudnn.unwrap_or(true)), &folder);
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        cargo.env_remove(name);
    }
    cargo.env("PATH", with_path(&bin)?).env("CUDA_COMPUTE_CAP", COMPUTE_CAP);
    process::run(&mut cargo)?;
    eprintln!(
        "type-checked with a stand-in for nvcc; to also compile candle's kernels and link, use `--build`"
    );
    Ok(())
}

fn build(workspace: &Workspace, options: &Options) -> Result<()> {
    let cudnn = options.cudnn.unwrap_or(false);
    let found = options.toolkit.clone().or_else(toolkit_of_the_machine);
    let toolkit = match found {
        Some(toolkit) if toolkit.join("bin/nvcc").is_file() => toolkit,
        Some(toolkit) => bail!("`{}` is not a CUDA toolkit: it has no bin/nvcc", toolkit.display()),
        None => from_pypi(&workspace.target.join("cuda-toolkit"), &options.python, cudnn)?,
    };
    let folder = workspace.target.join("cuda-build");
    let mut cargo = process::cargo(&workspace.root);
    cargo.args(["build", "--release", "--package", "waxwork-cli", "--no-default-features"]);
    cargo.args(["--features", feature(cudnn), "--target-dir"]).arg(&folder);
    cargo.env("CUDA_HOME", &toolkit).env_remove("NVCC").env("PATH", with_path(&toolkit.join("bin"))?);
    if env::var_os("CUDA_COMPUTE_CAP").is_none() {
        cargo.env("CUDA_COMPUTE_CAP", COMPUTE_CAP);
    }
    process::run(&mut cargo)?;
    let program = folder.join("release/waxwork");
    let libraries = libraries_of(&program)?;
    check_libraries(&libraries, &toolkit)?;
    check_start(&program, &toolkit)?;
    println!("{}", program.display());
    println!("linked against: {}", libraries.join(" "));
    Ok(())
}

/// The toolkit that `CUDA_HOME` or the nvcc on PATH points to.
fn toolkit_of_the_machine() -> Option<PathBuf> {
    if let Some(home) = env::var_os("CUDA_HOME") {
        return Some(home.into());
    }
    let path = env::var_os("PATH")?;
    let nvcc = env::split_paths(&path).map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file())?;
    Some(fs::canonicalize(nvcc).ok()?.parent()?.parent()?.to_owned())
}

fn with_path(first: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_owned()).chain(env::split_paths(&path));
    env::join_paths(folders).with_context(|| format!("failed to add `{}` to PATH", first.display()))
}

/// Assembles a toolkit folder from NVIDIA's packages.
fn from_pypi(folder: &Path, python: &OsString, cudnn: bool) -> Result<PathBuf> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "found no nvcc; install a CUDA toolkit (NVIDIA's Python packages work only on Linux on x86-64)"
        );
    }
    let root = folder.join("nvidia/cu13");
    let complete = folder.join(if cudnn { ".complete-cudnn" } else { ".complete" });
    if complete.is_file() {
        return Ok(root);
    }
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--upgrade", "--target"]);
    pip.arg(folder).args(PACKAGES).args(cudnn.then_some(CUDNN));
    process::run(&mut pip).context(
        "found no CUDA toolkit on this machine, and failed to install NVIDIA's packages from PyPI; \
         docs/accelerators.md says how to install a toolkit",
    )?;
    finish(folder, &root).with_context(|| format!("failed to set up the toolkit in {}", folder.display()))?;
    fs::write(&complete, "")?;
    Ok(root)
}

/// Adds what the packages lack: execute permissions, unversioned names, and a driver library to link with.
#[cfg(unix)]
fn finish(folder: &Path, root: &Path) -> Result<()> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let link = |to: &Path, from: &Path| match symlink(to, from) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    for bin in [root.join("bin"), root.join("nvvm/bin")] {
        for entry in fs::read_dir(&bin)? {
            let path = entry?.path();
            if path.is_file() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    let lib = root.join("lib");
    link(Path::new("lib"), &root.join("lib64"))?;
    let cudnn = folder.join("nvidia/cudnn");
    if cudnn.is_dir() {
        for (from, to) in [("lib", &lib), ("include", &root.join("include"))] {
            for entry in fs::read_dir(cudnn.join(from))? {
                let entry = entry?;
                link(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
    }
    for entry in fs::read_dir(&lib)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((plain, _)) = name.split_once(".so.") {
            link(Path::new(&name), &lib.join(format!("{plain}.so")))?;
        }
    }
    stub_of_driver(&fs::read_to_string(root.join("include/cuda.h"))?, &lib.join("stubs"))
}

#[cfg(not(unix))]
fn finish(_: &Path, _: &Path) -> Result<()> {
    bail!("NVIDIA's Python packages work only on Linux")
}

/// Builds a libcuda for the linker with every function of the header. Each function returns the error code
/// for "no device".
#[cfg(unix)]
fn stub_of_driver(header: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let source = folder.join("libcuda.c");
    let no_device = 100;
    let function = |name: &&str| format!("int {name}(void) {{ return {no_device}; }}\n");
    fs::write(&source, driver_functions(header).iter().map(function).collect::<String>())?;
    let library = folder.join(DRIVER);
    let mut cc = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-shared", "-fPIC", "-w", &format!("-Wl,-soname,{DRIVER}"), "-o"]).arg(&library).arg(&source);
    process::run(&mut cc).context("failed to run the C compiler; install one, or name it in CC")?;
    fs::copy(&library, folder.join("libcuda.so"))?;
    Ok(())
}

/// Every name in the driver's header that may be a function: `cu` followed by a capital.
fn driver_functions(header: &str) -> BTreeSet<&str> {
    let words = header.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.strip_prefix("cu").is_some_and(|rest| rest.starts_with(char::is_uppercase)))
        .collect()
}

/// The names of the libraries that a program is linked against.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let text = process::output(Command::new("readelf").arg("-d").arg(program))
        .context("failed to run `readelf`; install the package binutils")?;
    Ok(needed(&text))
}

fn needed(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

/// Checks that every library comes with the toolkit, the driver or the system.
fn check_libraries(libraries: &[String], toolkit: &Path) -> Result<()> {
    const SYSTEM: [&str; 6] = ["libc.so", "libm.so", "libgcc_s.so", "libstdc++.so", "libdl.so", "ld-linux"];
    let comes_with_toolkit = |name: &str| {
        ["lib", "lib64", "targets/x86_64-linux/lib"].iter().any(|lib| toolkit.join(lib).join(name).exists())
    };
    let known = |name: &&String| {
        name.as_str() == DRIVER
            || SYSTEM.iter().any(|system| name.starts_with(system))
            || comes_with_toolkit(name)
    };
    let unknown: Vec<&String> = libraries.iter().filter(|name| !known(name)).collect();
    if !unknown.is_empty() {
        bail!("the program is linked against {unknown:?}, which neither the toolkit nor the driver contains");
    }
    for expected in ["libcublas.so", DRIVER] {
        if !libraries.iter().any(|name| name.starts_with(expected)) {
            bail!("the program is not linked against {expected}: it was not built for CUDA");
        }
    }
    Ok(())
}

/// Starts the program with all symbols bound at once. A stub replaces the driver, so that `--device cuda`
/// must fail with an error of one line.
fn check_start(program: &Path, toolkit: &Path) -> Result<()> {
    let stubs = toolkit.join("lib/stubs");
    if !stubs.join(DRIVER).is_file() {
        eprintln!("skipped starting the program: this toolkit has no stub of {DRIVER}");
        return Ok(());
    }
    let start = |arguments: &[&str]| {
        let mut command = Command::new(program);
        let path = env::join_paths([toolkit.join("lib"), stubs.clone()])?;
        command.args(arguments).env("LD_LIBRARY_PATH", path).env("LD_BIND_NOW", "1");
        process::everything_printed(&mut command)
    };
    let said = start(&["doctor"])?;
    if !said.contains("cuda") {
        bail!("failed to start the program: {}", said.trim());
    }
    let said = start(&["train", "vae-digits", "--device", "cuda"])?;
    if !said.starts_with("error: ") || said.trim().lines().count() != 1 {
        bail!(
            "without a GPU, `--device cuda` must fail with an error of one line, but it printed: {}",
            said.trim()
        );
    }
    eprintln!("without a GPU, `--device cuda` prints: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = parse(&args("--build --features cudnn --toolkit /t --python p")).unwrap();
        assert!(options.build && options.cudnn == Some(true) && options.toolkit == Some("/t".into()));
        for wrong in ["--features metal", "--features", "--toolkit /t", "build"] {
            assert!(parse(&args(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn finds_all_versions_of_the_drivers_functions() {
        let header =
            "#define cuMemAlloc cuMemAlloc_v2\nCUresult CUDAAPI cuInit(unsigned int f); // cuda curious";
        assert_eq!(
            driver_functions(header).into_iter().collect::<Vec<_>>(),
            ["cuInit", "cuMemAlloc", "cuMemAlloc_v2"]
        );
    }

    #[test]
    fn rejects_libraries_of_unknown_origin() {
        let text = " 0x1 (NEEDED)  Shared library: [libcuda.so.1]\n 0x1 (NEEDED)  Shared library: [libcublas.so.13]\n 0x2 (RUNPATH) [x]\n";
        let libraries = needed(text);
        assert_eq!(libraries, ["libcuda.so.1", "libcublas.so.13"]);
        let folder = env::temp_dir().join(format!("xtask-cuda-{}", std::process::id()));
        fs::create_dir_all(folder.join("lib")).unwrap();
        assert!(check_libraries(&libraries, &folder).unwrap_err().to_string().contains("libcublas"));
        fs::write(folder.join("lib/libcublas.so.13"), "").unwrap();
        check_libraries(&libraries, &folder).unwrap();
        assert!(check_libraries(&["libc.so.6".into()], &folder).is_err(), "a program without CUDA");
        fs::remove_dir_all(folder).unwrap();
    }
}
