//! The buffer between the engine's threads and the flush loop.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::capture::StateSource;
use super::dirty::Dirty;
use super::exposure::Exposure;
use super::group::{Group, Pending, Urgency};
use super::lane::Lane;
use super::saving::Save;
use super::shared::WorldShared;
use super::ticket::Refused;
use crate::{ControllerConfig, Error, ErrorKind, Result, StoreInfo};

/// What the engine's threads hand to the flush loop, in order.
#[derive(Debug)]
pub(super) enum Message {
    /// A world is to be written from now on.
    Open(Box<Lane>),
    /// Records were accepted.
    Group(Group),
    /// The state source holds the engine's lock: what was accepted before this, and what it
    /// returns, is one group (clause C9).
    Cut(Arc<WorldShared>),
    /// The dirty entities of a world are to be captured now.
    Save(Arc<WorldShared>, oneshot::Sender<Save>),
    /// A world is to be closed, if nothing of it is unsaved.
    Close(Arc<WorldShared>, oneshot::Sender<bool>),
}

/// How long what came while a flush is under way waits to be looked at. Then newer records take the
/// place of older ones of their key, so that the buffer has room for them.
const TAKE_EVERY: Duration = Duration::from_millis(20);

/// The buffer. Its lock is held for as long as it takes to push one group or to swap a vector.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
    deadline: watch::Sender<Option<Instant>>,
    config: ControllerConfig,
    /// Dirty entities, also those that are being captured.
    dirty: AtomicUsize,
    coalesced: AtomicU64,
    source: OnceLock<Arc<dyn StateSource>>,
    info: OnceLock<StoreInfo>,
}

#[derive(Debug, Default)]
struct State {
    /// What came since the loop last took.
    messages: Vec<Message>,
    /// When the oldest group in `messages` was accepted. A mark is not waited for.
    messages_since: Option<Instant>,
    /// Since when something is in `messages` that is for the loop to see at once.
    attention_since: Option<Instant>,
    /// The sums over what came since the last flush began.
    fresh: Fresh,
    /// Accepted, and neither persisted nor given up: in `messages`, in the lanes, or in flight.
    pending: Pending,
    /// When the oldest group was accepted that the loop has.
    oldest_taken: Option<Instant>,
    /// The worlds that have dirty entities, and since when the first of these.
    dirty_worlds: Vec<Arc<WorldShared>>,
    dirty_since: Option<Instant>,
    /// From when their capture is timed: what a source did not give is older than that.
    capture_since: Option<Instant>,
    /// Since when the first of those that are being captured.
    capturing_since: Option<Instant>,
    /// A flush is under way.
    flushing: bool,
    closed: bool,
    /// Why nothing is written any more.
    stopped: Option<Error>,
}

#[derive(Debug, Default)]
struct Fresh {
    records: usize,
    bytes: usize,
    urgent: bool,
    /// When the first group came.
    since: Option<Instant>,
}

