//! The stores that checks run on: one harness for all of them, so that the suite is built once.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use aqevia_storage::{Capabilities, Durability, StorageBackend};
use async_trait::async_trait;
use conformance::{Harness, Scene};

/// What the suite asks of a harness, of one store.
///
/// As it stands it is a store in memory that declares everything and no durability.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::None,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend>;

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        unreachable!("{scene:?}: a store in memory has no layout")
    }

    async fn dump(&self) -> Vec<u8>;
}

/// Makes a store that is empty.
pub(crate) type NewStore = fn() -> Box<dyn Store>;

/// A store of a type that makes itself.
pub(crate) fn new<S: Store + Default>() -> Box<dyn Store> {
    Box::new(S::default())
}

thread_local! {
    /// What stores are made by in this thread.
    static CHOSEN: Cell<Option<NewStore>> = const { Cell::new(None) };
}

/// Lets the harnesses that are made in this thread be over such stores.
pub(crate) fn choose(store: NewStore) {
    CHOSEN.set(Some(store));
}

/// A harness over a store of the kind that was chosen in the thread that makes it.
pub(crate) struct Chosen(Box<dyn Store>);

#[async_trait]
impl Harness for Chosen {
    async fn new() -> Self {
        let store = CHOSEN.get().expect("a kind of store is chosen");
        Self(store())
    }

    async fn new_in(_folder: &Path) -> Option<Self> {
        unreachable!("a store in memory is in no files")
    }

    async fn at(location: &str) -> Self {
        unreachable!("{location}: a store in memory is in one process")
    }

    fn location(&self) -> String {
        unreachable!("a store in memory is in one process")
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        self.0.open().await
    }

    fn first_layout(&self) -> bool {
        self.0.first_layout()
    }

    async fn stage(&self, scene: Scene) {
        self.0.stage(scene).await;
    }

    async fn dump(&self) -> Vec<u8> {
        self.0.dump().await
    }
}
