//! The information that a launcher gives its processes in their environment.

use crate::{Error, Result};

/// A process's place among those that were started together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The launcher's name.
    pub launcher: &'static str,
    /// The number of this process, from 0.
    pub rank: usize,
    /// Number of processes that were started.
    pub size: usize,
    /// The number of this process among those on its machine, if known.
    pub local_rank: Option<usize>,
    /// Number of processes on its machine, if known.
    pub local_size: Option<usize>,
}

/// A launcher's name, and its variables for rank, size, local rank and local size.
type Names = (&'static str, [&'static str; 4]);

const OPEN_MPI: Names = (
    "Open MPI's mpirun",
    [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ],
);
const PMIX: Names =
    ("srun", ["PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"]);
const PMI: Names = ("mpirun", ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"]);
// A batch script has these variables too, but they describe a step with one task, or lack the number of
// tasks.
const SLURM: Names =
    ("srun", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"]);

impl Launch {
    /// Reads the environment of this process. Returns None if no launcher started it, if it is the only
    /// process, or if `WAXWORK_MPI` is `none`.
    ///
    /// # Errors
    /// [`Error::Variable`] if a launcher's variable is not a number.
    pub fn of_environment() -> Result<Option<Self>> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// As [`Launch::of_environment`], from the given variables.
    ///
    /// # Errors
    /// [`Error::Variable`] if a launcher's variable is not a number.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if variable("WAXWORK_MPI").is_some_and(|asked| asked == "none") {
            return Ok(None);
        }
        let number = |name: &str| -> Result<Option<usize>> {
            let Some(value) = variable(name) else { return Ok(None) };
            // SLURM lists the tasks of each node, such as `2(x3),1`; take the first node's.
            let digits = value.split(['(', ',']).next().unwrap_or_default();
            let wrong = || Error::Variable { name: name.to_owned(), value: value.clone() };
            digits.trim().parse().map(Some).map_err(|_| wrong())
        };
        let launch = |(launcher, [rank, size, local_rank, local_size]): Names| -> Result<Option<Self>> {
            let (Some(rank), Some(size)) = (number(rank)?, number(size)?) else { return Ok(None) };
            if size < 2 {
                return Ok(None);
            }
            let (local_rank, local_size) = (number(local_rank)?, number(local_size)?);
            Ok(Some(Self { launcher, rank, size, local_rank, local_size }))
        };
        for names in [OPEN_MPI, PMIX] {
            if let Some(launch) = launch(names)? {
                return Ok(Some(launch));
            }
        }
        // `srun --mpi=pmi2` sets both kinds of variables, but only SLURM's tell which processes share a
        // machine. Under mpirun in a SLURM job, SLURM's variables describe mpirun's helpers, one per
        // machine.
        Ok(match (launch(PMI)?, launch(SLURM)?) {
            (Some(pmi), Some(slurm)) if (pmi.rank, pmi.size) == (slurm.rank, slurm.size) => Some(slurm),
            (pmi, slurm) => pmi.or(slurm),
        })
    }

    /// The number of threads for this process, out of the `available` ones that its affinity allows. It is
    /// all of them if the launcher gave this process its own processors, otherwise its share of the machine.
    pub fn threads(&self, available: usize) -> usize {
        if bound() { available } else { (available / self.local_size.unwrap_or(self.size).max(1)).max(1) }
    }
}

/// A field of a process's status in /proc; `process` is its number or `self`.
fn status(process: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(field)?.trim().to_owned()))
}

/// The number of the process that started this one.
pub(crate) fn parent() -> Option<String> {
    status("self", "PPid:")
}

/// Whether this process may use fewer processors than the one that started it.
fn bound() -> bool {
    const ALLOWED: &str = "Cpus_allowed:";
    let of_parent = parent().and_then(|parent| status(&parent, ALLOWED));
    of_parent.is_some() && status("self", ALLOWED) != of_parent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Launch>> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Launch::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn every_launcher_is_recognised_by_its_variables() {
        let of_openmpi = read(&[
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            // Open MPI 5 sets it as well.
            ("PMIX_RANK", "3"),
        ]);
        let launch = of_openmpi.unwrap().unwrap();
        assert_eq!((launch.rank, launch.size), (3, 8));
        assert_eq!((launch.local_rank, launch.local_size), (Some(1), Some(2)));
        let of_mpich = read(&[("PMI_RANK", "1"), ("PMI_SIZE", "4")]).unwrap().unwrap();
        assert_eq!((of_mpich.rank, of_mpich.size, of_mpich.local_size), (1, 4, None));
        let slurm = [
            ("SLURM_PROCID", "5"),
            ("SLURM_STEP_NUM_TASKS", "7"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_TASKS_PER_NODE", "2(x3),1"),
        ];
        let launch = read(&slurm).unwrap().unwrap();
        assert_eq!((launch.rank, launch.size, launch.local_size), (5, 7, Some(2)));
        let with_pmix = [&slurm[..], &[("PMIX_RANK", "5")]].concat();
        assert_eq!(read(&with_pmix).unwrap().as_ref(), Some(&launch));
        let with_pmi2 = [&slurm[..], &[("PMI_RANK", "5"), ("PMI_SIZE", "7")]].concat();
        assert_eq!(read(&with_pmi2).unwrap(), Some(launch));
        // The helper of MPICH's mpirun on the second of two machines starts four of the eight processes.
        let helper = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_LOCALID", "0")];
        let in_a_job =
            [&helper[..], &[("PMI_RANK", "5"), ("PMI_SIZE", "8"), ("MPI_LOCALRANKID", "1")]].concat();
        let launch = read(&in_a_job).unwrap().unwrap();
        assert_eq!((launch.launcher, launch.rank, launch.size), ("mpirun", 5, 8));
        assert_eq!((launch.local_rank, launch.local_size), (Some(1), None));
    }

    #[test]
    fn a_single_process_needs_no_mpi() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]).unwrap(), None);
        // A batch script with four tasks is one process, and `srun` starts its job's tasks.
        assert_eq!(read(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]).unwrap(), None);
        let farm = [("PMI_RANK", "0"), ("PMI_SIZE", "4"), ("WAXWORK_MPI", "none")];
        assert_eq!(read(&farm).unwrap(), None);
        let error = read(&[("PMI_RANK", "zero"), ("PMI_SIZE", "4")]).unwrap_err();
        assert_eq!(error.to_string(), "the launcher's variable PMI_RANK is `zero`, which is not a number");
    }

    #[test]
    fn processes_of_a_machine_share_its_threads() {
        let launch = |local_size| Launch { launcher: "", rank: 0, size: 8, local_rank: None, local_size };
        if !bound() {
            assert_eq!(launch(Some(2)).threads(16), 8);
            assert_eq!(launch(Some(4)).threads(2), 1);
            assert_eq!(launch(None).threads(16), 2);
        }
    }
}
