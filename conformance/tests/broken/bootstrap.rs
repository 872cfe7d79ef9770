//! Defects of `init`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqevia_storage::{
    Durability, Error, ErrorKind, Limit, LogRange, Memory, Owner, Reads, Result, Schema,
    SchemaPolicy, StorageBackend, StoreInfo, WorldId, WorldRange,
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

/// Declares that what it acknowledges outlives the loss of power.
#[derive(Default)]
pub(crate) struct DeclaresPower;

#[async_trait]
impl Defect for DeclaresPower {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        let mut info = memory.init(policy).await?;
        info.capabilities.durability = Durability::Power;
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

/// Fails where another backend is about to make the layout, too.
#[derive(Default)]
pub(crate) struct NotTwiceAtOnce {
    inside: Arc<AtomicUsize>,
}

#[async_trait]
impl Defect for NotTwiceAtOnce {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        let before = self.inside.fetch_add(1, Ordering::AcqRel);
        // Others come while the layout is made.
        for _ in 0..YIELDS_MAX {
            if self.inside.load(Ordering::Acquire) > 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        let info = match before {
            0 => memory.init(policy).await,
            _ => Err(Error::new(ErrorKind::Corrupt, "init: there is a table")),
        };
        self.inside.fetch_sub(1, Ordering::AcqRel);
        info
    }

    fn another(&self) -> Self {
        Self {
            inside: Arc::clone(&self.inside),
        }
    }
}

/// How long the layout is being made, where nobody else comes.
const YIELDS_MAX: usize = 2_000;

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
