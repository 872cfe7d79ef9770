//! What it costs to pass from thread to thread, as a commit does, beside doing the same on one thread.

use std::thread::Builder;

use anyhow::{Context, Result};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

/// Work on bytes, two threads away: a runtime, as the controller's, and a thread that blocks, as the
/// writer's. On the way there and back a thread is woken four times. Both end when this is dropped.
pub(crate) struct Relay(mpsc::Sender<Job>);

struct Job {
    bytes: Vec<u8>,
    answer: oneshot::Sender<Result<()>>,
}

impl Relay {
    /// Starts the threads, of which the second does the work.
    pub(crate) fn to(mut work: impl FnMut(Vec<u8>) -> Result<()> + Send + 'static) -> Result<Self> {
        let (writer, mut to_writer) = mpsc::channel::<Job>(1);
        let writer = Self(writer);
        Builder::new().spawn(move || {
            while let Some(Job { bytes, answer }) = to_writer.blocking_recv() {
                // Who asked may be gone.
                let _ = answer.send(work(bytes));
            }
        })?;
        let (controller, mut to_controller) = mpsc::channel::<Job>(1);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Builder::new().spawn(move || {
            runtime.block_on(async {
                while let Some(Job { bytes, answer }) = to_controller.recv().await {
                    let _ = answer.send(writer.pass(bytes).await);
                }
            });
        })?;
        Ok(Self(controller))
    }

    /// Has the work done.
    pub(crate) async fn pass(&self, bytes: Vec<u8>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send(Job { bytes, answer }).await;
        sent.ok().context("the thread has ended")?;
        answered.await?
    }
}
