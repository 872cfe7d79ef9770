//! Sessions that do not come about, end on the way, or are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqevia_storage::{ErrorKind, Limit, SchemaPolicy, StorageBackend, WorldId};
use aqevia_storage_postgres::{PostgresConfig, SslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bad_input::refused;
use crate::store::{
    Schema, Writer, arda, claim, event, json, log, open, persist, persist_all, put, run, texts,
};

/// A listener in the place of a server, and the settings that lead to it.
pub(crate) async fn listener(config: &PostgresConfig) -> (TcpListener, PostgresConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config.clone();
    config.host = "127.0.0.1".to_owned();
    config.port = listener.local_addr().unwrap().port();
    config.tls.mode = SslMode::Disable;
    config.password = Some("secret-7f3a".to_owned());
    (listener, config)
}

/// Answers the first message of each connection with these bytes, and closes it.
async fn answering(config: &PostgresConfig, answer: Vec<u8>) -> (JoinSet<()>, PostgresConfig) {
    let (listener, config) = listener(config).await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut message = [0; 1024];
            let _ = client.read(&mut message).await;
            let _ = client.write_all(&answer).await;
        }
    });
    (server, config)
}

/// A message of the protocol: its type, its length, its fields.
fn message(kind: u8, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], fields].concat()
}

/// An `ErrorResponse`.
fn fatal(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno, secret\0\0");
    message(b'E', fields.as_bytes())
}

/// What a server that lets everyone in says first, up to `ReadyForQuery`.
fn welcome(version: &str) -> Vec<u8> {
    let version = format!("server_version\0{version}\0");
    [
        message(b'R', &[0; 4]),
        message(b'S', version.as_bytes()),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
    ]
    .concat()
}

#[tokio::test]
async fn a_server_that_refuses_a_session_says_by_its_code_what_to_do() {
    let config = Schema::new().await.config();
    for (code, kind, says) in [
        ("28P01", ErrorKind::Invalid, "correct user and password"),
        ("28000", ErrorKind::Invalid, "correct user and password"),
        ("3D000", ErrorKind::Invalid, "create it, or correct the URL"),
        ("53300", ErrorKind::Unavailable, "lower pool_size"),
        ("57P03", ErrorKind::Unavailable, "starting or stopping"),
        ("57P01", ErrorKind::Unavailable, "ended the session"),
    ] {
        let (_server, config) = answering(&config, fatal(code)).await;
        refused(config, SchemaPolicy::Upgrade, kind, &[says]).await;
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_asked_for_nothing() {
    let config = Schema::new().await.config();
    for (version, shown) in [
        ("12.22 (Debian 12.22-1.pgdg120+1)", "12.22"),
        ("11.22", "11.22"),
        ("9.6.24", "9.6.24"),
    ] {
        let (_server, config) = answering(&config, welcome(version)).await;
        let says = format!("the server is Postgres {shown}: use Postgres 13 or later");
        let policy = SchemaPolicy::Upgrade;
        refused(config, policy, ErrorKind::Unsupported, &[&says]).await;
    }
}

#[tokio::test]
async fn a_proxy_without_a_server_is_unavailable() {
    let config = Schema::new().await.config();
    let (_server, config) = answering(&config, Vec::new()).await;
    let says = ["the server cannot be reached", "host and port are right"];
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Unavailable, &says).await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_unavailable_after_a_time() {
    let config = Schema::new().await.config();
    let (_listener, mut config) = listener(&config).await;
    config.pool.acquire_timeout = Duration::from_millis(100);
    let says = ["did not answer within 100 ms"];
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Unavailable, &says).await;
}

#[tokio::test]
async fn a_server_that_ends_all_sessions_is_found_again() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.application_name = format!("of {}", config.schema);
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
        config.application_name
    );
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    for round in 0..3 {
        run(&mut schema.sql().await, &end).await;
        let part = || writer.part(vec![event(&arda(), json("1"))]);
        // The session may be found gone by asking or by writing; a second one is there at once.
        let first = persist(&store, part()).await;
        if let Err(error) = &first {
            assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error:?}");
        }
        writer
            .persist(vec![event(&arda(), json("1"))])
            .await
            .unwrap();
        run(&mut schema.sql().await, &end).await;
        if let Err(error) = store.usage(&arda()).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        }
        assert_eq!(store.usage(&arda()).await.unwrap().parts, round + 1);
    }
    assert_eq!(log(&*store, &arda()).await.len(), 3);
}

/// A relay before a server that counts the statements that go through it.
struct Relay {
    executed: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Relay {
    async fn new(config: &PostgresConfig) -> (Self, PostgresConfig) {
        let server = (config.host.clone(), config.port);
        let password = config.password.clone();
        let (listener, mut config) = listener(config).await;
        config.password = password;
        let executed = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&executed);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let server = TcpStream::connect(server.clone()).await.unwrap();
                let (from_server, to_server) = server.into_split();
                relays.spawn(questions(from_client, to_server, Arc::clone(&counter)));
                relays.spawn(copy(from_server, to_client));
            }
        });
        let relay = Self {
            executed,
            _connections: connections,
        };
        (relay, config)
    }

    /// How many statements were executed since this was asked before.
    fn executed(&self) -> usize {
        self.executed.swap(0, Ordering::SeqCst)
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

/// Passes on what a client sends, message by message.
async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, executed: Arc<AtomicUsize>) {
    let mut tag = None;
    while let Ok(length) = from.read_u32().await {
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await.unwrap();
        // Each statement is one `Execute`, or one `Query` without parameters.
        if matches!(tag, Some(b'E' | b'Q')) {
            executed.fetch_add(1, Ordering::SeqCst);
        }
        let message = [tag.as_slice(), &length.to_be_bytes(), &body].concat();
        to.write_all(&message).await.unwrap();
        tag = from.read_u8().await.ok();
        if tag.is_none() {
            break;
        }
    }
}

