//! What the tests of the layers share: a backend whose calls can be held, and some parts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::{
    Batch, BatchNumber, BatchRecord, Claim, Collection, Epoch, Fingerprint, History, Key, Limit,
    Link, LogRange, LogRow, Memory, Owner, Page, Part, Payload, Reads, Receipt, Result, Schema,
    SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats, StoreInfo, Usage, WorldId,
    WorldPage, WorldRange, WorldRecord,
};

/// `Memory`, which waits in the next calls for as long as the script says, and notes them.
#[derive(Default)]
pub(super) struct Held {
    memory: Memory,
    script: Mutex<VecDeque<oneshot::Receiver<()>>>,
    calls: Mutex<Vec<String>>,
}

impl Held {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Holds one more of the next calls, until the sender is used or dropped.
    pub(super) fn hold(&self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel();
        self.script.lock().unwrap().push_back(receiver);
        sender
    }

    /// The calls that came, in their order, each when it came and `…` again when it was executed.
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    async fn held(&self, call: String) {
        self.calls.lock().unwrap().push(call.clone());
        let next = self.script.lock().unwrap().pop_front();
        if let Some(held) = next {
            drop(held.await);
            self.calls.lock().unwrap().push(format!("… {call}"));
        }
    }
}

#[async_trait]
impl Reads for Held {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.held("log".to_owned()).await;
        self.memory.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.held("state".to_owned()).await;
        self.memory.state(world, range, limit).await
    }
}

#[async_trait]
impl StorageBackend for Held {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.held("init".to_owned()).await;
        self.memory.init(policy).await
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.held(format!("claim {world}")).await;
        self.memory.claim(world, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let parts = batch.parts().iter();
        let parts: Vec<_> = parts
            .map(|part| format!("{} {}", part.world(), part.number()))
            .collect();
        self.held(parts.join(", ")).await;
        self.memory.persist_batch(batch).await
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        self.held("snapshot".to_owned()).await;
        drop(self.memory.snapshot(world).await?);
        Ok(Box::new(HeldSnapshot))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.held("worlds".to_owned()).await;
        self.memory.worlds(range, limit).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        self.held("usage".to_owned()).await;
        self.memory.usage(world).await
    }

    fn stats(&self) -> StorageStats {
        self.memory.stats()
    }

    async fn close(&self) -> Result<()> {
        self.held("close".to_owned()).await;
        self.memory.close().await
    }
}

/// A snapshot that never answers.
struct HeldSnapshot;

#[async_trait]
impl Reads for HeldSnapshot {
    async fn log(&self, _: &WorldId, _: LogRange, _: Limit) -> Result<Page<LogRow, LogRange>> {
        std::future::pending().await
    }

    async fn state(
        &self,
        _: &WorldId,
        _: StateRange,
        _: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        std::future::pending().await
    }
}

pub(super) fn world(name: &str) -> WorldId {
    WorldId::new(name).unwrap()
}

/// Initialises a store and claims worlds in it.
pub(super) async fn claim(store: &impl StorageBackend, worlds: &[&str]) {
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    for name in worlds {
        claim_one(store, name).await.unwrap();
    }
}

pub(super) async fn claim_one(store: &impl StorageBackend, name: &str) -> Result<Claim> {
    let schema = Schema::new().fingerprint();
    store.claim(&world(name), &Owner::process(1), schema).await
}

/// A part of the first epoch with one record, whose payload is `a secret`.
pub(super) fn part(name: &str, number: u64) -> Arc<Part> {
    let (world, planets) = (world(name), Collection::new("planets").unwrap());
    let key = Key::new("p1").unwrap();
    let payload = Payload::json(&"a secret").unwrap();
    let record = WorldRecord::put(&world, &planets, key, payload, 0);
    let records = vec![BatchRecord::new(record, History::Latest)];
    let number = BatchNumber::new(number).unwrap();
    let part = Part::new(world, Epoch::FIRST, number, 0, Link::ORIGIN, records);
    Arc::new(part.unwrap())
}

pub(super) fn batch(parts: &[&Arc<Part>]) -> Batch {
    Batch::new(parts.iter().map(|part| Arc::clone(part)).collect()).unwrap()
}

/// Persists one part.
pub(super) async fn persist(store: &impl StorageBackend, part: &Arc<Part>) -> Result<Receipt> {
    store.persist_batch(batch(&[part])).await.remove(0)
}
