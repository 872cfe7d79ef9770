//! What the writer and the readers of a store share: its trees, and the order between them.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aqevia_storage::{Error, ErrorKind, Result, WorldId, step};

use crate::engine::{Changes, Edited, Engine, Failure, StateTrees, caught};
use crate::folder::Folder;
use crate::{lock, room};

/// A store that is open, has failed, or is closed.
///
/// **Invariant (clause R5): a page is read while the gate is open to readers, and a transaction is
/// committed while it is open to the writer alone.** sled shows the rows of a transaction to
/// iterators one by one; behind the gate no reader sees a part half, nor a head that does not
/// belong to its rows. The commit is in memory only: the gate is let go before the disk is waited
/// for, so a page waits for a transaction and never for a sync. What a page shows may so be lost
/// by a crash until its writer has the receipt, which the contract leaves open.
#[derive(Debug)]
pub(crate) struct Shared {
    gate: RwLock<Gate>,
    /// How often the store has failed. It changes only while the gate is open to the writer alone.
    failures: AtomicU64,
    /// How many views of each world are open: a world in here is not written (clause R7).
    held: Mutex<HashMap<WorldId, usize>>,
    folder: Folder,
    cache_mib: usize,
}

#[derive(Debug)]
enum Gate {
    Open(Engine),
    Failed(Failure),
    Closed,
}

impl Gate {
    fn engine(&self) -> Result<&Engine> {
        match self {
            Self::Open(engine) => Ok(engine),
            Self::Failed(failure) => Err(failed(failure)),
            Self::Closed => Err(Error::closed("the store is closed")),
        }
    }
}

/// Why a transaction was not committed.
pub(crate) enum Stop {
    /// It was not begun.
    Refused(Error),
    /// It is in doubt.
    Failed(Failure),
}

impl Shared {
    pub(crate) fn new(engine: Engine, folder: Folder, cache_mib: usize) -> Self {
        Self {
            gate: RwLock::new(Gate::Open(engine)),
            failures: AtomicU64::new(0),
            held: Mutex::default(),
            folder,
            cache_mib,
        }
    }

