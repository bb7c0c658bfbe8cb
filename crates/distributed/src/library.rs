//! The MPI library of the machine, opened at run time: the few functions that are needed, and its three
//! possible ABIs.
//!
//! An MPI library fixes the type of its handles when it is compiled. Three such layouts (ABIs) cover
//! everything in use: the standard one of MPI 5.0, that of Open MPI 4 and 5, and that of MPICH, which Intel
//! MPI, MVAPICH and Cray share. All values here come from the libraries' own headers, `mpi_abi.h` and
//! `mpi.h`.
//!
//! Processes only exchange bytes in pairs. A process waits by polling, so that it can leave its processor to
//! others.

use std::ffi::{c_char, c_int, c_void};
#[cfg(unix)]
use std::io::{stderr, stdout};
use std::path::Path;
#[cfg(unix)]
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use libloading::os::unix::{Library as Opened, RTLD_GLOBAL, RTLD_NOW};
#[cfg(unix)]
use rustix::io::ioctl_fionread;

use crate::{Error, Result};

/// Layout of an MPI library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// The standard ABI, since MPI 5.0.
    Standard,
    /// The ABI of Open MPI 4 and 5.
    OpenMpi,
    /// The ABI of MPICH and its descendants.
    Mpich,
}

impl Abi {
    /// Guesses a library's layout from its file name.
    fn of(name: &str) -> Self {
        let file = name.rsplit('/').next().unwrap_or(name);
        if file.contains("mpi_abi") {
            Self::Standard
        } else if file.contains("mpich") || file.contains(".so.12") {
            Self::Mpich
        } else {
            Self::OpenMpi
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "MPI 5 standard ABI",
            Self::OpenMpi => "Open MPI ABI",
            Self::Mpich => "MPICH ABI",
        }
    }
}

const STANDARD: [&str; 2] = ["libmpi_abi.so.1", "libmpi_abi.1.dylib"];
const OPEN_MPI: [&str; 2] = ["libmpi.so.40", "libmpi.40.dylib"];
const MPICH: [&str; 3] = ["libmpi.so.12", "libmpich.so.12", "libmpi.12.dylib"];

/// The libraries to try, in order. If `WAXWORK_MPI` is set, only that one. Otherwise those installed with the
/// launcher, whose program is `launcher`, then those that the system finds by name. Open MPI's come first if
/// Open MPI started this process, otherwise last.
pub(crate) fn candidates(asked: Option<&str>, launcher: Option<&Path>, by_open_mpi: bool) -> Vec<String> {
    if let Some(asked) = asked {
        return vec![asked.to_owned()];
    }
    let order: [&[&str]; 3] =
        if by_open_mpi { [&OPEN_MPI, &STANDARD, &[]] } else { [&STANDARD, &MPICH, &OPEN_MPI] };
    let names = order.concat();
    let folder = launcher.and_then(|launcher| Some(launcher.parent()?.parent()?.join("lib")));
    let beside = folder.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let beside = beside.filter(|file| file.is_file()).map(|file| file.to_string_lossy().into_owned());
    beside.chain(names.iter().map(|name| (*name).to_owned())).collect()
}

/// The functions that are needed from a library. A process calls them only from the thread that called
/// [`Library::start`].
pub(crate) trait Library: Send + Sync {
    /// The file name, and the layout.
    fn name(&self) -> (&str, Abi);

    /// The library's version text, which is also available before the start.
    fn version(&self) -> String;

    /// Joins the other processes, and returns rank and size.
    fn start(&self) -> Result<(usize, usize), String>;

    /// Sends bytes to a process and fills `received` with bytes from it; either slice may be empty.
    fn exchange(&self, peer: usize, sent: &[u8], received: &mut [u8]) -> Result<(), String>;

    /// Ends every process.
    fn abort(&self, code: i32);

    /// Leaves the other processes, once all of them do.
    fn finish(&self);
}

/// Opens the first library that works.
pub(crate) fn open(candidates: &[String]) -> Result<Box<dyn Library>, Vec<String>> {
    let mut tried = Vec::new();
    for name in candidates {
        match open_one(name) {
            Ok(library) => return Ok(library),
            Err(error) => tried.push(error.to_string()),
        }
    }
    Err(tried)
}

