//! Defects of `init`.

use aqevia_storage::{
    Limit, LogRange, Memory, Owner, Reads, Result, Schema, SchemaPolicy, StorageBackend, StoreInfo,
    WorldId, WorldRange,
};
use async_trait::async_trait;

use super::{Defect, LogPage};

/// Stamps another version.
#[derive(Default)]
pub(crate) struct OtherLayout;

#[async_trait]
impl Defect for OtherLayout {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        let mut info = memory.init(policy).await?;
        info.layout = 2;
        Ok(info)
    }
}

/// Claims the worlds that it finds.
#[derive(Default)]
pub(crate) struct ClaimedByInit;

#[async_trait]
impl Defect for ClaimedByInit {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        let info = memory.init(policy).await?;
        for head in memory
            .worlds(WorldRange::all(), Limit::default())
            .await?
            .items
        {
            let schema = Schema::new().fingerprint();
            memory
                .claim(&head.world, &Owner::process(1), schema)
                .await?;
        }
        Ok(info)
    }
}

/// Can be read before `init`.
#[derive(Default)]
pub(crate) struct ReadyAtOnce;

#[async_trait]
impl Defect for ReadyAtOnce {
    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let page = from.log(id, of, to).await;
        page.or_else(
            |error| match error.to_string().contains("not initialised") {
                true => Ok(LogPage::new(Vec::new(), None, Default::default())),
                false => Err(error),
            },
        )
    }
}
