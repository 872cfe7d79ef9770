//! What a broken controller does to the store: a layer that does it between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aqevia_storage::{
    Batch, BatchNumber, Change, ControllerConfig, Epoch, Error, ErrorKind, Fingerprint, Link,
    Owner, Part, Receipt, Result, StorageBackend, WorldId,
};
use async_trait::async_trait;

use super::layer::{Tamper, layer};
use crate::subject::{Later, Subject, real};

type Started = Later<Result<Arc<dyn Subject>>>;

/// A layer that does nothing.
pub(super) fn sound(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    real(layer(store, Sound), config)
}

pub(super) fn renumbers(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    real(layer(store, Renumbers::default()), config)
}

pub(super) fn drops_on_retry(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    real(layer(store, DropsOnRetry::default()), config)
}

pub(super) fn coalesces_across_groups(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    real(layer(store, Coalesces), config)
}

pub(super) fn takes_doubt_for_failure(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    real(layer(store, TakesDoubtForFailure), config)
}

pub(super) fn claims_again(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    real(layer(store, ClaimsAgain), config)
}

pub(super) fn claims_what_it_reads(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    real(layer(store, ClaimsWhatItReads), config)
}

struct Sound;

impl Tamper for Sound {}

/// Forms a part anew after its answer was lost, under the next number.
#[derive(Default)]
struct Renumbers {
    lost: Mutex<BTreeMap<(WorldId, Epoch), Lost>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    /// By how much the numbers are too high.
    more: u64,
    /// The answer to the last part was lost.
    last: bool,
}

impl Renumbers {
    fn lost(&self, part: &Part) -> Lost {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (part.world().clone(), part.epoch());
        lost.get(&key).copied().unwrap_or_default()
    }

    fn keep(&self, part: &Part, now: Lost) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.insert((part.world().clone(), part.epoch()), now);
    }
}

#[async_trait]
impl Tamper for Renumbers {
    fn before(&self, part: &Arc<Part>) -> Arc<Part> {
        let lost = self.lost(part);
        again(part, lost.more + u64::from(lost.last), part.records().len())
    }

    async fn after(
        &self,
        store: &dyn StorageBackend,
        part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        let mut lost = self.lost(part);
        match answer.as_ref().map_err(Error::kind) {
            Ok(_) if lost.last => {
                lost.more += 1;
                lost.last = false;
            }
            // The part was not there: its own number is the next.
            Err(ErrorKind::Invalid) if lost.last => {
                let batch = Batch::new(vec![again(part, lost.more, part.records().len())])?;
                lost.last = false;
                self.keep(part, lost);
                let mut answers = store.persist_batch(batch).await;
                return answers.pop().unwrap_or(answer);
            }
            Err(ErrorKind::Ambiguous) => lost.last = true,
            _ => {}
        }
        self.keep(part, lost);
        answer
    }
}

/// A part with a higher number, of the first so many records.
fn again(part: &Part, more: u64, count: usize) -> Arc<Part> {
    let number = BatchNumber::new(part.number().get() + more).unwrap();
    let records = part.records().iter().take(count).cloned().collect();
    let (world, epoch, at_ms) = (part.world().clone(), part.epoch(), part.at_ms());
    let part = Part::new(world, epoch, number, at_ms, Link::ORIGIN, records);
    Arc::new(part.unwrap())
}

/// Leaves the last record out of a part that the store did not take at first.
#[derive(Default)]
struct DropsOnRetry {
    failed: Mutex<BTreeSet<(WorldId, BatchNumber)>>,
}

#[async_trait]
impl Tamper for DropsOnRetry {
    fn before(&self, part: &Arc<Part>) -> Arc<Part> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = part.records().len();
        match failed.contains(&(part.world().clone(), part.number())) && count > 1 {
            true => again(part, 0, count - 1),
            false => Arc::clone(part),
        }
    }

    async fn after(
        &self,
        _store: &dyn StorageBackend,
        part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (part.world().clone(), part.number());
        match answer.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Unavailable | ErrorKind::Full) => drop(failed.insert(key)),
            Err(ErrorKind::Ambiguous) => {}
            _ => drop(failed.remove(&key)),
        }
        answer.map(|receipt| whole(receipt, part))
    }
}

/// The receipt of a part of which something was left out.
fn whole(receipt: Receipt, part: &Part) -> Receipt {
    match receipt.repeated {
        true => Receipt::repeated(receipt.first, part.count()),
        false => Receipt::written(receipt.first, part.count()),
    }
}

/// Leaves each record out of a part after which another of its key comes, whatever is between.
struct Coalesces;

#[async_trait]
impl Tamper for Coalesces {
    fn before(&self, part: &Arc<Part>) -> Arc<Part> {
        let mut newer = BTreeSet::new();
        let mut kept: Vec<_> = part.records().iter().rev().cloned().collect();
        kept.retain(|record| {
            let given = record.record();
            let event = matches!(given.change, Change::Event { .. });
            let key = given.key().filter(|_| !event && !record.is_logged());
            key.is_none_or(|key| newer.insert((given.collection.clone(), key.clone())))
        });
        kept.reverse();
        let (world, epoch, number) = (part.world().clone(), part.epoch(), part.number());
        let sent = Part::new(world, epoch, number, part.at_ms(), Link::ORIGIN, kept);
        Arc::new(sent.unwrap())
    }

    async fn after(
        &self,
        _store: &dyn StorageBackend,
        part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        answer.map(|receipt| whole(receipt, part))
    }
}

/// Believes that a part is not in the store when that is not known.
struct TakesDoubtForFailure;

#[async_trait]
impl Tamper for TakesDoubtForFailure {
    async fn after(
        &self,
        _store: &dyn StorageBackend,
        _part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        answer.map_err(|error| match error.kind() {
            ErrorKind::Ambiguous => Error::new(ErrorKind::Unavailable, error.to_string()),
            _ => error,
        })
    }
}

/// Claims a world when it is fenced.
struct ClaimsAgain;

#[async_trait]
impl Tamper for ClaimsAgain {
    async fn after(
        &self,
        store: &dyn StorageBackend,
        part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::Fenced) {
            claim(store, part.world()).await;
        }
        answer
    }
}

/// Claims each world that is read.
struct ClaimsWhatItReads;

#[async_trait]
impl Tamper for ClaimsWhatItReads {
    async fn before_read(&self, store: &dyn StorageBackend, world: &WorldId) {
        claim(store, world).await;
    }
}

async fn claim(store: &dyn StorageBackend, world: &WorldId) {
    let owner = Owner::new("again").unwrap();
    // Whether it succeeds does not matter: it is not to be tried.
    drop(store.claim(world, &owner, Fingerprint([0; 32])).await);
}

/// Loses what it is handed, once it is told to.
pub(super) struct Forgets(pub(super) Arc<AtomicBool>);

#[async_trait]
impl Tamper for Forgets {
    async fn before_batch(&self) {
        if self.0.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

/// Tells of the parts that are in the store.
pub(super) struct Tells<F>(pub(super) F);

#[async_trait]
impl<F: Fn(&WorldId) + Send + Sync> Tamper for Tells<F> {
    async fn after(
        &self,
        _store: &dyn StorageBackend,
        part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        if answer.is_ok() {
            (self.0)(part.world());
        }
        answer
    }
}
