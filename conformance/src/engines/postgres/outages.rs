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
    /// The engine of the server, which is one in a container, and its version.
    pub engine: String,
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
    pub recovery_ms: Option<Percentiles>,
}

/// Lets outages befall a server of its own while a writer persists parts without a break and
/// persists again what is not acknowledged.
///
/// # Panics
/// If what the store holds in the end is not what was acknowledged, or if the writer does not get
/// on within a minute. If no kill and no cut hit a part: nothing was shown then.
pub async fn server_outages(outage: Outage, times: u32) -> OutageReport {
    let server = OwnServer::start(None).await;
    let (acknowledged, mut watched) = watch::channel(0);
    let (stop, stopped) = watch::channel(false);
    let store = server.open();
    let info = store.init(SchemaPolicy::Upgrade).await.expect("`init`");
    let writing = tokio::spawn(write(store, acknowledged, stopped));
    let mut recoveries = Vec::new();
    for _ in 0..times {
        wait_for_parts(&mut watched, PARTS_BETWEEN).await;
        let begin = befall(&server, outage, &watched).await;
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
    let shown = check_hits(outage, times, [written.unavailable, written.ambiguous]);
    shown.unwrap_or_else(|matter| panic!("{matter}"));
    OutageReport {
        outage,
        engine: info.engine,
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

/// So many kills hit at least one part whose fate is not known then.
const KILLS_TO_DOUBT: u32 = 30;

/// Whether outages that break connections hit parts: so many were `Unavailable`, or `Ambiguous`.
fn check_hits(
    outage: Outage,
    times: u32,
    [unavailable, ambiguous]: [usize; 2],
) -> Result<(), String> {
    let missing = match outage {
        Outage::Pause => return Ok(()),
        _ if times > 0 && unavailable + ambiguous == 0 => "`Unavailable` or `Ambiguous`",
        Outage::Kill if times >= KILLS_TO_DOUBT && ambiguous == 0 => "`Ambiguous`",
        Outage::Kill | Outage::CutOff => return Ok(()),
    };
    Err(format!(
        "the check shows nothing: {outage:?} befell the server {times} times, and no part was \
         {missing}"
    ))
}

/// Lets an outage befall the server; the moment from which it can recover.
async fn befall(
    server: &OwnServer,
    outage: Outage,
    acknowledged: &watch::Receiver<usize>,
) -> Instant {
    let begin = Instant::now();
    match outage {
        Outage::Kill => {
            server.kill().await;
            return begin;
        }
        Outage::Pause => {
            server.pause().await;
            // One answer may have been on its way.
            let silent = *acknowledged.borrow() + 1;
            sleep(AWAY).await;
            let parts = *acknowledged.borrow();
            assert!(parts <= silent, "a server answers that was paused");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_that_hit_no_part_show_nothing() {
        for outage in [Outage::Kill, Outage::CutOff] {
            assert!(check_hits(outage, 1, [0, 0]).is_err());
            assert!(check_hits(outage, 1, [1, 0]).is_ok());
            assert!(check_hits(outage, 1, [0, 1]).is_ok());
        }
        assert!(check_hits(Outage::Pause, 30, [0, 0]).is_ok());
    }

    #[test]
    fn many_kills_leave_a_part_in_doubt() {
        let matter = check_hits(Outage::Kill, 30, [7, 0]).unwrap_err();
        assert!(matter.contains("30 times"), "{matter}");
        assert!(check_hits(Outage::Kill, 30, [7, 1]).is_ok());
        assert!(check_hits(Outage::CutOff, 30, [7, 0]).is_ok());
    }
}
