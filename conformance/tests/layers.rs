//! The suite on the reference backend in all its layers: a layered backend is a backend.

#![expect(clippy::expect_used, reason = "the harness below is test code")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::layer::{Fault, FaultPlan, Metrics, Timeout, Timeouts, Trace};
use aqevia_storage::{Capabilities, StorageBackend};
use conformance::engines::memory::MemoryHarness;
use conformance::{Harness, Scene};

/// Longer than any call of the suite takes.
const LIMIT: Duration = Duration::from_secs(600);

struct Layered(MemoryHarness);

#[async_trait::async_trait]
impl Harness for Layered {
    async fn new() -> Self {
        Self(MemoryHarness::new().await)
    }

    async fn new_in(folder: &Path) -> Option<Self> {
        MemoryHarness::new_in(folder).await.map(Self)
    }

    async fn at(location: &str) -> Self {
        Self(MemoryHarness::at(location).await)
    }

    fn location(&self) -> String {
        self.0.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        let store = self.0.open().await;
        let store = Fault::new(store, FaultPlan::new(0)).expect("no faults");
        let store = Timeout::new(store, Timeouts::all(LIMIT)).expect("a time in bounds");
        Arc::new(Trace::new(Metrics::new(store)))
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

conformance::conformance_suite!(Layered);
