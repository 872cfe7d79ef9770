//! The flush loop: takes what came, forms parts, persists them, and answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::health::Health;
use super::inbox::{Inbox, Message};
use super::jobs::Done;
use super::lane::{Lane, LaneId, Settled};
use super::report::Report;
use super::retry::Retry;
use super::shared::WorldShared;
use super::ticket::Unflushed;
use crate::{Batch, Error, ErrorKind, Part, Receipt, Result, StorageBackend};

/// How a controller ended; `None` while it runs.
pub(super) type Outcome = Option<Result<(), Unflushed>>;

/// The loop and all it owns. One flush is under way at a time.
pub(super) struct FlushLoop {
    pub(super) store: Arc<dyn StorageBackend>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) report: Arc<Report>,
    pub(super) outcome: watch::Sender<Outcome>,
    /// The worlds for which there is something to do, or was a moment ago.
    pub(super) lanes: BTreeMap<LaneId, Lane>,
    /// The others: however many there are, they cost nothing.
    pub(super) resting: HashMap<LaneId, Lane>,
    /// Empty, and as large as the last messages were, up to a bound.
    pub(super) messages: Vec<Message>,
    /// Worlds that are to be closed, and who hears of it. Empty but while messages are taken.
    pub(super) closing: Vec<(Arc<WorldShared>, oneshot::Sender<bool>)>,
    /// Worlds that were stopped, for what is left of them.
    pub(super) stopped: Vec<Arc<WorldShared>>,
    pub(super) flushing: Option<Flushing>,
    pub(super) jobs: JoinSet<Done>,
    /// A permit for each world whose state may be asked for at once.
    pub(super) captures: Arc<Semaphore>,
    pub(super) capturing: usize,
    /// The bootstrap of a store that was away.
    pub(super) init: Option<Retry>,
    /// Why nothing is written any more.
    pub(super) halted: Option<Error>,
    /// Whether what waits was tried once more because the end is near.
    pub(super) hurried: bool,
}

/// A batch that the backend has.
pub(super) struct Flushing {
    task: JoinHandle<Vec<Result<Receipt>>>,
    parts: Vec<(LaneId, Arc<Part>)>,
    begin: Instant,
}

/// What the loop waited for.
enum Event {
    Answers(Vec<Result<Receipt>>),
    Done(Done),
    /// Something came, or is due.
    Look,
}

/// How long a store may leave a batch without an answer until the controller counts as degraded.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The most worlds whose state is asked for at once.
const CAPTURES_AT_ONCE: usize = 4;

impl FlushLoop {
    /// The loop over a store; `away` if it could not be initialised yet, and why.
    pub(super) fn new(
        store: Arc<dyn StorageBackend>,
        inbox: Arc<Inbox>,
        report: Arc<Report>,
        outcome: watch::Sender<Outcome>,
        away: Option<Error>,
    ) -> Self {
        let init = away.map(|error| {
            let salt = blake3::hash(inbox.config().owner.as_str().as_bytes());
            let mut retry = Retry::new(*salt.as_bytes());
            retry.begin();
            // There is no first success to be given up: `start` was told to begin without one.
            let _ = retry.fail(error, Instant::now(), inbox.config());
            retry
        });
        Self {
            store,
            inbox,
            report,
            outcome,
            lanes: BTreeMap::new(),
            resting: HashMap::new(),
            messages: Vec::new(),
            closing: Vec::new(),
            stopped: Vec::new(),
            flushing: None,
            jobs: JoinSet::new(),
            captures: Arc::new(Semaphore::new(CAPTURES_AT_ONCE)),
            capturing: 0,
            init,
            halted: None,
            hurried: false,
        }
    }

    /// Runs until the inbox is closed and everything is persisted, or the deadline is past.
    pub(super) async fn run(mut self) {
        while !self.has_ended() {
            self.act();
            if self.has_ended() {
                break;
            }
            self.report.open_worlds(self.open_worlds());
            self.take_event().await;
        }
        self.end().await;
    }

    /// Whether the end was asked for, and there is nothing left to do or no time for it.
    fn has_ended(&mut self) -> bool {
        let Some(deadline) = self.inbox.deadline() else {
            return false;
        };
        if deadline <= Instant::now() {
            return true;
        }
        if !self.hurried {
            self.hurried = true;
            self.hurry();
        }
        let busy = self.flushing.is_some() || self.capturing > 0;
        let due = self.inbox.due_at().or_else(|| self.inbox.take_at());
        !busy && due.is_none() && self.lanes.values().all(Lane::is_idle)
    }

