//! Defects in what is kept of a record.

use aqevia_storage::{
    Batch, Change, Collection, Key, Memory, Part, Payload, Receipt, Result, WorldRecord,
};
use async_trait::async_trait;

use super::{Defect, each, persist_changed};

/// A defect that keeps another record than it was given.
macro_rules! kept_changed {
    ($($(#[$docs:meta])* $defect:ident: $change:ident;)*) => {$(
        $(#[$docs])*
        #[derive(Default)]
        pub(crate) struct $defect;

        #[async_trait]
        impl Defect for $defect {
            async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
                persist_changed(memory, &batch, |part: &Part| each(part, $change)).await
            }
        }
    )*};
}

kept_changed! {
    /// Keeps text up to its first NUL.
    CutAtNul: cut_at_nul;
    /// Keeps all but the last byte of a payload of 16 MiB.
    CutAtMax: cut_at_max;
    /// Keeps timestamps as floating-point numbers.
    RoundedTimes: rounded_time;
    /// Keeps the first 255 characters of a key.
    CutKeys: cut_key;
    /// Keeps the first 32 bytes of a collection's name.
    CutCollections: cut_collection;
}

fn cut_at_nul(mut record: WorldRecord) -> WorldRecord {
    if let Some(Payload::Json(text)) = payload_of(&mut record) {
        let end = text.find('\0').unwrap_or(text.len());
        text.truncate(end);
    }
    record
}

fn cut_at_max(mut record: WorldRecord) -> WorldRecord {
    let max = Payload::BYTES_MAX;
    match payload_of(&mut record) {
        Some(Payload::Json(text)) if text.len() == max => drop(text.pop()),
        Some(Payload::Bytes(bytes)) => bytes.truncate(max - 1),
        _ => {}
    }
    record
}

fn payload_of(record: &mut WorldRecord) -> Option<&mut Payload> {
    match &mut record.change {
        Change::Put { payload, .. } | Change::Event { payload, .. } => Some(payload),
        _ => None,
    }
}

fn rounded_time(mut record: WorldRecord) -> WorldRecord {
    record.timestamp = record.timestamp as f64 as i64;
    record
}

fn cut_key(mut record: WorldRecord) -> WorldRecord {
    let key = match &mut record.change {
        Change::Put { key, .. } | Change::Delete { key } => Some(key),
        Change::Event { key, .. } => key.as_mut(),
        _ => None,
    };
    if let Some(key) = key {
        let cut: String = key.as_str().chars().take(255).collect();
        *key = Key::new(cut).unwrap();
    }
    record
}

fn cut_collection(mut record: WorldRecord) -> WorldRecord {
    let cut: String = record.collection.as_str().chars().take(32).collect();
    record.collection = Collection::new(cut).unwrap();
    record
}
