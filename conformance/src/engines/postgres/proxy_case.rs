//! One message at which the line is harmed: what is done meanwhile, and what has to be true then.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{
    BatchRecord, Error, ErrorKind, Fingerprint, LogRange, LogRow, Owner, Page, Part, Receipt,
    Result, SchemaPolicy, StorageBackend, WorldId,
};
use tokio::time::{Instant, sleep, timeout};

use super::PostgresHarness;
use super::proxy::{Harm, Proxy};
use crate::Harness;
use crate::contents::{WHOLE, contents};
use crate::harness::{close, open};
use crate::sample::{Kind, event, events, schema};
use crate::writer::{Writer, persist};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a backend may take to work again.
const RECOVERY: Duration = Duration::from_secs(10);
/// The time between two tries of the same call.
const PAUSE: Duration = Duration::from_millis(10);
/// A store, reached directly and through a proxy.
pub(super) struct Line {
    harness: PostgresHarness,
    direct: Arc<dyn StorageBackend>,
    proxy: Proxy,
}

impl Line {
    pub(super) async fn new() -> Self {
        let harness = PostgresHarness::new().await;
        Self {
            direct: open(&harness).await,
            proxy: Proxy::start(&harness.address()).await,
            harness,
        }
    }
}

/// What an answer says of what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Nothing,
    Unknown,
}

/// One message at which the line is harmed.
pub(super) struct Case<'a> {
    pub(super) line: &'a Line,
    pub(super) world: WorldId,
    pub(super) at: u32,
    pub(super) harm: Harm,
}

