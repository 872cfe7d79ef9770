//! Reads: complete, in order, and consistent while writers are at work.

use std::collections::BTreeMap;

use aqevia_storage::{
    BatchRecord, Change, Collection, Key, Limit, LogRange, LogRow, Payload, Sequence, StateRange,
    StateRow, StorageBackend, WorldId, WorldRecord,
};

use crate::Harness;
use crate::contents::{Contents, contents, log, paged_log, paged_state, paged_worlds, state};
use crate::harness::{another, open, reopen};
use crate::sample::{Kind, event, events, key, world};
use crate::writer::Writer;

/// Limits that a page meets at its items, at its bytes, and at its first item.
const LIMITS: [Limit; 6] = [
    Limit {
        items: 1,
        bytes: usize::MAX,
    },
    Limit { items: 0, bytes: 0 },
    Limit {
        items: 7,
        bytes: usize::MAX,
    },
    Limit {
        items: usize::MAX,
        bytes: 1,
    },
    Limit {
        items: usize::MAX,
        bytes: 64,
    },
    Limit {
        items: 5,
        bytes: 200,
    },
];

/// A read that begins after a part was acknowledged sees it, through this backend and another.
pub async fn r1_a_read_sees_what_was_acknowledged<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let other = another(harness, &backend).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    for round in 1..=30 {
        let text = format!("{round:03}");
        let records = vec![event(&arda, &text), Kind::Fleets.put(&arda, &text, "{}")];
        writer.persist(records).await;
        for reader in [&backend, &other] {
            check_seen(&contents(&**reader, &arda).await, round, "a read");
            let snapshot = reader.snapshot(&arda).await.expect("`snapshot`");
            check_seen(&contents(&*snapshot, &arda).await, round, "a snapshot");
            let heads = paged_worlds(&**reader, Limit::default()).await;
            let listed = heads.first().map(|head| head.head.get());
            assert_eq!(
                listed,
                Some(2 * round),
                "R1: the list of worlds misses a part"
            );
        }
    }
}

fn check_seen(held: &Contents, round: u64, what: &str) {
    let counts = (held.log.len() as u64, held.state.len() as u64);
    assert_eq!(
        counts,
        (round, round),
        "R1: {what} misses a part that was acknowledged"
    );
    assert_eq!(
        held.head.get(),
        2 * round,
        "R1: {what} misses the head of a part"
    );
}

/// Pages of any limit give together the whole log and the whole state, and so do their ranges.
pub async fn r2_pages_give_the_whole<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    for round in 0..4 {
        let records = (0..10).flat_map(|index| {
            let text = "x".repeat(index * index);
            let name = format!("{round}{index}");
            // In turn, so that some neighbours in the log adjoin and others do not.
            let kinds = match index % 2 {
                0 => [Kind::Treaties, Kind::Fleets],
                _ => [Kind::Fleets, Kind::Treaties],
            };
            kinds.map(|kind| kind.put(&arda, &name, &text))
        });
        writer.persist(records.collect()).await;
    }
    let log = log(&*backend, &arda).await;
    let state = state(&*backend, &arda).await;
    assert_eq!(
        (log.len(), state.len()),
        (40, 80),
        "R2: one page holds the whole"
    );
    for limit in LIMITS {
        let pages = paged_log(&*backend, &arda, LogRange::ALL, limit).await;
        assert!(
            pages == log,
            "R2: pages of the log within {limit:?} are not the log"
        );
        let pages = paged_state(&*backend, &arda, StateRange::all(), limit).await;
        assert!(
            pages == state,
            "R2: pages of the state within {limit:?} are not the state"
        );
        check_log_ranges(&*backend, &log, limit).await;
        check_state_ranges(&*backend, &state, limit).await;
    }
}

async fn check_log_ranges(backend: &dyn StorageBackend, log: &[LogRow], limit: Limit) {
    for (after, until) in [
        (0, 80),
        (1, 79),
        (17, 18),
        (18, 30),
        (40, 40),
        (50, 20),
        (80, 99),
    ] {
        let [after, until] = [after, until].map(|at| Sequence::new(at).expect("a sequence"));
        let range = LogRange::after(after).until(until);
        let pages = paged_log(backend, &world("arda"), range, limit).await;
        let rows = log
            .iter()
            .filter(|row| row.sequence > after && row.sequence <= until);
        assert!(
            pages.iter().eq(rows),
            "R2: {range:?} of the log within {limit:?}"
        );
    }
}

