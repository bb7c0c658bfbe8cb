//! One training run on many processes, over the MPI of the user's machine or cluster.
//!
//! A launcher such as `mpirun` or `srun` starts the processes; [`Launch`] reads from the environment what it says. [`Mpi`] opens the MPI
//! library at run time, so that a program has MPI in it without any build dependency, and works with every MPI in use. It moves bytes
//! between pairs of processes; all arithmetic is here, in one order, so that the bits of a sum do not depend on the library, on its
//! choice of algorithm, or on who is early.
//!
//! ```
//! use waxwork_distributed::Launch;
//!
//! // No launcher started this test, so that it has the whole batch to itself.
//! assert_eq!(Launch::read(|_| None)?, None);
//! # Ok::<(), waxwork_distributed::Error>(())
//! ```

mod error;
mod launch;
mod library;
mod mpi;
mod tree;

pub use error::{Error, Result};
pub use launch::Launch;
pub use library::Abi;
pub use mpi::{Found, Mpi, found, host};
