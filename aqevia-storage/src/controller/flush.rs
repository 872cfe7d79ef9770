//! The flush loop: takes what came, forms parts, persists them, and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::inbox::{Group, Inbox, Message};
use super::lane::{Lane, LaneId, Settled};
use super::report::Report;
use super::ticket::Unflushed;
use super::world::{Unpersisted, WorldShared};
use crate::{Batch, Error, ErrorKind, Part, Receipt, Result, StorageBackend};

/// How a controller ended; `None` while it runs.
pub(super) type Outcome = Option<Result<(), Unflushed>>;

/// The loop and all it owns. One flush is under way at a time.
pub(super) struct FlushLoop {
    store: Arc<dyn StorageBackend>,
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    outcome: watch::Sender<Outcome>,
    lanes: BTreeMap<LaneId, Lane>,
    /// Empty, and as large as the last messages were, up to [`MESSAGES_KEPT`].
    messages: Vec<Message>,
    /// Worlds that were stopped, for what is left of them.
    stopped: Vec<Arc<WorldShared>>,
    /// Whether the parts that wait were tried once more because the end is near.
    hurried: bool,
}

/// For how many messages the room is kept from flush to flush.
const MESSAGES_KEPT: usize = 1 << 16;

/// What the loop does next.
enum Step {
    Flush,
    Wait(Option<Instant>),
    End,
}

impl FlushLoop {
    pub(super) fn new(
        store: Arc<dyn StorageBackend>,
        inbox: Arc<Inbox>,
        report: Arc<Report>,
        outcome: watch::Sender<Outcome>,
    ) -> Self {
        Self {
            store,
            inbox,
            report,
            outcome,
            lanes: BTreeMap::new(),
            messages: Vec::new(),
            stopped: Vec::new(),
            hurried: false,
        }
    }

    /// Runs until the inbox is closed and everything is persisted, or the deadline is past.
    pub(super) async fn run(mut self) {
        loop {
            match self.next_step() {
                Step::Flush => self.flush().await,
                Step::Wait(until) => self.wait(until).await,
                Step::End => break,
            }
        }
        self.end().await;
    }

    fn next_step(&mut self) -> Step {
        let now = Instant::now();
        let closing = self.inbox.deadline();
        if closing.is_some() && !self.hurried {
            self.hurried = true;
            self.lanes.values_mut().for_each(|lane| lane.hurry(now));
        }
        if closing.is_some_and(|deadline| deadline <= now) {
            return Step::End;
        }
        let ready = self.lanes.values().filter_map(|lane| lane.ready_at(now));
        let due = self.inbox.due_at();
        let due = due.map(|at| if closing.is_some() { now } else { at });
        let next = ready.chain(due).min();
        match next {
            Some(at) if at <= now => Step::Flush,
            None if closing.is_some() => Step::End,
            next => Step::Wait(next.into_iter().chain(closing).min()),
        }
    }

    async fn wait(&self, until: Option<Instant>) {
        let Some(until) = until else {
            return self.inbox.woken().await;
        };
        // Either way the next step is chosen anew; that the time ran out needs no handling.
        drop(tokio::time::timeout_at(until, self.inbox.woken()).await);
    }

    async fn flush(&mut self) {
        self.take_messages();
        let parts = self.next_parts();
        if parts.is_empty() {
            return;
        }
        let begin = Instant::now();
        let Some(answers) = self.persist(&parts).await else {
            return self.lanes.values_mut().for_each(Lane::doubt);
        };
        self.report.flushed(&parts, &answers, begin.elapsed());
        for ((lane, _), answer) in parts.into_iter().zip(answers) {
            self.settle(lane, answer);
        }
        let retrying = self.lanes.values().any(Lane::is_retrying);
        self.report.set_ready(!retrying);
    }

    fn take_messages(&mut self) {
        let mut messages = self.inbox.take(std::mem::take(&mut self.messages));
        for message in messages.drain(..) {
            match message {
                Message::Open(lane) => {
                    self.lanes.insert(lane.id(), *lane);
                }
                Message::Group(group) => self.take_group(group),
            }
        }
        messages.shrink_to(MESSAGES_KEPT);
        self.messages = messages;
    }

    fn take_group(&mut self, group: Group) {
        match self.lanes.get_mut(&group.world.lane()) {
            Some(lane) => lane.push(group),
            None => refuse(group, &self.inbox),
        }
    }

    fn next_parts(&mut self) -> Vec<(LaneId, Arc<Part>)> {
        let now = Instant::now();
        let mut parts = Vec::new();
        let mut failed = Vec::new();
        for (id, lane) in &mut self.lanes {
            match lane.next_part(now, self.inbox.config()) {
                Ok(part) => parts.extend(part.map(|part| (*id, part))),
                Err(error) => failed.push((*id, error)),
            }
        }
        for (id, error) in failed {
            self.stop(id, &error);
        }
        // Invariant: a batch is sorted by world, and answers come in its order.
        parts.sort_by(|(_, a), (_, b)| a.world().cmp(b.world()));
        parts
    }