#[tokio::test]
async fn a_batch_is_one_statement_whatever_its_size() {
    let schema = Schema::new().await;
    let (relay, config) = Relay::new(&schema.config()).await;
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    relay.executed();
    for count in [1, 10, 1000, 5000] {
        let records = (0..count).map(|n| put(&arda(), &n.to_string(), json("1")));
        writer.persist(records.collect()).await.unwrap();
        assert_eq!(relay.executed(), 1, "{count} records");
    }
    let mut parts = Vec::new();
    for n in 0..50 {
        let world = WorldId::new(format!("world {n}")).unwrap();
        let writer = Writer::claim(&store, &world).await;
        parts.push(writer.part(vec![event(&world, json("1")), put(&world, "a", json("1"))]));
    }
    let refused = writer.part(Vec::new());
    relay.executed();
    let results = persist_all(&store, parts).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(relay.executed(), 1, "50 worlds");
    persist(&store, refused).await.unwrap();
    assert_eq!(
        relay.executed(),
        1,
        "a part that holds nothing is only looked at"
    );
    // Each page is full, for its records are small.
    let items = Limit::default().items;
    let pages = log(&*store, &arda()).await.len().div_ceil(items);
    relay.executed();
    log(&*store, &arda()).await;
    assert_eq!(relay.executed(), pages, "each page is one statement");
    store.close().await.unwrap();
}

#[tokio::test]
async fn one_damaged_world_among_many_is_found_by_halves() {
    let schema = Schema::new().await;
    let (relay, config) = Relay::new(&schema.config()).await;
    let store = open(config).await;
    let mut writers = Vec::new();
    for n in 0..64 {
        let world = WorldId::new(format!("world {n:02}")).unwrap();
        writers.push((Writer::claim(&store, &world).await, world));
    }
    let parts = || {
        let writers = writers.iter();
        let parts = writers.map(|(writer, world)| writer.part(vec![event(world, json("1"))]));
        parts.collect::<Vec<_>>()
    };
    // A row stands where the first record of the world is to come.
    let damage =
        "INSERT INTO world_records (world_id, sequence, timestamp, collection, change, form)
                  VALUES ('world 41', 1, 0, 'records', 2, 0)";
    run(&mut schema.sql().await, damage).await;
    relay.executed();
    let results = persist_all(&store, parts()).await;
    // Six times in two, and each time one half is written.
    assert_eq!(relay.executed(), 1 + 2 * 6);
    for (n, result) in results.iter().enumerate() {
        let kind = result.as_ref().err().map(aqevia_storage::Error::kind);
        assert_eq!(kind, (n == 41).then_some(ErrorKind::Corrupt), "world {n}");
    }

    // What is wrong with a table is no one world's fault.
    run(&mut schema.sql().await, "DROP TABLE world_records").await;
    relay.executed();
    let results = persist_all(&store, parts()).await;
    assert_eq!(relay.executed(), 2, "the batch, and a look for the table");
    let corrupt = |result: &Result<_, aqevia_storage::Error>| matches!(result, Err(error) if error.kind() == ErrorKind::Corrupt);
    assert!(results.iter().all(corrupt), "{results:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_session_ends_at_its_age_though_another_is_used() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.application_name = format!("of {}", config.schema);
    config.pool.connection_lifetime = Duration::from_secs(3);
    let store = open(config.clone()).await;
    let sessions = format!(
        "SELECT pid::text FROM pg_stat_activity WHERE application_name = '{}' ORDER BY pid",
        config.application_name
    );
    let mut sql = schema.sql().await;
    // The one of `init`, which will idle.
    let first = texts(&mut sql, &sessions).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // While it works, another is opened.
    let mut holder = schema.sql().await;
    run(&mut holder, "BEGIN; LOCK TABLE worlds").await;
    let claim = || async { claim(&store, &arda()).await };
    let release = async {
        while texts(&mut sql, &sessions).await.len() < 2 {
            tokio::task::yield_now().await;
        }
        run(&mut holder, "ROLLBACK").await;
    };
    let (one, other, ()) = tokio::join!(claim(), claim(), release);
    one.and(other).unwrap();
    let mut both = texts(&mut sql, &sessions).await;
    assert_eq!(both.len(), 2);
    both.retain(|pid| !first.contains(pid));
    let until_left = async {
        loop {
            claim().await.unwrap();
            let left = texts(&mut sql, &sessions).await;
            if !left.iter().any(|pid| first.contains(pid)) {
                return left;
            }
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(30), until_left).await;
    assert_eq!(left.unwrap(), both, "the younger one is there");
    store.close().await.unwrap();
}
