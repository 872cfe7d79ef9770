//! Sessions: how one is opened, what it is set to, and which server it may be a session of.

use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use aqevia_storage::{Capabilities, Durability, Error, ErrorKind, Result, StorageConfig};
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::{ConnectOptions, PgConnection, Row};

use crate::error::{connecting, opening};
use crate::{PostgresConfig, SslMode};

/// The first Postgres that has what the statements of this crate need and is still looked after.
const VERSION_MIN: u32 = 130_000;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The server refuses to write in it.
    Read,
    Write,
}

/// Opens sessions.
#[derive(Clone)]
pub(crate) struct Connector {
    options: PgConnectOptions,
    pub(crate) schema: Arc<str>,
    pub(crate) reply_max: Duration,
    search_path: String,
    statement_timeout: Option<Duration>,
    lock_timeout: Duration,
    idle_in_transaction_timeout: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// What opens the sessions of a store.
    ///
    /// # Errors
    /// `Invalid` if a variable of the environment would change them behind the configuration.
    pub(crate) fn new(config: &PostgresConfig) -> Result<Self> {
        check_environment(config, |name| env::var_os(name).is_some())?;
        let twice = config.snapshot_age_max.saturating_mul(2);
        let idle = config.idle_in_transaction_timeout;
        Ok(Self {
            options: options(config),
            schema: config.schema.as_str().into(),
            reply_max: config.reply_timeout,
            search_path: search_path(&config.schema),
            statement_timeout: config.statement_timeout,
            lock_timeout: config.lock_timeout.unwrap_or(config.pool.busy_timeout),
            idle_in_transaction_timeout: idle
                .unwrap_or_else(|| twice.min(StorageConfig::DURATION_MAX)),
        })
    }

    /// Opens the session that `init` works in, and tells of its server.
    pub(crate) async fn open(&self) -> Result<(PgConnection, Server)> {
        let mut connection = self.options.connect().await.map_err(opening)?;
        check_version(connection.server_version_num())?;
        let server = self.set_up(&mut connection, Access::Write).await;
        let server = server.map_err(opening)?;
        server.check(Access::Write)?;
        Ok((connection, server))
    }

    /// Opens a session, and tells of its server.
    pub(crate) async fn connect(&self, access: Access) -> Result<(PgConnection, Server)> {
        let mut connection = self.options.connect().await.map_err(connecting)?;
        check_version(connection.server_version_num())?;
        let server = self.set_up(&mut connection, access).await;
        let server = server.map_err(connecting)?;
        server.check(access)?;
        Ok((connection, server))
    }

    async fn set_up(&self, session: &mut PgConnection, access: Access) -> sqlx::Result<Server> {
        let ms = |duration: Duration| duration.as_millis().to_string();
        let row = sqlx::query(include_str!("sql/select_server.sql"))
            .bind(&self.search_path)
            .bind(self.statement_timeout.map(ms))
            .bind(ms(self.lock_timeout))
            .bind(ms(self.idle_in_transaction_timeout))
            .bind((access == Access::Read).then_some("on"))
            .persistent(false)
            .fetch_one(session)
            .await?;
        Server::of(&row)
    }
}

/// Where a session looks for tables.
pub(crate) fn search_path(schema: &str) -> String {
    // Order matters: tables are made in the first, and a temporary one hides none of ours.
    format!("\"{schema}\", pg_temp")
}

/// The options of the driver, each of them set, so that none is as the environment has it.
fn options(config: &PostgresConfig) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .username(&config.user)
        .password(config.password.as_deref().unwrap_or_default())
        .database(&config.database)
        .application_name(&config.application_name)
        .ssl_mode(match config.tls.mode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Allow => PgSslMode::Allow,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        })
        .disable_statement_logging();
    if let Some(path) = &config.tls.root_cert {
        options = options.ssl_root_cert(path);
    }
    if let Some(path) = &config.tls.cert {
        options = options.ssl_client_cert(path);
    }
    if let Some(path) = &config.tls.key {
        options = options.ssl_client_key(path);
    }
    options
}

