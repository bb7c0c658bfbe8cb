//! `waxwork sweep`: turns a sweep file into a list of jobs for a scheduler, or trains them here
//! one after another.

use std::path::Path;

use clap::Parser;
use waxwork_core::store;
use waxwork_models::sweep::{Job, Sweep};

use crate::args::{Arguments, Command, SweepArguments};
use crate::commands::train::{self, Session};
use crate::failure::{Failure, INTERRUPTED};
use crate::output;
use crate::processes::Together;

/// Files of a sweep, in the folder of its runs.
const JOBS: &str = "jobs.txt";
const ARRAY: &str = "array.sh";
const JOB_LOG: &str = "parallel.log";

pub(crate) fn run(arguments: &SweepArguments, threads: usize) -> Result<String, Failure> {
    let sweep = Sweep::read(&arguments.sweep)?;
    let jobs = sweep.jobs(&arguments.sweep)?;
    let lines: String = jobs.iter().map(|job| line(job, &arguments.device) + "\n").collect();
    let folder = sweep.out.as_deref().unwrap_or(Path::new("."));
    if arguments.slurm {
        let script = array(jobs.len(), folder)?;
        let file = folder.join(ARRAY);
        write(folder, JOBS, &lines)?;
        store::write(&file, script.as_bytes())?;
        return Ok(format!("sbatch {}\n", quoted(&file)));
    }
    if arguments.parallel {
        write(folder, JOBS, &lines)?;
        let (log, jobs) = (quoted(&folder.join(JOB_LOG)), quoted(&folder.join(JOBS)));
        return Ok(format!("parallel --joblog {log} --termseq INT,20000,KILL,25 < {jobs}\n"));
    }
    if arguments.run { train_here(&jobs, arguments, threads, folder) } else { Ok(lines) }
}

/// The command line of a job. It can run any number of times with the same result.
fn words(job: &Job, device: &str) -> Vec<String> {
    let mut words = vec!["waxwork".to_owned(), "train".to_owned(), job.recipe.clone()];
    words.extend(job.settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
    if device != "cpu" {
        words.extend(["--device".to_owned(), device.to_owned()]);
    }
    words.extend(["--out".to_owned(), job.out.display().to_string(), "--continue".to_owned()]);
    words
}

fn line(job: &Job, device: &str) -> String {
    words(job, device).iter().map(|word| shell(word)).collect::<Vec<_>>().join(" ")
}

/// Quotes a word for a shell.
fn shell(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.,/=+:@%".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn quoted(path: &Path) -> String {
    shell(&path.display().to_string())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(store::failed("create", folder))?;
    Ok(store::write(&folder.join(name), text.as_bytes())?)
}

/// A script for SLURM that trains one job of the list in each task of an array. It requeues a job
/// that it had to stop.
fn array(jobs: usize, folder: &Path) -> Result<String, Failure> {
    let list = std::path::absolute(folder.join(JOBS))?;
    let here = std::env::current_dir()?;
    let folder = std::path::absolute(folder)?;
    Ok(format!(
        "#!/bin/bash
#SBATCH --array=1-{jobs}
#SBATCH --requeue --open-mode=append --signal=TERM@120
#SBATCH --output={log}
cd {here} || exit 1
job=$(sed -n \"${{SLURM_ARRAY_TASK_ID}}p\" {list})
# With srun, because SLURM sends the signal of a preemption to steps, not to this shell.
srun -n 1 -c \"${{SLURM_CPUS_PER_TASK:-1}}\" --mpi=none bash -c \"exec $job\"
code=$?
# 130: stopped in time, with a checkpoint. The last task's $SLURM_JOB_ID would name the whole array.
if [ $code = 130 ]; then scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID\"; fi
exit $code
",
        log = folder.join("slurm-%a.log").display(),
        here = quoted(&here),
        list = quoted(&list),
    ))
}

/// Trains every unfinished job. A job that fails does not stop the others.
fn train_here(
    jobs: &[Job],
    arguments: &SweepArguments,
    threads: usize,
    folder: &Path,
) -> Result<String, Failure> {
    let session =
        Session::new(&arguments.device, threads, waxwork_trainer::Stop::new(None), &Together::alone())?;
    let mut failed = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        tracing::info!(job = number + 1, of = jobs.len(), out = %job.out.display(), "training");
        let words = words(job, &arguments.device);
        let Command::Train(train) = Arguments::try_parse_from(&words)?.command else {
            return Err(Failure::new("a job of the sweep is not a `train` command"));
        };
        match train::in_session(&train, &session) {
            Ok(said) => {
                output::report(said.lines().next().map(|line| format!("{line}\n")).as_deref().unwrap_or(""))?;
            }
            Err(failure) if failure.code == INTERRUPTED => {
                return Err(Failure::interrupted(format!(
                    "interrupted in job {} of {}; repeat the command to resume",
                    number + 1,
                    jobs.len()
                )));
            }
            Err(failure) => {
                output::failed(&failure);
                failed.push(job.out.display().to_string());
            }
        }
    }
    if !failed.is_empty() {
        return Err(Failure::new(format!(
            "{} of {} jobs failed: {}",
            failed.len(),
            jobs.len(),
            failed.join(", ")
        )));
    }
    let folder = quoted(folder);
    Ok(format!("all {} jobs are finished\nnext: waxwork compare --evaluate {folder}\n", jobs.len()))
}