#[cfg(unix)]
fn open_one(name: &str) -> Result<Box<dyn Library>> {
    let failed =
        |error: libloading::Error| Error::Library { library: name.into(), reason: error.to_string() };
    // SAFETY: opening an MPI library only runs its own initialisers. Open MPI's modules look for its symbols
    // among the global ones.
    #[expect(unsafe_code, reason = "a library runs code of its own when it is opened")]
    let opened = unsafe { Opened::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }.map_err(failed)?;
    let abi = Abi::of(name);
    let library: Box<dyn Library> = match abi {
        // Values of `mpi_abi.h`.
        Abi::Standard => Box::new(Functions::<usize>::of(name, abi, &opened, 0x101, 0x247, 0)?),
        Abi::OpenMpi => {
            let world = address(name, &opened, b"ompi_mpi_comm_world\0")?;
            let byte = address(name, &opened, b"ompi_mpi_byte\0")?;
            Box::new(Functions::<usize>::of(name, abi, &opened, world, byte, 0)?)
        }
        // Values of MPICH's `mpi.h`; `MPI_STATUS_IGNORE` is 1 there.
        Abi::Mpich => Box::new(Functions::<c_int>::of(name, abi, &opened, 0x4400_0000, 0x4c00_010d, 1)?),
    };
    // Never unload a library that ran, because it has its own threads and handlers.
    _ = opened.into_raw();
    Ok(library)
}

#[cfg(not(unix))]
fn open_one(name: &str) -> Result<Box<dyn Library>> {
    Err(Error::Library { library: name.into(), reason: "this system has no known MPI".into() })
}

/// The address of an object that stands for a handle.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the type of a symbol is the caller's word")]
fn address(name: &str, opened: &Opened, symbol: &[u8]) -> Result<usize> {
    // SAFETY: only the address is used; nothing is read there.
    let found = unsafe { opened.get::<*mut c_void>(symbol) };
    let found = found.map_err(|error| Error::Library { library: name.into(), reason: error.to_string() })?;
    Ok(found.into_raw() as usize)
}

/// The functions of a library whose handles have the type `H`: pointers stored as integers, or plain
/// integers.
struct Functions<H> {
    name: String,
    abi: Abi,
    world: H,
    byte: H,
    /// `MPI_STATUS_IGNORE`.
    ignore: usize,
    init: unsafe extern "C" fn(*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int) -> c_int,
    initialized: unsafe extern "C" fn(*mut c_int) -> c_int,
    rank: unsafe extern "C" fn(H, *mut c_int) -> c_int,
    size: unsafe extern "C" fn(H, *mut c_int) -> c_int,
    send: unsafe extern "C" fn(*const c_void, c_int, H, c_int, c_int, H, *mut H) -> c_int,
    receive: unsafe extern "C" fn(*mut c_void, c_int, H, c_int, c_int, H, *mut H) -> c_int,
    test: unsafe extern "C" fn(*mut H, *mut c_int, usize) -> c_int,
    abort: unsafe extern "C" fn(H, c_int) -> c_int,
    finalize: unsafe extern "C" fn() -> c_int,
    version: unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int,
}

