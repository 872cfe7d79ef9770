//! A consistent view of one world, for a bounded time, during which the world is not written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aqevia_storage::{
    Error, ErrorKind, Limit, LogRange, LogRow, Page, Phase, Reads, Result, StateRange, StateRow,
    WorldId, check_snapshot,
};
use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::engine::Engine;
use crate::pool::{Pool, blocking};
use crate::read;
use crate::shared::Shared;

/// A world that is held, until this is dropped.
#[derive(Debug)]
struct View {
    shared: Arc<Shared>,
    world: WorldId,
    /// How often the store had failed when the view was taken.
    failures: u64,
}

impl Drop for View {
    fn drop(&mut self) {
        self.shared.end_hold(&self.world);
    }
}

/// A view until its time is up.
type Held = Mutex<Option<View>>;

async fn expire(held: Weak<Held>, age_max: Duration) {
    sleep(age_max).await;
    if let Some(held) = held.upgrade() {
        // It fails if the runtime is shutting down, and the snapshot with it.
        let _ = blocking(move || {
            drop(lock(&held).take());
            Ok(())
        })
        .await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A consistent view of one world.
pub(crate) struct Snapshot {
    world: WorldId,
    held: Arc<Held>,
    age_max: Duration,
    pool: Pool,
    phase: Arc<Phase>,
    /// Ends with the snapshot, whichever comes first.
    _expiry: JoinSet<()>,
}

impl Snapshot {
    /// Takes a view of a world as it is at this moment.
    pub(crate) async fn open(
        world: &WorldId,
        pool: &Pool,
        age_max: Duration,
        phase: Arc<Phase>,
    ) -> Result<Self> {
        let id = world.clone();
        let view = pool.read(move |shared| {
            let failures = shared.begin_hold(&id)?;
            Ok(View {
                shared: Arc::clone(shared),
                world: id,
                failures,
            })
        });
        let held = Arc::new(Mutex::new(Some(view.await?)));
        let mut expiry = JoinSet::new();
        expiry.spawn(expire(Arc::downgrade(&held), age_max));
        Ok(Self {
            world: world.clone(),
            held,
            age_max,
            pool: pool.clone(),
            phase,
            _expiry: expiry,
        })
    }

    async fn page<T: Send + 'static>(
        &self,
        world: &WorldId,
        page: impl FnOnce(&Engine, &WorldId) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.phase.check()?;
        check_snapshot(&self.world, world)?;
        let (held, world, age_max) = (Arc::clone(&self.held), world.clone(), self.age_max);
        let read = self.pool.read(move |shared| {
            // The view cannot end, and so its world not be written, while this is locked.
            let view = lock(&held);
            let view = view.as_ref().ok_or_else(|| expired(age_max))?;
            shared.read_since(view.failures, |engine| page(engine, &world))
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
        let page = move |engine: &Engine, id: &WorldId| read::log(engine, id, range, limit);
        self.page(world, page).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let page = move |engine: &Engine, id: &WorldId| read::state(engine, id, &range, limit);
        self.page(world, page).await
    }
}
