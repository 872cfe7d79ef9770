//! Batches: parts whole, durable, in order, within their limits, and apart from each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Epoch, ErrorKind, History, Limit, Link, LogRange, LogRow,
    Part, Payload, StateRange, StorageBackend, WorldId, WorldRange, WorldRecord,
};
use tokio::task::JoinSet;

use crate::Harness;
use crate::contents::{WHOLE, contents, everything, log, paged_log, state};
use crate::harness::{another, open, reopen};
use crate::sample::{Kind, event, events, json, world};
use crate::writer::{Writer, persist, persist_all, persist_settled};

/// Readers at work while parts are written see each part as a whole, in the log and in the state.
pub async fn p1_readers_see_parts_whole<H: Harness>(harness: &H) {
    const PART: u64 = 1000;
    const PARTS: u64 = 8;
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for reader in [
        Arc::clone(&backend),
        Arc::clone(&backend),
        another(harness, &backend).await,
    ] {
        let (done, arda) = (Arc::clone(&done), arda.clone());
        readers.spawn(async move {
            while !done.load(Ordering::Acquire) {
                check_whole_parts(&*reader, &arda, PART).await;
                tokio::task::yield_now().await;
            }
        });
    }
    for number in 0..PARTS {
        let keys = number * PART..(number + 1) * PART;
        let puts = keys.map(|index| Kind::Treaties.put(&arda, &format!("{index:05}"), "{}"));
        writer.persist(puts.collect()).await;
    }
    done.store(true, Ordering::Release);
    readers.join_all().await;
    let held = contents(&*backend, &arda).await;
    let counts = (held.log.len() as u64, held.state.len() as u64);
    assert_eq!(
        counts,
        (PARTS * PART, PARTS * PART),
        "P1: every record of a part is there"
    );
}

async fn check_whole_parts(reader: &dyn StorageBackend, world: &WorldId, part: u64) {
    let log = reader
        .log(world, LogRange::ALL, WHOLE)
        .await
        .expect("`log`");
    let state = reader.state(world, StateRange::all(), WHOLE).await;
    let state = state.expect("`state`");
    for (what, head, count) in [
        ("log", log.head, log.items.len() as u64),
        ("state", state.head, state.items.len() as u64),
    ] {
        assert_eq!(
            count % part,
            0,
            "P1: a reader sees a part of the {what} that is not whole"
        );
        assert_eq!(
            head.get(),
            count,
            "P1: a reader sees the head of a part without its {what}"
        );
    }
}

/// Each record of a part that was acknowledged is there, through this backend and the next.
pub async fn p1_every_record_of_a_part_is_there<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let mut records = events(&arda, 100);
    records.extend((0..100).map(|index| Kind::Fleets.put(&arda, &format!("{index:03}"), "{}")));
    records.push(event(&arda, "last"));
    writer.persist(records.clone()).await;
    let held = contents(&*backend, &arda).await;
    check_all_there(&held.log, held.state.len(), &records);
    let backend = reopen(harness, backend).await;
    let held = contents(&*backend, &arda).await;
    check_all_there(&held.log, held.state.len(), &records);
}

fn check_all_there(log: &[LogRow], state: usize, records: &[BatchRecord]) {
    let held: Vec<_> = log.iter().map(|row| &row.record).collect();
    let logged = records.iter().filter(|record| record.is_logged());
    let given: Vec<_> = logged.map(BatchRecord::record).collect();
    assert_eq!(
        held, given,
        "P1: every logged record of a part is in the log"
    );
    assert_eq!(
        state,
        records.len() - given.len(),
        "P1: every Put of a part is in the state"
    );
}

/// A part whose call is dropped is there as a whole or not at all, and can be persisted again.
pub async fn p1_a_dropped_call_leaves_a_part_whole_or_absent<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    for round in 1..=10 {
        let part = writer.part(events(&arda, 100));
        let batch = Batch::new(vec![Arc::clone(&part)]).expect("one part a world");
        let mut call = backend.persist_batch(batch);
        // Polled once, and dropped in most engines before it is done.
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(call);
        let receipt = persist_settled(&*backend, &part).await;
        let receipt = receipt.expect("P1: a part whose call was dropped can be persisted again");
        assert_eq!(
            receipt.count, 100,
            "P1: a part whose call was dropped is not whole"
        );
        writer.advance(&part);
        let rows = log(&*backend, &arda).await.len();
        assert_eq!(
            rows,
            round * 100,
            "P1: a part whose call was dropped is there once"
        );
    }
}

/// What was acknowledged is there after the backend was dropped without `close`.
pub async fn p2_a_part_outlives_a_backend_that_is_dropped<H: Harness>(harness: &H) {
    let arda = world("arda");
    for round in 1..=5 {
        let backend = open(harness).await;
        let mut writer = Writer::claim(&backend, &arda).await;
        let number = writer.claim.last_number.get();
        assert_eq!(
            number,
            round - 1,
            "P2: the number of an acknowledged part is lost"
        );
        let text = round.to_string();
        let records = vec![event(&arda, &text), Kind::Fleets.put(&arda, &text, "{}")];
        let receipt = writer.persist(records).await;
        drop(writer);
        drop(backend);

        let backend = open(harness).await;
        let held = contents(&*backend, &arda).await;
        let counts = (held.log.len() as u64, held.state.len() as u64);
        assert_eq!(counts, (round, round), "P2: an acknowledged part is lost");
        assert_eq!(
            held.head.get(),
            receipt.first.get() + 1,
            "P2: the head of a part is lost"
        );
    }
}

