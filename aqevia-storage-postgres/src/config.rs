//! Settings of a store in Postgres.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aqevia_storage::{Error, Parameters, PoolConfig, Result, StorageConfig, StoreUrl};

use crate::location::Location;

/// Which database to open, and how.
///
/// `Display` and `Debug` leave out the user, the password and what parameters of a URL say.
///
/// ```
/// use aqevia_storage::{PoolConfig, StoreUrl};
/// use aqevia_storage_postgres::{Postgres, PostgresConfig};
///
/// let url: StoreUrl = "postgres://engine:secret@localhost/worlds?schema=galaxy".parse()?;
/// let mut config = PostgresConfig::from_url(&url, &PoolConfig::default())?;
/// config.pool.size = 4;
/// let store = Postgres::open(config)?;
/// # Ok::<(), aqevia_storage::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// The name or address of the server, or the folder of its Unix socket.
    pub host: String,
    /// The port of the server.
    pub port: u16,
    /// The role that logs in.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// The schema that the store has to itself: `[a-z_][a-z0-9_]{0,62}`. Default `aqevia`.
    pub schema: String,
    /// What the sessions are called in `pg_stat_activity`: 1 to 63 printable ASCII characters.
    /// Default `aqevia-storage`.
    pub application_name: String,
    /// The connections. At most `size` read, at most [`PostgresConfig::POOL_SIZE_MAX`], and as many
    /// write.
    pub pool: PoolConfig,
    /// How long the server may take to answer before the connection is given up: from 1 ms. Default
    /// 60 s. A shorter time than the server's own timeouts leaves writes in doubt without need.
    pub reply_timeout: Duration,
    /// When the server ends a statement. `None`: when the server, database or role says so.
    pub statement_timeout: Option<Duration>,
    /// How long a statement waits for what another session has locked. `None`: for
    /// [`PoolConfig::busy_timeout`].
    pub lock_timeout: Option<Duration>,
    /// When the server ends a session that idles in a transaction, as that of a snapshot does
    /// between two pages. `None`: after twice [`PostgresConfig::snapshot_age_max`].
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Whether and how connections are encrypted.
    pub tls: Tls,
    /// How long a snapshot can be read. Default 60 s. The server keeps old rows meanwhile.
    pub snapshot_age_max: Duration,
}

/// Whether and how connections are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// What is asked of the server. Default: what it offers.
    pub mode: SslMode,
    /// The certificates to trust, in PEM. Default: those that the system trusts.
    pub root_cert: Option<PathBuf>,
    /// The certificate to log in with, in PEM.
    pub cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub key: Option<PathBuf>,
}

/// What is asked of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SslMode {
    /// Not to encrypt.
    Disable,
    /// The same: the driver does not encrypt unless it is asked to.
    Allow,
    /// To encrypt if it can.
    #[default]
    Prefer,
    /// To encrypt. Whoever answers is believed to be the server.
    Require,
    /// And to have a certificate that is trusted.
    VerifyCa,
    /// And that the certificate is of the host.
    VerifyFull,
}

