//! The controller over a store: what it acknowledges, accepts and keeps together.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{
    ControllerConfig, ErrorKind, Receipt, StorageBackend, StorageController, World, WorldId,
    WorldRecord,
};

use crate::Harness;
use crate::contents::log;
use crate::fault::{Fault, Faulty};
use crate::harness::{another, open};
use crate::sample::{event, schema, world};

/// A controller that flushes only when it is asked to.
pub(super) fn config() -> ControllerConfig {
    let mut config = ControllerConfig::default();
    config.schema = schema();
    config.flush_interval = Duration::from_secs(3600);
    config.batch_capacity = usize::MAX;
    config.batch_capacity_bytes = usize::MAX;
    config.retry_longest = Duration::from_millis(200);
    config
}

/// A controller over a store of the harness, behind a backend that fails on demand.
pub(super) async fn start<H: Harness>(
    harness: &H,
    config: ControllerConfig,
) -> (StorageController, Arc<Faulty>) {
    let faulty = Faulty::new(harness.open().await);
    let store = Arc::clone(&faulty);
    let controller = StorageController::start(store, config).await;
    (controller.expect("`start` over an empty store"), faulty)
}

pub(super) async fn open_world(controller: &StorageController, id: &WorldId) -> World {
    let world = controller.open_world(id.clone()).await;
    world.expect("`open_world` of a world that nobody has")
}

/// Events whose payloads are the numbers of a range, in the order in which they are accepted.
pub(super) fn numbered(id: &WorldId, numbers: std::ops::Range<usize>) -> Vec<WorldRecord> {
    let events = numbers.map(|number| event(id, &number.to_string()));
    events.map(|event| event.record().clone()).collect()
}

/// What the log of a world holds, seen by another backend where the store is `shared`.
pub(super) async fn kept<H: Harness>(
    harness: &H,
    faulty: &Arc<Faulty>,
    id: &WorldId,
) -> Vec<WorldRecord> {
    let store: Arc<dyn StorageBackend> = Arc::<Faulty>::clone(faulty);
    records_of(&*another(harness, &store).await, id).await
}

/// What the log of a world holds, seen by the next backend, once the controller has ended.
pub(super) async fn left<H: Harness>(harness: &H, id: &WorldId) -> Vec<WorldRecord> {
    records_of(&*open(harness).await, id).await
}

async fn records_of(backend: &dyn StorageBackend, id: &WorldId) -> Vec<WorldRecord> {
    let rows = log(backend, id).await;
    rows.into_iter().map(|row| row.record).collect()
}

/// What `commit` acknowledged is in the store, with what was recorded in the world before it.
pub async fn c1_a_commit_is_durable_with_all_before_it<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    for round in 0..5 {
        let mut records = numbered(&arda, round * 4..round * 4 + 4);
        let last = records.split_off(2);
        for record in records {
            controller
                .record(record)
                .expect("a record of an open world");
        }
        let receipt = open.commit(last).await.expect("C1: a commit succeeds");
        let expected = (round as u64 * 4 + 3, 2, false);
        assert_eq!(
            parts_of(receipt),
            expected,
            "C1: the receipt of a commit is its own"
        );
        let held = kept(harness, &faulty, &arda).await;
        let all = numbered(&arda, 0..round * 4 + 4);
        assert_eq!(held, all, "C1: a commit is durable with all before it");
    }
}

fn parts_of(receipt: Receipt) -> (u64, u32, bool) {
    (receipt.first.get(), receipt.count, receipt.repeated)
}

/// What `flush` acknowledged is in the store, in every open world; so is what a ticket does.
pub async fn c1_a_flush_and_a_ticket_are_durable<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let ids = ["one", "two", "three"].map(world);
    let mut tickets = Vec::new();
    for id in &ids {
        let open = open_world(&controller, id).await;
        open.record(numbered(id, 0..1).remove(0)).expect("a record");
        tickets.push(open.submit(numbered(id, 1..4)).expect("a group"));
    }
    controller.flush().await.expect("C1: a flush succeeds");
    for (id, ticket) in ids.iter().zip(tickets) {
        let all = numbered(id, 0..4);
        assert_eq!(
            kept(harness, &faulty, id).await,
            all,
            "C1: what was accepted before a flush is durable"
        );
        let receipt = ticket
            .await
            .expect("C1: a ticket of a group that is durable");
        assert_eq!(
            parts_of(receipt),
            (2, 3, false),
            "C1: the receipt of a ticket is its own"
        );
    }
    controller
        .flush()
        .await
        .expect("C1: a flush of nothing succeeds");
}

