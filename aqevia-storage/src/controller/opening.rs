//! Opening a world: one claim, however many ask for it.

use std::sync::Arc;

use super::inbox::{Inbox, Message};
use super::lane::{Lane, LaneId};
use super::shared::{Unpersisted, WorldShared};
use super::world::World;
use super::worlds::{Place, Worlds};
use crate::{
    Claim, ControllerConfig, Epoch, Error, ErrorKind, Result, Sequence, StorageBackend, WorldId,
};

/// How a world came to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It was claimed now.
    Claimed,
    /// It was open before.
    Before,
}

/// The opening of a world. Of several at once, one claims.
pub(super) struct Opening {
    pub(super) id: WorldId,
    pub(super) worlds: Arc<Worlds>,
    pub(super) place: Arc<Place>,
    pub(super) store: Arc<dyn StorageBackend>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) lane: LaneId,
}

impl Opening {
    pub(super) async fn run(self) -> Result<World> {
        let (world, _) = self.run_once().await?;
        Ok(world)
    }

    /// The world, and whether it was this that claimed it.
    pub(super) async fn run_once(self) -> Result<(World, Opened)> {
        let mut opened = Opened::Before;
        let claim = || {
            opened = Opened::Claimed;
            self.claim()
        };
        let world = self.place.world.get_or_try_init(claim).await;
        if world.is_err() {
            self.worlds.forget_empty(&self.id, &self.place);
        }
        let doing = |error: Error| error.context(format_args!("open world {:?}", self.id));
        Ok((world.cloned().map_err(doing)?, opened))
    }

    async fn claim(&self) -> Result<World> {
        let config = self.inbox.config();
        self.inbox.check_open()?;
        if self.inbox.info().get().is_none() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the store has not been reached yet",
            ));
        }
        let schema = config.schema.fingerprint();
        let claim = self.store.claim(&self.id, &config.owner, schema).await?;
        warn_of_schema(&self.id, &claim, config);
        tell_of(&self.id, &claim);
        let shared = Arc::new(WorldShared::new(self.id.clone(), self.lane, claim.head));
        shared.set_claim(claim);
        let lane = Box::new(Lane::new(Arc::clone(&shared)));
        self.inbox.tell(Message::Open(lane))?;
        Ok(self.inherit(World::new(shared, Arc::clone(&self.inbox))))
    }

    /// Opens the world without a claim, which is made later if the world stands at `head` then.
    ///
    /// # Errors
    /// `Invalid` if the world is open, or being opened; `Closed` after shutdown.
    pub(super) fn adopt(&self, head: Sequence) -> Result<World> {
        let shared = Arc::new(WorldShared::new(self.id.clone(), self.lane, head));
        let lane = Lane::adopted(Arc::clone(&shared), head);
        let world = World::new(Arc::clone(&shared), Arc::clone(&self.inbox));
        self.inbox.check_open()?;
        // Order matters: a second lane would claim the world as well, and fence the first.
        let set = self.place.world.set(world.clone());
        set.map_err(|_| Error::invalid("it is open already"))?;
        let told = self.inbox.tell(Message::Open(Box::new(lane)));
        told.inspect_err(|error| shared.stop(error, Unpersisted::default()))?;
        Ok(self.inherit(world))
    }

    /// Hands what the same world left before to one that is open now.
    fn inherit(&self, world: World) -> World {
        if let Some(before) = &self.place.before {
            world.inherit(before);
        }
        world
    }
}

/// Logs that a world is open: a new one, or where it stands.
pub(super) fn tell_of(id: &WorldId, claim: &Claim) {
    let (epoch, head) = (claim.epoch, claim.head);
    match epoch {
        Epoch::FIRST => {
            tracing::info!(target: "aqevia_storage::controller", world = %id, "world created");
        }
        _ => {
            tracing::info!(
                target: "aqevia_storage::controller",
                world = %id,
                %epoch,
                %head,
                "world opened"
            );
        }
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
