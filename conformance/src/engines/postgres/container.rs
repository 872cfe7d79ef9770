//! A server in a container, which ends when nobody uses it.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use testcontainers::bollard::models::HostConfig;
use testcontainers::core::{IntoContainerPort, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::time::{Instant, sleep, timeout};

use super::{image, owner};

/// What the container runs: the server, watched.
const SUPERVISE: &str = include_str!("supervise.sh");
/// Shows that a container is used; `supervise.sh` has the same number.
const USE: &str = "SELECT pg_advisory_lock_shared(6386021, 0)";
/// What the names of the containers begin with; the port of the server follows.
const NAME: &str = "aqevia-postgres-";
/// Where both images have their data.
pub(super) const DATA: &str = "/var/lib/postgresql/data";
/// Where the log of transactions is: a server that has no room for that does not go on.
const LOG: &str = "/var/lib/postgresql/wal";

/// How long a server may take from the start of its container to its first answer.
const START: Duration = Duration::from_secs(90);
/// How long one try to reach it may take.
const TRY: Duration = Duration::from_secs(5);
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a container is begun on another port.
const PORTS: usize = 3;

/// How long a container lasts, what it may take up, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whether it is this process' own: then others remove it when this process has gone.
    pub(super) own: bool,
    /// The seconds without a user after which the container ends.
    pub(super) patience: u32,
    /// Whether it is there when it has ended, so that it can be started again.
    pub(super) stays: bool,
    /// The bytes that its data may take up, in memory; else they are on disk without a bound.
    pub(super) bytes: Option<i64>,
}

/// A server in a container. It is removed when this is dropped, or ends when nobody uses it; one
/// that a process had to itself is removed by the next process, if that comes first.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) container: ContainerAsync<GenericImage>,
    pub(super) url: String,
}

impl Server {
    /// Starts a container; the connection shows that it is used.
    pub(super) async fn start(image: &str, terms: Terms) -> Result<(Self, PgConnection), String> {
        let password = password();
        let mut tried = Err(String::new());
        for _ in 0..PORTS {
            // Fixed, so that it stays the same when the container leaves and joins a network.
            let port = free_port();
            tried = begin(image, terms, &password, port).await;
            if let Ok(container) = tried {
                let host = container.get_host().await;
                let host = host.map_err(|error| format!("the container's host: {error}"))?;
                let host = host.to_string().replace("localhost", "127.0.0.1");
                let url = format!("postgres://postgres:{password}@{host}:{port}/postgres");
                let server = Self { container, url };
                let used = server.wait().await?;
                return Ok((server, used));
            }
        }
        Err(format!(
            "no container of {image} starts: {}",
            tried.err().unwrap_or_default()
        ))
    }

    /// Waits for the server's first answer.
    async fn wait(&self) -> Result<PgConnection, String> {
        let deadline = Instant::now() + START;
        loop {
            let error = match use_server(&self.url).await {
                Ok(used) => return Ok(used),
                Err(error) => error,
            };
            let runs = self.container.is_running().await;
            if Instant::now() > deadline || !runs.is_ok_and(|runs| runs) {
                let said = self.container.stderr_to_vec().await.unwrap_or_default();
                let said = String::from_utf8_lossy(&said).into_owned();
                return Err(format!(
                    "the server in a container: {error}; it says:\n{said}"
                ));
            }
            sleep(PAUSE).await;
        }
    }
}

/// Connects to the server of a container, and shows with that connection that it is used.
pub(super) async fn use_server(url: &str) -> Result<PgConnection, String> {
    let used = async {
        let mut sql = PgConnection::connect(url).await?;
        sqlx::query(USE).execute(&mut sql).await?;
        Ok(sql)
    };
    match timeout(TRY, used).await {
        Ok(used) => used.map_err(|error: sqlx::Error| error.to_string()),
        Err(_) => Err(format!("no answer within {TRY:?}")),
    }
}

async fn begin(
    image: &str,
    terms: Terms,
    password: &str,
    port: u16,
) -> Result<ContainerAsync<GenericImage>, String> {
    let command = ["-c", SUPERVISE, "supervise", "-c", "max_connections=300"];
    let request: ContainerRequest<_> = image::generic(image).with_entrypoint("sh").into();
    let mut request = request
        .with_cmd(command)
        .with_env_var("POSTGRES_USER", "postgres")
        .with_env_var("POSTGRES_PASSWORD", password)
        .with_env_var("POSTGRES_INITDB_WALDIR", LOG)
        .with_env_var("AQEVIA_PATIENCE", terms.patience.to_string())
        .with_mapped_port(port, 5432.tcp())
        .with_container_name(format!("{NAME}{port}"))
        .with_labels(owner::labels(terms.own))
        .with_host_config_modifier(move |host| {
            host.auto_remove = Some(!terms.stays);
            narrow(host);
        });
    if let Some(bytes) = terms.bytes {
        request = request.with_mount(Mount::tmpfs_mount(DATA).with_size_bytes(bytes));
    }
    request.start().await.map_err(|error| error.to_string())
}

/// The name of the container whose server has a URL.
pub(super) fn name_of(url: &str) -> String {
    let server: PgConnectOptions = url.parse().expect("the URL of a server");
    format!("{NAME}{}", server.get_port())
}

/// Has the container's port open to this machine alone, unless the engine is on another one.
fn narrow(host: &mut HostConfig) {
    if env::var_os("DOCKER_HOST").is_some() {
        return;
    }
    let ports = host.port_bindings.iter_mut().flatten();
    for binding in ports.flat_map(|(_, bindings)| bindings.iter_mut().flatten()) {
        binding.host_ip = Some("127.0.0.1".to_owned());
    }
}

/// A password that nobody can guess: the port may be open to others.
fn password() -> String {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