/// Refuses those variables of libpq that the driver follows and that cannot be overruled.
fn check_environment(config: &PostgresConfig, is_set: impl Fn(&str) -> bool) -> Result<()> {
    let overruled = [
        ("PGOPTIONS", false),
        ("PGSSLROOTCERT", config.tls.root_cert.is_some()),
        ("PGSSLCERT", config.tls.cert.is_some()),
        ("PGSSLKEY", config.tls.key.is_some()),
    ];
    let mut followed = overruled.into_iter().filter(|(_, overruled)| !overruled);
    let Some((name, _)) = followed.find(|(name, _)| is_set(name)) else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "environment variable {name} is set and would change each session: unset it, and give \
         what it says as a parameter of the URL"
    )))
}

/// Refuses a server that is too old, by the number of its version.
///
/// Each server tells it unasked when a session begins; one that is too old would refuse to set the
/// session up.
fn check_version(number: Option<u32>) -> Result<()> {
    let Some(number) = number.filter(|number| *number < VERSION_MIN) else {
        return Ok(());
    };
    let (major, rest) = (number / 10_000, number % 10_000);
    // Before 10 a release was of three numbers.
    let found = match major {
        10.. => format!("{major}.{rest}"),
        _ => format!("{major}.{}.{}", rest / 100, rest % 100),
    };
    let least = VERSION_MIN / 10_000;
    let matter = format!("the server is Postgres {found}: use Postgres {least} or later");
    Err(Error::new(ErrorKind::Unsupported, matter))
}

/// The server of a session.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    version_number: u32,
    version: String,
    encoding: String,
    is_standby: bool,
    is_read_only: bool,
    fsync: bool,
    full_page_writes: bool,
    synchronous_commit: String,
    names_standbys: bool,
}

