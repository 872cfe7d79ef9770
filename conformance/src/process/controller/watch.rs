//! Watching within a child that a capture, and what was handed over before it, are one group.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aqevia_storage::{BatchNumber, BatchRecord, Part, WorldId};

use super::script::{cursor, entities, place};
use crate::process::Verdict;

/// The captures that were cut and are in no part so far.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<BTreeMap<WorldId, Open>>);

/// A cut, and the part that began first after it.
#[derive(Debug)]
struct Open {
    done: u64,
    first: Option<BatchNumber>,
}

impl Watch {
    /// A capture was cut when so many deeds of a world were done. Called after the cut, so that no
    /// part is held against it that was formed before.
    pub(super) fn cut(&self, world: &WorldId, done: u64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(world.clone(), Open { done, first: None });
    }

    /// A part is handed to the store.
    ///
    /// The first part that begins after a cut may have been formed before it; the next one was not,
    /// and has the capture.
    ///
    /// # Errors
    /// If what is before a cut and what is captured are not in one part, in this order.
    pub(super) fn part(&self, part: &Part) -> Verdict {
        let in_world = |matter: String| {
            let (number, world) = (part.number(), part.world());
            format!("C9: part {number} of world {world:?} {matter}")
        };
        let captured = check_order(part.records()).map_err(in_world)?;
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(cut) = open.get_mut(part.world()) else {
            return Ok(());
        };
        if captured.is_some_and(|captured| captured >= cut.done) {
            open.remove(part.world());
            return Ok(());
        }
        let (first, done) = (*cut.first.get_or_insert(part.number()), cut.done);
        match first == part.number() {
            true => Ok(()),
            false => Err(in_world(format!(
                "has not the capture of place {done}, which was cut before part {first} ended"
            ))),
        }
    }
}

/// What stands before the capture in a part was handed over before its cut, and what stands behind
/// it afterwards. The place of the capture, if there is one.
fn check_order(records: &[BatchRecord]) -> Verdict<Option<u64>> {
    let (counts, entities) = (cursor().0, entities());
    let of_capture = |record: &&BatchRecord| {
        let collection = &record.record().collection;
        *collection == counts || *collection == entities
    };
    let place = |record: &BatchRecord| place(record.record().timestamp).0;
    let is_count = |record: &&BatchRecord| record.record().collection == counts;
    let Some(captured) = records.iter().find(is_count).map(place) else {
        return Ok(None);
    };
    let begin = records.iter().position(|record| of_capture(&record));
    let (before, rest) = records.split_at(begin.unwrap_or(records.len()));
    let behind = rest.iter().skip_while(of_capture);
    let late = before.iter().map(place).find(|at| *at >= captured);
    let early = behind.map(place).find(|at| *at < captured);
    match (late, early) {
        (None, None) => Ok(Some(captured)),
        (Some(at), _) => Err(format!(
            "has the record of place {at} before the capture of place {captured}"
        )),
        (None, Some(at)) => Err(format!(
            "has the record of place {at} behind the capture of place {captured}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use aqevia_storage::{Epoch, History, Link, Payload, WorldRecord};

    use super::*;
    use crate::process::controller::script::moment;
    use crate::sample::{key, world};

    fn event(at: u64) -> BatchRecord {
        let event = WorldRecord::new(world("arda"), Vec::new(), moment(at, 0));
        BatchRecord::new(event, History::Latest)
    }

    /// An entity that is captured, and the count of deeds.
    fn capture(at: u64) -> [BatchRecord; 2] {
        let (counts, done) = cursor();
        let names = [(entities(), key("hull 1"), 0), (counts, done, at)];
        names.map(|(collection, key, at)| {
            let payload = Payload::Json("0".to_owned());
            let put = WorldRecord::put(&world("arda"), &collection, key, payload, moment(at, 0));
            BatchRecord::new(put, History::Latest)
        })
    }

    fn part(number: u64, records: Vec<BatchRecord>) -> Part {
        let number = BatchNumber::new(number).unwrap();
        Part::new(
            world("arda"),
            Epoch::FIRST,
            number,
            0,
            Link::ORIGIN,
            records,
        )
        .unwrap()
    }

    fn assert_refused(verdict: Verdict) {
        let violation = verdict.unwrap_err();
        assert!(violation.starts_with("C9: "), "{violation}");
    }

    #[test]
    fn a_capture_between_what_came_before_and_after_it_is_right() {
        let mut records = vec![event(3), event(4)];
        records.extend(capture(5));
        records.push(event(5));
        let watch = Watch::default();
        watch.cut(&world("arda"), 5);
        assert_eq!(watch.part(&part(1, records)), Ok(()));
        assert_eq!(watch.part(&part(2, vec![event(6)])), Ok(()));
        assert_eq!(watch.part(&part(3, vec![event(7)])), Ok(()));
    }

    #[test]
    fn a_record_on_the_wrong_side_of_a_capture_is_found() {
        let mut late = vec![event(5)];
        late.extend(capture(5));
        assert_refused(Watch::default().part(&part(1, late)));
        let mut early = capture(5).to_vec();
        early.push(event(4));
        assert_refused(Watch::default().part(&part(1, early)));
    }

    #[test]
    fn one_part_may_have_been_formed_before_a_cut_and_no_second() {
        let watch = Watch::default();
        watch.cut(&world("arda"), 5);
        assert_eq!(watch.part(&part(1, vec![event(3)])), Ok(()));
        assert_eq!(watch.part(&part(1, vec![event(3)])), Ok(()));
        assert_refused(watch.part(&part(2, vec![event(4)])));
    }
}
