//! Moving the write-ahead log into the database, off the way of commits.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use aqevia_storage::{Result, step};
use rusqlite::{Connection, OpenFlags};

use crate::SqliteConfig;
use crate::error::writing;
use crate::inspect::connect;
use crate::layout::configure;
use crate::permissions::{beside, fault};

const MIB: u64 = 1 << 20;

/// The size beyond which the log is moved, and to which its file shrinks when it begins anew.
///
/// The larger it is, the more often a page changes in the log before it is moved. But as much room is
/// needed on the disk to move it, and a small database is often on a small disk.
const fn log_bytes(database_bytes: u64) -> u64 {
    match database_bytes / MIB {
        ..32 => LOG_BYTES_LEAST,
        32..64 => 8 * MIB,
        _ => 16 * MIB,
    }
}

/// That of a small database.
pub(crate) const LOG_BYTES_LEAST: u64 = 4 * MIB;

/// Beyond this the writer waits for readers to let go of the log: 64 MiB.
const LOG_BYTES_MAX: u64 = 64 * MIB;

/// After how much more of the log it does so again: 4 MiB.
const LOG_BYTES_MORE: u64 = 4 * MIB;

/// How long the writer waits for readers each time.
const WAIT_FOR_READERS: Duration = Duration::from_millis(100);

/// A thread that moves the log while the writer goes on.
///
/// Ends when it is dropped; `end` waits for that.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    database: PathBuf,
    log: PathBuf,
    /// The log is moved when it is larger.
    log_bytes: u64,
    busy_timeout: Duration,
    wake: SyncSender<()>,
    /// Held while the thread moves the log: two cannot do that at once.
    moving: Arc<Mutex<()>>,
    /// Whether the thread has moved all that was in the log when it began.
    moved: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    /// At which size of the log the writer waits for readers next.
    wait_at_bytes: u64,
}

impl Checkpointer {
    /// Starts the thread, with a connection of its own.
    pub(crate) fn start(path: &Path, config: &SqliteConfig) -> Result<Self> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(writing)?;
        configure(&connection, config).map_err(writing)?;
        // One wake-up that waits is enough: it is looked at after the one before is done with.
        let (wake, woken) = sync_channel(1);
        let moving = Arc::new(Mutex::new(()));
        let moved = Arc::new(AtomicBool::new(false));
        let of_thread = (Arc::clone(&moving), Arc::clone(&moved));
        let thread = Builder::new()
            .name("aqevia-sqlite-checkpoint".to_owned())
            .spawn(move || run(&connection, &woken, &of_thread.0, &of_thread.1))
            .map_err(|error| fault(path, error))?;
        Ok(Self {
            database: path.to_owned(),
            log_bytes: LOG_BYTES_LEAST,
            log: beside(path, "-wal"),
            busy_timeout: config.pool.busy_timeout,
            wake,
            moving,
            moved,
            thread,
            wait_at_bytes: LOG_BYTES_MAX,
        })
    }

    /// Sees to it that the log stays bounded. Called by the writer after each commit.
    pub(crate) fn after_commit(&mut self, writer: &Connection) {
        let bytes = size(&self.log);
        if bytes <= self.log_bytes || bytes <= self.follow_database(writer) {
            return;
        }
        if self.moved.swap(false, Ordering::Relaxed) {
            self.finish(writer);
        } else {
            // If it is awake or about to be, that is as good.
            let _ = self.wake.try_send(());
        }
        if bytes <= LOG_BYTES_MAX {
            self.wait_at_bytes = LOG_BYTES_MAX;
        } else if bytes > self.wait_at_bytes {
            self.restart(writer);
            self.wait_at_bytes = bytes + LOG_BYTES_MORE;
        }
    }

    /// Sets the size of the log to that which fits the database now.
    fn follow_database(&mut self, writer: &Connection) -> u64 {
        let bytes = log_bytes(size(&self.database));
        if bytes != self.log_bytes {
            self.log_bytes = bytes;
            warn(&keep(writer, bytes), false);
        }
        bytes
    }

    /// Moves what was committed while the thread moved the rest, which is little. Then the log begins
    /// anew with the next commit; beside a writer that never pauses the thread would never be done.
    fn finish(&self, writer: &Connection) {
        let _alone = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        warn(&checkpoint(writer, "PASSIVE"), false);
    }

    /// Lets the log begin anew, once all of it is moved and no reader needs it.
    fn restart(&self, writer: &Connection) {
        let _alone = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = writer
            .busy_timeout(WAIT_FOR_READERS)
            .and_then(|()| checkpoint(writer, "RESTART"));
        warn(&moved, false);
        warn(&writer.busy_timeout(self.busy_timeout), false);
    }

    /// Ends the thread and waits for it.
    pub(crate) fn end(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!(target: "aqevia_storage::backend", "the checkpointing thread panicked");
        }
    }
}

/// Lets the file of the log keep so many bytes when the log begins anew.
pub(crate) fn keep(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_size_limit", bytes.cast_signed())
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

fn run(connection: &Connection, woken: &Receiver<()>, moving: &Mutex<()>, done: &AtomicBool) {
    let mut failing = false;
    while woken.recv().is_ok() {
        let alone = moving.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = checkpoint(connection, "PASSIVE");
        drop(alone);
        warn(&moved, failing);
        failing = moved.is_err();
        done.store(matches!(moved, Ok(true)), Ordering::Relaxed);
    }
}

/// Moves what can be moved of the log. That readers or a writer are in the way is no error. Whether
/// that was all of it.
pub(crate) fn checkpoint(connection: &Connection, mode: &'static str) -> rusqlite::Result<bool> {
    step("checkpoint: to be moved");
    let mut all = false;
    let moved = connection.pragma(None, "wal_checkpoint", mode, |row| {
        // The frames of the log, and how many of them are moved.
        all = row.get::<_, i64>(1)? == row.get::<_, i64>(2)?;
        Ok(())
    });
    step("checkpoint: moved");
    moved.map(|()| all)
}

fn warn<T>(moved: &rusqlite::Result<T>, again: bool) {
    if let (Err(error), false) = (moved, again) {
        tracing::warn!(
            target: "aqevia_storage::backend",
            error = error as &dyn std::error::Error,
            "the write-ahead log could not be moved into the database, and grows",
        );
    }
}
