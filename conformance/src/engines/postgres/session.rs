//! What a process has of the test server: a connection that shows that it lives, and schemas.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::server;

/// The first of the two numbers of a process' advisory lock; the second is its run.
///
/// A process holds that lock while it lives, whatever ends it: that is how others know whose
/// schemas are left over, also on a server that several machines use.
const LOCK_CLASS: i32 = 0x0061_7165;
const PREFIX: &str = "aqevia_test_";
/// How long dropping a schema waits for what a test left running in it, before it ends that.
const PATIENCE: Duration = Duration::from_secs(2);

/// A process' use of the server, to the end of the process.
#[derive(Debug)]
pub(super) struct Session {
    server: String,
    run: i32,
    schemas: AtomicU32,
    drops: mpsc::UnboundedSender<Drop>,
}

/// A schema to drop, and who waits for it.
type Drop = (String, Sender<()>);

/// Statics are never dropped: the thread and its connection end with the process.
static SESSION: OnceCell<Result<Session, String>> = OnceCell::const_new();

impl Session {
    /// The session of this process, which begins with the first call.
    pub(super) async fn of_this_process() -> &'static Self {
        let session = SESSION.get_or_init(Self::begin).await;
        match session {
            Ok(session) => session,
            Err(message) => panic!("{message}"),
        }
    }

    /// Begins it on a thread of its own, since tests come and go with their runtimes.
    async fn begin() -> Result<Self, String> {
        let (begun, answer) = oneshot::channel();
        let thread = thread::Builder::new().name("test server".to_owned());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(keep(begun));
        };
        thread.spawn(run).expect("a thread");
        answer.await.expect("the thread of the test server")
    }

    /// The URL of the database.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The name of a schema that nobody has used.
    pub(super) fn own_schema(&'static self) -> OwnSchema {
        let number = self.schemas.fetch_add(1, Ordering::Relaxed);
        OwnSchema {
            name: format!("{PREFIX}{:08x}_{number}", self.run),
            session: self,
        }
    }
}

/// A schema of this process, which is dropped with this.
#[derive(Debug)]
pub(super) struct OwnSchema {
    name: String,
    session: &'static Session,
}

impl OwnSchema {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl std::ops::Drop for OwnSchema {
    fn drop(&mut self) {
        let (done, wait) = channel();
        let _ = self.session.drops.send((self.name.clone(), done));
        // Waited for, since the process may end with the test. If the thread has gone, so has the
        // lock, and the next process drops what is left.
        let _ = wait.recv();
    }
}

/// Takes the lock, and drops schemas while the process lives.
async fn keep(begun: oneshot::Sender<Result<Session, String>>) {
    let mut found = match server::find().await {
        Ok(found) => found,
        Err(message) => {
            let _ = begun.send(Err(message));
            return;
        }
    };
    let sql = &mut found.sql;
    let run = take_run(sql).await;
    sweep(sql).await;
    let (drops, mut asked) = mpsc::unbounded_channel();
    let session = Session {
        server: found.url.clone(),
        run,
        schemas: AtomicU32::new(0),
        drops,
    };
    let _ = begun.send(Ok(session));
    while let Some((schema, done)) = asked.recv().await {
        drop_schema(sql, &schema).await;
        let _ = done.send(());
    }
}

/// A number that no process on the server has, and its lock.
async fn take_run(sql: &mut PgConnection) -> i32 {
    let random = RandomState::new();
    for attempt in 0_u32.. {
        let run = (random.hash_one(attempt) >> 33) as i32;
        if try_lock(sql, run).await {
            return run;
        }
    }
    unreachable!("all numbers are taken")
}

async fn try_lock(sql: &mut PgConnection, run: i32) -> bool {
    let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)");
    let locked = lock.bind(LOCK_CLASS).bind(run).fetch_one(sql).await;
    locked.expect("an advisory lock")
}

/// Drops the schemas of processes that have gone.
async fn sweep(sql: &mut PgConnection) {
    let schemas = "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, $1)";
    let schemas = sqlx::query_scalar(schemas).bind(PREFIX);
    let schemas: Vec<String> = schemas.fetch_all(&mut *sql).await.expect("the schemas");
    for schema in schemas {
        // Our own lock would be given again, but there are no schemas of ours yet.
        if let Some(run) = run_of(&schema)
            && try_lock(sql, run).await
        {
            drop_schema(sql, &schema).await;
            let unlock = sqlx::query("SELECT pg_advisory_unlock($1, $2)");
            let unlocked = unlock.bind(LOCK_CLASS).bind(run).execute(&mut *sql).await;
            unlocked.expect("the advisory lock is given back");
        }
    }
}

fn run_of(schema: &str) -> Option<i32> {
    let (run, _) = schema.strip_prefix(PREFIX)?.split_once('_')?;
    i32::from_str_radix(run, 16).ok()
}

/// Drops a schema. One that cannot be dropped is left to the next process.
async fn drop_schema(sql: &mut PgConnection, schema: &str) {
    if try_drop(sql, schema).await.is_err() {
        let ended = sqlx::query(END_USERS).bind(schema).execute(&mut *sql).await;
        if ended.is_ok() {
            let _ = try_drop(sql, schema).await;
        }
    }
}

async fn try_drop(sql: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    let mut transaction = sql.begin().await?;
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(PATIENCE.as_millis().to_string())
        .execute(&mut *transaction)
        .await?;
    // Identifiers cannot be bound; these are made above.
    let drop = format!(r#"DROP SCHEMA IF EXISTS "{schema}" CASCADE"#);
    sqlx::raw_sql(AssertSqlSafe(drop))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Ends the sessions that hold a lock in a schema.
const END_USERS: &str = "
SELECT pg_terminate_backend(l.pid)
  FROM pg_locks l
  JOIN pg_class c ON c.oid = l.relation
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND l.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_tells_its_run() {
        assert_eq!(run_of("aqevia_test_0000002a_17"), Some(42));
        assert_eq!(run_of("aqevia_test_"), None);
        assert_eq!(run_of("aqevia"), None);
    }
}
