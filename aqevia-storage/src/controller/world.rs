//! The engine's side of an open world.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::group::{Answer, Group, Kind, Urgency};
use super::inbox::{Inbox, Message};
use super::saving::Save;
use super::shared::{Unpersisted, WorldShared};
use super::ticket::{Refused, Ticket};
use crate::{Claim, Collection, Error, Key, Receipt, Result, Sequence, WorldId, WorldRecord};

/// A world that this controller writes. Clones are the same world.
///
/// The calls may be made from any thread, with or without a runtime. A world that is fenced, or
/// whose store turns out to be damaged, is *stopped*: it refuses everything with that error until
/// it is opened again.
#[derive(Clone)]
pub struct World {
    shared: Arc<WorldShared>,
    inbox: Arc<Inbox>,
}

impl World {
    pub(super) const fn new(shared: Arc<WorldShared>, inbox: Arc<Inbox>) -> Self {
        Self { shared, inbox }
    }

    /// The world's name.
    #[must_use]
    pub fn id(&self) -> &WorldId {
        &self.shared.id
    }

    /// The head at which the world was opened: what the engine reads up to there is all there was.
    #[must_use]
    pub fn opened_at(&self) -> Sequence {
        self.shared.opened_at
    }

    /// What the claim found when the world was opened: its head, and the last part. `None` for a
    /// world that was adopted, until the store has been reached.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        self.shared.claim()
    }

    /// Hands over a group and returns at once (clauses C3, C4).
    ///
    /// A group without records resolves when everything accepted before it is durable.
    ///
    /// # Errors
    /// `Backpressure` at the bound of the buffer; `Invalid` if a record is of another world or
    /// over its limits, or the group larger than a part or the bound; `Closed` after shutdown; the
    /// error that stopped the world. The records are handed back.
    pub fn submit(&self, group: Vec<WorldRecord>) -> Result<Ticket, Refused> {
        self.hand_over(group, Urgency::Deferred)
    }

    /// Hands over one record without asking what becomes of it.
    ///
    /// # Errors
    /// As [`World::submit`].
    pub fn record(&self, record: WorldRecord) -> Result<(), Refused> {
        let bytes = match self.check(std::slice::from_ref(&record)) {
            Ok(bytes) => bytes,
            Err(error) => return Err(Refused::new(error, vec![record])),
        };
        self.push(vec![record], bytes, None, Urgency::Deferred)
    }

    /// Says that an entity has changed, and that its state is to be asked for when it is time to
    /// persist it: at the latest when `auto_save_interval` has passed since the first was marked
    /// (clause C9).
    ///
    /// This is an insertion into a set, and never waits. Marking what is marked already costs a
    /// lookup. An entity that is put with [`World::record`] needs no mark.
    ///
    /// # Errors
    /// The error that stopped the world; `Closed` after shutdown. The entity is not marked then.
    pub fn mark_dirty(&self, collection: &Collection, key: &Key) -> Result<()> {
        self.mark_all_dirty(collection, &[key])
    }

    /// [`World::mark_dirty`] for entities of one collection, under one lock: an engine that changes
    /// many of them in a tick spends less on each.
    ///
    /// # Errors
    /// As [`World::mark_dirty`]. None of the entities is marked then.
    pub fn mark_all_dirty(&self, collection: &Collection, keys: &[&Key]) -> Result<()> {
        if let Some(error) = self.stopped() {
            return Err(error.clone());
        }
        let mut dirty = self.shared.lock_dirty();
        let (count, first) = dirty.mark(collection, keys)?;
        self.inbox.count_dirty(&dirty, count);
        let since = dirty.since().filter(|_| first);
        drop(dirty);
        if let Some(since) = since {
            self.inbox.note_dirty(&self.shared, since);
        }
        Ok(())
    }

    /// Captures what is dirty now, and waits until it is durable. The number of entities.
    ///
    /// # Errors
    /// As [`World::commit`]; `Invalid` if something is dirty and there is no state source. After the
    /// rest is durable: `Invalid` if the source did not give what was asked for; why the store
    /// refuses an entity, for which a dead letter stands (clause C5).
    ///
    /// # Cancel safety
    /// The capture is under way when this is first polled; dropping the future gives up the answer.
    pub async fn save(&self) -> Result<usize> {
        self.begin_save()?.finish().await
    }

    /// Asks for a capture; what it gives is awaited later.
    pub(super) fn begin_save(&self) -> Result<SaveTicket> {
        if let Some(error) = self.stopped() {
            return Err(error.clone());
        }
        let (sender, answer) = oneshot::channel();
        let message = Message::Save(Arc::clone(&self.shared), sender);
        self.inbox.tell(message)?;
        Ok(SaveTicket(answer))
    }

    /// Hands over a group, starts a flush, and waits until the group is durable (clause C1).
    ///
    /// To get the records back when they are refused, use [`World::submit`].
    ///
    /// # Errors
    /// Those of [`World::submit`], and what stopped the world before the group was persisted.
    ///
    /// # Cancel safety
    /// The group is accepted when this is first polled; dropping the future gives up the answer.
    pub async fn commit(&self, group: Vec<WorldRecord>) -> Result<Receipt> {
        self.hand_over(group, Urgency::Now)?.await
    }

    /// [`World::commit`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`World::commit`].
    pub fn commit_blocking(&self, group: Vec<WorldRecord>) -> Result<Receipt> {
        super::block_on(self.commit(group))
    }

    /// The error that stopped the world, if one did.
    #[must_use]
    pub fn stopped(&self) -> Option<&Error> {
        self.shared.stopped.get()
    }

    /// Waits until something stops the world, and tells what did: `Closed` if the controller ended.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn wait_stopped(&self) -> Error {
        loop {
            let mut stopping = std::pin::pin!(self.shared.stopping.notified());
            // Order matters: what stops the world from here on wakes this.
            stopping.as_mut().enable();
            if let Some(error) = self.shared.end_of_writing() {
                return error;
            }
            stopping.await;
        }
    }

    /// Takes what was accepted and not persisted before the world was stopped, and what was dirty
    /// then. It counts for no bound and no exposure: an engine that opens worlds again takes it.
    ///
    /// What nobody takes, `shutdown` returns. A group that was accepted at the very moment of
    /// stopping may come later, but before a flush that begins afterwards has ended.
    #[must_use]
    pub fn take_unpersisted(&self) -> Unpersisted {
        self.shared.take_unpersisted()
    }

    pub(super) fn shared(&self) -> Arc<WorldShared> {
        Arc::clone(&self.shared)
    }

    /// Whether this and the other are handles of one opening.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether the world was closed, and not stopped by anything else.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Whether something is marked as dirty, or being captured.
    pub(crate) fn is_dirty(&self) -> bool {
        self.shared.lock_dirty().total() > 0
    }

    /// Whether something is kept that [`World::take_unpersisted`] returns.
    pub(crate) fn has_unpersisted(&self) -> bool {
        self.shared.has_unpersisted()
    }

    /// Takes over what was not persisted before the world was stopped and opened again.
    pub(super) fn inherit(&self, before: &Self) {
        self.shared.keep(before.take_unpersisted());
    }

    pub(super) fn hand_over(
        &self,
        records: Vec<WorldRecord>,
        urgency: Urgency,
    ) -> Result<Ticket, Refused> {
        let bytes = match self.check(&records) {
            Ok(bytes) => bytes,
            Err(error) => return Err(Refused::new(error, records)),
        };
        let (answer, ticket) = Ticket::new();
        self.push(records, bytes, Some(answer), urgency)?;
        Ok(ticket)
    }

    fn push(
        &self,
        records: Vec<WorldRecord>,
        bytes: usize,
        answer: Option<Answer>,
        urgency: Urgency,
    ) -> Result<(), Refused> {
        self.inbox.push(Group {
            world: Arc::clone(&self.shared),
            records,
            bytes,
            answer,
            urgency,
            accepted_at: Instant::now(),
            joined: false,
            kind: Kind::Given,
        })
    }

    /// Checks a group against everything but the room there is; its bytes.
    fn check(&self, group: &[WorldRecord]) -> Result<usize> {
        if let Some(error) = self.stopped() {
            return Err(error.clone());
        }
        let mut bytes = 0;
        for record in group {
            if record.world != self.shared.id {
                return Err(self.invalid(format!("a record is of world {:?}", record.world)));
            }
            if record.collection.is_ours() {
                let matter = format!("collection {:?} is not an engine's", record.collection);
                return Err(self.invalid(matter));
            }
            record.check()?;
            bytes += record.bytes();
        }
        let config = self.inbox.config();
        let records_max = config.batch_records_max.min(config.pending_records_max);
        let bytes_max = config.batch_bytes_max.min(config.pending_bytes_max);
        let records = group.len();
        if records > records_max || bytes > bytes_max {
            return Err(self.invalid(format!(
                "the group has {records} records and {bytes} bytes, at most {records_max} and \
                 {bytes_max} fit; submit it as several groups"
            )));
        }
        Ok(bytes)
    }

    fn invalid(&self, matter: String) -> Error {
        let world = &self.shared.id;
        Error::invalid(matter).context(format_args!("submit to world {world:?}"))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shared, f)
    }
}

/// A capture that was asked for.
pub(super) struct SaveTicket(oneshot::Receiver<Save>);

impl SaveTicket {
    /// Waits until what was captured is durable. The number of entities.
    pub(super) async fn finish(self) -> Result<usize> {
        let ended = |_| Error::closed("the controller ended before the world was saved");
        let save = self.0.await.map_err(ended)?;
        for ticket in save.tickets {
            ticket.await?;
        }
        save.failure.map_or(Ok(save.entities), Err)
    }
}
