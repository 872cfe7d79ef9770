//! The child that persists and acknowledges until it is killed.

use std::sync::Arc;

use aqevia_storage::{SchemaPolicy, StorageBackend};

use super::announce::Announcer;
use super::child::Job;
use super::ledger::text;
use super::line::Line;
use super::plan::{Stand, WORLDS, records};
use super::verify::patiently;
use crate::Harness;
use crate::sample::world;
use crate::writer::persist_all;

/// The step after the receipts of a call were passed on.
pub(crate) const ACKNOWLEDGED: &str = "child: acknowledged";
/// The step before the first call of `persist_batch`.
pub(crate) const CLAIMED: &str = "child: claimed";
/// Where a child waits that has nothing left to do but to be killed.
pub(crate) const IDLE: &str = "child: idle";
/// The step before a call of `persist_batch`.
pub(crate) const CALLED: &str = "call: persist_batch";
/// The step after it has answered.
pub(crate) const ANSWERED: &str = "done: persist_batch";

/// See [`Task::Write`](super::child::Task::Write).
pub(crate) async fn write<H: Harness>(
    job: &Job,
    announcer: &Arc<Announcer>,
    (run, calls): (u64, u64),
) {
    let harness = H::at(&job.location).await;
    announcer.arm();
    Line::Ready.say();
    let backend = harness.open().await;
    announcer.step("call: init");
    let initialised = patiently(|| backend.init(SchemaPolicy::Upgrade)).await;
    initialised.expect("P1: `init` of a store whose process was killed");
    announcer.step("done: init");
    let mut stands = Vec::new();
    for name in WORLDS {
        stands.push(claim(&*backend, announcer, name).await);
    }
    announcer.step(CLAIMED);
    for call in 0..calls {
        persist(&*backend, announcer, &mut stands, (job.seed, run, call)).await;
    }
    announcer.step("call: close");
    backend
        .close()
        .await
        .expect("`close` of a store that nobody disturbs");
    announcer.step("done: close");
}

async fn claim(backend: &dyn StorageBackend, announcer: &Announcer, name: &str) -> Stand {
    let name = name.to_owned();
    Line::Claiming {
        world: name.clone(),
    }
    .say();
    announcer.step("call: claim");
    let id = world(&name);
    let stand = patiently(|| Stand::claim(backend, &id)).await;
    let stand = stand.expect("P1: `claim` of a world whose writer was killed");
    announcer.step("done: claim");
    let claim = &stand.claim;
    Line::Claimed {
        world: name,
        epoch: claim.epoch.get(),
        number: claim.last_number.get(),
        head: claim.head.get(),
        link: text(&claim.link),
    }
    .say();
    stand
}

async fn persist(
    backend: &dyn StorageBackend,
    announcer: &Announcer,
    stands: &mut [Stand],
    (seed, run, call): (u64, u64, u64),
) {
    let mut parts = Vec::new();
    for (world, records) in records(seed, run, call) {
        let stand = stands.iter().find(|stand| stand.world == world);
        parts.push(stand.expect("all worlds are claimed").part(records));
    }
    Line::Persisting { call }.say();
    announcer.step(CALLED);
    let answers = persist_all(backend, &parts).await;
    announcer.step(ANSWERED);
    for (part, answer) in parts.iter().zip(answers) {
        let receipt = answer.expect("P2: a part that follows is persisted");
        Line::Acknowledged {
            world: part.world().to_string(),
            number: part.number().get(),
            first: receipt.first.get(),
            count: part.count(),
            digest: text(part.digest()),
        }
        .say();
        let stand = stands.iter_mut().find(|stand| stand.world == *part.world());
        stand.expect("all worlds are claimed").advance(part);
    }
    announcer.step(ACKNOWLEDGED);
}