    /// The answers, one a part; `None` if the deadline came first.
    async fn persist(&self, parts: &[(LaneId, Arc<Part>)]) -> Option<Vec<Result<Receipt>>> {
        let batch = match Batch::new(parts.iter().map(|(_, part)| Arc::clone(part)).collect()) {
            Ok(batch) => batch,
            Err(error) => return Some(vec![Err(error); parts.len()]),
        };
        let store = Arc::clone(&self.store);
        // A task of its own: the write goes on when the deadline ends the waiting.
        let task = tokio::spawn(async move { store.persist_batch(batch).await });
        tokio::select! {
            answers = answers(task, parts.len()) => Some(answers),
            () = self.inbox.past_deadline() => None,
        }
    }

    fn settle(&mut self, id: LaneId, answer: Result<Receipt>) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        match lane.settle(answer, Instant::now(), &self.inbox) {
            Settled::Persisted | Settled::Retrying => {}
            Settled::Stopped => self.forget(id),
        }
    }

    fn stop(&mut self, id: LaneId, error: &Error) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.stop(error, &self.inbox);
            self.forget(id);
        }
    }

    fn forget(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.stopped.retain(|world| !world.is_settled());
            self.stopped.push(lane.into_world());
        }
    }

    /// Stops what is left, closes the store, and tells the outcome.
    async fn end(&mut self) {
        let left = self.leave();
        let closed = self.close_store().await;
        self.outcome.send_replace(Some(match (left, closed) {
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(Unflushed::nothing(error)),
            (Some(left), _) => Err(left),
        }));
    }

    async fn close_store(&self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let deadline = self.inbox.deadline().unwrap_or_else(Instant::now);
        // A task of its own: a panic in it must not take what is left along.
        let closing = tokio::spawn(async move { store.close().await });
        match tokio::time::timeout_at(deadline, closing).await {
            Ok(Ok(closed)) => closed,
            Ok(Err(error)) => {
                let message = "close the store: the backend panicked";
                Err(Error::new(ErrorKind::Unavailable, message).with_source(error))
            }
            Err(_) => Err(late("close the store")),
        }
    }

    /// Everything that was accepted and is not in the store, with the first reason; `None` if
    /// there is nothing.
    fn leave(&mut self) -> Option<Unflushed> {
        self.take_messages();
        let busy = self.lanes.values().filter(|lane| !lane.is_idle());
        let busy: Vec<(LaneId, Error)> = busy.map(|lane| (lane.id(), reason(lane))).collect();
        let mut causes: Vec<Error> = self.stopped.iter().filter_map(|w| w.reason()).collect();
        for (id, cause) in busy {
            let ended = Error::closed("the controller ended before the group was persisted");
            self.stop(id, &ended.with_source(cause.clone()));
            causes.push(cause);
        }
        let mut left = Unpersisted::default();
        for world in &self.stopped {
            left.extend(world.take_unpersisted());
        }
        let error = causes.into_iter().next()?;
        Some(Unflushed {
            error,
            pending: left.pending,
            in_doubt: left.in_doubt,
        })
    }
}

impl Drop for FlushLoop {
    /// Lets nobody wait for a loop that ended by a panic.
    fn drop(&mut self) {
        self.inbox.close();
        self.report.set_ready(false);
        if self.outcome.borrow().is_some() {
            return;
        }
        self.lanes.values_mut().for_each(Lane::doubt);
        let ended = || Error::closed("the flush loop ended before its time");
        let left = self.leave();
        let left = left.unwrap_or_else(|| Unflushed::nothing(ended()));
        self.outcome.send_replace(Some(Err(left)));
    }
}

/// Why a lane still holds records when the end has come.
fn reason(lane: &Lane) -> Error {
    let late = || late("persist what was accepted");
    lane.last_error().cloned().unwrap_or_else(late)
}

/// What the backend answered, or that nothing is known.
async fn answers(task: JoinHandle<Vec<Result<Receipt>>>, count: usize) -> Vec<Result<Receipt>> {
    let unknown = || {
        Error::new(
            ErrorKind::Ambiguous,
            "the backend gave no answer for a part",
        )
    };
    let mut answers = match task.await {
        Ok(answers) => answers,
        Err(error) => vec![Err(unknown().with_source(error)); count],
    };
    answers.resize_with(count, || Err(unknown()));
    answers
}

/// Answers a group of a world that was stopped, and keeps its records.
fn refuse(group: Group, inbox: &Inbox) {
    let ended = || Error::closed("the world is not open");
    let error = group.world.stopped().cloned().unwrap_or_else(ended);
    let left = Unpersisted {
        pending: group.records,
        in_doubt: Vec::new(),
    };
    inbox.settle(left.size());
    group.world.keep(left);
    if let Some(answer) = group.answer {
        // Nobody may be waiting any more.
        drop(answer.send(Err(error)));
    }
}

fn late(doing: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{doing}: the shutdown timeout ran out"),
    )
}
