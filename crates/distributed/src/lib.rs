//! One training run on many processes, over the MPI of the user's machine or cluster.
//!
//! A launcher such as `mpirun` or `srun` starts the processes, and [`Launch`] reads their environment.
//! [`Mpi`] opens the MPI library at run time. So a program supports MPI without a build dependency, and works
//! with every implementation in use. MPI only moves bytes between pairs of processes. All arithmetic happens
//! here, in one fixed order, so the bits of a sum do not depend on the library, on its choice of algorithm,
//! or on the order in which processes arrive.
//!
//! ```
//! use waxwork_distributed::Launch;
//!
//! // No launcher started this test, so it has the whole batch.
//! assert_eq!(Launch::read(|_| None)?, None);
//! # Ok::<(), waxwork_distributed::Error>(())
//! ```

mod error;
#[cfg(feature = "cuda")]
mod gpus;
mod launch;
mod library;
mod mpi;
#[cfg(feature = "cuda")]
mod nccl;
#[cfg(any(feature = "cuda", test))]
mod tensors;
mod tree;

pub use error::{Error, Result};
pub use launch::Launch;
pub use library::Abi;
pub use mpi::{Found, Mpi, found, host, on_device};
