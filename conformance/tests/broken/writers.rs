//! Defects in who may write what.

use std::sync::Arc;

use aqevia_storage::{
    Batch, BatchNumber, Error, ErrorKind, Limit, Memory, Part, Receipt, Result, StorageBackend,
    WorldHead, WorldId, WorldRange,
};
use async_trait::async_trait;

use super::{Defect, persist_one};

/// Forgets which parts it wrote, and writes them again under the next number.
#[derive(Default)]
pub(crate) struct Forgetful;

#[async_trait]
impl Defect for Forgetful {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut answers = memory.persist_batch(batch.clone()).await;
        for (answer, part) in answers.iter_mut().zip(batch.parts()) {
            if answer.as_ref().is_ok_and(|receipt| receipt.repeated) {
                *answer = persist_one(memory, renumbered(memory, part).await).await;
            }
        }
        answers
    }
}

/// Looks at the epoch of a part before it looks whether it wrote it.
#[derive(Default)]
pub(crate) struct FencedFirst;

#[async_trait]
impl Defect for FencedFirst {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut answers = memory.persist_batch(batch.clone()).await;
        for (answer, part) in answers.iter_mut().zip(batch.parts()) {
            let head = head(memory, part.world()).await;
            if answer.is_ok() && head.is_some_and(|head| part.epoch() < head.epoch) {
                *answer = Err(part.failed(Error::new(ErrorKind::Fenced, "an older epoch")));
            }
        }
        answers
    }
}

/// Writes the part of a writer that is fenced, as if its epoch were the present one.
#[derive(Default)]
pub(crate) struct NotFencing;

#[async_trait]
impl Defect for NotFencing {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        instead_of(ErrorKind::Fenced, memory, batch).await
    }
}

/// Refuses a writer that is fenced without saying who has the world.
#[derive(Default)]
pub(crate) struct NamesNobody;

#[async_trait]
impl Defect for NamesNobody {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        let parts = batch.parts().iter();
        let answers = answers.into_iter().zip(parts).map(|(answer, part)| {
            answer.map_err(|error| match error.kind() {
                ErrorKind::Fenced => part.failed(Error::new(ErrorKind::Fenced, "somebody came")),
                _ => error,
            })
        });
        answers.collect()
    }
}

/// Writes a part under any number, as if it were the next one.
#[derive(Default)]
pub(crate) struct AnyNumber;

#[async_trait]
impl Defect for AnyNumber {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        instead_of(ErrorKind::Invalid, memory, batch).await
    }
}

/// Refuses a batch of several parts as soon as one of them is refused.
#[derive(Default)]
pub(crate) struct OneRefusesAll;

#[async_trait]
impl Defect for OneRefusesAll {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        for part in batch.parts() {
            let head = head(memory, part.world()).await;
            if head.is_some_and(|head| head.epoch != part.epoch()) {
                let refused = Error::new(ErrorKind::Unavailable, "one of them is refused");
                let parts = batch.parts().iter();
                return parts
                    .map(|part| Err(part.failed(refused.clone())))
                    .collect();
            }
        }
        memory.persist_batch(batch).await
    }
}

/// Persists the parts that are refused as `kind` under the epoch and number that would be right.
async fn instead_of(kind: ErrorKind, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
    let mut answers = memory.persist_batch(batch.clone()).await;
    for (answer, part) in answers.iter_mut().zip(batch.parts()) {
        if answer.as_ref().is_err_and(|error| error.kind() == kind) {
            *answer = persist_one(memory, renumbered(memory, part).await).await;
        }
    }
    answers
}

/// The part with the epoch and the number that would be right for its world.
pub(crate) async fn renumbered(memory: &Memory, part: &Part) -> Arc<Part> {
    let world = part.world().clone();
    let head = head(memory, &world).await;
    let (epoch, last) = head.map_or((part.epoch(), BatchNumber::ZERO), |head| {
        (head.epoch, head.last_number)
    });
    let number = last.advance(1).unwrap();
    let records = part.records().to_vec();
    let part = Part::new(world, epoch, number, part.at_ms(), part.link(), records);
    Arc::new(part.unwrap())
}

async fn head(memory: &Memory, world: &WorldId) -> Option<WorldHead> {
    let page = memory.worlds(WorldRange::all(), Limit::default()).await;
    let heads = page.map(|page| page.items).unwrap_or_default();
    heads.into_iter().find(|head| head.world == *world)
}
