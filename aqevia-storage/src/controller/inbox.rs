//! The buffer between the engine's threads and the flush loop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::lane::Lane;
use super::ticket::Refused;
use super::world::WorldShared;
use crate::{ControllerConfig, Error, ErrorKind, Receipt, Result, WorldRecord};

/// What the engine's threads hand to the flush loop, in order.
#[derive(Debug)]
pub(super) enum Message {
    /// A world was claimed.
    Open(Box<Lane>),
    /// Records were accepted.
    Group(Group),
}

/// The records of one call, which stay together (clause C4).
#[derive(Debug)]
pub(super) struct Group {
    pub(super) world: Arc<WorldShared>,
    /// No records: a mark that is passed when everything before it is durable.
    pub(super) records: Vec<WorldRecord>,
    pub(super) bytes: usize,
    pub(super) answer: Option<oneshot::Sender<Result<Receipt>>>,
    pub(super) urgency: Urgency,
}

/// Whether a group starts a flush by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Deferred,
    Now,
}

/// The buffer. Its lock is held for as long as it takes to push one group or to swap a vector.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
    deadline: watch::Sender<Option<Instant>>,
    config: ControllerConfig,
}

#[derive(Debug, Default)]
struct State {
    /// What came since the loop last took, and the sums over it.
    fresh: Fresh,
    /// Accepted, and neither persisted nor given up: in `fresh`, in the lanes, or in flight.
    pending: Pending,
    closed: bool,
}

#[derive(Debug, Default)]
struct Fresh {
    messages: Vec<Message>,
    records: usize,
    bytes: usize,
    urgent: bool,
    /// When the first group came.
    since: Option<Instant>,
}

/// How much is accepted and not settled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Inbox {
    pub(super) fn new(config: ControllerConfig) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            deadline: watch::Sender::new(None),
            config,
        }
    }

    pub(super) const fn config(&self) -> &ControllerConfig {
        &self.config
    }

    /// Accepts a group, or hands its records back (clause C3).
    pub(super) fn push(&self, group: Group) -> Result<(), Refused> {
        let mut state = self.lock();
        if let Err(error) = self.admit(&state, &group) {
            drop(state);
            return Err(Refused::new(error, group.records));
        }
        state.pending.records += group.records.len();
        state.pending.bytes += group.bytes;
        let wake = self.note(&mut state.fresh, &group);
        state.fresh.messages.push(Message::Group(group));
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn admit(&self, state: &State, group: &Group) -> Result<()> {
        let doing = || format!("submit to world {:?}", group.world.id());
        if state.closed {
            return Err(closed().context(doing()));
        }
        let records = state.pending.records + group.records.len();
        let bytes = state.pending.bytes + group.bytes;
        let (records_max, bytes_max) = (
            self.config.pending_records_max,
            self.config.pending_bytes_max,
        );
        // A mark passes at the bound: it takes no room, and waits for room to be made.
        if group.records.is_empty() || (records <= records_max && bytes <= bytes_max) {
            return Ok(());
        }
        let (records, bytes) = (state.pending.records, state.pending.bytes);
        Err(Error::new(
            ErrorKind::Backpressure,
            format!(
                "{}: {records} of {records_max} records and {bytes} of {bytes_max} bytes are \
                 pending; submit again when some are persisted",
                doing()
            ),
        ))
    }

    /// # Errors
    /// `Closed` once `close` was called.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.lock().closed {
            return Err(closed());
        }
        Ok(())
    }

    /// Adds a group to the sums; whether the loop has to know of it now.
    fn note(&self, fresh: &mut Fresh, group: &Group) -> bool {
        let first = fresh.since.is_none();
        let due = self.is_over_capacity(fresh);
        fresh.records += group.records.len();
        fresh.bytes += group.bytes;
        let urgent = group.urgency == Urgency::Now;
        fresh.urgent |= urgent;
        if first {
            fresh.since = Some(Instant::now());
        }
        first || urgent || (!due && self.is_over_capacity(fresh))
    }

    const fn is_over_capacity(&self, fresh: &Fresh) -> bool {
        fresh.records >= self.config.batch_capacity
            || fresh.bytes >= self.config.batch_capacity_bytes
    }

    /// Tells the loop of a world, before any group of it.
    pub(super) fn open(&self, lane: Lane) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(closed());
        }
        state.fresh.messages.push(Message::Open(Box::new(lane)));
        Ok(())
    }

    /// Takes everything that came, and leaves an empty vector in its place, so that the engine's
    /// threads find room in it.
    pub(super) fn take(&self, empty: Vec<Message>) -> Vec<Message> {
        let fresh = Fresh {
            messages: empty,
            ..Fresh::default()
        };
        std::mem::replace(&mut self.lock().fresh, fresh).messages
    }

    /// The moment from which a flush is due for what came; `None` if nothing came.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let state = self.lock();
        let since = state.fresh.since?;
        let now = state.fresh.urgent || self.is_over_capacity(&state.fresh);
        Some(if now {
            since
        } else {
            since + self.config.flush_interval
        })
    }

    /// Waits until something calls for the loop.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Makes room for as much as was settled.
    pub(super) fn settle(&self, settled: Pending) {
        let pending = &mut self.lock().pending;
        pending.records = pending.records.saturating_sub(settled.records);
        pending.bytes = pending.bytes.saturating_sub(settled.bytes);
    }

    pub(super) fn pending(&self) -> Pending {
        self.lock().pending
    }

    /// Accepts nothing more and asks the loop to end, at a deadline at the latest.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if !state.closed {
            state.closed = true;
            let deadline = Instant::now() + self.config.shutdown_timeout;
            self.deadline.send_replace(Some(deadline));
        }
        drop(state);
        self.wake.notify_one();
    }

    /// When the loop has to have ended, if it has been asked to.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.borrow()
    }

    /// Waits until that moment.
    pub(super) async fn past_deadline(&self) {
        let mut deadline = self.deadline.subscribe();
        if let Ok(at) = deadline.wait_for(Option::is_some).await.map(|at| *at)
            && let Some(at) = at
        {
            tokio::time::sleep_until(at).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Error {
    Error::closed("the controller has been shut down")
}
