//! The controller and its worlds: who claims them, and what one in trouble does to the others.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{ErrorKind, Limit, LogRange, Reads, StateRange, StorageBackend};

use super::controller::{config, kept, numbered, open_world, start};
use crate::Harness;
use crate::contents::{WHOLE, contents, paged_worlds};
use crate::fault::{Fault, Faulty};
use crate::harness::another;
use crate::sample::{event, world};
use crate::writer::Writer;

/// Starting, reading and recording claim nothing; opening a world claims it once.
pub async fn c10_only_open_world_claims<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let arda = world("arda");
    controller
        .log(&arda, LogRange::ALL, WHOLE)
        .await
        .expect("`log`");
    controller
        .state(&arda, StateRange::all(), WHOLE)
        .await
        .expect("`state`");
    let refused = controller.record(numbered(&arda, 0..1).remove(0)).err();
    let kind = refused.map(|refused| refused.error.kind());
    assert_eq!(
        kind,
        Some(ErrorKind::Invalid),
        "C10: a record of a world that is not open"
    );
    controller.flush().await.expect("`flush`");
    assert_eq!(
        faulty.claims(),
        0,
        "C10: reading, recording or flushing claims a world"
    );
    let store: Arc<dyn StorageBackend> = Arc::<Faulty>::clone(&faulty);
    let backend = another(harness, &store).await;
    let heads = paged_worlds(&*backend, Limit::default()).await;
    assert_eq!(heads, [], "C10: reading or recording creates a world");

    let both = tokio::join!(
        controller.open_world(arda.clone()),
        controller.open_world(arda.clone())
    );
    both.0.and(both.1).expect("`open_world`");
    open_world(&controller, &arda).await;
    assert_eq!(
        faulty.claims(),
        1,
        "C10: a world that is open is claimed again"
    );
}

/// After `Fenced` a world stays stopped, and is claimed again only by opening it.
pub async fn c10_a_fenced_world_is_not_claimed_again<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let [arda, other] = ["arda", "other"].map(world);
    let stopped = open_world(&controller, &arda).await;
    let going = open_world(&controller, &other).await;
    stopped
        .commit(numbered(&arda, 0..1))
        .await
        .expect("`commit`");

    let store: Arc<dyn StorageBackend> = Arc::<Faulty>::clone(&faulty);
    let backend = another(harness, &store).await;
    let mut writer = Writer::claim_as(&backend, &arda, "the next").await;
    let claims = faulty.claims();
    for _ in 0..3 {
        let error = stopped.commit(numbered(&arda, 1..2)).await.err();
        let kind = error.map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::Fenced),
            "C10: a commit to a world that was taken over"
        );
        going
            .commit(numbered(&other, 0..1))
            .await
            .expect("C10: another world goes on");
        let flushed = controller.flush().await.err();
        let kind = flushed.map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::Fenced),
            "C10: a flush tells of a world that is fenced"
        );
    }
    assert_eq!(
        faulty.claims(),
        claims,
        "C10: a fenced world is claimed by itself"
    );
    writer.persist(vec![event(&arda, "of the next")]).await;
    let held = contents(&*backend, &arda).await;
    assert_eq!(
        held.log.len(),
        2,
        "C10: what was fenced is not in the store"
    );

    let again = open_world(&controller, &arda).await;
    assert_eq!(
        faulty.claims(),
        claims + 1,
        "C10: opening a fenced world claims it"
    );
    again
        .commit(numbered(&arda, 1..2))
        .await
        .expect("C10: a world that was opened again");
    let kept = kept(harness, &faulty, &other).await.len();
    assert_eq!(kept, 3, "C10: what another world persisted meanwhile");
}

/// A world whose parts fail again and again does not hold up another.
pub async fn c10_a_world_in_trouble_does_not_hold_up_others<H: Harness>(harness: &H) {
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Ambiguous,
        ErrorKind::Full,
    ] {
        let mut config = config();
        config.shutdown_timeout = Duration::from_millis(20);
        let (controller, faulty) = start(harness, config).await;
        let [trouble, other] = ["trouble", "other"].map(world);
        let troubled = open_world(&controller, &trouble).await;
        let going = open_world(&controller, &other).await;
        faulty.plan_forever(&trouble, Fault::Refuse(kind));
        drop(troubled.submit(numbered(&trouble, 0..3)).expect("a group"));
        for _ in 0..5 {
            let receipt = going.commit(numbered(&other, 0..1)).await;
            receipt.expect("C10: a world is held up by another");
        }
        let tried = faulty.parts().iter().any(|part| *part.world() == trouble);
        assert!(tried, "C10: the world in trouble was tried");
        let unflushed = controller
            .shutdown()
            .await
            .expect_err("the trouble goes on");
        let left = unflushed.pending.len() + unflushed.in_doubt.len();
        assert_eq!(
            left, 3,
            "C10: the records of the world in trouble, and no others"
        );
    }
}
