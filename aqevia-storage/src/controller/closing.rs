//! The steps of opening and closing worlds for a cache. None of them borrows the controller while
//! it waits, so that no task keeps a controller alive that its owner has dropped.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::inbox::Message;
use super::opening::Opened;
use super::{StorageController, World};
use crate::{Reads, Result, WorldId};

impl StorageController {
    /// Runs a task on the controller's runtime. Once that has ended, the task is dropped at once.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// Opens a world, within a task of the controller's runtime that is not given up.
    pub(crate) fn begin_open(
        &self,
        id: WorldId,
    ) -> impl Future<Output = Result<(World, Opened)>> + Send + use<> {
        self.opening(id).run_once()
    }

    /// Takes a snapshot, within a task of the controller's runtime.
    pub(crate) fn begin_snapshot(
        &self,
        id: WorldId,
    ) -> impl Future<Output = Result<Box<dyn Reads>>> + Send + use<> {
        let store = Arc::clone(&self.store);
        async move { store.snapshot(&id).await }
    }

    /// Asks for a world to be closed if nothing of it is unsaved; the answer is whether it was.
    /// Then [`StorageController::let_go`] is to be called.
    ///
    /// # Errors
    /// `Closed` after shutdown; what stopped all writing.
    pub(crate) fn begin_close(&self, world: &World) -> Result<oneshot::Receiver<bool>> {
        let (answer, closed) = oneshot::channel();
        self.inbox.tell(Message::Close(world.shared(), answer))?;
        Ok(closed)
    }

    /// Forgets a world that was closed.
    pub(crate) fn let_go(&self, world: &World) {
        self.worlds.forget_closed(world);
    }
}
