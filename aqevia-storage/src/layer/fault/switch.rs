//! What switches faults and counts them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::timeout;

use super::FaultPlan;
use super::plan::{Act, Dice};
use crate::{Error, ErrorKind, Result};

/// Switches the faults of a backend, from anywhere and at any time. Clones switch the same ones.
#[derive(Clone)]
pub struct FaultHandle(pub(super) Arc<Shared>);

impl FaultHandle {
    /// Lets the faults of the plan befall calls from now on, as they do at the beginning.
    pub fn begin(&self) {
        self.0.mode.send_modify(|mode| mode.faults = true);
    }

    /// Ends the faults of the plan: what is delayed or hangs is executed now, also if they begin
    /// again at once.
    pub fn end(&self) {
        self.0.mode.send_modify(|mode| {
            mode.faults = false;
            mode.ended += 1;
        });
    }

    /// From now on nothing comes to the store, and every call but `close` is `Unavailable`. What is
    /// delayed or hangs meets the outage when it goes on.
    pub fn begin_outage(&self) {
        self.0.mode.send_modify(|mode| mode.outage = true);
    }

    /// Ends the outage.
    pub fn end_outage(&self) {
        self.0.mode.send_modify(|mode| mode.outage = false);
    }

    /// What befell calls so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.0.counts().clone()
    }
}

impl fmt::Debug for FaultHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultHandle").field(&self.counts()).finish()
    }
}

/// How many reads, claims and parts met each fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Refused as `Unavailable` by the plan.
    pub unavailable: u64,
    /// Refused as `Full`.
    pub full: u64,
    /// Executed, and answered `Ambiguous`.
    pub lost: u64,
    /// Delayed, whether or not their time was over when faults ended.
    pub delayed: u64,
    /// Hung, whether or not they still do.
    pub hung: u64,
    /// Refused as `Unavailable` in an outage, calls of `init` included.
    pub outage: u64,
}

/// What a layer, its snapshots and its handles share.
pub(super) struct Shared {
    /// Of reads, claims and parts.
    dice: Mutex<[Dice; 3]>,
    mode: watch::Sender<Mode>,
    counts: Mutex<FaultCounts>,
}

#[derive(Clone, Copy)]
struct Mode {
    faults: bool,
    /// How often faults were ended, for those who wait for it and do not see each moment.
    ended: u64,
    outage: bool,
}

impl Shared {
    pub(super) fn new(plan: &FaultPlan) -> Self {
        Self {
            dice: Mutex::new(Dice::of(plan)),
            mode: watch::Sender::new(Mode {
                faults: true,
                ended: 0,
                outage: false,
            }),
            counts: Mutex::default(),
        }
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, FaultCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What befalls the next call of a kind. Throws the dice in any case.
    pub(super) fn throw(&self, dice: impl FnOnce(&mut [Dice; 3]) -> &mut Dice) -> Option<Act> {
        let mut all = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let act = dice(&mut all).throw();
        let mode = *self.mode.borrow();
        act.filter(|_| mode.faults && !mode.outage)
    }

    /// Lets a fault befall the next read before it is executed.
    pub(super) async fn befall_read(&self, doing: impl FnOnce() -> String) -> Result<()> {
        let befallen = self.befall(self.throw(|[reads, _, _]| reads)).await;
        befallen.map_err(|error| error.context(doing()))
    }

    /// Lets a fault befall a read or a claim before it is executed.
    pub(super) async fn befall(&self, act: Option<Act>) -> Result<()> {
        self.hold(&[act]).await;
        self.judge(act)
    }

    /// Refuses a call that is not to be executed.
    pub(super) fn judge(&self, act: Option<Act>) -> Result<()> {
        self.check_outage()?;
        let Some(Act::Refuse(kind)) = act else {
            return Ok(());
        };
        let mut counts = self.counts();
        match kind {
            ErrorKind::Full => counts.full += 1,
            _ => counts.unavailable += 1,
        }
        Err(planned(kind))
    }

    /// Waits while one of the calls is delayed or hangs.
    pub(super) async fn hold(&self, acts: &[Option<Act>]) {
        let delays = acts.iter().filter_map(|act| match act {
            Some(Act::Delay(delay)) => Some(*delay),
            _ => None,
        });
        let hung = acts.iter().filter(|act| **act == Some(Act::Hang)).count();
        self.count_held(delays.clone().count() as u64, hung as u64);
        let mut mode = self.mode.subscribe();
        let before = mode.borrow().ended;
        let ended = mode.wait_for(|mode| mode.ended != before || !mode.faults);
        // However the waiting ends, the call goes on.
        match delays.max() {
            _ if hung > 0 => drop(ended.await),
            Some(longest) => drop(timeout(longest, ended).await),
            None => {}
        }
    }

    fn count_held(&self, delayed: u64, hung: u64) {
        let mut counts = self.counts();
        counts.delayed += delayed;
        counts.hung += hung;
    }

    pub(super) fn check_outage(&self) -> Result<()> {
        if !self.mode.borrow().outage {
            return Ok(());
        }
        self.counts().outage += 1;
        let message = "the store is away, in an outage that was asked for";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// What takes the place of the answer of a call that was executed, if it is lost.
    pub(super) fn lost(&self, act: Option<Act>) -> Option<Error> {
        let lost = act == Some(Act::Lose);
        self.counts().lost += u64::from(lost);
        lost.then(|| planned(ErrorKind::Ambiguous))
    }
}

pub(super) fn planned(kind: ErrorKind) -> Error {
    Error::new(kind, "a fault that was planned")
}
