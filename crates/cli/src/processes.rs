//! A run on several processes: who joins, what they must agree on, and how all of them end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use waxwork_core::collective::{Collective, OneProcess};
use waxwork_core::{Device, device, hash, store};
use waxwork_data::Dataset;
use waxwork_distributed::{Error, Launch, Mpi, host, on_device};
use waxwork_models::Run;
use waxwork_trainer::Environment;
use waxwork_trainer::run_info::Processes;

use crate::environment::{command_line, environment};
use crate::failure::{FAILED, Failure, INTERRUPTED};
use crate::output;

/// The processes that work together: one, unless a launcher started more.
#[derive(Clone)]
pub(crate) struct Together {
    mpi: Option<Arc<Mpi>>,
}

/// A message of the first process to the others between runs.
#[derive(Serialize, Deserialize)]
pub(crate) enum News {
    /// Train this recipe.
    Train(String),
    /// Nothing is left to do; exit with this code.
    End(u8),
}

/// The description that a process sends of itself before training.
#[derive(Serialize, Deserialize)]
struct Introduction {
    host: String,
    command: Vec<String>,
    environment: Environment,
}

/// Time that a process waits for the first process to end it, because the first reports a shared failure.
const WAIT_FOR_THE_FIRST: Duration = Duration::from_secs(20);

impl Together {
    /// One process.
    pub(crate) fn alone() -> Self {
        Self { mpi: None }
    }