/// Records take adjoining sequences in their order; so do parts, across claims and reopening.
pub async fn p3_sequences_adjoin_in_order<H: Harness>(harness: &H) {
    let mut backend = open(harness).await;
    let arda = world("arda");
    let mut next = 1;
    let mut given = Vec::new();
    for size in [1, 2, 7, 1, 300, 3] {
        let mut writer = Writer::claim(&backend, &arda).await;
        assert_eq!(
            writer.claim.head.get(),
            next - 1,
            "P3: a claim tells the head"
        );
        for _ in 0..2 {
            let records = mixed(&arda, size, next);
            given.extend((next..).zip(records.clone()));
            let receipt = writer.persist(records).await;
            let taken = (
                receipt.first.get(),
                receipt.count as usize,
                receipt.repeated,
            );
            assert_eq!(
                taken,
                (next, size, false),
                "P3: receipts of consecutive parts adjoin"
            );
            next += size as u64;
        }
        drop(writer);
        backend = reopen(harness, backend).await;
    }
    let logged = given.iter().filter(|(_, record)| record.is_logged());
    let expected: Vec<_> = logged.map(|(at, r)| (*at, r.record().clone())).collect();
    let log = log(&*backend, &arda).await;
    let held: Vec<_> = log
        .into_iter()
        .map(|row| (row.sequence.get(), row.record))
        .collect();
    assert_eq!(
        held, expected,
        "P3: records lie in their order, each at its sequence"
    );
}

/// Events, and Puts that are not logged, in turn.
fn mixed(world: &WorldId, count: usize, first: u64) -> Vec<BatchRecord> {
    (first..first + count as u64)
        .map(|at| match at % 3 {
            0 => Kind::Fleets.put(world, "a", &at.to_string()),
            _ => event(world, &at.to_string()),
        })
        .collect()
}

/// Of several records of one key in a part the last decides, with the times of the Puts that count.
pub async fn p8_the_last_record_of_a_key_decides<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let fleets = Kind::Fleets;
    let put = |key: &str, text: &str, at| fleets.put_at(&arda, key, text, at);
    writer
        .persist(vec![
            put("stored", "0", 1),
            put("gone", "0", 2),
            put("back", "0", 3),
        ])
        .await;
    let records = vec![
        put("twice", "1", 10),
        put("stored", "1", 11),
        put("deleted", "1", 12),
        put("twice", "2", 13),
        fleets.delete(&arda, "gone"),
        fleets.delete(&arda, "deleted"),
        fleets.delete(&arda, "back"),
        put("back", "1", 14),
        fleets.delete(&arda, "never"),
        put("stored", "2", 5),
        put("back", "2", 15),
    ];
    writer.persist(records).await;
    let state = state(&*backend, &arda).await;
    let newest = state.iter().all(|row| row.payload == json("2"));
    assert!(newest, "P8: the last payload of a key decides");
    let rows = state.iter().map(|row| {
        let times = (row.first_timestamp, row.last_timestamp);
        (row.key.as_str(), row.sequence.get(), times)
    });
    let expected = [
        ("back", 14, (14, 15)),
        ("stored", 13, (1, 5)),
        ("twice", 7, (10, 13)),
    ];
    assert!(
        rows.eq(expected),
        "P8: sequence, first and last timestamp of each key: {state:?}"
    );
}

/// Of a collection with history `All` the log keeps each record of a key.
pub async fn p8_the_log_keeps_each_record_that_is_logged<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let kind = Kind::Treaties;
    let records = vec![
        kind.put_at(&arda, "a", "1", 3),
        kind.put_at(&arda, "a", "2", 2),
        kind.delete(&arda, "a"),
        Kind::Fleets.put(&arda, "a", "unlogged"),
        kind.put_at(&arda, "a", "3", 1),
        kind.delete(&arda, "never"),
    ];
    writer.persist(records.clone()).await;
    let held = log(&*backend, &arda).await;
    let expected: Vec<_> = [0, 1, 2, 4, 5]
        .map(|index| (index + 1, &records[index]))
        .into();
    let rows = held
        .iter()
        .map(|row| (row.sequence.get() as usize, &row.record));
    let expected = expected.iter().map(|(at, record)| (*at, record.record()));
    assert!(
        rows.eq(expected),
        "P8: the log keeps each logged record of a key, but holds {held:?}"
    );
}

