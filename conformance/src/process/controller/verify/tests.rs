use aqevia_storage::Sequence;

use super::*;
use crate::process::controller::script::{Script, moment};
use crate::sample::{key, world};

/// How far the script was played that the tests look at.
const ACCEPTED: u64 = 120;
/// How far it is stored.
const STORED: u64 = 60;

/// The book of a world of which nothing is acknowledged.
fn track() -> Track {
    let mut track = Track::new("arda", Script::new(7, 0));
    track.accepted = ACCEPTED;
    track
}

fn deeds() -> Vec<Deed> {
    Script::new(7, 0).until(ACCEPTED).to_vec()
}

fn sequence(at: u64) -> Sequence {
    Sequence::new(at).unwrap()
}

/// What is stored when all deeds before a place are, with a capture at another.
fn stored(to: u64, captured: u64) -> Contents {
    let deeds = deeds();
    let mut head = 0;
    let mut log = Vec::new();
    let mut states = BTreeMap::new();
    for record in between(&deeds, 0, to).flat_map(Deed::records) {
        head += 1;
        if is_logged(record) {
            log.push(LogRow::new(sequence(head), record.clone()));
        }
        match (name(record), record.payload()) {
            (Some(name), Some(payload)) => {
                states.insert(name, (payload.clone(), head, record.timestamp));
            }
            (Some(name), None) => drop(states.remove(&name)),
            (None, _) => {}
        }
    }
    for (key, (at, payload)) in fold_entities(&deeds[..usize::try_from(captured).unwrap()]) {
        head += 1;
        states.insert((entities(), key), (payload, head, at));
    }
    head += 1;
    let done = Payload::Json(captured.to_string());
    states.insert(cursor(), (done, head, moment(captured, 0)));
    let rows = states.into_iter().map(|((collection, key), state)| {
        let (payload, at, moment) = state;
        StateRow::new(collection, key, payload, sequence(at), moment)
    });
    Contents {
        world: world("arda"),
        head: sequence(head),
        log,
        state: rows.collect(),
    }
}

fn assert_breaks(clause: &str, track: &mut Track, found: &Contents) {
    let violation = track.compare(found).unwrap_err();
    assert!(violation.starts_with(&format!("{clause}: ")), "{violation}");
}

/// The place in the log of the first record of a group of three that are logged.
fn group_in(log: &[LogRow]) -> usize {
    let at = |row: &LogRow| place(row.record.timestamp).0;
    let mut groups = log.windows(3);
    let first = groups.position(|rows| rows.iter().all(|row| at(row) == at(&rows[0])));
    first.unwrap()
}

/// The place in the log of a record that is a deed of its own.
fn single_in(log: &[LogRow]) -> usize {
    let deeds = deeds();
    let single = |row: &LogRow| {
        let (at, _) = place(row.record.timestamp);
        matches!(deeds[usize::try_from(at).unwrap()], Deed::Record(_))
    };
    log.iter().position(single).unwrap()
}

/// A row of the state in a collection, and another payload in it.
fn change(found: &mut Contents, collection: &Collection, moment: i64) {
    let mut rows = found.state.iter_mut();
    let row = rows.find(|row| row.collection == *collection).unwrap();
    row.last_timestamp = moment;
}

/// What a record gives its key, in the store.
fn give(found: &mut Contents, record: &WorldRecord) {
    let name = name(record).unwrap();
    found
        .state
        .retain(|row| (&row.collection, &row.key) != (&name.0, &name.1));
    if let Some(payload) = record.payload() {
        let (at, payload) = (record.timestamp, payload.clone());
        let row = StateRow::new(name.0, name.1, payload, sequence(1), at);
        found.state.push(row);
    }
}

/// A Put of a key of its own from the deeds behind the stored ones: one that took the place of an
/// older record, or one that would have had to pass a group.
fn later(across_a_group: bool) -> WorldRecord {
    let deeds = deeds();
    let mut later = between(&deeds, STORED, ACCEPTED).enumerate();
    let found = later.find_map(|(index, deed)| {
        let Deed::Record(record) = deed else {
            return None;
        };
        let name = name(record)?;
        let before = between(&deeds, STORED, STORED + index as u64);
        let mut groups = before.filter(|deed| deed.group().is_some());
        let passes = groups.any(|group| group.records().iter().any(|other| of(other, &name)));
        let fits = record.payload().is_some() && !is_logged(record) && passes == across_a_group;
        fits.then(|| record.clone())
    });
    found.unwrap()
}

#[test]
fn what_a_script_makes_is_as_it_has_to_be_wherever_it_ends() {
    for to in 0..ACCEPTED {
        let found = stored(to, to);
        let mut track = track();
        (track.acknowledged, track.saved) = (0, to);
        assert_eq!(track.compare(&found), Ok(to));
    }
}

#[test]
fn a_record_that_is_missing_before_others_is_found() {
    let mut found = stored(STORED, 0);
    found.log.remove(single_in(&found.log));
    assert_breaks("C2", &mut track(), &found);
}