impl<H: Copy + Default> Functions<H> {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "the types of a library's functions are our word")]
    fn of(name: &str, abi: Abi, opened: &Opened, world: H, byte: H, ignore: usize) -> Result<Self> {
        /// A function of the library, of the type that its place in [`Functions`] has.
        macro_rules! function {
            ($symbol:literal) => {{
                // SAFETY: the MPI standard defines these signatures; `H` is the handle type of this layout.
                let found = unsafe { opened.get($symbol) };
                *found.map_err(|error| Error::Library { library: name.into(), reason: error.to_string() })?
            }};
        }
        Ok(Self {
            name: name.to_owned(),
            abi,
            world,
            byte,
            ignore,
            init: function!(b"MPI_Init_thread\0"),
            initialized: function!(b"MPI_Initialized\0"),
            rank: function!(b"MPI_Comm_rank\0"),
            size: function!(b"MPI_Comm_size\0"),
            send: function!(b"MPI_Isend\0"),
            receive: function!(b"MPI_Irecv\0"),
            test: function!(b"MPI_Test\0"),
            abort: function!(b"MPI_Abort\0"),
            finalize: function!(b"MPI_Finalize\0"),
            version: function!(b"MPI_Get_library_version\0"),
        })
    }

    /// Waits until an operation is done.
    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn wait(&self, request: &mut H) -> Result<(), String> {
        let (started, mut polls) = (Instant::now(), 0u32);
        loop {
            let mut done = 0;
            // SAFETY: the library returned `request`, which is still active; `ignore` is the layout's
            // `MPI_STATUS_IGNORE`.
            let code = unsafe { (self.test)(request, &raw mut done, self.ignore) };
            success("MPI_Test", code)?;
            if done != 0 {
                return Ok(());
            }
            polls = polls.saturating_add(1);
            // First poll as fast as possible, then yield the processor to the process that is to answer, then
            // sleep to save power.
            if polls < SPINS {
                std::hint::spin_loop();
            } else if polls.is_multiple_of(SPINS) && started.elapsed() > PATIENCE {
                std::thread::sleep(NAP);
                polls -= 1;
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// Polls before a waiting process yields its processor.
const SPINS: u32 = 200;
/// How long it waits before it sleeps between polls, and for how long it sleeps.
const PATIENCE: Duration = Duration::from_millis(50);
const NAP: Duration = Duration::from_micros(200);

/// Most bytes per message; the library counts them in a 31-bit number.
const MOST_BYTES: usize = 1 << 30;

/// The longest version text of any library, `MPI_MAX_LIBRARY_VERSION_STRING`.
const VERSION_LENGTH: usize = 8192;

fn success(function: &str, code: c_int) -> Result<(), String> {
    if code == 0 { Ok(()) } else { Err(format!("{function} failed with code {code}")) }
}

impl<H: Copy + Default + Send + Sync> Library for Functions<H> {
    fn name(&self) -> (&str, Abi) {
        (&self.name, self.abi)
    }

    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn version(&self) -> String {
        let mut text = vec![0u8; VERSION_LENGTH + 1];
        let mut len = 0;
        // SAFETY: the buffer has the maximum length of a version text, and the function may be called at any
        // time.
        let code = unsafe { (self.version)(text.as_mut_ptr().cast(), &raw mut len) };
        let len = usize::try_from(len).unwrap_or_default().min(VERSION_LENGTH);
        let text = if code == 0 { String::from_utf8_lossy(&text[..len]).into_owned() } else { String::new() };
        let first = text.lines().next().unwrap_or_default();
        let first = first.split(['\0', ',']).next().unwrap_or_default();
        first.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[expect(unsafe_code, reason = "calls of foreign functions")]
    fn start(&self) -> Result<(usize, usize), String> {
        let (mut already, mut provided, mut rank, mut size) = (0, 0, 0, 0);
        // SAFETY: all arguments point to local variables; null is allowed for those of `main`. Only one
        // thread will call the library, which is what MPI_THREAD_FUNNELED asks for: 1, or 1024 in the
        // standard layout (0 is MPI_THREAD_SINGLE in all layouts).
        unsafe {
            success("MPI_Initialized", (self.initialized)(&raw mut already))?;
            if already == 0 {
                let null = std::ptr::null_mut();
                let threads = if self.abi == Abi::Standard { 1024 } else { 1 };
                success("MPI_Init_thread", (self.init)(null, null.cast(), threads, &raw mut provided))?;
            }
            success("MPI_Comm_rank", (self.rank)(self.world, &raw mut rank))?;
            success("MPI_Comm_size", (self.size)(self.world, &raw mut size))?;
        }
        Ok((usize::try_from(rank).unwrap_or_default(), usize::try_from(size).unwrap_or_default()))
    }

    #[expect(unsafe_code, reason = "calls of foreign functions")]
    fn exchange(&self, peer: usize, sent: &[u8], received: &mut [u8]) -> Result<(), String> {
        let peer = c_int::try_from(peer).map_err(|error| error.to_string())?;
        let messages = sent.len().max(received.len()).div_ceil(MOST_BYTES);
        for message in 0..messages {
            let part = |len: usize| (message * MOST_BYTES).min(len)..((message + 1) * MOST_BYTES).min(len);
            let (out, into) = (&sent[part(sent.len())], part(received.len()));
            let into = &mut received[into];
            let [mut sending, mut receiving] = [H::default(); 2];
            // SAFETY: both slices stay alive and in place until both operations are complete. An error in
            // either ends the process, so no memory is freed while the library uses it. Lengths fit 31 bits
            // because of `MOST_BYTES`.
            unsafe {
                if !into.is_empty() {
                    let (start, len) = (into.as_mut_ptr().cast(), into.len() as c_int);
                    let code = (self.receive)(start, len, self.byte, peer, 0, self.world, &raw mut receiving);
                    self.or_abort("MPI_Irecv", code);
                }
                if !out.is_empty() {
                    let (start, len) = (out.as_ptr().cast(), out.len() as c_int);
                    let code = (self.send)(start, len, self.byte, peer, 0, self.world, &raw mut sending);
                    self.or_abort("MPI_Isend", code);
                }
            }
            for (request, used) in [(&mut receiving, !into.is_empty()), (&mut sending, !out.is_empty())] {
                if used && let Err(reason) = self.wait(request) {
                    self.die(&reason);
                }
            }
        }
        Ok(())
    }

    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn abort(&self, code: i32) {
        wait_for_reader();
        // SAFETY: the process has joined the others.
        unsafe { (self.abort)(self.world, code) };
    }

    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn finish(&self) {
        // SAFETY: the process has joined the others, and no operation is pending.
        unsafe { (self.finalize)() };
    }
}

/// Waits until the launcher has read the output of this process, for at most a second. When MPICH's launcher
/// ends the processes, it loses output that it has not read, including the message with the cause.
#[cfg(unix)]
fn wait_for_reader() {
    let is_unread = |bytes: rustix::io::Result<u64>| bytes.is_ok_and(|bytes| bytes > 0);
    let deadline = Instant::now() + Duration::from_secs(1);
    while (is_unread(ioctl_fionread(stdout())) || is_unread(ioctl_fionread(stderr())))
        && Instant::now() < deadline
    {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(not(unix))]
fn wait_for_reader() {}

impl<H: Copy + Default + Send + Sync> Functions<H> {
    fn or_abort(&self, function: &str, code: c_int) {
        if let Err(reason) = success(function, code) {
            self.die(&reason);
        }
    }

    /// Ends every process, because the library still uses our memory and continuing would free it.
    fn die(&self, reason: &str) -> ! {
        eprintln!("error: {}: {reason}", self.name);
        Library::abort(self, 1);
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_known_by_the_name_of_the_file() {
        for (name, abi) in [
            ("libmpi_abi.so.1", Abi::Standard),
            ("/opt/mpi/lib/libmpi.so.40", Abi::OpenMpi),
            ("/usr/lib/libmpi.so", Abi::OpenMpi),
            ("libmpi.so.12", Abi::Mpich),
            ("/usr/lib/x86_64-linux-gnu/libmpich.so.12", Abi::Mpich),
        ] {
            assert_eq!(Abi::of(name), abi, "{name}");
        }
    }

    #[test]
    fn the_library_of_the_launcher_comes_first() {
        assert_eq!(candidates(Some("/my/mpi.so"), None, true), ["/my/mpi.so"]);
        assert_eq!(candidates(None, None, true)[0], "libmpi.so.40");
        assert_eq!(candidates(None, None, false)[0], "libmpi_abi.so.1");
        let folder = std::env::temp_dir().join(format!("waxwork-mpi-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        std::fs::write(folder.join("lib/libmpi.so.12"), "").unwrap();
        let found = candidates(None, Some(&folder.join("bin/hydra_pmi_proxy")), false);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(Path::new(&found[0]), folder.join("lib/libmpi.so.12"));
        assert_eq!(found[1], "libmpi_abi.so.1");
    }

    #[test]
    fn names_libraries_that_are_not_mpi() {
        let tried = open(&["/nonexistent/libmpi.so.40".into()]).err().unwrap();
        assert!(tried[0].contains("/nonexistent/libmpi.so.40"), "{tried:?}");
        // Every Linux has this library.
        #[cfg(target_os = "linux")]
        assert!(open(&["libm.so.6".into()]).is_err());
    }
}
