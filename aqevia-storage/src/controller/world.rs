//! The engine's side of an open world.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::inbox::{Group, Inbox, Pending, Urgency};
use super::lane::LaneId;
use super::ticket::{Refused, Ticket};
use crate::{Claim, Error, Receipt, Result, WorldId, WorldRecord};

/// A world that this controller has claimed. Clones are the same world.
///
/// The calls may be made from any thread, with or without a runtime. A world that is fenced, or
/// whose store turns out to be damaged, is *stopped*: it refuses everything with that error until
/// it is opened again.
#[derive(Clone)]
pub struct World {
    shared: Arc<WorldShared>,
    inbox: Arc<Inbox>,
}

/// What an engine's handles and the flush loop know of a world.
pub(super) struct WorldShared {
    id: WorldId,
    lane: LaneId,
    claim: Claim,
    stopped: OnceLock<Error>,
    unpersisted: Mutex<Unpersisted>,
}

/// What was accepted for a world before it was stopped, and did not get into the store.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Unpersisted {
    /// The records that are not in the store, in their order.
    pub pending: Vec<WorldRecord>,
    /// The records of which it is not known whether they are in the store, in their order.
    pub in_doubt: Vec<WorldRecord>,
}

impl Unpersisted {
    pub(super) fn extend(&mut self, other: Self) {
        self.pending.extend(other.pending);
        self.in_doubt.extend(other.in_doubt);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.in_doubt.is_empty()
    }

    pub(super) fn size(&self) -> Pending {
        let records = || self.pending.iter().chain(&self.in_doubt);
        Pending {
            records: records().count(),
            bytes: records().map(WorldRecord::bytes).sum(),
        }
    }
}

impl fmt::Debug for Unpersisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pending, in_doubt) = (self.pending.len(), self.in_doubt.len());
        write!(f, "{pending} records pending, {in_doubt} in doubt")
    }
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

    /// What the claim found when the world was opened: its head, and the last part.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.shared.claim
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
        self.inbox.push(Group {
            world: Arc::clone(&self.shared),
            records: vec![record],
            bytes,
            answer: None,
            urgency: Urgency::Deferred,
        })
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

    /// Takes what was accepted and not persisted before the world was stopped.
    ///
    /// What nobody takes, `shutdown` returns. A group that was accepted at the very moment of
    /// stopping may come later, but before a flush that begins afterwards has ended.
    #[must_use]
    pub fn take_unpersisted(&self) -> Unpersisted {
        self.shared.take_unpersisted()
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
        self.inbox.push(Group {
            world: Arc::clone(&self.shared),
            records,
            bytes,
            answer: Some(answer),
            urgency,
        })?;
        Ok(ticket)
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

impl WorldShared {
    pub(super) fn new(id: WorldId, lane: LaneId, claim: Claim) -> Self {
        Self {
            id,
            lane,
            claim,
            stopped: OnceLock::new(),
            unpersisted: Mutex::default(),
        }
    }

    pub(super) const fn id(&self) -> &WorldId {
        &self.id
    }

    pub(super) const fn lane(&self) -> LaneId {
        self.lane
    }

    pub(super) const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Stops the world and keeps what was not persisted. The first error counts.
    pub(super) fn stop(&self, error: &Error, left: Unpersisted) {
        // Order matters: who sees the error may take the records at once.
        self.keep(left);
        // A second stop changes nothing: `set` refuses it.
        drop(self.stopped.set(error.clone()));
    }

    /// Keeps more of what was not persisted.
    pub(super) fn keep(&self, left: Unpersisted) {
        self.lock_unpersisted().extend(left);
    }

    pub(super) fn stopped(&self) -> Option<&Error> {
        self.stopped.get()
    }

    /// Whether nothing is left of a world that was stopped, and nothing can come.
    pub(super) fn is_settled(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.lock_unpersisted().is_empty()
    }

    /// The error that stopped the world, if something is left of it.
    pub(super) fn reason(&self) -> Option<Error> {
        let stopped = self.stopped.get().cloned();
        stopped.filter(|_| !self.lock_unpersisted().is_empty())
    }

    pub(super) fn take_unpersisted(&self) -> Unpersisted {
        std::mem::take(&mut *self.lock_unpersisted())
    }

    fn lock_unpersisted(&self) -> MutexGuard<'_, Unpersisted> {
        self.unpersisted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WorldShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, epoch) = (&self.id, self.claim.epoch);
        write!(f, "world {id:?} at {epoch:?}")
    }
}