/// Nothing is acknowledged before it is in the store, whatever goes wrong on the way.
pub async fn c1_nothing_is_acknowledged_too_early<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    faulty.plan(
        &arda,
        [
            Fault::Refuse(ErrorKind::Ambiguous),
            Fault::Refuse(ErrorKind::Full),
        ],
    );
    for round in 0..3 {
        open.commit(numbered(&arda, round..round + 1))
            .await
            .expect("C1: a commit succeeds");
        let all = numbered(&arda, 0..round + 1);
        assert_eq!(
            kept(harness, &faulty, &arda).await,
            all,
            "C1: a commit is acknowledged too early"
        );
    }
}

/// Every fault there is, and every two of them one after the other.
fn faults() -> Vec<Vec<Fault>> {
    let all = [
        Fault::Refuse(ErrorKind::Unavailable),
        Fault::Refuse(ErrorKind::Full),
        Fault::Refuse(ErrorKind::Ambiguous),
        Fault::LoseAnswer,
    ];
    let pairs = all
        .iter()
        .flat_map(|first| all.map(|second| vec![*first, second]));
    all.iter().map(|fault| vec![*fault]).chain(pairs).collect()
}

/// Under any one fault and any two, each record is persisted once, in the order of acceptance.
pub async fn c2_each_record_is_persisted_once_in_order<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let ids: Vec<_> = (0..faults().len())
        .map(|index| world(&format!("{index:02}")))
        .collect();
    let mut worlds = Vec::new();
    for (id, faults) in ids.iter().zip(faults()) {
        let open = open_world(&controller, id).await;
        open.commit(numbered(id, 0..2))
            .await
            .expect("C2: a commit without faults");
        faulty.plan(id, faults);
        worlds.push(open);
    }
    let calls = faulty.calls();
    for (id, open) in ids.iter().zip(&worlds) {
        open.record(numbered(id, 2..3).remove(0)).expect("a record");
        drop(open.submit(numbered(id, 3..5)).expect("a group"));
    }
    let flush = controller.flush();
    let meanwhile = async {
        // Accepted while the first parts are on their way or wait for their next attempt.
        faulty.called(calls + 1).await;
        for (id, open) in ids.iter().zip(&worlds) {
            drop(open.submit(numbered(id, 5..8)).expect("a group"));
        }
    };
    let (flushed, ()) = tokio::join!(flush, meanwhile);
    flushed.expect("C2: a flush outlasts the faults");
    controller
        .flush()
        .await
        .expect("C2: a flush after the faults");
    for (id, faults) in ids.iter().zip(faults()) {
        let all = numbered(id, 0..8);
        assert_eq!(
            kept(harness, &faulty, id).await,
            all,
            "C2: each record once, in order, under {faults:?}"
        );
    }
}

/// At the bound of records or of bytes, `submit` and `record` hand everything back at once.
pub async fn c3_at_the_bound_records_are_handed_back<H: Harness>(harness: &H) {
    let arda = world("arda");
    let one = numbered(&arda, 0..1);
    for by_bytes in [false, true] {
        let mut config = config();
        match by_bytes {
            true => config.pending_bytes_max = 10 * one[0].bytes(),
            false => config.pending_records_max = 10,
        }
        let (controller, faulty) = start(harness, config).await;
        let open = open_world(&controller, &arda).await;
        faulty.hold();
        let first = open
            .submit(numbered(&arda, 0..4))
            .expect("C3: below the bound");
        let flushing = tokio::spawn({
            let open = open.clone();
            async move { open.commit(Vec::new()).await }
        });
        faulty.called(1).await;
        drop(
            open.submit(numbered(&arda, 4..8))
                .expect("C3: in flight and waiting"),
        );
        check_handed_back(&open, numbered(&arda, 1..4));
        open.record(numbered(&arda, 8..9).remove(0))
            .expect("C3: a smaller one fits");
        open.record(numbered(&arda, 9..10).remove(0))
            .expect("C3: up to the bound");
        check_handed_back(&open, one.clone());
        let refused = controller
            .record(one[0].clone())
            .map_err(|refused| refused.records);
        assert_eq!(
            refused.err().as_ref(),
            Some(&one),
            "C3: the controller hands a record back"
        );
        assert_eq!(
            controller.stats().pending_records,
            10,
            "C3: the buffer at its bound"
        );

        faulty.release();
        first.await.expect("C3: what was accepted is persisted");
        flushing
            .await
            .expect("no panic")
            .expect("C3: a flush at the bound");
        controller
            .flush()
            .await
            .expect("C3: a flush after the bound");
        assert_eq!(
            controller.stats().pending_records,
            0,
            "C3: the buffer is empty again"
        );
        open.commit(one.clone())
            .await
            .expect("C3: there is room again");
        controller.shutdown().await.expect("`shutdown`");
    }
    let once = [numbered(&arda, 0..10), one].concat();
    let twice = [once.clone(), once].concat();
    assert_eq!(
        left(harness, &arda).await,
        twice,
        "C3: what was handed back is not persisted"
    );
}

