//! Eviction: the worlds that nobody uses, saved first, the one first that was used least recently.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::config::Evicted;
use super::loading::save;
use super::shelf::Closing;
use super::victim::Victim;
use crate::{Result, World, WorldId};

/// How long a pass of eviction waits for worlds to be saved. What takes longer stays in memory; it
/// is saved all the same, and a later pass finds it clean.
const SAVE_WAIT_MAX: Duration = Duration::from_secs(5);

/// The most worlds that are being saved at once, so that they share batches.
const SAVES_AT_ONCE: usize = 64;

/// What came of a world that was to be evicted.
enum Outcome {
    Gone(usize),
    Stays,
    Unsaved,
}

impl<W: Send + Sync + 'static> Shared<W> {
    /// Evicts after what runs already. Of several that wait to do this, one is enough.
    pub(super) async fn evict_soon(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::Relaxed) {
            return;
        }
        let _one = self.passes.lock().await;
        // Order matters: who finds this unset is seen by the pass, or waits for another.
        self.queued.store(false, Ordering::Relaxed);
        self.pass().await;
    }

    /// Evicts after what runs already.
    pub(super) async fn evict(self: Arc<Self>) -> Evicted {
        let _one = self.passes.lock().await;
        self.pass().await
    }

    async fn pass(self: &Arc<Self>) -> Evicted {
        self.measure();
        let deadline = Instant::now() + SAVE_WAIT_MAX;
        let mut tried: HashSet<WorldId> = HashSet::new();
        let mut evicted = Evicted::default();
        loop {
            let victims = self.lock().victims(&self.config, &tried, SAVES_AT_ONCE);
            if victims.is_empty() {
                #[cfg(feature = "metrics")]
                self.record_metrics();
                return evicted;
            }
            // Each is tried once, so that this comes to an end.
            tried.extend(victims.iter().map(|victim| victim.world.id().clone()));
            self.evict_all(victims, deadline, &mut evicted).await;
        }
    }

    async fn evict_all(
        self: &Arc<Self>,
        victims: Vec<Victim>,
        deadline: Instant,
        evicted: &mut Evicted,
    ) {
        let mut saves = Vec::new();
        for victim in victims {
            match self.evict_one(&victim).await {
                Outcome::Unsaved => match self.begin_save(&victim, deadline) {
                    Some(save) => saves.push((victim, save)),
                    None => evicted.add(&victim, Outcome::Stays),
                },
                outcome => evicted.add(&victim, outcome),
            }
        }
        for (victim, save) in saves {
            let saved = timeout_at(deadline, save).await;
            let outcome = match saved {
                Ok(Ok(Ok(()))) => self.evict_one(&victim).await,
                Ok(Ok(Err(error))) => {
                    let world = victim.world.id();
                    tracing::warn!(
                        target: "aqevia_storage::cache",
                        %world,
                        %error,
                        "world not saved, so it is not evicted"
                    );
                    Outcome::Stays
                }
                _ => Outcome::Stays,
            };
            evicted.add(&victim, outcome);
        }
    }

    /// Begins to save a world, unless the last save of it has not ended or there is no time.
    fn begin_save(&self, victim: &Victim, deadline: Instant) -> Option<JoinHandle<Result<()>>> {
        if deadline <= Instant::now() || victim.world.stopped().is_some() {
            return None;
        }
        let slot = self.lock().slot(victim)?;
        let mut usage = slot.usage();
        if usage.save.as_ref().is_some_and(|save| !save.is_finished()) {
            return None;
        }
        let world = victim.world.clone();
        let saving = tokio::spawn(async move { save(&world).await });
        usage.save = Some(saving.abort_handle());
        Some(saving)
    }

    /// Evicts a world if nobody uses it and nothing of it is unsaved.
    async fn evict_one(self: &Arc<Self>, victim: &Victim) -> Outcome {
        let begin = Instant::now();
        let leaving = match self.lock().begin_closing(victim) {
            Closing::CalledOff => return Outcome::Stays,
            Closing::Unsaved => return Outcome::Unsaved,
            Closing::Begun => Leaving {
                shared: Arc::clone(self),
                id: victim.world.id().clone(),
            },
        };
        if victim.world.stopped().is_none() && !self.close_if_clean(&victim.world).await {
            return Outcome::Unsaved;
        }
        let Some(slot) = self.lock().closed(&leaving.id) else {
            return Outcome::Stays;
        };
        let bytes = slot.usage().bytes;
        // Order matters: it is gone before anybody loads it anew.
        drop(slot);
        drop(leaving);
        tracing::info!(
            target: "aqevia_storage::cache",
            world = %victim.world.id(),
            why = ?victim.why,
            bytes,
            idle = ?begin.duration_since(victim.used_at),
            duration = ?begin.elapsed(),
            "world evicted"
        );
        Outcome::Gone(bytes)
    }

    /// Closes a world if nothing of it is unsaved; whether it did.
    async fn close_if_clean(&self, world: &World) -> bool {
        let begun = self.controller();
        let begun = begun.and_then(|controller| controller.begin_close(world));
        let Ok(answer) = begun else {
            return false;
        };
        let closed = answer.await.unwrap_or(false);
        if closed && let Ok(controller) = self.controller() {
            controller.let_go(world);
        }
        closed
    }

    /// Saves a world for a bounded time, and closes it; whether it did.
    pub(super) async fn save_and_close(&self, world: &World) -> bool {
        if world.stopped().is_some() || self.close_if_clean(world).await {
            return true;
        }
        let deadline = Instant::now() + SAVE_WAIT_MAX;
        let saved = timeout_at(deadline, save(world)).await;
        matches!(saved, Ok(Ok(()))) && self.close_if_clean(world).await
    }
}

/// A world that nobody gets until this is dropped. Then it is gone, or it stays.
struct Leaving<W: Send + Sync + 'static> {
    shared: Arc<Shared<W>>,
    id: WorldId,
}

impl<W: Send + Sync + 'static> Drop for Leaving<W> {
    fn drop(&mut self) {
        let answers = self.shared.lock().end_closing(&self.id);
        match answers {
            Some(answers) => answers.tell(),
            None => self.shared.begin_load(self.id.clone()),
        }
    }
}

impl Evicted {
    fn add(&mut self, victim: &Victim, outcome: Outcome) {
        match outcome {
            Outcome::Gone(bytes) => {
                self.worlds += 1;
                self.bytes += bytes;
            }
            Outcome::Stays | Outcome::Unsaved => {
                self.kept += 1;
                let world = victim.world.id();
                tracing::debug!(target: "aqevia_storage::cache", %world, "world not evicted");
            }
        }
    }
}