async fn check_state_ranges(backend: &dyn StorageBackend, state: &[StateRow], limit: Limit) {
    let fleets = Kind::Fleets.collection();
    let treaties = Kind::Treaties.collection();
    let unknown = Collection::new("unknown").expect("a name");
    for range in [
        StateRange::collection(fleets.clone()),
        StateRange::collection(treaties.clone()),
        StateRange::collection(unknown.clone()),
        StateRange::key(treaties.clone(), key("17")),
        StateRange::key(treaties.clone(), key("170")),
        StateRange::all().after(fleets.clone(), key("20")),
        StateRange::all().after(fleets.clone(), key("~")),
        StateRange::collection(fleets.clone()).after(fleets.clone(), key("205")),
        StateRange::collection(treaties.clone()).after(fleets, key("20")),
        StateRange::key(treaties.clone(), key("17")).after(treaties, key("17")),
        StateRange::all().after(unknown, key("z")),
    ] {
        let pages = paged_state(backend, &world("arda"), range.clone(), limit).await;
        let rows = state
            .iter()
            .filter(|row| range.contains(&row.collection, &row.key));
        assert!(
            pages.iter().eq(rows),
            "R2: {range:?} of the state within {limit:?}"
        );
    }
}

/// A reader of the log in small pages, between which a writer persists, skips and repeats nothing.
pub async fn r2_a_writer_at_work_does_not_disturb_the_log<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    writer.persist(events(&arda, 40)).await;
    for limit in [1, 3, 10].map(Limit::items) {
        let mut rows = Vec::new();
        let mut next = Some(LogRange::ALL);
        for round in 0.. {
            let Some(range) = next else { break };
            let page = backend.log(&arda, range, limit).await.expect("`log`");
            rows.extend(page.items);
            next = page.next;
            if round < 20 {
                writer.persist(events(&arda, 2)).await;
            }
        }
        let sequences = rows.iter().map(|row| row.sequence.get());
        let all = 1..=rows.len() as u64;
        assert!(
            sequences.eq(all),
            "R2: a reader skips or repeats a record of the log"
        );
        assert!(
            rows.len() >= 40,
            "R2: a reader misses what was there before it began"
        );
    }
}

/// A reader of the state in small pages, between which a writer changes, adds and deletes keys,
/// gets each key that stays exactly once, in order.
pub async fn r2_a_writer_at_work_does_not_disturb_the_state<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let names: Vec<_> = (0..60).map(|index| format!("{index:03}")).collect();
    let puts = names.iter().map(|name| Kind::Fleets.put(&arda, name, "0"));
    writer.persist(puts.collect()).await;
    for limit in [1, 4, 13].map(Limit::items) {
        let mut rows = Vec::new();
        let mut next = Some(StateRange::all());
        for round in 0.. {
            let Some(range) = next else { break };
            let page = backend.state(&arda, range, limit).await.expect("`state`");
            rows.extend(page.items.into_iter().map(|row| row.key));
            next = page.next;
            if round < 60 {
                writer.persist(changes_around(&arda, round)).await;
            }
        }
        assert!(
            rows.is_sorted_by(|a, b| a < b),
            "R2: a reader repeats a key of the state"
        );
        let stay = rows
            .iter()
            .map(Key::as_str)
            .filter(|name| !name.ends_with('-'));
        assert!(stay.eq(&names), "R2: a reader skips a key of the state");
    }
}

/// A key of the state changes, and one beside it comes or goes, before and behind any reader.
fn changes_around(world: &WorldId, round: usize) -> Vec<BatchRecord> {
    let name = format!("{:03}", round * 7 % 60);
    let beside = format!("{name}-");
    let comes = match round % 2 {
        0 => Kind::Fleets.put(world, &beside, "{}"),
        _ => Kind::Fleets.delete(world, &beside),
    };
    vec![Kind::Fleets.put(world, &name, "1"), comes]
}

