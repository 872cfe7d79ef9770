//! The clauses, checked over what happened.

mod accepting;
mod capturing;
mod ending;

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::history::Event;
use crate::plan::Plan;

/// The clauses that a run broke, each with the first thing that shows it.
pub(crate) type Broken = BTreeMap<&'static str, String>;

/// Looks for what breaks a clause.
type Check = fn(&Facts<'_>) -> Result<(), String>;

/// Checks a history against every clause.
pub(crate) fn check(plan: &Plan, events: &[Event]) -> Broken {
    let facts = Facts::read(plan, events);
    let clauses: [(&str, Check); 10] = [
        ("C1", accepting::acknowledged_is_stored),
        ("C2", accepting::each_record_is_persisted_once_in_order),
        ("C3", accepting::the_bound_is_held),
        ("C4", accepting::groups_stay_together),
        ("C5", accepting::refused_groups_fail_alone),
        ("C6", ending::shutdown_reports_what_is_missing),
        ("C7", ending::health_tells_of_trouble),
        ("C8", ending::dropping_persists_or_logs),
        ("C9", capturing::captures_are_whole_and_nothing_stays_dirty),
        ("C10", ending::only_opening_claims),
    ];
    let broken = clauses.into_iter().filter_map(|(clause, check)| {
        let error = check(&facts).err()?;
        Some((clause, error))
    });
    broken.collect()
}

/// Breaks a clause, saying what shows it, unless something holds.
macro_rules! ensure {
    ($holds:expr, $($says:tt)+) => {
        if !$holds {
            return Err(format!($($says)+));
        }
    };
}
pub(crate) use ensure;
