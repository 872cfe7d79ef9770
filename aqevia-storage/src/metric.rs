//! The names of all metrics, and what they mean.
//!
//! The table below is the only place where a metric is named; the front page of this crate shows
//! it whole, with units and labels. A name and its labels are stable once they are released.
//! Times are in seconds, sizes in bytes, and a counter ends in `_total`, as Prometheus has it.
//!
//! | names | measured by |
//! | --- | --- |
//! | `aqevia_controller_…` | [`StorageController`](crate::StorageController), of itself |
//! | `aqevia_backend_…` | [`layer::Metrics`](crate::layer::Metrics), around a store |
//! | `aqevia_cache_…` | [`WorldCache`](crate::WorldCache), of itself |
//!
//! Labels: `kind` is [`ErrorKind::name`](crate::ErrorKind::name), and `call` the method's name. A
//! world is never a label, since there may be any number of them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

#[cfg(test)]
pub(crate) mod kept;

/// How a metric is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Histogram,
    Counter,
    Gauge,
}

struct Metric {
    name: &'static str,
    sort: Sort,
    unit: Unit,
    #[cfg(test)]
    labels: &'static str,
    help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $sort:ident, $unit:ident, $labels:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            #[doc = concat!("\n\n`", $name, "`, in ", stringify!($unit), "; labels: ", $labels, ".")]
            pub const $constant: &str = $name;
        )*

        const METRICS: &[Metric] = &[$(Metric {
            name: $constant,
            sort: Sort::$sort,
            unit: Unit::$unit,
            #[cfg(test)]
            labels: $labels,
            help: $help,
        }),*];
    };
}

metrics! {
    CONTROLLER_PENDING_RECORDS = "aqevia_controller_pending_records", Gauge, Count, "none",
        "Records that are accepted and not yet persisted.";
    CONTROLLER_PENDING_BYTES = "aqevia_controller_pending_bytes", Gauge, Bytes, "none",
        "Bytes of those records.";
    CONTROLLER_DIRTY_ENTITIES = "aqevia_controller_dirty_entities", Gauge, Count, "none",
        "Entities that were marked as dirty and not yet captured.";
    CONTROLLER_EXPOSURE_AGE = "aqevia_controller_exposure_age_seconds", Gauge, Seconds, "none",
        "How long the oldest of all these has been waiting; 0 if there is nothing.";
    CONTROLLER_HEALTH = "aqevia_controller_health", Gauge, Count, "none",
        "0 if what was tried last succeeded, 1 if it is tried again, 2 if nothing is written any more.";
    CONTROLLER_OPEN_WORLDS = "aqevia_controller_open_worlds", Gauge, Count, "none",
        "Worlds that are open and not stopped.";
    CONTROLLER_FLUSH_SECONDS = "aqevia_controller_flush_seconds", Histogram, Seconds, "none",
        "How long a flush took, from the hand-over of its batch to the answer.";
    CONTROLLER_FLUSHES = "aqevia_controller_flushes_total", Counter, Count, "none",
        "Flushes that persisted at least one part.";
    CONTROLLER_RETRIES = "aqevia_controller_retries_total", Counter, Count, "none",
        "Parts that were to be handed to the store again.";
    CONTROLLER_COALESCED = "aqevia_controller_coalesced_total", Counter, Count, "none",
        "Records whose place a newer one of their key took before they were persisted.";
    CONTROLLER_CAPTURED = "aqevia_controller_captured_total", Counter, Count, "none",
        "Dirty entities whose state was captured.";
    CONTROLLER_DEAD_LETTERS = "aqevia_controller_dead_letters_total", Counter, Count, "none",
        "Records that the store refused and for which a dead letter stands.";
    BACKEND_PERSIST_SECONDS = "aqevia_backend_persist_seconds", Histogram, Seconds, "none",
        "How long a batch took to be answered.";
    BACKEND_BATCH_PARTS = "aqevia_backend_batch_parts", Histogram, Count, "none",
        "Parts in a batch.";
    BACKEND_BATCH_RECORDS = "aqevia_backend_batch_records", Histogram, Count, "none",
        "Records in a batch.";
    BACKEND_BATCH_BYTES = "aqevia_backend_batch_bytes", Histogram, Bytes, "none",
        "Bytes of the records in a batch.";
    BACKEND_PART_RECORDS = "aqevia_backend_part_records", Histogram, Count, "none",
        "Records in a part.";
    BACKEND_PART_BYTES = "aqevia_backend_part_bytes", Histogram, Bytes, "none",
        "Bytes of the records in a part.";
    BACKEND_PARTS_PERSISTED = "aqevia_backend_parts_persisted_total", Counter, Count, "none",
        "Parts that were answered with a receipt and not repeated, empty ones included.";
    BACKEND_PARTS_REPEATED = "aqevia_backend_parts_repeated_total", Counter, Count, "none",
        "Parts that had been persisted before.";
    BACKEND_PARTS_FAILED = "aqevia_backend_parts_failed_total", Counter, Count, "kind",
        "Parts that were answered with an error.";
    BACKEND_RECORDS_PERSISTED = "aqevia_backend_records_persisted_total", Counter, Count, "none",
        "Records of the parts that were persisted.";
    BACKEND_PERSISTED_BYTES = "aqevia_backend_persisted_bytes_total", Counter, Bytes, "none",
        "Bytes of the records of the parts that were persisted.";
    BACKEND_CLAIM_SECONDS = "aqevia_backend_claim_seconds", Histogram, Seconds, "none",
        "How long a claim took to be answered.";
    BACKEND_READ_SECONDS = "aqevia_backend_read_seconds", Histogram, Seconds, "call",
        "How long a call of `log`, `state`, `snapshot`, `worlds` or `usage` took to be answered.";
    BACKEND_CALLS_FAILED = "aqevia_backend_calls_failed_total", Counter, Count, "call, kind",
        "Calls other than `persist_batch` that were answered with an error.";
    CACHE_WORLDS = "aqevia_cache_worlds", Gauge, Count, "none",
        "Worlds in memory, used or not.";
    CACHE_BYTES = "aqevia_cache_bytes", Gauge, Bytes, "none",
        "Their bytes, as the loader estimated them last.";
    CACHE_HITS = "aqevia_cache_hits_total", Counter, Count, "none",
        "Calls of `get` that found their world in memory.";
    CACHE_MISSES = "aqevia_cache_misses_total", Counter, Count, "none",
        "Calls of `get` that waited for a load.";
    CACHE_LOADS = "aqevia_cache_loads_total", Counter, Count, "none",
        "Worlds that were loaded.";
    CACHE_LOAD_FAILURES = "aqevia_cache_load_failures_total", Counter, Count, "none",
        "Loads that failed.";
    CACHE_LOAD_SECONDS = "aqevia_cache_load_seconds", Histogram, Seconds, "none",
        "How long a load took, from the first that asked for the world.";
    CACHE_EVICTIONS = "aqevia_cache_evictions_total", Counter, Count, "none",
        "Worlds that were evicted.";
}

