use super::*;
use aqevia_storage::ErrorKind;

fn world(name: &str) -> WorldId {
    WorldId::new(name).unwrap()
}

fn collection(name: &str) -> Collection {
    Collection::new(name).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn worlds() -> Vec<WorldId> {
    let longest = "w".repeat(WorldId::BYTES_MAX);
    ["a", "A", "aa", "a ", "a/b", "é", "s", "l", "ａ", &longest]
        .map(world)
        .to_vec()
}

/// Names that a separator could be taken for, or that one could be a prefix of.
fn names() -> Vec<(Collection, Key)> {
    let longest = "k".repeat(Key::BYTES_MAX);
    let keys = [
        "!",
        "a",
        "a ",
        "a0",
        "aa",
        "é",
        "\u{ffff}",
        "\u{10000}",
        &longest,
    ];
    ["a", "a0", "a_", "aa", "b"]
        .iter()
        .flat_map(|name| keys.map(|text| (collection(name), key(text))))
        .collect()
}

#[test]
fn keys_of_the_state_order_as_collection_and_key() {
    let world = world("arda");
    for (c1, k1) in names() {
        for (c2, k2) in names() {
            let bytes = state_key(&world, &c1, &k1).cmp(&state_key(&world, &c2, &k2));
            let texts = (c1.as_str(), k1.as_str()).cmp(&(c2.as_str(), k2.as_str()));
            assert_eq!(bytes, texts, "{c1:?} {k1:?} and {c2:?} {k2:?}");
        }
    }
}

#[test]
fn keys_of_the_state_hold_their_names() {
    for world in worlds() {
        for (collection, key) in names() {
            let bytes = state_key(&world, &collection, &key);
            let held = state_names(&world, &bytes).unwrap();
            assert_eq!(held, (collection.as_str(), key.as_str()));
        }
    }
}

#[test]
fn numbers_order_as_bytes() {
    let world = world("arda");
    let numbers = [0, 1, 255, 256, 65_535, 65_536, Sequence::MAX.get()];
    let sequences = numbers.map(|number| Sequence::new(number).unwrap());
    let keys = sequences.map(|sequence| log_key(&world, sequence));
    assert!(keys.is_sorted_by(|a, b| a < b));
    assert_eq!(
        keys.map(|key| log_sequence(&key).unwrap()),
        sequences,
        "the sequence of a key is the one it was made of"
    );
    let batches = numbers.map(|number| batch_key(&world, BatchNumber::new(number).unwrap()));
    assert!(batches.is_sorted_by(|a, b| a < b));
}

#[test]
fn no_world_begins_as_another_and_all_its_keys_lie_before_its_end() {
    for a in worlds() {
        let (prefix, end) = (world_prefix(&a), end_of(&world_prefix(&a)));
        for b in worlds() {
            let keys = [
                log_key(&b, Sequence::ZERO),
                log_key(&b, Sequence::MAX),
                batch_key(&b, BatchNumber::FIRST),
                state_key(&b, &collection("z"), &key("\u{10ffff}")),
                chunk_key(Place::State, &b, Sequence::MAX, u32::MAX),
            ];
            for key in keys {
                assert_eq!(key.starts_with(&prefix), a == b, "{a:?} and {b:?}");
                assert_eq!(prefix <= key && key < end, a == b, "{a:?} and {b:?}");
            }
        }
    }
}

#[test]
fn no_collection_begins_as_another_and_all_its_keys_lie_before_its_end() {
    let world = world("arda");
    for (a, _) in names() {
        let (prefix, end) = (
            collection_prefix(&world, &a),
            end_of(&collection_prefix(&world, &a)),
        );
        for (b, key) in names() {
            let bytes = state_key(&world, &b, &key);
            assert_eq!(prefix < bytes && bytes < end, a == b, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn chunks_order_by_place_sequence_and_index() {
    let world = world("arda");
    let mut keys = Vec::new();
    for place in [Place::Log, Place::State] {
        for sequence in [1, 2, 256].map(|at| Sequence::new(at).unwrap()) {
            keys.extend([0, 1, 256].map(|index| chunk_key(place, &world, sequence, index)));
        }
    }
    assert!(keys.is_sorted_by(|a, b| a < b));
}

#[test]
fn fields_come_back_as_they_were_written() {
    let value = Fields::default()
        .u8(1)
        .u32(u32::MAX)
        .u64(u64::MAX)
        .i64(i64::MIN)
        .text("é")
        .bytes(&[7; 3])
        .finish();
    let mut reader = Reader::new(&value);
    assert_eq!(reader.u8().unwrap(), 1);
    assert_eq!(reader.u32().unwrap(), u32::MAX);
    assert_eq!(reader.u64().unwrap(), u64::MAX);
    assert_eq!(reader.i64().unwrap(), i64::MIN);
    assert_eq!(reader.text().unwrap(), "é");
    assert_eq!(reader.rest(), [7; 3]);
}

#[test]
fn a_value_of_another_length_is_corrupt() {
    let value = Fields::default().u8(1).text("name").finish();
    for end in 0..value.len() {
        let mut reader = Reader::new(&value[..end]);
        let read = reader.u8().and_then(|_| reader.text().map(drop));
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt, "{end} bytes");
    }
    let mut reader = Reader::new(&value);
    reader.u8().unwrap();
    assert_eq!(reader.finish().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_name_that_is_no_text_is_corrupt() {
    let value = Fields::default().bytes(&[0, 1, 0xff]).finish();
    let error = Reader::new(&value).text().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let key = [1, b'a', 0xff, 0, b'k'];
    assert!(state_names(&world("a"), &key).is_err());
    assert!(state_names(&world("a"), b"\x01ano end").is_err());
    assert!(log_sequence(&[0; 7]).is_err());
    assert!(log_sequence(&[0xff; 8]).is_err());
}
