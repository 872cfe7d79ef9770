//! What the flush loop has done beside its flushes.

use std::sync::Arc;

use tokio::time::Instant;

use super::capture::{Capture, StateSource, capture};
use super::flush::FlushLoop;
use super::inbox::Inbox;
use super::lane::LaneId;
use super::retry::Verdict;
use super::saving;
use super::shared::WorldShared;
use crate::{
    Claim, Error, ErrorKind, Limit, LogRange, Result, Sequence, StorageBackend, StoreInfo, WorldId,
};

impl FlushLoop {
    pub(super) fn begin_init(&mut self) {
        if let Some(init) = &mut self.init {
            init.begin();
            let job = init_store(Arc::clone(&self.store), Arc::clone(&self.inbox));
            self.jobs.spawn(job);
        }
    }

    pub(super) fn begin_adoptions(&mut self, now: Instant) {
        for (id, lane) in &mut self.lanes {
            if lane.adopt_at().is_some_and(|at| at <= now)
                && let Some(head) = lane.begin_adoption()
            {
                let (store, inbox) = (Arc::clone(&self.store), Arc::clone(&self.inbox));
                let world = lane.world().id().clone();
                self.jobs.spawn(claim(store, inbox, *id, world, head));
            }
        }
    }

    pub(super) fn capture_dirty(&mut self) {
        for world in self.inbox.take_dirty() {
            if let Some(lane) = self.lane(world.lane()) {
                lane.saving().ask(None);
                self.begin_capture(world.lane());
            }
        }
    }

    /// Captures a world, if that is wanted and may begin.
    pub(super) fn begin_capture(&mut self, id: LaneId) {
        let source = self.inbox.source().get().cloned();
        let Some(lane) = self.lane(id) else {
            return;
        };
        if !lane.saving().begin() {
            return;
        }
        let world = Arc::clone(lane.world());
        let nothing = world.lock_dirty().since().is_none();
        let Some(source) = source.filter(|_| !nothing) else {
            return saving::take_nothing(lane, nothing);
        };
        let (permits, inbox) = (Arc::clone(&self.captures), Arc::clone(&self.inbox));
        self.capturing += 1;
        self.jobs.spawn(async move {
            // Nobody closes the semaphore.
            let _permit = permits.acquire_owned().await;
            capture_world(source, world, inbox).await
        });
    }

    /// Takes what a job came to, and what others have come to meanwhile.
    pub(super) fn finish_all(&mut self, done: Done) {
        self.finish(done);
        while let Some(done) = self.jobs.try_join_next() {
            // A job catches the panics of what it does.
            done.into_iter().for_each(|done| self.finish(done));
        }
        // Order matters: what was captured is known to wait before it ends to be captured.
        self.inbox.keep_oldest(self.oldest());
        if self.capturing == 0 {
            self.inbox.end_captures();
        }
        self.tell_health();
    }

    fn finish(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Initialised(Ok(info)) => self.initialised(info),
            Done::Initialised(Err(error)) => {
                let config = self.inbox.config();
                let init = self.init.as_mut().filter(|_| error.kind().is_retryable());
                let verdict = init.map(|init| init.fail(error.clone(), now, config));
                if verdict != Some(Verdict::Again) {
                    self.init = None;
                    self.halt(&error);
                }
            }
            Done::Claimed(id, claim) => {
                let inbox = Arc::clone(&self.inbox);
                let lane = self.lane(id);
                let settled = lane.map(|lane| lane.claimed(claim, now, &inbox));
                self.settled(id, settled);
            }
            Done::Captured(id, capture) => {
                self.capturing -= 1;
                // What was accepted before the cut comes first.
                self.take_messages();
                let inbox = Arc::clone(&self.inbox);
                if let Some(lane) = self.lane(id) {
                    let entities = saving::take(lane, capture, &inbox);
                    self.report.captured(entities);
                }
                self.begin_capture(id);
            }
        }
    }

    fn initialised(&mut self, info: StoreInfo) {
        tracing::info!(
            target: "aqevia_storage::controller",
            engine = info.engine,
            "the store is there"
        );
        // It is initialised once: there is no other before it.
        drop(self.inbox.info().set(info));
        self.init = None;
        let now = Instant::now();
        self.lanes.values_mut().for_each(|lane| lane.hurry(now));
    }
}

/// What a job came to.
#[derive(Debug)]
pub(super) enum Done {
    Initialised(Result<StoreInfo>),
    Claimed(LaneId, Result<Claim>),
    Captured(LaneId, Capture),
}

/// Initialises a store that was away.
async fn init_store(store: Arc<dyn StorageBackend>, inbox: Arc<Inbox>) -> Done {
    let policy = inbox.config().schema_policy;
    let init = tokio::spawn(async move { store.init(policy).await });
    Done::Initialised(init.await.unwrap_or_else(|error| Err(panicked(error))))
}

/// Claims a world that was adopted, if it stands at `head`.
async fn claim(
    store: Arc<dyn StorageBackend>,
    inbox: Arc<Inbox>,
    lane: LaneId,
    world: WorldId,
    head: Sequence,
) -> Done {
    let claim = tokio::spawn(async move { claim_at(&*store, &inbox, &world, head).await });
    let claim = claim.await.unwrap_or_else(|error| Err(panicked(error)));
    Done::Claimed(lane, claim)
}

async fn claim_at(
    store: &dyn StorageBackend,
    inbox: &Inbox,
    world: &WorldId,
    head: Sequence,
) -> Result<Claim> {
    let config = inbox.config();
    // A claim would fence whoever writes the world: where it stands is read first.
    let page = store
        .log(world, LogRange::after(head), Limit::items(1))
        .await?;
    if page.head == head {
        let claim = store.claim(world, &config.owner, config.schema.fingerprint());
        let claim = claim.await?;
        if claim.head == head {
            return Ok(claim);
        }
    }
    Err(Error::new(
        ErrorKind::Fenced,
        format!(
            "adopt world {world:?} at sequence {head}: another has written to it since; open it \
             and read its state"
        ),
    ))
}

/// Captures what is dirty in a world, on a thread that may block.
async fn capture_world(
    source: Arc<dyn StateSource>,
    world: Arc<WorldShared>,
    inbox: Arc<Inbox>,
) -> Done {
    let lane = world.lane();
    let lost = Arc::clone(&world);
    let captured = tokio::task::spawn_blocking(move || capture(&*source, world, &inbox)).await;
    Done::Captured(lane, captured.unwrap_or_else(|_| Capture::lost(lost)))
}

fn panicked(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Ambiguous, "the backend panicked").with_source(error)
}
