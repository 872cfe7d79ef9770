use std::io::{Result as IoResult, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::Level;
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::Memory;
use crate::layer::held::{Held, batch, claim, claim_one, part, persist, world};
use crate::layer::{Fault, FaultPlan, FaultRates};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self, level: Level) -> DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_max_level(level)
            .with_writer(move || writer.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    /// What was logged since this was called last, in lines.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_is_told_with_its_duration() {
    let log = Log::default();
    let _guard = log.listen(Level::DEBUG);
    let held = Held::new();
    let store = Trace::new(Arc::clone(&held));
    claim(&store, &["arda"]).await;
    let gate = held.hold();
    log.take();
    let arda = world("arda");
    let release = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        gate.send(()).unwrap();
    };
    let (usage, ()) = tokio::join!(store.usage(&arda), release);
    usage.unwrap();
    assert_eq!(
        log.take(),
        [
            "DEBUG call{call=\"usage\" world=\"arda\"}: aqevia_storage::backend: answered elapsed_us=1500000"
        ]
    );
}

#[tokio::test]
async fn every_call_is_told() {
    let log = Log::default();
    let _guard = log.listen(Level::DEBUG);
    let store = Trace::new(Memory::new());
    claim(&store, &["arda"]).await;
    let (arda, limit) = (world("arda"), Limit::default());
    store.log(&arda, LogRange::ALL, limit).await.unwrap();
    store
        .state(&arda, StateRange::default(), limit)
        .await
        .unwrap();
    let snapshot = store.snapshot(&arda).await.unwrap();
    snapshot.log(&arda, LogRange::ALL, limit).await.unwrap();
    snapshot
        .state(&arda, StateRange::default(), limit)
        .await
        .unwrap();
    store.worlds(WorldRange::default(), limit).await.unwrap();
    store.close().await.unwrap();
    let calls: Vec<_> = log
        .take()
        .iter()
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        calls,
        [
            "init", "claim", "log", "state", "snapshot", "log", "state", "worlds", "close"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_told_with_its_size_and_what_became_of_it() {
    let log = Log::default();
    let _guard = log.listen(Level::DEBUG);
    let store = Trace::new(Memory::new());
    claim(&store, &["a", "b"]).await;
    persist(&store, &part("a", 1)).await.unwrap();
    log.take();
    let parts = [part("a", 1), part("b", 1), part("c", 1)];
    let bytes: usize = parts.iter().map(|part| part.bytes()).sum();
    store.persist_batch(batch(&parts.each_ref())).await;
    let span = format!(
        "call{{call=\"persist_batch\" parts=3 records=3 bytes={bytes}}}: aqevia_storage::backend:"
    );
    let lines = log.take();
    assert_eq!(lines.len(), 2);
    let warning = format!(
        "WARN {span} failed call=\"persist_batch\" world=\"c\" kind=\"invalid\" error=persist batch 1 of world \"c\": "
    );
    assert!(lines[0].starts_with(&warning), "{}", lines[0]);
    let counts = format!("DEBUG {span} answered elapsed_us=0 persisted=1 repeated=1 failed=1");
    assert_eq!(lines[1], counts);
}

#[tokio::test]
async fn an_error_is_a_warning_and_shows_no_payload() {
    let log = Log::default();
    let _guard = log.listen(Level::WARN);
    let mut plan = FaultPlan::new(1);
    plan.claims = FaultRates::all_unavailable();
    let store = Trace::new(Fault::new(Memory::new(), plan).unwrap());
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    claim_one(&store, "a").await.unwrap_err();
    persist(&store, &part("a", 1)).await.unwrap_err();
    let lines = log.take();
    assert_eq!(
        lines[0],
        "WARN aqevia_storage::backend: failed call=\"claim\" world=\"a\" kind=\"unavailable\" \
         error=claim world \"a\": a fault that was planned"
    );
    assert!(
        lines[1].contains("call=\"persist_batch\" world=\"a\" kind=\"invalid\""),
        "{}",
        lines[1]
    );
    assert_eq!(lines.len(), 2);
    assert!(!lines.concat().contains("a secret"));
}
