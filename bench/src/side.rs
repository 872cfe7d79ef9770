//! What is compared: sides that write the same rows.

use anyhow::Result;
use async_trait::async_trait;

use crate::workload::Row;

/// One way to write rows durably.
#[async_trait]
pub(crate) trait Side: Send {
    /// Takes the rows in its own form, before time is measured.
    fn prepare(&mut self, batches: &[Vec<Row>]) -> Result<()>;

    /// Writes the batches that were prepared, one after the other, each durable before the next.
    async fn write(&mut self) -> Result<()>;
}
