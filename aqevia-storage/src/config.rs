//! Settings, from code or from the environment.

use std::collections::BTreeMap;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::url::{COUNT_ALLOWED, MS_ALLOWED, read_count, read_ms};
use crate::{
    Clock, Error, ErrorKind, Owner, Parameters, Part, Result, Schema, SchemaPolicy, StoreUrl,
};

/// Which store to open and how to persist to it.
///
/// The front page of this crate lists the variables that [`StorageConfig::from_env`] reads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StorageConfig {
    /// The store.
    pub url: StoreUrl,
    /// The connections. Parameters of the URL go before this.
    pub pool: PoolConfig,
    /// How the controller persists.
    pub controller: ControllerConfig,
}

impl StorageConfig {
    /// The longest interval, timeout or lifetime of any setting: 2,147,483,647 ms, over 24 days.
    pub const DURATION_MAX: Duration = Duration::from_millis(i32::MAX as u64);

    /// The defaults, for a store.
    #[must_use]
    pub fn new(url: StoreUrl) -> Self {
        Self {
            url,
            pool: PoolConfig::default(),
            controller: ControllerConfig::default(),
        }
    }

    /// Reads the environment, and logs a warning for each variable that looks like ours and is not.
    ///
    /// # Errors
    /// `Invalid`, naming variable, value and what is allowed; `Unsupported` for a variable whose
    /// effect this version does not have.
    pub fn from_env() -> Result<Self> {
        // A variable that is not UTF-8 is read with replacements, which then parse as nothing.
        let vars: Vec<_> = std::env::vars_os()
            .map(|(name, value)| {
                let value = value.to_string_lossy().into_owned();
                (name.to_string_lossy().into_owned(), value)
            })
            .collect();
        for warning in unknown_variables(vars.iter().map(|(name, _)| name.as_str())) {
            tracing::warn!(target: "aqevia_storage::config", "{warning}");
        }
        Self::from_vars(vars)
    }

    /// Reads variables as [`StorageConfig::from_env`] does, and passes over those it does not know.
    ///
    /// # Errors
    /// As [`StorageConfig::from_env`].
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let vars = Variables(vars.into_iter().collect());
        let mut config = Self::new(vars.store_url()?);
        vars.refuse_encryption()?;
        vars.read_pool(&mut config.pool)?;
        vars.read_controller(&mut config.controller)?;
        let enabled = vars.read("PERSIST_ENABLED", "true or false", |text| text.parse().ok())?;
        if enabled == Some(false) {
            config.url = StoreUrl::from_path("null", "");
        }
        config.controller.check()?;
        Ok(config)
    }
}

/// The connections of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The most connections that read, from 1. Default 10.
    pub size: usize,
    /// How long a read waits for a connection before it is `Unavailable`. Default 30 s.
    pub acquire_timeout: Duration,
    /// The age at which a connection is closed instead of used again. Default 1 h.
    pub connection_lifetime: Duration,
    /// How long a connection waits for what another process has locked. Default 5 s.
    pub busy_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            size: 10,
            acquire_timeout: Duration::from_secs(30),
            connection_lifetime: Duration::from_secs(3600),
            busy_timeout: Duration::from_secs(5),
        }
    }
}

impl PoolConfig {
    /// Checks each setting.
    ///
    /// # Errors
    /// `Invalid` if the size is zero or over `size_max`, or a duration over
    /// [`StorageConfig::DURATION_MAX`].
    pub fn check(&self, size_max: usize) -> Result<()> {
        check_count("pool_size", self.size, size_max)?;
        check_duration("acquire_timeout", self.acquire_timeout)?;
        check_duration("connection_lifetime", self.connection_lifetime)?;
        check_duration("busy_timeout", self.busy_timeout)
    }

    /// Takes `pool_size`, `acquire_timeout_ms`, `connection_lifetime_ms` and `busy_timeout_ms` from
    /// a URL.
    ///
    /// # Errors
    /// `Invalid` if one of them does not parse.
    pub fn read_parameters(&mut self, parameters: &mut Parameters<'_>) -> Result<()> {
        set(&mut self.size, parameters.take_count("pool_size")?);
        set(
            &mut self.acquire_timeout,
            parameters.take_ms("acquire_timeout_ms")?,
        );
        set(
            &mut self.connection_lifetime,
            parameters.take_ms("connection_lifetime_ms")?,
        );
        set(
            &mut self.busy_timeout,
            parameters.take_ms("busy_timeout_ms")?,
        );
        Ok(())
    }
}

