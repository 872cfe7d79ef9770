//! Reading: as many at once as are allowed, on threads that may block.

use std::sync::Arc;

use aqevia_storage::{Error, ErrorKind, PoolConfig, Result};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::panicked;
use crate::shared::Shared;

/// The way to a store's trees for those who read. Clones share its turns.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) shared: Arc<Shared>,
    config: PoolConfig,
    /// One for each that may read at once.
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, config: &PoolConfig) -> Self {
        Self {
            shared,
            config: config.clone(),
            permits: Arc::new(Semaphore::new(config.size)),
        }
    }

    /// Waits for a turn, and reads.
    ///
    /// # Errors
    /// `Unavailable` if that takes too long, `Closed` if the pool is closed, or those of reading.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Arc<Shared>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permits = Arc::clone(&self.permits);
        let permit = match timeout(self.config.acquire_timeout, permits.acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::closed("the store is closed")),
            Err(_) => return Err(self.busy()),
        };
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            // The turn ends with the work, also if nobody waits for it any more.
            let _permit = permit;
            read(&shared)
        })
        .await
    }

    /// Waits until nobody reads. Those who wait for a turn get `Closed`.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.config.size).unwrap_or(u32::MAX);
        // It fails if the pool is closed already.
        let _all = self.permits.acquire_many(all).await;
        self.permits.close();
    }

    fn busy(&self) -> Error {
        let (size, waited) = (self.config.size, self.config.acquire_timeout.as_millis());
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "none of {size} turns to read came free within {waited} ms: read less at once, or \
                 raise pool_size or acquire_timeout_ms"
            ),
        )
    }
}

/// Does what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(panicked()),
        Err(error) => Err(Error::new(
            ErrorKind::Unavailable,
            "the work was not finished, for the runtime is shutting down",
        )
        .with_source(error)),
    }
}
