//! How long calls may take.

use std::time::Duration;

use crate::{Error, Result, StorageConfig};

/// How long calls may take. Each is from 1 ns to [`StorageConfig::DURATION_MAX`]; `None`, the
/// default, is without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// `log`, `state`, `snapshot`, `worlds` and `usage`, and the reads of a snapshot.
    pub read: Option<Duration>,
    /// `persist_batch` and `claim`. With it these calls keep their order in each world.
    pub write: Option<Duration>,
    /// `init`.
    pub init: Option<Duration>,
    /// `close`, with what it waits for.
    pub close: Option<Duration>,
}

impl Timeouts {
    /// The same time for every call.
    #[must_use]
    pub const fn all(limit: Duration) -> Self {
        Self {
            read: Some(limit),
            write: Some(limit),
            init: Some(limit),
            close: Some(limit),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        check("read", self.read)?;
        check("write", self.write)?;
        check("init", self.init)?;
        check("close", self.close)
    }
}

fn check(name: &str, limit: Option<Duration>) -> Result<()> {
    let most = StorageConfig::DURATION_MAX;
    match limit {
        Some(limit) if limit.is_zero() || limit > most => Err(Error::invalid(format!(
            "{name} timeout: {limit:?}; allowed is more than zero, up to {most:?}"
        ))),
        _ => Ok(()),
    }
}
