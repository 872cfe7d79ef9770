//! One world's way through the flush loop: what waits, and the one part in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::inbox::{Group, Inbox, Pending};
use super::world::{Unpersisted, WorldShared};
use crate::{
    BatchNumber, BatchRecord, ControllerConfig, Error, ErrorKind, Link, Part, Receipt, Result,
    Sequence, WorldRecord,
};

/// Tells the claims of a controller apart, also those of one world.
pub(super) type LaneId = u64;

/// How long a part waits at most before it is tried again: doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How often an error that stays is logged.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A world as the flush loop sees it.
///
/// Invariant: the part in flight keeps its number and its content until a definite answer comes.
#[derive(Debug)]
pub(super) struct Lane {
    world: Arc<WorldShared>,
    head: Sequence,
    last_number: BatchNumber,
    last_at_ms: i64,
    link: Link,
    waiting: VecDeque<Group>,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    part: Arc<Part>,
    members: Vec<Member>,
    attempts: u32,
    /// When to try again; `None` while the backend has it.
    retry_at: Option<Instant>,
    /// Why it is to be tried again.
    last_error: Option<Error>,
    /// When that was last logged.
    said_at: Option<Instant>,
    in_doubt: bool,
}

impl InFlight {
    /// Whether an error is to be logged: it is another than before, or a while has passed.
    fn is_worth_saying(&self, error: &Error, now: Instant) -> bool {
        let before = self.last_error.as_ref().map(ToString::to_string);
        let again = self.said_at.is_none_or(|said| now >= said + SAY_AGAIN);
        again || before != Some(error.to_string())
    }
}

/// A group within a part: how many of its records, and who waits for them.
#[derive(Debug)]
struct Member {
    count: u32,
    answer: Option<oneshot::Sender<Result<Receipt>>>,
}

/// What the answer to a part means for its lane.
#[derive(Debug)]
pub(super) enum Settled {
    /// The part is in the store.
    Persisted,
    /// It is to be tried again.
    Retrying,
    /// The lane has ended; its groups have been answered.
    Stopped,
}

impl Lane {
    pub(super) fn new(world: Arc<WorldShared>) -> Self {
        let claim = world.claim();
        Self {
            head: claim.head,
            last_number: claim.last_number,
            last_at_ms: claim.last_at_ms,
            link: claim.link,
            waiting: VecDeque::new(),
            in_flight: None,
            world,
        }
    }

    pub(super) fn id(&self) -> LaneId {
        self.world.lane()
    }

    pub(super) fn into_world(self) -> Arc<WorldShared> {
        self.world
    }

    pub(super) fn push(&mut self, group: Group) {
        self.waiting.push_back(group);
    }

    /// Whether nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Whether a part waits to be tried again.
    pub(super) fn is_retrying(&self) -> bool {
        let in_flight = self.in_flight.as_ref();
        in_flight.is_some_and(|in_flight| in_flight.retry_at.is_some())
    }

