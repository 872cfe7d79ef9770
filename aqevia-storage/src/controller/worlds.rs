//! Which worlds are open, or being opened.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::world::World;
use crate::WorldId;

/// The worlds of a controller, by their names.
#[derive(Debug, Default)]
pub(super) struct Worlds(Mutex<HashMap<WorldId, Arc<Place>>>);

/// Where a world is, or will be once it is claimed.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) world: OnceCell<World>,
    /// The same world until it was stopped.
    pub(super) before: Option<World>,
}

impl Place {
    /// The world, also one that was stopped and is not open again.
    fn latest(&self) -> Option<&World> {
        self.world.get().or(self.before.as_ref())
    }
}

impl Worlds {
    /// The place of a world: the one there is, or another after one that was stopped.
    pub(super) fn place(&self, id: &WorldId) -> Arc<Place> {
        let mut places = self.lock();
        let place = places.entry(id.clone()).or_default();
        let world = place.world.get();
        if let Some(before) = world.filter(|world| world.stopped().is_some()).cloned() {
            *place = Arc::new(Place {
                world: OnceCell::new(),
                before: Some(before),
            });
        }
        Arc::clone(place)
    }

    pub(super) fn find(&self, id: &WorldId) -> Option<World> {
        self.lock().get(id)?.latest().cloned()
    }

    pub(super) fn all(&self) -> BTreeMap<WorldId, World> {
        let places = self.lock();
        let worlds = places
            .iter()
            .filter_map(|(id, place)| Some((id.clone(), place.latest()?.clone())));
        worlds.collect()
    }

    /// Does something before anybody finds another world.
    pub(super) fn meanwhile<T>(&self, act: impl FnOnce() -> T) -> T {
        let _places = self.lock();
        act()
    }

    /// Forgets the place of a world that could not be opened, unless somebody else still tries.
    pub(super) fn forget_empty(&self, id: &WorldId, place: &Arc<Place>) {
        let mut places = self.lock();
        let same = places.get(id).is_some_and(|at| Arc::ptr_eq(at, place));
        // That of the map, and the one given.
        let alone = Arc::strong_count(place) == 2;
        if same && alone && place.latest().is_none() {
            places.remove(id);
        }
    }

    /// Forgets a world that was closed.
    pub(super) fn forget_closed(&self, world: &World) {
        let mut places = self.lock();
        let same = |place: &Arc<Place>| place.latest().is_some_and(|at| at.is(world));
        // A world that was closed with something left stays, for whoever opens it again; what one
        // left that was stopped otherwise is its handle's, and `shutdown` tells of it.
        let done = world.stopped().is_some() && !(world.is_closed() && world.has_unpersisted());
        if places.get(world.id()).is_some_and(same) && done {
            places.remove(world.id());
        }
    }

    /// How many worlds there is a place for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorldId, Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
