//! Loading a world: one task, however many wait, whether or not anybody still does.

use std::sync::Arc;

use tokio::time::Instant;

use super::Shared;
use super::slot::Slot;
use crate::controller::Opened;
use crate::{Error, Result, World, WorldId};

/// The most bytes that a world counts for, so that the sum of many does not overflow.
const BYTES_MAX: usize = 1 << (usize::BITS - 18);

/// A load that is owed to who waits for it. Dropping it, as a runtime does that ends, answers them.
struct Load<W: Send + Sync + 'static> {
    shared: Arc<Shared<W>>,
    id: WorldId,
    ended: bool,
}

impl<W: Send + Sync + 'static> Shared<W> {
    /// Begins to load a world whose place is taken.
    pub(super) fn begin_load(self: &Arc<Self>, id: WorldId) {
        let load = Load {
            shared: Arc::clone(self),
            id,
            ended: false,
        };
        // Where there is no controller any more, dropping the load answers.
        if let Some(controller) = self.controller.upgrade() {
            controller.spawn(load.run());
        }
    }

    async fn load(&self, id: &WorldId) -> Result<Slot<W>> {
        let begin = Instant::now();
        // Order matters: the controller is let go of before anything is awaited.
        let opening = self.controller()?.begin_open(id.clone());
        let (world, opened) = opening.await?;
        let opened_in = begin.elapsed();
        tracing::info!(
            target: "aqevia_storage::cache",
            world = %id,
            head = %world.opened_at(),
            already_open = opened == Opened::Before,
            duration = ?opened_in,
            "world opened"
        );
        match self.load_opened(&world, opened).await {
            Ok((value, bytes)) => {
                let duration = begin.elapsed() - opened_in;
                tracing::info!(
                    target: "aqevia_storage::cache",
                    world = %id,
                    bytes,
                    ?duration,
                    "world loaded"
                );
                Ok(Slot::new(world, value, bytes))
            }
            Err(error) => {
                // What was open before is not ours to close.
                let closed = opened == Opened::Before || self.save_and_close(&world).await;
                tracing::warn!(
                    target: "aqevia_storage::cache",
                    world = %id,
                    stays_open = !closed,
                    %error,
                    "world not loaded"
                );
                Err(error)
            }
        }
    }

    async fn load_opened(&self, world: &World, opened: Opened) -> Result<(W, usize)> {
        let doing = |error: Error| error.context(format_args!("load world {:?}", world.id()));
        if opened == Opened::Before {
            // What somebody has given to it is to be in the snapshot.
            save(world).await.map_err(doing)?;
        }
        let snapshot = self.controller()?.begin_snapshot(world.id().clone());
        let reads = snapshot.await.map_err(doing)?;
        let (loader, of) = (Arc::clone(&self.loader), world.clone());
        // A task of its own: a panic in the loader is told to who waits.
        let loading = tokio::spawn(async move {
            let value = loader.load(&of, &*reads).await?;
            let bytes = loader.bytes(&value);
            Ok((value, bytes.min(BYTES_MAX)))
        });
        let panicked = |error| {
            Err(Error::invalid("the loader gave no answer; did it panic?").with_source(error))
        };
        let loaded = loading.await.unwrap_or_else(panicked).map_err(doing)?;
        match world.stopped() {
            Some(error) => Err(doing(error.clone())),
            None => Ok(loaded),
        }
    }

    /// Estimates the bytes of each world that may have changed.
    pub(super) fn measure(&self) {
        let changed = self.lock().changed();
        for slot in changed {
            // Order matters: a handle that is made after this makes it changed again.
            let in_use = slot.usage().handles > 0;
            let bytes = self.loader.bytes(&slot.value).min(BYTES_MAX);
            self.lock().measured(&slot, bytes, in_use);
        }
    }
}

impl<W: Send + Sync + 'static> Load<W> {
    async fn run(mut self) {
        #[cfg(feature = "metrics")]
        let begin = Instant::now();
        let loaded = self.shared.load(&self.id).await;
        #[cfg(feature = "metrics")]
        super::figures::loaded(begin.elapsed());
        self.end(loaded);
        let shared = Arc::clone(&self.shared);
        #[cfg(feature = "metrics")]
        shared.record_metrics();
        let is_over = shared.lock().is_over(&shared.config);
        if is_over {
            shared.evict_soon().await;
        }
    }

    fn end(&mut self, loaded: Result<Slot<W>>) {
        self.ended = true;
        let answers = self.shared.lock().loaded(&self.id, loaded);
        answers.tell();
    }
}

impl<W: Send + Sync + 'static> Drop for Load<W> {
    fn drop(&mut self) {
        if !self.ended {
            let id = &self.id;
            let ended = format!("load world {id:?}: the controller has been shut down");
            self.end(Err(Error::closed(ended)));
        }
    }
}

/// Persists all that was accepted or marked for a world.
pub(super) async fn save(world: &World) -> Result<()> {
    world.save().await?;
    world.commit(Vec::new()).await?;
    Ok(())
}
