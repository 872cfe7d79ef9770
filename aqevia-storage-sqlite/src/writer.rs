//! The thread that writes, and the commands it takes.

use std::fmt;
use std::sync::Arc;
use std::thread::Builder;

use aqevia_storage::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Owner, Receipt, Result, StatsCounter, WorldId,
};
use rusqlite::Connection;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::SqliteConfig;
use crate::checkpoint::{Checkpointer, checkpoint};
use crate::error::writing;
use crate::layout::Opened;
use crate::permissions::fault;
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
    /// Reads on the writer's own connection: the only way into a database in memory.
    Read(Box<dyn FnOnce(&Connection) + Send>),
    /// Does what was sent before, and ends.
    Close,
}

/// How many commands wait for the writer; who sends one more waits to send it.
const COMMANDS_MAX: usize = 64;

/// The one way to the connection that writes. The thread ends when this is dropped.
pub(crate) struct Writer {
    commands: mpsc::Sender<Command>,
    /// How the thread ends, until a `close` has told it.
    end: Mutex<Option<oneshot::Receiver<Result<()>>>>,
    stats: Arc<StatsCounter>,
}

impl Writer {
    /// Starts the thread, and beside it the one that checkpoints.
    pub(crate) fn start(
        opened: Opened,
        config: &SqliteConfig,
        stats: Arc<StatsCounter>,
    ) -> Result<Self> {
        let Opened { connection, path } = opened;
        let checkpointer = path.as_ref().map(|path| Checkpointer::start(path, config));
        let desk = Desk {
            connection,
            checkpointer: checkpointer.transpose()?,
            stats: Arc::clone(&stats),
        };
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (ended, end) = oneshot::channel();
        Builder::new()
            .name("aqevia-sqlite-writer".to_owned())
            // A thread that panics drops the sender instead.
            .spawn(move || {
                let _ = ended.send(desk.run(received));
            })
            .map_err(|error| fault(&path.unwrap_or_default(), error))?;
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
        self.ask(claim, ErrorKind::Ambiguous).await?
    }

    /// See [`write::persist`]. What came of the batch is counted, whether or not anyone waits.
    pub(crate) async fn persist(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let command = |reply| Command::Persist {
            batch: batch.clone(),
            reply,
        };
        let error = match self.ask(command, ErrorKind::Ambiguous).await {
            Ok(results) => return results,
            Err(error) => error,
        };
        let parts = batch.parts().iter();
        let results: Vec<_> = parts.map(|part| Err(part.failed(error.clone()))).collect();
        self.stats.count_batch(&batch, &results);
        results
    }

    /// Reads between two writes, on their connection.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let command = |reply: oneshot::Sender<Result<T>>| {
            Command::Read(Box::new(move |connection| {
                let _ = reply.send(read(connection));
            }))
        };
        self.ask(command, ErrorKind::Unavailable).await?
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

    /// Sends a command and waits for its answer; `lost` is the kind of an answer that never comes.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
        lost: ErrorKind,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| Error::closed("the writing thread has ended: open the store again"))?;
        let answer = answer.await;
        answer.map_err(|_| Error::new(lost, "the writing thread ended before it answered"))
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

/// What the thread has.
struct Desk {
    connection: Connection,
    checkpointer: Option<Checkpointer>,
    stats: Arc<StatsCounter>,
}

impl Desk {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<()> {
        while let Some(command) = commands.blocking_recv() {
            match command {
                Command::Claim {
                    world,
                    owner,
                    schema,
                    reply,
                } => {
                    let claim = write::claim(&mut self.connection, &world, &owner, schema);
                    let _ = reply.send(claim);
                }
                Command::Persist { batch, reply } => {
                    let _ = reply.send(self.persist(&batch));
                }
                Command::Read(read) => read(&self.connection),
                // What was sent meanwhile is still taken, so that nobody waits in vain.
                Command::Close => commands.close(),
            }
            self.after_commit();
        }
        self.close()
    }

    fn persist(&mut self, batch: &Batch) -> Vec<Result<Receipt>> {
        let results = write::persist(&mut self.connection, batch.parts());
        self.stats.count_batch(batch, &results);
        results
    }

    fn after_commit(&mut self) {
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.after_commit(&self.connection);
        }
    }

    /// Ends the other thread first: the connection that closes last takes the log away.
    fn close(self) -> Result<()> {
        if let Some(checkpointer) = self.checkpointer {
            checkpointer.end();
        }
        let moved = checkpoint(&self.connection, "PASSIVE");
        let closed = self.connection.close().map_err(|(_, error)| error);
        moved.and(closed).map_err(writing)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use aqevia_storage::SchemaPolicy;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_thread_leaves_nobody_waiting() {
        let config = SqliteConfig::memory();
        let opened = crate::layout::open(&config, SchemaPolicy::Upgrade).unwrap();
        let writer = Writer::start(opened, &config, Arc::default()).unwrap();
        let answer: Result<()> = writer.read(|_| panic!("on purpose")).await;
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);

        let closed = writer.close().await;
        assert_eq!(
            closed.unwrap_err().to_string(),
            "the writing thread panicked"
        );
        let (world, owner) = (WorldId::new("arda").unwrap(), Owner::new("test").unwrap());
        let claim = writer.claim(&world, &owner, Fingerprint([0; 32])).await;
        assert_eq!(claim.unwrap_err().kind(), ErrorKind::Closed);
        writer.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_close_that_was_given_up_leaves_the_next_waiting_for_the_end() {
        let config = SqliteConfig::memory();
        let opened = crate::layout::open(&config, SchemaPolicy::Upgrade).unwrap();
        let writer = Writer::start(opened, &config, Arc::default()).unwrap();
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let mut work = pin!(writer.read(move |_| Ok(told.recv().is_ok())));
        assert!(poll_once(work.as_mut()).await.is_none());
        for _ in 0..2 {
            let given_up = poll_once(pin!(writer.close())).await;
            assert!(given_up.is_none(), "the thread is at work");
        }
        go_on.send(()).unwrap();
        writer.close().await.unwrap();
        assert!(work.await.unwrap());
        writer.close().await.unwrap();
    }

    /// What a future has, asked once.
    async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