    /// The end is near: what waits is tried at once, and what is dirty is captured.
    fn hurry(&mut self) {
        let now = Instant::now();
        self.lanes.values_mut().for_each(|lane| lane.hurry(now));
        self.init.iter_mut().for_each(|init| init.hurry(now));
        if self.inbox.source().get().is_some() {
            self.capture_dirty();
        }
    }

    /// Does all that is due.
    pub(super) fn act(&mut self) {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.inbox.take_at()) {
            self.take_messages();
        }
        if is_due(self.inbox.capture_at()) {
            self.capture_dirty();
        }
        if is_due(self.init.as_ref().and_then(Retry::at)) {
            self.begin_init();
        }
        if self.init.is_none() {
            self.begin_adoptions(now);
        }
        if is_due(self.flush_at(now)) {
            self.begin_flush();
        }
        if is_due(self.silent_at()) {
            self.tell_health();
        }
        self.rest();
    }

    /// From when on the store counts as silent, if it does not answer.
    fn silent_at(&self) -> Option<Instant> {
        let flushing = self.flushing.as_ref()?;
        Some(flushing.begin + SILENCE_MAX)
    }

    /// From when there is something to flush, unless a flush is under way.
    fn flush_at(&self, now: Instant) -> Option<Instant> {
        if self.flushing.is_some() {
            return None;
        }
        let ready = self.lanes.values().filter_map(|lane| lane.ready_at(now));
        let due = self.inbox.due_at();
        let due = due.map(|at| if self.hurried { now } else { at });
        ready.chain(due).min()
    }

    /// Waits until something is to be done, and takes what came of what was under way.
    pub(super) async fn take_event(&mut self) {
        match self.wait().await {
            Event::Answers(answers) => self.settle_all(answers),
            Event::Done(done) => self.finish_all(done),
            Event::Look => {}
        }
    }

    async fn wait(&mut self) -> Event {
        let now = Instant::now();
        let adoptions = self.lanes.values().filter_map(Lane::adopt_at);
        let adoptions = adoptions.filter(|_| self.init.is_none()).min();
        let until = [
            self.inbox.deadline(),
            self.inbox.take_at(),
            self.inbox.capture_at(),
            self.init.as_ref().and_then(Retry::at),
            adoptions,
            self.flush_at(now),
            self.silent_at().filter(|at| *at > now),
        ];
        let until = until.into_iter().flatten().min();
        let time = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answers = answers(&mut self.flushing) => Event::Answers(answers),
            Some(Ok(done)) = self.jobs.join_next() => Event::Done(done),
            () = self.inbox.woken() => Event::Look,
            () = time => Event::Look,
        }
    }

    fn begin_flush(&mut self) {
        self.inbox.begin_flush();
        self.take_messages();
        self.lanes.values_mut().for_each(Lane::release);
        let parts = self.next_parts();
        if parts.is_empty() {
            return self.end_flush();
        }
        let batch = Batch::new(parts.iter().map(|(_, part)| Arc::clone(part)).collect());
        let begin = Instant::now();
        let store = Arc::clone(&self.store);
        let count = parts.len();
        // A task of its own: the write goes on when the deadline ends the waiting.
        let task = tokio::spawn(async move {
            match batch {
                Ok(batch) => store.persist_batch(batch).await,
                Err(error) => vec![Err(error); count],
            }
        });
        // Order matters: the hashes are made while the store works.
        let hashed: Vec<_> = parts.iter().map(|(_, part)| Arc::clone(part)).collect();
        tokio::spawn(async move {
            for part in hashed {
                let _ = part.link();
            }
        });
        self.flushing = Some(Flushing { task, parts, begin });
    }

    fn end_flush(&mut self) {
        self.inbox.end_flush(self.oldest());
    }

    /// The lane of a world that is open, for which there may be something to do from now on.
    pub(super) fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        if let Some(lane) = self.resting.remove(&id) {
            self.lanes.insert(id, lane);
        }
        self.lanes.get_mut(&id)
    }

    /// Puts aside the lanes for which there is nothing to do.
    fn rest(&mut self) {
        let at_rest = self.lanes.extract_if(.., |_, lane| lane.is_at_rest());
        self.resting.extend(at_rest);
    }

    /// Every lane has something to do.
    pub(super) fn wake_all(&mut self) {
        self.lanes.extend(self.resting.drain());
    }

    fn open_worlds(&self) -> usize {
        self.lanes.len() + self.resting.len()
    }

    /// When the oldest group was accepted that waits or is in flight.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lanes.values().filter_map(Lane::oldest).min()
    }

    fn next_parts(&mut self) -> Vec<(LaneId, Arc<Part>)> {
        let now = Instant::now();
        let mut parts = Vec::new();
        let mut failed = Vec::new();
        for (id, lane) in &mut self.lanes {
            match lane.next_part(now, &self.inbox) {
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

    /// Takes the answers to the batch that was under way.
    fn settle_all(&mut self, answers: Vec<Result<Receipt>>) {
        let Some(Flushing { parts, begin, .. }) = self.flushing.take() else {
            return;
        };
        let duration = begin.elapsed();
        self.report.flushed(&parts, &answers, duration);
        tracing::debug!(
            target: "aqevia_storage::controller",
            parts = parts.len(),
            records = parts.iter().map(|(_, part)| part.records().len()).sum::<usize>(),
            failed = answers.iter().filter(|answer| answer.is_err()).count(),
            elapsed_us = duration.as_micros(),
            "flushed"
        );
        for ((id, _), answer) in parts.into_iter().zip(answers) {
            let lane = self.lanes.get_mut(&id);
            let settled = lane.map(|lane| lane.settle(answer, Instant::now(), &self.inbox));
            self.settled(id, settled);
            self.begin_capture(id);
        }
        self.end_flush();
        self.tell_health();
    }

    pub(super) fn settled(&mut self, id: LaneId, settled: Option<Settled>) {
        match settled {
            None | Some(Settled::Persisted | Settled::Retrying) => {}
            Some(Settled::Refused(dead_letters)) => self.report.dead_letters(dead_letters),
            Some(Settled::Stopped) => self.forget(id),
            Some(Settled::StoreStopped(error)) => {
                self.forget(id);
                self.halt(&error);
            }
        }
    }

    /// Ends the writing to this store: every world stops. Memory goes on.
    pub(super) fn halt(&mut self, cause: &Error) {
        if self.halted.is_some() {
            return;
        }
        self.halted = Some(cause.clone());
        self.inbox.stop(cause);
        self.wake_all();
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in lanes {
            self.stop(id, cause);
        }
    }

    pub(super) fn stop(&mut self, id: LaneId, error: &Error) {
        let inbox = Arc::clone(&self.inbox);
        if let Some(lane) = self.lane(id) {
            lane.stop(error, &inbox);
            self.forget(id);
        }
    }

    pub(super) fn forget(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.remove(&id) {
            self.stopped.retain(|world| !world.is_settled());
            self.stopped.push(lane.into_world());
            self.inbox.keep_oldest(self.oldest());
        }
    }

    /// Tells how the controller stands, if that has changed.
    pub(super) fn tell_health(&self) {
        let lanes = self.lanes.values().filter_map(Lane::trouble);
        let init = self.init.as_ref().and_then(Retry::trouble);
        let silence = self.silence();
        let silence = silence.as_ref().map(|(since, error)| (*since, 1, error));
        let troubles: Vec<_> = lanes.chain(init).chain(silence).collect();
        let since = troubles.iter().map(|(since, ..)| *since).min();
        let worst = troubles
            .into_iter()
            .max_by_key(|(_, attempts, _)| *attempts);
        self.report.stand(match (&self.halted, since.zip(worst)) {
            (Some(cause), _) => Health::Stopped {
                cause: cause.clone(),
            },
            (None, Some((since, (_, attempts, cause)))) => Health::Degraded {
                since,
                cause: cause.clone(),
                attempts,
            },
            (None, None) => Health::Healthy,
        });
        self.record_metrics();
    }

    /// Since when the store has a batch that it does not answer for, if that is too long.
    fn silence(&self) -> Option<(Instant, Error)> {
        let begin = self.flushing.as_ref()?.begin;
        let silent = self.silent_at().is_some_and(|at| at <= Instant::now());
        silent.then(|| {
            let seconds = SILENCE_MAX.as_secs();
            let message = format!("the store has not answered for {seconds} s");
            (begin, Error::new(ErrorKind::Unavailable, message))
        })
    }

    fn record_metrics(&self) {
        self.report.open_worlds(self.open_worlds());
        #[cfg(feature = "metrics")]
        self.report.record_metrics(&self.inbox);
    }
}

/// What the backend answered, or that nothing is known. Without a flush this waits for ever.
async fn answers(flushing: &mut Option<Flushing>) -> Vec<Result<Receipt>> {
    let Some(flushing) = flushing else {
        return std::future::pending().await;
    };
    let count = flushing.parts.len();
    let unknown = || {
        Error::new(
            ErrorKind::Ambiguous,
            "the backend gave no answer for a part",
        )
    };
    let mut answers = match (&mut flushing.task).await {
        Ok(answers) => answers,
        Err(error) => vec![Err(unknown().with_source(error)); count],
    };
    answers.resize_with(count, || Err(unknown()));
    answers
}
