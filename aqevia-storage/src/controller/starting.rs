//! Starting a controller: its thread, its runtime, the store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

use super::flush::{FlushLoop, Outcome};
use super::inbox::Inbox;
use super::report::Report;
use super::{StorageController, block_on};
use crate::{ControllerConfig, Error, ErrorKind, Result, StorageBackend};

impl StorageController {
    /// Initialises the store and starts the controller on a thread of its own.
    ///
    /// # Errors
    /// `Invalid` if a setting is out of its range, and those of [`StorageBackend::init`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves an initialised store, and ends the thread.
    pub async fn start(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Result<Self> {
        config.check()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| no_thread(error, "make a runtime"))?;
        let handle = runtime.handle().clone();
        let (started, starting) = oneshot::channel();
        let to_init = Arc::clone(&store);
        let thread = thread::Builder::new().name("aqevia-storage".into());
        let thread = thread.spawn(move || {
            runtime.block_on(serve(to_init, config, started));
            // A call that hangs in the store must not hold up who waits for this thread.
            runtime.shutdown_background();
        });
        let thread = thread.map_err(|error| no_thread(error, "start a thread"))?;
        let ended = |_| Error::closed("start the controller: its thread ended");
        let parts = starting.await.map_err(ended)??;
        Ok(Self::assemble(store, parts, handle, Some(thread)))
    }

    /// [`StorageController::start`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::start`].
    pub fn start_blocking(
        store: Arc<dyn StorageBackend>,
        config: ControllerConfig,
    ) -> Result<Self> {
        block_on(Self::start(store, config))
    }

    /// Starts the controller on the runtime that this is called in, for a test that pauses time.
    ///
    /// Dropping such a controller asks its loop to end and does not wait for that. On a runtime of
    /// one thread, a `_blocking` twin would wait for a loop that it keeps from running.
    ///
    /// # Errors
    /// As [`StorageController::start`].
    ///
    /// # Panics
    /// If it is polled outside a Tokio runtime.
    pub async fn start_here(
        store: Arc<dyn StorageBackend>,
        config: ControllerConfig,
    ) -> Result<Self> {
        config.check()?;
        let (started, starting) = oneshot::channel();
        tokio::spawn(serve(Arc::clone(&store), config, started));
        let ended = |_| Error::closed("start the controller: its task ended");
        let parts = starting.await.map_err(ended)??;
        Ok(Self::assemble(store, parts, Handle::current(), None))
    }

    fn assemble(
        store: Arc<dyn StorageBackend>,
        parts: Started,
        runtime: Handle,
        thread: Option<JoinHandle<()>>,
    ) -> Self {
        Self {
            store,
            inbox: parts.inbox,
            report: parts.report,
            runtime,
            outcome: parts.outcome,
            worlds: Arc::default(),
            lanes: AtomicU64::new(0),
            thread,
        }
    }
}

/// What a started loop shares with its controller.
struct Started {
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    outcome: watch::Receiver<Outcome>,
}

/// Initialises the store, tells the controller, and runs the flush loop.
async fn serve(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
    started: oneshot::Sender<Result<Started>>,
) {
    let away = match store.init(config.schema_policy).await {
        Ok(info) => Ok(info),
        Err(error) if config.start_degraded && error.kind().is_retryable() => Err(error),
        // Nobody may be waiting any more.
        Err(error) => return drop(started.send(Err(error))),
    };
    let inbox = Arc::new(Inbox::new(config));
    let report = Arc::new(Report::default());
    let (sender, outcome) = watch::channel(None);
    let away = away.map(|info| drop(inbox.info().set(info))).err();
    let flush_loop = FlushLoop::new(store, Arc::clone(&inbox), Arc::clone(&report), sender, away);
    // Order matters: who has started a controller finds how it stands.
    flush_loop.tell_health();
    let parts = Started {
        inbox: Arc::clone(&inbox),
        report,
        outcome,
    };
    if started.send(Ok(parts)).is_err() {
        inbox.close();
    }
    flush_loop.run().await;
}

fn no_thread(error: std::io::Error, doing: &str) -> Error {
    let message = format!("start the controller: {doing}: {error}");
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}