/// When the controller flushes, and what it bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ControllerConfig {
    /// What is declared about collections. Default: nothing.
    pub schema: Schema,
    /// What `init` does with another layout. Default: upgrade.
    pub schema_policy: SchemaPolicy,
    /// Who claims the worlds, for the message of a writer that is fenced. Default: the process id.
    pub owner: Owner,
    /// The time of day that parts bear. Default: the system's.
    pub clock: Clock,
    /// The longest time from the first pending record to the flush that takes it. Default 1 s.
    pub flush_interval: Duration,
    /// The number of pending records that starts a flush, from 1. Default 10. It is a trigger, not
    /// a size: a flush takes all that is pending, up to the limits of a part.
    pub batch_capacity: usize,
    /// The number of pending bytes that starts a flush, from 1. Default 1 MiB.
    pub batch_capacity_bytes: usize,
    /// The most records in a part, and so in a group. Default and most: [`Part::RECORDS_MAX`].
    pub batch_records_max: usize,
    /// The most bytes in a part, and so in a group. Default and most: [`Part::BYTES_MAX`].
    pub batch_bytes_max: usize,
    /// The most records that are accepted and not yet persisted. Default 1,000,000.
    pub pending_records_max: usize,
    /// The most bytes that are accepted and not yet persisted. Default 256 MiB.
    pub pending_bytes_max: usize,
    /// How long `shutdown`, or dropping the controller, goes on trying. Default 10 s.
    pub shutdown_timeout: Duration,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            schema: Schema::new(),
            schema_policy: SchemaPolicy::default(),
            owner: Owner::process(std::process::id()),
            clock: Clock::system(),
            flush_interval: Duration::from_secs(1),
            batch_capacity: 10,
            batch_capacity_bytes: 1 << 20,
            batch_records_max: Part::RECORDS_MAX,
            batch_bytes_max: Part::BYTES_MAX,
            pending_records_max: 1_000_000,
            pending_bytes_max: 256 << 20,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl ControllerConfig {
    /// Checks each setting.
    ///
    /// # Errors
    /// `Invalid` if a setting is zero that starts from one, or over its limit. Durations are at
    /// most [`StorageConfig::DURATION_MAX`].
    pub fn check(&self) -> Result<()> {
        let most = usize::MAX;
        check_count("batch_capacity", self.batch_capacity, most)?;
        check_count("batch_capacity_bytes", self.batch_capacity_bytes, most)?;
        check_count(
            "batch_records_max",
            self.batch_records_max,
            Part::RECORDS_MAX,
        )?;
        check_count("batch_bytes_max", self.batch_bytes_max, Part::BYTES_MAX)?;
        check_count("pending_records_max", self.pending_records_max, most)?;
        check_count("pending_bytes_max", self.pending_bytes_max, most)?;
        check_duration("flush_interval", self.flush_interval)?;
        check_duration("shutdown_timeout", self.shutdown_timeout)
    }
}

fn check_count(name: &str, count: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "setting {name} is {count}, must be from 1 to {max}"
    )))
}

