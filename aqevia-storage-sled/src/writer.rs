//! The thread that writes, and the commands it takes.

use std::fmt;
use std::sync::Arc;
use std::thread::Builder;

use aqevia_storage::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Owner, Receipt, Result, StatsCounter, WorldId,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::engine::caught;
use crate::lock::Lock;
use crate::shared::Shared;
use crate::write;

/// What the writer is asked to do. Its answer may find nobody who still wants it.
enum Command {
    Claim {
        world: WorldId,
        owner: Owner,
        schema: Fingerprint,
        reply: oneshot::Sender<Result<Claim>>,
    },
    Persist {
        batch: Batch,
        reply: oneshot::Sender<Vec<Result<Receipt>>>,
    },
    /// Does what was sent before, and ends.
    Close,
}

/// How many commands wait for the writer; who sends one more waits to send it.
const COMMANDS_MAX: usize = 64;

/// The one way to write. The thread ends, and lets go of the store, when this is dropped.
pub(crate) struct Writer {
    commands: mpsc::Sender<Command>,
    /// How the thread ends, until a `close` has told it.
    end: Mutex<Option<oneshot::Receiver<Result<()>>>>,
    stats: Arc<StatsCounter>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(shared: Arc<Shared>, lock: Lock, stats: Arc<StatsCounter>) -> Result<Self> {
        let desk = Desk {
            shared,
            stats: Arc::clone(&stats),
            _lock: lock,
        };
        Self::at(desk, stats, |work| {
            let builder = Builder::new().name("aqevia-sled-writer".to_owned());
            builder.spawn(work).map(drop).map_err(no_thread)
        })
    }

    /// Starts the work of a desk on a thread.
    fn at(
        desk: Desk,
        stats: Arc<StatsCounter>,
        spawn: impl FnOnce(Box<dyn FnOnce() + Send>) -> Result<()>,
    ) -> Result<Self> {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (ended, end) = oneshot::channel();
        spawn(Box::new(move || {
            let result = desk.run(received);
            // A thread that panics drops the sender instead.
            let _ = ended.send(result);
        }))?;
        Ok(Self {
            commands,
            end: Mutex::new(Some(end)),
            stats,
        })
    }

    /// See [`write::claim`].
    pub(crate) async fn claim(
        &self,
        world: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let (world, owner) = (world.clone(), owner.clone());
        let claim = |reply| Command::Claim {
            world,
            owner,
            schema,
            reply,
        };
        self.ask(claim).await?
    }

    /// See [`write::persist`]. What came of the batch is counted, whether or not anyone waits.
    pub(crate) async fn persist(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let command = |reply| Command::Persist {
            batch: batch.clone(),
            reply,
        };
        let error = match self.ask(command).await {
            Ok(results) => return results,
            Err(error) => error,
        };
        let parts = batch.parts().iter();
        let results: Vec<_> = parts.map(|part| Err(part.failed(error.clone()))).collect();
        self.stats.count_batch(&batch, &results);
        results
    }

    /// Ends the thread when it has done what it was asked before, and waits for it.
    pub(crate) async fn close(&self) -> Result<()> {
        let mut end = self.end.lock().await;
        let Some(ended) = end.as_mut() else {
            return Ok(());
        };
        // It fails if the thread was told before, or has ended by itself.
        let _ = self.commands.send(Command::Close).await;
        // If this is dropped meanwhile, the next who closes waits on.
        let ended = ended.await.unwrap_or_else(|_| Err(panicked()));
        *end = None;
        ended
    }

    /// Sends a command and waits for its answer.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| Error::closed("the writing thread has ended: open the store again"))?;
        let lost = "the writing thread ended before it answered";
        let answer = answer.await;
        answer.map_err(|_| Error::new(ErrorKind::Ambiguous, lost))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Unavailable, "the writing thread panicked")
}

fn no_thread(error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the writing thread could not be started",
    )
    .with_source(error)
}

/// What the thread has. Whatever ends it, dropping this closes sled.
struct Desk {
    shared: Arc<Shared>,
    stats: Arc<StatsCounter>,
    /// Order matters: it goes after sled was closed, for only then may another open the store.
    _lock: Lock,
}

impl Desk {
    fn run(self, mut commands: mpsc::Receiver<Command>) -> Result<()> {
        while let Some(command) = commands.blocking_recv() {
            match command {
                Command::Claim {
                    world,
                    owner,
                    schema,
                    reply,
                } => {
                    let _ = reply.send(self.claim(&world, &owner, schema));
                }
                Command::Persist { batch, reply } => {
                    let _ = reply.send(self.persist(&batch));
                }
                // What was sent meanwhile is still taken, so that nobody waits in vain.
                Command::Close => commands.close(),
            }
        }
        self.close()
    }

    fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let claim = self.guard(|| write::claim(&self.shared, world, owner, schema));
        claim.flatten()
    }

    fn persist(&self, batch: &Batch) -> Vec<Result<Receipt>> {
        let results = self.guard(|| write::persist(&self.shared, batch.parts()));
        let results = results.unwrap_or_else(|error| {
            let parts = batch.parts().iter();
            parts.map(|part| Err(part.failed(error.clone()))).collect()
        });
        self.stats.count_batch(batch, &results);
        results
    }

    /// Does a command. If it panics the store fails, and what became of the command is in doubt.
    fn guard<T>(&self, command: impl FnOnce() -> T) -> Result<T> {
        caught(command).map_err(|failure| {
            self.shared.fail(&failure);
            failure.in_doubt().with_source(failure.error)
        })
    }

    fn close(self) -> Result<()> {
        self.shared.close().map_err(|failure| {
            let matter = "sled could not be closed in order; what was acknowledged is durable";
            Error::new(ErrorKind::Unavailable, matter).with_source(failure.error)
        })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Unless the thread is panicking, sled is closed already, and this does nothing.
        let _ = self.shared.close();
    }
}

#[cfg(test)]
pub(crate) mod tests;
