//! A store, read row by row.

use std::collections::HashMap;
use std::iter;

use aqevia::{
    Limit, LogRange, LogRow, Page, Reads, StateRange, StateRow, StorageController, WorldId,
    WorldRange,
};

use super::halt::Halt;
use super::wait::Waiter;

/// Reads what a store holds, page by page, and ends when a signal comes.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    controller: &'a StorageController,
    waiter: &'a Waiter,
}

impl<'a> Stored<'a> {
    /// The store of a controller.
    #[must_use]
    pub const fn new(controller: &'a StorageController, waiter: &'a Waiter) -> Self {
        Self { controller, waiter }
    }

    /// The state of a world, in byte order of collection and key.
    pub fn state(self, world: &WorldId) -> impl Iterator<Item = Result<StateRow, Halt>> + use<'a> {
        let world = world.clone();
        rows(StateRange::all(), move |range| {
            let page = self.controller.state(&world, range, Limit::default());
            Ok(self.waiter.wait(page)??)
        })
    }

    /// The log of a world, in order of sequence.
    pub fn log(self, world: &WorldId) -> impl Iterator<Item = Result<LogRow, Halt>> + use<'a> {
        let world = world.clone();
        rows(LogRange::ALL, move |range| {
            let page = self.controller.log(&world, range, Limit::default());
            Ok(self.waiter.wait(page)??)
        })
    }
}

/// The rows of all pages that `read` gives.
fn rows<T, R>(
    all: R,
    read: impl Fn(R) -> Result<Page<T, R>, Halt>,
) -> impl Iterator<Item = Result<T, Halt>> {
    let mut items = Vec::new().into_iter();
    let mut next = Some(all);
    iter::from_fn(move || {
        loop {
            if let Some(item) = items.next() {
                return Some(Ok(item));
            }
            match read(next.take()?) {
                Ok(page) => (items, next) = (page.items.into_iter(), page.next),
                Err(halt) => return Some(Err(halt)),
            }
        }
    })
}

/// The head of each world of a store that has one.
///
/// # Errors
/// Those of [`StorageController::worlds`], or `Halt::Signal`.
pub fn heads(
    controller: &StorageController,
    waiter: &Waiter,
) -> Result<HashMap<WorldId, u64>, Halt> {
    let mut heads = HashMap::new();
    let mut next = Some(WorldRange::all());
    while let Some(range) = next {
        let page = waiter.wait(controller.worlds(range, Limit::default()))??;
        let worlds = page.items.into_iter();
        let worlds = worlds.map(|world| (world.world, world.head.get()));
        heads.extend(worlds.filter(|(_, head)| *head > 0));
        next = page.next;
    }
    Ok(heads)
}
