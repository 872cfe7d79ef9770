//! What the engine of a run calls: the controller, or one that is broken on purpose.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use aqevia_storage::{
    ControllerConfig, Entity, Exposure, Limit, Reads, Receipt, Refused, Result, Sequence,
    StateRange, StateSource, StorageBackend, StorageController, Unflushed, Unpersisted, World,
    WorldRecord,
};
use async_trait::async_trait;

use crate::history::name;

/// What a call comes to.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The answer to a group.
pub(crate) type Answer = Later<Result<Receipt>>;

/// Starts a subject over a store.
pub(crate) type Start =
    fn(Arc<dyn StorageBackend>, ControllerConfig) -> Later<Result<Arc<dyn Subject>>>;

/// What the engine calls. Whatever a broken controller does right, it leaves to the real one.
#[async_trait]
pub(crate) trait Subject: Send + Sync {
    /// The controller that does what is not broken.
    fn real(&self) -> &Real;

    async fn open(&self, world: usize) -> Result<()> {
        self.real().open(world).await
    }

    fn record(&self, record: WorldRecord, world: usize) -> Result<(), Refused> {
        self.real().world(world).record(record)
    }

    fn submit(&self, world: usize, group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        let ticket = self.real().world(world).submit(group)?;
        Ok(Box::pin(ticket))
    }

    fn commit(&self, world: usize, group: Vec<WorldRecord>) -> Answer {
        let world = self.real().world(world);
        Box::pin(async move { world.commit(group).await })
    }

    fn mark(&self, world: usize, entity: &Entity) -> Result<()> {
        let world = self.real().world(world);
        world.mark_dirty(&entity.collection, &entity.key)
    }

    fn set_source(&self, source: Arc<dyn StateSource>) -> Result<()> {
        self.real().controller.set_state_source(source)
    }

    async fn flush(&self) -> Result<()> {
        self.real().controller.flush().await
    }

    async fn save(&self) -> Result<()> {
        self.real().controller.save_all().await.map(drop)
    }

    async fn read(&self, world: usize) {
        let (world, controller) = (name(world), &self.real().controller);
        let page = controller.state(&world, StateRange::all(), Limit::default());
        // Whether the store is there does not matter here: it is not to be claimed.
        drop(page.await);
    }

    fn exposure(&self) -> Exposure {
        self.real().controller.exposure()
    }

    fn is_healthy(&self) -> bool {
        self.real().controller.health().borrow().is_healthy()
    }

    async fn shutdown(&self) -> Result<(), Unflushed> {
        self.real().controller.shutdown().await
    }

    fn take_unpersisted(&self, world: usize) -> Unpersisted {
        self.real().world(world).take_unpersisted()
    }
}

/// The controller, with the worlds that are open.
#[derive(Debug)]
pub(crate) struct Real {
    pub(crate) controller: StorageController,
    worlds: Mutex<Vec<Option<World>>>,
}

/// The most worlds of a run.
const WORLDS: usize = 3;

impl Real {
    pub(crate) async fn start(
        store: Arc<dyn StorageBackend>,
        config: ControllerConfig,
    ) -> Result<Self> {
        Ok(Self {
            controller: StorageController::start_here(store, config).await?,
            worlds: Mutex::new(vec![None; WORLDS]),
        })
    }

    /// A world that is open.
    pub(crate) fn world(&self, world: usize) -> World {
        self.find(world).unwrap()
    }

    /// A world, if it was ever opened.
    pub(crate) fn find(&self, world: usize) -> Option<World> {
        let worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        worlds.get(world).cloned().flatten()
    }

    pub(crate) fn adopt(&self, world: usize, head: u64) -> Result<()> {
        let head = Sequence::new(head)?;
        let opened = self.controller.adopt_world(name(world), head)?;
        self.keep(world, opened);
        Ok(())
    }

    async fn open(&self, world: usize) -> Result<()> {
        let opened = self.controller.open_world(name(world)).await?;
        self.keep(world, opened);
        Ok(())
    }

    fn keep(&self, world: usize, opened: World) {
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = worlds.get_mut(world) {
            *place = Some(opened);
        }
    }
}

impl Subject for Real {
    fn real(&self) -> &Real {
        self
    }
}

/// Starts the real controller.
pub(crate) fn real(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Later<Result<Arc<dyn Subject>>> {
    Box::pin(async move {
        let real = Real::start(store, config).await?;
        Ok(Arc::new(real) as Arc<dyn Subject>)
    })
}
