//! What is compared: sides that write the same rows.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio::time::Instant;

use crate::workload::Row;

/// A way to persist, as whoever picks it would write it.
pub(crate) trait Persist: Send {
    /// A batch in its own form.
    type Batch: Send;

    /// Takes rows in its own form. No time is measured.
    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch>;

    /// Writes a batch, which is durable then.
    fn persist(&mut self, batch: Self::Batch) -> impl Future<Output = Result<()>> + Send;
}

/// One of those that are compared.
#[async_trait]
pub(crate) trait Side: Send {
    /// Writes batches durably; how long that took, once it had them in its own form.
    async fn write(&mut self, batches: &[Vec<Row>]) -> Result<Duration>;
}

/// One batch after the other, each durable before the next.
#[async_trait]
impl<P: Persist> Side for P {
    async fn write(&mut self, batches: &[Vec<Row>]) -> Result<Duration> {
        let formed = batches.iter().map(|rows| self.form(rows));
        let formed: Vec<P::Batch> = formed.collect::<Result<_>>()?;
        let begin = Instant::now();
        for batch in formed {
            self.persist(batch).await?;
        }
        Ok(begin.elapsed())
    }
}
