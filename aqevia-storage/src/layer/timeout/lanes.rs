//! The order of writes in each world.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard};
use tokio::task::unconstrained;

use crate::{Batch, WorldId};

/// A queue for each world that is being written to; what stands first in it is in the store.
#[derive(Default)]
pub(super) struct Lanes(Mutex<BTreeMap<WorldId, Weak<Queue<()>>>>);

/// A place in the queue of a world.
pub(super) enum Turn {
    Now(OwnedMutexGuard<()>),
    Later(Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>),
}

impl Turn {
    /// Takes the last place in a queue, at once and not when it is first waited for.
    fn take(lane: Arc<Queue<()>>) -> Self {
        // Unconstrained: the place has to be taken, even if the task has used up its budget.
        let mut turn = Box::pin(unconstrained(lane.lock_owned()));
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Self::Now(place),
            Poll::Pending => Self::Later(turn),
        }
    }

    /// Waits for the writes before; the world is free for as long as the guard is kept.
    pub(super) async fn come(self) -> OwnedMutexGuard<()> {
        match self {
            Self::Now(place) => place,
            Self::Later(turn) => turn.await,
        }
    }
}

impl Lanes {
    /// Takes the last place in a world's queue.
    pub(super) fn queue(&self, world: &WorldId) -> Turn {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_empty(&mut lanes);
        Turn::take(lane(&mut lanes, world))
    }

    /// Takes a place for each part. Those of free worlds stay together, each other is by itself.
    pub(super) fn divide(&self, batch: &Batch) -> Vec<(Batch, Vec<Turn>)> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_empty(&mut lanes);
        let (mut free, mut turns) = (Vec::new(), Vec::new());
        let mut shares = Vec::new();
        for part in batch.parts() {
            match Turn::take(lane(&mut lanes, part.world())) {
                turn @ Turn::Now(_) => {
                    free.push(Arc::clone(part));
                    turns.push(turn);
                }
                turn @ Turn::Later(_) => {
                    let alone = Batch::share(vec![Arc::clone(part)]);
                    shares.push((alone, vec![turn]));
                }
            }
        }
        if !free.is_empty() {
            shares.push((Batch::share(free), turns));
        }
        shares
    }
}

/// Bounds the map by the writes under way.
fn forget_empty(lanes: &mut BTreeMap<WorldId, Weak<Queue<()>>>) {
    lanes.retain(|_, lane| lane.strong_count() > 0);
}

fn lane(lanes: &mut BTreeMap<WorldId, Weak<Queue<()>>>, world: &WorldId) -> Arc<Queue<()>> {
    if let Some(lane) = lanes.get(world).and_then(Weak::upgrade) {
        return lane;
    }
    let lane = Arc::new(Queue::new(()));
    lanes.insert(world.clone(), Arc::downgrade(&lane));
    lane
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_given_in_the_order_they_were_taken() {
        let lanes = Lanes::default();
        let world = WorldId::new("arda").unwrap();
        let [first, second, third] = [(); 3].map(|()| lanes.queue(&world));
        let order = Mutex::new(Vec::new());
        let come = async |name: &'static str, turn: Turn| {
            let place = turn.come().await;
            order.lock().unwrap().push(name);
            drop(place);
        };
        tokio::join!(
            come("third", third),
            come("second", second),
            come("first", first)
        );
        assert_eq!(*order.lock().unwrap(), ["first", "second", "third"]);
    }

    #[test]
    fn worlds_that_nobody_writes_to_are_forgotten() {
        let lanes = Lanes::default();
        for name in ["arda", "valinor"] {
            drop(lanes.queue(&WorldId::new(name).unwrap()));
        }
        assert_eq!(lanes.0.lock().unwrap().len(), 1);
    }
}
