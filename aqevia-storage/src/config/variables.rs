//! Settings as text: variables of the environment, and parameters of a URL that mean the same.

use std::collections::BTreeMap;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ControllerConfig, PoolConfig, set};
use crate::url::{COUNT_ALLOWED, MS_ALLOWED, SETTINGS, read_count, read_ms};
use crate::{CacheConfig, Error, ErrorKind, Result, SchemaPolicy, StoreUrl};

/// Every variable that is read.
const VARIABLES: [&str; 34] = [
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
    "PERSIST_AUTO_SAVE_INTERVAL_MS",
    "PERSIST_BATCH_CAPACITY",
    "PERSIST_BATCH_CAPACITY_BYTES",
    "PERSIST_CACHE_MAX_BYTES",
    "PERSIST_CACHE_MAX_IDLE_MS",
    "PERSIST_CACHE_MAX_WORLDS",
    "PERSIST_COALESCING",
    "PERSIST_ENABLED",
    "PERSIST_FLUSH_INTERVAL_MS",
    "PERSIST_MAX_BATCH_BYTES",
    "PERSIST_MAX_BATCH_RECORDS",
    "PERSIST_MAX_EXPOSURE_MS",
    "PERSIST_MAX_PENDING_BYTES",
    "PERSIST_MAX_PENDING_RECORDS",
    "PERSIST_OWNER",
    "PERSIST_RETRY_BUDGET_MS",
    "PERSIST_RETRY_FIRST_MS",
    "PERSIST_RETRY_LONGEST_MS",
    "PERSIST_SHUTDOWN_TIMEOUT_MS",
    "PERSIST_START_DEGRADED",
];

pub(super) const ENCRYPTION_KEY_FILE: &str = "AQEVIA_ENCRYPTION_KEY_FILE";

/// The variables that stand for parameters of a URL of these schemes which the URL does not give.
/// What they may say is for the backend to check, but for durations.
pub(super) const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
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

/// Where settings are read from.
pub(super) struct Variables {
    vars: BTreeMap<String, String>,
    /// The URL whose parameters go before variables, and those of them that are settings.
    url: Option<(StoreUrl, BTreeMap<String, String>)>,
}

const FLAG_ALLOWED: &str = "true or false";
const OWNER_ALLOWED: &str = "a name of 1 to 128 bytes without control characters";