/// Tells the installed recorder of the crate `metrics` the unit and the meaning of each metric.
///
/// Call it once, after the recorder was installed. Twice does no harm.
pub fn describe() {
    for metric in METRICS {
        match metric.sort {
            Sort::Histogram => describe_histogram!(metric.name, metric.unit, metric.help),
            Sort::Counter => describe_counter!(metric.name, metric.unit, metric.help),
            Sort::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the front page's table.
    fn row(metric: &Metric) -> String {
        let (name, help) = (metric.name, metric.help.trim_end_matches('.'));
        let sort = format!("{:?}", metric.sort).to_lowercase();
        let labels = metric.labels.split(", ").filter(|label| *label != "none");
        let labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let row = format!("| `{name}` | {sort} | {labels} | {help} |");
        row.replace("|  |", "| |")
    }

    #[test]
    fn the_front_page_shows_each_metric_and_no_other() {
        let page = include_str!("../README.md");
        let shown: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("| `aqevia_"))
            .collect();
        let rows: Vec<_> = METRICS.iter().map(row).collect();
        assert_eq!(shown, rows, "README.md is to hold:\n{}", rows.join("\n"));
    }

    #[test]
    fn names_tell_what_is_measured() {
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("aqevia_"), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.sort == Sort::Counter,
                "{name}"
            );
            let bare = name.trim_end_matches("_total");
            assert_eq!(
                bare.ends_with("_seconds"),
                metric.unit == Unit::Seconds,
                "{name}"
            );
            assert_eq!(
                bare.ends_with("_bytes"),
                metric.unit == Unit::Bytes,
                "{name}"
            );
        }
    }
}
