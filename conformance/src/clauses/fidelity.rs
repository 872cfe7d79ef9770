//! Fidelity: what is read is what was given, byte for byte.

use aqevia_storage::{
    BatchRecord, Change, Collection, History, Key, Payload, StateRow, WorldId, WorldRecord,
};

use crate::Harness;
use crate::contents::{Contents, contents};
use crate::harness::{open, reopen};
use crate::sample::{Kind, json, key, world};
use crate::writer::Writer;

/// Text that a store might normalise, cut, escape or refuse.
const TEXTS: [&str; 16] = [
    "",
    " ",
    " padded ",
    "null",
    "0123",
    "1e400",
    "9007199254740993",
    "quote ' double \" back \\ percent % under _ dollar $1 question ?1 colon :a",
    "nul \0 in the middle, and at the end \0",
    "\u{1}\u{8}\t\r\n\u{b}\u{1b}\u{7f}\u{80}\u{85}\u{9f}",
    "é e\u{301} \u{1100}\u{1161}\u{11a8} ﬁ ß ẞ İ ı ǅ \u{212b}",
    "שלום \u{202e}مرحبا\u{202c} \u{200f}\u{200d}\u{2066}",
    "🜁 𝕏 👩\u{200d}🚀 🇮🇸 \u{10ffff}",
    "\u{fffe}\u{ffff}\u{fdd0}\u{1fffe}\u{feff}\u{fffd}\u{e000}\u{f8ff}",
    "\u{d7ff}\u{2028}\u{2029}\u{ad}\u{34f}",
    "{\"a\": 1,  \"a\": 2.50, \"\\u0061\": [ ]\n}",
];

/// Payloads come back as given: empty ones, every byte, text of every kind, in log and state.
pub async fn p4_payloads_come_back_as_given<H: Harness>(harness: &H) {
    let texts = TEXTS.iter().map(|text| json(text));
    let bytes = TEXTS
        .iter()
        .map(|text| Payload::Bytes(text.as_bytes().to_vec()));
    let mut payloads: Vec<_> = texts.chain(bytes).collect();
    let every: Vec<u8> = (0..=255).collect();
    payloads.extend(every.iter().map(|byte| Payload::Bytes(vec![*byte])));
    payloads.push(Payload::Bytes(every.repeat(300)));
    payloads.push(json(&TEXTS.concat().repeat(300)));
    let records = payloads
        .into_iter()
        .enumerate()
        .flat_map(|(index, payload)| both(&world("arda"), key(&format!("{index:04}")), payload, 0));
    check_kept(harness, "a payload", records.collect()).await;
}

/// A payload of 16 MiB, text or bytes, comes back as given.
pub async fn p4_a_payload_of_16_mib_comes_back_as_given<H: Harness>(harness: &H) {
    let every: Vec<u8> = (0..=255).collect();
    let bytes = every.repeat(Payload::BYTES_MAX / every.len());
    let text = format!("{}!!", "ü".repeat(Payload::BYTES_MAX / 2 - 1));
    let payloads = [Payload::Bytes(bytes), Payload::Json(text)];
    assert!(
        payloads
            .iter()
            .all(|payload| payload.len() == Payload::BYTES_MAX)
    );
    for (name, payload) in ["bytes", "text"].into_iter().zip(payloads) {
        let records = both(&world(name), key("k"), payload, 0);
        check_kept(harness, "a payload of 16 MiB", records.to_vec()).await;
    }
}

/// Timestamps come back as given, from the smallest to the largest.
pub async fn p4_timestamps_come_back_as_given<H: Harness>(harness: &H) {
    let times = [
        i64::MIN,
        i64::MIN + 1,
        -1,
        0,
        1,
        1 << 53,
        (1 << 53) + 1,
        i64::MAX - 1,
        i64::MAX,
    ];
    let records = times
        .into_iter()
        .enumerate()
        .flat_map(|(index, timestamp)| {
            both(
                &world("arda"),
                key(&format!("{index:04}")),
                json("{}"),
                timestamp,
            )
        });
    check_kept(harness, "a timestamp", records.collect()).await;
}

