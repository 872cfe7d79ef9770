//! A consistent view of one world, for a bounded time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqevia_storage::{
    Error, ErrorKind, Limit, LogRange, LogRow, Page, Reads, Result, StateRange, StateRow, WorldId,
    check_snapshot,
};
use async_trait::async_trait;
use redb::ReadTransaction;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::backend::blocking;
use crate::read;
use crate::store::Store;

/// How long a snapshot can be read. Until then redb keeps every page that it has replaced since.
pub(crate) const AGE_MAX: Duration = Duration::from_secs(60);

/// A consistent view of one world.
pub(crate) struct Snapshot {
    world: WorldId,
    store: Arc<Store>,
    view: View,
    /// Ends with the snapshot, whichever comes first.
    _expiry: JoinSet<()>,
}

/// A read transaction until its time is up.
type View = Arc<Mutex<Option<ReadTransaction>>>;

impl Snapshot {
    pub(crate) fn new(world: &WorldId, store: Arc<Store>, transaction: ReadTransaction) -> Self {
        let view = View::new(Mutex::new(Some(transaction)));
        let mut expiry = JoinSet::new();
        let held = Arc::downgrade(&view);
        expiry.spawn(async move {
            sleep(AGE_MAX).await;
            if let Some(view) = held.upgrade() {
                view.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        });
        Self {
            world: world.clone(),
            store,
            view,
            _expiry: expiry,
        }
    }

    async fn page<T: Send + 'static>(
        &self,
        world: &WorldId,
        page: impl FnOnce(&ReadTransaction, &WorldId) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        check_snapshot(&self.world, world)?;
        let (world, view) = (world.clone(), Arc::clone(&self.view));
        let store = Arc::clone(&self.store);
        let read = move || {
            // redb has some pages of a closed file still in memory, and would answer from them.
            store.phase.check()?;
            let view = view.lock().unwrap_or_else(PoisonError::into_inner);
            match &*view {
                Some(transaction) => page(transaction, &world),
                None => Err(too_old()),
            }
        };
        blocking(ErrorKind::Unavailable, read).await
    }
}

fn too_old() -> Error {
    let seconds = AGE_MAX.as_secs();
    Error::new(
        ErrorKind::Unavailable,
        format!("the snapshot is older than {seconds} s; take another"),
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
        let page = self.page(world, move |t, world| read::log(t, world, range, limit));
        let page = page.await;
        page.map_err(|error| error.context(format_args!("read log of world {world:?}")))
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let page = self.page(world, move |t, world| read::state(t, world, &range, limit));
        let page = page.await;
        page.map_err(|error| error.context(format_args!("read state of world {world:?}")))
    }
}
