//! A server whose commits wait for a standby, and somebody who cancels that wait.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{Error, ErrorKind, Owner, Part, Result, SchemaPolicy, StorageBackend};
use sqlx::PgConnection;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::own::OwnServer;
use crate::contents::contents;
use crate::sample::{event, schema, world};
use crate::writer::{Writer, persist, persist_all};

/// How long the server may take for what it is asked.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time between two looks at it.
const PAUSE: Duration = Duration::from_millis(10);

/// Has the commits of a server of its own wait for a standby that is not there, and cancels the
/// waits by `pg_cancel_backend`: of a part, of the same part persisted again, and of a claim. Then
/// lets them wait for nobody.
///
/// # Panics
/// If anything is acknowledged whose standby does not have it, if a session whose wait was cancelled
/// is used again, or if the part is not there once in the end.
pub async fn server_whose_wait_is_cancelled() {
    let server = OwnServer::start(None).await;
    let mut writer = claimed(&server).await;
    let mut sql = server.sql().await;
    demand_standby(&server, &mut sql).await;
    // Its sessions find a server that waits.
    let store = server.open();
    store.init(SchemaPolicy::Upgrade).await.expect("`init`");

    let part = writer.part(vec![event(&writer.world, "2")]);
    let stranger = unclaimed(&writer);
    let batch = vec![Arc::clone(&part), stranger];
    let persisting = spawn(
        &store,
        |store| async move { persist_all(&*store, &batch).await },
    );
    let mut answers = cancel(&mut sql, persisting).await.into_iter();
    in_doubt(answers.next().expect("an answer"), "P2: a part");
    let other = answers.next().expect("an answer");
    let other = other.expect_err("a part of a world that nobody claimed");
    assert_eq!(other.kind(), ErrorKind::Invalid, "P11: {other:?}");

    let again = cancel(&mut sql, again(&store, &part)).await;
    in_doubt(again, "P5: a part persisted again");

    let claiming = spawn(&store, |store| async move {
        let owner = Owner::new("the suite").expect("an owner that is allowed");
        let fingerprint = schema().fingerprint();
        store.claim(&world("arda"), &owner, fingerprint).await
    });
    in_doubt(cancel(&mut sql, claiming).await, "P2: a claim");

    receipt_once_let_go(&store, &mut sql, &part).await;
    writer.advance(&part);
    check(&store, &writer).await;
    server.end().await;
}

/// A writer whose world holds one part, while the server waits for nobody.
async fn claimed(server: &OwnServer) -> Writer {
    let store = server.open();
    store.init(SchemaPolicy::Upgrade).await.expect("`init`");
    let mut writer = Writer::claim(&store, &world("arda")).await;
    writer.persist(vec![event(&world("arda"), "1")]).await;
    store.close().await.expect("`close`");
    writer
}

/// A part of a world that nobody has claimed.
fn unclaimed(writer: &Writer) -> Arc<Part> {
    let stranger = Writer {
        backend: Arc::clone(&writer.backend),
        world: world("numenor"),
        claim: writer.claim.clone(),
    };
    stranger.part(vec![event(&stranger.world, "2")])
}

