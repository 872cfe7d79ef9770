//! Bootstrap: what `init` makes, keeps and refuses.
//!
//! B3 to B6 hold for every store whose declared durability is `None`, by the contract: it has no
//! layout to find. Their functions return at once then. What speaks of the first published layout
//! asks of a store that never had it only that its layout has the first number.

use std::sync::Arc;

use aqevia_storage::{
    Error, ErrorKind, Limit, LogRange, LogRow, Owner, Payload, Result, SchemaPolicy, StateRange,
    StorageBackend, StoreInfo, WorldRange, WorldRecord,
};
use tokio::task::JoinSet;

use crate::contents::{everything, log};
use crate::harness::{close, has_layout, open, reopen};
use crate::sample::{Kind, event, json, schema, world};
use crate::writer::{Writer, persist};
use crate::{FirstRow, Harness, Scene};

const POLICIES: [SchemaPolicy; 2] = [SchemaPolicy::Upgrade, SchemaPolicy::ResetInDevelopment];

/// `init` on an empty store stamps layout 1, reports what the author expects, and holds no world.
pub async fn b1_init_makes_a_store_of_the_declared_capabilities<H: Harness>(harness: &H) {
    let backend = harness.open().await;
    let info = backend.init(SchemaPolicy::Upgrade).await;
    let info = info.expect("B1: `init` on an empty store succeeds");
    check_info("B1", &info, harness);
    assert!(
        everything(&*backend).await.is_empty(),
        "B1: a new store holds no world"
    );
    let mut writer = Writer::claim(&backend, &world("arda")).await;
    writer.persist(vec![event(&world("arda"), "1")]).await;
}

fn check_info<H: Harness>(id: &str, info: &StoreInfo, harness: &H) {
    assert_eq!(info.layout, 1, "{id}: the version of the layout");
    assert!(!info.engine.is_empty(), "{id}: the engine has a name");
    let declared = harness.capabilities();
    assert_eq!(
        info.capabilities, declared,
        "{id}: what `init` reports is what is expected"
    );
}

/// `init` a second time, through the same backend and through another, leaves every byte.
pub async fn b2_init_again_changes_nothing<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    some_data(&backend).await;
    let before = everything(&*backend).await;
    let info = backend.init(SchemaPolicy::Upgrade).await;
    check_info("B2", &info.expect("B2: `init` twice succeeds"), harness);
    assert_eq!(
        everything(&*backend).await,
        before,
        "B2: `init` twice changes nothing"
    );
    close(backend).await;

    let bytes = harness.dump().await;
    let backend = open(harness).await;
    assert_eq!(
        everything(&*backend).await,
        before,
        "B2: `init` of a store with data keeps it"
    );
    close(backend).await;
    assert!(
        harness.dump().await == bytes,
        "B2: `init` of a store with data changes a byte"
    );
}

/// Several backends that initialise one empty store at once all succeed and share it; all but one
/// are refused where the store is not `shared`.
pub async fn b2_init_by_several_at_once_changes_nothing<H: Harness>(harness: &H) {
    let mut inits = JoinSet::new();
    for _ in 0..4 {
        let backend = harness.open().await;
        inits.spawn(async move {
            let info = backend.init(SchemaPolicy::Upgrade).await;
            (backend, info)
        });
    }
    let arda = world("arda");
    let mut written = 0;
    let mut inits = inits.join_all().await;
    if !harness.capabilities().shared {
        inits.retain(|(_, info)| !is_refused_as_second(info));
        assert_eq!(inits.len(), 1, "B2: one of several at once gets the store");
    }
    for (backend, info) in inits {
        let info = info.expect("B2: `init` by several at once succeeds for each");
        check_info("B2", &info, harness);
        let mut writer = Writer::claim(&backend, &arda).await;
        writer.persist(vec![event(&arda, "1")]).await;
        written += 1;
        let rows = log(&*backend, &arda).await.len();
        assert_eq!(
            rows, written,
            "B2: backends that initialised at once share the store"
        );
    }
}

fn is_refused_as_second(info: &Result<StoreInfo>) -> bool {
    let kind = info.as_ref().err().map(Error::kind);
    kind == Some(ErrorKind::Unavailable)
}

/// A newer layout is `Incompatible`, and its bytes stay.
pub async fn b3_a_newer_layout_is_refused_untouched<H: Harness>(harness: &H) {
    if has_layout(harness) {
        harness.stage(Scene::NewerLayout).await;
        let before = harness.dump().await;
        refuse(harness, SchemaPolicy::Upgrade, "B3: a newer layout").await;
        assert!(
            harness.dump().await == before,
            "B3: refusing a newer layout changes a byte"
        );
    }
}