fn check_duration(name: &str, duration: Duration) -> Result<()> {
    let max = StorageConfig::DURATION_MAX;
    if duration <= max {
        return Ok(());
    }
    let (ms, max) = (duration.as_millis(), max.as_millis());
    Err(Error::invalid(format!(
        "setting {name} is {ms} ms, must be at most {max} ms"
    )))
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// Every variable that is read.
const VARIABLES: [&str; 21] = [
    "AQEVIA_ACQUIRE_TIMEOUT_MS",
    "AQEVIA_BUSY_TIMEOUT_MS",
    "AQEVIA_CONNECTION_LIFETIME_MS",
    ENCRYPTION_KEY_FILE,
    "AQEVIA_POOL_SIZE",
    "AQEVIA_POSTGRES_APPLICATION_NAME",
    "AQEVIA_POSTGRES_IDLE_IN_TRANSACTION_TIMEOUT_MS",
    "AQEVIA_POSTGRES_LOCK_TIMEOUT_MS",
    "AQEVIA_POSTGRES_REPLY_TIMEOUT_MS",
    "AQEVIA_POSTGRES_SCHEMA",
    "AQEVIA_POSTGRES_STATEMENT_TIMEOUT_MS",
    "AQEVIA_SCHEMA_POLICY",
    "AQEVIA_SQLITE_PATH",
    "AQEVIA_STORAGE_URL",
    "PERSIST_BATCH_CAPACITY",
    "PERSIST_BATCH_CAPACITY_BYTES",
    "PERSIST_ENABLED",
    "PERSIST_FLUSH_INTERVAL_MS",
    "PERSIST_MAX_PENDING_BYTES",
    "PERSIST_MAX_PENDING_RECORDS",
    "PERSIST_SHUTDOWN_TIMEOUT_MS",
];

const ENCRYPTION_KEY_FILE: &str = "AQEVIA_ENCRYPTION_KEY_FILE";

/// The variables that stand for parameters of a URL of these schemes which the URL does not give.
/// What they may say is for the backend to check, but for durations.
const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
const POSTGRES_PARAMETERS: [(&str, &str); 6] = [
    ("AQEVIA_POSTGRES_APPLICATION_NAME", "application_name"),
    (
        "AQEVIA_POSTGRES_IDLE_IN_TRANSACTION_TIMEOUT_MS",
        "idle_in_transaction_timeout_ms",
    ),
    ("AQEVIA_POSTGRES_LOCK_TIMEOUT_MS", "lock_timeout_ms"),
    ("AQEVIA_POSTGRES_REPLY_TIMEOUT_MS", "reply_timeout_ms"),
    ("AQEVIA_POSTGRES_SCHEMA", "schema"),
    (
        "AQEVIA_POSTGRES_STATEMENT_TIMEOUT_MS",
        "statement_timeout_ms",
    ),
];

/// A sentence for each variable that begins like ours and is not read.
pub fn unknown_variables<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| name.starts_with("AQEVIA_") || name.starts_with("PERSIST_"))
        .filter(|name| !VARIABLES.contains(name) && !name.starts_with(TESTS))
        .map(|name| match nearest(name) {
            Some(nearest) => {
                format!("environment variable {name} is not known; is {nearest} meant?")
            }
            None => format!("environment variable {name} is not known"),
        })
        .collect()
}

/// Variables of our tests begin with this.
const TESTS: &str = "AQEVIA_TEST_";

fn nearest(name: &str) -> Option<&'static str> {
    VARIABLES
        .into_iter()
        .max_by(|a, b| strsim::jaro(name, a).total_cmp(&strsim::jaro(name, b)))
}

struct Variables(BTreeMap<String, String>);

