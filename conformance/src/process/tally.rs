//! Counting which of the acknowledged parts a store holds, and which of them more than once.

use std::collections::BTreeMap;
use std::sync::Arc;

use aqevia_storage::{LogRow, Part, Receipt, Sequence, StorageBackend, WorldId, WorldRecord};

use super::Verdict;
use super::compare::log;
use super::ledger::Ledger;
use super::plan::WORLDS;
use super::verify::patiently;
use crate::sample::world;
use crate::writer::persist;

/// What a store holds at the end of its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) found: u64,
    pub(super) doubled: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.found += other.found;
        self.doubled += other.doubled;
    }

    pub(super) const fn lost(self) -> u64 {
        self.acknowledged - self.found
    }
}

/// A part that was acknowledged, and its first sequence.
pub(super) type Acknowledged = (Arc<Part>, Sequence);

impl Ledger {
    /// Looks in the store for each part that was acknowledged, not in what the checks made of it.
    pub(super) async fn count(&self, backend: &dyn StorageBackend) -> Verdict<Tally> {
        let mut tally = Tally::default();
        for id in WORLDS.map(world) {
            let (rows, _) = log(backend, &id).await?;
            let of_world = |(part, _): &&Acknowledged| *part.world() == id;
            let parts: Vec<_> = self.acknowledged.iter().filter(of_world).collect();
            let twice = parts
                .iter()
                .filter(|part| is_twice(&of_part(part), &rows))
                .count() as u64;
            tally.doubled += twice.max(self.surplus(backend, &id).await?);
            for part in parts {
                tally.acknowledged += 1;
                let there = is_logged(&of_part(part), &rows) && is_repeated(backend, part).await;
                tally.found += u64::from(there);
            }
        }
        Ok(tally)
    }

    /// How many parts a world counts beyond those that it was given.
    async fn surplus(&self, backend: &dyn StorageBackend, id: &WorldId) -> Verdict<u64> {
        let Some(given) = self.model.world(id) else {
            return Ok(0);
        };
        let usage = backend.usage(id).await;
        let usage = usage.map_err(|error| format!("R1: `usage` fails: {error:?}"))?;
        Ok(usage.parts.saturating_sub(given.parts().len() as u64))
    }
}

/// What some records have in the log, by their sequences.
pub(super) type Logged = BTreeMap<u64, LogRow>;

fn of_part((part, first): &Acknowledged) -> Logged {
    let records = part.records().iter();
    let records = records.map(|record| record.is_logged().then(|| record.record()));
    logged(*first, records)
}

/// What records have in the log that begin at a sequence; `None` are those that are not logged.
pub(super) fn logged<'a>(
    first: Sequence,
    records: impl Iterator<Item = Option<&'a WorldRecord>>,
) -> Logged {
    let rows = (first.get()..).zip(records);
    rows.filter_map(|(at, record)| {
        let row = LogRow::new(Sequence::new(at).ok()?, record?.clone());
        Some((at, row))
    })
    .collect()
}

/// Whether the log has all of them at their sequences.
pub(super) fn is_logged(own: &Logged, rows: &[LogRow]) -> bool {
    own.values().all(|row| {
        let at = rows.binary_search_by_key(&row.sequence, |row| row.sequence);
        at.is_ok_and(|at| rows.get(at) == Some(row))
    })
}

/// Whether one of them is in the log at another sequence too; no two records of a sweep are of the
/// same moment.
pub(super) fn is_twice(own: &Logged, rows: &[LogRow]) -> bool {
    let moments: BTreeMap<i64, Sequence> = own
        .values()
        .map(|row| (row.record.timestamp, row.sequence))
        .collect();
    let mut there = 0;
    for row in rows {
        match moments.get(&row.record.timestamp) {
            Some(at) if *at == row.sequence => there += 1,
            Some(_) => return true,
            None => {}
        }
    }
    there > own.len()
}

async fn is_repeated(backend: &dyn StorageBackend, (part, first): &Acknowledged) -> bool {
    let answer = patiently(|| persist(backend, part)).await;
    answer.is_ok_and(|receipt| receipt == Receipt::repeated(*first, part.count()))
}

#[cfg(test)]
mod tests {
    use aqevia_storage::{Memory, SchemaPolicy};

    use super::*;
    use crate::process::plan::{Stand, records};
    use crate::suite::on_runtime;

    /// A store that was given the records of some calls, and a ledger of its parts.
    async fn store(calls: &[u64]) -> (Memory, Ledger) {
        let memory = Memory::new();
        memory.init(SchemaPolicy::Upgrade).await.unwrap();
        let mut ledger = Ledger::of_seed(7);
        for id in WORLDS.map(world) {
            let mut stand = Stand::claim(&memory, &id).await.unwrap();
            for call in calls {
                let mut records = records(7, 1, *call).into_iter();
                let Some((_, records)) = records.find(|(world, _)| *world == id) else {
                    continue;
                };
                let (part, receipt) = stand.persist(&memory, records).await.unwrap();
                if part.count() > 0 {
                    ledger.acknowledged.push((part, receipt.first));
                }
            }
        }
        (memory, ledger)
    }

    async fn tally(calls: &[u64]) -> Tally {
        let (memory, ledger) = store(calls).await;
        ledger.count(&memory).await.unwrap()
    }

    #[test]
    fn parts_that_were_acknowledged_are_found_once() {
        on_runtime(async {
            let tally = tally(&[0, 1, 2, 3]).await;
            assert!(tally.acknowledged > 0);
            assert_eq!((tally.found, tally.doubled), (tally.acknowledged, 0));
        });
    }

    #[test]
    fn parts_that_are_not_there_are_not_found() {
        on_runtime(async {
            let (_, ledger) = store(&[0, 1, 2, 3]).await;
            let (other, _) = store(&[]).await;
            let tally = ledger.count(&other).await.unwrap();
            assert_eq!((tally.acknowledged > 0, tally.found), (true, 0));
        });
    }

    #[test]
    fn a_part_that_is_there_under_two_numbers_is_doubled() {
        on_runtime(async {
            assert!(tally(&[0, 1, 2, 3, 0, 1, 2, 3]).await.doubled > 0);
        });
    }
}
