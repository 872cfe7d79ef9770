//! Our side: a controller over a store, each batch a group that is committed.

use anyhow::Result;
use aqevia::{
    Collection, ControllerConfig, History, Schema, StorageController, World, WorldId, WorldRecord,
};

use crate::side::Persist;
use crate::workload::{COLLECTIONS, LOGGED, Row, records};

/// A world that groups are committed to.
pub(crate) struct Ours {
    controller: StorageController,
    world: World,
    names: Vec<Collection>,
}

impl Ours {
    /// A world in the store of a URL.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let controller = start(url, ControllerConfig::default()).await?;
        let world = controller.open_world(WorldId::new(WORLD)?).await?;
        Ok(Self {
            controller,
            world,
            names: names()?,
        })
    }

    /// How many records the world held when it was opened.
    pub(crate) fn opened_at(&self) -> u64 {
        self.world.opened_at().get()
    }

    /// Ends with everything in the store.
    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.controller.shutdown().await?)
    }
}

impl Persist for Ours {
    type Batch = Vec<WorldRecord>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        records(self.world.id(), &self.names, rows)
    }

    async fn persist(&mut self, group: Vec<WorldRecord>) -> Result<()> {
        self.world.commit(group).await?;
        Ok(())
    }
}

/// The world that is written, where there is one.
pub(crate) const WORLD: &str = "bench";

/// A controller over the store of a URL that knows which collections keep their history.
pub(crate) async fn start(url: &str, mut config: ControllerConfig) -> Result<StorageController> {
    let names = names()?;
    let logged = names.get(LOGGED).unwrap_or_default().iter().cloned();
    config.schema = logged.fold(Schema::new(), |schema, name| {
        schema.with_history(name, History::All)
    });
    Ok(StorageController::start(aqevia::open(url)?, config).await?)
}

/// The collections, in the order of [`COLLECTIONS`].
pub(crate) fn names() -> Result<Vec<Collection>> {
    let names = COLLECTIONS.iter().map(Collection::new);
    Ok(names.collect::<aqevia::Result<_>>()?)
}