fn check_handed_back(open: &World, records: Vec<WorldRecord>) {
    let refused = open.submit(records.clone()).err();
    let refused = refused.expect("C3: a group over the bound is not accepted");
    assert_eq!(
        refused.error.kind(),
        ErrorKind::Backpressure,
        "C3: at the bound"
    );
    assert_eq!(refused.records, records, "C3: the records are handed back");
}

/// A group that can never fit is `Invalid` at once, and handed back, though the buffer is empty.
pub async fn c3_a_group_that_never_fits_is_invalid<H: Harness>(harness: &H) {
    let arda = world("arda");
    let group = numbered(&arda, 0..5);
    let bytes: usize = group.iter().map(WorldRecord::bytes).sum();
    let limits: [fn(&mut ControllerConfig, usize); 4] = [
        |config, _| config.batch_records_max = 4,
        |config, _| config.pending_records_max = 4,
        |config, bytes| config.batch_bytes_max = bytes - 1,
        |config, bytes| config.pending_bytes_max = bytes - 1,
    ];
    for limit in limits {
        let mut config = config();
        limit(&mut config, bytes);
        let (controller, _) = start(harness, config).await;
        let open = open_world(&controller, &arda).await;
        let refused = open.submit(group.clone()).err();
        let refused = refused.expect("C3: a group over a limit is not accepted");
        assert_eq!(
            refused.error.kind(),
            ErrorKind::Invalid,
            "C3: a group that never fits"
        );
        assert_eq!(refused.records, group, "C3: the records are handed back");
        open.commit(group[1..].to_vec())
            .await
            .expect("C3: a group at the limit fits");
        controller.shutdown().await.expect("`shutdown`");
    }
}

/// Parts are made of whole groups, of several where they fit, and stay within both limits.
pub async fn c4_parts_are_made_of_whole_groups<H: Harness>(harness: &H) {
    let arda = world("arda");
    let sizes = [1, 4, 4, 4, 10, 1, 9, 2, 5, 5, 1, 10, 3];
    let mut by_bytes = config();
    by_bytes.batch_bytes_max = 10 * numbered(&arda, 0..1)[0].bytes();
    let mut by_records = config();
    by_records.batch_records_max = 10;
    for (what, config) in [("records", by_records), ("bytes", by_bytes)] {
        let (controller, faulty) = start(harness, config.clone()).await;
        let open = open_world(&controller, &arda).await;
        let mut tickets = Vec::new();
        for size in sizes {
            let group = vec![numbered(&arda, 0..1).remove(0); size];
            tickets.push(open.submit(group).expect("C4: a group within the limits"));
        }
        controller.flush().await.expect("`flush`");
        let parts = faulty.parts();
        for part in &parts {
            let within = part.records().len() <= config.batch_records_max
                && part.bytes() <= config.batch_bytes_max;
            assert!(within, "C4: a part is over its limit of {what}: {part:?}");
        }
        let mut receipts = Vec::new();
        for ticket in tickets {
            receipts.push(ticket.await.expect("C4: each group is persisted"));
        }
        let base = receipts[0].first.get();
        check_groups(
            &ends_of(base, parts.iter().map(|part| part.count())),
            &receipts,
            what,
        );
        assert!(
            parts.len() < sizes.len(),
            "C4: groups that fit share a part"
        );
        controller.shutdown().await.expect("`shutdown`");
    }
}

/// Where each of several counts ends, one behind the other.
fn ends_of(first: u64, counts: impl Iterator<Item = u32>) -> Vec<u64> {
    let ends = counts.scan(first, |end, count| {
        *end += u64::from(count);
        Some(*end)
    });
    ends.collect()
}

fn check_groups(parts: &[u64], receipts: &[Receipt], what: &str) {
    let mut next = receipts[0].first.get();
    for receipt in receipts {
        let (first, end) = (
            receipt.first.get(),
            receipt.first.get() + u64::from(receipt.count),
        );
        assert_eq!(first, next, "C4: the groups lie in their order");
        let split = parts.iter().any(|part| first < *part && *part < end);
        assert!(!split, "C4: a group is split by the limit of {what}");
        next = end;
    }
}
