//! Defects in what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqevia_storage::{
    Batch, Error, ErrorKind, Limit, LogRange, Memory, Reads, Receipt, Result, StatsCounter,
    StorageBackend, StorageStats, Usage, WorldId,
};
use async_trait::async_trait;

use super::Defect;

/// Counts each call as a flush, whether it wrote something or not.
#[derive(Default)]
pub(crate) struct CountsCalls {
    calls: AtomicU64,
}

#[async_trait]
impl Defect for CountsCalls {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        memory.persist_batch(batch).await
    }

    fn stats(&self, memory: &Memory) -> StorageStats {
        let mut stats = memory.stats();
        stats.flush_count = self.calls.load(Ordering::Relaxed);
        stats
    }
}

/// Counts each part that was written as a flush.
#[derive(Default)]
pub(crate) struct CountsParts {
    parts: AtomicU64,
}

#[async_trait]
impl Defect for CountsParts {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch).await;
        let receipts = answers.iter().flatten();
        let written = receipts.filter(|receipt| !receipt.repeated && receipt.count > 0);
        self.parts
            .fetch_add(written.count() as u64, Ordering::Relaxed);
        answers
    }

    fn stats(&self, memory: &Memory) -> StorageStats {
        let mut stats = memory.stats();
        stats.flush_count = self.parts.load(Ordering::Relaxed);
        stats
    }
}

/// Counts what all backends over the store wrote.
#[derive(Default)]
pub(crate) struct CountsForAll {
    all: Arc<StatsCounter>,
}

#[async_trait]
impl Defect for CountsForAll {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        self.all.count_batch(&batch, &answers);
        answers
    }

    fn stats(&self, memory: &Memory) -> StorageStats {
        let mut stats = self.all.read();
        stats.errors = memory.stats().errors;
        stats
    }

    fn another(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
        }
    }
}

/// Tells as a world's log records its sequences, of which some were taken by others.
#[derive(Default)]
pub(crate) struct UsageOfSequences;

#[async_trait]
impl Defect for UsageOfSequences {
    async fn usage(&self, memory: &Memory, id: &WorldId) -> Result<Usage> {
        let page = memory.log(id, LogRange::ALL, Limit::items(1)).await?;
        let mut usage = memory.usage(id).await?;
        usage.log_records = page.head.get();
        Ok(usage)
    }
}

/// Tells that a world holds nothing before `init`.
#[derive(Default)]
pub(crate) struct UsageAtOnce;

#[async_trait]
impl Defect for UsageAtOnce {
    async fn usage(&self, memory: &Memory, id: &WorldId) -> Result<Usage> {
        unless(ErrorKind::Invalid, memory.usage(id).await)
    }
}

/// Tells that a world holds nothing after `close`.
#[derive(Default)]
pub(crate) struct UsageAfterClose;

#[async_trait]
impl Defect for UsageAfterClose {
    async fn usage(&self, memory: &Memory, id: &WorldId) -> Result<Usage> {
        unless(ErrorKind::Closed, memory.usage(id).await)
    }
}

/// The usage, or that of nothing if it cannot be told for this reason.
fn unless(kind: ErrorKind, usage: Result<Usage>) -> Result<Usage> {
    usage.or_else(|error: Error| match error.kind() == kind {
        true => Ok(Usage::default()),
        false => Err(error),
    })
}