    /// Brings a part that waits to be tried again forward, and begins its delays anew.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(in_flight) = &mut self.in_flight
            && in_flight.retry_at.is_some()
        {
            in_flight.retry_at = Some(now);
            in_flight.attempts = 0;
        }
    }

    /// Why the part in flight was not persisted so far.
    pub(super) fn last_error(&self) -> Option<&Error> {
        self.in_flight.as_ref()?.last_error.as_ref()
    }

    /// From when the lane has a part to persist; `None` if it has none.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        match &self.in_flight {
            Some(in_flight) => in_flight.retry_at,
            None => (!self.waiting.is_empty()).then_some(now),
        }
    }

    /// The part to persist now: the one in flight again, or one of the groups that wait.
    pub(super) fn next_part(
        &mut self,
        now: Instant,
        config: &ControllerConfig,
    ) -> Result<Option<Arc<Part>>> {
        if self.ready_at(now).is_none_or(|at| at > now) {
            return Ok(None);
        }
        if self.in_flight.is_none() {
            self.in_flight = self.form(config)?;
        }
        Ok(self.in_flight.as_mut().map(|in_flight| {
            in_flight.retry_at = None;
            in_flight.attempts += 1;
            Arc::clone(&in_flight.part)
        }))
    }

    /// Forms a part of as many whole groups as fit (clause C4).
    fn form(&mut self, config: &ControllerConfig) -> Result<Option<InFlight>> {
        // Order matters: what may fail or panic comes before the groups are taken.
        let number = self.last_number.advance(1)?;
        let at_ms = config.clock.now_ms().max(self.last_at_ms);
        let mut size = Pending::default();
        let mut records = Vec::new();
        let mut members = Vec::new();
        while let Some(group) = self.waiting.pop_front_if(|group| {
            size.records += group.records.len();
            size.bytes += group.bytes;
            size.records <= config.batch_records_max && size.bytes <= config.batch_bytes_max
        }) {
            members.push(Member {
                count: u32::try_from(group.records.len()).unwrap_or(u32::MAX),
                answer: group.answer,
            });
            records.extend(group.records.into_iter().map(|record| {
                let history = config.schema.history(&record.collection);
                BatchRecord::new(record, history)
            }));
        }
        if records.is_empty() {
            self.answer(members, self.head, false);
            return Ok(None);
        }
        // Invariant: each group was checked when it was accepted, so this refuses none.
        let part = Part::new(
            self.world.id().clone(),
            self.world.claim().epoch,
            number,
            at_ms,
            self.link,
            records,
        )?;
        Ok(Some(InFlight {
            part: Arc::new(part),
            members,
            attempts: 0,
            retry_at: None,
            last_error: None,
            said_at: None,
            in_doubt: false,
        }))
    }

    /// Takes the backend's answer to the part in flight.
    pub(super) fn settle(
        &mut self,
        answer: Result<Receipt>,
        now: Instant,
        inbox: &Inbox,
    ) -> Settled {
        let Some(mut in_flight) = self.in_flight.take() else {
            return Settled::Retrying;
        };
        match answer {
            Ok(receipt) => {
                self.persisted(in_flight, receipt, inbox);
                Settled::Persisted
            }
            Err(error) if error.kind().is_retryable() => {
                in_flight.in_doubt |= error.kind() == ErrorKind::Ambiguous;
                let delay = retry_delay(in_flight.attempts, &in_flight.part.link());
                in_flight.retry_at = Some(now + delay);
                if in_flight.is_worth_saying(&error, now) {
                    tracing::warn!(
                        target: "aqevia_storage::controller",
                        %error,
                        attempts = in_flight.attempts,
                        "a part is not persisted and is tried again until it is"
                    );
                    in_flight.said_at = Some(now);
                }
                in_flight.last_error = Some(error);
                self.in_flight = Some(in_flight);
                Settled::Retrying
            }
            Err(error) => {
                // Fenced and Invalid are told only of a part that is not in the store (clause P5).
                in_flight.in_doubt &=
                    !matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Invalid);
                self.in_flight = Some(in_flight);
                self.stop(&error, inbox);
                Settled::Stopped
            }
        }
    }

    fn persisted(&mut self, in_flight: InFlight, receipt: Receipt, inbox: &Inbox) {
        let part = in_flight.part;
        if in_flight.last_error.is_some() {
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
        self.head = before.advance_saturating(u64::from(receipt.count));
        self.last_number = part.number();
        self.last_at_ms = part.at_ms();
        self.link = part.link();
        // Order matters: who hears that a group is durable finds the room that it took.
        inbox.settle(Pending {
            records: part.records().len(),
            bytes: part.bytes(),
        });
        self.answer(in_flight.members, before, receipt.repeated);
    }

    /// Answers groups that lie one behind the other after `head`.
    fn answer(&self, members: Vec<Member>, mut head: Sequence, repeated: bool) {
        for member in members {
            let receipt = head.advance(1).map(|first| Receipt {
                first,
                count: member.count,
                repeated,
            });
            head = head.advance_saturating(u64::from(member.count));
            if let Some(answer) = member.answer {
                // Nobody may be waiting any more.
                drop(answer.send(receipt));
            }
        }
    }

    /// Ends the lane: every group is answered with the error, and its records are kept.
    pub(super) fn stop(&mut self, error: &Error, inbox: &Inbox) {
        let in_flight = self.in_flight.take();
        let waiting = std::mem::take(&mut self.waiting);
        let left = unpersisted(in_flight.as_ref(), &waiting);
        tracing::error!(
            target: "aqevia_storage::controller",
            world = %self.world.id(),
            unpersisted = ?left,
            %error,
            "world stopped"
        );
        // Order matters: who hears of the error finds the records, and the room that they took.
        inbox.settle(left.size());
        self.world.stop(error, left);
        let members = in_flight
            .into_iter()
            .flat_map(|in_flight| in_flight.members);
        let answers = members.map(|member| member.answer);
        for answer in answers
            .chain(waiting.into_iter().map(|group| group.answer))
            .flatten()
        {
            drop(answer.send(Err(error.clone())));
        }
    }

    /// Says that the backend still has the part in flight, so that nothing is known of it.
    pub(super) fn doubt(&mut self) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.in_doubt |= in_flight.retry_at.is_none();
        }
    }
}

fn unpersisted(in_flight: Option<&InFlight>, waiting: &VecDeque<Group>) -> Unpersisted {
    let mut left = Unpersisted::default();
    if let Some(in_flight) = in_flight {
        let records = in_flight.part.records().iter();
        let records: Vec<WorldRecord> = records.map(|r| r.record().clone()).collect();
        if in_flight.in_doubt {
            left.in_doubt = records;
        } else {
            left.pending = records;
        }
    }
    let waiting = waiting.iter().flat_map(|group| &group.records);
    left.pending.extend(waiting.cloned());
    left
}

/// Between half of the longest wait of this attempt and all of it. How much follows from the part,
/// so that engines that lost one store together do not come back to it in step.
fn retry_delay(attempts: u32, link: &Link) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    let longest = RETRY_FIRST.saturating_mul(doubled).min(RETRY_LONGEST);
    let byte = link.0.get(attempts as usize % link.0.len());
    let share = byte.copied().unwrap_or(u8::MAX);
    longest * (255 + u32::from(share)) / 510
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_waits_longer_each_time_and_not_as_long_as_another() {
        let [one, other] = [Link([0; 32]), Link([255; 32])];
        let millis = |link| [1, 2, 3].map(|attempts| retry_delay(attempts, link).as_millis());
        assert_eq!(millis(&one), [25, 50, 100]);
        assert_eq!(millis(&other), [50, 100, 200]);
        assert_eq!(retry_delay(20, &one), RETRY_LONGEST / 2);
        assert_eq!(retry_delay(20, &other), RETRY_LONGEST);
    }
}