/// The first layout is upgraded: its rows are there, it can be written, and stays upgraded.
pub async fn b4_an_older_layout_is_upgraded_with_its_data<H: Harness>(harness: &H) {
    if !has_first_layout("B4", harness).await {
        return;
    }
    let rows = first_rows();
    harness.stage(Scene::FirstLayout(rows.clone())).await;
    let backend = harness.open().await;
    let info = backend.init(SchemaPolicy::Upgrade).await;
    check_info(
        "B4",
        &info.expect("B4: an older layout is upgraded"),
        harness,
    );
    check_first_rows("B4", &backend, &rows).await;

    let arda = world("arda");
    let kept = log(&*backend, &arda).await;
    let mut writer = Writer::claim(&backend, &arda).await;
    writer.persist(vec![event(&arda, "new")]).await;
    let backend = reopen(harness, backend).await;
    let after = log(&*backend, &arda).await;
    assert_eq!(
        after[..kept.len()],
        kept,
        "B4: writing to an upgraded store keeps its rows"
    );
    assert_eq!(
        after.len(),
        kept.len() + 1,
        "B4: an upgraded store can be written"
    );
}

/// A row that cannot be kept makes the upgrade fail, and the store stays as it was.
pub async fn b4_a_failed_upgrade_leaves_the_store_as_it_was<H: Harness>(harness: &H) {
    if !has_first_layout("B4", harness).await {
        return;
    }
    let mut rows = first_rows();
    rows.push(FirstRow::new(100, &"x".repeat(200), "{}", 0));
    harness.stage(Scene::FirstLayout(rows)).await;
    let before = harness.dump().await;
    let backend = harness.open().await;
    let info = backend.init(SchemaPolicy::Upgrade).await;
    assert!(
        info.is_err(),
        "B4: a world id of 200 bytes cannot be kept, and `init` says nothing"
    );
    close(backend).await;
    assert!(
        harness.dump().await == before,
        "B4: a failed upgrade changes a byte"
    );
}

/// `ResetInDevelopment` makes a newer layout anew, empty and of this version.
pub async fn b5_a_reset_recreates_a_layout_that_differs<H: Harness>(harness: &H) {
    if !has_layout(harness) {
        return;
    }
    harness.stage(Scene::NewerLayout).await;
    let backend = harness.open().await;
    let info = backend.init(SchemaPolicy::ResetInDevelopment).await;
    check_info(
        "B5",
        &info.expect("B5: a reset recreates a newer layout"),
        harness,
    );
    assert!(
        everything(&*backend).await.is_empty(),
        "B5: a store is empty after its reset"
    );
    some_data(&backend).await;
    let before = everything(&*backend).await;
    let backend = reopen(harness, backend).await;
    assert_eq!(
        everything(&*backend).await,
        before,
        "B5: a store can be used after its reset"
    );
}

/// `ResetInDevelopment` leaves a store of the present layout alone.
pub async fn b5_a_reset_keeps_the_present_layout<H: Harness>(harness: &H) {
    if !has_layout(harness) {
        return;
    }
    let backend = open(harness).await;
    some_data(&backend).await;
    let before = everything(&*backend).await;
    close(backend).await;
    let backend = harness.open().await;
    let info = backend.init(SchemaPolicy::ResetInDevelopment).await;
    check_info(
        "B5",
        &info.expect("B5: the present layout passes a reset"),
        harness,
    );
    assert_eq!(
        everything(&*backend).await,
        before,
        "B5: a reset drops the present layout"
    );
}

/// A store of another program is `Incompatible` under every policy, and its bytes stay.
pub async fn b6_what_is_not_ours_is_refused_untouched<H: Harness>(harness: &H) {
    if !has_layout(harness) {
        return;
    }
    harness.stage(Scene::Foreign).await;
    let before = harness.dump().await;
    for policy in POLICIES {
        refuse(harness, policy, "B6: a store that is not ours").await;
        let after = harness.dump().await;
        assert!(
            after == before,
            "B6: refusing under {policy:?} changes a byte"
        );
    }
}

/// The rows of the first layout are events in the order of their ids, in each world.
pub async fn b6_rows_of_the_first_layout_keep_their_order<H: Harness>(harness: &H) {
    if !has_first_layout("B6", harness).await {
        return;
    }
    let rows = first_rows();
    harness.stage(Scene::FirstLayout(rows.clone())).await;
    let backend = open(harness).await;
    check_first_rows("B6", &backend, &rows).await;
    let backend = reopen(harness, backend).await;
    check_first_rows("B6", &backend, &rows).await;
}

