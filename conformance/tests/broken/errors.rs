//! Defects in what errors leave, say and show, and in what follows `close`.

use std::sync::atomic::{AtomicBool, Ordering};

use aqevia_storage::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Limit, LogRange, Memory, Owner, Reads, Receipt,
    Result, Schema, StorageBackend, WorldId,
};
use async_trait::async_trait;

use super::{Defect, LogPage, beside};

/// Raises the epoch of a world when it refuses a part of it.
#[derive(Default)]
pub(crate) struct LeavesTrace;

#[async_trait]
impl Defect for LeavesTrace {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        for (answer, part) in answers.iter().zip(batch.parts()) {
            if answer.is_err() {
                let schema = Schema::new().fingerprint();
                // After `close` there is nothing to leave a trace in.
                let _ = memory.claim(part.world(), &Owner::process(1), schema).await;
            }
        }
        answers
    }
}

/// Writes down a claim that it answers as `Closed`.
#[derive(Default)]
pub(crate) struct ClaimsWhenClosed;

#[async_trait]
impl Defect for ClaimsWhenClosed {
    async fn claim(
        &self,
        memory: &Memory,
        id: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let claim = memory.claim(id, owner, schema).await;
        if claim
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Closed)
        {
            beside(memory).await.claim(id, owner, schema).await?;
        }
        claim
    }
}

/// Shows the first payload of a part that it refuses.
#[derive(Default)]
pub(crate) struct ShowsPayload;

#[async_trait]
impl Defect for ShowsPayload {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        let parts = batch.parts().iter();
        let answers = answers.into_iter().zip(parts).map(|(answer, part)| {
            answer.map_err(|error| {
                let first = part.records().first();
                let payload = first.and_then(|record| record.record().payload());
                let bytes = payload
                    .map(|payload| payload.as_bytes())
                    .unwrap_or_default();
                error.context(String::from_utf8_lossy(bytes))
            })
        });
        answers.collect()
    }
}

/// Can be read after `close`.
#[derive(Default)]
pub(crate) struct NeverClosed;

#[async_trait]
impl Defect for NeverClosed {
    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let page = from.log(id, of, to).await;
        page.or_else(|error| match error.to_string().contains("closed") {
            true => Ok(LogPage::new(Vec::new(), None, Default::default())),
            false => Err(error),
        })
    }
}

/// Answers `Closed` to `close`, if it is called again.
#[derive(Default)]
pub(crate) struct ClosesOnce {
    closed: AtomicBool,
}

#[async_trait]
impl Defect for ClosesOnce {
    async fn close(&self, memory: &Memory) -> Result<()> {
        match self.closed.swap(true, Ordering::AcqRel) {
            true => Err(Error::closed("close the store: it is closed")),
            false => memory.close().await,
        }
    }
}

/// Says what is the matter, and not with which part.
#[derive(Default)]
pub(crate) struct NamesNothing;

#[async_trait]
impl Defect for NamesNothing {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch).await;
        let answers = answers.into_iter().map(|answer| {
            answer.map_err(|error| {
                let owner = error
                    .to_string()
                    .rsplit(": ")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                Error::new(error.kind(), owner)
            })
        });
        answers.collect()
    }
}
