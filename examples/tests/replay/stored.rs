//! Looks into a store with the library, without claiming a world.

use std::collections::BTreeMap;

use anyhow::Result;
use aqevia::{
    Limit, LogRange, LogRow, SchemaPolicy, StorageBackend, WorldHead, WorldId, WorldRange,
};
use tokio::runtime::Runtime;

/// The worlds of a store, and the log of each.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) worlds: Vec<WorldHead>,
    pub(crate) logs: BTreeMap<WorldId, Vec<LogRow>>,
}

impl Stored {
    pub(crate) fn read(url: &str) -> Result<Self> {
        let store = aqevia::open(url)?;
        Runtime::new()?.block_on(async {
            store.init(SchemaPolicy::Upgrade).await?;
            let worlds = worlds(&*store).await?;
            let mut logs = BTreeMap::new();
            for world in &worlds {
                logs.insert(world.world.clone(), log(&*store, &world.world).await?);
            }
            store.close().await?;
            Ok(Self { worlds, logs })
        })
    }

    /// The records of each world.
    pub(crate) fn heads(&self) -> Vec<(&str, u64)> {
        let worlds = self.worlds.iter();
        worlds
            .map(|world| (world.world.as_str(), world.head.get()))
            .collect()
    }
}

async fn worlds(store: &dyn StorageBackend) -> Result<Vec<WorldHead>> {
    let mut worlds = Vec::new();
    let mut next = Some(WorldRange::all());
    while let Some(range) = next {
        let page = store.worlds(range, Limit::default()).await?;
        worlds.extend(page.items);
        next = page.next;
    }
    Ok(worlds)
}

async fn log(store: &dyn StorageBackend, world: &WorldId) -> Result<Vec<LogRow>> {
    let mut rows = Vec::new();
    let mut next = Some(LogRange::ALL);
    while let Some(range) = next {
        let page = store.log(world, range, Limit::default()).await?;
        rows.extend(page.items);
        next = page.next;
    }
    Ok(rows)
}
