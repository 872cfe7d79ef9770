//! Writes, each in a task of its own, so that none is cancelled by who waits for it.

use std::sync::Arc;

use aqevia_storage::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Owner, Receipt, Result, StatsCounter, WorldId,
};
use tokio::task::spawn;

use crate::pool::{Permit, Pool};
use crate::write;

/// The sessions that write.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pool: Pool,
    stats: Arc<StatsCounter>,
}

impl Writer {
    pub(crate) const fn new(pool: Pool, stats: Arc<StatsCounter>) -> Self {
        Self { pool, stats }
    }

    /// See [`write::claim`].
    pub(crate) async fn claim(
        &self,
        world: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let permit = self.pool.permit().await?;
        let (writer, world, owner) = (self.clone(), world.clone(), owner.clone());
        let claim = async move {
            let mut lease = writer.pool.lease(permit).await?;
            let claim = write::claim(&mut lease, &world, &owner, schema).await;
            lease.finish(claim.as_ref().err()).await;
            claim
        };
        finished(claim, ErrorKind::Ambiguous).await?
    }

    /// See [`write::persist`]. What came of the batch is counted, whether or not anyone waits.
    pub(crate) async fn persist(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let permit = match self.pool.permit().await {
            Ok(permit) => permit,
            Err(error) => return self.refuse(&batch, &error),
        };
        let (writer, sent) = (self.clone(), batch.clone());
        let persist = async move { writer.persist_with(permit, sent).await };
        let results = finished(persist, ErrorKind::Ambiguous).await;
        results.unwrap_or_else(|error| self.refuse(&batch, &error))
    }

    async fn persist_with(&self, permit: Permit, batch: Batch) -> Vec<Result<Receipt>> {
        let mut lease = match self.pool.lease(permit).await {
            Ok(lease) => lease,
            Err(error) => return self.refuse(&batch, &error),
        };
        let (results, session) = write::persist(&mut lease, batch.parts()).await;
        // Order matters: closing the store waits for the session, and then all is counted.
        self.stats.count_batch(&batch, &results);
        lease.finish(session.as_ref().err()).await;
        results
    }

    /// Answers for a batch of which nothing was sent, or of which nothing is known.
    pub(crate) fn refuse(&self, batch: &Batch, error: &Error) -> Vec<Result<Receipt>> {
        let parts = batch.parts().iter();
        let results: Vec<_> = parts.map(|part| Err(part.failed(error.clone()))).collect();
        self.stats.count_batch(batch, &results);
        results
    }

    /// Waits for what is being written, and ends the sessions.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Does work in a task of its own, which goes on if this is dropped; `lost` is the kind of an answer
/// that never comes.
pub(crate) async fn finished<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    lost: ErrorKind,
) -> Result<T> {
    spawn(work).await.map_err(|error| {
        Error::new(
            lost,
            "the work was not finished, for it panicked or the runtime is shutting down",
        )
        .with_source(error)
    })
}
