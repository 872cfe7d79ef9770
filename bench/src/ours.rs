//! Our side: a controller over a store, each batch a group that is committed.

use anyhow::Result;
use aqevia::{
    Collection, ControllerConfig, History, Schema, StorageController, World, WorldId, WorldRecord,
};
use async_trait::async_trait;

use crate::side::Side;
use crate::workload::{COLLECTIONS, LOGGED, Row, records};

/// A world that groups are committed to.
pub(crate) struct Ours {
    controller: StorageController,
    world: World,
    names: Vec<Collection>,
    prepared: Vec<Vec<WorldRecord>>,
}

impl Ours {
    /// A world in the store of a URL.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let names = COLLECTIONS.iter().map(Collection::new);
        let names: Vec<Collection> = names.collect::<aqevia::Result<_>>()?;
        let logged = names.get(LOGGED).unwrap_or_default().iter().cloned();
        let schema = logged.fold(Schema::new(), |schema, name| {
            schema.with_history(name, History::All)
        });
        let mut config = ControllerConfig::default();
        config.schema = schema;
        let controller = StorageController::start(aqevia::open(url)?, config).await?;
        let world = controller.open_world(WorldId::new("bench")?).await?;
        Ok(Self {
            controller,
            world,
            names,
            prepared: Vec::new(),
        })
    }

    /// How many records the world held when it was opened.
    pub(crate) fn opened_at(&self) -> u64 {
        self.world.opened_at().get()
    }

    /// Closes the store as an engine does that ends.
    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.controller.shutdown().await?)
    }
}

#[async_trait]
impl Side for Ours {
    fn prepare(&mut self, batches: &[Vec<Row>]) -> Result<()> {
        let of = |rows: &Vec<Row>| records(self.world.id(), &self.names, rows);
        self.prepared = batches.iter().map(of).collect::<Result<_>>()?;
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        for group in std::mem::take(&mut self.prepared) {
            self.world.commit(group).await?;
        }
        Ok(())
    }
}
