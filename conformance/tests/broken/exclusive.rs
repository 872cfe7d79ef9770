//! Stores that are not `shared`, or whose snapshots stop their world's writer, and backends that
//! declare the one and do the other.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, Capabilities, Durability, Error, ErrorKind, Limit, LogRange, Memory, Part, Reads,
    Receipt, Result, SchemaPolicy, StateRange, StatsCounter, StorageBackend, StorageStats,
    StoreInfo, WorldId,
};
use async_trait::async_trait;
use conformance::render;

use super::store::Store;
use super::{Broken, Defect, LogPage, StatePage};

/// Who may open the store while another backend has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Second {
    Anyone,
    Nobody,
    /// Whoever does not ask for a reset.
    WithoutReset,
}

/// What a store declares, and what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    declares_shared: bool,
    declares_snapshot: bool,
    second: Second,
    /// Whether a world is written beside its snapshot.
    written: bool,
}

/// A type for each nature, since a store makes itself.
pub(crate) trait Natured: Send + Sync + 'static {
    const NATURE: Nature;
}

macro_rules! natures {
    ($($name:ident: ($shared:literal, $snapshot:literal) $second:ident, $written:literal;)*) => {$(
        pub(crate) struct $name;

        impl Natured for $name {
            const NATURE: Nature = Nature {
                declares_shared: $shared,
                declares_snapshot: $snapshot,
                second: Second::$second,
                written: $written,
            };
        }
    )*};
}

natures! {
    Exclusive: (false, false) Nobody, false;
    ExclusiveWithSnapshots: (false, true) Nobody, true;
    SharedWithoutSnapshots: (true, false) Anyone, false;
    RefusesSecond: (true, true) Nobody, true;
    RefusesSecondReset: (true, true) WithoutReset, true;
    LetsSecondIn: (false, true) Anyone, true;
    StopsWriters: (true, true) Anyone, false;
    LetsWritersOn: (true, false) Anyone, true;
}

/// What the backends over a store know of each other.
#[derive(Default)]
struct Gates {
    /// Whether somebody has the store open who lets in nobody else.
    taken: AtomicBool,
    /// How many snapshots of each world are open.
    snapshots: Mutex<BTreeMap<WorldId, usize>>,
}

/// A store of a nature.
pub(crate) struct ExclusiveStore<N> {
    memory: Memory,
    gates: Arc<Gates>,
    nature: PhantomData<N>,
}

impl<N: Natured> Default for ExclusiveStore<N> {
    fn default() -> Self {
        Self {
            memory: Memory::new(),
            gates: Arc::default(),
            nature: PhantomData,
        }
    }
}

#[async_trait]
impl<N: Natured> Store for ExclusiveStore<N> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::None,
            shared: N::NATURE.declares_shared,
            snapshot: N::NATURE.declares_snapshot,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        Arc::new(Broken {
            memory: self.memory.reopen(),
            defect: Gate {
                gates: Arc::clone(&self.gates),
                nature: N::NATURE,
                holds: AtomicBool::new(false),
                open: AtomicBool::new(false),
                refused: StatsCounter::default(),
            },
        })
    }

    async fn dump(&self) -> Vec<u8> {
        let backend = self.memory.reopen();
        backend.init(SchemaPolicy::Upgrade).await.expect("`init`");
        render(&backend).await
    }
}

/// Lets into the store, and to its worlds, whom its nature lets in.
struct Gate {
    gates: Arc<Gates>,
    nature: Nature,
    /// Whether this backend has taken the store.
    holds: AtomicBool,
    /// Whether this backend is between `init` and `close`.
    open: AtomicBool,
    /// What it refused itself.
    refused: StatsCounter,
}

impl Gate {
    /// Takes the store, unless it has it or shares it.
    fn enter(&self, policy: SchemaPolicy) -> Result<()> {
        let resets = policy == SchemaPolicy::ResetInDevelopment;
        let taken = match self.nature.second {
            Second::Anyone => return Ok(()),
            Second::WithoutReset if !resets => {
                self.gates.taken.store(true, Ordering::Release);
                return Ok(());
            }
            _ => self.gates.taken.swap(true, Ordering::AcqRel),
        };
        if taken && !self.holds.load(Ordering::Acquire) {
            let why = "init: another backend has the store open";
            return Err(Error::new(ErrorKind::Unavailable, why));
        }
        self.holds.store(true, Ordering::Release);
        Ok(())
    }

    fn leave(&self) {
        self.open.store(false, Ordering::Release);
        if self.holds.swap(false, Ordering::AcqRel) {
            self.gates.taken.store(false, Ordering::Release);
        }
    }

    /// Refuses a part of a world with an open snapshot, where that stops writers.
    fn check(&self, part: &Part) -> Result<()> {
        let snapshots = self.gates.snapshots.lock().unwrap();
        let stopped = snapshots.get(part.world()).is_some_and(|count| *count > 0);
        if self.nature.written || !stopped || !self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Unavailable, "a snapshot of the world is open");
        self.refused.count_error(&error);
        Err(part.failed(error))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.leave();
    }
}

#[async_trait]
impl Defect for Gate {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.enter(policy)
            .inspect_err(|error| self.refused.count_error(error))?;
        let mut info = memory.init(policy).await.inspect_err(|_| self.leave())?;
        self.open.store(true, Ordering::Release);
        info.capabilities.shared = self.nature.declares_shared;
        info.capabilities.snapshot = self.nature.declares_snapshot;
        Ok(info)
    }

    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let checks: Vec<_> = batch.parts().iter().map(|part| self.check(part)).collect();
        let parts = batch.parts().iter().zip(&checks);
        let passed = parts.filter(|(_, check)| check.is_ok());
        let passed = passed.map(|(part, _)| Arc::clone(part)).collect();
        let passed = Batch::new(passed).expect("one part a world");
        let mut answers = memory.persist_batch(passed).await.into_iter();
        let answers = checks
            .into_iter()
            .map(|check| check.and_then(|()| answers.next().expect("one answer a part")));
        answers.collect()
    }

    async fn snapshot(&self, memory: &Memory, id: &WorldId) -> Result<Box<dyn Reads>> {
        let reads = memory.snapshot(id).await?;
        *self
            .gates
            .snapshots
            .lock()
            .unwrap()
            .entry(id.clone())
            .or_default() += 1;
        Ok(Box::new(Counted {
            reads,
            id: id.clone(),
            gates: Arc::clone(&self.gates),
        }))
    }

    fn stats(&self, memory: &Memory) -> StorageStats {
        let (mut stats, refused) = (memory.stats(), self.refused.read().errors);
        for kind in ErrorKind::ALL {
            (0..refused.of(kind)).for_each(|_| stats.errors.add(kind));
        }
        stats
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        let closed = memory.close().await;
        self.leave();
        closed
    }
}

/// A snapshot that is counted while it is open.
struct Counted {
    reads: Box<dyn Reads>,
    id: WorldId,
    gates: Arc<Gates>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = self.gates.snapshots.lock().unwrap().get_mut(&self.id) {
            *count -= 1;
        }
    }
}

#[async_trait]
impl Reads for Counted {
    async fn log(&self, id: &WorldId, of: LogRange, to: Limit) -> Result<LogPage> {
        self.reads.log(id, of, to).await
    }

    async fn state(&self, id: &WorldId, of: StateRange, to: Limit) -> Result<StatePage> {
        self.reads.state(id, of, to).await
    }
}
