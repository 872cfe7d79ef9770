//! Checking a store after a kill against the ledger of what it has to hold.

use std::sync::Arc;

use aqevia_storage::{
    BatchNumber, Claim, Epoch, ErrorKind, Part, Receipt, Result, StorageBackend, WorldHead, WorldId,
};
use tokio::time::{Duration, Instant, sleep};

use super::Verdict;
use super::compare::{compare_world, heads};
use super::ledger::{Ledger, text};
use super::plan::{Dice, Stand, WORLDS, records};
use crate::model::World;
use crate::sample::{schema, world};
use crate::writer::{persist, persist_all};

impl Ledger {
    /// Compares a store that was just initialised with what it has to hold, settles what was
    /// begun, and writes to it; how long it took to claim its worlds.
    pub(super) async fn compare_and_write(
        &mut self,
        backend: &dyn StorageBackend,
        run: u64,
    ) -> Verdict<Duration> {
        let mut dice = Dice::new(self.seed, &[run]);
        self.look(backend).await?;
        // The part in flight is persisted again by its own writer, or after another has claimed.
        let own_writer = dice.below(2) == 0;
        if own_writer {
            self.settle_begun(backend).await?;
        }
        let claimed = self.claim_all(backend).await?;
        if !own_writer {
            self.settle_begun(backend).await?;
        }
        self.repeat(backend, &mut dice).await?;
        self.write(backend, run).await?;
        self.compare(backend).await?;
        // By now nothing is left that a server may be at work on.
        self.claims.clear();
        Ok(claimed)
    }

    /// Compares a store with what it has to hold, before anything is done to it.
    ///
    /// A server may still be at work on what a client sent before it was killed, so a difference
    /// counts if the worlds stand still.
    async fn look(&mut self, backend: &dyn StorageBackend) -> Verdict {
        for _ in 0..LOOKS_MAX {
            let seen = heads(backend).await?;
            self.settle_heads(&seen)?;
            let compared = self.compare(backend).await;
            if compared.is_ok() || heads(backend).await? == seen {
                return compared;
            }
        }
        self.compare(backend).await
    }

    fn settle_heads(&mut self, heads: &[WorldHead]) -> Verdict {
        for name in WORLDS {
            let id = world(name);
            let head = heads.iter().find(|head| head.world == id);
            let (epoch, number) =
                head.map_or((0, 0), |head| (head.epoch.get(), head.last_number.get()));
            self.settle(&id, epoch, number, 0)?;
        }
        Ok(())
    }

    /// Persists again what was begun. What was not in when the store was looked at may be by now.
    async fn settle_begun(&mut self, backend: &dyn StorageBackend) -> Verdict {
        let begun = std::mem::take(&mut self.begun).into_values();
        let (runs, begun): (Vec<_>, Vec<_>) = begun.unzip();
        let expected = self.model.persist(&begun);
        let answers = persist_patiently(backend, &begun).await;
        for (((part, run), answer), expected) in begun.iter().zip(runs).zip(answers).zip(expected) {
            let late = answer.as_ref().is_ok_and(|receipt| receipt.repeated);
            if late {
                self.cut.store(run);
            }
            let expected = expected.map(|receipt| match late {
                true => Receipt::repeated(receipt.first, receipt.count),
                false => receipt,
            });
            check_answer(part, &answer, &expected)?;
        }
        Ok(())
    }

    /// Persists the last part of each world again, and an older one.
    async fn repeat(&mut self, backend: &dyn StorageBackend, dice: &mut Dice) -> Verdict {
        let (mut last, mut older) = (Vec::new(), Vec::new());
        for parts in WORLDS.map(|name| self.model.world(&world(name)).map(World::parts)) {
            let parts = parts.unwrap_or_default();
            last.extend(parts.last().cloned());
            let index = dice.below(parts.len() as u64);
            older.extend(parts.get(usize::try_from(index).unwrap_or(0)).cloned());
        }
        self.persist_again(backend, &last).await?;
        self.persist_again(backend, &older).await
    }

