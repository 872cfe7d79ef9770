//! `Memory` behind a script: what happens to the next batch.

use super::*;

/// What the scripted backend does with the next batch.
pub(super) enum Act {
    Persist,
    /// Fails before anything is written.
    Fail(ErrorKind),
    /// Writes, and then loses the answer.
    LoseAnswer,
    Hang,
    /// Persists after so long.
    Delay(Duration),
    Panic,
}

/// Whether the scripted backend refuses a record, and how.
pub(super) type Refuses = fn(&WorldRecord) -> Option<ErrorKind>;

/// `Memory`, which does as the script says and notes when each batch came.
#[derive(Default)]
pub(super) struct Scripted {
    pub(super) memory: Memory,
    pub(super) script: Mutex<VecDeque<Act>>,
    pub(super) batches: Mutex<Vec<(Instant, Batch)>>,
    /// What the next calls of `init` answer before it succeeds.
    pub(super) away: Mutex<VecDeque<ErrorKind>>,
    /// Parts with such a record are refused.
    pub(super) refuses: Option<Refuses>,
}

impl Scripted {
    pub(super) fn new(script: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            ..Self::default()
        })
    }

    /// A backend that refuses parts with a record of some kind.
    pub(super) fn refusing(refuses: Refuses) -> Arc<Self> {
        Arc::new(Self {
            refuses: Some(refuses),
            ..Self::default()
        })
    }

    /// A backend that cannot be reached so many times.
    pub(super) fn away(times: usize) -> Arc<Self> {
        Arc::new(Self {
            away: Mutex::new(vec![ErrorKind::Unavailable; times].into()),
            ..Self::default()
        })
    }

    pub(super) fn batches(&self) -> Vec<(Instant, Batch)> {
        self.batches.lock().unwrap().clone()
    }

    /// Persists the parts that are not refused.
    async fn persist(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let refused = |part: &Arc<crate::Part>| {
            let mut records = part.records().iter().map(BatchRecord::record);
            records.find_map(|record| self.refuses.and_then(|refuses| refuses(record)))
        };
        let parts = batch.parts();
        let kept = parts.iter().filter(|part| refused(part).is_none()).cloned();
        let kept = Batch::new(kept.collect()).unwrap();
        let mut answers = self.memory.persist_batch(kept).await.into_iter();
        let answers = parts.iter().map(|part| match refused(part) {
            Some(kind) => Err(part.failed(Error::new(kind, "scripted"))),
            None => answers.next().unwrap(),
        });
        answers.collect()
    }
}

#[async_trait]
impl Reads for Scripted {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.memory.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.memory.state(world, range, limit).await
    }
}

#[async_trait]
impl StorageBackend for Scripted {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        let away = self.away.lock().unwrap().pop_front();
        match away {
            Some(kind) => Err(Error::new(kind, "scripted")),
            None => self.memory.init(policy).await,
        }
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.memory.claim(world, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let noted = (Instant::now(), batch.clone());
        self.batches.lock().unwrap().push(noted);
        let act = self.script.lock().unwrap().pop_front();
        let fail = |kind| {
            let error = Error::new(kind, "scripted");
            vec![Err(error); batch.parts().len()]
        };
        match act.unwrap_or(Act::Persist) {
            Act::Persist => self.persist(batch).await,
            Act::Delay(time) => {
                tokio::time::sleep(time).await;
                self.persist(batch).await
            }
            Act::Fail(kind) => fail(kind),
            Act::LoseAnswer => {
                self.memory.persist_batch(batch.clone()).await;
                fail(ErrorKind::Ambiguous)
            }
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("scripted"),
        }
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
        // Left open, so that a test reads what is there afterwards.
        Ok(())
    }
}
