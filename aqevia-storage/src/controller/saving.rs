//! Where a world is with the capture of its dirty entities.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::capture::Capture;
use super::group::{Answer, Group, Kind, Pending, Urgency};
use super::inbox::Inbox;
use super::lane::Lane;
use super::ticket::Ticket;
use crate::{Error, ErrorKind, WorldRecord};

/// What [`World::save`](crate::World::save) waits for.
#[derive(Debug, Default)]
pub(super) struct Save {
    pub(super) entities: usize,
    pub(super) tickets: Vec<Ticket>,
    pub(super) failure: Option<Error>,
}

/// How long what was accepted before a cut waits for what the capture gives, and with it all that
/// came later. What a slower source gives is not used: it is asked again.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// The captures of one world. There is one at a time, until what it gave is persisted: while the
/// store is away, what is dirty stays a mark in a set.
#[derive(Debug, Default)]
pub(super) struct Saving {
    under_way: bool,
    /// How many groups waited at the cut, and when it was made.
    cut: Option<(usize, Instant)>,
    /// Who waits for the capture that is under way, and for the next.
    waiters: Vec<oneshot::Sender<Save>>,
    next: Vec<oneshot::Sender<Save>>,
    /// Another is wanted after this one.
    again: bool,
    /// Why the store refuses some of what was captured.
    refused: Option<Error>,
}

impl Saving {
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Somebody wants a capture.
    pub(super) fn ask(&mut self, waiter: Option<oneshot::Sender<Save>>) {
        self.again = true;
        self.next.extend(waiter);
    }

    /// Whether a capture is wanted and may begin. It has begun then.
    pub(super) fn begin(&mut self) -> bool {
        if self.under_way || !self.again {
            return false;
        }
        self.under_way = true;
        self.again = false;
        self.waiters = std::mem::take(&mut self.next);
        true
    }

    /// The buffer was cut, behind so many groups.
    pub(super) fn cut(&mut self, groups: usize) {
        self.cut = Some((groups, Instant::now()));
    }

    /// So many groups were put back before all others.
    pub(super) const fn put_back(&mut self, groups: usize) {
        if let Some((behind, _)) = &mut self.cut {
            *behind += groups;
        }
    }

    /// Until when nothing is flushed, so that it is in one part with what is captured.
    pub(super) fn holds_until(&self) -> Option<Instant> {
        self.cut.map(|(_, at)| at + HOLD_MAX)
    }

    /// The flush goes on without what is captured.
    pub(super) const fn let_go(&mut self) {
        self.cut = None;
    }

    /// The store refuses some of what was captured.
    pub(super) fn refused(&mut self, error: &Error) {
        self.refused = Some(error.clone());
    }

    /// Tells who waits for what was captured, if some of it was refused.
    pub(super) fn tell_refused(&self, answer: &mut Option<Answer>) {
        let Some(error) = &self.refused else {
            return;
        };
        if let Some(answer) = answer.take() {
            // Nobody may be waiting any more.
            drop(answer.send(Err(error.clone())));
        }
    }

    /// What was captured is in the store, or will never be.
    pub(super) fn end(&mut self) {
        self.under_way = false;
        self.refused = None;
    }

    /// Tells all who wait why they wait in vain.
    pub(super) fn stop(&mut self, error: &Error) {
        let waiters = std::mem::take(self);
        for waiter in waiters.waiters.into_iter().chain(waiters.next) {
            // Nobody may be waiting any more.
            drop(waiter.send(Save {
                failure: Some(error.clone()),
                ..Save::default()
            }));
        }
    }
}

/// Answers who waits for a capture that needs no source: `nothing` is dirty, or there is none.
pub(super) fn take_nothing(lane: &mut Lane, nothing: bool) {
    let world = lane.world().id().clone();
    let failure = || {
        Error::invalid(format!(
            "capture dirty entities of world {world:?}: there is no state source; set one with \
             `StorageController::set_state_source`"
        ))
    };
    let saving = lane.saving();
    saving.under_way = false;
    for waiter in saving.waiters.drain(..) {
        // Nobody may be waiting any more.
        drop(waiter.send(Save {
            failure: (!nothing).then(failure),
            ..Save::default()
        }));
    }
}

