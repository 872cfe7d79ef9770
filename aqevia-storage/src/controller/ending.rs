//! How the flush loop ends: what is left, and where it goes.

use std::sync::Arc;

use tokio::time::Instant;

use super::flush::FlushLoop;
use super::health::Health;
use super::lane::{Lane, LaneId};
use super::shared::Unpersisted;
use super::ticket::Unflushed;
use crate::{Error, ErrorKind, Result};

impl FlushLoop {
    /// Stops what is left, closes the store, and tells the outcome.
    pub(super) async fn end(&mut self) {
        if self.flushing.take().is_some() {
            self.lanes.values_mut().for_each(Lane::doubt);
        }
        let left = self.leave();
        let closed = self.close_store().await;
        self.outcome.send_replace(Some(match (left, closed) {
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(Unflushed::nothing(error)),
            (Some(left), _) => Err(left),
        }));
    }

    async fn close_store(&self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let deadline = self.inbox.deadline().unwrap_or_else(Instant::now);
        // A task of its own: a panic in it must not take what is left along.
        let closing = tokio::spawn(async move { store.close().await });
        match tokio::time::timeout_at(deadline, closing).await {
            Ok(Ok(closed)) => closed,
            Ok(Err(error)) => {
                let message = "close the store: the backend panicked";
                Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
            }
            Err(_) => Err(late("close the store")),
        }
    }

    /// Everything that was accepted and is not in the store, with the first reason; `None` if
    /// there is nothing.
    fn leave(&mut self) -> Option<Unflushed> {
        self.take_messages();
        self.wake_all();
        let mut causes: Vec<Error> = self.stopped.iter().filter_map(|w| w.reason()).collect();
        let mut dirty = Vec::new();
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in lanes {
            let Some(lane) = self.lanes.get(&id) else {
                continue;
            };
            // Whatever is marked or captured after this is refused.
            let marked = lane.world().seal_dirty();
            if lane.is_idle() && marked.is_empty() && !lane.world().has_unpersisted() {
                lane.world().end();
                continue;
            }
            let cause = match lane.is_idle() && marked.is_empty() {
                true => Error::closed("what was left of a world opened again was not taken"),
                false => reason(lane),
            };
            let world = lane.world().id().clone();
            dirty.extend(marked.into_iter().map(|entity| (world.clone(), entity)));
            let ended = Error::closed("the controller ended before the group was persisted");
            self.stop(id, &ended.with_source(cause.clone()));
            causes.push(cause);
        }
        let mut left = Unpersisted::default();
        for world in &self.stopped {
            let mut of_world = world.take_unpersisted();
            let kept = of_world.dirty.drain(..);
            dirty.extend(kept.map(|entity| (world.id().clone(), entity)));
            left.extend(of_world);
        }
        let error = causes.into_iter().next()?;
        Some(Unflushed {
            error,
            pending: left.pending,
            in_doubt: left.in_doubt,
            dirty,
        })
    }
}

impl Drop for FlushLoop {
    /// Lets nobody wait for a loop that ended by a panic.
    fn drop(&mut self) {
        self.inbox.close();
        let cause = Error::closed("the controller has ended");
        match *self.outcome.borrow() {
            Some(_) => self.report.ended(cause),
            None => self.report.stand(Health::Stopped { cause }),
        }
        self.report.open_worlds(0);
        #[cfg(feature = "metrics")]
        self.report.record_metrics(&self.inbox);
        if self.outcome.borrow().is_some() {
            return;
        }
        self.lanes.values_mut().for_each(Lane::doubt);
        let ended = || Error::closed("the flush loop ended before its time");
        let left = self.leave();
        let left = left.unwrap_or_else(|| Unflushed::nothing(ended()));
        self.outcome.send_replace(Some(Err(left)));
    }
}

/// Why a lane still holds something when the end has come.
fn reason(lane: &Lane) -> Error {
    if let Some(error) = lane.last_error() {
        return error.clone();
    }
    if lane.is_idle() && lane.world().has_unpersisted() {
        let world = lane.world().id();
        return Error::closed(format!(
            "what world {world:?} left when it was stopped was not taken from its new handle"
        ));
    }
    match lane.is_idle() {
        true => Error::invalid(format!(
            "capture dirty entities of world {:?}: the state source did not give them, or there is \
             none",
            lane.world().id()
        )),
        false => late("persist what was accepted"),
    }
}

fn late(doing: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{doing}: the shutdown timeout ran out"),
    )
}
