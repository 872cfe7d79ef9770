//! The storage interface: what a backend implements, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Batch, Claim, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Receipt, Result, StateRange,
    StateRow, StorageStats, Usage, WorldId, WorldPage, WorldRange,
};

/// Reading a store, or a snapshot of it.
///
/// Any number of tasks may read at once, while others write. A world that does not exist reads as
/// empty, with head zero. Reading never claims and never creates a world (clause C10).
///
/// # Cancel safety
/// Dropping a read leaves nothing behind.
#[async_trait]
pub trait Reads: Send + Sync {
    /// A page of a world's log, in order of sequence (clauses R1, R2, R4, R5).
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached in time; `Corrupt` if a row cannot be right;
    /// `Closed` after `close`; `Invalid` before `init`.
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>>;

    /// A page of a world's state, in byte order of collection and key (clauses R1 to R6).
    ///
    /// # Errors
    /// As [`Reads::log`].
    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>>;
}

/// A store of worlds. Object-safe: the controller holds an `Arc<dyn StorageBackend>`.
///
/// **Order of calls.** `init` first (clause B7); then `claim` for each world that is to be written;
/// then `persist_batch`; `close` last. Reads need `init` only. **Concurrency.** Any call may be made
/// from several tasks at once, from within a Tokio runtime. **After an error** the store is as it
/// was before the call, unless the kind is `Ambiguous`. **Clones** of the `Arc` share the store.
/// **Dropping** it without `close` lets go of the store: the next backend over it may be
/// initialised at once, and where the store is not `shared`, the drop or that `init` waits for what
/// is being written.
///
/// The controller alone retries writes. A backend knows no JSON, no rules and no clock, and never
/// answers `Rejected` or `Backpressure`.
///
/// # Cancel safety
/// A call that writes goes on when its future is dropped: it is finished by a thread or task of the
/// backend's own. What came of it is then learnt by the same call again.
#[async_trait]
pub trait StorageBackend: Reads {
    /// Creates or upgrades the layout, or finds it right (clauses B1 to B6).
    ///
    /// # Errors
    /// `Incompatible` if the store is of a newer layout or is not ours; `Invalid` if the location
    /// cannot hold a store; `Unavailable` if it cannot be reached, or if it is not `shared` and
    /// another backend has it open (clause B8). Nothing is changed then.
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo>;

    /// Claims a world for writing: creates it if need be, and raises its epoch, so that whoever
    /// wrote before is fenced (clauses P6, C10). The schema is kept for the next claimant.
    ///
    /// # Errors
    /// `Unavailable` and `Ambiguous` if it may be tried again; a claim twice is harmless to its
    /// own writer. `Full` if there is no room for another world.
    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim>;

    /// Persists the parts of a batch and answers once for each, in their order (clauses P1 to P11).
    ///
    /// # Errors
    /// For each part its own: `Fenced` if the world has been claimed again; `Invalid` if the number
    /// does not follow; `Unavailable`, `Full` if nothing was written; `Ambiguous` if that is not
    /// known. Parts of other worlds are not affected by the first two. Every error has passed
    /// through [`Part::failed`](crate::Part::failed), also before `init` and after `close` (E4).
    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>>;

    /// A consistent view of one world for any number of pages (clause R5).
    ///
    /// A snapshot lives for a bounded time, which the backend documents, and may hold a connection
    /// or the world's writer meanwhile (clause R7): read it and drop it.
    ///
    /// # Errors
    /// As [`Reads::log`]. Reading an old snapshot is `Unavailable`; reading another world than the
    /// snapshot's is `Invalid`.
    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>>;

    /// A page of the worlds, in byte order of their names. `limit.bytes` counts names.
    ///
    /// # Errors
    /// As [`Reads::log`].
    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage>;

    /// What a world holds, counted in one snapshot and off the path of commits (clause S2).
    ///
    /// A world that does not exist holds nothing.
    ///
    /// # Errors
    /// As [`Reads::log`].
    async fn usage(&self, world: &WorldId) -> Result<Usage>;

    /// What happened since the backend was made (clause S1).
    fn stats(&self) -> StorageStats;

    /// Ends all work and releases the store. Calls after it are `Closed`; closing again is allowed.
    ///
    /// # Errors
    /// `Unavailable` if something could not be written down on the way out. What was acknowledged
    /// is durable all the same.
    async fn close(&self) -> Result<()>;
}

/// What `init` does with a layout that is not the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaPolicy {
    /// An older layout is upgraded, a newer one refused.
    #[default]
    Upgrade,
    /// A store of ours whose layout differs is dropped and made anew. **All its data is lost.**
    ResetInDevelopment,
}

/// What a store is, as `init` found or made it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The version of the layout.
    pub layout: u32,
    /// The engine and its version, for people.
    pub engine: String,
    /// What the store can do.
    pub capabilities: Capabilities,
}

impl StoreInfo {
    /// The description of a store.
    pub fn new(layout: u32, engine: impl Into<String>, capabilities: Capabilities) -> Self {
        let engine = engine.into();
        Self {
            layout,
            engine,
            capabilities,
        }
    }
}

/// What a store can do beyond what all do. The suite compares it with what the author expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What survives (clause P2).
    pub durability: Durability,
    /// Whether several backends, in one process or in several, may have the store open at once.
    /// Where they may not, all but the first are refused (clause B8).
    pub shared: bool,
    /// Whether a snapshot lets its world's writer go on (clause R7).
    pub snapshot: bool,
}

/// What an acknowledged part survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing is promised: the store may end with its process.
    None,
    /// The end of the process, by any cause.
    Process,
    /// The loss of power.
    Power,
}

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Reads + ?Sized> Reads for $pointer<T> {
            async fn log(
                &self,
                world: &WorldId,
                range: LogRange,
                limit: Limit,
            ) -> Result<Page<LogRow, LogRange>> {
                (**self).log(world, range, limit).await
            }

            async fn state(
                &self,
                world: &WorldId,
                range: StateRange,
                limit: Limit,
            ) -> Result<Page<StateRow, StateRange>> {
                (**self).state(world, range, limit).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: StorageBackend + ?Sized> StorageBackend for $pointer<T> {
            async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
                (**self).init(policy).await
            }

            async fn claim(
                &self,
                world: &WorldId,
                owner: &Owner,
                schema: Fingerprint,
            ) -> Result<Claim> {
                (**self).claim(world, owner, schema).await
            }

            async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
                (**self).persist_batch(batch).await
            }

            async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
                (**self).snapshot(world).await
            }

            async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
                (**self).worlds(range, limit).await
            }

            async fn usage(&self, world: &WorldId) -> Result<Usage> {
                (**self).usage(world).await
            }

            fn stats(&self) -> StorageStats {
                (**self).stats()
            }

            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
        }
    )*};
}

forward!(Arc, Box);
