//! A bound on how long a caller waits for a store.

mod deadline;
mod lanes;
mod limits;
mod under_way;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use self::deadline::{Deadline, NO_ANSWER};
use self::lanes::{Lanes, Turn};
pub use self::limits::Timeouts;
use self::under_way::UnderWay;
use crate::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Part, Phase,
    Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow, StatsCounter, StorageBackend,
    StorageStats, StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};

/// Answers in the store's place when it takes too long.
///
/// | call | answer past its time | what becomes of the call |
/// | --- | --- | --- |
/// | reads | `Unavailable` | it is dropped |
/// | `persist_batch` | `Ambiguous` for each part that has no answer | it goes on |
/// | `claim`, `init` | `Ambiguous` | it goes on |
/// | `close` | `Unavailable` | it goes on |
///
/// **Order.** Of one world, one write is in the store at a time, in the order of the calls: the
/// same part tried again waits until the first attempt has ended, and is then a repeat (clause P5).
/// A claim that was given up cannot come after a later one and fence its own writer. The waiting
/// counts as time; a write whose time ends while it waits never comes to the store, so that at most
/// one write a world goes on unseen. It is answered `Ambiguous` all the same, since the attempt
/// before may be of the same part. Parts that wait do not hold up the rest of their batch: those of
/// worlds without a write under way go together at once.
///
/// **Closing.** `close` refuses what comes after it, waits for the writes under way, and then
/// closes the store; past its time it closes the store all the same, without waiting. A `close`
/// again waits for what the one before left behind.
///
/// **Stats** are the store's, and the errors that this layer answered itself. A part that was
/// answered `Ambiguous` here and later written counts as both, as does one that fails later.
///
/// **Dropping** it lets go of the store at once; what was under way is dropped, and finished by the
/// backend as a call whose caller went away.
///
/// **Cost.** A task for each write, and a lock for each part.
///
/// # Cancel safety
/// As the backend's. A write goes on when its future is dropped, in a task of this layer; the one
/// that waited for its turn goes on waiting, at most for its time.
pub struct Timeout<B> {
    inner: Arc<B>,
    limits: Timeouts,
    lanes: Lanes,
    under_way: UnderWay,
    phase: Phase,
    answered: StatsCounter,
}

impl<B> Timeout<B> {
    /// A backend with these times.
    ///
    /// # Errors
    /// `Invalid` if a time is zero or over [`StorageConfig::DURATION_MAX`](crate::StorageConfig::DURATION_MAX).
    pub fn new(inner: B, limits: Timeouts) -> Result<Self> {
        limits.check()?;
        Ok(Self {
            inner: Arc::new(inner),
            limits,
            lanes: Lanes::default(),
            under_way: UnderWay::default(),
            phase: Phase::default(),
            answered: StatsCounter::default(),
        })
    }

    /// Refuses what comes after `close`, which may still wait for what came before.
    fn check_open(&self) -> Result<()> {
        self.answered.count(self.phase.check_open())
    }

    /// Counts and returns an error of this layer's own.
    fn answer(&self, error: Error) -> Error {
        self.answered.count_error(&error);
        error
    }

    /// The answer to a part for which the store has none.
    fn unanswered(&self, part: &Part) -> Error {
        let error = Error::new(ErrorKind::Ambiguous, NO_ANSWER);
        self.answer(part.failed(error))
    }
}

impl<B: StorageBackend + 'static> Timeout<B> {
    async fn read<T>(
        &self,
        doing: impl FnOnce() -> String + Send,
        read: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.check_open()?;
        let answer = in_time(self.limits.read, doing, read).await;
        answer.unwrap_or_else(|error| Err(self.answer(error)))
    }

    /// Passes on a share of a batch when its worlds' turn has come; `None` if that is too late.
    fn write(
        &self,
        share: Batch,
        turns: Vec<Turn>,
        deadline: Deadline,
    ) -> oneshot::Receiver<Option<Vec<Result<Receipt>>>> {
        let inner = Arc::clone(&self.inner);
        self.under_way.start(async move {
            let mut places = Vec::with_capacity(turns.len());
            for turn in turns {
                places.push(deadline.bound(turn.come()).await?);
            }
            let answers = inner.persist_batch(share).await;
            drop(places);
            Some(answers)
        })
    }
}

impl<B> Drop for Timeout<B> {
    fn drop(&mut self) {
        self.under_way.let_go();
    }
}

