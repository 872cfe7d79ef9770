//! What the suite asks of a backend's author.

use std::path::Path;
use std::sync::Arc;

use aqevia_storage::{Capabilities, Durability, SchemaPolicy, StorageBackend};
use async_trait::async_trait;

/// A store to run the suite on, and the ways to it.
///
/// Each clause gets a harness of its own, and so a store of its own: clauses run in parallel. What
/// a harness needs and cannot get (a server, a folder) is a panic that says how to provide it.
#[async_trait]
pub trait Harness: Send + Sync + Sized + 'static {
    /// A harness over a new, empty store, which ends with the harness.
    async fn new() -> Self;

    /// A harness over a new, empty store in files below a folder; `None` if the store is kept by a
    /// server. The suite uses it to put a store where there is little room.
    async fn new_in(folder: &Path) -> Option<Self>;

    /// A harness over the store of another harness, in this process or in a child of it.
    ///
    /// The store is that harness', and does not end with this one.
    async fn at(location: &str) -> Self;

    /// What [`Harness::at`] takes in another process.
    ///
    /// Like [`Harness::new_in`] and [`Harness::at`] it is called only if the declared durability is
    /// not [`Durability::None`]: other stores are in the memory of one process.
    fn location(&self) -> String;

    /// What the author expects of the store; clause B1 compares it with what `init` says.
    fn capabilities(&self) -> Capabilities;

    /// A backend over the harness' store that is not initialised yet.
    ///
    /// It is called again after the backend before was closed, after it was dropped without
    /// `close`, and while others are open: those then share the store, or are refused by their
    /// `init` if the store is not `shared`.
    async fn open(&self) -> Arc<dyn StorageBackend>;

    /// Whether there are stores of the first published layout in this engine: see
    /// [`Scene::FirstLayout`]. It is for a backend that is newer than that layout to say no.
    fn first_layout(&self) -> bool;

    /// Puts the empty store into a state that no backend of this version can make.
    ///
    /// Called before the first `open`, and only if the declared durability is not
    /// [`Durability::None`]: other stores have no layout to find.
    async fn stage(&self, scene: Scene);

    /// Every byte of the store's data as an outsider sees it, to show that nothing changed.
    ///
    /// Called while no backend is open. A store without bytes of its own, or whose engine writes
    /// pages anew by itself, returns [`render`](crate::render) of a backend over it; what `init`
    /// refuses is dumped byte for byte in any case.
    async fn dump(&self) -> Vec<u8>;
}

/// A state of a store that only the engine's own tools can make.
///
/// It is open to exhaustive matching: another scene is to stop the harnesses that do not stage it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scene {
    /// A store of ours with some data in it, stamped with layout version 2.
    NewerLayout,
    /// A store of the first published layout, which has only `schema_meta(id, version)` with
    /// version 1, and `world_records(id, world_id, payload, timestamp)` with these rows.
    FirstLayout(Vec<FirstRow>),
    /// A file or database of another program, with some data in it.
    Foreign,
}

/// A row of `world_records` in the first published layout.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirstRow {
    /// The primary key.
    pub id: i64,
    /// The name of the world.
    pub world_id: String,
    /// The payload: JSON text.
    pub payload: String,
    /// The timestamp, in milliseconds.
    pub timestamp: i64,
}

impl FirstRow {
    pub(crate) fn new(id: i64, world_id: &str, payload: &str, timestamp: i64) -> Self {
        Self {
            id,
            world_id: world_id.to_owned(),
            payload: payload.to_owned(),
            timestamp,
        }
    }
}

/// A backend that is initialised.
pub(crate) async fn open<H: Harness>(harness: &H) -> Arc<dyn StorageBackend> {
    let backend = harness.open().await;
    let initialised = backend.init(SchemaPolicy::Upgrade).await;
    initialised.expect("`init` of a store of the present layout");
    backend
}

/// A second backend over the store where it is `shared`; elsewhere the first one again.
pub(crate) async fn another<H: Harness>(
    harness: &H,
    first: &Arc<dyn StorageBackend>,
) -> Arc<dyn StorageBackend> {
    match harness.capabilities().shared {
        true => open(harness).await,
        false => Arc::clone(first),
    }
}

/// Closes a backend, drops it, and opens another over the same store.
pub(crate) async fn reopen<H: Harness>(
    harness: &H,
    backend: Arc<dyn StorageBackend>,
) -> Arc<dyn StorageBackend> {
    close(backend).await;
    open(harness).await
}

/// Closes a backend and drops it.
pub(crate) async fn close(backend: Arc<dyn StorageBackend>) {
    backend.close().await.expect("`close`");
}

/// Whether the store has a layout on some medium: clauses B3 to B6 speak of no other.
pub(crate) fn has_layout<H: Harness>(harness: &H) -> bool {
    harness.capabilities().durability != Durability::None
}
