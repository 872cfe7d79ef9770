//! What befalls a store, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aqevia::StoreUrl;
use rusqlite::Connection;

use super::container::Container;
use super::options::Fault;
use super::room::{Ballast, folder_of, is_in_files};

/// A fault that begins when it is told to, and ends at the latest when this is dropped.
#[derive(Debug)]
pub struct Harm {
    means: Means,
    under_way: bool,
}

#[derive(Debug)]
enum Means {
    Nothing,
    Lock(PathBuf, Option<Child>),
    Full(PathBuf, Option<Ballast>),
    FullServer(Container),
    Pause(Container),
    Kill(Container),
}

impl Harm {
    /// What is needed to do harm to a store. None is done yet.
    ///
    /// # Errors
    /// If there is no container to be harmed.
    pub fn prepare(fault: Fault, url: &StoreUrl) -> Result<Self> {
        let means = match fault {
            Fault::None => Means::Nothing,
            Fault::Lock => Means::Lock(url.path()?.into(), None),
            Fault::Full if is_in_files(url) => Means::Full(folder_of(url)?, None),
            Fault::Full => {
                let container = Container::of_server(url)?;
                container.check_room()?;
                Means::FullServer(container)
            }
            Fault::Pause => Means::Pause(Container::of_server(url)?),
            Fault::Kill => {
                let container = Container::of_server(url)?;
                container.check_stays()?;
                Means::Kill(container)
            }
        };
        Ok(Self {
            means,
            under_way: false,
        })
    }

    /// Begins.
    ///
    /// # Errors
    /// What kept it from being done.
    pub fn begin(&mut self) -> Result<()> {
        self.under_way = true;
        match &mut self.means {
            Means::Nothing => {}
            Means::Lock(file, holder) => *holder = Some(lock_elsewhere(file)?),
            Means::Full(folder, ballast) => *ballast = Some(Ballast::load(folder)?),
            Means::FullServer(container) => container.fill()?,
            Means::Pause(container) => container.pause()?,
            Means::Kill(container) => container.kill()?,
        }
        Ok(())
    }

    /// Ends.
    ///
    /// # Errors
    /// What kept it from being undone.
    pub fn end(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.under_way) {
            return Ok(());
        }
        match &mut self.means {
            Means::Nothing => {}
            Means::Lock(_, holder) => holder.take().map_or(Ok(()), unlock)?,
            Means::Full(_, ballast) => ballast.take().map_or(Ok(()), Ballast::drop_off)?,
            Means::FullServer(container) => container.make_room()?,
            Means::Pause(container) => container.go_on()?,
            Means::Kill(container) => container.start()?,
        }
        Ok(())
    }
}

impl Drop for Harm {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(target: "tick", "end the fault: {error:#}");
        }
    }
}

/// The first argument of the program when it is to hold a lock; the file follows.
pub const HOLD_LOCK: &str = "hold-lock";
/// What it says then.
const HELD: &str = "held";
/// How long it waits for others to let the lock go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts this program once more, to hold the write lock of a file until its input ends.
fn lock_elsewhere(file: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("find this program")?;
    let mut holder = Command::new(program)
        .arg(HOLD_LOCK)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start a process that locks the store")?;
    let said = holder.stdout.take().map(BufReader::new);
    let mut line = String::new();
    said.context("no output")?.read_line(&mut line)?;
    ensure!(
        line.trim() == HELD,
        "the process that locks the store did not"
    );
    Ok(holder)
}

fn unlock(mut holder: Child) -> Result<()> {
    drop(holder.stdin.take());
    let status = holder.wait()?;
    ensure!(
        status.success(),
        "the process that locked the store: {status}"
    );
    Ok(())
}

/// Holds the write lock of a SQLite file until the input ends.
///
/// # Errors
/// If the lock is not to be had.
pub fn hold_lock(file: &Path) -> Result<()> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    writeln!(std::io::stdout(), "{HELD}")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    connection.execute_batch("ROLLBACK")?;
    Ok(())
}
