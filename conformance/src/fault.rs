//! A backend that fails on demand, around the harness' own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use aqevia_storage::{
    Batch, BatchRecord, Claim, Error, ErrorKind, Fingerprint, Limit, LogRange, LogRow, Owner, Page,
    Part, Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats,
    StoreInfo, Usage, WorldId, WorldPage, WorldRange, WorldRecord,
};
use async_trait::async_trait;
use tokio::sync::watch;

/// What befalls a part on its way to the store, or its answer on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The part is not executed, and answered with this kind.
    Refuse(ErrorKind),
    /// The part is executed, and answered `Ambiguous`.
    LoseAnswer,
}

/// A backend that passes on what is not planned to fail, and notes what it was asked.
pub(crate) struct Faulty {
    inner: Arc<dyn StorageBackend>,
    state: Mutex<State>,
    /// Whether `persist_batch` goes on, or waits.
    passing: watch::Sender<bool>,
    /// How often `persist_batch` was called.
    calls: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    plans: BTreeMap<WorldId, VecDeque<Fault>>,
    forever: BTreeMap<WorldId, Fault>,
    /// Parts that hold one of these are refused as `Invalid`.
    refused: Vec<WorldRecord>,
    /// Whether `init` finds no store.
    away: bool,
    claims: usize,
    parts: Vec<Arc<Part>>,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn StorageBackend>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            state: Mutex::default(),
            passing: watch::Sender::new(true),
            calls: watch::Sender::new(0),
        })
    }

    /// Plans what befalls the next parts of a world, one fault for each time one is persisted.
    pub(crate) fn plan(&self, world: &WorldId, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.lock();
        let plan = state.plans.entry(world.clone()).or_default();
        plan.extend(faults);
    }

    /// Plans what befalls every part of a world, once the faults that are planned are over.
    pub(crate) fn plan_forever(&self, world: &WorldId, fault: Fault) {
        self.lock().forever.insert(world.clone(), fault);
    }

    /// Refuses every part that holds a record, as `Invalid`.
    pub(crate) fn refuse(&self, record: WorldRecord) {
        self.lock().refused.push(record);
    }

    /// Lets `init` find no store from now on.
    pub(crate) fn stay_away(&self) {
        self.lock().away = true;
    }

    /// Ends all that was planned.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.plans.clear();
        state.forever.clear();
        state.away = false;
    }

    /// Lets the calls of `persist_batch` wait from now on.
    pub(crate) fn hold(&self) {
        self.passing.send_replace(false);
    }

    /// Lets them go on.
    pub(crate) fn release(&self) {
        self.passing.send_replace(true);
    }

    /// How often `persist_batch` was called.
    pub(crate) fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// Waits until `persist_batch` was called so often.
    pub(crate) async fn called(&self, times: usize) {
        let mut calls = self.calls.subscribe();
        let called = calls.wait_for(|calls| *calls >= times).await;
        called
            .map(|_| ())
            .expect("the backend lives as long as this call");
    }

    /// How often a world was claimed.
    pub(crate) fn claims(&self) -> usize {
        self.lock().claims
    }

    /// The parts that came, each time they came, in their order.
    pub(crate) fn parts(&self) -> Vec<Arc<Part>> {
        self.lock().parts.clone()
    }

    /// Takes what befalls each part of a batch.
    fn befall(&self, batch: &Batch) -> Vec<Option<Fault>> {
        let mut state = self.lock();
        let parts = batch.parts().iter();
        let faults = parts.map(|part| {
            state.parts.push(Arc::clone(part));
            let world = part.world();
            let mut records = part.records().iter().map(BatchRecord::record);
            if records.any(|record| state.refused.contains(record)) {
                return Some(Fault::Refuse(ErrorKind::Invalid));
            }
            let planned = state.plans.get_mut(world).and_then(VecDeque::pop_front);
            planned.or_else(|| state.forever.get(world).copied())
        });
        faults.collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

fn answer(part: &Part, kind: ErrorKind) -> Result<Receipt> {
    Err(part.failed(Error::new(kind, "a fault that the suite planned")))
}

#[async_trait]
impl Reads for Faulty {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.inner.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.inner.state(world, range, limit).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Faulty {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        if self.lock().away {
            let away = "a store that the suite keeps away";
            return Err(Error::new(ErrorKind::Unavailable, away));
        }
        self.inner.init(policy).await
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.lock().claims += 1;
        self.inner.claim(world, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let faults = self.befall(&batch);
        self.calls.send_modify(|calls| *calls += 1);
        let mut passing = self.passing.subscribe();
        let passed = passing.wait_for(|passing| *passing).await;
        passed
            .map(|_| ())
            .expect("the backend lives as long as this call");

        let refused = |fault: &Option<Fault>| matches!(fault, Some(Fault::Refuse(_)));
        let parts = batch.parts().iter().zip(&faults);
        let parts = parts.filter(|(_, fault)| !refused(fault));
        let parts = parts.map(|(part, _)| Arc::clone(part)).collect();
        let executed = Batch::new(parts).expect("one part a world");
        let executed = self.inner.persist_batch(executed).await;
        let mut executed = executed.into_iter();
        let answers = batch
            .parts()
            .iter()
            .zip(faults)
            .map(|(part, fault)| match fault {
                Some(Fault::Refuse(kind)) => answer(part, kind),
                Some(Fault::LoseAnswer) => {
                    drop(executed.next());
                    answer(part, ErrorKind::Ambiguous)
                }
                None => executed.next().expect("one answer a part"),
            });
        answers.collect()
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        self.inner.snapshot(world).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.inner.worlds(range, limit).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        self.inner.usage(world).await
    }

    fn stats(&self) -> StorageStats {
        self.inner.stats()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