impl Variables {
    fn read<T>(
        &self,
        name: &str,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "environment variable {name}={value}: must be {allowed}"
            ))
        })
    }

    fn set_count(&self, setting: &mut usize, name: &str) -> Result<()> {
        set(setting, self.read(name, COUNT_ALLOWED, read_count)?);
        Ok(())
    }

    fn set_ms(&self, setting: &mut Duration, name: &str) -> Result<()> {
        set(setting, self.read(name, MS_ALLOWED, read_ms)?);
        Ok(())
    }

    fn store_url(&self) -> Result<StoreUrl> {
        if let Some(url) = self.0.get("AQEVIA_STORAGE_URL") {
            let doing = |error: Error| error.context("environment variable AQEVIA_STORAGE_URL");
            let given: StoreUrl = url.parse().map_err(doing)?;
            return self.add_parameters(url, &given)?.parse().map_err(doing);
        }
        let path = self.0.get("AQEVIA_SQLITE_PATH").map(String::as_str);
        if path.is_some_and(|path| path.contains("://")) {
            return Err(Error::invalid(
                "environment variable AQEVIA_SQLITE_PATH: is a URL, not a path; set \
                 AQEVIA_STORAGE_URL to it",
            ));
        }
        Ok(StoreUrl::from_path(
            "sqlite",
            path.unwrap_or("storage.sqlite"),
        ))
    }

    /// The text of a URL, with the parameters that variables give and the URL does not.
    fn add_parameters(&self, text: &str, given: &StoreUrl) -> Result<String> {
        let mut text = text.to_owned();
        for (variable, parameter) in POSTGRES_PARAMETERS {
            let value = match parameter.ends_with("_ms") {
                true => self.read(variable, MS_ALLOWED, |ms| {
                    read_ms(ms).map(|_| ms.to_owned())
                })?,
                false => self.0.get(variable).cloned(),
            };
            let in_url = given.parameters().take(parameter, "", |_| Some(()))?;
            if let (Some(value), None, true) = (value, in_url, POSTGRES.contains(&given.scheme())) {
                let value = utf8_percent_encode(&value, NON_ALPHANUMERIC);
                let separator = if text.contains('?') { '&' } else { '?' };
                text.push_str(&format!("{separator}{parameter}={value}"));
            }
        }
        Ok(text)
    }

    fn refuse_encryption(&self) -> Result<()> {
        if !self.0.contains_key(ENCRYPTION_KEY_FILE) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "environment variable {ENCRYPTION_KEY_FILE} is set, but this version does not \
                 encrypt; unset it to store in the clear"
            ),
        ))
    }

    fn read_pool(&self, pool: &mut PoolConfig) -> Result<()> {
        self.set_count(&mut pool.size, "AQEVIA_POOL_SIZE")?;
        self.set_ms(&mut pool.acquire_timeout, "AQEVIA_ACQUIRE_TIMEOUT_MS")?;
        self.set_ms(
            &mut pool.connection_lifetime,
            "AQEVIA_CONNECTION_LIFETIME_MS",
        )?;
        self.set_ms(&mut pool.busy_timeout, "AQEVIA_BUSY_TIMEOUT_MS")
    }

    fn read_controller(&self, to: &mut ControllerConfig) -> Result<()> {
        let policy = self.read(
            "AQEVIA_SCHEMA_POLICY",
            "upgrade or reset-in-development",
            |text| match text {
                "upgrade" => Some(SchemaPolicy::Upgrade),
                "reset-in-development" => Some(SchemaPolicy::ResetInDevelopment),
                _ => None,
            },
        )?;
        set(&mut to.schema_policy, policy);
        self.set_ms(&mut to.flush_interval, "PERSIST_FLUSH_INTERVAL_MS")?;
        self.set_count(&mut to.batch_capacity, "PERSIST_BATCH_CAPACITY")?;
        self.set_count(&mut to.batch_capacity_bytes, "PERSIST_BATCH_CAPACITY_BYTES")?;
        self.set_ms(&mut to.shutdown_timeout, "PERSIST_SHUTDOWN_TIMEOUT_MS")?;
        self.set_count(&mut to.pending_records_max, "PERSIST_MAX_PENDING_RECORDS")?;
        self.set_count(&mut to.pending_bytes_max, "PERSIST_MAX_PENDING_BYTES")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Result<StorageConfig> {
        let vars = vars.iter();
        StorageConfig::from_vars(vars.map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let config = from(&[]).unwrap();
        assert_eq!(config.url, StoreUrl::from_path("sqlite", "storage.sqlite"));
        assert_eq!(config.pool, PoolConfig::default());
        assert_eq!(config.controller.batch_capacity, 10);
    }

    #[test]
    fn each_variable_moves_its_setting() {
        let config = from(&[
            ("AQEVIA_STORAGE_URL", "memory:"),
            ("AQEVIA_SQLITE_PATH", "ignored"),
            ("AQEVIA_SCHEMA_POLICY", "reset-in-development"),
            ("AQEVIA_POOL_SIZE", "3"),
            ("AQEVIA_ACQUIRE_TIMEOUT_MS", "4"),
            ("AQEVIA_CONNECTION_LIFETIME_MS", "5"),
            ("AQEVIA_BUSY_TIMEOUT_MS", "12"),
            ("PERSIST_FLUSH_INTERVAL_MS", "6"),
            ("PERSIST_BATCH_CAPACITY", "7"),
            ("PERSIST_BATCH_CAPACITY_BYTES", "8"),
            ("PERSIST_SHUTDOWN_TIMEOUT_MS", "9"),
            ("PERSIST_MAX_PENDING_RECORDS", "10"),
            ("PERSIST_MAX_PENDING_BYTES", "11"),
        ])
        .unwrap();
        let ms = Duration::from_millis;
        assert_eq!(config.url.scheme(), "memory");
        assert_eq!(
            config.pool,
            PoolConfig {
                size: 3,
                acquire_timeout: ms(4),
                connection_lifetime: ms(5),
                busy_timeout: ms(12),
            }
        );
        let to = config.controller;
        assert_eq!(to.schema_policy, SchemaPolicy::ResetInDevelopment);
        assert_eq!((to.flush_interval, to.shutdown_timeout), (ms(6), ms(9)));
        assert_eq!((to.batch_capacity, to.batch_capacity_bytes), (7, 8));
        assert_eq!((to.pending_records_max, to.pending_bytes_max), (10, 11));
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let config = from(&[("AQEVIA_SQLITE_PATH", "100%?.sqlite")]).unwrap();
        assert_eq!(config.url.path().unwrap(), "100%?.sqlite");
    }

    #[test]
    fn variables_of_postgres_are_parameters_that_its_url_does_not_give() {
        let vars = |url: &str| {
            from(&[
                ("AQEVIA_STORAGE_URL", url),
                ("AQEVIA_POSTGRES_APPLICATION_NAME", "a & b"),
                ("AQEVIA_POSTGRES_IDLE_IN_TRANSACTION_TIMEOUT_MS", "1"),
                ("AQEVIA_POSTGRES_LOCK_TIMEOUT_MS", "2"),
                ("AQEVIA_POSTGRES_REPLY_TIMEOUT_MS", "4"),
                ("AQEVIA_POSTGRES_SCHEMA", "galaxy"),
                ("AQEVIA_POSTGRES_STATEMENT_TIMEOUT_MS", "3"),
            ])
        };
        let plain = "a@b/c?application_name=a%20%26%20b&idle_in_transaction_timeout_ms=1\
                     &lock_timeout_ms=2&reply_timeout_ms=4&schema=galaxy\
                     &statement_timeout_ms=3";
        for scheme in POSTGRES {
            let expected: StoreUrl = format!("{scheme}://{plain}").parse().unwrap();
            assert_eq!(vars(&format!("{scheme}://a@b/c")).unwrap().url, expected);
        }
        let own = vars("postgres://a@b/c?schema=own").unwrap().url;
        let schema = own
            .parameters()
            .take("schema", "", |text| Some(text.to_owned()));
        assert_eq!(schema.unwrap().as_deref(), Some("own"));
        assert_eq!(vars("sqlite:a").unwrap().url, "sqlite:a".parse().unwrap());
        let wrong = ("AQEVIA_POSTGRES_LOCK_TIMEOUT_MS", "1s");
        let error = from(&[("AQEVIA_STORAGE_URL", "postgres://a@b/c"), wrong]).unwrap_err();
        let begin = "environment variable AQEVIA_POSTGRES_LOCK_TIMEOUT_MS=1s: must be ";
        assert!(error.to_string().starts_with(begin), "{error}");
    }

    #[test]
    fn persisting_switched_off_is_the_null_store() {
        let config = from(&[("PERSIST_ENABLED", "false")]).unwrap();
        assert_eq!(config.url.scheme(), "null");
    }

    #[test]
    fn a_value_that_does_not_parse_is_named_with_what_is_allowed() {
        for (name, value) in [
            ("PERSIST_BATCH_CAPACITY", "0"),
            ("PERSIST_FLUSH_INTERVAL_MS", "1s"),
            ("PERSIST_ENABLED", "yes"),
            ("AQEVIA_SCHEMA_POLICY", "drop"),
            ("AQEVIA_POOL_SIZE", "-1"),
        ] {
            let error = from(&[(name, value)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let begin = format!("environment variable {name}={value}: must be ");
            assert!(error.to_string().starts_with(&begin), "{error}");
        }
        assert!(from(&[("AQEVIA_STORAGE_URL", "storage.sqlite")]).is_err());
        let encryption = from(&[(ENCRYPTION_KEY_FILE, "key")]).unwrap_err();
        assert_eq!(encryption.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn an_unknown_variable_with_our_prefix_names_the_nearest() {
        let names = ["PATH", "PERSIST_BATCH_CAPACITY", "PERSIST_BATCHCAPACITY"];
        assert_eq!(
            unknown_variables(names),
            [
                "environment variable PERSIST_BATCHCAPACITY is not known; is \
                 PERSIST_BATCH_CAPACITY meant?"
            ]
        );
    }

    #[test]
    fn settings_over_their_limits_are_refused() {
        let config = ControllerConfig {
            batch_records_max: Part::RECORDS_MAX + 1,
            ..ControllerConfig::default()
        };
        let error = config.check().unwrap_err();
        assert!(error.to_string().contains("batch_records_max"), "{error}");
    }
}
