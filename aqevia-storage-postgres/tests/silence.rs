//! A server that falls silent on connections that stay open, and answers in others.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{ErrorKind, Limit, LogRange, Result, SchemaPolicy, StorageBackend};
use aqevia_storage_postgres::{Postgres, PostgresConfig};
use sqlx::PgConnection;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::bad_input::refused;
use crate::sessions::listener;
use crate::store::{Schema, Writer, arda, event, json, log, numenor, open, persist, run, texts};

const REPLY_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than anything takes that has its bounds, and shorter than what waits for the system.
const BOUND: Duration = Duration::from_secs(8);

/// A relay that can fall silent for good on the connections that it has.
struct Relay {
    fell_silent: watch::Sender<()>,
    _connections: JoinSet<()>,
}

impl Relay {
    async fn new(config: &PostgresConfig) -> (Self, PostgresConfig) {
        let address = (config.host.clone(), config.port);
        let (listener, mut through) = listener(config).await;
        through.password = config.password.clone();
        through.reply_timeout = REPLY_TIMEOUT;
        through.pool.size = 1;
        let fell_silent = watch::Sender::new(());
        let silence = fell_silent.clone();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = TcpStream::connect(address.clone()).await.unwrap();
                let mut silent = silence.subscribe();
                relays.spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = silent.changed() => pending().await,
                    }
                });
            }
        });
        let relay = Self {
            fell_silent,
            _connections: connections,
        };
        (relay, through)
    }

    fn fall_silent(&self) {
        self.fell_silent.send_replace(());
    }
}

/// A store behind a relay, with two worlds that are claimed.
struct Scene {
    schema: Schema,
    relay: Relay,
    store: Arc<Postgres>,
    arda: Writer,
    numenor: Writer,
}

impl Scene {
    async fn new() -> Self {
        let schema = Schema::new().await;
        let (relay, config) = Relay::new(&schema.config()).await;
        let store = open(config).await;
        Self {
            arda: Writer::claim(&store, &arda()).await,
            numenor: Writer::claim(&store, &numenor()).await,
            schema,
            relay,
            store,
        }
    }

    /// Persists a part for the second time, and goes on with both worlds.
    async fn goes_on(&mut self, repeated: bool) {
        let part = || self.arda.part(vec![event(&arda(), json("1"))]);
        let again = async {
            loop {
                match persist(&self.store, part()).await {
                    // The server may still be at work on the first.
                    Err(error) if error.kind() == ErrorKind::Unavailable => {}
                    receipt => return receipt.unwrap(),
                }
            }
        };
        let receipt = timeout(BOUND, again).await.unwrap();
        assert_eq!(receipt.repeated, repeated);
        assert_eq!(log(&*self.store, &arda()).await.len(), 1);
        let other = vec![event(&numenor(), json("1"))];
        self.numenor.persist(other).await.unwrap();
    }

    async fn close(&self) {
        let closed = timeout(BOUND, self.store.close()).await;
        closed.unwrap().unwrap();
    }
}

/// Waits until a session waits for a lock on a table of the schema.
async fn until_one_waits(sql: &mut PgConnection, schema: &str) {
    let waiting = format!(
        "SELECT relname::text FROM pg_locks
         JOIN pg_class ON pg_class.oid = relation
         WHERE NOT granted AND relnamespace = '{schema}'::regnamespace"
    );
    while texts(sql, &waiting).await.is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Asserts that a call is answered within its bounds, and by silence.
async fn in_silence<T>(call: impl Future<Output = Result<T>>, kind: ErrorKind) {
    let answer = timeout(BOUND, call).await;
    let error = answer.unwrap().err().unwrap();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains("reply_timeout_ms"), "{error}");
}

#[tokio::test]
async fn a_part_that_is_sent_into_silence_is_in_doubt_and_goes_in_once() {
    let mut scene = Scene::new().await;
    // The session has just been used, so it is not asked whether it is there.
    scene.relay.fall_silent();
    let part = scene.arda.part(vec![event(&arda(), json("1"))]);
    in_silence(persist(&scene.store, part), ErrorKind::Ambiguous).await;
    scene.goes_on(false).await;
    scene.close().await;
}

#[tokio::test]
async fn a_part_whose_answer_is_lost_in_silence_is_in_doubt_and_was_written_once() {
    let mut scene = Scene::new().await;
    // The statement is prepared with this one, so that all of the next is sent at once.
    let other = vec![event(&numenor(), json("1"))];
    scene.numenor.persist(other).await.unwrap();
    let (mut holder, mut witness) = (scene.schema.sql().await, scene.schema.sql().await);
    run(&mut holder, "BEGIN; LOCK TABLE world_batches").await;
    let part = scene.arda.part(vec![event(&arda(), json("1"))]);
    let answer = in_silence(persist(&scene.store, part), ErrorKind::Ambiguous);
    let silence = async {
        until_one_waits(&mut witness, &scene.schema.config().schema).await;
        scene.relay.fall_silent();
        run(&mut holder, "ROLLBACK").await;
    };
    tokio::join!(answer, silence);
    scene.goes_on(true).await;
    scene.close().await;
}

#[tokio::test]
async fn what_reads_into_silence_is_unavailable_and_reads_again() {
    let scene = Scene::new().await;
    let store = &scene.store;
    log(&**store, &arda()).await;
    scene.relay.fall_silent();
    in_silence(store.usage(&arda()), ErrorKind::Unavailable).await;
    log(&**store, &arda()).await;
    scene.relay.fall_silent();
    in_silence(store.snapshot(&arda()), ErrorKind::Unavailable).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    scene.relay.fall_silent();
    let world = arda();
    let page = snapshot.log(&world, LogRange::ALL, Limit::default());
    in_silence(page, ErrorKind::Unavailable).await;
    assert!(log(&**store, &arda()).await.is_empty());
    scene.close().await;
}

#[tokio::test]
async fn a_session_that_idled_into_silence_is_replaced_at_no_call_s_cost() {
    let mut scene = Scene::new().await;
    scene.relay.fall_silent();
    // It is asked whether it is there after half a second.
    sleep(Duration::from_millis(600)).await;
    let part = vec![event(&arda(), json("1"))];
    scene.arda.persist(part).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn closing_waits_for_silence_only_so_long() {
    let scene = Scene::new().await;
    let _snapshot = scene.store.snapshot(&arda()).await.unwrap();
    scene.relay.fall_silent();
    let part = scene.arda.part(vec![event(&arda(), json("1"))]);
    let persisted = persist(&scene.store, part);
    let (persisted, ()) = tokio::join!(persisted, scene.close());
    assert_eq!(persisted.unwrap_err().kind(), ErrorKind::Ambiguous);
}

#[tokio::test]
async fn making_the_layout_has_its_bounds() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    let hold = format!(
        "BEGIN;
         SELECT pg_advisory_xact_lock(hashtextextended('aqevia-storage layout {}', 0))",
        config.schema
    );
    let mut holder = schema.sql().await;
    run(&mut holder, &hold).await;
    config.reply_timeout = Duration::from_millis(100);
    let says = ["did not answer in time", "raise reply_timeout_ms"];
    let policy = SchemaPolicy::Upgrade;
    refused(config, policy, ErrorKind::Unavailable, &says).await;
    run(&mut holder, "ROLLBACK").await;
    open(schema.config()).await.close().await.unwrap();
}
