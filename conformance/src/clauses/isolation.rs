//! Reads: worlds apart, pages and snapshots consistent, and everything in byte order.

use aqevia_storage::{
    BatchRecord, Collection, Error, ErrorKind, History, Key, Limit, LogRange, Reads, StateRange,
    WorldRange, WorldRecord,
};

use crate::Harness;
use crate::contents::{Contents, WHOLE, contents, paged_log, paged_state, paged_worlds};
use crate::harness::open;
use crate::sample::{Kind, event, json, key, world};
use crate::writer::{Writer, persist, persist_all};

/// Names of worlds that a store might take for one, or for a prefix of each other.
const NAMES: [&str; 13] = [
    "a", "A", "aa", "a ", " a", "a/b", "a%", "a_", "é", "e\u{301}", "ß", "ss", "ａ",
];

/// Worlds with like names, and with the same keys, hold each their own.
pub async fn r4_worlds_hold_each_their_own<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let mut before: Vec<Contents> = Vec::new();
    for name in NAMES.map(world) {
        let mut writer = Writer::claim(&backend, &name).await;
        assert_eq!(
            writer.claim.epoch.get(),
            1,
            "R4: the epoch of world {name:?}"
        );
        let text = format!("{:?}", name.as_str());
        let records = [Kind::Fleets, Kind::Treaties].map(|kind| kind.put(&name, "k", &text));
        let receipt = writer.persist(records.into()).await;
        assert_eq!(
            receipt.first.get(),
            1,
            "R4: the first sequence of world {name:?}"
        );
        writer
            .persist(vec![Kind::Treaties.delete(&name, "k"), event(&name, &text)])
            .await;
        for before in &before {
            let held = contents(&*backend, &before.world).await;
            assert_eq!(
                held, *before,
                "R4: writing to {name:?} changes {:?}",
                before.world
            );
        }
        let held = contents(&*backend, &name).await;
        let rows: Vec<_> = held.state.iter().map(|row| row.payload.clone()).collect();
        assert_eq!(
            rows,
            [json(&text)],
            "R4: the state of world {name:?} is its own"
        );
        let own = held.log.iter().all(|row| row.record.world == name);
        assert!(
            own && held.log.len() == 3,
            "R4: the log of world {name:?} is its own"
        );
        before.push(held);
    }
}

/// A world that nobody claimed reads as empty, and reading does not create it.
pub async fn r4_a_world_that_does_not_exist_is_empty<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let nowhere = world("nowhere");
    let snapshot = backend
        .snapshot(&nowhere)
        .await
        .expect("`snapshot` of no world");
    for reads in [&*backend as &dyn Reads, &*snapshot] {
        let held = contents(reads, &nowhere).await;
        let counts = (held.head.get(), held.log.len(), held.state.len());
        assert_eq!(
            counts,
            (0, 0, 0),
            "R4: a world that does not exist is empty"
        );
    }
    drop(snapshot);
    let heads = paged_worlds(&*backend, Limit::default()).await;
    assert_eq!(heads, [], "R4: reading creates a world");
}

/// A page of log or state, also an empty one, carries the head of the moment it was read.
pub async fn r5_a_page_carries_the_head<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let fleets = Kind::Fleets;
    for (head, records) in [
        (0, vec![]),
        (1, vec![fleets.put(&arda, "a", "1")]),
        (
            4,
            vec![
                event(&arda, "1"),
                fleets.delete(&arda, "a"),
                fleets.put(&arda, "b", "1"),
            ],
        ),
        (5, vec![fleets.delete(&arda, "b")]),
    ] {
        writer.persist(records).await;
        for limit in [Limit::items(1), WHOLE] {
            let nothing = LogRange::after(writer.claim.head);
            let log = backend
                .log(&arda, LogRange::ALL, limit)
                .await
                .expect("`log`");
            let end = backend.log(&arda, nothing, limit).await.expect("`log`");
            let state = backend
                .state(&arda, StateRange::all(), limit)
                .await
                .expect("`state`");
            let heads = [log.head, end.head, state.head].map(|head| head.get());
            assert_eq!(heads, [head; 3], "R5: a page carries the head");
        }
    }
}

/// Pages of a snapshot show the world as it was, whatever was written since.
pub async fn r5_a_snapshot_is_consistent<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let puts = (0..30).map(|index| Kind::Treaties.put(&arda, &format!("{index:02}"), "old"));
    writer.persist(puts.collect()).await;
    let before = contents(&*backend, &arda).await;

    let snapshot = backend.snapshot(&arda).await.expect("`snapshot`");
    let changes = [
        Kind::Treaties.put(&arda, "07", "new"),
        Kind::Treaties.put(&arda, "29-", "new"),
        Kind::Treaties.delete(&arda, "28"),
    ];
    let part = writer.part(changes.into());
    let beside = persist(&*backend, &part).await;
    for limit in [Limit::items(4), WHOLE] {
        check_snapshot(&*snapshot, &before, limit).await;
    }
    drop(snapshot);
    if beside.is_err() {
        let after = persist(&*backend, &part).await;
        after.expect("R5: a writer goes on after a snapshot");
    }
    let after = contents(&*backend, &arda).await;
    assert_eq!(
        after.head.get(),
        33,
        "R5: what was written beside a snapshot is there"
    );
}

async fn check_snapshot(snapshot: &dyn Reads, before: &Contents, limit: Limit) {
    let world = &before.world;
    let held = contents(snapshot, world).await;
    assert_eq!(held.head, before.head, "R5: the head of a snapshot moves");
    let log = paged_log(snapshot, world, LogRange::ALL, limit).await;
    assert_eq!(
        log, before.log,
        "R5: the log of a snapshot within {limit:?} moves"
    );
    let state = paged_state(snapshot, world, StateRange::all(), limit).await;
    assert_eq!(
        state, before.state,
        "R5: the state of a snapshot within {limit:?} moves"
    );
}

