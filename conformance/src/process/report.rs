//! What a check did, in figures.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Duration;

/// The kills of a sweep.
///
/// A kill counts as one inside a commit if the last call of `persist_batch` had records to write
/// and had not answered, and one of three things shows that it was at work. Kills before the first
/// step of a batch, at the halt there, and after the answer count in none of them.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct KillReport {
    /// What the records, the order of the kills and their moments follow from.
    pub seed: u64,
    /// How often a process was killed with SIGKILL.
    pub kills: u64,
    /// How many of the kills came at each step: the last that the process had taken.
    pub kills_by_step: BTreeMap<String, u64>,
    /// How many came inside commits: each of the next three, and none twice.
    pub kills_inside_commits: u64,
    /// How many came when a step of a batch after its first was the last that was told.
    pub kills_at_inner_steps: u64,
    /// How many came at a random moment after the first step of a batch was told and passed, and
    /// before the next was told. They count where a batch tells of two steps at most: its work is
    /// one statement then, and what the server had of it at that moment is not known.
    pub kills_within_statements: u64,
    /// After how many a part was in the store whose call had not answered.
    pub kills_with_part_stored: u64,
    /// How many came while a store was opened whose process had been killed before.
    pub kills_of_recoveries: u64,
    /// How many stores were written to.
    pub stores: u64,
    /// How often a store was opened after a kill and compared with what it has to hold.
    pub recoveries: u64,
    /// How long such an opening took: `init`, and the claims of all worlds.
    pub recovery_ms: Option<Percentiles>,
}

/// What a crash sweep did.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CrashReport {
    /// Its kills.
    #[serde(flatten)]
    pub swept: KillReport,
    /// How many parts with records were acknowledged.
    pub acknowledged_parts: u64,
    /// How many of those were in the store at the end of its life: what they log is in the log, at
    /// the sequences that were acknowledged, and persisted again they are repeated there.
    pub found_parts: u64,
    /// The acknowledged parts less those that were found. A sweep that loses one panics.
    pub lost: u64,
    /// How many parts were in the store more than once at the end of its life: a record of theirs
    /// is in the log at another sequence too, or the world counts more parts than it was given. A
    /// sweep that finds one panics.
    pub doubled: u64,
}

/// What a sweep of kills did to processes with a whole controller in them.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ControllerReport {
    /// Its kills.
    #[serde(flatten)]
    pub swept: KillReport,
    /// How many groups were acknowledged, by a ticket or a commit.
    pub acknowledged_groups: u64,
    /// How many of those were in the store at the end of its life: what they log is in the log, at
    /// the sequences that were acknowledged.
    pub found_groups: u64,
    /// The acknowledged groups less those that were found. A sweep that loses one panics.
    pub lost: u64,
    /// How many acknowledged groups were in the log more than once. A sweep that finds one panics.
    pub doubled: u64,
    /// How many saves were acknowledged.
    pub acknowledged_saves: u64,
    /// How often a controller asked for the state of dirty entities, as far as it was told.
    pub captures: u64,
    /// How many records a newer one of their key took the place of, as far as it was told.
    pub coalesced: u64,
    /// How long a controller took to start over a store whose process had been killed before, open
    /// all worlds and read them, where it got that far.
    pub resume_ms: Option<Percentiles>,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half of the times are at most this.
    pub p50: f64,
    /// Of a hundred times, 99 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    /// Those of some times; nothing of none.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        if times.is_empty() {
            return None;
        }
        times.sort();
        let at = |share: usize| {
            let index = (times.len() * share).div_ceil(100).saturating_sub(1);
            let time = times.get(index).copied().unwrap_or_default();
            (time.as_secs_f64() * 1e6).round() / 1e3
        };
        Some(Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        })
    }
}

/// What a check with stopped writers did.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ZombieReport {
    /// What the records and the random moments follow from.
    pub seed: u64,
    /// The steps of one `persist_batch` at which a writer was stopped, one writer each.
    pub steps: Vec<String>,
    /// How many writers with a part of megabytes were stopped at a random moment beside those,
    /// after the first step of its batch.
    pub timed: u64,
    /// How often the claim could not be made before the stopped writer went on.
    pub claims_that_waited: u64,
    /// How often the part of the stopped writer was refused.
    pub refused: u64,
    /// How often it was in the store, before the claim.
    pub let_in: u64,
    /// How many writers stood between the call of `persist_batch` and its answer, and had told a
    /// step of the batch.
    pub under_way: u64,
    /// How many of those had their part refused. The check fails if no part at all was refused
    /// that was not answered when its writer was stopped.
    pub refused_under_way: u64,
    /// How many of those had it in the store. The check fails if there is none.
    pub let_in_under_way: u64,
    /// How many of those were stopped at a random moment. The check fails if there is none.
    pub timed_under_way: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_times_have_no_percentiles() {
        assert_eq!(Percentiles::of(Vec::new()), None);
        let times = Percentiles::of(vec![Duration::from_millis(2), Duration::from_millis(1)]);
        let times = times.unwrap();
        assert_eq!((times.p50, times.p99, times.max), (1.0, 2.0, 2.0));
    }
}