    /// Reads with nobody committing. What is read belongs together.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
        read(self.gate().engine()?)
    }

    /// Reads as [`Shared::read`] does, if the store has not failed since it had failed so often.
    ///
    /// A store that failed may hold less than a view of it has shown.
    pub(crate) fn read_since<T>(
        &self,
        failures: u64,
        read: impl FnOnce(&Engine) -> Result<T>,
    ) -> Result<T> {
        self.read(|engine| {
            if self.failures() != failures {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "a write has failed since it began, and what it has read may be gone: begin \
                     another",
                ));
            }
            read(engine)
        })
    }

    /// How often the store has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Refuses to write so many bytes of records where there may be no room for them.
    pub(crate) fn check_room(&self, bytes: usize) -> Result<()> {
        room::check(self.folder.path(), bytes)
    }

    /// Commits a transaction in memory that leaves log and state as they are.
    pub(crate) fn commit(&self, changes: &Changes) -> Result<(), Stop> {
        let gate = self.gate_alone();
        let engine = gate.engine().map_err(Stop::Refused)?;
        engine.commit(changes, |_| Ok(()))
    }

    /// Commits a transaction to worlds in memory, unless one is held. See [`Engine::commit`].
    pub(crate) fn commit_to<'a>(
        &self,
        mut worlds: impl Iterator<Item = &'a WorldId>,
        changes: &Changes,
        edit: impl Fn(StateTrees<'_>) -> Edited,
    ) -> Result<(), Stop> {
        let gate = self.gate_alone();
        let engine = gate.engine().map_err(Stop::Refused)?;
        let is_held = {
            let held = self.held();
            worlds.any(|world| held.contains_key(world))
        };
        if is_held {
            return Err(Stop::Refused(Error::new(
                ErrorKind::Unavailable,
                "a snapshot of the world is open, and sled cannot write beside it: try again when \
                 it is dropped, which snapshot_age_max_ms bounds",
            )));
        }
        engine.commit(changes, edit)
    }

    /// Makes durable what was committed before.
    pub(crate) fn sync(&self) -> Result<(), Stop> {
        let gate = self.gate();
        let engine = gate.engine().map_err(Stop::Refused)?;
        engine.sync().map_err(Stop::Failed)
    }

    /// Keeps a world from being written until as many [`Shared::end_hold`] as this have followed.
    ///
    /// The answer is how often the store has failed.
    pub(crate) fn begin_hold(&self, world: &WorldId) -> Result<u64> {
        // A commit is before or after this, and what comes after sees the hold.
        self.read(|_| {
            *self.held().entry(world.clone()).or_default() += 1;
            Ok(self.failures())
        })
    }

    pub(crate) fn end_hold(&self, world: &WorldId) {
        let mut held = self.held();
        if let Some(count) = held.get_mut(world) {
            *count -= 1;
            if *count == 0 {
                held.remove(world);
            }
        }
    }

    /// Closes sled after a failure: its pages in memory may be what no disk has.
    pub(crate) fn fail(&self, failure: &Failure) {
        let mut gate = self.gate_alone();
        self.failures.fetch_add(1, Ordering::AcqRel);
        let before = mem::replace(&mut *gate, Gate::Failed(failure.clone()));
        // sled that has panicked may do so again on its way out, and is closed all the same.
        let _ = caught(|| drop(before));
    }

    /// Opens sled again if it failed for want of room, and so finds out what the disk has.
    ///
    /// # Errors
    /// `Unavailable` or `Full` if it cannot go on; nothing was written.
    pub(crate) fn mend(&self) -> Result<()> {
        let failure = match &*self.gate() {
            Gate::Failed(failure) => failure.clone(),
            other => return other.engine().map(drop),
        };
        let free = failure.for_want_of_room && lock::is_free(&self.folder.data())?;
        if !free {
            return Err(failed(&failure));
        }
        step("store: reopening");
        let engine = Engine::open(&self.folder, self.cache_mib);
        let engine = engine.map_err(|error| {
            Error::new(error.kind(), format!("open it again: {error}")).with_source(error)
        })?;
        if let Err(failure) = caught(|| engine.sync_recovered()).flatten() {
            let _ = caught(|| drop(engine));
            self.fail(&failure);
            return Err(failed(&failure));
        }
        self.replace(Gate::Open(engine));
        Ok(())
    }

    /// Closes sled, when the pages that are being read are. Closing again does nothing.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        match self.replace(Gate::Closed) {
            // It is dropped in there too, which may panic as well.
            Gate::Open(engine) => caught(move || engine.sync()).flatten(),
            _ => Ok(()),
        }
    }

    fn replace(&self, by: Gate) -> Gate {
        mem::replace(&mut *self.gate_alone(), by)
    }

    fn gate(&self) -> RwLockReadGuard<'_, Gate> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate_alone(&self) -> RwLockWriteGuard<'_, Gate> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<WorldId, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(failure: &Failure) -> Error {
    let matter = match failure.for_want_of_room {
        true => "a write found no room, and the store is closed until one does: make room",
        false => {
            "a write failed, and what the disk has is not known: look for the cause, then close \
             the store and open it again"
        }
    };
    Error::new(ErrorKind::Unavailable, matter).with_source(failure.error.clone())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;

    use super::*;
    use aqevia_storage::Owner;

    use crate::stamp;
    use crate::world::World;
    use crate::writer::tests::hear_steps;

    pub(crate) fn arda() -> WorldId {
        WorldId::new("arda").unwrap()
    }

    /// A store with one world, which nobody has claimed.
    pub(crate) fn shared(folder: &tempfile::TempDir) -> Shared {
        shared_in(Folder::at(folder.path()).unwrap())
    }

    /// The same in a folder that is synced by a disk of its own.
    pub(crate) fn shared_in(folder: Folder) -> Shared {
        hear_steps();
        stamp::begin(&folder).unwrap();
        let engine = Engine::create(&folder, 1).unwrap();
        let shared = Shared::new(engine, folder, 1);
        let mut changes = Changes::default();
        let world = World::unclaimed(Owner::new("test").unwrap());
        changes.worlds.insert(arda().as_str(), world.value());
        let Ok(()) = shared.commit(&changes) else {
            panic!("the store is open");
        };
        let Ok(()) = shared.sync() else {
            panic!("there is room");
        };
        shared
    }

    /// Makes a store fail for want of room, and waits until it can be opened again.
    pub(crate) fn fail_for_want_of_room(shared: &Shared) {
        shared.fail(&failure(true));
        wait_until_free(shared);
    }

    /// Waits until sled has let go of a store that was closed, which its threads take a moment for.
    pub(crate) fn wait_until_free(shared: &Shared) {
        let data = File::open(shared.folder.data()).unwrap();
        data.lock().unwrap();
        data.unlock().unwrap();
    }

    fn failure(for_want_of_room: bool) -> Failure {
        let error = Error::new(ErrorKind::Ambiguous, "on purpose");
        Failure {
            error,
            for_want_of_room,
        }
    }

    fn find(shared: &Shared) -> Result<Option<World>> {
        shared.read(|engine| World::find(engine, &arda()))
    }

    #[test]
    fn a_store_that_failed_says_what_to_do_and_stays_closed() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        shared.fail(&failure(false));
        for error in [find(&shared).unwrap_err(), shared.mend().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("open it again"), "{error}");
            assert!(format!("{error:?}").contains("on purpose"), "{error:?}");
        }
        let refused = shared.commit(&Changes::default());
        assert!(matches!(refused, Err(Stop::Refused(_))));
        assert!(shared.close().is_ok());
    }

    #[test]
    fn a_store_that_found_no_room_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        fail_for_want_of_room(&shared);
        let error = find(&shared).unwrap_err();
        assert!(error.to_string().contains("make room"), "{error}");
        shared.mend().unwrap();
        assert!(find(&shared).unwrap().is_some());
        shared.mend().unwrap();
    }

    #[test]
    fn a_view_ends_with_the_failure_of_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        let before = shared.begin_hold(&arda()).unwrap();
        fail_for_want_of_room(&shared);
        shared.mend().unwrap();
        let error = shared.read_since(before, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let after = shared.begin_hold(&arda()).unwrap();
        shared.read_since(after, |_| Ok(())).unwrap();
    }
}
