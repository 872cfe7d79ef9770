use super::*;
use crate::ErrorKind;

fn arda() -> WorldId {
    WorldId::new("arda").unwrap()
}

fn put(key: &str, payload: &str, timestamp: i64) -> BatchRecord {
    let fleets = Collection::new("fleets").unwrap();
    let payload = Payload::Json(payload.into());
    let record = WorldRecord::put(&arda(), &fleets, Key::new(key).unwrap(), payload, timestamp);
    BatchRecord::new(record, History::Latest)
}

fn delete(key: &str) -> BatchRecord {
    let fleets = Collection::new("fleets").unwrap();
    let record = WorldRecord::delete(&arda(), &fleets, Key::new(key).unwrap(), 0);
    BatchRecord::new(record, History::Latest)
}

fn part(records: Vec<BatchRecord>) -> Result<Part> {
    Part::new(
        arda(),
        Epoch::FIRST,
        BatchNumber::FIRST,
        0,
        Link::ORIGIN,
        records,
    )
}

#[test]
fn the_last_change_of_a_key_wins_and_keys_come_in_byte_order() {
    let records = vec![
        put("b", "1", 10),
        put("a", "2", 20),
        put("b", "3", 30),
        delete("c"),
    ];
    let part = part(records).unwrap();
    let changes = part.state_changes(Sequence::new(100).unwrap());
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    let b = changes[1].put.unwrap();
    assert_eq!(b.payload.as_bytes(), b"3");
    assert_eq!(
        (b.sequence.get(), b.first_timestamp, b.last_timestamp),
        (103, 10, 30)
    );
    assert!(!b.recreated);
    assert_eq!(changes[2].put, None);
}

#[test]
fn a_key_deleted_and_put_again_begins_anew() {
    let records = vec![
        put("a", "1", 10),
        delete("a"),
        put("a", "2", 20),
        put("a", "3", 30),
    ];
    let part = part(records).unwrap();
    let changes = part.state_changes(Sequence::ZERO);
    let a = changes[0].put.unwrap();
    assert_eq!(
        (a.first_timestamp, a.last_timestamp, a.recreated),
        (20, 30, true)
    );
}

#[test]
fn a_part_holds_records_of_its_world_only() {
    let stray = WorldRecord::new(WorldId::new("elsewhere").unwrap(), vec![], 0);
    let error = part(vec![BatchRecord::new(stray, History::Latest)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("\"elsewhere\""));
}

#[test]
fn a_batch_holds_one_part_a_world() {
    let parts = vec![
        Arc::new(part(vec![]).unwrap()),
        Arc::new(part(vec![]).unwrap()),
    ];
    assert_eq!(Batch::new(parts).unwrap_err().kind(), ErrorKind::Invalid);
}