/// Takes what a capture gave into a lane. How many entities are to be persisted.
pub(super) fn take(lane: &mut Lane, capture: Capture, inbox: &Inbox) -> usize {
    let cut = lane.saving().cut.take();
    let mut save = Save {
        failure: capture.failure,
        ..Save::default()
    };
    let mut records = capture.records;
    let mut groups = Vec::new();
    if let Some((behind, _)) = cut {
        let before = lane.size_of_first(behind);
        let join = fits_a_part(before, &records, inbox);
        while let Some(group) = next_group(lane, &mut records, capture.since, inbox) {
            let (mut group, (answer, ticket)) = (group, Ticket::new());
            group.answer = Some(answer);
            save.entities += group.records.len();
            save.tickets.push(ticket);
            groups.push(group);
        }
        let join = join && records.is_empty() && !groups.is_empty();
        lane.insert(behind, groups, join);
        lane.release();
    }
    if !records.is_empty() {
        let matter = match cut {
            Some(_) => "the buffer has no room for what was captured",
            None => "the state source took too long",
        };
        save.failure.get_or_insert_with(|| {
            let message = format!(
                "capture dirty entities of world {:?}: {matter}",
                lane.world().id()
            );
            Error::new(ErrorKind::Backpressure, message)
        });
    }
    let dropped = records.into_iter().filter_map(|record| {
        let key = record.key().cloned()?;
        Some((record.collection, key))
    });
    let failed = capture
        .failed
        .into_iter()
        .map(|entity| (entity.collection, entity.key));
    let world = lane.world();
    // Order matters: the engine waits for nothing while these are dropped.
    let captured = world.lock_dirty().end_capture();
    inbox.forget_dirty(captured.len());
    drop(captured);
    for (collection, key) in failed.chain(dropped) {
        // A world that is sealed tells of them itself.
        if let Ok(Some(first)) = world.lock_dirty().mark(&collection, &key) {
            inbox.note_dirty(world, 1, first);
        }
    }
    let saving = lane.saving();
    saving.under_way = save.entities > 0;
    let entities = save.entities;
    let mut waiters = std::mem::take(&mut saving.waiters).into_iter();
    if let Some(waiter) = waiters.next() {
        // Nobody may be waiting any more.
        drop(waiter.send(save));
    }
    // One capture answers one waiter; the others get the next, which finds little to do.
    saving.next.extend(waiters);
    saving.again |= !saving.next.is_empty();
    entities
}

fn fits_a_part(mut size: Pending, records: &[WorldRecord], inbox: &Inbox) -> bool {
    let config = inbox.config();
    size.add(Pending {
        records: records.len(),
        bytes: records.iter().map(WorldRecord::bytes).sum(),
    });
    size.records <= config.batch_records_max && size.bytes <= config.batch_bytes_max
}

/// As many records as fit a part, for which the buffer has room.
fn next_group(
    lane: &Lane,
    records: &mut Vec<WorldRecord>,
    since: Instant,
    inbox: &Inbox,
) -> Option<Group> {
    let config = inbox.config();
    let mut size = Pending::default();
    let fitting = records.iter().take_while(|record| {
        size.add(Pending {
            records: 1,
            bytes: record.bytes(),
        });
        size.records <= config.batch_records_max && size.bytes <= config.batch_bytes_max
    });
    let count = fitting.count();
    let rest = records.split_off(count);
    let taken = std::mem::replace(records, rest);
    let size = Pending {
        records: taken.len(),
        bytes: taken.iter().map(WorldRecord::bytes).sum(),
    };
    if taken.is_empty() {
        return None;
    }
    if !inbox.reserve(size) {
        records.splice(0..0, taken);
        return None;
    }
    Some(Group {
        world: std::sync::Arc::clone(lane.world()),
        records: taken,
        bytes: size.bytes,
        answer: None,
        urgency: Urgency::Deferred,
        accepted_at: since,
        joined: false,
        kind: Kind::Captured,
    })
}
