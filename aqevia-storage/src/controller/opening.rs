//! Opening a world: one claim, however many ask for it.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::inbox::Inbox;
use super::lane::{Lane, LaneId};
use super::world::{World, WorldShared};
use crate::{Claim, ControllerConfig, Error, Result, StorageBackend, WorldId};

/// Where a world is, or will be once it is claimed.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) world: OnceCell<World>,
    /// The same world until it was stopped.
    pub(super) before: Option<World>,
}

/// The opening of a world. Of several at once, one claims.
pub(super) struct Opening {
    pub(super) id: WorldId,
    pub(super) place: Arc<Place>,
    pub(super) store: Arc<dyn StorageBackend>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) lane: LaneId,
}

impl Opening {
    pub(super) async fn run(self) -> Result<World> {
        let world = self.place.world.get_or_try_init(|| self.claim()).await;
        let doing = |error: Error| error.context(format_args!("open world {:?}", self.id));
        world.cloned().map_err(doing)
    }

    async fn claim(&self) -> Result<World> {
        let config = self.inbox.config();
        let schema = config.schema.fingerprint();
        let claim = self.store.claim(&self.id, &config.owner, schema).await?;
        warn_of_schema(&self.id, &claim, config);
        let shared = Arc::new(WorldShared::new(self.id.clone(), self.lane, claim));
        self.inbox.open(Lane::new(Arc::clone(&shared)))?;
        let world = World::new(shared, Arc::clone(&self.inbox));
        if let Some(before) = &self.place.before {
            world.inherit(before);
        }
        Ok(world)
    }
}

fn warn_of_schema(id: &WorldId, claim: &Claim, config: &ControllerConfig) {
    let before = claim.schema;
    if before.is_some_and(|schema| schema != config.schema.fingerprint()) {
        tracing::warn!(
            target: "aqevia_storage::controller",
            world = %id,
            "the schema differs from that of the last writer; the history of a collection begins \
             where it was declared"
        );
    }
}
