//! A server that goes away under a writer and comes back, and what it holds then.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{
    ErrorKind, Limit, LogRange, LogRow, Part, Receipt, SchemaPolicy, StorageBackend,
};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::own::OwnServer;
use crate::contents::paged_log;
use crate::process::Percentiles;
use crate::sample::{events, world};
use crate::writer::{Writer, persist};

/// What befalls the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// All its processes are killed by SIGKILL, and it is started again.
    Kill,
    /// It stops where it is, silently, and goes on.
    Pause,
    /// It is taken off its network, and joined to it again.
    CutOff,
}

impl Outage {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Pause, Self::CutOff];
}

/// How long a server is paused or cut off.
const AWAY: Duration = Duration::from_secs(2);
/// The parts that are acknowledged between two outages.
const PARTS_BETWEEN: usize = 25;
/// How long the writer may take to persist so many.
const RECOVERY: Duration = Duration::from_secs(60);
/// The time between two tries of a part.
const PAUSE: Duration = Duration::from_millis(5);

/// What a writer was told while its server went away and came back.
///
/// That the store holds each acknowledged part, whole, once and in order, has been checked before
/// there is a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OutageReport {
    /// What befell the server.
    #[serde(skip)]
    pub outage: Outage,
    /// How often.
    pub times: u32,
    /// The parts that were acknowledged.
    pub parts: usize,
    /// The records in them.
    pub records: usize,
    /// How often a part was refused as `Unavailable`.
    pub unavailable: usize,
    /// How often the fate of a part was `Ambiguous`.
    pub ambiguous: usize,
    /// How many parts were found to be stored when they were persisted again.
    pub repeated: usize,
    /// How long it took from the end of an outage, or from the kill, to the next acknowledgement.
    pub recovery_ms: Percentiles,
}

/// Lets outages befall a server of its own while a writer persists parts without a break and
/// persists again what is not acknowledged.
///
/// # Panics
/// If what the store holds in the end is not what was acknowledged, or if the writer does not get
/// on within a minute.
pub async fn server_outages(outage: Outage, times: u32) -> OutageReport {
    let server = OwnServer::start(None).await;
    let (acknowledged, mut watched) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);
    let store = server.open();
    store.init(SchemaPolicy::Upgrade).await.expect("`init`");
    let writing = tokio::spawn(write(store, acknowledged, stopped));
    let mut recoveries = Vec::new();
    for _ in 0..times {
        wait_for_parts(&mut watched, PARTS_BETWEEN).await;
        let begin = befall(&server, outage).await;
        wait_for_parts(&mut watched, 1).await;
        recoveries.push(begin.elapsed());
    }
    wait_for_parts(&mut watched, PARTS_BETWEEN).await;
    stop.send_replace(true);
    let written = timeout(RECOVERY, writing).await;
    let written = written
        .expect("the writer stops in time")
        .expect("the writer");
    written.check(&server.open()).await;
    server.end().await;
    OutageReport {
        outage,
        times,
        parts: written.parts.len(),
        records: written
            .parts
            .iter()
            .map(|(part, _)| part.records().len())
            .sum(),
        unavailable: written.unavailable,
        ambiguous: written.ambiguous,
        repeated: written
            .parts
            .iter()
            .filter(|(_, receipt)| receipt.repeated)
            .count(),
        recovery_ms: Percentiles::of(recoveries),
    }
}

/// Lets an outage befall the server; the moment from which it can recover.
async fn befall(server: &OwnServer, outage: Outage) -> Instant {
    let begin = Instant::now();
    match outage {
        Outage::Kill => {
            server.kill().await;
            return begin;
        }
        Outage::Pause => {
            server.pause().await;
            sleep(AWAY).await;
            server.go_on().await;
        }
        Outage::CutOff => {
            let network = server.cut_off().await;
            sleep(AWAY).await;
            server.join(&network).await;
        }
    }
    Instant::now()
}

/// Waits until so many more parts are acknowledged.
async fn wait_for_parts(acknowledged: &mut watch::Receiver<usize>, more: usize) {
    let enough = *acknowledged.borrow() + more;
    let waited = timeout(RECOVERY, acknowledged.wait_for(|parts| *parts >= enough)).await;
    let waited = waited.unwrap_or_else(|_| {
        panic!("the writer did not get on within {RECOVERY:?} of what befell its server")
    });
    waited.expect("the writer goes on");
}

/// What a writer was told.
#[derive(Default)]
struct Written {
    parts: Vec<(Arc<Part>, Receipt)>,
    unavailable: usize,
    ambiguous: usize,
}

async fn write(
    store: Arc<dyn StorageBackend>,
    acknowledged: watch::Sender<usize>,
    stopped: watch::Receiver<bool>,
) -> Written {
    let mut writer = Writer::claim(&store, &world("arda")).await;
    let mut written = Written::default();
    while !*stopped.borrow() {
        let records = events(&writer.world, 1 + written.parts.len() % 5);
        let part = writer.part(records);
        let receipt = written.until_acknowledged(&writer, &part).await;
        writer.advance(&part);
        written.parts.push((part, receipt));
        acknowledged.send_replace(written.parts.len());
    }
    store.close().await.expect("`close`");
    written
}

impl Written {
    async fn until_acknowledged(&mut self, writer: &Writer, part: &Arc<Part>) -> Receipt {
        let mut in_doubt = false;
        loop {
            let error = match persist(&*writer.backend, part).await {
                Ok(receipt) => {
                    assert!(
                        in_doubt || !receipt.repeated,
                        "E1: part {} was refused as `Unavailable` and stored all the same",
                        part.number()
                    );
                    return receipt;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Unavailable => self.unavailable += 1,
                ErrorKind::Ambiguous => {
                    in_doubt = true;
                    self.ambiguous += 1;
                }
                _ => panic!("while the server was away: {error:?}"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Checks that the store holds what was acknowledged, through a backend that has written none
    /// of it.
    async fn check(&self, store: &Arc<dyn StorageBackend>) {
        store.init(SchemaPolicy::Upgrade).await.expect("`init`");
        let limit = Limit::default();
        let log = paged_log(&**store, &world("arda"), LogRange::ALL, limit).await;
        let mut rows = log.iter();
        for (part, receipt) in &self.parts {
            let stored: Vec<&LogRow> = rows.by_ref().take(part.records().len()).collect();
            let first = stored.first().map(|row| row.sequence);
            assert_eq!(
                first,
                Some(receipt.first),
                "P3: where part {} lies",
                part.number()
            );
            let stored = stored.iter().map(|row| &row.record);
            assert!(
                stored.eq(part.records().iter().map(|record| record.record())),
                "P1, P2: part {}, which was acknowledged",
                part.number()
            );
        }
        assert_eq!(rows.next(), None, "P5: more than was persisted");
        store.close().await.expect("`close`");
    }
}
