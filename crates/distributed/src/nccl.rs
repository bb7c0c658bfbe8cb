//! NVIDIA's NCCL, opened at run time if the machine has it: exchanges of tensors between the GPUs of
//! processes, without a copy through host memory.
//!
//! NCCL only moves numbers between pairs of GPUs. Its own reductions add in an order that depends on the
//! number of GPUs and on how they are connected, so all sums are computed here, in the order of `tensors.rs`.

use std::ffi::{CStr, c_char, c_int, c_void};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DevicePtrMut};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, Layout, Shape, Tensor};
use waxwork_core::Result as CoreResult;
use waxwork_core::collective::Collective;

use crate::Mpi;
use crate::tensors::TensorPairs;

/// The library's usual name.
const LIBRARY: &str = "libnccl.so.2";

/// `ncclFloat32`.
const FLOAT32: c_int = 7;

/// Length of the identifier of a group of processes, `NCCL_UNIQUE_ID_BYTES`.
const ID_LENGTH: usize = 128;

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Id([u8; ID_LENGTH]);

/// `ncclComm_t` and `cudaStream_t`.
type Handle = *mut c_void;

/// The functions that are needed from the library.
struct Functions {
    unique_id: unsafe extern "C" fn(*mut Id) -> c_int,
    join: unsafe extern "C" fn(*mut Handle, c_int, Id, c_int) -> c_int,
    start_group: unsafe extern "C" fn() -> c_int,
    end_group: unsafe extern "C" fn() -> c_int,
    send: unsafe extern "C" fn(*const c_void, usize, c_int, c_int, Handle, Handle) -> c_int,
    receive: unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, Handle, Handle) -> c_int,
    text: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Functions {
    #[expect(unsafe_code, reason = "the compiler cannot check the types of a library's functions")]
    fn open(name: &str) -> Result<Self, String> {
        let failed = |error: libloading::Error| format!("`{name}` cannot be used as NCCL: {error}");
        // SAFETY: opening NCCL only runs its own initialisers.
        let opened = unsafe { libloading::Library::new(name) }.map_err(failed)?;
        /// A function of the library, of the type that its place in [`Functions`] has.
        macro_rules! function {
            ($symbol:literal) => {{
                // SAFETY: `nccl.h` declares these signatures, which have not changed since NCCL 2.7.
                let found = unsafe { opened.get($symbol) };
                *found.map_err(failed)?
            }};
        }
        let functions = Self {
            unique_id: function!(b"ncclGetUniqueId\0"),
            join: function!(b"ncclCommInitRank\0"),
            start_group: function!(b"ncclGroupStart\0"),
            end_group: function!(b"ncclGroupEnd\0"),
            send: function!(b"ncclSend\0"),
            receive: function!(b"ncclRecv\0"),
            text: function!(b"ncclGetErrorString\0"),
        };
        // Never unload a library that ran, because it has its own threads.
        std::mem::forget(opened);
        Ok(functions)
    }

    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn new_id(&self) -> Result<Id, String> {
        let mut id = Id([0; ID_LENGTH]);
        // SAFETY: the argument points to a local variable of the right type.
        let code = unsafe { (self.unique_id)(&raw mut id) };
        self.success("ncclGetUniqueId", code)?;
        Ok(id)
    }

    /// Joins the processes that have the same identifier, with the GPU that is current on this thread.
    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn join(&self, id: Id, rank: usize, size: usize) -> Result<Handle, String> {
        let number = |number: usize| c_int::try_from(number).map_err(|error| error.to_string());
        let (rank, size, mut communicator) = (number(rank)?, number(size)?, std::ptr::null_mut());
        // SAFETY: the first argument points to a local variable, and the rest are values.
        let code = unsafe { (self.join)(&raw mut communicator, size, id, rank) };
        self.success("ncclCommInitRank", code)?;
        Ok(communicator)
    }

    #[expect(unsafe_code, reason = "a call of a foreign function")]
    fn success(&self, function: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the function accepts any code, and returns a static text.
        let text = unsafe { CStr::from_ptr((self.text)(code)) };
        Err(format!("{function} failed: {}", text.to_string_lossy()))
    }
}

/// The GPUs of all processes. They stay joined until the process ends.
pub(crate) struct Nccl {
    functions: Functions,
    /// The address of the communicator. Only the thread that calls MPI uses it.
    communicator: usize,
    rank: usize,
    size: usize,
}