impl Case<'_> {
    /// A backend behind the proxy that is initialised.
    async fn backend(&self) -> Arc<dyn StorageBackend> {
        let backend = self.line.harness.open_through(&self.line.proxy.address());
        let info = backend.init(SchemaPolicy::Upgrade).await;
        info.expect("`init` through the proxy");
        backend
    }

    /// A writer behind the proxy whose world has a part, so that it is not the first one's messages
    /// that are harmed.
    async fn writer(&self) -> Writer {
        let mut writer = Writer::claim(&self.backend().await, &self.world).await;
        writer.persist(self.first()).await;
        writer
    }

    fn first(&self) -> Vec<BatchRecord> {
        events(&self.world, 2)
    }

    fn part(&self, writer: &Writer) -> Arc<Part> {
        writer.part(vec![
            Kind::Treaties.put(&self.world, "a", "1"),
            event(&self.world, "2"),
            Kind::Fleets.put(&self.world, "b", "3"),
        ])
    }

    /// Does something while the line is harmed; `None` if it has fewer messages. What fails has to
    /// be a failure of the line.
    async fn harmed<T>(&self, doing: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        self.line.proxy.arm(self.at, self.harm);
        let answer = timeout(ANSWER, doing).await;
        let answer = answer.unwrap_or_else(|_| panic!("{self}: no answer within {ANSWER:?}"));
        if self.line.proxy.disarm() < self.at {
            return None;
        }
        if let Err(error) = &answer {
            assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous),
                "{self}: {error:?}"
            );
            assert_ne!(self.harm, Harm::Delay, "{self}: {error:?}");
        }
        Some(answer)
    }

    /// Calls until the backend answers something other than that the store cannot be reached.
    /// Whether it was `Ambiguous` on the way.
    async fn again<T, F>(&self, call: impl Fn() -> F) -> (Result<T>, bool)
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + RECOVERY;
        let mut in_doubt = false;
        loop {
            let answer = call().await;
            let kind = answer.as_ref().err().map(Error::kind);
            let harmed = matches!(kind, Some(ErrorKind::Unavailable | ErrorKind::Ambiguous));
            if !harmed || Instant::now() > deadline {
                return (answer, in_doubt);
            }
            in_doubt |= kind == Some(ErrorKind::Ambiguous);
            sleep(PAUSE).await;
        }
    }

    pub(super) async fn persist(&self) -> Option<Answer> {
        let writer = self.writer().await;
        let part = self.part(&writer);
        let answer = self.harmed(persist(&*writer.backend, &part)).await;
        let answer = self.judge(answer?);
        let (receipt, in_doubt) = self.again(|| persist(&*writer.backend, &part)).await;
        let receipt = receipt.unwrap_or_else(|error| panic!("{self}: again: {error:?}"));
        self.check_receipt(receipt, &part);
        match answer {
            Answer::Done => assert!(receipt.repeated, "{self}: acknowledged and not stored"),
            Answer::Nothing => assert!(
                !receipt.repeated || in_doubt,
                "{self}: refused as `Unavailable` and stored all the same"
            ),
            Answer::Unknown => {}
        }
        self.check_contents(Some(&part)).await;
        close(writer.backend).await;
        Some(answer)
    }

    pub(super) async fn persist_and_claim(&self) -> Option<Answer> {
        let writer = self.writer().await;
        let part = self.part(&writer);
        let answer = self.harmed(persist(&*writer.backend, &part)).await;
        let answer = self.judge(answer?);
        let other = Writer::claim_as(&self.line.direct, &self.world, "another").await;
        let stored = other.claim.last_number == part.number();
        match answer {
            Answer::Done => assert!(stored, "{self}: acknowledged and not there for a claimant"),
            Answer::Nothing => assert!(!stored, "{self}: refused as `Unavailable` and stored"),
            Answer::Unknown => {}
        }
        let (again, _) = self.again(|| persist(&*writer.backend, &part)).await;
        match again {
            Ok(receipt) => {
                assert!(stored, "{self}: stored after another writer has claimed");
                assert!(receipt.repeated, "{self}: stored twice");
                self.check_receipt(receipt, &part);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Fenced, "{self}: again: {error:?}");
                assert!(
                    !stored,
                    "{self}: a part that is stored is refused: {error:?}"
                );
            }
        }
        self.check_contents(stored.then_some(&part)).await;
        close(writer.backend).await;
        Some(answer)
    }

    pub(super) async fn claim(&self) -> Option<Answer> {
        let writer = self.writer().await;
        let owner = Owner::new("harmed").expect("an owner that is allowed");
        let schema: Fingerprint = schema().fingerprint();
        let claim = || writer.backend.claim(&self.world, &owner, schema);
        let answer = self.harmed(claim()).await?;
        if let Ok(claim) = &answer {
            assert_eq!(claim.head, writer.claim.head, "{self}: the head of a claim");
        }
        let answer = self.judge(answer);
        let other = Writer::claim_as(&self.line.direct, &self.world, "another").await;
        let claims = other.claim.epoch.get() - writer.claim.epoch.get();
        match answer {
            Answer::Done => assert_eq!(claims, 2, "{self}: claims that are in force"),
            Answer::Nothing => assert_eq!(claims, 1, "{self}: claims that are in force"),
            Answer::Unknown => assert!(matches!(claims, 1 | 2), "{self}: {claims} claims"),
        }
        let (again, _) = self.again(claim).await;
        let again = again.unwrap_or_else(|error| panic!("{self}: again: {error:?}"));
        assert!(again.epoch > other.claim.epoch, "{self}: an epoch again");
        close(writer.backend).await;
        Some(answer)
    }

    pub(super) async fn read(&self) -> Option<Answer> {
        let writer = self.writer().await;
        let read = || writer.backend.log(&self.world, LogRange::ALL, WHOLE);
        read().await.expect("`log`, harmed by nothing");
        let answer = self.harmed(read()).await?;
        let whole = read_whole(&answer);
        assert!(
            whole.is_none_or(|rows| rows == 2),
            "{self}: {whole:?} rows of 2"
        );
        let answer = self.judge(answer);
        assert_ne!(answer, Answer::Unknown, "{self}: a read is never in doubt");
        let (again, _) = self.again(read).await;
        assert_eq!(read_whole(&again), Some(2), "{self}: again: {again:?}");
        close(writer.backend).await;
        Some(answer)
    }

    pub(super) async fn init(&self) -> Option<Answer> {
        let harness = PostgresHarness::new().await;
        let backend = harness.open_through(&self.line.proxy.address());
        let init = || backend.init(SchemaPolicy::Upgrade);
        let answer = self.harmed(init()).await;
        let answer = self.judge(answer?);
        let (again, _) = self.again(init).await;
        again.unwrap_or_else(|error| panic!("{self}: again: {error:?}"));
        close(backend).await;
        let direct = open(&harness).await;
        let mut writer = Writer::claim(&direct, &self.world).await;
        writer.persist(self.first()).await;
        close(direct).await;
        Some(answer)
    }

    fn judge<T>(&self, answer: Result<T>) -> Answer {
        match answer.map_err(|error| error.kind()) {
            Ok(_) => Answer::Done,
            Err(ErrorKind::Unavailable) => Answer::Nothing,
            Err(_) => Answer::Unknown,
        }
    }

    fn check_receipt(&self, receipt: Receipt, part: &Part) {
        let place = (receipt.first.get(), receipt.count);
        assert_eq!(place, (3, part.count()), "{self}: where the part lies");
    }

    /// Checks that the world holds its first part and, whole and once, the harmed one if it is
    /// given.
    async fn check_contents(&self, part: Option<&Arc<Part>>) {
        let contents = contents(&*self.line.direct, &self.world).await;
        let log: Vec<_> = contents.log.iter().map(|row| row.record.clone()).collect();
        let mut records = self.first();
        records.extend(part.iter().flat_map(|part| part.records().to_vec()));
        let head = records.len() as u64;
        assert_eq!(contents.head.get(), head, "{self}: the head");
        let logged = records.iter().filter(|record| record.is_logged());
        let logged: Vec<_> = logged.map(|record| record.record().clone()).collect();
        assert_eq!(log, logged, "{self}: the log");
        let keys = if part.is_some() { 2 } else { 0 };
        assert_eq!(contents.state.len(), keys, "{self}: the keys of the state");
    }
}

fn read_whole<R>(answer: &Result<Page<LogRow, R>>) -> Option<usize> {
    answer.as_ref().ok().map(|page| page.items.len())
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at message {}", self.harm, self.at)
    }
}