    /// Joins the processes of a launcher. A panic then ends all of them.
    fn join(launch: Option<Launch>) -> Result<Self, Failure> {
        let Some(launch) = launch else { return Ok(Self::alone()) };
        let first = launch.rank == 0;
        let mpi = Mpi::start(launch).map_err(|error| match error {
            // Every process sees this error; the first reports it.
            Error::Size { .. } | Error::Mismatch { .. } if !first => Failure::silent(FAILED),
            error => error.into(),
        });
        let mpi = Arc::new(mpi?);
        let (report, ours) = (std::panic::take_hook(), Arc::clone(&mpi));
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            // A panic of another thread reaches this thread as an error.
            if ours.is_here() {
                ours.abort(101);
            }
        }));
        Ok(Self { mpi: Some(mpi) })
    }

    /// Does the work of a command on all started processes, and ends them together. A failure of any process
    /// prints one message.
    pub(crate) fn run(
        launch: Option<Launch>,
        work: impl FnOnce(&Self) -> Result<String, Failure>,
    ) -> Result<String, Failure> {
        let together = Self::join(launch)?;
        let result = work(&together);
        let Some(mpi) = &together.mpi else { return result };
        let code = match &result {
            Ok(_) => 0,
            Err(failure) if failure.code == INTERRUPTED => failure.code,
            Err(failure) => {
                if failure.shared && !together.is_first() {
                    std::thread::sleep(WAIT_FOR_THE_FIRST);
                }
                output::failed(failure);
                mpi.abort(failure.code);
            }
        };
        if together.is_first() {
            together.announce(&News::End(code))?;
        }
        mpi.finish();
        result
    }

    /// As [`Together::run`], for work that is the same on all processes. They meet the same failures, so only
    /// the first one reports. A process that fails alone waits for that report, and after a timeout reports
    /// itself. Only the report of the first process is returned.
    pub(crate) fn run_alike(
        launch: Option<Launch>,
        work: impl FnOnce(&Self) -> Result<String, Failure>,
    ) -> Result<String, Failure> {
        Self::run(launch, |together| {
            let report = work(together).map_err(|failure| Failure { shared: true, ..failure })?;
            if together.is_first() {
                return Ok(report);
            }
            match together.listen()? {
                News::End(0) => Ok(String::new()),
                News::End(code) => Err(Failure::silent(code)),
                News::Train(_) => Err(Failure::new("process 0 trains, and this one does not")),
            }
        })
    }

    pub(crate) fn collective(&self) -> Arc<dyn Collective> {
        match &self.mpi {
            Some(mpi) => Arc::clone(mpi) as _,
            None => Arc::new(OneProcess),
        }
    }

    /// The processes for training on `device`. If NCCL is installed, it moves gradients between GPUs. All
    /// processes make this call.
    pub(crate) fn collective_on(&self, device: &Device) -> Result<Arc<dyn Collective>, Failure> {
        let Some(mpi) = &self.mpi else { return Ok(self.collective()) };
        let (collective, reason) = on_device(mpi, device)?;
        if let Some(reason) = reason {
            tracing::warn!("gradients move through host memory, without NCCL: {reason}");
        }
        Ok(collective)
    }

    /// Whether this process writes files and messages.
    pub(crate) fn is_first(&self) -> bool {
        self.mpi.as_ref().is_none_or(|mpi| mpi.launch().rank == 0)
    }

    /// Checks that every process gets at least one micro-batch.
    pub(crate) fn check_shares(&self, micro_batches: usize) -> Result<(), Failure> {
        let processes = self.collective().size();
        if processes <= micro_batches {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{processes} processes were started, but the recipe's batch has {micro_batches} part(s) to share out: add \
             `--set train.micro_batches={processes}`, or a larger power of two"
        )))
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.mpi.is_none()
    }

    /// The processes as run.json records them.
    pub(crate) fn described(&self) -> Option<Processes> {
        let mpi = self.mpi.as_ref()?;
        Some(Processes { count: mpi.launch().size, mpi: mpi.version() })
    }

    /// Turns `cuda` into the device of this process on its machine.
    pub(crate) fn device(&self, asked: &str) -> String {
        match self.mpi.as_ref().and_then(|mpi| mpi.launch().local_rank) {
            Some(number) if asked == "cuda" => format!("cuda:{number}"),
            _ => asked.to_owned(),
        }
    }

    /// Opens this process's device for work that is the same on all processes, after a check that they are
    /// the same program with the same arguments.
    pub(crate) fn open_device(&self, asked: &str) -> Result<Device, Failure> {
        let device = device::open(&self.device(asked))?;
        if !self.is_alone() {
            // Numbers of threads are not compared, because results do not depend on them.
            self.agree_on_the_program(environment(&device, 0))?;
        }
        Ok(device)
    }

    /// Calls `read`, which may write files to a cache, on all processes: first on process 0, then on one
    /// process of every other machine, then on the rest. So no two processes write the same file, if the
    /// launcher says which processes share a machine.
    pub(crate) fn in_turns<T>(&self, read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        const TURNS: usize = 3;
        let turn = match &self.mpi {
            None => return read(),
            Some(mpi) if mpi.launch().rank == 0 => 0,
            Some(mpi) if mpi.launch().local_rank == Some(0) => 1,
            Some(_) => 2,
        };
        for _ in 0..turn {
            self.collective().all(true)?;
        }
        let found = read()?;
        for _ in turn..TURNS - 1 {
            self.collective().all(true)?;
        }
        Ok(found)
    }

    /// Sends news to the other processes. Only the first process calls this.
    pub(crate) fn announce(&self, news: &News) -> Result<(), Failure> {
        if !self.is_alone() {
            self.collective().broadcast(serde_json::to_vec(news)?)?;
        }
        Ok(())
    }

    /// Waits for the news of the first process.
    pub(crate) fn listen(&self) -> Result<News, Failure> {
        Ok(serde_json::from_slice(&self.collective().broadcast(Vec::new())?)?)
    }

    /// Checks that all processes are the same program with the same arguments.
    pub(crate) fn agree_on_the_program(&self, environment: Environment) -> Result<(), Failure> {
        // Every process has its own device, so compare without the device number.
        let device = environment.device.split(':').next().unwrap_or_default().to_owned();
        let environment = Environment { device, ..environment };
        let own = Introduction { host: host(), command: command_line(), environment };
        let all = self.collective().gather(serde_json::to_vec(&own)?)?;
        let all: Vec<Introduction> =
            all.iter().map(|bytes| serde_json::from_slice(bytes)).collect::<Result<_, _>>()?;
        for (rank, other) in all.iter().enumerate() {
            let mut differences = other.environment.differences(&all[0].environment);
            if other.command != all[0].command {
                let (theirs, first) = (other.command.join(" "), all[0].command.join(" "));
                differences.push(format!("the command `{theirs}` instead of `{first}`"));
            }
            if !differences.is_empty() {
                return Err(Failure::shared(format!(
                    "process {rank} on {} differs from process 0 on {}: it has {}",
                    other.host,
                    all[0].host,
                    differences.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Checks that all processes have read the same data.
    pub(crate) fn agree_on_data(&self, data: &Dataset) -> Result<(), Failure> {
        self.agree(&format!("{}\n{}", data.info.identity, data.info.view_hash()), || {
            format!("different data from process 0: the data set `{}` differs there", data.info.name)
        })
    }

    /// Checks that all processes have read the same weights.
    pub(crate) fn agree_on_weights(&self, run: &Run) -> Result<(), Failure> {
        if self.is_alone() {
            return Ok(());
        }
        self.agree(&hash::sha256(&store::encode(&run.model.params().tensors())?), || {
            format!(
                "different weights from process 0: the run `{}` differs there",
                run.folder.path().display()
            )
        })
    }

    /// Checks that all processes have read the same from `path`. `contents` identifies what this one read.
    pub(crate) fn agree_on_read(
        &self,
        path: &Path,
        contents: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if self.is_alone() {
            return Ok(());
        }
        self.agree(&contents()?, || {
            format!("different data from process 0: `{}` differs there", path.display())
        })
    }

    /// Checks that all processes have the same `contents`; otherwise `what` names the difference.
    fn agree(&self, contents: &str, what: impl FnOnce() -> String) -> Result<(), Failure> {
        let own = format!("{}\n{contents}", host());
        let all = self.collective().gather(own.into_bytes())?;
        let all: Vec<String> = all.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        let contents = |text: &String| text.split_once('\n').map(|(_, contents)| contents.to_owned());
        match all.iter().position(|other| contents(other) != contents(&all[0])) {
            None => Ok(()),
            Some(rank) => Err(Failure::shared(format!(
                "process {rank} on {} has {}",
                all[rank].lines().next().unwrap_or_default(),
                what()
            ))),
        }
    }
}
