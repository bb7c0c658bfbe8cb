//! The processes of an MPI job as a [`Collective`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use candle_core::WithDType;
use waxwork_core::collective::{Collective, Reduction};
use waxwork_core::{DType, Device, Error as CoreError, Result as CoreResult, Tensor};

use crate::library::{self, Abi, Library, candidates};
use crate::tree::{self, Element, Pairs};
use crate::{Error, Launch, Result, launch};

/// The processes that a launcher started together, over the MPI library of the machine.
///
/// Every call begins with an exchange in which each process announces what it is about to do. So processes
/// that have lost step return an error instead of waiting forever.
pub struct Mpi {
    library: Box<dyn Library>,
    launch: Launch,
    /// Number of calls so far.
    calls: AtomicU64,
    /// The only thread that may call.
    thread: ThreadId,
}

/// The announcement of what a process is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// The number of this call.
    call: u64,
    kind: u64,
    /// The number of bytes that it exchanges, or its vote.
    about: u64,
}

const REDUCE: u64 = 1;
const AGREE: u64 = 2;
const BROADCAST: u64 = 3;
const GATHER: u64 = 4;

impl Mpi {
    /// Joins the processes that were started with this one. Afterwards only the calling thread may use them.
    ///
    /// # Errors
    /// If there is no MPI library, it is not the launcher's, or the number of processes is not a power of
    /// two.
    pub fn start(launch: Launch) -> Result<Self> {
        if !launch.size.is_power_of_two() {
            return Err(Error::Size { size: launch.size });
        }
        let library = open().map_err(|tried| Error::NoLibrary { size: launch.size, tried })?;
        let failed = |reason| Error::Library { library: library.name().0.to_owned(), reason };
        let (rank, size) = library.start().map_err(failed)?;
        if size != launch.size || rank != launch.rank {
            return Err(Error::Mismatch {
                launcher: launch.launcher,
                launched: launch.size,
                library: library.name().0.to_owned(),
                known: size,
            });
        }
        Ok(Self { library, launch, calls: AtomicU64::new(0), thread: thread::current().id() })
    }

    /// The launcher's information.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// The library's version text.
    pub fn version(&self) -> String {
        self.library.version()
    }

