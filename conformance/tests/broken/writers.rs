//! Defects in who may write what, beside and after whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, BatchNumber, Claim, Error, ErrorKind, Fingerprint, Memory, Owner, Receipt, Result,
    StorageBackend, WorldId,
};
use async_trait::async_trait;
use tokio::time::{Duration, sleep};

use super::numbers::{is, persist_instead};
use super::{Defect, head};

/// Looks at the epoch of a part before it looks whether it wrote it.
#[derive(Default)]
pub(crate) struct FencedFirst;

#[async_trait]
impl Defect for FencedFirst {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut answers = memory.persist_batch(batch.clone()).await;
        for (answer, part) in answers.iter_mut().zip(batch.parts()) {
            let head = head(memory, part.world()).await;
            if answer.is_ok() && head.is_some_and(|head| part.epoch() < head.epoch) {
                *answer = Err(part.failed(Error::new(ErrorKind::Fenced, "an older epoch")));
            }
        }
        answers
    }
}

/// Writes the part of a writer that is fenced, as if its epoch were the present one.
#[derive(Default)]
pub(crate) struct NotFencing;

#[async_trait]
impl Defect for NotFencing {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        persist_instead(memory, batch, |answer, _| is(answer, ErrorKind::Fenced)).await
    }
}

/// Refuses a writer that is fenced without saying who has the world.
#[derive(Default)]
pub(crate) struct NamesNobody;

#[async_trait]
impl Defect for NamesNobody {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let answers = memory.persist_batch(batch.clone()).await;
        let parts = batch.parts().iter();
        let answers = answers.into_iter().zip(parts).map(|(answer, part)| {
            answer.map_err(|error| match error.kind() {
                ErrorKind::Fenced => part.failed(Error::new(ErrorKind::Fenced, "somebody came")),
                _ => error,
            })
        });
        answers.collect()
    }
}

/// Refuses a batch of several parts as soon as one of them is fenced.
#[derive(Default)]
pub(crate) struct OneRefusesAll;

#[async_trait]
impl Defect for OneRefusesAll {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        for part in batch.parts() {
            let head = head(memory, part.world()).await;
            let fenced = head.is_some_and(|head| head.epoch > part.epoch());
            if fenced && batch.parts().len() > 1 {
                return refuse(&batch, "one of them is refused");
            }
        }
        memory.persist_batch(batch).await
    }
}

/// Refuses whoever persists while another call, through any backend, is under way.
#[derive(Default)]
pub(crate) struct OneAtATime {
    busy: Arc<AtomicBool>,
}

#[async_trait]
impl Defect for OneAtATime {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return refuse(&batch, "another writer is at work");
        }
        let _busy = Busy(&self.busy);
        // Others come while the call is under way.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        memory.persist_batch(batch).await
    }

    fn another(&self) -> Self {
        Self {
            busy: Arc::clone(&self.busy),
        }
    }
}

/// A call that is under way.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How often [`InOrderOfClaims`] looks whether the world has come whose turn it is.
const LOOKS_MAX: usize = 3;

/// Refuses the parts of a world as long as one that was claimed before it has none. It waits a
/// moment for that one, so that writers which begin at once do not meet it.
#[derive(Default)]
pub(crate) struct InOrderOfClaims {
    claimed: Arc<Mutex<Vec<WorldId>>>,
}

#[async_trait]
impl Defect for InOrderOfClaims {
    async fn claim(
        &self,
        memory: &Memory,
        id: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let claim = memory.claim(id, owner, schema).await?;
        let mut claimed = self.claimed.lock().unwrap();
        if !claimed.contains(id) {
            claimed.push(id.clone());
        }
        Ok(claim)
    }

    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let claimed = self.claimed.lock().unwrap().clone();
        let comes = |world: &WorldId| batch.parts().iter().any(|part| part.world() == world);
        for world in claimed.iter().take_while(|world| !comes(world)) {
            let mut looks = 0;
            while let Some(head) = head(memory, world).await
                && head.last_number == BatchNumber::ZERO
            {
                if looks == LOOKS_MAX {
                    return refuse(&batch, "another world has its turn");
                }
                looks += 1;
                sleep(Duration::from_millis(10)).await;
            }
        }
        memory.persist_batch(batch).await
    }

    fn another(&self) -> Self {
        Self {
            claimed: Arc::clone(&self.claimed),
        }
    }
}

fn refuse(batch: &Batch, why: &str) -> Vec<Result<Receipt>> {
    let parts = batch.parts().iter();
    parts
        .map(|part| Err(part.failed(Error::invalid(why))))
        .collect()
}