impl Inbox {
    pub(super) fn new(config: ControllerConfig) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
            deadline: watch::Sender::new(None),
            config,
            dirty: AtomicUsize::new(0),
            coalesced: AtomicU64::new(0),
            source: OnceLock::new(),
            info: OnceLock::new(),
        }
    }

    pub(super) const fn config(&self) -> &ControllerConfig {
        &self.config
    }

    /// What the store is, as soon as it has been reached.
    pub(super) const fn info(&self) -> &OnceLock<StoreInfo> {
        &self.info
    }

    /// Where the state of dirty entities comes from.
    pub(super) const fn source(&self) -> &OnceLock<Arc<dyn StateSource>> {
        &self.source
    }

    /// Accepts a group, or hands its records back (clause C3).
    pub(super) fn push(&self, group: Group) -> Result<(), Refused> {
        let mut state = self.lock();
        if let Err(error) = self.admit(&state, &group) {
            drop(state);
            return Err(Refused::new(error, group.records));
        }
        state.pending.add(group.size());
        let wake = self.note(&mut state, &group);
        if !group.records.is_empty() {
            state.messages_since.get_or_insert(group.accepted_at);
        }
        state.messages.push(Message::Group(group));
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn admit(&self, state: &State, group: &Group) -> Result<()> {
        let doing = || format!("submit to world {:?}", group.world.id());
        state.check_open().map_err(|error| error.context(doing()))?;
        // It was looked at before, but the world may have been closed since.
        if let Some(error) = group.world.stopped() {
            return Err(error.clone());
        }
        let matter = match self.matter(state, group) {
            None => return Ok(()),
            Some(matter) => matter,
        };
        Err(Error::new(
            ErrorKind::Backpressure,
            format!(
                "{}: {matter}; submit again when some are persisted",
                doing()
            ),
        ))
    }

    /// What keeps a group out, if something does.
    fn matter(&self, state: &State, group: &Group) -> Option<String> {
        let config = &self.config;
        let mut with = state.pending;
        with.add(group.size());
        let (records_max, bytes_max) = (config.pending_records_max, config.pending_bytes_max);
        // A mark waits for room to be made: at the bound of records it passes, and has its own.
        if group.records.is_empty() {
            let over = with.marks > records_max;
            return over.then(|| format!("{records_max} calls wait for what is pending"));
        }
        if with.records > records_max || with.bytes > bytes_max {
            let Pending { records, bytes, .. } = state.pending;
            return Some(format!(
                "{records} of {records_max} records and {bytes} of {bytes_max} bytes are pending"
            ));
        }
        let age_max = config.exposure_max?;
        let age = group.accepted_at.duration_since(self.oldest(state)?);
        (age > age_max).then(|| {
            let (age, max) = (age.as_millis(), age_max.as_millis());
            format!(
                "the oldest that is pending or dirty waits for {age} ms, at most {max} ms are allowed"
            )
        })
    }

    /// Makes room for as much as fits of what a capture brought: `sizes` are those of its first
    /// record, of its first two, and so on. How many fit.
    pub(super) fn reserve(&self, sizes: &[Pending]) -> usize {
        let mut state = self.lock();
        let pending = state.pending;
        let fits = |size: &Pending| {
            pending.records + size.records <= self.config.pending_records_max
                && pending.bytes + size.bytes <= self.config.pending_bytes_max
        };
        let count = sizes.partition_point(fits);
        if let Some(size) = count.checked_sub(1).and_then(|last| sizes.get(last)) {
            state.pending.add(*size);
        }
        count
    }

    /// Takes room, whether or not there is any.
    pub(super) fn occupy(&self, size: Pending) {
        self.lock().pending.add(size);
    }

    /// # Errors
    /// `Closed` once `close` was called; what stopped all writing.
    pub(super) fn check_open(&self) -> Result<()> {
        self.lock().check_open()
    }

    /// Adds a group to the sums; whether the loop has to know of it now.
    fn note(&self, state: &mut State, group: &Group) -> bool {
        let fresh = &mut state.fresh;
        let first = fresh.since.is_none();
        let was_due = self.is_due(fresh);
        fresh.records += group.records.len();
        fresh.bytes += group.bytes;
        fresh.urgent |= group.urgency == Urgency::Now;
        if first {
            fresh.since = Some(group.accepted_at);
        }
        let to_take = state.flushing && state.messages.is_empty();
        first || to_take || (!was_due && self.is_due(fresh))
    }

    /// Whether a flush is due for what came, however long ago.
    const fn is_due(&self, fresh: &Fresh) -> bool {
        fresh.urgent
            || fresh.records >= self.config.batch_capacity
            || fresh.bytes >= self.config.batch_capacity_bytes
    }

    /// Tells the loop something, before any group that comes later.
    pub(super) fn tell(&self, message: Message) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.messages.push(message);
        state.attention_since.get_or_insert_with(Instant::now);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Closes a world, unless something was accepted for it that the loop has not taken. Nothing is
    /// accepted meanwhile.
    pub(super) fn close_world(&self, world: &WorldShared, close: impl FnOnce()) -> bool {
        let state = self.lock();
        let is_of_it = |message: &Message| match message {
            Message::Group(group) => group.world.lane() == world.lane(),
            _ => false,
        };
        if state.messages.iter().any(is_of_it) {
            return false;
        }
        close();
        true
    }

    /// Cuts the buffer: also once it is closed, for the last capture.
    pub(super) fn cut(&self, world: &Arc<WorldShared>) {
        self.lock().messages.push(Message::Cut(Arc::clone(world)));
    }

    /// Takes everything that came, and leaves an empty vector in its place, so that the engine's
    /// threads find room in it.
    pub(super) fn take(&self, empty: Vec<Message>) -> Vec<Message> {
        let mut state = self.lock();
        let since = state.messages_since.take();
        state.oldest_taken = earlier(state.oldest_taken, since);
        state.attention_since = None;
        std::mem::replace(&mut state.messages, empty)
    }

    /// A flush begins: what comes from now on counts towards the next.
    pub(super) fn begin_flush(&self) {
        let mut state = self.lock();
        state.fresh = Fresh::default();
        state.flushing = true;
    }

    /// `oldest` is when the oldest group was accepted that the loop still has.
    pub(super) fn keep_oldest(&self, oldest: Option<Instant>) {
        self.lock().oldest_taken = oldest;
    }

    /// The flush has ended; `oldest` is when the oldest group was accepted that the loop still has.
    pub(super) fn end_flush(&self, oldest: Option<Instant>) {
        let mut state = self.lock();
        state.flushing = false;
        state.oldest_taken = oldest;
    }

    /// The moment from which a flush is due for what came; `None` if nothing came.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let state = self.lock();
        let since = state.fresh.since?;
        Some(match self.is_due(&state.fresh) {
            true => since,
            false => since + self.config.flush_interval,
        })
    }

    /// The moment from which the loop has to take what came, though it does not flush.
    pub(super) fn take_at(&self) -> Option<Instant> {
        let state = self.lock();
        // Not the present moment: that is later each time, and the loop would never see it due.
        if state.attention_since.is_some() {
            return state.attention_since;
        }
        let since = state.messages_since.filter(|_| state.flushing)?;
        Some(since + TAKE_EVERY)
    }

    /// Lets the loop look anew at what is due.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until something calls for the loop.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Makes room for as much as was settled.
    pub(super) fn settle(&self, settled: Pending) {
        self.lock().pending.remove(settled);
    }

    /// A newer record took the place of one of this size.
    pub(super) fn coalesced(&self, settled: Pending) {
        self.coalesced.fetch_add(1, Ordering::Relaxed);
        self.settle(settled);
    }

    pub(super) fn coalesced_so_far(&self) -> u64 {
        self.coalesced.load(Ordering::Relaxed)
    }

    pub(super) fn exposure(&self) -> Exposure {
        let state = self.lock();
        let oldest = self.oldest(&state);
        Exposure {
            records: state.pending.records,
            bytes: state.pending.bytes,
            dirty: self.dirty.load(Ordering::Relaxed),
            oldest: oldest.map(|oldest| Instant::now().duration_since(oldest)),
        }
    }

    /// When the oldest was accepted or marked that a crash now would lose. Of what is dirty it may
    /// be earlier, if what was marked first has been saved since.
    fn oldest(&self, state: &State) -> Option<Instant> {
        let pending = [state.oldest_taken, state.messages_since];
        let dirty = [state.dirty_since, state.capturing_since];
        let is_dirty = self.dirty.load(Ordering::Relaxed) > 0;
        let dirty = dirty.into_iter().filter(|_| is_dirty);
        pending.into_iter().chain(dirty).flatten().min()
    }

    /// Entities are dirty that were not. Their world's set of them is locked still, so that none is
    /// taken, and forgotten, before it is counted.
    pub(super) fn count_dirty(&self, _locked: &MutexGuard<'_, Dirty>, count: usize) {
        self.dirty.fetch_add(count, Ordering::Relaxed);
    }

    /// A world has dirty entities and had none, since a moment.
    pub(super) fn note_dirty(&self, world: &Arc<WorldShared>, since: Instant) {
        let mut state = self.lock();
        state.dirty_worlds.push(Arc::clone(world));
        state.dirty_since = earlier(state.dirty_since, Some(since));
        let wake = state.capture_since.is_none();
        state.capture_since.get_or_insert_with(Instant::now);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Dirty entities were captured, or nobody will.
    pub(super) fn forget_dirty(&self, count: usize) {
        self.dirty.fetch_sub(count, Ordering::Relaxed);
        let mut state = self.lock();
        if self.dirty.load(Ordering::Relaxed) == 0 {
            state.dirty_since = None;
            state.capturing_since = None;
        }
    }

    /// The moment from which dirty entities are to be captured.
    pub(super) fn capture_at(&self) -> Option<Instant> {
        self.source.get()?;
        let since = self.lock().capture_since?;
        let interval = self.config.auto_save_interval;
        let limit = self.config.exposure_max.map(|max| max / 2);
        Some(since + limit.map_or(interval, |limit| limit.min(interval)))
    }

    /// Takes the worlds that have dirty entities, which are then being captured.
    pub(super) fn take_dirty(&self) -> Vec<Arc<WorldShared>> {
        let mut state = self.lock();
        let since = state.dirty_since.take();
        state.capture_since = None;
        state.capturing_since = earlier(state.capturing_since, since);
        std::mem::take(&mut state.dirty_worlds)
    }

    /// Nothing is being captured any more.
    pub(super) fn end_captures(&self) {
        self.lock().capturing_since = None;
    }

    /// Nothing is written from now on.
    pub(super) fn stop(&self, cause: &Error) {
        self.lock().stopped.get_or_insert_with(|| cause.clone());
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_open(&self) -> Result<()> {
        if let Some(cause) = &self.stopped {
            return Err(cause.clone());
        }
        match self.closed {
            true => Err(Error::closed("the controller has been shut down")),
            false => Ok(()),
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
