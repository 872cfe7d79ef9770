//! The suite's way to the reference backend.

use std::path::Path;
use std::sync::Arc;

use aqevia_storage::{Capabilities, Durability, Memory, SchemaPolicy, StorageBackend};
use async_trait::async_trait;

use crate::{Harness, Scene, render};

/// A store in the memory of this process.
#[derive(Debug)]
pub struct MemoryHarness(Memory);

#[async_trait]
impl Harness for MemoryHarness {
    async fn new() -> Self {
        Self(Memory::new())
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
        Capabilities {
            durability: Durability::None,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        Arc::new(self.0.reopen())
    }

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        unreachable!("{scene:?}: a store in memory has no layout")
    }

    async fn dump(&self) -> Vec<u8> {
        let backend = self.0.reopen();
        backend.init(SchemaPolicy::Upgrade).await.expect("`init`");
        render(&backend).await
    }
}
