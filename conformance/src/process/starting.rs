//! A process that starts with others, and what all of them write.

use aqevia_storage::{BatchRecord, Error, SchemaPolicy, StorageBackend};

use super::child::Job;
use super::ledger::text;
use super::line::{Line, wait_for_byte};
use super::plan::{Dice, Stand, noise};
use super::storm::in_step;
use crate::Harness;
use crate::sample::world;
use crate::writer::persist_settled;

/// How many parts each persists to its own world.
const PARTS: u64 = 5;
/// The world that all claim.
pub(super) const SHARED: &str = "of all";

pub(super) fn own(index: u64) -> String {
    format!("of process {index}")
}

pub(super) fn own_records(seed: u64, round: u64, index: u64) -> Vec<Vec<BatchRecord>> {
    let mut dice = Dice::new(seed, &[round, index]);
    let id = world(&own(index));
    (0..PARTS).map(|_| noise(&mut dice, &id, 3, 40)).collect()
}

pub(super) fn shared_records(seed: u64, index: u64) -> Vec<BatchRecord> {
    noise(&mut Dice::new(seed, &[index]), &world(SHARED), 2, 40)
}

/// See [`Task::StartUp`].
pub(crate) async fn start_up<H: Harness>(job: &Job, index: u64, round: u64) {
    let harness = H::at(&job.location).await;
    let backend = harness.open().await;
    Line::Ready.say();
    wait_for_byte();
    let initialised = backend.init(SchemaPolicy::Upgrade).await;
    say(initialised.as_ref().err());
    if initialised.is_err() {
        return;
    }
    let in_step = in_step(&harness, round);
    let wait = || {
        if in_step {
            wait_for_byte();
        }
    };
    wait();
    let stand = Stand::claim(&*backend, &world(&own(index))).await;
    let mut stand = stand.expect("P11: `claim` of a world of its own beside other processes");
    for records in own_records(job.seed, round, index) {
        let persisted = stand.persist(&*backend, records).await;
        persisted.expect("P11: a part of a world of its own beside other processes");
    }
    write_shared(&*backend, job.seed, index, wait).await;
    backend
        .close()
        .await
        .expect("P11: `close` beside other processes");
}

async fn write_shared(backend: &dyn StorageBackend, seed: u64, index: u64, wait: impl Fn()) {
    let stand = Stand::claim(backend, &world(SHARED)).await;
    let stand = stand.expect("P11: `claim` of a world that other processes claim");
    let claim = &stand.claim;
    Line::Claimed {
        world: SHARED.to_owned(),
        epoch: claim.epoch.get(),
        number: claim.last_number.get(),
        head: claim.head.get(),
        link: text(&claim.link),
    }
    .say();
    wait();
    // Another process may be claiming the world at this moment.
    let part = stand.part(shared_records(seed, index));
    say(persist_settled(backend, &part).await.err().as_ref());
}

fn say(refused: Option<&Error>) {
    Line::Answered {
        kind: refused.map(|error| format!("{:?}", error.kind())),
        first: 0,
        repeated: false,
    }
    .say();
}