/// Beside a snapshot its world is written where `snapshot` is declared, and elsewhere refused until
/// it is dropped; other worlds are written, and everything is read, in either case.
pub async fn r7_only_a_declared_snapshot_lets_its_world_be_written<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let [arda, other] = ["arda", "other"].map(world);
    let mut writers = Vec::new();
    for world in [&arda, &other] {
        let mut writer = Writer::claim(&backend, world).await;
        writer.persist(vec![event(world, "1")]).await;
        writers.push(writer);
    }
    let snapshot = backend.snapshot(&arda).await.expect("`snapshot`");
    let parts: Vec<_> = writers
        .iter()
        .map(|writer| writer.part(vec![event(&writer.world, "2")]))
        .collect();
    let answers = persist_all(&*backend, &parts).await;
    let of_arda = answers[0].as_ref().map_err(Error::kind);
    let expected = match harness.capabilities().snapshot {
        true => Ok(1),
        false => Err(ErrorKind::Unavailable),
    };
    assert_eq!(
        of_arda.map(|receipt| receipt.count),
        expected,
        "R7: a part of a world beside its snapshot"
    );
    let of_other = answers[1].as_ref().map(|receipt| receipt.count).ok();
    assert_eq!(of_other, Some(1), "R7: a part of another world");
    let written = 1 + usize::from(expected.is_ok());
    let rows = contents(&*backend, &arda).await.log.len();
    assert_eq!(rows, written, "R7: what is read beside a snapshot");
    drop(snapshot);
    let again = persist(&*backend, &parts[0]).await;
    again.expect("R7: a part of a world after its snapshot");
    let rows = contents(&*backend, &arda).await.log.len();
    assert_eq!(rows, 2, "R7: what is there after a snapshot");
}

/// A snapshot of one world answers `Invalid` for another, and goes on for its own.
pub async fn r5_a_snapshot_of_another_world_is_invalid<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let [arda, other] = ["arda", "other"].map(world);
    for world in [&arda, &other] {
        let mut writer = Writer::claim(&backend, world).await;
        writer.persist(vec![event(world, "1")]).await;
    }
    let snapshot = backend.snapshot(&arda).await.expect("`snapshot`");
    let log = snapshot.log(&other, LogRange::ALL, WHOLE).await.err();
    let state = snapshot.state(&other, StateRange::all(), WHOLE).await.err();
    for error in [log, state] {
        let kind = error.map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::Invalid),
            "R5: a snapshot is asked for another world"
        );
    }
    let rows = contents(&*snapshot, &arda).await.log.len();
    assert_eq!(rows, 1, "R5: a snapshot goes on after an error");
}

/// Texts whose order by bytes is not that by case, language, length or UTF-16.
const ORDERED: [&str; 14] = [
    "!",
    "-",
    "0",
    "10",
    "9",
    "A",
    "B",
    "a",
    "a ",
    "a0",
    "aa",
    "é",
    "\u{ffff}",
    "\u{10000}",
];

/// The state comes in byte order of collection and key, whatever the order it was put in.
pub async fn r6_the_state_is_in_byte_order<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let collections = ["a", "a0", "a_", "aa", "b"];
    let mut slots: Vec<(Collection, Key)> = collections
        .map(|name| Collection::new(name).expect("a name"))
        .iter()
        .flat_map(|collection| ORDERED.map(|name| (collection.clone(), key(name))))
        .collect();
    let mut writer = Writer::claim(&backend, &arda).await;
    // 29 has no divisor in common with the number of slots, so that each comes once.
    let count = slots.len();
    for index in (0..count).map(|index| index * 29 % count) {
        let (collection, key) = slots[index].clone();
        let put = WorldRecord::put(&arda, &collection, key, json("{}"), 0);
        writer
            .persist(vec![BatchRecord::new(put, History::Latest)])
            .await;
    }
    slots.sort_by(|(c1, k1), (c2, k2)| {
        let bytes = |c: &Collection, k: &Key| (c.as_str().to_owned(), k.as_str().to_owned());
        bytes(c1, k1).cmp(&bytes(c2, k2))
    });
    for limit in [Limit::items(1), Limit::items(9), WHOLE] {
        let rows = paged_state(&*backend, &arda, StateRange::all(), limit).await;
        let held = rows.into_iter().map(|row| (row.collection, row.key));
        assert!(
            held.eq(slots.iter().cloned()),
            "R6: the state within {limit:?} is out of order"
        );
    }
}

/// The worlds come in byte order of their names, in pages within their limits.
pub async fn r6_worlds_are_in_byte_order<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    for index in (0..ORDERED.len()).map(|index| index * 5 % ORDERED.len()) {
        Writer::claim(&backend, &world(ORDERED[index])).await;
    }
    let bytes = |bytes| Limit {
        items: usize::MAX,
        bytes,
    };
    for limit in [Limit::items(1), Limit::items(4), bytes(0), bytes(5), WHOLE] {
        let heads = paged_worlds(&*backend, limit).await;
        let names = heads.iter().map(|head| head.world.as_str());
        assert!(
            names.eq(ORDERED),
            "R6: the worlds within {limit:?} are out of order"
        );
    }
    for after in ["!", "5", "a0", "\u{10000}"] {
        let range = WorldRange::after(world(after));
        let page = backend.worlds(range, WHOLE).await.expect("`worlds`");
        let names = page.items.iter().map(|head| head.world.as_str());
        let rest = ORDERED.into_iter().filter(|name| *name > after);
        assert!(names.eq(rest), "R6: the worlds after {after:?} are others");
    }
}
