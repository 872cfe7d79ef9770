//! A server of a test's own, to which harm is done.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::StorageBackend;
use sqlx::{Connection, PgConnection};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{NetworkConnectRequest, NetworkDisconnectRequest};
use testcontainers::bollard::query_parameters::KillContainerOptionsBuilder;
use testcontainers::core::{CmdWaitFor, ExecCommand};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::container::{DATA, Server, Terms, use_server};
use super::harness::open_at;
use super::image::{self, Need};
use super::server;

/// Long enough for the server to come back from what is done to it.
const PATIENCE_S: u32 = 30;
/// How long the container engine may take for what it is asked.
const ENGINE: Duration = Duration::from_secs(30);
/// How long a server that was killed may take to answer again.
const RESTART: Duration = Duration::from_secs(60);
/// The time between two tries to reach the server.
const PAUSE: Duration = Duration::from_millis(20);

/// Lasts as long as its connection, which a network that is cut does not end while it runs. Between
/// its transactions it holds no snapshot: while one lasts, the server keeps every row that is
/// replaced or deleted.
const LAST: &str = "DO $$ BEGIN LOOP PERFORM pg_sleep(1); COMMIT; END LOOP; END $$";

/// Sends `$0` to all processes of the server, and to none that watch it: first to the one that
/// starts the others.
const SIGNAL: &str = r#"
kill -"$0" "$(head -n 1 "$1/postmaster.pid")" || exit 1
for name in $(grep -lx postgres /proc/[0-9]*/comm 2>/dev/null); do
    process=${name#/proc/}
    kill -"$0" "${process%/comm}" 2>/dev/null
done
exit 0"#;

/// A server that nobody else uses.
#[derive(Debug)]
pub(super) struct OwnServer {
    server: Server,
    engine: Docker,
    used: Used,
}

/// The task that shows that the server is used, which ends with this.
#[derive(Debug)]
struct Used(JoinHandle<()>);

impl Drop for Used {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl OwnServer {
    /// Starts one, with so many bytes of room for its data or with all there is.
    pub(super) async fn start(bytes: Option<i64>) -> Self {
        Self::start_on(Terms {
            own: true,
            patience: PATIENCE_S,
            stays: false,
            bytes,
        })
        .await
    }

    /// Starts one whose container is there when it has ended.
    pub(super) async fn start_to_stay(bytes: Option<i64>) -> Self {
        Self::start_on(Terms {
            own: true,
            patience: PATIENCE_S,
            stays: true,
            bytes,
        })
        .await
    }

    async fn start_on(terms: Terms) -> Self {
        let engine = image::engine(Need::OwnServer).await;
        let engine = engine.unwrap_or_else(|error| panic!("{error}"));
        let (server, used) = server::own(terms)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            used: Used(tokio::spawn(keep_used(server.url.clone(), used))),
            server,
            engine,
        }
    }

    /// A backend over the one store of the server.
    pub(super) fn open(&self) -> Arc<dyn StorageBackend> {
        open_at(&self.server.url)
    }

    /// A connection past the store.
    pub(super) async fn sql(&self) -> PgConnection {
        let sql = PgConnection::connect(&self.server.url).await;
        sql.expect("a connection to the server")
    }

    /// The URL of its one database.
    pub(super) fn url(&self) -> &str {
        &self.server.url
    }

    fn id(&self) -> &str {
        self.server.container.id()
    }

    /// Kills all processes of the server by SIGKILL. It is started again at once, and this waits
    /// for that.
    pub(super) async fn kill(&self) {
        let before = self.started_at().await;
        self.signal_kill().await;
        let restarted = async {
            while self.started_at().await == before {
                sleep(PAUSE).await;
            }
        };
        let restarted = timeout(RESTART, restarted).await;
        restarted.expect("the server is started again in time");
    }

    /// When the server was started, as soon as it answers.
    async fn started_at(&self) -> String {
        loop {
            if let Ok(started_at) = ask_start(&self.server.url).await {
                return started_at;
            }
            sleep(PAUSE).await;
        }
    }

    async fn signal_kill(&self) {
        let signal = KillContainerOptionsBuilder::new().signal("USR1").build();
        let killed = self.engine.kill_container(self.id(), Some(signal));
        asked("to kill the server", killed).await;
    }

    /// Stops all processes of the server where they are. Connections are still taken, and nobody
    /// answers in them. What watches the server goes on, and ends it if nobody lets it go on.
    pub(super) async fn pause(&self) {
        self.execute(&["sh", "-c", SIGNAL, "STOP", DATA]).await;
    }

    /// Lets them go on.
    pub(super) async fn go_on(&self) {
        self.execute(&["sh", "-c", SIGNAL, "CONT", DATA]).await;
    }

    /// Takes the server off its network, whose name is returned.
    pub(super) async fn cut_off(&self) -> String {
        let inspected = self.engine.inspect_container(self.id(), None);
        let inspected = asked("about the server", inspected).await;
        let networks = inspected.network_settings.and_then(|all| all.networks);
        let network = networks.and_then(|networks| networks.into_keys().next());
        let network = network.expect("the network of the server");
        let request = NetworkDisconnectRequest {
            container: self.id().to_owned(),
            force: Some(true),
        };
        let cut = self.engine.disconnect_network(&network, request);
        asked("to cut off the server", cut).await;
        network
    }

    /// Puts it on the network again.
    pub(super) async fn join(&self, network: &str) {
        let request = NetworkConnectRequest {
            container: self.id().to_owned(),
            endpoint_config: None,
        };
        let joined = self.engine.connect_network(network, request);
        asked("to join the server to its network", joined).await;
    }

    /// Takes so many mebibytes of the room for data.
    pub(super) async fn fill(&self, mib: u32) {
        let fill = format!("head -c {mib}M /dev/zero >{DATA}/ballast");
        self.execute(&["sh", "-c", &fill]).await;
    }

    /// Gives them back.
    pub(super) async fn make_room(&self) {
        self.execute(&["rm", &format!("{DATA}/ballast")]).await;
    }

    async fn execute(&self, command: &[&str]) {
        let command = ExecCommand::new(command.iter().copied())
            .with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        let done = timeout(ENGINE, self.server.container.exec(command)).await;
        let done = done.expect("an answer of the container engine in time");
        done.expect("a command in the container");
    }

    /// Ends the server, whose container goes with it.
    pub(super) async fn end(self) {
        drop(self.used);
        let removed = self.server.container.rm().await;
        removed.expect("the container is removed");
    }
}

/// Shows that the server is used, through connections that break whenever it is harmed.
async fn keep_used(url: String, mut used: PgConnection) {
    loop {
        let _ = sqlx::query(LAST).execute(&mut used).await;
        used = loop {
            match use_server(&url).await {
                Ok(used) => break used,
                Err(_) => sleep(PAUSE).await,
            }
        };
    }
}

async fn ask_start(url: &str) -> sqlx::Result<String> {
    let mut sql = PgConnection::connect(url).await?;
    let started_at = "SELECT pg_postmaster_start_time()::text";
    sqlx::query_scalar(started_at).fetch_one(&mut sql).await
}

async fn asked<T>(what: &str, doing: impl Future<Output = Result<T, Error>>) -> T {
    match timeout(ENGINE, doing).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => panic!("the container engine was asked {what}: {error}"),
        Err(_) => panic!("the container engine was asked {what}: no answer within {ENGINE:?}"),
    }
}
