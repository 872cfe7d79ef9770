//! A server of a test's own that encrypts its connections.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::own::OwnServer;

/// How long the server may take to present another certificate.
const RELOAD: Duration = Duration::from_secs(30);
/// The time between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that nobody else uses, and that takes encrypted connections as well as plain ones.
///
/// It ends soon after this is dropped.
#[derive(Debug)]
pub struct EncryptedServer(OwnServer);

impl EncryptedServer {
    /// Starts a server in a container.
    ///
    /// `identity` makes the certificate and the key of a host, both in PEM, from the name or the
    /// address by which the server is reached.
    ///
    /// # Panics
    /// If there is no container engine, or if the server does not take the certificate.
    pub async fn start(identity: impl FnOnce(&str) -> [String; 2]) -> Self {
        let server = OwnServer::start(None).await;
        let options: sqlx::postgres::PgConnectOptions = server.url().parse().expect("its URL");
        let [certificate, key] = identity(options.get_host());
        let mut sql = server.sql().await;
        write(&mut sql, "suite.crt", &certificate).await;
        write(&mut sql, "suite.key", &key).await;
        for setting in [
            "ssl_cert_file = 'suite.crt'",
            "ssl_key_file = 'suite.key'",
            "ssl = on",
        ] {
            run(&mut sql, &format!("ALTER SYSTEM SET {setting}")).await;
        }
        run(&mut sql, "SELECT pg_reload_conf()").await;
        let encrypts = async {
            while !encrypts(server.url()).await {
                sleep(PAUSE).await;
            }
        };
        let encrypts = timeout(RELOAD, encrypts).await;
        encrypts.expect("the server encrypts in time; its log says why it does not");
        Self(server)
    }

    /// The URL of its one database.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Ends the server, whose container goes with it.
    ///
    /// # Panics
    /// If the container cannot be removed.
    pub async fn end(self) {
        self.0.end().await;
    }
}

/// Writes a file beside the server's data, which nobody but the server can read.
async fn write(sql: &mut PgConnection, name: &str, pem: &str) {
    let lines = format!("SELECT unnest(string_to_array('{}', E'\\n'))", pem.trim());
    run(
        sql,
        &format!("COPY ({lines}) TO PROGRAM 'umask 077; cat >{name}'"),
    )
    .await;
}

async fn run(sql: &mut PgConnection, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    let run = sqlx::raw_sql(statement).execute(sql).await;
    run.expect("a statement of the server's superuser");
}

/// Whether a connection that may be encrypted is.
async fn encrypts(url: &str) -> bool {
    let mut sql = PgConnection::connect(url).await.expect("a connection");
    let encrypts = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let encrypts = sqlx::query_scalar(encrypts).fetch_one(&mut sql).await;
    encrypts.expect("whether the connection is encrypted")
}
