//! The store of a run: `Memory`, which does as the plan says, and notes all that comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqevia_storage::{
    Batch, Claim, Error, ErrorKind, Fingerprint, Limit, LogRange, LogRow, Memory, Owner, Page,
    Part, Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats,
    StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::history::{Event, History, is_refused, number};
use crate::plan::{Act, ClaimAct, Outage, Plan};

/// The scripted store.
#[derive(Debug)]
pub(crate) struct Scripted {
    memory: Memory,
    history: History,
    script: Mutex<Script>,
    /// No fault is left.
    calm: watch::Sender<bool>,
}

#[derive(Debug)]
struct Script {
    acts: VecDeque<Act>,
    claims: VecDeque<ClaimAct>,
    outage: Option<Outage>,
    away_until: Option<Instant>,
}

impl Scripted {
    /// A store over `memory` that does as a plan says.
    pub(crate) fn new(memory: &Memory, history: &History, plan: &Plan) -> Self {
        Self {
            memory: memory.reopen(),
            history: history.clone(),
            script: Mutex::new(Script {
                acts: plan.acts.iter().copied().collect(),
                claims: plan.claims.iter().copied().collect(),
                outage: None,
                away_until: None,
            }),
            calm: watch::Sender::new(false),
        }
    }

    /// Nothing of the store can be reached for so long.
    pub(crate) fn go_away(&self, time: Duration) {
        self.lock().away_until = Some(Instant::now() + time);
    }

    /// Ends all faults.
    pub(crate) fn calm(&self) {
        let mut script = self.lock();
        script.acts.clear();
        script.claims.clear();
        script.away_until = None;
        drop(script);
        self.calm.send_replace(true);
    }

