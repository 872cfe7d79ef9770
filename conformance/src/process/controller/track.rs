//! What the children of a controller sweep told of one world.

use aqevia_storage::{Sequence, StorageBackend};

use super::script::{Deed, Script, is_logged};
use crate::contents::Contents;
use crate::process::Verdict;
use crate::process::compare::{log, state};
use crate::process::tally::{Tally, is_logged as are_logged, is_twice, logged};
use crate::process::verify::patiently;
use crate::sample::world;

/// What was told of a world.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) name: &'static str,
    pub(super) script: Script,
    /// No deed at this place or behind it was begun.
    pub(super) accepted: u64,
    /// All groups before this place are acknowledged.
    pub(super) acknowledged: u64,
    /// All deeds before this place are saved.
    pub(super) saved: u64,
    /// Where the script has to be stored to, if its end was reached in peace.
    pub(super) ended: Option<u64>,
    /// The groups that were acknowledged, with their first sequences.
    groups: Vec<(u64, Sequence)>,
    /// The last part that was answered or found, and the head behind it.
    number: u64,
    head: u64,
    /// Where the next child goes on, if the store has been looked at since the last one.
    pub(super) next: Option<u64>,
}

impl Track {
    pub(super) const fn new(name: &'static str, script: Script) -> Self {
        Self {
            name,
            script,
            accepted: 0,
            acknowledged: 0,
            saved: 0,
            ended: None,
            groups: Vec::new(),
            number: 0,
            head: 0,
            next: None,
        }
    }

    /// What a store holds of the world, at one moment.
    pub(super) async fn read(&self, backend: &dyn StorageBackend) -> Verdict<Contents> {
        let world = world(self.name);
        let snapshot = patiently(|| backend.snapshot(&world)).await;
        let snapshot = snapshot.map_err(|error| format!("R5: `snapshot` fails: {error:?}"))?;
        let (log, head) = log(&*snapshot, &world).await?;
        let state = state(&*snapshot, &world).await?;
        Ok(Contents {
            world,
            head,
            log,
            state,
        })
    }

    /// A claim found this part to be the last; whether it was not answered.
    pub(super) fn stand(&mut self, number: u64, head: u64) -> Verdict<bool> {
        let (known, ends, name) = (self.number, self.head, self.name);
        (self.number, self.head) = (number, head);
        match number.checked_sub(known) {
            None => Err(format!(
                "P2: the last part of world {name:?} is {number}, and {known} was answered"
            )),
            Some(0) if head != ends => Err(format!(
                "P1: part {number} of world {name:?} ended at {ends}, and the head is {head}"
            )),
            Some(1) if head <= ends => Err(format!(
                "P1: part {number} of world {name:?} begins behind {ends}, and the head is {head}"
            )),
            Some(more @ (0 | 1)) => Ok(more == 1),
            Some(_) => Err(format!(
                "C2: the last part of world {name:?} is {number}; {known} was answered, and one \
                 more may have been under way"
            )),
        }
    }

    /// A part was answered.
    pub(super) fn answer(&mut self, number: u64, first: u64, count: u64) -> Verdict {
        let next = (self.number + 1, self.head + 1);
        if (number, first) != next {
            return Err(format!(
                "P3: part {number} of world {:?} got sequence {first}; part and sequence \
                 {next:?} follow",
                self.name
            ));
        }
        (self.number, self.head) = (number, self.head + count);
        Ok(())
    }

    /// A child goes on here.
    pub(super) fn resume(&self, from: u64) -> Verdict {
        let (name, least) = (self.name, self.acknowledged.max(self.saved));
        if from < least {
            return Err(format!(
                "C1: world {name:?} is opened and stored to place {from}, and all before {least} \
                 is acknowledged"
            ));
        }
        match self.next {
            Some(next) if next != from => Err(format!(
                "R1: a controller reads that world {name:?} is stored to place {from}, and it is \
                 to {next}"
            )),
            _ => Ok(()),
        }
    }

