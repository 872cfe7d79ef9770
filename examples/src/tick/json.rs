//! The report, for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::report::{Report, SHARES, Times};
use crate::replay::halt::Signal;

/// The report as one JSON object. Times are in microseconds unless their names say otherwise.
#[must_use]
pub fn json(report: &Report) -> Value {
    let (options, seen, stats) = (&report.options, &report.seen, &report.stats);
    let [pending_records, pending_bytes, dirty, exposure_age_s] = report.most();
    let [memory_before, memory] = report.memory();
    let goals = report.goals().map(|goal| {
        json!({
            "goal": goal.name,
            "measured_us": micros(goal.measured),
            "most_us": micros(goal.most),
            "met": goal.is_met(),
        })
    });
    let ran_to_its_end = report.stopped_by.is_none();
    json!({
        "store": report.store,
        "fault": options.fault.name(),
        "entities": options.entities,
        "dirty_a_tick": options.dirty,
        "events_a_tick": options.events,
        "fault_began_s": seen.fault_began_s,
        "fault_ended_s": seen.fault_ended_s,
        "degraded": report.degraded(),
        "recovered_s": seen.recovered_s,
        "stopped_by": report.stopped_by.map(Signal::name),
        "ticks": report.played.ticks.len(),
        "frames_missed": report.missed(),
        "tick_us": times(&report.whole),
        "tick_without_hunger_us": times(&report.fed),
        "calls_us": times(&report.calls),
        "calls_without_hunger_us": times(&report.calls_fed),
        "lock_held_us": times(&report.held),
        "most": {
            "pending_records": pending_records,
            "pending_bytes": pending_bytes,
            "dirty": dirty,
            "exposure_age_s": exposure_age_s,
        },
        "events_refused": report.played.refused,
        "memory_bytes": { "before": memory_before, "most": memory },
        "flushes": stats.flush_count,
        "records": stats.records,
        "captured": stats.captured,
        "retries": stats.retries,
        "dead_letters": stats.dead_letters,
        "shutdown_s": ran_to_its_end.then_some(report.shutdown_s),
        "goals": goals,
        "stored": ran_to_its_end.then(|| stored(report)),
    })
}

fn stored(report: &Report) -> Value {
    let differences: Vec<&str> = report.verdict.differences.told().collect();
    json!({
        "entities": report.verdict.entities,
        "events": report.verdict.events,
        "events_accepted": report.played.events,
        "differences": report.verdict.differences.count(),
        "first_differences": differences,
    })
}

fn times(times: &Times) -> Value {
    let times = SHARES.map(|(name, share)| (name.to_owned(), micros(times.at(share)).into()));
    Value::Object(Map::from_iter(times))
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
