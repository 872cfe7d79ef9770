//! Reading through the controller: on its runtime, where the store's connections live.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::StorageController;
use crate::{Error, Limit, LogRange, LogRow, Page, Reads, Result, StateRange, StateRow, WorldId};

/// Reading goes to the store: what is accepted and not yet persisted is not seen.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for StorageController {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.remote().log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.remote().state(world, range, limit).await
    }
}

impl StorageController {
    fn remote(&self) -> Remote {
        Remote {
            reads: Arc::new(Arc::clone(&self.store)),
            runtime: self.runtime.clone(),
        }
    }
}

/// A store or a snapshot that is read on a runtime, by callers within any or none.
pub(super) struct Remote {
    pub(super) reads: Arc<dyn Reads>,
    pub(super) runtime: Handle,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Remote {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let (reads, world) = (Arc::clone(&self.reads), world.clone());
        let page = async move { reads.log(&world, range, limit).await };
        run_on(&self.runtime, page).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let (reads, world) = (Arc::clone(&self.reads), world.clone());
        let page = async move { reads.state(&world, range, limit).await };
        run_on(&self.runtime, page).await
    }
}

/// Runs work on the runtime of a controller.
pub(super) async fn run_on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let ended = |error| Error::closed("the controller has been shut down").with_source(error);
    runtime.spawn(work).await.map_err(ended)?
}
