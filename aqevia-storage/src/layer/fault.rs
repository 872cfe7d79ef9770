//! Faults by a seed, and outages on demand.

mod plan;
mod switch;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::plan::{FaultPlan, FaultRates};
pub use self::switch::{FaultCounts, FaultHandle};
use self::switch::{Shared, planned};
use crate::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Part, Reads,
    Receipt, Result, SchemaPolicy, StateRange, StateRow, StatsCounter, StorageBackend,
    StorageStats, StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};

/// Lets a store fail as a [`FaultPlan`] says, or altogether: for tests of what stands above it.
///
/// Faults befall reads, claims and parts from the beginning; a [`FaultHandle`] ends them, begins
/// them again, and begins and ends outages. `init` fails in an outage only, `close` never: a store
/// that is away is let go of as well. A fault of one part leaves the others of its batch alone,
/// except that a part that is delayed or hangs holds up its batch.
///
/// **Stats** are the store's, and the errors that this layer answered itself, in snapshots
/// excepted. A part whose answer was lost counts as what became of it, and as `Ambiguous`.
///
/// # Cancel safety
/// A call that is dropped while it is delayed or hangs never comes to the store: put a
/// [`Timeout`](super::Timeout) around this layer to have it go on. Later it is as the backend's.
pub struct Fault<B> {
    inner: B,
    shared: Arc<Shared>,
    answered: StatsCounter,
}

impl<B> Fault<B> {
    /// A backend with faults.
    ///
    /// # Errors
    /// `Invalid` if the rates of a kind of call are together over 1000, if reads are to be `full`
    /// or `lost`, or if the longest delay is over its limit.
    pub fn new(inner: B, plan: FaultPlan) -> Result<Self> {
        plan.check()?;
        Ok(Self {
            inner,
            shared: Arc::new(Shared::new(&plan)),
            answered: StatsCounter::default(),
        })
    }

    /// What switches the faults of this backend.
    #[must_use]
    pub fn handle(&self) -> FaultHandle {
        FaultHandle(Arc::clone(&self.shared))
    }

    /// Counts and returns the error of a part that this layer answers itself.
    fn fail(&self, part: &Part, error: Error) -> Error {
        let error = part.failed(error);
        self.answered.count_error(&error);
        error
    }
}

impl<B: StorageBackend> Fault<B> {
    async fn read<T>(
        &self,
        doing: impl FnOnce() -> String + Send,
        read: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.answered.count(self.shared.befall_read(doing).await)?;
        read.await
    }
}

impl<B> fmt::Debug for Fault<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("counts", &*self.shared.counts())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<B: StorageBackend> Reads for Fault<B> {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let doing = || format!("read the log of world {world:?}");
        self.read(doing, self.inner.log(world, range, limit)).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let doing = || format!("read the state of world {world:?}");
        self.read(doing, self.inner.state(world, range, limit))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: StorageBackend> StorageBackend for Fault<B> {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        let doing = |error: Error| error.context("initialise the store");
        let reached = self.shared.check_outage().map_err(doing);
        self.answered.count(reached)?;
        self.inner.init(policy).await
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let act = self.shared.throw(|[_, claims, _]| claims);
        let doing = |error: Error| error.context(format_args!("claim world {world:?}"));
        let befallen = self.shared.befall(act).await.map_err(doing);
        self.answered.count(befallen)?;
        let answer = self.inner.claim(world, owner, schema).await;
        match self.shared.lost(act).map(doing) {
            Some(lost) => self.answered.count(Err(lost)),
            None => answer,
        }
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let parts = batch.parts();
        let throw = |_| self.shared.throw(|[_, _, parts]| parts);
        let acts: Vec<_> = parts.iter().map(throw).collect();
        self.shared.hold(&acts).await;
        let verdicts: Vec<_> = acts.iter().map(|act| self.shared.judge(*act)).collect();
        let admitted = parts.iter().zip(&verdicts);
        let admitted = admitted.filter(|(_, verdict)| verdict.is_ok());
        let admitted = admitted.map(|(part, _)| Arc::clone(part)).collect();
        let given = self.inner.persist_batch(Batch::share(admitted)).await;
        let mut given = given.into_iter();
        let answers = parts.iter().zip(acts.into_iter().zip(verdicts));
        let answers = answers.map(|(part, (act, verdict))| {
            if let Err(error) = verdict {
                return Err(self.fail(part, error));
            }
            let answer = given.next();
            match self.shared.lost(act) {
                Some(error) => Err(self.fail(part, error)),
                None => {
                    answer.unwrap_or_else(|| Err(self.fail(part, planned(ErrorKind::Ambiguous))))
                }
            }
        });
        answers.collect()
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let doing = || format!("take a snapshot of world {world:?}");
        let inner = self.read(doing, self.inner.snapshot(world)).await?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Snapshot { inner, shared }))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let doing = || "read the worlds".to_owned();
        self.read(doing, self.inner.worlds(range, limit)).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        let doing = || format!("count what world {world:?} holds");
        self.read(doing, self.inner.usage(world)).await
    }

    fn stats(&self) -> StorageStats {
        let mut stats = self.inner.stats();
        stats.errors.merge(&self.answered.read().errors);
        stats
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// A snapshot whose reads meet the faults of reads.
struct Snapshot {
    inner: Box<dyn Reads>,
    shared: Arc<Shared>,
}

#[async_trait]
impl Reads for Snapshot {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let doing = || format!("read the log of world {world:?} in a snapshot");
        self.shared.befall_read(doing).await?;
        self.inner.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let doing = || format!("read the state of world {world:?} in a snapshot");
        self.shared.befall_read(doing).await?;
        self.inner.state(world, range, limit).await
    }
}

#[cfg(test)]
mod tests;