#[test]
fn a_group_of_which_a_record_is_missing_is_found() {
    for index in 0..3 {
        let mut found = stored(STORED, 0);
        found.log.remove(group_in(&found.log) + index);
        assert_breaks("C4", &mut track(), &found);
    }
}

#[test]
fn a_group_that_the_log_ends_in_is_found() {
    let mut found = stored(STORED, 0);
    found.log.truncate(group_in(&found.log) + 2);
    assert_breaks("C4", &mut track(), &found);
}

#[test]
fn a_group_whose_records_do_not_adjoin_is_found() {
    let mut found = stored(STORED, 0);
    let last = group_in(&found.log) + 2;
    for row in &mut found.log[last..] {
        row.sequence = sequence(row.sequence.get() + 1);
    }
    assert_breaks("C4", &mut track(), &found);
}

#[test]
fn a_record_of_a_group_that_is_stored_away_from_it_is_found() {
    let mut found = stored(STORED, STORED);
    let deeds = deeds();
    let of_group = |row: &StateRow| {
        let (at, _) = place(row.last_timestamp);
        row.collection == Kind::Fleets.collection()
            && deeds[usize::try_from(at).unwrap()].group().is_some()
    };
    let ends = (1..=STORED).rev().find(|to| {
        found = stored(*to, *to);
        found.state.iter().any(of_group)
    });
    assert!(ends.is_some());
    let row = found.state.iter_mut().find(|row| of_group(row)).unwrap();
    row.sequence = sequence(row.sequence.get() + 1);
    assert_breaks("C4", &mut track(), &found);
}

#[test]
fn a_record_that_is_there_twice_is_found() {
    let mut found = stored(STORED, 0);
    let again = found.log[single_in(&found.log)].record.clone();
    let end = found.head.get() + 1;
    found.log.push(LogRow::new(sequence(end), again));
    assert_breaks("C2", &mut track(), &found);
}

#[test]
fn a_record_that_nobody_gave_is_found() {
    let mut track = track();
    track.accepted = STORED - 10;
    assert_breaks("C2", &mut track, &stored(STORED, 0));
}

#[test]
fn a_record_that_differs_is_found() {
    let mut found = stored(STORED, 0);
    let single = single_in(&found.log);
    found.log[single].record.collection = entities();
    assert_breaks("P4", &mut track(), &found);
}

#[test]
fn what_is_acknowledged_and_not_stored_is_found() {
    let mut behind = track();
    behind.acknowledged = STORED + 1;
    assert_breaks("C1", &mut behind, &stored(STORED, STORED));
    let mut unsaved = track();
    unsaved.saved = STORED;
    assert_breaks("C1", &mut unsaved, &stored(STORED, STORED - 1));
}

#[test]
fn a_key_that_went_back_is_found() {
    let mut found = stored(STORED, STORED);
    change(&mut found, &Kind::Fleets.collection(), moment(0, 0));
    assert_breaks("C2", &mut track(), &found);
}

#[test]
fn a_key_that_is_not_there_is_found() {
    let mut found = stored(STORED, STORED);
    found
        .state
        .retain(|row| row.collection != Kind::Treaties.collection());
    assert_breaks("C2", &mut track(), &found);
}

#[test]
fn a_dead_letter_is_found() {
    let mut found = stored(STORED, STORED);
    let letters = Collection::new("_dead_letters").unwrap();
    let payload = Payload::Json("0".to_owned());
    let row = StateRow::new(letters, key("1"), payload, sequence(1), 0);
    found.state.push(row);
    assert_breaks("C2", &mut track(), &found);
}

#[test]
fn a_record_that_took_the_place_of_an_older_one_may_be_there_early() {
    let mut found = stored(STORED, STORED);
    give(&mut found, &later(false));
    assert_eq!(track().compare(&found), Ok(STORED));
}

#[test]
fn a_record_that_passed_a_group_with_its_key_is_found() {
    let mut found = stored(STORED, STORED);
    give(&mut found, &later(true));
    assert_breaks("C2", &mut track(), &found);
}

#[test]
fn entities_of_another_moment_than_their_capture_are_found() {
    let mut found = stored(STORED, STORED);
    let (collection, _) = cursor();
    change(&mut found, &collection, moment(STORED - 20, 0));
    assert_breaks("C9", &mut track(), &found);
}

#[test]
fn a_capture_without_the_records_before_it_is_found() {
    assert_breaks("C9", &mut track(), &stored(STORED - 20, STORED));
    assert_breaks("C9", &mut track(), &stored(STORED, ACCEPTED));
}

#[test]
fn a_script_that_was_played_to_its_end_has_to_be_stored_to_it() {
    let mut ended = track();
    ended.ended = Some(ACCEPTED);
    assert_eq!(ended.compare(&stored(ACCEPTED, ACCEPTED)), Ok(ACCEPTED));
    assert_breaks("C6", &mut ended, &stored(ACCEPTED, ACCEPTED - 1));
}