impl PostgresConfig {
    /// The most connections that read.
    pub const POOL_SIZE_MAX: usize = 1000;

    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETERS`. What the parameters leave
    /// open of the pool is `pool`.
    ///
    /// The README lists the parameters.
    ///
    /// # Errors
    /// `Invalid` if user, host or database is not given, or if a parameter is not known or does not
    /// parse.
    pub fn from_url(url: &StoreUrl, pool: &PoolConfig) -> Result<Self> {
        let mut config = Self::at(Location::of(url)?);
        config.pool = pool.clone();
        let mut parameters = url.parameters();
        config.pool.read_parameters(&mut parameters)?;
        config.read_text(&mut parameters)?;
        let reply_timeout = parameters.take_ms("reply_timeout_ms")?;
        config.reply_timeout = reply_timeout.unwrap_or(config.reply_timeout);
        config.statement_timeout = parameters.take_ms("statement_timeout_ms")?;
        config.lock_timeout = parameters.take_ms("lock_timeout_ms")?;
        config.idle_in_transaction_timeout =
            parameters.take_ms("idle_in_transaction_timeout_ms")?;
        let snapshot_age_max = parameters.take_ms("snapshot_age_max_ms")?;
        config.snapshot_age_max = snapshot_age_max.unwrap_or(config.snapshot_age_max);
        config.tls = Tls::read(&mut parameters)?;
        parameters.finish()?;
        config.check()?;
        Ok(config)
    }

    fn at(location: Location) -> Self {
        Self {
            host: location.host,
            port: location.port,
            user: location.user,
            password: location.password,
            database: location.database,
            schema: "aqevia".to_owned(),
            application_name: "aqevia-storage".to_owned(),
            pool: PoolConfig::default(),
            reply_timeout: Duration::from_secs(60),
            statement_timeout: None,
            lock_timeout: None,
            idle_in_transaction_timeout: None,
            tls: Tls::default(),
            snapshot_age_max: Duration::from_secs(60),
        }
    }

    fn read_text(&mut self, parameters: &mut Parameters<'_>) -> Result<()> {
        let schema = parameters.take("schema", SCHEMA_ALLOWED, |text| {
            is_schema(text).then(|| text.to_owned())
        })?;
        let name = parameters.take("application_name", NAME_ALLOWED, |text| {
            is_application_name(text).then(|| text.to_owned())
        })?;
        self.schema = schema.unwrap_or_else(|| self.schema.clone());
        self.application_name = name.unwrap_or_else(|| self.application_name.clone());
        Ok(())
    }

    /// Checks what the types do not exclude.
    pub(crate) fn check(&self) -> Result<()> {
        let refused = |matter: String| Error::invalid(format!("{self}: {matter}"));
        if !is_schema(&self.schema) {
            return Err(refused(format!("the schema must be {SCHEMA_ALLOWED}")));
        }
        if !is_application_name(&self.application_name) {
            return Err(refused(format!(
                "the application name must be {NAME_ALLOWED}"
            )));
        }
        // The protocol ends each of them with a zero byte.
        let password = self.password.as_deref().unwrap_or_default();
        let texts = [&*self.host, &self.user, password, &self.database];
        if texts.iter().any(|text| text.contains('\0')) {
            let matter = "host, user, password and database cannot hold a zero byte";
            return Err(refused(matter.to_owned()));
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            let matter = "sslcert and sslkey go together: give both or none";
            return Err(refused(matter.to_owned()));
        }
        let pool = self.pool.check(Self::POOL_SIZE_MAX);
        let checked = pool.and_then(|()| self.check_durations());
        checked.map_err(|error| error.context(self))
    }

    fn check_durations(&self) -> Result<()> {
        let min = Duration::from_millis(1);
        let none = Duration::ZERO;
        let max = StorageConfig::DURATION_MAX;
        let idle = self.idle_in_transaction_timeout;
        for (name, duration, min) in [
            ("reply_timeout", Some(self.reply_timeout), min),
            ("statement_timeout", self.statement_timeout, none),
            ("lock_timeout", self.lock_timeout, none),
            ("idle_in_transaction_timeout", idle, none),
            ("snapshot_age_max", Some(self.snapshot_age_max), none),
        ] {
            let wrong = duration.filter(|duration| !(min..=max).contains(duration));
            if let Some(duration) = wrong {
                let [ms, min, max] = [duration, min, max].map(|duration| duration.as_millis());
                let matter = format!("setting {name} is {ms} ms, must be from {min} to {max} ms");
                return Err(Error::invalid(matter));
            }
        }
        Ok(())
    }
}

/// What is being opened, for messages: `open postgres database "worlds" on localhost:5432`.
impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, port) = (&self.database, self.port);
        let host = self.host.escape_debug();
        write!(f, "open postgres database {database:?} on {host}:{port}")
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

const SCHEMA_ALLOWED: &str =
    "a lower-case letter or `_`, then up to 62 letters, digits and `_`, and not begin with pg_";
const NAME_ALLOWED: &str = "1 to 63 printable ASCII characters";

/// Whether a text can stand in a statement as the name of a schema.
fn is_schema(text: &str) -> bool {
    let head = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let all = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    head && all && text.len() <= 63 && !text.starts_with("pg_")
}

fn is_application_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

impl Tls {
    fn read(parameters: &mut Parameters<'_>) -> Result<Self> {
        let mode = parameters.take("sslmode", SslMode::ALLOWED, SslMode::of)?;
        let mut path = |name| parameters.take(name, "the path of a PEM file", to_path);
        Ok(Self {
            mode: mode.unwrap_or_default(),
            root_cert: path("sslrootcert")?,
            cert: path("sslcert")?,
            key: path("sslkey")?,
        })
    }
}

fn to_path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty())
}

impl SslMode {
    const ALLOWED: &str = "disable, allow, prefer, require, verify-ca or verify-full";

    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}
