//! Figures of each call, through the crate `metrics`.

use std::fmt;

use async_trait::async_trait;
use metrics::{counter, histogram};
use tokio::time::Instant;

use crate::metric;
use crate::{
    Batch, Claim, Error, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Part, Reads, Receipt,
    Result, SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats, StoreInfo, Usage,
    WorldId, WorldPage, WorldRange,
};

/// Measures and counts calls: those of [`metric`] that begin with `aqevia_backend_`.
///
/// They go to the recorder of the crate `metrics` that is installed when a call ends; install it,
/// and call [`metric::describe`], before the store is opened. Without a recorder a figure costs
/// next to nothing. A snapshot's reads count as those of the store.
///
/// # Cancel safety
/// As the backend's. A call that is dropped is neither measured nor counted.
pub struct Metrics<B> {
    inner: B,
}

impl<B> Metrics<B> {
    /// A backend whose calls are measured.
    #[must_use]
    pub const fn new(inner: B) -> Self {
        Self { inner }
    }
}

impl<B> fmt::Debug for Metrics<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Counts the error of a call, if it is one.
fn counted<T>(call: &'static str, answer: Result<T>) -> Result<T> {
    answer.inspect_err(|error| {
        let kind = error.kind().name();
        counter!(metric::BACKEND_CALLS_FAILED, "call" => call, "kind" => kind).increment(1);
    })
}

async fn read<T>(call: &'static str, read: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let begin = Instant::now();
    let answer = read.await;
    histogram!(metric::BACKEND_READ_SECONDS, "call" => call).record(begin.elapsed());
    counted(call, answer)
}

/// Sizes of a batch and of its parts.
fn measure(batch: &Batch) {
    let parts = batch.parts();
    let records: u64 = parts.iter().map(|part| u64::from(part.count())).sum();
    let bytes: u64 = parts.iter().map(|part| part.bytes() as u64).sum();
    histogram!(metric::BACKEND_BATCH_PARTS).record(parts.len() as f64);
    histogram!(metric::BACKEND_BATCH_RECORDS).record(records as f64);
    histogram!(metric::BACKEND_BATCH_BYTES).record(bytes as f64);
    for part in parts {
        histogram!(metric::BACKEND_PART_RECORDS).record(part.count());
        histogram!(metric::BACKEND_PART_BYTES).record(part.bytes() as f64);
    }
}

/// Counts what became of a part.
fn settled(part: &Part, answer: &Result<Receipt>) {
    match answer {
        Ok(receipt) if receipt.repeated => {
            counter!(metric::BACKEND_PARTS_REPEATED).increment(1);
        }
        Ok(receipt) => {
            counter!(metric::BACKEND_PARTS_PERSISTED).increment(1);
            counter!(metric::BACKEND_RECORDS_PERSISTED).increment(u64::from(receipt.count));
            counter!(metric::BACKEND_PERSISTED_BYTES).increment(part.bytes() as u64);
        }
        Err(error) => part_failed(error),
    }
}

fn part_failed(error: &Error) {
    counter!(metric::BACKEND_PARTS_FAILED, "kind" => error.kind().name()).increment(1);
}

#[async_trait]
impl<B: StorageBackend> Reads for Metrics<B> {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        read("log", self.inner.log(world, range, limit)).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        read("state", self.inner.state(world, range, limit)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: StorageBackend> StorageBackend for Metrics<B> {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        counted("init", self.inner.init(policy).await)
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let begin = Instant::now();
        let answer = self.inner.claim(world, owner, schema).await;
        histogram!(metric::BACKEND_CLAIM_SECONDS).record(begin.elapsed());
        counted("claim", answer)
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        measure(&batch);
        let begin = Instant::now();
        let answers = self.inner.persist_batch(batch.clone()).await;
        histogram!(metric::BACKEND_PERSIST_SECONDS).record(begin.elapsed());
        for (part, answer) in batch.parts().iter().zip(&answers) {
            settled(part, answer);
        }
        answers
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let inner = read("snapshot", self.inner.snapshot(world)).await?;
        Ok(Box::new(Snapshot { inner }))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        read("worlds", self.inner.worlds(range, limit)).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        read("usage", self.inner.usage(world)).await
    }

    fn stats(&self) -> StorageStats {
        self.inner.stats()
    }

    async fn close(&self) -> Result<()> {
        counted("close", self.inner.close().await)
    }
}

/// A snapshot whose reads are measured.
struct Snapshot {
    inner: Box<dyn Reads>,
}

#[async_trait]
impl Reads for Snapshot {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        read("log", self.inner.log(world, range, limit)).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        read("state", self.inner.state(world, range, limit)).await
    }
}

#[cfg(test)]
mod tests;