impl Variables {
    pub(super) fn new(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            vars: vars.into_iter().collect(),
            url: None,
        }
    }

    /// Takes the settings out of a URL; what is left is the store's.
    ///
    /// # Errors
    /// `Invalid`, naming the nearest there is, if one is not known.
    pub(super) fn take_settings(&mut self, url: StoreUrl) -> Result<StoreUrl> {
        let (store, settings) = url.without_parameters(SETTINGS);
        for name in settings.keys() {
            let variable = name.to_ascii_uppercase();
            if !VARIABLES.contains(&variable.as_str()) {
                let meant = nearest(&variable).unwrap_or_default().to_ascii_lowercase();
                return Err(Error::invalid(format!(
                    "store URL {store}: parameter {name:?} is not known; is {meant} meant?"
                )));
            }
        }
        self.url = Some((store.clone(), settings));
        Ok(store)
    }

    fn read<T>(
        &self,
        name: &str,
        allowed: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let parameter = name.to_ascii_lowercase();
        let in_url = self.url.as_ref().and_then(|(url, settings)| {
            let value = settings.get(&parameter)?;
            Some((
                format!("store URL {url}: parameter {parameter}={value}"),
                value,
            ))
        });
        let in_vars = || {
            let value = self.vars.get(name)?;
            Some((format!("environment variable {name}={value}"), value))
        };
        let Some((what, value)) = in_url.or_else(in_vars) else {
            return Ok(None);
        };
        let refused = || Error::invalid(format!("{what}: must be {allowed}"));
        read(value).map(Some).ok_or_else(refused)
    }

    /// Whether anything is to be kept at all.
    pub(super) fn enabled(&self) -> Result<bool> {
        let enabled = self.read("PERSIST_ENABLED", FLAG_ALLOWED, |text| text.parse().ok())?;
        Ok(enabled.unwrap_or(true))
    }

    fn set_count(&self, setting: &mut usize, name: &str) -> Result<()> {
        set(setting, self.read(name, COUNT_ALLOWED, read_count)?);
        Ok(())
    }

    fn set_ms(&self, setting: &mut Duration, name: &str) -> Result<()> {
        set(setting, self.read(name, MS_ALLOWED, read_ms)?);
        Ok(())
    }

    fn set_flag(&self, setting: &mut bool, name: &str) -> Result<()> {
        set(
            setting,
            self.read(name, FLAG_ALLOWED, |text| text.parse().ok())?,
        );
        Ok(())
    }

    pub(super) fn store_url(&self) -> Result<StoreUrl> {
        if let Some(url) = self.vars.get("AQEVIA_STORAGE_URL") {
            let doing = |error: Error| error.context("environment variable AQEVIA_STORAGE_URL");
            let given: StoreUrl = url.parse().map_err(doing)?;
            return self.add_parameters(url, &given)?.parse().map_err(doing);
        }
        let path = self.vars.get("AQEVIA_SQLITE_PATH").map(String::as_str);
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
                false => self.vars.get(variable).cloned(),
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

    pub(super) fn refuse_encryption(&self) -> Result<()> {
        if !self.vars.contains_key(ENCRYPTION_KEY_FILE) {
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

    pub(super) fn read_pool(&self, pool: &mut PoolConfig) -> Result<()> {
        self.set_count(&mut pool.size, "AQEVIA_POOL_SIZE")?;
        self.set_ms(&mut pool.acquire_timeout, "AQEVIA_ACQUIRE_TIMEOUT_MS")?;
        self.set_ms(
            &mut pool.connection_lifetime,
            "AQEVIA_CONNECTION_LIFETIME_MS",
        )?;
        self.set_ms(&mut pool.busy_timeout, "AQEVIA_BUSY_TIMEOUT_MS")
    }

    pub(super) fn read_controller(&self, to: &mut ControllerConfig) -> Result<()> {
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
        let owner = self.read("PERSIST_OWNER", OWNER_ALLOWED, |text| text.parse().ok())?;
        set(&mut to.owner, owner);
        self.set_count(&mut to.batch_records_max, "PERSIST_MAX_BATCH_RECORDS")?;
        self.set_count(&mut to.batch_bytes_max, "PERSIST_MAX_BATCH_BYTES")?;
        self.set_ms(&mut to.flush_interval, "PERSIST_FLUSH_INTERVAL_MS")?;
        self.set_count(&mut to.batch_capacity, "PERSIST_BATCH_CAPACITY")?;
        self.set_count(&mut to.batch_capacity_bytes, "PERSIST_BATCH_CAPACITY_BYTES")?;
        self.set_ms(&mut to.shutdown_timeout, "PERSIST_SHUTDOWN_TIMEOUT_MS")?;
        self.set_count(&mut to.pending_records_max, "PERSIST_MAX_PENDING_RECORDS")?;
        self.set_count(&mut to.pending_bytes_max, "PERSIST_MAX_PENDING_BYTES")?;
        let limit = |name| self.read(name, MS_ALLOWED, read_ms);
        set(
            &mut to.exposure_max,
            limit("PERSIST_MAX_EXPOSURE_MS")?.map(Some),
        );
        set(
            &mut to.retry_budget,
            limit("PERSIST_RETRY_BUDGET_MS")?.map(Some),
        );
        self.set_ms(&mut to.auto_save_interval, "PERSIST_AUTO_SAVE_INTERVAL_MS")?;
        self.set_ms(&mut to.retry_first, "PERSIST_RETRY_FIRST_MS")?;
        self.set_ms(&mut to.retry_longest, "PERSIST_RETRY_LONGEST_MS")?;
        self.set_flag(&mut to.coalescing, "PERSIST_COALESCING")?;
        self.set_flag(&mut to.start_degraded, "PERSIST_START_DEGRADED")
    }

    pub(super) fn read_cache(&self, to: &mut CacheConfig) -> Result<()> {
        self.set_count(&mut to.bytes_max, "PERSIST_CACHE_MAX_BYTES")?;
        let worlds = self.read("PERSIST_CACHE_MAX_WORLDS", COUNT_ALLOWED, read_count)?;
        set(&mut to.worlds_max, worlds.map(Some));
        let idle = self.read("PERSIST_CACHE_MAX_IDLE_MS", MS_ALLOWED, read_ms)?;
        set(&mut to.idle_max, idle.map(Some));
        Ok(())
    }
}