    /// Whether the calling thread may use the processes.
    pub fn is_here(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// Ends all processes with an exit code, whatever they are doing.
    pub fn abort(&self, code: u8) -> ! {
        if self.is_here() {
            self.library.abort(i32::from(code));
        }
        std::process::exit(i32::from(code));
    }

    /// Leaves the other processes, once all of them do.
    pub fn finish(&self) {
        if self.is_here() {
            self.library.finish();
        }
    }

    /// Checks that all processes are making the same call, and gathers `about` from each.
    fn align(&self, kind: u64, about: u64) -> CoreResult<Vec<u64>> {
        if !self.is_here() {
            return Err(lost("MPI was called from a different thread than the one that started it"));
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let own = Header { call, kind, about };
        let all = tree::gather_equal(self, bytemuck::bytes_of(&[call, kind, about])).map_err(lost)?;
        let header = |bytes: &[u8]| {
            let [call, kind, about] = bytemuck::pod_read_unaligned(bytes);
            Header { call, kind, about }
        };
        let all: Vec<Header> = all.chunks_exact(size_of::<[u64; 3]>()).map(header).collect();
        if let Some(rank) = all.iter().position(|other| (other.call, other.kind) != (call, kind)) {
            return Err(lost(format!(
                "process {rank} has lost step with process {}: {:?} instead of {own:?}",
                Pairs::rank(self),
                all[rank]
            )));
        }
        Ok(all.into_iter().map(|header| header.about).collect())
    }

    /// Checks that all processes are about to reduce the same number of bytes.
    pub(crate) fn align_reduction(&self, bytes: u64) -> CoreResult<()> {
        let others = self.align(REDUCE, bytes)?;
        let Some(rank) = others.iter().position(|other| *other != bytes) else { return Ok(()) };
        Err(lost(format!("process {rank} reduces {} bytes and this one {bytes}", others[rank])))
    }

    fn reduce_as<T: Element + WithDType>(
        &self,
        values: &[(Reduction, Tensor)],
        which: &[usize],
        join: impl Fn(T, T) -> T,
    ) -> CoreResult<Vec<Tensor>> {
        let mut all: Vec<T> = Vec::new();
        for &place in which {
            let tensor = values[place].1.to_device(&Device::Cpu)?.flatten_all()?;
            all.extend(tensor.to_vec1::<T>()?);
        }
        self.align_reduction(size_of_val(all.as_slice()) as u64)?;
        tree::reduce(self, &mut all, join).map_err(lost)?;
        let mut rest = all.as_slice();
        let mut reduced = Vec::with_capacity(which.len());
        for &place in which {
            let tensor = &values[place].1;
            let (own, after) = rest.split_at(tensor.elem_count());
            rest = after;
            reduced.push(Tensor::from_slice(own, tensor.shape(), tensor.device())?);
        }
        Ok(reduced)
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpi").field("library", &self.library.name()).field("launch", &self.launch).finish()
    }
}

impl Pairs for Mpi {
    fn rank(&self) -> usize {
        self.launch.rank
    }

    fn size(&self) -> usize {
        self.launch.size
    }

    fn exchange(&self, peer: usize, sent: &[u8], received: &mut [u8]) -> Result<(), String> {
        self.library.exchange(peer, sent, received)
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.launch.rank
    }

    fn size(&self) -> usize {
        self.launch.size
    }

    fn reduce(&self, values: Vec<(Reduction, Tensor)>) -> CoreResult<Vec<Tensor>> {
        let mut reduced: Vec<Option<Tensor>> = vec![None; values.len()];
        for largest in [false, true] {
            for dtype in [DType::F32, DType::F64] {
                let belongs = |(reduction, tensor): &(Reduction, Tensor)| {
                    (*reduction == Reduction::Max) == largest && tensor.dtype() == dtype
                };
                let which: Vec<usize> = (0..values.len()).filter(|&place| belongs(&values[place])).collect();
                if which.is_empty() {
                    continue;
                }
                let joined = match (dtype, largest) {
                    (DType::F64, false) => self.reduce_as::<f64>(&values, &which, Element::add),
                    (DType::F64, true) => self.reduce_as::<f64>(&values, &which, Element::max),
                    (_, false) => self.reduce_as::<f32>(&values, &which, Element::add),
                    (_, true) => self.reduce_as::<f32>(&values, &which, Element::max),
                }?;
                for (place, tensor) in which.into_iter().zip(joined) {
                    reduced[place] = Some(tensor);
                }
            }
        }
        let share = (self.launch.size as f64).recip();
        let whole = values.into_iter().zip(reduced).map(|((reduction, own), joined)| {
            let joined =
                joined.ok_or_else(|| lost(format!("values of type {:?} cannot be reduced", own.dtype())))?;
            Ok(if reduction == Reduction::Mean { joined.affine(share, 0.0)? } else { joined })
        });
        whole.collect()
    }

    fn all(&self, here: bool) -> CoreResult<bool> {
        Ok(self.align(AGREE, u64::from(here))?.into_iter().all(|here| here == 1))
    }

    fn broadcast(&self, mut bytes: Vec<u8>) -> CoreResult<Vec<u8>> {
        let len = self.align(BROADCAST, bytes.len() as u64)?[0];
        bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        tree::broadcast(self, &mut bytes).map_err(lost)?;
        Ok(bytes)
    }

    fn gather(&self, mut bytes: Vec<u8>) -> CoreResult<Vec<Vec<u8>>> {
        let lengths: Vec<usize> =
            self.align(GATHER, bytes.len() as u64)?.into_iter().map(|len| len as usize).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        bytes.resize(longest, 0);
        let all = tree::gather_equal(self, &bytes).map_err(lost)?;
        let of = |(rank, len): (usize, usize)| all[rank * longest..rank * longest + len].to_vec();
        Ok(lengths.into_iter().enumerate().map(of).collect())
    }
}

/// The processes for training on `device`, and the reason why sums of tensors on GPUs go through host memory,
/// if NCCL was wanted and cannot be used. All processes make this call. It opens NCCL, or the library that
/// `WAXWORK_NCCL` names; if that is `none`, it opens none.
///
/// # Errors
/// If another process has ended.
#[cfg(feature = "cuda")]
pub fn on_device(mpi: &Arc<Mpi>, device: &Device) -> CoreResult<(Arc<dyn Collective>, Option<String>)> {
    let library = std::env::var("WAXWORK_NCCL").ok().filter(|asked| !asked.is_empty());
    let by_mpi: Arc<dyn Collective> = mpi.clone();
    // Every process votes, including those with another kind of device.
    if !mpi.all(device.is_cuda() && library.as_deref() != Some("none"))? {
        return Ok((by_mpi, None));
    }
    match crate::gpus::Gpus::join(mpi, device, library.as_deref())? {
        Ok(gpus) => {
            let gpus: Arc<dyn Collective> = Arc::new(gpus);
            Ok((gpus, None))
        }
        Err(reason) => Ok((by_mpi, Some(reason))),
    }
}

/// The processes for training on `device`, and the reason why sums of tensors on GPUs go through host memory,
/// which a build without the feature `cuda` does not have.
///
/// # Errors
/// None in this build.
#[cfg(not(feature = "cuda"))]
pub fn on_device(mpi: &Arc<Mpi>, _device: &Device) -> CoreResult<(Arc<dyn Collective>, Option<String>)> {
    let by_mpi: Arc<dyn Collective> = mpi.clone();
    Ok((by_mpi, None))
}

/// The MPI library that a run on this machine would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its file name.
    pub library: String,
    /// The layout of its handles.
    pub abi: Abi,
    /// Its version text.
    pub version: String,
}

/// The MPI library that a run on this machine would use.
///
/// # Errors
/// Every library that was tried, with the reason why it could not be opened.
pub fn found() -> Result<Found, Vec<String>> {
    let library = open()?;
    let (name, abi) = library.name();
    Ok(Found { library: name.to_owned(), abi, version: library.version() })
}

/// The name of this machine.
pub fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = named.or_else(|| std::env::var("HOSTNAME").ok());
    named.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

fn open() -> Result<Box<dyn Library>, Vec<String>> {
    let asked = std::env::var("WAXWORK_MPI").ok();
    let by_open_mpi = std::env::var_os("OMPI_COMM_WORLD_RANK").is_some();
    let launcher = launch::parent().and_then(|parent| std::fs::read_link(format!("/proc/{parent}/exe")).ok());
    library::open(&candidates(asked.as_deref(), launcher.as_deref(), by_open_mpi))
}

fn lost(reason: impl Into<String>) -> CoreError {
    CoreError::Processes { reason: reason.into() }
}