    /// A group was acknowledged.
    pub(super) fn store(&mut self, at: u64, first: u64) -> Verdict {
        let (name, accepted) = (self.name, self.accepted);
        if at >= accepted || self.groups.iter().any(|(before, _)| *before == at) {
            return Err(format!(
                "C2: group {at} of world {name:?} is acknowledged again, or before its time"
            ));
        }
        let first = Sequence::new(first).map_err(|error| format!("P3: {error}"))?;
        self.groups.push((at, first));
        self.acknowledged = self.acknowledged.max(at + 1);
        Ok(())
    }

    /// Looks for each group that was acknowledged.
    pub(super) fn count(&self, found: &Contents) -> Tally {
        let mut script = self.script.again();
        let deeds = script.until(self.accepted);
        let mut tally = Tally::default();
        for (at, first) in &self.groups {
            let deed = usize::try_from(*at).ok().and_then(|at| deeds.get(at));
            let group = deed.and_then(Deed::group).unwrap_or_default();
            let records = group
                .iter()
                .map(|record| is_logged(record).then_some(record));
            let own = logged(*first, records);
            tally.acknowledged += 1;
            tally.found += u64::from(are_logged(&own, &found.log));
            tally.doubled += u64::from(is_twice(&own, &found.log));
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track() -> Track {
        let mut track = Track::new("arda", Script::new(7, 0));
        track.accepted = 40;
        track.answer(1, 1, 5).unwrap();
        track
    }

    fn assert_breaks<T: std::fmt::Debug>(clause: &str, verdict: Verdict<T>) {
        let violation = verdict.unwrap_err();
        assert!(violation.starts_with(&format!("{clause}: ")), "{violation}");
    }

    #[test]
    fn one_part_more_than_was_answered_may_be_there() {
        assert_eq!(track().stand(1, 5), Ok(false));
        assert_eq!(track().stand(2, 6), Ok(true));
        assert_breaks("C2", track().stand(3, 7));
    }

    #[test]
    fn a_part_that_was_answered_and_is_not_there_is_found() {
        assert_breaks("P2", track().stand(0, 0));
        assert_breaks("P1", track().stand(1, 4));
        assert_breaks("P1", track().stand(2, 5));
    }

    #[test]
    fn a_part_that_does_not_follow_is_found() {
        assert_breaks("P3", track().answer(3, 6, 1));
        assert_breaks("P3", track().answer(2, 5, 1));
    }

    #[test]
    fn a_group_is_acknowledged_once() {
        let mut track = track();
        track.store(7, 1).unwrap();
        assert_breaks("C2", track.store(7, 3));
        assert_breaks("C2", track.store(40, 3));
    }

    #[test]
    fn a_child_that_goes_on_before_what_is_acknowledged_is_found() {
        let mut track = track();
        track.store(7, 1).unwrap();
        assert_breaks("C1", track.resume(7));
        assert_eq!(track.resume(8), Ok(()));
        track.next = Some(9);
        assert_breaks("R1", track.resume(8));
    }

    #[test]
    fn groups_that_are_lost_or_doubled_are_counted() {
        let mut track = track();
        let deeds = Script::new(7, 0).until(40).to_vec();
        let at = deeds
            .iter()
            .position(|deed| deed.group().is_some())
            .unwrap();
        let group = deeds[at].group().unwrap();
        track.store(at as u64, 1).unwrap();
        let records = group
            .iter()
            .map(|record| is_logged(record).then_some(record));
        let records: Vec<_> = records.collect();
        let rows = |first: u64| {
            let first = Sequence::new(first).unwrap();
            logged(first, records.iter().copied()).into_values()
        };
        let mut found = Contents {
            world: world("arda"),
            head: Sequence::ZERO,
            log: Vec::new(),
            state: Vec::new(),
        };
        assert_eq!(track.count(&found).lost(), 1);
        found.log = rows(1).collect();
        assert_eq!(
            (track.count(&found).lost(), track.count(&found).doubled),
            (0, 0)
        );
        found.log.extend(rows(100));
        assert_eq!(
            (track.count(&found).lost(), track.count(&found).doubled),
            (0, 1)
        );
    }
}
