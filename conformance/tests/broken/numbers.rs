//! Defects in how parts are told apart: by epoch, number and content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Claim, Epoch, Error, ErrorKind, Fingerprint, Link, Memory,
    Owner, Part, Receipt, Result, StorageBackend, WorldId,
};
use async_trait::async_trait;

use super::{Defect, each, head, persist_one};

/// Forgets which parts it wrote, and writes them again under the next number.
#[derive(Default)]
pub(crate) struct Forgetful;

#[async_trait]
impl Defect for Forgetful {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let repeated = |answer: &Result<Receipt>, _: &Part| {
            answer.as_ref().is_ok_and(|receipt| receipt.repeated)
        };
        persist_instead(memory, batch, repeated).await
    }
}

/// Knows the last part of a world again, and none before it.
#[derive(Default)]
pub(crate) struct KnowsLastPart;

#[async_trait]
impl Defect for KnowsLastPart {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut answers = memory.persist_batch(batch.clone()).await;
        for (answer, part) in answers.iter_mut().zip(batch.parts()) {
            let last = head(memory, part.world())
                .await
                .map(|head| head.last_number);
            if answer.is_ok() && last.is_some_and(|last| part.number() < last) {
                *answer = Err(part.failed(Error::invalid("other content stands there")));
            }
        }
        answers
    }
}

/// Knows the parts again that came through itself, and none that came through a backend before.
#[derive(Default)]
pub(crate) struct KnowsOwnParts {
    own: Mutex<BTreeSet<Identity>>,
}

/// World, epoch and number of a part.
type Identity = (WorldId, Epoch, BatchNumber);

fn identity(part: &Part) -> Identity {
    (part.world().clone(), part.epoch(), part.number())
}

#[async_trait]
impl Defect for KnowsOwnParts {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        let mut own = self.own.lock().unwrap();
        let parts = batch.parts().iter();
        let answers = answers
            .into_iter()
            .zip(parts)
            .map(|(answer, part)| match answer {
                Ok(receipt) if receipt.repeated && !own.contains(&identity(part)) => {
                    Err(part.failed(Error::invalid("other content stands there")))
                }
                Ok(receipt) => {
                    own.insert(identity(part));
                    Ok(receipt)
                }
                Err(error) => Err(error),
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
        persist_instead(memory, batch, |answer, _| is(answer, ErrorKind::Invalid)).await
    }
}

/// Takes the number zero for the next.
#[derive(Default)]
pub(crate) struct ZeroIsNext;

#[async_trait]
impl Defect for ZeroIsNext {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let zero = |answer: &Result<Receipt>, part: &Part| {
            is(answer, ErrorKind::Invalid) && part.number() == BatchNumber::ZERO
        };
        persist_instead(memory, batch, zero).await
    }
}

/// Takes an epoch that nobody has claimed yet for the present one.
#[derive(Default)]
pub(crate) struct AnyLaterEpoch;

#[async_trait]
impl Defect for AnyLaterEpoch {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut present = BTreeMap::new();
        for part in batch.parts() {
            let head = head(memory, part.world()).await;
            present.insert(part.world().clone(), head.map(|head| head.epoch));
        }
        let later = |answer: &Result<Receipt>, part: &Part| {
            let present = present.get(part.world()).copied().flatten();
            is(answer, ErrorKind::Invalid) && present.is_some_and(|epoch| part.epoch() > epoch)
        };
        persist_instead(memory, batch, later).await
    }
}

/// Takes two parts for one that differ in their timestamps.
#[derive(Default)]
pub(crate) struct TimesIgnored {
    written: Mutex<BTreeMap<Identity, (Vec<BatchRecord>, Receipt)>>,
}

#[async_trait]
impl Defect for TimesIgnored {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        let mut written = self.written.lock().unwrap();
        let parts = batch.parts().iter();
        let answers = answers.into_iter().zip(parts).map(|(answer, part)| {
            let timeless = timeless(part);
            if let Ok(receipt) = answer {
                written.insert(identity(part), (timeless, receipt));
                return Ok(receipt);
            }
            let invalid = is(&answer, ErrorKind::Invalid);
            match written.get(&identity(part)) {
                Some((records, first)) if invalid && *records == timeless => {
                    Ok(Receipt::repeated(first.first, first.count))
                }
                _ => answer,
            }
        });
        answers.collect()
    }
}

/// The records of a part without their timestamps.
fn timeless(part: &Part) -> Vec<BatchRecord> {
    let part = each(part, |mut record| {
        record.timestamp = 0;
        record
    });
    part.records().to_vec()
}

/// Tells a claimant the link before the first part, wherever its world stands.
#[derive(Default)]
pub(crate) struct NoLink;

#[async_trait]
impl Defect for NoLink {
    async fn claim(
        &self,
        memory: &Memory,
        id: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let claim = memory.claim(id, owner, schema).await?;
        Ok(Claim {
            link: Link::ORIGIN,
            ..claim
        })
    }
}

/// Whether a part was refused as this kind.
pub(crate) fn is(answer: &Result<Receipt>, kind: ErrorKind) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == kind)
}

/// Persists parts under the epoch and number that would be right, if their answers are `wrong`.
pub(crate) async fn persist_instead(
    memory: &Memory,
    batch: Batch,
    wrong: impl Fn(&Result<Receipt>, &Part) -> bool + Send,
) -> Vec<Result<Receipt>> {
    let mut answers = memory.persist_batch(batch.clone()).await;
    for (answer, part) in answers.iter_mut().zip(batch.parts()) {
        if wrong(answer, part) {
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
