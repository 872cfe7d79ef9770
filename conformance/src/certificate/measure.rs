//! Figures that stand beside the verdict: how long a batch takes, and what a store takes up.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{BatchRecord, StorageBackend, WorldId};
use serde::Serialize;
use tokio::time::Instant;

use crate::Harness;
use crate::harness::{close, open};
use crate::process::Percentiles;
use crate::sample::{Kind, world};
use crate::suite::on_runtime;
use crate::writer::Writer;

/// What one machine measured in one run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// Batches that were persisted one after the other, each of one part.
    batches: u64,
    /// Records of a batch: Puts of 300 bytes in a collection with history `All`.
    records_per_batch: u64,
    /// How long a batch takes.
    batch_ms: Option<Percentiles>,
    /// Bytes of the payloads of all records; each is in the log, and each key's newest in the state.
    payload_bytes: u64,
    /// Bytes of the whole store after it was closed and opened again.
    store_bytes: u64,
    /// What the store takes up for each byte that was handed over.
    store_bytes_per_payload_byte: f64,
}

const BATCHES: u64 = 500;
const RECORDS: u64 = 100;
const KEYS: u64 = 5_000;
const PAYLOAD_BYTES: usize = 300;

/// Persists batches to a new store, and measures.
pub(super) fn figures<H: Harness>() -> Figures {
    on_runtime(async {
        let harness = H::new().await;
        let arda = world("arda");
        let backend = open(&harness).await;
        let times = persist_all(&backend, &arda).await;
        close(backend).await;
        let backend = open(&harness).await;
        let usage = backend.usage(&arda).await.expect("`usage`");
        let payload_bytes = BATCHES * RECORDS * PAYLOAD_BYTES as u64;
        Figures {
            batches: BATCHES,
            records_per_batch: RECORDS,
            batch_ms: Percentiles::of(times),
            payload_bytes,
            store_bytes: usage.store_bytes,
            store_bytes_per_payload_byte: rounded(usage.store_bytes, payload_bytes),
        }
    })
}

async fn persist_all(backend: &Arc<dyn StorageBackend>, world: &WorldId) -> Vec<Duration> {
    let mut writer = Writer::claim(backend, world).await;
    let mut times = Vec::new();
    for batch in 0..BATCHES {
        let records = (0..RECORDS).map(|index| put(world, batch * RECORDS + index));
        let records = records.collect();
        let begin = Instant::now();
        writer.persist(records).await;
        times.push(begin.elapsed());
    }
    times
}

/// A Put of one of the keys, in an order that jumps about.
fn put(world: &WorldId, index: u64) -> BatchRecord {
    let key = format!("key {:05}", index * 7919 % KEYS);
    let text = format!("{index:0PAYLOAD_BYTES$}");
    Kind::Treaties.put(world, &key, &text)
}

/// A ratio with two digits after the point.
#[expect(
    clippy::cast_precision_loss,
    reason = "two digits are left of it, and the sizes are below 2^53"
)]
fn rounded(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 100.0).round() / 100.0
}