    /// Persists parts of different worlds, and compares each answer with the model's.
    async fn persist_again(
        &mut self,
        backend: &dyn StorageBackend,
        parts: &[Arc<Part>],
    ) -> Verdict {
        let expected = self.model.persist(parts);
        let answers = persist_patiently(backend, parts).await;
        for ((part, answer), expected) in parts.iter().zip(answers).zip(expected) {
            check_answer(part, &answer, &expected)?;
        }
        Ok(())
    }

    async fn claim_all(&mut self, backend: &dyn StorageBackend) -> Verdict<Duration> {
        let mut elapsed = Duration::ZERO;
        for name in WORLDS {
            let id = world(name);
            let begin = Instant::now();
            let stand = patiently(|| Stand::claim(backend, &id)).await;
            elapsed += begin.elapsed();
            let claim = stand.map_err(|error| format!("P1: `claim` after a kill fails: {error:?}"));
            self.expect_claim(&id, &claim?.claim)?;
        }
        Ok(elapsed)
    }

    fn expect_claim(&mut self, id: &WorldId, claim: &Claim) -> Verdict {
        *self.claims.entry(id.clone()).or_default() += 1;
        self.settle(id, claim.epoch.get(), claim.last_number.get(), 1)?;
        self.check_claim(id, claim.head.get(), &text(&claim.link))?;
        let mut expected = self.stand(id).claim;
        let before = claim.epoch > Epoch::FIRST;
        expected.schema = before.then(|| schema().fingerprint());
        if *claim == expected {
            return Ok(());
        }
        Err(format!(
            "P7: the claim of world {id:?} is {claim:?}, and has to be {expected:?}"
        ))
    }

    /// Persists a part of each world.
    async fn write(&mut self, backend: &dyn StorageBackend, run: u64) -> Verdict {
        let records = records(self.seed, run, u64::MAX);
        let parts: Vec<_> = records
            .into_iter()
            .map(|(world, records)| self.stand(&world).part(records))
            .collect();
        self.persist_again(backend, &parts).await
    }

    /// Compares all worlds with the model.
    async fn compare(&self, backend: &dyn StorageBackend) -> Verdict {
        let (found, expected) = (heads(backend).await?, self.model.heads());
        for world in &expected {
            let parts = self.model.world(&world.world);
            compare_world(backend, &world.world, parts.unwrap_or(&World::default())).await?;
        }
        if found != expected {
            return Err(format!(
                "P1: the worlds are {found:?}, and have to be {expected:?}"
            ));
        }
        Ok(())
    }
}

/// How often a store is looked at that a server is still at work on.
const LOOKS_MAX: u32 = 20;

/// Persists parts of different worlds; those that are `Unavailable` again.
async fn persist_patiently(
    backend: &dyn StorageBackend,
    parts: &[Arc<Part>],
) -> Vec<Result<Receipt>> {
    let mut answers = persist_all(backend, parts).await;
    for (part, answer) in parts.iter().zip(&mut answers) {
        if matches!(answer, Err(error) if error.kind() == ErrorKind::Unavailable) {
            *answer = patiently(|| persist(backend, part)).await;
        }
    }
    answers
}

/// Calls again while the answer is `Unavailable`: what a killed process had locked is not free
/// before its end has been noticed.
pub(crate) async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 0..TRIES_MAX {
        match call().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => sleep(PAUSE).await,
            answer => return answer,
        }
    }
    call().await
}

/// How often, and how long after another, something is called that is `Unavailable`: for 10 s.
const TRIES_MAX: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Compares the answer to a part that is persisted again.
fn check_answer(
    part: &Part,
    answer: &Result<Receipt>,
    expected: &Result<Receipt, ErrorKind>,
) -> Verdict {
    let kinds = answer.as_ref().map_err(|error| error.kind()).copied();
    if kinds == *expected {
        return Ok(());
    }
    let clause = match expected {
        Ok(receipt) if receipt.repeated => "P5",
        Err(_) => "P6",
        Ok(_) => "P1",
    };
    let (number, world): (BatchNumber, _) = (part.number(), part.world());
    Err(format!(
        "{clause}: part {number} of world {world:?} is answered {answer:?}, and has to be answered \
         {expected:?}"
    ))
}
