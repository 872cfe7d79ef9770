//! A consistent view of one world, for a bounded time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aqevia_storage::{
    Error, ErrorKind, Limit, LogRange, LogRow, Page, Phase, Reads, Result, StateRange, StateRow,
    WorldId, check_snapshot,
};
use async_trait::async_trait;
use rusqlite::Connection;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::pool::{Lease, blocking};
use crate::read;

/// What a snapshot reads from.
#[derive(Debug)]
pub(crate) enum View {
    /// A connection in a transaction that has read.
    Transaction(Lease),
    /// A database of its own.
    Copy(Connection),
}

impl View {
    fn connection(&mut self) -> Result<&Connection> {
        match self {
            Self::Transaction(lease) => lease.connection(),
            Self::Copy(connection) => Ok(connection),
        }
    }
}

/// The snapshots that are there, so that closing the store ends them.
#[derive(Debug)]
pub(crate) struct Snapshots {
    age_max: Duration,
    /// `None` once they have been ended.
    views: Mutex<Option<Vec<Weak<Held>>>>,
}

/// A view until it is taken away.
type Held = Mutex<Option<View>>;

impl Snapshots {
    pub(crate) fn new(age_max: Duration) -> Self {
        Self {
            age_max,
            views: Mutex::new(Some(Vec::new())),
        }
    }

    /// Makes a snapshot of a view, and takes the view away when its time is up.
    ///
    /// # Errors
    /// `Closed` if the store has been closed meanwhile.
    pub(crate) fn add(&self, world: &WorldId, view: View, phase: Arc<Phase>) -> Result<Snapshot> {
        let mut views = lock(&self.views);
        let Some(views) = &mut *views else {
            return Err(Error::closed("the store is closed"));
        };
        let held = Arc::new(Mutex::new(Some(view)));
        views.retain(|view| view.strong_count() > 0);
        views.push(Arc::downgrade(&held));
        let mut expiry = JoinSet::new();
        expiry.spawn(expire(Arc::downgrade(&held), self.age_max));
        Ok(Snapshot {
            world: world.clone(),
            held,
            age_max: self.age_max,
            phase,
            _expiry: expiry,
        })
    }

    /// Takes all views away. It waits for the pages that are being read.
    pub(crate) fn end(&self) {
        let views = lock(&self.views).take().unwrap_or_default();
        let views = views.iter().filter_map(Weak::upgrade);
        views.for_each(|held| take(&held));
    }
}

async fn expire(held: Weak<Held>, age_max: Duration) {
    sleep(age_max).await;
    if let Some(held) = held.upgrade() {
        // It fails if the runtime is shutting down, and the snapshot with it.
        let _ = blocking(move || {
            take(&held);
            Ok(())
        })
        .await;
    }
}

fn take(held: &Held) {
    drop(lock(held).take());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A consistent view of one world.
pub(crate) struct Snapshot {
    world: WorldId,
    held: Arc<Held>,
    age_max: Duration,
    phase: Arc<Phase>,
    /// Ends with the snapshot, whichever comes first.
    _expiry: JoinSet<()>,
}

impl Snapshot {
    async fn page<T: Send + 'static>(
        &self,
        world: &WorldId,
        page: impl FnOnce(&Connection, &WorldId) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.phase.check()?;
        check_snapshot(&self.world, world)?;
        let (held, world, age_max) = (Arc::clone(&self.held), world.clone(), self.age_max);
        let read = blocking(move || match &mut *lock(&held) {
            Some(view) => page(view.connection()?, &world),
            None => Err(expired(age_max)),
        });
        let doing = |error: Error| error.context(format_args!("read snapshot of {:?}", self.world));
        read.await.map_err(doing)
    }
}

fn expired(age_max: Duration) -> Error {
    let age_max = age_max.as_millis();
    Error::new(
        ErrorKind::Unavailable,
        format!("it is older than {age_max} ms: take another, or raise snapshot_age_max_ms"),
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
        let page = move |view: &Connection, id: &WorldId| read::log(view, id, range, limit);
        self.page(world, page).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let page = move |view: &Connection, id: &WorldId| read::state(view, id, &range, limit);
        self.page(world, page).await
    }
}