/// Every call but `init` and `close` is `Invalid` before `init`, and leaves the store as it is.
pub async fn b7_calls_before_init_are_invalid<H: Harness>(harness: &H) {
    let ready = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&ready, &arda).await;
    writer.persist(vec![event(&arda, "1")]).await;
    let before = everything(&*ready).await;

    let raw = harness.open().await;
    let part = writer.part(vec![event(&arda, "2")]);
    let refused = [
        (
            "log",
            raw.log(&arda, LogRange::ALL, Limit::default()).await.err(),
        ),
        (
            "state",
            raw.state(&arda, StateRange::all(), Limit::default())
                .await
                .err(),
        ),
        ("snapshot", raw.snapshot(&arda).await.err()),
        ("usage", raw.usage(&arda).await.err()),
        (
            "worlds",
            raw.worlds(WorldRange::all(), Limit::default()).await.err(),
        ),
        (
            "claim",
            raw.claim(&arda, &Owner::process(1), schema().fingerprint())
                .await
                .err(),
        ),
        ("usage", raw.usage(&arda).await.err()),
        ("persist_batch", persist(&*raw, &part).await.err()),
    ];
    for (call, error) in refused {
        let kind = error.map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Invalid), "B7: `{call}` before `init`");
    }
    assert_eq!(
        everything(&*ready).await,
        before,
        "B7: a call before `init` changes the store"
    );
}

/// Where a store is not `shared`, a second backend is `Unavailable` until the first is closed or
/// dropped, and the first goes on; elsewhere both work on one store.
pub async fn b8_only_a_shared_store_is_opened_twice<H: Harness>(harness: &H) {
    let first = open(harness).await;
    some_data(&first).await;
    let before = everything(&*first).await;
    for policy in POLICIES {
        let second = harness.open().await;
        let info = second.init(policy).await;
        if harness.capabilities().shared {
            assert!(info.is_ok(), "B8: a second backend of a `shared` store");
            assert_eq!(
                everything(&*second).await,
                before,
                "B8: a second backend sees the store"
            );
        } else {
            assert!(
                is_refused_as_second(&info),
                "B8: a second backend of a store that is not `shared` is refused: {info:?}"
            );
        }
        close(second).await;
        assert_eq!(
            everything(&*first).await,
            before,
            "B8: a second backend changes the store"
        );
    }
    some_data(&first).await;
    close(first).await;
    for gone in ["closed", "dropped"] {
        let next = open(harness).await;
        let rows = everything(&*next).await[0].1.log.len();
        assert_eq!(rows, 4, "B8: the store after a backend was {gone}");
    }
}

/// Whether there may be stores of the first published layout. Where there never were any, the
/// present layout has to be the first.
async fn has_first_layout<H: Harness>(id: &str, harness: &H) -> bool {
    if !has_layout(harness) || harness.first_layout() {
        return has_layout(harness);
    }
    let info = harness.open().await.init(SchemaPolicy::Upgrade).await;
    let layout = info.expect("`init`").layout;
    assert_eq!(
        layout, 1,
        "{id}: a layout that is not the first follows one"
    );
    false
}

async fn some_data(backend: &Arc<dyn StorageBackend>) {
    let arda = world("arda");
    let mut writer = Writer::claim(backend, &arda).await;
    let records = vec![
        event(&arda, "1"),
        Kind::Fleets.put(&arda, "a", "2"),
        Kind::Treaties.put(&arda, "b", "3"),
    ];
    writer.persist(records).await;
}

async fn refuse<H: Harness>(harness: &H, policy: SchemaPolicy, what: &str) {
    let backend = harness.open().await;
    let error = backend.init(policy).await.err();
    let kind = error.map(|error| error.kind());
    assert_eq!(
        kind,
        Some(ErrorKind::Incompatible),
        "{what} is refused under {policy:?}"
    );
    close(backend).await;
}

/// Rows of two worlds in turn, with gaps between the ids, and times that fall.
fn first_rows() -> Vec<FirstRow> {
    vec![
        FirstRow::new(3, "arda", r#"{"n":1}"#, 300),
        FirstRow::new(4, "mîddle earth", r#"["é"]"#, i64::MAX),
        FirstRow::new(7, "arda", "2", 200),
        FirstRow::new(8, "arda", r#""\u0000""#, i64::MIN),
        FirstRow::new(90, "mîddle earth", "null", 0),
    ]
}

async fn check_first_rows(id: &str, backend: &Arc<dyn StorageBackend>, rows: &[FirstRow]) {
    for name in ["arda", "mîddle earth"] {
        let of_world = rows.iter().filter(|row| row.world_id == name);
        let expected: Vec<_> = of_world.map(first_record).collect();
        let log = log(&**backend, &world(name)).await;
        assert!(
            log.is_sorted_by(|a, b| a.sequence < b.sequence),
            "{id}: the sequences of kept rows rise"
        );
        let kept: Vec<_> = log.into_iter().map(|row: LogRow| row.record).collect();
        assert_eq!(
            kept, expected,
            "{id}: the rows of world {name:?} are kept in order"
        );
    }
}

fn first_record(row: &FirstRow) -> WorldRecord {
    let payload: Payload = json(&row.payload);
    WorldRecord::new(world(&row.world_id), payload, row.timestamp)
}
