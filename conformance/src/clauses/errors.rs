//! Errors: what they leave, say and keep to themselves.

use std::error::Error as _;
use std::sync::Arc;

use aqevia_storage::{
    Error, ErrorKind, LogRange, Owner, Part, SchemaPolicy, StateRange, StorageBackend, WorldRange,
};

use crate::Harness;
use crate::contents::{WHOLE, everything};
use crate::harness::open;
use crate::sample::{Kind, event, schema, world};
use crate::writer::{Writer, persist};

/// A call that fails, with any kind but `Ambiguous`, leaves the store as it was.
pub async fn e1_a_call_that_fails_changes_nothing<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let before = refused_parts(&backend).await;
    let store = everything(&*backend).await;
    for (part, kind) in &before {
        let error = persist(&*backend, part).await.err();
        assert_eq!(
            error.map(|error| error.kind()),
            Some(*kind),
            "E1: a part that is refused"
        );
        let after = everything(&*backend).await;
        assert!(
            after == store,
            "E1: a part that is refused as {kind:?} changes the store"
        );
    }
    let snapshot = backend.snapshot(&world("arda")).await.expect("`snapshot`");
    let other = world("other");
    let read = snapshot.log(&other, LogRange::ALL, WHOLE).await;
    assert!(read.is_err(), "E1: a snapshot of another world");
    drop(snapshot);
    assert!(
        everything(&*backend).await == store,
        "E1: a read that fails changes the store"
    );

    backend.close().await.expect("`close`");
    let claim = backend
        .claim(&other, &Owner::process(1), schema().fingerprint())
        .await;
    assert!(claim.is_err(), "E1: a claim after `close`");
    assert!(
        everything(&*open(harness).await).await == store,
        "E1: a claim that fails changes the store"
    );
}

const SECRET: &str = "secret-7f3a";

/// No error shows a payload, in what it displays, in its debug form or in its sources.
pub async fn e2_no_error_shows_a_payload<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let mut errors = Vec::new();
    let refused = refused_parts(&backend).await;
    for (part, _) in &refused {
        errors.extend(persist(&*backend, part).await.err());
    }
    backend.close().await.expect("`close`");
    for (part, _) in &refused {
        errors.extend(persist(&*backend, part).await.err());
    }
    assert_eq!(errors.len(), 2 * refused.len(), "E2: each part is refused");
    for error in errors {
        let shown = everything_shown(&error);
        assert!(
            !shown.contains(SECRET),
            "E2: an error of kind {:?} shows a payload",
            error.kind()
        );
    }
}

fn everything_shown(error: &Error) -> String {
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        shown.push_str(&format!("{cause} {cause:?}"));
        source = cause.source();
    }
    shown
}

/// After `close` every call is `Closed`, but `close`, which may be called again.
pub async fn e3_after_close_every_call_is_closed<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    writer.persist(vec![event(&arda, "1")]).await;
    let part = writer.part(vec![event(&arda, "2")]);
    for _ in 0..2 {
        backend
            .close()
            .await
            .expect("E3: `close` may be called again");
        let refused = [
            ("init", backend.init(SchemaPolicy::Upgrade).await.err()),
            ("log", backend.log(&arda, LogRange::ALL, WHOLE).await.err()),
            (
                "state",
                backend.state(&arda, StateRange::all(), WHOLE).await.err(),
            ),
            ("snapshot", backend.snapshot(&arda).await.err()),
            ("usage", backend.usage(&arda).await.err()),
            (
                "worlds",
                backend.worlds(WorldRange::all(), WHOLE).await.err(),
            ),
            (
                "claim",
                backend
                    .claim(&arda, &Owner::process(1), schema().fingerprint())
                    .await
                    .err(),
            ),
            ("usage", backend.usage(&arda).await.err()),
            ("persist_batch", persist(&*backend, &part).await.err()),
        ];
        for (call, error) in refused {
            let kind = error.map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::Closed), "E3: `{call}` after `close`");
        }
    }
    let rows = everything(&*open(harness).await).await;
    assert_eq!(
        rows[0].1.log.len(),
        1,
        "E3: a part is written after `close`"
    );
}

/// The error of a part names its number and its world, so that a log tells what happened to what.
pub async fn e4_the_error_of_a_part_names_it<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let refused = refused_parts(&backend).await;
    for (part, _) in &refused {
        check_named(persist(&*backend, part).await.err(), part);
    }
    backend.close().await.expect("`close`");
    for (part, _) in &refused {
        check_named(persist(&*backend, part).await.err(), part);
    }
    let raw = harness.open().await;
    for (part, _) in &refused {
        check_named(persist(&*raw, part).await.err(), part);
    }
}

fn check_named(error: Option<Error>, part: &Part) {
    let message = error.map(|error| error.to_string());
    let message = message.expect("E4: the part is refused");
    let (number, world) = (part.number().to_string(), part.world().as_str());
    let named = message.contains(&number) && message.contains(world);
    assert!(
        named,
        "E4: {message:?} does not name batch {number} of world {world:?}"
    );
}

/// Parts with numbers that nothing else has, and the kinds with which each is refused.
async fn refused_parts(backend: &Arc<dyn StorageBackend>) -> Vec<(Arc<Part>, ErrorKind)> {
    let arda = world("arda");
    let records = || vec![event(&arda, SECRET), Kind::Fleets.put(&arda, "k", SECRET)];
    let mut fenced = Writer::claim_as(backend, &arda, "númenor").await;
    fenced.persist(records()).await;
    let mut writer = Writer::claim_as(backend, &arda, "gondor").await;
    for _ in 0..70 {
        writer.persist(vec![event(&arda, "1")]).await;
    }
    let mut nobody = Writer::claim(backend, &world("mordor")).await;
    nobody.world = world("númenor");
    let drowned = Kind::Fleets.put(&nobody.world, "k", SECRET);
    vec![
        (fenced.part_numbered(7172, records()), ErrorKind::Fenced),
        (
            fenced.part_numbered(1, vec![event(&arda, "other")]),
            ErrorKind::Fenced,
        ),
        (writer.part_numbered(68, records()), ErrorKind::Invalid),
        (writer.part_numbered(7173, records()), ErrorKind::Invalid),
        (
            nobody.part_numbered(7174, vec![drowned]),
            ErrorKind::Invalid,
        ),
    ]
}