impl Server {
    fn of(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            version_number: row.try_get::<i32, _>("version_number")?.cast_unsigned(),
            version: row.try_get("version")?,
            encoding: row.try_get("encoding")?,
            is_standby: row.try_get("is_standby")?,
            is_read_only: row.try_get("is_read_only")?,
            fsync: row.try_get("fsync")?,
            full_page_writes: row.try_get("full_page_writes")?,
            synchronous_commit: row.try_get("synchronous_commit")?,
            names_standbys: row.try_get("names_standbys")?,
        })
    }

    fn check(&self, access: Access) -> Result<()> {
        let refused = |kind, matter: String| Err(Error::new(kind, matter));
        check_version(Some(self.version_number))?;
        if self.encoding != "UTF8" {
            let found = &self.encoding;
            let matter = format!(
                "the encoding of the database is {found}: use one that was created with \
                 ENCODING 'UTF8'"
            );
            return refused(ErrorKind::Incompatible, matter);
        }
        if self.is_standby {
            let matter = "the server is a standby, whose data may be old: connect to the primary";
            return refused(ErrorKind::Unavailable, matter.to_owned());
        }
        if self.is_read_only && access == Access::Write {
            let matter = "the server, database or role is read-only (as in SQLSTATE 25006): connect \
                          to the primary, or set default_transaction_read_only to off";
            return refused(ErrorKind::Unavailable, matter.to_owned());
        }
        Ok(())
    }

    /// The engine and its version, for people.
    pub(crate) fn engine(&self) -> String {
        format!("PostgreSQL {}", self.version)
    }

    /// Whether a commit waits until a standby has it.
    pub(crate) fn waits_for_standby(&self) -> bool {
        self.names_standbys && !matches!(&*self.synchronous_commit, "off" | "local")
    }

    /// What the settings of the server make of a commit.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let durability = if !self.fsync {
            Durability::None
        } else if self.synchronous_commit == "off" || !self.full_page_writes {
            Durability::Process
        } else {
            Durability::Power
        };
        Capabilities {
            durability,
            shared: true,
            snapshot: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            version_number: 150_002,
            version: "15.2 (Debian)".to_owned(),
            encoding: "UTF8".to_owned(),
            is_standby: false,
            is_read_only: false,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".to_owned(),
            names_standbys: false,
        }
    }

    fn refusal(server: &Server, access: Access) -> (ErrorKind, String) {
        let error = server.check(access).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn an_older_server_is_refused_by_both_versions() {
        let older = Server {
            version_number: 120_022,
            version: "12.22".to_owned(),
            ..server()
        };
        let (kind, message) = refusal(&older, Access::Read);
        assert_eq!(kind, ErrorKind::Unsupported);
        assert_eq!(
            message,
            "the server is Postgres 12.22: use Postgres 13 or later"
        );
        assert!(server().check(Access::Write).is_ok());
    }

    #[test]
    fn a_standby_is_refused_for_reading_too() {
        let standby = Server {
            is_standby: true,
            is_read_only: true,
            ..server()
        };
        for access in [Access::Read, Access::Write] {
            assert_eq!(refusal(&standby, access).0, ErrorKind::Unavailable);
        }
    }

    #[test]
    fn a_read_only_server_is_refused_for_writing_alone() {
        let read_only = Server {
            is_read_only: true,
            ..server()
        };
        let (kind, message) = refusal(&read_only, Access::Write);
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("25006"), "{message}");
        assert!(read_only.check(Access::Read).is_ok());
    }

    #[test]
    fn durability_is_what_the_server_makes_of_a_commit() {
        let of = |fsync, full_page_writes, synchronous_commit: &str| {
            let synchronous_commit = synchronous_commit.to_owned();
            let server = Server {
                fsync,
                full_page_writes,
                synchronous_commit,
                ..server()
            };
            server.capabilities().durability
        };
        for waits in ["on", "local", "remote_write", "remote_apply"] {
            assert_eq!(of(true, true, waits), Durability::Power, "{waits}");
        }
        assert_eq!(of(true, true, "off"), Durability::Process);
        assert_eq!(of(true, false, "on"), Durability::Process);
        assert_eq!(of(false, true, "on"), Durability::None);
    }

    #[test]
    fn a_server_waits_for_the_standbys_it_names_unless_told_not_to() {
        let waits = |names_standbys, synchronous_commit: &str| {
            let synchronous_commit = synchronous_commit.to_owned();
            let server = Server {
                names_standbys,
                synchronous_commit,
                ..server()
            };
            server.waits_for_standby()
        };
        for setting in ["on", "remote_write", "remote_apply"] {
            assert!(waits(true, setting), "{setting}");
            assert!(!waits(false, setting), "{setting}");
        }
        assert!(!waits(true, "local") && !waits(true, "off"));
    }

    #[test]
    fn a_variable_of_libpq_that_the_driver_would_follow_is_refused() {
        let url = "postgres://a@b/c?sslrootcert=a.pem".parse().unwrap();
        let pool = aqevia_storage::PoolConfig::default();
        let config = PostgresConfig::from_url(&url, &pool).unwrap();
        for name in ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"] {
            let error = check_environment(&config, |set| set == name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let begin = format!("environment variable {name} is set");
            assert!(error.to_string().starts_with(&begin), "{error}");
        }
        let overruled = [
            "PGSSLROOTCERT",
            "PGPASSWORD",
            "PGHOST",
            "PGDATABASE",
            "PGUSER",
        ];
        assert!(check_environment(&config, |set| overruled.contains(&set)).is_ok());
    }

    #[test]
    fn every_option_is_the_configurations() {
        let url = "postgres://me:secret@server:7/worlds?sslmode=disable"
            .parse()
            .unwrap();
        let pool = aqevia_storage::PoolConfig::default();
        let options = options(&PostgresConfig::from_url(&url, &pool).unwrap());
        assert_eq!((options.get_host(), options.get_port()), ("server", 7));
        assert_eq!(options.get_username(), "me");
        assert_eq!(options.get_database(), Some("worlds"));
        assert_eq!(options.get_application_name(), Some("aqevia-storage"));
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Disable));
    }
}