    /// Spoils every batch and claim from now on.
    pub(crate) fn spoil(&self, outage: Outage) {
        let mut script = self.lock();
        script.outage = Some(outage);
        script.away_until = None;
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_act(&self) -> Act {
        let mut script = self.lock();
        match script.outage {
            Some(Outage::Unavailable) => return Act::Unavailable,
            Some(Outage::Full) => return Act::Full,
            Some(Outage::LoseRequest) => return Act::LoseRequest,
            Some(Outage::LoseAnswer) => return Act::LoseAnswer,
            Some(Outage::Hang) => return Act::HangAndFail { ms: u16::MAX },
            None => {}
        }
        script.acts.pop_front().unwrap_or(Act::Persist)
    }

    fn check_reachable(&self) -> Result<()> {
        let script = self.lock();
        let away = script
            .away_until
            .is_some_and(|until| Instant::now() < until);
        let outage = matches!(script.outage, Some(Outage::Unavailable | Outage::Hang));
        match away || outage {
            true => Err(scripted(ErrorKind::Unavailable)),
            false => Ok(()),
        }
    }

    /// Waits for so long, or until no fault is left.
    async fn hang(&self, time: Duration) {
        let mut calm = self.calm.subscribe();
        tokio::select! {
            () = sleep(time) => {}
            _ = calm.wait_for(|calm| *calm) => {}
        }
    }

    async fn act(&self, batch: &Batch) -> Vec<Result<Receipt>> {
        let act = self.next_act();
        let fails = |kind| vec![Err(scripted(kind)); batch.parts().len()];
        if let Act::Away { ms } = act {
            self.go_away(Duration::from_millis(ms.into()));
        }
        if self.check_reachable().is_err() && !matches!(act, Act::HangAndFail { .. }) {
            return fails(ErrorKind::Unavailable);
        }
        match act {
            Act::Persist => self.persist(batch, None).await,
            Act::Delay { ms } => {
                self.hang(Duration::from_millis(ms.into())).await;
                self.persist(batch, None).await
            }
            Act::UntilCut { ms } => {
                tokio::select! {
                    () = self.hang(Duration::from_millis(ms.into())) => {}
                    () = self.history.cut() => {}
                }
                self.persist(batch, None).await
            }
            Act::HangAndFail { ms } => {
                self.hang(Duration::from_millis(ms.into())).await;
                fails(ErrorKind::Unavailable)
            }
            Act::Unavailable | Act::Away { .. } => fails(ErrorKind::Unavailable),
            Act::Full => fails(ErrorKind::Full),
            Act::LoseAnswer => {
                drop(self.persist(batch, None).await);
                fails(ErrorKind::Ambiguous)
            }
            Act::LoseRequest => fails(ErrorKind::Ambiguous),
            Act::Panic { persists } => {
                if persists {
                    drop(self.persist(batch, None).await);
                }
                self.answer(batch, &fails(ErrorKind::Ambiguous));
                std::panic::resume_unwind(Box::new(OnPurpose))
            }
            Act::FailWorld { world } => self.persist(batch, Some(world.into())).await,
        }
    }

    async fn persist(&self, batch: &Batch, spoilt: Option<usize>) -> Vec<Result<Receipt>> {
        let mut answers = Vec::new();
        for part in batch.parts() {
            answers.push(match spoilt == Some(number(part.world())) {
                true => Err(scripted(ErrorKind::Unavailable)),
                false => self.persist_part(part).await,
            });
        }
        answers
    }

    async fn persist_part(&self, part: &Arc<Part>) -> Result<Receipt> {
        if part
            .records()
            .iter()
            .any(|record| is_refused(record.record()))
        {
            return Err(scripted(ErrorKind::Invalid));
        }
        let batch = Batch::new(vec![Arc::clone(part)])?;
        let answers = self.memory.persist_batch(batch).await;
        let receipt = answers.into_iter().next().unwrap()?;
        if !receipt.repeated {
            self.history.note(Event::Executed {
                world: number(part.world()),
                part: Arc::clone(part),
                first: receipt.first.get(),
            });
        }
        Ok(receipt)
    }

    fn answer(&self, batch: &Batch, answers: &[Result<Receipt>]) {
        for (part, answer) in batch.parts().iter().zip(answers) {
            self.history.note(Event::Answered {
                world: number(part.world()),
                part: Arc::clone(part),
                error: answer.as_ref().err().map(Error::kind),
            });
        }
    }
}

/// The payload of the panics that are made on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnPurpose;

fn scripted(kind: ErrorKind) -> Error {
    Error::new(kind, "scripted")
}

#[async_trait]
impl Reads for Scripted {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let reached = self.check_reachable();
        let page = match reached {
            Ok(()) => self.memory.log(world, range, limit).await,
            Err(error) => Err(error),
        };
        let head = page.as_ref().map(|page| page.head.get());
        self.history.note(Event::Looked {
            world: number(world),
            head: head.map_err(Error::kind),
        });
        page
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.check_reachable()?;
        self.memory.state(world, range, limit).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Scripted {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        let info = match self.check_reachable() {
            Ok(()) => self.memory.init(policy).await,
            Err(error) => Err(error),
        };
        self.history.note(Event::Initialised {
            error: info.as_ref().err().map(Error::kind),
        });
        info
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let note = |error| {
            self.history.note(Event::Claimed {
                world: number(world),
                error,
            });
        };
        let act = self.lock().claims.pop_front().unwrap_or(ClaimAct::Claim);
        let claim = match (self.check_reachable(), act) {
            (Err(error), _) => Err(error),
            (Ok(()), ClaimAct::Claim) => self.memory.claim(world, owner, schema).await,
            (Ok(()), ClaimAct::Unavailable) => Err(scripted(ErrorKind::Unavailable)),
            (Ok(()), ClaimAct::LoseAnswer | ClaimAct::Panic) => {
                drop(self.memory.claim(world, owner, schema).await);
                Err(scripted(ErrorKind::Ambiguous))
            }
        };
        note(claim.as_ref().err().map(Error::kind));
        if matches!(act, ClaimAct::Panic) {
            std::panic::resume_unwind(Box::new(OnPurpose));
        }
        claim
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        for part in batch.parts() {
            self.history.note(Event::Handed {
                world: number(part.world()),
                part: Arc::clone(part),
            });
        }
        let answers = self.act(&batch).await;
        self.answer(&batch, &answers);
        answers
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        self.memory.snapshot(world).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.memory.worlds(range, limit).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        self.memory.usage(world).await
    }

    fn stats(&self) -> StorageStats {
        self.memory.stats()
    }

    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}