impl<B> fmt::Debug for Timeout<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The answer of a read, or the error in its place if it takes too long.
async fn in_time<T>(
    limit: Option<Duration>,
    doing: impl FnOnce() -> String,
    read: impl Future<Output = Result<T>>,
) -> Result<Result<T>> {
    let Some(limit) = limit else {
        return Ok(read.await);
    };
    let deadline = Deadline::after(limit);
    let late = || deadline.late(ErrorKind::Unavailable).context(doing());
    deadline.bound(read).await.ok_or_else(late)
}

#[async_trait]
impl<B: StorageBackend + 'static> Reads for Timeout<B> {
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
impl<B: StorageBackend + 'static> StorageBackend for Timeout<B> {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.check_open()?;
        let Some(limit) = self.limits.init else {
            return self.inner.init(policy).await;
        };
        let deadline = Deadline::after(limit);
        let inner = Arc::clone(&self.inner);
        let init = async move { Some(inner.init(policy).await) };
        let init = self.under_way.start(init);
        let answer = deadline.answer(init, ErrorKind::Ambiguous).await;
        answer.unwrap_or_else(|error| Err(self.answer(error.context("initialise the store"))))
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.check_open()?;
        let Some(limit) = self.limits.write else {
            return self.inner.claim(world, owner, schema).await;
        };
        let deadline = Deadline::after(limit);
        let turn = self.lanes.queue(world);
        let inner = Arc::clone(&self.inner);
        let (claimed, owner) = (world.clone(), owner.clone());
        let claim = self.under_way.start(async move {
            let place = deadline.bound(turn.come()).await?;
            let claim = inner.claim(&claimed, &owner, schema).await;
            drop(place);
            Some(claim)
        });
        let doing = |error: Error| error.context(format_args!("claim world {world:?}"));
        let answer = deadline.answer(claim, ErrorKind::Ambiguous).await;
        answer.unwrap_or_else(|error| Err(self.answer(doing(error))))
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let parts = batch.parts().iter();
        if let Err(error) = self.phase.check_open() {
            let answers = parts.map(|part| Err(self.answer(part.failed(error.clone()))));
            return answers.collect();
        }
        let Some(limit) = self.limits.write else {
            return self.inner.persist_batch(batch).await;
        };
        let deadline = Deadline::after(limit);
        // All of them begin before the first is waited for.
        let writes: Vec<_> = self
            .lanes
            .divide(&batch)
            .into_iter()
            .map(|(share, turns)| (share.clone(), self.write(share, turns, deadline)))
            .collect();
        let mut answers = BTreeMap::new();
        for (share, write) in writes {
            let given = deadline.answer(write, ErrorKind::Ambiguous).await;
            let mut given = given.map(Vec::into_iter);
            for part in share.parts() {
                let answer = match &mut given {
                    Ok(given) => given.next().unwrap_or_else(|| Err(self.unanswered(part))),
                    Err(error) => Err(self.answer(part.failed(error.clone()))),
                };
                answers.insert(part.world().clone(), answer);
            }
        }
        let answers = parts.filter_map(|part| answers.remove(part.world()));
        answers.collect()
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let doing = || format!("take a snapshot of world {world:?}");
        let inner = self.read(doing, self.inner.snapshot(world)).await?;
        let limit = self.limits.read;
        Ok(Box::new(Snapshot { inner, limit }))
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
        self.phase.close();
        let Some(limit) = self.limits.close else {
            self.under_way.ended().await;
            return self.inner.close().await;
        };
        let deadline = Deadline::after(limit);
        let ended = deadline.bound(self.under_way.ended()).await;
        let inner = Arc::clone(&self.inner);
        let close = async move { Some(inner.close().await) };
        let close = self.under_way.start(close);
        let answer = match ended {
            Some(()) => deadline.answer(close, ErrorKind::Unavailable).await,
            None => Err(deadline.late(ErrorKind::Unavailable)),
        };
        answer.unwrap_or_else(|error| Err(self.answer(error.context("close the store"))))
    }
}

/// A snapshot whose reads have their time.
struct Snapshot {
    inner: Box<dyn Reads>,
    limit: Option<Duration>,
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
        in_time(self.limit, doing, self.inner.log(world, range, limit)).await?
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let doing = || format!("read the state of world {world:?} in a snapshot");
        in_time(self.limit, doing, self.inner.state(world, range, limit)).await?
    }
}

#[cfg(test)]
mod tests;
