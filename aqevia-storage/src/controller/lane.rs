//! One world's way through the flush loop: what waits, and the one part in flight.

mod refusing;

use std::sync::Arc;

use tokio::time::Instant;

use super::coalesce::Waiting;
use super::group::{Answer, Group, Kind, Pending};
use super::in_flight::{InFlight, Member, answer};
use super::inbox::Inbox;
use super::opening::tell_of;
use super::retry::{Retry, Verdict};
use super::saving::Saving;
use super::shared::{Unpersisted, WorldShared};
use crate::{
    BatchNumber, BatchRecord, Claim, ControllerConfig, Epoch, Error, ErrorKind, Link, Part,
    Receipt, Result, Sequence,
};

/// Tells the claims of a controller apart, also those of one world.
pub(super) type LaneId = u64;

/// A world as the flush loop sees it.
///
/// Invariant: the part in flight keeps its number and its content until a definite answer comes.
#[derive(Debug)]
pub(super) struct Lane {
    world: Arc<WorldShared>,
    /// Where the world stands in the store, once it is claimed.
    standing: Option<Standing>,
    /// How a world that was adopted comes to its claim.
    adoption: Option<Adoption>,
    waiting: Waiting,
    /// Whether what waits is due. It may have been taken from the inbox before it was.
    released: bool,
    in_flight: Option<InFlight>,
    /// The most units in a part, while one is sought that the store refuses.
    units_max: usize,
    saving: Saving,
}

#[derive(Debug)]
struct Standing {
    epoch: Epoch,
    head: Sequence,
    last_number: BatchNumber,
    last_at_ms: i64,
    link: Link,
}

impl From<&Claim> for Standing {
    fn from(claim: &Claim) -> Self {
        Self {
            epoch: claim.epoch,
            head: claim.head,
            last_number: claim.last_number,
            last_at_ms: claim.last_at_ms,
            link: claim.link,
        }
    }
}

/// A world that is claimed once the store is there, if it stands where the engine believes.
#[derive(Debug)]
struct Adoption {
    head: Sequence,
    retry: Retry,
}

/// What the answer to a part means for its lane.
#[derive(Debug)]
pub(super) enum Settled {
    /// The part is in the store.
    Persisted,
    /// It is to be tried again.
    Retrying,
    /// The store refused it. Less of it is tried next, or dead letters stand for so many records.
    Refused(u64),
    /// The lane has ended; its groups have been answered.
    Stopped,
    /// The lane has ended, and no other is to write to this store.
    StoreStopped(Error),
}

impl Lane {
    /// The lane of a world that is claimed.
    pub(super) fn new(world: Arc<WorldShared>) -> Self {
        Self {
            standing: world.claim().map(Standing::from),
            adoption: None,
            waiting: Waiting::default(),
            released: false,
            in_flight: None,
            units_max: usize::MAX,
            saving: Saving::default(),
            world,
        }
    }

    /// The lane of a world that is claimed later, if it stands at `head` then.
    pub(super) fn adopted(world: Arc<WorldShared>, head: Sequence) -> Self {
        let salt = blake3::hash(world.id().as_str().as_bytes());
        let retry = Retry::from(Instant::now(), *salt.as_bytes());
        Self {
            adoption: Some(Adoption { head, retry }),
            ..Self::new(world)
        }
    }

    pub(super) fn id(&self) -> LaneId {
        self.world.lane()
    }

    pub(super) const fn world(&self) -> &Arc<WorldShared> {
        &self.world
    }

    pub(super) fn into_world(self) -> Arc<WorldShared> {
        self.world
    }

    pub(super) const fn saving(&mut self) -> &mut Saving {
        &mut self.saving
    }

    /// Adds a group behind the others, or in the place of an older record of its key.
    pub(super) fn push(&mut self, group: Group, inbox: &Inbox) {
        let config = inbox.config();
        let schema = config.coalescing.then_some(&config.schema);
        if let Some(older) = self.waiting.push(group, schema) {
            inbox.coalesced(older);
        }
    }

