//! Settings, from code or from the environment.

mod variables;

use std::time::Duration;

use crate::{
    CacheConfig, Clock, Error, Owner, Parameters, Part, Result, Schema, SchemaPolicy, StoreUrl,
};
use variables::Variables;

pub use variables::unknown_variables;

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
    /// How much of its worlds is kept in memory that nobody uses.
    pub cache: CacheConfig,
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
            cache: CacheConfig::default(),
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
        let mut vars = Variables::new(vars);
        let url = vars.store_url()?;
        let mut config = Self::new(vars.take_settings(url)?);
        vars.refuse_encryption()?;
        vars.read_pool(&mut config.pool)?;
        config.read(&vars)?;
        Ok(config)
    }

    /// The settings of a URL alone, without the environment: those of the controller and the cache
    /// are parameters named as their variables are, in lower case, as in
    /// `sqlite:storage.sqlite?persist_flush_interval_ms=500`.
    ///
    /// # Errors
    /// As [`StorageConfig::from_env`], naming parameters.
    pub fn from_url(url: &str) -> Result<Self> {
        let mut vars = Variables::new([]);
        let mut config = Self::new(vars.take_settings(url.parse()?)?);
        config.read(&vars)?;
        Ok(config)
    }

    fn read(&mut self, vars: &Variables) -> Result<()> {
        vars.read_controller(&mut self.controller)?;
        vars.read_cache(&mut self.cache)?;
        if !vars.enabled()? {
            self.url = StoreUrl::from_path("null", "");
        }
        self.controller.check()
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
    /// The longest that what is accepted or marked as dirty may have been waiting: past it
    /// `submit` answers `Backpressure`. It is over `flush_interval`, and what is dirty is captured
    /// when half of it has passed, if that is sooner. Default: no limit.
    pub exposure_max: Option<Duration>,
    /// Whether a newer record takes the place of an older one of its key that waits, in collections
    /// with history `Latest`. Default: yes.
    pub coalescing: bool,
    /// The longest time from the first dirty entity to its capture. Default 30 s.
    pub auto_save_interval: Duration,
    /// How long something waits to be tried again, the first time; doubled each time. Default 50 ms.
    pub retry_first: Duration,
    /// How long it waits at most; a store without room is tried no more often. Default 5 s.
    pub retry_longest: Duration,
    /// For how long a part is tried again before its world is stopped. Default: without end.
    pub retry_budget: Option<Duration>,
    /// Whether the controller starts though the store cannot be reached. Default: no.
    pub start_degraded: bool,
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
            exposure_max: None,
            coalescing: true,
            auto_save_interval: Duration::from_secs(30),
            retry_first: Duration::from_millis(50),
            retry_longest: Duration::from_secs(5),
            retry_budget: None,
            start_degraded: false,
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
        check_duration("auto_save_interval", self.auto_save_interval)?;
        check_duration("retry_first", self.retry_first)?;
        check_duration("retry_longest", self.retry_longest)?;
        // Without any wait a store that is away would be asked without a break.
        check_count(
            "retry_first in microseconds",
            micros(self.retry_first),
            most,
        )?;
        check_count(
            "retry_longest in microseconds",
            micros(self.retry_longest),
            most,
        )?;
        if self.retry_longest < self.retry_first {
            return Err(Error::invalid(
                "setting retry_longest is less than retry_first: the first wait is the shortest",
            ));
        }
        if self
            .exposure_max
            .is_some_and(|max| max <= self.flush_interval)
        {
            return Err(Error::invalid(
                "setting exposure_max is not over flush_interval: nothing could wait for its flush",
            ));
        }
        for (name, limit) in [
            ("exposure_max", self.exposure_max),
            ("retry_budget", self.retry_budget),
        ] {
            check_duration(name, limit.unwrap_or_default())?;
        }
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

fn micros(duration: Duration) -> usize {
    usize::try_from(duration.as_micros()).unwrap_or(usize::MAX)
}

fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

#[cfg(test)]
mod tests;