/// The state is the records folded in order, over parts, deletions and reopening.
pub async fn r3_the_state_is_the_records_folded<H: Harness>(harness: &H) {
    let mut backend = open(harness).await;
    let arda = world("arda");
    let mut given = Vec::new();
    for (round, part) in parts_to_fold(&arda).into_iter().enumerate() {
        let mut writer = Writer::claim(&backend, &arda).await;
        given.extend(part.iter().map(|record| record.record().clone()));
        writer.persist(part).await;
        let expected = fold((1..).zip(&given));
        let held = state(&*backend, &arda).await;
        assert_eq!(
            as_fold(&held),
            expected,
            "R3: the state after part {}",
            round + 1
        );
        drop(writer);
        backend = reopen(harness, backend).await;
        let held = state(&*backend, &arda).await;
        assert_eq!(as_fold(&held), expected, "R3: the state after reopening");
    }
}

/// Of a collection whose history is `All`, the log alone folds to the state.
pub async fn r3_the_log_folds_to_the_state<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let treaties = Kind::Treaties.collection();
    for part in parts_to_fold(&arda) {
        writer.persist(part).await;
        let log = log(&*backend, &arda).await;
        let rows = log.iter().filter(|row| row.record.collection == treaties);
        let folded = fold(rows.map(|row| (row.sequence.get(), &row.record)));
        let held = state(&*backend, &arda).await;
        let held: Vec<_> = (held.into_iter())
            .filter(|row| row.collection == treaties)
            .collect();
        assert!(!held.is_empty(), "R3: the state holds what was put");
        assert_eq!(as_fold(&held), folded, "R3: the log folds to the state");
    }
}

/// Puts, replaced Puts, Deletes, Puts after them and Events, within parts and across them.
fn parts_to_fold(world: &WorldId) -> Vec<Vec<BatchRecord>> {
    let (fleets, treaties) = (Kind::Fleets, Kind::Treaties);
    let all = |change: &dyn Fn(Kind) -> BatchRecord| [change(fleets), change(treaties)];
    let put = |name: &'static str, text: &'static str, at| {
        all(&|kind: Kind| kind.put_at(world, name, text, at))
    };
    let delete = |name: &'static str| all(&|kind: Kind| kind.delete(world, name));
    let parts = [
        vec![
            put("a", "1", 10),
            put("b", "1", 11),
            put("c", "1", 12),
            put("e", "", 0),
        ],
        vec![put("a", "2", 9), delete("b"), put("d", "1", 13)],
        vec![
            put("b", "2", 14),
            delete("c"),
            put("c", "2", 15),
            delete("d"),
            delete("x"),
        ],
        vec![
            put("d", "2", 16),
            delete("d"),
            put("a", "3", 17),
            put("a", "4", 1),
        ],
        vec![delete("a"), delete("a"), put("f", "1", 18)],
    ];
    parts
        .into_iter()
        .map(|changes| {
            let mut records: Vec<_> = changes.into_iter().flatten().collect();
            records.insert(1, event(world, "moves no state"));
            records
        })
        .collect()
}

/// Payload, sequence, first and last timestamp of each key.
type Fold = BTreeMap<(Collection, Key), (Payload, u64, i64, i64)>;

fn fold<'a>(records: impl Iterator<Item = (u64, &'a WorldRecord)>) -> Fold {
    let mut state = Fold::new();
    for (sequence, record) in records {
        let (collection, at) = (record.collection.clone(), record.timestamp);
        match &record.change {
            Change::Put { key, payload } => {
                let slot = (collection, key.clone());
                let first = state.get(&slot).map_or(at, |(_, _, first, _)| *first);
                state.insert(slot, (payload.clone(), sequence, first, at));
            }
            Change::Delete { key } => {
                state.remove(&(collection, key.clone()));
            }
            _ => {}
        }
    }
    state
}

fn as_fold(rows: &[StateRow]) -> Fold {
    rows.iter()
        .map(|row| {
            let slot = (row.collection.clone(), row.key.clone());
            let times = (row.first_timestamp, row.last_timestamp);
            (
                slot,
                (row.payload.clone(), row.sequence.get(), times.0, times.1),
            )
        })
        .collect()
}
