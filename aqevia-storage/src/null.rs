//! The backend that keeps nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::{
    Batch, Capabilities, Claim, Durability, Epoch, Fingerprint, Limit, LogRange, LogRow, Owner,
    Page, Part, Phase, Reads, Receipt, Result, SchemaPolicy, Sequence, StateRange, StateRow,
    StatsCounter, StorageBackend, StorageStats, StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};

/// Accepts every part and keeps none: for an engine that runs without persistence.
///
/// It counts heads and epochs, so that receipts are as an engine expects them, and reads as empty.
/// It upholds no clause that speaks of what is kept.
#[derive(Debug, Default)]
pub struct Null {
    worlds: Mutex<BTreeMap<WorldId, Claim>>,
    phase: Phase,
    stats: StatsCounter,
}

impl Null {
    /// A backend that keeps nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn accept(&self, part: &Part) -> Result<Receipt> {
        self.phase.check()?;
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        let world = worlds.entry(part.world().clone()).or_insert(Claim::first());
        let first = world.head.advance(1)?;
        world.head = world.head.advance(u64::from(part.count()))?;
        Ok(Receipt::written(first, part.count()))
    }
}

#[async_trait]
impl Reads for Null {
    async fn log(
        &self,
        _world: &WorldId,
        _range: LogRange,
        _limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.stats.count(self.phase.check())?;
        Ok(Page::new(Vec::new(), None, Sequence::ZERO))
    }

    async fn state(
        &self,
        _world: &WorldId,
        _range: StateRange,
        _limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.stats.count(self.phase.check())?;
        Ok(Page::new(Vec::new(), None, Sequence::ZERO))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Null {
    async fn init(&self, _policy: SchemaPolicy) -> Result<StoreInfo> {
        self.stats.count(self.phase.init())?;
        let capabilities = Capabilities {
            durability: Durability::None,
            shared: false,
            snapshot: true,
        };
        Ok(StoreInfo::new(1, "null, which keeps nothing", capabilities))
    }

    async fn claim(&self, world: &WorldId, _owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.stats.count(self.phase.check())?;
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        let world = worlds.entry(world.clone()).or_insert(Claim {
            epoch: Epoch::ZERO,
            ..Claim::first()
        });
        world.epoch = world.epoch.advance(1)?;
        let claim = world.clone();
        world.schema = Some(schema);
        Ok(claim)
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let parts = batch.parts().iter();
        let results: Vec<_> = parts
            .map(|part| self.accept(part).map_err(|error| part.failed(error)))
            .collect();
        self.stats.count_batch(&batch, &results);
        results
    }

    async fn snapshot(&self, _world: &WorldId) -> Result<Box<dyn Reads>> {
        self.stats.count(self.phase.check())?;
        let empty = Self::new();
        empty.phase.init()?;
        Ok(Box::new(empty))
    }

    async fn worlds(&self, _range: WorldRange, _limit: Limit) -> Result<WorldPage> {
        self.stats.count(self.phase.check())?;
        Ok(WorldPage::default())
    }

    async fn usage(&self, _world: &WorldId) -> Result<Usage> {
        self.stats.count(self.phase.check())?;
        Ok(Usage::default())
    }

    fn stats(&self) -> StorageStats {
        self.stats.read()
    }

    async fn close(&self) -> Result<()> {
        self.phase.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchNumber, BatchRecord, History, Link, Schema, WorldRecord};

    #[tokio::test]
    async fn receipts_adjoin_and_nothing_is_kept() {
        let null = Null::new();
        let info = null.init(SchemaPolicy::Upgrade).await.unwrap();
        assert_eq!(info.capabilities.durability, Durability::None);
        let world = WorldId::new("arda").unwrap();
        let owner = Owner::process(1);
        let schema = Schema::new().fingerprint();
        let claim = null.claim(&world, &owner, schema).await.unwrap();
        let mut firsts = Vec::new();
        for number in 1..=2 {
            let event = WorldRecord::new(world.clone(), Vec::new(), 0);
            let record = BatchRecord::new(event, History::Latest);
            let number = BatchNumber::new(number).unwrap();
            let records = vec![record.clone(), record];
            let part = Part::new(world.clone(), claim.epoch, number, 0, Link::ORIGIN, records);
            let results = null.persist_batch(part.unwrap().into()).await;
            firsts.push(results[0].clone().unwrap().first.get());
        }
        assert_eq!(firsts, [1, 3]);
        let page = null.log(&world, LogRange::ALL, Limit::default()).await;
        assert!(page.unwrap().items.is_empty());
        assert_eq!(null.stats().records, 4);
    }
}