/// An empty part writes nothing and takes no number; its receipt tells what the next takes.
pub async fn p9_an_empty_part_takes_nothing<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    for first in 1..=3 {
        let before = everything(&*backend).await;
        for _ in 0..2 {
            let receipt = persist(&*backend, &writer.part(Vec::new())).await;
            let receipt = receipt.expect("P9: an empty part is accepted");
            let taken = (receipt.first.get(), receipt.count, receipt.repeated);
            assert_eq!(taken, (first, 0, false), "P9: the receipt of an empty part");
        }
        assert_eq!(
            everything(&*backend).await,
            before,
            "P9: an empty part writes something"
        );
        let receipt = persist(&*backend, &writer.part(vec![event(&arda, "1")])).await;
        let receipt = receipt.expect("P9: an empty part takes no number");
        assert_eq!(
            receipt.first.get(),
            first,
            "P9: an empty part takes no sequence"
        );
        writer.advance(&writer.part(vec![event(&arda, "1")]));
    }
}

/// A part at its limit of records is whole; one record more is refused, and nothing is written.
pub async fn p10_a_part_is_kept_at_its_limit_and_refused_over_it<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let mut records = vec![event(&arda, ""); Part::RECORDS_MAX];
    let receipt = writer.persist(records.clone()).await;
    assert_eq!(
        receipt.count as usize,
        Part::RECORDS_MAX,
        "P10: a part at its limit is whole"
    );
    let limit = Limit {
        items: 10_000,
        bytes: usize::MAX,
    };
    let rows = paged_log(&*backend, &arda, LogRange::ALL, limit)
        .await
        .len();
    assert_eq!(
        rows,
        Part::RECORDS_MAX,
        "P10: a part at its limit is read back whole"
    );

    let before = backend
        .worlds(WorldRange::all(), limit)
        .await
        .expect("`worlds`");
    records.push(event(&arda, ""));
    let heavy = WorldRecord::new(arda.clone(), vec![0; Payload::BYTES_MAX], 0);
    let heavy = vec![BatchRecord::new(heavy, History::Latest); 9];
    let long = WorldRecord::new(arda.clone(), vec![0; Payload::BYTES_MAX + 1], 0);
    let long = vec![event(&arda, ""), BatchRecord::new(long, History::Latest)];
    for (what, records) in [("records", records), ("bytes", heavy), ("a payload", long)] {
        let number = BatchNumber::new(2).expect("a number there is");
        let part = Part::new(arda.clone(), Epoch::FIRST, number, 1, Link::ORIGIN, records);
        let kind = part.map_err(|error| error.kind()).err();
        assert_eq!(
            kind,
            Some(ErrorKind::Invalid),
            "P10: a part over its limit of {what}"
        );
    }
    let after = backend
        .worlds(WorldRange::all(), limit)
        .await
        .expect("`worlds`");
    assert_eq!(after, before, "P10: a part over its limit writes something");
}

/// A batch of good and refused parts writes the good ones and answers for each in order.
pub async fn p11_a_refused_part_leaves_the_others_alone<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let names = ["a", "b", "c", "d", "e"].map(world);
    let mut writers = Vec::new();
    for name in &names {
        writers.push(Writer::claim(&backend, name).await);
    }
    Writer::claim_as(&backend, &names[0], "the next").await;
    let parts: Vec<_> = (writers.iter().zip([1, 1, 2, 1, 1]))
        .map(|(writer, number)| {
            let put = Kind::Fleets.put(&writer.world, "k", "{}");
            writer.part_numbered(number, vec![event(&writer.world, "1"), put])
        })
        .collect();
    let answers = persist_all(&*backend, &parts).await;
    let kinds = answers
        .iter()
        .map(|answer| answer.as_ref().err().map(|error| error.kind()));
    let (fenced, invalid) = (Some(ErrorKind::Fenced), Some(ErrorKind::Invalid));
    let expected = [fenced, None, invalid, None, None];
    assert!(
        kinds.eq(expected),
        "P11: each part has its own answer, but they are {answers:?}"
    );
    for (name, refused) in names.iter().zip([true, false, true, false, false]) {
        let held = contents(&*backend, name).await;
        let counts = (held.log.len(), held.state.len());
        let expected = if refused { (0, 0) } else { (1, 1) };
        assert_eq!(
            counts, expected,
            "P11: what is kept of the part of world {name:?}"
        );
    }
}

/// Writers of different worlds, through one backend and through two, all succeed at once.
pub async fn p11_writers_of_different_worlds_go_side_by_side<H: Harness>(harness: &H) {
    const PARTS: u64 = 20;
    let backend = open(harness).await;
    let backends = [another(harness, &backend).await, backend];
    let mut writers = JoinSet::new();
    for index in 0..6 {
        let backend = Arc::clone(&backends[index % 2]);
        let world = world(&format!("world {index}"));
        writers.spawn(async move {
            let mut writer = Writer::claim(&backend, &world).await;
            for _ in 0..PARTS {
                let part = writer.part(vec![event(&world, "1"), event(&world, "2")]);
                let receipt = persist(&*backend, &part).await;
                receipt.expect("P11: a writer is refused because of another world");
                writer.advance(&part);
            }
            world
        });
    }
    for world in writers.join_all().await {
        for backend in &backends {
            let rows = log(&**backend, &world).await;
            assert_eq!(
                rows.len() as u64,
                2 * PARTS,
                "P11: what writers wrote side by side"
            );
        }
    }
}