    /// What waits is due.
    pub(super) const fn release(&mut self) {
        self.released = true;
    }

    /// The buffer was cut: what waits now, and what the capture gives, is one group.
    pub(super) fn cut(&mut self) {
        self.waiting.keep_places();
        self.saving.cut(self.waiting.len());
    }

    /// Puts what was captured behind what waited at the cut.
    pub(super) fn insert(&mut self, behind: usize, groups: Vec<Group>, join: bool) {
        self.waiting.insert(behind, groups, join);
    }

    /// Records and bytes of the groups that waited at the cut.
    pub(super) fn size_of_first(&self, count: usize) -> Pending {
        self.waiting.size_of_first(count)
    }

    /// Whether nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Whether nothing of the world is only in memory, as far as the loop knows.
    pub(super) fn is_clean(&self) -> bool {
        self.is_idle() && !self.saving.is_under_way()
    }

    /// Whether there is nothing to do for the world until the loop hears of it again.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_idle() && self.adoption.is_none() && self.saving.is_at_rest()
    }

    /// When the oldest group was accepted that has records.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let members = self.in_flight.iter().flat_map(|part| &part.members);
        let members = members.filter(|member| member.count > 0);
        let groups = members.map(|member| &member.group);
        let mut waiting = self.waiting.groups().iter();
        let first = waiting.find(|group| !group.records.is_empty());
        let accepted = groups.chain(first).map(|group| group.accepted_at);
        // What was captured is older than what it waits behind.
        accepted.chain(self.saving.since()).min()
    }

    fn retry(&self) -> Option<&Retry> {
        let adoption = self.adoption.as_ref().map(|adoption| &adoption.retry);
        adoption.or_else(|| self.in_flight.as_ref().map(|part| &part.retry))
    }

    /// Since when the lane has been failing, how often, and why.
    pub(super) fn trouble(&self) -> Option<(Instant, u32, &Error)> {
        self.retry()?.trouble()
    }

    /// Why the part in flight was not persisted so far.
    pub(super) fn last_error(&self) -> Option<&Error> {
        self.retry()?.error()
    }

    /// Brings what waits to be tried again forward, and begins its delays anew.
    pub(super) fn hurry(&mut self, now: Instant) {
        let adoption = self.adoption.as_mut().map(|adoption| &mut adoption.retry);
        let in_flight = self.in_flight.as_mut().map(|part| &mut part.retry);
        for retry in adoption.into_iter().chain(in_flight) {
            retry.hurry(now);
        }
    }

    /// From when an adopted world may be claimed.
    pub(super) fn adopt_at(&self) -> Option<Instant> {
        self.adoption.as_ref()?.retry.at()
    }

    /// The world is being claimed. Where the engine believes it to stand.
    pub(super) fn begin_adoption(&mut self) -> Option<Sequence> {
        let adoption = self.adoption.as_mut()?;
        adoption.retry.begin();
        Some(adoption.head)
    }

    /// What came of claiming an adopted world.
    pub(super) fn claimed(&mut self, claim: Result<Claim>, now: Instant, inbox: &Inbox) -> Settled {
        match claim {
            Ok(claim) => {
                self.adoption = None;
                self.standing = Some(Standing::from(&claim));
                tell_of(self.world.id(), &claim);
                self.world.set_claim(claim);
                Settled::Persisted
            }
            Err(error) => self.failed(error, now, inbox),
        }
    }

    /// From when the lane has a part to persist; `None` if it has none.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        if let Some(in_flight) = &self.in_flight {
            return in_flight.retry.at();
        }
        if self.waiting.is_empty() || !self.released || self.standing.is_none() {
            return None;
        }
        Some(self.saving.holds_until().unwrap_or(now))
    }

    /// The part to persist now: the one in flight again, or one of the groups that wait.
    pub(super) fn next_part(&mut self, now: Instant, inbox: &Inbox) -> Result<Option<Arc<Part>>> {
        if self.ready_at(now).is_none_or(|at| at > now) {
            return Ok(None);
        }
        if self.in_flight.is_none() {
            self.saving.let_go();
            self.in_flight = self.form(inbox)?;
            self.released = !self.waiting.is_empty();
        }
        Ok(self.in_flight.as_mut().map(|in_flight| {
            in_flight.retry.begin();
            Arc::clone(&in_flight.part)
        }))
    }

    /// Forms a part of as many whole units as fit (clause C4).
    fn form(&mut self, inbox: &Inbox) -> Result<Option<InFlight>> {
        let config = inbox.config();
        let Some(standing) = &self.standing else {
            return Ok(None);
        };
        // Order matters: what may fail or panic comes before the groups are taken.
        let number = standing.last_number.advance(1)?;
        let at_ms = config.clock.now_ms().max(standing.last_at_ms);
        let (epoch, link, head) = (standing.epoch, standing.link, standing.head);
        let mut records = Vec::new();
        let mut members = Vec::new();
        for group in self.take_units(config) {
            let (count, given) = (group.records.len(), group.records);
            members.push(Member {
                count,
                group: Group {
                    records: Vec::new(),
                    ..group
                },
            });
            records.extend(given.into_iter().map(|record| {
                let history = config.schema.history(&record.collection);
                BatchRecord::new(record, history)
            }));
        }
        if records.is_empty() {
            inbox.settle(Pending {
                marks: members.len(),
                ..Pending::default()
            });
            answer(members, head, false);
            return Ok(None);
        }
        // Invariant: each group was checked when it was accepted, so this refuses none.
        let part = Part::new(self.world.id().clone(), epoch, number, at_ms, link, records)?;
        let mut salt = blake3::Hasher::new_keyed(&link.0);
        salt.update(part.world().as_str().as_bytes());
        salt.update(&at_ms.to_le_bytes());
        Ok(Some(InFlight {
            retry: Retry::new(*salt.finalize().as_bytes()),
            part: Arc::new(part),
            members,
            in_doubt: false,
        }))
    }

    fn take_units(&mut self, config: &ControllerConfig) -> Vec<Group> {
        let mut taken = Vec::new();
        let mut size = Pending::default();
        for _ in 0..self.units_max {
            let (count, more) = self.waiting.first_unit();
            size.add(more);
            let over =
                size.records > config.batch_records_max || size.bytes > config.batch_bytes_max;
            // The first is taken whatever its size: it fitted when it was accepted.
            if count == 0 || (over && !taken.is_empty()) {
                break;
            }
            taken.extend((0..count).map_while(|_| self.waiting.pop()));
        }
        taken
    }

    /// Takes the backend's answer to the part in flight.
    pub(super) fn settle(
        &mut self,
        answer: Result<Receipt>,
        now: Instant,
        inbox: &Inbox,
    ) -> Settled {
        let error = match answer {
            Ok(receipt) => {
                self.persisted(receipt, inbox);
                return Settled::Persisted;
            }
            Err(error) => error,
        };
        match error.kind() {
            // The part is not in the store (clause P5), so its number is free for another content.
            ErrorKind::Invalid | ErrorKind::Rejected | ErrorKind::Unsupported => {
                self.refused(&error, inbox)
            }
            _ => self.failed(error, now, inbox),
        }
    }

    fn persisted(&mut self, receipt: Receipt, inbox: &Inbox) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        let size = in_flight.size();
        let part = in_flight.part;
        if in_flight.retry.has_failed() {
            let (world, number) = (part.world(), part.number());
            tracing::info!(
                target: "aqevia_storage::controller",
                %world,
                %number,
                "a part is persisted after it was tried again"
            );
        }
        let before = receipt.first.get().saturating_sub(1);
        let before = Sequence::new(before).unwrap_or_default();
        if let Some(standing) = &mut self.standing {
            standing.head = before.advance_saturating(u64::from(receipt.count));
            standing.last_number = part.number();
            standing.last_at_ms = part.at_ms();
            standing.link = part.link();
        }
        self.units_max = self.units_max.saturating_mul(2);
        // Order matters: who hears that a group is durable finds the room that it took.
        inbox.settle(size);
        let mut members = in_flight.members;
        let mut groups = members.iter_mut().map(|member| &mut member.group);
        if let Some(last) = groups.rfind(|group| group.kind == Kind::Captured) {
            self.saving.tell_refused(&mut last.answer);
            self.end_capture();
        }
        answer(members, before, receipt.repeated);
    }

    /// What was captured is in the store, or will never be, unless more of it waits.
    fn end_capture(&mut self) {
        if !self.waiting.has(Kind::Captured) {
            self.saving.end();
        }
    }

    /// A claim or a part failed: it is tried again, or nothing more is written.
    fn failed(&mut self, error: Error, now: Instant, inbox: &Inbox) -> Settled {
        let (kind, config) = (error.kind(), inbox.config());
        if let Some(in_flight) = &mut self.in_flight {
            // Fenced is told only of a part that is not in the store (clause P5).
            in_flight.in_doubt |= kind == ErrorKind::Ambiguous;
            in_flight.in_doubt &= kind != ErrorKind::Fenced;
        }
        let adoption = self.adoption.as_mut().map(|adoption| &mut adoption.retry);
        let retry = adoption.or_else(|| self.in_flight.as_mut().map(|part| &mut part.retry));
        if let Some(retry) = retry.filter(|_| kind.is_retryable()) {
            if retry.fail(error.clone(), now, config) == Verdict::Again {
                return Settled::Retrying;
            }
            let error = error.context("the time to try again has run out");
            self.stop(&error, inbox);
            return Settled::Stopped;
        }
        self.stop(&error, inbox);
        match kind {
            ErrorKind::Corrupt | ErrorKind::Incompatible | ErrorKind::Closed => {
                Settled::StoreStopped(error)
            }
            _ => Settled::Stopped,
        }
    }

    /// Ends the lane: every group is answered with the error, and its records are kept.
    pub(super) fn stop(&mut self, error: &Error, inbox: &Inbox) {
        let mut left = Unpersisted::default();
        let mut answers: Vec<Answer> = Vec::new();
        let mut size = Pending::default();
        if let Some(in_flight) = self.in_flight.take() {
            let in_doubt = in_flight.in_doubt;
            let groups = in_flight.into_groups().into_iter();
            let records = match in_doubt {
                true => &mut left.in_doubt,
                false => &mut left.pending,
            };
            for group in groups {
                size.add(group.size());
                records.extend(group.records);
                answers.extend(group.answer);
            }
        }
        for group in self.waiting.take_all() {
            size.add(group.size());
            left.pending.extend(group.records);
            answers.extend(group.answer);
        }
        tracing::error!(
            target: "aqevia_storage::controller",
            world = %self.world.id(),
            unpersisted = ?left,
            %error,
            "world {}",
            if error.kind() == ErrorKind::Fenced { "fenced" } else { "stopped" }
        );
        // Order matters: who hears of the error finds the records, and the room that they took, and
        // takes what was dirty, which is to be counted before.
        inbox.settle(size);
        inbox.forget_dirty(self.world.lock_dirty().abandon());
        self.world.stop(error, left);
        self.saving.stop(error);
        for answer in answers {
            // Nobody may be waiting any more.
            drop(answer.send(Err(error.clone())));
        }
    }

    /// Says that the backend still has the part in flight, so that nothing is known of it.
    pub(super) fn doubt(&mut self) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.in_doubt |= in_flight.retry.at().is_none();
        }
    }
}
