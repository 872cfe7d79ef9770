//! Defects in what a medium keeps when a backend over it ends: a store in memory behind a journal.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use aqevia_storage::{
    Batch, Claim, Fingerprint, Limit, LogRange, Memory, Owner, Reads, Receipt, Result,
    SchemaPolicy, StateRange, StorageBackend, Usage, WorldId,
};
use async_trait::async_trait;
use conformance::render;

use super::store::Store;
use super::{Broken, Defect, LogPage, StatePage};

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing.
    Nothing,
    /// What was not followed by a `close`.
    Dropped,
    /// By `close`, of a last batch of several parts all but the first.
    LastBatch,
    /// By `close`, the parts that nothing was read after.
    Unread,
}

/// A type for each loss, since a store makes itself.
pub(crate) trait Medium: Send + Sync + 'static {
    const LOSS: Loss;
}

macro_rules! media {
    ($($name:ident: $loss:ident),* $(,)?) => {$(
        pub(crate) struct $name;

        impl Medium for $name {
            const LOSS: Loss = Loss::$loss;
        }
    )*};
}

media!(
    KeepsAll: Nothing,
    LostWhenDropped: Dropped,
    BatchLostByClose: LastBatch,
    UnreadLostByClose: Unread,
);

/// A call that changed the store.
#[derive(Clone)]
enum Call {
    Claim(WorldId, Owner, Fingerprint),
    Persist(Batch),
}

/// What the medium keeps.
type Journal = Arc<Mutex<Vec<Call>>>;

/// The store that the backends over a medium share.
struct Live {
    memory: Memory,
    calls: Mutex<Vec<Call>>,
    /// How many of the calls came before the last read.
    read: AtomicUsize,
}

impl Live {
    /// The store as a medium keeps it.
    async fn restored(journal: &Journal) -> Self {
        let calls = journal.lock().unwrap().clone();
        let memory = Memory::new();
        memory.init(SchemaPolicy::Upgrade).await.expect("`init`");
        for call in calls.clone() {
            match call {
                Call::Claim(world, owner, schema) => {
                    drop(memory.claim(&world, &owner, schema).await);
                }
                Call::Persist(batch) => drop(memory.persist_batch(batch).await),
            }
        }
        Self {
            memory,
            read: AtomicUsize::new(calls.len()),
            calls: Mutex::new(calls),
        }
    }
}

/// A store over a medium.
pub(crate) struct CachedStore<M> {
    journal: Journal,
    live: Mutex<Weak<Live>>,
    medium: PhantomData<M>,
}

impl<M: Medium> Default for CachedStore<M> {
    fn default() -> Self {
        Self {
            journal: Journal::default(),
            live: Mutex::default(),
            medium: PhantomData,
        }
    }
}

#[async_trait]
impl<M: Medium> Store for CachedStore<M> {
    async fn open(&self) -> Arc<dyn StorageBackend> {
        let restored = Arc::new(Live::restored(&self.journal).await);
        let live = {
            let mut shared = self.live.lock().unwrap();
            let live = shared.upgrade().unwrap_or(restored);
            *shared = Arc::downgrade(&live);
            live
        };
        Arc::new(Broken {
            memory: live.memory.reopen(),
            defect: Cached {
                live: Mutex::new(Some(live)),
                journal: Arc::clone(&self.journal),
                loss: M::LOSS,
            },
        })
    }

    async fn dump(&self) -> Vec<u8> {
        render(&Live::restored(&self.journal).await.memory).await
    }
}

/// Notes what changes the store, and writes it to the medium.
struct Cached {
    /// The store, until this backend is closed.
    live: Mutex<Option<Arc<Live>>>,
    journal: Journal,
    loss: Loss,
}

impl Cached {
    fn note(&self, call: Call) {
        if let Some(live) = &*self.live.lock().unwrap() {
            let mut calls = live.calls.lock().unwrap();
            calls.push(call);
            if self.loss != Loss::Dropped {
                self.journal.lock().unwrap().clone_from(&calls);
            }
        }
    }

    fn note_read(&self) {
        if let Some(live) = &*self.live.lock().unwrap() {
            let noted = live.calls.lock().unwrap().len();
            live.read.store(noted, Ordering::Release);
        }
    }

    /// Writes down what is kept of the calls when this backend is closed.
    fn keep(&self, live: &Live) {
        let mut kept = live.calls.lock().unwrap().clone();
        match (self.loss, kept.last_mut()) {
            (Loss::LastBatch, Some(Call::Persist(batch))) => {
                let first = batch.parts().iter().take(1).cloned().collect();
                *batch = Batch::new(first).expect("one part at most");
            }
            (Loss::Unread, _) => {
                let unread = kept.split_off(live.read.load(Ordering::Acquire).min(kept.len()));
                let claims = unread.into_iter();
                kept.extend(claims.filter(|call| matches!(call, Call::Claim(..))));
            }
            _ => {}
        }
        *self.journal.lock().unwrap() = kept;
    }
}

#[async_trait]
impl Defect for Cached {
    async fn claim(
        &self,
        memory: &Memory,
        id: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let claim = memory.claim(id, owner, schema).await?;
        self.note(Call::Claim(id.clone(), owner.clone(), schema));
        Ok(claim)
    }

    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        if answers.iter().any(Result::is_ok) {
            self.note(Call::Persist(batch));
        }
        answers
    }

    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        self.note_read();
        from.log(id, of, to).await
    }

    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        self.note_read();
        from.state(id, of, to).await
    }

    async fn usage(&self, memory: &Memory, id: &WorldId) -> Result<Usage> {
        self.note_read();
        memory.usage(id).await
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        if let Some(live) = self.live.lock().unwrap().take() {
            self.keep(&live);
        }
        memory.close().await
    }
}
