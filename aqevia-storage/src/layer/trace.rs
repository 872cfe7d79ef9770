//! A span and an event for each call.

use std::fmt;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    Batch, Claim, Error, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Reads, Receipt, Result,
    SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats, StoreInfo, Usage, WorldId,
    WorldPage, WorldRange,
};

/// The target of all spans and events of this layer.
const TARGET: &str = "aqevia_storage::backend";

/// Tells `tracing` of each call, at the target `aqevia_storage::backend`.
///
/// | what | level | fields |
/// | --- | --- | --- |
/// | span `call`, around the call | debug | `call`, the method; `world`; of a batch `parts`, `records`, `bytes` |
/// | event `answered`, in it | debug | `elapsed_us`; of a batch `persisted`, `repeated`, `failed` |
/// | event `failed`, for each call or part that failed | warn | `call`, `world`, `kind`, `error` |
///
/// No payload and no password is told of (clause E2). A snapshot's reads are told of as those of
/// the store.
///
/// # Cancel safety
/// As the backend's. Of a call that is dropped there is the span, and no event.
pub struct Trace<B> {
    inner: B,
}

impl<B> Trace<B> {
    /// A backend whose calls are told of.
    #[must_use]
    pub const fn new(inner: B) -> Self {
        Self { inner }
    }
}

impl<B> fmt::Debug for Trace<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

async fn traced<T>(
    call: &'static str,
    world: Option<&WorldId>,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let world = world.map(WorldId::as_str);
    let span = tracing::debug_span!(target: TARGET, "call", call, world);
    let work = async {
        let begin = Instant::now();
        let answer = work.await;
        match &answer {
            Ok(_) => {
                tracing::debug!(target: TARGET, elapsed_us = elapsed_us(begin), "answered");
            }
            Err(error) => failed(call, world, error),
        }
        answer
    };
    work.instrument(span).await
}

fn failed(call: &'static str, world: Option<&str>, error: &Error) {
    let kind = error.kind().name();
    tracing::warn!(target: TARGET, call, world, kind, %error, "failed");
}

fn elapsed_us(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Tells of the answers to a batch.
fn answered(begin: Instant, batch: &Batch, answers: &[Result<Receipt>]) {
    let (mut persisted, mut repeated) = (0_usize, 0_usize);
    for (part, answer) in batch.parts().iter().zip(answers) {
        match answer {
            Ok(receipt) if receipt.repeated => repeated += 1,
            Ok(_) => persisted += 1,
            Err(error) => failed("persist_batch", Some(part.world().as_str()), error),
        }
    }
    let failed = answers.len() - persisted - repeated;
    let elapsed_us = elapsed_us(begin);
    tracing::debug!(target: TARGET, elapsed_us, persisted, repeated, failed, "answered");
}

#[async_trait]
impl<B: StorageBackend> Reads for Trace<B> {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        traced("log", Some(world), self.inner.log(world, range, limit)).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        traced("state", Some(world), self.inner.state(world, range, limit)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: StorageBackend> StorageBackend for Trace<B> {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        traced("init", None, self.inner.init(policy)).await
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let claim = self.inner.claim(world, owner, schema);
        traced("claim", Some(world), claim).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let parts = batch.parts();
        let records: usize = parts.iter().map(|part| part.records().len()).sum();
        let bytes: usize = parts.iter().map(|part| part.bytes()).sum();
        let call = "persist_batch";
        let parts = parts.len();
        let span = tracing::debug_span!(target: TARGET, "call", call, parts, records, bytes);
        let work = async {
            let begin = Instant::now();
            let answers = self.inner.persist_batch(batch.clone()).await;
            answered(begin, &batch, &answers);
            answers
        };
        work.instrument(span).await
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let snapshot = self.inner.snapshot(world);
        let inner = traced("snapshot", Some(world), snapshot).await?;
        Ok(Box::new(Snapshot { inner }))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        traced("worlds", None, self.inner.worlds(range, limit)).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        traced("usage", Some(world), self.inner.usage(world)).await
    }

    fn stats(&self) -> StorageStats {
        self.inner.stats()
    }

    async fn close(&self) -> Result<()> {
        traced("close", None, self.inner.close()).await
    }
}

/// A snapshot whose reads are told of.
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
        traced("log", Some(world), self.inner.log(world, range, limit)).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        traced("state", Some(world), self.inner.state(world, range, limit)).await
    }
}

#[cfg(test)]
mod tests;
