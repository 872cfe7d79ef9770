//! What a child process is started for, and how it gets there.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::announce::{Announcer, Halt, halt_at};
use super::controller::play::play;
use super::line::Line;
use super::{filling, starting, stopped, writes};
use crate::Harness;
use crate::suite::on_runtime;

/// The variable of the environment that holds the job of a child.
pub(crate) const VARIABLE: &str = "AQEVIA_TEST_JOB";

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) task: Task,
    /// Where the store is, as [`Harness::at`] takes it.
    pub(crate) location: String,
    pub(crate) seed: u64,
    /// A step at which it waits.
    pub(crate) halt: Option<Halt>,
}

/// The kinds of jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Opens the store, claims its worlds, persists so many batches and closes it; then ends, or
    /// waits to be killed.
    Write { run: u64, calls: u64, ends: bool },
    /// Starts a controller, opens the worlds, plays the scripts of a seed in them up to a place and
    /// shuts down; then ends, or waits to be killed.
    Play { script: u64, until: u64, ends: bool },
    /// Claims a world, persists a part that waits for nothing and one of so many bytes a record that
    /// may be stopped, and then what a writer tries that does not know whether it was fenced.
    Flush { world: String, bytes: usize },
    /// Initialises the store at the same moment as others, and writes to it.
    StartUp { index: u64, round: u64 },
    /// Fills the folder that its store is in.
    Fill { folder: PathBuf },
}

/// Does the job that this process was started for, and says whether there was one.
///
/// A test binary has a test that calls this, as the macro [`conformance_suite!`] makes it; any
/// other program calls it when it is started as its [`Launcher`](super::Launcher) says.
///
/// # Panics
/// If the store breaks the contract; the parent is told, and panics with the same message.
///
/// [`conformance_suite!`]: crate::conformance_suite
pub fn child<H: Harness>() -> bool {
    let Ok(job) = std::env::var(VARIABLE) else {
        return false;
    };
    let job: Job = serde_json::from_str(&job).expect("a job that `Launcher` wrote");
    die_with_parent();
    let announcer = Announcer::new(job.halt.clone());
    announcer.listen();
    let done = catch_unwind(AssertUnwindSafe(|| on_runtime(work::<H>(&job, &announcer))));
    match done {
        Ok(()) => Line::Done.say(),
        Err(panic) => {
            let message = message_of(&*panic);
            Line::Violated { message }.say();
            resume_unwind(panic);
        }
    }
    true
}

/// A child that stands still does not see that nobody listens any more.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .expect("a process may choose the signal of its parent's end");
}

async fn work<H: Harness>(job: &Job, announcer: &Arc<Announcer>) {
    match &job.task {
        Task::Write { run, calls, ends } => {
            writes::write::<H>(job, announcer, (*run, *calls)).await;
            if !ends {
                halt_at(writes::IDLE);
            }
        }
        Task::Play {
            script,
            until,
            ends,
        } => {
            play::<H>(job, announcer, (*script, *until)).await;
            if !ends {
                halt_at(writes::IDLE);
            }
        }
        Task::Flush { world, bytes } => {
            stopped::flush::<H>(job, announcer, (world, *bytes)).await;
        }
        Task::StartUp { index, round } => starting::start_up::<H>(job, *index, *round).await,
        Task::Fill { folder } => filling::fill::<H>(job.seed, folder).await,
    }
}

/// The text of a panic.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}
