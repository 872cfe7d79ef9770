//! A consistent view of one world, for a bounded time.

use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aqevia_storage::{
    Error, ErrorKind, Limit, LogRange, LogRow, Page, Phase, Reads, Result, StateRange, StateRow,
    WorldId, check_snapshot,
};
use async_trait::async_trait;
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinSet, spawn};
use tokio::time::timeout;

use crate::error::reading;
use crate::pool::Lease;
use crate::read;
use crate::reply::reply;
use crate::store::Reading;
use crate::world::head;
use crate::writer::finished;

/// Begins the transaction of a snapshot.
pub(crate) async fn begin(lease: &mut Lease, world: &WorldId) -> Result<()> {
    let reply_max = lease.terms().reply_max;
    let begun = async {
        let begin = sqlx::raw_sql(include_str!("sql/begin_snapshot.sql"));
        begin.execute(lease.connection()).await.map_err(reading)?;
        // Order matters: a transaction sees the store as of its first read.
        head(lease.connection(), world).await.map(drop)
    };
    match reply(reply_max, begun, reading).await {
        Err(error) => Err(lease.explain_in_transaction(error).await),
        begun => begun,
    }
}

/// The snapshots that are there, so that closing the store ends them.
#[derive(Debug)]
pub(crate) struct Snapshots {
    age_max: Duration,
    /// `None` once they have been ended.
    views: Lock<Option<Vec<Weak<Held>>>>,
}

/// A session in the transaction of a snapshot, until it is taken away.
type Held = Mutex<Option<Lease>>;

impl Snapshots {
    pub(crate) fn new(age_max: Duration) -> Self {
        Self {
            age_max,
            views: Lock::new(Some(Vec::new())),
        }
    }

    /// Makes a snapshot of a session in a transaction, and ends the session when the snapshot is
    /// dropped or its time is up.
    ///
    /// # Errors
    /// `Closed` if the store has been closed meanwhile.
    pub(crate) fn add(&self, world: &WorldId, view: Lease, phase: Arc<Phase>) -> Result<Snapshot> {
        let mut views = lock(&self.views);
        let Some(views) = &mut *views else {
            return Err(Error::closed("the store is closed"));
        };
        let held = Arc::new(Mutex::new(Some(view)));
        views.retain(|view| view.strong_count() > 0);
        views.push(Arc::downgrade(&held));
        let (in_use, dropped) = oneshot::channel();
        spawn(expire(Arc::clone(&held), dropped, self.age_max));
        Ok(Snapshot {
            world: world.clone(),
            held,
            age_max: self.age_max,
            phase,
            _in_use: in_use,
        })
    }

    /// Takes all views away. It waits for the pages that are being read.
    pub(crate) async fn end(&self) {
        let views = lock(&self.views).take().unwrap_or_default();
        let mut ending = JoinSet::new();
        for held in views.iter().filter_map(Weak::upgrade) {
            ending.spawn(async move { take(&held).await });
        }
        while ending.join_next().await.is_some() {}
    }
}

async fn expire(held: Arc<Held>, dropped: oneshot::Receiver<()>, age_max: Duration) {
    // Both outcomes end it: its time is up, or nobody has the snapshot any more.
    let _ = timeout(age_max, dropped).await;
    take(&held).await;
}

async fn take(held: &Held) {
    let view = held.lock().await.take();
    if let Some(lease) = view {
        lease.end().await;
    }
}

fn lock<T>(mutex: &Lock<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A consistent view of one world.
pub(crate) struct Snapshot {
    world: WorldId,
    held: Arc<Held>,
    age_max: Duration,
    phase: Arc<Phase>,
    /// Tells, by being dropped, that the snapshot is.
    _in_use: oneshot::Sender<()>,
}

impl Snapshot {
    async fn page<T: Send + 'static>(&self, world: &WorldId, page: Reading<T>) -> Result<T> {
        self.phase.check()?;
        check_snapshot(&self.world, world)?;
        let (held, age_max) = (Arc::clone(&self.held), self.age_max);
        let read = async move {
            let mut view = held.lock().await;
            let Some(mut lease) = view.take() else {
                return Err(ended(age_max));
            };
            match lease.read(page).await {
                Ok(read) => {
                    *view = Some(lease);
                    Ok(read)
                }
                // The server has given up the transaction.
                Err(error) => {
                    let error = lease.explain_in_transaction(error).await;
                    lease.finish(Some(&error)).await;
                    Err(error)
                }
            }
        };
        let doing = |error: Error| error.context(format_args!("read snapshot of {:?}", self.world));
        let read = finished(read, ErrorKind::Unavailable).await;
        read.and_then(|read| read).map_err(doing)
    }
}

fn ended(age_max: Duration) -> Error {
    let age_max = age_max.as_millis();
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "it is older than {age_max} ms, or its connection broke: take another, or raise \
             snapshot_age_max_ms"
        ),
    )
}

#[async_trait]
impl Reads for Snapshot {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let id = world.clone();
        let page: Reading<_> =
            Box::new(move |view| Box::pin(async move { read::log(view, &id, range, limit).await }));
        self.page(world, page).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let id = world.clone();
        let page: Reading<_> = Box::new(move |view| {
            Box::pin(async move { read::state(view, &id, &range, limit).await })
        });
        self.page(world, page).await
    }
}
