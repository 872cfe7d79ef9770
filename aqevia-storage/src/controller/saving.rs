//! Where a world is with the capture of its dirty entities.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::capture::Capture;
use super::entity::Entity;
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

impl Save {
    fn add(&mut self, more: Self) {
        self.entities += more.entities;
        self.tickets.extend(more.tickets);
        if let Some(failure) = more.failure {
            self.failure.get_or_insert(failure);
        }
    }
}

/// How long what was accepted before a cut waits for what the capture gives, and with it all that
/// came later. What a slower source gives is not used: it is asked again.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// With how many who wait for the next capture it is looked whether all of them still do.
const WAITERS_MAX: usize = 64;

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
    /// What came of the captures so far that those wait for.
    so_far: Save,
    /// How many entities that were dirty when these began are still to be captured.
    left: usize,
    /// Another is wanted after this one.
    again: bool,
    /// Since when the first of what was captured and is not persisted was dirty.
    since: Option<Instant>,
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
        if self.next.len() >= WAITERS_MAX {
            // Those of futures that were dropped, while the store is away.
            self.next.retain(|waiter| !waiter.is_closed());
        }
        self.next.extend(waiter);
    }

    /// Since when the first of what was captured and is not persisted was dirty.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether no capture is to begin before the one that is under way has ended.
    pub(super) const fn is_at_rest(&self) -> bool {
        self.under_way || !self.again
    }

    /// Answers the first who waits. One capture answers one; the others get the next, which finds
    /// little to do.
    fn answer(&mut self) {
        let save = std::mem::take(&mut self.so_far);
        let mut waiters = std::mem::take(&mut self.waiters).into_iter();
        if let Some(waiter) = waiters.next() {
            // Nobody may be waiting any more.
            drop(waiter.send(save));
        }
        self.next.extend(waiters);
        self.again |= !self.next.is_empty();
    }

    /// Whether a capture is wanted and may begin. It has begun then.
    pub(super) fn begin(&mut self) -> bool {
        if self.under_way || !self.again {
            return false;
        }
        self.under_way = true;
        self.again = false;
        if self.left == 0 {
            self.waiters = std::mem::take(&mut self.next);
        }
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
        self.since = None;
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
    saving.left = 0;
    let told = || Save {
        failure: (!nothing).then(failure),
        ..Save::default()
    };
    let mut first = std::mem::take(&mut saving.so_far);
    first.add(told());
    let mut save = Some(first);
    for waiter in saving.waiters.drain(..) {
        // Nobody may be waiting any more.
        drop(waiter.send(save.take().unwrap_or_else(told)));
    }
}

/// Takes what a capture gave into a lane. How many entities are to be persisted.
pub(super) fn take(lane: &mut Lane, mut capture: Capture, inbox: &Inbox) -> usize {
    let cut = lane.saving().cut.take();
    refuse_what_never_fits(&mut capture, inbox);
    let mut save = Save::default();
    let mut records = std::mem::take(&mut capture.records);
    let mut groups = Vec::new();
    if let Some((behind, _)) = cut {
        let before = lane.size_of_first(behind);
        let join = fits_a_part(before, &records, inbox);
        while let Some(mut group) = next_group(lane, &mut records, capture.since, inbox) {
            let (answer, ticket) = Ticket::new();
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
        capture.fail(ErrorKind::Backpressure, matter);
    }
    save.failure = capture.failure.take();
    let done = records.is_empty() && cut.is_some();
    mark_again(lane, &mut capture, records, inbox);

    let (entities, now) = (save.entities, capture.since);
    let saving = lane.saving();
    saving.under_way = entities > 0;
    saving.since = (entities > 0).then_some(now);
    saving.left = match saving.left {
        _ if !done => 0,
        0 => capture.rest,
        left => left.saturating_sub(capture.asked),
    };
    saving.so_far.add(save);
    match saving.left {
        0 => saving.answer(),
        _ => saving.again = true,
    }
    entities
}

/// What is larger than a part or the whole buffer stays dirty, and keeps nothing else back.
fn refuse_what_never_fits(capture: &mut Capture, inbox: &Inbox) {
    let config = inbox.config();
    let bytes_max = config.batch_bytes_max.min(config.pending_bytes_max);
    let larger = capture
        .records
        .extract_if(.., |record| record.bytes() > bytes_max);
    let larger: Vec<_> = larger.collect();
    for record in larger {
        let Some(entity) = entity(&record) else {
            continue;
        };
        let (bytes, Entity { collection, key }) = (record.bytes(), &entity);
        let matter = format!(
            "key {key:?} of {collection:?} has {bytes} bytes, at most {bytes_max} fit a group"
        );
        capture.fail(ErrorKind::Invalid, &matter);
        capture.failed.push(entity);
    }
}

fn entity(record: &WorldRecord) -> Option<Entity> {
    Some(Entity {
        collection: record.collection.clone(),
        key: record.key()?.clone(),
    })
}

/// Ends a capture: what it did not give, and the records that are not used, are dirty still.
fn mark_again(lane: &Lane, capture: &mut Capture, records: Vec<WorldRecord>, inbox: &Inbox) {
    let world = lane.world();
    // Order matters: the engine waits for nothing while these are dropped.
    let captured = world.lock_dirty().end_capture();
    inbox.forget_dirty(captured.len());
    if let Some(room) = captured.into_room() {
        let unused = world.lock_dirty().reuse(room);
        drop(unused);
    }
    let mut again = std::mem::take(&mut capture.failed);
    again.extend(records.iter().filter_map(entity));
    if again.is_empty() {
        return;
    }
    let mut dirty = world.lock_dirty();
    let none = dirty.since().is_none();
    let marked = again
        .iter()
        .filter(|entity| dirty.mark_again(entity, capture.since));
    // A world that is sealed marks none, and tells of them itself.
    let marked = marked.count();
    inbox.count_dirty(&dirty, marked);
    let since = dirty.since();
    drop(dirty);
    if let Some(since) = since.filter(|_| none) {
        inbox.note_dirty(world, since);
    }
}

fn fits_a_part(mut size: Pending, records: &[WorldRecord], inbox: &Inbox) -> bool {
    let config = inbox.config();
    size.add(Pending {
        records: records.len(),
        bytes: records.iter().map(WorldRecord::bytes).sum(),
        marks: 0,
    });
    size.records <= config.batch_records_max && size.bytes <= config.batch_bytes_max
}

/// As many records as fit a part, and for which the buffer has room.
fn next_group(
    lane: &Lane,
    records: &mut Vec<WorldRecord>,
    since: Instant,
    inbox: &Inbox,
) -> Option<Group> {
    let config = inbox.config();
    let sizes = records.iter().scan(Pending::default(), |size, record| {
        size.add(Pending {
            records: 1,
            bytes: record.bytes(),
            marks: 0,
        });
        Some(*size)
    });
    let fits = |size: &Pending| {
        size.records <= config.batch_records_max && size.bytes <= config.batch_bytes_max
    };
    let sizes: Vec<Pending> = sizes.take_while(fits).collect();
    let count = inbox.reserve(&sizes);
    let size = sizes.get(count.checked_sub(1)?)?;
    let rest = records.split_off(count);
    Some(Group {
        world: std::sync::Arc::clone(lane.world()),
        records: std::mem::replace(records, rest),
        bytes: size.bytes,
        answer: None,
        urgency: Urgency::Deferred,
        accepted_at: since,
        joined: false,
        kind: Kind::Captured,
    })
}
