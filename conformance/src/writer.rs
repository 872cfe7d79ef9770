//! A writer that numbers and links its parts as the controller does.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{
    BatchNumber, BatchRecord, Claim, Epoch, ErrorKind, Owner, Part, Receipt, Result,
    StorageBackend, WorldId,
};
use tokio::time::sleep;

use crate::sample;

/// Who has claimed a world through a backend, and where it stands.
pub(crate) struct Writer {
    pub(crate) backend: Arc<dyn StorageBackend>,
    pub(crate) world: WorldId,
    /// As the claim was answered, and moved on by each part that is persisted.
    pub(crate) claim: Claim,
}

impl Writer {
    /// Claims a world.
    pub(crate) async fn claim(backend: &Arc<dyn StorageBackend>, world: &WorldId) -> Self {
        Self::claim_as(backend, world, "the suite").await
    }

    /// Claims a world in somebody's name.
    pub(crate) async fn claim_as(
        backend: &Arc<dyn StorageBackend>,
        world: &WorldId,
        owner: &str,
    ) -> Self {
        let owner = Owner::new(owner).expect("an owner that is allowed");
        let schema = sample::schema().fingerprint();
        let claim = backend.claim(world, &owner, schema).await;
        Self {
            backend: Arc::clone(backend),
            world: world.clone(),
            claim: claim.expect("`claim` of a world"),
        }
    }

    /// The part that follows the last.
    pub(crate) fn part(&self, records: Vec<BatchRecord>) -> Arc<Part> {
        self.part_numbered(self.claim.last_number.get() + 1, records)
    }

    /// A part under a number that may be wrong.
    pub(crate) fn part_numbered(&self, number: u64, records: Vec<BatchRecord>) -> Arc<Part> {
        self.part_of(self.claim.epoch, number, records)
    }

    /// A part of an epoch and a number that may both be wrong.
    pub(crate) fn part_of(
        &self,
        epoch: Epoch,
        number: u64,
        records: Vec<BatchRecord>,
    ) -> Arc<Part> {
        let number = BatchNumber::new(number).expect("a number there is");
        let (at_ms, link) = (self.claim.last_at_ms + 1, self.claim.link);
        let part = Part::new(self.world.clone(), epoch, number, at_ms, link, records);
        Arc::new(part.expect("a part within its limits"))
    }

    /// Persists records as the part that follows the last, which has to succeed.
    pub(crate) async fn persist(&mut self, records: Vec<BatchRecord>) -> Receipt {
        let part = self.part(records);
        let receipt = persist(&*self.backend, &part).await;
        let receipt = receipt.expect("`persist_batch` of the part that follows");
        self.advance(&part);
        receipt
    }

    /// Goes on after a part that is in the store.
    pub(crate) fn advance(&mut self, part: &Part) {
        if part.records().is_empty() {
            return;
        }
        let head = self.claim.head.advance(u64::from(part.count()));
        self.claim.head = head.expect("sequences are left");
        self.claim.last_number = part.number();
        self.claim.last_at_ms = part.at_ms();
        self.claim.link = part.link();
    }
}

/// Persists a batch of one part.
pub(crate) async fn persist(backend: &dyn StorageBackend, part: &Arc<Part>) -> Result<Receipt> {
    let mut answers = persist_all(backend, std::slice::from_ref(part)).await;
    answers.pop().expect("one answer")
}

/// Persists a batch of one part, again and again while the store is busy with the same one.
///
/// Where a call was given up, the store may still be at work on it; `Unavailable` is its right then.
pub(crate) async fn persist_settled(
    backend: &dyn StorageBackend,
    part: &Arc<Part>,
) -> Result<Receipt> {
    for _ in 0..SETTLED_TRIES {
        match persist(backend, part).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => sleep(SETTLED_PAUSE).await,
            answer => return answer,
        }
    }
    persist(backend, part).await
}

/// How long a store may be at work on a call that was given up: 10 s.
const SETTLED_TRIES: u32 = 1000;
const SETTLED_PAUSE: Duration = Duration::from_millis(10);

/// Persists a batch. The parts come in the order of their worlds, and so do the answers.
pub(crate) async fn persist_all(
    backend: &dyn StorageBackend,
    parts: &[Arc<Part>],
) -> Vec<Result<Receipt>> {
    let batch = aqevia_storage::Batch::new(parts.to_vec()).expect("one part a world");
    let answers = backend.persist_batch(batch).await;
    assert_eq!(
        answers.len(),
        parts.len(),
        "P11: each part has its own answer"
    );
    answers
}