/// Has commits wait for a standby that never comes, and waits until they do.
async fn demand_standby(server: &OwnServer, sql: &mut PgConnection) {
    set_standbys(sql, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    let waits = async {
        loop {
            let mut other = server.sql().await;
            let commit = tokio::spawn(async move {
                let commit = "SELECT pg_logical_emit_message(true, 'suite', '') IS NOT NULL";
                sqlx::query(commit).execute(&mut other).await.map(drop)
            });
            // One that begins before the server has the setting ends without a wait.
            while !commit.is_finished() {
                if let Some(pid) = waiting(sql).await {
                    cancel_backend(sql, pid).await;
                    return commit.await.expect("the commit").expect("the commit");
                }
                sleep(PAUSE).await;
            }
        }
    };
    in_time(waits).await;
}

async fn set_standbys(sql: &mut PgConnection, setting: &'static str) {
    for statement in [setting, "SELECT pg_reload_conf()"] {
        let set = sqlx::raw_sql(statement).execute(&mut *sql).await;
        set.expect("a setting of the server");
    }
}

/// The process of a session that waits for a standby.
async fn waiting(sql: &mut PgConnection) -> Option<i32> {
    let waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let waiting = sqlx::query_scalar(waiting).fetch_optional(sql).await;
    waiting.expect("the sessions of the server")
}

async fn cancel_backend(sql: &mut PgConnection, pid: i32) {
    let cancel = sqlx::query_scalar("SELECT pg_cancel_backend($1)").bind(pid);
    let cancelled: bool = cancel.fetch_one(sql).await.expect("`pg_cancel_backend`");
    assert!(cancelled, "there is no session to cancel");
}

/// Waits until a call waits for the standby; the process of its session.
async fn until_waiting<T>(sql: &mut PgConnection, call: &JoinHandle<T>) -> i32 {
    let found = async {
        loop {
            if let Some(pid) = waiting(sql).await {
                return pid;
            }
            assert!(
                !call.is_finished(),
                "P2, P5: a call was answered without a wait for the standby"
            );
            sleep(PAUSE).await;
        }
    };
    in_time(found).await
}

/// Cancels the wait of a call; its answer, once its session has gone.
async fn cancel<T>(sql: &mut PgConnection, call: JoinHandle<T>) -> T {
    let pid = until_waiting(sql, &call).await;
    cancel_backend(sql, pid).await;
    let answer = finished(call).await;
    let gone = async {
        let there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
        loop {
            let there = sqlx::query_scalar(there).bind(pid).fetch_one(&mut *sql);
            let there: i64 = there.await.expect("the sessions of the server");
            if there == 0 {
                return;
            }
            sleep(PAUSE).await;
        }
    };
    let gone = timeout(PATIENCE, gone).await;
    gone.expect("the session of a commit in doubt ends");
    answer
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, what).await;
    done.unwrap_or_else(|_| panic!("a wait for a standby: nothing came of it within {PATIENCE:?}"))
}

/// Begins a call that will wait.
fn spawn<T, F>(
    store: &Arc<dyn StorageBackend>,
    call: impl FnOnce(Arc<dyn StorageBackend>) -> F,
) -> JoinHandle<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    tokio::spawn(call(Arc::clone(store)))
}

fn again(
    store: &Arc<dyn StorageBackend>,
    part: &Arc<Part>,
) -> JoinHandle<Result<aqevia_storage::Receipt>> {
    let part = Arc::clone(part);
    spawn(
        store,
        move |store| async move { persist(&*store, &part).await },
    )
}

async fn finished<T>(call: JoinHandle<T>) -> T {
    in_time(call).await.expect("the call")
}

fn in_doubt<T>(answer: Result<T>, what: &str) {
    let Err(error) = answer else {
        panic!("{what} was acknowledged though its wait for the standby was cancelled");
    };
    let says = |error: &Error| {
        error
            .to_string()
            .contains("cancelled the wait for a standby")
    };
    assert_eq!(error.kind(), ErrorKind::Ambiguous, "{what}: {error:?}");
    assert!(says(&error), "{what}: {error}");
}

/// Persists a part that is there, and checks that it is acknowledged when the wait ends, and not
/// before.
async fn receipt_once_let_go(
    store: &Arc<dyn StorageBackend>,
    sql: &mut PgConnection,
    part: &Arc<Part>,
) {
    let again = again(store, part);
    until_waiting(sql, &again).await;
    set_standbys(sql, "ALTER SYSTEM RESET synchronous_standby_names").await;
    let receipt = finished(again).await.expect("a part that is there");
    assert!(
        receipt.repeated,
        "P5: a part that is there was written again"
    );
}

/// Checks that the world holds both parts once.
async fn check(store: &Arc<dyn StorageBackend>, writer: &Writer) {
    let log = contents(&**store, &writer.world).await.log;
    assert_eq!(log.len(), 2, "P5: the parts of the world");
    store.close().await.expect("`close`");
}