impl Nccl {
    /// Joins the GPUs of all processes. Returns the reason if that is impossible on one of them. `library` is
    /// the path or name of NCCL.
    ///
    /// # Errors
    /// If another process has ended.
    pub(crate) fn join(
        mpi: &Mpi,
        device: &CudaDevice,
        library: Option<&str>,
    ) -> CoreResult<Result<Self, String>> {
        let elsewhere = || "it cannot be used in another process".to_owned();
        let opened = Functions::open(library.unwrap_or(LIBRARY));
        let all = mpi.all(opened.is_ok())?;
        let functions = match opened {
            Ok(functions) if all => functions,
            Ok(_) => return Ok(Err(elsewhere())),
            Err(reason) => return Ok(Err(reason)),
        };
        let own = if mpi.is_first() { functions.new_id().map(|id| id.0.to_vec()) } else { Ok(Vec::new()) };
        let (sent, reason) = match own {
            Ok(bytes) => (bytes, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let Ok(id) = <[u8; ID_LENGTH]>::try_from(mpi.broadcast(sent)?) else {
            return Ok(Err(reason.unwrap_or_else(elsewhere)));
        };
        let (rank, size) = (mpi.rank(), mpi.size());
        // If a process failed in NCCL before it joined the others, they would wait forever, so all processes
        // agree first. This makes the GPU current on this thread, and returns an error of its earlier work.
        let ready = device.cuda_stream().context().synchronize().map_err(|error| error.to_string());
        let joined = if mpi.all(ready.is_ok())? {
            functions.join(Id(id), rank, size)
        } else {
            Err(ready.err().unwrap_or_else(elsewhere))
        };
        let all = mpi.all(joined.is_ok())?;
        Ok(match joined {
            Ok(communicator) if all => {
                Ok(Self { functions, communicator: communicator as usize, rank, size })
            }
            Ok(_) => Err(elsewhere()),
            Err(reason) => Err(reason),
        })
    }

    /// Queues an exchange of `len` numbers on a stream: those at the address `from` go to a process, and
    /// those that it sends go to the address `into`.
    #[expect(unsafe_code, reason = "calls of foreign functions")]
    fn queue(&self, peer: usize, [from, into]: [u64; 2], len: usize, stream: Handle) -> Result<(), String> {
        let peer = c_int::try_from(peer).map_err(|error| error.to_string())?;
        let (functions, communicator) = (&self.functions, self.communicator as Handle);
        // SAFETY: the caller's buffers are on the communicator's GPU and hold `len` numbers of 32 bits. They
        // are freed on the same stream, after this exchange. A group lets both directions proceed at once.
        let codes = unsafe {
            [
                ("ncclGroupStart", (functions.start_group)()),
                (
                    "ncclSend",
                    (functions.send)(from as *const c_void, len, FLOAT32, peer, communicator, stream),
                ),
                (
                    "ncclRecv",
                    (functions.receive)(into as *mut c_void, len, FLOAT32, peer, communicator, stream),
                ),
                ("ncclGroupEnd", (functions.end_group)()),
            ]
        };
        codes.into_iter().try_for_each(|(function, code)| functions.success(function, code))
    }
}

impl TensorPairs for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, peer: usize, sent: &Tensor) -> candle_core::Result<Tensor> {
        sent.contiguous()?.apply_op1_no_bwd(&Exchange { nccl: self, peer })
    }
}

/// The exchange of a tensor with one process, as an operation of candle.
struct Exchange<'a> {
    nccl: &'a Nccl,
    peer: usize,
}

impl CustomOp1 for Exchange<'_> {
    fn name(&self) -> &'static str {
        "exchange"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("NCCL exchanges tensors of CUDA devices only")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("NCCL exchanges contiguous tensors only")
        };
        let device = storage.device().clone();
        let stream = device.cuda_stream();
        let sent = storage.as_cuda_slice::<f32>()?.slice(start..end);
        let mut received = stream.alloc_zeros::<f32>(end - start).map_err(candle_core::Error::wrap)?;
        {
            let (from, _reads) = sent.device_ptr(&stream);
            let (into, _writes) = received.device_ptr_mut(&stream);
            let stream = stream.cu_stream().cast();
            let queued = self.nccl.queue(self.peer, [from, into], end - start, stream);
            queued.map_err(candle_core::Error::msg)?;
        }
        Ok((CudaStorage::wrap_cuda_slice(received, device), layout.shape().clone()))
    }
}