/// Keys come back as given: text of every kind, and 1,024 bytes of it.
pub async fn p4_keys_come_back_as_given<H: Harness>(harness: &H) {
    let long = [
        "k".repeat(Key::BYTES_MAX),
        "ü".repeat(Key::BYTES_MAX / 2),
        "𝕏".repeat(Key::BYTES_MAX / 4),
    ];
    let texts = TEXTS.map(str::to_owned);
    // Texts with control characters are no keys; the others are each a key of its own.
    let mut keys: Vec<_> = (texts.into_iter().chain(long))
        .filter_map(|text| Key::new(text).ok())
        .collect();
    keys.sort();
    assert!(keys.len() > TEXTS.len() / 2, "the suite has keys to try");
    let records = keys
        .into_iter()
        .flat_map(|key| both(&world("arda"), key, json("{}"), 0));
    check_kept(harness, "a key", records.collect()).await;
}

/// The names of worlds and collections come back as given, up to their longest.
pub async fn p4_names_come_back_as_given<H: Harness>(harness: &H) {
    let long = [
        "w".repeat(WorldId::BYTES_MAX),
        "𝕏".repeat(WorldId::BYTES_MAX / 4),
    ];
    let names = TEXTS.map(str::to_owned).into_iter().chain(long);
    let others = ["..", "/", "a/b", "con", "'; drop table worlds; --"].map(str::to_owned);
    for name in names.chain(others) {
        if let Ok(world) = WorldId::new(name) {
            let collection = Collection::new("c".repeat(Collection::BYTES_MAX)).expect("a name");
            let event = WorldRecord::event(&world, &collection, Some(key("k")), json("{}"), 0);
            let put = WorldRecord::put(&world, &collection, key("k"), json("{}"), 0);
            let records = [event, put].map(|record| BatchRecord::new(record, History::Latest));
            check_kept(harness, "a name", records.to_vec()).await;
        }
    }
}

/// An event labelled with the key, and a Put of it that is logged, of one payload.
fn both(world: &WorldId, key: Key, payload: Payload, timestamp: i64) -> [BatchRecord; 2] {
    let kind = Kind::Treaties;
    let collection = kind.collection();
    let label = Some(key.clone());
    let event = WorldRecord::event(world, &collection, label, payload.clone(), timestamp);
    let put = WorldRecord::put(world, &collection, key, payload, timestamp);
    [event, put].map(|record| kind.batch_record(record))
}

/// Persists records, whose Puts are in the order of their keys, and reads them twice.
async fn check_kept<H: Harness>(harness: &H, what: &str, records: Vec<BatchRecord>) {
    let backend = open(harness).await;
    let world = records[0].record().world.clone();
    let mut writer = Writer::claim(&backend, &world).await;
    writer.persist(records.clone()).await;
    check_contents(&contents(&*backend, &world).await, what, &records);
    drop(writer);
    let backend = reopen(harness, backend).await;
    check_contents(&contents(&*backend, &world).await, what, &records);
}

fn check_contents(held: &Contents, what: &str, records: &[BatchRecord]) {
    let logged = records.iter().filter(|record| record.is_logged());
    let held_records = held.log.iter().map(|row| &row.record);
    check_equal("log", what, held_records, logged.map(BatchRecord::record));

    let puts = records.iter().map(BatchRecord::record);
    let puts = puts.filter(|record| matches!(record.change, Change::Put { .. }));
    let rows: Vec<_> = held
        .state
        .iter()
        .map(|row| as_put(&held.world, row))
        .collect();
    check_equal("state", what, rows.iter(), puts);
}

/// The Put that a row of the state shows.
fn as_put(world: &WorldId, row: &StateRow) -> WorldRecord {
    let (key, payload) = (row.key.clone(), row.payload.clone());
    assert_eq!(
        row.first_timestamp, row.last_timestamp,
        "P4: the times of a key put once"
    );
    WorldRecord::put(world, &row.collection, key, payload, row.last_timestamp)
}

fn check_equal<'a>(
    place: &str,
    what: &str,
    held: impl ExactSizeIterator<Item = &'a WorldRecord>,
    given: impl Iterator<Item = &'a WorldRecord>,
) {
    let given: Vec<_> = given.collect();
    assert_eq!(
        held.len(),
        given.len(),
        "P4: {what} is missing in the {place}"
    );
    for (held, given) in held.zip(given) {
        assert!(
            held == given,
            "P4: {what} in the {place} is {held:?}, but {given:?} was given"
        );
    }
}
